//! Temporary files: what becomes a result, and probes that ask what a folder takes.
//!
//! Each is locked while it is written, and its name says what it would have become, so that whoever writes that target next
//! removes what killed processes left of it.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// Random letters and digits at the end of a temporary name.
const RANDOM: usize = 6;
/// Bytes of the target's name in a temporary one at most: file systems take names of 255.
const NAMED: usize = 200;

/// What the names of temporary files begin with.
const MARK: &str = ".hsr-gpu-";

/// What the names of all temporary files of the target `path` begin with; targets with names that are too long to stand
/// in them may share it.
pub(super) fn prefix_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|&end| end <= NAMED).last().unwrap_or(0);
    format!("{MARK}{}-", &name[..end])
}

/// What all temporary files of the target of one of this name begin with; `None` for any other name.
pub(super) fn prefix_in(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let random = name.strip_prefix(MARK)?.rsplit_once('-')?.1;
    let fits = random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then(|| &name[..name.len() - RANDOM])
}

/// Name of the target of files that only ask what a folder takes. A killed process may leave one, as it may leave any other
/// temporary file.
const PROBE: &str = "Probe";

/// A locked file in `folder` that is to become the target `path`.
///
/// # Errors
/// Of the file system, where the folder takes no files.
pub(super) fn create(path: &Path, folder: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix_of(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    // Temporary files are private by default; a result gets the rights that any new file would get.
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    locked(&mut builder, folder)
}

/// A locked file without content in `folder`, which is gone when it is dropped. Its name has letters of both cases.
///
/// # Errors
/// Of the file system, where the folder takes no files.
pub(super) fn probe(folder: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix_of(Path::new(PROBE));
    locked(tempfile::Builder::new().prefix(&prefix), folder)
}

/// Removes probes and temporary files of these targets in `folder` that nobody writes any more: those whose lock is free.
/// Where a file system has no locks, or one cannot be looked at, they stay.
pub(super) fn remove_abandoned(folder: &Path, targets: &[&Path]) {
    let targets = targets.iter().copied().chain([Path::new(PROBE)]);
    let prefixes: HashSet<String> = targets.map(prefix_of).collect();
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if !prefix_in(&path).is_some_and(|prefix| prefixes.contains(prefix)) {
            continue;
        }
        // Removed under the lock: whoever has just created it sees that it is locked, or gone.
        let Ok(file) = File::options().write(true).open(entry.path()) else {
            continue;
        };
        if file.try_lock().is_ok() {
            let _stays_where_that_is_refused = fs::remove_file(entry.path());
        }
    }
}

/// A new file in `folder`, locked where the file system has locks.
fn locked(builder: &mut tempfile::Builder, folder: &Path) -> io::Result<NamedTempFile> {
    loop {
        let file = builder.rand_bytes(RANDOM).tempfile_in(folder)?;
        match file.as_file().try_lock() {
            // Before it was locked, somebody may have taken it for an abandoned one.
            Err(TryLockError::WouldBlock) => continue,
            Ok(()) if !file.path().try_exists()? => continue,
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}
