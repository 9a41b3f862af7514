//! Whole steps of the GPU engine beside the CPU engine's, and beside their own repetition.
//!
//! Proves that the engines draw the same noise and take the same steps, and that a GPU's sums have one order.

use hsr_gpu::engine::cpu::CpuEngine;
use hsr_gpu::engine::gpu::compare::cases::{Case, cases};
use hsr_gpu::engine::gpu::compare::walk;
use kernels_tests::gpu::engine;
use kernels_tests::nmse;

const STEPS: u32 = 50;

fn case(name: &str) -> Case {
    cases().into_iter().find(|c| c.name == name).unwrap()
}

fn f64s(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

// The limits. Rounding differs in the last place and grows over 50 steps; a sign that flips where a
// residual is nearly zero moves a loss by far less than 1e-4 of it.
#[test]
fn walk_together() {
    for name in ["cave", "three members, linear path, K < s"] {
        let case = case(name);
        let (gpu, gpu_state) = walk(&engine(), &case, STEPS).unwrap();
        let (cpu, cpu_state) = walk(&CpuEngine, &case, STEPS).unwrap();
        assert_eq!(gpu.len(), STEPS as usize);
        let start = case.state();
        for (end, start) in [
            (&gpu_state.network, &start.network),
            (&gpu_state.degradation, &start.degradation),
        ] {
            assert!(nmse(&f64s(end), &f64s(start)) > 1e-8, "{name}: nothing moved");
        }
        let mut worst = 0.0f64;
        for (g, c) in gpu.iter().zip(&cpu) {
            assert_eq!(g.step, c.step);
            let all = |l: &hsr_gpu::engine::StepLosses| -> Vec<f64> {
                l.degradation.unwrap().iter().chain(&l.network).copied().collect()
            };
            for (a, b) in all(g).iter().zip(all(c)) {
                worst = worst.max((a - b).abs() / b.abs());
            }
        }
        println!("{name}: worst loss {worst:.1e}");
        assert!(worst < 1e-4, "{name}: a loss is off by {worst:.2e}");
        for (what, a, b) in [
            ("network", &gpu_state.network, &cpu_state.network),
            ("degradation", &gpu_state.degradation, &cpu_state.degradation),
        ] {
            let e = nmse(&f64s(a), &f64s(b));
            println!("{name}: {what} {e:.1e}");
            assert!(e < 1e-5, "{name}: {what}: {e:.2e}");
        }
    }
}

#[test]
fn two_gpu_runs_are_bit_identical() {
    let case = case("three members, linear path, K < s");
    let engine = engine();
    assert_eq!(
        walk(&engine, &case, STEPS).unwrap(),
        walk(&engine, &case, STEPS).unwrap()
    );
}

// θ put into a run that has taken steps: what follows is what follows in a run that began there. The CPU engine and the
// GPU keep what they derive from θ between steps, and must let go of it.
#[test]
fn a_replaced_degradation_is_the_one_that_steps_go_by() {
    let case = case("cave");
    let other: Vec<f32> = case.state().degradation.iter().map(|x| 1.1 * x + 0.01).collect();
    let mut plans: Vec<_> = (1..=3).map(|step| case.plan(step)).collect();
    // One batch for all steps, and no θ update after the replacement: nothing but the replacement can renew θ.
    for step in 1..3 {
        plans[step].lr_batch = plans[0].lr_batch.clone();
        plans[step].degradation_rate = None;
    }
    let engines: [Box<dyn hsr_gpu::engine::Engine<f32>>; 3] = [
        Box::new(CpuEngine),
        Box::new(hsr_gpu::engine::simd::SimdEngine::new()),
        Box::new(engine()),
    ];
    for engine in engines {
        let mut trainer = engine
            .trainer(&case.problem(), &case.data(), case.state())
            .unwrap();
        trainer.step(&plans[0]).unwrap();
        trainer.step(&plans[1]).unwrap();
        let mut there = trainer.state().unwrap();
        trainer.set_degradation(&other).unwrap();
        trainer.step(&plans[2]).unwrap();
        there.degradation.clone_from(&other);
        let mut fresh = engine.trainer(&case.problem(), &case.data(), there).unwrap();
        fresh.step(&plans[2]).unwrap();
        let (found, expected) = (trainer.losses().unwrap(), fresh.losses().unwrap());
        let (moved, last) = (&found[1].network, &found[2].network);
        assert_eq!(last, &expected[0].network, "{}", engine.name());
        assert!(
            (moved[0] - last[0]).abs() > 1e-6 * last[0],
            "{}: the same θ",
            engine.name()
        );
        assert_eq!(
            trainer.state().unwrap(),
            fresh.state().unwrap(),
            "{}",
            engine.name()
        );
        assert_eq!(trainer.set_degradation(&other[1..]).unwrap_err().exit_code(), 1);
    }
}
