//! Coordinate reference systems as map projections, in whatever words a file names them: an EPSG code, well-known text,
//! GeoTIFF's keys, or ENVI's fields. Two words for one system are the same map, and that is how they are known for one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proj4rs::Proj;
use proj4rs::transform::transform;

use crate::cube::grid::{GeoKey, GeoTiffTags, Grid, Source};

/// A reference system whose mathematics are known.
pub(super) struct System {
    proj: Proj,
    /// Whether the definition says where its ellipsoid lies on the Earth.
    has_datum: bool,
}

impl System {
    /// The system of a grid; `None` where its words are not understood.
    pub(super) fn of(grid: &Grid) -> Option<System> {
        let code = grid.epsg.and_then(|code| u16::try_from(code).ok());
        let by_code = code.and_then(definition);
        let by_text = || proj4wkt::wkt_to_projstring(grid.wkt.as_deref()?).ok();
        let by_fields = || match &grid.source {
            Source::GeoTiff(tags) => of_keys(tags),
            Source::Envi(fields) => of_envi(fields),
        };
        [by_code, by_text(), by_fields()]
            .into_iter()
            .flatten()
            .find_map(|text| System::parse(&text))
    }

    fn parse(definition: &str) -> Option<System> {
        Some(System {
            proj: Proj::from_proj_string(definition).ok()?,
            has_datum: ["+towgs84=", "+datum=", "+nadgrids="]
                .iter()
                .any(|word| definition.contains(word)),
        })
    }

    /// Where a point of this system lies in another one, in the units of their grids; `None` where one of the projections
    /// has no value there. Where a definition names no datum, both are taken to have the same.
    pub(super) fn to(&self, other: &System, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let mut point = (x, y, 0.0);
        if self.proj.is_latlong() {
            (point.0, point.1) = (x.to_radians(), y.to_radians());
        }
        transform(&self.proj, &other.proj, &mut point).ok()?;
        Some(if other.proj.is_latlong() {
            (point.0.to_degrees(), point.1.to_degrees())
        } else {
            (point.0, point.1)
        })
    }

    /// Whether both stand on one ellipsoid.
    pub(super) fn same_ellipsoid(&self, other: &System) -> bool {
        let (a, b) = (self.proj.ellipse_parameters(), other.proj.ellipse_parameters());
        (a.0 - b.0).abs() < 0.01 && (a.1 - b.1).abs() < 0.01
    }

    /// Whether points can be brought from one system to the other: both datums are known, or neither is and their
    /// ellipsoids are the same.
    pub(super) fn comparable(&self, other: &System) -> bool {
        match (self.has_datum, other.has_datum) {
            (true, true) => true,
            (false, false) => self.same_ellipsoid(other),
            _ => false,
        }
    }
}

/// The definition of an EPSG code.
fn definition(code: u16) -> Option<String> {
    let found = match code {
        // On a sphere whose datum is that of its ellipsoid: as a text says it, too.
        3857 => Some(crs_definitions::EPSG_3857_WEBMERC),
        code => crs_definitions::from_code(code),
    };
    found.map(|found| found.proj4.to_owned())
}

/// A definition from a projection and its parameters, those that are zero left out.
fn written(projection: &str, parameters: &[(&str, f64)], rest: &str) -> String {
    let mut text = format!("+proj={projection}");
    for (name, value) in parameters.iter().filter(|(_, value)| *value != 0.0) {
        // Writing to a text does not fail.
        let _ok = write!(text, " +{name}={value}");
    }
    format!("{text} {rest}")
}

/// What a definition says of its ellipsoid and datum.
fn datum_of(definition: &str) -> String {
    let words = [
        "+ellps=",
        "+datum=",
        "+towgs84=",
        "+nadgrids=",
        "+a=",
        "+b=",
        "+rf=",
        "+R=",
        "+pm=",
    ];
    let own = definition
        .split_whitespace()
        .filter(|part| words.iter().any(|word| part.starts_with(word)));
    own.collect::<Vec<_>>().join(" ")
}

/// The shift of an ellipsoid that lies as that of WGS 84 does, to some metres at worst.
const NO_SHIFT: &str = "+towgs84=0,0,0,0,0,0,0";

/// An ellipsoid by its axis and inverse flattening, with a datum where it is one that only geocentric datums have.
fn ellipsoid(a: f64, inverse_flattening: f64) -> String {
    let geocentric = (a - 6_378_137.0).abs() < 0.5 && (inverse_flattening - 298.257).abs() < 0.001;
    let shape = match inverse_flattening {
        0.0 => format!("+R={a}"),
        _ => format!("+a={a} +rf={inverse_flattening}"),
    };
    if geocentric {
        format!("{shape} {NO_SHIFT}")
    } else {
        shape
    }
}

/// GeoTIFF's keys (OGC 19-008) of a system that has no code of its own.
fn of_keys(tags: &GeoTiffTags) -> Option<String> {
    const USER_DEFINED: u16 = 32767;
    let number = |key: u16| {
        tags.entries().find_map(|(k, value)| match value {
            GeoKey::Doubles([x, ..]) if k == key => Some(*x),
            _ => None,
        })
    };
    let code = |key: u16| tags.short(key).filter(|&code| code != 0 && code != USER_DEFINED);
    let datum = match code(2048).and_then(definition) {
        Some(found) => datum_of(&found),
        None => ellipsoid(number(2057)?, number(2059)?),
    };
    // Units are metres unless a key says otherwise, and false origins are in them.
    let (unit, metres) = match tags.short(3076) {
        None | Some(9001) => ("m", 1.0),
        Some(9002) => ("ft", 0.3048),
        Some(9003) => ("us-ft", 1200.0 / 3937.0),
        Some(_) => return None,
    };
    let rest = format!("{datum} +units={unit}");
    match code(3074) {
        Some(zone @ 16001..=16060) => return Some(format!("+proj=utm +zone={} {rest}", zone - 16000)),
        Some(zone @ 16101..=16160) => return Some(format!("+proj=utm +south +zone={} {rest}", zone - 16100)),
        _ => {}
    }
    let first = |keys: &[u16]| keys.iter().find_map(|&key| number(key)).unwrap_or(0.0);
    let latitude = first(&[3081, 3085, 3089]);
    let mut parameters = vec![
        ("lon_0", first(&[3080, 3084, 3088, 3095])),
        ("x_0", first(&[3082, 3086, 3090]) * metres),
        ("y_0", first(&[3083, 3087, 3091]) * metres),
        ("k_0", first(&[3092, 3093])),
    ];
    let parallels = [("lat_1", first(&[3078])), ("lat_2", first(&[3079]))];
    let projection = match tags.short(3075)? {
        1 => "tmerc",
        7 => {
            parameters.push(("lat_ts", parallels[0].1));
            "merc"
        }
        8 | 11 => {
            parameters.extend(parallels);
            if tags.short(3075) == Some(8) { "lcc" } else { "aea" }
        }
        9 => {
            parameters.push(("lat_1", latitude));
            "lcc"
        }
        10 => "laea",
        12 => "aeqd",
        15 => {
            parameters.extend([("lat_ts", latitude), ("lat_0", 90.0_f64.copysign(latitude))]);
            return Some(written("stere", &parameters, &rest));
        }
        16 => "sterea",
        24 => "sinu",
        _ => return None,
    };
    parameters.push(("lat_0", latitude));
    Some(written(projection, &parameters, &rest))
}

/// ENVI's `projection info`: number of the projection, axes of the ellipsoid, then what the projection asks for.
fn of_envi(fields: &BTreeMap<String, String>) -> Option<String> {
    let text = fields.get("projection info")?.trim_matches(['{', '}', ' ']);
    let numbers: Vec<f64> = text
        .split(',')
        .map_while(|part| part.trim().parse().ok())
        .collect();
    let (&[kind, a, b], further) = numbers.split_first_chunk::<3>()?;
    let &[latitude, longitude, east, north, ref own @ ..] = further else {
        return None;
    };
    let mut parameters = vec![
        ("lat_0", latitude),
        ("lon_0", longitude),
        ("x_0", east),
        ("y_0", north),
    ];
    let projection = match (kind as i64, own) {
        (3, [scale, ..]) => {
            parameters.push(("k_0", *scale));
            "tmerc"
        }
        (4 | 9, [first, second, ..]) => {
            parameters.extend([("lat_1", *first), ("lat_2", *second)]);
            if kind == 4.0 { "lcc" } else { "aea" }
        }
        (11, _) => "laea",
        (12, _) => "aeqd",
        (31, _) => {
            parameters[0] = ("lat_0", 90.0_f64.copysign(latitude));
            parameters.push(("lat_ts", latitude));
            "stere"
        }
        _ => return None,
    };
    let inverse_flattening = if a == b { 0.0 } else { a / (a - b) };
    let units = if text.to_lowercase().contains("units=feet") {
        "+units=ft"
    } else {
        "+units=m"
    };
    Some(written(
        projection,
        &parameters,
        &format!("{} {units}", ellipsoid(a, inverse_flattening)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(epsg: Option<u32>, wkt: Option<&str>, source: Source) -> Grid {
        Grid {
            transform: None,
            epsg,
            wkt: wkt.map(str::to_owned),
            source,
        }
    }

    fn coded(code: u32) -> System {
        System::of(&grid(Some(code), None, Source::Envi(BTreeMap::new()))).unwrap()
    }

    fn same(a: &System, b: &System, at: (f64, f64), tolerance: f64) {
        assert!(a.same_ellipsoid(b));
        let to = a.to(b, at).unwrap();
        assert!((to.0 - at.0).hypot(to.1 - at.1) < tolerance, "{at:?} {to:?}");
    }

    // Each text as GDAL 3.10 writes it into an ENVI header (WKT1 of Esri).
    #[test]
    fn a_code_and_its_text_are_one_system() {
        let etrs = "GEOGCS[\"GCS_ETRS_1989\",DATUM[\"D_ETRS_1989\",SPHEROID[\"GRS_1980\",6378137.0,298.257222101]],PRIMEM[\"Greenwich\",0.0],UNIT[\"Degree\",0.0174532925199433]]";
        let swiss = "PROJCS[\"CH1903+_LV95\",GEOGCS[\"GCS_CH1903+\",DATUM[\"D_CH1903+\",SPHEROID[\"Bessel_1841\",6377397.155,299.1528128]],PRIMEM[\"Greenwich\",0.0],UNIT[\"Degree\",0.0174532925199433]],PROJECTION[\"Hotine_Oblique_Mercator_Azimuth_Center\"],PARAMETER[\"False_Easting\",2600000.0],PARAMETER[\"False_Northing\",1200000.0],PARAMETER[\"Scale_Factor\",1.0],PARAMETER[\"Azimuth\",90.0],PARAMETER[\"Longitude_Of_Center\",7.43958333333333],PARAMETER[\"Latitude_Of_Center\",46.9524055555556],UNIT[\"Meter\",1.0]]";
        let utm = format!(
            "PROJCS[\"ETRS_1989_UTM_Zone_32N\",{etrs},PROJECTION[\"Transverse_Mercator\"],PARAMETER[\"False_Easting\",500000.0],PARAMETER[\"False_Northing\",0.0],PARAMETER[\"Central_Meridian\",9.0],PARAMETER[\"Scale_Factor\",0.9996],PARAMETER[\"Latitude_Of_Origin\",0.0],UNIT[\"Meter\",1.0]]"
        );
        let europe = format!(
            "PROJCS[\"ETRS_1989_LAEA\",{etrs},PROJECTION[\"Lambert_Azimuthal_Equal_Area\"],PARAMETER[\"False_Easting\",4321000.0],PARAMETER[\"False_Northing\",3210000.0],PARAMETER[\"Central_Meridian\",10.0],PARAMETER[\"Latitude_Of_Origin\",52.0],UNIT[\"Meter\",1.0]]"
        );
        let web = "PROJCS[\"WGS_1984_Web_Mercator_Auxiliary_Sphere\",GEOGCS[\"GCS_WGS_1984\",DATUM[\"D_WGS_1984\",SPHEROID[\"WGS_1984\",6378137.0,298.257223563]],PRIMEM[\"Greenwich\",0.0],UNIT[\"Degree\",0.0174532925199433]],PROJECTION[\"Mercator_Auxiliary_Sphere\"],PARAMETER[\"False_Easting\",0.0],PARAMETER[\"False_Northing\",0.0],PARAMETER[\"Central_Meridian\",0.0],PARAMETER[\"Standard_Parallel_1\",0.0],PARAMETER[\"Auxiliary_Sphere_Type\",0.0],UNIT[\"Meter\",1.0]]";
        for (code, text, at) in [
            (25832, utm.as_str(), (620_000.0, 5_500_000.0)),
            (4258, etrs, (11.0, 48.0)),
            (2056, swiss, (2_700_000.0, 1_150_000.0)),
            (3035, &europe, (4_695_071.0, 2_761_514.0)),
            (3857, web, (1_300_000.0, 6_000_000.0)),
        ] {
            let told = System::of(&grid(None, Some(text), Source::Envi(BTreeMap::new())));
            same(&coded(code), &told.unwrap(), at, 0.01);
        }
    }

    #[test]
    fn keys_and_fields_without_a_code_are_the_system_that_they_describe() {
        // EPSG:3035 and 32633, told by their parameters.
        let keys = |entries: &[[u16; 4]], doubles: &[f64]| {
            let head = [1, 1, 0, entries.len() as u16];
            GeoTiffTags {
                keys: [head].iter().chain(entries).flatten().copied().collect(),
                doubles: doubles.to_vec(),
                ..GeoTiffTags::default()
            }
        };
        let user = [[3072, 0, 1, 32767], [2048, 0, 1, 4258]];
        let double = |key: u16, at: u16| [key, 34736, 1, at];
        let laea = [
            user[0],
            user[1],
            [3075, 0, 1, 10],
            double(3088, 0),
            double(3089, 1),
            double(3082, 2),
            double(3083, 3),
        ];
        let laea = keys(&laea, &[10.0, 52.0, 4_321_000.0, 3_210_000.0]);
        let told = System::of(&grid(None, None, Source::GeoTiff(laea))).unwrap();
        same(&coded(3035), &told, (4_695_071.0, 2_761_514.0), 0.001);
        let zone = [[3072, 0, 1, 32767], [2048, 0, 1, 4326], [3074, 0, 1, 16033]];
        let told = System::of(&grid(None, None, Source::GeoTiff(keys(&zone, &[])))).unwrap();
        same(&coded(32633), &told, (600_000.0, 5_300_000.0), 0.001);

        let info =
            "{11, 6378137.0, 6356752.314140356, 52, 10, 4321000, 3210000, ETRS89, europe, units=Meters}";
        let fields = BTreeMap::from([("projection info".to_owned(), info.to_owned())]);
        let told = System::of(&grid(None, None, Source::Envi(fields))).unwrap();
        same(&coded(3035), &told, (4_695_071.0, 2_761_514.0), 0.001);
        let nothing = grid(None, Some("LOCAL_CS[\"x\"]"), Source::Envi(BTreeMap::new()));
        assert!(System::of(&nothing).is_none());
    }

    #[test]
    fn a_datum_that_is_not_known_is_not_taken_for_another() {
        // The same projection on an ellipsoid that lies nobody knows where.
        let text = "PROJCS[\"x\",GEOGCS[\"y\",DATUM[\"z\",SPHEROID[\"International_1924\",6378388.0,297.0]],PRIMEM[\"Greenwich\",0.0],UNIT[\"Degree\",0.0174532925199433]],PROJECTION[\"Transverse_Mercator\"],PARAMETER[\"False_Easting\",500000.0],PARAMETER[\"False_Northing\",0.0],PARAMETER[\"Central_Meridian\",9.0],PARAMETER[\"Scale_Factor\",0.9996],PARAMETER[\"Latitude_Of_Origin\",0.0],UNIT[\"Meter\",1.0]]";
        let local = System::of(&grid(None, Some(text), Source::Envi(BTreeMap::new()))).unwrap();
        assert!(!local.comparable(&coded(32632)));
        assert!(local.comparable(&local));
    }
}
