//! The sample type of an engine: `f32` for work, `f64` for the oracle.

/// A floating-point type that an engine can compute in.
pub trait Real:
    num_traits::Float
    + num_traits::NumAssign
    + std::iter::Sum
    + std::fmt::Debug
    + std::fmt::Display
    + bytemuck::Pod
    + Default
    + Send
    + Sync
    + 'static
{
    /// Rounds `x` to this type.
    fn of(x: f64) -> Self;
    /// This value as `f64` (exact).
    fn f64(self) -> f64;
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn f64(self) -> f64 {
        self
    }
}
