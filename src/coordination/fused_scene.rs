//! What a fused scene is, whatever made it: its image row by row in the unit of the HSI, and what was found on the way.

use std::cell::Cell;
use std::ops::Range;
use web_time::Instant;

use ndarray::{Array2, Array3, ArrayView2, s};

use crate::coordination::model::Degradation;
use crate::coordination::native::Native;
use crate::coordination::placement::Placement;
use crate::coordination::scene::Scene;
use crate::coordination::start::Known;
use crate::coordination::watcher::StageTime;
use crate::cube::strips::{self, Strips};
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};
use crate::evidence::agreement::Agreement;
use crate::evidence::verdict::Verdict;
use crate::refine::RefinementReport;
use crate::sensor::estimate::Estimate;

/// A fused scene but for its image: what every method leaves.
pub struct FusedScene {
    /// What the image carries: the HSI's bands and fields, the pixel grid of the MSI.
    pub metadata: Metadata,
    /// The two images, in the scale that they were fused in.
    pub scene: Scene,
    /// What was known of the degradation.
    pub known: Known,
    /// What was found of it before anything else.
    pub estimate: Estimate,
    /// How well the two images agree; `None` with too few LR pixels to tell.
    pub agreement: Option<Agreement>,
    /// What is to be thought of the result.
    pub verdict: Verdict,
    /// LR pixels that were left out because the others cannot explain them: 1 where the HSI is suspect, 2 where the MSI is, 0
    /// elsewhere; `None` where there are none.
    pub suspect: Option<Array2<u8>>,
    /// What refinement found and did; `None` where it was switched off.
    pub refinement: Option<RefinementReport>,
    /// Time of each stage.
    pub times: Vec<StageTime>,
    /// How the two images lie on each other; `None` for a scene that came placed.
    pub placement: Option<Placement>,
}

impl FusedScene {
    /// Rows, columns and bands of the result.
    pub fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns) = self.scene.result_valid().dim();
        (rows, columns, self.scene.lr_hsi.dim().2)
    }

    /// The suspect LR pixels as an image of one band: 0 none, 1 in the HSI, 2 in the MSI. `hsi` is what the HSI says of itself.
    pub fn suspects(&self, hsi: &Metadata) -> Cube {
        let (rows, columns) = self.scene.lr_valid.dim();
        let mark = |at: (usize, usize)| self.suspect.as_ref().map_or(0.0, |marks| f32::from(marks[at]));
        let mut image = Cube::new(Array3::from_shape_fn((rows, columns, 1), |(r, c, _)| {
            mark((r, c))
        }));
        image.sample_type = SampleType::U8;
        image.metadata = Metadata {
            grid: hsi.grid.clone(),
            ..Metadata::default()
        };
        image
    }

    /// Share of LR pixels that are suspect.
    pub fn suspect_share(&self) -> f64 {
        self.suspect.as_ref().map_or(0.0, |marks| {
            marks.iter().filter(|mark| **mark > 0).count() as f64 / marks.len().max(1) as f64
        })
    }
}

/// Whatever makes the rows of a fused image, in the scale that the scene was fused in.
pub trait Maker {
    /// The scene that was fused.
    fn fused(&self) -> &FusedScene;

    /// PSF and SRF that it went by.
    fn degradation(&self) -> Degradation;

    /// Whether the image is there as a whole, and rows cost nothing.
    fn is_held(&self) -> bool;

    /// Rows of the image on the pixels of the scene's Y.
    ///
    /// # Errors
    /// Those of a device.
    fn on_model(&self, rows: Range<usize>) -> Result<Array3<f32>>;

    /// Rows of the image on the MSI's own pixels, where Y was resampled from it.
    ///
    /// # Errors
    /// Those of a device.
    fn on_native(&self, native: &Native, rows: Range<usize>) -> Result<Array3<f32>>;

    /// The failure that a sample which is no number is: `what` says which and where.
    fn broken(&self, what: String) -> Error;
}

/// The result of a fusion in the unit of the HSI, row by row.
pub struct FusedImage<'a> {
    maker: &'a dyn Maker,
    metadata: Metadata,
    seconds: Cell<f64>,
}

impl<'a> FusedImage<'a> {
    /// The image that `maker` makes. Masked pixels hold the no-data value, or NaN.
    pub fn new(maker: &'a dyn Maker) -> Self {
        let fused = maker.fused();
        FusedImage {
            metadata: marked(fused.metadata.clone(), fused.scene.result_valid()),
            maker,
            seconds: Cell::new(0.0),
        }
    }

    /// Seconds that rows have taken to make so far; 0 for an image that is there.
    pub fn seconds(&self) -> f64 {
        self.seconds.get()
    }

    /// A copy of all of it, made again where it was not held.
    ///
    /// # Errors
    /// Those of its rows.
    pub fn whole(&self) -> Result<Cube> {
        if self.is_held() {
            return self.rows(0..self.dim().0);
        }
        strips::collect(self)
    }

    /// Whether the image is there as it is written.
    pub fn is_held(&self) -> bool {
        self.maker.is_held() && self.maker.fused().scene.wanted().is_none()
    }
}

impl Strips for FusedImage<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        self.maker.fused().dim()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let scene = &self.maker.fused().scene;
        let started = Instant::now();
        let samples = match scene.wanted() {
            None => self.maker.on_model(rows.clone())?,
            Some(native) => self.maker.on_native(native, rows.clone())?,
        };
        if !self.is_held() {
            let seconds = started.elapsed().as_secs_f64();
            self.seconds.set(self.seconds.get() + seconds);
        }
        sound(&samples, |what| self.maker.broken(what))?;
        let valid = scene.result_valid();
        let valid = valid.slice(s![rows, ..]);
        finish(samples, scene.hsi_unit, valid, self.metadata.clone())
    }
}

/// The result on the pixels of the scene's Y, which are the HSI's divided by the scale, where it was asked for on others.
pub struct ModelImage<'a>(pub &'a FusedImage<'a>);

impl Strips for ModelImage<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns) = self.0.maker.fused().scene.hr_valid.dim();
        (rows, columns, self.0.dim().2)
    }

    fn metadata(&self) -> &Metadata {
        self.0.metadata()
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let scene = &self.0.maker.fused().scene;
        let samples = self.0.maker.on_model(rows.clone())?;
        let valid = scene.hr_valid.slice(s![rows, ..]);
        finish(samples, scene.hsi_unit, valid, self.0.metadata.clone())
    }
}

/// Metadata that name a no-data value where pixels are masked.
fn marked(mut metadata: Metadata, valid: ArrayView2<bool>) -> Metadata {
    if valid.iter().any(|&ok| !ok) {
        metadata.nodata = metadata.nodata.or(Some(f64::NAN));
    }
    metadata
}

/// Refuses samples that are no numbers: the two images had none, so their maker made them.
pub(super) fn sound(samples: &Array3<f32>, broken: impl Fn(String) -> Error) -> Result<()> {
    match samples.indexed_iter().find(|(_, x)| !x.is_finite()) {
        Some(((r, c, b), x)) => Err(broken(format!(
            "computed {x} for row {r}, column {c}, band {b} of the result; nothing of it is written"
        ))),
        None => Ok(()),
    }
}

/// Brings rows of a reconstruction back to the HSI's unit and marks masked pixels with the no-data value, which no other pixel
/// holds.
///
/// # Errors
/// [`Error::Failed`] where a sample of a usable pixel is not finite: such an image is nobody's result.
pub fn finish(
    mut samples: Array3<f32>,
    unit: f32,
    valid: ArrayView2<bool>,
    metadata: Metadata,
) -> Result<Cube> {
    samples *= unit;
    let masked = valid.iter().any(|&ok| !ok);
    let mut image = Cube::new(samples);
    image.metadata = marked(metadata, valid);
    if masked {
        let value = image.metadata.nodata.unwrap_or(f64::NAN);
        for ((r, c), &ok) in valid.indexed_iter() {
            if !ok {
                image.samples.slice_mut(s![r, c, ..]).fill(value as f32);
            }
        }
        image.valid = Some(valid.to_owned());
    }
    let broken = image
        .samples
        .indexed_iter()
        .find(|((r, c, _), x)| valid[[*r, *c]] && !x.is_finite());
    if let Some(((_, c, b), x)) = broken {
        return Err(Error::failed(format!(
            "the result is no image: {x} in column {c}, band {b}; nothing is written. Look for samples of the inputs that stand for \
             no data, or for a model of other images"
        )));
    }
    image.keep_off_nodata();
    Ok(image)
}
