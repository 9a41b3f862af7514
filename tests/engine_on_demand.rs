//! A fusion asks for its engine when it computes on it and no sooner, so that a device may open beside what comes before.

use std::cell::RefCell;

use hsr_gpu::coordination::config::Config;
use hsr_gpu::coordination::product::{Fused, Product};
use hsr_gpu::coordination::scene::Scene;
use hsr_gpu::coordination::watcher::{StageTime, Watcher};
use hsr_gpu::cube::{Cube, Metadata};
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::engine::{Engine, StepLosses};
use hsr_gpu::{Error, Fusion, Result};
use ndarray::Array3;

/// What happened, in order.
type Events = RefCell<Vec<String>>;

struct Listener<'a>(&'a Events);

impl Watcher for Listener<'_> {
    fn begin(&mut self, stage: &'static str) {
        self.0.borrow_mut().push(format!("begin {stage}"));
    }

    fn progress(&mut self, _: usize, _: usize, _: Option<&StepLosses>) {}

    fn end(&mut self, time: &StageTime) {
        self.0.borrow_mut().push(format!("end {}", time.stage));
    }
}

/// A smooth scene, its MSI with noise of this amplitude.
fn scene(noise: f32) -> Scene {
    let z = |r: f32, c: f32, b: f32| 0.5 + 0.2 * (0.3 * r + 0.2 * b).sin() + 0.2 * (0.4 * c - 0.3 * b).cos();
    let grain = |r: usize, c: usize, b: usize| ((r * 37 + c * 91 + b * 53 + r * c * 17) % 101) as f32 - 50.0;
    let msi = Array3::from_shape_fn((32, 32, 3), |(r, c, j)| {
        z(r as f32, c as f32, 3.0 * j as f32 + 1.0) + noise * grain(r, c, j)
    });
    let hsi = Array3::from_shape_fn((8, 8, 9), |(r, c, b)| {
        z(4.0 * r as f32 + 1.5, 4.0 * c as f32 + 1.5, b as f32)
    });
    Scene::new(&Cube::new(hsi), &Cube::new(msi), "x", "y").unwrap()
}

fn config() -> Config {
    let overlay = "[network]\nmembers = 1\n[training]\nsteps = 5\n[finetune]\nsteps = 2\n";
    Config::load("single-scene", Some(("test", overlay))).unwrap()
}

/// What happened until the engine was first asked for, and how it ended.
fn until_asked<'e>(noise: f32, opened: Result<&'e dyn Engine<f32>>) -> (Vec<String>, Result<Fused<'e>>) {
    let events = Events::default();
    let opened = RefCell::new(Some(opened));
    let kept = RefCell::new(None);
    let ask = || {
        if let Some(first) = opened.borrow_mut().take() {
            events.borrow_mut().push("asked".to_owned());
            *kept.borrow_mut() = Some(first?);
        }
        kept.borrow()
            .ok_or_else(|| Error::failed("asked again after an error"))
    };
    let fused = Fusion::of_scene(scene(noise), Metadata::default())
        .config(config())
        .on_demand(&ask)
        .watch(&mut Listener(&events))
        .run();
    (events.into_inner(), fused)
}

fn bits(fused: &Fused) -> Vec<u32> {
    match &fused.product {
        Product::Whole(samples) => samples.iter().map(|x| x.to_bits()).collect(),
        Product::Strips(_) => panic!("a small result is held as a whole"),
    }
}

#[test]
fn the_engine_is_asked_for_behind_the_estimate() {
    let engine = SimdEngine::new();
    let (events, fused) = until_asked(0.0, Ok(&engine));
    let first = [
        "begin denoise",
        "end denoise",
        "begin suspects",
        "end suspects",
        "begin estimate",
        "end estimate",
        "asked",
        "begin train",
    ];
    assert_eq!(events[..8], first);
    let whole = Fusion::of_scene(scene(0.0), Metadata::default())
        .config(config())
        .on(&engine)
        .run();
    assert_eq!(bits(&fused.unwrap()), bits(&whole.unwrap()));
}

#[test]
fn a_noisy_image_asks_for_it_where_it_is_denoised() {
    let engine = SimdEngine::new();
    let (events, fused) = until_asked(1e-3, Ok(&engine));
    assert_eq!(events[..3], ["begin denoise", "asked", "end denoise"]);
    assert!(fused.unwrap().common.refinement.unwrap().msi_denoised);
}

#[test]
fn a_device_that_does_not_open_ends_the_fusion_before_it_trains() {
    let (events, fused) = until_asked(0.0, Err(Error::input("no such adapter")));
    assert_eq!(events.last().unwrap(), "asked");
    let error = fused.err().unwrap();
    assert_eq!(
        (error.exit_code(), error.to_string().as_str()),
        (2, "no such adapter")
    );
}
