//! An image in memory that belongs to someone else.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayView3, s};

use super::strips::Strips;
use super::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// Borrowed samples, rows × columns × bands in any memory order, and what is known of them.
#[derive(Debug, Clone)]
pub struct View<'a> {
    samples: ArrayView3<'a, f32>,
    valid: Option<ArrayView2<'a, bool>>,
    metadata: Metadata,
    sample_type: SampleType,
}

impl<'a> View<'a> {
    /// Samples of which nothing else is known.
    pub fn new(samples: ArrayView3<'a, f32>) -> Self {
        View {
            samples,
            valid: None,
            metadata: Metadata::default(),
            sample_type: SampleType::F32,
        }
    }

    /// With wavelengths, names of bands, the pixel grid and whatever else is known.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// With a mask, rows × columns: `true` where a pixel may be used.
    ///
    /// # Errors
    /// [`Error::Input`] where it has another size than the image.
    pub fn with_mask(mut self, valid: ArrayView2<'a, bool>) -> Result<Self> {
        let (rows, columns, _) = self.samples.dim();
        if valid.dim() != (rows, columns) {
            let (r, c) = valid.dim();
            return Err(Error::input(format!(
                "a mask of {r} x {c} pixels for an image of {rows} x {columns}"
            )));
        }
        self.valid = Some(valid);
        Ok(self)
    }
}

impl<'a> From<&'a View<'_>> for View<'a> {
    fn from(view: &'a View<'_>) -> Self {
        View {
            samples: view.samples.view(),
            valid: view.valid.as_ref().map(|valid| valid.view()),
            metadata: view.metadata.clone(),
            sample_type: view.sample_type,
        }
    }
}

impl<'a> From<&'a Cube> for View<'a> {
    fn from(cube: &'a Cube) -> Self {
        View {
            samples: cube.samples.view(),
            valid: cube.valid.as_ref().map(|valid| valid.view()),
            metadata: cube.metadata.clone(),
            sample_type: cube.sample_type,
        }
    }
}

impl<'a> From<&'a ndarray::Array3<f32>> for View<'a> {
    fn from(samples: &'a ndarray::Array3<f32>) -> Self {
        View::new(samples.view())
    }
}

impl<'a> From<ArrayView3<'a, f32>> for View<'a> {
    fn from(samples: ArrayView3<'a, f32>) -> Self {
        View::new(samples)
    }
}

impl Strips for View<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        self.samples.dim()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.sample_type
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        Ok(Cube {
            samples: self.samples.slice(s![rows.clone(), .., ..]).to_owned(),
            valid: self.valid.map(|valid| valid.slice(s![rows, ..]).to_owned()),
            metadata: self.metadata.clone(),
            sample_type: self.sample_type,
        })
    }
}
