//! How work is stopped from outside: a token that long loops look at, so that it stops in order and says what was kept.
//!
//! A token holds for the work it is given to ([`Token::during`]); that of the process holds for all of it and is set by a
//! program that catches Ctrl-C. What such a program must know to end at once stands here too: whether work has something to
//! keep, which files are temporary, and what is to be said.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use crate::error::{Error, Result};

static PROCESS: LazyLock<Token> = LazyLock::new(Token::default);
static SHIELDS: AtomicUsize = AtomicUsize::new(0);
static TEMPORARY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static KEPT: Mutex<Option<String>> = Mutex::new(None);

const NOTHING_KEPT: &str = "interrupted; nothing was written, existing files are as they were";

thread_local! {
    /// The tokens of the work that this thread is in, the innermost last.
    static TOKENS: RefCell<Vec<Token>> = const { RefCell::new(Vec::new()) };
}

/// A request to stop. Clones are one token: give one to the work and keep one to cancel it from another thread.
#[derive(Debug, Clone, Default)]
pub struct Token(Arc<AtomicBool>);

impl Token {
    /// One that nobody has cancelled.
    pub fn new() -> Self {
        Token::default()
    }

    /// The one that all work of this process looks at.
    pub fn of_process() -> &'static Token {
        &PROCESS
    }

    /// Asks the work to stop; whether that had been asked for already.
    pub fn cancel(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether the work is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Runs `work` on this thread; [`check`] in it looks at this token, too.
    pub fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Pop;
        impl Drop for Pop {
            fn drop(&mut self) {
                TOKENS.with_borrow_mut(Vec::pop);
            }
        }
        TOKENS.with_borrow_mut(|tokens| tokens.push(self.clone()));
        let _pop = Pop;
        work()
    }
}

/// [`remove_temporary`] from within work that may be at their list itself: then they stay for the next write.
pub fn remove_temporary_now() {
    if let Ok(paths) = TEMPORARY.try_lock() {
        for path in paths.iter() {
            let _gone_or_for_the_next = std::fs::remove_file(path);
        }
    }
}

/// Removes the temporary files of work that will not end.
pub fn remove_temporary() {
    if let Ok(paths) = TEMPORARY.lock() {
        for path in paths.iter() {
            // Gone already, or out of reach: there is no one left to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The line that interrupted work ends with: what was kept.
pub fn kept() -> String {
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
/// [`Error::Interrupted`] where a token of this thread's work or that of the process was cancelled.
pub fn check() -> Result<()> {
    if PROCESS.is_cancelled() || TOKENS.with_borrow(|tokens| tokens.iter().any(Token::is_cancelled)) {
        return Err(Error::Interrupted(kept()));
    }
    Ok(())
}

/// While this lives, a program waits for the work to look at its token itself: it has something to keep.
#[derive(Debug)]
pub struct Shield(());

impl Shield {
    /// Holds off the end.
    pub fn hold() -> Self {
        SHIELDS.fetch_add(1, Ordering::SeqCst);
        Shield(())
    }

    /// Whether any work is shielded.
    pub fn is_held() -> bool {
        SHIELDS.load(Ordering::SeqCst) > 0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_for_its_own_work_alone() {
        let (outer, inner) = (Token::new(), Token::new());
        outer.during(|| {
            assert!(inner.during(check).is_ok());
            inner.cancel();
            assert!(check().is_ok());
            assert_eq!(inner.during(check).unwrap_err().exit_code(), 130);
            outer.clone().cancel();
            assert!(check().is_err());
            assert!(std::thread::spawn(check).join().unwrap().is_ok());
        });
        assert!(check().is_ok());
    }
}
