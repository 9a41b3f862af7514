//! What the fuzz targets share: bytes become a file, because that is what readers take.

use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

/// In memory where the system has a folder for that: millions of files wear no disk.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(parent).expect("a folder for the fuzzed file")
});

/// Writes `data` under this name and gives its path.
pub fn file(name: &str, data: &[u8]) -> String {
    let path = FOLDER.path().join(name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("room for a folder");
    }
    std::fs::write(&path, data).expect("room for the fuzzed file");
    path.to_string_lossy().into_owned()
}

/// Reads a file of this name as an image and as a matrix: an error is as good as an image, a panic is not.
pub fn read(name: &str, data: &[u8]) {
    let path = file(name, data);
    let _ = hsr_gpu::io::read_cube(&path);
    let _ = hsr_gpu::io::read_matrix(&path);
}
