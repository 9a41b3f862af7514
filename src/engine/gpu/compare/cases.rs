//! One table of cases for the command `verify` and for the kernel tests: small training runs with random data of a
//! fixed seed. `compare` runs them.

use crate::engine::{Geometry, Noise, Problem, StepPlan, TrainingSet, TrainingState};
use crate::network::{Activation, Architecture, Initialisation, initial_parameters};
use crate::random::{key, normals, philox, uniform};
use crate::sensor::psf::GaussianPsf;
use crate::sensor::srf;

/// A small training run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name, for tables.
    pub name: &'static str,
    /// Network; `members` and `linear_path` included.
    pub architecture: Architecture,
    /// Scale and PSF side.
    pub geometry: Geometry,
    /// Windows of the training set.
    pub windows: usize,
    /// LR pixels of a step.
    pub lr: usize,
    /// HR windows of a step.
    pub hr: usize,
    /// Source of ε.
    pub noise: Noise,
    /// Whether PSF and SRF are fixed.
    pub fixed: bool,
    /// Whether the encoder is frozen and θ left alone.
    pub frozen: bool,
}

fn architecture(
    bands: usize,
    msi_bands: usize,
    encoder: &[usize],
    mean: &[usize],
    std: &[usize],
) -> Architecture {
    Architecture {
        bands,
        msi_bands,
        encoder: encoder.to_vec(),
        concatenate: true,
        mean: mean.to_vec(),
        std: std.to_vec(),
        slope: 0.2,
        encoder_last: Activation::Leaky,
        decoder_last: Activation::Relu,
        members: 1,
        linear_path: false,
    }
}

/// The table: the presets, shapes smaller than any tile, primes, K = s, K < s and K > s, 1 to 8 MSI bands, 1 to
/// 200 bands, one and three members, every source of noise, fixed and frozen parts.
pub fn cases() -> Vec<Case> {
    let paper = [4, 8, 16, 24, 16];
    let base = Case {
        name: "cave",
        architecture: architecture(31, 3, &paper, &[24], &[24]),
        geometry: Geometry { scale: 4, kernel: 4 },
        windows: 9,
        lr: 8,
        hr: 3,
        noise: Noise::Philox(7),
        fixed: false,
        frozen: false,
    };
    let small = |name, b: usize, scale, kernel| Case {
        name,
        architecture: architecture(b + 4, b, &[3, 5], &[6], &[]),
        geometry: Geometry { scale, kernel },
        windows: 5,
        lr: 3,
        hr: 2,
        ..base.clone()
    };
    vec![
        base.clone(),
        Case {
            name: "cave-released",
            architecture: Architecture {
                encoder_last: Activation::Relu,
                decoder_last: Activation::Leaky,
                ..architecture(31, 3, &paper, &[18, 22, 26, 30, 32], &[24])
            },
            noise: Noise::Given,
            ..base.clone()
        },
        Case {
            name: "chikusei, K > s",
            architecture: architecture(128, 3, &paper, &[64], &[64]),
            geometry: Geometry { scale: 3, kernel: 5 },
            lr: 3,
            hr: 2,
            ..base.clone()
        },
        Case {
            name: "wv2",
            architecture: architecture(8, 3, &paper, &[18], &[18]),
            noise: Noise::Off,
            ..base.clone()
        },
        Case {
            name: "one pixel, one band",
            architecture: architecture(1, 1, &[1], &[], &[]),
            geometry: Geometry { scale: 1, kernel: 1 },
            windows: 1,
            lr: 1,
            hr: 1,
            ..base.clone()
        },
        Case {
            name: "three members, linear path, K < s",
            architecture: Architecture {
                members: 3,
                linear_path: true,
                ..architecture(13, 5, &[7, 11], &[9], &[5, 3])
            },
            geometry: Geometry { scale: 5, kernel: 3 },
            windows: 71,
            lr: 67,
            hr: 5,
            ..base.clone()
        },
        Case {
            name: "200 bands, 8 MSI bands",
            architecture: architecture(200, 8, &[37], &[41], &[]),
            geometry: Geometry { scale: 2, kernel: 2 },
            windows: 3,
            lr: 3,
            hr: 2,
            ..base.clone()
        },
        Case {
            name: "fixed PSF and SRF",
            fixed: true,
            ..small("", 2, 3, 3)
        },
        Case {
            name: "frozen encoder, three members",
            architecture: Architecture {
                members: 3,
                ..architecture(13, 3, &paper, &[9], &[])
            },
            frozen: true,
            ..base.clone()
        },
        Case {
            architecture: Architecture {
                concatenate: false,
                ..small("", 4, 2, 2).architecture
            },
            ..small("4 MSI bands, not concatenated", 4, 2, 2)
        },
        small("6 MSI bands, K = 9", 6, 4, 9),
        small("7 MSI bands", 7, 1, 2),
    ]
}

/// `n` numbers in (0, 1) of stream `stream`.
pub(super) fn uniforms(n: usize, stream: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| uniform(philox(key(11), [i, stream, 99, 0])[0]))
        .collect()
}

pub(super) fn gaussians(n: usize, stream: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| normals::<f32>(key(12), stream, 99, i, 0)[0])
        .collect()
}

impl Case {
    /// What the run is.
    pub fn problem(&self) -> Problem<f32> {
        let (a, g) = (&self.architecture, self.geometry);
        let normalised = |mut x: Vec<f32>, columns: usize| {
            for j in 0..columns {
                let sum: f32 = x.iter().skip(j).step_by(columns).sum();
                x.iter_mut().skip(j).step_by(columns).for_each(|v| *v /= sum);
            }
            x
        };
        Problem {
            architecture: a.clone(),
            geometry: g,
            alpha: [0.5, 0.2, 0.3],
            beta: 0.5,
            noise: self.noise,
            learn_psf: true,
            learn_centre: true,
            learn_srf: true,
            fixed_psf: self
                .fixed
                .then(|| normalised(uniforms(g.kernel * g.kernel, 1), 1)),
            fixed_srf: self
                .fixed
                .then(|| normalised(uniforms(a.bands * a.msi_bands, 2), a.msi_bands)),
            frozen_encoder: self.frozen,
            lr_capacity: self.lr,
            hr_capacity: self.hr,
        }
    }

    /// Its data.
    pub fn data(&self) -> TrainingSet<f32> {
        let (a, side) = (&self.architecture, self.geometry.window());
        TrainingSet {
            lr_hsi: uniforms(self.windows * a.bands, 3),
            hr_msi: uniforms(self.windows * side * side * a.msi_bands, 4),
            windows: self.windows,
        }
    }

    /// Its start, with a history for Adam.
    pub fn state(&self) -> TrainingState<f32> {
        let a = &self.architecture;
        let network = initial_parameters(a, Initialisation::FanIn, 5);
        let start = GaussianPsf {
            centre: [0.2, -0.1],
            ..GaussianPsf::from_variances(3.0, 1.5, 0.6).unwrap_or(GaussianPsf {
                factor: [1.0, 0.0, 1.0],
                centre: [0.0; 2],
            })
        };
        let gaussians_of_srf = srf::GAUSSIANS * a.msi_bands;
        let means =
            (0..gaussians_of_srf).map(|k| (a.bands * (2 * k + 1)) as f64 / (2 * gaussians_of_srf) as f64);
        let widths = (0..gaussians_of_srf).map(|k| 0.8 + 0.1 * (k % 5) as f64 + a.bands as f64 / 20.0);
        let theta: Vec<f32> = start
            .parameters()
            .into_iter()
            .chain(means)
            .chain(widths)
            .map(|x| x as f32)
            .collect();
        let mut state = TrainingState::start(a, network, theta);
        let small = |x: Vec<f32>| -> Vec<f32> { x.iter().map(|x| 1e-3 * x).collect() };
        let layout = a.layout();
        // Padding has no history.
        for l in &layout.layers {
            for member in 0..a.members {
                for i in 0..=l.inputs {
                    for o in 0..l.outputs {
                        let at = member * layout.parameters + l.weight + i * l.stride + o;
                        let draw = uniforms(2, 100 + at as u32);
                        state.network_m[at] = 1e-3 * (draw[0] - 0.5);
                        state.network_v[at] = 1e-6 * draw[1];
                    }
                }
            }
        }
        state.degradation_m = small(gaussians(state.degradation.len(), 6));
        state.degradation_v = uniforms(state.degradation.len(), 7)
            .iter()
            .map(|x| 1e-4 * x)
            .collect();
        state.network_updates = 3;
        state.degradation_updates = 2;
        if a.linear_path {
            state.linear = gaussians(state.linear.len(), 8).iter().map(|x| 0.2 * x).collect();
            for row in state.linear.chunks_exact_mut(a.band_stride()) {
                row[a.bands..].fill(0.0);
            }
        }
        state
    }

    /// Step `step` of the run; its batches and its member change from step to step.
    pub fn plan(&self, step: u32) -> StepPlan {
        let window = |k: usize| ((k * 2 + step as usize) % self.windows) as u32;
        StepPlan {
            step,
            lr_batch: (0..self.lr).map(window).collect::<Vec<_>>().into(),
            hr_batch: (0..self.hr).map(|k| window(k + 1)).collect::<Vec<_>>().into(),
            member: (self.architecture.members as u32 - 1).saturating_sub(step % 2),
            network_rate: Some(1e-3),
            degradation_rate: (!self.frozen).then_some(1e-3),
        }
    }

    /// Given ε of a step, HR and LR; empty where the run draws its own.
    pub(super) fn noise(&self) -> (Vec<f32>, Vec<f32>) {
        if self.noise != Noise::Given {
            return (Vec::new(), Vec::new());
        }
        let (a, side) = (&self.architecture, self.geometry.window());
        (
            gaussians(self.hr * side * side * a.bands, 9),
            gaussians(a.members * self.lr * a.bands, 10),
        )
    }
}
