//! `profile` and `bench` as a user calls them, on sizes that take no time: that every row and field is there, that a
//! trace can be read, that bad input is refused before a device is opened. What is measured is not tested.

use std::fs;

use crate::common::Folder;
use serde_json::Value;

/// Sizes that a software adapter does in no time.
const SMALL: &str = "--scale 4 --lr-pixels 8 --finetune-pixels 8 --side 16 --steps 2 --json --quiet";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The kernels of a stage, in alphabetical order.
fn kernels(report: &Value, stage: &str) -> Vec<String> {
    let stages = report["stages"].as_array().unwrap();
    let stage = stages.iter().find(|s| s["stage"] == stage).unwrap();
    let rows = stage["kernels"].as_array().unwrap();
    let mut names: Vec<String> = rows
        .iter()
        .map(|k| k["kernel"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// What holds of every profile.
fn check_profile(report: &Value) {
    let limits = &report["limits"];
    for field in ["operations_per_second", "bytes_per_second", "launch_seconds"] {
        assert!(limits[field].as_f64().unwrap() > 0.0, "{field}");
    }
    for stage in report["stages"].as_array().unwrap() {
        assert!(stage["seconds"].as_f64().unwrap() > 0.0);
        for row in stage["kernels"].as_array().unwrap() {
            assert!(row["calls"].as_u64().unwrap() > 0 && row["operations"].as_u64().unwrap() > 0);
            assert!(["arithmetic", "memory", "launches"].contains(&row["bound"].as_str().unwrap()));
            let share =
                row["operations"].as_f64().unwrap() / limits["operations_per_second"].as_f64().unwrap();
            let seconds = row["seconds"].as_f64().unwrap();
            assert!((row["arithmetic_share"].as_f64().unwrap() * seconds - share).abs() <= 1e-6 * share);
        }
    }
}

#[test]
fn a_profile_of_the_cpu_has_every_stage_and_a_trace() {
    let folder = Folder::new();
    let text = folder.good(&format!(
        "profile --backend cpu --threads 2 {SMALL} --trace t.json"
    ));
    let report = json(&text);
    check_profile(&report);
    assert_eq!(
        (&report["clock"], &report["threads"]),
        (&"host_clock".into(), &2.into())
    );
    let lr = "lr_network + network_update";
    let all = [
        "degradation",
        "degradation_sums + degradation_update",
        "hr_network",
        lr,
        "psf_blur",
    ];
    assert_eq!(kernels(&report, "train"), all);
    assert_eq!(kernels(&report, "finetune"), [lr]);
    assert_eq!(kernels(&report, "reconstruct"), ["reconstruct"]);
    let passes = [
        "bicubic_update",
        "consistency_residual",
        "dct_denoise",
        "guided_update",
    ];
    assert_eq!(kernels(&report, "refine"), passes);

    let trace = json(&fs::read_to_string(folder.path("t.json")).unwrap());
    let events = trace["traceEvents"].as_array().unwrap();
    let spans: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
    assert!(
        spans
            .iter()
            .any(|e| e["name"] == "hr_network" && e["cat"] == "train")
    );
    assert!(
        spans
            .iter()
            .all(|e| e["ts"].as_f64().unwrap() >= 0.0 && e["dur"].as_f64().unwrap() >= 0.0)
    );
    assert!(
        events
            .iter()
            .any(|e| e["ph"] == "M" && e["args"]["name"] == "finetune")
    );
}

#[test]
fn a_profile_names_the_stages_and_presets_that_were_asked_for() {
    let folder = Folder::new();
    let small = SMALL.replace(" --json", "");
    let text = folder.good(&format!(
        "profile --backend cpu {small} --preset wv2 --stage reconstruct"
    ));
    assert!(text.contains("preset wv2, 8 bands from 3, x4"), "{text}");
    assert!(text.contains("1 x reconstruct, 256 HR pixels"), "{text}");
    assert!(text.contains("GFLOP/s") && !text.contains("train"), "{text}");
    // The default network updates the degradation in every 25th step alone.
    let sizes = "--scale 4 --lr-pixels 8 --steps 20 --json --quiet";
    let text = folder.good(&format!(
        "profile --backend cpu {sizes} --preset single-scene --stage train"
    ));
    let report = json(&text);
    let rows = report["stages"][0]["kernels"].as_array().unwrap();
    let calls = |name: &str| {
        rows.iter()
            .find(|k| k["kernel"] == name)
            .map(|k| k["calls"].as_u64().unwrap())
    };
    assert_eq!(
        (calls("hr_network"), calls("lr_network + network_update")),
        (Some(1), Some(20))
    );
}

/// On standard error too, where a driver's layers would print what they miss in a place without a session.
#[cfg(feature = "gpu")]
#[test]
fn devices_prints_adapters_and_nothing_else() {
    let out = Folder::new().run("devices");
    assert!(out.status.success());
    assert!(!out.stdout.is_empty());
    assert_eq!(String::from_utf8(out.stderr).unwrap(), "");
}

#[cfg(feature = "gpu")]
#[test]
fn a_profile_of_a_gpu_has_times_or_says_why_not() {
    let folder = Folder::new();
    let report = json(&folder.good(&format!("profile --adapter 0 {SMALL} --trace t.json")));
    check_profile(&report);
    let all = kernels(&report, "train");
    assert!(
        all.iter().any(|k| k.contains("hr_network")) && all.len() <= 8,
        "{all:?}"
    );
    let passes = kernels(&report, "refine");
    for pass in [
        "bicubic_update",
        "consistency_residual",
        "dct_denoise",
        "guided_update",
    ] {
        assert!(passes.iter().any(|k| k.contains(pass)), "{pass}: {passes:?}");
    }
    // Timestamps that cannot be used are said to be so, and never printed.
    let by_device = report["clock"] == "device_timestamps";
    assert_eq!(report["timestamps"].is_null(), by_device);
    if let Some(why) = report["timestamps"].as_str() {
        assert!(why.starts_with("unusable"), "{why}");
    }
    assert!(folder.path("t.json").is_file());
}

#[test]
fn requests_for_a_profile_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    fs::write(folder.path("old.json"), "old").unwrap();
    // The adapter that does not exist would be named if it were looked for.
    let nowhere = "--adapter nonesuch";
    for (request, word) in [
        ("--preset nonesuch", "nonesuch"),
        ("--lr-pixels 0", "--lr-pixels"),
        ("--steps 1001", "--steps"),
        ("--stage nonesuch", "--stage"),
        ("--side 8192 --bands 4096", "--side 8192"),
        ("--side 4 --scale 8", "--side 4"),
        ("--scale 256 --lr-pixels 1000000", "windows"),
        ("--trace none/such/t.json", "none/such"),
    ] {
        let line = folder.refused(&format!("profile {nowhere} {request}"));
        assert!(
            line.contains(word) && !line.contains("no such adapter"),
            "{request}: {line}"
        );
    }
    for request in ["--backend cpu --adapter 0", "--backend cpu --checked"] {
        folder.refused(&format!("profile {request} --trace old.json"));
    }
    assert_eq!(fs::read_to_string(folder.path("old.json")).unwrap(), "old");
    assert_eq!(folder.names(), ["old.json"]);
}

#[test]
fn bench_has_every_row_and_field() {
    let folder = Folder::new();
    let rows = json(&folder.good("bench --backend cpu --threads 1 --shrink 64 --json --quiet"));
    let rows = rows["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["name"].as_str().unwrap()).collect();
    let members = ["member_step"; 3];
    assert_eq!(
        names[..4],
        ["cold_start", "train_step", "finetune_step", "reconstruct"]
    );
    assert_eq!(names[4..], members);
    for row in rows {
        assert!(row["seconds"].as_f64().unwrap() > 0.0 && row["runs"].as_u64().unwrap() > 0);
        assert_eq!((&row["backend"], &row["threads"]), (&"cpu".into(), &1.into()));
        for field in ["preset", "adapter", "precision"] {
            assert!(row[field].is_string(), "{field}");
        }
        if cfg!(target_os = "linux") {
            assert!(row["peak_bytes"].as_u64().unwrap() > 0);
        }
    }
    let text = folder.good("bench --backend cpu --shrink 64 --only cave_protocol --quiet");
    assert!(text.contains("cave_protocol"), "{text}");
    assert!(!text.contains("train_step"), "{text}");
}

#[cfg(feature = "gpu")]
#[test]
fn bench_counts_the_memory_of_the_device() {
    let folder = Folder::new();
    let rows =
        json(&folder.good("bench --adapter 0 --checked --shrink 64 --only finetune_step --json --quiet"));
    let rows = &rows["rows"];
    assert_eq!(rows[0]["backend"], "gpu");
    assert!(rows[0]["device_bytes"].as_u64().unwrap() > 0);
}
