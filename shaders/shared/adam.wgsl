// Adam (Kingma and Ba, 2015) with decays 0.9 and 0.999 and 1e-8 beside the root; the bias corrections are worked
// into `step_size` and `root`.

struct Updated {
    parameter: vec4<f32>,
    m: vec4<f32>,
    v: vec4<f32>,
}

fn adam(g: vec4<f32>, parameter: vec4<f32>, m0: vec4<f32>, v0: vec4<f32>, step_size: f32, root: f32) -> Updated {
    let m = 0.9 * m0 + 0.1 * g;
    let v = 0.999 * v0 + 0.001 * g * g;
    return Updated(parameter - step_size * m / (sqrt(v) * root + 1e-8), m, v);
}
