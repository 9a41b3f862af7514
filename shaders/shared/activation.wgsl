// The units' activation; the slope for negative values is a layer's own, 0 for ReLU, 1 for linear.
fn activate(x: vec4<f32>, slope: f32) -> vec4<f32> {
    return select(slope * x, x, x > vec4<f32>(0.0));
}

// Derivative of the activation, told from its output.
fn slope_at(output: vec4<f32>, slope: f32) -> vec4<f32> {
    return select(vec4<f32>(slope), vec4<f32>(1.0), output > vec4<f32>(0.0));
}
