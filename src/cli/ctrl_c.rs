//! Ctrl-C and the termination signal: they cancel the token of the process, and end it within a second where work does not
//! look at the token and has nothing to keep.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::interrupt::{Shield, Token, kept, remove_temporary};

/// Catches them for the rest of the process.
///
/// # Errors
/// [`Error::Failed`] where the system refuses a handler.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if Token::of_process().cancel() {
            end();
        }
        // Reading, writing and metrics are library calls that cannot look at the token.
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(800));
            while Shield::is_held() {
                std::thread::sleep(Duration::from_millis(10));
            }
            end();
        });
    })
    .map_err(|e| Error::failed(format!("no handler for Ctrl-C: {e}")))
}

fn end() {
    remove_temporary();
    eprintln!("hsr-gpu: {}", kept());
    std::process::exit(130);
}
