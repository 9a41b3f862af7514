//! Philox4x32-10 and Box–Muller over lanes: the integers of [`crate::random`], normals within 1e-6 of it.
//!
//! Logarithm, sine and cosine are the single-precision polynomials of Cephes (Moshier), good to about one unit in
//! the last place; the arguments are reduced exactly, so the normals are closer to the true ones than those of an
//! `f32` evaluation of 2πu.

use pulp::{Simd, WithSimd};

use super::lines::{LINE, View, ViewMut};
use crate::random::{MULTIPLIER, WEYL};

/// `first, first + 1, …`, one a lane.
#[inline(always)]
pub(super) fn ascending<S: Simd>(simd: S, first: u32) -> S::u32s {
    let mut lanes = [0_u32; LINE];
    for (k, lane) in lanes.iter_mut().enumerate() {
        *lane = k as u32;
    }
    simd.add_u32s(S::as_simd_u32s(&lanes).0[0], simd.splat_u32s(first))
}

/// One block of four words a lane for the counters `(pixel, c1, c2, c3)`; as [`crate::random::philox`].
#[inline(always)]
fn philox<S: Simd>(simd: S, key: [u32; 2], pixel: S::u32s, [c1, c2, c3]: [u32; 3]) -> [S::u32s; 4] {
    let [mut k0, mut k1] = key;
    let mut c0 = pixel;
    let (mut c1, mut c2, mut c3) = (simd.splat_u32s(c1), simd.splat_u32s(c2), simd.splat_u32s(c3));
    let (m0, m1) = (simd.splat_u32s(MULTIPLIER[0]), simd.splat_u32s(MULTIPLIER[1]));
    for _ in 0..10 {
        let (low0, high0) = simd.widening_mul_u32s(c0, m0);
        let (low1, high1) = simd.widening_mul_u32s(c2, m1);
        c0 = simd.xor_u32s(simd.xor_u32s(high1, c1), simd.splat_u32s(k0));
        c2 = simd.xor_u32s(simd.xor_u32s(high0, c3), simd.splat_u32s(k1));
        c1 = low1;
        c3 = low0;
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// Four standard normals a lane, for the bands `4 * quad ..` of the lanes' pixels; as [`crate::random::normals`].
#[inline(always)]
pub(super) fn normals<S: Simd>(
    simd: S,
    key: [u32; 2],
    step: u32,
    purpose: u32,
    pixel: S::u32s,
    quad: u32,
) -> [S::f32s; 4] {
    let [w0, w1, w2, w3] = philox(simd, key, pixel, [quad, purpose, step]);
    let (n0, n1) = pair(simd, w0, w1);
    let (n2, n3) = pair(simd, w2, w3);
    [n0, n1, n2, n3]
}

#[inline(always)]
fn pair<S: Simd>(simd: S, a: S::u32s, b: S::u32s) -> (S::f32s, S::f32s) {
    let f = |x: f32| simd.splat_f32s(x);
    let radius = simd.sqrt_f32s(simd.mul_f32s(f(-2.0), logarithm(simd, uniform(simd, a))));
    let (sin, cos) = sin_cos_turns(simd, uniform(simd, b));
    (simd.mul_f32s(radius, cos), simd.mul_f32s(radius, sin))
}

#[inline(always)]
fn shift_right<S: Simd>(simd: S, x: S::u32s, by: u32) -> S::u32s {
    simd.wrapping_dyn_shr_u32s(x, simd.splat_u32s(by))
}

/// As [`crate::random::uniform`]: the upper 23 bits become the mantissa of a number in [1, 2).
#[inline(always)]
fn uniform<S: Simd>(simd: S, word: S::u32s) -> S::f32s {
    let mantissa = simd.or_u32s(shift_right(simd, word, 9), simd.splat_u32s(0x3f80_0000));
    let from_zero = simd.sub_f32s(simd.transmute_f32s_u32s(mantissa), simd.splat_f32s(1.0));
    simd.add_f32s(from_zero, simd.splat_f32s(0.5 / 8_388_608.0))
}

/// The polynomial in `x` with these coefficients, that of the highest power first.
#[inline(always)]
pub(super) fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[0]);
    for c in &coefficients[1..] {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(*c));
    }
    sum
}

/// ln x for normal x > 0.
#[inline(always)]
fn logarithm<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const ROOT_HALF: u32 = 0x3f35_04f3;
    let (f, u) = (|x: f32| simd.splat_f32s(x), |x: u32| simd.splat_u32s(x));
    // x = 2^e m with m in [√½, √2): moving the bits by √½'s makes the exponent field count from there.
    let bits = simd.add_u32s(simd.transmute_u32s_f32s(x), u(0x3f80_0000 - ROOT_HALF));
    // The exponent as a float: the low mantissa bits of 2^23.
    let e = simd.transmute_f32s_u32s(simd.or_u32s(shift_right(simd, bits, 23), u(0x4b00_0000)));
    let e = simd.sub_f32s(e, f(8_388_608.0 + 127.0));
    let m = simd.add_u32s(simd.and_u32s(bits, u(0x007f_ffff)), u(ROOT_HALF));
    let d = simd.sub_f32s(simd.transmute_f32s_u32s(m), f(1.0));
    let square = simd.mul_f32s(d, d);
    let p = polynomial(
        simd,
        d,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    // d − d²/2 + d³ p + e ln 2, ln 2 in two parts of which the first times e is exact.
    let y = simd.mul_f32s(simd.mul_f32s(d, square), p);
    let y = simd.mul_add_e_f32s(e, f(-2.121_944_4e-4), y);
    let y = simd.mul_add_e_f32s(f(-0.5), square, y);
    simd.mul_add_e_f32s(e, f(0.693_359_4), simd.add_f32s(d, y))
}

/// (sin 2πx, cos 2πx) for x in [0, 1).
#[inline(always)]
fn sin_cos_turns<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let (f, u) = (|x: f32| simd.splat_f32s(x), |x: u32| simd.splat_u32s(x));
    // 4x = q + r with q whole, by adding 1.5 · 2^23, where floats are whole numbers; r is exact.
    let quarters = simd.mul_f32s(f(4.0), x);
    let shifted = simd.add_f32s(quarters, f(12_582_912.0));
    let q = simd.transmute_u32s_f32s(shifted);
    let r = simd.sub_f32s(quarters, simd.sub_f32s(shifted, f(12_582_912.0)));
    let angle = simd.mul_f32s(r, f(std::f32::consts::FRAC_PI_2));
    let square = simd.mul_f32s(angle, angle);
    let s = polynomial(simd, square, [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]);
    let sin = simd.mul_add_e_f32s(simd.mul_f32s(s, square), angle, angle);
    let c = polynomial(simd, square, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
    let c = simd.mul_f32s(simd.mul_f32s(c, square), square);
    let cos = simd.add_f32s(simd.mul_add_e_f32s(f(-0.5), square, f(1.0)), c);
    // A quarter turn more swaps them; sine turns negative in quarters 2 and 3, cosine in 1 and 2.
    let odd = simd.greater_than_u32s(simd.and_u32s(q, u(1)), u(0));
    let sign = |bit: S::u32s| simd.wrapping_dyn_shl_u32s(simd.and_u32s(bit, u(2)), u(30));
    let flip = |x: S::f32s, sign: S::u32s| {
        simd.transmute_f32s_u32s(simd.xor_u32s(simd.transmute_u32s_f32s(x), sign))
    };
    (
        flip(simd.select_f32s(odd, cos, sin), sign(q)),
        flip(simd.select_f32s(odd, sin, cos), sign(simd.add_u32s(q, u(1)))),
    )
}

/// Where a pass takes its ε from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Epsilon<'a> {
    /// ε = 0.
    Off,
    /// Given values, pixels × bands; 0 beyond the last pixel.
    Given(&'a [f32]),
    /// Philox normals.
    Philox {
        /// Key words of the seed.
        key: [u32; 2],
        /// Number of the step.
        step: u32,
        /// Purpose, with the member added where members draw apart.
        purpose: u32,
        /// Counter of the pass's pixel 0.
        first: u32,
    },
}

impl Epsilon<'_> {
    /// ε of bands `4 * quad ..` for as many pixels as there are lanes, from pixel `pixel` of the pass on.
    #[inline(always)]
    pub fn quad<S: Simd>(&self, simd: S, pixel: usize, quad: usize, bands: usize) -> [S::f32s; 4] {
        match *self {
            Epsilon::Off => [simd.splat_f32s(0.0); 4],
            Epsilon::Given(values) => std::array::from_fn(|k| {
                let mut lanes = [0.0; LINE];
                for (l, lane) in lanes.iter_mut().enumerate().take(S::F32_LANES) {
                    let from = values.get((pixel + l) * bands + 4 * quad + k);
                    *lane = from.copied().unwrap_or(0.0);
                }
                S::as_simd_f32s(&lanes).0[0]
            }),
            Epsilon::Philox {
                key,
                step,
                purpose,
                first,
            } => {
                let pixels = ascending(simd, first.wrapping_add(pixel as u32));
                normals(simd, key, step, purpose, pixels, quad as u32)
            }
        }
    }

    /// z += std · ε over `count` vectors of pixels, from pixel `pixel` of the pass on.
    #[inline(always)]
    pub fn add_scaled<S: Simd>(
        &self,
        simd: S,
        pixel: usize,
        std: View<S>,
        z: ViewMut<S>,
        (count, bands): (usize, usize),
    ) {
        simd.vectorize(AddScaled {
            epsilon: *self,
            pixel,
            std: std.samples(),
            z: z.samples(),
            count,
            bands,
        });
    }
}

/// [`Epsilon::add_scaled`] as one function to the compiler.
struct AddScaled<'a> {
    epsilon: Epsilon<'a>,
    pixel: usize,
    std: (&'a [f32], usize, usize),
    z: (&'a mut [f32], usize, usize),
    count: usize,
    bands: usize,
}

impl WithSimd for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let std = View::<S>::of(self.std);
        let mut z = ViewMut::<S>::of(self.z);
        for quad in 0..self.bands.div_ceil(4) {
            for v in 0..self.count {
                let pixel = self.pixel + v * S::F32_LANES;
                let epsilon = self.epsilon.quad(simd, pixel, quad, self.bands);
                for k in 0..(self.bands - 4 * quad).min(4) {
                    let std = std.row(4 * quad + k, self.count)[v];
                    let z = &mut z.row(4 * quad + k, self.count)[v];
                    *z = simd.mul_add_e_f32s(std, epsilon[k], *z);
                }
            }
        }
    }
}
