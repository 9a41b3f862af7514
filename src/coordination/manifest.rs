//! Lists of scenes: a text file, one `HSI,MSI` a line, paths relative to the file's own folder. Fields behind these say how
//! a scene's images are read where it is not as for the others.

use std::path::Path;

use crate::cube::bands::BandSelection;
use crate::error::{Error, Result};
use crate::io::{self, Arrangement};

/// The fields of [`SceneOptions`], for messages.
pub const SCENE_FIELDS: &str = "[,bands=LIST][,msi-bands=LIST][,hsi-mask=FILE][,msi-mask=FILE][,axes=ORDER][,shape=ROWSxCOLUMNS]\
     [,wavelengths=FILE][,clouds=mask|keep][,msi-axes=ORDER][,msi-wavelengths=FILE][,msi-clouds=mask|keep]";

/// How the images of one scene are read, as its line says it: the options of `fuse` that are called like the fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SceneOptions {
    /// Bands of the HSI.
    pub bands: Option<BandSelection>,
    /// Bands of the MSI.
    pub msi_bands: Option<BandSelection>,
    /// File with the pixels of the HSI to leave out.
    pub hsi_mask: Option<String>,
    /// The same of the MSI.
    pub msi_mask: Option<String>,
    /// How the array of the HSI lies in its file.
    pub array: Arrangement,
    /// The same of the MSI.
    pub msi_array: Arrangement,
}

impl SceneOptions {
    /// Takes a field of `manifest` if it is one of [`SCENE_FIELDS`]; returns it as an option of `fuse`. The items of a
    /// list of bands have spaces between them, because fields have commas.
    ///
    /// # Errors
    /// [`Error::Input`] for a list that cannot be read, and for a field that was there before.
    pub fn take(&mut self, manifest: &Path, field: &str) -> Result<Option<[String; 2]>> {
        let Some((key, value)) = field.split_once('=') else {
            return Ok(None);
        };
        let (key, value) = (key.trim(), value.trim());
        let msi = key.starts_with("msi-");
        let array = if msi { &mut self.msi_array } else { &mut self.array };
        let wrong = |e: String| Error::input(format!("{field}: {e}"));
        let (twice, given) = match key {
            "bands" | "msi-bands" => {
                let list = value.split_whitespace().collect::<Vec<_>>().join(",");
                let selection = list
                    .parse()
                    .map_err(|e| wrong(format!("{e} (spaces between the items of a list)")))?;
                let place = if msi { &mut self.msi_bands } else { &mut self.bands };
                (place.replace(selection).is_some(), list)
            }
            "hsi-mask" | "msi-mask" | "wavelengths" | "msi-wavelengths" => {
                let file = place(manifest, value);
                let place = match key {
                    "hsi-mask" => &mut self.hsi_mask,
                    "msi-mask" => &mut self.msi_mask,
                    _ => &mut array.wavelengths,
                };
                (place.replace(file.clone()).is_some(), file)
            }
            "axes" | "msi-axes" => {
                let axes = value.parse().map_err(wrong)?;
                (array.axes.replace(axes).is_some(), value.to_owned())
            }
            "clouds" | "msi-clouds" => {
                let clouds = value.parse().map_err(wrong)?;
                (array.clouds.replace(clouds).is_some(), value.to_owned())
            }
            "shape" => {
                let size = io::parse_size(value).map_err(wrong)?;
                (array.size.replace(size).is_some(), value.to_owned())
            }
            _ => return Ok(None),
        };
        if twice {
            Err(Error::input(format!("{key}= stands there twice")))
        } else {
            Ok(Some([format!("--{key}"), given]))
        }
    }
}

/// A line of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Number of the line, from 1.
    pub line: usize,
    /// Path of the HSI.
    pub hsi: String,
    /// Path of the MSI.
    pub msi: String,
    /// How they are read.
    pub options: SceneOptions,
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
    // Editors of some systems put a mark of the encoding first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
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

/// The files that a manifest of any kind names, as far as it can be read; whatever else its fields say is taken for files, too.
pub fn files(manifest: &Path) -> Vec<String> {
    let lines = lines(manifest, "").unwrap_or_default();
    let fields = lines.iter().flat_map(|(_, fields)| fields);
    let value = |field: &String| {
        field
            .rsplit_once('=')
            .map_or(field.clone(), |(_, value)| value.to_owned())
    };
    let file = |value: String| value.strip_prefix("msi:").unwrap_or(&value).trim().to_owned();
    let there = |file: &String| io::files_of(file).iter().any(|file| file.exists());
    fields
        .map(value)
        .map(|value| place(manifest, &file(value)))
        .filter(there)
        .collect()
}

/// Reads a manifest. Empty lines and lines that begin with `#` are left out.
///
/// # Errors
/// [`Error::Input`] naming the file and the line that is not `HSI,MSI` with fields of [`SceneOptions`], or where there is no
/// scene.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let expected = format!("HSI,MSI{SCENE_FIELDS}");
    lines(path, &expected)?
        .into_iter()
        .map(|(line, fields)| {
            let wrong = |what: String| Error::input(format!("{} line {line}: {what}", path.display()));
            let [hsi, msi, further @ ..] = &fields[..] else {
                return Err(wrong(format!("one field; expected {expected}")));
            };
            let mut options = SceneOptions::default();
            for field in further {
                if options
                    .take(path, field)
                    .map_err(|e| wrong(e.to_string()))?
                    .is_none()
                {
                    return Err(wrong(format!("'{field}' is no field; expected {expected}")));
                }
            }
            Ok(Entry {
                line,
                hsi: place(path, hsi),
                msi: place(path, msi),
                options,
            })
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
        for (text, word) in [
            ("# none\n", "no scene"),
            ("a.npy,b.npy,c.npy\n", "'c.npy' is no field"),
            ("a.npy,b.npy,name=x\n", "'name=x' is no field"),
            ("a.npy,b.npy,bands=1-x\n", "line 1: bands=1-x: 'x' is no band"),
            ("a.npy,b.npy,bands=1,bands=2\n", "twice"),
            ("a.npy,b.npy,bands=1,2\n", "'2' is no field"),
            ("a.npy,b.npy,axes=wbh\n", "line 1: axes=wbh: 'wbh' is no order"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(
                error.to_string().contains(word) && error.exit_code() == 2,
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_scene_may_have_bands_and_masks_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scenes.txt");
        let text = "a.npy, b.npy, bands = 0-9 400nm-500nm, msi-bands=2 1, msi-mask=m.png\n";
        std::fs::write(&path, text).unwrap();
        let options = &read(&path).unwrap()[0].options;
        assert_eq!(options.bands, Some("0-9,400nm-500nm".parse().unwrap()));
        assert_eq!(options.msi_bands, Some("2,1".parse().unwrap()));
        assert_eq!(options.hsi_mask, None);
        assert_eq!(options.msi_mask, Some(place(&path, "m.png")));
        std::fs::write(
            &path,
            "a.npy, b.npy, axes=bhw, wavelengths=w.csv, msi-axes=hbw, shape=3x4, clouds=keep\n",
        )
        .unwrap();
        let options = &read(&path).unwrap()[0].options;
        let array = Arrangement {
            axes: Some(io::Axes::Bhw),
            size: Some((3, 4)),
            wavelengths: Some(place(&path, "w.csv")),
            clouds: Some(io::Clouds::Keep),
        };
        assert_eq!(
            (&options.array, options.msi_array.axes),
            (&array, Some(io::Axes::Hbw))
        );
        // What `batch` hands to `fuse`.
        let taken = SceneOptions::default().take(&path, "bands=0-9 11");
        assert_eq!(taken.unwrap().unwrap(), ["--bands", "0-9,11"]);
    }
}
