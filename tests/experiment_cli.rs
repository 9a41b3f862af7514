//! `experiment` as a user calls it, with few steps: that it goes on where it stopped with the same numbers, that
//! files it cannot trust are computed anew, and that it refuses what it cannot run. Quality is not tested here.

use std::fs;
use std::time::SystemTime;

use crate::common::{Folder, interrupt, scene, wait_until};
use hsr_gpu::cube::Cube;
use hsr_gpu::io::write_matrix;
use ndarray::{Array2, Array3};
use serde_json::Value;

/// A folder with a smooth scene of 48 × 48 × 9, its response and the manifest `m.txt`.
fn folder() -> Folder {
    let folder = Folder::new();
    let smooth = Cube::new(Array3::from_shape_fn((48, 48, 9), |(r, c, b)| {
        let (r, c, b) = (r as f32 / 12.0, c as f32 / 10.0, b as f32 / 9.0);
        0.5 + 0.2 * (5.0 * r + 3.0 * b).sin() + 0.2 * (7.0 * c - 2.0 * b).cos()
    }));
    folder.cube("waves.npy", &smooth);
    let response = Array2::from_shape_fn((9, 3), |(i, j)| {
        (-0.5 * (i as f64 - 1.0 - 3.0 * j as f64).powi(2)).exp()
    });
    write_matrix(folder.path("r.csv"), &response).unwrap();
    fs::write(folder.path("m.txt"), "waves.npy,r.csv\n").unwrap();
    folder
}

const FEW: &str = "--backend cpu --quiet --steps 3 --finetune-steps 0 --members 1";

/// The results without times and command, and the number of cells that were computed.
fn results(json: &str) -> (Value, u64) {
    let told: Value = serde_json::from_str(json).unwrap();
    let mut value = told["results"].clone();
    for row in value["rows"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("seconds").unwrap();
    }
    let computed = value["cells"][1].as_u64().unwrap();
    value["cells"] = Value::Null;
    value["command"] = Value::Null;
    (value, computed)
}

#[test]
fn a_finished_cell_is_kept_and_a_damaged_or_foreign_one_is_computed_anew() {
    let folder = folder();
    let run = format!("experiment scenes --scenes m.txt --out e --seeds 2 --json {FEW}");
    let (first, computed) = results(&folder.good(&run));
    // x32 is too large; blind and told the response, two seeds, five methods.
    assert_eq!((computed, first["rows"].as_array().unwrap().len()), (20, 20));
    let cells: Vec<_> = fs::read_dir(folder.path("e/cells"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(cells.len(), 20);
    let csv = fs::read_to_string(folder.path("e/results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 21);
    let written = |path: &std::path::Path| fs::metadata(path).unwrap().modified().unwrap();
    let times: Vec<SystemTime> = cells.iter().map(|p| written(p)).collect();

    let (again, computed) = results(&folder.good(&run));
    assert_eq!((&again, computed), (&first, 0));
    assert_eq!(fs::read_to_string(folder.path("e/results.csv")).unwrap(), csv);
    assert!(cells.iter().zip(&times).all(|(p, t)| written(p) == *t));

    // Gone; cut short; a number changed by hand; of another version.
    fs::remove_file(&cells[0]).unwrap();
    let text = |at: usize| fs::read_to_string(&cells[at]).unwrap();
    fs::write(&cells[1], &text(1)[..200]).unwrap();
    let changed = |at: usize, from: &str, to: &str| {
        let (before, after) = (text(at), text(at).replacen(from, to, 1));
        assert_ne!(before, after);
        fs::write(&cells[at], after).unwrap();
    };
    changed(2, "\"psnr_db\": ", "\"psnr_db\": 1");
    changed(3, "\"version\": \"", "\"version\": \"9");
    let (mended, computed) = results(&folder.good(&run));
    assert_eq!((&mended, computed), (&first, 4));

    // Another configuration is another experiment, but for bicubic interpolation; --fresh runs everything.
    let (_, computed) = results(&folder.good(&run.replace("--steps 3", "--steps 4")));
    assert_eq!(computed, 16);
    let (fresh, computed) = results(&folder.good(&format!("{run} --fresh")));
    assert_eq!((&fresh, computed), (&first, 20));
}

#[test]
fn robustness_moves_one_factor_at_a_time() {
    let folder = folder();
    let run = |only: &str| {
        let json = folder.good(&format!(
            "experiment robustness --scenes m.txt --out r --only {only} --json {FEW}"
        ));
        results(&json).0["rows"].as_array().unwrap().clone()
    };
    let rows = run("0.5");
    let network = rows
        .iter()
        .find(|r| r["factor"] == "misregistration" && r["method"] == "network")
        .unwrap();
    assert_eq!(
        (&network["shift"], &network["published"]),
        (&0.5.into(), &false.into())
    );
    assert!(network["centre_error"].as_f64().unwrap() < 1.0);
    let rows = run("disk");
    let of = |model: &str| {
        let found = rows
            .iter()
            .find(|r| r["psf_model"] == model && r["method"] == "control")
            .unwrap();
        found["psf_nrmse"].as_f64().unwrap()
    };
    // A disk is no Gaussian, and free weights can be one.
    assert!(of("free") < of("gaussian"), "{} {}", of("free"), of("gaussian"));
    let rows = run("snr20dB_15dB");
    let psnr = |rows: &[Value]| {
        let found = rows.iter().find(|r| r["method"] == "control").unwrap();
        found["scores"]["psnr_db"].as_f64().unwrap()
    };
    assert!(psnr(&rows) < psnr(&run("snr40dB_45dB")) - 3.0);
}

#[test]
fn an_undisturbed_pair_is_measured_as_misplaced_ones_are() {
    let folder = folder();
    let wide = scene(76, 76, 9);
    folder.cube("wide.npy", &wide);
    fs::write(folder.path("w.txt"), "wide.npy,r.csv\n").unwrap();
    let run = format!("experiment misplaced --scenes w.txt --out e --only undisturbed --json {FEW}");
    let (found, computed) = results(&folder.good(&run));
    assert_eq!((computed, found["rows"].as_array().unwrap().len()), (1, 1));
    assert_eq!(
        found["rows"][0]["misplaced"]["shift"],
        serde_json::json!([0.0, 0.0]),
        "{found}"
    );
    let (_, again) = results(&folder.good(&run));
    assert_eq!(again, 0);
    // 48 x 48 pixels leave too little around.
    let small = folder.run("experiment misplaced --scenes m.txt --out f");
    assert_eq!(small.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&small.stderr).contains("at least"));
}

#[test]
fn the_built_in_scene_needs_no_manifest() {
    let folder = Folder::new();
    let text = folder.good(&format!("experiment scenes --out e --only blind {FEW}"));
    assert!(
        text.contains("x8, gaussian:2.5,1.5,0.6, blind") && text.contains("bicubic"),
        "{text}"
    );
    assert!(
        text.contains("5 cells (5 computed now)") && text.contains("engine"),
        "{text}"
    );
    let text = folder.good(&format!("experiment robustness --out f --only seed4 {FEW}"));
    assert!(text.contains("seed") && text.contains("control"), "{text}");
}

#[test]
fn what_cannot_be_run_is_refused_and_nothing_is_written() {
    let folder = folder();
    folder.cube("small.npy", &scene(16, 16, 9));
    fs::write(folder.path("small.txt"), "# one\n\nsmall.npy,r.csv\n").unwrap();
    fs::write(folder.path("bad.txt"), "waves.npy,r.csv\nwaves.npy,r.csv,3\n").unwrap();
    fs::write(folder.path("gone.txt"), "waves.npy,r.csv\ngone.npy\n").unwrap();
    fs::write(folder.path("file"), "").unwrap();
    let before = folder.names();
    for (arguments, named) in [
        ("experiment nosuch --out e", "nosuch"),
        ("experiment scenes", "--out"),
        ("experiment scenes --scenes none.txt --out e", "none.txt"),
        ("experiment scenes --scenes bad.txt --out e", "bad.txt line 2"),
        ("experiment scenes --scenes gone.txt --out e", "gone.txt line 2"),
        ("experiment scenes --scenes small.txt --out e", "small.npy"),
        ("experiment robustness --scenes small.txt --out e", "too small"),
        (
            "experiment scenes --scenes m.txt --out e --only nosuch",
            "--only nosuch",
        ),
        ("experiment scenes --scenes m.txt --out e --seeds 0", "--seeds"),
        (
            "experiment scenes --scenes m.txt --out e --preset nosuch",
            "nosuch",
        ),
        ("experiment scenes --scenes m.txt --out file", "file"),
    ] {
        let line = folder.refused(arguments);
        assert!(line.contains(named), "{arguments}: {line}");
    }
    assert_eq!(folder.names(), before);
}

#[cfg(unix)]
#[test]
fn an_interrupted_experiment_keeps_its_cells() {
    let folder = folder();
    let child =
        folder.start("experiment scenes --scenes m.txt --out e --backend cpu --quiet --steps 10000000");
    // Ten million steps do not end; bicubic and the two controls, which come first, do not wait for them.
    wait_until("three cells and a checkpoint", || {
        fs::read_dir(folder.path("e/cells")).is_ok_and(|d| d.count() >= 4)
    });
    let (code, said) = interrupt(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(
        said.contains("cells are kept in") && said.trim_end().lines().count() == 1,
        "{said}"
    );
    assert!(!folder.path("e/results.csv").exists());
    // The three that are finished, and the checkpoint of the one that was running.
    let cells = fs::read_dir(folder.path("e/cells"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let (finished, others): (Vec<_>, Vec<_>) =
        cells.partition(|p| p.extension().is_some_and(|e| e == "json"));
    assert_eq!((finished.len(), others.len()), (3, 1), "{others:?}");
    assert!(
        others[0].extension().is_some_and(|e| e == "checkpoint"),
        "{others:?}"
    );
}
