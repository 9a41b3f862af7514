// The network over HR pixels, members averaged; an invocation #{PIXELS} pixel(s). Twin: src/engine/cpu/reconstruct.rs.
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
    msi: ptr<function, array<vec4<f32>, #{MSI / 4 + 1}>>,
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
    let place0 = (group.y * groups.x + group.x) * #{WG * PIXELS}u + lane;
#if HALF
    // All invocations reach the barriers; those past the last pixel repeat it.
    let inside0 = place0 < step.pixels;
#else
    if place0 >= step.pixels {
        return;
    }
#for P in 1..PIXELS
    let place#{P} = place0 + #{P * WG}u;
    let inside#{P} = place#{P} < step.pixels;
#end
#endif
#for P in 0..PIXELS
    let n#{P} = min(place#{P}, step.pixels - 1u);
    var msi#{P}: array<vec4<f32>, #{MSI / 4 + 1}>;
#for J in 0..MSI
    msi#{P}[#{J / 4}][#{J % 4}] = hr_msi[n#{P} * #{MSI}u + #{J}u];
#end
    msi#{P}[#{MSI / 4}][#{MSI % 4}] = 1.0;
#end
    for (var e = rolled(); e < step.members; e++) {
        let number = step.first_member + e;
#if HALF
        let member = number * #{HALF_QUADS}u;
        encode(lane, member, &msi0);
        for (var columns = rolled(); columns < #{HALF_COLUMNS[MEAN] / 16}u; columns++) {
#if WITH_MEAN
            product_#{MEAN}(lane, member, columns, 0u);
#endif
#if WITH_STD
            product_#{STD}(lane, member, columns, 1u);
#endif
            workgroupBarrier();
            if inside0 {
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
                    put(n0 * BAND_QUADS + quad, n0, quad, e == 0u, mean, deviation, &msi0);
                }
            }
            workgroupBarrier();
        }
#else
        let member = number * #{PARAMETER_QUADS}u;
#for L in 0..LAYERS
#if !LAST[L] && (BRANCH[L] == 0 || (BRANCH[L] == 1 && WITH_MEAN) || (BRANCH[L] == 2 && WITH_STD))
#for P in 0..PIXELS
        var h#{L}_#{P}: array<vec4<f32>, #{LENGTH[L]}>;
#end
        layer_#{L}(
            member,
#for P in 0..PIXELS
#if OWN[L] > 0
            &h#{FROM[L]}_#{P},
#else
            &msi#{P},
#endif
            &msi#{P},
            &h#{L}_#{P},
#end
        );
#endif
#end
#if !WITH_MEAN && !WITH_STD
#for P in 0..PIXELS
#if P > 0
        if !inside#{P} {
            continue;
        }
#endif
#for K in 0..QUADS[ABUNDANCE]
        image[n#{P} * #{QUADS[ABUNDANCE]}u + #{K}u] = h#{ABUNDANCE}_#{P}[#{K}];
#end
#end
#else
        for (var tile = rolled(); tile < #{BAND_TILES}u; tile++) {
#for P in 0..PIXELS
            var mean#{P}: array<vec4<f32>, #{BAND_WIDTH}>;
            var deviation#{P}: array<vec4<f32>, #{BAND_WIDTH}>;
#end
#if WITH_MEAN
            layer_#{MEAN}(
                member,
                tile,
#for P in 0..PIXELS
                &h#{FROM[MEAN]}_#{P},
                &mean#{P},
#end
            );
#endif
#if WITH_STD
            layer_#{STD}(
                member,
                tile,
#for P in 0..PIXELS
                &h#{FROM[STD]}_#{P},
                &deviation#{P},
#end
            );
#endif
            // A text for each quad keeps them in registers, but that of normals is too long for that.
#if WITH_MEAN && WITH_STD
            for (var k = rolled(); k < min(WIDTH, BAND_QUADS - tile * WIDTH); k++) {
                let quad = tile * WIDTH + k;
#for P in 0..PIXELS
#if P > 0
                // Pixels of an invocation ascend: where one is outside, those behind it are.
                if !inside#{P} {
                    continue;
                }
#endif
                put(n#{P} * BAND_QUADS + quad, n#{P}, quad, e == 0u, mean#{P}[k], deviation#{P}[k], &msi#{P});
#end
            }
#else
#for P in 0..PIXELS
#if P > 0
            if inside#{P} {
#endif
#for K in 0..BAND_WIDTH
            let quad#{P}_#{K} = tile * WIDTH + #{K}u;
            if quad#{P}_#{K} < BAND_QUADS {
                let at = n#{P} * BAND_QUADS + quad#{P}_#{K};
                put(at, n#{P}, quad#{P}_#{K}, e == 0u, mean#{P}[#{K}], deviation#{P}[#{K}], &msi#{P});
            }
#end
#if P > 0
            }
#endif
#end
#endif
        }
#endif
#endif
    }
}
