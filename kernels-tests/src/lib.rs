//! Shared parts of the kernel tests.

pub mod counted;
pub mod golden;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "gpu")]
pub mod kernels;
#[cfg(feature = "gpu")]
pub mod texts;

/// Normalised mean squared error Σ(a − b)² / Σb² of `a` against the reference `b`; infinite where a sample of
/// `a` is not finite or the lengths differ.
pub fn nmse(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() || a.iter().any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let error: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    let power: f64 = b.iter().map(|b| b * b).sum();
    if error == 0.0 { 0.0 } else { error / power }
}
