// How many multiply-adds a second the adapter does where no memory holds it up: eight independent chains of four lanes
// an invocation, enough to cover an arithmetic unit's latency. Has no twin: its result is a time.
#import "shared/probe.wgsl"

@group(0) @binding(0) var<uniform> probe: Probe;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;    // (invocations)

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
#for K in 0..8
    var a#{K} = vec4<f32>(f32(id.x), 1.0, 2.0, 3.0) + #{K}.0;
#end
    for (var i = 0u; i < probe.count; i++) {
#for K in 0..8
        a#{K} = a#{K} * probe.factor + probe.offset;
#end
    }
    // Everything is written, so that nothing is left out.
    out[id.x] = dot(a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7, vec4<f32>(1.0));
}
