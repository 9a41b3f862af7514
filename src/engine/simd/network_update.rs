//! Adam over lanes; the constants and the formula are the twin's.

use pulp::Simd;

use crate::engine::cpu::network_update::Adam;

/// Writes the updated `from` to `to` and updates its moments; all of one length.
#[inline(always)]
pub(super) fn update<S: Simd>(
    simd: S,
    adam: Adam,
    gradient: &[f32],
    from: &[f32],
    to: &mut [f32],
    (m, v): (&mut [f32], &mut [f32]),
) {
    let f = |x: f64| simd.splat_f32s(x as f32);
    let (beta1, rest1) = (f(Adam::BETA1), f(1.0 - Adam::BETA1));
    let (beta2, rest2) = (f(Adam::BETA2), f(1.0 - Adam::BETA2));
    let (correction, epsilon, size) = (f(adam.root_correction), f(Adam::EPSILON), f(adam.step_size));
    let lanes = S::F32_LANES;
    let states = m.chunks_mut(lanes).zip(v.chunks_mut(lanes));
    let values = from.chunks(lanes).zip(to.chunks_mut(lanes));
    for ((g, (m, v)), (from, to)) in gradient.chunks(lanes).zip(states).zip(values) {
        let gradient = simd.partial_load_f32s(g);
        let first = simd.mul_f32s(beta1, simd.partial_load_f32s(m));
        let first = simd.mul_add_e_f32s(rest1, gradient, first);
        let second = simd.mul_f32s(beta2, simd.partial_load_f32s(v));
        let second = simd.mul_add_e_f32s(simd.mul_f32s(rest2, gradient), gradient, second);
        let root = simd.mul_add_e_f32s(simd.sqrt_f32s(second), correction, epsilon);
        let step = simd.div_f32s(simd.mul_f32s(size, first), root);
        simd.partial_store_f32s(m, first);
        simd.partial_store_f32s(v, second);
        simd.partial_store_f32s(to, simd.sub_f32s(simd.partial_load_f32s(from), step));
    }
}
