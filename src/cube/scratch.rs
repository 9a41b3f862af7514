//! Room for samples that need not fit in memory: a vector, or a temporary file that is mapped.
//!
//! Which of the two a run takes is said once, by its [`Store`]; what works on samples sees a slice either way. The file
//! has no name: it is gone when its buffer is dropped, however the process ends. It is ours alone, so nobody can cut it
//! off under the map, and its blocks are there before it is mapped, so that a full disk is an error and no signal.
//! Files of users are never mapped.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::MmapRaw;

use crate::error::{Error, Result};

/// Where the buffers of a run lie.
#[derive(Debug, Clone, Default)]
pub enum Store {
    /// In memory.
    #[default]
    Memory,
    /// In files of a folder.
    Folder(Arc<Folder>),
}

/// A folder for buffers, and those that are in it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    maps: Mutex<Vec<Weak<MmapRaw>>>,
}

impl Store {
    /// In files of the folder `path`, which must be there and take files.
    ///
    /// # Errors
    /// [`Error::Input`] if it does not.
    pub fn folder(path: &Path) -> Result<Store> {
        let named = path.display();
        if !path.is_dir() {
            return Err(Error::input(format!(
                "{named}: this folder for scratch data does not exist; create it or name another one with the setting scratch"
            )));
        }
        tempfile::tempfile_in(path).map_err(|e| {
            Error::input(format!(
                "{named}: cannot create scratch data in this folder: {e}; name another one with the setting scratch"
            ))
        })?;
        let folder = Arc::new(Folder {
            path: path.to_owned(),
            maps: Mutex::default(),
        });
        #[cfg(target_os = "linux")]
        resident::bound(&folder);
        Ok(Store::Folder(folder))
    }

    /// The folder, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Store::Memory => None,
            Store::Folder(folder) => Some(&folder.path),
        }
    }

    /// `length` zeros.
    ///
    /// # Errors
    /// [`Error::Failed`] where the folder's disk has no room for them.
    pub fn zeros(&self, length: usize) -> Result<Buffer> {
        match self {
            Store::Folder(folder) if length > 0 => {
                let map = folder.map(length).map_err(|e| {
                    Error::failed(format!(
                        "{}: no room for {} MB of scratch data: {e}; make room, name another folder with the setting scratch, or give \
                         more the setting max-memory",
                        folder.path.display(),
                        length.saturating_mul(size_of::<f32>()).div_ceil(1_000_000),
                    ))
                })?;
                Ok(Buffer(Place::Mapped(map, length)))
            }
            _ => Ok(Buffer(Place::Memory(vec![0.0; length]))),
        }
    }

    /// The same samples once more.
    ///
    /// # Errors
    /// As [`Store::zeros`].
    pub fn copy(&self, samples: &[f32]) -> Result<Buffer> {
        if let Store::Memory = self {
            return Ok(samples.to_vec().into());
        }
        let mut copy = self.zeros(samples.len())?;
        copy.copy_from_slice(samples);
        Ok(copy)
    }
}

impl Folder {
    fn map(&self, length: usize) -> io::Result<Arc<MmapRaw>> {
        let bytes = length
            .checked_mul(size_of::<f32>())
            .ok_or(io::ErrorKind::FileTooLarge)?;
        let file = tempfile::tempfile_in(&self.path)?;
        allocate(&file, bytes as u64)?;
        let map = Arc::new(MmapRaw::map_raw(&file)?);
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.retain(|map| map.strong_count() > 0);
        maps.push(Arc::downgrade(&map));
        Ok(map)
    }
}

/// Makes a new file `bytes` zeros long and has the disk set their blocks aside.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::{Errno, retry_on_intr};
        match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes)) {
            // File systems that cannot.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            done => return done.map_err(io::Error::from),
        }
    }
    let zeros = io::Read::take(io::repeat(0), bytes);
    io::copy(&mut io::BufReader::with_capacity(1 << 20, zeros), &mut &*file).map(drop)
}

/// Samples in memory or in a mapped file.
#[derive(Debug)]
pub struct Buffer(Place);

#[derive(Debug)]
enum Place {
    Memory(Vec<f32>),
    /// A map of as many samples, which nothing else reads or writes.
    Mapped(Arc<MmapRaw>, usize),
}

impl From<Vec<f32>> for Buffer {
    fn from(samples: Vec<f32>) -> Self {
        Buffer(Place::Memory(samples))
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Place::Memory(samples) => samples,
            // SAFETY: the map begins at a page and spans `length` samples of a file that is allocated to its end and has
            // no name, so nobody can shorten it. Every bit pattern is an `f32`. It is written through `&mut self` alone.
            Place::Mapped(map, length) => unsafe {
                std::slice::from_raw_parts(map.as_ptr().cast::<f32>(), *length)
            },
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.0 {
            Place::Memory(samples) => samples,
            // SAFETY: as above; `&mut self` is the only way to the map, whose other holders never read or write it.
            Place::Mapped(map, length) => unsafe {
                std::slice::from_raw_parts_mut(map.as_mut_ptr().cast::<f32>(), *length)
            },
        }
    }
}

/// Bounds how much of the maps counts as memory of this process.
///
/// The system may take mapped pages back whenever it needs memory, but as long as it does not, all that was ever touched
/// counts as resident, and schedulers of clusters end processes by that count. Samples are gone through in many places
/// and orders, so the pages are let go in one place, by a thread that looks now and then.
#[cfg(target_os = "linux")]
mod resident {
    use std::fs;
    use std::sync::{Arc, PoisonError, Weak};
    use std::time::Duration;

    use memmap2::UncheckedAdvice;

    use super::Folder;

    /// Resident bytes of files from which on all pages are let go. Taking one up again, while it is in the system's
    /// cache, costs a fraction of a microsecond.
    const MOST: usize = 256 << 20;
    /// As often as it takes not to go far beyond that.
    const PAUSE: Duration = Duration::from_millis(20);

    /// Keeps the bound as long as there is the folder.
    pub(super) fn bound(folder: &Arc<Folder>) {
        let folder = Arc::downgrade(folder);
        // Without a thread there is no bound, and nothing else is different.
        let _ = std::thread::Builder::new()
            .name("scratch".to_owned())
            .spawn(move || watch(&folder));
    }

    fn watch(folder: &Weak<Folder>) {
        while let Some(folder) = folder.upgrade() {
            if of_files() > MOST {
                folder.let_go();
            }
            drop(folder);
            std::thread::sleep(PAUSE);
        }
    }

    /// Resident bytes of this process that are pages of files.
    fn of_files() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = status
            .lines()
            .filter_map(|line| line.strip_prefix("RssFile:").or(line.strip_prefix("RssShmem:")))
            .filter_map(|value| value.trim().trim_end_matches("kB").trim().parse::<usize>().ok());
        1024 * kilobytes.sum::<usize>()
    }

    impl Folder {
        fn let_go(&self) {
            let maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
            for map in maps.iter().filter_map(Weak::upgrade) {
                // SAFETY: a shared map of a file; pages that are let go keep what was written to them, in the system's
                // cache or on disk, and come back when they are touched.
                let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::cube::scratch::Store;

        #[test]
        fn pages_that_are_let_go_keep_their_samples() {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::folder(folder.path()).unwrap();
            let mut buffer = store.zeros(3 << 20).unwrap();
            buffer.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            assert!(of_files() >= 12 << 20);
            let Store::Folder(inner) = &store else {
                panic!("in memory")
            };
            inner.let_go();
            assert!(buffer.iter().enumerate().all(|(i, &x)| x == i as f32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_places_hold_the_same_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mapped = Store::folder(folder.path()).unwrap();
        for store in [Store::Memory, mapped] {
            let mut buffer = store.zeros(70_001).unwrap();
            assert!(buffer.len() == 70_001 && buffer.iter().all(|&x| x == 0.0));
            buffer[70_000] = -2.5;
            buffer[..3].copy_from_slice(&[1.0, f32::NAN, 3.0]);
            let mut copy = store.copy(&buffer).unwrap();
            buffer[0] = 7.0;
            assert_eq!((copy[0], copy[2], copy[70_000]), (1.0, 3.0, -2.5));
            assert!(copy[1].is_nan());
            copy[5] = 1.0;
            assert_eq!(buffer[5], 0.0);
            assert!(store.zeros(0).unwrap().is_empty());
        }
        // Nothing has a name while the buffers are there, either.
        let kept = Store::folder(folder.path()).unwrap().zeros(1000).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(kept.len(), 1000);
    }

    #[test]
    fn folders_that_are_none_are_misuse_and_too_much_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Store::folder(&folder.path().join("none")).unwrap_err();
        assert_eq!(missing.exit_code(), 2);
        assert!(missing.to_string().contains("none") && missing.to_string().contains("the setting scratch"));
        let store = Store::folder(folder.path()).unwrap();
        // 2^60 bytes, and more than there are numbers for.
        for length in [1 << 58, usize::MAX] {
            let full = store.zeros(length).unwrap_err();
            assert_eq!(full.exit_code(), 1);
            let said = full.to_string();
            assert!(said.contains("no room") && !said.contains('\n'), "{said}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
