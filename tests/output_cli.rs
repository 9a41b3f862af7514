//! What runs say besides their results: events for programs, a log file; and what is shipped beside the program.

use std::fs;

use crate::common::{Folder, scene};

const FUSE: &str =
    "fuse --backend cpu --hsi x.npy --msi y.npy --out z.npy --steps 6 --members 1 --finetune-steps 2";

fn pair() -> Folder {
    let folder = Folder::new();
    folder.cube("x.npy", &scene(4, 4, 6));
    folder.cube("y.npy", &scene(16, 16, 2));
    folder
}

#[test]
fn progress_is_readable_by_programs() {
    let folder = pair();
    let out = folder.run(&format!("{FUSE} --json-progress"));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{text}");
    let events: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let of = |kind: &str| -> Vec<&str> {
        let found = events.iter().filter(|e| e["event"] == kind);
        found.map(|e| e["stage"].as_str().unwrap()).collect()
    };
    assert_eq!(of("begin"), of("end"));
    for stage in [
        "read",
        "estimate",
        "train",
        "fine-tune",
        "reconstruct",
        "refine",
        "write",
    ] {
        assert!(of("begin").contains(&stage), "{stage}: {text}");
    }
    let progress: Vec<_> = events
        .iter()
        .filter(|e| e["event"] == "progress" && e["stage"] == "train")
        .collect();
    assert!(!progress.is_empty(), "{text}");
    for event in progress {
        assert!(
            event["done"].as_u64() <= event["total"].as_u64() && event["total"] == 6,
            "{event}"
        );
        assert!(event["loss"].as_f64().unwrap() > 0.0 && event["seconds_left"].as_f64().unwrap() >= 0.0);
    }
    assert!(
        folder
            .refused(&format!("{FUSE} --json-progress --quiet"))
            .contains("--quiet")
    );
}

#[test]
fn a_log_file_keeps_every_run() {
    let folder = pair();
    folder.good(&format!("{FUSE} --quiet --log-file run.log"));
    folder.refused(&format!(
        "{} --log-file run.log",
        FUSE.replace("x.npy", "missing.npy")
    ));
    let text = fs::read_to_string(folder.path("run.log")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines
            .iter()
            .all(|l| l.as_bytes()[4] == b'-' && l.as_bytes()[19] == b'Z'),
        "{text}"
    );
    assert_eq!(
        lines.iter().filter(|l| l.contains(" begin ")).count(),
        2,
        "{text}"
    );
    assert!(lines[0].contains("fuse --backend cpu"), "{text}");
    assert!(lines.iter().any(|l| l.ends_with("Z end")), "{text}");
    assert!(
        lines.last().unwrap().contains("exit code 2") && text.contains("missing.npy"),
        "{text}"
    );
    folder.refused(&format!("{FUSE} --log-file no/such/folder.log"));
}

#[test]
fn completions_and_pages_know_every_command() {
    let folder = Folder::new();
    let told: serde_json::Value = serde_json::from_str(&folder.good("manual --out man --json")).unwrap();
    let pages = told["pages"].as_array().unwrap();
    assert!(
        pages
            .iter()
            .any(|page| page.as_str().unwrap().ends_with("hsr-gpu-experiment-table2.1")),
        "{pages:?}"
    );
    for command in ["fuse", "batch", "train", "eval"] {
        let page = fs::read_to_string(folder.path(&format!("man/hsr-gpu-{command}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS") && page.contains("json"), "{command}");
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = folder.good(&format!("completions {shell}"));
            assert!(script.contains(command), "{shell} {command}");
        }
    }
    assert!(folder.refused("completions csh").contains("csh"));
}

#[test]
fn doctor_says_what_it_found() {
    let folder = Folder::new();
    let out = folder.run("doctor --json --quiet");
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(report["cpu"]["threads"].as_u64().unwrap() > 0, "{report}");
    let adapters = report["adapters"].as_array().unwrap();
    // Every adapter of a machine that runs these tests is right, the software one included.
    assert!(out.status.success(), "{report}");
    assert_eq!(adapters.is_empty(), !cfg!(feature = "gpu"), "{report}");
    for adapter in adapters {
        assert_eq!(adapter["test"]["failed"], 0, "{adapter}");
        assert!(adapter["test"]["comparisons"].as_u64().unwrap() > 20, "{adapter}");
    }
}
