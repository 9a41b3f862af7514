//! Compiled pipelines kept on disk, where the backend can (Vulkan): the second start then compiles nothing anew.
//!
//! One file an adapter and driver. What drivers do with damaged data is theirs to know, so the file begins with a
//! checksum, and anything that does not fit it is taken for no file at all. Failing to write is no error: the cache is
//! a convenience.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::engine::gpu::device::Device;

/// First bytes of a file, then the data's CRC-32C, then the data.
const MAGIC: &[u8; 16] = b"hsr-gpu pipes 1\n";
/// Largest file that is read: far more than all pipelines of one adapter take.
const MOST_BYTES: u64 = 256 << 20;

/// The cache of one adapter.
#[derive(Debug)]
pub struct PipelineCache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    /// What the file held, by its checksum.
    loaded: Option<u32>,
}

/// The data of a file's bytes, if they are whole.
fn unpacked(file: &[u8]) -> Option<&[u8]> {
    let (checksum, data) = file.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    (crc32c::crc32c(data) == u32::from_le_bytes(*checksum)).then_some(data)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let length = std::fs::metadata(path).ok()?.len();
    if length > MOST_BYTES {
        return None;
    }
    let file = std::fs::read(path).ok()?;
    unpacked(&file).map(<[u8]>::to_vec)
}

impl PipelineCache {
    /// The cache of the device's adapter in `folder`; `None` where the backend has none.
    pub fn open(device: &Device, folder: &Path) -> Option<Self> {
        if !device.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let info = &device.info;
        let driver = crc32c::crc32c(format!("{} {} {}", info.name, info.driver, info.driver_info).as_bytes());
        let key = wgpu::util::pipeline_cache_key(info)?;
        let path = folder.join(format!("{key}_{driver:08x}"));
        let data = read(&path);
        let made = device.scoped("pipeline cache", || {
            // SAFETY: the data is what `get_data` returned, as its checksum tells; wgpu and the driver look at adapter
            // and version themselves and fall back to an empty cache.
            unsafe {
                device
                    .device
                    .create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                        label: Some("pipelines"),
                        data: data.as_deref(),
                        fallback: true,
                    })
            }
        });
        Some(PipelineCache {
            cache: made.ok()?,
            path,
            loaded: data.map(|d| crc32c::crc32c(&d)),
        })
    }

    /// What pipelines are made with.
    pub fn handle(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes the cache if it holds something new.
    pub fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let checksum = crc32c::crc32c(&data);
        let Some(folder) = self.path.parent().filter(|_| self.loaded != Some(checksum)) else {
            return;
        };
        let write = || {
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(MAGIC)?;
            file.write_all(&checksum.to_le_bytes())?;
            file.write_all(&data)?;
            file.persist(&self.path).map_err(|e| e.error)
        };
        // A folder that cannot be written to costs the next start its time, and nothing else.
        let _: std::io::Result<std::fs::File> = write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_are_taken() {
        let data = b"pipelines";
        let mut file = MAGIC.to_vec();
        file.extend(crc32c::crc32c(data).to_le_bytes());
        file.extend(data);
        assert_eq!(unpacked(&file), Some(&data[..]));
        assert_eq!(unpacked(&file[..file.len() - 1]), None);
        assert_eq!(unpacked(&file[1..]), None);
        assert_eq!(unpacked(b""), None);
        let last = file.len() - 1;
        file[last] ^= 1;
        assert_eq!(unpacked(&file), None);
    }
}
