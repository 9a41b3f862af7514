//! `shaders/lr_steps.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::StepPlan;
use hsr_gpu::engine::gpu::Options;
use hsr_gpu::engine::gpu::compare::cases::cases;
use hsr_gpu::engine::gpu::defines::ShaderTarget;
use hsr_gpu::engine::gpu::lr_steps::suits;
use hsr_gpu::engine::gpu::shaders::Replacement;
use hsr_gpu::engine::{Engine, TrainingState};
use kernels_tests::gpu::{engine, with};
use kernels_tests::kernels::{fails, holds, holds_on};

#[test]
fn lr_steps_is_its_twin() {
    holds("lr_steps");
}

// Cards give an invocation fewer pixels and a workgroup more invocations than software adapters do.
#[test]
fn the_text_for_cards_is_the_twin_too() {
    let engine = with(Options {
        checked: true,
        target: Some(ShaderTarget {
            lr_pixels: 2,
            ..engine().target()
        }),
        ..Options::default()
    });
    holds_on(&engine, &["lr_steps"], &cases());
}

// Random numbers of the run's first step for all of them, a gradient of the wrong inputs, and an update where the step
// has none.
#[test]
fn lr_steps_mutations_are_caught() {
    for (from, to) in [
        ("steps[now].step.step)", "step.step)"),
        ("g#{C} += a[#{C}] * d;", "g#{C} += a[#{3 - C}] * d;"),
        ("steps[now].step.update_network,", "1u,"),
    ] {
        let file = "lr_steps.wgsl";
        fails("lr_steps", &[Replacement { file, from, to }]);
    }
}

// Where a submit ends depends on the clock and on who asks for losses when; the bits must not.
#[test]
fn bits_do_not_depend_on_how_steps_are_queued() {
    let engine = engine();
    for name in [
        "frozen encoder, three members",
        "three members, linear path, K < s",
    ] {
        let case = cases().into_iter().find(|c| c.name == name).unwrap();
        let layout = case.architecture.layout();
        assert!(
            suits(&layout, case.frozen, case.lr, engine.target()),
            "{name} goes another way"
        );
        let run = |look_every: u32| -> TrainingState<f32> {
            let mut trainer = engine
                .trainer(&case.problem(), &case.data(), case.state())
                .unwrap();
            for step in 1..=12 {
                trainer
                    .step(&StepPlan {
                        step,
                        degradation_rate: (!case.frozen && step % 5 == 0).then_some(1e-3),
                        ..case.plan(1)
                    })
                    .unwrap();
                if step % look_every == 0 {
                    trainer.losses().unwrap();
                }
            }
            trainer.state().unwrap()
        };
        let at_once = run(100);
        assert_eq!(at_once, run(1), "{name}");
        assert_eq!(at_once, run(3), "{name}");
    }
}
