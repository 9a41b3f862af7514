//! The fields of an ENVI header that place the image on the ground, and [`Grid`]. What was read from an ENVI header and
//! not changed since is written as it stood; everything else becomes a `map info` and, where the reference system is
//! known, a `coordinate system string`.

use std::collections::BTreeMap;

use super::crs;
use crate::cube::grid::{Grid, Source, Transform};

/// Fields that place the pixel grid on the ground.
const FIELDS: [&str; 9] = [
    "map info",
    "coordinate system string",
    "projection info",
    "pixel size",
    "geo points",
    "rpc info",
    "x start",
    "y start",
    "geo transform",
];

/// Takes the fields that place the image out of a header's.
pub(super) fn take(fields: &mut BTreeMap<String, String>) -> Option<Grid> {
    let own: BTreeMap<String, String> = FIELDS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), fields.remove(*name)?)))
        .collect();
    if own.is_empty() {
        return None;
    }
    let info = own.get("map info").map(|text| parts(text)).unwrap_or_default();
    let wkt = own
        .get("coordinate system string")
        .map(|text| text.trim().trim_start_matches('{').trim_end_matches('}').trim())
        .filter(|text| !text.is_empty())
        .map(str::to_owned);
    Some(Grid {
        transform: transform(&info),
        epsg: epsg(&info).or_else(|| wkt.as_deref().and_then(crs::epsg)),
        wkt,
        source: Source::Envi(own),
    })
}

fn parts(text: &str) -> Vec<&str> {
    let inside = text.trim().trim_start_matches('{').trim_end_matches('}');
    inside.split(',').map(str::trim).collect()
}

/// The value of a `name=value` part.
fn named<'a>(info: &[&'a str], name: &str) -> Option<&'a str> {
    info.iter().find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// `map info` names a reference pixel, counted from 1 at the outer corner of the first pixel (so 1.5 is its centre), its
/// coordinates, the pixel size, and perhaps an angle in degrees by which the grid is turned counter-clockwise. One of 180
/// is how GDAL writes an image whose rows run north: its columns run east all the same.
fn transform(info: &[&str]) -> Option<Transform> {
    let number = |at: usize| info.get(at)?.parse::<f64>().ok();
    let (column, row) = (number(1)? - 1.0, number(2)? - 1.0);
    let (x, y) = (number(3)?, number(4)?);
    let (width, height) = (number(5)?, number(6)?);
    let turn = named(info, "rotation").and_then(|text| text.parse::<f64>().ok());
    let [a, b, c, d] = match turn.filter(|&degrees| degrees != 0.0) {
        None => [width, 0.0, 0.0, -height],
        Some(180.0) => [width, 0.0, 0.0, height],
        Some(degrees) => {
            let (sin, cos) = (-degrees).to_radians().sin_cos();
            [cos * width, -sin * width, -sin * height, -cos * height]
        }
    };
    Transform::new([x - a * column - b * row, a, b, y - c * column - d * row, c, d])
}

fn epsg(info: &[&str]) -> Option<u32> {
    let wgs84 = info.iter().any(|part| {
        let name: String = part.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        name.eq_ignore_ascii_case("wgs84")
    });
    if !wgs84 {
        return None;
    }
    match info.first()?.to_lowercase().as_str() {
        "utm" => {
            let zone: u32 = info.get(7)?.parse().ok().filter(|zone| (1..=60).contains(zone))?;
            match info.get(8)?.to_lowercase().as_str() {
                "north" => Some(32600 + zone),
                "south" => Some(32700 + zone),
                _ => None,
            }
        }
        "geographic lat/lon" => Some(4326),
        _ => None,
    }
}

/// The fields to write for a grid. What a header cannot say of it, [`lost`] names.
pub(super) fn fields(grid: &Grid) -> BTreeMap<String, String> {
    let own = match &grid.source {
        Source::Envi(own) => own.clone(),
        Source::GeoTiff(_) => BTreeMap::new(),
    };
    let info = own.get("map info").map(|text| parts(text)).unwrap_or_default();
    let mut fields = own.clone();
    let Some(to) = grid.transform else {
        return fields;
    };
    if transform(&info) != Some(to) {
        match map_info(grid, &info, to) {
            Some(text) => fields.insert("map info".to_owned(), text),
            None => fields.remove("map info"),
        };
    }
    if !fields.contains_key("coordinate system string")
        && let Some(text) = grid.wkt.clone().or_else(|| grid.epsg.and_then(well_known_text))
        && matches!(grid.source, Source::GeoTiff(_))
        // A list in a header ends at its first closing brace.
        && !text.contains(['{', '}', '\n', '\r'])
    {
        fields.insert("coordinate system string".to_owned(), format!("{{{text}}}"));
    }
    fields
}

/// A `map info` for the transform `to` with what `old`, the file's own, says of the projection; `None` for a grid that is
/// sheared, which it cannot say.
fn map_info(grid: &Grid, old: &[&str], to: Transform) -> Option<String> {
    let t = to.0;
    let straight = t[2] == 0.0 && t[4] == 0.0;
    let (width, height) = if straight {
        (t[1], -t[5])
    } else {
        (t[1].hypot(t[2]), t[4].hypot(t[5]))
    };
    let mut text = vec![
        old.first()
            .map_or_else(|| projection(grid.epsg).0, |name| (*name).to_owned()),
        "1".to_owned(),
        "1".to_owned(),
        t[0].to_string(),
        t[3].to_string(),
        width.to_string(),
        height.to_string(),
    ];
    match old.get(7..) {
        Some(further) => text.extend(further.iter().map(|part| (*part).to_owned())),
        None => text.extend(projection(grid.epsg).1),
    }
    text.retain(|part| !part.to_lowercase().starts_with("rotation"));
    if !straight {
        let degrees = -(-t[2]).atan2(t[1]).to_degrees();
        text.push(format!("rotation={degrees}"));
    }
    let written: Vec<&str> = text.iter().map(String::as_str).collect();
    let back = transform(&written)?;
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * width.abs().max(height.abs());
    (0..6)
        .all(|k| near(back.0[k], t[k]))
        .then(|| format!("{{{}}}", text.join(", ")))
}

/// Name of a projection in `map info`, and what stands after the numbers.
fn projection(epsg: Option<u32>) -> (String, Vec<String>) {
    let text = |name: &str, further: &[&str]| {
        (
            name.to_owned(),
            further.iter().map(|part| (*part).to_owned()).collect(),
        )
    };
    match epsg {
        Some(4326) => text("Geographic Lat/Lon", &["WGS-84", "units=Degrees"]),
        Some(code) => match utm(code) {
            Some((zone, half)) => text("UTM", &[&zone.to_string(), half, "WGS-84", "units=Meters"]),
            None => text("Arbitrary", &[]),
        },
        None => text("Arbitrary", &[]),
    }
}

/// Zone and hemisphere of a UTM system on WGS 84.
fn utm(code: u32) -> Option<(u32, &'static str)> {
    match code {
        32601..=32660 => Some((code - 32600, "North")),
        32701..=32760 => Some((code - 32700, "South")),
        _ => None,
    }
}

/// The well-known text of a reference system: as ENVI and ArcGIS write it for those of GPS, else as EPSG has it.
fn well_known_text(epsg: u32) -> Option<String> {
    let geographic = "GEOGCS[\"GCS_WGS_1984\",DATUM[\"D_WGS_1984\",SPHEROID[\"WGS_1984\",6378137.0,298.257223563]],\
         PRIMEM[\"Greenwich\",0.0],UNIT[\"Degree\",0.0174532925199433]]";
    if epsg == 4326 {
        return Some(geographic.to_owned());
    }
    let Some((zone, half)) = utm(epsg) else {
        return crs::text(epsg).map(str::to_owned);
    };
    let (letter, northing) = if half == "North" {
        ('N', "0.0")
    } else {
        ('S', "10000000.0")
    };
    let meridian = 6 * i64::from(zone) - 183;
    Some(format!(
        "PROJCS[\"WGS_1984_UTM_Zone_{zone}{letter}\",{geographic},PROJECTION[\"Transverse_Mercator\"],\
         PARAMETER[\"False_Easting\",500000.0],PARAMETER[\"False_Northing\",{northing}],\
         PARAMETER[\"Central_Meridian\",{meridian}.0],PARAMETER[\"Scale_Factor\",0.9996],\
         PARAMETER[\"Latitude_Of_Origin\",0.0],UNIT[\"Meter\",1.0]]"
    ))
}

/// What an ENVI header cannot say of this grid.
pub(super) fn lost(grid: &Grid) -> Option<&'static str> {
    if matches!(grid.source, Source::Envi(_)) {
        return None;
    }
    let written = fields(grid);
    if !written.contains_key("map info") {
        return Some("georeference");
    }
    let nameless = grid.names_crs() && !written.contains_key("coordinate system string");
    nameless.then_some("coordinate reference system")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cube::grid::GeoTiffTags;

    fn read(info: &str) -> Grid {
        take(&mut BTreeMap::from([("map info".to_owned(), info.to_owned())])).unwrap()
    }

    #[test]
    fn the_reference_pixel_is_counted_from_one_at_the_corner() {
        let corner = read("{UTM, 1.000, 1.000, 500000.0, 4400000.0, 20.0, 20.0, 16, North, WGS-84}");
        let expected = [500_000.0, 20.0, 0.0, 4_400_000.0, 0.0, -20.0];
        assert_eq!(corner.transform.unwrap().0, expected);
        assert_eq!(corner.epsg, Some(32616));
        let centre = read("{UTM, 1.5, 1.5, 500010, 4399990, 20, 20, 16, South, WGS84}");
        assert_eq!(centre.transform.unwrap().0, expected);
        assert_eq!(centre.epsg, Some(32716));
        let inside = read("{Geographic Lat/Lon, 3, 5, 10.5, 50.25, 0.5, 0.25, WGS-84, units=Degrees}");
        assert_eq!(inside.transform.unwrap().0, [9.5, 0.5, 0.0, 51.25, 0.0, -0.25]);
        assert_eq!(inside.epsg, Some(4326));
        assert_eq!(read("{UTM, 1, 1, 0, 0, 1, 1, 16, North, NAD27}").epsg, None);
        assert_eq!(read("{UTM, fine grid}").transform, None);
        assert_eq!(take(&mut BTreeMap::new()), None);
    }

    #[test]
    fn a_turned_grid_is_turned_about_its_reference_pixel() {
        // A quarter turn: east along the columns becomes along the rows.
        let grid = read("{UTM, 2, 1, 100, 200, 10, 10, 16, North, WGS-84, rotation=90}");
        let (x, y) = grid.transform.unwrap().world(1.0, 0.0);
        assert!((x - 100.0).abs() < 1e-12 && (y - 200.0).abs() < 1e-12);
        assert_eq!(grid.transform.unwrap().pixel_size(), None);
        let part = grid.cropped(3, 4).unwrap();
        let back = take(&mut fields(&part)).unwrap();
        for k in 0..6 {
            assert!((back.transform.unwrap().0[k] - part.transform.unwrap().0[k]).abs() < 1e-9);
        }
    }

    #[test]
    fn half_a_turn_is_rows_that_run_north() {
        let grid = read("{UTM, 1, 1, 500, 4000, 30, 30, 33, North,WGS-84, rotation=180}");
        assert_eq!(grid.transform.unwrap().0, [500.0, 30.0, 0.0, 4000.0, 0.0, 30.0]);
        let part = grid.cropped(1, 2).unwrap();
        let back = take(&mut fields(&part)).unwrap();
        assert_eq!(back.transform.unwrap().0, [560.0, 30.0, 0.0, 4030.0, 0.0, 30.0]);
    }

    #[test]
    fn what_was_not_touched_is_written_as_it_stood() {
        let mut header = BTreeMap::from([
            (
                "map info".to_owned(),
                "{UTM , 1.500, 1.5,0500010.00, 4399990, 20, 20, 16, North, WGS-84}".to_owned(),
            ),
            (
                "coordinate system string".to_owned(),
                "{PROJCS[\"x\"]}".to_owned(),
            ),
            ("rpc info".to_owned(), "{1, 2}".to_owned()),
        ]);
        let before = header.clone();
        let grid = take(&mut header).unwrap();
        assert_eq!(fields(&grid), before);
        assert_eq!(grid.wkt.as_deref(), Some("PROJCS[\"x\"]"));
        let part = fields(&grid.cropped(1, 2).unwrap());
        assert_eq!(
            part["map info"],
            "{UTM, 1, 1, 500040, 4399980, 20, 20, 16, North, WGS-84}"
        );
        assert_eq!(part.len(), 2);
    }

    #[test]
    fn a_grid_of_another_format_becomes_a_map_info_or_is_lost() {
        let of = |epsg: Option<u32>, t: [f64; 6]| Grid {
            transform: Transform::new(t),
            epsg,
            wkt: None,
            source: Source::GeoTiff(GeoTiffTags {
                keys: vec![1, 1, 0, 1, 3072, 0, 1, 1],
                ..GeoTiffTags::default()
            }),
        };
        let straight = [1e5 + 0.1, 30.0, 0.0, 4e6, 0.0, -30.0];
        for epsg in [4326, 32633, 32733, 3035, 2056, 25832] {
            let grid = of(Some(epsg), straight);
            let back = take(&mut fields(&grid)).unwrap();
            assert_eq!((back.transform, back.epsg), (grid.transform, Some(epsg)));
            assert_eq!(lost(&grid), None);
        }
        assert_eq!(
            lost(&of(Some(32633), [0.0, 20.0, 9.0, 0.0, 5.0, -20.0])),
            Some("georeference")
        );
    }
}
