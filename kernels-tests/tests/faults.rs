//! A device that is lost, has too little memory, computes wrongly or slowly: what the engine around it makes of that, on
//! whatever adapter there is.

use std::sync::{Arc, Mutex};

use hsr_gpu::engine::cpu::CpuEngine;
use hsr_gpu::engine::failover::Failover;
use hsr_gpu::engine::gpu::compare::cases::{Case, cases};
use hsr_gpu::engine::gpu::compare::{REFINEMENT_KERNELS as KERNELS, refined, refinement_cases};
use hsr_gpu::engine::gpu::shaders::Replacement;
use hsr_gpu::engine::gpu::{GpuEngine, Options};
use hsr_gpu::engine::profile::{Clock, Instruments};
use hsr_gpu::engine::refinement::{Guide, RefinementGrid, Refiner, Strip};
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::engine::{Engine, Geometry, Output, Problem, StepLosses, Trainer, TrainingSet, TrainingState};
use hsr_gpu::network::Architecture;
use hsr_gpu::{Error, Result};
use kernels_tests::gpu::{choice, engine, with};
use ndarray::{Array3, ArrayView3, ArrayViewMut3};

fn case(name: &str) -> Case {
    cases().into_iter().find(|c| c.name == name).unwrap()
}

const STEPS: u32 = 9;

/// Nine steps, every third with an update of θ; `at` is called before each of them.
fn train(
    engine: &dyn Engine<f32>,
    case: &Case,
    at: &mut dyn FnMut(u32),
) -> Result<(TrainingState<f32>, Vec<StepLosses>)> {
    let mut trainer = engine.trainer(&case.problem(), &case.data(), case.state())?;
    let mut losses = Vec::new();
    for step in 1..=STEPS {
        at(step);
        let mut plan = case.plan(1);
        plan.step = step;
        plan.degradation_rate = plan.degradation_rate.filter(|_| step % 3 == 1);
        trainer.step(&plan)?;
        if step % 4 == 0 {
            losses.extend(trainer.losses()?);
        }
    }
    losses.extend(trainer.losses()?);
    Ok((trainer.state()?, losses))
}

fn msi(rows: usize, columns: usize, bands: usize) -> Array3<f32> {
    Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
        ((r * 31 + c * 17 + b * 7) % 101) as f32 / 101.0
    })
}

fn reconstruct(engine: &dyn Engine<f32>, case: &Case, rows: usize) -> Result<Array3<f32>> {
    let a = &case.architecture;
    let mut out = Array3::zeros((rows, 64, a.bands));
    let image = msi(rows, 64, a.msi_bands);
    engine.reconstruct(a, &case.state(), image.view(), 0, Output::Mean, out.view_mut())?;
    Ok(out)
}

type Opened = Result<Box<dyn Engine<f32>>>;

fn open(options: &Options) -> Opened {
    Ok(Box::new(GpuEngine::with_options(&choice(), options.clone())?))
}

type Said = Arc<Mutex<Vec<String>>>;

/// A recovery from an engine with these options, what destroys its device, and what it warned of.
fn recovery(options: Options, self_test: bool) -> (Failover, impl Fn(), Said) {
    let engine = GpuEngine::with_options(&choice(), options.clone()).unwrap();
    let device = engine.context.device.clone();
    let said = Arc::new(Mutex::new(Vec::new()));
    let told = said.clone();
    let reference = self_test.then(|| Box::new(SimdEngine::new()) as Box<dyn Engine<f32>>);
    let warn = move |line: &str| told.lock().unwrap().push(line.to_owned());
    let recovery = Failover::new(Box::new(engine), move || open(&options), reference, warn);
    (recovery, move || device.destroy(), said)
}

fn one_line(error: &Error) -> String {
    assert!(error.is_of_device(), "{error:?}");
    assert_eq!(error.exit_code(), 1);
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn a_lost_device_is_an_error_of_one_line_everywhere() {
    let case = case("wv2");
    let engine = engine();
    let device = engine.context.device.clone();
    let lost = train(&engine, &case, &mut |step| {
        if step == 5 {
            device.destroy();
        }
    });
    assert!(one_line(&lost.unwrap_err()).contains("lost"));
    one_line(&reconstruct(&engine, &case, 4).unwrap_err());
    let grid = grid();
    let (residual, mut image) = (vec![0.1; 36 * 5], vec![0.5; 24 * 24 * 5]);
    let strip = Strip { hr_row: 0, lr_row: 0 };
    one_line(
        &engine
            .bicubic_update(&grid, strip, &residual, &[1.0; 24 * 24], &mut image)
            .unwrap_err(),
    );
    assert!(
        engine
            .trainer(&case.problem(), &case.data(), case.state())
            .is_err()
    );
}

#[test]
fn a_lost_device_is_opened_again_and_the_bits_are_the_same() {
    let case = case("wv2");
    let whole = train(&with(Options::default()), &case, &mut |_| ()).unwrap();
    let (in_training, destroy, said) = recovery(Options::default(), false);
    // Some losses are told already, some are not.
    let lost = train(&in_training, &case, &mut |step| {
        if step == 7 {
            destroy();
        }
    });
    assert_eq!(lost.unwrap(), whole);
    let said = said.lock().unwrap();
    assert!(said.len() == 1 && said[0].contains("opened again"), "{said:?}");
    assert_eq!(*in_training.mishaps(), *said);
    // Lost between two reconstructions, too.
    let (between, destroy, _) = recovery(Options::default(), false);
    let before = reconstruct(&between, &case, 8).unwrap();
    destroy();
    assert_eq!(reconstruct(&between, &case, 8).unwrap(), before);
}

/// An engine that takes note of how far the runs are which it is given.
struct Noting(Box<dyn Engine<f32>>, Arc<Mutex<Vec<u64>>>);

impl Engine<f32> for Noting {
    fn name(&self) -> String {
        self.0.name()
    }

    fn trainer<'a>(
        &'a self,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: TrainingState<f32>,
    ) -> Result<Box<dyn Trainer<f32> + 'a>> {
        self.1.lock().unwrap().push(state.network_updates);
        self.0.trainer(problem, data, state)
    }

    fn reconstruct(
        &self,
        architecture: &Architecture,
        state: &TrainingState<f32>,
        hr_msi: ArrayView3<f32>,
        first_pixel: u32,
        output: Output,
        out: ArrayViewMut3<f32>,
    ) -> Result<()> {
        self.0
            .reconstruct(architecture, state, hr_msi, first_pixel, output, out)
    }

    fn refiner(&self) -> &dyn Refiner<f32> {
        self.0.refiner()
    }
}

// In a long run that never waits for its losses, the device comes back with a state of not long ago.
#[test]
fn a_long_run_is_gone_on_with_from_a_state_that_came_on_the_way() {
    let case = case("wv2");
    let long = |engine: &dyn Engine<f32>, at: &dyn Fn(u32)| {
        let mut trainer = engine
            .trainer(&case.problem(), &case.data(), case.state())
            .unwrap();
        let mut losses = Vec::new();
        for step in 1..=2000 {
            at(step);
            let mut plan = case.plan(1);
            plan.step = step;
            plan.degradation_rate = plan.degradation_rate.filter(|_| step % 25 == 1);
            trainer.step(&plan).unwrap();
            if step % 60 == 0 {
                losses.append(&mut trainer.arrived_losses().unwrap());
            }
        }
        losses.append(&mut trainer.losses().unwrap());
        (trainer.state().unwrap(), losses)
    };
    let whole = long(&with(Options::default()), &|_| ());
    let noted = Arc::new(Mutex::new(Vec::new()));
    let first = GpuEngine::with_options(&choice(), Options::default()).unwrap();
    let device = first.context.device.clone();
    let note = noted.clone();
    let again = move || {
        let engine = open(&Options::default())?;
        Ok(Box::new(Noting(engine, note.clone())) as Box<dyn Engine<f32>>)
    };
    let recovery = Failover::new(Box::new(first), again, None, |_| ());
    let lost = long(&recovery, &|step| {
        if step == 1700 {
            device.destroy();
        }
    });
    assert_eq!(lost, whole);
    // 512 and the 60 to the next look, behind which a copy is asked for, and another 60 until it has come; it may be seen
    // one or two looks later, and the third one not yet.
    let noted = noted.lock().unwrap();
    assert!(noted.len() == 1 && (900..1700).contains(&noted[0]), "{noted:?}");
}

#[test]
fn a_device_that_fails_again_is_left_for_another_or_the_end() {
    let case = case("wv2");
    // Nothing of a run fits: neither does it after the device was opened again.
    let options = Options {
        memory: Some(1 << 10),
        ..Options::default()
    };
    let (alone, _, said) = recovery(options.clone(), false);
    let line = one_line(&train(&alone, &case, &mut |_| ()).unwrap_err());
    assert!(line.contains("does not fit"), "{line}");
    assert_eq!(said.lock().unwrap().len(), 1);
    let (recovery, _, said) = recovery(options, false);
    let recovery = recovery.or(|| Ok(Box::new(CpuEngine)));
    let expected = train(&CpuEngine, &case, &mut |_| ()).unwrap();
    assert_eq!(train(&recovery, &case, &mut |_| ()).unwrap(), expected);
    assert!(said.lock().unwrap()[1].contains("not the bits"), "{said:?}");
}

fn grid() -> RefinementGrid {
    RefinementGrid {
        rows: 6,
        columns: 6,
        geometry: Geometry { scale: 4, kernel: 4 },
        bands: 5,
        msi_bands: 3,
        centroid: [0.1, -0.2],
    }
}

#[test]
fn short_of_memory_tiles_and_parts_become_smaller_and_bits_stay() {
    let case = case("cave");
    let whole = reconstruct(&with(Options::default()), &case, 512).unwrap();
    // 64 x 512 pixels of 31 bands are 4 MiB, and as much to read them back.
    for memory in [3 << 20, 1 << 20] {
        let engine = with(Options {
            memory: Some(memory),
            ..Options::default()
        });
        assert!(reconstruct(&engine, &case, 512).unwrap() == whole);
        assert!(engine.context.made.take_peak() <= memory);
    }
    let grid = RefinementGrid {
        rows: 64,
        columns: 64,
        ..grid()
    };
    let (hr, lr) = (256 * 256, 64 * 64);
    let wave = |n: usize| -> Vec<f32> { (0..n).map(|i| (i % 97) as f32 / 97.0).collect() };
    let strip = Strip { hr_row: 0, lr_row: 0 };
    let (guide, psf) = (
        Guide {
            radius: 2.0,
            precision: 3.0,
        },
        vec![1.0 / 16.0; 16],
    );
    let (msi, lr_msi, weights) = (wave(hr * 3), wave(lr * 3), wave(lr * 5));
    type Pass<'a> = (&'a str, Box<dyn Fn(&dyn Refiner<f32>) -> Vec<f32> + 'a>);
    let passes: [Pass; 3] = [
        (
            "guided_update",
            Box::new(|refiner| {
                let mut image = wave(hr * 5);
                refiner
                    .guided_update(&grid, strip, guide, &weights, &lr_msi, &msi, &mut image)
                    .unwrap();
                image
            }),
        ),
        (
            "bicubic_update",
            Box::new(|refiner| {
                let mut image = wave(hr * 5);
                refiner
                    .bicubic_update(&grid, strip, &weights, &msi[..hr], &mut image)
                    .unwrap();
                image
            }),
        ),
        (
            "consistency_residual",
            Box::new(|refiner| {
                let (image, mut residual) = (wave(hr * 5), vec![0.0; lr * 5]);
                refiner
                    .consistency_residual(&grid, strip, &psf, &weights, &image, &mut residual)
                    .unwrap();
                residual
            }),
        ),
    ];
    for (name, pass) in passes {
        let whole = pass(&with(Options::default()));
        let engine = with(Options {
            memory: Some(1200 << 10),
            ..Options::default()
        });
        let parts = pass(&engine);
        let twin = pass(&CpuEngine);
        let away = |found: &[f32]| {
            found
                .iter()
                .zip(&twin)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max)
        };
        // Values of up to 10: a wrong part is off by far more.
        assert!(
            away(&whole) < 1e-4,
            "{name}: whole {}, parts {}",
            away(&whole),
            away(&parts)
        );
        let differing: Vec<usize> = (0..whole.len()).filter(|&i| whole[i] != parts[i]).collect();
        let first = differing.first().map(|&i| (i, whole[i], parts[i]));
        assert!(
            differing.is_empty(),
            "{name}: {} of {}, {first:?}",
            differing.len(),
            whole.len()
        );
        assert!(engine.context.made.take_peak() <= 1200 << 10, "{name}");
    }
}

fn broken(file: &'static str, from: &'static str, to: &'static str) -> Options {
    Options {
        replacements: vec![Replacement { file, from, to }],
        ..Options::default()
    }
}

#[test]
fn the_self_test_finds_a_broken_kernel_and_passes_a_good_one() {
    let case = case("wv2");
    let (good, _, said) = recovery(Options::default(), true);
    train(&good, &case, &mut |_| ()).unwrap();
    reconstruct(&good, &case, 4).unwrap();
    assert!(said.lock().unwrap().is_empty(), "{said:?}");
    for options in [
        broken(
            "hr_network.wgsl",
            "select(0.0, -sign(residual#{P}_#{J}), in_block#{P})",
            "select(0.0, sign(residual#{P}_#{J}), in_block#{P})",
        ),
        broken(
            "hr_network.wgsl",
            "let in_kernel#{P} = inside#{P} && kernel_row#{P} < ",
            "let in_kernel#{P} = inside#{P} && kernel_row#{P} + 1u < ",
        ),
        broken(
            "shared/activation.wgsl",
            "select(vec4<f32>(slope), vec4<f32>(1.0), output",
            "select(vec4<f32>(1.0), vec4<f32>(1.0), output",
        ),
    ] {
        let named = format!("{:?}", options.replacements);
        let (alone, _, _) = recovery(options.clone(), true);
        let error = train(&alone, &case, &mut |_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let line = error.to_string();
        assert!(
            line.contains("self-test") && line.contains("the setting no-self-test") && !line.contains('\n'),
            "{named}: {line}"
        );
    }
    let options = broken(
        "reconstruct.wgsl",
        "z += step.share * mean",
        "z += 1.1 * step.share * mean",
    );
    let (alone, _, _) = recovery(options.clone(), true);
    let error = reconstruct(&alone, &case, 4).unwrap_err().to_string();
    assert!(error.contains("self-test: a reconstruction"), "{error}");
    // The CPU goes on where it may; without the test nothing is noticed.
    let (either, _, said) = recovery(options.clone(), true);
    let either = either.or(|| Ok(Box::new(CpuEngine)));
    let right = reconstruct(&CpuEngine, &case, 4).unwrap();
    assert_eq!(reconstruct(&either, &case, 4).unwrap(), right);
    assert!(said.lock().unwrap()[0].contains("not the bits"), "{said:?}");
    let (skipping, _, said) = recovery(options, false);
    assert_ne!(reconstruct(&skipping, &case, 4).unwrap(), right);
    assert!(said.lock().unwrap().is_empty());
}

#[test]
fn the_self_test_finds_a_broken_pass_of_refinement_and_passes_good_ones() {
    let cases = refinement_cases();
    for case in &cases[..2] {
        let (good, _, said) = recovery(Options::default(), true);
        for kernel in KERNELS {
            refined(&good, case, kernel).unwrap();
        }
        assert!(said.lock().unwrap().is_empty(), "{}: {said:?}", case.name);
    }
    let case = &cases[0];
    for (kernel, file, from, to) in [
        (
            "consistency_residual",
            "consistency_residual.wgsl",
            "psf[i * KERNEL + j]",
            "psf[j * KERNEL + i]",
        ),
        ("guided_update", "guided_update.wgsl", "4.0 * t + 1.0", "4.0 * t"),
        (
            "bicubic_update",
            "bicubic_update.wgsl",
            "row_taps[rows + #{R}u].weight",
            "row_taps[rows].weight",
        ),
        (
            "dct_denoise",
            "dct_denoise.wgsl",
            "min(block * STRIDE, length - 8u)",
            "min(block, length - 8u)",
        ),
    ] {
        let options = broken(file, from, to);
        let (alone, _, _) = recovery(options.clone(), true);
        let error = refined(&alone, case, kernel).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let line = error.to_string();
        assert!(
            line.contains("self-test") && line.contains(kernel) && !line.contains('\n'),
            "{kernel}: {line}"
        );
        // The CPU begins the pass anew, from the image as it was; without the test nothing is noticed.
        let (either, _, said) = recovery(options.clone(), true);
        let either = either.or(|| Ok(Box::new(CpuEngine)));
        let right = refined(&CpuEngine, case, kernel).unwrap();
        assert!(refined(&either, case, kernel).unwrap() == right, "{kernel}");
        assert!(said.lock().unwrap()[0].contains("not the bits"), "{said:?}");
        let (skipping, _, said) = recovery(options, false);
        assert!(refined(&skipping, case, kernel).unwrap() != right, "{kernel}");
        assert!(said.lock().unwrap().is_empty());
    }
}

// However steps are queued and their calls cut, the bits are the same.
#[test]
fn the_pace_changes_no_bit() {
    for name in ["wv2", "three members, linear path, K < s"] {
        let (case, engine) = (case(name), engine());
        let paced = |rate: f64| {
            engine.pace.assume(rate);
            let trained = train(&engine, &case, &mut |_| ()).unwrap();
            (trained, reconstruct(&engine, &case, 3).unwrap())
        };
        let fast = paced(1e13);
        for slow in [1.0, 1e5, 1e7] {
            assert!(paced(slow) == fast, "{name} at {slow} operations a second");
        }
    }
    // Calls of each kernel: a slow device gets more of them, until it has shown what it does.
    let (case, engine) = (case("three members, linear path, K < s"), engine());
    let calls = |rate: f64| {
        engine.pace.assume(rate);
        engine.start_profile(Clock::HostClock).unwrap();
        train(&engine, &case, &mut |_| ()).unwrap();
        let spans = engine.take_profile().spans;
        [
            "psf_blur",
            "lr_network",
            "network_update",
            "hr_network",
            "degradation_sums",
        ]
        .map(|kernel| spans.iter().filter(|s| s.kernel == kernel).count())
    };
    let (fast, slow) = (calls(1e13), calls(1e3));
    assert!(
        fast.iter().zip(&slow).all(|(few, many)| few < many),
        "{fast:?} {slow:?}"
    );
}

#[test]
fn the_pace_changes_no_bit_of_a_refinement() {
    let engine = engine();
    for case in refinement_cases() {
        for kernel in KERNELS {
            let paced = |rate: f64| {
                engine.pace.assume(rate);
                engine.start_profile(Clock::HostClock).unwrap();
                let results = refined(&engine, &case, kernel).unwrap();
                (results, engine.take_profile().spans.len())
            };
            let (fast, few) = paced(1e13);
            let (slow, many) = paced(1.0);
            assert!(fast == slow, "{}: {kernel}", case.name);
            let least = if case.grid.hr_rows() == 1 { few } else { few + 1 };
            assert!(
                many >= least,
                "{}: {kernel}: {few} and {many} dispatches",
                case.name
            );
        }
    }
}
