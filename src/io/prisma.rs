//! PRISMA products (`.he5`, levels 1 and 2B to 2D): the hyperspectral cube of both detectors as one image.
//!
//! As the product specification of the Italian Space Agency lays them down and several public readers agree:
//! `HDFEOS/SWATHS/PRS_<level>_HCO/Data Fields/VNIR_Cube` and `SWIR_Cube`, stored rows x bands x columns; in attributes of the root
//! the bands' centres and FWHM in nm (`List_Cw_Vnir`, `List_Fwhm_Vnir`, ...), in descending order and 0 for bands that the
//! detector has and the product has not; flags beside them (`List_Cw_Vnir_Flags`), 0 likewise; and the range of the scaled
//! integers. Reflectance is min + DN (max − min) / 65535 (`L2ScaleVnirMin`, `L2ScaleVnirMax`, ...), radiance of level 1
//! DN / `ScaleFactor_Vnir` − `Offset_Vnir`. Error matrices beside the cubes (`VNIR_PIXEL_L2_ERR_MATRIX`, ...) are 0 for good samples.
//!
//! What comes out is ascending in wavelength. Where the detectors overlap (some 940 to 975 nm) the SWIR's bands are taken. A
//! pixel whose samples are all 0 lies outside the swath, and has no data. A band that the error matrix marks in half of
//! the other pixels is a bad band; in other bands marks are left to the user, for the specification's reasons differ
//! (negative after correction, saturated).
//!
//! Products of level 2D have a grid: `Epsg_Code`, and the corners (`Product_ULcorner_easting`, ...), which are taken for the outer ones of
//! the outer pixels or for their middles, whichever makes pixels of 30 m (5 m). Latitude and longitude of every pixel, which the other levels
//! have instead, are not read. The panchromatic image (`HDFEOS/SWATHS/PRS_<level>_PCO/Data Fields/Cube`, rows x columns, scaled likewise
//! by `L2ScalePanMin`, ...) is had as `FILE:pan`.
//!
//! Written after public descriptions; tested with products of that layout made by h5py, not with one of the agency's.
//!
//! Memory: one detector's integers, its samples as `f32`, and the whole image.

use std::path::Path;

use ndarray::{Array2, Array3, ArrayD, Axis, Ix3, s};

use super::array::shape_text;
use super::hdf5::Hdf5;
use crate::cube::grid::{GeoTiffTags, Grid, Source, Transform};
use crate::cube::{Cube, Metadata};
use crate::error::{Error, Result};

/// Levels with a hyperspectral cube.
const LEVELS: [&str; 4] = ["L2D", "L2C", "L2B", "L1"];

/// One of the two detectors' bands that the image takes.
struct BandOf {
    /// Which cube it is in, 0 for VNIR and 1 for SWIR, and its place there.
    detector: usize,
    index: usize,
    centre: f64,
    fwhm: f64,
}

/// The name of the panchromatic image behind that of the file.
const PAN: &str = "pan";
/// Sides of its pixels and of those of the cubes, in metres.
const PIXELS: (f64, f64) = (5.0, 30.0);
/// How far pixels may be from these.
const SLACK: f64 = 0.1;

/// Names of a detector in datasets and in attributes.
const DETECTORS: [(&str, &str); 2] = [("VNIR", "Vnir"), ("SWIR", "Swir")];

/// Gain and offset of a detector's integers.
fn scale(path: &Path, file: &Hdf5, level: &str, name: &str) -> Result<(f64, f64)> {
    let one = |attribute: String| {
        let value = file.numbers(&attribute).filter(|v| v.len() == 1).map(|v| v[0]);
        value.filter(|x| x.is_finite()).ok_or_else(|| {
            Error::input(format!(
                "{}: PRISMA {level} product: no number {attribute} among its attributes",
                path.display()
            ))
        })
    };
    if level == "L1" {
        let factor = one(format!("ScaleFactor_{name}"))?;
        return Ok((1.0 / factor, -one(format!("Offset_{name}"))?));
    }
    let (low, high) = (
        one(format!("L2Scale{name}Min"))?,
        one(format!("L2Scale{name}Max"))?,
    );
    Ok(((high - low) / 65535.0, low))
}

/// The grid of an image of so many rows and columns whose pixels are some `side` metres wide; `None` where the product has none, or
/// its corners are not those of such an image.
fn grid(file: &Hdf5, (rows, columns): (usize, usize), side: f64) -> Option<Grid> {
    let attributes = file.attributes("");
    let number = |name: &str| match attributes.numbers(name)[..] {
        [value] if value.is_finite() => Some(value),
        _ => None,
    };
    let corner = |names: [&str; 2], of: &str, pick: fn(f64, f64) -> f64| {
        let [one, other] = names.map(|name| number(&format!("product_{name}corner_{of}")));
        Some(pick(one?, other?))
    };
    let west = corner(["ul", "ll"], "easting", f64::min)?;
    let east = corner(["ur", "lr"], "easting", f64::max)?;
    let north = corner(["ul", "ur"], "northing", f64::max)?;
    let south = corner(["ll", "lr"], "northing", f64::min)?;
    // The first edge and the step along an axis.
    let axis = |first: f64, last: f64, count: usize| {
        let outer = (last - first) / count as f64;
        let middles = (last - first) / (count.max(2) - 1) as f64;
        let off = |step: f64| (step.abs() - side).abs();
        let (edge, step) = if off(outer) <= off(middles) {
            (first, outer)
        } else {
            (first - middles / 2.0, middles)
        };
        (off(step) <= SLACK * side).then_some((edge, step))
    };
    let (left, across) = axis(west, east, columns)?;
    let (top, down) = axis(north, south, rows)?;
    Some(Grid {
        transform: Transform::new([left, across, 0.0, top, 0.0, down]),
        epsg: number("epsg_code")
            .map(|code| code as u32)
            .filter(|&code| code > 0),
        wkt: None,
        source: Source::GeoTiff(GeoTiffTags::default()),
    })
}

/// The panchromatic image of a product: reflectance, or radiance of level 1. `None` where `array` is not its name or the file no product.
///
/// # Errors
/// [`Error::Input`] if the product is damaged, or the image would take more than `memory` bytes.
pub(crate) fn read_pan(path: &Path, file: &Hdf5, array: Option<&str>, memory: usize) -> Result<Option<Cube>> {
    if array.is_none_or(|array| !array.eq_ignore_ascii_case(PAN)) {
        return Ok(None);
    }
    let dataset = |level: &&str| format!("HDFEOS/SWATHS/PRS_{level}_PCO/Data Fields/Cube");
    let found = LEVELS
        .iter()
        .find_map(|level| Some((*level, file.layout_of(&dataset(level))?)));
    let Some((level, layout)) = found else {
        return Ok(None);
    };
    let &[rows, columns] = layout.shape.as_slice() else {
        return Err(Error::input(format!(
            "{}: PRISMA {level} product: its panchromatic image has {} axes and not two",
            path.display(),
            layout.shape.len()
        )));
    };
    check_memory(path, (rows, columns, 1), memory)?;
    let (gain, offset) = scale(path, file, level, "Pan")?;
    let stored: ArrayD<f32> = file.read(path, &dataset(&level), &layout)?;
    // As in the cubes, 0 lies outside the swath.
    let any = stored.iter().any(|&dn| dn == 0.0);
    let samples = stored.iter().map(|&dn| match dn {
        0.0 => f32::NAN,
        dn => (f64::from(dn) * gain + offset) as f32,
    });
    let samples = Array3::from_shape_vec((rows, columns, 1), samples.collect())
        .map_err(|e| Error::input(format!("{}: damaged array: {e}", path.display())))?;
    let mut cube = Cube::new(samples);
    cube.metadata = Metadata {
        nodata: any.then_some(f64::NAN),
        band_names: Some(vec!["PAN".to_owned()]),
        grid: grid(file, (rows, columns), PIXELS.0).filter(|_| level == "L2D"),
        ..Metadata::default()
    };
    Ok(Some(cube))
}

fn check_memory(path: &Path, dim: (usize, usize, usize), memory: usize) -> Result<()> {
    let count = dim.0.checked_mul(dim.1).and_then(|n| n.checked_mul(dim.2));
    if count.is_some_and(|n| n <= memory / size_of::<f32>()) {
        return Ok(());
    }
    Err(Error::input(format!(
        "{}: a PRISMA product is read whole, and {} samples are more than the setting max-memory allows; give more, or convert it to ENVI",
        path.display(),
        shape_text(&[dim.0, dim.1, dim.2])
    )))
}

/// A product that has been recognised.
pub(crate) struct Product<'a> {
    path: &'a Path,
    file: &'a Hdf5,
    level: &'static str,
    bands: Vec<BandOf>,
    /// Rows and columns.
    size: (usize, usize),
}

/// Folder of a level's cubes.
fn fields(level: &str) -> String {
    format!("HDFEOS/SWATHS/PRS_{level}_HCO/Data Fields")
}

impl<'a> Product<'a> {
    /// Recognises a product by its cubes; `None` for any other file.
    ///
    /// # Errors
    /// [`Error::Input`] if it is one whose cubes and attributes do not go together.
    pub(crate) fn recognise(path: &'a Path, file: &'a Hdf5) -> Result<Option<Self>> {
        let cube =
            |level: &str, detector: &str| file.layout_of(&format!("{}/{detector}_Cube", fields(level)));
        let Some((level, vnir, swir)) = LEVELS
            .into_iter()
            .find_map(|level| Some((level, cube(level, "VNIR")?, cube(level, "SWIR")?)))
        else {
            return Ok(None);
        };
        let wrong =
            |what: String| Error::input(format!("{}: PRISMA {level} product: {what}", path.display()));
        let (&[rows, _, columns], &[rows2, _, columns2]) = (vnir.shape.as_slice(), swir.shape.as_slice())
        else {
            return Err(wrong("its cubes have not three axes".to_owned()));
        };
        if (rows, columns) != (rows2, columns2) {
            return Err(wrong(format!(
                "VNIR is {} and SWIR {} (rows x bands x columns), two sizes",
                shape_text(&vnir.shape),
                shape_text(&swir.shape)
            )));
        }
        let mut bands = Vec::new();
        for (detector, (layout, (_, name))) in [vnir, swir].iter().zip(DETECTORS).enumerate() {
            let list = |attribute: String| {
                let values = file.numbers(&attribute);
                values
                    .filter(|v| v.len() == layout.shape[1])
                    .ok_or_else(|| wrong(format!("no attribute {attribute} of {} numbers", layout.shape[1])))
            };
            let centres = list(format!("List_Cw_{name}"))?;
            let fwhm = list(format!("List_Fwhm_{name}"))?;
            // Flags say again what a centre of 0 says; older products may lack them.
            let flags = list(format!("List_Cw_{name}_Flags")).unwrap_or_else(|_| vec![1.0; centres.len()]);
            for index in 0..centres.len() {
                if centres[index] > 0.0 && centres[index].is_finite() && flags[index] != 0.0 {
                    bands.push(BandOf {
                        detector,
                        index,
                        centre: centres[index],
                        fwhm: fwhm[index],
                    });
                }
            }
        }
        let swir_begins = bands
            .iter()
            .filter(|b| b.detector == 1)
            .map(|b| b.centre)
            .fold(f64::INFINITY, f64::min);
        bands.retain(|b| b.detector == 1 || b.centre < swir_begins);
        bands.sort_by(|a, b| a.centre.total_cmp(&b.centre));
        if bands.is_empty() {
            return Err(wrong("no band has a wavelength".to_owned()));
        }
        Ok(Some(Product {
            path,
            file,
            level,
            bands,
            size: (rows, columns),
        }))
    }

    fn dataset(&self, name: &str) -> Result<Array3<f32>> {
        let path = format!("{}/{name}", fields(self.level));
        let damaged = || {
            Error::input(format!(
                "{}: no dataset {path} of three axes",
                self.path.display()
            ))
        };
        let layout = self.file.layout_of(&path).ok_or_else(damaged)?;
        let array: ArrayD<f32> = self.file.read(self.path, &path, &layout)?;
        array.into_dimensionality::<Ix3>().map_err(|_| damaged())
    }

    /// Reads the image: reflectance, or radiance of level 1.
    ///
    /// # Errors
    /// [`Error::Input`] if the product is damaged, or its image would take more than `memory` bytes.
    pub(crate) fn read(&self, memory: usize) -> Result<Cube> {
        let (rows, columns) = self.size;
        let dim = (rows, columns, self.bands.len());
        check_memory(self.path, dim, memory)?;
        let mut samples: Option<Array3<f32>> = None;
        let mut seen = Array2::from_elem((rows, columns), false);
        let mut marked = vec![0_usize; self.bands.len()];
        for (detector, (name, attribute)) in DETECTORS.into_iter().enumerate() {
            let (gain, offset) = scale(self.path, self.file, self.level, attribute)?;
            // What the file claims is held against its length in here, before the whole image is asked for.
            let stored = self.dataset(&format!("{name}_Cube"))?;
            let samples = samples.get_or_insert_with(|| Array3::zeros(dim));
            for (to, band) in self
                .bands
                .iter()
                .enumerate()
                .filter(|(_, b)| b.detector == detector)
            {
                let plane = stored.slice(s![.., band.index, ..]);
                seen.zip_mut_with(&plane, |seen, &dn| *seen |= dn != 0.0);
                samples
                    .index_axis_mut(Axis(2), to)
                    .zip_mut_with(&plane, |x, &dn| *x = (f64::from(dn) * gain + offset) as f32);
            }
            drop(stored);
            let errors = match self.level {
                "L1" => format!("{name}_PIXEL_SAT_ERR_MATRIX"),
                _ => format!("{name}_PIXEL_L2_ERR_MATRIX"),
            };
            if let Ok(errors) = self.dataset(&errors) {
                for (to, band) in self
                    .bands
                    .iter()
                    .enumerate()
                    .filter(|(_, b)| b.detector == detector)
                {
                    if errors.dim().1 > band.index && (errors.dim().0, errors.dim().2) == (rows, columns) {
                        let plane = errors.slice(s![.., band.index, ..]);
                        marked[to] = plane
                            .iter()
                            .zip(&seen)
                            .filter(|(e, seen)| **seen && **e != 0.0)
                            .count();
                    }
                }
            }
        }
        let mut cube = Cube::new(samples.unwrap_or_else(|| Array3::zeros(dim)));
        let inside = seen.iter().filter(|&&seen| seen).count();
        let of = |value: fn(&BandOf) -> f64| Some(self.bands.iter().map(value).collect());
        cube.metadata = Metadata {
            wavelengths: of(|b| b.centre),
            fwhm: of(|b| b.fwhm),
            grid: grid(self.file, (rows, columns), PIXELS.1).filter(|_| self.level == "L2D"),
            bad_bands: Some(marked.iter().map(|&n| inside > 0 && 2 * n >= inside).collect()),
            ..Metadata::default()
        };
        if inside < rows * columns {
            for ((r, c), _) in seen.indexed_iter().filter(|(_, seen)| !**seen) {
                cube.samples.slice_mut(s![r, c, ..]).fill(f32::NAN);
            }
            cube.metadata.nodata = Some(f64::NAN);
        }
        Ok(cube)
    }
}
