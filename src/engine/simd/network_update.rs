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
    let next = |g, x, m, v| {
        let m = simd.mul_add_e_f32s(rest1, g, simd.mul_f32s(beta1, m));
        let v = simd.mul_add_e_f32s(simd.mul_f32s(rest2, g), g, simd.mul_f32s(beta2, v));
        let root = simd.mul_add_e_f32s(simd.sqrt_f32s(v), correction, epsilon);
        let x = simd.sub_f32s(x, simd.div_f32s(simd.mul_f32s(size, m), root));
        (x, m, v)
    };
    let (g, g_tail) = S::as_simd_f32s(gradient);
    let (x, x_tail) = S::as_simd_f32s(from);
    let (to, to_tail) = S::as_mut_simd_f32s(to);
    let (m, m_tail) = S::as_mut_simd_f32s(m);
    let (v, v_tail) = S::as_mut_simd_f32s(v);
    let count = g.len();
    let (x, to, m, v) = (&x[..count], &mut to[..count], &mut m[..count], &mut v[..count]);
    for k in 0..count {
        (to[k], m[k], v[k]) = next(g[k], x[k], m[k], v[k]);
    }
    let load = |x: &[f32]| simd.partial_load_f32s(x);
    let (x, first, second) = next(load(g_tail), load(x_tail), load(m_tail), load(v_tail));
    simd.partial_store_f32s(to_tail, x);
    simd.partial_store_f32s(m_tail, first);
    simd.partial_store_f32s(v_tail, second);
}
