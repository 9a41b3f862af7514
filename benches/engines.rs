//! The plain CPU twins beside the vectorised engine, in one run: steps and reconstructions of both, and each twin by
//! itself. `cargo bench`, or `cargo bench -- lr_step` for one group; a few seconds in all.
//!
//! Sizes are a tenth of the CAVE protocol's, because the twins are written to be read and not to be fast.

use divan::Bencher;
use hsr_gpu::coordination::config::Config;
use hsr_gpu::engine::cpu::degradation::{Degradation, degradation};
use hsr_gpu::engine::cpu::hr_network::{HrPass, HrWindow, hr_network};
use hsr_gpu::engine::cpu::lr_network::{LrPass, LrPixel, lr_network};
use hsr_gpu::engine::cpu::psf_blur::{LrObservation, psf_blur};
use hsr_gpu::engine::cpu::{CpuEngine, network_update};
use hsr_gpu::engine::refinement::{Guide, RefinementGrid, Strip};
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::engine::workload::{Workload, samples, start};
use hsr_gpu::engine::{Engine, Geometry, Noise, Output, Precision, TrainingSet};
use hsr_gpu::network::Architecture;
use hsr_gpu::sensor::psf;
use ndarray::{Array3, ArrayView3};

fn main() {
    divan::Divan::from_args()
        .max_time(std::time::Duration::from_millis(300))
        .main();
}

/// The engines, by name.
const ENGINES: [&str; 2] = ["twin", "vectorised"];

fn engine(name: &str) -> Box<dyn Engine<f32>> {
    match name {
        "twin" => Box::new(CpuEngine),
        _ => Box::new(SimdEngine::new()),
    }
}

fn preset() -> Architecture {
    let config = Config::load("cave", None).expect("the preset is part of the program");
    config
        .architecture(31, 3, 512)
        .expect("its network fits three bands")
}

/// The `cave` network on 51 LR pixels; with their HR pixels where `hr_windows` is not 0.
fn cave(hr_windows: usize, frozen_encoder: bool) -> Workload {
    Workload {
        architecture: preset(),
        scale: 32,
        windows: 51,
        lr_pixels: 51,
        hr_windows,
        every: 1,
        noise: Noise::Philox(0),
        frozen_encoder,
    }
}

/// Steps of a workload on the engine of this name. A failure is this file's mistake and ends the run.
fn steps(bencher: Bencher, name: &str, workload: &Workload) {
    let engine = engine(name);
    let mut trainer = workload
        .trainer(engine.as_ref())
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let (batch, mut step) = (workload.batch(), 0);
    bencher.bench_local(|| {
        step += 1;
        trainer
            .step(&workload.plan(step, &batch))
            .and_then(|()| trainer.losses())
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    });
}

#[divan::bench(args = ENGINES)]
fn train_step(bencher: Bencher, name: &str) {
    steps(bencher, name, &cave(51, false));
}

#[divan::bench(args = ENGINES)]
fn lr_step(bencher: Bencher, name: &str) {
    steps(bencher, name, &cave(0, false));
}

#[divan::bench(args = ENGINES)]
fn finetune_step(bencher: Bencher, name: &str) {
    steps(bencher, name, &cave(0, true));
}

#[divan::bench(args = ENGINES)]
fn reconstruct(bencher: Bencher, name: &str) {
    let (engine, architecture) = (engine(name), cave(0, false).architecture);
    let state = start(&architecture, 32);
    let image = samples(160 * 160 * 3, 3);
    let mut out = Array3::zeros((160, 160, 31));
    bencher.bench_local(|| {
        let image = ArrayView3::from_shape((160, 160, 3), &image).unwrap_or_else(|e| panic!("{e}"));
        engine
            .reconstruct(&architecture, &state, image, 0, Output::Mean, out.view_mut())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    });
}

/// The spread of refinement at its widest over 256 × 256 pixels: ×8, 31 bands. A smooth MSI leaves most neighbours in.
#[divan::bench(args = ENGINES)]
fn guided_update(bencher: Bencher, name: &str) {
    let grid = RefinementGrid {
        rows: 32,
        columns: 32,
        bands: 31,
        msi_bands: 3,
        geometry: Geometry { scale: 8, kernel: 8 },
        centroid: [0.0; 2],
    };
    let guide = Guide {
        radius: Guide::MAX_RADIUS,
        precision: 10.0,
    };
    let smooth = |side: usize| -> Vec<f32> {
        let at = |k: usize| (k / 3 / side + k / 3 % side) as f32 / side as f32;
        (0..side * side * 3)
            .map(|k| 0.3 * (at(k) + k as f32 % 3.0).sin())
            .collect()
    };
    let (weights, lr_msi, hr_msi) = (samples(32 * 32 * 31, 1), smooth(32), smooth(256));
    let (engine, mut out) = (engine(name), vec![0.0; 256 * 256 * 31]);
    bencher.bench_local(|| {
        engine
            .refiner()
            .guided_update(
                &grid,
                Strip::default(),
                guide,
                &weights,
                &lr_msi,
                &hr_msi,
                &mut out,
            )
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    });
}

/// The twins of a step, one by one, in the step's order.
#[divan::bench(args = ["degradation", "psf_blur", "lr_network", "network_update", "hr_network"])]
fn twin(bencher: Bencher, kernel: &str) {
    let workload = cave(51, false);
    let (problem, a) = (workload.problem(), &workload.architecture);
    let (layout, n) = (a.layout(), workload.windows);
    let (state, batch) = (start(a, workload.scale), workload.batch());
    let area = workload.scale * workload.scale;
    let data = TrainingSet {
        lr_hsi: samples(n * a.bands, 1),
        hr_msi: samples(n * area * a.msi_bands, 2),
        windows: n,
    };
    let mut made = Degradation {
        bank: vec![0.0; (1 + psf::PARAMETERS) * area],
        srf: vec![0.0; a.bands * a.msi_bands],
    };
    degradation(&problem, &state.degradation, &mut made);
    let mut observations = vec![LrObservation::zero(a.msi_bands); n];
    psf_blur(&problem, &data, &made, &batch, &mut observations);
    let (mut again, mut looked) = (made.clone(), observations.clone());
    let lr = LrPass {
        problem: &problem,
        layout: &layout,
        data: &data,
        network: &state.network,
        linear: &state.linear,
        batch: &batch,
        observations: &observations,
        abundance: None,
        noise: &[],
        step: 1,
    };
    let hr = HrPass {
        problem: &problem,
        layout: &layout,
        data: &data,
        parameters: &state.network,
        linear: &state.linear,
        degradation: &made,
        batch: &batch,
        noise: &[],
        step: 1,
        precision: Precision::F32,
    };
    let mut pixels = vec![LrPixel::zero(&layout, a.bands); n];
    lr_network(&lr, &mut pixels);
    let mut gradient = vec![0.0; state.network.len()];
    let mut windows = vec![HrWindow::zero(a.bands, a.msi_bands, workload.scale); n];
    match kernel {
        "degradation" => bencher.bench_local(|| degradation(&problem, &state.degradation, &mut again)),
        "psf_blur" => bencher.bench_local(|| psf_blur(&problem, &data, &made, &batch, &mut looked)),
        "lr_network" => bencher.bench_local(|| lr_network(&lr, &mut pixels)),
        "network_update" => bencher.bench_local(|| network_update::gradient(&lr, &pixels, &mut gradient)),
        _ => bencher.bench_local(|| hr_network(&hr, &mut windows)),
    }
}
