//! A pair whose images do not lie on each other, made of one scene.
//!
//! The MSI is made of the whole scene at the places that a misplacement says; the HSI, and what the result is measured on, are
//! its middle. So there is real content around, and nothing is invented at an edge.

use std::ops::Range;

use ndarray::Array2;
use serde::Serialize;

use crate::align::files::{Named, base};
use crate::align::geometry::{Base, Geometry, Place};
use crate::align::resample::Source;
use crate::cube::Cube;
use crate::cube::grid::{self, GeoTiffTags, Grid, Transform};
use crate::cube::scratch::Store;
use crate::error::{Error, Result};

/// What of a scene lies around the HSI on every side: a fifth.
pub const AROUND: usize = 5;
/// Pixels that the MSI reaches beyond the HSI where it is larger.
const LARGER: usize = 20;
/// Half the width of the kernel that the MSI is made with, wider than the program's own.
const KERNEL: f64 = 8.0;
/// Metres of an HR pixel where the images have coordinate systems.
const METRES: f64 = 20.0;
/// The system of the HSI there, and one place in three systems (by GDAL 3.10's PROJ): x, y, and an HR pixel.
const SYSTEM: u32 = 32633;
const PLACES: [(u32, [f64; 2], [f64; 2]); 3] = [
    (SYSTEM, [500_000.0, 5_300_000.0], [METRES, METRES]),
    (32632, [948_758.191, 5_317_451.777], [METRES, METRES]),
    // A second of arc is 30.9 m down and 20.8 m across there.
    (4326, [15.0, 47.853_341_95], [2.67e-4, 1.8e-4]),
];

/// How an MSI lies off its HSI. Lengths are HR pixels.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Misplaced {
    /// Down and right.
    pub shift: [f64; 2],
    /// Degrees, about the middle.
    pub rotation: f64,
    /// Root mean square of a smooth displacement.
    pub warp: f64,
    /// MSI pixels of an LR pixel, where that is not the scale.
    pub ratio: Option<f64>,
    /// Whether the MSI reaches beyond the HSI on all sides.
    pub larger: bool,
    /// EPSG code of the MSI's coordinate system; the HSI has another.
    pub system: Option<u32>,
}

impl Misplaced {
    /// Its part of a cell's name.
    pub fn name(&self) -> String {
        let ratio = self.ratio.map_or(String::new(), |r| format!("ratio{r}"));
        let larger = if self.larger { "larger" } else { "" };
        let system = self.system.map_or(String::new(), |s| format!("epsg{s}"));
        format!(
            "moved{}_{}_{}_{}{ratio}{larger}{system}",
            self.shift[0], self.shift[1], self.rotation, self.warp
        )
    }

    /// The LR pixels, down or across, that the HSI shows of a scene of which so many pixels are `covered` by LR pixels: its middle.
    pub fn middle(covered: &Range<usize>, scale: usize) -> Range<usize> {
        let all = covered.len() / scale;
        let around = all.div_ceil(AROUND);
        around..(all - around).max(around)
    }

    /// The MSI that shows `scene`, all in the MSI's bands, where this says, and gives both images the grids that they need for
    /// it. `hsi` is that of the middle, which begins at pixel `corner` of the scene.
    ///
    /// # Errors
    /// [`Error::Failed`] where two coordinate systems are not brought together.
    pub fn msi(&self, scene: &Cube, hsi: &mut Cube, corner: [usize; 2], scale: usize) -> Result<Cube> {
        let size = [hsi.rows() * scale, hsi.columns() * scale];
        let corner = corner.map(|n| n as f64);
        let step = self.ratio.map_or(1.0, |ratio| scale as f64 / ratio);
        let border = if self.larger { LARGER } else { 0 };
        let mut wanted = size.map(|n| ((n + 2 * border) as f64 / step).ceil() as usize);
        hsi.metadata.grid = None;
        let mut grid = None;
        let mut way = Base::affine(
            [border as f64 / step; 2],
            [[scale as f64 / step, 0.0], [0.0, scale as f64 / step]],
        );
        if let Some(code) = self.system {
            let lr = [hsi.rows(), hsi.columns()];
            hsi.metadata.grid = placed(SYSTEM, lr, scale as f64)?;
            grid = placed(code, wanted, 1.0)?;
            let mut msi = Cube::new(ndarray::Array3::zeros((wanted[0], wanted[1], 1)));
            msi.metadata.grid.clone_from(&grid);
            let named = |name, image| Named { name, image };
            way = base(named("HSI", hsi), named("MSI", &msi), false)?.0;
        } else if self.larger {
            wanted = wanted.map(|n| n / scale * scale);
        }
        let lr = [hsi.rows(), hsi.columns()];
        let geometry = Geometry::new(lr, way);
        let half = lr.map(|n| 0.5 * n as f64);
        // Places of the MSI, those of the HSI, and those of the scene from the same corner.
        let place = |r: usize, c: usize| -> Place {
            let at = [r as f64 + 0.5, c as f64 + 0.5];
            let Some(at) = geometry.inverse(at, half) else {
                return [f64::NAN; 2];
            };
            let at = at.map(|x| x * scale as f64);
            let moved = self.moved(at, size);
            [0, 1].map(|k| moved[k] + corner[k])
        };
        let valid = Array2::from_shape_fn((scene.rows(), scene.columns()), |(r, c)| scene.is_valid(r, c));
        let source = Source {
            samples: scene.samples.view(),
            valid: valid.view(),
            half: KERNEL,
        };
        let (samples, valid) = source.resampled(wanted, [step; 2], &Store::Memory, place)?;
        let mut msi = Cube::new(samples.view().to_owned());
        msi.valid = valid.iter().any(|ok| !ok).then_some(valid);
        msi.metadata.grid = grid;
        Ok(msi)
    }

    /// The place of the scene that lies at a place of the undisturbed MSI.
    fn moved(&self, at: Place, size: [usize; 2]) -> Place {
        let (sin, cos) = self.rotation.to_radians().sin_cos();
        let middle = size.map(|n| 0.5 * n as f64);
        let from = [0, 1].map(|k| at[k] - middle[k]);
        let turned = [cos * from[0] - sin * from[1], sin * from[0] + cos * from[1]];
        let wave = |down: f64, across: f64, phase: f64| {
            let turns = down * at[0] / size[0] as f64 + across * at[1] / size[1] as f64;
            (std::f64::consts::TAU * turns + phase).cos()
        };
        // Each of the two has half the square of the whole.
        let bent = [wave(1.1, 0.4, 0.3), wave(0.5, -1.2, 1.0)].map(|w| self.warp * w);
        [0, 1].map(|k| middle[k] + turned[k] - self.shift[k] + bent[k])
    }
}

/// The grid of an image of `size` about the common place, `pixel` HR pixels to one of its own.
fn placed(code: u32, size: [usize; 2], pixel: f64) -> Result<Option<Grid>> {
    let (_, [x, y], [across, down]) = PLACES
        .into_iter()
        .find(|(known, _, _)| *known == code)
        .ok_or_else(|| Error::failed(format!("no place in EPSG:{code}")))?;
    let (across, down) = (across * pixel, down * pixel);
    let corner = [x - 0.5 * across * size[1] as f64, y + 0.5 * down * size[0] as f64];
    Ok(Some(Grid {
        transform: Transform::new([corner[0], across, 0.0, corner[1], 0.0, -down]),
        epsg: Some(code),
        wkt: None,
        source: grid::Source::GeoTiff(GeoTiffTags::default()),
    }))
}
