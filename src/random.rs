//! Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011) and Box–Muller normals.
//!
//! Every engine draws the same integers from the same counters, so a step on a GPU can be laid beside a
//! step on a CPU. `shaders/shared/philox.wgsl` is the same code in WGSL.

use crate::real::Real;

/// What a stream of normals is drawn for; the third word of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// ε of the high-resolution pass.
    HighResolution = 0,
    /// ε of the low-resolution pass; member `e` uses `LowResolution + e`.
    LowResolution = 16,
    /// ε of a sample drawn at inference.
    Inference = 1,
    /// Sensor noise of a simulated observation.
    SensorNoise = 2,
    /// Initial weights.
    Initialisation = 3,
    /// Order of the patches of an epoch.
    Shuffle = 4,
    /// The PSF that an experiment degrades a scene with.
    ExperimentPsf = 5,
    /// Folds of LR pixels.
    Folds = 6,
}

pub(crate) const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
pub(crate) const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block of Philox4x32-10: four words from a key and a counter.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut k0, mut k1] = key;
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    for _ in 0..10 {
        let p0 = u64::from(MULTIPLIER[0]) * u64::from(c0);
        let p1 = u64::from(MULTIPLIER[1]) * u64::from(c2);
        (c0, c1, c2, c3) = (
            (p1 >> 32) as u32 ^ c1 ^ k0,
            p1 as u32,
            (p0 >> 32) as u32 ^ c3 ^ k1,
            p0 as u32,
        );
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// Splits a 64-bit seed into the two key words.
pub fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// A word as a number in (0, 1): the upper 23 bits, centred, so that it is exact in `f32` and never 0 or 1.
pub fn uniform<T: Real>(word: u32) -> T {
    (T::of(f64::from(word >> 9)) + T::of(0.5)) * T::of(1.0 / 8_388_608.0)
}

/// Floating-point operations of [`normals`]: for each pair two uniforms of two, −2·ln u, its root, two functions of
/// 2π·u, two products.
pub const NORMALS_OPERATIONS: usize = 2 * 12;

/// Four standard normals (Box–Muller on the words 0, 1 and 2, 3) for the bands `4 * quad ..` of a pixel.
///
/// `purpose` is a [`Purpose`] as a number, with the member added where members draw apart.
pub fn normals<T: Real>(key: [u32; 2], step: u32, purpose: u32, pixel: u32, quad: u32) -> [T; 4] {
    let w = philox(key, [pixel, quad, purpose, step]);
    let pair = |a: u32, b: u32| {
        let radius = (T::of(-2.0) * uniform::<T>(a).ln()).sqrt();
        let (sin, cos) = (T::of(std::f64::consts::TAU) * uniform::<T>(b)).sin_cos();
        (radius * cos, radius * sin)
    };
    let (n0, n1) = pair(w[0], w[1]);
    let (n2, n3) = pair(w[2], w[3]);
    [n0, n1, n2, n3]
}

#[cfg(test)]
mod tests {
    use super::*;

    // Known answers of Random123 for philox4x32-10.
    #[test]
    fn philox_known_answers() {
        assert_eq!(
            philox([0; 2], [0; 4]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        let ones = u32::MAX;
        assert_eq!(
            philox([ones; 2], [ones; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    // 40,000 draws: the standard error of the mean is 0.005 and of the variance 0.007; five of each.
    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let draws: Vec<f64> = (0..10_000)
            .flat_map(|p| normals::<f64>(key(7), 3, 0, p, 2))
            .collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.025, "{mean}");
        assert!((variance - 1.0).abs() < 0.036, "{variance}");
    }
}
