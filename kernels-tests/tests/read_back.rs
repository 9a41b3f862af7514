//! What comes from the device while steps go on: losses and copies of the state, without waiting for the steps queued last.

use hsr_gpu::engine::gpu::compare::cases::{Case, cases};
use hsr_gpu::engine::{Engine, StepPlan, Trainer};
use kernels_tests::gpu::engine;

/// More than there are places for, in full submits and others.
const STEPS: u32 = 1500;
/// A rate at which a submit is full before it is long, operations a second.
const FAST: f64 = 1e15;

fn case(name: &str) -> Case {
    cases().into_iter().find(|c| c.name == name).unwrap()
}

/// Steps with, and between them steps without an update of θ.
fn plan(case: &Case, step: u32) -> StepPlan {
    let mut plan = case.plan(1);
    plan.step = step;
    plan.degradation_rate = plan.degradation_rate.filter(|_| step % 25 == 1);
    plan
}

fn train(trainer: &mut dyn Trainer<f32>, case: &Case, steps: std::ops::RangeInclusive<u32>) {
    steps.for_each(|step| trainer.step(&plan(case, step)).unwrap());
}

#[test]
fn losses_come_in_order_and_are_those_that_were_waited_for() {
    for name in ["wv2", "frozen encoder, three members"] {
        let (engine, case) = (engine(), case(name));
        let trainer = || {
            engine
                .trainer(&case.problem(), &case.data(), case.state())
                .unwrap()
        };
        let mut waiting = trainer();
        let mut expected = Vec::new();
        for first in (1..=STEPS).step_by(100) {
            train(waiting.as_mut(), &case, first..=first + 99);
            expected.append(&mut waiting.losses().unwrap());
        }
        assert_eq!(expected.len(), STEPS as usize);
        for rate in [FAST, 1e9] {
            engine.pace.assume(rate);
            let mut looking = trainer();
            let mut losses = Vec::new();
            for step in 1..=STEPS {
                train(looking.as_mut(), &case, step..=step);
                if step % 7 == 0 {
                    losses.append(&mut looking.arrived_losses().unwrap());
                }
            }
            // The step queued last is not submitted yet.
            assert!(losses.len() < STEPS as usize, "{name}");
            losses.append(&mut looking.losses().unwrap());
            assert_eq!(losses, expected, "{name} at {rate}");
            assert_eq!(
                looking.state().unwrap(),
                waiting.state().unwrap(),
                "{name} at {rate}"
            );
        }
    }
}

#[test]
fn a_look_submits_nothing_and_waits_for_nothing() {
    let (engine, case) = (engine(), case("wv2"));
    engine.pace.assume(FAST);
    let mut trainer = engine
        .trainer(&case.problem(), &case.data(), case.state())
        .unwrap();
    train(trainer.as_mut(), &case, 1..=10);
    assert_eq!(trainer.arrived_losses().unwrap(), []);
    train(trainer.as_mut(), &case, 11..=20);
    assert_eq!(trainer.losses().unwrap().len(), 20);
    assert_eq!(trainer.arrived_losses().unwrap(), []);
}

#[test]
fn a_copy_of_the_state_is_of_the_step_that_it_was_asked_for() {
    for name in ["wv2", "frozen encoder, three members"] {
        let (engine, case) = (engine(), case(name));
        let trainer = || {
            engine
                .trainer(&case.problem(), &case.data(), case.state())
                .unwrap()
        };
        let at = |step: u32| {
            let mut trainer = trainer();
            train(trainer.as_mut(), &case, 1..=step);
            trainer.state().unwrap()
        };
        let mut trainer = trainer();
        train(trainer.as_mut(), &case, 1..=70);
        // Begun with this call.
        assert_eq!(trainer.arrived_state().unwrap(), None);
        train(trainer.as_mut(), &case, 71..=90);
        let (copy, losses) = loop {
            if let Some(copy) = trainer.arrived_state().unwrap() {
                break (copy, trainer.arrived_losses().unwrap());
            }
        };
        assert_eq!(copy, at(70), "{name}");
        assert!(losses.len() >= 70, "{name}: {}", losses.len());
        // Another one, which ends where the state is waited for.
        assert_eq!(trainer.arrived_state().unwrap(), None);
        train(trainer.as_mut(), &case, 91..=100);
        assert_eq!(trainer.state().unwrap(), at(100), "{name}");
        assert_eq!(trainer.arrived_state().unwrap(), None);
        assert_eq!(trainer.losses().unwrap().len() + losses.len(), 100);
        assert_eq!(trainer.arrived_state().unwrap(), Some(at(100)), "{name}");
    }
}
