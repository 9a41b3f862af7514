//! GeoTIFF tags (OGC 19-008) and [`Grid`]. Tags that were read and are still true are written as they stood.

use std::io::{Read, Seek};

use super::directory::{Directory, Outcome, Source};
use super::tag::Tag;
use crate::cube::grid::{GeoKey, GeoTiffTags, Grid, RASTER_TYPE_KEY, Source as Words, Transform};

const PIXEL_SCALE: u16 = 33550;
const TIEPOINTS: u16 = 33922;
const TRANSFORMATION: u16 = 34264;
const KEYS: u16 = 34735;
const DOUBLES: u16 = 34736;
const ASCII: u16 = 34737;

/// Keys and values of the directory.
const MODEL_TYPE: u16 = 1024;
const CITATION: u16 = 1026;
const GEOGRAPHIC_CRS: u16 = 2048;
const PROJECTED_CRS: u16 = 3072;
const PROJECTED_CITATION: u16 = 3073;
const PIXEL_IS_POINT: u16 = 2;
const USER_DEFINED: u16 = 32767;

/// How ArcGIS, ENVI and GDAL mark a well-known text in a citation.
const PE_STRING: &str = "ESRI PE String = ";

/// The grid of an image; `None` where no tag speaks of one.
pub(super) fn read<F: Read + Seek>(source: &mut Source<F>, directory: &Directory) -> Outcome<Option<Grid>> {
    let keys = source.numbers(directory, KEYS)?;
    let tags = GeoTiffTags {
        pixel_scale: source.numbers(directory, PIXEL_SCALE)?,
        tiepoints: source.numbers(directory, TIEPOINTS)?,
        transformation: source.numbers(directory, TRANSFORMATION)?,
        keys: keys.into_iter().map(|key| key as u16).collect(),
        doubles: source.numbers(directory, DOUBLES)?,
        ascii: source.text(directory, ASCII)?.unwrap_or_default(),
    };
    if tags == GeoTiffTags::default() {
        return Ok(None);
    }
    let code = |key: u16| tags.short(key).filter(|&code| code != 0 && code != USER_DEFINED);
    let geographic = || code(GEOGRAPHIC_CRS).filter(|_| tags.short(MODEL_TYPE) == Some(2));
    let wkt = tags.entries().find_map(|(_, value)| match value {
        GeoKey::Text(text) => text.strip_prefix(PE_STRING).map(str::to_owned),
        _ => None,
    });
    Ok(Some(Grid {
        transform: transform(&tags),
        epsg: code(PROJECTED_CRS).or_else(geographic).map(u32::from),
        wkt,
        source: Words::GeoTiff(tags),
    }))
}

/// The grid of a TIFF without an image, as other formats carry it.
pub(crate) fn grid_of(mut bytes: impl Read + Seek) -> Option<Grid> {
    let length = bytes.seek(std::io::SeekFrom::End(0)).ok()?;
    bytes.rewind().ok()?;
    let (mut source, first) = Source::new(bytes, length).ok()?;
    let directory = source.directory(first).ok()?;
    read(&mut source, &directory).ok()?
}

/// The map that the tags describe, of pixel corners: tie points of a `PixelIsPoint` file are pixel centres.
fn transform(tags: &GeoTiffTags) -> Option<Transform> {
    let t = match (
        tags.transformation.as_slice(),
        tags.pixel_scale.as_slice(),
        tags.tiepoints.as_slice(),
    ) {
        ([a, b, _, x, c, d, _, y, ..], _, _) if tags.transformation.len() == 16 => [*x, *a, *b, *y, *c, *d],
        (_, [width, height, ..], [column, row, _, x, y, _]) => {
            [x - column * width, *width, 0.0, y + row * height, 0.0, -height]
        }
        _ => return None,
    };
    let half = match tags.short(RASTER_TYPE_KEY) {
        Some(PIXEL_IS_POINT) => 0.5,
        _ => 0.0,
    };
    let [x, a, b, y, c, d] = t;
    Transform::new([x - half * (a + b), a, b, y - half * (c + d), c, d])
}

/// The tags to write for a grid. What they cannot say of it, [`lost`] names.
pub(super) fn tags(grid: &Grid) -> Vec<Tag> {
    let mut words = match &grid.source {
        Words::GeoTiff(words) if *words != GeoTiffTags::default() => words.clone(),
        // Of another format, or of one without words of its own.
        Words::GeoTiff(_) | Words::Envi(_) => keys_of(grid),
    };
    if let Some(to) = grid.transform
        && transform(&words) != Some(to)
    {
        place(&mut words, to);
    }
    let mut tags = Vec::new();
    for (tag, values) in [
        (PIXEL_SCALE, &words.pixel_scale),
        (TIEPOINTS, &words.tiepoints),
        (TRANSFORMATION, &words.transformation),
        (DOUBLES, &words.doubles),
    ] {
        if !values.is_empty() {
            tags.push(Tag::doubles(tag, values));
        }
    }
    if !words.keys.is_empty() {
        tags.push(Tag::shorts(KEYS, &words.keys));
    }
    if !words.ascii.is_empty() {
        tags.push(Tag::text(ASCII, &words.ascii));
    }
    tags
}

/// Sets the tags that place the image.
fn place(words: &mut GeoTiffTags, to: Transform) {
    let half = match words.short(RASTER_TYPE_KEY) {
        Some(PIXEL_IS_POINT) => 0.5,
        _ => 0.0,
    };
    let (x, y) = to.world(half, half);
    let [_, a, b, _, c, d] = to.0;
    words.pixel_scale.clear();
    words.tiepoints.clear();
    words.transformation.clear();
    if b == 0.0 && c == 0.0 && a > 0.0 && d < 0.0 {
        words.pixel_scale = vec![a, -d, 0.0];
        words.tiepoints = vec![0.0, 0.0, 0.0, x, y, 0.0];
    } else {
        words.transformation = vec![a, b, 0.0, x, c, d, 0.0, y, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    }
}

/// Keys for the CRS of another format: its EPSG code, and its well-known text in a citation.
fn keys_of(grid: &Grid) -> GeoTiffTags {
    let mut entries: Vec<[u16; 4]> = vec![[RASTER_TYPE_KEY, 0, 1, 1]];
    let mut ascii = String::new();
    let code = grid.epsg.and_then(|code| u16::try_from(code).ok());
    if let Some(code) = code {
        // EPSG gives these numbers to systems of latitude and longitude.
        let geographic = (4000..5000).contains(&code);
        entries.push([MODEL_TYPE, 0, 1, if geographic { 2 } else { 1 }]);
        entries.push([
            if geographic { GEOGRAPHIC_CRS } else { PROJECTED_CRS },
            0,
            1,
            code,
        ]);
    }
    if let Some(wkt) = &grid.wkt
        && wkt.len() < usize::from(u16::MAX) - PE_STRING.len() - 1
    {
        ascii = format!("{PE_STRING}{wkt}|");
        // Beside a code the text is no definition, only kept. Alone it is one for GDAL if the model is a user's.
        let key = match code {
            Some(_) => CITATION,
            None => {
                entries.push([MODEL_TYPE, 0, 1, USER_DEFINED]);
                PROJECTED_CITATION
            }
        };
        entries.push([key, ASCII, ascii.len() as u16, 0]);
    }
    entries.sort_unstable();
    let mut keys = vec![1, 1, 0, entries.len() as u16];
    keys.extend(entries.iter().flatten());
    GeoTiffTags {
        keys,
        ascii,
        ..GeoTiffTags::default()
    }
}

/// What GeoTIFF tags cannot say of this grid.
pub(crate) fn lost(grid: &Grid) -> Option<&'static str> {
    let Words::Envi(fields) = &grid.source else {
        return None;
    };
    if grid.transform.is_none() {
        return Some("georeference");
    }
    if grid.names_crs() && grid.epsg.is_none() && grid.wkt.is_none() {
        return Some("coordinate reference system");
    }
    ["geo points", "rpc info", "geo transform"]
        .iter()
        .any(|name| fields.contains_key(*name))
        .then_some("further georeference fields")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(raster_type: u16) -> GeoTiffTags {
        GeoTiffTags {
            pixel_scale: vec![30.0, 20.0, 0.0],
            tiepoints: vec![2.0, 1.0, 0.0, 560.0, 3980.0, 0.0],
            keys: vec![1, 1, 0, 1, RASTER_TYPE_KEY, 0, 1, raster_type],
            ..GeoTiffTags::default()
        }
    }

    #[test]
    fn a_tie_point_is_a_corner_or_a_centre_as_the_file_says() {
        let area = transform(&point(1)).unwrap().0;
        assert_eq!(area, [500.0, 30.0, 0.0, 4000.0, 0.0, -20.0]);
        let centre = transform(&point(PIXEL_IS_POINT)).unwrap().0;
        assert_eq!(centre, [485.0, 30.0, 0.0, 4010.0, 0.0, -20.0]);
        let mut matrix = vec![0.0; 16];
        (matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7]) = (1.0, 2.0, 10.0, 3.0, 4.0, 20.0);
        let turned = GeoTiffTags {
            transformation: matrix,
            ..point(PIXEL_IS_POINT)
        };
        assert_eq!(transform(&turned).unwrap().0, [8.5, 1.0, 2.0, 16.5, 3.0, 4.0]);
        let points = GeoTiffTags {
            tiepoints: vec![0.0; 24],
            ..point(1)
        };
        assert_eq!(transform(&points), None);
    }

    #[test]
    fn what_is_placed_reads_back() {
        for raster_type in [1, PIXEL_IS_POINT] {
            for t in [
                [500.0, 30.0, 0.0, 4000.0, 0.0, -30.0],
                [500.0, 30.0, 0.0, 4000.0, 0.0, 30.0],
                [500.0, 20.0, 5.0, 4000.0, 5.0, -20.0],
            ] {
                let mut words = point(raster_type);
                let to = Transform::new(t).unwrap();
                place(&mut words, to);
                assert_eq!(transform(&words), Some(to));
            }
        }
    }
}
