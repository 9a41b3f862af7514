// PSF with its derivatives, and SRF, from the parameters theta. Workgroup 0 makes the PSF, workgroup 1 + j column j
// of the SRF. Twin: src/engine/cpu/degradation.rs.

@group(0) @binding(0) var<storage, read> theta: array<f32>;             // (3, 5 + 8 b): parameters and moments
@group(0) @binding(1) var<storage, read_write> bank: array<f32>;        // (6, K, K)
@group(0) @binding(2) var<storage, read_write> srf: array<f32>;         // (b, bands padded to 4)

const WG = #{WG}u;
const AREA = #{KERNEL * KERNEL}u;

var<workgroup> partial: array<vec4<f32>, #{2 * WG}>;

// Sums partial[0..WG] and partial[WG..2 WG] into their first elements, in a fixed order.
fn reduce(lane: u32) {
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] += partial[lane + half];
            partial[WG + lane] += partial[WG + lane + half];
        }
        workgroupBarrier();
    }
}

// Unnormalised Gaussian at a pixel of the window, and the derivatives of its exponent to the five parameters.
struct Gaussian {
    value: f32,
    first: vec4<f32>,
    last: f32,
}

fn gaussian(at: u32) -> Gaussian {
    // From the middle of the window, (K - 1) / 2, and the learned offset from it.
    let dr = f32(at / #{KERNEL}u) - 0.5 * #{KERNEL - 1}.0 - theta[3];
    let dc = f32(at % #{KERNEL}u) - 0.5 * #{KERNEL - 1}.0 - theta[4];
    let u = theta[0] * dr;
    let v = theta[1] * dr + theta[2] * dc;
    return Gaussian(
        exp(-0.5 * (u * u + v * v)),
        vec4<f32>(-u * dr, -v * dr, -v * dc, u * theta[0] + v * theta[1]),
        v * theta[2],
    );
}

fn psf(lane: u32) {
    var sums = vec4<f32>(0.0);
    var others = vec4<f32>(0.0);
    for (var at = lane; at < AREA; at += WG) {
        let g = gaussian(at);
        sums += g.value * g.first;
        others += vec4<f32>(g.value, g.value * g.last, 0.0, 0.0);
    }
    partial[lane] = sums;
    partial[WG + lane] = others;
    reduce(lane);
    let total = partial[WG].x;
    let first_mean = partial[0] / total;
    let last_mean = partial[WG].y / total;
    for (var at = lane; at < AREA; at += WG) {
        let g = gaussian(at);
        let c = g.value / total;
        // The normalisation moves with the parameter: dC = C (q - sum C q).
        let first = c * (g.first - first_mean);
        bank[at] = c;
        bank[AREA + at] = first.x;
        bank[2u * AREA + at] = first.y;
        bank[3u * AREA + at] = first.z;
        bank[4u * AREA + at] = first.w;
        bank[5u * AREA + at] = c * (g.last - last_mean);
    }
}

fn mixture(j: u32, band: u32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < 4u; k++) {
        let z = (f32(band) - theta[5u + j * 4u + k]) / theta[#{5 + 4 * MSI}u + j * 4u + k];
        sum += exp(-0.5 * z * z);
    }
    return sum;
}

fn response(j: u32, lane: u32) {
    var sum = 0.0;
    for (var band = lane; band < #{BANDS}u; band += WG) {
        sum += mixture(j, band);
    }
    partial[lane] = vec4<f32>(sum);
    reduce(lane);
    let total = partial[0].x;
    for (var band = lane; band < #{BANDS}u; band += WG) {
        srf[j * #{4 * BAND_QUADS}u + band] = mixture(j, band) / total;
    }
}

@compute @workgroup_size(#{WG})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if group.x == 0u {
#if PARAMETRIC_PSF
        psf(lane);
#endif
    } else {
#if PARAMETRIC_SRF
        response(group.x - 1u, lane);
#endif
    }
}
