//! Blind hyperspectral super-resolution by the coordination optimization of Guo et al., CVPR 2023.
//!
//! A low-resolution hyperspectral image and a high-resolution multispectral image of one scene go in,
//! a high-resolution hyperspectral image comes out. `docs/ARCHITECTURE.md` has the plan of the house.

pub mod align;
pub mod baseline;
#[cfg(feature = "cli")]
pub mod cli;
pub mod coordination;
pub mod cube;
pub mod engine;
pub mod error;
pub mod evidence;
#[cfg(feature = "cli")]
pub mod experiment;
pub mod fusion;
pub mod interrupt;
pub mod io;
pub mod metrics;
pub mod named;
pub mod network;
pub mod random;
pub mod real;
pub mod refine;
#[cfg(feature = "cli")]
pub mod report;
pub mod sensor;

pub use coordination::model::Degradation;
pub use coordination::product::Fused;
pub use error::{Error, Result};
pub use fusion::trained;
pub use fusion::{Aligned, Estimated, Fusion, Psf, Srf};
pub use interrupt::Token;

/// The program of README.md, which is compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
