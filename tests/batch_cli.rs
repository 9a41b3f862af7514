//! `batch`: many scenes, shards of them, failures, and what is taken up again.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::common::{Folder, scene, wait_until};
use hsr_gpu::io::write_matrix;
use ndarray::Array2;

/// So little that a scene takes a fraction of a second.
const OPTIONS: &str = "--backend cpu --steps 6 --members 1 --finetune-steps 2";

/// A folder with `count` scenes of 4x4 and 16x16 pixels and a manifest of them.
fn scenes(count: usize) -> Folder {
    let folder = Folder::new();
    let mut manifest = String::new();
    for k in 0..count {
        let mut hsi = scene(4, 4, 6);
        let mut msi = scene(16, 16, 2);
        let own = |x: f32| x * (1.0 + k as f32 / 40.0);
        hsi.samples.mapv_inplace(own);
        msi.samples.mapv_inplace(own);
        folder.cube(&format!("x{k}.npy"), &hsi);
        folder.cube(&format!("y{k}.npy"), &msi);
        manifest += &format!("x{k}.npy,y{k}.npy,name=scene-{k}\n");
    }
    fs::write(folder.path("scenes.txt"), manifest).unwrap();
    folder
}

fn summary(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn shards_make_what_one_run_makes() {
    let folder = scenes(20);
    let batch =
        |out: &str, shard: &str| format!("batch scenes.txt --out {out} {shard} --json --quiet -- {OPTIONS}");
    let whole = summary(&folder.good(&batch("whole", "--threads 3")));
    let record = fs::read_to_string(folder.path("whole/scene-0.json")).unwrap();
    assert!(record.contains("CPU, 3 threads"), "{record}");
    assert_eq!((&whole["fused"], &whole["failed"]), (&20.into(), &0.into()));
    for i in [1, 2, 4] {
        let part = summary(&folder.good(&batch("parts", &format!("--shard {i}/4"))));
        assert_eq!(part["fused"], 5, "{part}");
    }
    // The third is killed as soon as it has a result, and started again.
    let mut killed = folder.start(&batch("parts", "--shard 3/4"));
    wait_until("a result", || folder.path("parts/scene-2.json").exists());
    killed.kill().unwrap();
    killed.wait().unwrap();
    let again = summary(&folder.good(&batch("parts", "--shard 3/4")));
    let number = |key: &str| again[key].as_u64().unwrap();
    assert_eq!(number("fused") + number("skipped"), 5, "{again}");
    assert!(number("skipped") >= 1, "{again}");
    for k in 0..20 {
        let result = |out: &str| fs::read(folder.path(&format!("{out}/scene-{k}.npy"))).unwrap();
        assert!(result("whole") == result("parts"), "scene {k}");
    }
}

// Told to end in the middle of a scene, wherever that is, a batch goes on to the result that it would have had.
#[cfg(unix)]
#[test]
fn a_scene_that_was_stopped_goes_on() {
    let folder = scenes(1);
    let batch = |out: &str| {
        format!(
            "batch scenes.txt --out {out} --json --quiet -- {} --every 20",
            OPTIONS.replace("--steps 6", "--steps 4000")
        )
    };
    folder.good(&batch("whole"));
    for pause in [60, 150, 250] {
        let child = folder.start(&batch("parts"));
        std::thread::sleep(Duration::from_millis(pause));
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        child.wait_with_output().unwrap();
    }
    folder.good(&batch("parts"));
    let result = |out: &str| fs::read(folder.path(&format!("{out}/scene-0.npy"))).unwrap();
    assert!(result("whole") == result("parts"));
    let left = fs::read_dir(folder.path("parts"))
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let left: Vec<_> = left
        .filter(|name| name.to_string_lossy().ends_with(".checkpoint"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_failed_scene_stops_no_other_and_is_tried_again() {
    let folder = scenes(3);
    let kept = fs::read(folder.path("x1.npy")).unwrap();
    fs::write(folder.path("x1.npy"), &kept[..200]).unwrap();
    let batch = format!("batch scenes.txt --out out --json --quiet -- {OPTIONS}");
    let out = folder.run(&batch);
    let errors = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{errors}");
    assert!(errors.contains("1 of 3 scenes failed"), "{errors}");
    let found = summary(&String::from_utf8(out.stdout).unwrap());
    assert_eq!((&found["fused"], &found["failed"]), (&2.into(), &1.into()));
    let reason = found["scenes"][1]["status"]["failed"].as_str().unwrap();
    assert!(reason.contains("x1.npy"), "{reason}");
    assert!(!folder.path("out/scene-1.npy").exists() && !folder.path("out/scene-1.json").exists());

    fs::write(folder.path("x1.npy"), &kept).unwrap();
    let found = summary(&folder.good(&batch));
    assert_eq!((&found["fused"], &found["skipped"]), (&1.into(), &2.into()));
    // Other options, or an input that has changed since, are another result.
    let found = summary(&folder.good(&format!("{batch} --seed 5")));
    assert_eq!(found["fused"], 3);
    // Another time of change is none.
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    fs::File::options()
        .write(true)
        .open(folder.path("y2.npy"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let found = summary(&folder.good(&format!("{batch} --seed 5")));
    assert_eq!(found["skipped"], 3);
}

/// Whatever took part in a scene decides whether it is done, by what it holds.
#[test]
fn a_scene_is_done_as_long_as_its_files_hold_what_they_held() {
    let folder = scenes(2);
    let x = scene(4, 4, 6);
    folder.cube("e.img", &x);
    write_matrix(folder.path("r.csv"), &Array2::from_elem((6, 2), 0.25)).unwrap();
    write_matrix(folder.path("p.csv"), &Array2::from_elem((4, 4), 0.0625)).unwrap();
    fs::write(folder.path("c.toml"), "[training]\nsteps = 6\n").unwrap();
    fs::write(folder.path("scenes.txt"), "e.hdr,y0.npy,name=e\nx1.npy,y1.npy\n").unwrap();
    let batch = format!(
        "batch scenes.txt --out out --json --quiet -- {} --config c.toml --srf r.csv --psf p.csv --save-std out/{{name}}-std.npy",
        OPTIONS.replace("--steps 6 --members 1", "--members 2")
    );
    let fused = || summary(&folder.good(&batch))["fused"].as_u64().unwrap();
    assert_eq!((fused(), fused()), (2, 0));
    let mut other = x.clone();
    other.samples[[0, 0, 0]] += 0.25;
    let header = fs::read(folder.path("e.hdr")).unwrap();
    let time = fs::metadata(folder.path("e.img")).unwrap().modified().unwrap();
    folder.cube("e.img", &other);
    assert!(fs::read(folder.path("e.hdr")).unwrap() == header);
    let file = fs::File::options()
        .write(true)
        .open(folder.path("e.img"))
        .unwrap();
    file.set_modified(time).unwrap();
    assert_eq!((fused(), fused()), (1, 0));
    write_matrix(folder.path("r.csv"), &Array2::from_elem((6, 2), 0.2)).unwrap();
    assert_eq!((fused(), fused()), (2, 0));
    fs::write(folder.path("c.toml"), "[training]\nsteps = 5\n").unwrap();
    assert_eq!((fused(), fused()), (2, 0));
    fs::remove_file(folder.path("out/e-std.npy")).unwrap();
    assert_eq!((fused(), fused()), (1, 0));
}

#[test]
fn what_one_scene_writes_no_other_does() {
    let folder = scenes(2);
    for option in ["--save-std s.npy", "--report page", "--save-degradation d"] {
        let error = folder.refused(&format!("batch scenes.txt --out out -- {OPTIONS} {option}"));
        assert!(
            error.contains("scene scene-1") && error.contains("{name}"),
            "{error}"
        );
    }
    // The inputs are in the folder of the results, under other names.
    fs::write(folder.path("scenes.txt"), "x0.npy,y0.npy\n").unwrap();
    let error = folder.refused(&format!("batch scenes.txt --out . -- {OPTIONS}"));
    assert!(error.contains("x0.npy") && error.contains("--hsi"), "{error}");
    let error = folder.refused(&format!("batch scenes.txt --out out -- {OPTIONS} --dump-config"));
    assert!(error.contains("--dump-config"), "{error}");
}

// However the batch ends, its scene's process ends, and leaves its checkpoint to the next.
#[cfg(unix)]
#[test]
fn a_scene_ends_with_its_batch() {
    let folder = scenes(1);
    let batch = format!(
        "batch scenes.txt --out out --json --quiet -- {} --every 10",
        OPTIONS.replace("--steps 6", "--steps 4000000")
    );
    let mut killed = folder.start(&batch);
    let lock = || {
        let names = fs::read_dir(folder.path("out")).into_iter().flatten().flatten();
        names
            .map(|e| e.file_name().into_string().unwrap())
            .find(|n| n.ends_with(".lock"))
    };
    wait_until("a scene", || lock().is_some());
    std::thread::sleep(Duration::from_millis(300));
    killed.kill().unwrap();
    killed.wait().unwrap();
    // It goes with its process, in good order.
    wait_until("the scene's end", || lock().is_none());
}

#[test]
fn scenes_run_side_by_side_on_the_adapters_that_are_named() {
    let folder = scenes(2);
    // Two of no such name: both scenes are tried, each by its own process.
    let out = folder.run(&format!(
        "batch scenes.txt --out out --json --quiet --adapter no-such,nor-this -- {}",
        OPTIONS.replace("--backend cpu ", "")
    ));
    assert_eq!(out.status.code(), Some(1));
    let found = summary(&String::from_utf8(out.stdout).unwrap());
    let reasons: String = (0..2)
        .map(|k| found["scenes"][k]["status"]["failed"].as_str().unwrap())
        .collect();
    assert!(
        reasons.contains("no-such") && reasons.contains("nor-this"),
        "{reasons}"
    );
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_fused() {
    let folder = scenes(2);
    for (arguments, part) in [
        ("batch missing.txt --out out", "missing.txt"),
        ("batch scenes.txt --out out --shard 3/2", "I from 1 to N"),
        ("batch scenes.txt --out out --shard auto", "no job of an array"),
        ("batch scenes.txt --out out --format xyz", "ending"),
        (
            "batch scenes.txt --out out -- --no-such-option",
            "options of fuse",
        ),
        (
            "batch scenes.txt --out out -- --out elsewhere.npy",
            "options of fuse",
        ),
    ] {
        let error = folder.refused(arguments);
        assert!(error.contains(part), "{arguments}: {error}");
    }
    fs::write(folder.path("scenes.txt"), "x0.npy,y0.npy,name=../../up\n").unwrap();
    assert!(
        folder
            .refused("batch scenes.txt --out out")
            .contains("no name for files")
    );
    let made = folder.path("out").read_dir().map_or(0, Iterator::count);
    assert_eq!(made, 0);
}
