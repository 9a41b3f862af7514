//! The GPU engine's parts, opened together; what it does with them stands above, in `mod` and the kernels' files.

use crate::engine::Precision;
use crate::engine::gpu::adapters::AdapterChoice;
use crate::engine::gpu::context::Context;
use crate::engine::gpu::defines::ShaderTarget;
use crate::engine::gpu::kept::Kept;
use crate::engine::gpu::options::Options;
use crate::engine::gpu::pace::Pace;
use crate::engine::gpu::pipeline::Pipelines;
use crate::error::Result;

/// An open adapter and the kernels compiled for it.
#[derive(Debug)]
pub struct GpuEngine {
    /// The device.
    pub context: Context,
    /// Its kernels.
    pub pipelines: Pipelines,
    /// Buffers that the passes of refinement leave for the next.
    pub(super) kept: Kept,
    /// What the device was measured to do.
    pub pace: Pace,
}

impl GpuEngine {
    /// Opens the chosen adapter.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if there is no such adapter, [`crate::Error::Failed`] if it cannot be opened.
    pub fn new(choice: &AdapterChoice) -> Result<Self> {
        Self::with_options(choice, Options::default())
    }

    /// Opens the chosen adapter with checked shaders, or with mutated ones for tests.
    ///
    /// # Errors
    /// As [`GpuEngine::new`].
    pub fn with_options(choice: &AdapterChoice, options: Options) -> Result<Self> {
        let context = Context::new(choice, &options)?;
        Ok(Self::in_context(context, options))
    }

    /// Opens the hardware GPU that [`AdapterChoice::Hardware`] would take, if there is one: what `--backend auto` asks for.
    ///
    /// # Errors
    /// As [`Context::hardware`].
    pub fn hardware(options: Options) -> Result<Option<Self>> {
        let context = Context::hardware(&options)?;
        Ok(context.map(|context| Self::in_context(context, options)))
    }

    fn in_context(context: Context, options: Options) -> Self {
        GpuEngine {
            pipelines: Pipelines::new(&context, options),
            context,
            kept: Kept::default(),
            pace: Pace::default(),
        }
    }
}

impl GpuEngine {
    /// What shaders' texts take from the adapter and the options.
    pub fn target(&self) -> ShaderTarget {
        let options = self.pipelines.options();
        options
            .target
            .unwrap_or_else(|| self.context.target(options.precision))
    }

    /// Arithmetic of the HR pass and of reconstruction.
    pub fn precision(&self) -> Precision {
        self.pipelines.options().precision
    }
}
