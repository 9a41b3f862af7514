//! `devices`: the GPU adapters of this machine and what they can do.

use clap::Args;

use super::Output;
use crate::engine::gpu::adapters;
use crate::error::Result;

/// List the GPU adapters of this machine
#[derive(Debug, Args)]
#[command(after_help = "Example: hsr-gpu devices\n         hsr-gpu fuse --adapter 0 …")]
pub struct Devices {}

impl Devices {
    /// Prints the adapters with limits and features.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] if standard output cannot be written.
    pub fn run(&self, output: &Output) -> Result<()> {
        let adapters = adapters();
        let mut text = String::new();
        for a in &adapters {
            let features: Vec<&str> = [
                ("f16", a.shader_f16),
                ("timestamps", a.timestamps),
                ("subgroups", a.subgroups),
                ("pipeline cache", a.pipeline_cache),
                ("cooperative matrices", a.cooperative_matrix),
            ]
            .into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect();
            text += &format!(
                "{}: {} ({}, {})\n   driver {}\n   binding {} MiB, buffer {} MiB, workgroup {} KiB, {} invocations\n   {}\n",
                a.index,
                a.name,
                a.backend,
                a.kind,
                a.driver,
                a.max_storage_buffer_binding_size >> 20,
                a.max_buffer_size >> 20,
                a.max_compute_workgroup_storage_size >> 10,
                a.max_compute_invocations_per_workgroup,
                features.join(", "),
            );
            if !a.cooperative_matrix_shapes.is_empty() {
                let used = if a.cooperative_matrix_used {
                    "used by --precision f16 once `verify --precision f16` has passed"
                } else {
                    "not used by --precision f16"
                };
                let shapes = a.cooperative_matrix_shapes.join(", ");
                text += &format!("   cooperative matrices {shapes}; {used}\n");
            }
        }
        if adapters.is_empty() {
            text += "no adapter: install a Vulkan driver, or use --backend cpu\n";
        }
        output.result(&serde_json::json!({"adapters": adapters}), &text)
    }
}
