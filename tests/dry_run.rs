//! `fuse --dry-run`: what it says is what the run then does; it refuses what the run refuses, and writes nothing.

use std::fs;

use crate::common::{Folder, scene};

#[test]
fn a_dry_run_says_what_the_run_does_and_writes_nothing() {
    let folder = Folder::new();
    folder.cube("x.npy", &scene(6, 5, 9));
    folder.cube("y.npy", &scene(24, 20, 3));
    fs::write(folder.path("z.hdr"), "not to be touched").unwrap();
    let fuse = "fuse x.npy y.npy -o z.hdr --backend cpu --members 1 --steps 8 --finetune-steps 2 --align off --report page --log log --checkpoint c.safetensors";
    let before = folder.names();
    let said = folder.good(&format!("{fuse} --dry-run"));
    assert!(
        said.contains("24 x 20 x 9") && said.contains("replaces z.hdr"),
        "{said}"
    );
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let plan = json(&folder.good(&format!("{fuse} --dry-run --json --quiet")));
    assert_eq!(folder.names(), before);
    assert_eq!(
        fs::read_to_string(folder.path("z.hdr")).unwrap(),
        "not to be touched"
    );
    let run = json(&folder.good(&format!("{fuse} --json --quiet")));
    for key in ["members", "weights", "engine", "placement"] {
        assert_eq!(plan[key], run[key], "{key}");
    }
    let kernel = run["degradation"]["kernel"].as_u64().unwrap();
    let [least, most] = ["least", "most"].map(|key| plan["kernel"][key].as_u64().unwrap());
    assert!((least..=most).contains(&kernel), "{least} {kernel} {most}");
    let planned = plan["files"].as_array().unwrap();
    for file in planned {
        assert!(folder.path(file["path"].as_str().unwrap()).exists(), "{file}");
        assert_eq!(file["replaces"], file["path"] == "z.hdr");
    }
    assert_eq!(planned.len(), 4, "{planned:?}");
}

#[test]
fn a_dry_run_refuses_what_the_run_refuses() {
    let folder = Folder::new();
    folder.cube("x.npy", &scene(6, 5, 9));
    folder.cube("y.npy", &scene(24, 20, 3));
    folder.cube("wide.npy", &scene(50, 50, 1));
    let fuse = "fuse x.npy y.npy --backend cpu --align off";
    for options in [
        "-o x.npy",
        "-o none/z.npy",
        "-o z.npy --kernel 99",
        "-o z.npy --reference wide.npy",
        "-o z.npy --bands 0-20",
    ] {
        let refused = folder.refused(&format!("{fuse} {options}"));
        assert_eq!(folder.refused(&format!("{fuse} {options} --dry-run")), refused);
    }
    let line = folder.refused(&format!("{fuse} -o z.npy --dry-run --dump-config"));
    assert!(line.contains("--dump-config"), "{line}");
}
