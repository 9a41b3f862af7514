//! Two images of one ground brought onto each other: what their files say of their places, what they themselves say
//! (registration), and the one resampling that follows from it.
//!
//! Pure functions of images; which image a user wants on which grid is for `coordination`.

pub mod compared;
mod crs;
pub mod features;
pub mod files;
pub mod fit;
pub mod freedom;
pub mod geometry;
pub mod local;
pub mod misplacement;
pub mod parts;
pub mod ratio;
pub mod register;
pub mod regression;
pub mod resample;
pub mod same;
pub mod search;

#[cfg(test)]
mod tests;
