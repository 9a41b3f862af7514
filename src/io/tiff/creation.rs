//! How a GeoTIFF is to be written, in the words of GDAL's creation options (`NAME=VALUE`): those of its drivers GTiff and COG
//! that mean something here, bands apart as they always are.

use std::path::Path;

use crate::cube::SampleType;
use crate::error::{Error, Result, meant};
use crate::io::format::{Format, output_format};
use crate::io::samples::{integer_range, width};

/// Bytes of a strip before compression.
const STRIP: usize = 1 << 16;
/// Bytes of chunks of all bands that are held.
pub(super) const HELD: usize = 64 << 20;
/// Side of a tile, as GDAL has it.
const TILE: usize = 256;
/// The same in a cloud-optimised file.
const COG_TILE: usize = 512;
/// Largest side of a tile.
const LARGEST_TILE: usize = 4096;

/// How strips and tiles are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Lzw,
    /// With zlib's level.
    Deflate(u32),
    Zstd,
}

/// Creation options of GeoTIFF files; by default strips of some rows, deflate and a predictor that suits the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct TiffOptions {
    cog: bool,
    tiled: bool,
    /// Columns and rows of a block.
    columns: Option<usize>,
    rows: Option<usize>,
    pub(super) packing: Packing,
    predictor: Option<Differences>,
    big: Option<bool>,
}

impl Default for TiffOptions {
    fn default() -> Self {
        TiffOptions {
            cog: false,
            tiled: false,
            columns: None,
            rows: None,
            packing: Packing::Deflate(6),
            predictor: None,
            big: None,
        }
    }
}

/// What is asked for as predictor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Differences {
    None,
    Horizontal,
    FloatingPoint,
    /// Whatever suits the samples.
    Fitting,
}

/// A choice between words: what a word stands for.
type Words<T> = [(&'static str, T)];

const SWITCH: &Words<bool> = &[
    ("YES", true),
    ("NO", false),
    ("TRUE", true),
    ("FALSE", false),
    ("ON", true),
    ("OFF", false),
];
const PACKINGS: &Words<Packing> = &[
    ("DEFLATE", Packing::Deflate(6)),
    ("LZW", Packing::Lzw),
    ("ZSTD", Packing::Zstd),
    ("NONE", Packing::None),
];
const PREDICTORS: &Words<Differences> = &[
    ("NO", Differences::None),
    ("1", Differences::None),
    ("STANDARD", Differences::Horizontal),
    ("2", Differences::Horizontal),
    ("FLOATING_POINT", Differences::FloatingPoint),
    ("3", Differences::FloatingPoint),
    ("YES", Differences::Fitting),
];
/// What is asked for of offsets of 64 bits; nothing where the size decides.
const BIG: &Words<Option<bool>> = &[
    ("IF_SAFER", None),
    ("IF_NEEDED", None),
    ("YES", Some(true)),
    ("NO", Some(false)),
];
const NAMES: [&str; 9] = [
    "COG",
    "TILED",
    "BLOCKSIZE",
    "BLOCKXSIZE",
    "BLOCKYSIZE",
    "COMPRESS",
    "ZLEVEL",
    "PREDICTOR",
    "BIGTIFF",
];

/// The value that a word stands for.
fn word<T: Copy>(option: &str, text: &str, words: &Words<T>) -> Result<T> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names = words.iter().map(|(word, _)| *word);
        Error::input(format!(
            "creation option {option}={text}: not a value that is known{}; there are {}",
            meant(&text.to_uppercase(), names.clone()),
            names.collect::<Vec<_>>().join(", ")
        ))
    })
}

/// A number in a range.
fn number(option: &str, text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize> {
    let found = text.parse().ok().filter(|n| range.contains(n));
    found.ok_or_else(|| {
        Error::input(format!(
            "creation option {option}={text}: a number from {} to {} is needed",
            range.start(),
            range.end()
        ))
    })
}

impl TiffOptions {
    /// Reads options, each `NAME=VALUE`, for images that go to `outputs`.
    ///
    /// # Errors
    /// [`Error::Input`] for a name or value that is not known, options that contradict each other, or where no output is a GeoTIFF.
    pub fn parse(options: &[String], outputs: &[&Path]) -> Result<Self> {
        let mut parsed = TiffOptions::default();
        let is_tiff = |path: &&&Path| output_format(path) == Some(Format::Tiff);
        if options.is_empty() {
            return Ok(parsed);
        }
        if let (None, Some(path)) = (outputs.iter().find(is_tiff), outputs.first()) {
            return Err(Error::input(format!(
                "{}: creation options are for GeoTIFF; call it .tif or leave the setting co out",
                path.display()
            )));
        }
        let mut level = None;
        for option in options {
            let (name, text) = option
                .split_once('=')
                .ok_or_else(|| Error::input(format!("creation option {option}: write it as NAME=VALUE")))?;
            let name = name.trim().to_uppercase();
            let text = text.trim();
            match name.as_str() {
                "COG" => parsed.cog = word(&name, text, SWITCH)?,
                "TILED" => parsed.tiled = word(&name, text, SWITCH)?,
                "BLOCKSIZE" => {
                    let side = number(&name, text, 1..=LARGEST_TILE)?;
                    (parsed.columns, parsed.rows) = (Some(side), Some(side));
                }
                "BLOCKXSIZE" => parsed.columns = Some(number(&name, text, 1..=LARGEST_TILE)?),
                "BLOCKYSIZE" => parsed.rows = Some(number(&name, text, 1..=LARGEST_TILE)?),
                "COMPRESS" => parsed.packing = word(&name, text, PACKINGS)?,
                "ZLEVEL" => level = Some(number(&name, text, 1..=9)? as u32),
                "PREDICTOR" => parsed.predictor = Some(word(&name, text, PREDICTORS)?),
                "BIGTIFF" => parsed.big = word(&name, text, BIG)?,
                _ => {
                    return Err(Error::input(format!(
                        "creation option {name}: not known{}; there are {}",
                        meant(&name, NAMES.into_iter()),
                        NAMES.join(", ")
                    )));
                }
            }
        }
        match (level, parsed.packing) {
            (None, _) => {}
            (Some(level), Packing::Deflate(_)) => parsed.packing = Packing::Deflate(level),
            (Some(_), _) => {
                return Err(Error::input(
                    "creation option ZLEVEL: is for COMPRESS=DEFLATE; leave one of them out",
                ));
            }
        }
        parsed.consistent()?;
        Ok(parsed)
    }

    /// Whether the options go together.
    fn consistent(&self) -> Result<()> {
        let tiles = self.cog || self.tiled;
        let wrong = |what: &str| Err(Error::input(format!("creation option {what}")));
        if tiles
            && [self.columns, self.rows]
                .iter()
                .flatten()
                .any(|side| side % 16 != 0)
        {
            return wrong("BLOCKSIZE: sides of tiles are multiples of 16");
        }
        if !tiles && self.columns.is_some() {
            return wrong("BLOCKSIZE: is for TILED=YES or COG=YES; rows of a strip are BLOCKYSIZE");
        }
        if self.cog && self.columns != self.rows {
            return wrong("COG=YES: has square tiles; give BLOCKSIZE");
        }
        let none = [None, Some(Differences::None)].contains(&self.predictor);
        if self.packing == Packing::None && !none {
            return wrong("PREDICTOR: is for compressed files; leave it out with COMPRESS=NONE");
        }
        Ok(())
    }

    /// Whether the file is cloud-optimised: directories first, overviews, the whole image last.
    pub(super) fn is_cog(&self) -> bool {
        self.cog
    }

    /// Rows and columns of a tile; `None` for strips.
    pub(super) fn tile(&self) -> Option<(usize, usize)> {
        let side = if self.cog { COG_TILE } else { TILE };
        (self.cog || self.tiled).then_some((self.rows.unwrap_or(side), self.columns.unwrap_or(side)))
    }

    /// Rows of a strip of an image.
    pub(super) fn strip(
        (rows, columns, bands): (usize, usize, usize),
        kind: SampleType,
        given: &Self,
    ) -> usize {
        let row = (columns * width(kind)).max(1);
        let fitting = (STRIP / row).min(HELD / (row * bands.max(1)));
        given.rows.unwrap_or(fitting).clamp(1, rows.max(1))
    }

    /// The predictor for samples of a type.
    ///
    /// # Errors
    /// [`Error::Input`] where the one that is asked for is for other samples.
    pub(super) fn predictor(&self, path: &Path, kind: SampleType) -> Result<super::chunk::Predictor> {
        use super::chunk::Predictor;
        let fitting = match kind {
            _ if self.packing == Packing::None => Predictor::None,
            _ if integer_range(kind).is_none() => Predictor::FloatingPoint,
            // Differences of 64 bits are younger than most readers.
            SampleType::U64 | SampleType::I64 => Predictor::None,
            _ => Predictor::Horizontal,
        };
        let floats = integer_range(kind).is_none();
        match self.predictor {
            None | Some(Differences::Fitting) => Ok(fitting),
            Some(Differences::None) => Ok(Predictor::None),
            Some(Differences::Horizontal) => Ok(Predictor::Horizontal),
            Some(Differences::FloatingPoint) if floats => Ok(Predictor::FloatingPoint),
            Some(Differences::FloatingPoint) => Err(Error::input(format!(
                "{}: the predictor 3 (FLOATING_POINT) is for floats, and the samples are integers; leave PREDICTOR out",
                path.display()
            ))),
        }
    }

    /// Whether offsets have 64 bits; `most` bytes are the most that the file may have.
    ///
    /// # Errors
    /// [`Error::Input`] where that is forbidden and may be needed.
    pub(super) fn is_big(&self, path: &Path, most: u64) -> Result<bool> {
        let may_need = most > u64::from(u32::MAX);
        match self.big {
            Some(false) if may_need => Err(Error::input(format!(
                "{}: may grow beyond the 4 GiB of a classic TIFF; leave BIGTIFF=NO out",
                path.display()
            ))),
            Some(big) => Ok(big),
            None => Ok(may_need),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(options: &[&str]) -> String {
        let options: Vec<String> = options.iter().map(|&o| o.to_owned()).collect();
        let parsed = TiffOptions::parse(&options, &[Path::new("a.tif")]);
        parsed.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn slips_are_answered() {
        for (options, word) in [
            (&["COMPRES=LZW"][..], "did you mean COMPRESS?"),
            (&["COMPRESS=ZSDT"], "did you mean ZSTD?"),
            (&["COMPRESS"], "NAME=VALUE"),
            (&["TILED=maybe"], "YES, NO"),
            (&["BLOCKSIZE=100", "TILED=YES"], "multiples of 16"),
            (&["BLOCKSIZE=256"], "TILED=YES"),
            (&["BLOCKXSIZE=256", "BLOCKYSIZE=128", "COG=YES"], "square"),
            (&["ZLEVEL=9", "COMPRESS=LZW"], "COMPRESS=DEFLATE"),
            (&["ZLEVEL=0"], "from 1 to 9"),
            (&["PREDICTOR=2", "COMPRESS=NONE"], "compressed"),
        ] {
            let said = said(options);
            assert!(said.contains(word), "{options:?}: {said}");
        }
        assert_eq!(said(&["cog=yes", "compress=zstd", "BlockSize=128"]), "");
        let path = Path::new("a.tif");
        let options = TiffOptions::parse(&["PREDICTOR=3".to_owned()], &[path]).unwrap();
        assert!(options.predictor(path, SampleType::U16).is_err());
        assert!(options.predictor(path, SampleType::F32).is_ok());
        let options = TiffOptions::parse(&["BIGTIFF=NO".to_owned()], &[path]).unwrap();
        assert!(options.is_big(path, 1 << 32).is_err());
        assert!(!options.is_big(path, 1 << 20).unwrap());
        let other = TiffOptions::parse(&["COG=YES".to_owned()], &[Path::new("a.npy")]);
        assert!(other.unwrap_err().to_string().contains("a.npy"));
    }
}
