//! Adapters on which cooperative matrices were found to compute what they should.
//!
//! What naga writes for them is not valid in all of the Vulkan memory model's rules (docs/PERFORMANCE.md), so a driver may
//! take it otherwise than it is meant. They are used where `verify --precision f16` has passed: it leaves a note in the folder
//! of compiled pipelines, for this adapter, its driver, and the texts of this build.

use std::path::{Path, PathBuf};

use crate::engine::gpu::shaders;

fn note_of(folder: &Path, info: &wgpu::AdapterInfo) -> PathBuf {
    let adapter = format!(
        "{} {} {} {} {}",
        info.vendor, info.device, info.name, info.driver, info.driver_info
    );
    let adapter = crc32c::crc32c(adapter.as_bytes());
    folder.join(format!("matrices_{adapter:08x}_{:08x}", shaders::checksum()))
}

/// Whether they were found right on this adapter.
pub fn is_noted(folder: &Path, info: &wgpu::AdapterInfo) -> bool {
    note_of(folder, info).is_file()
}

/// Notes that they were.
///
/// # Errors
/// Those of the file system.
pub fn note(folder: &Path, info: &wgpu::AdapterInfo) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(note_of(folder, info), format!("{}: verified\n", info.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_one_adapter_and_driver() {
        let folder = tempfile::tempdir().unwrap();
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::DiscreteGpu, wgpu::Backend::Vulkan);
        info.name = "card".into();
        assert!(!is_noted(folder.path(), &info));
        note(folder.path(), &info).unwrap();
        assert!(is_noted(folder.path(), &info));
        info.driver_info = "another".into();
        assert!(!is_noted(folder.path(), &info));
    }
}
