//! A trained model over a high-resolution MSI.

use std::ops::Range;

use ndarray::{Array2, Array3};

use crate::coordination::fused_scene::finish;
use crate::coordination::model::Model;
use crate::coordination::scene::calibrate_msi;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType};
use crate::engine::{Engine, Output as Wanted};
use crate::error::{Error, Result};

/// What the network makes of an MSI, row by row, in the unit of the HSI that it was trained on.
pub struct Inferred<'a> {
    engine: &'a dyn Engine<f32>,
    model: &'a Model,
    msi: &'a dyn Strips,
    wanted: Wanted,
    metadata: Metadata,
}

impl Strips for Inferred<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns, _) = self.msi.dim();
        (rows, columns, self.model.architecture.bands)
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let (_, columns, bands) = self.dim();
        let mut msi = self.msi.rows(rows.clone())?;
        let calibration = &self.model.calibration;
        calibrate_msi(msi.samples.view_mut(), 1.0, calibration);
        let mut samples = Array3::zeros((rows.len(), columns, bands));
        self.engine.reconstruct(
            &self.model.architecture,
            &self.model.state,
            msi.samples.view(),
            (rows.start * columns) as u32,
            self.wanted,
            samples.view_mut(),
        )?;
        let valid = msi
            .valid
            .unwrap_or_else(|| Array2::from_elem((rows.len(), columns), true));
        finish(samples, calibration.hsi_unit, valid.view(), self.metadata.clone())
    }
}

impl<'a> Inferred<'a> {
    /// Of a model and an MSI that [`Inferred::check`] has passed; `masked` says that pixels are left out of the MSI which no value
    /// marks.
    pub fn new(
        engine: &'a dyn Engine<f32>,
        model: &'a Model,
        msi: &'a dyn Strips,
        wanted: Wanted,
        masked: bool,
    ) -> Self {
        let bands = Metadata {
            wavelengths: model.wavelengths.clone(),
            ..Metadata::default()
        };
        let mut metadata = Metadata::of_fusion(&bands, msi.metadata());
        if masked {
            metadata.nodata = metadata.nodata.or(Some(f64::NAN));
        }
        Inferred {
            engine,
            model,
            msi,
            wanted,
            metadata,
        }
    }

    /// Refuses an MSI that the model was not trained for; both with their names.
    ///
    /// # Errors
    /// [`Error::Input`] with the numbers of bands.
    pub fn check(model: &Model, name: &str, (file, msi): (&str, &dyn Strips)) -> Result<()> {
        let (wanted, bands) = (model.architecture.msi_bands, msi.dim().2);
        if wanted == bands {
            Ok(())
        } else {
            Err(Error::input(format!(
                "{name}: trained for {wanted} MSI bands; {file} has {bands}"
            )))
        }
    }
}
