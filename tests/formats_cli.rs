//! `info` and `convert` as a user calls them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{besides_times, fixture};

fn hsr_gpu(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hsr-gpu"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let out = hsr_gpu(folder, arguments);
    assert!(
        out.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn info_says_what_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = succeed(folder.path(), &["info", &fixture("spy_bil.hdr")]);
    for part in [
        "3 rows x 4 columns x 5 bands",
        "i16",
        "400 to 600.5 nm",
        "1 of 12 pixels",
        "map info",
        "bad bands",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = succeed(folder.path(), &["info", "--json", &fixture("v73.mat")]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["format"], "MATLAB 7.3 (HDF5)");
    assert_eq!(
        (&value["rows"], &value["bands"], &value["type"]),
        (&3.into(), &5.into(), &"u16".into())
    );
    assert_eq!(
        (&value["min"], &value["max"], &value["mean"]),
        (&0.0.into(), &234.0.into(), &117.0.into())
    );
}

#[test]
fn convert_goes_round_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let chain = ["a.bil", "b.mat", "c.npy", "d.bip", "e.hdr"];
    let mut source = fixture("v7.mat");
    for target in chain {
        succeed(folder.path(), &["convert", &source, target]);
        source = target.to_owned();
    }
    let last = hsr_gpu::io::read_cube(folder.path().join("e.hdr").to_str().unwrap()).unwrap();
    let first = hsr_gpu::io::read_cube(&fixture("v7.mat")).unwrap();
    assert_eq!(last.samples, first.samples);
    assert_eq!(last.sample_type, first.sample_type);
    let bil = hsr_gpu::io::read_cube(folder.path().join("a.bil").to_str().unwrap()).unwrap();
    assert_eq!(bil.metadata.wavelengths, first.metadata.wavelengths);
}

#[test]
fn convert_obeys_type_interleave_and_nodata() {
    let folder = tempfile::tempdir().unwrap();
    let out = hsr_gpu(
        folder.path(),
        &[
            "convert",
            &fixture("version3.npy"),
            "x.img",
            "--type",
            "u8",
            "--interleave",
            "bip",
            "--nodata",
            "0",
        ],
    );
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let header = fs::read_to_string(folder.path().join("x.hdr")).unwrap();
    for field in ["interleave = bip", "data type = 1", "data ignore value = 0"] {
        assert!(header.contains(field), "{header}");
    }
    let back = hsr_gpu::io::read_cube(folder.path().join("x.img").to_str().unwrap()).unwrap();
    assert_eq!(back.masked_pixels(), 1);
    let lossy = hsr_gpu(folder.path(), &["convert", "x.hdr", "x.npy"]);
    assert!(String::from_utf8_lossy(&lossy.stderr).contains("does not carry no-data value"));
}

#[test]
fn misuse_is_one_line_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let good = fixture("v7.mat");
    fs::write(folder.path().join("old.npy"), b"precious").unwrap();
    let cases: [&[&str]; 6] = [
        &["info", "missing.npy"],
        &["convert", "missing.npy", "old.npy"],
        &["convert", &good, "none/x.npy"],
        &["convert", &good, "x.jpg"],
        &["convert", &good, "x.npy", "--interleave", "bsq"],
        &["convert", "old.npy", "x.npy"],
    ];
    for arguments in cases {
        let out = hsr_gpu(folder.path(), arguments);
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {message}");
        assert_eq!(besides_times(&message).len(), 1, "{arguments:?}: {message}");
    }
    assert_eq!(
        hsr_gpu(folder.path(), &["convert", &good, "x.npy", "--type", "u12"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(fs::read(folder.path().join("old.npy")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn help_has_an_example() {
    for command in ["info", "convert"] {
        let text = succeed(Path::new("."), &[command, "--help"]);
        assert!(text.contains("Example:\n  hsr-gpu"), "{text}");
    }
}
