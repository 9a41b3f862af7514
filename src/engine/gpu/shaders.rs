//! The shaders' texts, in the binary.

use std::borrow::Cow;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../shaders/", $name)))),*]
    };
}

/// Path below `shaders/` and text.
const FILES: &[(&str, &str)] = files![
    "bicubic_update.wgsl",
    "consistency_residual.wgsl",
    "dct_denoise.wgsl",
    "degradation.wgsl",
    "degradation_sums.wgsl",
    "degradation_update.wgsl",
    "guided_update.wgsl",
    "half_weights.wgsl",
    "hr_network.wgsl",
    "hr_window.wgsl",
    "lr_network.wgsl",
    "lr_steps.wgsl",
    "network_update.wgsl",
    "probe_copy.wgsl",
    "probe_multiply_add.wgsl",
    "psf_blur.wgsl",
    "reconstruct.wgsl",
    "shared/activation.wgsl",
    "shared/adam.wgsl",
    "shared/block.wgsl",
    "shared/half_network.wgsl",
    "shared/lr_pass.wgsl",
    "shared/network.wgsl",
    "shared/noise.wgsl",
    "shared/part.wgsl",
    "shared/philox.wgsl",
    "shared/probe.wgsl",
    "shared/start.wgsl",
    "shared/step.wgsl",
    "shared/tile.wgsl",
];

/// Tells builds with other texts apart.
pub fn checksum() -> u32 {
    let each = FILES.iter().map(|(_, text)| text.as_bytes());
    each.fold(0, crc32c::crc32c_append)
}

/// A deliberately wrong text, for tests that must turn red.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// File below `shaders/`.
    pub file: &'static str,
    /// Text that occurs exactly once in it.
    pub from: &'static str,
    /// What takes its place.
    pub to: &'static str,
}

/// Text of a shader file with the replacements that name it.
///
/// # Panics
/// If a replacement's text does not occur exactly once: a mutation that changes nothing proves nothing.
pub fn read(file: &str, replacements: &[Replacement]) -> Option<Cow<'static, str>> {
    let text = FILES.iter().find(|(name, _)| *name == file)?.1;
    let mut text = Cow::Borrowed(text);
    for r in replacements.iter().filter(|r| r.file == file) {
        assert_eq!(text.matches(r.from).count(), 1, "`{}` in {file}", r.from);
        text = Cow::Owned(text.replacen(r.from, r.to, 1));
    }
    Some(text)
}
