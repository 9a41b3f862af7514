//! How sure the fusion is of every sample: a standard deviation beside the image, and how well it holds.
//!
//! Members that started apart and were trained alike agree where the data fix the answer and disagree where they do
//! not, so the spread of their means, with the σ that the network itself states where samples were trained, tells
//! where errors are large. What all members have wrong alike their spread does not see; on the CAVE scenes at ×8 and
//! ×32 the error is 1.5 to 2.4 times the spread, refined or not, and a factor of 2 stands for that. Where members are cross-fitted
//! nothing is assumed: the mixtures that have not seen each fold tell by their spread where errors are large, and held-out
//! LR pixels how large they are.

use std::cell::RefCell;
use std::ops::Range;

use ndarray::s;
use serde::Serialize;

use crate::coordination::fused_scene::finish;
use crate::coordination::model::Model;
use crate::coordination::product::Fused;
use crate::coordination::reconstruct::reconstruct_rows;
use crate::cube::strips::{self, Strips};
use crate::cube::{Cube, Metadata, SampleType, filled};
use crate::engine::Output;
use crate::error::{Error, Result};

/// Error of the members' mean relative to their spread.
const SHARED_ERROR: f64 = 2.0;

/// Rows that the members' spread is measured on.
const LOOKED_AT: usize = 64;

/// Standard deviation of every sample of a fusion in the unit of the HSI, row by row.
pub struct Deviation<'a> {
    fused: &'a Fused<'a>,
    /// One model a member.
    members: Vec<Model>,
    /// For every band the variance that all samples have, and the factor of the members' variance; without, the members' own.
    scale: Option<(Vec<f32>, Vec<f32>)>,
    /// A member's mean of the rows at hand.
    room: RefCell<Vec<f32>>,
}

/// Share of reference samples whose error is within one and two standard deviations. Of normal errors with the right
/// deviation it is 0.683 and 0.954.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Calibration {
    /// Within one.
    pub within_1: f64,
    /// Within two.
    pub within_2: f64,
}

/// Whether members (0: as many as the LR pixels ask for, never one) or a trained σ will tell a deviation, before
/// anything is computed.
///
/// # Errors
/// [`Error::Input`] where there is one member and σ is not trained.
pub fn check(members: usize, sampling: bool) -> Result<()> {
    if members != 1 || sampling {
        return Ok(());
    }
    Err(Error::input(
        "a standard deviation needs at least 2 members (the setting members) or a preset that trains its standard deviation (sampling)",
    ))
}

impl<'a> Deviation<'a> {
    /// Of `fused`.
    ///
    /// # Errors
    /// As [`reconstruct_rows`].
    pub fn new(fused: &'a Fused<'a>) -> Result<Self> {
        let expected = fused.mixture.as_ref().and_then(|m| m.expected.as_ref());
        if let (Some(expected), false) = (expected, fused.folds.is_empty()) {
            let mut deviation = Deviation {
                fused,
                members: fused.folds.clone(),
                scale: None,
                room: RefCell::default(),
            };
            deviation.scale = Some(deviation.scaled(&expected.deviation)?);
            return Ok(deviation);
        }
        let model = &fused.model;
        let size = model.architecture.layout().parameters;
        let members = (0..model.architecture.members).map(|member| {
            let mut one = model.clone();
            one.architecture.members = 1;
            one.state.network = model.state.network[member * size..][..size].to_vec();
            one
        });
        Ok(Deviation {
            members: members.collect(),
            fused,
            scale: None,
            room: RefCell::default(),
        })
    }

    /// For every band the variance that a sample has for certain, and the factor of the members' variance: so that in the mean over
    /// the image they are half each of the square of `error`, what is expected from held-out pixels. Half, because a spread of
    /// four is a poor witness of a single sample.
    fn scaled(&self, error: &[f64]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (rows, columns, _) = self.fused.common.scene.hr_msi.dim();
        let bands = error.len();
        let mut sums = vec![0.0f64; bands];
        let mut pixels = 0usize;
        let lines = rows.min(LOOKED_AT);
        for k in 0..lines {
            let row = (2 * k + 1) * rows / (2 * lines);
            let mut line = vec![0.0; columns * bands];
            self.spread(row..row + 1, &mut line)?;
            for (pixel, &ok) in line
                .chunks_exact(bands)
                .zip(self.fused.common.scene.hr_valid.row(row))
            {
                if ok {
                    pixels += 1;
                    sums.iter_mut()
                        .zip(pixel)
                        .for_each(|(sum, &v)| *sum += f64::from(v));
                }
            }
        }
        let halves = error.iter().zip(&sums).map(|(e, &sum)| {
            let (half, mean) = (0.5 * e * e, sum / pixels.max(1) as f64);
            if mean > 0.0 {
                (half as f32, (half / mean) as f32)
            } else {
                (2.0 * half as f32, 0.0)
            }
        });
        Ok(halves.unzip())
    }

    /// Variance of rows of the image in the scale of the network.
    fn variance(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.spread(rows, out)?;
        if let Some((certain, factor)) = &self.scale {
            for pixel in out.chunks_exact_mut(certain.len()) {
                for (v, (certain, factor)) in pixel.iter_mut().zip(certain.iter().zip(factor)) {
                    *v = certain + factor * *v;
                }
            }
        }
        Ok(())
    }

    /// What the members' spread, and a trained σ, tell of it.
    fn spread(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let mut made = self.room.borrow_mut();
        made.resize(out.len(), 0.0);
        let (scene, model) = (&self.fused.common.scene, &self.fused.model);
        let count = self.members.len() as f32;
        if self.members.len() > 1 {
            // Welford's recurrence: `out` sums the squares, `mean` the members so far.
            let mut mean = vec![0.0f32; out.len()];
            for (k, member) in self.members.iter().enumerate() {
                reconstruct_rows(
                    self.fused.engine,
                    member,
                    scene.hr_msi.view(),
                    rows.clone(),
                    Output::Mean,
                    &mut made,
                )?;
                for ((sum, mean), &x) in out.iter_mut().zip(&mut mean).zip(&*made) {
                    let difference = x - *mean;
                    *mean += difference / (k + 1) as f32;
                    *sum += difference * (x - *mean);
                }
            }
            let scale = (SHARED_ERROR * SHARED_ERROR) as f32 / (count - 1.0);
            for pixel in out.chunks_exact_mut(model.architecture.bands) {
                let mean = pixel.iter().sum::<f32>() / pixel.len() as f32;
                // Eight members tell a variance within a factor of two; its neighbours in the spectrum steady it.
                pixel.iter_mut().for_each(|v| *v = scale * 0.5 * (*v + mean));
            }
        }
        if model.config.training.sampling {
            reconstruct_rows(
                self.fused.engine,
                model,
                scene.hr_msi.view(),
                rows,
                Output::Std,
                &mut made,
            )?;
            out.iter_mut().zip(&*made).for_each(|(v, &s)| *v += s * s);
        }
        Ok(())
    }
}

/// How many errors of `result` against `reference` lie within `deviation`, all of one shape; masked samples are left out.
///
/// # Errors
/// Those of the images.
pub fn calibration(
    deviation: &dyn Strips,
    reference: &dyn Strips,
    result: &dyn Strips,
) -> Result<Calibration> {
    let (mut within, mut count) = ([0usize; 2], 0usize);
    strips::for_each(deviation, |first, deviation| {
        let rows = first..first + deviation.rows();
        let (truth, made) = (reference.rows(rows.clone())?, result.rows(rows)?);
        for ((r, c, band), &sigma) in deviation.samples.indexed_iter() {
            if !(deviation.is_valid(r, c) && truth.is_valid(r, c) && made.is_valid(r, c)) {
                continue;
            }
            let error = (truth.samples[[r, c, band]] - made.samples[[r, c, band]]).abs();
            count += 1;
            within[0] += usize::from(error <= sigma);
            within[1] += usize::from(error <= 2.0 * sigma);
        }
        Ok(())
    })?;
    let share = |n: usize| n as f64 / count.max(1) as f64;
    Ok(Calibration {
        within_1: share(within[0]),
        within_2: share(within[1]),
    })
}

impl Strips for Deviation<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        self.fused.dim()
    }

    fn metadata(&self) -> &Metadata {
        &self.fused.common.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let scene = &self.fused.common.scene;
        let (_, columns, _) = scene.hr_msi.dim();
        let mut variance = |rows: Range<usize>| {
            let shape = (rows.len(), columns, self.dim().2);
            filled(shape, |out| self.variance(rows, out))
        };
        let mut samples = match scene.wanted() {
            None => variance(rows.clone())?,
            Some(native) => {
                native.brought(rows.clone(), (scene.scale, scene.hr_valid.view()), &mut variance)?
            }
        };
        // Resampling undershoots.
        samples.iter_mut().for_each(|v: &mut f32| *v = v.max(0.0).sqrt());
        let valid = scene.result_valid();
        let valid = valid.slice(s![rows, ..]);
        finish(samples, scene.hsi_unit, valid, self.fused.common.metadata.clone())
    }
}
