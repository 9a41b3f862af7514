//! What every kernel declares as its work, against a count of what its twin does.
//!
//! All weights are zero: no unit is then positive, so that every activation multiplies and the count does not hang on
//! the data. Widths and bands of the exact cases are multiples of four, because the twins compute on the padding of
//! layers and the declarations leave it out.

use hsr_gpu::engine::cpu::degradation::{self, Degradation, degradation};
use hsr_gpu::engine::cpu::degradation_sums::{self, DegradationPass};
use hsr_gpu::engine::cpu::degradation_update;
use hsr_gpu::engine::cpu::hr_network::{self, HrPass, HrWindow, hr_network};
use hsr_gpu::engine::cpu::hr_window::{self, hr_window};
use hsr_gpu::engine::cpu::lr_network::{self, LrPass, LrPixel, lr_network};
use hsr_gpu::engine::cpu::lr_steps;
use hsr_gpu::engine::cpu::network_update::{self, Adam};
use hsr_gpu::engine::cpu::psf_blur::{self, LrObservation, psf_blur};
use hsr_gpu::engine::cpu::reconstruct;
use hsr_gpu::engine::work::Work;
use hsr_gpu::engine::{
    Geometry, Noise, Output, Precision, Problem, TrainingSet, TrainingState, degradation_parameters,
};
use hsr_gpu::network::{Activation, Architecture};
use hsr_gpu::real::Real;
use hsr_gpu::sensor::psf;
use kernels_tests::counted::{Counted, Counter};
use ndarray::Array3;

/// Windows, LR pixels and HR windows of a step; more LR pixels than the gradient's chunks hold.
const WINDOWS: usize = 70;
const LR: usize = 67;
const HR: usize = 3;

struct Case {
    name: &'static str,
    problem: Problem<Counted>,
}

fn architecture(bands: usize, encoder: &[usize], mean: &[usize], std: &[usize]) -> Architecture {
    Architecture {
        bands,
        msi_bands: 3,
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

fn problem(architecture: Architecture, scale: usize, kernel: usize) -> Problem<Counted> {
    Problem {
        architecture,
        geometry: Geometry { scale, kernel },
        alpha: [0.5, 0.2, 0.2],
        beta: 0.5,
        noise: Noise::Philox(1),
        learn_psf: true,
        learn_centre: false,
        learn_srf: true,
        fixed_psf: None,
        fixed_srf: None,
        frozen_encoder: false,
        lr_capacity: LR,
        hr_capacity: HR,
    }
}

fn cases() -> Vec<Case> {
    let paper = || architecture(32, &[4, 8, 16, 24, 16], &[24], &[24]);
    let members = Architecture {
        members: 3,
        linear_path: true,
        ..architecture(12, &[8, 16], &[], &[4, 8])
    };
    let plain = Architecture {
        concatenate: false,
        ..architecture(8, &[4, 12], &[8], &[])
    };
    vec![
        Case {
            name: "paper, K = s",
            problem: problem(paper(), 4, 4),
        },
        Case {
            name: "three members, linear path, K < s",
            problem: problem(members, 3, 2),
        },
        Case {
            name: "frozen encoder, centre learned, K > s",
            problem: Problem {
                frozen_encoder: true,
                learn_centre: true,
                ..problem(paper(), 2, 5)
            },
        },
        Case {
            name: "no noise, fixed PSF and SRF",
            problem: Problem {
                noise: Noise::Off,
                fixed_psf: Some(vec![Counted::of(1.0 / 9.0); 9]),
                fixed_srf: Some(vec![Counted::of(1.0 / 8.0); 8 * 3]),
                ..problem(plain, 3, 3)
            },
        },
    ]
}

/// Bytes of slices, each once.
fn bytes<const N: usize>(slices: [&[Counted]; N]) -> u64 {
    slices.iter().map(|s| size_of_val(*s) as u64).sum()
}

/// The kernels of a step: name, declared work, counted operations, and bytes of what the twin was given and left.
fn counted(counter: &Counter, problem: &Problem<Counted>) -> Vec<(&'static str, Work, u64, u64)> {
    let a = &problem.architecture;
    let (layout, side) = (a.layout(), problem.geometry.window());
    let data = TrainingSet {
        lr_hsi: vec![Counted::of(0.5); WINDOWS * a.bands],
        hr_msi: vec![Counted::of(0.25); WINDOWS * side * side * a.msi_bands],
        windows: WINDOWS,
    };
    let mut theta = vec![Counted::of(1.5); degradation_parameters(a.msi_bands)];
    theta[1] = Counted::of(0.1);
    let network = vec![Counted::of(0.0); a.members * layout.parameters];
    let state = TrainingState::start(a, network, theta);
    let lr: Vec<u32> = (0..LR as u32).collect();
    let hr: Vec<u32> = (0..HR as u32).collect();
    let mut rows = Vec::new();

    let kernel = problem.geometry.kernel * problem.geometry.kernel;
    let mut from_theta = Degradation {
        bank: vec![Counted::default(); (1 + psf::PARAMETERS) * kernel],
        srf: vec![Counted::default(); a.bands * a.msi_bands],
    };
    let did = counter.operations(|| degradation(problem, &state.degradation, &mut from_theta));
    let parametric = if problem.fixed_psf.is_none() {
        bytes([&state.degradation, &from_theta.bank, &from_theta.srf])
    } else {
        0
    };
    rows.push(("degradation", degradation::work(problem), did, parametric));

    let mut observations = vec![LrObservation::zero(a.msi_bands); LR];
    let did = counter.operations(|| psf_blur(problem, &data, &from_theta, &lr, &mut observations));
    let o = &observations[0];
    let one = (bytes([&o.lr_msi, &o.srf_of_lr_hsi, &o.sign, &[o.loss], &o.psf_gradient])
        + bytes([&data.lr_hsi[..a.bands]])) as usize
        + size_of::<Counted>() * kernel * a.msi_bands;
    let shared = bytes([&from_theta.bank, &from_theta.srf]);
    rows.push((
        "psf_blur",
        psf_blur::work(problem, LR),
        did,
        LR as u64 * one as u64 + shared,
    ));

    let frozen = vec![Counted::default(); a.members * WINDOWS * layout.abundances];
    let pass = LrPass {
        problem,
        layout: &layout,
        data: &data,
        network: &state.network,
        linear: &state.linear,
        batch: &lr,
        observations: &observations,
        abundance: problem.frozen_encoder.then_some(&frozen),
        noise: &[],
        step: 1,
    };
    let mut pixels = vec![LrPixel::zero(&layout, a.bands); a.members * LR];
    let did = counter.operations(|| lr_network(&pass, &mut pixels));
    let p = &pixels[0];
    let abundances = if problem.frozen_encoder {
        layout.abundances
    } else {
        0
    };
    let one = bytes([
        &o.lr_msi,
        &data.lr_hsi[..a.bands],
        &frozen[..abundances],
        &p.row,
        &p.deltas,
        &[p.loss],
    ]);
    let linear = if a.linear_path { bytes([&state.linear]) } else { 0 };
    let shared = bytes([&state.network]) + linear;
    let declared = lr_network::work(problem, LR, true);
    rows.push((
        "lr_network",
        declared,
        did,
        (a.members * LR) as u64 * one + shared,
    ));

    let mut gradient = vec![Counted::default(); state.network.len()];
    let decoders = problem.frozen_encoder.then_some(layout.decoders);
    let (mut updated, mut m, mut v) = (
        state.network.clone(),
        state.network_m.clone(),
        state.network_v.clone(),
    );
    let did = counter.operations(|| {
        network_update::gradient(&pass, &pixels, &mut gradient);
        network_update::update(
            decoders,
            layout.parameters,
            Adam::new(1e-3, 1),
            &gradient,
            &mut updated,
            &mut m,
            &mut v,
        );
    });
    // The twin adds its chunks of 64 pixels up, all parameters of each; the declaration leaves that out.
    let did = did - (state.network.len() * LR.div_ceil(64)) as u64;
    let learned = layout.parameters - decoders.unwrap_or(0);
    let one = bytes([&p.row, &p.deltas, &o.lr_msi]);
    let parameters = (7 * learned * size_of::<Counted>()) as u64;
    let all = a.members as u64 * (LR as u64 * one + parameters);
    rows.push((
        "network_update",
        network_update::work(problem, LR, true),
        did,
        all,
    ));

    let pass = HrPass {
        problem,
        layout: &layout,
        data: &data,
        parameters: &state.network[..layout.parameters],
        linear: &state.linear,
        degradation: &from_theta,
        batch: &hr,
        noise: &[],
        step: 1,
        precision: Precision::F32,
    };
    // Fused with the LR pass, only observations, spectra and abundances are read, and parameters updated.
    let one = bytes([&o.lr_msi, &data.lr_hsi[..a.bands], &frozen[..abundances]]);
    let shared = bytes([&state.network]) + linear;
    let fused = lr_steps::work(problem, LR, true, true);
    let moved = (a.members * LR) as u64 * one + shared + a.members as u64 * parameters;
    let both = lr_network::work(problem, LR, true) + network_update::work(problem, LR, true);
    rows.push(("lr_steps", fused, both.operations, moved));

    let mut windows = vec![HrWindow::zero(a.bands, a.msi_bands, side); HR];
    let did = counter.operations(|| hr_network(&pass, &mut windows));
    let w = &windows[0];
    let one = bytes([
        &data.hr_msi[..side * side * a.msi_bands],
        &w.blur_of_sample,
        &w.blur_of_derivatives,
        &[w.response_loss],
        &w.srf_gradient,
    ]);
    let shared = bytes([pass.parameters, &from_theta.bank, &from_theta.srf]) + linear;
    rows.push((
        "hr_network",
        hr_network::work(problem, HR),
        did,
        HR as u64 * one + shared,
    ));
    let did = counter.operations(|| hr_window(&data, &hr, &mut windows));
    let w = &windows[0];
    let one = bytes([
        &data.lr_hsi[..a.bands],
        &w.blur_of_sample,
        &w.blur_of_derivatives,
        &[w.blur_loss],
        &w.psf_gradient,
    ]);
    rows.push(("hr_window", hr_window::work(problem, HR), did, HR as u64 * one));

    let pass = DegradationPass {
        problem,
        data: &data,
        theta: &state.degradation,
        degradation: &from_theta,
        lr_batch: &lr,
        observations: &observations,
        windows: &windows,
    };
    let mut sums = None;
    let summed = counter.operations(|| sums = Some(degradation_sums::sums(&pass)));
    let sums = sums.unwrap_or_else(|| unreachable!("the sums were taken"));
    let read = HR as u64 * bytes([&[w.blur_loss, w.response_loss], &w.psf_gradient, &w.srf_gradient])
        + LR as u64 * bytes([&[o.loss], &o.psf_gradient, &o.sign, &data.lr_hsi[..a.bands]]);
    let [first, _, third] = &sums.to_psf;
    let left = bytes([&sums.losses, first, third, &sums.to_srf[0], &sums.to_srf[1]]);
    let declared = degradation_sums::work(problem, LR, HR);
    rows.push(("degradation_sums", declared, summed, read + left));

    let (mut gradient, mut m, mut v) = (None, state.degradation_m.clone(), state.degradation_v.clone());
    let mut theta = state.degradation.clone();
    let did = counter.operations(|| {
        let taken = degradation_update::gradient(&pass, &sums);
        let adam = Adam::new(1e-3, 1);
        degradation_update::update(problem, adam, &taken.total, &mut theta, &mut m, &mut v);
        gradient = Some(taken);
    });
    let gradient = gradient.unwrap_or_else(|| unreachable!("the gradient was taken"));
    let moved = left
        + bytes([&from_theta.srf])
        + 2 * bytes([&theta, &m, &v])
        + bytes([&gradient.losses, &gradient.terms, &gradient.total]);
    rows.push((
        "degradation_update",
        degradation_update::work(problem),
        did,
        moved,
    ));

    for (name, output, channels) in [
        ("reconstruct mean", Output::Mean, a.bands),
        ("reconstruct std", Output::Std, a.bands),
        (
            "reconstruct abundance",
            Output::Abundance { member: 0 },
            layout.abundances,
        ),
    ] {
        let msi = Array3::from_elem((5, 3, a.msi_bands), Counted::of(0.3));
        let mut out = Array3::zeros((5, 3, channels));
        let did = counter.operations(|| {
            reconstruct::reconstruct(Precision::F32, a, &state, msi.view(), 0, output, out.view_mut())
        });
        let members = if matches!(output, Output::Abundance { .. }) {
            1
        } else {
            a.members
        };
        let map = if output == Output::Mean { linear } else { 0 };
        let moved =
            (size_of::<Counted>() * (msi.len() + out.len() + members * layout.parameters)) as u64 + map;
        rows.push((name, reconstruct::work::<Counted>(a, output, 15), did, moved));
    }
    rows
}

#[test]
fn declared_work_is_what_the_twins_do() {
    let counter = Counter::alone();
    for case in cases() {
        for (kernel, declared, did, moved) in counted(&counter, &case.problem) {
            println!("{}: {kernel}: {declared:?}", case.name);
            assert_eq!(declared.operations, did, "operations of {kernel}, {}", case.name);
            assert_eq!(declared.bytes, moved, "bytes of {kernel}, {}", case.name);
        }
    }
}

// Odd widths: the twins' padding adds to the count, by at most the ratio of padded to true outputs.
#[test]
fn padding_is_all_that_odd_widths_add() {
    let counter = Counter::alone();
    let odd = problem(architecture(13, &[5, 7], &[9], &[6]), 3, 3);
    let most = odd
        .architecture
        .layout()
        .layers
        .iter()
        .map(|l| l.stride as f64 / l.outputs as f64)
        .fold(1.0, f64::max);
    for (kernel, declared, did, _) in counted(&counter, &odd) {
        let ratio = did as f64 / declared.operations as f64;
        assert!((1.0..=most).contains(&ratio), "{kernel}: {ratio}");
    }
}
