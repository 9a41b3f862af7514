//! The loop: which LR pixels a step takes, in which order, at which rate, and what is done with the losses.
//!
//! It knows no wgpu type; everything that a device does goes through [`crate::engine::Engine`].

pub mod batches;
pub mod checkpoint;
pub mod config;

pub mod crossfit;
pub mod deviation;
pub mod fuse;
pub mod fused_scene;
pub mod held_out;
pub mod inference;
pub mod keeper;
pub mod manifest;
pub mod memory;
pub mod method;
pub mod model;
pub mod native;
pub mod overlap;
pub mod placement;
pub mod prior;
pub mod product;
pub mod reconstruct;
pub mod refined;
pub mod response;
pub mod revival;
pub mod run;
pub mod scene;
pub mod stages;
pub mod start;
pub mod summary;
pub mod tensor_file;
pub mod training;
pub mod training_set;
pub mod watcher;
pub mod windows;
