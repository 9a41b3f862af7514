//! What the attributes, dimensions and neighbours of an HDF5 dataset say of its samples, by the conventions of netCDF (CF 1.11,
//! chapters 2.5, 5, 5.6 and 8.1) and their cousins in NEON's, EMIT's and PACE's files: values that stand for no data, scale and offset,
//! which axis is which, wavelengths, and the pixel grid.

use std::path::Path;

use ndarray::{Array2, Array3, ArrayD, s};

use super::array::{ImageOf, Layout};
use super::attributes::Attributes;
use super::crs;
use super::samples::{Float, integer_range};
use super::tree::Tree;
use super::wavelength;
use crate::cube::grid::{GeoTiffTags, Grid, Source, Transform};
use crate::cube::{Metadata, SampleType, is_nodata};
use crate::error::{Error, Result};

/// A dataset among others.
pub(super) struct Variable<'a> {
    pub path: &'a Path,
    pub file: &'a Tree,
    /// All datasets of real numbers: path and layout.
    pub all: &'a [(String, Layout)],
    /// Its path.
    pub name: &'a str,
    pub shape: &'a [usize],
}

/// How stored numbers become samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Meaning {
    /// Stored numbers that stand for no data.
    fills: Vec<f64>,
    /// Smallest and largest stored number of a sample.
    range: (f64, f64),
    scale: f64,
    offset: f64,
}

/// Attributes whose numbers stand for no data.
const FILLS: [&str; 8] = [
    "_fillvalue",
    "missing_value",
    "data_ignore_value",
    "data ignore value",
    "fillvalue",
    "fill_value",
    "nodata",
    "no_data_value",
];

/// Names of dimensions.
const ROWS: [&str; 19] = [
    "y",
    "lat",
    "latitude",
    "row",
    "rows",
    "line",
    "lines",
    "downtrack",
    "along_track",
    "northing",
    "number_of_scans",
    "number_of_lines",
    "scan",
    "scans",
    "nrows",
    "height",
    "rlat",
    "yc",
    "y_dim",
];
const COLUMNS: [&str; 22] = [
    "x",
    "lon",
    "longitude",
    "column",
    "columns",
    "col",
    "cols",
    "sample",
    "samples",
    "crosstrack",
    "across_track",
    "easting",
    "pixel",
    "pixels",
    "pixels_per_line",
    "ccd_pixels",
    "ground_pixel",
    "ncols",
    "width",
    "rlon",
    "xc",
    "x_dim",
];
/// Parts of names of dimensions of bands.
const BANDS: [&str; 6] = ["band", "wavelength", "spectral", "channel", "lambda", "wl"];

/// The last name of a path.
fn leaf(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The path without it.
fn group(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(group, _)| group)
}

impl Meaning {
    /// What attributes say of samples of a type.
    ///
    /// # Errors
    /// The attribute that is not understood, as the end of a sentence.
    pub(super) fn of(attributes: &Attributes, kind: SampleType) -> std::result::Result<Meaning, String> {
        let one = |name: &str, default: f64| {
            if !attributes.has(name) {
                return Ok(default);
            }
            match attributes.numbers(name)[..] {
                [value] if value.is_finite() => Ok(value),
                _ => Err(format!("its attribute {name} is no number")),
            }
        };
        // NEON's factor is what reflectance was multiplied by; its samples stay as they are stored, as those of ENVI do.
        let scale = if attributes.has("data_ignore_value") {
            1.0
        } else {
            one("scale_factor", 1.0)?
        };
        let offset = one("add_offset", 0.0)?;
        if scale == 0.0 {
            return Err("its attribute scale_factor is 0".to_owned());
        }
        let fills = FILLS.iter().flat_map(|name| attributes.numbers(name)).collect();
        let range = match attributes.numbers("valid_range")[..] {
            [low, high] => (low, high),
            _ => (
                one("valid_min", f64::NEG_INFINITY)?,
                one("valid_max", f64::INFINITY)?,
            ),
        };
        let mut meaning = Meaning {
            fills,
            range,
            scale,
            offset,
        };
        if unsigned(attributes, kind).is_some()
            && let Some((_, high)) = integer_range(kind)
        {
            let lifted = |x: f64| if x < 0.0 { x + 2.0 * (high + 1.0) } else { x };
            meaning.fills.iter_mut().for_each(|x| *x = lifted(*x));
            if meaning.range.0.is_finite() || meaning.range.1.is_finite() {
                meaning.range = (meaning.range.0.max(0.0), lifted(meaning.range.1));
            }
        }
        Ok(meaning)
    }

    fn is_scaled(&self) -> bool {
        (self.scale, self.offset) != (1.0, 0.0)
    }

    /// The one value that stands for no data among the samples; `None` where none does.
    fn nodata(&self) -> Option<f64> {
        match (self.is_scaled(), self.fills.first()) {
            (false, Some(&fill)) => Some(fill),
            (false, None) if self.range == (f64::NEG_INFINITY, f64::INFINITY) => None,
            _ => Some(f64::NAN),
        }
    }

    /// Makes samples of stored numbers.
    pub(super) fn apply<T: Float>(&self, image: &mut ImageOf<T>) {
        let nodata = self.nodata();
        let (low, high) = self.range;
        let scaled = self.is_scaled();
        if nodata.is_some() || scaled {
            let empty = T::from_f64(nodata.unwrap_or(f64::NAN));
            for x in &mut image.samples {
                let stored = (*x).into().value;
                if stored.is_nan()
                    || stored < low
                    || stored > high
                    || self.fills.iter().any(|&fill| is_nodata(x.single(), fill))
                {
                    *x = empty;
                } else if scaled {
                    *x = T::from_f64(stored * self.scale + self.offset);
                }
            }
        }
        let integer = integer_range(image.sample_type).is_some();
        if integer && (scaled || nodata.is_some_and(f64::is_nan)) {
            // Singles hold what integers of 16 bits measure, and not what those of 32 do.
            image.sample_type = if image.sample_type.fits_single() {
                SampleType::F32
            } else {
                SampleType::F64
            };
        }
        image.metadata.nodata = nodata.or(image.metadata.nodata);
    }

    /// What whoever reads the image should be told.
    pub(super) fn note(&self, path: &Path) -> Option<String> {
        self.is_scaled().then(|| {
            format!(
                "{}: samples are the stored numbers times {} plus {}, as its attributes say",
                path.display(),
                self.scale,
                self.offset
            )
        })
    }
}

/// The unsigned type that integers of a signed one stand for, where an attribute of classic netCDF says so.
pub(super) fn unsigned(attributes: &Attributes, kind: SampleType) -> Option<SampleType> {
    if !attributes
        .text("_unsigned")
        .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    {
        return None;
    }
    match kind {
        SampleType::I8 => Some(SampleType::U8),
        SampleType::I16 => Some(SampleType::U16),
        SampleType::I32 => Some(SampleType::U32),
        SampleType::I64 => Some(SampleType::U64),
        _ => None,
    }
}

/// What a dataset's neighbours say of it as an image.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// Which axes are rows, columns and bands, counted without axes of length 1 in front, where their names say it.
    pub places: Option<[usize; 3]>,
    pub metadata: Metadata,
    pub notes: Vec<String>,
}

impl Variable<'_> {
    /// Its own attributes.
    pub(super) fn attributes(&self) -> Attributes {
        self.file.attributes(self.name)
    }

    /// What its dimensions and neighbours say; `bands` where the number of bands is settled otherwise.
    pub(super) fn described(&self, asked: Option<[usize; 3]>) -> Result<Described> {
        let mut dimensions = self.file.dimensions(self.name, self.all).unwrap_or_default();
        let extra = self.shape.len().saturating_sub(3);
        let shape = &self.shape[extra..];
        dimensions.drain(..extra.min(dimensions.len()));
        let places = places(&dimensions);
        let named = asked.or(places);
        let mut described = Described {
            places,
            ..Described::default()
        };
        let [rows, columns, bands] = named.unwrap_or([0, 1, 2]);
        let count = shape.get(bands).copied().unwrap_or(1);
        let own = self.attributes();
        if own.has("data_ignore_value")
            && let [factor] = own.numbers("scale_factor")[..]
        {
            let field = ("reflectance scale factor".to_owned(), factor.to_string());
            described.metadata.extra.extend([field]);
        }
        self.wavelengths(dimensions.get(bands).map(String::as_str), count, &mut described)?;
        if let (Some(y), Some(x)) = (dimensions.get(rows), dimensions.get(columns)) {
            described.metadata.grid = self.grid(y, x)?;
        }
        Ok(described)
    }

    /// The numbers of a vector.
    fn vector(&self, name: &str) -> Result<Vec<f64>> {
        let layout = self
            .file
            .layout_of(name)
            .ok_or_else(|| Error::input(format!("{}: no dataset {name}", self.path.display())))?;
        let array: ArrayD<f64> = self.file.read(self.path, name, &layout)?;
        Ok(array.iter().copied().collect())
    }

    /// Whether there is an array of this path with numbers of its own: netCDF has one without for a dimension that is no variable.
    fn holds_numbers(&self, name: &str) -> bool {
        let without = |text: &str| text.starts_with("This is a netCDF dimension");
        self.file.layout_of(name).is_some() && !self.file.attributes(name).text("name").is_some_and(without)
    }

    /// The path of the vector of `count` numbers whose name fits: in the dataset's own group, else the only one that does not stand
    /// beside another image.
    fn neighbour(&self, count: usize, fits: impl Fn(&str) -> bool) -> Option<&str> {
        let mut found: Vec<&str> = self
            .all
            .iter()
            .filter(|(name, layout)| {
                layout.shape.iter().filter(|&&d| d != 1).count() <= 1
                    && layout.count() == Some(count)
                    && name != self.name
                    && fits(&leaf(name).to_lowercase())
                    && self.holds_numbers(name)
            })
            .map(|(name, _)| name.as_str())
            .collect();
        let beside: Vec<&str> = found
            .iter()
            .copied()
            .filter(|name| group(name) == group(self.name))
            .collect();
        if !beside.is_empty() {
            found = beside;
        } else {
            let images = self.all.iter().filter(|(_, layout)| layout.shape.len() == 3);
            let of_others: Vec<&str> = images.map(|(name, _)| group(name)).collect();
            found.retain(|name| !of_others.contains(&group(name)));
        }
        match found[..] {
            [one] => Some(one),
            // The plainest name of several.
            _ => found
                .into_iter()
                .find(|name| ["wavelength", "wavelengths"].contains(&leaf(name).to_lowercase().as_str())),
        }
    }

    /// Centres, widths and bad bands.
    fn wavelengths(&self, dimension: Option<&str>, count: usize, described: &mut Described) -> Result<()> {
        let is_centre = |name: &str| {
            let other = ["fwhm", "width", "good", "bad", "unc", "err", "flag"];
            (name.contains("wavelength") || name == "wl" || name == "lambda")
                && !other.iter().any(|word| name.contains(word))
        };
        let of_dimension = dimension.filter(|name| {
            let attributes = self.file.attributes(name);
            let text = |name: &str| attributes.text(name).unwrap_or_default().to_lowercase();
            self.holds_numbers(name)
                && (is_centre(&leaf(name).to_lowercase())
                    || text("standard_name").contains("wavelength")
                    || text("long_name").contains("wavelength")
                    || ["nm", "um", "µm", "nanometers", "micrometers"].contains(&text("units").as_str()))
        });
        if count < 2 && of_dimension.is_none() {
            return Ok(());
        }
        let Some(name) = of_dimension.or_else(|| self.neighbour(count, is_centre)) else {
            return Ok(());
        };
        let centres = self.vector(name)?;
        if centres.len() != count {
            return Ok(());
        }
        let is_width = |name: &str| {
            ["fwhm", "bandwidth", "band_width"]
                .iter()
                .any(|word| name.contains(word))
        };
        let widths = self
            .neighbour(count, is_width)
            .map(|name| self.vector(name))
            .transpose()?;
        let attributes = self.file.attributes(name);
        let unit = ["units", "unit"].iter().find_map(|name| attributes.text(name));
        if let Some(found) = wavelength::read(&centres, widths, unit) {
            let said = |note: String| format!("{}: {name} has {note}", self.path.display());
            described.notes.extend(found.note.map(said));
            described.metadata.wavelengths = Some(found.centres);
            described.metadata.fwhm = found.fwhm;
        }
        let is_good = |name: &str| ["good_wavelengths", "good_bands", "bbl"].contains(&name);
        if let Some(name) = self.neighbour(count, is_good) {
            let good = self.vector(name)?;
            described.metadata.bad_bands = Some(good.iter().map(|&x| x == 0.0).collect());
        }
        Ok(())
    }

    /// The grid of pixel centres that two coordinate variables name.
    fn grid(&self, y: &str, x: &str) -> Result<Option<Grid>> {
        let even = |name: &str| -> Result<Option<(f64, f64)>> {
            let numbers = self.vector(name)?;
            let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
                return Ok(None);
            };
            let step = (last - first) / (numbers.len().max(2) - 1) as f64;
            // Coordinates are often rounded to singles.
            let slack = 0.05 * step.abs() + 1e-6 * first.abs().max(last.abs());
            let straight = numbers
                .iter()
                .enumerate()
                .all(|(k, value)| (first + k as f64 * step - value).abs() <= slack);
            Ok((numbers.len() > 1 && step != 0.0 && straight).then_some((*first, step)))
        };
        let of = |name: &str| self.file.attributes(name);
        if !self.holds_numbers(x) || !self.holds_numbers(y) {
            return Ok(None);
        }
        let (Some((top, down)), Some((left, across))) = (even(y)?, even(x)?) else {
            return Ok(None);
        };
        let transform = Transform::new([left - across / 2.0, across, 0.0, top - down / 2.0, 0.0, down]);
        let own = self.attributes();
        let mapping = own.text("grid_mapping").map(|name| match group(self.name) {
            _ if name.starts_with('/') => name.to_owned(),
            group => format!("{group}/{name}"),
        });
        let mapping = mapping
            .map(|name| self.file.attributes(&name))
            .unwrap_or_default();
        let wkt = ["crs_wkt", "spatial_ref"]
            .iter()
            .find_map(|name| mapping.text(name))
            .map(str::to_owned);
        let degrees = of(x)
            .text("units")
            .is_some_and(|unit| unit.to_lowercase().starts_with("degree"));
        let epsg = match &wkt {
            Some(wkt) => crs::epsg(wkt),
            None => degrees.then_some(4326),
        };
        Ok(transform.map(|transform| Grid {
            transform: Some(transform),
            epsg,
            wkt,
            source: Source::GeoTiff(GeoTiffTags::default()),
        }))
    }

    /// An image in the sensor's geometry on the grid of the file's lookup table (EMIT's `glt_x` and `glt_y`, counted from 1, 0 for
    /// pixels that it does not see); as it was where there is none. `memory` is what the image on its grid may take.
    pub(super) fn orthorectified<T: Float>(
        &self,
        image: ImageOf<T>,
        memory: usize,
        notes: &mut Vec<String>,
    ) -> Result<ImageOf<T>> {
        let table = |name: &str| -> Result<Option<Array2<f64>>> {
            let path = format!("/location/{name}");
            let Some(layout) = self
                .file
                .layout_of(&path)
                .filter(|layout| layout.shape.len() == 2)
            else {
                return Ok(None);
            };
            let array: ArrayD<f64> = self.file.read(self.path, &path, &layout)?;
            Ok(array.into_dimensionality().ok())
        };
        if !self.file.has_group("location") {
            return Ok(image);
        }
        let (Some(x), Some(y)) = (table("glt_x")?, table("glt_y")?) else {
            return Ok(image);
        };
        let root = self.file.attributes("");
        let transform = root
            .numbers("geotransform")
            .try_into()
            .ok()
            .and_then(Transform::new);
        let (rows, columns, bands) = image.samples.dim();
        let fits = |table: &Array2<f64>, most: usize| table.iter().all(|&at| at <= most as f64);
        if x.dim() != y.dim() || !fits(&x, columns) || !fits(&y, rows) || transform.is_none() {
            notes.push(format!(
                "{}: its geometric lookup table does not fit the image, which stays in the sensor's geometry",
                self.path.display()
            ));
            return Ok(image);
        }
        let count = x.len().checked_mul(bands);
        if count.is_none_or(|count| count > memory / size_of::<f32>()) {
            return Err(Error::input(format!(
                "{}: {} x {} x {bands} samples on its grid are more than the setting max-memory allows; give more",
                self.path.display(),
                x.nrows(),
                x.ncols()
            )));
        }
        let empty = image.metadata.nodata.unwrap_or(f64::NAN);
        let mut samples = Array3::from_elem((x.nrows(), x.ncols(), bands), T::from_f64(empty));
        for (((r, c), &x), &y) in x.indexed_iter().zip(&y) {
            if x >= 1.0 && y >= 1.0 {
                let from = image.samples.slice(s![y as usize - 1, x as usize - 1, ..]);
                samples.slice_mut(s![r, c, ..]).assign(&from);
            }
        }
        let wkt = root.text("spatial_ref").map(str::to_owned);
        let metadata = Metadata {
            nodata: Some(empty),
            grid: Some(Grid {
                transform,
                epsg: wkt.as_deref().and_then(crs::epsg),
                wkt,
                source: Source::GeoTiff(GeoTiffTags::default()),
            }),
            ..image.metadata
        };
        notes.push(format!(
            "{}: placed on its grid by the lookup table glt_x, glt_y",
            self.path.display()
        ));
        Ok(ImageOf {
            samples,
            metadata,
            sample_type: image.sample_type,
        })
    }
}

/// Which of three dimensions are rows, columns and bands by their names.
fn places(dimensions: &[String]) -> Option<[usize; 3]> {
    let [_, _, _] = dimensions else { return None };
    let names: Vec<String> = dimensions.iter().map(|path| leaf(path).to_lowercase()).collect();
    let only = |fits: &dyn Fn(&str) -> bool| {
        let mut found = (0..3).filter(|&k| fits(&names[k]));
        found.next().filter(|_| found.next().is_none())
    };
    let is_band = |name: &str| {
        !ROWS.contains(&name) && !COLUMNS.contains(&name) && BANDS.iter().any(|part| name.contains(part))
    };
    let (row, column) = (
        only(&|name| ROWS.contains(&name)),
        only(&|name| COLUMNS.contains(&name)),
    );
    let band = only(&is_band);
    let others = |k: usize| (0..3).filter(move |&other| other != k);
    match (row, column, band) {
        (Some(r), Some(c), _) => others(r).find(|&k| k != c).map(|b| [r, c, b]),
        (_, _, Some(b)) => {
            let rest: Vec<usize> = others(b).collect();
            // Columns before rows where a name says so.
            match (row == Some(rest[1]), column == Some(rest[0])) {
                (false, false) => Some([rest[0], rest[1], b]),
                _ => Some([rest[1], rest[0], b]),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_by_the_names_of_dimensions() {
        let of = |names: [&str; 3]| places(&names.map(|name| format!("/{name}")));
        assert_eq!(of(["y", "x", "band"]), Some([0, 1, 2]));
        assert_eq!(of(["wavelength", "lat", "lon"]), Some([1, 2, 0]));
        assert_eq!(of(["downtrack", "crosstrack", "bands"]), Some([0, 1, 2]));
        assert_eq!(of(["y", "spectral", "x"]), Some([0, 2, 1]));
        assert_eq!(of(["band", "a", "b"]), Some([1, 2, 0]));
        assert_eq!(of(["band", "x", "y"]), Some([2, 1, 0]));
        assert_eq!(of(["y", "x", "depth"]), Some([0, 1, 2]));
        assert_eq!(
            of(["blue_bands", "number_of_scans", "ccd_pixels"]),
            Some([1, 2, 0])
        );
        assert_eq!(of(["a", "b", "c"]), None);
    }
}
