//! What held-out LR pixels say: which predictions to trust, how good the result will be, and whether the two images show one
//! scene.
//!
//! Pure functions over arrays; nothing here trains a network or touches a device. [`folds`] says which LR pixels a
//! prediction has not seen, [`stacking`] weighs predictions by how well they predict those, [`expectation`] says what error
//! of the result follows, [`agreement`] tells one scene from two, [`suspects`] finds LR pixels that the others cannot
//! explain, and [`verdict`] puts it into a line.

pub mod agreement;
pub mod expectation;
pub mod folds;
pub mod stacking;
pub mod suspects;
pub mod verdict;
