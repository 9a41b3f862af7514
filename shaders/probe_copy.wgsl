// How many bytes a second the adapter reads and writes: a copy, an invocation a vector. Has no twin: its result is a
// time.
#import "shared/probe.wgsl"

@group(0) @binding(0) var<uniform> probe: Probe;
@group(0) @binding(1) var<storage, read> original: array<vec4<f32>>;     // (vectors)
@group(0) @binding(2) var<storage, read_write> duplicate: array<vec4<f32>>; // (vectors)

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * groups.x + group.x) * 256u + lane;
    if at < probe.count {
        duplicate[at] = original[at];
    }
}
