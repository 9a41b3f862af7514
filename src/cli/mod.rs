//! The command line: one file a command, each a struct of clap arguments with a `run`.
//!
//! Progress goes to standard error, results to standard output. Exit codes: 0 done, 1 failed, 2 misuse or bad
//! input, 130 interrupted.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::interrupt;

mod batch;
mod bench;
mod convert;
mod demo;
#[cfg(feature = "gpu")]
mod devices;
mod estimate;
mod eval;
mod experiment;
mod finetune;
mod fuse;
mod infer;
mod info;
mod input;
mod log;
mod options;
mod page;
mod profile;
mod progress;
mod render;
mod simulate;
mod summary;
mod supplement;
mod train;
#[cfg(feature = "gpu")]
mod verify;

/// Blind hyperspectral super-resolution: fuse a low-resolution hyperspectral and a high-resolution
/// multispectral image of one scene.
#[derive(Debug, Parser)]
#[command(name = "hsr-gpu", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// How results and progress are shown; common to all commands.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// Print the result as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on standard error
    #[arg(long, global = true)]
    pub quiet: bool,
}

impl Output {
    /// Prints a result: `value` as JSON under `--json`, else `text`.
    ///
    /// # Errors
    /// [`Error::Failed`] if standard output cannot be written.
    pub fn result(&self, value: &impl serde::Serialize, text: &str) -> Result<()> {
        let line = if self.json {
            serde_json::to_string(value).map_err(|e| Error::failed(format!("result as JSON: {e}")))?
        } else {
            text.trim_end().to_owned()
        };
        match writeln!(std::io::stdout().lock(), "{line}") {
            // A reader that closed the pipe early (head, less) has what it wanted.
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::failed(format!("standard output: {e}")))
            }
            _ => Ok(()),
        }
    }

    /// Says one line of progress on standard error unless `--quiet`.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            // Nothing sensible is left to do when even standard error is gone.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Fuse(fuse::Fuse),
    Batch(batch::Batch),
    Estimate(estimate::Estimate),
    Train(train::Train),
    #[command(name = "finetune")]
    FineTune(finetune::FineTune),
    Infer(infer::Infer),
    Eval(eval::Eval),
    Experiment(experiment::Experiment),
    Simulate(simulate::Simulate),
    Info(info::Info),
    Bench(bench::Bench),
    Profile(profile::Profile),
    Convert(convert::Convert),
    #[cfg(feature = "gpu")]
    Devices(devices::Devices),
    #[cfg(feature = "gpu")]
    Verify(verify::Verify),
    Render(render::Render),
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return misuse(&e),
    };
    match interrupt::install().and_then(|()| cli.command.run(&cli.output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr().lock(), "hsr-gpu: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

/// `--help` and `--version` as clap prints them; anything else as one line and exit code 2.
fn misuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nothing sensible is left to do when standard output is gone.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let line = lines.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let _ = writeln!(std::io::stderr().lock(), "hsr-gpu: {line}; see --help");
    ExitCode::from(2)
}

impl Command {
    fn run(self, output: &Output) -> Result<()> {
        match self {
            Command::Demo(command) => command.run(output),
            Command::Fuse(command) => command.run(output),
            Command::Batch(command) => command.run(output),
            Command::Estimate(command) => command.run(output),
            Command::Train(command) => command.run(output),
            Command::FineTune(command) => command.run(output),
            Command::Infer(command) => command.run(output),
            Command::Eval(command) => command.run(output),
            Command::Experiment(command) => command.run(output),
            Command::Simulate(command) => command.run(output),
            Command::Info(command) => command.run(output),
            Command::Bench(command) => command.run(output),
            Command::Profile(command) => command.run(output),
            Command::Convert(command) => command.run(output),
            #[cfg(feature = "gpu")]
            Command::Devices(command) => command.run(output),
            #[cfg(feature = "gpu")]
            Command::Verify(command) => command.run(output),
            Command::Render(command) => command.run(output),
        }
    }
}
