//! A number that counts the operations it goes through: the twins are generic over the sample type, so what a kernel
//! declares as its work can be laid beside what its twin does.

use std::fmt;
use std::iter::Sum;
use std::num::FpCategory;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Rem, RemAssign, Sub, SubAssign};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::{Pod, Zeroable};
use hsr_gpu::real::Real;
use num_traits::{Float, Num, NumCast, One, ToPrimitive, Zero};

static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static COUNTING: Mutex<()> = Mutex::new(());

/// An `f64` whose sums, differences, products, quotients and functions are counted. Signs, comparisons and conversions
/// are not.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd, Pod, Zeroable)]
#[repr(transparent)]
pub struct Counted(f64);

/// The right to count, and to do anything with [`Counted`] numbers: operations of whatever threads are counted, so a test
/// holds it from its first number to its last.
pub struct Counter {
    _alone: MutexGuard<'static, ()>,
}

impl Counter {
    /// Waits until nobody else counts.
    pub fn alone() -> Self {
        Counter {
            _alone: COUNTING.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Runs `body` and returns how many operations it did.
    pub fn operations(&self, body: impl FnOnce()) -> u64 {
        OPERATIONS.store(0, Ordering::SeqCst);
        body();
        OPERATIONS.load(Ordering::SeqCst)
    }
}

fn counted(x: f64, operations: u64) -> Counted {
    OPERATIONS.fetch_add(operations, Ordering::Relaxed);
    Counted(x)
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident, $assign:ident $in_place:ident;)*) => {$(
        impl $operator for Counted {
            type Output = Counted;

            fn $method(self, other: Counted) -> Counted {
                counted($operator::$method(self.0, other.0), 1)
            }
        }

        impl $assign for Counted {
            fn $in_place(&mut self, other: Counted) {
                *self = $operator::$method(*self, other);
            }
        }
    )*};
}

operators! {
    Add add, AddAssign add_assign;
    Sub sub, SubAssign sub_assign;
    Mul mul, MulAssign mul_assign;
    Div div, DivAssign div_assign;
    Rem rem, RemAssign rem_assign;
}

impl Neg for Counted {
    type Output = Counted;

    fn neg(self) -> Counted {
        Counted(-self.0)
    }
}

impl Sum for Counted {
    fn sum<I: Iterator<Item = Counted>>(values: I) -> Counted {
        values.fold(Counted(0.0), Add::add)
    }
}

impl Zero for Counted {
    fn zero() -> Counted {
        Counted(0.0)
    }

    fn is_zero(&self) -> bool {
        self.0 == 0.0
    }
}

impl One for Counted {
    fn one() -> Counted {
        Counted(1.0)
    }
}

impl Num for Counted {
    type FromStrRadixErr = <f64 as Num>::FromStrRadixErr;

    fn from_str_radix(text: &str, radix: u32) -> Result<Counted, Self::FromStrRadixErr> {
        f64::from_str_radix(text, radix).map(Counted)
    }
}

impl ToPrimitive for Counted {
    fn to_i64(&self) -> Option<i64> {
        self.0.to_i64()
    }

    fn to_u64(&self) -> Option<u64> {
        self.0.to_u64()
    }

    fn to_f64(&self) -> Option<f64> {
        Some(self.0)
    }
}

impl NumCast for Counted {
    fn from<N: ToPrimitive>(n: N) -> Option<Counted> {
        n.to_f64().map(Counted)
    }
}

macro_rules! float {
    (constants $($constant:ident)*; tests $($test:ident)*; functions $($function:ident)*; pairs $($pair:ident)*) => {
        impl Float for Counted {
            $(fn $constant() -> Counted {
                Counted(<f64 as Float>::$constant())
            })*
            $(fn $test(self) -> bool {
                Float::$test(self.0)
            })*
            $(fn $function(self) -> Counted {
                counted(Float::$function(self.0), 1)
            })*
            $(fn $pair(self, other: Counted) -> Counted {
                counted(Float::$pair(self.0, other.0), 1)
            })*

            fn abs(self) -> Counted {
                Counted(self.0.abs())
            }

            fn signum(self) -> Counted {
                Counted(self.0.signum())
            }

            fn classify(self) -> FpCategory {
                self.0.classify()
            }

            fn mul_add(self, a: Counted, b: Counted) -> Counted {
                counted(self.0.mul_add(a.0, b.0), 2)
            }

            fn powi(self, n: i32) -> Counted {
                counted(self.0.powi(n), 1)
            }

            fn sin_cos(self) -> (Counted, Counted) {
                let (sin, cos) = self.0.sin_cos();
                (counted(sin, 1), counted(cos, 1))
            }

            fn integer_decode(self) -> (u64, i16, i8) {
                self.0.integer_decode()
            }
        }
    };
}

float! {
    constants nan infinity neg_infinity neg_zero min_value min_positive_value max_value;
    tests is_nan is_infinite is_finite is_normal is_sign_positive is_sign_negative;
    functions floor ceil round trunc fract recip sqrt exp exp2 ln log2 log10 cbrt sin cos tan asin acos atan exp_m1
        ln_1p sinh cosh tanh asinh acosh atanh;
    pairs powf log max min abs_sub hypot atan2
}

impl Real for Counted {
    fn of(x: f64) -> Counted {
        Counted(x)
    }

    fn f64(self) -> f64 {
        self.0
    }
}
