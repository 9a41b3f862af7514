//! Samples as files may have them: images are worked on in single precision, which does not hold all of them.

use super::SampleType;

/// A number of any type of [`SampleType`], without loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exact {
    /// The nearest double.
    pub value: f64,
    /// What an integer of 64 bits is more than that.
    pub rest: i16,
}

impl Exact {
    /// An integer.
    pub fn integer(x: i128) -> Self {
        let value = x as f64;
        Exact {
            value,
            // A double is at most 1024 beside an integer of 64 bits.
            rest: (x - value as i128) as i16,
        }
    }

    /// As an integer, rounded; NaN is 0.
    pub fn rounded(self) -> i128 {
        self.value.round() as i128 + i128::from(self.rest)
    }
}

impl From<f32> for Exact {
    fn from(x: f32) -> Self {
        f64::from(x).into()
    }
}

impl From<f64> for Exact {
    fn from(value: f64) -> Self {
        Exact { value, rest: 0 }
    }
}

impl SampleType {
    /// Whether single precision holds every value of this type.
    pub fn fits_single(self) -> bool {
        use SampleType::{F16, F32, I8, I16, U8, U16};
        matches!(self, U8 | I8 | U16 | I16 | F16 | F32)
    }
}
