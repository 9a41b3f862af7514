//! What GDAL keeps of an image in a file beside it (`.aux.xml`): no-data value, names, wavelengths, scale and offset of its bands,
//! and its place on the ground. As in GDAL, it goes before what the image itself says.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use roxmltree::Node;

use super::gdal::{self, Items};
use crate::cube::Metadata;
use crate::cube::grid::{GeoTiffTags, Grid, Source, Transform};
use crate::io::{crs, xml};

/// What elements of bands are called, here and in the texts of virtual images.
const BANDS: [&str; 2] = ["PAMRasterBand", "VRTRasterBand"];
/// Longest file that is read.
const LONGEST: u64 = 1 << 24;

/// The text of such a file, if there is one.
pub(super) fn text(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children()
        .find(|n| n.has_tag_name(name))?
        .text()
        .map(str::trim)
}

/// Items of the metadata elements under a node: their names and values.
fn items<'a>(node: Node<'a, 'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    node.children()
        .filter(|n| n.has_tag_name("Metadata"))
        .flat_map(|metadata| metadata.children().filter(|n| n.has_tag_name("MDI")))
        .filter_map(|item| Some((item.attribute("key")?, item.text()?)))
        // What GDAL has measured, and how it counts the grid.
        .filter(|(name, _)| !name.starts_with("STATISTICS_") && *name != "AREA_OR_POINT")
}

/// Fills in what the text says of an image of `bands` bands; one that is no such XML says nothing.
pub(crate) fn read(xml: &str, bands: usize, metadata: &mut Metadata) {
    let Ok(document) = xml::parse(xml) else {
        return;
    };
    let root = document.root_element();
    let mut found = Items::default();
    for (name, value) in items(root) {
        found.add_image(name, value.to_owned());
    }
    for band in root.children().filter(|n| BANDS.contains(&n.tag_name().name())) {
        let number = band.attribute("band").and_then(|text| text.parse::<usize>().ok());
        let Some(number) = number.and_then(|n| n.checked_sub(1)).filter(|&n| n < bands) else {
            continue;
        };
        for (name, value) in items(band) {
            found.add(number, name, value.to_owned());
        }
        for (element, name) in [
            ("Description", "role description"),
            ("Scale", "role scale"),
            ("Offset", "role offset"),
        ] {
            if let Some(value) = child(band, element) {
                found.add(number, name, value.to_owned());
            }
        }
        if number == 0
            && let Some(value) = child(band, "NoDataValue").and_then(gdal::nodata)
        {
            metadata.nodata = Some(value);
        }
    }
    found.fill(bands, metadata);
    let transform = child(root, "GeoTransform").and_then(|text| {
        let numbers: Vec<f64> = text.split(',').filter_map(|x| x.trim().parse().ok()).collect();
        Transform::new(numbers.try_into().ok()?)
    });
    let wkt = child(root, "SRS").filter(|text| !text.is_empty());
    if metadata.grid.is_none() && (transform.is_some() || wkt.is_some()) {
        metadata.grid = Some(Grid {
            transform,
            epsg: wkt.and_then(crs::epsg),
            wkt: wkt.map(str::to_owned),
            source: Source::GeoTiff(GeoTiffTags::default()),
        });
    }
}
