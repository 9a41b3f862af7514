//! What a call of a kernel has to do: floating-point operations and bytes.
//!
//! Each kernel declares its own beside its twin (`engine/cpu/<kernel>.rs`, `work`), and the tests lay the declaration
//! beside a count of what the twin does (`kernels-tests/tests/work.rs`). One convention for all: an addition, a
//! subtraction, a multiplication, a division and every function (exp, ln, sqrt, sin, cos) is one operation, so a
//! multiply-add is two; comparisons, signs, integers (Philox) and the padding of layers to multiples of four are none.
//! Bytes are what must be read and written at least: every input of the call once, every output once.

use std::iter::Sum;
use std::ops::{Add, Range};

use serde::Serialize;

/// Work of one or more calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Floating-point operations.
    pub operations: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

impl Work {
    /// `operations`, and `values` numbers of type `T` read or written.
    pub fn of<T>(operations: usize, values: usize) -> Self {
        Work {
            operations: operations as u64,
            bytes: (values * size_of::<T>()) as u64,
        }
    }
}

impl Work {
    /// Of the parts `range` out of `count` that are alike: shares of all parts add up to the whole.
    pub fn share(&self, range: Range<u32>, count: u32) -> Work {
        let up_to =
            |end: u32, whole: u64| (u128::from(whole) * u128::from(end) / u128::from(count.max(1))) as u64;
        let between = |whole: u64| up_to(range.end, whole) - up_to(range.start, whole);
        Work {
            operations: between(self.operations),
            bytes: between(self.bytes),
        }
    }
}

impl Add for Work {
    type Output = Work;

    fn add(self, other: Work) -> Work {
        Work {
            operations: self.operations + other.operations,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Work>>(parts: I) -> Work {
        parts.fold(Work::default(), Add::add)
    }
}
