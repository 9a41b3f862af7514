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
        self.threads.map_or(Ok(()), |n| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(n.into())
                .build_global()
                .map_err(|e| Error::failed(format!("--threads {n}: {e}")))
        })
    }
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

    /// Opens the device and nothing around it, for measurements; a run has an [`Opening`](super::opening::Opening).
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
