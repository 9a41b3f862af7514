//! The command line: one file a command, each a struct of clap arguments with a `run`.
//!
//! Progress goes to standard error, results to standard output. Exit codes: 0 done, 1 failed, 2 misuse or bad
//! input, 130 interrupted.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::about::About;
use self::engine_options::ThreadOptions;
use self::journal::Journal;
use self::output::shown;
use crate::error::Result;
use crate::interrupt;
use crate::io::OutputSet;

mod about;
mod align;
mod arrays;
mod batch;
mod bench;
mod checkpoint;
mod completions;
mod convert;
mod creation;
mod ctrl_c;
mod demo;
#[cfg(feature = "gpu")]
mod devices;
mod doctor;
mod dry_run;
mod engine_options;
mod estimate;
mod eval;
mod experiment;
mod finetune;
mod fuse;
mod help;
mod infer;
mod info;
mod input;
mod journal;
mod log;
mod manual;
mod memory;
mod options;
mod output;
mod page;
mod pending_engine;
mod profile;
mod progress;
mod render;
mod sensors;
mod simulate;
mod summary;
mod train;
#[cfg(feature = "verify")]
mod verify;
mod written;

pub use self::output::Output;

/// Blind hyperspectral super-resolution: fuse a low-resolution hyperspectral and a high-resolution
/// multispectral image of one scene.
#[derive(Debug, Parser)]
#[command(name = "hsr-gpu", version)]
struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    threads: ThreadOptions,
    /// End when nobody holds the other end of standard input any more: a batch gives its scenes this
    #[arg(long = "end-with-input", global = true, hide = true)]
    end_with_input: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Fuse(Box<fuse::Fuse>),
    Batch(batch::Batch),
    Estimate(estimate::Estimate),
    Align(align::Align),
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
    Doctor(doctor::Doctor),
    #[cfg(feature = "verify")]
    Verify(verify::Verify),
    Render(render::Render),
    Completions(completions::Completions),
    Manual(manual::Manual),
    Sensors(sensors::Sensors),
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let (
        Cli {
            mut output,
            threads,
            end_with_input,
            command,
        },
        about,
    ) = match parsed() {
        Ok(parsed) => parsed,
        Err(e) => return misuse(&e),
    };
    let mut files = OutputSet::new();
    let ready = prepare(&command, &mut output, &mut files).and_then(|()| {
        threads.install()?;
        ctrl_c::install()?;
        if end_with_input {
            ctrl_c::end_with_input()
        } else {
            Ok(())
        }
    });
    let files = Arc::new(files);
    output.about = Arc::new(about.with_files(Arc::clone(&files)));
    match ready.and_then(|()| command.run(&output)) {
        Ok(()) => {
            let written: Vec<String> = files.written().iter().map(written::line).collect();
            if !written.is_empty() {
                output.say(&format!("wrote {}", written.join(", ")));
            }
            output.note("end");
            ExitCode::SUCCESS
        }
        Err(e) => {
            let line = shown(&e.to_string());
            output.note(&format!("end with exit code {}: {line}", e.exit_code()));
            let _ = writeln!(std::io::stderr().lock(), "hsr-gpu: {line}");
            ExitCode::from(e.exit_code())
        }
    }
}

/// The command line as its structs, and what is told of it; `-h` anywhere in it asks for short help.
fn parsed() -> std::result::Result<(Cli, About), clap::Error> {
    let short = std::env::args_os().any(|word| word == "-h");
    let mut program = help::helpful(Cli::command(), short);
    let matches = program.try_get_matches_from_mut(std::env::args_os())?;
    Ok((Cli::from_arg_matches(&matches)?, About::new(&program, &matches)))
}

/// The program with all of its help.
fn program() -> clap::Command {
    help::helpful(Cli::command(), false)
}

/// Finds what the command will read and write, opens the log file where it is none of that, and refuses what would cost the
/// user a file.
///
/// # Errors
/// [`crate::Error::Input`] naming the file.
fn prepare(command: &Command, output: &mut Output, files: &mut OutputSet) -> Result<()> {
    let found = command.files(files);
    if let Some(path) = &output.log_file {
        files.appends("--log-file", path);
        files.check_log()?;
        output.journal = Some(Arc::new(Journal::open(path)?));
    }
    found?;
    files.check_apart()?;
    files.check_writable()
}

/// Ends the process because the system has no memory for so many bytes more: one line, exit code 1. Nothing here asks for
/// memory but the removal of temporary files, which is left out where it would have to.
pub fn out_of_memory(bytes: usize) -> ! {
    static ONCE: AtomicBool = AtomicBool::new(false);
    if !ONCE.swap(true, Ordering::SeqCst) {
        let mut line = [0_u8; 160];
        let mut rest = &mut line[..];
        let _ = writeln!(
            rest,
            "hsr-gpu: out of memory: the system has none for {bytes} bytes more; --max-memory bounds what images take"
        );
        let left = rest.len();
        let _ = std::io::stderr().write_all(&line[..line.len() - left]);
        interrupt::remove_temporary_now();
    }
    exit_now()
}

/// Ends the process without anything that would ask for memory.
#[cfg(unix)]
fn exit_now() -> ! {
    // SAFETY: the call does not return and touches no memory of the process.
    unsafe { libc::_exit(1) }
}

/// Ends the process.
#[cfg(not(unix))]
fn exit_now() -> ! {
    std::process::exit(1)
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
    let hint = match suggestion(error) {
        Some(word) => format!("did you mean {word}?"),
        None => "see --help".to_owned(),
    };
    let _ = writeln!(std::io::stderr().lock(), "hsr-gpu: {}; {hint}", shown(line));
    ExitCode::from(2)
}

/// The word that was probably meant.
fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    kinds.iter().find_map(|kind| match error.get(*kind)? {
        ContextValue::String(word) => Some(word.clone()),
        ContextValue::Strings(words) => words.last().cloned(),
        _ => None,
    })
}

impl Command {
    /// What the command will read and write.
    fn files(&self, set: &mut OutputSet) -> Result<()> {
        match self {
            Command::Demo(command) => command.files(set),
            Command::Fuse(command) => command.files(set),
            Command::Batch(command) => command.files(set),
            Command::Estimate(command) => command.files(set),
            Command::Align(command) => command.files(set),
            Command::Train(command) => command.files(set),
            Command::FineTune(command) => command.files(set),
            Command::Infer(command) => command.files(set),
            Command::Eval(command) => command.files(set),
            Command::Experiment(command) => command.files(set),
            Command::Simulate(command) => command.files(set),
            Command::Info(command) => command.files(set),
            Command::Profile(command) => command.files(set),
            Command::Convert(command) => command.files(set),
            Command::Render(command) => command.files(set),
            Command::Manual(command) => command.files(program(), set),
            #[cfg(feature = "gpu")]
            Command::Devices(_) | Command::Verify(_) => Ok(()),
            Command::Bench(_) | Command::Doctor(_) | Command::Completions(_) | Command::Sensors(_) => Ok(()),
        }
    }

    fn run(self, output: &Output) -> Result<()> {
        match self {
            Command::Demo(command) => command.run(output),
            Command::Fuse(command) => command.run(output),
            Command::Batch(command) => command.run(output),
            Command::Estimate(command) => command.run(output),
            Command::Align(command) => command.run(output),
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
            Command::Doctor(command) => command.run(output),
            #[cfg(feature = "verify")]
            Command::Verify(command) => command.run(output),
            Command::Render(command) => command.run(output),
            Command::Completions(command) => command.run(program(), output),
            Command::Manual(command) => command.run(program(), output),
            Command::Sensors(command) => command.run(output),
        }
    }
}
