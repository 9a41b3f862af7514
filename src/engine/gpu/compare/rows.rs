//! The rows of a comparison and the limits that they are held to.

use serde::Serialize;

use crate::engine::Precision;

/// NMSE limit of forward values and of losses: single precision leaves 1e-15 to 1e-13, and what adapters differ in
/// (contraction, `exp`, `sqrt`) no more than a few units in the last place.
pub(super) const FORWARD: f64 = 1e-10;
/// NMSE limit of gradients and of parameters after Adam: sums of either sign cancel, and Adam divides by a root.
pub(super) const GRADIENT: f64 = 1e-8;

/// NMSE limits of forward values and gradients of the HR pass, of what is made of them, and of reconstruction.
///
/// In 16 bits the engines round the same numbers to f16, but an activation near the border of two of them goes the other
/// way after another order of its sum, by 2⁻¹⁰ of itself at most: 1e-6 as energy if all did. A sign may turn for it.
pub(super) fn limits(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (FORWARD, GRADIENT),
        Precision::F16 => (1e-6, 1e-5),
    }
}

/// One comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The kernel's stem.
    pub kernel: &'static str,
    /// What it computed.
    pub tensor: String,
    /// The case's name.
    pub shape: String,
    /// Σ(gpu − cpu)² / Σ cpu², or the numerator alone where the CPU's are all zero; infinite where a value is not
    /// finite.
    pub nmse: f64,
    /// Largest |gpu − cpu| / max |cpu|.
    pub worst: f64,
    /// Limit of `nmse`.
    pub limit: f64,
    /// Whether it holds.
    pub passed: bool,
}

/// Collects comparisons of one case.
pub(super) struct Rows {
    shape: String,
    rows: Vec<Row>,
}

impl Rows {
    /// None yet, of a case.
    pub(super) fn of(shape: impl Into<String>) -> Self {
        Rows {
            shape: shape.into(),
            rows: Vec::new(),
        }
    }

    /// What was compared.
    pub(super) fn done(self) -> Vec<Row> {
        self.rows
    }

    pub(super) fn add(&mut self, kernel: &'static str, tensor: &str, limit: f64, gpu: &[f32], cpu: &[f32]) {
        let mut square = (0.0, 0.0);
        let mut largest = (0.0f64, 0.0f64);
        for (&a, &b) in gpu.iter().zip(cpu) {
            let (a, b) = (f64::from(a), f64::from(b));
            square = (square.0 + (a - b) * (a - b), square.1 + b * b);
            largest = (largest.0.max((a - b).abs()), largest.1.max(b.abs()));
        }
        let finite = gpu.len() == cpu.len() && gpu.iter().all(|x| x.is_finite());
        // Where the twin's values are all zero (derivatives of a PSF of one pixel), the error stands for itself.
        let ratio = |error: f64, size: f64| match (finite, size == 0.0) {
            (false, _) => f64::INFINITY,
            (true, true) => error,
            (true, false) => error / size,
        };
        let nmse = ratio(square.0, square.1);
        self.rows.push(Row {
            kernel,
            tensor: tensor.into(),
            shape: self.shape.clone(),
            nmse,
            worst: ratio(largest.0, largest.1),
            limit,
            passed: nmse <= limit,
        });
    }
}
