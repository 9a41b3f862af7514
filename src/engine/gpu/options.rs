//! How an engine is opened.

use std::path::PathBuf;

use crate::engine::Precision;
use crate::engine::gpu::defines::ShaderTarget;
use crate::engine::gpu::shaders::Replacement;

/// How shaders are compiled.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Shaders with bounds checks and bounded loops, buffers between guard words: for tests and for `--checked`.
    pub checked: bool,
    /// Deliberately wrong shader texts, for tests that must turn red.
    pub replacements: Vec<Replacement>,
    /// Folder that compiled pipelines are kept in; nothing is kept where it is left out.
    pub cache: Option<PathBuf>,
    /// Arithmetic of the HR pass and of reconstruction.
    pub precision: Precision,
    /// Whether 16 bits take an adapter's cooperative matrices also where no comparison of them has passed on it; see
    /// [`verified`](crate::engine::gpu::verified).
    pub unverified_matrices: bool,
    /// What the texts take in place of the adapter's own properties, for tests of another adapter's texts.
    pub target: Option<ShaderTarget>,
    /// Bytes of buffers that may be held at once; as many as the device has where it is left out.
    pub memory: Option<u64>,
    /// Bytes of the parts that refinement cuts images into, for tests of images larger than that.
    pub part_bytes: Option<u64>,
}
