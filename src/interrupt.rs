//! Ctrl-C: a flag that long work looks at, so that it stops in order and says what was kept; and an end within
//! a second for work that does not look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static SHIELDS: AtomicUsize = AtomicUsize::new(0);
static TEMPORARY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static KEPT: Mutex<Option<String>> = Mutex::new(None);

const NOTHING_KEPT: &str = "interrupted; nothing was written, existing files are as they were";

/// Catches Ctrl-C and the termination signal for the rest of the process.
///
/// # Errors
/// [`Error::Failed`] where the system refuses a handler.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            end();
        }
        // Reading, writing and metrics are library calls that cannot look at the flag.
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(800));
            while SHIELDS.load(Ordering::SeqCst) > 0 {
                std::thread::sleep(Duration::from_millis(10));
            }
            end();
        });
    })
    .map_err(|e| Error::failed(format!("no handler for Ctrl-C: {e}")))
}

fn end() {
    if let Ok(paths) = TEMPORARY.lock() {
        for path in paths.iter() {
            // Gone already, or out of reach: there is no one left to tell.
            let _ = std::fs::remove_file(path);
        }
    }
    eprintln!("hsr-gpu: {}", kept());
    std::process::exit(130);
}

fn kept() -> String {
    let said = KEPT.lock().ok().and_then(|said| said.clone());
    said.unwrap_or_else(|| NOTHING_KEPT.to_owned())
}

/// While this lives, a stop is answered with its message: for work whose finished parts are on disk already.
#[derive(Debug)]
pub struct Keeping(());

impl Keeping {
    /// The line that an interrupted run ends with.
    pub fn say(message: String) -> Self {
        if let Ok(mut said) = KEPT.lock() {
            *said = Some(message);
        }
        Keeping(())
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Ok(mut said) = KEPT.lock() {
            *said = None;
        }
    }
}

/// Ends the work with [`Error::Interrupted`] if a stop was asked for.
///
/// # Errors
/// [`Error::Interrupted`] after Ctrl-C.
pub fn check() -> Result<()> {
    if REQUESTED.load(Ordering::SeqCst) {
        return Err(Error::Interrupted(kept()));
    }
    Ok(())
}

/// While this lives, Ctrl-C waits for the work to look at the flag itself: it has something to keep.
#[derive(Debug)]
pub struct Shield(());

impl Shield {
    /// Holds off the end.
    pub fn hold() -> Self {
        SHIELDS.fetch_add(1, Ordering::SeqCst);
        Shield(())
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        SHIELDS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A temporary file that is removed if the process ends in mid-work. Dropping this forgets it.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// Remembers `path`.
    pub fn remember(path: &Path) -> Self {
        if let Ok(mut paths) = TEMPORARY.lock() {
            paths.insert(path.to_owned());
        }
        Temporary(path.to_owned())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Ok(mut paths) = TEMPORARY.lock() {
            paths.remove(&self.0);
        }
    }
}
