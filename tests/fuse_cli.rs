//! `fuse` and its stages as a user calls them, on small scenes and few steps: that results are whole, that bad
//! input is refused with one line and touches nothing. Quality is not tested here (docs/QUALITY.md).

use std::fs;

use crate::common::{Folder, interrupt, scene, trains, wait_until};
use hsr_gpu::cube::Cube;
use hsr_gpu::io::{read_cube, read_matrix, write_matrix};
use ndarray::{Array2, Array3, s};

/// A folder with a pair at ×4: `x.npy` 6×5×9 and `y.npy` 24×20×3, and the reference `z.npy` they were made from.
fn pair() -> Folder {
    let folder = Folder::new();
    let smooth = Cube::new(Array3::from_shape_fn((24, 20, 9), |(r, c, b)| {
        let (r, c, b) = (r as f32 / 24.0, c as f32 / 20.0, b as f32 / 9.0);
        0.5 + 0.2 * (5.0 * r + 3.0 * b).sin() + 0.2 * (7.0 * c - 2.0 * b).cos()
    }));
    folder.cube("z.npy", &smooth);
    write_matrix(folder.path("r.csv"), &response()).unwrap();
    folder.good("simulate --hsi z.npy --psf gaussian:1.2,0.8,0.3 --kernel 4 --srf r.csv --scale 4 --out-hsi x.npy --out-msi y.npy");
    folder
}

fn response() -> Array2<f64> {
    Array2::from_shape_fn((9, 3), |(i, j)| {
        (-0.5 * (i as f64 - 1.0 - 3.0 * j as f64).powi(2)).exp()
    })
}

const FUSE: &str = "fuse --hsi x.npy --msi y.npy --backend cpu --steps 30 --finetune-steps 5";

#[test]
fn training_ends_on_a_plateau_where_it_is_asked_to() {
    let folder = pair();
    let run = "fuse --hsi x.npy --msi y.npy --backend cpu --members 2 --steps 4000 --finetune-steps 5 --json --quiet";
    // At a constant rate the loss of this little scene stops falling long before 4,000 steps.
    fs::write(
        folder.path("constant.toml"),
        "[training]\nschedule = \"constant\"\n",
    )
    .unwrap();
    let run = format!("{run} --config constant.toml --patience 100");
    let steps = |json: &str| -> (u64, u64) {
        let summary: serde_json::Value = serde_json::from_str(json).unwrap();
        let at = |name: &str| summary["steps"][name].as_u64().unwrap();
        (at("taken"), at("planned"))
    };
    let (done, scheduled) = steps(&folder.good(&format!("{run} --out a.npy")));
    assert!(
        done < scheduled && done % 100 == 0 && scheduled == 4000,
        "{done} of {scheduled}"
    );
    // Where checkpoints are left changes nothing, and neither does going on from the last.
    let kept = format!("{run} --out b.npy --checkpoint c.safetensors --every 70");
    assert_eq!(steps(&folder.good(&kept)), (done, scheduled));
    assert!(fs::read(folder.path("a.npy")).unwrap() == fs::read(folder.path("b.npy")).unwrap());
    let (done, scheduled) = steps(
        &folder.good(
            &run.replace("--patience 100", "--patience 0 --steps 300 --out c.npy")
                .replacen("--steps 4000 ", "", 1),
        ),
    );
    assert_eq!((done, scheduled), (300, 300));
}

#[test]
fn a_standard_deviation_is_written_and_judged() {
    let folder = pair();
    let run = format!("{FUSE} --members 3 --reference z.npy --json --quiet");
    let json = folder.good(&format!("{run} --out f.npy --save-std s.npy"));
    let summary: serde_json::Value = serde_json::from_str(&json).unwrap();
    let image = read_cube(&folder.path("f.npy").to_string_lossy()).unwrap();
    let deviation = read_cube(&folder.path("s.npy").to_string_lossy()).unwrap();
    let truth = read_cube(&folder.path("z.npy").to_string_lossy()).unwrap();
    assert_eq!(deviation.samples.dim(), image.samples.dim());
    assert!(deviation.samples.iter().all(|&s| s.is_finite() && s > 0.0));
    let within = |k: f32| {
        let errors = image.samples.iter().zip(&truth.samples).zip(&deviation.samples);
        let inside = errors.filter(|((z, t), s)| (*z - *t).abs() <= k * **s).count();
        inside as f64 / image.samples.len() as f64
    };
    // A sample whose error lies on the bound may count either way after the file's rounding: none or one of 4,320.
    for (name, k) in [("within_1", 1.0), ("within_2", 2.0)] {
        let found = summary["calibration"][name].as_f64().unwrap();
        assert!((found - within(k)).abs() < 3e-4, "{name}: {found}, {}", within(k));
    }
    // The image is the same without.
    folder.good(&format!("{run} --out g.npy"));
    assert_eq!(
        image.samples,
        read_cube(&folder.path("g.npy").to_string_lossy())
            .unwrap()
            .samples
    );
    let alone = folder.refused(&format!("{FUSE} --members 1 --out h.npy --save-std t.npy"));
    assert!(alone.contains("members"), "{alone}");
    let same = folder.refused(&format!("{FUSE} --out h.npy --save-std h.npy"));
    assert!(same.contains("one file"), "{same}");
}

#[test]
fn fuse_writes_the_image_the_sensors_and_a_report() {
    let folder = pair();
    let json = folder.good(&format!(
        "{FUSE} --out f.npy --save-degradation s --reference z.npy --json --quiet"
    ));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        report["size"],
        serde_json::json!({"rows": 24, "columns": 20, "bands": 9})
    );
    assert_eq!(report["degradation"]["psf"], "estimated");
    assert!(report["metrics"]["psnr_db"].as_f64().unwrap() > 10.0);
    assert!(report["bicubic"]["psnr_db"].as_f64().unwrap() > 10.0);
    assert_eq!(
        read_cube(folder.path("f.npy").to_str().unwrap())
            .unwrap()
            .samples
            .dim(),
        (24, 20, 9)
    );
    let psf = read_matrix(folder.path("s/psf.npy").to_str().unwrap()).unwrap();
    assert!(psf.dim() == (4, 4) && (psf.sum() - 1.0).abs() < 1e-5);
    let srf = read_matrix(folder.path("s/srf.npy").to_str().unwrap()).unwrap();
    assert!(srf.dim() == (9, 3) && (srf.sum() - 3.0).abs() < 1e-4);
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    let folder = pair();
    for (name, seed) in [("a.npy", 1), ("b.npy", 1), ("c.npy", 2)] {
        folder.good(&format!("{FUSE} --out {name} --seed {seed} --quiet"));
    }
    let read = |name: &str| fs::read(folder.path(name)).unwrap();
    assert_eq!(read("a.npy"), read("b.npy"));
    assert_ne!(read("a.npy"), read("c.npy"));
}

#[test]
fn threads_are_as_many_as_asked_for_and_change_no_bit() {
    let folder = pair();
    for n in [1, 3] {
        let text = folder.good(&format!("--threads {n} {FUSE} --out {n}.npy --quiet"));
        assert!(text.contains(&format!("CPU, {n} thread")), "{text}");
    }
    let read = |name: &str| fs::read(folder.path(name)).unwrap();
    assert_eq!(read("1.npy"), read("3.npy"));
    let line = folder.refused(&format!("{FUSE} --out 0.npy --threads 0"));
    assert!(line.contains("--threads"), "{line}");
}

#[test]
fn no_data_pixels_stay_no_data_and_metadata_reaches_the_result() {
    let folder = pair();
    let mut msi = read_cube(folder.path("y.npy").to_str().unwrap()).unwrap();
    msi.samples.slice_mut(s![5, 7, ..]).fill(-1.0);
    folder.cube("holes.npy", &msi);
    let mut hsi = read_cube(folder.path("x.npy").to_str().unwrap()).unwrap();
    hsi.metadata.wavelengths = Some((0..9).map(|i| 400.0 + 30.0 * f64::from(i)).collect());
    folder.cube("x.hdr", &hsi);
    let text = folder.good(
        "fuse --hsi x.hdr --msi holes.npy --nodata -1 --backend cpu --steps 10 --out f.hdr --quiet --finetune-steps 0",
    );
    assert!(text.contains("1 pixels are masked"), "{text}");
    let fused = read_cube(folder.path("f.hdr").to_str().unwrap()).unwrap();
    assert_eq!(fused.metadata.wavelengths, hsi.metadata.wavelengths);
    assert_eq!(fused.masked_pixels(), 1);
    assert!(!fused.is_valid(5, 7));
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_preset() {
    let folder = pair();
    fs::write(folder.path("c.toml"), "seed = 5\n[training]\nsteps = 11\n").unwrap();
    let dump = folder.good(&format!(
        "{FUSE} --out f.npy --config c.toml --dump-config --preset cave"
    ));
    assert!(
        dump.contains("seed = 5") && dump.contains("steps = 30") && dump.contains("batch = 32"),
        "{dump}"
    );
    assert!(!folder.names().contains(&"f.npy".to_owned()));
    // What was dumped is a configuration that can be used.
    fs::write(folder.path("d.toml"), dump).unwrap();
    folder.good("fuse --hsi x.npy --msi y.npy --out f.npy --config d.toml --steps 2 --backend cpu --quiet");
}

#[test]
fn train_finetune_and_infer_go_on_from_each_other() {
    let folder = pair();
    fs::write(folder.path("scenes.txt"), "x.npy,y.npy\nx.npy, y.npy\n").unwrap();
    let train = "train --scenes scenes.txt --backend cpu --quiet --preset cave";
    folder.good(&format!("{train} --out whole.safetensors --steps 6"));
    // Three steps, then three more, are the six steps.
    folder.good(&format!("{train} --out half.safetensors --steps 3"));
    folder.good(
        "train --scenes scenes.txt --backend cpu --quiet --resume half.safetensors --steps 6 --out rest.safetensors",
    );
    let infer = |model: &str, out: &str| {
        folder.good(&format!(
            "infer --model {model} --msi y.npy --out {out} --backend cpu --quiet"
        ));
        fs::read(folder.path(out)).unwrap()
    };
    assert_eq!(
        infer("whole.safetensors", "a.npy"),
        infer("rest.safetensors", "b.npy")
    );
    folder.good("finetune --model whole.safetensors --hsi x.npy --msi y.npy --out tuned.safetensors --steps 4 --backend cpu");
    assert_ne!(
        infer("tuned.safetensors", "c.npy"),
        infer("whole.safetensors", "a.npy")
    );
    let sample = "infer --model tuned.safetensors --msi y.npy --backend cpu --quiet --sample";
    folder.good(&format!("{sample} --out s1.npy --seed 1"));
    folder.good(&format!("{sample} --out s2.npy --seed 2"));
    assert_ne!(
        fs::read(folder.path("s1.npy")).unwrap(),
        fs::read(folder.path("s2.npy")).unwrap()
    );
}

#[test]
fn pairs_that_do_not_fit_are_refused_and_nothing_is_touched() {
    let folder = pair();
    fs::write(folder.path("old.npy"), b"precious").unwrap();
    folder.cube("wide.npy", &scene(24, 40, 3));
    folder.cube("many.npy", &scene(24, 20, 9));
    folder.cube("one.npy", &scene(6, 5, 1));
    folder.cube("zero.npy", &Cube::new(Array3::zeros((6, 5, 9))));
    let mut nan = read_cube(folder.path("x.npy").to_str().unwrap()).unwrap();
    nan.samples[[3, 2, 4]] = f32::NAN;
    folder.cube("nan.npy", &nan);
    nan.samples[[3, 2, 4]] = f32::INFINITY;
    folder.cube("inf.npy", &nan);
    let bytes = fs::read(folder.path("x.npy")).unwrap();
    fs::write(folder.path("cut.npy"), &bytes[..bytes.len() - 40]).unwrap();
    fs::write(folder.path("text.npy"), b"not an image").unwrap();
    let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000, 1), }";
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((huge.len() as u16 + 1).to_le_bytes());
    header.extend(huge.bytes().chain([b'\n']));
    fs::write(folder.path("huge.npy"), header).unwrap();
    write_matrix(folder.path("psf.csv"), &Array2::ones((4, 3))).unwrap();
    let before = folder.names();
    for (arguments, named) in [
        ("fuse --hsi none.npy --msi y.npy --out old.npy", "none.npy"),
        ("fuse --hsi x.npy --msi wide.npy --out old.npy", "ratio"),
        ("fuse --hsi x.npy --msi many.npy --out old.npy", "more bands"),
        ("fuse --hsi one.npy --msi y.npy --out old.npy", "one band"),
        ("fuse --hsi zero.npy --msi y.npy --out old.npy", "zero.npy"),
        (
            "fuse --hsi nan.npy --msi y.npy --out old.npy",
            "row 3, column 2, band 4",
        ),
        (
            "fuse --hsi inf.npy --msi y.npy --out old.npy",
            "row 3, column 2, band 4",
        ),
        ("fuse --hsi cut.npy --msi y.npy --out old.npy", "cut.npy"),
        ("fuse --hsi text.npy --msi y.npy --out old.npy", "text.npy"),
        ("fuse --hsi huge.npy --msi y.npy --out old.npy", "huge.npy"),
        ("fuse --hsi x.npy --msi y.npy --out missing/f.npy", "missing"),
        ("fuse --hsi x.npy --msi y.npy --out f.xyz", "f.xyz"),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --psf psf.csv",
            "psf.csv",
        ),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --psf paper:9",
            "paper:9",
        ),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --srf landsat-oli6",
            "wavelength",
        ),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --preset nosuch",
            "nosuch",
        ),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --config none.toml",
            "none.toml",
        ),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --members 65",
            "members",
        ),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --reference x.npy",
            "reference",
        ),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --kernel 1000",
            "too wide",
        ),
        ("fuse --hsi x.npy --msi y.npy", "--out"),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --backend cpu --adapter 0",
            "--adapter",
        ),
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --backend cpu --precision f16",
            "--precision f16",
        ),
        // With a hardware GPU or a software one, or in a build that has none.
        (
            "fuse --hsi x.npy --msi y.npy --out old.npy --log curves --adapter no-such",
            "adapter",
        ),
        ("estimate --hsi zero.npy --msi y.npy", "zero.npy"),
        ("nosuch", "nosuch"),
    ] {
        let line = folder.refused(arguments);
        assert!(line.contains(named), "{arguments}: {line}");
    }
    assert_eq!(folder.names(), before);
    assert_eq!(fs::read(folder.path("old.npy")).unwrap(), b"precious");
}

#[test]
fn models_and_manifests_that_do_not_fit_are_refused() {
    let folder = pair();
    fs::write(folder.path("scenes.txt"), "x.npy,y.npy\n").unwrap();
    folder.good("train --scenes scenes.txt --out m.safetensors --steps 1 --backend cpu --quiet");
    folder.cube("four.npy", &scene(24, 20, 4));
    fs::write(folder.path("bad.txt"), "# scenes\nx.npy,y.npy\nx.npy\n").unwrap();
    fs::write(folder.path("gone.txt"), "x.npy,y.npy\nx.npy,gone.npy\n").unwrap();
    fs::write(folder.path("mixed.txt"), "x.npy,y.npy\nx.npy,four.npy\n").unwrap();
    let bytes = fs::read(folder.path("m.safetensors")).unwrap();
    fs::write(folder.path("cut.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    let before = folder.names();
    for (arguments, named) in [
        (
            "infer --model m.safetensors --msi four.npy --out f.npy",
            "3 MSI bands",
        ),
        ("infer --model x.npy --msi y.npy --out f.npy", "x.npy"),
        (
            "infer --model cut.safetensors --msi y.npy --out f.npy",
            "cut.safetensors",
        ),
        (
            "finetune --model m.safetensors --hsi x.npy --msi four.npy --out n.safetensors",
            "4",
        ),
        ("train --scenes bad.txt --out n.safetensors", "line 3"),
        ("train --scenes gone.txt --out n.safetensors", "line 2"),
        ("train --scenes mixed.txt --out n.safetensors", "line 2"),
        ("train --scenes none.txt --out n.safetensors", "none.txt"),
        (
            "train --scenes scenes.txt --out n.safetensors --resume m.safetensors --steps 1",
            "--steps",
        ),
    ] {
        let line = folder.refused(arguments);
        assert!(line.contains(named), "{arguments}: {line}");
    }
    assert_eq!(folder.names(), before);
}

#[cfg(unix)]
#[test]
fn interrupted_runs_end_within_seconds_and_say_what_was_kept() {
    let folder = pair();
    fs::write(folder.path("scenes.txt"), "x.npy,y.npy\n").unwrap();
    let before = folder.names();
    let interrupt = |arguments: &str| {
        let child = folder.start(&format!("{arguments} --log log"));
        wait_until("training", || trains(&folder.path("log")));
        let ended = interrupt(child);
        fs::remove_dir_all(folder.path("log")).unwrap();
        ended
    };
    let (code, said) =
        interrupt("fuse --hsi x.npy --msi y.npy --out f.npy --steps 10000000 --backend cpu --quiet");
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    assert_eq!(folder.names(), before);
    let (code, said) =
        interrupt("train --scenes scenes.txt --out m.safetensors --steps 10000000 --backend cpu --quiet");
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("kept m.safetensors"), "{said}");
    folder.good("infer --model m.safetensors --msi y.npy --out f.npy --backend cpu --quiet");
}
