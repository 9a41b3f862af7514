//! Scenes whose result does not fit: the program makes and writes it strip by strip, with the bits of a run that
//! holds it, within memory that does not grow with it.
//!
//! Memory is counted by an allocator of this test program over all threads, so what is measured runs in it and not in
//! a child; one test alone measures.

#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, Ordering};

use common::Folder;
use hsr_gpu::Fusion;
use hsr_gpu::coordination::config::Config;
use hsr_gpu::coordination::product::Product;
use hsr_gpu::coordination::scene::{Loaded, Scene};
use hsr_gpu::coordination::start::Known;
use hsr_gpu::cube::scratch::Store;
use hsr_gpu::cube::strips::{Strips, collect, ranges};
use hsr_gpu::cube::{Cube, Metadata, SampleType};
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::error::Result;
use hsr_gpu::io::{self, Target, TiffOptions, write_matrix, write_strips};
use hsr_gpu::metrics::{Convention, evaluate};
use hsr_gpu::sensor::observe_strips::{Blurred, Responded};
use hsr_gpu::sensor::psf::GaussianPsf;
use ndarray::{Array2, Array3, s};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
/// The tests of this file run one at a time, so that only one is measured.
static TURN: Mutex<()> = Mutex::new(());

fn count(change: isize) {
    let held = HELD.fetch_add(change, Ordering::Relaxed) + change;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call goes to the system allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A smooth scene of fields, rows computed when asked for.
struct Field {
    dim: (usize, usize, usize),
    metadata: Metadata,
}

impl Strips for Field {
    fn dim(&self) -> (usize, usize, usize) {
        self.dim
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let (_, columns, bands) = self.dim;
        let samples = Array3::from_shape_fn((rows.len(), columns, bands), |(r, c, b)| {
            let (r, b) = (r + rows.start, b as f32 / bands as f32);
            let field = ((r / 24 * 7 + c / 20 * 3) % 5) as f32 / 10.0;
            let wave = (r as f32 / 90.0 + c as f32 / 70.0).sin();
            0.3 + field * (1.0 - b) + 0.1 * wave * (0.5 + b)
        });
        Ok(Cube::new(samples))
    }
}

fn target(path: &Path) -> Target<'_> {
    Target {
        path,
        sample_type: SampleType::F32,
        interleave: None,
        memory: 0,
        tiff: TiffOptions::default(),
    }
}

fn response(bands: usize) -> Array2<f64> {
    let mut srf = Array2::from_shape_fn((bands, 3), |(i, j)| {
        let at = (j as f64 + 0.5) / 3.0;
        (-0.5 * ((i as f64 / bands as f64 - at) / 0.15).powi(2)).exp()
    });
    for mut column in srf.columns_mut() {
        let sum = column.sum();
        column /= sum;
    }
    srf
}

/// One after the other: simulated, fused, written, read back and measured, with a result of 201 MB and never as many
/// bytes in memory.
#[test]
fn memory_does_not_grow_with_the_result() {
    let _turn = TURN.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let truth = Field {
        dim: (1024, 768, 64),
        metadata: Metadata::default(),
    };
    let psf = GaussianPsf::from_variances(3.0, 2.0, 0.4).unwrap().kernel(8);
    let srf = response(64);
    let [x, y, z] = ["x.npy", "y.hdr", "z.hdr"].map(|name| folder.path().join(name));
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let blurred = Blurred::new(&truth, &psf, 8).unwrap();
    let responded = Responded::new(&truth, &srf).unwrap();
    write_strips(&target(&x), &blurred, &mut |_, _| ()).unwrap();
    write_strips(&target(&y), &responded, &mut |_, _| ()).unwrap();
    let store = Store::folder(folder.path()).unwrap();
    let read = |path: &Path| {
        let image = io::open_image(path.to_str().unwrap(), None, 0).unwrap();
        Loaded::read(image.name(), &image, None, &store).unwrap()
    };
    let scene = Scene::of(read(&x), read(&y), "x", "y", store.clone()).unwrap();
    let mut config = Config::load("single-scene", None).unwrap();
    config.network.members = 1;
    config.training.steps = 20;
    let known = Known {
        psf: Some(psf.clone()),
        srf: Some(srf.clone()),
    };
    let engine = SimdEngine::new();
    let fused = Fusion::of_scene(scene, Metadata::default())
        .config(config)
        .known(known)
        .memory(0)
        .on(&engine)
        .run()
        .unwrap();
    assert!(matches!(fused.product, Product::Strips(Some(_))));
    write_strips(&target(&z), &fused.strips(), &mut |_, _| ()).unwrap();
    let written = io::open_image(z.to_str().unwrap(), None, 0).unwrap();
    let scores = evaluate(&truth, &written, 8, Convention::Strict).unwrap();
    assert!(scores.psnr_db > 20.0, "{scores:?}");
    let peak = PEAK.load(Ordering::Relaxed) - before;
    let result = 4 * 1024 * 768 * 64;
    println!(
        "{} MB at most for a result of {} MB",
        peak / 1_000_000,
        result / 1_000_000
    );
    assert!(peak < result * 9 / 10, "{peak} bytes for a result of {result}");
}

fn pair(folder: &Folder) {
    let truth = Field {
        dim: (56, 48, 12),
        metadata: Metadata::default(),
    };
    folder.cube("z.npy", &collect(&truth).unwrap());
    write_matrix(folder.path("r.csv"), &response(12)).unwrap();
    folder.good("simulate --hsi z.npy --psf gaussian:1.2,0.8,0.3 --kernel 4 --srf r.csv --scale 4 --out-hsi x.npy --out-msi y.npy");
}

/// Whatever the format, the PSF and the mask: a result that is made strip by strip is that of a run that holds it, and
/// so are its metrics and its page.
#[test]
fn a_result_made_in_strips_has_the_bits_of_one_that_is_held() {
    let _turn = TURN.lock().unwrap();
    let folder = Folder::new();
    pair(&folder);
    let mut msi = io::read_cube(folder.path("y.npy").to_str().unwrap()).unwrap();
    msi.samples.slice_mut(s![9..11, 7, ..]).fill(-1.0);
    folder.cube("holes.npy", &msi);
    for (msi, out, options) in [
        ("y.npy", "f.npy", ""),
        ("y.npy", "f.bsq", "--kernel 9"),
        ("holes.npy", "f.bil", "--nodata -1"),
        ("y.npy", "f.npy", "--refine off"),
    ] {
        let run = |memory: &str| {
            let json = folder.good(&format!(
                "fuse --hsi x.npy --msi {msi} --out {out} --backend cpu --steps 30 --reference z.npy --report page \
                 --max-memory {memory} --json --quiet {}",
                options
            ));
            let report: serde_json::Value = serde_json::from_str(&json).unwrap();
            // As much as the file alone in any case, where the system tells.
            let resident = report["peak_bytes"].as_u64();
            assert_eq!(resident.is_some(), cfg!(target_os = "linux"));
            assert!(resident.is_none_or(|bytes| bytes > fs::metadata(folder.path(out)).unwrap().len()));
            assert!(report["device_bytes"].is_null());
            let stages: Vec<String> = report["stages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|stage| stage["stage"].as_str().unwrap().to_owned())
                .collect();
            (
                fs::read(folder.path(out)).unwrap(),
                report["metrics"].clone(),
                report["refinement"].clone(),
                stages.contains(&"reconstruct again".to_owned()),
                fs::metadata(folder.path("page/report.html")).unwrap().len() > 10_000,
            )
        };
        let (held, strips) = (run("4GiB"), run("1MB"));
        assert!(!held.3 && strips.3, "{options}");
        assert_eq!(held.0, strips.0, "{options}");
        assert_eq!((&held.1, &held.2), (&strips.1, &strips.2), "{options}");
        assert!(held.4 && strips.4);
    }
}

#[test]
fn formats_that_are_written_or_read_whole_are_refused_above_the_bound() {
    let _turn = TURN.lock().unwrap();
    let folder = Folder::new();
    pair(&folder);
    fs::write(folder.path("old.mat"), "old").unwrap();
    let line = folder.refused(
        "fuse --hsi x.npy --msi y.npy --out old.mat --backend cpu --steps 2 --max-memory 100kB --quiet",
    );
    assert!(
        line.contains("old.mat") && line.contains("--max-memory"),
        "{line}"
    );
    assert_eq!(fs::read(folder.path("old.mat")).unwrap(), b"old");
    folder.good("convert z.npy z.mat");
    for command in [
        "eval --reference z.mat --estimate z.npy --scale 4",
        "render z.mat --out a.png",
        "simulate --hsi z.mat --psf paper:0 --srf r.csv --scale 4 --kernel 4 --out-hsi a.npy --out-msi b.npy",
    ] {
        let line = folder.refused(&format!("{command} --max-memory 100kB"));
        assert!(line.contains("z.mat") && line.contains("--max-memory"), "{line}");
        folder.good(command);
    }
    let line = folder.refused("eval --reference z.npy --estimate z.npy --scale 4 --max-memory lots");
    assert!(line.contains("--max-memory"), "{line}");
}

/// A file that shrinks or changes between two strips is refused with its name.
#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let folder = Folder::new();
    let big = Field {
        dim: (300, 500, 60),
        metadata: Metadata::default(),
    };
    let path = folder.path("big.npy");
    write_strips(&target(&path), &big, &mut |_, _| ()).unwrap();
    let image = io::open_image(path.to_str().unwrap(), None, 0).unwrap();
    let strips: Vec<Range<usize>> = ranges(&image).collect();
    assert!(strips.len() > 1);
    let whole = io::read_image(path.to_str().unwrap(), None).unwrap();
    let first = image.rows(strips[0].clone()).unwrap();
    assert_eq!(first.samples, whole.samples.slice(s![strips[0].clone(), .., ..]));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(30_000_000).unwrap();
    let error = image.rows(strips[1].clone()).map(drop).unwrap_err();
    assert!(
        error.exit_code() == 2 && error.to_string().contains("big.npy"),
        "{error}"
    );
    let error = image.rows(0..1).map(drop).unwrap_err().to_string();
    assert!(error.contains("changed while it was read"), "{error}");
}

/// Rows of a strip file in every layout are those of the whole image.
#[test]
fn rows_of_every_layout() {
    let folder = Folder::new();
    let field = Field {
        dim: (23, 11, 5),
        metadata: Metadata::default(),
    };
    let cube = collect(&field).unwrap();
    for name in ["a.npy", "a.bsq", "b.bil", "c.bip", "a.mat"] {
        folder.cube(name, &cube);
        let image = io::open_cube(folder.path(name).to_str().unwrap(), 1 << 20).unwrap();
        for rows in [0..23, 0..1, 7..12, 22..23, 5..5] {
            let strip = image.rows(rows.clone()).unwrap();
            assert_eq!(strip.samples, cube.samples.slice(s![rows, .., ..]), "{name}");
        }
    }
    // Fortran order: the last axis varies slowest.
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    let text = "{'descr': '<f4', 'fortran_order': True, 'shape': (23, 11, 5), }\n";
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.bytes());
    header.extend(cube.samples.t().iter().flat_map(|x| x.to_le_bytes()));
    fs::write(folder.path("f.npy"), header).unwrap();
    let image = io::open_cube(folder.path("f.npy").to_str().unwrap(), 0).unwrap();
    assert_eq!(
        image.rows(3..20).unwrap().samples,
        cube.samples.slice(s![3..20, .., ..])
    );
}
