//! All tests of kernels and engines as one program, a file a kernel: linking takes longer than most of them. One kernel's
//! are run by `cargo test -p kernels-tests psf_blur::`.

// Helpers of tests fail as the tests themselves do: by unwrapping.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "gpu")]
mod bicubic_update;
#[cfg(feature = "gpu")]
mod consistency_residual;
#[cfg(feature = "gpu")]
mod dct_denoise;
#[cfg(feature = "gpu")]
mod degradation;
#[cfg(feature = "gpu")]
mod degradation_sums;
#[cfg(feature = "gpu")]
mod degradation_update;
#[cfg(feature = "gpu")]
mod faults;
mod golden_cpu;
#[cfg(feature = "gpu")]
mod golden_gpu;
#[cfg(feature = "gpu")]
mod guided_update;
#[cfg(feature = "gpu")]
mod half_weights;
#[cfg(feature = "gpu")]
mod hr_network;
#[cfg(feature = "gpu")]
mod hr_window;
#[cfg(feature = "gpu")]
mod instruments;
#[cfg(feature = "gpu")]
mod lost_in_fusion;
#[cfg(feature = "gpu")]
mod lr_network;
#[cfg(feature = "gpu")]
mod lr_steps;
#[cfg(feature = "gpu")]
mod network_update;
#[cfg(feature = "gpu")]
mod philox;
#[cfg(feature = "gpu")]
mod psf_blur;
#[cfg(feature = "gpu")]
mod read_back;
#[cfg(feature = "gpu")]
mod reconstruct;
mod refinement_work;
#[cfg(feature = "gpu")]
mod shaders;
mod simd;
mod simd_refinement;
#[cfg(feature = "gpu")]
mod walk_together;
mod work;
