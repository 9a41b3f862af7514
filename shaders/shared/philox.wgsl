// Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller normals; the same code as src/random.rs.
#import "shared/start.wgsl"

#if WIDE
// Lower and upper word of a * b.
fn multiply(a: u32, b: u32) -> vec2<u32> {
    let product = u64(a) * u64(b);
    return vec2<u32>(u32(product & 0xfffffffflu), u32(product >> 32u));
}
#else
// Lower and upper word of a * b, the upper one from 16-bit halves: without 64-bit integers WGSL has no wide multiply.
fn multiply(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let middle = a1 * b0 + ((a0 * b0) >> 16u);
    let low = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>(a * b, a1 * b1 + (middle >> 16u) + (low >> 16u));
}
#endif

fn philox(key: vec2<u32>, counter: vec4<u32>) -> vec4<u32> {
    var k = key;
    var c = counter;
    for (var round = start(); round < 10u; round++) {
        let first = multiply(0xCD9E8D57u, c.z);
        let second = multiply(0xD2511F53u, c.x);
        c = vec4<u32>(first.y ^ c.y ^ k.x, first.x, second.y ^ c.w ^ k.y, second.x);
        k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// A word as a number in (0, 1): the upper 23 bits, centred.
fn uniform_of(word: u32) -> f32 {
    return (f32(word >> 9u) + 0.5) * (1.0 / 8388608.0);
}

// Natural logarithm of a normal number in (0, 1), relative error below 1e-7. WGSL promises only an absolute error
// of 2^-21 near 1, where ln is small. The polynomial is a Chebyshev fit of (ln(1+x) - x + x*x/2) / x^3.
fn log_unit(u: f32) -> f32 {
    let bits = bitcast<u32>(u);
    let m = bitcast<f32>((bits & 0x7fffffu) | 0x3f000000u);
    let low = m < 0.70710678;
    let e = f32(i32(bits >> 23u) - select(126, 127, low));
    let x = select(m, m + m, low) - 1.0;
    var p = 0.07149753719568253;
    p = p * x - 0.115712009370327;
    p = p * x + 0.11661510914564133;
    p = p * x - 0.12411050498485565;
    p = p * x + 0.14249937236309052;
    p = p * x - 0.1666848063468933;
    p = p * x + 0.20000708103179932;
    p = p * x - 0.24999989569187164;
    p = p * x + 0.3333333134651184;
    let z = x * x;
    // ln 2 in two parts, the first exact in few bits.
    let tail = p * x * z - 2.12194440e-4 * e - 0.5 * z;
    return (x + tail) + 0.693359375 * e;
}

// (cos, sin) of 2 pi u, absolute error below 1e-7: exact reduction to an eighth of a turn, Chebyshev fits there.
fn circle(u: f32) -> vec2<f32> {
    let quarters = u * 4.0;
    let nearest = floor(quarters + 0.5);
    let r = quarters - nearest;
    let z = r * r;
    var s = 0.00015820653061382473;
    s = s * z - 0.004681266378611326;
    s = s * z + 0.07969257980585098;
    s = s * z - 0.6459640860557556;
    s = s * z + 1.5707963705062866;
    s = s * r;
    var c = -2.4909255444072187e-05;
    c = c * z + 0.0009191963472403586;
    c = c * z - 0.020863475278019905;
    c = c * z + 0.25366950035095215;
    c = c * z - 1.2337005138397217;
    c = c * z + 1.0;
    let turn = u32(nearest) & 3u;
    let swapped = select(vec2<f32>(c, s), vec2<f32>(-s, c), (turn & 1u) == 1u);
    return select(swapped, -swapped, turn >= 2u);
}

fn normal_pair(a: u32, b: u32) -> vec2<f32> {
    return sqrt(-2.0 * log_unit(uniform_of(a))) * circle(uniform_of(b));
}

// Four standard normals for the bands 4 * quad .. of a pixel.
fn normals(key: vec2<u32>, step: u32, purpose: u32, pixel: u32, quad: u32) -> vec4<f32> {
    let w = philox(key, vec4<u32>(pixel, quad, purpose, step));
    return vec4<f32>(normal_pair(w.x, w.y), normal_pair(w.z, w.w));
}
