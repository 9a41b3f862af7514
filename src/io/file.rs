//! Opening and replacing files: what all formats share, so that messages and guarantees are the same.
//!
//! Results appear whole or not at all: they are written to a temporary file in the folder of the
//! target ([`super::temporary`]), synced to disk and renamed over it. A target that is a symbolic link stays one: what it leads
//! to is replaced.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{MAIN_SEPARATOR_STR, Path, PathBuf};
use std::time::SystemTime;

use tempfile::{NamedTempFile, TempPath};
use web_time::{Duration, Instant};

use super::identity::resolved;
use super::path::folder_of;
use super::temporary;
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

/// Checks that `path` is a name that a file can have and nothing else has: no folder, no pipe or device.
///
/// # Errors
/// [`Error::Input`] with the reason.
pub(super) fn check_name(path: &Path) -> Result<()> {
    let wrong = |what: &str| Err(Error::input(format!("{}: {what}", path.display())));
    let spelled = path.as_os_str().as_encoded_bytes();
    if path.file_name().is_none()
        || spelled.ends_with(b"/")
        || spelled.ends_with(MAIN_SEPARATOR_STR.as_bytes())
    {
        return wrong("names a folder; give the name of a file to write");
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => wrong("is a folder; give the name of a file to write"),
        Ok(found) if !found.is_file() => wrong(
            "is a pipe or a device, which a result would replace by a file; give the name of a file to write",
        ),
        Err(e) if e.kind() == io::ErrorKind::InvalidFilename => {
            wrong("the name is too long for a file here; give a shorter one")
        }
        _ => Ok(()),
    }
}

/// Creates the temporary file that will become the file that `path` leads to, gives it and the latter, and removes
/// abandoned ones.
fn create_temporary(path: &Path) -> Result<(NamedTempFile, PathBuf)> {
    check_name(path)?;
    let target = if path.is_symlink() {
        resolved(path)
    } else {
        path.to_owned()
    };
    let folder = folder_of(&target);
    check_folder(path, folder)?;
    temporary::remove_abandoned(folder, &[&target]);
    let file = temporary::create(&target, folder).map_err(|e| not_created(path, folder, &e))?;
    Ok((file, target))
}

fn check_folder(path: &Path, folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::input(format!(
        "{}: the folder {} does not exist; create it or write elsewhere",
        path.display(),
        folder.display()
    )))
}

fn not_created(path: &Path, folder: &Path, error: &io::Error) -> Error {
    Error::input(format!(
        "{}: cannot create a file in {}: {error}",
        path.display(),
        folder.display()
    ))
}

/// Checks, before long work, that `path` can be written later: its folder exists and lets files be
/// created, and `path` is not a folder itself. Leaves nothing behind and an existing `path` untouched.
///
/// # Errors
/// [`Error::Input`] with the reason.
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    create_temporary(path.as_ref()).map(drop)
}

/// [`check_writable`] of many targets in one folder, of which the first is named where it takes no files. A folder that is not
/// there yet is made later: then the first above it that exists is looked at.
///
/// # Errors
/// [`Error::Input`] with the reason.
pub(super) fn check_takes_files(folder: &Path, targets: &[&Path], made_later: bool) -> Result<()> {
    let Some(first) = targets.first() else {
        return Ok(());
    };
    let existing = folder.ancestors().find(|f| !made_later || f.exists());
    let existing = existing.filter(|f| !f.as_os_str().is_empty()).unwrap_or(folder);
    check_folder(first, existing)?;
    temporary::probe(existing).map_err(|e| not_created(first, existing, &e))?;
    temporary::remove_abandoned(folder, targets);
    Ok(())
}

/// A right to write `path` that one process has at a time, as long as this lives. Where a file system has no locks, nobody is
/// kept out.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
    _remembered: Temporary,
}

/// How long a lock is waited for: who was told to end may still be writing what it has.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks at a lock.
const LOOK: Duration = Duration::from_millis(50);

/// The file whose lock stands for `path`: `path` itself is replaced while it is written.
pub(super) fn lock_of(path: &Path) -> PathBuf {
    let prefix = temporary::prefix_of(path);
    folder_of(path).join(format!("{}.lock", prefix.trim_end_matches('-')))
}

impl Lock {
    /// Takes the right; `whose` says in the refusal who has it.
    ///
    /// # Errors
    /// [`Error::Input`] where another process has it, or the folder takes no files.
    pub fn take(path: &Path, whose: &str) -> Result<Lock> {
        let path = resolved(path);
        let lock = lock_of(&path);
        let began = Instant::now();
        loop {
            let opened = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&lock);
            let file = opened.map_err(|e| not_created(&path, folder_of(&lock), &e))?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::input(format!(
                        "{}: {whose}; wait until it ends, or name another",
                        path.display()
                    )));
                }
                // Whoever had it before has removed the file meanwhile.
                Ok(()) if !is_at(&file, &lock) => continue,
                Ok(()) | Err(TryLockError::Error(_)) => {
                    let _remembered = Temporary::remember(&lock);
                    return Ok(Lock {
                        path: lock,
                        _file: file,
                        _remembered,
                    });
                }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed under the lock: who opened it before sees that it is gone.
        let _gone_or_for_the_next = fs::remove_file(&self.path);
    }
}

/// Whether an open file is the one of this path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let node = |m: fs::Metadata| (m.dev(), m.ino());
    let (open, there) = (file.metadata().map(node), fs::metadata(path).map(node));
    matches!((open, there), (Ok(open), Ok(there)) if open == there)
}

/// Here an open file cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// A file that is complete and on disk under a temporary name.
pub(crate) struct Prepared {
    file: NamedTempFile,
    name: PathBuf,
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
    /// What the user called it, for messages.
    name: PathBuf,
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
        let (file, target) = create_temporary(path)?;
        let (file, temporary) = file.into_parts();
        Ok(Partial {
            remembered: Temporary::remember(&temporary),
            file: BufWriter::new(file),
            path: temporary,
            name: path.to_owned(),
            target,
        })
    }

    /// Writes on.
    ///
    /// # Errors
    /// [`Error::Failed`] if that fails (disk full).
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut dyn Place) -> io::Result<()>) -> Result<()> {
        write(&mut self.file).map_err(|e| write_error(&self.name, &e))
    }

    /// Brings everything to disk.
    ///
    /// # Errors
    /// [`Error::Failed`] if that fails.
    pub(crate) fn finish(self) -> Result<Prepared> {
        let failed = |e: &io::Error| write_error(&self.name, e);
        let file = self.file.into_inner().map_err(|e| failed(e.error()))?;
        file.sync_all().map_err(|e| failed(&e))?;
        Ok(Prepared {
            file: NamedTempFile::from_parts(file, self.path),
            _remembered: self.remembered,
            name: self.name,
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

/// What GDAL keeps beside an image `NAME.ENDING`, by what is put after its name: statistics and no-data values, masks,
/// overviews.
const COMPANIONS: [&str; 3] = ["aux.xml", "msk", "ovr"];

/// `path` with `.ending` put after its whole name.
pub(super) fn appended(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The files that GDAL keeps beside an image and that are there.
pub(super) fn companions(image: &Path) -> impl Iterator<Item = PathBuf> {
    COMPANIONS
        .map(|ending| appended(image, ending))
        .into_iter()
        .filter(|file| file.exists())
}

impl Prepared {
    /// [`Prepared::publish`] of an image that GDAL may know: what lies beside the one that was there describes that one.
    ///
    /// # Errors
    /// [`Error::Failed`] if a file cannot be removed or renamed.
    pub(crate) fn publish_image(self) -> Result<()> {
        for companion in companions(&self.name) {
            fs::remove_file(&companion).map_err(|e| {
                Error::failed(format!(
                    "{}: describes an image that is replaced and cannot be removed: {e}",
                    companion.display()
                ))
            })?;
        }
        self.publish()
    }

    /// Where the file is until then.
    #[cfg(test)]
    pub(super) fn temporary(&self) -> &Path {
        self.file.path()
    }

    /// Renames the finished file to its target.
    ///
    /// # Errors
    /// [`Error::Failed`] if the rename fails; the target then is as it was.
    pub(crate) fn publish(self) -> Result<()> {
        let Prepared {
            file, name, target, ..
        } = self;
        file.persist(&target).map_err(|e| write_error(&name, &e.error))?;
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
        let abandoned = [".hsr-gpu-result.npy-abc123", ".hsr-gpu-Probe-abc123"];
        for name in others.iter().chain(&abandoned) {
            fs::write(at(name), b"half").unwrap();
        }
        // Being written: the lock is held, by whatever process.
        let writing = Partial::create(&target).unwrap();
        let held = writing.path.to_path_buf();
        replace(&target, |w| w.write_all(b"new")).unwrap();
        assert!(held.exists());
        assert!(!abandoned.iter().any(|name| at(name).exists()));
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
