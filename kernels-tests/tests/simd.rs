//! The vectorised CPU engine against the twins, at every instruction set that this machine can run.
//!
//! Proves that whole steps and reconstructions agree with the plain `f32` and `f64` engines over odd shapes, with
//! the golden tensors, and with themselves on another number of threads. Proves nothing of speed.

use std::sync::Arc;

use hsr_gpu::coordination::config::Config;
use hsr_gpu::engine::cpu::CpuEngine;
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::engine::{
    Engine, Geometry, Noise, Output, Problem, StepLosses, StepPlan, StepTensors, TrainingSet, TrainingState,
    degradation_parameters,
};
use hsr_gpu::network::{Activation, Architecture, Initialisation, initial_parameters};
use hsr_gpu::random::{normals, philox};
use hsr_gpu::real::Real;
use hsr_gpu::sensor::psf;
use kernels_tests::golden::{Golden, Limits, files};
use kernels_tests::nmse;
use ndarray::{Array3, ArrayView3, s};

/// One run to repeat on several engines.
#[derive(Clone)]
struct Case {
    name: &'static str,
    architecture: Architecture,
    geometry: Geometry,
    windows: usize,
    lr_batch: Vec<u32>,
    hr_batch: Vec<u32>,
    noise: Noise,
    frozen: bool,
    fixed: bool,
}

fn cave() -> Architecture {
    Config::load("cave", None)
        .unwrap()
        .architecture(31, 3, 512)
        .unwrap()
}

fn cases() -> Vec<Case> {
    let base = Case {
        name: "cave",
        architecture: cave(),
        geometry: Geometry { scale: 8, kernel: 8 },
        windows: 20,
        lr_batch: (0..20).collect(),
        hr_batch: vec![3, 0, 7],
        noise: Noise::Philox(11),
        frozen: false,
        fixed: false,
    };
    let wide = Architecture {
        bands: 200,
        msi_bands: 8,
        mean: vec![37, 19],
        std: vec![],
        members: 3,
        linear_path: true,
        ..cave()
    };
    let members = Architecture {
        bands: 13,
        msi_bands: 5,
        encoder: vec![24; 6],
        mean: vec![],
        std: vec![],
        slope: 0.3,
        decoder_last: Activation::Linear,
        members: 8,
        ..cave()
    };
    let least = Architecture {
        bands: 1,
        msi_bands: 1,
        encoder: vec![1],
        concatenate: false,
        mean: vec![3],
        std: vec![5, 2],
        ..cave()
    };
    let geometry = |scale, kernel| Geometry { scale, kernel };
    vec![
        base.clone(),
        Case {
            name: "one pixel, one band",
            architecture: least,
            geometry: geometry(1, 1),
            windows: 1,
            lr_batch: vec![0],
            hr_batch: vec![0],
            ..base.clone()
        },
        Case {
            name: "wide, three members, linear path, PSF larger than the block",
            architecture: wide.clone(),
            geometry: geometry(4, 7),
            windows: 17,
            lr_batch: (0..17).rev().collect(),
            ..base.clone()
        },
        Case {
            name: "eight members, PSF smaller than the block, batch of parts",
            architecture: members.clone(),
            geometry: geometry(11, 5),
            windows: 41,
            lr_batch: (0..41).filter(|w| w % 3 != 1).collect(),
            noise: Noise::Given,
            ..base.clone()
        },
        Case {
            name: "several chunks",
            architecture: Architecture {
                members: 3,
                ..members.clone()
            },
            geometry: geometry(3, 3),
            windows: 601,
            lr_batch: (0..601).collect(),
            ..base.clone()
        },
        Case {
            name: "no noise",
            noise: Noise::Off,
            architecture: Architecture {
                linear_path: true,
                ..members
            },
            geometry: geometry(9, 9),
            ..base.clone()
        },
        Case {
            name: "frozen encoder",
            frozen: true,
            architecture: Architecture {
                members: 2,
                mean: vec![18, 22],
                decoder_last: Activation::Leaky,
                encoder_last: Activation::Relu,
                ..cave()
            },
            windows: 300,
            lr_batch: (0..300).filter(|w| w % 7 != 2).collect(),
            geometry: geometry(2, 2),
            ..base.clone()
        },
        Case {
            name: "known sensors",
            fixed: true,
            architecture: wide,
            geometry: geometry(5, 6),
            ..base
        },
    ]
}

/// A number in [0, 1) from a counter.
fn random(a: usize, b: u32) -> f64 {
    f64::from(philox([5, 6], [a as u32, b, 0, 0])[0]) / f64::from(u32::MAX)
}

fn values<T: Real>(n: usize, stream: u32) -> Vec<T> {
    (0..n).map(|k| T::of(random(k, stream))).collect()
}

fn start<T: Real>(case: &Case) -> TrainingState<T> {
    let architecture = &case.architecture;
    let (bands, b) = (architecture.bands, architecture.msi_bands);
    let network: Vec<T> = initial_parameters(architecture, Initialisation::FanIn, 3);
    let mut theta = vec![T::zero(); degradation_parameters(b)];
    let spread = case.geometry.kernel as f64;
    for (k, x) in [1.5 / spread, 0.4 / spread, 2.0 / spread, 0.1, -0.2]
        .iter()
        .enumerate()
    {
        theta[k] = T::of(*x);
    }
    for k in 0..4 * b {
        theta[psf::PARAMETERS + k] = T::of((k as f64 + 0.5) * bands as f64 / (4 * b) as f64);
        theta[psf::PARAMETERS + 4 * b + k] = T::of(1.0 + bands as f64 / 8.0);
    }
    let mut state = TrainingState::start(architecture, network, theta);
    if architecture.linear_path {
        for (k, x) in state.linear.iter_mut().enumerate() {
            // Padding stays zero, as the fit leaves it.
            if k % architecture.band_stride() < bands {
                *x = T::of(random(k, 4) - 0.5);
            }
        }
    }
    state
}

fn problem<T: Real>(case: &Case) -> Problem<T> {
    let (bands, b) = (case.architecture.bands, case.architecture.msi_bands);
    let area = case.geometry.kernel * case.geometry.kernel;
    let shares = |n: usize, each: usize| vec![T::of(1.0 / each as f64); n];
    Problem {
        architecture: case.architecture.clone(),
        geometry: case.geometry,
        alpha: [0.5, 0.2, 0.3],
        beta: 0.5,
        noise: case.noise,
        learn_psf: true,
        learn_centre: true,
        learn_srf: true,
        fixed_psf: case.fixed.then(|| shares(area, area)),
        fixed_srf: case.fixed.then(|| shares(bands * b, bands)),
        frozen_encoder: case.frozen,
        lr_capacity: case.lr_batch.len(),
        hr_capacity: case.hr_batch.len(),
    }
}

/// What a run leaves.
struct Outcome<T> {
    losses: Vec<StepLosses>,
    first: StepTensors<T>,
    state: TrainingState<T>,
}

/// `steps` steps; θ learns in the first and then in every third.
fn walk<T: Real>(engine: &dyn Engine<T>, case: &Case, steps: u32) -> Outcome<T> {
    let (bands, side) = (case.architecture.bands, case.geometry.window());
    let data = TrainingSet {
        lr_hsi: values(case.windows * bands, 1),
        hr_msi: values(case.windows * side * side * case.architecture.msi_bands, 2),
        windows: case.windows,
    };
    let mut trainer = engine.trainer(&problem(case), &data, start(case)).unwrap();
    let (lr, hr): (Arc<[u32]>, Arc<[u32]>) = (case.lr_batch.clone().into(), case.hr_batch.clone().into());
    let mut losses = Vec::new();
    let mut first = StepTensors::default();
    for step in 1..=steps {
        if case.noise == Noise::Given {
            let centred = |n: usize, stream: u32| -> Vec<T> {
                (0..n).map(|k| T::of(2.0 * random(k, stream) - 1.0)).collect()
            };
            let hr = centred(hr.len() * side * side * bands, 100 + step);
            let lr = centred(case.architecture.members * lr.len() * bands, 1000 + step);
            trainer.give_noise(&hr, &lr).unwrap();
        }
        let with_theta = step % 3 == 1 && !case.frozen;
        trainer
            .step(&StepPlan {
                step,
                lr_batch: lr.clone(),
                hr_batch: if with_theta { hr.clone() } else { Arc::from([]) },
                member: step % case.architecture.members as u32,
                network_rate: (step % 5 != 4).then_some(1e-3),
                degradation_rate: with_theta.then_some(1e-3),
            })
            .unwrap();
        if step == 1 {
            first = trainer.tensors().unwrap();
            losses.append(&mut trainer.losses().unwrap());
        }
    }
    losses.append(&mut trainer.losses().unwrap());
    Outcome {
        losses,
        first,
        state: trainer.state().unwrap(),
    }
}

fn f64s<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.f64()).collect()
}

fn agree<A: Real, B: Real>(what: &str, got: &[A], expected: &[B], limit: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: length");
    let e = nmse(&f64s(got), &f64s(expected));
    assert!(e <= limit, "{what}: NMSE {e:.2e} over {limit:.0e}");
}

/// Tensors of the first step, its losses and gradients.
fn agree_on_first<T: Real>(what: &str, got: &Outcome<f32>, expected: &Outcome<T>, frozen: bool) {
    let (a, b) = (&got.first, &expected.first);
    // Rounding of single precision leaves about 1e-13; a normal differs by 1e-6 at most.
    let forward = [
        ("psf", &a.psf, &b.psf),
        ("srf", &a.srf, &b.srf),
        ("lr_msi", &a.lr_msi, &b.lr_msi),
        ("srf_of_lr_hsi", &a.srf_of_lr_hsi, &b.srf_of_lr_hsi),
        ("abundance_lr", &a.abundance_lr, &b.abundance_lr),
        ("mean_lr", &a.mean_lr, &b.mean_lr),
        ("std_lr", &a.std_lr, &b.std_lr),
        ("sample_lr", &a.sample_lr, &b.sample_lr),
        ("blur_of_sample", &a.blur_of_sample, &b.blur_of_sample),
        ("srf_of_sample", &a.srf_of_sample, &b.srf_of_sample),
    ];
    for (name, a, b) in forward {
        agree(&format!("{what}: {name}"), a, b, 1e-9);
    }
    for (name, a, b) in [
        ("network_gradient", &a.network_gradient, &b.network_gradient),
        ("term_gradients", &a.term_gradients, &b.term_gradients),
        (
            "degradation_gradient",
            &a.degradation_gradient,
            &b.degradation_gradient,
        ),
    ] {
        assert!(!a.is_empty() || frozen, "{what}: no {name}");
        agree(&format!("{what}: {name}"), a, b, 1e-7);
    }
}

fn all_losses(outcome: &[StepLosses]) -> Vec<f64> {
    let of = |l: &StepLosses| -> Vec<f64> {
        l.degradation
            .into_iter()
            .flatten()
            .chain(l.network.clone())
            .collect()
    };
    outcome.iter().flat_map(of).collect()
}

#[test]
fn steps_agree_with_both_twins() {
    for case in cases() {
        let single = walk::<f32>(&CpuEngine, &case, 1);
        let double = walk::<f64>(&CpuEngine, &case, 1);
        for engine in SimdEngine::every_level() {
            let what = format!("{}, {}", case.name, engine.level());
            let got = walk::<f32>(&engine, &case, 1);
            agree_on_first(&format!("{what}, f32"), &got, &single, case.frozen);
            agree_on_first(&format!("{what}, f64"), &got, &double, case.frozen);
        }
    }
}

// Rounding grows along a walk: a sign of a residual near zero falls the other way now and then, and Adam makes a
// full step of it. The two twins, f32 against f64, set the measure.
#[test]
fn fifty_steps_stay_together() {
    for case in cases() {
        let single = walk::<f32>(&CpuEngine, &case, 50);
        let double = walk::<f64>(&CpuEngine, &case, 50);
        let distance = |a: &TrainingState<f32>| {
            nmse(&f64s(&a.network), &f64s(&double.state.network))
                .max(nmse(&f64s(&a.degradation), &f64s(&double.state.degradation)))
        };
        let limit = (10.0 * distance(&single.state)).max(1e-7);
        for engine in SimdEngine::every_level() {
            let what = format!("{}, {}", case.name, engine.level());
            let got = walk::<f32>(&engine, &case, 50);
            assert_eq!(got.losses.len(), 50, "{what}");
            let steps = |o: &[StepLosses]| o.iter().map(|l| l.step).collect::<Vec<_>>();
            assert_eq!(steps(&got.losses), steps(&double.losses), "{what}");
            agree(
                &format!("{what}: losses"),
                &all_losses(&got.losses),
                &all_losses(&double.losses),
                1e-7,
            );
            let e = distance(&got.state);
            assert!(
                e <= limit,
                "{what}: NMSE {e:.2e} of the parameters, over {limit:.1e}"
            );
            assert_eq!(got.state.network_updates, double.state.network_updates);
            assert_eq!(got.state.degradation_updates, double.state.degradation_updates);
            agree(
                &format!("{what}: first moment"),
                &got.state.network_m,
                &double.state.network_m,
                1e-4,
            );
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let pool = |n: usize| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    for case in cases() {
        for engine in SimdEngine::every_level() {
            let run = |threads: usize| pool(threads).install(|| walk::<f32>(&engine, &case, 7));
            let one = run(1);
            for threads in [2, 5] {
                let other = run(threads);
                let what = format!("{}, {}, {threads} threads", case.name, engine.level());
                assert!(one.state == other.state, "{what}: state");
                assert!(one.losses == other.losses, "{what}: losses");
            }
        }
    }
}

#[test]
fn reconstructions_agree_with_both_twins() {
    for case in cases() {
        let architecture = &case.architecture;
        let b = architecture.msi_bands;
        // 1100 pixels are more than one strip, 7 less than one tile; the last is a part of a larger image.
        for (rows, columns, cut) in [(1, 1, false), (1, 7, false), (55, 20, false), (5, 13, true)] {
            let image: Array3<f32> =
                Array3::from_shape_vec((rows, columns, b), values(rows * columns * b, 9)).unwrap();
            let double_image = image.mapv(f64::from);
            let last = architecture.members as u32 - 1;
            for output in [
                Output::Mean,
                Output::Std,
                Output::Sample {
                    seed: 5,
                    member: last,
                },
                Output::Abundance { member: last },
            ] {
                let channels = match output {
                    Output::Abundance { .. } => architecture.layout().abundances,
                    _ => architecture.bands,
                };
                let expected = rebuild::<f32>(&CpuEngine, &case, image.view(), output, channels, cut);
                let double = rebuild::<f64>(&CpuEngine, &case, double_image.view(), output, channels, cut);
                for engine in SimdEngine::every_level() {
                    let what = format!("{}, {}, {output:?}", case.name, engine.level());
                    let got = rebuild::<f32>(&engine, &case, image.view(), output, channels, cut);
                    agree(&what, &got, &expected, 1e-9);
                    agree(&what, &got, &double, 1e-9);
                }
            }
        }
    }
}

/// Reconstructs an image, or with `cut` into a slice of a larger array from a slice of a larger image.
fn rebuild<T: Real>(
    engine: &dyn Engine<T>,
    case: &Case,
    image: ArrayView3<T>,
    output: Output,
    channels: usize,
    cut: bool,
) -> Vec<T> {
    let (rows, columns, _) = image.dim();
    let mut out = Array3::from_elem((rows, columns + 3, channels), T::of(7.0));
    let (from, view) = if cut {
        (s![1.., 2.., ..], s![1.., 2..columns, ..])
    } else {
        (s![.., .., ..], s![.., ..columns, ..])
    };
    let state = start(case);
    engine
        .reconstruct(
            &case.architecture,
            &state,
            image.slice(from),
            17,
            output,
            out.slice_mut(view),
        )
        .unwrap();
    out.iter().copied().collect()
}

#[test]
fn golden_simd() {
    for path in files() {
        let golden = Golden::read(&path);
        for engine in SimdEngine::every_level() {
            // The limits of the plain f32 twin.
            let limits = Limits {
                forward: 1e-9,
                gradient: 1e-7,
            };
            golden.check::<f32>(&engine, limits);
        }
    }
}

// The integers are exact or a normal would be far off. 2e-6: the radius is at most 5.7 and the f32 twin rounds
// 2πu to 5e-7; against f64 the polynomials leave less than half of it.
#[test]
fn normals_agree_with_the_twin() {
    for engine in SimdEngine::every_level() {
        for (first, quad, purpose, step) in [
            (0, 0, 0, 1),
            (u32::MAX - 1000, 7, 16, u32::MAX),
            (1 << 20, 49, 23, 7),
        ] {
            let key = [0x1234_5678, 0x9abc_def0];
            let got = engine.normals(key, step, purpose, first, quad, 5000);
            for (k, got) in got.iter().enumerate() {
                let pixel = first.wrapping_add(k as u32);
                let single = normals::<f32>(key, step, purpose, pixel, quad);
                let double = normals::<f64>(key, step, purpose, pixel, quad);
                for ((got, single), double) in got.iter().zip(single).zip(double) {
                    let level = engine.level();
                    assert!((got - single).abs() <= 2e-6, "{level}: {got} {single}");
                    assert!(
                        (f64::from(*got) - double).abs() <= 1e-6,
                        "{level}: {got} {double}"
                    );
                }
            }
        }
    }
}
