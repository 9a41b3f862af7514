//! Ctrl-C and the termination signal: they cancel the token of the process, and end it within a second where work does not
//! look at the token and has nothing to keep.

use std::time::Duration;

use super::output::with_options;
use crate::error::{Error, Result};
use crate::interrupt::{Shield, Token, kept, remove_temporary};

/// The option with which a process ends with the one that started it.
pub(super) const END_WITH_INPUT: &str = "--end-with-input";

/// Catches them for the rest of the process.
///
/// # Errors
/// [`Error::Failed`] where the system refuses a handler.
pub fn install() -> Result<()> {
    let ignored = signals::ignored();
    let installed = ctrlc::set_handler(request);
    signals::ignore(&ignored);
    // What would end the process without a word is an error of the write instead.
    signals::ignore(&signals::OF_LIMITS);
    installed.map_err(|_| {
        Error::failed(
            "the system gives no thread to wait for Ctrl-C in; allow this user more processes (ulimit -u)",
        )
    })
}

/// Ends as after Ctrl-C once standard input is at its end: whoever holds the other end of that pipe is gone.
///
/// # Errors
/// [`Error::Failed`] where the system has no thread to give.
pub fn end_with_input() -> Result<()> {
    let wait = || {
        let _nothing_is_read_there = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        request();
    };
    let started = std::thread::Builder::new().name("parent".to_owned()).spawn(wait);
    started
        .map(drop)
        .map_err(|e| Error::failed(format!("no thread to watch standard input with: {e}")))
}

/// Asks the work to end, and ends the process where it cannot look. Asked twice, it ends at once.
fn request() {
    if Token::of_process().cancel() {
        end();
    }
    // Reading, writing and metrics are library calls that cannot look at the token.
    let wait = || {
        std::thread::sleep(Duration::from_millis(800));
        while Shield::is_held() {
            std::thread::sleep(Duration::from_millis(10));
        }
        end();
    };
    // Without a thread to wait in there is no waiting.
    if std::thread::Builder::new().spawn(wait).is_err() {
        end();
    }
}

fn end() {
    remove_temporary();
    eprintln!("hsr-gpu: {}", with_options(&kept()));
    std::process::exit(130);
}

#[cfg(unix)]
mod signals {
    //! Signals that whoever started the process has it ignore.

    /// Signals that ask for an end.
    const OF_END: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];
    /// Told where a file grows beyond what the process may write.
    pub const OF_LIMITS: [libc::c_int; 1] = [libc::SIGXFSZ];

    /// Those of [`OF_END`] that are ignored.
    pub fn ignored() -> Vec<libc::c_int> {
        let is = |&signal: &libc::c_int| {
            // SAFETY: an all-zero sigaction is a value of that type, and the call only writes to it.
            unsafe {
                let mut now: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
            }
        };
        OF_END.into_iter().filter(is).collect()
    }

    /// Ignores these.
    pub fn ignore(signals: &[libc::c_int]) {
        for &signal in signals {
            // SAFETY: no handler is installed, so none can run where it must not.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

#[cfg(not(unix))]
mod signals {
    //! Signals of this kind are not known here.

    pub const OF_LIMITS: [i32; 0] = [];

    pub fn ignored() -> Vec<i32> {
        Vec::new()
    }

    pub fn ignore(_: &[i32]) {}
}
