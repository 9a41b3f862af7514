//! Figures as SVG and PNG files, for paper: black on white, curves told apart by dashes and markers as well as colour.
//!
//! Drawn by plotters. Its letters come from the font inside the program, so that a figure looks the same on a machine
//! without fonts; an SVG names that font and leaves the letters to the viewer.

use std::ops::Range;
use std::sync::OnceLock;

use ndarray::Array2;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::canvas::Picture;
use super::chart::{Chart, Series};
use crate::error::{Error, Result};

/// DejaVu Sans with the characters that labels need; `assets/README.md` has its source.
const FONT: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-subset.ttf");
const FAMILY: &str = "sans-serif";
/// Width and height of a chart, in units: pixels of the SVG.
const CHART: (u32, u32) = (480, 340);
/// The same of a chart that stands alone.
const LONE_CHART: (u32, u32) = (640, 420);
/// Side of a picture of a kernel.
const KERNEL: u32 = 118;
/// Pixels of a PNG for one unit.
const ENLARGED: u32 = 2;
/// Markers on a curve.
const MARKERS: usize = 9;
/// Colours that keep apart in grey and for the colour-blind (after Okabe and Ito, 2008), the darkest first.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 140, 105),
    RGBColor(170, 80, 140),
    RGBColor(150, 110, 0),
];
/// Dash and gap of each curve; none: drawn through.
const DASHES: [Option<(u32, u32)>; 6] = [
    None,
    Some((8, 4)),
    Some((2, 3)),
    Some((14, 4)),
    Some((5, 2)),
    Some((2, 6)),
];

/// A figure.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Name of its files, without ending.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// Its contents.
    pub content: Content,
}

/// What is in a figure.
#[derive(Debug, Clone)]
pub enum Content {
    /// Charts, two in a row.
    Charts(Vec<Chart>),
    /// Rows of PSFs (K×K) with captions, each row under its name. Darkest is the largest weight of each.
    Kernels(Vec<Strip>),
}

/// A row of PSFs.
#[derive(Debug, Clone)]
pub struct Strip {
    /// Its name.
    pub name: String,
    /// Captions and kernels (K×K).
    pub kernels: Vec<(String, Array2<f64>)>,
}

type Outcome<DB> = std::result::Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

impl Figure {
    /// The figure as SVG.
    ///
    /// # Errors
    /// [`Error::Failed`] if it cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        use_font()?;
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, self.size()).into_drawing_area();
        self.draw(&area, 1).map_err(|e| self.failed(&e))?;
        drop(area);
        Ok(text)
    }

    /// The figure as a picture.
    ///
    /// # Errors
    /// [`Error::Failed`] if it cannot be drawn.
    pub fn picture(&self) -> Result<Picture> {
        use_font()?;
        let (width, height) = (self.size().0 * ENLARGED, self.size().1 * ENLARGED);
        let mut rgb = vec![255; 3 * width as usize * height as usize];
        let area = BitMapBackend::with_buffer(&mut rgb, (width, height)).into_drawing_area();
        self.draw(&area, ENLARGED).map_err(|e| self.failed(&e))?;
        drop(area);
        Ok(Picture::from_fn(width as usize, height as usize, |r, c| {
            let at = 3 * (r * width as usize + c);
            [rgb[at], rgb[at + 1], rgb[at + 2]]
        }))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Error {
        Error::failed(format!("figure {}: {error}", self.name))
    }

    fn size(&self) -> (u32, u32) {
        match &self.content {
            Content::Charts(charts) if charts.len() == 1 => LONE_CHART,
            Content::Charts(charts) => (2 * CHART.0, CHART.1 * charts.len().div_ceil(2) as u32),
            Content::Kernels(rows) => {
                let longest = rows.iter().map(|row| row.kernels.len()).max().unwrap_or(1) as u32;
                (20 + longest * (KERNEL + 12), rows.len() as u32 * (KERNEL + 52))
            }
        }
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, unit: u32) -> Outcome<DB> {
        area.fill(&WHITE)?;
        match &self.content {
            Content::Charts(charts) if charts.len() == 1 => draw_chart(area, &charts[0], unit)?,
            Content::Charts(charts) => {
                let places = area.split_evenly((charts.len().div_ceil(2), 2));
                for (chart, place) in charts.iter().zip(&places) {
                    draw_chart(place, chart, unit)?;
                }
            }
            Content::Kernels(rows) => draw_kernels(area, rows, unit)?,
        }
        area.present()
    }
}

/// Gives plotters its letters, once.
fn use_font() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    if *REGISTERED.get_or_init(|| register_font(FAMILY, FontStyle::Normal, FONT).is_ok()) {
        Ok(())
    } else {
        Err(Error::failed("built-in fonts/DejaVuSans-subset.ttf: no font"))
    }
}

/// An axis whose lines and numbers stand where they were asked for.
struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(range: Range<f64>, ticks: Vec<f64>) -> Self {
        Axis { range, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        low + (share * f64::from(high - low)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

fn draw_chart<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, chart: &Chart, unit: u32) -> Outcome<DB> {
    let font = |size: u32| (FAMILY, size * unit).into_font();
    let bend = |y: f64| if chart.logarithmic { y.log10() } else { y };
    let usable = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!chart.logarithmic || *y > 0.0);
    let points: Vec<Vec<(f64, f64)>> = chart
        .series
        .iter()
        .map(|s| {
            let pairs = s.x.iter().copied().zip(s.y.iter().copied());
            pairs.filter(usable).map(|(x, y)| (x, bend(y))).collect()
        })
        .collect();
    let all = || points.iter().flatten();
    let (x0, x1) = widened(range(all().map(|p| p.0)), 0.0);
    let (y0, y1) = widened(range(all().map(|p| p.1)), 0.06);
    let x_ticks = ticks(x0, x1, 6);
    let y_ticks: Vec<f64> = if chart.logarithmic {
        logarithmic_ticks(y0, y1)
    } else {
        ticks(y0, y1, 6)
    };
    let y_name = |y: &f64| number(if chart.logarithmic { 10f64.powf(*y) } else { *y });
    let widest = y_ticks
        .iter()
        .map(|y| y_name(y).chars().count())
        .max()
        .unwrap_or(1) as u32;
    let legend = legend_rows(&chart.series, area.dim_in_pixel().0 / unit);
    let (plot, below) = area.split_vertically(area.dim_in_pixel().1 - (8 + 18 * legend.len() as u32) * unit);
    let mut context = ChartBuilder::on(&plot)
        .caption(&chart.title, font(14))
        .margin(6 * unit)
        .margin_right(16 * unit)
        .x_label_area_size(38 * unit)
        .y_label_area_size((30 + 7 * widest) * unit)
        .build_cartesian_2d(Axis::new(x0..x1, x_ticks), Axis::new(y0..y1, y_ticks))?;
    context
        .configure_mesh()
        .x_desc(&chart.x_label)
        .y_desc(&chart.y_label)
        .axis_desc_style(font(12))
        .label_style(font(11))
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&y_name)
        .bold_line_style(RGBColor(215, 215, 215))
        .light_line_style(TRANSPARENT)
        .axis_style(BLACK.stroke_width(unit))
        .draw()?;
    for (k, points) in points.iter().enumerate() {
        let style = COLOURS[k % COLOURS.len()].stroke_width(2 * unit).filled();
        let line = ShapeStyle {
            filled: false,
            ..style
        };
        match DASHES[k % DASHES.len()] {
            None => context.draw_series(LineSeries::new(points.iter().copied(), line))?,
            Some((dash, gap)) => context.draw_series(DashedLineSeries::new(
                points.iter().copied(),
                dash * unit,
                gap * unit,
                line,
            ))?,
        };
        // Markers of different curves lie at different places, so that curves that agree are both seen.
        let step = points.len().div_ceil(MARKERS).max(1);
        let marked = points
            .iter()
            .skip(if step > 1 { k * step / 4 % step } else { 0 })
            .step_by(step);
        let shape = || Polygon::new(marker(k, unit), style);
        context.draw_series(marked.map(|&p| EmptyElement::at(p) + shape()))?;
    }
    for (row, entries) in legend.iter().enumerate() {
        let y = ((4 + 18 * row as u32 + 7) * unit) as i32;
        for &(k, left) in entries {
            let x = (left * unit) as i32;
            let reach = (30 * unit) as i32;
            let style = COLOURS[k % COLOURS.len()].stroke_width(2 * unit);
            let line = [(x, y), (x + reach, y)];
            match DASHES[k % DASHES.len()] {
                None => below.draw(&PathElement::new(line, style))?,
                Some((dash, gap)) => {
                    below.draw(&DashedPathElement::new(line, dash * unit, gap * unit, style))?;
                }
            }
            let shape = Polygon::new(marker(k, unit), COLOURS[k % COLOURS.len()].filled());
            below.draw(&(EmptyElement::at((x + reach / 2, y)) + shape))?;
            let place = (x + reach + 6 * unit as i32, y - 6 * unit as i32);
            below.draw(&Text::new(chart.series[k].name.clone(), place, font(12)))?;
        }
    }
    Ok(())
}

/// Outline of the marker of curve `k` around a point: disc, triangle, cross, diamond and square, then again.
fn marker(k: usize, unit: u32) -> Vec<(i32, i32)> {
    let polar = |radius: f64, share: f64| {
        let angle = std::f64::consts::TAU * share;
        let (across, down) = (radius * angle.sin(), -radius * angle.cos());
        let size = f64::from(unit);
        ((size * across).round() as i32, (size * down).round() as i32)
    };
    let regular = |corners: u32, radius: f64, turn: f64| -> Vec<(i32, i32)> {
        let share = |i: u32| (f64::from(i) + turn) / f64::from(corners);
        (0..corners).map(|i| polar(radius, share(i))).collect()
    };
    match k % 5 {
        0 => regular(16, 4.2, 0.0),
        1 => regular(3, 5.5, 0.0),
        // Four arms: out, out, in, and so on around.
        2 => (0..12)
            .map(|i| match i % 3 {
                0 => polar(1.6, f64::from(i / 3) / 4.0),
                1 => polar(5.5, (f64::from(i / 3) + 0.41) / 4.0),
                _ => polar(5.5, (f64::from(i / 3) + 0.59) / 4.0),
            })
            .collect(),
        3 => regular(4, 5.5, 0.0),
        _ => regular(4, 5.0, 0.5),
    }
}

/// Number and left edge of the curves in each row of the legend of a chart that is `width` units wide.
fn legend_rows(series: &[Series], width: u32) -> Vec<Vec<(usize, u32)>> {
    let mut rows: Vec<Vec<(usize, u32)>> = vec![Vec::new()];
    let mut used = 24;
    for (k, s) in series.iter().enumerate() {
        let room = 52 + 7 * s.name.chars().count() as u32;
        if used + room > width && rows.last().is_some_and(|r| !r.is_empty()) {
            rows.push(Vec::new());
            used = 24;
        }
        if let Some(row) = rows.last_mut() {
            row.push((k, used));
        }
        used += room;
    }
    rows
}

fn draw_kernels<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, rows: &[Strip], unit: u32) -> Outcome<DB> {
    let font = |size: u32| (FAMILY, size * unit).into_font();
    for (r, Strip { name, kernels }) in rows.iter().enumerate() {
        let top = ((r as u32 * (KERNEL + 52) + 6) * unit) as i32;
        area.draw(&Text::new(name.clone(), ((10 * unit) as i32, top), font(13)))?;
        for (k, (caption, kernel)) in kernels.iter().enumerate() {
            let left = ((10 + k as u32 * (KERNEL + 12)) * unit) as i32;
            let first = top + (20 * unit) as i32;
            let side = (KERNEL * unit) as i32;
            let size = kernel.nrows().max(1) as i32;
            let edge = |i: i32| i * side / size;
            let peak = kernel.iter().fold(0.0f64, |a, &b| a.max(b));
            for ((i, j), &weight) in kernel.indexed_iter() {
                let grey = if peak > 0.0 {
                    (255.0 * (1.0 - weight / peak)).round() as u8
                } else {
                    255
                };
                // What is white anyway would only make the file larger.
                if grey < 255 {
                    let (i, j) = (i as i32, j as i32);
                    let corners = [
                        (left + edge(j), first + edge(i)),
                        (left + edge(j + 1), first + edge(i + 1)),
                    ];
                    area.draw(&Rectangle::new(corners, RGBColor(grey, grey, grey).filled()))?;
                }
            }
            let frame = [(left, first), (left + side, first + side)];
            area.draw(&Rectangle::new(frame, BLACK.stroke_width(unit)))?;
            let below = (left, first + side + (4 * unit) as i32);
            area.draw(&Text::new(caption.clone(), below, font(11)))?;
        }
    }
    Ok(())
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| {
        (a.min(x), b.max(x))
    })
}

/// A range with a share of it on both sides, and with some width where it has none.
fn widened((low, high): (f64, f64), share: f64) -> (f64, f64) {
    if !(low.is_finite() && high.is_finite()) {
        return (0.0, 1.0);
    }
    let width = high - low;
    if width <= 1e-9 * high.abs().max(low.abs()) {
        let pad = (0.05 * high.abs()).max(1e-6);
        return (low - pad, high + pad);
    }
    (low - share * width, high + share * width)
}

/// Round numbers between two, about `count` of them.
fn ticks(low: f64, high: f64, count: u32) -> Vec<f64> {
    let raw = (high - low) / f64::from(count);
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power);
    let step = step.into_iter().find(|s| *s >= raw).unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|k| k as f64 * step).collect()
}

/// Logarithms of 1, 2 and 5 times powers of ten between 10^`low` and 10^`high`; powers alone where those are many, and
/// round numbers where they are fewer than three.
fn logarithmic_ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = low.floor() as i32..=high.ceil() as i32;
    let within = |mantissas: &[f64]| -> Vec<f64> {
        let all = powers
            .clone()
            .flat_map(|p| mantissas.iter().map(move |m| f64::from(p) + m.log10()));
        all.filter(|t| (low..=high).contains(t)).collect()
    };
    let found = within(&[1.0, 2.0, 5.0]);
    match found.len() {
        0..3 => ticks(10f64.powf(low), 10f64.powf(high), 4)
            .iter()
            .map(|t| t.log10())
            .collect(),
        3..10 => found,
        _ => within(&[1.0]),
    }
}

/// A number of a few digits.
fn number(x: f64) -> String {
    if x != 0.0 && (x.abs() < 1e-3 || x.abs() >= 1e5) {
        return format!("{x:.0e}");
    }
    let rounded = (x * 1e6).round() / 1e6;
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(logarithmic: bool) -> Chart {
        Chart {
            title: "Objective <mean>".to_owned(),
            x_label: "epoch (73 steps)".to_owned(),
            y_label: "L_θ + L_φ".to_owned(),
            logarithmic,
            series: vec![
                Series::new("with", (0..60).map(|k| (f64::from(k), 1.0 / f64::from(k + 1)))),
                Series::new("without", (0..60).map(|k| (f64::from(k), 2.0 / f64::from(k + 3)))),
                Series::new("nothing", []),
            ],
        }
    }

    fn figures() -> [Figure; 3] {
        let kernel = Array2::from_shape_fn((8, 8), |(r, c)| 1.0 / (1 + r.abs_diff(4) + c.abs_diff(4)) as f64);
        let content = [
            Content::Charts(vec![chart(true)]),
            Content::Charts(vec![chart(false), chart(true), chart(false)]),
            Content::Kernels(vec![Strip {
                name: "scene".to_owned(),
                kernels: vec![("true".to_owned(), kernel)],
            }]),
        ];
        content.map(|content| Figure {
            name: "figure".to_owned(),
            caption: String::new(),
            content,
        })
    }

    // The letters are the program's own: a picture has dark pixels where only text stands, on any machine.
    #[test]
    fn figures_have_labels_in_both_forms() {
        for figure in figures() {
            let svg = figure.svg().unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            assert!(!svg.contains("href") && svg.matches("http").count() == 1);
            let picture = figure.picture().unwrap();
            let (width, height) = figure.size();
            assert_eq!(picture.width() as u32, ENLARGED * width);
            assert_eq!(picture.height() as u32, ENLARGED * height);
            if let Content::Charts(charts) = &figure.content {
                assert!(svg.contains("L_θ + L_φ") && svg.contains("Objective &lt;mean&gt;"));
                assert_eq!(
                    svg.matches(">without<").count() + svg.matches("\nwithout\n").count(),
                    charts.len()
                );
                // The caption's line over the first chart.
                let dark = |r: usize| (0..picture.width()).any(|c| picture.pixel(r, c)[0] < 80);
                assert!((8..40).any(dark));
            } else {
                assert!((4..34).any(|r| (20..120).any(|c| picture.pixel(r, c)[0] < 80)));
            }
            assert_eq!(svg, figure.svg().unwrap());
        }
    }

    #[test]
    fn every_letter_of_a_label_is_in_the_font() {
        use_font().unwrap();
        // The picture of a missing letter is the same for all of them.
        let shape = |text: &str| {
            let mut rgb = vec![255; 3 * 40 * 40];
            let area = BitMapBackend::with_buffer(&mut rgb, (40, 40)).into_drawing_area();
            area.draw(&Text::new(text.to_owned(), (4, 4), (FAMILY, 24).into_font()))
                .unwrap();
            drop(area);
            rgb
        };
        let missing = shape("\u{4e2d}");
        for letter in "AZaz09θφαβ₁₂₃±×°²−‖–".chars() {
            assert_ne!(shape(&letter.to_string()), missing, "{letter}");
        }
    }

    #[test]
    fn ticks_are_round() {
        let near = |found: Vec<f64>, expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(
                found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9),
                "{found:?}"
            );
        };
        near(ticks(0.0, 100.0, 6), &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        near(ticks(0.13, 0.47, 6), &[0.2, 0.3, 0.4]);
        let logarithms = [0.02f64, 0.05, 0.1, 0.2].map(f64::log10);
        near(logarithmic_ticks(0.015f64.log10(), 0.4f64.log10()), &logarithms);
        near(logarithmic_ticks(-4.2, 1.1), &[-4.0, -3.0, -2.0, -1.0, 0.0, 1.0]);
        assert_eq!(
            (number(0.1 + 0.2), number(2e-5), number(-0.0)),
            ("0.3".into(), "2e-5".into(), "0".into())
        );
    }
}
