//! What the tests of the command line share: a folder, the program run in it, and how it must refuse.

// Each test file is a crate of its own and uses its part of this.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use hsr_gpu::cube::Cube;
use hsr_gpu::io::write_cube;
use ndarray::Array3;

/// A scene of positive samples without pattern.
pub fn scene(rows: usize, columns: usize, bands: usize) -> Cube {
    Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
        0.1 + ((r * 37 + c * 91 + b * 53 + (r * c) % 17 * 29) % 256) as f32 / 400.0
    }))
}

/// A temporary folder that the program is run in.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn cube(&self, name: &str, cube: &Cube) {
        write_cube(self.path(name), cube).unwrap();
    }

    /// Runs the program in this folder.
    pub fn run(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hsr-gpu"))
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            // Tests leave the user's folder of compiled kernels alone.
            .env("HSR_GPU_CACHE", "off")
            .output()
            .unwrap()
    }

    pub fn good(&self, arguments: &str) -> String {
        let out = self.run(arguments);
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments}: {errors}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// The one line that bad input is refused with.
    pub fn refused(&self, arguments: &str) -> String {
        let out = self.run(arguments);
        let errors = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{arguments}: {errors}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{arguments}: {errors}");
        assert!(out.stdout.is_empty());
        errors
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}
