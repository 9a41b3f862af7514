//! `--log-file`: what a run says, with the time of day, in a file that stays.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use crate::error::{Error, Result};

/// A log file: lines are appended, each with the time (UTC) in front, and reach the file at once.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Nothing after a line could not be written.
    file: Mutex<Option<File>>,
}

impl Journal {
    /// Opens `path`, which is made where it is missing, and notes the command line.
    ///
    /// # Errors
    /// [`Error::Input`] where it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file =
            file.map_err(|e| Error::input(format!("{}: cannot write the log file: {e}", path.display())))?;
        let journal = Journal {
            path: path.to_owned(),
            file: Mutex::new(Some(file)),
        };
        let words: Vec<_> = std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        journal.write(&format!(
            "begin {} {}",
            env!("CARGO_PKG_VERSION"),
            words.join(" ")
        ));
        Ok(journal)
    }

    /// Appends a line. A full disk costs the log and not the run: it is said once, on standard error.
    pub fn write(&self, line: &str) {
        let Ok(mut file) = self.file.lock() else { return };
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let written = match file.as_mut() {
            Some(file) => file.write_all(format!("{now} {line}\n").as_bytes()),
            None => Ok(()),
        };
        if let Err(e) = written {
            *file = None;
            let _ = writeln!(
                std::io::stderr().lock(),
                "{}: {e}; no more of the log is written",
                self.path.display()
            );
        }
    }
}
