//! A `fuse` in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::Builder;
use std::time::Duration;

use crate::cli::ctrl_c::END_WITH_INPUT;
use crate::error::{Error, Result};
use crate::interrupt;

/// Time between two looks at a process.
const LOOK: Duration = Duration::from_millis(100);
/// What lines of errors begin with.
const OWN: &str = "hsr-gpu: ";

/// Runs a `fuse --json`; gives what it printed. Its lines of progress go to `say`; after Ctrl-C it is told to end. It ends
/// with this process, however that ends: it reads from a pipe that nobody else holds.
///
/// # Errors
/// [`Error::Failed`] with its own line of error, or with what ended it.
pub fn run(mut process: Command, say: impl Fn(&str) + Sync) -> Result<serde_json::Value> {
    process
        .arg(END_WITH_INPUT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own: Ctrl-C on a terminal reaches it once, from here.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut process, 0);
    let failed = |e: std::io::Error| Error::failed(format!("cannot run fuse: {e}"));
    let mut child = process.spawn().map_err(failed)?;
    // Held until the child has ended.
    let pipe = child.stdin.take();
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::failed("cannot run fuse: it has no output"));
    };
    let (status, text, last) = std::thread::scope(|scope| {
        let text = Builder::new().spawn_scoped(scope, move || {
            let mut text = Vec::new();
            stdout.read_to_end(&mut text).map(|_| text)
        });
        let last = Builder::new().spawn_scoped(scope, || {
            // A line is told when the next is there: the last of a failed run is its error.
            let mut last = String::new();
            for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
                let before = std::mem::replace(&mut last, line);
                if !before.is_empty() {
                    say(&before);
                }
            }
            last
        });
        match (text, last) {
            (Ok(text), Ok(last)) => (wait(&mut child), text.join(), last.join().unwrap_or_default()),
            (Err(e), _) | (_, Err(e)) => {
                // Nobody can listen to it.
                let _ended_anyway = child.kill();
                (Err(e), Ok(Ok(Vec::new())), String::new())
            }
        }
    });
    drop(pipe);
    let status = status.map_err(failed)?;
    if !status.success() {
        return Err(Error::failed(ended(status, &last)));
    }
    if !last.is_empty() {
        say(&last);
    }
    let text = text
        .map_err(|_| Error::failed("cannot read what fuse printed"))?
        .map_err(failed)?;
    serde_json::from_slice(&text).map_err(|e| Error::failed(format!("what fuse printed: {e}")))
}

/// Why a process failed: its own line of error, where its `last` line is one, else what the system says.
fn ended(status: ExitStatus, last: &str) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let why = match signal {
            9 => ", as the system does where memory is used up (--max-memory bounds it)",
            _ => "",
        };
        return format!("was ended by a {status}{why}");
    }
    match last.strip_prefix(OWN) {
        Some(line) => line.to_owned(),
        None if last.is_empty() => format!("ended without a word ({status})"),
        None => format!("ended with {status} after: {last}"),
    }
}

/// Waits for the end of a process; after Ctrl-C tells it to end and waits on, so that it can keep what it has.
fn wait(child: &mut Child) -> std::io::Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if !told && interrupt::check().is_err() {
            told = true;
            end(child)?;
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks a process to end.
#[cfg(unix)]
fn end(child: &mut Child) -> std::io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    // A process identifier fits; one that is gone needs no signal.
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    id.map_or(Ok(()), |id| kill_process(id, Signal::TERM).map_err(Into::into))
}

/// Ends a process: there is no asking here.
#[cfg(not(unix))]
fn end(child: &mut Child) -> std::io::Result<()> {
    child.kill()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn of(script: &str) -> String {
        let mut shell = Command::new("sh");
        // What is added to the words is one of the script's own.
        shell.args(["-c", script]);
        run(shell, |_| ()).expect_err("a shell that fails").to_string()
    }

    #[test]
    fn the_end_of_a_process_is_told_as_it_was() {
        assert_eq!(of("echo 'hsr-gpu: no such file' >&2; exit 2"), "no such file");
        assert!(of("echo 'estimate: 2.13 s' >&2; kill -9 $$").contains("SIGKILL"));
        assert!(of("kill -ABRT $$").contains("SIGABRT"));
        assert!(of("echo halfway >&2; exit 3").contains("exit status: 3 after: halfway"));
        assert!(of("exit 3").contains("without a word"));
    }
}
