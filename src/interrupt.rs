//! Ctrl-C: a flag that long work looks at, so that it can stop in order and say what was kept.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Asks running work to stop at its next look.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Ends the work with [`Error::Interrupted`] if a stop was asked for.
///
/// # Errors
/// [`Error::Interrupted`] after [`request`].
pub fn check() -> Result<()> {
    if REQUESTED.load(Ordering::SeqCst) {
        return Err(Error::Interrupted(
            "interrupted; nothing was written, existing files are as they were".into(),
        ));
    }
    Ok(())
}
