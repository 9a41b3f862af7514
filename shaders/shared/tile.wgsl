// A tile of pixels to reconstruct; twin of `TileUniform` in src/engine/gpu/step.rs.
struct Tile {
    key: vec2<u32>,      // seed of a sample's random numbers
    step: u32,           // 0: the counter that the twin uses at inference
    pixels: u32,         // pixels of this tile
    first_pixel: u32,    // number of its first pixel in the whole image
    first_member: u32,   // members that are averaged
    members: u32,
    share: f32,          // 1 / members
    zero: u32,           // 0, see shared/start.wgsl
}
