// The network over HR pixels, members averaged; an invocation a pixel. Twin: src/engine/cpu/reconstruct.rs.
#if HALF
enable f16;
#endif
#if HALF && MATRIX
enable wgpu_cooperative_matrix;
#endif
#import "shared/tile.wgsl"

@group(0) @binding(0) var<uniform> step: Tile;
@group(0) @binding(1) var<storage, read> hr_msi: array<f32>;                // (pixels, b)
@group(0) @binding(2) var<storage, read> network: array<vec4<f32>>;         // (members, parameters), (b + 1, B)
@group(0) @binding(3) var<storage, read_write> image: array<vec4<f32>>;     // (pixels, B or P)

#if HALF && MATRIX
@group(0) @binding(4) var<storage, read> weights: array<f16>;               // (members, layers' (inputs, outputs))
#endif
#if HALF && !MATRIX
@group(0) @binding(4) var<storage, read> weights: array<vec4<f16>>;         // (members, layers' (inputs, outputs))
#endif

#if HALF
#import "shared/half_network.wgsl"
#else
#import "shared/network.wgsl"
#endif
#import "shared/noise.wgsl"

const BAND_QUADS = #{BAND_QUADS}u;
const WIDTH = #{BAND_WIDTH}u;

#if WITH_MEAN || WITH_STD
// Adds a member's share of a quad of bands to the image; `first` is the first member.
fn put(
    at: u32,
    n: u32,
    quad: u32,
    first: bool,
    mean: vec4<f32>,
    deviation: vec4<f32>,
    msi: ptr<function, array<f32, #{MSI + 1}>>,
) {
    var z = vec4<f32>(0.0);
#if WITH_MEAN
    z += step.share * mean;
#if LINEAR
    if first {
        z += linear_path(msi, quad);
    }
#endif
#if WITH_STD
    z += deviation * epsilon(step.step, #{PURPOSE}u, step.first_pixel + n, 0u, quad);
#endif
#else
    z += step.share * deviation;
#endif
    if !first {
        z += image[at];
    }
    image[at] = z;
}
#endif

@compute @workgroup_size(#{WG})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let place = (group.y * groups.x + group.x) * #{WG}u + lane;
    let inside = place < step.pixels;
#if HALF
    // All invocations reach the barriers; those past the last pixel repeat it.
    let n = min(place, step.pixels - 1u);
#else
    if !inside {
        return;
    }
    let n = place;
#endif
    var msi: array<f32, #{MSI + 1}>;
    for (var j = start(); j < #{MSI}u; j++) {
        msi[j] = hr_msi[n * #{MSI}u + j];
    }
    msi[#{MSI}] = 1.0;
    for (var e = start(); e < step.members; e++) {
        let number = step.first_member + e;
#if HALF
        let member = number * #{HALF_QUADS}u;
        encode(lane, member, &msi);
        for (var columns = start(); columns < #{HALF_COLUMNS[MEAN] / 16}u; columns++) {
#if WITH_MEAN
            product_#{MEAN}(lane, member, columns, 0u);
#endif
#if WITH_STD
            product_#{STD}(lane, member, columns, 1u);
#endif
            workgroupBarrier();
            if inside {
                for (var k = start(); k < min(4u, BAND_QUADS - 4u * columns); k++) {
                    var mean = vec4<f32>(0.0);
                    var deviation = vec4<f32>(0.0);
#if WITH_MEAN
                    mean = activate(product_of(lane, 0u, k), #{SLOPE[MEAN]});
#endif
#if WITH_STD
                    deviation = activate(product_of(lane, 1u, k), #{SLOPE[STD]});
#endif
                    let quad = 4u * columns + k;
                    put(n * BAND_QUADS + quad, n, quad, e == 0u, mean, deviation, &msi);
                }
            }
            workgroupBarrier();
        }
#else
        let member = number * #{PARAMETER_QUADS}u;
#for L in 0..LAYERS
#if !LAST[L] && (BRANCH[L] == 0 || (BRANCH[L] == 1 && WITH_MEAN) || (BRANCH[L] == 2 && WITH_STD))
        var h#{L}: array<f32, #{LENGTH[L]}>;
#if OWN[L] > 0
        layer_#{L}(member, &h#{FROM[L]}, &msi, &h#{L});
#else
        layer_#{L}(member, &msi, &msi, &h#{L});
#endif
#endif
#end
#if !WITH_MEAN && !WITH_STD
        for (var k = start(); k < #{QUADS[ABUNDANCE]}u; k++) {
            image[n * #{QUADS[ABUNDANCE]}u + k] = vec4<f32>(
                h#{ABUNDANCE}[4u * k],
                h#{ABUNDANCE}[4u * k + 1u],
                h#{ABUNDANCE}[4u * k + 2u],
                h#{ABUNDANCE}[4u * k + 3u],
            );
        }
#else
        for (var tile = start(); tile < #{BAND_TILES}u; tile++) {
            var mean: array<vec4<f32>, #{BAND_WIDTH}>;
            var deviation: array<vec4<f32>, #{BAND_WIDTH}>;
#if WITH_MEAN
            layer_#{MEAN}(member, &h#{FROM[MEAN]}, tile, &mean);
#endif
#if WITH_STD
            layer_#{STD}(member, &h#{FROM[STD]}, tile, &deviation);
#endif
            for (var k = start(); k < min(WIDTH, BAND_QUADS - tile * WIDTH); k++) {
                let quad = tile * WIDTH + k;
                put(n * BAND_QUADS + quad, n, quad, e == 0u, mean[k], deviation[k], &msi);
            }
        }
#endif
#endif
    }
}
