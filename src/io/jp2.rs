//! JPEG 2000 (`.jp2`, and bare codestreams) through the crate `hayro-jpeg2000`: whole numbers of up to 16 bits, as many components
//! as there are. Numbers of a palette are left as they are. The place on the ground is that of a GeoJP2 box or of GML (Sentinel-2).
//!
//! Memory: the file, and about 16 bytes a sample while it is decoded, after the size that the file claims was held against its
//! length: a block of 64 x 64 samples of one value may take a quarter of a byte, and no file seen takes less.

use std::io::{Cursor, Read};
use std::path::Path;

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
use ndarray::{Array2, Array3, Axis};

use super::file::{open, read_error};
use super::{tiff, xml};
use crate::cube::grid::{GeoTiffTags, Grid, Source, Transform};
use crate::cube::{Cube, SampleType};
use crate::error::{Error, Result};

/// First bytes of a file with boxes, and of a bare codestream.
pub(crate) const MAGICS: [&[u8]; 2] = [b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"];
/// Name endings.
pub(crate) const ENDINGS: [&str; 4] = ["jp2", "j2k", "j2c", "jpx"];

/// Samples that a byte may stand for: a tile of Sentinel-2 without data has 6,000.
const SAMPLES_A_BYTE: u64 = 16_384;
/// Bytes that decoding takes for a sample.
const BYTES_A_SAMPLE: u64 = 16;
/// Name of the box that holds a GeoTIFF with the place on the ground and no image.
const GEO_JP2: [u8; 16] = [
    0xb1, 0x4b, 0xf8, 0xbd, 0x08, 0x3d, 0x4b, 0x43, 0xa5, 0xae, 0x8c, 0xd7, 0xd5, 0xa6, 0xce, 0x03,
];
/// Boxes in boxes that are looked into.
const DEEPEST: usize = 4;

/// What a file says of its samples.
struct Size {
    rows: usize,
    columns: usize,
    components: usize,
    kind: SampleType,
    /// What decoding adds to signed numbers.
    offset: f32,
}

/// The contents of a file's boxes that are of use here.
#[derive(Default)]
struct Boxes<'a> {
    codestream: Option<&'a [u8]>,
    geo_jp2: Option<&'a [u8]>,
    gml: Option<&'a str>,
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl<'a> Boxes<'a> {
    fn of(data: &'a [u8]) -> Self {
        let mut found = Boxes::default();
        if data.starts_with(MAGICS[1]) {
            found.codestream = Some(data);
        } else {
            found.look(data, 0);
        }
        found
    }

    fn look(&mut self, mut data: &'a [u8], depth: usize) {
        while data.len() >= 8 {
            let length = big_endian(&data[..4]);
            let (head, length) = match length {
                0 => (8, data.len() as u64),
                1 if data.len() >= 16 => (16, big_endian(&data[8..16])),
                length => (8, length),
            };
            let Some(end) = usize::try_from(length).ok().filter(|&end| end >= head) else {
                return;
            };
            let content = &data[head..end.min(data.len()).max(head)];
            match &data[4..8] {
                b"jp2c" => _ = self.codestream.get_or_insert(content),
                b"uuid" if content.starts_with(&GEO_JP2) => self.geo_jp2 = Some(&content[16..]),
                b"asoc" if depth < DEEPEST => self.look(content, depth + 1),
                b"xml " => {
                    let text = std::str::from_utf8(content).ok();
                    self.gml = self.gml.or(text.filter(|text| text.contains("RectifiedGrid")));
                }
                _ => {}
            }
            data = data.get(end..).unwrap_or_default();
        }
    }

    fn grid(&self) -> Option<Grid> {
        let geo = self.geo_jp2.and_then(|bytes| tiff::grid_of(Cursor::new(bytes)));
        geo.filter(|grid| grid.transform.is_some())
            .or_else(|| gml_grid(self.gml?))
    }
}

/// The grid of a GML coverage (OGC 05-047): its origin is the centre of the first pixel.
fn gml_grid(text: &str) -> Option<Grid> {
    let document = xml::parse(text.trim_matches(['\0', ' ', '\n', '\r'])).ok()?;
    let grid = document
        .descendants()
        .find(|node| node.tag_name().name() == "RectifiedGrid")?;
    let numbers = |text: &str| -> Option<[f64; 2]> {
        let mut parts = text.split([' ', ',', '\n']).filter(|part| !part.is_empty());
        let pair = [parts.next()?.parse().ok()?, parts.next()?.parse().ok()?];
        Some(pair)
    };
    let named = |name: &'static str| {
        grid.descendants()
            .filter(move |node| node.tag_name().name() == name)
    };
    let origin = numbers(named("pos").next()?.text()?)?;
    let mut steps = named("offsetVector").map(|node| numbers(node.text()?));
    let (right, down) = (steps.next()??, steps.next()??);
    let system = grid.descendants().find_map(|node| {
        node.attribute("srsName")
            .filter(|name| name.to_uppercase().contains("EPSG"))
    })?;
    let epsg: u32 = system.rsplit([':', '#', '/']).next()?.parse().ok()?;
    // As URNs, systems of longitude and latitude have latitude first.
    let [x, y] = if system.starts_with("urn:") && (4000..5000).contains(&epsg) {
        [1, 0]
    } else {
        [0, 1]
    };
    let corner = |k: usize| origin[k] - 0.5 * (right[k] + down[k]);
    Some(Grid {
        transform: Transform::new([corner(x), right[x], down[x], corner(y), right[y], down[y]]),
        epsg: Some(epsg),
        wkt: None,
        source: Source::GeoTiff(GeoTiffTags::default()),
    })
}

/// The size that a codestream claims (its SIZ segment); what is wrong with it as the end of a sentence.
fn size(codestream: &[u8]) -> std::result::Result<Size, String> {
    let damaged = || "is a damaged JPEG 2000 file: it does not begin as one".to_owned();
    let number = |at: usize, width: usize| {
        let bytes = codestream.get(at..at + width);
        bytes.map(big_endian).ok_or_else(damaged)
    };
    if number(2, 2)? != 0xff51 {
        return Err(damaged());
    }
    let ends = [number(12, 4)?, number(8, 4)?];
    let starts = [number(20, 4)?, number(16, 4)?];
    let components = number(40, 2)? as usize;
    let first = number(42, 3)?;
    for component in 0..components {
        let own = number(42 + 3 * component, 3)?;
        if own != first || own & 0xffff != 0x0101 {
            return Err(
                "has components of several sizes or types, which are not read; write it as GeoTIFF with gdal_translate".to_owned(),
            );
        }
    }
    let (bits, signed) = ((first >> 16 & 0x7f) as i32 + 1, first >> 23 == 1);
    let kind = match (bits, signed) {
        (1..=8, false) => SampleType::U8,
        (1..=8, true) => SampleType::I8,
        (9..=16, false) => SampleType::U16,
        (9..=16, true) => SampleType::I16,
        _ => {
            return Err(format!(
                "has samples of {bits} bits; up to 16 are read, write it as GeoTIFF with gdal_translate"
            ));
        }
    };
    let length = |k: usize| {
        ends[k]
            .checked_sub(starts[k])
            .filter(|&n| n > 0)
            .ok_or_else(damaged)
    };
    Ok(Size {
        rows: length(0)? as usize,
        columns: length(1)? as usize,
        components,
        kind,
        offset: if signed { 2.0_f32.powi(bits - 1) } else { 0.0 },
    })
}

/// Reads an image.
///
/// # Errors
/// [`Error::Input`] if it is missing, damaged, of a kind that is not read, or takes more than `memory` bytes.
pub(crate) fn read_cube(path: &Path, memory: usize) -> Result<Cube> {
    let (mut file, length) = open(path)?;
    let mut data = Vec::new();
    let longest = memory.min(usize::MAX / 2) as u64;
    if length > longest {
        return Err(too_large(path, length));
    }
    file.read_to_end(&mut data).map_err(|e| read_error(path, &e))?;
    decode(path, &data, memory)
}

fn too_large(path: &Path, bytes: u64) -> Error {
    Error::input(format!(
        "{}: a JPEG 2000 image is read whole, and its {} MB are more than the setting max-memory allows; write it as GeoTIFF with gdal_translate",
        path.display(),
        bytes / 1_000_000
    ))
}

/// [`read_cube`] of a file's bytes.
///
/// # Errors
/// As [`read_cube`].
pub(super) fn decode(path: &Path, data: &[u8], memory: usize) -> Result<Cube> {
    let refuse = |what: &str| Error::input(format!("{}: {what}", path.display()));
    let boxes = Boxes::of(data);
    let codestream = boxes
        .codestream
        .ok_or_else(|| refuse("is a damaged JPEG 2000 file: it holds no image"))?;
    let size = size(codestream).map_err(|what| refuse(&what))?;
    let count = (size.rows as u64)
        .saturating_mul(size.columns as u64)
        .saturating_mul(size.components as u64);
    if count > SAMPLES_A_BYTE.saturating_mul(codestream.len() as u64) {
        return Err(refuse(&format!(
            "is a damaged JPEG 2000 file: it claims {} x {} samples of {} bands in {} bytes",
            size.rows,
            size.columns,
            size.components,
            codestream.len()
        )));
    }
    let needed = count.saturating_mul(BYTES_A_SAMPLE);
    if needed > memory as u64 {
        return Err(too_large(path, needed));
    }
    let settings = DecodeSettings {
        resolve_palette_indices: false,
        strict: true,
        ..DecodeSettings::default()
    };
    let failed = |e: hayro_jpeg2000::DecodeError| refuse(&format!("is a damaged JPEG 2000 file: {e}"));
    let image = Image::new(data, &settings).map_err(failed)?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(failed)?;
    let components = decoded.components();
    let dim = (size.rows, size.columns, components.len());
    let pixels = size.rows * size.columns;
    if components.is_empty() || components.iter().any(|c| c.samples().len() != pixels) {
        return Err(refuse(
            "is a damaged JPEG 2000 file: its bands have several sizes",
        ));
    }
    let mut samples = Array3::zeros(dim);
    let (low, high) = match size.kind {
        SampleType::U8 => (0.0, 255.0),
        SampleType::I8 => (-128.0, 127.0),
        SampleType::I16 => (-32_768.0, 32_767.0),
        _ => (0.0, 65_535.0),
    };
    for (mut band, component) in samples.axis_iter_mut(Axis(2)).zip(components) {
        for (to, x) in band.iter_mut().zip(component.samples()) {
            *to = (x.round() - size.offset).clamp(low, high);
        }
    }
    let mut valid = None;
    if image.has_alpha() && dim.2 > 1 {
        let last = dim.2 - 1;
        let opaque: Array2<bool> = samples.index_axis(Axis(2), last).mapv(|x| x != 0.0);
        valid = Some(opaque);
        samples.remove_index(Axis(2), last);
    }
    let mut cube = Cube::new(samples.as_standard_layout().into_owned());
    cube.valid = valid.filter(|valid| valid.iter().any(|&ok| !ok));
    cube.sample_type = size.kind;
    cube.metadata.grid = boxes.grid();
    Ok(cube)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gml_places_the_centre_of_the_first_pixel() {
        let grid = |system: &str, origin: &str, right: &str, down: &str| {
            format!(
                "<c xmlns:g='g'><g:RectifiedGrid><g:origin><g:Point srsName='{system}'><g:pos>{origin}</g:pos></g:Point></g:origin>\
                 <g:offsetVector>{right}</g:offsetVector><g:offsetVector>{down}</g:offsetVector></g:RectifiedGrid></c>"
            )
        };
        let utm = gml_grid(&grid(
            "urn:ogc:def:crs:EPSG::32633",
            "500010 5199990",
            "20 0",
            "0 -20",
        ))
        .unwrap();
        assert_eq!(
            utm.transform.unwrap().0,
            [500_000.0, 20.0, 0.0, 5_200_000.0, 0.0, -20.0]
        );
        assert_eq!(utm.epsg, Some(32633));
        let degrees = gml_grid(&grid("urn:ogc:def:crs:EPSG::4326", "47.5 11.5", "0 1", "-1 0")).unwrap();
        assert_eq!(degrees.transform.unwrap().0, [11.0, 1.0, 0.0, 48.0, 0.0, -1.0]);
        assert!(gml_grid("<RectifiedGrid/>").is_none());
    }

    #[test]
    fn what_a_codestream_claims_is_held_against_its_length() {
        let mut siz = vec![0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0];
        for number in [60_000_u32, 60_000, 0, 0, 60_000, 60_000, 0, 0] {
            siz.extend(number.to_be_bytes());
        }
        siz.extend([0, 1, 15, 1, 1]);
        let error = decode(Path::new("x.jp2"), &siz, usize::MAX)
            .unwrap_err()
            .to_string();
        assert!(error.contains("60000 x 60000"), "{error}");
        siz[42] = 31;
        let error = decode(Path::new("x.jp2"), &siz, usize::MAX)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("32 bits") && error.contains("gdal_translate"),
            "{error}"
        );
        assert!(decode(Path::new("x.jp2"), &siz[..20], usize::MAX).is_err());
    }
}
