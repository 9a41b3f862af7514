// Behaviour of the report page. Everything it shows stands in the page: texts and curves in #data, pictures and packed
// cubes in elements of their own. Nothing is fetched.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const { rows, columns, bands, top: TOP } = data;
  const MASKED = 255;
  const element = (name, text, attributes = {}) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const number = (x, digits = 4) =>
    Number.isFinite(x) ? (x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5) ? x.toExponential(2) : String(+x.toPrecision(digits))) : "–";
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const picture = (id) => "data:image/png;base64," + $(id).textContent;
  const bandName = (b) => `band ${b}` + (data.wavelengths ? ` (${number(data.wavelengths[b])} nm)` : "");

  // ---- texts and tables ----
  for (const [name, value] of data.facts) {
    const row = element("div");
    row.append(element("dt", name), element("dd", value));
    $("facts").append(row);
  }
  $("settings").textContent = data.settings;
  $("precision").textContent = data.precision;
  $("remarks-section").hidden = data.remarks.length === 0;
  for (const remark of data.remarks) $("remarks").append(element("li", remark));
  const table = (node, head, body) => {
    const line = (cells, header) => {
      const tr = element("tr");
      cells.forEach((cell, k) => {
        const isHeader = header || k === 0;
        tr.append(element(isHeader ? "th" : "td", cell, isHeader ? { scope: header ? "col" : "row" } : {}));
      });
      return tr;
    };
    const thead = element("thead"), tbody = element("tbody");
    thead.append(line(head, true));
    for (const cells of body) tbody.append(line(cells, false));
    node.append(thead, tbody);
  };
  if (data.scores.length > 0) {
    $("metrics").hidden = false;
    table($("scores"), ["", "PSNR (dB) ↑", "SAM (°) ↓", "ERGAS ↓", "UIQI ↑", "SSIM ↑", "RMSE ↓"],
      data.scores.map(([name, s]) => [name, s.psnr_db.toFixed(3), s.sam_deg.toFixed(3), s.ergas.toFixed(4), s.uiqi.toFixed(4), s.ssim.toFixed(4), number(s.rmse, 5)]));
    const first = data.scores[0][1];
    $("scores-note").textContent = `Over ${first.pixels} pixels, convention "${first.convention}". ↑ higher is better, ↓ lower is better; RMSE in the unit of the image.`;
  }
  table($("times"), ["stage", "seconds"], data.times.map(([name, s]) => [name, s.toFixed(2)]));

  // ---- charts ----
  const SVG = "http://www.w3.org/2000/svg";
  const DASHES = ["", "7 4", "2 3", "10 3 2 3", "4 2", "1 4"];
  const svgNode = (name, attributes, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  // Round numbers between two, about `count` of them.
  const ticks = (low, high, count) => {
    if (!(high > low)) return [low];
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const out = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) out.push(k * step);
    return out;
  };
  // Where the lines of a logarithmic axis lie: 1, 2 and 5 times powers of ten, or round numbers where few of those fall in.
  const logarithmicTicks = (low, high) => {
    const out = [];
    for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) {
      for (const m of [1, 2, 5]) if (m * 10 ** k >= low && m * 10 ** k <= high) out.push(m * 10 ** k);
    }
    if (out.length < 3) return ticks(low, high, 4);
    return out.length <= 9 ? out : out.filter((x) => Math.abs(Math.log10(x) - Math.round(Math.log10(x))) < 1e-9);
  };
  // Draws curves into `node` at its present width; `marker` is a position on the x axis to point at.
  const draw = (node, chart, marker) => {
    const width = Math.max(node.clientWidth, 240), plot = { left: 0, right: width - 12, top: 12, bottom: 250 };
    const series = chart.series.map((s) => ({ ...s, points: s.x.map((x, k) => [x, s.y[k]]).filter(([, y]) => Number.isFinite(y) && (!chart.logarithmic || y > 0)) }));
    const all = series.flatMap((s) => s.points);
    const legendRows = [];
    let line = [], used = 0;
    series.forEach((s, k) => {
      const room = 42 + 7 * s.name.length;
      if (used + room > width - 20 && line.length) { legendRows.push(line); line = []; used = 0; }
      line.push([k, used]);
      used += room;
    });
    legendRows.push(line);
    const height = plot.bottom + 44 + 20 * legendRows.length;
    const svg = svgNode("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.append(svgNode("title", {}, `${chart.title}: ${series.map((s) => s.name).join(", ")}; ${chart.y_label} over ${chart.x_label}`));
    let [x0, x1] = [Infinity, -Infinity], [y0, y1] = [Infinity, -Infinity];
    for (const [x, y] of all) { x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y); }
    if (!all.length) [x0, x1, y0, y1] = [0, 1, 0, 1];
    const bend = chart.logarithmic && all.length ? Math.log10 : (v) => v;
    let [v0, v1] = [bend(y0), bend(y1)];
    if (v1 - v0 < 1e-12) { const pad = Math.abs(v0) * 0.05 || 1; v0 -= pad; v1 += pad; } else { const pad = 0.05 * (v1 - v0); v0 -= pad; v1 += pad; }
    if (x1 === x0) { x0 -= 0.5; x1 += 0.5; }
    const yTicks = chart.logarithmic && all.length ? logarithmicTicks(10 ** v0, 10 ** v1) : ticks(v0, v1, 5);
    const yNames = yTicks.map((y) => number(y));
    plot.left = 34 + 7 * Math.max(...yNames.map((name) => name.length));
    const px = (x) => plot.left + ((x - x0) / (x1 - x0)) * (plot.right - plot.left);
    const py = (v) => plot.bottom - ((v - v0) / (v1 - v0)) * (plot.bottom - plot.top);
    yTicks.map(bend).forEach((v, k) => {
      svg.append(svgNode("line", { class: "grid", x1: plot.left, x2: plot.right, y1: py(v), y2: py(v) }));
      svg.append(svgNode("text", { x: plot.left - 6, y: py(v) + 4, "text-anchor": "end" }, yNames[k]));
    });
    for (const x of ticks(x0, x1, clamp(Math.floor(width / 90), 2, 9))) {
      svg.append(svgNode("line", { class: "grid", x1: px(x), x2: px(x), y1: plot.top, y2: plot.bottom }));
      svg.append(svgNode("text", { x: px(x), y: plot.bottom + 16, "text-anchor": "middle" }, number(x)));
    }
    svg.append(svgNode("text", { x: (plot.left + plot.right) / 2, y: plot.bottom + 34, "text-anchor": "middle" }, chart.x_label));
    svg.append(svgNode("text", { x: 12, y: (plot.top + plot.bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(plot.top + plot.bottom) / 2})` }, chart.y_label));
    if (marker !== undefined && marker >= x0 && marker <= x1) svg.append(svgNode("line", { class: "marker", x1: px(marker), x2: px(marker), y1: plot.top, y2: plot.bottom }));
    series.forEach((s, k) => {
      const path = s.points.map(([x, y], n) => `${n ? "L" : "M"}${px(x).toFixed(1)} ${py(bend(y)).toFixed(1)}`).join("");
      svg.append(svgNode("path", { d: path, stroke: `var(--s${k % 6})`, "stroke-dasharray": DASHES[k % 6] }));
    });
    legendRows.forEach((entries, down) => {
      for (const [k, left] of entries) {
        const y = plot.bottom + 54 + 20 * down;
        svg.append(svgNode("path", { d: `M${12 + left} ${y - 4}h24`, stroke: `var(--s${k % 6})`, "stroke-dasharray": DASHES[k % 6] }));
        svg.append(svgNode("text", { x: 42 + left, y }, series[k].name));
      }
    });
    node.replaceChildren(svg);
  };
  const drawings = new Map();
  const show = (node, chart, marker) => { drawings.set(node, [chart, marker]); draw(node, chart, marker); };
  let drawnWidth = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === drawnWidth) return;
    drawnWidth = document.documentElement.clientWidth;
    for (const [node, [chart, marker]] of drawings) draw(node, chart, marker);
  });
  const bandAxis = data.wavelengths ?? Array.from({ length: bands }, (_, b) => b);
  const bandLabel = data.wavelengths ? "wavelength (nm)" : "band";
  show($("response"), {
    title: "Spectral response", x_label: bandLabel, y_label: "weight", logarithmic: false,
    series: data.response.map((y, j) => ({ name: `MSI band ${j}`, x: bandAxis, y })),
  });
  for (const chart of data.charts) {
    const section = element("section");
    const node = element("div", undefined, { class: "chart" });
    section.append(element("h2", chart.title), node);
    $("charts").append(section);
    show(node, chart);
  }

  // ---- point spread functions ----
  for (const kernel of data.kernels) {
    const figure = element("figure"), caption = element("figcaption");
    caption.append(element("b", kernel.name), `: ${kernel.note}`);
    figure.append(element("img", undefined, { src: picture(kernel.id), alt: `PSF, ${kernel.name}: ${kernel.note}` }), caption);
    $("kernels").append(figure);
  }

  // ---- before and after ----
  const box = $("compare");
  box.style.aspectRatio = `${columns} / ${rows}`;
  box.style.maxWidth = `calc(85vh * ${columns / rows})`;
  const choose = (side, preferred) => {
    const select = $(side);
    for (const p of data.pictures) select.append(element("option", p.name, { value: p.id }));
    select.value = preferred;
    const update = () => {
      const chosen = data.pictures.find((p) => p.id === select.value);
      $(`${side}-image`).src = picture(chosen.id);
      $(`${side}-image`).alt = `${side} of the divider: ${chosen.name}`;
      $(`${side}-tag`).textContent = chosen.name;
      const notes = ["left", "right"].map((s) => data.pictures.find((p) => p.id === $(s).value)).filter((p) => p?.note);
      const [r, g, b] = data.composite;
      $("compare-note").textContent = `Red, green, blue: ${bandName(r)}, ${bandName(g)}, ${bandName(b)}.` + (notes.length ? ` Errors: ${notes[0].note}.` : "");
    };
    select.addEventListener("change", update);
    update();
  };
  choose("left", "rgb-lr");
  choose("right", "rgb-fused");
  const divider = $("divider");
  const divide = (percent) => {
    const at = clamp(percent, 0, 100);
    divider.style.left = `${at}%`;
    $("left-image").style.clipPath = `inset(0 ${100 - at}% 0 0)`;
    divider.setAttribute("aria-valuenow", String(Math.round(at)));
    divider.setAttribute("aria-valuetext", `${Math.round(at)} % of the left image shown`);
  };
  divide(50);
  divider.addEventListener("pointerdown", (event) => { divider.setPointerCapture(event.pointerId); event.preventDefault(); divider.focus(); });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const area = box.getBoundingClientRect();
    divide((100 * (event.clientX - area.left)) / area.width);
  });
  divider.addEventListener("click", (event) => event.stopPropagation());
  divider.addEventListener("keydown", (event) => {
    const now = Number(divider.getAttribute("aria-valuenow"));
    const to = { ArrowLeft: now - 2, ArrowDown: now - 2, ArrowRight: now + 2, ArrowUp: now + 2, PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    divide(to);
  });

  // ---- pixel and spectrum ----
  const cubes = new Map();
  const selected = { row: rows >> 1, column: columns >> 1 };
  const value = (level, b) => (level === MASKED ? NaN : data.limits[b][0] + (level / TOP) ** 2 * (data.limits[b][1] - data.limits[b][0]));
  const index = (cube, row, column) => {
    const r = Math.min(Math.floor(row / cube.pitch), cube.rows - 1), c = Math.min(Math.floor(column / cube.pitch), cube.columns - 1);
    return r * cube.columns + c;
  };
  const stages = [box];
  const select = (row, column) => {
    selected.row = clamp(Math.round(row) || 0, 0, rows - 1);
    selected.column = clamp(Math.round(column) || 0, 0, columns - 1);
    $("row").value = selected.row;
    $("column").value = selected.column;
    for (const stage of stages) {
      const cross = stage.querySelector(".cross");
      cross.hidden = false;
      cross.style.left = `${(100 * (selected.column + 0.5)) / columns}%`;
      cross.style.top = `${(100 * (selected.row + 0.5)) / rows}%`;
    }
    if (cubes.size === 0) return;
    const series = [...cubes.values()].map((cube) => {
      const at = index(cube, selected.row, selected.column), plane = cube.rows * cube.columns;
      return { name: cube.name, x: bandAxis, y: Array.from({ length: bands }, (_, b) => value(cube.levels[b * plane + at], b)) };
    });
    show($("spectrum"), { title: "Spectrum", x_label: bandLabel, y_label: "sample (unit of the file)", logarithmic: false, series }, bandAxis[Number($("band").value)]);
    const b = Number($("band").value);
    $("spectrum-text").textContent = `Row ${selected.row}, column ${selected.column}, ${bandName(b)}: ` +
      series.map((s) => `${s.name} ${Number.isFinite(s.y[b]) ? number(s.y[b]) : "no data"}`).join(", ") + ".";
  };
  const picks = (stage) => stage.addEventListener("click", (event) => {
    const area = stage.getBoundingClientRect();
    select(Math.floor(((event.clientY - area.top) / area.height) * rows), Math.floor(((event.clientX - area.left) / area.width) * columns));
  });
  picks(box);
  for (const [id, max] of [["row", rows - 1], ["column", columns - 1]]) {
    $(id).max = max;
    $(id).addEventListener("change", () => select(Number($("row").value), Number($("column").value)));
  }
  select(selected.row, selected.column);

  // ---- bands ----
  const tile = (name, height, width) => {
    const figure = element("figure"), stage = element("div", undefined, { class: "stage" });
    const canvas = element("canvas", undefined, { width, height, role: "img", "aria-label": name });
    const caption = element("figcaption");
    caption.append(element("b", name));
    stage.append(canvas, element("span", undefined, { class: "cross", "aria-hidden": "true" }));
    figure.append(stage, caption);
    $("band-images").append(figure);
    stages.push(stage);
    picks(stage);
    return { context: canvas.getContext("2d"), width, height };
  };
  // Grey values of a plane; `shade` gives 0 to 1 or NaN.
  const paint = ({ context, width, height }, shade) => {
    const image = context.createImageData(width, height);
    for (let k = 0; k < width * height; k++) {
      const t = shade(k), masked = Number.isNaN(t), grey = Math.round(255 * clamp(t, 0, 1));
      image.data.set(masked ? [120, 90, 120, 255] : [grey, grey, grey, 255], 4 * k);
    }
    context.putImageData(image, 0, 0);
  };
  const quantile = (histogram, q) => {
    const total = histogram.reduce((a, b) => a + b, 0);
    let sum = 0;
    for (let k = 0; k < histogram.length; k++) if ((sum += histogram[k]) > q * total) return k;
    return histogram.length - 1;
  };
  const tiles = new Map();
  const showBand = () => {
    const b = Number($("band").value);
    $("band-text").textContent = bandName(b);
    $("band").setAttribute("aria-valuetext", bandName(b));
    const fused = cubes.get("cube-fused"), reference = cubes.get("cube-reference");
    if (!fused) return;
    const plane = (cube) => cube.levels.subarray(b * cube.rows * cube.columns, (b + 1) * cube.rows * cube.columns);
    const histogram = new Array(TOP + 1).fill(0);
    for (const level of plane(reference ?? fused)) if (level !== MASKED) histogram[level]++;
    const low = quantile(histogram, 0.02), high = Math.max(quantile(histogram, 0.98), low + 1);
    for (const [id, cube] of cubes) {
      const levels = plane(cube);
      paint(tiles.get(id), (k) => (levels[k] === MASKED ? NaN : (levels[k] - low) / (high - low)));
    }
    let note = `Grey runs from ${number(value(low, b))} to ${number(value(high, b))} on a square-root scale, the same in all images.`;
    if (reference) {
      const [a, z] = [plane(fused), plane(reference)];
      const errors = Float32Array.from(a, (level, k) => Math.abs(value(level, b) - value(z[k], b)));
      const sorted = errors.filter((x) => !Number.isNaN(x)).sort();
      const limit = sorted[Math.floor(0.98 * (sorted.length - 1))] || 1;
      paint(tiles.get("error"), (k) => errors[k] / limit);
      note += ` The error runs from 0 (black) to ${number(limit)} (white).`;
    }
    $("band-note").textContent = note;
  };
  $("band").max = bands - 1;
  $("band").value = data.composite[1];
  $("band").addEventListener("input", () => { showBand(); select(selected.row, selected.column); });
  showBand();

  // ---- unpacking ----
  const unpack = async (cube) => {
    const text = atob($(cube.id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const levels = new Uint8Array(await new Response(stream).arrayBuffer());
    // Undo the prediction from the left, upper and upper left neighbour, band by band.
    const { rows: height, columns: width } = cube;
    let at = 0;
    for (let b = 0; b < bands; b++) {
      for (let r = 0; r < height; r++) {
        let left = 0, corner = 0;
        for (let c = 0; c < width; c++, at++) {
          const up = r > 0 ? levels[at - width] : 0;
          const low = left < up ? left : up, high = left < up ? up : left;
          const guess = corner >= high ? low : corner <= low ? high : left + up - corner;
          corner = up;
          left = levels[at] = (levels[at] + guess) & 255;
        }
      }
    }
    $(cube.id).remove();
    return { ...cube, levels };
  };
  (async () => {
    try {
      for (const cube of data.cubes) {
        const ready = await unpack(cube);
        tiles.set(cube.id, tile(cube.name, cube.rows, cube.columns));
        cubes.set(cube.id, ready);
      }
      if (cubes.has("cube-reference")) tiles.set("error", tile("error of fused", cubes.get("cube-fused").rows, cubes.get("cube-fused").columns));
      showBand();
      select(selected.row, selected.column);
      document.documentElement.dataset.ready = "yes";
    } catch (error) {
      $("trouble").hidden = false;
      $("trouble").textContent = `Spectra and bands cannot be shown: this browser did not unpack them (${error.message}). A browser of 2023 or later does.`;
    }
  })();
})();
