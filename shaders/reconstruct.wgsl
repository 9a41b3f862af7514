// The network over HR pixels, members averaged; an invocation a pixel. Twin: src/engine/cpu/reconstruct.rs.
#import "shared/tile.wgsl"

@group(0) @binding(0) var<uniform> step: Tile;
@group(0) @binding(1) var<storage, read> hr_msi: array<f32>;                // (pixels, b)
@group(0) @binding(2) var<storage, read> network: array<vec4<f32>>;         // (members, parameters), (b + 1, B)
@group(0) @binding(3) var<storage, read_write> image: array<vec4<f32>>;     // (pixels, B or P)

#import "shared/network.wgsl"
#import "shared/noise.wgsl"

const BAND_QUADS = #{BAND_QUADS}u;
const WIDTH = #{BAND_WIDTH}u;

@compute @workgroup_size(#{WG})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * #{WG}u + lane;
    if n >= step.pixels {
        return;
    }
    var msi: array<f32, #{MSI + 1}>;
    for (var j = start(); j < #{MSI}u; j++) {
        msi[j] = hr_msi[n * #{MSI}u + j];
    }
    msi[#{MSI}] = 1.0;
    for (var e = start(); e < step.members; e++) {
        let member = (step.first_member + e) * #{PARAMETER_QUADS}u;
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
#if WITH_MEAN
            var mean: array<vec4<f32>, #{BAND_WIDTH}>;
            layer_#{MEAN}(member, &h#{FROM[MEAN]}, tile, &mean);
#endif
#if WITH_STD
            var deviation: array<vec4<f32>, #{BAND_WIDTH}>;
            layer_#{STD}(member, &h#{FROM[STD]}, tile, &deviation);
#endif
            for (var k = start(); k < WIDTH; k++) {
                let quad = tile * WIDTH + k;
                if quad >= BAND_QUADS {
                    break;
                }
                var z = vec4<f32>(0.0);
#if WITH_MEAN
                z += step.share * mean[k];
#if LINEAR
                if e == 0u {
                    z += linear_path(&msi, quad);
                }
#endif
#if WITH_STD
                z += deviation[k] * epsilon(step.step, #{PURPOSE}u, step.first_pixel + n, 0u, quad);
#endif
#else
                z += step.share * deviation[k];
#endif
                let at = n * BAND_QUADS + quad;
                if e > 0u {
                    z += image[at];
                }
                image[at] = z;
            }
        }
#endif
    }
}
