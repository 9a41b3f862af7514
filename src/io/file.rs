//! Opening and replacing files: what all formats share, so that messages and guarantees are the same.
//!
//! Results appear whole or not at all: they are written to a temporary file in the folder of the
//! target, synced to disk and renamed over it. The temporary file is locked while it is written, and its name says what it
//! would have become, so that whoever writes that target next removes what killed processes left of it.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};
use crate::interrupt::Temporary;

/// A reading error of `path` as one line. An early end is worded as what it is: a truncated file.
pub(crate) fn read_error(path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Error::input(format!("{path}: no such file")),
        io::ErrorKind::PermissionDenied => Error::input(format!("{path}: no permission to read it")),
        io::ErrorKind::UnexpectedEof => Error::input(format!(
            "{path}: ends in the middle of its data (truncated); copy or download it again"
        )),
        _ => Error::input(format!("{path}: cannot be read: {error}")),
    }
}

/// Opens a regular file for reading and gives its length in bytes.
///
/// # Errors
/// [`Error::Input`] if it is missing, not readable, or not a regular file (opening a pipe would wait
/// for ever, and its length is unknown).
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    let metadata = fs::metadata(path).map_err(|e| read_error(path, &e))?;
    if metadata.is_dir() {
        return Err(Error::input(format!(
            "{}: is a folder; name a file in it",
            path.display()
        )));
    }
    if !metadata.is_file() {
        return Err(Error::input(format!(
            "{}: is not a regular file; save the data to a file first",
            path.display()
        )));
    }
    let file = File::open(path).map_err(|e| read_error(path, &e))?;
    Ok((file, metadata.len()))
}

/// Length and time of the last change of an open file, to notice that somebody writes to it.
#[derive(PartialEq, Eq)]
pub(crate) struct State(u64, Option<SystemTime>);

impl State {
    /// The state as it is now.
    ///
    /// # Errors
    /// [`Error::Input`] if the file cannot be looked at.
    pub(crate) fn of(path: &Path, file: &File) -> Result<State> {
        let metadata = file.metadata().map_err(|e| read_error(path, &e))?;
        Ok(State(metadata.len(), metadata.modified().ok()))
    }

    /// Checks that it is still the same.
    ///
    /// # Errors
    /// [`Error::Input`] if it is not.
    pub(crate) fn check(&self, path: &Path, file: &File) -> Result<()> {
        if State::of(path, file)? == *self {
            return Ok(());
        }
        Err(Error::input(format!(
            "{}: was changed while it was read; wait until whoever writes it is done",
            path.display()
        )))
    }
}

/// The folder that holds `path`; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Random letters and digits at the end of a temporary name.
const RANDOM: usize = 6;
/// Bytes of the target's name in a temporary one at most: file systems take names of 255.
const NAMED: usize = 200;

/// What the names of all temporary files of the target `path` begin with; targets with names that are too long to stand
/// in them may share it.
fn temporary_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|&end| end <= NAMED).last().unwrap_or(0);
    format!(".hsr-gpu-{}-", &name[..end])
}

/// Removes temporary files of the target `path` that nobody writes any more: those whose lock is free. Where a file
/// system has no locks, or one cannot be looked at, they stay.
fn remove_abandoned(path: &Path, folder: &Path) {
    let prefix = temporary_prefix(path);
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(random) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else {
            continue;
        };
        if random.len() != RANDOM || !random.bytes().all(|b| b.is_ascii_alphanumeric()) {
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
fn locked(builder: &tempfile::Builder, folder: &Path) -> io::Result<NamedTempFile> {
    loop {
        let file = builder.tempfile_in(folder)?;
        match file.as_file().try_lock() {
            // Before it was locked, somebody may have taken it for an abandoned one.
            Err(TryLockError::WouldBlock) => continue,
            Ok(()) if !file.path().try_exists()? => continue,
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// Creates the temporary file that will become `path`, and removes abandoned ones.
fn temporary(path: &Path) -> Result<NamedTempFile> {
    let folder = folder_of(path);
    if path.file_name().is_none() || path.is_dir() {
        return Err(Error::input(format!(
            "{}: is a folder; give the name of a file to write",
            path.display()
        )));
    }
    if !folder.is_dir() {
        return Err(Error::input(format!(
            "{}: the folder {} does not exist; create it or write elsewhere",
            path.display(),
            folder.display()
        )));
    }
    remove_abandoned(path, folder);
    let prefix = temporary_prefix(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).rand_bytes(RANDOM);
    // Temporary files are private by default; a result gets the rights that any new file would get.
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    locked(&builder, folder).map_err(|e| {
        Error::input(format!(
            "{}: cannot create a file in {}: {e}",
            path.display(),
            folder.display()
        ))
    })
}

/// Checks, before long work, that `path` can be written later: its folder exists and lets files be
/// created, and `path` is not a folder itself. Leaves nothing behind and an existing `path` untouched.
///
/// # Errors
/// [`Error::Input`] with the reason.
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    temporary(path.as_ref()).map(drop)
}

/// A file that is complete and on disk under a temporary name.
pub(crate) struct Prepared {
    file: NamedTempFile,
    target: PathBuf,
    _remembered: Temporary,
}

/// Writes what will become `path`; nothing of it is visible under that name before
/// [`Prepared::publish`].
///
/// # Errors
/// [`Error::Input`] if the folder cannot take files, [`Error::Failed`] if writing fails (disk full).
pub(crate) fn prepare(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Prepared> {
    let mut file = Partial::create(path)?;
    file.write(|sink| write(sink))?;
    file.finish()
}

/// A file that is being written under a temporary name; dropped before its end, it is gone.
pub(crate) struct Partial {
    // Apart from each other, because errors of a `NamedTempFile` name the temporary file.
    file: BufWriter<File>,
    path: TempPath,
    target: PathBuf,
    remembered: Temporary,
}

/// A file that can be written at any place.
pub(crate) trait Place: Write + Seek {}

impl<W: Write + Seek> Place for W {}

impl Partial {
    /// Begins what will become `path`.
    ///
    /// # Errors
    /// [`Error::Input`] if the folder cannot take files.
    pub(crate) fn create(path: &Path) -> Result<Partial> {
        let (file, temporary) = temporary(path)?.into_parts();
        Ok(Partial {
            remembered: Temporary::remember(&temporary),
            file: BufWriter::new(file),
            path: temporary,
            target: path.to_owned(),
        })
    }

    /// Writes on.
    ///
    /// # Errors
    /// [`Error::Failed`] if that fails (disk full).
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut dyn Place) -> io::Result<()>) -> Result<()> {
        write(&mut self.file).map_err(|e| write_error(&self.target, &e))
    }

    /// Brings everything to disk.
    ///
    /// # Errors
    /// [`Error::Failed`] if that fails.
    pub(crate) fn finish(self) -> Result<Prepared> {
        let failed = |e: &io::Error| write_error(&self.target, e);
        let file = self.file.into_inner().map_err(|e| failed(e.error()))?;
        file.sync_all().map_err(|e| failed(&e))?;
        Ok(Prepared {
            file: NamedTempFile::from_parts(file, self.path),
            _remembered: self.remembered,
            target: self.target,
        })
    }
}

fn write_error(path: &Path, error: &io::Error) -> Error {
    Error::failed(format!("{}: writing failed: {error}", path.display()))
}

/// Checks that the disk has room for `bytes` more beside `path`.
///
/// # Errors
/// [`Error::Failed`] if it has not.
pub(crate) fn check_room(path: &Path, bytes: u64) -> Result<()> {
    match free_bytes(folder_of(path)) {
        Some(free) if free < bytes => Err(Error::failed(format!(
            "{}: needs {} MB and the disk has {} MB free; make room or write elsewhere",
            path.display(),
            bytes.div_ceil(1_000_000),
            free / 1_000_000
        ))),
        _ => Ok(()),
    }
}

/// Bytes free for this user in the file system of `folder`; `None` where the system does not say.
fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

impl Prepared {
    /// Renames the finished file to its target.
    ///
    /// # Errors
    /// [`Error::Failed`] if the rename fails; the target then is as it was.
    pub(crate) fn publish(self) -> Result<()> {
        let target = self.target;
        self.file
            .persist(&target)
            .map_err(|e| Error::failed(format!("{}: writing failed: {}", target.display(), e.error)))?;
        // The rename itself lives in the folder; file systems without folder sync say so and lose nothing.
        #[cfg(unix)]
        if let Ok(folder) = File::open(folder_of(&target)) {
            let _unsupported_is_fine = folder.sync_all();
        }
        Ok(())
    }
}

/// Replaces `path` by what `write` produces, whole or not at all: temporary file in the same folder,
/// sync, rename.
///
/// # Errors
/// [`Error::Input`] if the folder cannot take files, [`Error::Failed`] if writing fails; an existing
/// `path` then is as it was.
pub fn replace(path: impl AsRef<Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    prepare(path.as_ref(), write)?.publish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("result.npy");
        fs::write(&target, b"old").unwrap();
        let error = replace(&target, |w| {
            w.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        })
        .unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        replace(&target, |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn abandoned_temporaries_go_and_those_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let target = at("result.npy");
        // Of a process that was killed; of another target; of nobody's making.
        let others = [
            ".hsr-gpu-result.npy.hdr-abc123",
            ".hsr-gpu-result.npy-notes",
            "result.npy",
        ];
        for name in others.iter().chain(&[".hsr-gpu-result.npy-abc123"]) {
            fs::write(at(name), b"half").unwrap();
        }
        // Being written: the lock is held, by whatever process.
        let writing = Partial::create(&target).unwrap();
        let held = writing.path.to_path_buf();
        replace(&target, |w| w.write_all(b"new")).unwrap();
        assert!(held.exists());
        assert!(!at(".hsr-gpu-result.npy-abc123").exists());
        assert!(others.iter().all(|name| at(name).exists()));
        // What is written later wins, as it does without anyone beside it.
        writing.finish().unwrap().publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), others.len());
    }

    #[test]
    fn a_target_may_have_the_longest_name_there_is() {
        let folder = tempfile::tempdir().unwrap();
        for letter in ["n", "ä"] {
            let target = folder.path().join(letter.repeat(255 / letter.len()));
            replace(&target, |w| w.write_all(b"x")).unwrap();
            assert!(target.exists());
        }
    }

    #[test]
    fn a_missing_folder_is_misuse() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_writable(folder.path().join("none/result.npy")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("does not exist"));
        assert_eq!(check_writable(folder.path()).unwrap_err().exit_code(), 2);
        check_writable(folder.path().join("result.npy")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn results_have_ordinary_rights() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours");
        let plain = folder.path().join("plain");
        replace(&ours, |w| w.write_all(b"x")).unwrap();
        fs::write(&plain, b"x").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
