//! A device that is lost in the middle of a whole fusion, in every stage that computes on it: the result has the bits of a
//! run that lost none, on whatever adapter there is.

use std::sync::{Arc, Mutex};

use hsr_gpu::Fusion;
use hsr_gpu::coordination::config::Config;
use hsr_gpu::coordination::scene::Scene;
use hsr_gpu::coordination::watcher::{StageTime, Watcher};
use hsr_gpu::cube::{Cube, Metadata};
use hsr_gpu::engine::failover::Failover;
use hsr_gpu::engine::gpu::{GpuEngine, Options};
use hsr_gpu::engine::{Engine, StepLosses};
use hsr_gpu::{Error, Result};
use kernels_tests::gpu::choice;
use ndarray::Array3;

/// Destroys the device that was opened last.
type Device = Arc<Mutex<Option<Box<dyn Fn() + Send + Sync>>>>;

fn open(last: &Device) -> Result<Box<dyn Engine<f32>>> {
    let engine = GpuEngine::with_options(&choice(), Options::default())?;
    let device = engine.context.device.clone();
    *last.lock().unwrap() = Some(Box::new(move || device.destroy()));
    Ok(Box::new(engine))
}

/// Destroys the device at the begin of these stages, or once a part of them is done.
struct Destroyer {
    device: Device,
    stage: &'static str,
    at: Vec<(&'static str, f64)>,
}

impl Destroyer {
    fn reached(&mut self, share: f64) {
        let now = self
            .at
            .iter()
            .position(|&(stage, at)| stage == self.stage && share >= at);
        if let Some(found) = now {
            self.at.remove(found);
            self.device.lock().unwrap().as_ref().unwrap()();
        }
    }
}

impl Watcher for Destroyer {
    fn begin(&mut self, stage: &'static str) {
        self.stage = stage;
        self.reached(0.0);
    }

    fn progress(&mut self, done: usize, total: usize, _: Option<&StepLosses>) {
        self.reached(done as f64 / total as f64);
    }

    fn end(&mut self, _: &StageTime) {}
}

fn scene() -> Scene {
    let z = |r: f32, c: f32, b: f32| 0.5 + 0.2 * (0.3 * r + 0.2 * b).sin() + 0.2 * (0.4 * c - 0.3 * b).cos();
    let noise = |r: usize, c: usize, b: usize| ((r * 37 + c * 91 + b * 53) % 101) as f32 / 2e4;
    let msi = Array3::from_shape_fn((32, 32, 3), |(r, c, j)| {
        z(r as f32, c as f32, 3.0 * j as f32 + 1.0) + noise(r, c, j)
    });
    let hsi = Array3::from_shape_fn((8, 8, 9), |(r, c, b)| {
        z(4.0 * r as f32 + 1.5, 4.0 * c as f32 + 1.5, b as f32) + noise(r, c, b)
    });
    Scene::new(&Cube::new(hsi), &Cube::new(msi), "x", "y").unwrap()
}

/// Fuses the scene, held as a whole or strip by strip; loses the device `at` these stages, and before the result is made
/// where that is asked for. Returns the result's bits and what was warned of.
fn fused(memory: usize, at: &[(&'static str, f64)], at_last: bool) -> (Vec<u32>, Vec<String>) {
    let device = Device::default();
    let again = |device: &Device| {
        let device = device.clone();
        move || open(&device)
    };
    let said = Arc::new(Mutex::new(Vec::new()));
    let told = said.clone();
    let warn = move |line: &str| told.lock().unwrap().push(line.to_owned());
    let mut engine = Failover::new(open(&device).unwrap(), again(&device), None, warn);
    // One device is opened again once; what follows stand in for others.
    for _ in 1..at.len() + usize::from(at_last) {
        engine = engine.or(again(&device));
    }
    let overlay = "[network]\nmembers = 2\n[training]\nsteps = 40\n[finetune]\nsteps = 20\n";
    let config = Config::load("single-scene", Some(("test", overlay))).unwrap();
    let mut watcher = Destroyer {
        device,
        stage: "",
        at: at.to_vec(),
    };
    let fused = Fusion::of_scene(scene(), Metadata::default())
        .config(config)
        .memory(memory)
        .on(&engine)
        .watch(&mut watcher)
        .run()
        .unwrap();
    assert!(watcher.at.is_empty(), "not reached: {:?}", watcher.at);
    if at_last {
        watcher.device.lock().unwrap().as_ref().unwrap()();
    }
    let image = fused.into_image().unwrap();
    let said = said.lock().unwrap().clone();
    (image.samples.iter().map(|x| x.to_bits()).collect(), said)
}

#[test]
fn a_device_that_is_lost_in_any_stage_changes_no_bit() {
    let (whole, said) = fused(usize::MAX, &[], false);
    assert!(said.is_empty(), "{said:?}");
    let stages = [
        ("denoise", 0.0),
        ("train", 0.3),
        ("fine-tune", 0.5),
        ("reconstruct", 0.0),
        ("refine", 0.0),
    ];
    let (lost, said) = fused(usize::MAX, &stages, false);
    assert_eq!(said.len(), stages.len(), "{said:?}");
    assert!(said[0].contains("opened again"), "{}", said[0]);
    assert!(lost == whole);
    // Strip by strip: behind the network's rows, before what refinement finds in them, and before the result is made.
    let (lost, said) = fused(0, &[("refine", 0.0), ("refine", 1.0)], true);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(lost == whole);
}

#[test]
fn a_device_that_is_lost_for_good_ends_the_fusion_with_one_line() {
    let device = Device::default();
    let none = || Err(Error::failed("there is no adapter any more"));
    let engine = Failover::new(open(&device).unwrap(), none, None, |_| ());
    let config = Config::load("single-scene", Some(("test", "[training]\nsteps = 40\n"))).unwrap();
    let mut watcher = Destroyer {
        device,
        stage: "",
        at: vec![("train", 0.5)],
    };
    let lost = Fusion::of_scene(scene(), Metadata::default())
        .config(config)
        .on(&engine)
        .watch(&mut watcher)
        .run();
    let error = lost.err().unwrap();
    assert_eq!(error.exit_code(), 1);
    let line = error.to_string();
    assert!(line.contains("lost") && !line.contains('\n'), "{line}");
}
