//! The library's front door: the bits of the command line, from arrays of any layout, stopped by a token.

use hsr_gpu::coordination::config::Refine;
use hsr_gpu::coordination::watcher::{StageTime, Watcher};
use hsr_gpu::cube::Cube;
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::engine::{
    Engine, Output, Problem, StepLosses, Trainer, TrainingSet, TrainingState, refinement::Refiner,
};
use hsr_gpu::network::Architecture;
use hsr_gpu::{Fusion, Psf, Result, Srf, Token, io};
use ndarray::{Array2, Array3, ArrayView3, ArrayViewMut3};

use crate::common::Folder;

fn pair() -> (Array3<f32>, Array3<f32>) {
    let z = |r: f32, c: f32, b: f32| 1.0 + (0.3 * r + 0.2 * b).sin() * (0.4 * c - 0.3 * b).cos();
    let grain = |r: usize, c: usize, b: usize| ((r * 37 + c * 91 + b * 53) % 101) as f32 / 5e3;
    let hsi = Array3::from_shape_fn((8, 8, 9), |(r, c, b)| {
        z(4.0 * r as f32 + 1.5, 4.0 * c as f32 + 1.5, b as f32)
    });
    let msi = Array3::from_shape_fn((32, 32, 3), |(r, c, b)| {
        z(r as f32, c as f32, 3.0 * b as f32 + 1.0) + grain(r, c, b)
    });
    (hsi, msi)
}

fn bits(image: &Cube) -> Vec<u32> {
    image.samples.iter().map(|x| x.to_bits()).collect()
}

fn small<'a, 'e>(hsi: &'a Array3<f32>, msi: &'a Array3<f32>) -> Fusion<'a, 'e> {
    Fusion::new(hsi, msi).seed(3).settings(|config| {
        config.training.steps = 30;
        config.finetune.steps = 10;
    })
}

#[test]
fn the_front_door_gives_the_bits_of_the_command_line() {
    let folder = Folder::new();
    let (hsi, msi) = pair();
    folder.cube("x.npy", &Cube::new(hsi.clone()));
    folder.cube("y.npy", &Cube::new(msi.clone()));
    folder.good(
        "fuse --hsi x.npy --msi y.npy --out z.npy --backend cpu --steps 30 --finetune-steps 10 --seed 3 --quiet",
    );
    let command = io::read_cube(folder.path("z.npy").to_str().unwrap()).unwrap();
    let fused = small(&hsi, &msi).run().unwrap();
    assert_eq!(bits(&fused.image().unwrap()), bits(&command));
    fused.write(folder.path("w.npy")).unwrap();
    let written = io::read_cube(folder.path("w.npy").to_str().unwrap()).unwrap();
    assert_eq!(bits(&written), bits(&command));
    // Samples in another order of memory, and a result that is made when it is asked for.
    let bands_first = hsi
        .view()
        .permuted_axes([2, 0, 1])
        .as_standard_layout()
        .to_owned();
    let view = bands_first.view().permuted_axes([1, 2, 0]);
    let strips = Fusion::new(view, &msi)
        .seed(3)
        .settings(|config| {
            config.training.steps = 30;
            config.finetune.steps = 10;
        })
        .memory(0)
        .run()
        .unwrap();
    assert_eq!(bits(&strips.into_image().unwrap()), bits(&command));
}

/// Cancels its token at the tenth step of training.
struct Impatient(Token, usize);

impl Watcher for Impatient {
    fn begin(&mut self, _: &'static str) {}

    fn progress(&mut self, done: usize, _: usize, losses: Option<&StepLosses>) {
        if losses.is_some() && done >= 10 {
            self.0.cancel();
        }
    }

    fn end(&mut self, _: &StageTime) {
        self.1 += 1;
    }
}

#[test]
fn a_token_stops_its_own_fusion_and_no_other() {
    let (hsi, msi) = pair();
    let token = Token::new();
    let mut watcher = Impatient(token.clone(), 0);
    let long = small(&hsi, &msi).settings(|config| config.training.steps = 100_000);
    let stopped = long.watch(&mut watcher).cancel(&token).run().err().unwrap();
    assert_eq!(stopped.exit_code(), 130);
    assert_eq!(watcher.1, 3, "denoising, suspects and the estimate were done");
    assert!(small(&hsi, &msi).cancel(&Token::new()).run().is_ok());
}

#[test]
fn what_is_known_is_used_and_what_does_not_fit_is_refused() {
    let (hsi, msi) = pair();
    let box_psf = Array2::from_elem((4, 4), 5.0);
    let fused = small(&hsi, &msi).psf(Psf::Kernel(box_psf)).run().unwrap();
    let psf = fused.degradation().psf;
    assert!(psf.iter().all(|&w| (w - 1.0 / 16.0).abs() < 1e-7), "{psf}");
    let wrong = small(&hsi, &msi).srf(Srf::Matrix(Array2::from_elem((9, 2), 1.0)));
    let refused = wrong.run().err().unwrap();
    assert!(
        refused.exit_code() == 2 && refused.to_string().contains("2 bands"),
        "{refused}"
    );
    let swapped = Fusion::new(&msi, &hsi).run().err().unwrap();
    assert_eq!(swapped.exit_code(), 2);
    assert_eq!(Psf::named("no-such.npy").err().unwrap().exit_code(), 2);
}

/// Threads may share one engine: this compiles, or does not.
#[test]
fn one_engine_serves_several_threads() {
    let engine = SimdEngine::new();
    let (hsi, msi) = pair();
    let run = || {
        let engine: &dyn Engine<f32> = &engine;
        bits(&small(&hsi, &msi).on(engine).run().unwrap().into_image().unwrap())
    };
    let (one, other) = std::thread::scope(|threads| {
        let other = threads.spawn(run);
        (run(), other.join().unwrap())
    });
    assert_eq!(one, other);
}

/// An engine whose network gives one sample that is no number.
struct Broken(SimdEngine);

impl Engine<f32> for Broken {
    fn name(&self) -> String {
        "a broken card".to_owned()
    }

    fn trainer<'a>(
        &'a self,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: TrainingState<f32>,
    ) -> Result<Box<dyn Trainer<f32> + 'a>> {
        self.0.trainer(problem, data, state)
    }

    fn reconstruct(
        &self,
        architecture: &Architecture,
        state: &TrainingState<f32>,
        hr_msi: ArrayView3<f32>,
        first_pixel: u32,
        output: Output,
        mut out: ArrayViewMut3<f32>,
    ) -> Result<()> {
        self.0
            .reconstruct(architecture, state, hr_msi, first_pixel, output, out.view_mut())?;
        out[[1, 2, 3]] = f32::NAN;
        Ok(())
    }

    fn refiner(&self) -> &dyn Refiner<f32> {
        self.0.refiner()
    }
}

#[test]
fn what_a_device_gives_as_no_number_is_never_written() {
    let folder = Folder::new();
    let (hsi, msi) = pair();
    let engine = Broken(SimdEngine::new());
    for (refine, memory) in [
        (Refine::Off, usize::MAX),
        (Refine::Off, 0),
        (Refine::Auto, usize::MAX),
    ] {
        let fused = small(&hsi, &msi)
            .settings(|config| config.refine = refine)
            .memory(memory)
            .on(&engine)
            .run();
        let error = fused
            .and_then(|fused| fused.write(folder.path("z.npy")))
            .err()
            .unwrap();
        assert_eq!(error.exit_code(), 1, "{error}");
        assert!(folder.names().is_empty());
    }
}
