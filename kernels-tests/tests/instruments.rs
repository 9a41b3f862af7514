//! The instruments of the GPU engine on whatever adapter there is: what a profile holds, that a step makes nothing, that
//! compiled pipelines come back from disk and damaged ones do not matter.

use hsr_gpu::engine::gpu::compare::cases::{Case, cases};
use hsr_gpu::engine::gpu::{GpuEngine, Options};
use hsr_gpu::engine::profile::{Clock, Instruments, Profile};
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::engine::{Engine, TrainingState};
use kernels_tests::gpu::{choice, engine};

const STEPS: u32 = 5;

fn case(name: &str) -> Case {
    cases().into_iter().find(|c| c.name == name).unwrap()
}

/// Runs some steps of a case; the batch changes with every one of them.
fn train(engine: &dyn Engine<f32>, case: &Case, steps: u32) -> TrainingState<f32> {
    let mut trainer = engine
        .trainer(&case.problem(), &case.data(), case.state())
        .unwrap();
    for step in 0..steps {
        trainer.step(&case.plan(step)).unwrap();
    }
    trainer.state().unwrap()
}

fn profile(engine: &GpuEngine, case: &Case, clock: Clock) -> (Profile, TrainingState<f32>) {
    engine.start_profile(clock).unwrap();
    let state = train(engine, case, STEPS);
    (engine.take_profile(), state)
}

// A step is at most eight dispatches, and a profile of either kind shows each of them and changes no bit.
#[test]
fn a_profile_shows_every_dispatch_and_changes_nothing() {
    let (engine, case) = (engine(), case("wv2"));
    let plain = train(&engine, &case, STEPS);
    let mut clocks = vec![Clock::HostClock];
    clocks.extend(Some(engine.clock()).filter(|&c| c == Clock::DeviceTimestamps));
    for clock in clocks {
        let (profile, state) = profile(&engine, &case, clock);
        assert_eq!(state, plain);
        assert_eq!(profile.clock, clock);
        if let Some(why) = profile.unusable {
            println!("timestamps: {why}");
            assert!(profile.spans.is_empty());
            continue;
        }
        let count = |kernel: &str| profile.spans.iter().filter(|s| s.kernel.contains(kernel)).count();
        assert!(
            profile.spans.len() <= 8 * STEPS as usize,
            "{}",
            profile.spans.len()
        );
        assert_eq!(count("hr_network"), STEPS as usize);
        assert!(profile.spans.windows(2).all(|s| s[0].begin <= s[1].begin));
        assert!(
            profile
                .spans
                .iter()
                .all(|s| s.seconds >= 0.0 && s.work.operations > 0)
        );
    }
    assert!(engine.take_profile().spans.is_empty());
}

#[test]
fn the_cpu_engine_keeps_spans_too() {
    let (engine, case) = (SimdEngine::new(), case("wv2"));
    let plain = train(&engine, &case, STEPS);
    engine.start_profile(engine.clock()).unwrap();
    assert_eq!(train(&engine, &case, STEPS), plain);
    let profile = engine.take_profile();
    let count = |kernel: &str| profile.spans.iter().filter(|s| s.kernel == kernel).count() as u32;
    assert_eq!(
        (
            count("hr_network"),
            count("degradation_sums + degradation_update")
        ),
        (STEPS, STEPS)
    );
    assert_eq!(count("lr_network + network_update"), STEPS);
}

// Step after step, looks at losses and state included, no buffer, bind group or pipeline is made.
#[test]
fn steps_make_nothing_on_the_device() {
    let engine = GpuEngine::with_options(&choice(), Options::default()).unwrap();
    for name in ["wv2", "frozen encoder, three members"] {
        let case = case(name);
        let mut trainer = engine
            .trainer(&case.problem(), &case.data(), case.state())
            .unwrap();
        // Kernels that only some steps need are compiled with the first of them.
        trainer.step(&case.plan(0)).unwrap();
        trainer.losses().unwrap();
        let made = engine.context.made.objects();
        for step in 1..1200 {
            trainer.step(&case.plan(step)).unwrap();
            match step % 200 {
                0 => assert_eq!(trainer.losses().unwrap().len(), 200),
                70 | 80 => drop(trainer.arrived_state().unwrap()),
                _ => (),
            }
        }
        trainer.losses().unwrap();
        assert_eq!(engine.context.made.objects(), made, "{name}");
    }
}

#[test]
fn memory_of_a_run_is_given_back() {
    let (engine, case) = (engine(), case("wv2"));
    train(&engine, &case, 1);
    let first = engine.take_peak_memory().unwrap();
    // The windows alone: 9 of 4 x 4 pixels, 3 bands.
    assert!(first > 9 * 16 * 3 * 4, "{first}");
    let idle = engine.take_peak_memory().unwrap();
    assert!(idle < first, "{idle} of {first} bytes are still there");
    train(&engine, &case, 1);
    assert_eq!(engine.take_peak_memory().unwrap(), first);
}

#[test]
fn pipelines_come_back_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let case = case("one pixel, one band");
    let run = || {
        let options = Options {
            cache: Some(folder.path().join("below")),
            ..Options::default()
        };
        let engine = GpuEngine::with_options(&choice(), options).unwrap();
        let there = engine.pipelines.are_kept();
        (train(&engine, &case, 2), there)
    };
    let files = || {
        let folder = std::fs::read_dir(folder.path().join("below"));
        let mut files: Vec<_> = folder.into_iter().flatten().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    };
    let (plain, there) = run();
    if !there {
        // A backend without a pipeline cache writes none.
        assert!(files().is_empty());
        return;
    }
    let [file] = &files()[..] else {
        panic!("{:?}", files())
    };
    let whole = std::fs::read(file).unwrap();
    assert_eq!(run().0, plain);
    // Damaged, cut short or foreign: taken for no cache, and written anew.
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    for bad in [&damaged[..], &whole[..whole.len() / 2], b"not a cache", b""] {
        std::fs::write(file, bad).unwrap();
        assert_eq!(run().0, plain);
        assert!(std::fs::read(file).unwrap().len() > whole.len() / 2);
    }
    assert_eq!(files().len(), 1);
}

#[test]
fn probes_find_finite_limits() {
    for limits in [engine().limits().unwrap(), SimdEngine::new().limits().unwrap()] {
        println!("{limits:?}");
        let rates = [
            limits.operations_per_second,
            limits.bytes_per_second,
            1.0 / limits.launch_seconds,
        ];
        // Anything that runs Vulkan does a million of each a second, but launches.
        assert!(rates[..2].iter().all(|r| r.is_finite() && *r > 1e6), "{limits:?}");
        assert!(rates[2].is_finite() && rates[2] > 1.0, "{limits:?}");
    }
}
