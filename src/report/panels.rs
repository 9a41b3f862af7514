//! Panels beside each other with captions above and colour bars below: the sheets that papers print.

use std::ops::Range;

use clap::ValueEnum;

use super::canvas::{Picture, TEXT};

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [32; 3];
/// Panels are enlarged by whole factors up to about this width.
pub const PANEL_WIDTH: usize = 288;
const MARGIN: usize = 8;
/// Height of a colour bar.
const BAR: usize = TEXT + 4;

/// Colours for the numbers from 0 to 1. All three brighten evenly, so that they can be read in black and white and by
/// colour-blind eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColourMap {
    /// Black to white
    Grey,
    /// Black over purple and orange to pale yellow
    Inferno,
    /// Dark blue over green to yellow
    Viridis,
}

impl ColourMap {
    /// The colour of `t`, which is cut to 0 to 1; NaN is the lowest.
    pub fn colour(self, t: f32) -> [u8; 3] {
        let t = f64::from(if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) });
        match self {
            ColourMap::Grey => [(t * 255.0).round() as u8; 3],
            ColourMap::Inferno => colorous::INFERNO.eval_continuous(t).as_array(),
            ColourMap::Viridis => colorous::VIRIDIS.eval_continuous(t).as_array(),
        }
    }
}

/// A picture with its caption (ASCII; cut where it is wider than the picture).
#[derive(Debug, Clone)]
pub struct Panel {
    caption: String,
    picture: Picture,
}

impl Panel {
    /// A panel.
    pub fn new(caption: impl Into<String>, picture: Picture) -> Self {
        Panel {
            caption: caption.into(),
            picture,
        }
    }
}

/// A colour scale below a sheet.
#[derive(Debug, Clone)]
pub struct Bar {
    /// The columns of panels that it runs under.
    pub columns: Range<usize>,
    /// Numbers of its left and right end.
    pub limits: (f32, f32),
    /// Its colours.
    pub map: ColourMap,
}

/// A sheet of panels, row by row, on white, with its colour bars below one another. Columns and rows are as wide and
/// as high as the largest panel; `None` leaves a place empty.
pub fn sheet(rows: &[Vec<Option<Panel>>], bars: &[Bar]) -> Picture {
    let panels = || rows.iter().flatten().flatten();
    let width = panels().map(|p| p.picture.width()).max().unwrap_or(0);
    let height = panels().map(|p| p.picture.height()).max().unwrap_or(0);
    let across = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (cell_width, cell_height) = (width + MARGIN, height + TEXT + 2 * MARGIN);
    let below = MARGIN + rows.len() * cell_height;
    let mut page = Picture::filled(
        across * cell_width + MARGIN,
        below + bars.len() * (BAR + MARGIN),
        PAPER,
    );
    for (down, row) in rows.iter().enumerate() {
        for (right, panel) in row.iter().enumerate() {
            let Some(panel) = panel else { continue };
            let (top, left) = (MARGIN + down * cell_height, MARGIN + right * cell_width);
            let letters: String = panel.caption.chars().take(width / TEXT).collect();
            page.write(&letters, top, left, INK);
            page.lay(&panel.picture, top + TEXT + MARGIN / 2, left);
        }
    }
    for (k, bar) in bars.iter().enumerate() {
        let long = bar.columns.len() * cell_width;
        let strip = colour_strip(long.saturating_sub(MARGIN), bar);
        page.lay(
            &strip,
            below - MARGIN / 2 + k * (BAR + MARGIN),
            MARGIN + bar.columns.start * cell_width,
        );
    }
    page
}

/// The colour scale of the given width with the numbers of its two ends on it, where they have room.
fn colour_strip(width: usize, bar: &Bar) -> Picture {
    let colour = |c: usize| bar.map.colour(c as f32 / (width.max(2) - 1) as f32);
    let mut strip = Picture::from_fn(width, BAR, |_, c| colour(c));
    let (low, high) = (number(bar.limits.0), number(bar.limits.1));
    let room = |text: &str| TEXT * text.len() + 3;
    if room(&low) + room(&high) <= width {
        strip.write(&low, 2, 3, [255; 3]);
        strip.write(&high, 2, width - room(&high), [0; 3]);
    }
    strip
}

/// A number of about four digits.
fn number(x: f32) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        size if (0.001..1.0).contains(&size) => format!("{x:.4}"),
        size if (1.0..1e5).contains(&size) => format!("{x:.1}"),
        _ => format!("{x:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_have_the_size_of_their_panels() {
        let panel = |side: usize, grey: u8| Some(Panel::new("a", Picture::filled(side, side, [grey; 3])));
        let rows = [vec![panel(40, 10), panel(20, 20)], vec![None, panel(40, 30)]];
        let bar = Bar {
            columns: 0..2,
            limits: (0.0, 2.5),
            map: ColourMap::Grey,
        };
        let page = sheet(&rows, &[bar]);
        // Two cells of 40 + 8 across; two of 40 + 8 + 16 down and a bar of 12 + 8; a margin of 8 before each.
        assert_eq!((page.width(), page.height()), (8 + 2 * 48, 8 + 2 * 64 + 20));
        assert_eq!(page.pixel(8 + 12, 8), [10; 3]);
        assert_eq!(page.pixel(8 + 12, 8 + 48), [20; 3]);
        assert_eq!(page.pixel(8 + 64 + 12, 8), PAPER);
        assert_eq!(page.pixel(8 + 64 + 12, 8 + 48), [30; 3]);
        // The bar's left end is black, its right end white, and the numbers stand on it.
        let bar_row = 8 + 2 * 64 - 4;
        assert_eq!(
            (page.pixel(bar_row, 8), page.pixel(bar_row, 8 + 87)),
            ([0; 3], [255; 3])
        );
        assert!((0..30).any(|c| page.pixel(bar_row + 5, 8 + c) == [255; 3]));
        assert_eq!((sheet(&[], &[]).width(), sheet(&[], &[]).height()), (8, 8));
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.01234, -3.21, 65535.0, 1.5e7].map(number);
        assert_eq!(texts, ["0", "0.0123", "-3.2", "65535.0", "1.50e7"]);
    }

    #[test]
    fn colours_brighten_evenly() {
        for map in [ColourMap::Grey, ColourMap::Inferno, ColourMap::Viridis] {
            let light = |t: f32| {
                let [r, g, b] = map.colour(t).map(f32::from);
                0.2126 * r + 0.7152 * g + 0.0722 * b
            };
            assert!(
                (0..20).all(|k| light(k as f32 / 20.0) < light((k + 1) as f32 / 20.0)),
                "{map:?}"
            );
        }
        assert_eq!(ColourMap::Grey.colour(f32::NAN), [0; 3]);
    }
}
