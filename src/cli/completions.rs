//! `completions`: what a shell needs to complete commands and options.

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::Output;
use crate::error::Result;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hsr-gpu completions bash > ~/.local/share/bash-completion/completions/hsr-gpu"
)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script for `program`.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] if standard output cannot be written.
    pub fn run(self, mut program: Command, output: &Output) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "hsr-gpu", &mut script);
        let script = String::from_utf8_lossy(&script);
        output.result(&serde_json::json!({"script": script}), &script)
    }
}
