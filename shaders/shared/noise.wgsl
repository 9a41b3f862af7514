// Where epsilon comes from, and the linear path; needs `step`, `network` and, for given noise, `noise`.
#import "shared/philox.wgsl"

// Epsilon of the bands 4 * quad .. of a pixel in step `counter`: `index` is the pixel's number in its batch, `row` its
// row of `noise`.
fn epsilon(counter: u32, purpose: u32, index: u32, row: u32, quad: u32) -> vec4<f32> {
#if NOISE == 0
    return vec4<f32>(0.0);
#else
#if NOISE == 1
    return normals(step.key, counter, purpose, index, quad);
#else
    return noise[row * #{BAND_QUADS}u + quad];
#endif
#endif
}

#if LINEAR
// The fixed linear map from MSI pixel to bands, for one quad of bands.
fn linear_path(msi: ptr<function, array<vec4<f32>, #{MSI / 4 + 1}>>, quad: u32) -> vec4<f32> {
    var sum = network[#{LINEAR_AT + MSI * BAND_QUADS}u + quad];
#for J in 0..MSI
    sum += (*msi)[#{J / 4}][#{J % 4}] * network[#{LINEAR_AT + J * BAND_QUADS}u + quad];
#end
    return sum;
}
#endif
