//! What a command reads and what it writes, compared before any work: no result, side output, checkpoint or log file is
//! another of them or an input, whatever it is called, and each of them can be written.
//!
//! Files count with their companions: an ENVI image is its data and its header, a result takes with it what GDAL keeps beside
//! it, a checkpoint has a lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::file::{check_name, check_takes_files, companions, lock_of};
use super::format::{Format, Spec, cube_output_format, detect};
use super::identity::{Known, resolved};
use super::path::folder_of;
use super::{band_folder, dlr, envi, safe, temporary, vrt, zarr};
use crate::error::{Error, Result};

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Read,
    /// A folder whose files are the bands of an image.
    ReadFolder,
    /// Replaced or made; told at the end.
    Result,
    /// Added to at its end.
    Log,
    /// A second file of a result.
    Part,
    /// Made, replaced or removed on the way.
    Passing,
    /// A folder that is made where it is missing.
    Folder,
}

impl Role {
    fn verb(self) -> &'static str {
        match self {
            Role::Read | Role::ReadFolder => "reads",
            Role::Result | Role::Part | Role::Passing => "writes",
            Role::Log => "appends to",
            Role::Folder => "makes a folder of",
        }
    }

    fn changes(self) -> bool {
        !matches!(self, Role::Read | Role::ReadFolder)
    }
}

#[derive(Debug)]
struct Entry {
    /// The option that names it.
    whose: String,
    path: PathBuf,
    role: Role,
    /// Whether it was there when the command began.
    there: bool,
    /// Whether a process of its own writes it, which tells of it.
    apart: bool,
    /// The folder of results that it is one of.
    within: Option<PathBuf>,
    /// Whether it is an image that is written.
    image: bool,
}

/// The files of a command; see the module.
#[derive(Debug, Default)]
pub struct OutputSet {
    entries: Vec<Entry>,
    sources: Vec<Source>,
    /// Put after the options' names.
    scene: String,
    /// Whether the command only says what it would write.
    dry: bool,
}

/// The files that an image, matrix or table is read from: the one that its name means and its companions. Those of a name that
/// means nothing are that name.
pub fn files_of(spec: &str) -> Vec<PathBuf> {
    let path = Spec::parse(spec).path;
    let mut files = match detect(&path) {
        // A TIFF may have the header of one.
        Ok(Format::Envi | Format::Tiff) => envi::files_of(&path),
        Ok(Format::Folder) => band_folder::files_of(&path),
        Ok(Format::Enmap | Format::Desis) => dlr::files_of(&path),
        Ok(Format::Safe) => safe::files_of(&path),
        Ok(Format::Vrt) => vrt::files_of(&path),
        Ok(Format::Zarr) => zarr::files_of(&path),
        _ => vec![path.clone()],
    };
    let mut beside: Vec<PathBuf> = files.iter().flat_map(|file| companions(file)).collect();
    beside.extend(Some(path.with_extension("wl.npy")).filter(|file| file.is_file()));
    files.append(&mut beside);
    files
}

/// Bytes of the files that an image, matrix or table is read from.
pub fn bytes_of(spec: &str) -> u64 {
    let files = files_of(spec).into_iter();
    let lengths = files.filter_map(|file| std::fs::metadata(file).ok());
    lengths
        .filter(std::fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

/// Whether two paths mean one file.
pub fn same_file(one: &Path, other: &Path) -> bool {
    let mut known = Known::default();
    known.first(&resolved(one), 0);
    known.first(&resolved(other), 1).is_some()
}

impl OutputSet {
    /// No files.
    pub fn new() -> Self {
        OutputSet::default()
    }

    /// What is added from here on belongs to the scene of this name, which has a process of its own.
    pub fn scene(&mut self, name: &str) {
        self.scene = format!(" of scene {name}");
    }

    /// The command only says what it would write: nothing of it is told at the end as written.
    pub fn dry_run(&mut self) {
        self.dry = true;
    }

    fn add(&mut self, whose: &str, path: PathBuf, role: Role, within: Option<&Path>) {
        self.entries.push(Entry {
            whose: format!("{whose}{}", self.scene),
            there: role == Role::Result && path.exists(),
            path,
            role,
            apart: !self.scene.is_empty(),
            within: within.map(Path::to_owned),
            image: false,
        });
    }

    /// An image, matrix, table or other file that `whose` has the command read.
    pub fn reads(&mut self, whose: &str, spec: &str) {
        let path = Spec::parse(spec).path;
        self.sources.push(Source {
            option: format!("{whose}{}", self.scene),
            name: spec.to_owned(),
        });
        if path.is_dir() {
            self.add(whose, path, Role::ReadFolder, None);
        }
        for file in files_of(spec) {
            self.add(whose, file, Role::Read, None);
        }
    }

    /// An image that is written.
    ///
    /// # Errors
    /// [`Error::Input`] where the name cannot be that of an image, for its ending or for a header that it shares.
    pub fn writes_image(&mut self, whose: &str, path: &Path) -> Result<()> {
        if path.to_str().is_none() {
            return Err(Error::input(format!(
                "{}: the name is not UTF-8, and images are read back by their names; give another one",
                path.display()
            )));
        }
        check_name(path)?;
        let data = match cube_output_format(path)? {
            Format::Envi => {
                let (header, data) = envi::output_paths(path)?;
                self.add(whose, header, Role::Part, None);
                data
            }
            _ => path.to_owned(),
        };
        for companion in companions(&data) {
            self.add(whose, companion, Role::Passing, None);
        }
        self.add(whose, data, Role::Result, None);
        if let Some(entry) = self.entries.last_mut() {
            entry.image = true;
        }
        Ok(())
    }

    /// Any other file that is written.
    pub fn writes(&mut self, whose: &str, path: &Path) {
        self.add(whose, path.to_owned(), Role::Result, None);
    }

    /// A file that is added to.
    pub fn appends(&mut self, whose: &str, path: &Path) {
        self.add(whose, path.to_owned(), Role::Log, None);
    }

    /// A file that is made and removed again, and its [`Lock`](super::file::Lock).
    pub fn keeps(&mut self, whose: &str, path: &Path) {
        self.add(whose, path.to_owned(), Role::Passing, None);
        self.add(whose, lock_of(&resolved(path)), Role::Passing, None);
    }

    /// A file that is written only if things go wrong.
    pub fn may_write(&mut self, whose: &str, path: &Path) {
        self.add(whose, path.to_owned(), Role::Passing, None);
    }

    /// A folder, made where it is missing, and files that are written into it.
    pub fn writes_into(&mut self, whose: &str, folder: &Path, names: &[&str]) {
        let missing = folder.ancestors().filter(|f| !f.as_os_str().is_empty());
        let mut folders: Vec<PathBuf> = missing.take_while(|f| !f.is_dir()).map(Path::to_owned).collect();
        if folders.is_empty() {
            folders.push(folder.to_owned());
        }
        for folder in folders {
            self.add(whose, folder, Role::Folder, None);
        }
        for name in names {
            self.add(whose, folder.join(name), Role::Result, Some(folder));
        }
    }

    /// Refuses two uses of one file of which one changes it.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file and both options.
    pub fn check_apart(&self) -> Result<()> {
        let reals: Vec<PathBuf> = self.entries.iter().map(|e| resolved(&e.path)).collect();
        let mut known = Known::default();
        for (k, entry) in self.entries.iter().enumerate() {
            let Some(first) = known.first(&reals[k], k) else {
                continue;
            };
            let first = &self.entries[first];
            let folders = [Role::Folder, Role::ReadFolder];
            let both_folders = folders.contains(&first.role) && folders.contains(&entry.role);
            if both_folders || !(first.role.changes() || entry.role.changes()) {
                continue;
            }
            return Err(twice(first, entry));
        }
        self.check_neighbours(&reals)
    }

    /// Refuses a log file that is anything else, before anything is added to it.
    ///
    /// # Errors
    /// As [`OutputSet::check_apart`].
    pub fn check_log(&self) -> Result<()> {
        let mut known = Known::default();
        let logs: Vec<&Entry> = self.entries.iter().filter(|e| e.role == Role::Log).collect();
        for (k, log) in logs.iter().enumerate() {
            known.first(&resolved(&log.path), k);
        }
        let others = self.entries.iter().filter(|e| e.role != Role::Log);
        for other in others {
            if let Some(k) = known
                .first(&resolved(&other.path), usize::MAX)
                .filter(|&k| k != usize::MAX)
            {
                return Err(twice(other, logs[k]));
            }
        }
        Ok(())
    }

    /// Refuses results that a later reader would take for a part of an input, and inputs that a writer would take for
    /// something abandoned.
    fn check_neighbours(&self, reals: &[PathBuf]) -> Result<()> {
        let of = |fits: fn(Role) -> bool| {
            let all = self.entries.iter().zip(reals);
            all.filter(move |(entry, _)| fits(entry.role))
        };
        let folders: BTreeMap<&Path, &Entry> = of(|r| r == Role::ReadFolder)
            .map(|(entry, real)| (real.as_path(), entry))
            .collect();
        let inputs: BTreeMap<(&Path, &str), &Entry> = of(|r| r == Role::Read)
            .filter_map(|(entry, real)| Some(((real.parent()?, temporary::prefix_in(real)?), entry)))
            .collect();
        if folders.is_empty() && inputs.is_empty() {
            return Ok(());
        }
        for (entry, real) in of(Role::changes) {
            let folder = folder_of(real);
            if let Some(read) = folders.get(folder).filter(|_| band_folder::may_be_band(real)) {
                return Err(Error::input(format!(
                    "{}: {} would put a picture among the bands that {} reads; write elsewhere",
                    entry.path.display(),
                    entry.whose,
                    read.whose
                )));
            }
            if let Some(read) = inputs.get(&(folder, temporary::prefix_of(real).as_str())) {
                return Err(Error::input(format!(
                    "{}: {} would remove it as an abandoned temporary file of {}; rename it",
                    read.path.display(),
                    entry.whose,
                    entry.path.display()
                )));
            }
        }
        Ok(())
    }

    /// Checks that everything can be written: names, folders, rights. Leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Input`] with the reason.
    pub fn check_writable(&self) -> Result<()> {
        let mut folders: BTreeMap<PathBuf, (bool, Vec<&Path>)> = BTreeMap::new();
        let mut reals = Vec::new();
        for entry in &self.entries {
            match entry.role {
                Role::Read | Role::ReadFolder => {}
                Role::Log if entry.path.exists() => {}
                Role::Folder if entry.path.exists() && !entry.path.is_dir() => {
                    return Err(Error::input(format!(
                        "{}: is a file, and {} asks for a folder; name another",
                        entry.path.display(),
                        entry.whose
                    )));
                }
                Role::Folder => reals.push((resolved(&entry.path).join("x"), &entry.path, true)),
                Role::Result | Role::Part | Role::Passing | Role::Log => {
                    check_name(&entry.path)?;
                    reals.push((resolved(&entry.path), &entry.path, entry.within.is_some()));
                }
            }
        }
        for (real, path, made) in &reals {
            let folder = folders.entry(folder_of(real).to_owned()).or_default();
            folder.0 |= made;
            folder.1.push(if *made { path } else { real });
        }
        for (folder, (made, targets)) in &folders {
            check_takes_files(folder, targets, *made)?;
        }
        Ok(())
    }

    /// The files that are read.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        let read = self.entries.iter().filter(|e| e.role == Role::Read);
        read.map(|e| e.path.as_path())
    }

    /// Whether all results are there.
    pub fn all_written(&self) -> bool {
        let mut results = self
            .entries
            .iter()
            .filter(|e| matches!(e.role, Role::Result | Role::Part));
        results.all(|e| e.path.exists())
    }

    /// The files that will be written and stay, and folders into which files of other names go.
    pub fn planned(&self) -> Vec<Planned> {
        let filled = |folder: &Path| {
            self.entries
                .iter()
                .any(|e| e.path.starts_with(folder) && e.path != folder)
        };
        let stays = |e: &&Entry| match e.role {
            Role::Result | Role::Part => true,
            Role::Folder => !filled(&e.path),
            Role::Read | Role::ReadFolder | Role::Log | Role::Passing => false,
        };
        let planned = |e: &Entry| Planned {
            option: e.whose.clone(),
            path: e.path.clone(),
            replaces: e.role != Role::Folder && e.path.exists(),
        };
        self.entries.iter().filter(stays).map(planned).collect()
    }

    /// What the options that name a file to read were given.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The results that are there and were written by this process.
    fn made(&self) -> impl Iterator<Item = &Entry> {
        let told = |e: &&Entry| !self.dry && e.role == Role::Result && !e.apart && e.path.exists();
        self.entries.iter().filter(told)
    }

    /// The results, each file by itself.
    pub fn results(&self) -> Vec<Written> {
        let written = |e: &Entry| Written {
            path: e.path.clone(),
            replaced: e.there,
            image: e.image,
        };
        self.made().map(written).collect()
    }

    /// The results, for a line at the end: single files, and folders of several.
    pub fn written(&self) -> Vec<Written> {
        let mut groups: Vec<(&Path, bool, bool)> = Vec::new();
        for entry in self.made() {
            let name = entry.within.as_deref().unwrap_or(&entry.path);
            match groups.iter_mut().find(|(path, ..)| *path == name) {
                Some((_, there, _)) => *there |= entry.there,
                None => groups.push((name, entry.there, entry.image)),
            }
        }
        let written = |(path, replaced, image): (&Path, bool, bool)| Written {
            path: path.to_owned(),
            replaced,
            image,
        };
        groups.into_iter().map(written).collect()
    }
}

/// A file that is read, as an option names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The option.
    pub option: String,
    /// What it was given: a file, or FILE:NAME for one of several arrays in it.
    pub name: String,
}

/// A result that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// The option that asks for it.
    pub option: String,
    /// The file, or a folder of files.
    pub path: PathBuf,
    /// Whether a file of this name is there.
    pub replaces: bool,
}

/// A result that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file, or the folder of several.
    pub path: PathBuf,
    /// Whether there was one before.
    pub replaced: bool,
    /// Whether it is an image.
    pub image: bool,
}

/// The refusal of two uses of one file.
fn twice(first: &Entry, second: &Entry) -> Error {
    let (changes, other) = if second.role.changes() {
        (second, first)
    } else {
        (first, second)
    };
    let spelled = if changes.path == other.path {
        String::new()
    } else {
        format!(" as {}", other.path.display())
    };
    let both = match (changes.whose == other.whose, changes.role == other.role) {
        (true, _) => format!("{} names this file twice{spelled}", changes.whose),
        (false, true) => format!("{} and {} name one file{spelled}", other.whose, changes.whose),
        (false, false) => format!(
            "{} {} this file, which {} {}{spelled}",
            changes.whose,
            changes.role.verb(),
            other.whose,
            other.role.verb()
        ),
    };
    let how = if first.apart && second.apart {
        "; give each a file of its own, with {name} for the scene's name"
    } else {
        "; give each a file of its own"
    };
    Error::input(format!("{}: {both}{how}", changes.path.display()))
}
