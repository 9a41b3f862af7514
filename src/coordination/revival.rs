//! Starts that lead nowhere: outputs that have died, and members that have learned nothing.
//!
//! An output that ends in ReLU and is zero at every pixel has no gradient and stays so: its band is lost, however
//! long training goes on. With the presets of the paper this befalls several of 31 bands in most seeds when a
//! single scene is trained. A member whose error is no smaller than that of one spectrum for all pixels has had
//! a bad start as a whole. Both are seen in the training data alone, early, and given another start.

use ndarray::{Array2, Array3, ArrayView3};
use rayon::prelude::*;

use crate::engine::cpu::network::linear_path;
use crate::engine::simd::SimdEngine;
use crate::engine::{Engine, Geometry, Output, TrainingSet, TrainingState};
use crate::error::{Error, Result};
use crate::network::{Architecture, Branch, Initialisation, initial_parameters};

/// Parts of the schedule after which outputs are looked at; most that die do so in the first steps. Members are judged
/// at the last.
const CHECKS: [f64; 4] = [0.01, 0.03, 0.1, 0.2];
/// Most LR pixels that are looked at.
const MOST_PIXELS: usize = 4096;

/// LR pixels that a network is judged by.
#[derive(Debug, Clone)]
pub struct Witnesses {
    /// (Y∗C)↓, n×b.
    lr_msi: Vec<f32>,
    /// X, n×B.
    lr_hsi: Vec<f32>,
}

/// What was given another start.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revived {
    /// Step after which it was seen.
    pub step: u32,
    /// Outputs of the mean decoders (member, band) that had died.
    pub outputs: Vec<(usize, usize)>,
    /// Members that had learned nothing.
    pub members: Vec<usize>,
}

/// Whether an output of the mean decoders can die: whether they end in ReLU.
pub fn mortal(architecture: &Architecture) -> bool {
    let layout = architecture.layout();
    layout
        .branch(Branch::Mean)
        .last()
        .is_some_and(|layer| layer.slope == 0.0)
}

/// Steps of a schedule of `steps` after which a start is looked at, ascending, and whether members are judged there,
/// too. Outputs that cannot die are not waited for.
pub fn checks(architecture: &Architecture, steps: u32) -> Vec<(u32, bool)> {
    let last = CHECKS.len() - 1;
    let first = if mortal(architecture) { 0 } else { last };
    let step = |k: usize| (CHECKS[k] * f64::from(steps)).ceil() as u32;
    (first..=last).map(|k| (step(k), step(k) == step(last))).collect()
}

impl Revived {
    /// Whether nothing had to be done.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.members.is_empty()
    }
}

impl Witnesses {
    /// LR pixels of a training set, evenly thinned out, seen through `psf` (K×K). `architecture` tells the bands.
    pub fn new(
        architecture: &Architecture,
        geometry: Geometry,
        psf: &Array2<f64>,
        set: &TrainingSet<f32>,
    ) -> Self {
        let (bands, b) = (architecture.bands, architecture.msi_bands);
        let (side, offset) = (geometry.window(), geometry.kernel_offset());
        let step = set.windows.div_ceil(MOST_PIXELS).max(1);
        let chosen: Vec<usize> = (0..set.windows).step_by(step).collect();
        let mut lr_msi = vec![0.0; chosen.len() * b];
        lr_msi.par_chunks_exact_mut(b).zip(&chosen).for_each(|(seen, k)| {
            let window = &set.hr_msi[k * side * side * b..][..side * side * b];
            let mut blurred = vec![0.0f64; b];
            for ((i, j), &weight) in psf.indexed_iter() {
                let pixel = &window[((offset + i) * side + offset + j) * b..][..b];
                blurred
                    .iter_mut()
                    .zip(pixel)
                    .for_each(|(sum, &y)| *sum += weight * f64::from(y));
            }
            seen.iter_mut().zip(blurred).for_each(|(s, y)| *s = y as f32);
        });
        let spectra = chosen.iter().flat_map(|k| &set.lr_hsi[k * bands..][..bands]);
        Witnesses {
            lr_hsi: spectra.copied().collect(),
            lr_msi,
        }
    }

    /// Outputs of the mean decoders (member, band) that are zero at every LR pixel though their band is not.
    ///
    /// # Errors
    /// [`Error::Failed`] where `state` does not belong to `architecture`.
    pub fn dead(
        &self,
        architecture: &Architecture,
        state: &TrainingState<f32>,
    ) -> Result<Vec<(usize, usize)>> {
        let mean = self.mean(architecture.bands);
        let members = self.members(architecture, state)?.into_iter().enumerate();
        let dead = members.flat_map(|(member, (alive, _))| {
            let bands = dead_of(architecture, &alive, &mean).into_iter();
            bands.map(move |band| (member, band))
        });
        Ok(dead.collect())
    }

    /// Mean spectrum of X.
    fn mean(&self, bands: usize) -> Vec<f32> {
        let mut mean = vec![0.0f64; bands];
        for spectrum in self.lr_hsi.chunks_exact(bands) {
            mean.iter_mut()
                .zip(spectrum)
                .for_each(|(m, &x)| *m += f64::from(x));
        }
        let count = (self.lr_hsi.len() / bands).max(1) as f64;
        mean.iter().map(|m| (m / count) as f32).collect()
    }

    /// Gives dead outputs and members that learned nothing another start, and says which. A dead output becomes the
    /// mean of its band, from which it can learn; a member is drawn anew from `seed` and `step`. Adam forgets both.
    ///
    /// Members are only judged where `members_too`: early in training none has learned much.
    ///
    /// # Errors
    /// As [`Witnesses::dead`].
    pub fn revive(
        &self,
        architecture: &Architecture,
        initialisation: Initialisation,
        state: &mut TrainingState<f32>,
        (seed, step): (u64, u32),
        members_too: bool,
    ) -> Result<Revived> {
        let layout = architecture.layout();
        let (bands, size) = (architecture.bands, layout.parameters);
        let mean = self.mean(bands);
        let flat: f64 = self
            .lr_hsi
            .chunks_exact(bands)
            .flat_map(|spectrum| spectrum.iter().zip(&mean))
            .map(|(&x, &m)| f64::from((x - m).abs()))
            .sum();
        let mut revived = Revived {
            step,
            ..Revived::default()
        };
        let members = self.members(architecture, state)?;
        for (member, (alive, error)) in members.into_iter().enumerate() {
            let block = member * size..(member + 1) * size;
            if members_too && error >= flat && flat > 0.0 {
                // Another stream of random numbers than that of any other seed in use or any other step.
                let other = seed ^ (u64::from(step) << 32) ^ (1 << 63);
                let fresh = initial_parameters::<f32>(architecture, initialisation, other);
                state.network[block.clone()].copy_from_slice(&fresh[block.clone()]);
                state.network_m[block.clone()].fill(0.0);
                state.network_v[block].fill(0.0);
                revived.members.push(member);
                continue;
            }
            let Some(last) = layout.branch(Branch::Mean).last() else {
                continue;
            };
            for band in dead_of(architecture, &alive, &mean) {
                for i in 0..=last.inputs {
                    let at = block.start + last.weight + i * last.stride + band;
                    state.network[at] = if i == last.inputs { mean[band] } else { 0.0 };
                    state.network_m[at] = 0.0;
                    state.network_v[at] = 0.0;
                }
                revived.outputs.push((member, band));
            }
        }
        Ok(revived)
    }

    /// [`Witnesses::outputs`] of every member.
    fn members(
        &self,
        architecture: &Architecture,
        state: &TrainingState<f32>,
    ) -> Result<Vec<(Vec<bool>, f64)>> {
        let blocks = state.network.par_chunks_exact(architecture.layout().parameters);
        let outputs = blocks.map(|block| self.outputs(architecture, block, &state.linear));
        outputs.collect()
    }

    /// Which of a member's mean outputs are above zero anywhere, and Σ|μ − X|.
    fn outputs(
        &self,
        architecture: &Architecture,
        parameters: &[f32],
        linear: &[f32],
    ) -> Result<(Vec<bool>, f64)> {
        let (bands, b) = (architecture.bands, architecture.msi_bands);
        // The decoder's own outputs, with a linear path of zeros: its own would hide a dead one.
        let alone = Architecture {
            members: 1,
            ..architecture.clone()
        };
        let state = TrainingState::start(&alone, parameters.to_vec(), Vec::new());
        let pixels = self.lr_msi.len() / b;
        let lr_msi = ArrayView3::from_shape((pixels, 1, b), &self.lr_msi[..])
            .map_err(|e| Error::failed(format!("LR pixels: {e}")))?;
        let mut means = Array3::zeros((pixels, 1, bands));
        let engine = SimdEngine::new();
        engine.reconstruct(&alone, &state, lr_msi, 0, Output::Mean, means.view_mut())?;
        let mut alive = vec![false; bands];
        let mut error = 0.0;
        let seen = self.lr_msi.chunks_exact(b).zip(self.lr_hsi.chunks_exact(bands));
        for (own, (msi, spectrum)) in means.rows().into_iter().zip(seen) {
            for (band, ((&own, &x), alive)) in own.iter().zip(spectrum).zip(&mut alive).enumerate() {
                *alive |= own > 0.0;
                let path = if architecture.linear_path {
                    linear_path(linear, architecture.band_stride(), band, msi)
                } else {
                    0.0
                };
                error += f64::from((own + path - x).abs());
            }
        }
        Ok((alive, error))
    }
}

/// Bands whose output ends in ReLU and is zero everywhere though their mean is not.
fn dead_of(architecture: &Architecture, alive: &[bool], mean: &[f32]) -> Vec<usize> {
    let mortal = mortal(architecture);
    let bands = (0..alive.len()).filter(|&band| mortal && !alive[band] && mean[band] > 0.0);
    bands.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Activation;

    fn architecture() -> Architecture {
        Architecture {
            bands: 5,
            msi_bands: 2,
            encoder: vec![4, 3],
            concatenate: true,
            mean: vec![6],
            std: vec![],
            slope: 0.2,
            encoder_last: Activation::Leaky,
            decoder_last: Activation::Relu,
            members: 2,
            linear_path: false,
        }
    }

    // Windows of one pixel and a PSF of one: (Y∗C)↓ is the window.
    fn witnesses() -> Witnesses {
        let wave = |k: usize, j: usize| 0.5 + 0.3 * ((k * (j + 2)) as f32).sin();
        let image =
            |bands: usize| -> Vec<f32> { (0..60 * bands).map(|i| wave(i / bands, i % bands)).collect() };
        let set = TrainingSet {
            lr_hsi: image(5),
            hr_msi: image(2),
            windows: 60,
        };
        let geometry = Geometry { scale: 1, kernel: 1 };
        let found = Witnesses::new(&architecture(), geometry, &Array2::ones((1, 1)), &set);
        assert_eq!((&found.lr_msi, &found.lr_hsi), (&set.hr_msi, &set.lr_hsi));
        found
    }

    #[test]
    fn only_outputs_that_can_die_are_waited_for() {
        let mut architecture = architecture();
        let all = [(1, false), (3, false), (10, false), (20, true)];
        assert_eq!(checks(&architecture, 100), all);
        assert_eq!(checks(&architecture, 3), [(1, true); 4]);
        architecture.decoder_last = Activation::Leaky;
        assert!(!mortal(&architecture));
        assert_eq!(checks(&architecture, 100), [(20, true)]);
    }

    // A window of 3 with a 2x2 PSF at its first element, by hand: s = 1, K = 2 starts one before the block.
    #[test]
    fn witnesses_see_through_the_psf() {
        let geometry = Geometry { scale: 1, kernel: 2 };
        let side = geometry.window();
        let set = TrainingSet {
            lr_hsi: vec![1.0; 5],
            hr_msi: (0..side * side * 2).map(|i| i as f32).collect(),
            windows: 1,
        };
        let psf = Array2::from_shape_vec((2, 2), vec![0.1, 0.2, 0.3, 0.4]).unwrap();
        let found = Witnesses::new(&architecture(), geometry, &psf, &set);
        let at =
            |i: usize, j: usize| ((geometry.kernel_offset() + i) * side + geometry.kernel_offset() + j) * 2;
        let expected =
            0.1 * at(0, 0) as f32 + 0.2 * at(0, 1) as f32 + 0.3 * at(1, 0) as f32 + 0.4 * at(1, 1) as f32;
        assert!((found.lr_msi[0] - expected).abs() < 1e-5 && (found.lr_msi[1] - expected - 1.0).abs() < 1e-5);
    }

    fn state(architecture: &Architecture) -> TrainingState<f32> {
        let mut network = initial_parameters(architecture, Initialisation::FanIn, 4);
        // Every output alive: a bias above what the weights can take away.
        let layout = architecture.layout();
        let last = layout.branch(Branch::Mean).last().unwrap().clone();
        for member in 0..2 {
            for band in 0..5 {
                network[member * layout.parameters + last.bias + band] = 5.0;
            }
        }
        let mut state = TrainingState::start(architecture, network, Vec::new());
        state.network_m.fill(0.1);
        state.network_v.fill(0.1);
        state
    }

    // Against the plain network, pixel by pixel, with a linear path and without. Single precision over some 300 terms of size 1.
    #[test]
    fn members_are_judged_by_what_the_plain_network_gives() {
        for linear_path in [false, true] {
            let architecture = Architecture {
                linear_path,
                ..architecture()
            };
            judged_as_by_the_plain_network(&architecture);
        }
    }

    fn judged_as_by_the_plain_network(architecture: &Architecture) {
        use crate::engine::cpu::network::forward;
        let layout = architecture.layout();
        let mut state = state(architecture);
        let linear = (0..3 * architecture.band_stride()).map(|i| 0.1 + 0.05 * (i as f32).sin());
        state.linear = linear.collect();
        let last = layout.branch(Branch::Mean).last().unwrap();
        state.network[layout.parameters + last.bias + 3] = -50.0;
        let witnesses = witnesses();
        let found = witnesses.members(architecture, &state).unwrap();
        assert_eq!(found.len(), 2);
        for (block, (alive, error)) in state.network.chunks_exact(layout.parameters).zip(found) {
            let mut plain = (vec![false; 5], 0.0);
            let mut row = vec![0.0; layout.activations];
            for (msi, spectrum) in witnesses.lr_msi.chunks(2).zip(witnesses.lr_hsi.chunks(5)) {
                for branch in [Branch::Encoder, Branch::Mean] {
                    forward(&layout, branch, block, &mut row, msi);
                }
                for (band, x) in spectrum.iter().enumerate() {
                    let own = row[layout.output(Branch::Mean) + band];
                    plain.0[band] |= own > 0.0;
                    let path = if architecture.linear_path {
                        linear_path(&state.linear, architecture.band_stride(), band, msi)
                    } else {
                        0.0
                    };
                    plain.1 += f64::from((own + path - x).abs());
                }
            }
            assert_eq!(alive, plain.0);
            assert!((error - plain.1).abs() < 1e-5 * plain.1, "{error} {}", plain.1);
        }
    }

    #[test]
    fn a_dead_output_becomes_the_mean_of_its_band_and_nothing_else_changes() {
        let architecture = architecture();
        let layout = architecture.layout();
        let last = layout.branch(Branch::Mean).last().unwrap().clone();
        let alive = state(&architecture);
        let mut dead = alive.clone();
        dead.network[layout.parameters + last.bias + 3] = -50.0;
        let revive = |state: &mut TrainingState<f32>| {
            witnesses()
                .revive(&architecture, Initialisation::FanIn, state, (0, 7), false)
                .unwrap()
        };
        assert_eq!(witnesses().dead(&architecture, &dead).unwrap(), [(1, 3)]);
        let found = revive(&mut dead);
        assert_eq!(
            (found.step, &found.outputs[..], found.members.len()),
            (7, &[(1, 3)][..], 0)
        );
        let mean = witnesses().mean(5)[3];
        assert_eq!(dead.network[layout.parameters + last.bias + 3], mean);
        let column = |i: usize| layout.parameters + last.weight + i * last.stride + 3;
        for at in 0..dead.network.len() {
            if (0..=last.inputs).any(|i| column(i) == at) {
                assert_eq!((dead.network_m[at], dead.network_v[at]), (0.0, 0.0));
            } else {
                assert_eq!(dead.network[at], alive.network[at]);
                assert_eq!(dead.network_m[at], 0.1);
            }
        }
        assert!(revive(&mut dead).is_empty() && revive(&mut alive.clone()).is_empty());
    }

    #[test]
    fn a_member_that_learned_nothing_starts_again_from_other_weights() {
        let architecture = architecture();
        let size = architecture.layout().parameters;
        let mut worse = state(&architecture);
        let before = worse.clone();
        let found = witnesses().revive(&architecture, Initialisation::FanIn, &mut worse, (4, 9), true);
        let found = found.unwrap();
        assert_eq!(
            found.members,
            [0, 1],
            "outputs near 5 are far from spectra below 1"
        );
        assert!(worse.network[..size] != before.network[..size]);
        assert!(worse.network[..size] != worse.network[size..]);
        assert!(worse.network_v.iter().all(|&v| v == 0.0));
        let first = initial_parameters::<f32>(&architecture, Initialisation::FanIn, 4);
        assert!(worse.network != first);
    }

    // Leaky and linear outputs cannot die.
    #[test]
    fn only_relu_outputs_die() {
        let mut architecture = architecture();
        architecture.decoder_last = Activation::Leaky;
        let mut negative = state(&architecture);
        let layout = architecture.layout();
        let bias = layout.branch(Branch::Mean).last().unwrap().bias;
        negative.network[bias] = -50.0;
        let found = witnesses().revive(&architecture, Initialisation::FanIn, &mut negative, (0, 1), false);
        assert!(found.unwrap().is_empty());
    }
}
