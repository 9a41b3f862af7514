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

/// Reads a manifest. Empty lines and lines that begin with `#` are left out.
///
/// # Errors
/// [`Error::Input`] naming the file and the line that is not `HSI,MSI`, or where there is no scene.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::input(format!(
            "{name}: {e}; a manifest is a text file with one HSI,MSI a line"
        ))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut entries = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = content.split(',').map(str::trim).collect();
        let [hsi, msi] = fields[..] else {
            return Err(Error::input(format!(
                "{name} line {line}: expected HSI,MSI (two paths), found {} field{}",
                fields.len(),
                if fields.len() == 1 { "" } else { "s" }
            )));
        };
        if hsi.is_empty() || msi.is_empty() {
            return Err(Error::input(format!("{name} line {line}: a path is empty")));
        }
        let place = |file: &str| folder.join(file).display().to_string();
        entries.push(Entry {
            line,
            hsi: place(hsi),
            msi: place(msi),
        });
    }
    if entries.is_empty() {
        return Err(Error::input(format!(
            "{name}: no scene in this manifest; it needs one HSI,MSI a line"
        )));
    }
    Ok(entries)
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
