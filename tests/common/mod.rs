//! What the tests share: the fixtures, how a file must be refused, a folder, and the program run, interrupted and refused in
//! it.

// Two test programs use it, each its part.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hsr_gpu::cube::Cube;
use hsr_gpu::error::Result;
use hsr_gpu::io::write_cube;
use ndarray::Array3;

/// A scene of positive samples without pattern.
pub fn scene(rows: usize, columns: usize, bands: usize) -> Cube {
    Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
        0.1 + ((r * 37 + c * 91 + b * 53 + (r * c) % 17 * 29) % 256) as f32 / 400.0
    }))
}

/// A file of other programs' making; see scripts/make_fixtures.py.
pub fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The image in most fixtures.
pub fn fixture_samples() -> Array3<f32> {
    Array3::from_shape_fn((3, 4, 5), |(r, c, b)| (100 * r + 10 * c + b) as f32)
}

/// The message of an error that must be bad input and one line that names `name`.
pub fn refusal<T>(result: Result<T>, name: &str) -> String {
    let error = result.err().expect(name);
    assert_eq!(error.exit_code(), 2, "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.contains(name), "{text:?}");
    text
}

/// Whether a run with `--log` of this folder has logged the losses of a step.
pub fn trains(log: &Path) -> bool {
    let files = fs::read_dir(log).into_iter().flatten().flatten();
    let mut bytes = files.filter_map(|file| fs::read(file.path()).ok());
    bytes.any(|bytes| bytes.windows(5).any(|word| word == b"L_phi"))
}

/// Looks again and again until `is_so`, for five minutes at most: a machine may be slow.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "{what}: not in five minutes"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a run said on standard error besides the times of its stages: on a slow machine any stage may take long enough to
/// have its time told.
pub fn besides_times(said: &str) -> Vec<&str> {
    let is_time = |line: &&str| {
        let seconds = line
            .rsplit_once(": ")
            .and_then(|(_, time)| time.strip_suffix(" s"));
        seconds.is_some_and(|seconds| seconds.parse::<f64>().is_ok())
    };
    said.lines().filter(|line| !is_time(line)).collect()
}

/// Interrupts a run of [`Folder::start`] as Ctrl-C does; its exit code and what it said.
pub fn interrupt(child: Child) -> (Option<i32>, String) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success(), "the run has ended");
    let out = child.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8(out.stderr).unwrap())
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

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsr-gpu"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            // Tests leave the user's folder of compiled kernels alone.
            .env("HSR_GPU_CACHE", "off")
            // As on a server: a layer of Mesa's that finds no session has printed errors of its own.
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("WAYLAND_DISPLAY");
        command
    }

    /// Runs the program in this folder.
    pub fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the program in this folder, to be interrupted or killed.
    pub fn start(&self, arguments: &str) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
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
        assert_eq!(besides_times(&errors).len(), 1, "{arguments}: {errors}");
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
