//! Options of the device that several commands share, and how each kind of device is opened.

#[cfg(feature = "gpu")]
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::options::bytes;
use crate::engine::simd::SimdEngine;
use crate::engine::{Engine, Precision};
use crate::error::{Error, Result};

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// A hardware GPU where there is one, else the CPU
    Auto,
    /// A GPU
    Gpu,
    /// The CPU, with the vector instructions it has
    Cpu,
}

/// The device.
#[derive(Debug, Clone, Args)]
pub struct EngineOptions {
    /// Where to compute; auto takes a hardware GPU where there is one, else the CPU
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    pub backend: Backend,
    /// GPU adapter by number or part of its name (see `hsr-gpu devices`); a software adapter is used only when named
    #[arg(long, value_name = "INDEX|NAME")]
    pub adapter: Option<String>,
    /// Compile the GPU's kernels with bounds checks and put guard words around all buffers
    #[arg(long)]
    pub checked: bool,
    /// Arithmetic of the HR pass and of reconstruction: f16 multiplies 16-bit factors and sums in f32, on GPUs that have
    /// it, with cooperative matrices where there are any
    #[arg(long, value_enum, default_value_t = PrecisionOption::F32)]
    pub precision: PrecisionOption,
    /// Bytes of buffers that a GPU may hold at once, with KiB, MiB or GiB (KB, MB, GB) [default: what it has]. Parts of
    /// images become smaller for it
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub max_gpu_memory: Option<usize>,
    /// Do not compare a GPU's first step and reconstruction with the CPU's
    #[arg(long)]
    pub no_self_test: bool,
}

/// The values of `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionOption {
    /// Single precision
    F32,
    /// 16-bit factors, f32 sums
    F16,
}

impl From<PrecisionOption> for Precision {
    fn from(option: PrecisionOption) -> Self {
        match option {
            PrecisionOption::F32 => Precision::F32,
            PrecisionOption::F16 => Precision::F16,
        }
    }
}

/// How much of the processor a run takes; common to all commands.
#[derive(Debug, Clone, Copy, Args)]
pub struct ThreadOptions {
    /// Threads that compute on the CPU; they change no bit of a result [default: one a core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl ThreadOptions {
    /// Makes the process compute on so many threads, before anything else does.
    ///
    /// # Errors
    /// [`Error::Failed`] if they cannot be started.
    pub fn install(self) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = self.threads.map_or(cores, usize::from);
        let most = MOST_THREADS.max(4 * cores);
        if wanted > most {
            return Err(Error::input(format!(
                "--threads {wanted}: more than {most} threads only wait for the {cores} cores of this machine"
            )));
        }
        let threads = startable(wanted);
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        // One thread is there already.
        let builder = if threads == 1 {
            builder.use_current_thread()
        } else {
            builder
        };
        builder
            .build_global()
            .map_err(|e| Error::failed(format!("--threads {wanted}: {e}")))
    }
}

/// Threads that any machine may be asked for.
const MOST_THREADS: usize = 64;
/// Threads that are left to the device, to Ctrl-C and to progress.
#[cfg(unix)]
const SPARED: usize = 4;

/// How many of so many threads the system gives, where it bounds their number or their memory.
#[cfg(unix)]
fn startable(wanted: usize) -> usize {
    use std::sync::mpsc::channel;
    let bounded = |of| rustix::process::getrlimit(of).current.is_some();
    if !bounded(rustix::process::Resource::Nproc) && !bounded(rustix::process::Resource::As) {
        return wanted;
    }
    let mut started = Vec::new();
    for _ in 0..wanted + SPARED {
        let (hold, held) = channel::<()>();
        match std::thread::Builder::new().spawn(move || held.recv().is_ok()) {
            Ok(thread) => started.push((hold, thread)),
            Err(_) => break,
        }
    }
    let count = started.len();
    for (hold, thread) in started {
        drop(hold);
        let _nothing_to_tell = thread.join();
    }
    if count == wanted + SPARED {
        wanted
    } else {
        // Memory that one thread may have is what the others would take.
        count.saturating_sub(SPARED).clamp(1, wanted)
    }
}

/// All of them: nothing is known here.
#[cfg(not(unix))]
fn startable(wanted: usize) -> usize {
    wanted
}

/// Folder of compiled pipelines: what `HSR_GPU_CACHE` names (`off` for none), else `hsr-gpu` in the user's cache folder.
#[cfg(feature = "gpu")]
pub fn pipeline_folder() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    match std::env::var_os("HSR_GPU_CACHE") {
        Some(off) if off == "off" || off.is_empty() => None,
        Some(folder) => Some(folder.into()),
        None => Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("hsr-gpu")),
    }
}

/// An engine as its options make it, free to be opened on one thread and used on another.
pub type Bare = Box<dyn Engine<f32> + Send>;

impl EngineOptions {
    /// Looks for options that do not go together.
    ///
    /// # Errors
    /// [`Error::Input`] for those of a GPU with `--backend cpu`.
    pub fn check(&self) -> Result<()> {
        if self.adapter.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return Err(Error::input(
                "--adapter is empty; give a number or a part of a name (see hsr-gpu devices), or leave it out",
            ));
        }
        if self.backend != Backend::Cpu {
            return Ok(());
        }
        match &self.adapter {
            Some(name) => Err(Error::input(format!(
                "--adapter {name} names a GPU; leave it out with --backend cpu"
            ))),
            None if self.checked => Err(Error::input(
                "--checked is for the GPU's kernels; leave it out with --backend cpu",
            )),
            None if self.max_gpu_memory.is_some() => Err(Error::input(
                "--max-gpu-memory is for GPUs; leave it out with --backend cpu",
            )),
            None => Ok(()),
        }
    }

    /// Opens the device and nothing around it, for measurements; a run has an [`PendingEngine`](super::pending_engine::PendingEngine).
    ///
    /// # Errors
    /// [`Error::Input`] for options that do not go together, where the adapter does not exist, or where the build has no
    /// GPU engine; [`Error::Device`] where it cannot be opened.
    pub fn open_alone(&self) -> Result<Bare> {
        self.check()?;
        self.open_gpu()?.map_or_else(|| self.open_cpu(), Ok)
    }

    /// The CPU engine.
    ///
    /// # Errors
    /// [`Error::Input`] for a precision that it does not have.
    pub fn open_cpu(&self) -> Result<Bare> {
        match self.precision {
            PrecisionOption::F32 => Ok(Box::new(SimdEngine::new())),
            PrecisionOption::F16 => Err(Error::input(
                "--precision f16 is for GPUs, and this run is on the CPU; leave it out or name a GPU with --adapter",
            )),
        }
    }

    /// The GPU that was asked for, or with `--backend auto` the hardware GPU, if there is one; none for `--backend cpu`.
    ///
    /// # Errors
    /// As [`EngineOptions::open_alone`].
    #[cfg(feature = "gpu")]
    pub fn open_gpu(&self) -> Result<Option<Bare>> {
        use crate::engine::gpu::{AdapterChoice, GpuEngine, Options};
        if self.backend == Backend::Cpu {
            return Ok(None);
        }
        let options = Options {
            checked: self.checked,
            cache: pipeline_folder(),
            precision: self.precision.into(),
            memory: self.max_gpu_memory.map(|bytes| bytes as u64),
            ..Options::default()
        };
        let boxed = |engine| Box::new(engine) as Bare;
        if self.backend == Backend::Auto && self.adapter.is_none() {
            return Ok(GpuEngine::hardware(options)?.map(boxed));
        }
        let choice = AdapterChoice::from_option(self.adapter.as_deref());
        Ok(Some(boxed(GpuEngine::with_options(&choice, options)?)))
    }

    /// None: there is none in this build.
    ///
    /// # Errors
    /// [`Error::Input`] where one was asked for.
    #[cfg(not(feature = "gpu"))]
    pub fn open_gpu(&self) -> Result<Option<Bare>> {
        if self.backend == Backend::Gpu || self.adapter.is_some() || self.checked {
            return Err(Error::input(
                "this build has no GPU engine (--no-default-features); use --backend cpu or the default build",
            ));
        }
        Ok(None)
    }
}
