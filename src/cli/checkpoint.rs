//! `--checkpoint` and `--every`: what commands that train share of leaving checkpoints.

use std::path::PathBuf;

use clap::Args;

use crate::coordination::keeper::Keeper;
use crate::error::{Error, Result};
use crate::io::OutputSet;

/// Where to leave checkpoints.
#[derive(Debug, Clone, Args)]
pub struct CheckpointOptions {
    /// Leave in this file what the run has so far: at Ctrl-C, after each stage and every so often. The file is removed
    /// when the result is written; one that is there already is refused without --resume
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Steps between two checkpoints [default: about 20 seconds]
    #[arg(long, value_name = "N", requires = "checkpoint", value_parser = clap::value_parser!(u32).range(1..))]
    every: Option<u32>,
}

impl CheckpointOptions {
    /// The files that are written on the way.
    pub fn files(&self, set: &mut OutputSet) {
        if let Some(path) = &self.checkpoint {
            set.keeps("--checkpoint", path);
        }
    }

    /// The keeper of these options.
    ///
    /// # Errors
    /// [`Error::Input`] where there is a checkpoint already and `resume` does not ask for it, and where it cannot be
    /// written.
    pub fn keeper(&self, resume: bool) -> Result<Keeper> {
        match &self.checkpoint {
            Some(path) => Keeper::new(path, self.every, resume),
            None => Ok(Keeper::none()),
        }
    }

    /// Refuses `--resume` that has nothing to go on from.
    ///
    /// # Errors
    /// [`Error::Input`] if no checkpoint is named.
    pub fn needed(&self) -> Result<()> {
        match self.checkpoint {
            Some(_) => Ok(()),
            None => Err(Error::input(
                "--resume goes on from the file that --checkpoint names; name it",
            )),
        }
    }
}
