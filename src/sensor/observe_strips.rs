//! The observation model on images that come in strips: each of these is an image whose rows are computed from those
//! of another when they are asked for. Formulas and bits are those of `observe`.

use std::ops::Range;

use ndarray::{Array2, Array3};

use super::observe::{
    Noise, Observation, Part, apply_response, blurred_rows, check_blur, check_response, inner_blocks,
    low_metadata, response_metadata,
};
use super::psf::window_start;
use crate::cube::strips::{Strips, strip_rows};
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// [`blur_and_downsample`](super::observe::blur_and_downsample) of an image that comes in strips.
pub struct Blurred<'a> {
    image: &'a dyn Strips,
    psf: &'a Array2<f64>,
    scale: usize,
    /// First row and column of the first block.
    origin: [usize; 2],
    /// Rows and columns of blocks.
    blocks: [usize; 2],
    metadata: Metadata,
}

impl<'a> Blurred<'a> {
    /// Of `image` through `psf` (K×K).
    ///
    /// # Errors
    /// As [`blur_and_downsample`](super::observe::blur_and_downsample).
    pub fn new(image: &'a dyn Strips, psf: &'a Array2<f64>, scale: usize) -> Result<Self> {
        check_blur(image.dim(), psf, scale)?;
        let (rows, columns, _) = image.dim();
        Ok(Blurred {
            metadata: low_metadata(image.metadata(), scale),
            image,
            psf,
            scale,
            origin: [0; 2],
            blocks: [rows / scale, columns / scale],
        })
    }

    /// Of the blocks of `image` whose windows lie within it ([`inner_blocks`]): nothing beyond the edge is made up.
    ///
    /// # Errors
    /// [`Error::Input`] where there is no such block.
    pub fn within(image: &'a dyn Strips, psf: &'a Array2<f64>, scale: usize) -> Result<Self> {
        let (rows, columns, bands) = image.dim();
        let of = |length| inner_blocks(length, scale, psf.nrows());
        let ((top, down), (left, across)) = (of(rows), of(columns));
        if down == 0 || across == 0 {
            return Err(Error::input(format!(
                "{rows} rows x {columns} columns are less than one block of scale {scale} with its PSF of {0} x {0} pixels",
                psf.nrows()
            )));
        }
        check_blur((down * scale, across * scale, bands), psf, scale)?;
        Ok(Blurred {
            metadata: low_metadata(&image.metadata().cropped(top, left), scale),
            image,
            psf,
            scale,
            origin: [top, left],
            blocks: [down, across],
        })
    }

    /// Rows and columns of the image that its blocks cover.
    pub fn covered(&self) -> [Range<usize>; 2] {
        [0, 1].map(|axis| self.origin[axis]..self.origin[axis] + self.blocks[axis] * self.scale)
    }
}

impl Strips for Blurred<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        (self.blocks[0], self.blocks[1], self.image.dim().2)
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let (all, columns, bands) = self.image.dim();
        let ([origin, _], [_, blocks]) = (self.origin, self.blocks);
        let (size, start) = (self.psf.nrows(), window_start(self.scale, self.psf.nrows()));
        let mut samples = Array3::zeros((rows.len(), blocks, bands));
        let mut valid: Option<Array2<bool>> = None;
        // As many LR rows at once as a strip of the image holds.
        let step = (strip_rows(columns, bands) / self.scale).max(1);
        for first in rows.clone().step_by(step) {
            let low = first..(first + step).min(rows.end);
            let from = (origin + low.start * self.scale)
                .saturating_add_signed(start)
                .min(all - 1);
            let end = (origin + (low.end - 1) * self.scale + size).saturating_add_signed(start);
            let seen = self.image.rows(from..end.clamp(from + 1, all))?;
            let part = Part {
                samples: seen.samples.view(),
                valid: seen.valid.as_ref(),
                first: from,
                rows: all,
                origin: self.origin,
                blocks,
            };
            let nodata = self.metadata.nodata;
            let (part_samples, part_valid) = blurred_rows(&part, low.clone(), self.psf, self.scale, nodata);
            let to = low.start - rows.start..low.end - rows.start;
            samples
                .slice_mut(ndarray::s![to.clone(), .., ..])
                .assign(&part_samples);
            if seen.valid.is_some() {
                valid
                    .get_or_insert_with(|| Array2::from_elem((rows.len(), blocks), true))
                    .slice_mut(ndarray::s![to, ..])
                    .assign(&part_valid);
            }
        }
        let mut cube = Cube::new(samples);
        cube.valid = valid;
        cube.metadata = self.metadata.clone();
        Ok(cube)
    }
}

/// [`apply_response`] to an image that comes in strips.
pub struct Responded<'a> {
    image: &'a dyn Strips,
    srf: &'a Array2<f64>,
    metadata: Metadata,
}

impl<'a> Responded<'a> {
    /// Of `image` under `srf` (B×b).
    ///
    /// # Errors
    /// As [`apply_response`].
    pub fn new(image: &'a dyn Strips, srf: &'a Array2<f64>) -> Result<Self> {
        check_response(image.dim().2, srf)?;
        Ok(Responded {
            metadata: response_metadata(image.metadata(), srf),
            image,
            srf,
        })
    }
}

impl Strips for Responded<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns, _) = self.image.dim();
        (rows, columns, self.srf.ncols())
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let (_, columns, bands) = self.image.dim();
        let mut parts = Vec::new();
        for first in rows.clone().step_by(strip_rows(columns, bands)) {
            let end = (first + strip_rows(columns, bands)).min(rows.end);
            parts.push(apply_response(&self.image.rows(first..end)?, self.srf)?);
        }
        stacked(parts, rows.len(), self.dim())
    }
}

/// Images below each other as one.
fn stacked(parts: Vec<Cube>, rows: usize, (_, columns, bands): (usize, usize, usize)) -> Result<Cube> {
    let mut cube = Cube::new(Array3::zeros((rows, columns, bands)));
    let mut at = 0;
    for part in parts {
        let here = at..at + part.rows();
        at = here.end;
        cube.samples
            .slice_mut(ndarray::s![here.clone(), .., ..])
            .assign(&part.samples);
        if let Some(valid) = &part.valid {
            cube.valid
                .get_or_insert_with(|| Array2::from_elem((rows, columns), true))
                .slice_mut(ndarray::s![here, ..])
                .assign(valid);
        }
        cube.metadata = part.metadata;
    }
    Ok(cube)
}

/// [`add_noise`](super::observe::add_noise) to an image that comes in strips.
pub struct Noisy<'a> {
    image: &'a dyn Strips,
    noise: Option<Noise>,
}

impl<'a> Noisy<'a> {
    /// With noise of `snr_db`, or none. Goes through the image once.
    ///
    /// # Errors
    /// As [`add_noise`](super::observe::add_noise), and those of the image.
    pub fn new(
        image: &'a dyn Strips,
        snr_db: Option<f64>,
        seed: u64,
        observation: Observation,
    ) -> Result<Self> {
        let noise = snr_db
            .map(|snr| Noise::of(image, snr, seed, observation))
            .transpose()?;
        Ok(Noisy { image, noise })
    }
}

impl Strips for Noisy<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        self.image.dim()
    }

    fn metadata(&self) -> &Metadata {
        self.image.metadata()
    }

    fn sample_type(&self) -> SampleType {
        self.image.sample_type()
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let first = rows.start;
        let mut strip = self.image.rows(rows)?;
        if let Some(noise) = &self.noise {
            noise.add(&mut strip, first);
        }
        Ok(strip)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::s;

    use super::*;
    use crate::sensor::observe::{add_noise, blur_and_downsample};
    use crate::sensor::psf::GaussianPsf;

    // Any split of the rows gives the bits of the whole image: K > s, a masked pixel, noise.
    #[test]
    fn strips_leave_no_seam() {
        let mut image = Cube::new(Array3::from_shape_fn((24, 12, 5), |(r, c, b)| {
            ((r * 37 + c * 91 + b * 53) % 256) as f32 / 255.0
        }));
        image.samples[[9, 4, 1]] = -1.0;
        image.mask_value(-1.0);
        let psf = GaussianPsf::from_variances(3.0, 1.0, 0.7).unwrap().kernel(9);
        let srf = Array2::from_shape_fn((5, 2), |(i, j)| (1 + i + j) as f64 / 10.0);
        let mut low = blur_and_downsample(&image, &psf, 4).unwrap();
        let mut msi = apply_response(&image, &srf).unwrap();
        add_noise(&mut low, 20.0, 3, Observation::LrHsi).unwrap();
        add_noise(&mut msi, 20.0, 3, Observation::HrMsi).unwrap();
        let blurred = Blurred::new(&image, &psf, 4).unwrap();
        let responded = Responded::new(&image, &srf).unwrap();
        let low_strips = Noisy::new(&blurred, Some(20.0), 3, Observation::LrHsi).unwrap();
        let msi_strips = Noisy::new(&responded, Some(20.0), 3, Observation::HrMsi).unwrap();
        for (whole, strips) in [(&low, &low_strips), (&msi, &msi_strips)] {
            assert_eq!(strips.metadata(), &whole.metadata);
            for step in [1, 4, 5, 24] {
                for first in (0..whole.rows()).step_by(step) {
                    let rows = first..(first + step).min(whole.rows());
                    let strip = strips.rows(rows.clone()).unwrap();
                    assert_eq!(strip.samples, whole.samples.slice(s![rows.clone(), .., ..]));
                    assert_eq!(
                        strip.valid.unwrap(),
                        whole.valid.as_ref().unwrap().slice(s![rows, ..])
                    );
                }
            }
        }
    }
}
