//! EnMAP products of level 1C and 2A and DESIS products of level 1B to 2A as DLR delivers them: `...-METADATA.XML` beside
//! `...-SPECTRAL_IMAGE.TIF`, given by the folder that holds both, by the XML file or by the image.
//!
//! Element names are those that EnPT, SNAP and the EnMAP-Box read; no product was at hand, so the tests make their own.
//! Samples are scaled band by band to the product's unit (reflectance at 2A) as singles; the background value stays what
//! it is. Bad bands are those that the product does not list as expected or whose statistics say that they hold one value
//! (the water vapour bands, which are filled with background). VNIR and SWIR see 900 to 1000 nm both; all bands are kept,
//! in the order of the file, their names say the detector, and the field `detector overlap` says where.
//!
//! Pixels that the quality layers beside the image take for cloud, cirrus or their shadow are masked: of EnMAP
//! `QL_QUALITY_CLOUD`, `QL_QUALITY_CIRRUS` and `QL_QUALITY_CLOUDSHADOW`, of DESIS three bands of `QL_QUALITY-2`. Haze, snow and defective
//! pixels of single bands are left to the user.
//!
//! Memory: that of `tiff`, a byte a pixel, and at most some hundred bytes for each byte of the XML.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::{Array2, Axis, s};
use roxmltree::Node;

use super::clouds::{self, Clouds};
use super::file::{open, read_error};
use super::tiff::{self, TiffFile};
use super::xml;
use crate::cube::strips::{self, Strips};
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
/// How the names of DESIS products begin.
const DESIS_NAMES: &str = "DESIS-";
/// What stands for no data in DESIS products that do not say it.
const DESIS_NODATA: f64 = -32768.0;

/// Quality layers: how the file's name ends, the band, and the smallest and largest number of a pixel that is no ground.
const LAYERS: [(&str, usize, f32, f32); 6] = [
    ("-QL_QUALITY_CLOUD.TIF", 0, 1.0, 1.0),
    ("-QL_QUALITY_CLOUDSHADOW.TIF", 0, 1.0, 1.0),
    // Thin, medium, thick.
    ("-QL_QUALITY_CIRRUS.TIF", 0, 1.0, 3.0),
    // Shadow, and cloud over land and over water.
    ("-QL_QUALITY-2.TIF", 0, 1.0, 255.0),
    ("-QL_QUALITY-2.TIF", 5, 1.0, 255.0),
    ("-QL_QUALITY-2.TIF", 6, 1.0, 255.0),
];

/// What a mission calls things.
struct Mission {
    name: &'static str,
    band: &'static str,
    fwhm: &'static str,
    gain: &'static str,
    offset: &'static str,
}

const ENMAP: Mission = Mission {
    name: "EnMAP",
    band: "bandID",
    fwhm: "FWHMOfBand",
    gain: "GainOfBand",
    offset: "OffsetOfBand",
};
const DESIS: Mission = Mission {
    name: "DESIS",
    band: "band",
    fwhm: "wavelengthWidthOfBand",
    gain: "gainOfBand",
    offset: "offsetOfBand",
};

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
            "{}: holds {n} products; name the METADATA.XML of one",
            path.display()
        ))),
    }
}

/// Whether an XML file is that of a DESIS product.
pub(crate) fn is_desis(xml_file: &Path) -> bool {
    capital_name(xml_file).starts_with(DESIS_NAMES)
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
pub(crate) struct DlrFile {
    image: TiffFile,
    /// Gain and offset of each band.
    scaling: Vec<(f64, f64)>,
    background: f64,
    /// Pixels that no quality layer excludes, where there are layers.
    usable: Option<Array2<bool>>,
    metadata: Metadata,
    notes: Vec<String>,
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

/// The elements of bands at a path, by band from 0: as their numbers say, or as they stand there.
fn bands<'a, 'd>(from: Node<'a, 'd>, names: &[&str], mission: &Mission) -> BTreeMap<usize, Node<'a, 'd>> {
    let children = element(from, names).into_iter().flat_map(|node| node.children());
    children
        .filter(|child| child.tag_name().name() == mission.band)
        .enumerate()
        .filter_map(|(place, band)| {
            let number = band.attribute("number").or_else(|| text(band, &["bandNumber"]));
            match number {
                Some(number) => Some((number.trim().parse::<usize>().ok()?.checked_sub(1)?, band)),
                None => Some((place, band)),
            }
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
fn parse(xml: &str, count: usize, mission: &Mission) -> std::result::Result<Bands, String> {
    let document = xml::parse(xml).map_err(|e| format!("is no XML that can be read ({e})"))?;
    let root = document.root_element();
    let specific = element(root, &["specific"]).ok_or("has no element <specific>, as products have")?;
    let found = bands(specific, &["bandCharacterisation"], mission);
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
    let gains = each(mission.gain, Some(1.0))?;
    let offsets = each(mission.offset, Some(0.0))?;
    let expected = |detector: &str| -> Vec<usize> {
        let list = text(specific, &[detector, "expectedChannelsList"]).unwrap_or_default();
        list.split(',')
            .filter_map(|number| number.trim().parse::<usize>().ok()?.checked_sub(1))
            .filter(|&band| band < count)
            .collect()
    };
    let (vnir, swir) = (expected("vnirProductQuality"), expected("swirProductQuality"));
    let listed = !vnir.is_empty() || !swir.is_empty();
    let statistics = bands(root, &["product", "bandStatistics"], mission);
    let one_value = |band: usize| {
        let deviation = statistics.get(&band).and_then(|s| number(*s, &["stdDeviation"]));
        deviation == Some(0.0)
    };
    let detector = |band: usize| match (vnir.contains(&band), swir.contains(&band)) {
        (true, _) => "VNIR ",
        (_, true) => "SWIR ",
        _ => "",
    };
    let mut extra = BTreeMap::from([("sensor type".to_owned(), mission.name.to_owned())]);
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
        fwhm: each(mission.fwhm, None).ok(),
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

/// Which pixels of an image of so many rows and columns no quality layer of the product takes for cloud, cirrus or shadow; `None` without
/// layers.
fn ground(folder: &Path, stem: &str, size: (usize, usize)) -> Result<Option<Array2<bool>>> {
    let mut usable: Option<Array2<bool>> = None;
    for (ending, band, low, high) in LAYERS {
        let name = format!("{stem}{ending}");
        let Some(file) = files(folder, |found| found == name)?.pop() else {
            continue;
        };
        let layer = tiff::open_cube(&file)?;
        let (rows, columns, bands) = layer.dim();
        if (rows, columns) != size || band >= bands {
            return Err(Error::input(format!(
                "{}: {rows} x {columns} pixels of {bands} bands are no quality layer of an image of {} x {}; take all files from one product, or keep clouds (the setting clouds)",
                file.display(),
                size.0,
                size.1
            )));
        }
        let usable = usable.get_or_insert_with(|| Array2::from_elem(size, true));
        strips::for_each(&layer, |first, strip| {
            let classes = strip.samples.index_axis(Axis(2), band);
            usable
                .slice_mut(s![first..first + strip.rows(), ..])
                .zip_mut_with(&classes, |ok, class| *ok &= !(low..=high).contains(class));
            Ok(())
        })?;
    }
    Ok(usable)
}

/// Opens the product of an XML file that [`metadata_file`] found.
///
/// # Errors
/// [`Error::Input`] if the XML or the image is missing or damaged, or the two do not belong together.
pub(crate) fn open_cube(xml_file: &Path, clouds: Clouds) -> Result<DlrFile> {
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
    let mission = if is_desis(xml_file) { &DESIS } else { &ENMAP };
    let Bands {
        scaling,
        background,
        mut metadata,
    } = parse(&xml, image.dim().2, mission).map_err(refuse)?;
    metadata.grid = image.metadata().grid.clone();
    let assumed = is_desis(xml_file).then_some(DESIS_NODATA);
    metadata.nodata = background.or(image.metadata().nodata).or(assumed);
    let (rows, columns, _) = image.dim();
    let usable = match clouds {
        Clouds::Mask => ground(folder, stem, (rows, columns))?,
        Clouds::Keep => None,
    };
    let left_out = usable.iter().flatten().filter(|&&ok| !ok).count();
    let note = (left_out > 0).then(|| clouds::note(xml_file, left_out, rows * columns));
    Ok(DlrFile {
        usable,
        notes: note.into_iter().collect(),
        image,
        scaling,
        // NaN equals no sample.
        background: metadata.nodata.unwrap_or(f64::NAN),
        metadata,
    })
}

impl Strips for DlrFile {
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
        let mut strip = self.image.rows(rows.clone())?;
        for mut spectrum in strip.samples.lanes_mut(ndarray::Axis(2)) {
            for (x, (gain, offset)) in spectrum.iter_mut().zip(&self.scaling) {
                if f64::from(*x) != self.background {
                    *x = (f64::from(*x) * gain + offset) as f32;
                }
            }
        }
        strip.sample_type = SampleType::F32;
        strip.metadata = self.metadata.clone();
        if let Some(usable) = &self.usable {
            strip.mask_pixels(usable.slice(s![rows, ..]));
        }
        Ok(strip)
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}
