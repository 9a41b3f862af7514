//! Whether a device computes what the CPU engine computes, on a run's own kernels and data: a step before the first of
//! its kind, the first pixels of the first reconstruction, and a row or a few of the first call of every pass of refinement.
//!
//! It costs a step of both engines and compiles nothing that the run does not need: the step is one that the run is about
//! to take, but for most of its HR windows. It is to find a driver that miscompiles and memory that does not hold what was
//! written, not to prove kernels right: that is what `verify` and the kernel tests do, kernel by kernel.

use ndarray::{Array3, ArrayView3, s};

use crate::engine::refinement::{DCT_SIDE, PlaneShape, RefinementGrid, Refiner, Strip};
use crate::engine::{Engine, Output, Problem, StepLosses, StepPlan, TrainingSet, TrainingState};
use crate::error::Result;
use crate::network::Architecture;

/// HR windows of the step.
const HR_WINDOWS: usize = 2;
/// Pixels of the reconstruction.
const PIXELS: usize = 256;
/// NMSE limit of everything: engines that are right differ by 1e-15 to 1e-8 in single precision, by up to 1e-4 where one
/// rounds factors to 16 bits; a kernel that is wrong by more than a few signs in L1 gradients is off by orders.
const LIMIT: f64 = 1e-3;
/// What weights and θ are multiplied by for the step. Where a run has converged, the residuals of its L1 loss are rounding, and so
/// are their signs, of which the gradient is made: right engines differ by half of it. A little off, nothing is.
const AWAY: f32 = 1.125;
/// Share of Adam's steps that may go another way: where a gradient is nearly zero, its sign is that of rounding.
const STEP_LIMIT: f64 = 0.05;

/// NMSE limit of what an update of refinement adds or takes: sums of up to a thousand products in another order, and an
/// exponential, differ by 1e-12, and by 1e-8 where weights cancel; a wrong tap or weight is off by per cents.
const UPDATE_LIMIT: f64 = 1e-5;
/// Rows of blocks of the denoising, beside the first.
const BLOCK_ROWS: usize = 8;
/// Share of the energy of what both came from that is rounding, however little was changed: 1e-5 of a number.
const ROUNDING: f64 = 1e-10;

/// What was found to be wrong, for a message.
pub type Verdict = std::result::Result<(), String>;

/// Σ(a − b)² / Σ(b − base)² where `base` is what both came from; infinite where a value is not finite. Nothing where
/// rounding of the base explains it.
fn nmse(a: &[f32], b: &[f32], base: &[f32]) -> f64 {
    if a.len() != b.len() || a.iter().any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let square = |x: f32, y: f32| (f64::from(x) - f64::from(y)).powi(2);
    let error: f64 = a.iter().zip(b).map(|(&a, &b)| square(a, b)).sum();
    let zero = std::iter::repeat(&0.0);
    let size: f64 = if base.is_empty() {
        b.iter().zip(zero).map(|(&b, &c)| square(b, c)).sum()
    } else {
        b.iter().zip(base).map(|(&b, &c)| square(b, c)).sum()
    };
    let rounding: f64 = base.iter().map(|&x| ROUNDING * square(x, 0.0)).sum();
    if error <= rounding { 0.0 } else { error / size }
}

fn hold(what: &str, limit: f64, a: &[f32], b: &[f32], base: &[f32]) -> Verdict {
    let found = nmse(a, b, base);
    if found <= limit {
        Ok(())
    } else {
        Err(format!(
            "{what} is not what the CPU computes: NMSE {found:.1e}, limit {limit:.0e}"
        ))
    }
}

/// Takes the step `plan`, but for most of its HR windows, from a little off `state` on `engine` and on `reference`, and
/// compares losses and parameters.
///
/// # Errors
/// Where one of them fails.
pub fn step(
    engine: &dyn Engine<f32>,
    reference: &dyn Engine<f32>,
    run: (&Problem<f32>, &TrainingSet<f32>),
    state: &TrainingState<f32>,
    plan: &StepPlan,
) -> Result<Verdict> {
    let mut state = state.clone();
    let parameters = state.network.iter_mut().chain(&mut state.degradation);
    parameters.for_each(|w| *w *= AWAY);
    step_from(engine, reference, run, &state, plan)
}

fn step_from(
    engine: &dyn Engine<f32>,
    reference: &dyn Engine<f32>,
    (problem, data): (&Problem<f32>, &TrainingSet<f32>),
    state: &TrainingState<f32>,
    plan: &StepPlan,
) -> Result<Verdict> {
    let plan = StepPlan {
        hr_batch: plan.hr_batch.iter().copied().take(HR_WINDOWS).collect(),
        ..plan.clone()
    };
    let run = |engine: &dyn Engine<f32>| -> Result<(TrainingState<f32>, Vec<StepLosses>)> {
        let mut trainer = engine.trainer(problem, data, state.clone())?;
        trainer.step(&plan)?;
        let losses = trainer.losses()?;
        Ok((trainer.state()?, losses))
    };
    let (a, losses) = run(engine)?;
    let (b, expected) = run(reference)?;
    Ok(compare_losses(&losses, &expected).and_then(|()| {
        let none = &[][..];
        for (what, limit, a, b, base) in [
            (
                "the gradient of the network",
                LIMIT,
                &a.network_m,
                &b.network_m,
                none,
            ),
            (
                "the second moment of the network",
                LIMIT,
                &a.network_v,
                &b.network_v,
                none,
            ),
            (
                "the step of the network",
                STEP_LIMIT,
                &a.network,
                &b.network,
                &state.network,
            ),
            (
                "the gradient of the degradation",
                LIMIT,
                &a.degradation_m,
                &b.degradation_m,
                none,
            ),
            (
                "the step of the degradation",
                STEP_LIMIT,
                &a.degradation,
                &b.degradation,
                &state.degradation,
            ),
        ] {
            hold(what, limit, a, b, base)?;
        }
        Ok(())
    }))
}

fn compare_losses(found: &[StepLosses], expected: &[StepLosses]) -> Verdict {
    let flat = |losses: &[StepLosses]| -> (Vec<f32>, Vec<f32>) {
        let single = |x: &f64| *x as f32;
        let network = losses.iter().flat_map(|l| l.network.iter().map(single)).collect();
        let theta = losses
            .iter()
            .flat_map(|l| l.degradation.iter().flatten().map(single))
            .collect();
        (network, theta)
    };
    let ((a, b), (c, d)) = (flat(found), flat(expected));
    hold("L_phi", LIMIT, &a, &c, &[])?;
    hold("L_theta", LIMIT, &b, &d, &[])
}

/// Compares the first pixels of a reconstruction (rows × columns × channels) with those of `reference`.
///
/// # Errors
/// Where that one fails.
pub fn reconstruction(
    reference: &dyn Engine<f32>,
    (architecture, state): (&Architecture, &TrainingState<f32>),
    hr_msi: ArrayView3<f32>,
    first_pixel: u32,
    output: Output,
    found: ArrayView3<f32>,
) -> Result<Verdict> {
    let columns = hr_msi.dim().1.min(PIXELS);
    let rows = hr_msi.dim().0.min(1);
    let mut expected = Array3::zeros((rows, columns, found.dim().2));
    reference.reconstruct(
        architecture,
        state,
        hr_msi.slice(s![..rows, ..columns, ..]),
        first_pixel,
        output,
        expected.view_mut(),
    )?;
    let flat = |image: ArrayView3<f32>| image.iter().copied().collect::<Vec<f32>>();
    let found = found.slice(s![..rows, ..columns, ..]);
    Ok(hold(
        "a reconstruction",
        LIMIT,
        &flat(found),
        &flat(expected.view()),
        &[],
    ))
}

/// Row number `row` of rows of `line` samples.
fn row_of(image: &[f32], row: usize, line: usize) -> &[f32] {
    &image[row * line..(row + 1) * line]
}

/// Compares the middle row of `found`, see [`Refiner::consistency_residual`], with that of `reference`.
///
/// # Errors
/// Where that one fails; so below.
pub fn consistency_residual(
    reference: &dyn Refiner<f32>,
    (grid, strip): (&RefinementGrid, Strip),
    psf: &[f32],
    target: &[f32],
    hr_hsi: &[f32],
    found: &[f32],
) -> Result<Verdict> {
    let line = grid.columns * grid.bands;
    let middle = found.len() / line / 2;
    let row = Strip {
        lr_row: strip.lr_row + middle,
        ..strip
    };
    let target = row_of(target, middle, line);
    let mut expected = vec![0.0; line];
    reference.consistency_residual(grid, row, psf, target, hr_hsi, &mut expected)?;
    let found = row_of(found, middle, line);
    Ok(hold(
        "consistency_residual",
        UPDATE_LIMIT,
        found,
        &expected,
        target,
    ))
}

/// Compares the middle row of an update of `before` to `found` with what `update` makes of it there.
///
/// # Errors
/// As `update`.
pub fn hr_update(
    what: &str,
    (grid, strip): (&RefinementGrid, Strip),
    (before, found): (&[f32], &[f32]),
    update: impl FnOnce(Strip, usize, &mut [f32]) -> Result<()>,
) -> Result<Verdict> {
    let line = grid.hr_columns() * grid.bands;
    let middle = found.len() / line / 2;
    let row = Strip {
        hr_row: strip.hr_row + middle,
        ..strip
    };
    let before = row_of(before, middle, line);
    let mut expected = before.to_vec();
    update(row, middle, &mut expected)?;
    let found = row_of(found, middle, line);
    Ok(hold(what, UPDATE_LIMIT, found, &expected, before))
}

/// Compares the first rows of the first plane of `found`, see [`Refiner::dct_denoise`], with those of `reference`.
///
/// # Errors
/// As above.
pub fn dct_denoise(
    reference: &dyn Refiner<f32>,
    (shape, stride): (PlaneShape, usize),
    noisy: &[f32],
    pilot: Option<&[f32]>,
    found: &[f32],
) -> Result<Verdict> {
    // Up to the next row of blocks these have all that cover them.
    let (seen, whole) = match DCT_SIDE + BLOCK_ROWS * stride {
        seen if seen < shape.rows => (seen, (BLOCK_ROWS + 1) * stride),
        _ => (shape.rows, shape.rows),
    };
    let first = PlaneShape {
        channels: 1,
        rows: seen,
        ..shape
    };
    let seen = seen * shape.columns;
    let mut expected = vec![0.0; seen];
    reference.dct_denoise(
        first,
        stride,
        &noisy[..seen],
        pilot.map(|p| &p[..seen]),
        &mut expected,
    )?;
    let whole = whole * shape.columns;
    // What is taken away is noise; a coefficient at the threshold may stay or go.
    let (found, noisy) = (&found[..whole], &noisy[..whole]);
    Ok(hold("dct_denoise", LIMIT, found, &expected[..whole], noisy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Noise;
    use crate::engine::cpu::CpuEngine;
    use crate::engine::simd::SimdEngine;
    use crate::engine::workload::{Workload, samples, start};
    use crate::network::{Activation, Architecture};

    // One pixel a window, so that (Y∗C)↓ is Y, and X is what the network makes of it: nothing but rounding is left.
    #[test]
    fn a_run_that_has_converged_passes() {
        let workload = Workload {
            architecture: Architecture {
                bands: 12,
                msi_bands: 3,
                encoder: vec![8, 8],
                concatenate: true,
                mean: vec![],
                std: vec![],
                slope: 0.2,
                encoder_last: Activation::Leaky,
                decoder_last: Activation::Linear,
                members: 1,
                linear_path: false,
            },
            scale: 1,
            windows: 64,
            lr_pixels: 64,
            hr_windows: 0,
            every: 1,
            noise: Noise::Off,
            frozen_encoder: false,
        };
        let (simd, cpu) = (SimdEngine::new(), CpuEngine);
        let (architecture, state) = (&workload.architecture, start(&workload.architecture, 1));
        let hr_msi = samples(64 * 3, 1);
        let image = ArrayView3::from_shape((8, 8, 3), &hr_msi).unwrap();
        let mut made = Array3::zeros((8, 8, 12));
        simd.reconstruct(architecture, &state, image, 0, Output::Mean, made.view_mut())
            .unwrap();
        let data = TrainingSet {
            lr_hsi: made.into_raw_vec_and_offset().0,
            hr_msi,
            windows: 64,
        };
        let problem = workload.problem();
        let plan = workload.plan(1, &workload.batch());
        let run = (&problem, &data);
        assert_eq!(step(&cpu, &simd, run, &state, &plan).unwrap(), Ok(()));
        // There, loss and gradient are rounding, and no two engines have the same.
        let there = step_from(&cpu, &simd, run, &state, &plan).unwrap();
        assert!(there.is_err(), "{there:?}");
    }
}
