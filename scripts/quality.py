#!/usr/bin/env python3
"""Writes docs/QUALITY.md from what `hsr-gpu experiment` measured. Needs nothing but Python.

Usage: quality.py RESULTS.json [RESULTS.json ...] > docs/QUALITY.md

Each RESULTS.json is the results.json of `experiment scenes`, `robustness` or `misplaced`. Every number of ours comes
from there; those of other programs, and what we aim at, come from quality_peers.json beside this script.
"""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
METHODS = ["bicubic", "control", "refined-control", "network", "refined"]
TOLD = {"blind": "blind", "srf": "response", "psf": "PSF"}


def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None


def shown(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def unique(values):
    return list(dict.fromkeys(values))


def psnr(rows):
    return mean([r["scores"]["psnr_db"] for r in rows])


def sam(rows):
    return mean([r["scores"]["sam_deg"] for r in rows])


def pick(rows, **conditions):
    return [r for r in rows if all(r[k] == v for k, v in conditions.items())]


def best(rows):
    """The rows of the last method of METHODS that there is: what `fuse` does by default."""
    present = [m for m in METHODS if pick(rows, method=m)]
    return pick(rows, method=present[-1]) if present else []


def command(text):
    """The command without the folders of the machine that it ran on."""
    return " ".join(os.path.basename(word) if "/" in word else word for word in text.split(" "))


def sources():
    """The last commit that touched what decides the numbers, and whether the tree differs from it."""

    def git(*arguments):
        return subprocess.run(["git", "-C", HERE, *arguments], capture_output=True, text=True).stdout.strip()

    paths = [":/src", ":/shaders", ":/assets", ":/Cargo.lock"]
    commit = git("log", "-1", "--format=%h", "--", *paths)
    changed = " with changes that are not committed" if git("status", "--porcelain", "--", *paths) else ""
    return (commit or "unknown") + changed


def origin(results):
    machine = results["machine"]
    processor = machine["processor"] or machine["system"]
    lines = [
        f"* command: `{command(results['command'])}`",
        f"* engine: {results['engine']}; machine: {processor}, {machine['threads']} threads, {machine['system']}",
        f"* hsr-gpu {results['version']}, build {results['build']:08x}; seeds {results['seed']} to "
        f"{results['seed'] + max(results['seeds'], 1) - 1}; {results['cells'][0]} runs",
    ]
    return "\n".join(lines) + "\n"


def against_peers(rows, scale, peers):
    """Ours and theirs at one scale, a column a scene."""
    ours = pick(rows, scale=scale)
    scenes = unique(r["scene"] for r in ours)
    out = []
    for told in TOLD:
        for method in METHODS:
            found = pick(ours, told=told, method=method)
            if not found or (method == "bicubic" and told != "blind"):
                continue
            cells = []
            for scene in scenes:
                here = pick(found, scene=scene)
                cells.append(f"{psnr(here):.2f} / {sam(here):.2f}" if here else "-")
            times = [r["seconds"] for r in found]
            name = "bicubic" if method == "bicubic" else f"{method}"
            knows = "-" if method == "bicubic" else TOLD[told]
            out.append([name, knows, *cells, f"{min(times):.1f}-{max(times):.1f}"])
    for peer in peers["peers"]:
        theirs = dict(zip(peers["columns"], peer.get(str(scale), [])))
        cells = [theirs.get(scene) for scene in scenes]
        if any(cells):
            out.append([f"*{peer['name']}* (outside)", peer["told"], *(c or "-" for c in cells), peer["seconds"]])
    return table(["method", "told", *scenes, "seconds a scene"], out)


def details(rows):
    out = []
    for scene in unique(r["scene"] for r in rows):
        for method in METHODS:
            found = pick(rows, scene=scene, method=method)
            if not found:
                continue
            values = [r["scores"]["psnr_db"] for r in found]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            score = lambda key, digits: shown(mean([r["scores"][key] for r in found]), digits)
            own = lambda key, digits: shown(mean([r[key] for r in found]), digits)
            out.append(
                [scene, method, f"{psnr(found):.2f}{spread}", score("sam_deg", 2), score("ergas", 3), score("uiqi", 4)]
                + [score("ssim", 4), own("psf_nrmse", 3), own("srf_nrmse", 3), own("centre_error", 3), own("seconds", 1)]
            )
    head = ["scene", "method", "PSNR dB", "SAM °", "ERGAS", "UIQI", "SSIM", "PSF NRMSE", "SRF NRMSE"]
    return table(head + ["centre, LR pixels", "seconds"], out)


def above_control(rows):
    """By how much each fusion is above the control that is made like it, over the scenes: least and mean."""
    lines = []
    for method, control in [("network", "control"), ("refined", "refined-control")]:
        gains = []
        for scene in unique(r["scene"] for r in rows):
            ours, theirs = (pick(rows, scene=scene, method=m) for m in (method, control))
            if ours and theirs:
                gains.append((psnr(ours) - psnr(theirs), sam(theirs) - sam(ours), scene))
        if gains:
            least = min(gains)
            lines.append(
                f"*{method}* is above *{control}* by {mean([g[0] for g in gains]):+.2f} dB on average, by {least[0]:+.2f} dB at "
                f"least ({least[2]}); its SAM is smaller by {mean([g[1] for g in gains]):+.2f}° on average, by "
                f"{min(g[1] for g in gains):+.2f}° at least.\n"
            )
    return "\n".join(lines)


def aims(rows, peers):
    out = []
    for aim in peers["aims"]:
        found = best(pick(rows, scene=aim["scene"], scale=aim["scale"], told="blind"))
        if found:
            got = psnr(found)
            word = "reached" if got >= aim["psnr_db"] else "**not reached**"
            out.append(
                [aim["scene"], f"×{aim['scale']}", found[0]["method"], f"{aim['psnr_db']:.1f}", f"{got:.2f}", word]
            )
    if not out:
        return ""
    return "## What we aimed at\n\nBlind, default options, mean over seeds.\n\n" + table(
        ["scene", "scale", "method", "aim dB", "measured dB", ""], out
    )


def scenes_section(results, peers):
    rows = results["rows"]
    text = ["## Scenes\n", origin(results)]
    for scale in unique(r["scale"] for r in rows):
        psf = ", ".join(unique(r["psf"] for r in pick(rows, scale=scale)))
        text.append(f"### ×{scale}, PSF {psf}: PSNR in dB / SAM in degrees\n")
        text.append(against_peers(rows, scale, peers))
    for factor in unique(r["factor"] for r in rows):
        text.append(f"### {factor}\n")
        text.append(details(pick(rows, factor=factor)))
        text.append(above_control(pick(rows, factor=factor)))
    return "\n".join(text)


def pairs_gain(rows):
    """Refined minus network of every setting: (PSNR, scene, value)."""
    network = {r["name"]: r["scores"]["psnr_db"] for r in pick(rows, method="network")}
    found = []
    for row in pick(rows, method="refined"):
        prior = network.get(row["name"][: -len("refined")] + "network")
        if prior is not None:
            found.append((row["scores"]["psnr_db"] - prior, row["scene"], row["value"]))
    return found


def gain(rows):
    """Refined above network over runs of one setting: mean, and the worst with its scene."""
    pairs = pairs_gain(rows)
    if not pairs:
        return "-", "-"
    worst = min(pairs)
    return f"{mean([p[0] for p in pairs]):+.2f}", f"{worst[0]:+.2f} ({worst[1]})"


def spread(rows):
    """The scene whose refined results differ most over the seeds, in dB."""
    spreads = []
    for scene in unique(r["scene"] for r in rows):
        values = [r["scores"]["psnr_db"] for r in pick(rows, scene=scene, method="refined")]
        if len(values) > 1:
            spreads.append((max(values) - min(values), scene, f"{len(values)} seeds"))
    return max(spreads, default=None)


def robustness_aims(rows):
    """What was asked of robustness beside what was measured."""
    out = []

    def line(what, asked, value, reached, where=""):
        word = "reached" if reached else "**not reached**"
        out.append([what, asked, value + (f" ({where})" if where else ""), word])

    noise = [g for g in pairs_gain(pick(rows, factor="noise")) if g[2] != "none"]
    if noise:
        least, scene, value = min(noise)
        line("refined above network in noise, the least of all runs", "≥ -0.1 dB", f"{least:+.2f} dB", least >= -0.1,
             f"{scene}, {value}")
    for value, asked in [("HSI 35 dB, MSI 35 dB", 0.5), ("HSI 25 dB, MSI 25 dB", 2.0)]:
        gains = [g[0] for g in noise if g[2] == value]
        if gains:
            line(f"the same on average, {value}", f"≥ {asked} dB", f"{mean(gains):+.2f} dB", mean(gains) >= asked)

    def worst(found, key):
        return max(((r[key], r["scene"], r["value"]) for r in found if r[key] is not None), default=None)

    shaped = [r for r in pick(rows, factor="PSF") if "free" in r["value"] and "Gaussian" not in r["value"]]
    for what, found, key, most in [
        ("PSF NRMSE, the six published PSFs at every scale", pick(rows, factor="published PSF"), "psf_nrmse", 0.05),
        ("PSF NRMSE, defocus and motion with a free PSF", shaped, "psf_nrmse", 0.15),
        ("centre of the PSF, shifts up to 0.5 LR pixel", pick(rows, factor="misregistration"), "centre_error", 0.1),
    ]:
        most_found = worst(found, key)
        if most_found:
            value, scene, setting = most_found
            unit = " LR pixel" if key == "centre_error" else ""
            line(f"{what}, the worst of all runs", f"≤ {most}{unit}", f"{value:.4f}{unit}", value <= most,
                 f"{scene}, {setting}")
    seeds = spread(pick(rows, factor="seed"))
    if seeds:
        line("highest minus lowest of the seeds, the worst scene", "≤ 0.5 dB", f"{seeds[0]:.3f} dB", seeds[0] <= 0.5,
             f"{seeds[1]}, {seeds[2]}")
    return table(["what", "asked", "measured", ""], out) if out else ""


def width_table(rows):
    """Blind beside told the true PSF, and what not knowing it costs, a column a scene."""
    scenes = unique(r["scene"] for r in rows)
    out = []
    for value in unique(r["value"].rsplit(",", 1)[0] for r in rows):
        here = [r for r in rows if r["value"].rsplit(",", 1)[0] == value]
        cells, errors = [], []
        for scene in scenes:
            blind, told = (pick(here, scene=scene, told=t) for t in ("blind", "psf"))
            if blind and told:
                cells.append(f"{psnr(blind):.2f} ({psnr(blind) - psnr(told):+.2f})")
                errors += [r["psf_nrmse"] for r in blind]
            else:
                cells.append("-")
        out.append([value, *cells, shown(max(errors, default=None), 3)])
    text = "Blind, default options, 40 dB in both images: PSNR in dB, and how far it is from that of a run that is told the true PSF.\n\n"
    return text + table(["PSF wider than its pixel", *scenes, "PSF NRMSE, the worst"], out)


def robustness_section(results, peers):
    rows = results["rows"]
    text = ["## Robustness\n", origin(results)]
    notes = peers["scene_notes"]
    text += [f"{notes[scene]}\n" for scene in unique(r["scene"] for r in rows) if scene in notes]
    text.append(robustness_aims(rows))
    scenes = unique(r["scene"] for r in rows)
    text.append(
        f"Blind, one factor at a time; means over {len(scenes)} scene{'s' if len(scenes) > 1 else ''} "
        f"({', '.join(scenes)}): PSNR in dB / SAM in degrees. Errors of PSF, SRF and centre are the worst of all scenes.\n"
    )
    for factor in unique(r["factor"] for r in rows):
        of_factor = pick(rows, factor=factor)
        if factor == "PSF width":
            text += [f"### {factor}\n", width_table(of_factor)]
            continue
        methods = [m for m in METHODS if pick(of_factor, method=m)]
        out = []
        for value in unique(r["value"] for r in of_factor):
            here = pick(of_factor, value=value)
            cells = []
            for method in methods:
                found = pick(here, method=method)
                cells.append(f"{psnr(found):.2f} / {sam(found):.2f}" if found else "-")
            fused = best(here)
            errors = []
            for key in ["psf_nrmse", "srf_nrmse", "centre_error"]:
                values = [r[key] for r in fused if r[key] is not None]
                errors.append(shown(max(values), 3) if values else "-")
            out.append([value, *cells, *gain(here), *errors])
        head = [factor, *methods, "refinement, mean dB", "worst dB", "PSF NRMSE", "SRF NRMSE", "centre, LR pixels"]
        text.append(f"### {factor}\n")
        text.append(table(head, out))
        if factor == "seed":
            spreads = []
            for scene in scenes:
                for method in methods:
                    values = [r["scores"]["psnr_db"] for r in pick(of_factor, scene=scene, method=method)]
                    if len(values) > 1 and method not in ("bicubic", "control"):
                        spreads.append([scene, method, str(len(values)), f"{max(values) - min(values):.2f}"])
            if spreads:
                text.append("Spread over the seeds:\n")
                text.append(table(["scene", "method", "seeds", "highest - lowest, dB"], spreads))
    return "\n".join(text)


def misplaced_section(results):
    rows = results["rows"]
    scenes = unique(r["scene"] for r in rows)
    values = unique(r["value"] for r in rows)
    whole = {scene: psnr(pick(rows, scene=scene, value=values[0])) for scene in scenes}
    out = []
    for value in values:
        cells, lost = [], []
        for scene in scenes:
            found = pick(rows, scene=scene, value=value)
            if not found or whole[scene] is None:
                cells.append("-")
                continue
            lost.append(whole[scene] - psnr(found))
            cells.append(f"{psnr(found):.2f} ({lost[-1]:.2f})" if value != values[0] else f"{psnr(found):.2f}")
        out.append([value, *cells, shown(mean(lost), 2), shown(max(lost, default=None), 2)])
    return "\n".join([
        "## Misplaced pairs\n",
        origin(results),
        "Blind, default options, x3, PSF of FWHM 1 LR pixel, 40 dB in both images, measured on the HSI's pixels: PSNR in dB, and "
        "what is lost against the same pair undisturbed. The MSI is made of the whole scene by a sinc of 16 samples, so what a "
        "shift by part of a pixel costs includes what that making took away.\n",
        table(["what is misplaced", *scenes, "lost on average", "lost at worst"], out),
    ])


def main(files):
    if not files:
        sys.exit(__doc__)
    with open(os.path.join(HERE, "quality_peers.json"), encoding="utf-8") as source:
        peers = json.load(source)
    runs = []
    for file in files:
        with open(file, encoding="utf-8") as source:
            runs.append(json.load(source))
    by_name = {name: [r for r in runs if r["experiment"] == name] for name in ("scenes", "robustness", "misplaced")}
    print("# Quality\n")
    print("Written by `scripts/quality.py` from the results of `hsr-gpu experiment`; do not edit. "
          f"Sources at the time of writing: commit {sources()}.\n")
    print("Indices are those of the convention `strict` (`hsr-gpu eval --help`), means over seeds. *bicubic*: interpolation of "
          "the LR-HSI. *control*: quadratic regression from MSI pixel to spectrum through the same estimated PSF, no network. "
          "*network*: `fuse` without refinement. *refined*, *refined-control*: with it.\n")
    if by_name["scenes"]:
        print(f"Rows marked *outside*: {peers['protocol']}\n")
        print(aims([row for run in by_name["scenes"] for row in run["rows"]], peers))
    for run in by_name["scenes"]:
        print(scenes_section(run, peers))
    for run in by_name["robustness"]:
        print(robustness_section(run, peers))
    for run in by_name["misplaced"]:
        print(misplaced_section(run))


if __name__ == "__main__":
    main(sys.argv[1:])
