//! Work off Python's lock: a thread computes, this one reports progress and looks for Ctrl-C.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use hsr_gpu::coordination::watcher::{StageTime, Watcher};
use hsr_gpu::engine::StepLosses;
use hsr_gpu::{Error, Token};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// How often this thread looks for signals, and the least time between two reports of one stage.
const LOOK: Duration = Duration::from_millis(100);

/// Progress of a stage: its name, what is done and what there is.
type Event = (&'static str, usize, usize);

/// Hands progress to the thread that may call Python.
struct Reporter {
    sender: Sender<Event>,
    stage: &'static str,
    told: Instant,
}

impl Reporter {
    fn tell(&mut self, done: usize, total: usize) {
        self.told = Instant::now();
        // The receiver lives as long as the work; whoever stopped listening has an error of their own.
        let _ = self.sender.send((self.stage, done, total));
    }
}

impl Watcher for Reporter {
    fn begin(&mut self, stage: &'static str) {
        self.stage = stage;
        self.tell(0, 0);
    }

    fn progress(&mut self, done: usize, total: usize, _: Option<&StepLosses>) {
        if done == total || self.told.elapsed() >= LOOK {
            self.tell(done, total);
        }
    }

    fn end(&mut self, time: &StageTime) {
        self.stage = time.stage;
        self.tell(1, 1);
    }
}

/// The exception that an error of the library becomes: `ValueError` for what the caller can mend, `KeyboardInterrupt` after a
/// stop, `RuntimeError` for the rest.
pub fn python_error(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Input(_) => PyValueError::new_err(text),
        Error::Interrupted(_) => PyKeyboardInterrupt::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}

/// Runs `work` on a thread of its own without Python's lock. `progress(stage, done, total)` is called on this one. A signal
/// whose handler raises (Ctrl-C), and a `progress` that does, stop the work.
///
/// # Errors
/// What the handler or `progress` raised, else the error of `work`.
pub fn run<T: Send>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&mut dyn Watcher, &Token) -> hsr_gpu::Result<T> + Send,
) -> PyResult<T> {
    let token = Token::new();
    let (sender, mut events) = mpsc::channel();
    let mut raised: Option<PyErr> = None;
    let result = thread::scope(|scope| {
        let theirs = token.clone();
        let worker = scope.spawn(move || {
            let mut reporter = Reporter {
                sender,
                stage: "",
                told: Instant::now(),
            };
            work(&mut reporter, &theirs)
        });
        loop {
            let (event, back) = py.detach(move || (events.recv_timeout(LOOK), events));
            events = back;
            let told = match (event, &progress) {
                (Err(RecvTimeoutError::Disconnected), _) => break,
                (Ok(event), Some(progress)) if raised.is_none() => progress.call1(py, event).map(drop),
                _ => Ok(()),
            };
            if let Err(error) = told.and_then(|()| py.check_signals()) {
                token.cancel();
                raised.get_or_insert(error);
            }
        }
        py.detach(|| worker.join())
    });
    if let Some(error) = raised {
        return Err(error);
    }
    match result {
        Ok(result) => result.map_err(python_error),
        Err(_) => Err(PyRuntimeError::new_err(
            "the work ended in a panic; please report it with the lines above",
        )),
    }
}
