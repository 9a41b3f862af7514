//! The image that a fusion makes: in memory as a whole, or made strip by strip whenever rows are asked for.
//!
//! Which of the two follows from the memory a run may use ([`fits`](super::memory::fits)); the bits are the same. The second costs the
//! network a second pass, because refinement must have seen the whole scene before the first row is final.

use std::cell::Cell;
use std::ops::Range;
use web_time::Instant;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};

use crate::coordination::model::Model;
use crate::coordination::placement::Placement;
use crate::coordination::prior::{MixtureReport, prior_rows};
use crate::coordination::scene::Scene;
use crate::coordination::start::Known;
use crate::coordination::training::History;
use crate::coordination::watcher::StageTime;
use crate::cube::strips::{self, Strips};
use crate::cube::{Cube, Metadata, SampleType, filled};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::evidence::agreement::Agreement;
use crate::evidence::verdict::Verdict;
use crate::refine::RefinementReport;
use crate::refine::consistency::Correction;
use crate::refine::regression::Blend;
use crate::sensor::estimate::Estimate;

/// A fused image in the scale of the network.
#[derive(Debug)]
pub enum Product {
    /// All of it, H×W×B.
    Whole(Array3<f32>),
    /// What refinement adds to rows that the network makes when they are asked for; `None` where that is nothing.
    Strips(Option<Box<Correction>>),
}

/// A fused scene: the image, and everything that was found on the way.
pub struct Fused<'e> {
    /// The engine that it was made on, which makes rows of a result that is not held.
    pub engine: &'e dyn Engine<f32>,
    /// What the image carries: the HSI's bands and fields, the pixel grid of the MSI.
    pub metadata: Metadata,
    /// The image, in the scale of the network.
    pub product: Product,
    /// The scene, calibrated as the model's [`crate::coordination::model::Calibration`] says.
    pub scene: Scene,
    /// The model: all members with their weights in the prior, where that was mixed.
    pub model: Model,
    /// What stands beside the model in the prior of refinement.
    pub blend: Option<Blend>,
    /// The same mixture of the members that have not seen each fold of the LR pixels: their spread tells what the data leave
    /// open. None where there are no such members.
    pub folds: Vec<Model>,
    /// How the prior was mixed, and what error is to be expected of the result.
    pub mixture: Option<MixtureReport>,
    /// How well the two images agree; `None` with too few LR pixels to tell.
    pub agreement: Option<Agreement>,
    /// What is to be thought of the result.
    pub verdict: Verdict,
    /// LR pixels that were left out because the others cannot explain them: 1 where the HSI is suspect, 2 where the MSI is, 0
    /// elsewhere; `None` where there are none.
    pub suspect: Option<Array2<u8>>,
    /// What was known of the degradation.
    pub known: Known,
    /// What was found of it before training.
    pub estimate: Estimate,
    /// Losses of the coordination loop.
    pub training: History,
    /// Losses of fine-tuning; empty where it was left out.
    pub finetuning: History,
    /// LR pixels that could be trained on, and that were.
    pub pixels: (usize, usize),
    /// What refinement found and did; `None` where it was switched off.
    pub refinement: Option<RefinementReport>,
    /// Time of each stage.
    pub times: Vec<StageTime>,
    /// How the two images lie on each other; `None` for a scene that came placed.
    pub placement: Option<Placement>,
}

/// The result of a fusion in the unit of the HSI, row by row.
pub struct FusedImage<'a> {
    fused: &'a Fused<'a>,
    metadata: Metadata,
    seconds: Cell<f64>,
}

impl FusedImage<'_> {
    /// Rows of the prior over an MSI, in the scale of the network.
    fn network_rows(&self, msi: ArrayView3<f32>, rows: Range<usize>) -> Result<Array3<f32>> {
        let Fused {
            engine, model, blend, ..
        } = self.fused;
        let shape = (rows.len(), msi.dim().1, model.architecture.bands);
        let started = Instant::now();
        let samples = filled(shape, |out| {
            prior_rows(*engine, (model, blend.as_ref()), msi, rows, out)
        })?;
        self.seconds
            .set(self.seconds.get() + started.elapsed().as_secs_f64());
        Ok(samples)
    }

    /// Rows of the result on the pixels of the scene's Y, in the scale of the network.
    fn model_rows(&self, rows: Range<usize>) -> Result<Array3<f32>> {
        let msi = self.fused.scene.hr_msi.view();
        match &self.fused.product {
            Product::Whole(samples) => Ok(samples.slice(s![rows, .., ..]).to_owned()),
            Product::Strips(correction) => {
                let mut samples = self.network_rows(msi, rows.clone())?;
                if let (Some(correction), Some(out)) = (correction, samples.as_slice_mut()) {
                    correction.apply(self.fused.engine.refiner(), rows.start, msi, out)?;
                }
                Ok(samples)
            }
        }
    }

    /// Seconds that the network has taken for rows so far; 0 for an image that is there.
    pub fn seconds(&self) -> f64 {
        self.seconds.get()
    }
}

impl Strips for FusedImage<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        self.fused.dim()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let scene = &self.fused.scene;
        let samples = match scene.wanted() {
            None => self.model_rows(rows.clone())?,
            Some(native) => {
                let mut samples = self.network_rows(native.msi.view(), rows.clone())?;
                // What refinement added to the network.
                samples +=
                    &native.brought(rows.clone(), (scene.scale, scene.hr_valid.view()), &mut |rows| {
                        let network = self.network_rows(scene.hr_msi.view(), rows.clone())?;
                        Ok(self.model_rows(rows)? - network)
                    })?;
                samples
            }
        };
        sound(self.fused.engine, &samples)?;
        let valid = scene.result_valid();
        let valid = valid.slice(s![rows, ..]);
        finish(samples, scene.hsi_unit, valid, self.metadata.clone())
    }
}

/// The result on the pixels of the scene's Y, which are the HSI's divided by the scale, where it was asked for on others.
pub struct ModelImage<'a>(pub &'a FusedImage<'a>);

impl Strips for ModelImage<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns) = self.0.fused.scene.hr_valid.dim();
        (rows, columns, self.0.dim().2)
    }

    fn metadata(&self) -> &Metadata {
        self.0.metadata()
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let scene = &self.0.fused.scene;
        let samples = self.0.model_rows(rows.clone())?;
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

/// Refuses samples that are no numbers: the two images had none, so a device made them.
fn sound(engine: &dyn Engine<f32>, samples: &Array3<f32>) -> Result<()> {
    match samples.indexed_iter().find(|(_, x)| !x.is_finite()) {
        Some(((r, c, b), x)) => Err(Error::device(
            engine.name(),
            format!("computed {x} for row {r}, column {c}, band {b} of the result; nothing of it is written"),
        )),
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

impl Fused<'_> {
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

    /// Rows, columns and bands of the result.
    pub fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns) = self.scene.result_valid().dim();
        (rows, columns, self.scene.lr_hsi.dim().2)
    }

    /// The result strip by strip: what a writer takes. Masked pixels hold the no-data value, or NaN.
    pub fn strips(&self) -> FusedImage<'_> {
        FusedImage {
            metadata: marked(self.metadata.clone(), self.scene.result_valid()),
            fused: self,
            seconds: Cell::new(0.0),
        }
    }

    /// A copy of the result in the unit of the HSI (H×W×B); made again where it was not held.
    ///
    /// # Errors
    /// Those of [`FusedImage`].
    pub fn image(&self) -> Result<Cube> {
        let strips = self.strips();
        match self.product {
            Product::Whole(_) if self.scene.wanted().is_none() => strips.rows(0..self.dim().0),
            _ => strips::collect(&strips),
        }
    }

    /// The result in the unit of the HSI, without a copy where it was held.
    ///
    /// # Errors
    /// Those of [`FusedImage`].
    pub fn into_image(self) -> Result<Cube> {
        match self.product {
            Product::Whole(samples) if self.scene.wanted().is_none() => {
                let scene = &self.scene;
                sound(self.engine, &samples)?;
                finish(samples, scene.hsi_unit, scene.hr_valid.view(), self.metadata)
            }
            _ => self.image(),
        }
    }
}
