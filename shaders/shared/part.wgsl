// A part of an image in a pass of refinement; twin of `PartUniform` in src/engine/gpu/parts.rs.
struct Part {
    hr_row: u32,         // first row of buffers on the HR grid
    hr_rows: u32,        // rows of them
    hr_height: u32,      // rows of the whole HR grid
    hr_columns: u32,
    lr_row: u32,         // the same of the LR grid; in dct_denoise of the grid of blocks
    lr_rows: u32,
    lr_height: u32,
    lr_columns: u32,
    quad: u32,           // first quad of bands that is there, and how many are
    quads: u32,
    reach: u32,          // radius rounded up
    radius: f32,         // of the guide, see `Guide` in src/engine/refinement.rs
    sharpness: f32,      // its precision, which is a reserved word
    first_group: u32,    // workgroup that a dispatch begins with, of those that are needed: a long one is cut
    zero: u32,           // 0, see shared/start.wgsl
}
