//! Lists of scenes: a text file, one `HSI,MSI` a line, paths relative to the file's own folder.

use std::path::Path;

use crate::error::{Error, Result};

/// A line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Number of the line, from 1.
    pub line: usize,
    /// Path of the HSI.
    pub hsi: String,
    /// Path of the MSI.
    pub msi: String,
}

/// The lines of a manifest that name something: number from 1, and fields between commas. Empty lines and lines that
/// begin with `#` are left out.
///
/// `expected` says what a line holds, for messages.
///
/// # Errors
/// [`Error::Input`] where the file cannot be read, a field is empty, or there is no line.
pub fn lines(path: &Path, expected: &str) -> Result<Vec<(usize, Vec<String>)>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::input(format!(
            "{name}: {e}; a manifest is a text file with one {expected} a line"
        ))
    })?;
    let mut found = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let fields: Vec<String> = content.split(',').map(|f| f.trim().to_owned()).collect();
        if fields.iter().any(String::is_empty) {
            return Err(Error::input(format!(
                "{name} line {line}: a field is empty; expected {expected}"
            )));
        }
        found.push((line, fields));
    }
    if found.is_empty() {
        return Err(Error::input(format!(
            "{name}: no scene in this manifest; it needs one {expected} a line"
        )));
    }
    Ok(found)
}

/// A file of a manifest: paths are relative to the manifest's own folder.
pub fn place(manifest: &Path, file: &str) -> String {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    folder.join(file).display().to_string()
}

/// Reads a manifest. Empty lines and lines that begin with `#` are left out.
///
/// # Errors
/// [`Error::Input`] naming the file and the line that is not `HSI,MSI`, or where there is no scene.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    lines(path, "HSI,MSI")?
        .into_iter()
        .map(|(line, fields)| match &fields[..] {
            [hsi, msi] => Ok(Entry {
                line,
                hsi: place(path, hsi),
                msi: place(path, msi),
            }),
            _ => Err(Error::input(format!(
                "{} line {line}: expected HSI,MSI (two paths), found {} field{}",
                path.display(),
                fields.len(),
                if fields.len() == 1 { "" } else { "s" }
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_named_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scenes.txt");
        std::fs::write(&path, "# two scenes\n\na.npy, b.npy\nc.npy\n").unwrap();
        let error = read(&path).unwrap_err();
        assert!(
            error.to_string().contains("line 4") && error.exit_code() == 2,
            "{error}"
        );
        std::fs::write(&path, "# one scene\n\na.npy, b.npy\n").unwrap();
        let entries = read(&path).unwrap();
        assert_eq!((entries.len(), entries[0].line), (1, 3));
        assert!(entries[0].hsi.ends_with("a.npy"));
        std::fs::write(&path, "# none\n").unwrap();
        assert!(read(&path).is_err());
    }
}
