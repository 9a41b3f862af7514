//! What `fuse` and `eval` say of pairs that are not what they should be: verdicts, suspects, numbers that stand for no data.

use hsr_gpu::cube::{Cube, SampleType};
use hsr_gpu::io::read_cube;
use ndarray::{Array3, Axis};

use crate::common::Folder;

const SCALE: usize = 3;

/// A rough scene of 48×48 pixels and 8 bands from three fields of noise, which `seed` names.
fn truth(seed: u32) -> Array3<f32> {
    let white = |r: usize, c: usize, m: u32| {
        let mut x = (r as u32 * 7919 + c as u32 * 104_729) ^ (m * 15_485_863) ^ (seed * 32_452_843);
        for _ in 0..3 {
            x = (x ^ (x >> 15)).wrapping_mul(0x2c1b_3c6d) ^ 0x297a;
        }
        (x >> 8) as f32 / (1 << 24) as f32
    };
    let field = |r: usize, c: usize, m: u32| {
        let near = (0..4).flat_map(|i| (0..4).map(move |j| (i, j)));
        near.map(|(i, j)| white(r + i, c + j, m)).sum::<f32>() / 16.0
    };
    Array3::from_shape_fn((48, 48, 8), |(r, c, b)| {
        let mix = |m: u32| field(r, c, m) * (1.1 + (b as f32 * 0.5 + 2.0 * m as f32).sin());
        1.0 + mix(1) + mix(2) + mix(3)
    })
}

/// Means over blocks, and means over halves of the bands.
fn observed(truth: &Array3<f32>) -> (Array3<f32>, Array3<f32>) {
    let side = 48 / SCALE;
    let mut hsi = Array3::zeros((side, side, 8));
    for ((r, c, b), &x) in truth.indexed_iter() {
        hsi[[r / SCALE, c / SCALE, b]] += x / (SCALE * SCALE) as f32;
    }
    let halves = truth
        .axis_chunks_iter(Axis(2), 4)
        .map(|half| half.mean_axis(Axis(2)).unwrap());
    let halves: Vec<_> = halves.collect();
    let views: Vec<_> = halves.iter().map(|half| half.view()).collect();
    (hsi, ndarray::stack(Axis(2), &views).unwrap())
}

fn pair(hsi: &Array3<f32>, msi: &Array3<f32>) -> Folder {
    let folder = Folder::new();
    folder.cube("x.npy", &Cube::new(hsi.clone()));
    folder.cube("y.npy", &Cube::new(msi.clone()));
    folder
}

const FUSE: &str = "fuse --hsi x.npy --msi y.npy --out z.npy --backend cpu --members 8 --steps 40 --finetune-steps 0 --json --quiet";

fn summary(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_good_pair_has_a_good_verdict_a_mixture_and_an_expectation() {
    let (hsi, msi) = observed(&truth(1));
    let folder = pair(&hsi, &msi);
    let found = summary(&folder.good(&format!("{FUSE} --strict --save-suspect s.npy --save-std d.npy")));
    assert_eq!(found["verdict"]["verdict"], "good", "{}", found["verdict"]);
    let weights = found["mixture"]["weights"].as_array().unwrap();
    assert_eq!(weights.len(), 5);
    assert!(weights.iter().all(|w| w["weight"].as_f64().unwrap() >= 0.0));
    assert!(found["mixture"]["expected"]["psnr_db"].as_f64().unwrap() > 15.0);
    assert_eq!(found["suspect_share"], 0.0);
    let read = |name: &str| read_cube(&folder.path(name).to_string_lossy()).unwrap().samples;
    assert!(read("s.npy").iter().all(|&x| x == 0.0));
    assert!(read("d.npy").iter().all(|&x| x.is_finite() && x > 0.0));
    // Where nothing is suspect, robust or not is one run.
    let before = read("z.npy");
    folder.good(&format!("{FUSE} --robust off"));
    assert_eq!(before, read("z.npy"));
}

#[test]
fn an_image_of_another_place_is_told() {
    let ((hsi, _), (_, other)) = (observed(&truth(1)), observed(&truth(2)));
    let folder = pair(&hsi, &other);
    let found = summary(&folder.good(FUSE));
    assert_eq!(
        found["verdict"]["verdict"], "not_the_same_scene",
        "{}",
        found["verdict"]
    );
    let strict = folder.run(&format!("{FUSE} --strict"));
    assert_eq!(strict.status.code(), Some(1));
    let message = String::from_utf8_lossy(&strict.stderr).into_owned();
    assert!(
        message.contains("not the same scene") && message.trim().lines().count() == 1,
        "{message}"
    );
}

#[test]
fn a_cloud_is_left_out_and_shown() {
    let (hsi, mut msi) = observed(&truth(1));
    msi.slice_mut(ndarray::s![12..27, 18..33, ..])
        .mapv_inplace(|x| 0.3 * x + 4.0);
    let folder = pair(&hsi, &msi);
    let found = summary(&folder.good(&format!("{FUSE} --save-suspect s.npy")));
    let marks = read_cube(&folder.path("s.npy").to_string_lossy())
        .unwrap()
        .samples;
    let cloud = marks.slice(ndarray::s![4..9, 6..11, 0]);
    assert!(cloud.iter().filter(|&&m| m == 2.0).count() >= 23, "{cloud}");
    let all = marks.iter().filter(|&&m| m > 0.0).count();
    assert!(
        // 42 LR pixels whose window of 3 s touches the cloud, and 3 % of the others.
        all <= 48 && (found["suspect_share"].as_f64().unwrap() - all as f64 / 256.0).abs() < 1e-9,
        "{all}"
    );
}

#[test]
fn numbers_that_are_no_measurements_are_masked_or_refused() {
    let (hsi, mut msi) = observed(&truth(1));
    for (pixel, fill) in [([0, 0], -3.402_823_5e38f32), ([1, 40], 1e20), ([47, 47], -9999.0)] {
        msi[[pixel[0], pixel[1], 1]] = fill;
    }
    let folder = pair(&hsi, &msi);
    assert_eq!(summary(&folder.good(FUSE))["masked_pixels"], 3);
    let said = folder.run(&FUSE.replace(" --quiet", ""));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("-9.999e3, which is taken for no data"), "{said}");
    let mut full = Cube::new(hsi.mapv(|x| (1000.0 * x).round()));
    full.samples[[3, 3, 2]] = 65535.0;
    full.sample_type = SampleType::U16;
    folder.cube("x.npy", &full);
    let refused = folder.refused(&FUSE.replace("z.npy", "w.npy"));
    assert!(
        refused.contains("65535") && refused.contains("--nodata 65535"),
        "{refused}"
    );
    assert!(!folder.path("w.npy").exists());
    let masked = folder.good(&format!("{FUSE} --nodata 65535"));
    assert!(summary(&masked)["masked_pixels"].as_u64().is_some());
}

#[test]
fn indices_without_a_reference() {
    let scene = truth(1);
    let (hsi, msi) = observed(&scene);
    let folder = pair(&hsi, &msi);
    folder.cube("t.npy", &Cube::new(scene.clone()));
    let eval = |file: &str| {
        let run = format!("eval --no-reference --estimate {file} --hsi x.npy --msi y.npy --json");
        summary(&folder.good(&run))["hqnr"].as_f64().unwrap()
    };
    let mut blurred = scene;
    for ((r, c, b), x) in blurred.indexed_iter_mut() {
        *x = hsi[[r / SCALE, c / SCALE, b]];
    }
    folder.cube("b.npy", &Cube::new(blurred));
    assert!(eval("t.npy") > eval("b.npy"));
    folder.refused("eval --no-reference --estimate t.npy --hsi x.npy");
    folder.refused("eval --estimate t.npy --hsi x.npy --msi y.npy");
    folder.refused("eval --no-reference --estimate y.npy --hsi x.npy --msi y.npy");
}

// The reference of a misplaced pair lies on one of two grids of one size: the summary says which is taken.
#[test]
fn the_grid_that_a_reference_is_taken_to_lie_on_is_told() {
    let scene = truth(1);
    let (hsi, msi) = observed(&scene);
    let moved = Array3::from_shape_fn(msi.dim(), |(r, c, b)| {
        msi[[r.saturating_sub(1), c.saturating_sub(1), b]]
    });
    let plain = FUSE.replace(" --json --quiet", " --reference z0.npy");
    let told = |msi: &Array3<f32>, grid: &str| {
        let folder = pair(&hsi, msi);
        folder.cube("z0.npy", &Cube::new(scene.clone()));
        let text = folder.good(&format!("{plain} --grid {grid}"));
        text.contains("one that lies where the HSI does needs --grid hsi")
    };
    assert!(told(&moved, "msi"));
    assert!(!told(&moved, "hsi"));
    assert!(!told(&msi, "msi"));
}
