// What a probe is told; twin of `ProbeUniform` in src/engine/gpu/probes.rs.
struct Probe {
    count: u32,        // iterations, or vectors to copy
    factor: f32,
    offset: f32,
}
