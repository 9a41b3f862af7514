//! What `--json` prints begins in one way, whatever the command. All fields are held against the schema by
//! scripts/check_json.py.

use serde_json::{Value, json};

use crate::common::{Folder, scene};

/// What a command prints, once its begin has been looked at.
fn told(folder: &Folder, command: &str) -> Value {
    let text = folder.good(&format!("{command} --json --quiet"));
    let told: Value = serde_json::from_str(&text).unwrap();
    assert!(
        text.starts_with("{\"schema\":\"hsr-gpu/1\",\"command\":"),
        "{text}"
    );
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"), "{command}");
    assert!(
        command.starts_with(told["command"].as_str().unwrap()),
        "{command}"
    );
    assert!(told["inputs"].is_array() && told["outputs"].is_array() && told["options"].is_object());
    told
}

#[test]
fn every_result_says_what_it_is_made_of() {
    let folder = Folder::new();
    folder.cube("a.npy", &scene(8, 6, 3));
    for command in [
        "sensors",
        "completions bash",
        "manual -o man",
        "fuse a.npy a.npy --dump-config",
        "experiment network -o n",
    ] {
        told(&folder, command);
    }
    let size = json!({"rows": 8, "columns": 6, "bands": 3});
    // By its place or by its option, the name is one.
    for pair in ["a.npy a.npy", "--hsi a.npy --msi a.npy"] {
        let dumped = told(&folder, &format!("fuse {pair} --dump-config"));
        assert_eq!(dumped["options"]["hsi"], "a.npy");
    }
    let converted = told(&folder, "convert a.npy b.npy --type f64");
    let input = &converted["inputs"][0];
    assert_eq!((&input["path"], &input["size"]), (&"a.npy".into(), &size));
    assert_eq!(input["type"], "f32");
    let bytes = |name: &str| std::fs::metadata(folder.path(name)).unwrap().len();
    assert_eq!(input["bytes"], bytes("a.npy"));
    let output = &converted["outputs"][0];
    assert_eq!((&output["path"], &output["size"]), (&"b.npy".into(), &size));
    assert_eq!(
        (&output["type"], &output["bytes"], &output["replaced"]),
        (&"f64".into(), &bytes("b.npy").into(), &false.into())
    );
    assert_eq!(converted["options"]["type"], "f64");
    assert!(converted["options"]["json"].is_null());
}
