//! The pixel grid on the ground: an affine map from pixels to a coordinate reference system (CRS), and what the file
//! said of both in its own words, so that a writer of the same format can repeat it.
//!
//! Convention: (column, row) = (0, 0) is the *outer corner* of the first pixel, (0.5, 0.5) its centre, as in GDAL.
//! ENVI's reference pixel (counted from 1 at that corner) and GeoTIFF's `PixelIsPoint` (tie points at centres) are
//! converted where files are read.

use std::collections::BTreeMap;

/// Affine map from pixel to world coordinates, six numbers in GDAL's order:
/// x = t\[0\] + t\[1\]·column + t\[2\]·row, y = t\[3\] + t\[4\]·column + t\[5\]·row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform(pub [f64; 6]);

impl Transform {
    /// From six numbers, if they are finite and the map has an inverse.
    pub fn new(t: [f64; 6]) -> Option<Self> {
        let determinant = t[1] * t[5] - t[2] * t[4];
        (t.iter().all(|x| x.is_finite()) && determinant.is_finite() && determinant != 0.0)
            .then_some(Transform(t))
    }

    /// World coordinates (x, y) of a place in the image.
    pub fn world(&self, column: f64, row: f64) -> (f64, f64) {
        let t = &self.0;
        (
            t[0] + t[1] * column + t[2] * row,
            t[3] + t[4] * column + t[5] * row,
        )
    }

    /// Width and height of a pixel along the axes of the CRS (the height is negative where rows run south), or `None`
    /// for a grid that is rotated or sheared by more than a millionth.
    pub fn pixel_size(&self) -> Option<(f64, f64)> {
        let t = &self.0;
        let straight = t[2].abs() <= 1e-6 * t[1].abs() && t[4].abs() <= 1e-6 * t[5].abs();
        straight.then_some((t[1], t[5]))
    }

    /// The map of an image that begins at this row and column of the one mapped.
    pub fn cropped(&self, row: usize, column: usize) -> Self {
        let mut t = self.0;
        (t[0], t[3]) = self.world(column as f64, row as f64);
        Transform(t)
    }

    /// The map of pixels `factor` times as large from the same corner.
    pub fn scaled(&self, factor: f64) -> Self {
        let [x, a, b, y, c, d] = self.0;
        Transform([x, a * factor, b * factor, y, c * factor, d * factor])
    }
}

/// The GeoTIFF tags that place an image, as they stand in the file; empty where a tag is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GeoTiffTags {
    /// `ModelPixelScaleTag` (33550): sizes in x, y and z.
    pub pixel_scale: Vec<f64>,
    /// `ModelTiepointTag` (33922): six numbers a point, column, row, level, x, y, z.
    pub tiepoints: Vec<f64>,
    /// `ModelTransformationTag` (34264): 4×4, row by row.
    pub transformation: Vec<f64>,
    /// `GeoKeyDirectoryTag` (34735).
    pub keys: Vec<u16>,
    /// `GeoDoubleParamsTag` (34736).
    pub doubles: Vec<f64>,
    /// `GeoAsciiParamsTag` (34737).
    pub ascii: String,
}

/// `GTRasterTypeGeoKey`, which says whether tie points mean corners (1) or centres (2), and no CRS.
pub const RASTER_TYPE_KEY: u16 = 1025;
/// Keys that hold names for people: `GTCitation`, `GeogCitation`, `PCSCitation`.
const CITATION_KEYS: [u16; 3] = [1026, 2049, 3073];

/// The value of a GeoTIFF key.
#[derive(Debug, Clone, PartialEq)]
pub enum GeoKey<'a> {
    /// In the directory itself.
    Short(u16),
    /// From the double parameters.
    Doubles(&'a [f64]),
    /// From the text parameters, without the bar at its end.
    Text(&'a str),
}

impl GeoTiffTags {
    /// The keys with their values, in the order of the directory; entries that point outside are left out.
    pub fn entries(&self) -> impl Iterator<Item = (u16, GeoKey<'_>)> {
        self.keys.chunks_exact(4).skip(1).filter_map(|entry| {
            let [key, place, count, value] = [entry[0], entry[1], entry[2], entry[3]];
            let range = usize::from(value)..usize::from(value) + usize::from(count);
            let value = match place {
                0 => GeoKey::Short(value),
                34736 => GeoKey::Doubles(self.doubles.get(range)?),
                34737 => GeoKey::Text(self.ascii.get(range)?.trim_end_matches(['|', '\0'])),
                _ => return None,
            };
            Some((key, value))
        })
    }

    /// A key that is a number in the directory.
    pub fn short(&self, key: u16) -> Option<u16> {
        self.entries().find_map(|(k, value)| match value {
            GeoKey::Short(value) if k == key => Some(value),
            _ => None,
        })
    }

    /// The keys that define a CRS, sorted.
    fn crs(&self) -> Vec<(u16, GeoKey<'_>)> {
        let mut keys: Vec<_> = self
            .entries()
            .filter(|(key, _)| *key != RASTER_TYPE_KEY && !CITATION_KEYS.contains(key))
            .collect();
        keys.sort_by_key(|(key, _)| *key);
        keys
    }
}

/// What the file said, in its own words.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Fields of an ENVI header, by name (`map info`, `coordinate system string`, ...).
    Envi(BTreeMap<String, String>),
    /// Tags of a GeoTIFF.
    GeoTiff(GeoTiffTags),
}

/// The pixel grid of an image on the ground.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// From pixels to the CRS; `None` where the file gives only points or a CRS.
    pub transform: Option<Transform>,
    /// EPSG code of the CRS where it is known.
    pub epsg: Option<u32>,
    /// Well-known text of the CRS where the file holds one.
    pub wkt: Option<String>,
    /// The file's own words.
    pub source: Source,
}

/// ENVI fields that stay true of another part or another pixel size of the same grid, once the numbers of `map info`
/// are brought up to date (which its writer does).
const ENVI_CRS_FIELDS: [&str; 3] = ["map info", "projection info", "coordinate system string"];

impl Grid {
    /// The grid of an image that begins at this row and column; `None` where there is no transform to move.
    pub fn cropped(&self, row: usize, column: usize) -> Option<Grid> {
        if (row, column) == (0, 0) {
            return Some(self.clone());
        }
        self.moved(self.transform?.cropped(row, column))
    }

    /// The grid of pixels `factor` times as large, from the same corner; `None` where there is no transform.
    pub fn scaled(&self, factor: f64) -> Option<Grid> {
        self.moved(self.transform?.scaled(factor))
    }

    fn moved(&self, transform: Transform) -> Option<Grid> {
        let mut grid = self.clone();
        grid.transform = Some(transform);
        match &mut grid.source {
            Source::Envi(fields) => fields.retain(|name, _| ENVI_CRS_FIELDS.contains(&name.as_str())),
            Source::GeoTiff(tags) => {
                tags.pixel_scale.clear();
                tags.tiepoints.clear();
                tags.transformation.clear();
            }
        }
        Some(grid)
    }

    /// `true` if both grids are in the same CRS as far as they say: equal EPSG codes, else equal definitions in the
    /// words of one format, else equal well-known text. A grid that names no CRS is taken to be in the other's.
    pub fn same_crs(&self, other: &Grid) -> bool {
        if !self.names_crs() || !other.names_crs() {
            return true;
        }
        if let (Some(a), Some(b)) = (self.epsg, other.epsg) {
            return a == b;
        }
        let words = |text: &str| text.split_whitespace().collect::<String>();
        if let (Some(a), Some(b)) = (&self.wkt, &other.wkt) {
            return words(a) == words(b);
        }
        match (&self.source, &other.source) {
            (Source::GeoTiff(a), Source::GeoTiff(b)) => !a.crs().is_empty() && a.crs() == b.crs(),
            (Source::Envi(a), Source::Envi(b)) => {
                let named = envi_projection(a);
                named.is_some() && named == envi_projection(b)
            }
            _ => false,
        }
    }

    /// `true` if the file names a CRS, known or not.
    pub fn names_crs(&self) -> bool {
        self.epsg.is_some()
            || self.wkt.is_some()
            || match &self.source {
                Source::Envi(fields) => envi_projection(fields).is_some(),
                Source::GeoTiff(tags) => tags.entries().any(|(key, _)| key >= 2048),
            }
    }

    /// What there is to say of the grid, as names and values for people.
    pub fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = match &self.source {
            Source::Envi(fields) => fields.clone(),
            Source::GeoTiff(tags) => tags
                .entries()
                .filter_map(|(key, value)| match value {
                    GeoKey::Text(text) if CITATION_KEYS.contains(&key) && !text.is_empty() => {
                        Some((format!("citation {key}"), text.to_owned()))
                    }
                    _ => None,
                })
                .collect(),
        };
        if let Some(Transform(t)) = &self.transform {
            let numbers: Vec<String> = t.iter().map(f64::to_string).collect();
            facts.insert("transform".to_owned(), numbers.join(", "));
        }
        if let Some(code) = self.epsg {
            facts.insert("EPSG".to_owned(), code.to_string());
        }
        facts
    }
}

/// Name, zone and datum of ENVI's `map info`, without the seven numbers and names that place the image; `None` where it
/// names no projection.
fn envi_projection(fields: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let parts: Vec<String> = fields
        .get("map info")?
        .trim_matches(['{', '}', ' '])
        .split(',')
        .map(|part| part.trim().to_lowercase())
        .collect();
    let named = !["", "arbitrary", "unknown"].contains(&parts.first()?.as_str());
    named.then(|| {
        let further = parts.iter().skip(7).filter(|part| !part.starts_with("rotation"));
        parts.iter().take(1).chain(further).cloned().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envi(text: &str, epsg: Option<u32>) -> Grid {
        Grid {
            transform: Transform::new([500.0, 30.0, 0.0, 4000.0, 0.0, -30.0]),
            epsg,
            wkt: None,
            source: Source::Envi(BTreeMap::from([
                ("map info".to_owned(), text.to_owned()),
                ("rpc info".to_owned(), "{1}".to_owned()),
            ])),
        }
    }

    #[test]
    fn a_part_begins_where_it_lies_and_drops_what_is_not_true_of_it() {
        let grid = envi("{UTM, 1, 1, 500, 4000, 30, 30, 33, North, WGS-84}", Some(32633));
        let part = grid.cropped(2, 3).unwrap();
        assert_eq!(part.transform.unwrap().0, [590.0, 30.0, 0.0, 3940.0, 0.0, -30.0]);
        assert!(matches!(&part.source, Source::Envi(fields) if fields.len() == 1));
        assert_eq!(grid.cropped(0, 0).unwrap(), grid);
        let coarse = grid.scaled(4.0).unwrap().transform.unwrap();
        assert_eq!(coarse.0, [500.0, 120.0, 0.0, 4000.0, 0.0, -120.0]);
        assert_eq!(coarse.pixel_size(), Some((120.0, -120.0)));
        let rotated = Transform::new([0.0, 20.0, 5.0, 0.0, 5.0, -20.0]).unwrap();
        assert_eq!(rotated.pixel_size(), None);
        assert_eq!(rotated.cropped(1, 2).0[0], 45.0);
        assert_eq!(Transform::new([0.0, 1.0, 1.0, 0.0, 1.0, 1.0]), None);
        assert_eq!(Transform::new([0.0, f64::NAN, 0.0, 0.0, 0.0, 1.0]), None);
    }

    #[test]
    fn reference_systems_are_compared_by_what_is_known_of_them() {
        let utm = envi("{UTM, 1, 1, 0, 0, 30, 30, 33, North, WGS-84}", Some(32633));
        assert!(utm.same_crs(&envi("{other, 1, 1}", Some(32633))));
        assert!(!utm.same_crs(&envi("{UTM, 1, 1}", Some(32634))));
        assert!(utm.same_crs(&envi("{Arbitrary, 1, 1, 5, 5, 1, 1}", None)));
        let albers = |rest: &str| envi(&format!("{{Albers, 1, 1, 0, 0, {rest}}}"), None);
        assert!(albers("30, 30, NAD83").same_crs(&albers("10, 10, nad83, rotation=0")));
        assert!(!albers("30, 30, NAD83").same_crs(&albers("10, 10, NAD27")));
        let tags = |code: u16, name: &str| Grid {
            source: Source::GeoTiff(GeoTiffTags {
                keys: vec![
                    1,
                    1,
                    0,
                    3,
                    1025,
                    0,
                    1,
                    code % 2,
                    3072,
                    0,
                    1,
                    code,
                    3073,
                    34737,
                    2,
                    0,
                ],
                ascii: format!("{name}|"),
                ..GeoTiffTags::default()
            }),
            ..envi("", None)
        };
        assert!(tags(32767, "a").same_crs(&tags(32767, "b")));
        assert!(!tags(32767, "a").same_crs(&tags(32766, "a")));
        assert!(!tags(32767, "a").same_crs(&albers("30, 30, NAD83")));
        assert_eq!(tags(32767, "a").facts()["citation 3073"], "a");
    }
}
