//! The text header of an ENVI image: fields, what they mean for the layout of the data, and which of
//! them go where in [`Metadata`]. The files themselves are in `envi`.
//!
//! Reading is tolerant as ENVI's own is: any case, any white space, fields in any order, values over
//! several lines in braces, comment lines with `;`. What is missing and can be taken for granted is, with a note.
//! Lists that do not fit the number of bands, and wavelengths in a unit that is none, are kept as text, with a note.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::envi_map;
use super::samples::{ByteOrder, width};
use super::wavelength;
use crate::cube::{Metadata, SampleType};

/// First word of every ENVI header.
pub(crate) const MAGIC: &[u8] = b"ENVI";

/// Order of the samples in the data file.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interleave {
    /// Band after band, each row by row.
    Bsq,
    /// Row after row, in each band by band.
    Bil,
    /// Pixel after pixel, each with all its bands.
    Bip,
}

impl Interleave {
    /// Its name in headers and file names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Interleave::Bsq => "bsq",
            Interleave::Bil => "bil",
            Interleave::Bip => "bip",
        }
    }

    /// The interleave with this name, in any case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Interleave::Bsq, Interleave::Bil, Interleave::Bip]
            .into_iter()
            .find(|i| i.name().eq_ignore_ascii_case(name))
    }

    /// Which axis of rows x columns x bands each axis of the file is, slowest first.
    pub(crate) fn axes(self) -> [usize; 3] {
        match self {
            Interleave::Bsq => [2, 0, 1],
            Interleave::Bil => [0, 2, 1],
            Interleave::Bip => [0, 1, 2],
        }
    }
}

/// Numbers of ENVI's data types. There are none for signed bytes and half precision.
const TYPES: [(u32, SampleType); 9] = [
    (1, SampleType::U8),
    (2, SampleType::I16),
    (3, SampleType::I32),
    (4, SampleType::F32),
    (5, SampleType::F64),
    (12, SampleType::U16),
    (13, SampleType::U32),
    (14, SampleType::I64),
    (15, SampleType::U64),
];

/// Fields that say how the data lie in the file, and no more.
const STRUCTURE: [&str; 9] = [
    "samples",
    "lines",
    "bands",
    "header offset",
    "file type",
    "data type",
    "interleave",
    "byte order",
    "file compression",
];

/// A header that has been read.
#[derive(Debug)]
pub(crate) struct Header {
    /// Rows, columns and bands.
    pub dim: [usize; 3],
    /// Numeric type of the data.
    pub kind: SampleType,
    /// Byte order of the data.
    pub order: ByteOrder,
    /// Order of the axes in the file, where the header says it.
    pub interleave: Option<Interleave>,
    /// Bytes before the first sample in the data file.
    pub offset: u64,
    /// The data file is a TIFF, which says itself how its samples lie.
    pub tiff: bool,
    /// Everything else.
    pub metadata: Metadata,
    /// What the header leaves open and what was taken for it.
    pub notes: Vec<String>,
}

/// Splits the text into fields: names in lower case with single blanks, values as they stand. Lists in brackets become
/// lists in braces, and comment lines in them go.
fn fields(text: &str) -> std::result::Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines();
    if !lines.next().is_some_and(|first| {
        first
            .trim_start_matches('\u{feff}')
            .trim()
            .eq_ignore_ascii_case("envi")
    }) {
        return Err("its first line is not ENVI".to_owned());
    }
    while let Some(line) = lines.next() {
        if is_comment(line) {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            // Stray lines without a field are no reason to refuse an image.
            continue;
        };
        let name = name
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        let mut value = value.trim().to_owned();
        let end = match value.chars().next() {
            Some('{') => Some('}'),
            Some('[') => Some(']'),
            _ => None,
        };
        if let Some(end) = end {
            while !value.contains(end) {
                let next = lines
                    .next()
                    .ok_or_else(|| format!("the field {name:?} has no closing brace"))?;
                if !is_comment(next) {
                    value.push('\n');
                    value.push_str(next.trim_end());
                }
            }
            if end == ']' {
                let inside = value.trim_start_matches('[');
                let inside = inside.split(end).next().unwrap_or_default();
                value = format!("{{{inside}}}");
            }
        }
        found.insert(name, value);
    }
    Ok(found)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(';')
}

/// The parts of a list in braces. A comma behind the last one is no further part.
fn list(value: &str) -> Vec<&str> {
    let value = value.trim();
    let inside = value.trim_start_matches('{').trim_end_matches('}').trim();
    let mut parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    if parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    parts
}

/// The numbers of a list, between commas or blanks, if there are `count` and all are numbers.
pub(super) fn numbers(value: &str, count: usize) -> Option<Vec<f64>> {
    let mut parts = list(value);
    if let [only] = parts[..]
        && count > 1
    {
        parts = only.split_whitespace().collect();
    }
    let parsed: Option<Vec<f64>> = parts.iter().map(|x| x.parse().ok()).collect();
    parsed.filter(|v| v.len() == count)
}

impl Header {
    /// Reads the text of a header.
    ///
    /// Wavelengths become nanometres, as [`wavelength::read`] has it.
    ///
    /// # Errors
    /// What is missing or not understood, as a sentence.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut fields = fields(text)?;
        let mut take = |name: &str| fields.remove(name);
        let mut values: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for name in STRUCTURE {
            values.insert(name, take(name));
        }
        let number =
            |name: &str, default: Option<u64>| match (values.get(name).and_then(Option::as_deref), default) {
                (Some(value), _) => value.parse::<u64>().map_err(|_| {
                    let shown: String = value.chars().take(20).collect();
                    format!("{name:?} is {shown:?}, not a whole number")
                }),
                (None, Some(default)) => Ok(default),
                (None, None) => Err(format!("the field {name:?} is missing")),
            };
        let axis = |name: &str, default| {
            number(name, default)
                .and_then(|n| usize::try_from(n).map_err(|_| format!("{name:?} is {n}, too many")))
        };
        let lines = axis("lines", None)?;
        let columns = axis("samples", None)?;
        let bands = axis("bands", Some(1))?;
        let code = number("data type", None)?;
        if code == 6 || code == 9 {
            return Err(format!(
                "data type {code} is complex; save the real part or modulus"
            ));
        }
        let kind = TYPES
            .iter()
            .find(|(c, _)| u64::from(*c) == code)
            .map(|(_, kind)| *kind)
            .ok_or_else(|| format!("data type {code} is unknown"))?;
        let mut notes = Vec::new();
        if width(kind) > 1 && values.get("byte order").is_none_or(Option::is_none) {
            notes.push("no byte order, taken to be 0 (little-endian)".to_owned());
        }
        let order = match number("byte order", Some(0))? {
            0 => ByteOrder::Little,
            1 => ByteOrder::Big,
            other => return Err(format!("byte order {other} is unknown; it is 0 or 1")),
        };
        let file_type = values.get("file type").and_then(Option::as_deref);
        let tiff = file_type.is_some_and(|name| name.to_lowercase().contains("tiff"));
        let interleave = match values.get("interleave").and_then(Option::as_deref) {
            None => None,
            Some(_) if tiff => None,
            Some(name) => Some(Interleave::from_name(name).ok_or_else(|| {
                let shown: String = name.chars().take(20).collect();
                format!("interleave {shown:?} is unknown; it is bsq, bil or bip")
            })?),
        };
        if number("file compression", Some(0))? != 0 {
            return Err("the data file is compressed; save it uncompressed".to_owned());
        }
        let offset = number("header offset", Some(0))?;
        for name in ["major frame offsets", "minor frame offsets"] {
            if let Some(value) = take(name)
                && list(&value)
                    .iter()
                    .any(|x| !x.is_empty() && x.parse::<f64>() != Ok(0.0))
            {
                return Err(format!(
                    "{name:?} other than 0 are not read; save the image without them"
                ));
            }
        }
        Ok(Header {
            dim: [lines, columns, bands],
            kind,
            order,
            interleave,
            offset,
            tiff,
            metadata: metadata(fields, bands, &mut notes),
            notes,
        })
    }
}

/// Sorts the fields that do not concern the layout into [`Metadata`].
fn metadata(mut fields: BTreeMap<String, String>, bands: usize, notes: &mut Vec<String>) -> Metadata {
    let mut metadata = Metadata::default();
    let mut of_bands = |name: &str| {
        let text = fields.get(name)?;
        let values = numbers(text, bands);
        if values.is_none() {
            notes.push(format!(
                "a list {name:?} that is not {bands} numbers, one a band; it is left aside"
            ));
        }
        values
    };
    let (centres, widths, good) = (of_bands("wavelength"), of_bands("fwhm"), of_bands("bbl"));
    if let Some(centres) = centres {
        let unit = fields.get("wavelength units").map(String::as_str);
        match wavelength::read(&centres, widths, unit) {
            Some(found) => {
                notes.extend(found.note);
                fields.remove("wavelength");
                fields.remove("wavelength units");
                if found.fwhm.is_some() {
                    fields.remove("fwhm");
                }
                metadata.wavelengths = Some(found.centres);
                metadata.fwhm = found.fwhm;
            }
            None => {
                notes.push("a list \"wavelength\" that holds no wavelengths; it is left aside".to_owned())
            }
        }
    }
    if let Some(good) = good {
        metadata.bad_bands = Some(good.iter().map(|&x| x == 0.0).collect());
        fields.remove("bbl");
    }
    if let Some(value) = fields.get("band names") {
        let names: Vec<String> = list(value).into_iter().map(str::to_owned).collect();
        if names.len() == bands {
            metadata.band_names = Some(names);
            fields.remove("band names");
        }
    }
    if metadata.wavelengths.is_none() && !fields.contains_key("wavelength") {
        metadata.wavelengths = metadata.band_names.as_deref().and_then(wavelength::from_names);
    }
    metadata.nodata = fields
        .get("data ignore value")
        .and_then(|v| numbers(v, 1))
        .map(|v| v[0]);
    if metadata.nodata.is_some() {
        fields.remove("data ignore value");
    }
    metadata.grid = envi_map::take(&mut fields);
    metadata.extra = fields;
    metadata
}

/// The type that an image of this type is written as: ENVI has no signed bytes and no half precision.
pub(crate) fn written_kind(kind: SampleType) -> SampleType {
    match kind {
        SampleType::I8 => SampleType::I16,
        SampleType::F16 => SampleType::F32,
        other => other,
    }
}

/// A value as one that a header can hold: line breaks only inside braces.
fn value_text(value: &str) -> String {
    let inside = value.strip_prefix('{').and_then(|v| v.strip_suffix('}'));
    match inside {
        Some(inside) if !inside.contains(['{', '}']) => value.to_owned(),
        _ => value.replace(['\n', '\r', '{', '}'], " ").trim().to_owned(),
    }
}

/// The header text for an image whose data lie as `interleave` in little-endian order.
pub(crate) fn write(
    (rows, columns, bands): (usize, usize, usize),
    kind: SampleType,
    metadata: &Metadata,
    interleave: Interleave,
) -> String {
    let code = TYPES
        .iter()
        .find(|(_, k)| *k == kind)
        .map_or(4, |(code, _)| *code);
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
    if let Some(description) = metadata.extra.get("description") {
        add("description", value_text(description));
    }
    add("samples", columns.to_string());
    add("lines", rows.to_string());
    add("bands", bands.to_string());
    add("header offset", "0".to_owned());
    add("file type", "ENVI Standard".to_owned());
    add("data type", code.to_string());
    add("interleave", interleave.name().to_owned());
    add("byte order", "0".to_owned());
    if let Some(value) = metadata.nodata {
        add("data ignore value", value.to_string());
    }
    for (name, value) in metadata.grid.iter().flat_map(envi_map::fields) {
        add(&name, value_text(&value));
    }
    let braced =
        |values: &mut dyn Iterator<Item = String>| format!("{{{}}}", values.collect::<Vec<_>>().join(", "));
    if let Some(names) = &metadata.band_names {
        // A comma would end the name, a brace the list.
        let clean = |n: &String| n.replace([',', '{', '}', '\n', '\r'], " ");
        add("band names", braced(&mut names.iter().map(clean)));
    }
    if let Some(wavelengths) = &metadata.wavelengths {
        add("wavelength units", "Nanometers".to_owned());
        add("wavelength", braced(&mut wavelengths.iter().map(f64::to_string)));
    }
    if let Some(fwhm) = &metadata.fwhm {
        add("fwhm", braced(&mut fwhm.iter().map(f64::to_string)));
    }
    if let Some(bad) = &metadata.bad_bands {
        add(
            "bbl",
            braced(&mut bad.iter().map(|&bad| u8::from(!bad).to_string())),
        );
    }
    let written: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
    for (name, value) in &metadata.extra {
        let usable = !name.is_empty() && !name.contains(['=', '\n', '\r', ';']);
        if usable && !written.contains(name) && !STRUCTURE.contains(&name.as_str()) {
            fields.push((name.clone(), value_text(value)));
        }
    }
    let mut text = String::from("ENVI\n");
    for (name, value) in fields {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str =
        "ENVI\nsamples = 3\nLines=2\n bands  = 2\nData  Type = 12\ninterleave = BIL\nbyte order = 1\n";

    #[test]
    fn fields_in_any_dress() {
        let header = Header::parse(&format!(
            "{BASE}; a comment = 5\nheader offset = 16\nwavelength units = Micrometers\nwavelength = {{\n 0.45,\n 1.1}}\n\
             fwhm = {{0.01, 0.02}}\nband names = {{red, near infrared}}\ndata ignore value = -9999\n\
             map info = {{UTM, 1.000, 1.000, 2, 3}}\nbbl = {{1, 0}}\nsensor type = AVIRIS\n"
        ))
        .unwrap();
        assert_eq!(header.dim, [2, 3, 2]);
        assert_eq!(header.interleave, Some(Interleave::Bil));
        assert_eq!(header.kind, SampleType::U16);
        assert_eq!(header.order, ByteOrder::Big);
        assert_eq!(header.notes, [""; 0]);
        assert_eq!(header.offset, 16);
        let m = header.metadata;
        assert_eq!(m.wavelengths, Some(vec![450.0, 1100.0]));
        assert_eq!(m.fwhm, Some(vec![10.0, 20.0]));
        assert_eq!(
            m.band_names,
            Some(vec!["red".to_owned(), "near infrared".to_owned()])
        );
        assert_eq!(m.nodata, Some(-9999.0));
        let fields = envi_map::fields(&m.grid.unwrap());
        assert_eq!(fields["map info"], "{UTM, 1.000, 1.000, 2, 3}");
        assert_eq!(m.bad_bands, Some(vec![false, true]));
        assert_eq!(m.extra["sensor type"], "AVIRIS");
        assert_eq!(m.extra.len(), 1);
    }

    #[test]
    fn wavelengths_without_a_unit_are_told_by_size() {
        let of = |field: &str| {
            Header::parse(&format!("{BASE}{field}\n"))
                .unwrap()
                .metadata
                .wavelengths
        };
        assert_eq!(of("wavelength = {0.4, 2.5}"), Some(vec![400.0, 2500.0]));
        assert_eq!(of("wavelength = {400, 2500}"), Some(vec![400.0, 2500.0]));
        let of_unit = |unit: &str| of(&format!("wavelength = {{400, 2500}}\nwavelength units = {unit}"));
        assert_eq!(of_unit("Index"), None);
        assert_eq!(of_unit("Wavenumber"), Some(vec![25000.0, 4000.0]));
        let unknown = "wavelength = {0.4, 2.5}\nwavelength units = Unknown";
        assert_eq!(of(unknown), Some(vec![400.0, 2500.0]));
        let notes = Header::parse(&format!("{BASE}{unknown}\n")).unwrap().notes;
        assert!(notes[0].contains("micrometres"), "{notes:?}");
    }

    #[test]
    fn what_is_missing_is_taken_for_granted_with_a_note() {
        let header =
            Header::parse("\u{feff}envi\nSAMPLES = 3\nLINES = 2\nBANDS = 2\nDATA TYPE = 12\n").unwrap();
        assert_eq!((header.interleave, header.order), (None, ByteOrder::Little));
        assert_eq!((header.dim, header.offset), ([2, 3, 2], 0));
        assert_eq!(header.notes.len(), 1);
        // A byte has no order.
        let bytes = Header::parse("ENVI\nsamples = 3\nlines = 2\ndata type = 1\n").unwrap();
        assert_eq!((bytes.dim, bytes.notes.len()), ([2, 3, 1], 0));
    }

    #[test]
    fn lists_in_any_dress() {
        for dress in [
            "{400, 2500}",
            "{400, 2500, }",
            "{400,\n; a comment, with } in it\n2500,\n}",
            "[400, 2500]",
            "[400,\n 2500,]",
            "{400 2500}",
        ] {
            let header = Header::parse(&format!(
                "{BASE}wavelength units = nm\nwavelength = {dress}\nfwhm = {{1, 2,}}\nbbl = {{1, 0,}}\nband names = {{a, b,}}\n"
            ))
            .unwrap();
            let m = header.metadata;
            assert_eq!(m.wavelengths, Some(vec![400.0, 2500.0]), "{dress}");
            assert_eq!(m.fwhm, Some(vec![1.0, 2.0]));
            assert_eq!(m.bad_bands, Some(vec![false, true]));
            assert_eq!(m.band_names, Some(vec!["a".to_owned(), "b".to_owned()]));
            assert_eq!(header.notes, [""; 0]);
        }
    }

    #[test]
    fn lists_that_do_not_fit_are_kept_as_text() {
        let header = Header::parse(&format!("{BASE}wavelength = {{1, 2, 3}}\nbbl = {{1}}\n")).unwrap();
        assert_eq!(header.notes.len(), 2, "{:?}", header.notes);
        let m = Header::parse(&format!("{BASE}wavelength = {{1, 2, 3}}\nband names = {{a}}\n"))
            .unwrap()
            .metadata;
        assert_eq!((m.wavelengths, m.band_names), (None, None));
        assert_eq!(m.extra["wavelength"], "{1, 2, 3}");
        assert_eq!(m.extra["band names"], "{a}");
    }

    #[test]
    fn unusable_headers_say_why() {
        let with = |more: &str| Header::parse(&format!("{BASE}{more}\n")).unwrap_err();
        assert!(with("data type = 6").contains("complex"));
        assert!(with("data type = 7").contains("unknown"));
        assert!(with("lines = -3").contains("whole number"));
        assert!(with("interleave = xyz").contains("bsq, bil or bip"));
        assert!(with("byte order = 2").contains("byte order"));
        assert!(with("file compression = 1").contains("compressed"));
        assert!(with("map info = {a, b").contains("closing brace"));
        assert!(
            Header::parse("ENVI\nlines = 3\n")
                .unwrap_err()
                .contains("missing")
        );
        assert!(Header::parse("other\n").unwrap_err().contains("first line"));
    }

    #[test]
    fn what_is_written_reads_back() {
        let kind = SampleType::F32;
        let metadata = Header::parse(&format!(
            "{BASE}wavelength = {{400.5, 2500}}\nfwhm = {{1e-3, 2}}\nband names = {{a, b}}\ndata ignore value = -1.5\n\
             description = {{two\n lines}}\nmap info = {{UTM, 1}}\nbbl = {{1, 0}}\n"
        ))
        .unwrap()
        .metadata;
        let back = Header::parse(&write((2, 3, 2), kind, &metadata, Interleave::Bip)).unwrap();
        assert_eq!(back.metadata, metadata);
        assert_eq!(back.interleave, Some(Interleave::Bip));
        assert_eq!(back.dim, [2, 3, 2]);
    }

    #[test]
    fn hostile_metadata_cannot_add_fields() {
        let kind = SampleType::F32;
        let mut metadata = Metadata {
            band_names: Some(vec!["a}\nlines = 9".to_owned(), "b".to_owned()]),
            ..Metadata::default()
        };
        metadata
            .extra
            .insert("note".to_owned(), "x\nlines = 9".to_owned());
        metadata.extra.insert("lines".to_owned(), "9".to_owned());
        let back = Header::parse(&write((2, 3, 2), kind, &metadata, Interleave::Bsq)).unwrap();
        assert_eq!(back.dim, [2, 3, 2]);
    }
}
