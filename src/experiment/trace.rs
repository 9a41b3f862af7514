//! The course of a run of the paper's method, epoch by epoch: objective, PSF and metrics.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::coordination::training::{Epoch, rises};
use crate::metrics::Scores;
use crate::sensor::psf::GaussianPsf;

/// Distance from its last state, relative to it, within which a PSF has settled.
pub const SETTLED: f64 = 0.05;

/// A state of the model and the losses of the epoch that led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Steps done.
    pub step: u32,
    /// Mean of L_θ over the epoch; none at the start and where θ is not trained.
    pub degradation: Option<f64>,
    /// Mean of L_φ over the epoch; none at the start.
    pub network: Option<f64>,
    /// Standard error of L_θ + L_φ; none at the start.
    pub error: Option<f64>,
    /// The Gaussian PSF: factor `[m00, m10, m11]` and centre ([`GaussianPsf`]).
    pub psf: Vec<f64>,
    /// ‖Ĉ − C‖ / ‖C‖.
    pub psf_nrmse: f64,
    /// ‖R̂ − R‖ / ‖R‖, where the truth is known.
    pub srf_nrmse: Option<f64>,
    /// Quality of the reconstruction, `strict`; none in epochs where it was not measured.
    pub scores: Option<Scores>,
    /// Bands of the reconstruction that are zero everywhere: outputs whose ReLU never fires. Where measured.
    pub dead_bands: Option<usize>,
}

impl Point {
    /// L_θ + L_φ.
    pub fn objective(&self) -> Option<f64> {
        self.network.map(|phi| phi + self.degradation.unwrap_or(0.0))
    }

    /// The PSF, K×K.
    pub fn kernel(&self, size: usize) -> Array2<f64> {
        GaussianPsf::from_parameters(&self.psf).kernel(size)
    }
}

/// The course of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Steps of an epoch of the coordination loop.
    pub epoch_steps: u32,
    /// The start, then the end of every epoch of the coordination loop.
    pub training: Vec<Point>,
    /// The start, then the end of every epoch of partial fine-tuning; empty where it was left out.
    pub finetuning: Vec<Point>,
    /// Epochs (from 1) of the coordination loop whose objective rose over the epoch before beyond sampling noise.
    pub rises: Vec<usize>,
    /// First epoch from which on the PSF stays within [`SETTLED`] of where it ends.
    pub settled_epoch: usize,
}

impl Trace {
    /// Of these points, the PSF being K×K with K = `kernel`.
    pub fn new(epoch_steps: u32, training: Vec<Point>, kernel: usize) -> Self {
        let epochs: Vec<Epoch> = training
            .iter()
            .filter_map(|p| {
                Some(Epoch {
                    step: p.step,
                    degradation: p.degradation,
                    network: p.network?,
                    error: p.error?,
                })
            })
            .collect();
        let settled_epoch = training.last().map_or(0, |last| {
            let end = last.kernel(kernel);
            let away = |p: &Point| nrmse(&p.kernel(kernel), &end) > SETTLED;
            training.iter().rposition(away).map_or(0, |k| k + 1)
        });
        Trace {
            epoch_steps,
            // Epoch k of the list is the one that ends at point k + 1.
            rises: rises(&epochs, 0.0).into_iter().map(|k| k + 1).collect(),
            training,
            finetuning: Vec::new(),
            settled_epoch,
        }
    }
}

/// ‖found − truth‖ / ‖truth‖ (Frobenius) of two matrices of one shape.
pub(super) fn nrmse(found: &Array2<f64>, truth: &Array2<f64>) -> f64 {
    let error: f64 = found.iter().zip(truth).map(|(a, b)| (a - b) * (a - b)).sum();
    (error / truth.iter().map(|x| x * x).sum::<f64>()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: u32, variance: f64, network: Option<f64>) -> Point {
        let m = 1.0 / variance.sqrt();
        Point {
            step,
            degradation: None,
            network,
            error: network.map(|_| 0.01),
            psf: vec![m, 0.0, m, 0.0, 0.0],
            psf_nrmse: 0.0,
            srf_nrmse: None,
            scores: None,
            dead_bands: None,
        }
    }

    #[test]
    fn settling_and_rises_are_counted_in_epochs() {
        let points = vec![
            point(0, 0.1, None),
            point(10, 2.0, Some(1.0)),
            point(20, 0.5, Some(0.8)),
            point(30, 2.02, Some(0.9)),
            point(40, 2.0, Some(0.7)),
        ];
        let trace = Trace::new(10, points, 9);
        // It passed its end in epoch 1, went away in epoch 2 and has stayed since epoch 3.
        assert_eq!(trace.settled_epoch, 3);
        // 0.1 is more than three times 0.014.
        assert_eq!(trace.rises, [3]);
    }
}
