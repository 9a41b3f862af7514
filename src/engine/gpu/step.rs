//! The uniforms: what changes from one dispatch list to the next. Layouts are tested against the shaders' structs.

use bytemuck::{Pod, Zeroable};

/// Twin of `Step` in `shaders/shared/step.wgsl`, which says what the fields mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct StepUniform {
    pub key: [u32; 2],
    pub step: u32,
    pub member: u32,
    pub lr_first: u32,
    pub lr_count: u32,
    pub hr_first: u32,
    pub hr_count: u32,
    pub slot: u32,
    pub update_network: u32,
    pub network_step: f32,
    pub network_root: f32,
    pub degradation_step: f32,
    pub degradation_root: f32,
    pub lr_scale: f32,
    pub blur_scale: f32,
    pub response_scale: f32,
    pub observation_scale: f32,
    pub alpha_blur: f32,
    pub alpha_response: f32,
    pub alpha_observation: f32,
    pub zero: u32,
    pub index: u32,
    pub run: u32,
    pub first_group: u32,
    /// Fills the struct up to the eight bytes that `key` aligns it to.
    pub padding: u32,
}

/// Twin of `Tile` in `shaders/shared/tile.wgsl`, which says what the fields mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct TileUniform {
    pub key: [u32; 2],
    pub step: u32,
    pub pixels: u32,
    pub first_pixel: u32,
    pub first_member: u32,
    pub members: u32,
    pub share: f32,
    pub zero: u32,
    /// Fills the struct up to the eight bytes that `key` aligns it to.
    pub padding: u32,
}
