//! Sentinel-2 products of level 1C and 2A in ESA's SAFE format: the folder, its `MTD_MSIL..XML`, or the product as ZIP. The bands of
//! one resolution are one image, `PRODUCT:10m` (the default), `PRODUCT:20m` or `PRODUCT:60m`: those that were measured at it, not the
//! copies of others that level 2A has too.
//!
//! Samples are reflectances: (number + offset) / quantification, both from the XML (the offset is −1000 since processing baseline 04.00).
//! Pixels without data, saturated ones, and at level 2A those that the scene classification takes for cloud, cirrus or their shadow, are masked,
//! unless the user keeps clouds.
//!
//! Element names are those of ESA's Product Specification Document; no product was at hand, so the tests make their own.
//! Memory: 2 bytes a sample of the bands, and while a band is decoded that of `jp2`.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::{Array2, Array3, ArrayView2, s};
use rayon::prelude::*;
use roxmltree::{Document, Node};
use zip::ZipArchive;

use super::clouds::{self, Clouds};
use super::file::{open, read_error};
use super::{jp2, xml};
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// Resolutions, and the bands that were measured at each.
const BANDS: [(&str, &[&str]); 3] = [
    ("10m", &["B02", "B03", "B04", "B08"]),
    ("20m", &["B05", "B06", "B07", "B8A", "B11", "B12"]),
    ("60m", &["B01", "B09", "B10"]),
];
/// Names of the product's XML.
const XML: [&str; 2] = ["MTD_MSIL1C.XML", "MTD_MSIL2A.XML"];
/// Longest XML file that is read; those of products have some hundred kilobytes.
const MAX_XML: u64 = 1 << 25;
/// What stands for no data among reflectances.
const NODATA: f32 = -9999.0;
/// Number of a sample that is saturated.
const SATURATED: u16 = u16::MAX;
/// Classes of the scene classification that are no measurements: no data, defective.
const NO_DATA: [u16; 2] = [0, 1];
/// Those that are no ground: shadow of clouds, clouds, cirrus.
const NO_GROUND: [u16; 4] = [3, 8, 9, 10];

/// Where the files of a product are.
enum Product {
    Folder(PathBuf),
    /// An archive, and the folder in it.
    Archive(Mutex<ZipArchive<File>>, String),
}

fn capital(name: &str) -> String {
    name.to_uppercase()
}

/// The XML of the product that lies in a folder or that a name is.
fn xml_of(path: &Path) -> Option<PathBuf> {
    let is_xml = |path: &Path| {
        path.file_name()
            .is_some_and(|name| XML.contains(&capital(&name.to_string_lossy()).as_str()))
    };
    if !path.is_dir() {
        return is_xml(path).then(|| path.to_owned());
    }
    let mut found: Vec<PathBuf> = fs::read_dir(path)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.retain(|path| is_xml(path));
    found.pop()
}

/// The member of an archive that is a product's XML, by name.
fn xml_in(archive: &ZipArchive<File>) -> Option<String> {
    let names = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()));
    let mut products = names.filter(|name| {
        let last = name.rsplit('/').next().unwrap_or_default();
        XML.contains(&capital(last).as_str())
    });
    products.next()
}

/// Whether a name means a product.
pub(super) fn is_product(path: &Path) -> bool {
    if super::path::ending(path) == "zip" {
        let archive = File::open(path).ok().and_then(|file| ZipArchive::new(file).ok());
        return archive.is_some_and(|archive| xml_in(&archive).is_some());
    }
    xml_of(path).is_some()
}

/// The files of a product: all that lie in its folder.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let Some(xml) = xml_of(path) else {
        return vec![path.to_owned()];
    };
    let Ok(text) = fs::read_to_string(&xml) else {
        return vec![xml];
    };
    let folder = super::path::folder_of(&xml).to_owned();
    let images = xml::parse(&text)
        .map(|document| images(&document))
        .unwrap_or_default();
    let images = images.into_iter().map(|name| folder.join(name));
    std::iter::once(xml)
        .chain(images)
        .filter(|file| file.is_file())
        .collect()
}

/// The image files that a product's XML lists, from its folder on. Names that lead out of it are left out.
fn images(document: &Document) -> Vec<String> {
    let texts = document
        .descendants()
        .filter(|node| ["IMAGE_FILE", "IMAGE_ID"].contains(&node.tag_name().name()))
        .filter_map(|node| node.text());
    texts
        .map(|text| format!("{}.jp2", text.trim()))
        .filter(|name| !name.starts_with('/') && !name.split(['/', '\\']).any(|part| part == ".."))
        .collect()
}

/// Numbers that elements of one name give to bands (`band_id`, or where there is none in their order).
fn by_band(document: &Document, names: &[&str], attribute: &str) -> Vec<(usize, f64)> {
    let nodes = document
        .descendants()
        .filter(|node| names.contains(&node.tag_name().name()));
    let number = |(place, node): (usize, Node)| {
        let band = node
            .attribute(attribute)
            .map_or(Some(place), |text| text.trim().parse().ok());
        Some((band?, node.text()?.trim().parse().ok()?))
    };
    nodes.enumerate().filter_map(number).collect()
}

/// What a product's XML says.
struct Described {
    /// Files of the bands and their names.
    bands: Vec<(String, &'static str)>,
    classification: Option<String>,
    /// Of each band.
    offsets: Vec<f64>,
    quantification: f64,
    wavelengths: Option<Vec<f64>>,
}

impl Described {
    /// Reads it for one resolution; what is wrong with it as the end of a sentence.
    fn read(text: &str, resolution: &str) -> std::result::Result<Described, String> {
        let document = xml::parse(text).map_err(|e| format!("is no XML that can be read ({e})"))?;
        let (_, wanted) = BANDS
            .iter()
            .find(|(name, _)| *name == resolution)
            .ok_or_else(|| {
                format!("has bands of 10, 20 and 60 m; ask for :10m, :20m or :60m, not :{resolution}")
            })?;
        let files = images(&document);
        let level2 = files
            .iter()
            .any(|file| file.contains(&format!("_{resolution}.jp2")));
        let file_of = |band: &str| {
            let ending = if level2 {
                format!("_{band}_{resolution}.jp2")
            } else {
                format!("_{band}.jp2")
            };
            files.iter().find(|file| file.ends_with(&ending)).cloned()
        };
        let bands: Vec<(String, &'static str)> = wanted
            .iter()
            .filter_map(|&band| Some((file_of(band)?, band)))
            .collect();
        if bands.is_empty() {
            return Err(format!("lists no images of {resolution}"));
        }
        let one = |name: &str| {
            let node = document.descendants().find(|node| node.tag_name().name() == name);
            node?.text()?.trim().parse::<f64>().ok()
        };
        let quantification = one("BOA_QUANTIFICATION_VALUE")
            .or_else(|| one("QUANTIFICATION_VALUE"))
            .filter(|x| *x > 0.0)
            .ok_or("gives no number QUANTIFICATION_VALUE")?;
        // Numbers of bands count B8A as the ninth.
        let number = |band: &str| match band {
            "B8A" => Some(8),
            band => {
                let number: usize = band[1..].parse().ok()?;
                Some(if number > 8 { number } else { number - 1 })
            }
        };
        let offsets = by_band(&document, &["BOA_ADD_OFFSET", "RADIO_ADD_OFFSET"], "band_id");
        let centres: Vec<(usize, f64)> = document
            .descendants()
            .filter(|node| node.tag_name().name() == "Spectral_Information")
            .filter_map(|node| {
                let band = node.attribute("bandId")?.trim().parse().ok()?;
                let centre = node.descendants().find(|n| n.tag_name().name() == "CENTRAL")?;
                Some((band, centre.text()?.trim().parse().ok()?))
            })
            .collect();
        let of = |list: &[(usize, f64)], band: &str| {
            let number = number(band)?;
            list.iter().find(|(id, _)| *id == number).map(|(_, value)| *value)
        };
        let found = bands.iter().map(|(_, band)| of(&offsets, band));
        let offsets = if offsets.is_empty() {
            vec![0.0; bands.len()]
        } else {
            found
                .collect::<Option<Vec<f64>>>()
                .ok_or("gives no offset for a band")?
        };
        // Clouds are classified at 20 and 60 m; that of 20 m serves the finer bands.
        let classes = if resolution == "60m" {
            "_SCL_60m.jp2"
        } else {
            "_SCL_20m.jp2"
        };
        Ok(Described {
            classification: files.iter().find(|file| file.ends_with(classes)).cloned(),
            wavelengths: bands.iter().map(|(_, band)| of(&centres, band)).collect(),
            bands,
            offsets,
            quantification,
        })
    }
}

impl Product {
    fn bytes(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self {
            Product::Folder(folder) => {
                let path = folder.join(name);
                let (file, _) = open(&path)?;
                file.take(most)
                    .read_to_end(&mut bytes)
                    .map_err(|e| read_error(&path, &e))?;
            }
            Product::Archive(archive, folder) => {
                let path = PathBuf::from(format!("{folder}{name}"));
                let mut archive = archive.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let member = archive.by_name(&path.to_string_lossy()).map_err(|e| {
                    Error::input(format!(
                        "{}: is not in the archive, or damaged: {e}",
                        path.display()
                    ))
                })?;
                member
                    .take(most)
                    .read_to_end(&mut bytes)
                    .map_err(|e| read_error(&path, &e))?;
            }
        }
        Ok(bytes)
    }
}

/// An image of numbers, from which reflectances are made.
pub(crate) struct SafeImage {
    bands: Vec<Array2<u16>>,
    scaling: Vec<(f64, f64)>,
    usable: Option<Array2<bool>>,
    metadata: Metadata,
    notes: Vec<String>,
}

/// Opens the bands of one resolution.
///
/// # Errors
/// [`Error::Input`] where the product is not whole or damaged, has no such bands, or takes more than `memory` bytes.
pub(crate) fn open_cube(
    path: &Path,
    resolution: Option<&str>,
    clouds: Clouds,
    memory: usize,
) -> Result<SafeImage> {
    let (product, xml) = match xml_of(path) {
        Some(xml) => (Product::Folder(super::path::folder_of(&xml).to_owned()), xml),
        None => {
            let (file, _) = open(path)?;
            let damaged = |what: String| Error::input(format!("{}: {what}", path.display()));
            let archive = ZipArchive::new(file).map_err(|e| damaged(format!("damaged archive: {e}")))?;
            let member = xml_in(&archive).ok_or_else(|| damaged("holds no product".to_owned()))?;
            let at = member.rfind('/').map_or(0, |at| at + 1);
            let folder = member[..at].to_owned();
            (
                Product::Archive(Mutex::new(archive), folder),
                PathBuf::from(&member[at..]),
            )
        }
    };
    let name = xml
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let text = String::from_utf8(product.bytes(&name, MAX_XML)?)
        .map_err(|_| Error::input(format!("{}: is no text", xml.display())))?;
    let told = Described::read(&text, resolution.unwrap_or("10m"))
        .map_err(|what| Error::input(format!("{}: {what}", xml.display())))?;
    let read = |file: &str| -> Result<Cube> {
        let cube = jp2::decode(Path::new(file), &product.bytes(file, u64::MAX)?, memory)?;
        if cube.bands() == 1 {
            Ok(cube)
        } else {
            Err(Error::input(format!(
                "{file}: has {} bands, and one is expected",
                cube.bands()
            )))
        }
    };
    let read_band = |(file, _): &(String, &str)| -> Result<(Array2<u16>, Metadata)> {
        let cube = read(file)?;
        Ok((
            cube.samples.slice(s![.., .., 0]).mapv(|x| x as u16),
            cube.metadata,
        ))
    };
    let found = told.bands.par_iter().map(read_band).collect::<Result<Vec<_>>>()?;
    let size = found[0].0.dim();
    if let Some(((band, _), (file, _))) = found
        .iter()
        .zip(&told.bands)
        .find(|((band, _), _)| band.dim() != size)
    {
        return Err(Error::input(format!(
            "{file}: has {} x {} pixels, and the first band {} x {}",
            band.dim().0,
            band.dim().1,
            size.0,
            size.1
        )));
    }
    let mut notes = Vec::new();
    if resolution.is_none() {
        notes.push(format!(
            "{}: the bands of 10 m are read; others are {0}:20m and {0}:60m",
            path.display()
        ));
    }
    let usable = match &told.classification {
        None => None,
        Some(file) => Some(
            ground(read(file)?.samples.slice(s![.., .., 0]), size, clouds)
                .ok_or_else(|| Error::input(format!("{file}: its size does not divide that of the bands")))?,
        ),
    };
    if let Some(usable) = &usable {
        let masked = usable.iter().filter(|&&ok| !ok).count();
        if masked > 0 && clouds == Clouds::Mask {
            notes.push(clouds::note(path, masked, usable.len()));
        }
    }
    let names = told.bands.iter().map(|(_, band)| (*band).to_owned()).collect();
    let metadata = Metadata {
        wavelengths: told.wavelengths,
        band_names: Some(names),
        nodata: Some(f64::from(NODATA)),
        grid: found[0].1.grid.clone(),
        ..Metadata::default()
    };
    Ok(SafeImage {
        scaling: told
            .offsets
            .iter()
            .map(|offset| (*offset, told.quantification))
            .collect(),
        bands: found.into_iter().map(|(band, _)| band).collect(),
        usable,
        metadata,
        notes,
    })
}

/// Which pixels of an image of this size the classification takes for ground; `None` where its size does not fit.
fn ground(classes: ArrayView2<f32>, (rows, columns): (usize, usize), clouds: Clouds) -> Option<Array2<bool>> {
    let (r, c) = classes.dim();
    let factor = rows.checked_div(r)?;
    if factor == 0 || (r * factor, c * factor) != (rows, columns) {
        return None;
    }
    Some(Array2::from_shape_fn((rows, columns), |(i, j)| {
        let class = classes[[i / factor, j / factor]] as u16;
        !NO_DATA.contains(&class) && (clouds == Clouds::Keep || !NO_GROUND.contains(&class))
    }))
}

impl Strips for SafeImage {
    fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns) = self.bands[0].dim();
        (rows, columns, self.bands.len())
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let (_, columns, bands) = self.dim();
        let samples = Array3::from_shape_fn((rows.len(), columns, bands), |(r, c, b)| {
            let (offset, quantification) = self.scaling[b];
            match self.bands[b][[rows.start + r, c]] {
                0 | SATURATED => NODATA,
                number => ((f64::from(number) + offset) / quantification) as f32,
            }
        });
        let mut strip = Cube::new(samples);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_xml_says_which_files_are_bands_and_what_their_numbers_mean() {
        let file = |at: &str| format!("<IMAGE_FILE>GRANULE/L2A/IMG_DATA/{at}</IMAGE_FILE>");
        let files: String = [
            "R10m/T_B02_10m",
            "R10m/T_B08_10m",
            "R20m/T_B02_20m",
            "R20m/T_B8A_20m",
            "R20m/T_SCL_20m",
            "../../x_B03_10m",
        ]
        .iter()
        .map(|at| file(at))
        .collect();
        let offsets: String = (0..13)
            .map(|band| format!("<BOA_ADD_OFFSET band_id=\"{band}\">-{band}</BOA_ADD_OFFSET>"))
            .collect();
        let centres: String = (0..13)
            .map(|band| {
                format!("<Spectral_Information bandId=\"{band}\"><Wavelength><CENTRAL unit=\"nm\">{}</CENTRAL></Wavelength></Spectral_Information>", 400 + band)
            })
            .collect();
        let text = format!(
            "<p>{files}<BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE>{offsets}{centres}</p>"
        );
        let fine = Described::read(&text, "10m").unwrap();
        assert_eq!(fine.bands.iter().map(|b| b.1).collect::<Vec<_>>(), ["B02", "B08"]);
        assert_eq!(fine.offsets, [-1.0, -7.0]);
        assert_eq!(fine.wavelengths, Some(vec![401.0, 407.0]));
        assert!(fine.classification.unwrap().ends_with("T_SCL_20m.jp2"));
        let coarse = Described::read(&text, "20m").unwrap();
        assert_eq!(coarse.bands.iter().map(|b| b.1).collect::<Vec<_>>(), ["B8A"]);
        assert_eq!(coarse.offsets, [-8.0]);
        assert!(Described::read(&text, "5m").err().unwrap().contains(":10m"));
        assert!(Described::read(&text, "60m").err().unwrap().contains("60m"));
        let classes = ndarray::arr2(&[[4.0, 9.0], [0.0, 5.0]]);
        let usable = ground(classes.view(), (4, 4), Clouds::Mask).unwrap();
        assert_eq!(usable.iter().filter(|&&ok| ok).count(), 8);
        assert!(usable[[1, 1]] && !usable[[0, 2]]);
        assert!(ground(classes.view(), (5, 4), Clouds::Mask).is_none());
    }
}
