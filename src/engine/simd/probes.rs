//! The limits of the processor, measured with the threads and the instruction set that the engine uses.

use web_time::{Duration, Instant};

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::engine::profile::Limits;

/// Independent chains of multiply-adds: enough to cover their latency, few enough for 16 registers.
const CHAINS: usize = 12;
/// Samples of each of the two arrays that are copied: more than caches hold.
const COPIED: usize = 24 << 20;
/// A measurement takes at least this.
const LONG_ENOUGH: Duration = Duration::from_millis(30);
/// Hand-offs that are timed.
const LAUNCHES: usize = 1000;

/// Chains of multiply-adds in registers; returns the number of lanes and a value that hangs on all of them.
struct Chains {
    iterations: usize,
}

impl WithSimd for Chains {
    type Output = (usize, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (usize, f32) {
        // A chain that stays finite however long it is: x/2 + 1 tends to 2.
        let (half, one) = (simd.splat_f32s(0.5), simd.splat_f32s(1.0));
        let mut chains: [S::f32s; CHAINS] = std::array::from_fn(|k| simd.splat_f32s(k as f32));
        for _ in 0..self.iterations {
            for chain in &mut chains {
                *chain = simd.mul_add_f32s(*chain, half, one);
            }
        }
        let sum = chains.into_iter().fold(one, |a, b| simd.add_f32s(a, b));
        (S::F32_LANES, simd.reduce_sum_f32s(sum))
    }
}

/// Shortest of three runs of `work` with the least power of two that takes long enough; the number with it.
fn steady(work: impl Fn(usize)) -> (usize, f64) {
    let run = |n: usize| {
        let begin = Instant::now();
        work(n);
        begin.elapsed()
    };
    let mut n = 1;
    while run(n) < LONG_ENOUGH {
        n *= 2;
    }
    let least = (0..3).map(|_| run(n).as_secs_f64()).fold(f64::INFINITY, f64::min);
    (n, least)
}

/// Measures the threads of the pool that this is called in.
pub(super) fn limits(arch: Arch) -> Limits {
    let threads = rayon::current_num_threads();
    const BATCH: usize = 1024;
    let (lanes, _) = arch.dispatch(Chains { iterations: 1 });
    let (batches, seconds) = steady(|n| {
        rayon::broadcast(|_| {
            let iterations = std::hint::black_box(n * BATCH);
            std::hint::black_box(arch.dispatch(Chains { iterations }));
        });
    });
    let operations = threads * batches * BATCH * CHAINS * lanes * 2;

    let from = vec![1.0f32; COPIED];
    let mut to = vec![0.0f32; COPIED];
    let piece = COPIED.div_ceil(threads);
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let begin = Instant::now();
        to.par_chunks_mut(piece)
            .zip(from.par_chunks(piece))
            .for_each(|(to, from)| to.copy_from_slice(from));
        least = least.min(begin.elapsed().as_secs_f64());
    }
    let bytes = 2 * COPIED * size_of::<f32>();

    let launches: Vec<f64> = (0..LAUNCHES)
        .map(|_| {
            let begin = Instant::now();
            (0..threads).into_par_iter().for_each(|k| {
                std::hint::black_box(k);
            });
            begin.elapsed().as_secs_f64()
        })
        .collect();
    Limits {
        operations_per_second: operations as f64 / seconds,
        bytes_per_second: bytes as f64 / least,
        launch_seconds: launches.iter().sum::<f64>() / LAUNCHES as f64,
    }
}
