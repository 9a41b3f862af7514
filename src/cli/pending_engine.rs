//! A device that opens on a thread of its own while images are read and looked at: its driver may take as long as they do.

use std::cell::{OnceCell, RefCell};
use std::thread::{self, JoinHandle};

use super::Output;
use super::engine_options::{Backend, Bare, EngineOptions};
use crate::engine::Engine;
use crate::engine::failover::Failover;
use crate::engine::simd::SimdEngine;
use crate::error::Result;

/// The GPU that options ask for, if they ask for one and there is one.
type Gpu = Result<Option<Bare>>;

/// The device of a run, begun on and perhaps not open yet. What befell it is told where its engine is asked for.
pub struct PendingEngine {
    options: EngineOptions,
    output: Output,
    /// None once it was waited for, and where the system had no thread to give.
    thread: RefCell<Option<JoinHandle<Gpu>>>,
    engine: OnceCell<Box<dyn Engine<f32>>>,
}

impl PendingEngine {
    /// Begins to open the device; `output` is told what goes wrong with it in the run.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for options that do not go together.
    pub fn begin(options: &EngineOptions, output: &Output) -> Result<Self> {
        options.check()?;
        let theirs = options.clone();
        let thread = match options.backend {
            Backend::Cpu => None,
            Backend::Auto | Backend::Gpu => thread::Builder::new()
                .name("device".to_owned())
                .spawn(move || theirs.open_gpu())
                .ok(),
        };
        Ok(PendingEngine {
            options: options.clone(),
            output: output.clone(),
            thread: RefCell::new(thread),
            engine: OnceCell::new(),
        })
    }

    /// The engine; waits for it where it is not open yet. A GPU is tested against the CPU, opened again where it fails, and
    /// with `--backend auto` left for the CPU where that does not help.
    ///
    /// # Errors
    /// [`crate::Error::Input`] where the adapter does not exist or the build has no GPU engine, [`crate::Error::Device`] where it cannot
    /// be opened.
    pub fn engine(&self) -> Result<&dyn Engine<f32>> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine.as_ref());
        }
        let thread = self.thread.borrow_mut().take();
        let gpu = match thread {
            Some(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => self.options.open_gpu(),
        };
        let engine = self.recovering(gpu)?;
        Ok(self.engine.get_or_init(|| engine).as_ref())
    }

    /// Tells of a device that cannot be opened, where that is known by now.
    ///
    /// # Errors
    /// As [`PendingEngine::engine`].
    pub fn look(&self) -> Result<()> {
        let known = self.thread.borrow().as_ref().is_some_and(JoinHandle::is_finished);
        if known {
            self.engine()?;
        }
        Ok(())
    }

    /// An engine that goes on where the GPU fails; the CPU's where there is no GPU.
    fn recovering(&self, gpu: Gpu) -> Result<Box<dyn Engine<f32>>> {
        let output = self.output.clone();
        let warn = move |line: &str| output.warn(line);
        // In single precision whatever the GPU computes in: its rounding is within the test's limits.
        let cpu = || -> Result<Box<dyn Engine<f32>>> { Ok(Box::new(SimdEngine::new())) };
        let auto = self.options.backend == Backend::Auto;
        let engine = match gpu {
            Ok(Some(engine)) => engine,
            Ok(None) => return Ok(self.options.open_cpu()?),
            Err(error) if auto && error.is_of_device() => {
                warn(&format!("warning: {error}; going on without it on the CPU"));
                return cpu();
            }
            Err(error) => return Err(error),
        };
        let reference = if self.options.no_self_test {
            None
        } else {
            Some(cpu()?)
        };
        let again = self.options.clone();
        let open = move || -> Result<Box<dyn Engine<f32>>> { Ok(again.open_alone()?) };
        let recovery = Failover::new(engine, open, reference, warn);
        Ok(Box::new(if auto { recovery.or(cpu) } else { recovery }))
    }
}

impl Drop for PendingEngine {
    /// Waits: a process must not end while a driver starts.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.get_mut().take() {
            // Whoever drops it before it was asked for has an error of their own to tell.
            let _ = thread.join();
        }
    }
}
