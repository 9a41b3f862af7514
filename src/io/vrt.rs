//! GDAL's virtual images (`.vrt`): mosaics and stacks (`gdalbuildvrt`, with `-separate`) of files that are read in any of the formats here,
//! and parts of them (`gdal_translate -of VRT -srcwin`). Sources that are resampled, scaled or computed are refused: what they would be
//! is for GDAL to make (`gdal_translate`).
//!
//! Memory: the text, the rows asked for, and the rows of one source at a time; that of the sources' formats.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::{Array2, Array3, Axis, s};
use roxmltree::Node;

use super::file::{open, read_error};
use super::path::folder_of;
use super::samples::Float;
use super::{tiff, xml};
use crate::cube::exact::Exact;
use crate::cube::strips::{self, Strips};
use crate::cube::{Cube, Metadata, SampleType, is_nodata};
use crate::error::{Error, Result};

/// How the text begins, behind white space and a declaration of XML.
const ROOT: &str = "<VRTDataset";
/// Longest text that is read.
const LONGEST: u64 = 1 << 26;
/// Most files that one image is made of: each of them stays open.
const MOST_FILES: usize = 512;
/// What helps where GDAL has to compute.
const ADVICE: &str = "write the image as GeoTIFF with gdal_translate";

/// Whether the first bytes of a file are such a text's.
pub(super) fn begins(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with(ROOT) || text.starts_with("<?xml") && text.contains(ROOT)
}

/// A rectangle of a source's band that lies in a band of the image.
struct Use {
    /// Number of the source.
    source: usize,
    source_band: usize,
    band: usize,
    /// Row and column of the rectangle's corner, in the source and in the image.
    from: [usize; 2],
    to: [usize; 2],
    /// Rows and columns.
    size: [usize; 2],
    /// Its value for "nothing here".
    nodata: Option<f64>,
}

/// What a text says.
struct Described {
    dim: (usize, usize, usize),
    kind: SampleType,
    /// Of each band where nothing lies.
    empty: Vec<Option<f64>>,
    files: Vec<PathBuf>,
    uses: Vec<Use>,
    metadata: Metadata,
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children()
        .find(|n| n.has_tag_name(name))?
        .text()
        .map(str::trim)
}

/// The rectangle of an element in whole pixels: row, column, rows, columns; `None` for one between pixels.
fn rectangle(node: Node, name: &str) -> Option<[usize; 4]> {
    let element = node.children().find(|n| n.has_tag_name(name))?;
    let mut found = [0; 4];
    for (to, name) in found.iter_mut().zip(["yOff", "xOff", "ySize", "xSize"]) {
        let number: f64 = element.attribute(name)?.trim().parse().ok()?;
        if !(0.0..=f64::from(u32::MAX)).contains(&number) || (number - number.round()).abs() > 1e-6 {
            return None;
        }
        *to = number.round() as usize;
    }
    Some(found)
}

fn kind_of(name: &str) -> Option<SampleType> {
    Some(match name {
        "Byte" => SampleType::U8,
        "Int8" => SampleType::I8,
        "UInt16" => SampleType::U16,
        "Int16" => SampleType::I16,
        "UInt32" => SampleType::U32,
        "Int32" => SampleType::I32,
        "UInt64" => SampleType::U64,
        "Int64" => SampleType::I64,
        "Float16" => SampleType::F16,
        "Float32" => SampleType::F32,
        "Float64" => SampleType::F64,
        _ => return None,
    })
}

impl Described {
    /// Reads it; `folder` is the text's own. What is wrong with it as the end of a sentence.
    fn read(text: &str, folder: &Path) -> std::result::Result<Described, String> {
        let document = xml::parse(text).map_err(|e| format!("is no XML that can be read ({e})"))?;
        let root = document.root_element();
        if let Some(class) = root.attribute("subClass") {
            return Err(format!("is a {class}, which GDAL computes; {ADVICE}"));
        }
        let length = |name: &str| {
            let number = root.attribute(name)?.trim().parse::<usize>().ok()?;
            Some(number).filter(|n| (1..=i32::MAX as usize).contains(n))
        };
        let (rows, columns) = length("rasterYSize")
            .zip(length("rasterXSize"))
            .ok_or("says no size")?;
        let bands: Vec<Node> = root
            .children()
            .filter(|n| n.has_tag_name("VRTRasterBand"))
            .collect();
        let mut told = Described {
            dim: (rows, columns, bands.len()),
            kind: SampleType::U8,
            empty: Vec::new(),
            files: Vec::new(),
            uses: Vec::new(),
            metadata: Metadata::default(),
        };
        let mut names: Vec<String> = Vec::new();
        for (number, band) in bands.iter().enumerate() {
            if let Some(class) = band.attribute("subClass") {
                return Err(format!(
                    "its band {number} is a {class}, which GDAL computes; {ADVICE}"
                ));
            }
            let name = band.attribute("dataType").unwrap_or("Byte");
            let kind = kind_of(name)
                .ok_or_else(|| format!("its band {number} has samples of type {name}; {ADVICE}"))?;
            if number > 0 && kind != told.kind {
                return Err(format!("its bands are of several types; {ADVICE}"));
            }
            told.kind = kind;
            told.empty
                .push(child(*band, "NoDataValue").and_then(|text| text.parse().ok()));
            for source in band
                .children()
                .filter(|n| n.tag_name().name().ends_with("Source"))
            {
                told.add(source, number, folder, &mut names)?;
            }
        }
        if bands.is_empty() {
            return Err("has no bands".to_owned());
        }
        tiff::describe(text, bands.len(), &mut told.metadata);
        told.metadata.nodata = told.empty.iter().flatten().next().copied();
        Ok(told)
    }

    fn add(
        &mut self,
        source: Node,
        band: usize,
        folder: &Path,
        names: &mut Vec<String>,
    ) -> std::result::Result<(), String> {
        let kind = source.tag_name().name();
        let computed = [
            "ScaleOffset",
            "ScaleRatio",
            "Exponent",
            "LUT",
            "ColorTableComponent",
            "UseMaskBand",
        ];
        let made = source
            .children()
            .find(|n| computed.contains(&n.tag_name().name()));
        if !["SimpleSource", "ComplexSource"].contains(&kind) || made.is_some() {
            let what = made.map_or(kind, |n| n.tag_name().name());
            return Err(format!(
                "its band {band} has a {what}, which GDAL computes; {ADVICE}"
            ));
        }
        let file = source
            .children()
            .find(|n| n.has_tag_name("SourceFilename"))
            .ok_or("names no file of a source")?;
        let name = file.text().unwrap_or_default().trim();
        let path = match file.attribute("relativeToVRT") {
            Some("1") => folder.join(name).to_string_lossy().into_owned(),
            _ => name.to_owned(),
        };
        let number = names.iter().position(|known| *known == path).unwrap_or_else(|| {
            names.push(path.clone());
            self.files.push(PathBuf::from(&path));
            names.len() - 1
        });
        if names.len() > MOST_FILES {
            return Err(format!("is made of more than {MOST_FILES} files; {ADVICE}"));
        }
        let source_band = match child(source, "SourceBand") {
            None => 1,
            Some(text) => text
                .parse()
                .map_err(|_| format!("its band {band} has a source of band {text}; {ADVICE}"))?,
        };
        let between =
            || format!("its band {band} has a source that is resampled, which GDAL computes; {ADVICE}");
        let whole = [0, 0, self.dim.0, self.dim.1];
        let has = |name: &str| source.children().any(|n| n.has_tag_name(name));
        let rectangle = |name: &str| {
            if has(name) {
                rectangle(source, name).ok_or_else(between)
            } else {
                Ok(whole)
            }
        };
        let (from, to) = (rectangle("SrcRect")?, rectangle("DstRect")?);
        if from[2..] != to[2..] {
            return Err(between());
        }
        if to[0] + to[2] > self.dim.0 || to[1] + to[3] > self.dim.1 || source_band == 0 {
            return Err(format!(
                "its band {band} has a source that lies outside of it; {ADVICE}"
            ));
        }
        self.uses.push(Use {
            source: number,
            source_band: source_band - 1,
            band,
            from: [from[0], from[1]],
            to: [to[0], to[1]],
            size: [from[2], from[3]],
            nodata: child(source, "NODATA").and_then(|text| text.parse().ok()),
        });
        Ok(())
    }
}

fn text_of(path: &Path) -> Result<String> {
    let (file, length) = open(path)?;
    let mut text = String::new();
    if length > LONGEST {
        return Err(Error::input(format!(
            "{}: is {length} bytes long, too long for a VRT",
            path.display()
        )));
    }
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|e| read_error(path, &e))?;
    Ok(text)
}

/// The files that an image is made of, and its text.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let told = text_of(path)
        .ok()
        .and_then(|text| Described::read(&text, folder_of(path)).ok());
    let sources = told.map(|told| told.files).unwrap_or_default();
    std::iter::once(path.to_owned()).chain(sources).collect()
}

/// Opens a source by its name.
type Open = Box<dyn Fn(&Path) -> Result<Box<dyn Strips>>>;

/// An image whose rows are put together from those of its sources.
pub(crate) struct VrtFile {
    path: PathBuf,
    told: Described,
    open: Open,
    /// Those that have been asked for rows.
    sources: Mutex<Vec<Option<Box<dyn Strips>>>>,
}

/// Opens an image, whose sources `open` opens when rows of them are asked for.
///
/// # Errors
/// [`Error::Input`] where the text is damaged or asks for what is not done here.
pub(crate) fn open_cube(path: &Path, open: Open) -> Result<VrtFile> {
    let told = Described::read(&text_of(path)?, folder_of(path))
        .map_err(|what| Error::input(format!("{}: {what}", path.display())))?;
    let image = VrtFile {
        path: path.to_owned(),
        sources: Mutex::new(told.files.iter().map(|_| None).collect()),
        told,
        open,
    };
    // What is missing is said now and not after the first rows.
    for file in &image.told.files {
        super::file::open(file)?;
    }
    Ok(image)
}

impl VrtFile {
    /// Puts what the uses of one source say of some rows into them.
    fn take<T: Float>(
        &self,
        number: usize,
        source: &dyn Strips,
        rows: &Range<usize>,
        to: &mut Rows<T>,
    ) -> Result<()> {
        let file = self.told.files[number].display();
        let (height, width, bands) = source.dim();
        for used in self.told.uses.iter().filter(|used| used.source == number) {
            let first = rows.start.max(used.to[0]);
            let end = rows.end.min(used.to[0] + used.size[0]);
            if first >= end {
                continue;
            }
            let from = first - used.to[0] + used.from[0];
            let wanted = from..from + (end - first);
            let columns = used.from[1]..used.from[1] + used.size[1];
            if wanted.end > height || columns.end > width || used.source_band >= bands {
                return Err(Error::input(format!(
                    "{}: asks for row {}, column {} of band {} of {file}, which has {height} x {width} pixels and {bands} bands",
                    self.path.display(),
                    wanted.end,
                    columns.end,
                    used.source_band + 1
                )));
            }
            if to.held.as_ref().is_none_or(|(held, ..)| *held != wanted) {
                let part = (to.read)(source, wanted.clone())?;
                to.held = Some((wanted, part));
            }
            let Some((_, (samples, valid))) = &to.held else {
                continue;
            };
            for (k, r) in (first - rows.start..end - rows.start).enumerate() {
                for (j, c) in (used.to[1]..used.to[1] + used.size[1]).enumerate() {
                    let x = samples[[k, columns.start + j, used.source_band]];
                    if used.nodata.is_some_and(|value| is_nodata(x.single(), value)) {
                        continue;
                    }
                    to.samples[[r, c, used.band]] = x;
                    to.usable[[r, c]] &= valid.as_ref().is_none_or(|valid| valid[[k, columns.start + j]]);
                }
            }
        }
        to.held = None;
        Ok(())
    }
    /// Some rows, whose sources are read as `read` does it.
    fn put_together<T: Float>(
        &self,
        rows: Range<usize>,
        read: fn(&dyn Strips, Range<usize>) -> Result<Part<T>>,
    ) -> Result<(Array3<T>, Array2<bool>)> {
        let (_, columns, bands) = self.told.dim;
        let mut to = Rows {
            samples: Array3::from_elem((rows.len(), columns, bands), T::from_f64(0.0)),
            usable: Array2::from_elem((rows.len(), columns), true),
            read,
            held: None,
        };
        // An image has one value for no data.
        let one = self.told.metadata.nodata;
        for (band, own) in self.told.empty.iter().enumerate() {
            let value = T::from_f64(own.and(one).unwrap_or(0.0));
            to.samples.slice_mut(s![.., .., band]).fill(value);
        }
        let mut sources = self
            .sources
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for (number, file) in self.told.files.iter().enumerate() {
            if sources[number].is_none() {
                sources[number] = Some((self.open)(file)?);
            }
            if let Some(source) = &sources[number] {
                self.take(number, source.as_ref(), &rows, &mut to)?;
            }
        }
        if let Some(one) = one {
            for (mut band, own) in to.samples.axis_iter_mut(Axis(2)).zip(&self.told.empty) {
                if let Some(own) = own.filter(|&own| own != one) {
                    band.mapv_inplace(|x| {
                        if is_nodata(x.single(), own) {
                            T::from_f64(one)
                        } else {
                            x
                        }
                    });
                }
            }
        }
        Ok((to.samples, to.usable))
    }
}

/// Samples of some rows, and which pixels are data.
type Part<T> = (Array3<T>, Option<Array2<bool>>);

/// Rows that are being put together, and the rows of a source that were read last.
struct Rows<T> {
    samples: Array3<T>,
    usable: Array2<bool>,
    /// How a source is read.
    read: fn(&dyn Strips, Range<usize>) -> Result<Part<T>>,
    held: Option<(Range<usize>, Part<T>)>,
}

impl Strips for VrtFile {
    fn dim(&self) -> (usize, usize, usize) {
        self.told.dim
    }

    fn metadata(&self) -> &Metadata {
        &self.told.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.told.kind
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let read = |source: &dyn Strips, rows| source.rows(rows).map(|strip| (strip.samples, strip.valid));
        let (samples, usable) = self.put_together(rows, read)?;
        let mut strip = Cube::new(samples);
        strip.sample_type = self.told.kind;
        strip.metadata = self.told.metadata.clone();
        if usable.iter().any(|&ok| !ok) {
            strip.mask_pixels(usable.view());
        }
        Ok(strip)
    }

    fn exact(&self, rows: Range<usize>) -> Result<Option<Array3<Exact>>> {
        if self.told.kind.fits_single() {
            return Ok(None);
        }
        let read = |source: &dyn Strips, rows| strips::exactly(source, rows).map(|samples| (samples, None));
        Ok(Some(self.put_together(rows, read)?.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Described::read(text, Path::new("f")).err().unwrap()
    }

    #[test]
    fn what_gdal_would_have_to_compute_is_refused() {
        let image = |band: &str| {
            format!(
                "<VRTDataset rasterXSize=\"4\" rasterYSize=\"3\"><VRTRasterBand dataType=\"UInt16\" band=\"1\">{band}</VRTRasterBand></VRTDataset>"
            )
        };
        let source = |kind: &str, inside: &str| {
            image(&format!(
                "<{kind}><SourceFilename relativeToVRT=\"1\">a.tif</SourceFilename><SourceBand>2</SourceBand>{inside}</{kind}>"
            ))
        };
        let told = Described::read(&source("SimpleSource", ""), Path::new("f")).unwrap();
        assert_eq!((told.dim, told.kind), ((3, 4, 1), SampleType::U16));
        assert_eq!(told.files, [Path::new("f/a.tif")]);
        assert_eq!((told.uses[0].source_band, told.uses[0].size), (1, [3, 4]));
        let rectangles = |src: &str, dst: &str| {
            let of = |name: &str, size: &str| {
                format!("<{name} xOff=\"0\" yOff=\"0\" xSize=\"{size}\" ySize=\"2\"/>")
            };
            source("SimpleSource", &(of("SrcRect", src) + &of("DstRect", dst)))
        };
        assert!(Described::read(&rectangles("3", "3"), Path::new("f")).is_ok());
        for (text, word) in [
            (rectangles("2", "4"), "resampled"),
            (rectangles("2.5", "2.5"), "resampled"),
            (rectangles("9", "9"), "outside"),
            (
                source("ComplexSource", "<ScaleRatio>2</ScaleRatio>"),
                "ScaleRatio",
            ),
            (source("KernelFilteredSource", ""), "KernelFilteredSource"),
            (
                image("").replace(
                    "VRTDataset raster",
                    "VRTDataset subClass=\"VRTWarpedDataset\" raster",
                ),
                "VRTWarpedDataset",
            ),
            (image("").replace("UInt16", "CFloat32"), "CFloat32"),
        ] {
            let said = wrong(&text);
            assert!(said.contains(word) && said.contains("gdal_translate"), "{said}");
        }
        assert_eq!(
            wrong("<VRTDataset rasterXSize=\"4\" rasterYSize=\"3\"/>"),
            "has no bands"
        );
        assert!(wrong("<VRTDataset rasterXSize=\"0\" rasterYSize=\"3\"/>").contains("size"));
        assert!(begins(b"<VRTDataset rasterXSize") && begins(b"<?xml version=\"1.0\"?>\n<VRTDataset a"));
        assert!(!begins(b"<html>"));
    }
}
