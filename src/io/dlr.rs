//! EnMAP products of level 1C and 2A as DLR delivers them: `...-METADATA.XML` beside `...-SPECTRAL_IMAGE.TIF`, given by the
//! folder that holds both or by the XML file.
//!
//! Element names are those that EnPT, SNAP and the EnMAP-Box read; no product was at hand, so the tests make their own.
//! Samples are scaled band by band to the product's unit (reflectance at 2A) as singles; the background value stays what
//! it is. Bad bands are those that the product does not list as expected or whose statistics say that they hold one value
//! (the water vapour bands, which are filled with background). VNIR and SWIR see 900 to 1000 nm both; all bands are kept,
//! in the order of the file, their names say the detector, and the field `detector overlap` says where.
//!
//! Memory: that of `tiff`, and at most some hundred bytes for each byte of the XML.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use roxmltree::Node;

use super::file::{open, read_error};
use super::tiff::{self, TiffFile};
use super::xml;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// How the name of the XML file ends, in capital letters.
const ENDING: &str = "-METADATA.XML";
/// How that of the image ends.
const IMAGES: [&str; 4] = [
    "-SPECTRAL_IMAGE.TIF",
    "-SPECTRAL_IMAGE.TIFF",
    "-SPECTRAL_IMAGE_COG.TIF",
    "-SPECTRAL_IMAGE_COG.TIFF",
];
/// Longest XML file that is read; those of products have some hundred kilobytes.
const MAX_XML: u64 = 1 << 25;

/// The name of a file in capital letters.
fn capital_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().to_uppercase())
        .unwrap_or_default()
}

/// Files of a folder whose names end in one of these ways, sorted.
fn files(folder: &Path, fits: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| read_error(folder, &e))? {
        let path = entry.map_err(|e| read_error(folder, &e))?.path();
        if fits(&capital_name(&path)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The XML file of the product that a name means; `None` if it means something else.
///
/// # Errors
/// [`Error::Input`] for a folder of several products, or one that cannot be read.
pub(crate) fn metadata_file(path: &Path) -> Result<Option<PathBuf>> {
    if !path.is_dir() {
        let name = capital_name(path);
        let image = IMAGES.iter().find_map(|ending| name.strip_suffix(ending));
        return match image {
            // The image alone means the product that it is of.
            Some(stem) => {
                let own = format!("{stem}{ENDING}");
                let folder = super::path::folder_of(path);
                Ok(files(folder, |name| name == own).unwrap_or_default().pop())
            }
            None => Ok(name.ends_with(ENDING).then(|| path.to_owned())),
        };
    }
    let mut found = files(path, |name| name.ends_with(ENDING))?;
    match found.len() {
        0 | 1 => Ok(found.pop()),
        n => Err(Error::input(format!(
            "{}: holds {n} EnMAP products; name the METADATA.XML of one",
            path.display()
        ))),
    }
}

/// The files of the product that a name means: the XML and what is called like it.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let Ok(Some(xml)) = metadata_file(path) else {
        return vec![path.to_owned()];
    };
    let name = capital_name(&xml);
    let product = name.trim_end_matches(ENDING);
    let found = files(super::path::folder_of(&xml), |name| name.starts_with(product));
    found.unwrap_or_else(|_| vec![xml])
}

/// An image whose samples are scaled as they are read.
pub(crate) struct EnmapFile {
    image: TiffFile,
    /// Gain and offset of each band.
    scaling: Vec<(f64, f64)>,
    background: f64,
    metadata: Metadata,
}

/// The first element at a path of names.
fn element<'a, 'd>(from: Node<'a, 'd>, names: &[&str]) -> Option<Node<'a, 'd>> {
    names.iter().try_fold(from, |node, name| {
        node.children().find(|child| child.tag_name().name() == *name)
    })
}

fn text<'a>(from: Node<'a, '_>, names: &[&str]) -> Option<&'a str> {
    Some(element(from, names)?.text()?.trim())
}

fn number(from: Node, names: &[&str]) -> Option<f64> {
    text(from, names)?.parse().ok().filter(|x: &f64| x.is_finite())
}

/// The `bandID` elements at a path, by band from 0.
fn bands<'a, 'd>(from: Node<'a, 'd>, names: &[&str]) -> BTreeMap<usize, Node<'a, 'd>> {
    let children = element(from, names).into_iter().flat_map(|node| node.children());
    children
        .filter(|child| child.tag_name().name() == "bandID")
        .filter_map(|band| {
            let number: usize = band.attribute("number")?.trim().parse().ok()?;
            Some((number.checked_sub(1)?, band))
        })
        .collect()
}

/// What the XML says of the bands.
struct Bands {
    scaling: Vec<(f64, f64)>,
    background: Option<f64>,
    metadata: Metadata,
}

/// Reads the XML of a product with so many bands; what is wrong with it as the end of a sentence.
fn parse(xml: &str, count: usize) -> std::result::Result<Bands, String> {
    let document = xml::parse(xml).map_err(|e| format!("is no XML that can be read ({e})"))?;
    let root = document.root_element();
    let specific = element(root, &["specific"]).ok_or("has no element <specific>, as products have")?;
    let found = bands(specific, &["bandCharacterisation"]);
    if found.len() != count || found.keys().next_back() != Some(&(count - 1)) {
        return Err(format!(
            "describes {} bands, and the image has {count}; take both from one product",
            found.len()
        ));
    }
    let each = |name: &str, default: Option<f64>| -> std::result::Result<Vec<f64>, String> {
        found
            .values()
            .map(|band| match text(*band, &[name]) {
                Some(_) => number(*band, &[name]),
                None => default,
            })
            .collect::<Option<Vec<f64>>>()
            .ok_or_else(|| format!("gives no number {name} for a band"))
    };
    let wavelengths = each("wavelengthCenterOfBand", None)?;
    let gains = each("GainOfBand", Some(1.0))?;
    let offsets = each("OffsetOfBand", Some(0.0))?;
    let expected = |detector: &str| -> Vec<usize> {
        let list = text(specific, &[detector, "expectedChannelsList"]).unwrap_or_default();
        list.split(',')
            .filter_map(|number| number.trim().parse::<usize>().ok()?.checked_sub(1))
            .filter(|&band| band < count)
            .collect()
    };
    let (vnir, swir) = (expected("vnirProductQuality"), expected("swirProductQuality"));
    let listed = !vnir.is_empty() || !swir.is_empty();
    let statistics = bands(root, &["product", "bandStatistics"]);
    let one_value = |band: usize| {
        let deviation = statistics.get(&band).and_then(|s| number(*s, &["stdDeviation"]));
        deviation == Some(0.0)
    };
    let detector = |band: usize| match (vnir.contains(&band), swir.contains(&band)) {
        (true, _) => "VNIR ",
        (_, true) => "SWIR ",
        _ => "",
    };
    let mut extra = BTreeMap::from([("sensor type".to_owned(), "EnMAP".to_owned())]);
    if let Some(level) = text(root, &["base", "level"]) {
        extra.insert("product level".to_owned(), level.to_owned());
    }
    let extreme =
        |bands: &[usize], pick: fn(f64, f64) -> f64| bands.iter().map(|&band| wavelengths[band]).reduce(pick);
    if let (Some(low), Some(high)) = (extreme(&swir, f64::min), extreme(&vnir, f64::max))
        && low < high
    {
        extra.insert("detector overlap".to_owned(), format!("{low} to {high} nm"));
    }
    let metadata = Metadata {
        band_names: Some(
            (0..count)
                .map(|band| format!("{}band {}", detector(band), band + 1))
                .collect(),
        ),
        bad_bands: Some(
            (0..count)
                .map(|band| listed && detector(band).is_empty() || one_value(band))
                .collect(),
        ),
        fwhm: each("FWHMOfBand", None).ok(),
        wavelengths: Some(wavelengths),
        extra,
        ..Metadata::default()
    };
    Ok(Bands {
        scaling: gains.into_iter().zip(offsets).collect(),
        background: number(specific, &["backgroundValue"]),
        metadata,
    })
}

/// Opens the product of an XML file that [`metadata_file`] found.
///
/// # Errors
/// [`Error::Input`] if the XML or the image is missing or damaged, or the two do not belong together.
pub(crate) fn open_cube(xml_file: &Path) -> Result<EnmapFile> {
    let refuse = |what: String| Error::input(format!("{}: {what}", xml_file.display()));
    let (file, length) = open(xml_file)?;
    if length > MAX_XML {
        return Err(refuse(format!(
            "is {length} bytes long, too long for the XML of a product"
        )));
    }
    let mut xml = String::new();
    file.take(MAX_XML)
        .read_to_string(&mut xml)
        .map_err(|e| read_error(xml_file, &e))?;
    let name = capital_name(xml_file);
    let stem = name.strip_suffix(ENDING).unwrap_or(&name);
    let folder = match xml_file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let image_names = IMAGES.map(|ending| format!("{stem}{ending}"));
    let images = files(folder, |name| image_names.iter().any(|image| image == name))?;
    let image = images.first().ok_or_else(|| {
        refuse(
            "no ...-SPECTRAL_IMAGE.TIF beside it; order the product of level 2A or 1C as GeoTIFF, and leave its files in one folder"
                .to_owned(),
        )
    })?;
    let image = tiff::open_cube(image)?;
    let Bands {
        scaling,
        background,
        mut metadata,
    } = parse(&xml, image.dim().2).map_err(refuse)?;
    metadata.grid = image.metadata().grid.clone();
    metadata.nodata = background.or(image.metadata().nodata);
    Ok(EnmapFile {
        image,
        scaling,
        // NaN equals no sample.
        background: metadata.nodata.unwrap_or(f64::NAN),
        metadata,
    })
}

impl Strips for EnmapFile {
    fn dim(&self) -> (usize, usize, usize) {
        self.image.dim()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let mut strip = self.image.rows(rows)?;
        for mut spectrum in strip.samples.lanes_mut(ndarray::Axis(2)) {
            for (x, (gain, offset)) in spectrum.iter_mut().zip(&self.scaling) {
                if f64::from(*x) != self.background {
                    *x = (f64::from(*x) * gain + offset) as f32;
                }
            }
        }
        strip.sample_type = SampleType::F32;
        strip.metadata = self.metadata.clone();
        Ok(strip)
    }
}
