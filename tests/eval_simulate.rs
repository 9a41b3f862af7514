//! `eval` and `simulate` as a user calls them: results, exit codes, one-line errors, files left alone.

use std::fs;
use std::path::Path;

use crate::common::{Folder, scene};
use hsr_gpu::cube::Cube;
use hsr_gpu::io::{read_cube, write_matrix};
use ndarray::{Array2, Array3, s};

fn read(path: &Path) -> Cube {
    read_cube(path.to_str().unwrap()).unwrap()
}

const SIMULATE: &str = "simulate --hsi z.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8 --out-hsi x.npy --out-msi y.npy";

#[test]
fn simulate_writes_both_observations() {
    let folder = Folder::new();
    folder.cube("z.npy", &scene(32, 24, 31));
    folder.good(SIMULATE);
    let (x, y) = (read(&folder.path("x.npy")), read(&folder.path("y.npy")));
    assert_eq!(x.samples.dim(), (4, 3, 31));
    assert_eq!(y.samples.dim(), (32, 24, 3));
    // The unit of the input stays: weights sum to 1, so no sample leaves the range of the scene.
    for &v in x.samples.iter().chain(&y.samples) {
        assert!((0.1..=0.1 + 255.0 / 400.0 + 1e-6).contains(&v));
    }
    assert_eq!(folder.names(), ["x.npy", "y.npy", "z.npy"]);
}

#[test]
fn simulate_with_files_and_noise_repeats() {
    let folder = Folder::new();
    folder.cube("z.npy", &scene(16, 16, 6));
    write_matrix(folder.path("k.npy"), &Array2::from_elem((2, 2), 1.0)).unwrap();
    let srf = Array2::from_shape_fn((6, 2), |(i, j)| if i / 3 == j { 2.0 } else { 0.0 });
    write_matrix(folder.path("r.npy"), &srf).unwrap();
    let run = |seed: u32, x: &str| {
        folder.good(&format!(
            "simulate --hsi z.npy --psf k.npy --srf r.npy --scale 2 --snr-hsi 30 --snr-msi 40 --seed {seed} --out-hsi {x} --out-msi y{x} --json"
        ))
    };
    let told: serde_json::Value = serde_json::from_str(&run(1, "a.npy")).unwrap();
    let size = |rows: usize, columns: usize, bands: usize| serde_json::json!({"rows": rows, "columns": columns, "bands": bands});
    assert_eq!(
        (&told["hsi"], &told["msi"], &told["reference"]),
        (&size(8, 8, 6), &size(16, 16, 2), &size(16, 16, 6))
    );
    assert_eq!((&told["masked_hsi"], &told["masked_msi"]), (&0.into(), &0.into()));
    run(1, "b.npy");
    run(2, "c.npy");
    let bytes = |name: &str| fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("a.npy"), bytes("b.npy"));
    assert_eq!(bytes("ya.npy"), bytes("yb.npy"));
    assert_ne!(bytes("a.npy"), bytes("c.npy"));
    // The first block's mean within five standard deviations of noise at 30 dB (signal below 0.74).
    let z = scene(16, 16, 6);
    let mean: f32 = z.samples.slice(s![..2, ..2, 3]).iter().sum::<f32>() / 4.0;
    assert!((read(&folder.path("a.npy")).samples[[0, 0, 3]] - mean).abs() < 5.0 * 0.74 / 31.6);
}

#[test]
fn simulate_crops_only_together_with_the_reference() {
    let folder = Folder::new();
    folder.cube("z.npy", &scene(19, 25, 31));
    assert!(folder.refused(SIMULATE).contains("--out-reference"));
    assert_eq!(folder.names(), ["z.npy"]);
    let out = folder.run(&format!("{SIMULATE} --out-reference c.npy"));
    assert!(out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("cropped from 19 x 25 to 16 x 24"));
    assert_eq!(
        read(&folder.path("c.npy")).samples,
        scene(19, 25, 31).samples.slice(s![..16, ..24, ..])
    );
    assert_eq!(read(&folder.path("y.npy")).rows(), 16);
}

// A Gaussian with a standard deviation of 2 pixels at x4: 14 pixels hold 99.9 % of it, 5 more than the block on each side.
#[test]
fn simulate_takes_the_psf_whole_and_invents_nothing_beyond_the_edge() {
    let folder = Folder::new();
    folder.cube("z.npy", &scene(32, 36, 31));
    let wide = SIMULATE
        .replace("paper:0", "gaussian:4,4,0")
        .replace("--scale 8 --kernel 8", "--scale 4");
    assert!(
        folder
            .refused(&wide)
            .contains("give --out-reference FILE to crop to 20 x 24 pixels from row 5, column 5")
    );
    let out = folder.run(&format!("{wide} --out-reference c.npy"));
    assert!(String::from_utf8_lossy(&out.stderr).contains("the 5 pixels around them"));
    let (x, c) = (read(&folder.path("x.npy")), read(&folder.path("c.npy")));
    assert_eq!((x.samples.dim(), c.samples.dim()), ((5, 6, 31), (20, 24, 31)));
    assert_eq!(c.samples, scene(32, 36, 31).samples.slice(s![5..25, 5..29, ..]));
    // The last LR pixel, with the pixels around the part that was kept.
    let psf = |at: usize| (-0.125 * (at as f64 - 6.5).powi(2)).exp();
    let (mut sum, mut weight) = (0.0, 0.0);
    for (i, j) in (0..14).flat_map(|i| (0..14).map(move |j| (i, j))) {
        let w = psf(i) * psf(j);
        sum += w * f64::from(scene(32, 36, 31).samples[[16 + i, 20 + j, 3]]);
        weight += w;
    }
    assert!((f64::from(x.samples[[4, 5, 3]]) - sum / weight).abs() < 1e-6);
    let cut = folder.run(&format!("{wide} --kernel 4"));
    assert!(cut.status.success());
    let said = String::from_utf8_lossy(&cut.stderr).into_owned();
    assert!(
        said.contains("--kernel 4 cuts off 52.7 %") && said.contains("14 x 14"),
        "{said}"
    );
}

#[test]
fn simulate_masks_what_touches_no_data() {
    let folder = Folder::new();
    let mut z = scene(16, 16, 31);
    z.samples.slice_mut(s![9, 10, ..]).fill(-1.0);
    folder.cube("z.npy", &z);
    let json = folder.good(&format!("{SIMULATE} --nodata -1 --json"));
    assert!(json.contains(r#""masked_hsi":1,"masked_msi":1"#), "{json}");
    let x = read(&folder.path("x.npy"));
    assert_eq!(x.samples.slice(s![1, 1, ..]).to_vec(), [-1.0; 31]);
    assert!(x.samples.slice(s![0, .., ..]).iter().all(|&v| v > 0.0));
}

#[test]
fn simulate_refuses_bad_input_and_leaves_files_alone() {
    let folder = Folder::new();
    folder.cube("z.npy", &scene(16, 16, 31));
    folder.cube("six.npy", &scene(16, 16, 6));
    let mut broken = scene(16, 16, 31);
    broken.samples[[3, 4, 5]] = f32::NAN;
    folder.cube("nan.npy", &broken);
    write_matrix(folder.path("wide.npy"), &Array2::from_elem((2, 3), 1.0)).unwrap();
    write_matrix(folder.path("k.npy"), &Array2::from_elem((2, 2), 1.0)).unwrap();
    fs::write(folder.path("text.npy"), "no array").unwrap();
    fs::write(folder.path("x.npy"), "precious").unwrap();
    let before = folder.names();
    let base = "--out-hsi x.npy --out-msi y.npy";
    for (arguments, word) in [
        (
            "--hsi gone.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8",
            "gone.npy",
        ),
        (
            "--hsi text.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8",
            "text.npy",
        ),
        (
            "--hsi nan.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8",
            "row 3, column 4, band 5",
        ),
        (
            "--hsi six.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8",
            "wavelength",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf landsat-oli6 --scale 8 --kernel 8",
            "wavelength",
        ),
        (
            "--hsi z.npy --psf blind --srf nikon-d700 --scale 8",
            "--psf blind",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf blind --scale 8 --kernel 8",
            "--srf blind",
        ),
        (
            "--hsi z.npy --psf wide.npy --srf nikon-d700 --scale 8",
            "wide.npy",
        ),
        (
            "--hsi z.npy --psf k.npy --kernel 3 --srf nikon-d700 --scale 8",
            "--kernel",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf wide.npy --scale 8 --kernel 8",
            "wide.npy",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf nikon-d700 --scale 0",
            "--scale 0",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf nikon-d700 --scale 64 --kernel 64",
            "less than one block",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8 --snr-hsi nan",
            "NaN dB",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8 --nodata 0.1 --out-reference y.npy",
            "y.npy",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8 --out-reference z.npy",
            "z.npy",
        ),
        (
            "--hsi z.npy --psf paper:0 --srf nikon-d700 --scale 8 --kernel 8 --out-reference no/folder.npy",
            "no",
        ),
    ] {
        let message = folder.refused(&format!("simulate {arguments} {base}"));
        assert!(message.contains(word), "{arguments}: {message}");
    }
    for wrong in [
        "--psf paper:6",
        "--psf gaussian:1,2",
        "--kernel 0",
        "--scale -2",
        "--colour red",
    ] {
        assert_eq!(
            folder.run(&format!("{SIMULATE} {wrong}")).status.code(),
            Some(2),
            "{wrong}"
        );
    }
    assert_eq!(folder.names(), before);
    assert_eq!(fs::read(folder.path("x.npy")).unwrap(), b"precious");
}

#[test]
fn eval_prints_one_object_with_the_agreed_fields() {
    let folder = Folder::new();
    let reference = scene(40, 36, 5);
    let mut estimate = reference.clone();
    estimate.samples.mapv_inplace(|x| x + 0.01);
    folder.cube("a.npy", &reference);
    folder.cube("b.npy", &estimate);
    let json = folder.good("eval --reference a.npy --estimate b.npy --scale 4 --json");
    let mut rest = json.as_str();
    for field in [
        "convention",
        "psnr_db",
        "sam_deg",
        "ergas",
        "uiqi",
        "ssim",
        "rmse",
        "pixels",
        "masked",
    ] {
        let at = rest
            .find(&format!("\"{field}\":"))
            .unwrap_or_else(|| panic!("{field} in {json}"));
        rest = &rest[at..];
    }
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let scores = |told: &serde_json::Value| told["scores"].as_array().unwrap().clone();
    assert_eq!(scores(&value).len(), 1);
    let value = scores(&value).remove(0);
    assert_eq!(value.as_object().unwrap().len(), 9);
    assert_eq!(value["convention"], "strict");
    assert!((value["rmse"].as_f64().unwrap() - 0.01).abs() < 1e-7);
    assert_eq!(value["pixels"], 1440);
    let all = folder.good("eval --reference a.npy --estimate b.npy --scale 4 --convention all --json");
    let all = scores(&serde_json::from_str(&all).unwrap());
    assert_eq!(all[0], value);
    assert_eq!(all[1]["convention"], "daem");
    let text = folder.good("eval --reference a.npy --estimate b.npy --scale 4 --convention all");
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn eval_of_equal_images_and_masks() {
    let folder = Folder::new();
    let mut image = scene(40, 36, 5);
    folder.cube("a.npy", &image);
    let json = folder.good("eval --reference a.npy --estimate a.npy --scale 4 --json");
    assert!(json.contains("\"psnr_db\":160.0"), "{json}");
    image.samples[[0, 3, 2]] = f32::NAN;
    folder.cube("b.npy", &image);
    let json = folder.good("eval --reference a.npy --estimate b.npy --scale 4 --nodata nan --json");
    assert!(json.contains("\"pixels\":1439,\"masked\":1"), "{json}");
    let mask = Array2::from_shape_fn((40, 36), |(r, _)| f64::from(u8::from(r >= 4)));
    write_matrix(folder.path("m.npy"), &mask).unwrap();
    let json =
        folder.good("eval --reference a.npy --estimate b.npy --scale 4 --nodata nan --mask m.npy --json");
    assert!(json.contains("\"pixels\":1296,\"masked\":144"), "{json}");
}

#[test]
fn eval_refuses_what_cannot_be_compared() {
    let folder = Folder::new();
    folder.cube("a.npy", &scene(16, 16, 5));
    folder.cube("b.npy", &scene(16, 15, 5));
    folder.cube("zero.npy", &Cube::new(Array3::zeros((16, 16, 5))));
    write_matrix(folder.path("m.npy"), &Array2::zeros((4, 4))).unwrap();
    for (arguments, word) in [
        (
            "--reference a.npy --estimate b.npy --scale 4",
            "16 rows x 15 columns x 5 bands",
        ),
        ("--reference gone.npy --estimate a.npy --scale 4", "gone.npy"),
        ("--reference zero.npy --estimate a.npy --scale 4", "zero.npy"),
        ("--reference a.npy --estimate a.npy --scale 0", "scale 0"),
        (
            "--reference a.npy --estimate a.npy --scale 4 --mask m.npy",
            "m.npy",
        ),
    ] {
        let message = folder.refused(&format!("eval {arguments}"));
        assert!(message.contains(word), "{arguments}: {message}");
    }
    assert_eq!(
        folder
            .run("eval --reference a.npy --estimate a.npy --scale 4 --convention best")
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn eval_align_finds_a_shift_and_takes_it_back() {
    let folder = Folder::new();
    let image = |by: f32| {
        Cube::new(Array3::from_shape_fn((40, 40, 4), |(r, c, b)| {
            let (r, c) = (r as f32 + by, c as f32);
            3.0 + (0.31 * r + b as f32).sin() + (0.27 * c - 0.1 * r).cos() + (0.02 * r * c).sin()
        }))
    };
    folder.cube("a.npy", &image(0.0));
    folder.cube("b.npy", &image(0.4));
    let eval = |options: &str| -> serde_json::Value {
        let text = folder.good(&format!(
            "eval --reference a.npy --estimate b.npy --scale 4 --json {options}"
        ));
        serde_json::from_str(&text).unwrap()
    };
    let (plain, aligned) = (eval(""), eval("--align"));
    assert!(plain["alignment"].is_null());
    assert!(
        (aligned["alignment"]["shift"]["down"].as_f64().unwrap() + 0.4).abs() < 0.1,
        "{aligned}"
    );
    let psnr = |told: &serde_json::Value| told["scores"][0]["psnr_db"].as_f64().unwrap();
    assert!(psnr(&aligned) > psnr(&plain) + 3.0);
    let said = folder.good("eval --reference a.npy --estimate b.npy --scale 4 --align");
    assert!(said.contains("off its reference"), "{said}");
    let same = folder.good("eval --reference a.npy --estimate a.npy --scale 4 --align");
    assert!(same.contains("lies on its reference"), "{same}");
}
