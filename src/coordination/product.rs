//! The image that a fusion makes: in memory as a whole, or made strip by strip whenever rows are asked for.
//!
//! Which of the two follows from the memory a run may use ([`fits`](super::memory::fits)); the bits are the same. The second costs the
//! network a second pass, because refinement must have seen the whole scene before the first row is final.

use std::ops::Range;

use ndarray::{Array3, ArrayView3, s};

use crate::baseline::regression::Blend;
use crate::coordination::fused_scene::{FusedImage, FusedScene, Maker, finish, sound};
use crate::coordination::model::{Degradation, Model};
use crate::coordination::native::Native;
use crate::coordination::prior::{MixtureReport, prior_rows};
use crate::coordination::training::History;
use crate::cube::{Cube, filled};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::refine::consistency::Correction;

/// A fused image in the scale of the network.
#[derive(Debug)]
pub enum Product {
    /// All of it, H×W×B.
    Whole(Array3<f32>),
    /// What refinement adds to rows that the network makes when they are asked for; `None` where that is nothing.
    Strips(Option<Box<Correction>>),
}

/// A scene that was fused by the network: the image, and everything that was found on the way.
pub struct Fused<'e> {
    /// What every method leaves. The scene is calibrated as the model's [`crate::coordination::model::Calibration`] says.
    pub common: FusedScene,
    /// The engine that it was made on, which makes rows of a result that is not held.
    pub engine: &'e dyn Engine<f32>,
    /// The image, in the scale of the network.
    pub product: Product,
    /// The model: all members with their weights in the prior, where that was mixed.
    pub model: Model,
    /// What stands beside the model in the prior of refinement.
    pub blend: Option<Blend>,
    /// The same mixture of the members that have not seen each fold of the LR pixels: their spread tells what the data leave
    /// open. None where there are no such members.
    pub folds: Vec<Model>,
    /// How the prior was mixed, and what error is to be expected of the result.
    pub mixture: Option<MixtureReport>,
    /// Losses of the coordination loop.
    pub training: History,
    /// Losses of fine-tuning; empty where it was left out.
    pub finetuning: History,
    /// LR pixels that could be trained on, and that were.
    pub pixels: (usize, usize),
}

impl Maker for Fused<'_> {
    fn fused(&self) -> &FusedScene {
        &self.common
    }

    fn degradation(&self) -> Degradation {
        self.model.degradation()
    }

    fn is_held(&self) -> bool {
        matches!(self.product, Product::Whole(_))
    }

    fn on_model(&self, rows: Range<usize>) -> Result<Array3<f32>> {
        let msi = self.common.scene.hr_msi.view();
        match &self.product {
            Product::Whole(samples) => Ok(samples.slice(s![rows, .., ..]).to_owned()),
            Product::Strips(correction) => {
                let mut samples = self.network_rows(msi, rows.clone())?;
                if let (Some(correction), Some(out)) = (correction, samples.as_slice_mut()) {
                    correction.apply(self.engine.refiner(), rows.start, msi, out)?;
                }
                Ok(samples)
            }
        }
    }

    fn on_native(&self, native: &Native, rows: Range<usize>) -> Result<Array3<f32>> {
        let scene = &self.common.scene;
        let mut samples = self.network_rows(native.msi.view(), rows.clone())?;
        // What refinement added to the network.
        samples += &native.brought(rows, (scene.scale, scene.hr_valid.view()), &mut |rows| {
            let network = self.network_rows(scene.hr_msi.view(), rows.clone())?;
            Ok(self.on_model(rows)? - network)
        })?;
        Ok(samples)
    }

    fn broken(&self, what: String) -> Error {
        Error::device(self.engine.name(), what)
    }
}

impl Fused<'_> {
    /// Rows of the prior over an MSI, in the scale of the network.
    fn network_rows(&self, msi: ArrayView3<f32>, rows: Range<usize>) -> Result<Array3<f32>> {
        let shape = (rows.len(), msi.dim().1, self.model.architecture.bands);
        filled(shape, |out| {
            prior_rows(self.engine, (&self.model, self.blend.as_ref()), msi, rows, out)
        })
    }

    /// Rows, columns and bands of the result.
    pub fn dim(&self) -> (usize, usize, usize) {
        self.common.dim()
    }

    /// The result strip by strip: what a writer takes. Masked pixels hold the no-data value, or NaN.
    pub fn strips(&self) -> FusedImage<'_> {
        FusedImage::new(self)
    }

    /// A copy of the result in the unit of the HSI (H×W×B); made again where it was not held.
    ///
    /// # Errors
    /// Those of [`FusedImage`].
    pub fn image(&self) -> Result<Cube> {
        self.strips().whole()
    }

    /// The result in the unit of the HSI, without a copy where it was held.
    ///
    /// # Errors
    /// Those of [`FusedImage`].
    pub fn into_image(self) -> Result<Cube> {
        match self {
            Fused {
                product: Product::Whole(samples),
                common: FusedScene { scene, metadata, .. },
                engine,
                ..
            } if scene.wanted().is_none() => {
                sound(&samples, |what| Error::device(engine.name(), what))?;
                finish(samples, scene.hsi_unit, scene.hr_valid.view(), metadata)
            }
            other => other.image(),
        }
    }
}
