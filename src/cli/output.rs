//! What a command says, and where: results on standard output, progress and warnings on standard error.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::about::About;
use super::journal::Journal;
use crate::cube::strips::Strips;
use crate::error::{Error, Result};

/// A text of the library as the command line says it: `the setting max-memory` is `--max-memory` here.
pub fn with_options(text: &str) -> String {
    text.replace("the setting ", "--")
}

/// Longest line that is shown, in characters.
const LONGEST: usize = 2000;

/// A text of the library as a line that a terminal may have: names of files and bands may hold its control characters, and be
/// of any length.
pub fn shown(text: &str) -> String {
    let text = with_options(text);
    let mut line = String::new();
    for c in text.chars().take(LONGEST) {
        if c.is_control() && c != '\t' {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        line += " ...";
    }
    line
}

/// How results and progress are shown; common to all commands.
#[derive(Debug, Clone, Args)]
pub struct Output {
    /// Print the result as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on standard error
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Progress as JSON on standard error, an object a line, for programs
    #[arg(long, global = true, conflicts_with = "quiet")]
    pub json_progress: bool,
    /// Append what the run says, with the time, to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,
    #[arg(skip)]
    pub(super) journal: Option<Arc<Journal>>,
    #[arg(skip)]
    pub(super) about: Arc<About>,
}

impl Output {
    /// Prints a result: `value`, a struct, as JSON under `--json` (see `About`), else `text`.
    ///
    /// # Errors
    /// [`Error::Failed`] if standard output cannot be written.
    pub fn result(&self, value: &impl serde::Serialize, text: &str) -> Result<()> {
        let line = if self.json {
            self.about.json(value)?
        } else {
            with_options(text.trim_end())
        };
        match writeln!(std::io::stdout().lock(), "{line}") {
            // A reader that closed the pipe early (head, less) has what it wanted.
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::failed(format!("standard output: {e}")))
            }
            _ => Ok(()),
        }
    }

    /// Passes on what the readers of these images have to say.
    pub fn notes(&self, images: &[&dyn Strips]) {
        for note in images.iter().flat_map(|image| image.notes()) {
            self.say(&format!("note: {note}"));
        }
    }

    /// Says one line of progress on standard error unless `--quiet`.
    pub fn say(&self, line: &str) {
        let line = &shown(line);
        self.note(line);
        if self.json_progress {
            self.event(&serde_json::json!({"event": "note", "text": line}));
        } else if !self.quiet {
            // Nothing sensible is left to do when even standard error is gone.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }

    /// Warns on standard error, also under `--quiet`: of what changes the result.
    pub fn warn(&self, line: &str) {
        let line = &shown(line);
        self.note(line);
        if self.json_progress {
            self.event(&serde_json::json!({"event": "warning", "text": line}));
        } else {
            let _ = writeln!(std::io::stderr().lock(), "hsr-gpu: {line}");
        }
    }

    /// Reports progress to a program, under `--json-progress`.
    pub fn event(&self, event: &serde_json::Value) {
        if self.json_progress {
            let _ = writeln!(std::io::stderr().lock(), "{event}");
        }
    }

    /// Appends a line to the log file, where there is one.
    pub fn note(&self, line: &str) {
        if let Some(journal) = &self.journal {
            journal.write(line);
        }
    }
}
