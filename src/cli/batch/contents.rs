//! What the files of a scene held when it was fused, so that a finished scene is known again by contents and not by times.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::OutputSet;

/// Bytes that are read in one go.
const BLOCK: usize = 1 << 20;
/// Seconds that a file must have lain unchanged before its stamp says that it still does: clocks of file systems are coarse.
#[cfg(unix)]
const SETTLED: u64 = 2;

/// A file as it was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    length: u64,
    /// CRC-32C of all of it.
    checksum: u32,
    /// What the system changes with every change of contents and no user can set back; none where there is no such thing, or
    /// where the file had just been changed.
    stamp: Option<String>,
}

/// The files that a scene is made from, by their names.
#[derive(Debug, Serialize, Deserialize)]
pub struct Contents(BTreeMap<String, Seen>);

/// Device, number and time of the last change of contents or attributes.
#[cfg(unix)]
fn stamp(file: &std::fs::Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    use std::time::{SystemTime, UNIX_EPOCH};
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let settled = u64::try_from(file.ctime()).is_ok_and(|changed| changed + SETTLED < now);
    settled.then(|| {
        format!(
            "{}:{}:{}.{:09}",
            file.dev(),
            file.ino(),
            file.ctime(),
            file.ctime_nsec()
        )
    })
}

/// There is none here.
#[cfg(not(unix))]
fn stamp(_: &std::fs::Metadata) -> Option<String> {
    None
}

fn checksum(path: &Path) -> std::io::Result<u32> {
    let mut file = File::open(path)?;
    let (mut sum, mut block) = (0, vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(sum),
            n => sum = crc32c::crc32c_append(sum, &block[..n]),
        }
    }
}

impl Contents {
    /// Of all files that are read, as they are now. What is missing has none: whoever reads it says so.
    ///
    /// # Errors
    /// [`Error::Input`] for a file that cannot be read.
    pub fn of(set: &OutputSet) -> Result<Contents> {
        let mut found = BTreeMap::new();
        for path in set.inputs() {
            let Some(about) = std::fs::metadata(path).ok().filter(|m| m.is_file()) else {
                continue;
            };
            let checksum = checksum(path)
                .map_err(|e| Error::input(format!("{}: cannot be read: {e}", path.display())))?;
            let seen = Seen {
                length: about.len(),
                checksum,
                stamp: stamp(&about),
            };
            found.insert(path.display().to_string(), seen);
        }
        Ok(Contents(found))
    }

    /// Whether these are the files that are read now, and hold what they held.
    pub fn hold(&self, set: &OutputSet) -> bool {
        let mut names: Vec<String> = Vec::new();
        for path in set.inputs() {
            let Some(about) = std::fs::metadata(path).ok().filter(|m| m.is_file()) else {
                continue;
            };
            let name = path.display().to_string();
            let Some(seen) = self.0.get(&name) else {
                return false;
            };
            let untouched = seen.stamp.is_some() && seen.stamp == stamp(&about);
            let same = || checksum(path).is_ok_and(|sum| sum == seen.checksum);
            if about.len() != seen.length || !(untouched || same()) {
                return false;
            }
            names.push(name);
        }
        names.sort();
        names.dedup();
        names.len() == self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_tell_and_not_times() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.npy"), b"one").unwrap();
        let mut set = OutputSet::new();
        set.reads("--hsi", &at("a.npy").to_string_lossy());
        set.reads("--psf", &at("none.npy").to_string_lossy());
        let before = Contents::of(&set).unwrap();
        assert!(before.hold(&set));
        // Written anew with the same bytes.
        std::fs::write(at("a.npy"), b"one").unwrap();
        assert!(before.hold(&set));
        // Other bytes, the same length and the same time of change.
        let time = std::fs::metadata(at("a.npy")).unwrap().modified().unwrap();
        std::fs::write(at("a.npy"), b"two").unwrap();
        let file = File::options().write(true).open(at("a.npy")).unwrap();
        file.set_modified(time).unwrap();
        assert!(!before.hold(&set));
        std::fs::write(at("a.npy"), b"one").unwrap();
        // A file that was missing is there.
        std::fs::write(at("none.npy"), b"psf").unwrap();
        assert!(!before.hold(&set));
    }
}
