//! The paper's experiments as a user calls them, with few epochs on a small scene: what each must hold whatever the
//! quality, that a stopped one ends with the same numbers, and that they refuse what they cannot run.

use std::fs;

use crate::common::Folder;
use hsr_gpu::cube::Cube;
use hsr_gpu::io::write_matrix;
use ndarray::{Array2, Array3};
use serde_json::Value;

/// Two smooth scenes of 48 × 48 × 9, their response, and the manifests `m.txt` (one) and `two.txt`.
fn folder() -> Folder {
    let folder = Folder::new();
    for (name, phase) in [("waves.npy", 0.0), ("more.npy", 0.7)] {
        let smooth = Cube::new(Array3::from_shape_fn((48, 48, 9), |(r, c, b)| {
            let (r, c, b) = (r as f32 / 12.0, c as f32 / 10.0, b as f32 / 9.0);
            0.5 + 0.2 * (5.0 * r + 3.0 * b + phase).sin() + 0.2 * (7.0 * c - 2.0 * b).cos()
        }));
        folder.cube(name, &smooth);
    }
    let response = Array2::from_shape_fn((9, 3), |(i, j)| {
        (-0.5 * (i as f64 - 1.0 - 3.0 * j as f64).powi(2)).exp()
    });
    write_matrix(folder.path("r.csv"), &response).unwrap();
    fs::write(folder.path("m.txt"), "waves.npy,r.csv\n").unwrap();
    fs::write(folder.path("two.txt"), "waves.npy,r.csv\nmore.npy,r.csv\n").unwrap();
    folder
}

const ON_CPU: &str = "--backend cpu --quiet --json";

/// The results of an experiment without what differs from run to run.
fn results(folder: &Folder, arguments: &str) -> Value {
    let told: Value =
        serde_json::from_str(&folder.good(&format!("experiment {arguments} {ON_CPU}"))).unwrap();
    let mut value = told["results"].clone();
    for row in value["rows"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("seconds").unwrap();
    }
    value["command"] = Value::Null;
    value
}

fn rows(results: &Value) -> &Vec<Value> {
    results["rows"].as_array().unwrap()
}

#[test]
fn convergence_follows_the_epochs_and_goes_on_where_it_stopped() {
    let folder = folder();
    let run = "convergence --scenes m.txt --out e --epochs 3 --seeds 2 --report page";
    let mut first = results(&folder, run);
    assert_eq!(
        (rows(&first).len(), &first["cells"]),
        (2, &serde_json::json!([2, 2]))
    );
    let trace = &rows(&first)[0]["trace"];
    let points = trace["training"].as_array().unwrap();
    // The start and three epochs of 73 steps.
    let steps: Vec<u64> = points.iter().map(|p| p["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 73, 146, 219]);
    assert!(points[0]["network"].is_null() && points[0]["psf"][0].as_f64().unwrap() > 3.1);
    let of = |k: usize, name: &str| points[k][name].as_f64().unwrap();
    assert!(of(3, "network") < of(1, "network") && of(3, "psf_nrmse") < of(0, "psf_nrmse"));
    assert_eq!(points[3]["scores"], rows(&first)[0]["scores"]);
    let epochs = fs::read_to_string(folder.path("e/epochs.csv")).unwrap();
    assert_eq!(epochs.lines().count(), 1 + 2 * 4);
    assert_eq!(
        fs::read_to_string(folder.path("e/results.csv"))
            .unwrap()
            .lines()
            .count(),
        3
    );
    for name in ["objective", "metrics", "psf"] {
        let svg =
            fs::read_to_string(folder.path(&format!("e/figures/convergence-{name}-waves.svg"))).unwrap();
        assert!(svg.starts_with("<svg"));
        let png = fs::read(folder.path(&format!("e/figures/convergence-{name}-waves.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }
    let page = fs::read_to_string(folder.path("page/report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(page.contains("219 steps") && !page.replace("http://www.w3.org/2000/svg", "").contains("http:"));

    let cells: Vec<_> = fs::read_dir(folder.path("e/cells"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    fs::remove_file(&cells[0]).unwrap();
    let mut again = results(&folder, run);
    assert_eq!(again["cells"], serde_json::json!([2, 1]));
    (first["cells"], again["cells"]) = (Value::Null, Value::Null);
    assert_eq!(first, again);
}

#[test]
fn without_coordination_the_start_guides_and_the_psf_is_learned_all_the_same() {
    let folder = folder();
    let run = |more: &str| {
        let found = results(
            &folder,
            &format!("coordination --scenes m.txt --out e --epochs 2 {more}"),
        );
        let end = |k: usize| rows(&found)[k]["trace"]["training"][2].clone();
        assert_eq!(rows(&found)[0]["value"], "with");
        assert_eq!(rows(&found)[1]["guide"], Value::Null);
        assert_eq!(rows(&found)[1]["paper"]["guide"], "start");
        (end(0), end(1))
    };
    let (with, without) = run("");
    assert_ne!(with["psf"], without["psf"]);
    assert_ne!(with["scores"], without["scores"]);
    let start = 10f64.sqrt();
    assert!((without["psf"][0].as_f64().unwrap() - start).abs() > 0.01);
    // Weights of zero hold θ at its start: then start and estimate are one PSF, and both runs are the same run.
    fs::write(folder.path("still.toml"), "[training]\nalpha = [0.0, 0.0, 0.0]\n").unwrap();
    let (with, without) = run("--config still.toml");
    assert_eq!(
        (&with["psf"], &with["scores"]),
        (&without["psf"], &without["scores"])
    );
    assert_eq!(with["network"], without["network"]);
}

#[test]
fn fine_tuning_goes_by_the_psf_that_it_is_told() {
    let folder = folder();
    let found = results(
        &folder,
        "finetune --scenes m.txt --out e --epochs 2 --finetune-steps 60",
    );
    let rows = rows(&found);
    assert_eq!(rows.len(), 4);
    for pair in rows.chunks(2) {
        // One trained model, two ways on from it.
        assert_eq!(pair[0]["trace"]["training"], pair[1]["trace"]["training"]);
        assert_eq!(
            pair[0]["trace"]["finetuning"][0],
            pair[1]["trace"]["finetuning"][0]
        );
        assert_ne!(pair[0]["scores"], pair[1]["scores"]);
        let points = pair[0]["trace"]["finetuning"].as_array().unwrap();
        let steps: Vec<u64> = points.iter().map(|p| p["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [146, 171, 196, 206]);
        assert_eq!(points[3]["scores"], pair[0]["scores"]);
    }
    assert_ne!(rows[0]["trace"]["training"], rows[2]["trace"]["training"]);
}

#[test]
fn weights_are_varied_one_at_a_time_and_beta_0_leaves_the_network_at_its_start() {
    let folder = folder();
    let all = results(&folder, "hyperparameters --scenes m.txt --out e --epochs 1");
    // 36 rows; the run at the defaults (0.5, 0.2, 0.2, 0.5) stands under all four weights.
    assert_eq!((rows(&all).len(), &all["cells"][0]), (36, &33.into()));
    for row in rows(&all) {
        let at: f64 = row["value"].as_str().unwrap().parse().unwrap();
        let weights = [
            &row["paper"]["alpha"][0],
            &row["paper"]["alpha"][1],
            &row["paper"]["alpha"][2],
            &row["paper"]["beta"],
        ];
        let defaults = [0.5, 0.2, 0.2, 0.5];
        let which = ["α₁", "α₂", "α₃", "β"]
            .iter()
            .position(|n| row["factor"] == *n)
            .unwrap();
        for (k, weight) in weights.iter().enumerate() {
            assert_eq!(
                weight.as_f64().unwrap(),
                if k == which { at } else { defaults[k] }
            );
        }
    }
    let row = |value: &str| {
        rows(&all)
            .iter()
            .find(|r| r["factor"] == "β" && r["value"] == value)
            .unwrap()
    };
    let followed = results(&folder, "convergence --scenes m.txt --out c --epochs 1");
    let points = &rows(&followed)[0]["trace"]["training"];
    assert_eq!(row("0")["scores"], points[0]["scores"]);
    assert_eq!(row("0.5")["scores"], points[1]["scores"]);
    assert_ne!(points[0]["scores"], points[1]["scores"]);
}

#[test]
fn table2_has_published_and_measured_rows_and_trains_on_others() {
    let folder = folder();
    let run = "table2 --scenes two.txt --out e --epochs 1 --finetune-steps 5 --seeds 2 --leave-one-out";
    // Fusions by the program's own default take seconds each, and are left to the experiment `scenes`.
    let schedule = results(&folder, &format!("{run} --only schedule"));
    assert_eq!(rows(&schedule).len(), 2 * 2 * 2);
    assert_eq!(schedule["published"][1][6]["method"], "Guo et al.");
    for row in rows(&schedule) {
        let others = row["value"].as_str().unwrap().contains("others");
        let trained = row["paper"]["train_on"].as_array().unwrap();
        assert_eq!(trained.len(), usize::from(others));
        assert!(trained.iter().all(|t| t[0] != row["scene"]));
    }
    let pairs: Vec<_> = rows(&schedule).chunks(2).collect();
    assert!(pairs.iter().all(|p| p[0]["scores"] != p[1]["scores"]));
    // The PSF follows from seed and scene, and all rows of one see the same.
    assert!(pairs.iter().all(|p| p[0]["psf"] == p[1]["psf"]));
    let drawn: std::collections::BTreeSet<_> = pairs.iter().map(|p| p[0]["psf"].to_string()).collect();
    assert!(drawn.len() > 1, "{drawn:?}");
    let text = folder.good(&format!("experiment {run} --only control --backend cpu --quiet"));
    for expected in [
        "Guo et al. (published)",
        "39.5",
        "quadratic regression",
        "±",
        "ran: ",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn network_counts_every_preset() {
    let folder = Folder::new();
    let counts: Value =
        serde_json::from_str(&folder.good("experiment network --out n --report n --json")).unwrap();
    let of = |name: &str| {
        counts["results"]
            .as_array()
            .unwrap()
            .iter()
            .find(|n| n["preset"] == name)
            .unwrap()
            .clone()
    };
    // Decoders 16-64-128 of Chikusei, 16-18-8 of WorldView-2, by hand.
    assert_eq!(of("chikusei")["multiply_adds"], 1132 + 2 * (16 * 64 + 64 * 128));
    assert_eq!(of("wv2")["multiply_adds"], 1132 + 2 * (16 * 18 + 18 * 8));
    assert!(
        fs::read_to_string(folder.path("n/results.csv"))
            .unwrap()
            .lines()
            .count()
            > 50
    );
    assert!(
        fs::read_to_string(folder.path("n/report.html"))
            .unwrap()
            .contains("(24 + 3) x 16")
    );
}

#[test]
fn what_cannot_be_run_is_refused_and_nothing_is_written() {
    let folder = folder();
    folder.cube("small.npy", &crate::common::scene(12, 12, 9));
    fs::write(folder.path("small.txt"), "small.npy,r.csv\n").unwrap();
    fs::write(folder.path("bad.toml"), "[training]\nstep = 1\n").unwrap();
    let before = folder.names();
    for (arguments, named) in [
        ("convergence", "--out"),
        ("convergence --scenes none.txt --out e", "none.txt"),
        ("convergence --scenes small.txt --out e", "patch of 4 x 4"),
        ("coordination --scenes m.txt --scale 16 --out e", "scene waves"),
        ("finetune --scenes m.txt --out e --psf blind", "blind"),
        ("finetune --scenes m.txt --out e --psf k.npy", "k.npy"),
        ("hyperparameters --scenes m.txt --out e --preset nosuch", "nosuch"),
        (
            "hyperparameters --scenes m.txt --out e --config bad.toml",
            "bad.toml",
        ),
        ("convergence --scenes m.txt --out e --members 4", "--members"),
        (
            "convergence --scenes m.txt --out e --finetune-steps 4",
            "--finetune-steps",
        ),
        ("convergence --scenes m.txt --out e --epochs 0", "--epochs"),
        ("table2 --scenes m.txt --out e --psf paper:1", "--psf"),
        ("table2 --scenes m.txt --out e --leave-one-out", "--leave-one-out"),
        ("table2 --scenes small.txt --out e", "small"),
        ("network --out e --epochs 3", "--epochs"),
    ] {
        let line = folder.refused(&format!("experiment {arguments}"));
        assert!(line.contains(named), "{arguments}: {line}");
    }
    assert_eq!(folder.names(), before);
}

#[cfg(unix)]
#[test]
fn a_killed_experiment_ends_with_the_numbers_of_one_that_was_not() {
    use std::time::Duration;
    let folder = folder();
    let run = "coordination --scenes m.txt --epochs 6 --seeds 3";
    let mut child = folder.start(&format!("experiment {run} --out e {ON_CPU}"));
    let finished = || {
        let names = fs::read_dir(folder.path("e/cells")).into_iter().flatten();
        names
            .filter(|e| {
                e.as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|x| x == "json")
            })
            .count()
    };
    while finished() < 2 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // As hard as it can be ended: nothing of the program runs any more.
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = finished();
    // On a slow machine it may have ended before it was seen to have two.
    assert!((2..=6).contains(&kept), "{kept}");
    let mut stopped = results(&folder, &format!("{run} --out e"));
    let mut whole = results(&folder, &format!("{run} --out other"));
    assert_eq!(stopped["cells"], serde_json::json!([6, 6 - kept]));
    (stopped["cells"], whole["cells"]) = (Value::Null, Value::Null);
    assert_eq!(stopped, whole);
}
