//! `manual`: the help of every command as man pages.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use super::output::Output;
use super::summary::make_folder;
use crate::error::{Error, Result};
use crate::io::{OutputSet, replace};

/// Write the man pages, one a command
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu manual --out ~/.local/share/man/man1")]
pub struct Manual {
    /// Folder for hsr-gpu.1, hsr-gpu-fuse.1, …
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// A page for every command of `program`.
fn pages(program: Command) -> Vec<Man> {
    let mut program = program.disable_help_subcommand(true);
    // Names of pages and the options that all commands share.
    program.build();
    let (mut pages, mut commands) = (Vec::new(), vec![program]);
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().cloned());
        pages.push(Man::new(command));
    }
    pages
}

impl Manual {
    /// What it reads and writes.
    ///
    /// # Errors
    /// None.
    pub fn files(&self, program: Command, set: &mut OutputSet) -> Result<()> {
        let names: Vec<String> = pages(program).iter().map(Man::get_filename).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        set.writes_into("--out", &self.out, &names);
        Ok(())
    }

    /// Writes the pages.
    ///
    /// # Errors
    /// [`Error::Input`] where the folder cannot take them.
    pub fn run(self, program: Command, output: &Output) -> Result<()> {
        make_folder(&self.out)?;
        let mut written = Vec::new();
        for page in pages(program) {
            let path = self.out.join(page.get_filename());
            let mut text = Vec::new();
            page.render(&mut text)
                .map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
            replace(&path, |file| file.write_all(&text))?;
            written.push(path.display().to_string());
        }
        written.sort();
        output.result(&serde_json::json!({"pages": written}), &written.join("\n"))
    }
}
