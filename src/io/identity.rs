//! Whether two paths mean one file, however they are spelled: through `.`, `..`, symbolic links, hard links, and letters of
//! another case where the file system does not tell them apart.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::path::folder_of;

/// Links that are followed before a path counts as a loop; what Linux allows.
const LINKS: usize = 40;

/// Where a path leads: an absolute path without `..` and links. What does not exist yet has the path that it would have.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let mut path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for _ in 0..LINKS {
        if let Ok(real) = path.canonicalize() {
            return real;
        }
        let Ok(target) = fs::read_link(&path) else { break };
        // A link that leads to nothing yet.
        path = folder_of(&path).join(target);
    }
    let last = path.components().next_back();
    match (last, path.parent()) {
        (Some(Component::Normal(name)), Some(parent)) => resolved(parent).join(name),
        (Some(Component::ParentDir), Some(parent)) => {
            let parent = resolved(parent);
            parent.parent().map_or(parent.clone(), Path::to_owned)
        }
        _ => path,
    }
}

/// Number of the device and number in it: two hard links have the same.
#[cfg(unix)]
fn node(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// Only paths tell files apart here.
#[cfg(not(unix))]
fn node(_: &Path) -> Option<(u64, u64)> {
    None
}

/// Whether the folder, or the first above it that exists, takes `a` and `A` for one name.
fn folds_case(folder: &Path) -> bool {
    let Some(existing) = folder.ancestors().find(|f| f.is_dir()) else {
        return false;
    };
    let Ok(file) = super::temporary::probe(existing) else {
        return false;
    };
    let swapped = |c: char| {
        if c.is_lowercase() {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        }
    };
    let name = file.path().file_name().unwrap_or_default().to_string_lossy();
    existing
        .join(name.chars().map(swapped).collect::<String>())
        .exists()
}

/// Paths by the file that they mean.
#[derive(Default)]
pub(crate) struct Known {
    by_path: HashMap<PathBuf, usize>,
    by_node: HashMap<(u64, u64), usize>,
    by_letters: HashMap<String, PathBuf>,
    folding: HashMap<PathBuf, bool>,
}

impl Known {
    /// The value that was given first for the file of this [`resolved`] path, if one was; else it is given `value`.
    pub(crate) fn first(&mut self, real: &Path, value: usize) -> Option<usize> {
        let node = node(real);
        let known = self.by_path.get(real).copied();
        let known = known.or_else(|| node.and_then(|node| self.by_node.get(&node).copied()));
        let known = known.or_else(|| {
            // Letters of another case are looked at where two such names stand beside each other.
            let other = self.by_letters.get(&real.to_string_lossy().to_lowercase())?;
            let folder = folder_of(real).to_owned();
            let folds = *self
                .folding
                .entry(folder.clone())
                .or_insert_with(|| folds_case(&folder));
            folds.then(|| self.by_path.get(other).copied()).flatten()
        });
        if known.is_none() {
            self.by_path.insert(real.to_owned(), value);
            let letters = real.to_string_lossy().to_lowercase();
            self.by_letters.entry(letters).or_insert_with(|| real.to_owned());
            if let Some(node) = node {
                self.by_node.insert(node, value);
            }
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_file_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("a"), b"a").unwrap();
        let mut known = Known::default();
        assert_eq!(known.first(&resolved(&at("a")), 1), None);
        assert_eq!(known.first(&resolved(&at("b")), 2), None);
        let mut same = vec![("d/../a", 1), ("./a", 1), ("d/.././b", 2), ("none/../b", 2)];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("a", at("link")).unwrap();
            std::os::unix::fs::symlink("../b", at("d/dangling")).unwrap();
            fs::hard_link(at("a"), at("hard")).unwrap();
            same.extend([("link", 1), ("hard", 1), ("d/dangling", 2)]);
        }
        for (name, value) in same {
            assert_eq!(known.first(&resolved(&at(name)), 9), Some(value), "{name}");
        }
        let folds = at("A").exists();
        assert_eq!(known.first(&resolved(&at("A")), 3), folds.then_some(1));
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_is_a_path_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("y", at("x")).unwrap();
        std::os::unix::fs::symlink("x", at("y")).unwrap();
        assert!(resolved(&at("x")).is_absolute());
    }
}
