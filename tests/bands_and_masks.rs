//! What a fusion leaves out because files or the user say so: bad bands, pixels without data, masked pixels. That it
//! enters nothing, is marked in the result, and that lists of bands follow.

use std::fs;

use crate::common::Folder;
use hsr_gpu::coordination::checkpoint;
use hsr_gpu::cube::{Cube, SampleType};
use hsr_gpu::io::{read_cube, write_matrix};
use ndarray::{Array2, Array3, s};

const FUSE: &str = "fuse --backend cpu --steps 30 --finetune-steps 5 --quiet";
const BANDS: usize = 9;

/// A folder with a pair at ×4, `x.hdr` 6×5×9 and `y.hdr` 24×20×3, and the reference `z.hdr` they were made from.
fn pair() -> Folder {
    let folder = Folder::new();
    let mut scene = Cube::new(Array3::from_shape_fn((24, 20, BANDS), |(r, c, b)| {
        let (r, c, b) = (r as f32 / 24.0, c as f32 / 20.0, b as f32 / 9.0);
        0.5 + 0.2 * (5.0 * r + 3.0 * b).sin() + 0.2 * (7.0 * c - 2.0 * b).cos()
    }));
    scene.metadata.wavelengths = Some((0..BANDS).map(|b| 400.0 + 50.0 * b as f64).collect());
    scene.metadata.fwhm = Some((0..BANDS).map(|b| 10.0 + b as f64).collect());
    scene.metadata.band_names = Some((0..BANDS).map(|b| format!("b{b}")).collect());
    folder.cube("z.hdr", &scene);
    write_matrix(
        folder.path("r.csv"),
        &Array2::from_shape_fn((BANDS, 3), |(i, j)| {
            (-0.5 * (i as f64 - 1.0 - 3.0 * j as f64).powi(2)).exp()
        }),
    )
    .unwrap();
    folder.good("simulate --hsi z.hdr --psf gaussian:1.2,0.8,0.3 --kernel 4 --srf r.csv --scale 4 --out-hsi x.hdr --out-msi y.hdr");
    folder
}

fn read(folder: &Folder, name: &str) -> Cube {
    read_cube(&folder.path(name).to_string_lossy()).unwrap()
}

/// Writes `name` again with other samples.
fn change(folder: &Folder, name: &str, to: &str, change: impl FnOnce(&mut Cube)) {
    let mut cube = read(folder, name);
    change(&mut cube);
    folder.cube(to, &cube);
}

#[test]
fn bad_bands_are_left_out_and_the_lists_follow() {
    let folder = pair();
    let bad = 4;
    // As agencies ship it: the bad band is full of the no-data value, which must not mask every pixel.
    change(&folder, "x.hdr", "bad.hdr", |x| {
        x.samples.slice_mut(s![.., .., bad]).fill(-9999.0);
        x.metadata.nodata = Some(-9999.0);
        x.metadata.bad_bands = Some((0..BANDS).map(|b| b == bad).collect());
    });
    folder.good(&format!("{FUSE} --hsi bad.hdr --msi y.hdr --out f.hdr"));
    let fused = read(&folder, "f.hdr");
    let left: Vec<usize> = (0..BANDS).filter(|&b| b != bad).collect();
    let m = &fused.metadata;
    assert_eq!(fused.bands(), 8);
    assert_eq!(m.wavelengths.as_ref().unwrap()[bad], 400.0 + 50.0 * 5.0);
    assert_eq!(m.fwhm.as_ref().unwrap()[bad], 15.0);
    assert_eq!(m.band_names.as_ref().unwrap()[bad], "b5");
    assert!(fused.samples.iter().all(|x| x.is_finite()));
    // The same bits as from a file that never had the band.
    change(&folder, "x.hdr", "cut.hdr", |x| *x = x.of_bands(&left));
    folder.good(&format!("{FUSE} --hsi cut.hdr --msi y.hdr --out g.hdr"));
    assert_eq!(fused.samples, read(&folder, "g.hdr").samples);
    // The same by number and by wavelength.
    for bands in ["0-3,5-8", "400nm-560nm,630nm-800nm"] {
        folder.good(&format!(
            "{FUSE} --hsi x.hdr --msi y.hdr --out h.hdr --bands {bands}"
        ));
        assert_eq!(fused.samples, read(&folder, "h.hdr").samples, "{bands}");
    }
    let all = folder.refused(&format!(
        "{FUSE} --hsi bad.hdr --msi y.hdr --out i.hdr --bands all"
    ));
    assert!(
        all.contains("every pixel is masked, because band 4 holds nothing but no data")
            && all.contains("--bands"),
        "{all}"
    );
    for wrong in ["9", "1-40", "3-1", "2000nm", "x"] {
        folder.refused(&format!(
            "{FUSE} --hsi x.hdr --msi y.hdr --out i.hdr --bands {wrong}"
        ));
    }
    assert!(!folder.path("i.hdr").exists());
}

#[test]
fn a_scene_of_a_manifest_may_have_bands_and_masks_of_its_own() {
    let folder = pair();
    change(&folder, "x.hdr", "bad.hdr", |x| {
        x.samples.slice_mut(s![.., .., 4]).fill(-9999.0);
        x.metadata.nodata = Some(-9999.0);
    });
    change(&folder, "x.hdr", "cut.hdr", |x| {
        *x = x.of_bands(&[0, 1, 2, 3, 5, 6, 7, 8])
    });
    let mask = Array2::from_shape_fn((24, 20), |(r, _)| f64::from(u8::from(r > 3)));
    write_matrix(folder.path("mask.csv"), &mask).unwrap();
    let train = |scene: &str, out: &str| {
        fs::write(folder.path("scenes.txt"), scene).unwrap();
        format!("train --backend cpu --quiet --steps 20 --scenes scenes.txt --out {out}")
    };
    folder.good(&train(
        "bad.hdr,y.hdr,bands=0-3 630nm-800nm,msi-mask=mask.csv",
        "a.safetensors",
    ));
    folder.good(&train("cut.hdr,y.hdr,msi-mask=mask.csv", "b.safetensors"));
    folder.good(&train("cut.hdr,y.hdr", "c.safetensors"));
    let model = |name: &str| checkpoint::load(&folder.path(name)).unwrap();
    assert!(model("a.safetensors") == model("b.safetensors"));
    assert!(model("b.safetensors") != model("c.safetensors"));
    let line = folder.refused(&train("bad.hdr,y.hdr", "d.safetensors"));
    assert!(
        line.contains("scenes.txt line 1") && line.contains("band 4"),
        "{line}"
    );
    // A batch says it to `fuse`.
    fs::write(folder.path("scenes.txt"), "bad.hdr,y.hdr,name=f,bands=0-3 5-8\n").unwrap();
    let options = FUSE.strip_prefix("fuse ").unwrap().replace(" --quiet", "");
    folder.good(&format!(
        "batch scenes.txt --out batch --format hdr --quiet -- {options}"
    ));
    folder.good(&format!("{FUSE} --hsi cut.hdr --msi y.hdr --out g.hdr"));
    assert_eq!(
        read(&folder, "batch/f.hdr").samples,
        read(&folder, "g.hdr").samples
    );
}

#[test]
fn metrics_compare_the_bands_that_are_left() {
    let folder = pair();
    change(&folder, "z.hdr", "bad.hdr", |z| {
        z.metadata.bad_bands = Some((0..BANDS).map(|b| b == 2).collect());
    });
    // An estimate that is wrong in the bad band only, with that band and without.
    change(&folder, "z.hdr", "with.npy", |z| {
        z.samples.slice_mut(s![.., .., 2]).fill(9.0)
    });
    let left: Vec<usize> = (0..BANDS).filter(|&b| b != 2).collect();
    change(&folder, "z.hdr", "without.npy", |z| *z = z.of_bands(&left));
    let psnr = |more: &str| {
        let json = folder.good(&format!(
            "eval --reference bad.hdr --scale 4 --json --estimate {more}"
        ));
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["scores"][0]["psnr_db"]
            .as_f64()
            .unwrap()
    };
    // 160 dB stands for equality.
    assert_eq!(psnr("with.npy"), 160.0);
    assert_eq!(psnr("without.npy"), 160.0);
    assert_eq!(psnr("with.npy --bands 3-5"), 160.0);
    assert!(psnr("with.npy --bands all") < 150.0);
}

#[test]
fn msi_bands_are_chosen_and_the_response_follows() {
    let folder = pair();
    folder.good(&format!(
        "{FUSE} --hsi x.hdr --msi y.hdr --srf r.csv --msi-bands 2,0 --out f.npy"
    ));
    change(&folder, "y.hdr", "two.hdr", |y| *y = y.of_bands(&[2, 0]));
    let response = hsr_gpu::io::read_matrix(&folder.path("r.csv").to_string_lossy()).unwrap();
    write_matrix(
        folder.path("two.csv"),
        &response.select(ndarray::Axis(1), &[2, 0]),
    )
    .unwrap();
    folder.good(&format!(
        "{FUSE} --hsi x.hdr --msi two.hdr --srf two.csv --out g.npy"
    ));
    assert_eq!(read(&folder, "f.npy").samples, read(&folder, "g.npy").samples);
}

/// Pixels that are left out: HSI pixel (4, 1), and MSI pixels (2..5, 9).
fn masks(folder: &Folder) {
    let mut hsi = Array2::ones((6, 5));
    hsi[[4, 1]] = 0.0;
    let mut msi = Array2::ones((24, 20));
    msi.slice_mut(s![2..5, 9]).fill(0.0);
    write_matrix(folder.path("hm.csv"), &hsi).unwrap();
    let mut image = Cube::new(msi.mapv(|x: f64| x as f32).insert_axis(ndarray::Axis(2)));
    image.sample_type = SampleType::U8;
    folder.cube("mm.npy", &image);
}

#[test]
fn masked_pixels_enter_nothing_and_come_back_as_no_data() {
    let folder = pair();
    masks(&folder);
    // Whatever stands in masked pixels: it must not move scaling, losses, estimates or refinement by one bit.
    for (name, junk) in [("a", 1e6), ("b", f32::NAN), ("c", -3.0)] {
        change(&folder, "x.hdr", &format!("x{name}.hdr"), |x| {
            x.samples.slice_mut(s![4, 1, ..]).fill(junk);
        });
        change(&folder, "y.hdr", &format!("y{name}.hdr"), |y| {
            y.samples.slice_mut(s![2..5, 9, ..]).fill(junk);
        });
        folder.good(&format!(
            "{FUSE} --hsi x{name}.hdr --msi y{name}.hdr --hsi-mask hm.csv --msi-mask mm.npy --out f{name}.hdr"
        ));
    }
    let fused = read(&folder, "fa.hdr");
    assert!(fused.metadata.nodata.unwrap().is_nan());
    assert_eq!(fused.masked_pixels(), 3);
    for ((r, c, _), x) in fused.samples.indexed_iter() {
        assert_eq!(x.is_nan(), (2..5).contains(&r) && c == 9, "row {r}, column {c}");
    }
    let bits = |name: &str| -> Vec<u32> { read(&folder, name).samples.iter().map(|x| x.to_bits()).collect() };
    assert_eq!(bits("fa.hdr"), bits("fb.hdr"));
    assert_eq!(bits("fa.hdr"), bits("fc.hdr"));
    // A no-data value says the same as a mask, and is what the result is marked with.
    for (from, to, pixels) in [
        ("x.hdr", "xn.hdr", s![4..5, 1, ..]),
        ("y.hdr", "yn.hdr", s![2..5, 9, ..]),
    ] {
        change(&folder, from, to, |image| {
            image.samples.slice_mut(pixels).fill(-5.0)
        });
    }
    folder.good(&format!(
        "{FUSE} --hsi xn.hdr --msi yn.hdr --nodata -5 --out fn.hdr"
    ));
    let marked = read(&folder, "fn.hdr");
    assert_eq!((marked.metadata.nodata, marked.masked_pixels()), (Some(-5.0), 3));
    for ((at, x), y) in marked.samples.indexed_iter().zip(&fused.samples) {
        assert!(x == y || *x == -5.0 && y.is_nan(), "{at:?}: {x} {y}");
    }
}

#[test]
fn metrics_leave_masked_pixels_out() {
    let folder = pair();
    masks(&folder);
    change(&folder, "z.hdr", "e.hdr", |e| {
        e.samples.slice_mut(s![2..5, 9, ..]).fill(7.0)
    });
    let json = folder.good("eval --reference z.hdr --estimate e.hdr --scale 4 --mask mm.npy --json");
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    let scores = &told["scores"][0];
    assert_eq!((&scores["masked"], &scores["pixels"]), (&3.into(), &477.into()));
    assert_eq!(scores["psnr_db"], 160.0);
    for (mask, word) in [
        ("hm.csv", "must agree"),
        ("z.hdr", "9 bands"),
        ("none.npy", "no such file"),
    ] {
        let line = folder.refused(&format!(
            "eval --reference z.hdr --estimate e.hdr --scale 4 --mask {mask}"
        ));
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn dead_bands_and_negative_samples_are_said_and_carried_through() {
    let folder = pair();
    for (name, dead, value) in [
        ("zero.hdr", 3, 0.0),
        ("level.hdr", 8, 0.25),
        ("minus.hdr", 0, -0.01),
    ] {
        change(&folder, "x.hdr", name, |x| {
            x.samples.slice_mut(s![.., .., dead]).fill(value)
        });
        change(&folder, "z.hdr", "truth.hdr", |z| {
            z.samples.slice_mut(s![.., .., dead]).fill(value)
        });
        let run = folder.run(&format!(
            "fuse --backend cpu --steps 30 --finetune-steps 5 --hsi {name} --msi y.hdr --out f.npy --reference truth.hdr \
             --save-degradation s --json"
        ));
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.success(), "{said}");
        let line = said.lines().find(|l| l.contains(name)).unwrap();
        assert!(
            line.contains(&format!("one value everywhere in band {dead}")),
            "{line}"
        );
        assert_eq!(line.contains("30 samples are negative"), value < 0.0, "{line}");
        let fused = read(&folder, "f.npy");
        assert!(fused.samples.iter().all(|x| x.is_finite()));
        // What was constant stays near its value: the network learns a constant within a few per cent of the scale.
        let worst = fused
            .samples
            .slice(s![.., .., dead])
            .fold(0.0_f32, |w, x| w.max((x - value).abs()));
        assert!(worst < 0.1, "{name}: {worst}");
        let srf = hsr_gpu::io::read_matrix(&folder.path("s/srf.npy").to_string_lossy()).unwrap();
        assert!(srf.iter().all(|x| x.is_finite()));
        let summary: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        for index in ["psnr_db", "sam_deg", "ergas", "uiqi", "ssim", "rmse"] {
            assert!(summary["metrics"][index].as_f64().unwrap().is_finite(), "{index}");
        }
    }
}
