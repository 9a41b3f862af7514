//! A stage that is to be profiled.

use crate::error::Result;

/// A stage ready to be run: `runs` of it, and its sizes.
pub struct Prepared<'a> {
    pub runs: u32,
    pub lr_pixels: Option<usize>,
    pub hr_pixels: Option<usize>,
    pub run: Box<dyn FnMut() -> Result<()> + 'a>,
}
