//! What the files of two images say of their places: georeferences where both have one, else sizes.

use super::crs::System;
use super::geometry::{Base, Place};
use crate::cube::grid::{Grid, Source, Transform};
use crate::cube::strips::Strips;
use crate::error::{Error, Result};

/// How far the polynomial between two map projections may be off, pixels of the MSI.
const ROUGH: f64 = 0.02;
/// How far two wordings of one reference system may be apart, pixels of the MSI: what their digits leave.
const ONE: f64 = 1e-3;

/// An image, and what it is called in messages.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    /// The file.
    pub name: &'a str,
    /// The image.
    pub image: &'a dyn Strips,
}

impl Named<'_> {
    fn size(&self) -> [usize; 2] {
        let (rows, columns, _) = self.image.dim();
        [rows, columns]
    }

    fn grid(&self) -> Result<Option<(&Grid, Transform)>> {
        let Some(grid) = self.image.metadata().grid.as_ref() else {
            return Ok(None);
        };
        if let Some(transform) = grid.transform {
            return Ok(Some((grid, transform)));
        }
        let points = match &grid.source {
            Source::Envi(fields) => fields.keys().any(|k| k == "geo points" || k == "rpc info"),
            Source::GeoTiff(tags) => !tags.tiepoints.is_empty(),
        };
        if points {
            Err(Error::input(format!(
                "{}: placed by ground control points or RPCs alone; bring it to a grid first (gdalwarp -t_srs EPSG:..., with -rpc \
                 where it has RPCs), or place both images by their sizes with the setting ignore-georeference",
                self.name
            )))
        } else {
            Ok(None)
        }
    }
}

/// Where the HSI's places lie in the MSI as far as the files say, and whether they do: else both are taken to show the same
/// ground, as with `by_sizes` whatever their georeferences are.
///
/// # Errors
/// [`Error::Input`] with what to do, where an image has ground control points or RPCs alone, where two coordinate systems
/// differ and are not known well enough to be brought together, or where the images are far apart.
pub fn base(hsi: Named, msi: Named, by_sizes: bool) -> Result<(Base, bool)> {
    if !by_sizes && let (Some(from), Some(to)) = (hsi.grid()?, msi.grid()?) {
        return Ok((between(hsi, msi, from, to)?, true));
    }
    let ratio = [0, 1].map(|k| msi.size()[k] as f64 / hsi.size()[k].max(1) as f64);
    if ratio[0].max(ratio[1]) < 0.999 || ratio[0].min(ratio[1]) <= 0.0 {
        return Err(Error::input(format!(
            "{}: {} x {} pixels are fewer than the {} x {} of {}: the ratio is below 1 (are the two images swapped?)",
            msi.name,
            msi.size()[0],
            msi.size()[1],
            hsi.size()[0],
            hsi.size()[1],
            hsi.name
        )));
    }
    let base = Base::affine([0.0; 2], [[ratio[0], 0.0], [0.0, ratio[1]]]);
    Ok((base, false))
}

/// The inverse of a grid's map: the place at world coordinates.
fn place(t: Transform, (x, y): (f64, f64)) -> Place {
    let Transform([x0, a, b, y0, c, d]) = t;
    let determinant = a * d - b * c;
    let (x, y) = (x - x0, y - y0);
    [(a * y - c * x) / determinant, (d * x - b * y) / determinant]
}

/// What a file calls its coordinate system.
fn system_name(grid: &Grid) -> String {
    match (grid.epsg, &grid.wkt) {
        (Some(code), _) => format!("EPSG:{code}"),
        (None, Some(_)) => "given as text, without an EPSG code".to_owned(),
        (None, None) => "given without an EPSG code".to_owned(),
    }
}

fn system(image: Named, grid: &Grid) -> Result<System> {
    System::of(grid).ok_or_else(|| {
        Error::input(format!(
            "{}: its coordinate system ({}) is another than that of the other image and none that this program knows; \
             bring one of them to the other's with gdalwarp -t_srs, or place both by their sizes with the setting ignore-georeference",
            image.name,
            system_name(grid)
        ))
    })
}

/// Whether the map `at` between two systems is the one that they would have if they were the same, over an image of `size`: two
/// wordings of one system.
fn one_system(size: [usize; 2], same: &Base, at: &dyn Fn(Place) -> Option<Place>) -> bool {
    let ends = size.map(|n| [0.0, 0.5 * n as f64, n as f64]);
    ends[0].iter().all(|&row| {
        ends[1].iter().all(|&column| {
            let (told, found) = (same.at([row, column]), at([row, column]));
            found.is_some_and(|p| (0..2).all(|k| (p[k] - told[k]).abs() <= ONE))
        })
    })
}

fn between(hsi: Named, msi: Named, from: (&Grid, Transform), to: (&Grid, Transform)) -> Result<Base> {
    let size = hsi.size();
    let affine = || {
        let at = |p: Place| place(to.1, from.1.world(p[1], p[0]));
        let (origin, down, across) = (at([0.0; 2]), at([1.0, 0.0]), at([0.0, 1.0]));
        let step = |end: Place, k: usize| end[k] - origin[k];
        Base::affine(origin, [0, 1].map(|k| [step(down, k), step(across, k)]))
    };
    let base = if from.0.same_crs(to.0) {
        affine()
    } else {
        let (source, target) = (system(hsi, from.0)?, system(msi, to.0)?);
        let at = |p: Place| {
            let to = place(to.1, source.to(&target, from.1.world(p[1], p[0]))?);
            to.iter().all(|x| x.is_finite()).then_some(to)
        };
        if source.same_ellipsoid(&target) && one_system(size, &affine(), &at) {
            affine()
        } else if !source.comparable(&target) {
            let names = [from.0, to.0].map(system_name);
            return Err(Error::input(format!(
                "{}: its coordinate system ({}) and that of {} ({}) are two, and how their datums lie to each other is not known; bring \
                 one image to the other's system with gdalwarp -t_srs",
                hsi.name, names[0], msi.name, names[1]
            )));
        } else {
            match Base::fitted(size, at) {
                Some((base, worst)) if worst <= ROUGH => base,
                _ => {
                    let names = [from.0, to.0].map(system_name);
                    return Err(Error::input(format!(
                        "{}: no smooth map leads from its coordinate system ({}) to that of {} ({}) over this scene; cut the \
                         scene, or bring one image to the other's system with gdalwarp -t_srs",
                        hsi.name, names[0], msi.name, names[1]
                    )));
                }
            }
        }
    };
    let ratio = base.ratio(size);
    if ratio.iter().any(|r| !(*r > 0.9 && r.is_finite())) {
        return Err(Error::input(format!(
            "{}: its pixels are larger than those of {} ({:.3} and {:.3} of them to one pixel of the HSI); are the two images swapped?",
            msi.name, hsi.name, ratio[0], ratio[1]
        )));
    }
    Ok(base)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::cube::Cube;
    use crate::cube::grid::GeoTiffTags;

    fn image(size: [usize; 2], epsg: u32, transform: [f64; 6]) -> Cube {
        let mut cube = Cube::new(Array3::zeros((size[0], size[1], 1)));
        cube.metadata.grid = Some(Grid {
            transform: Transform::new(transform),
            epsg: Some(epsg),
            wkt: None,
            source: Source::GeoTiff(GeoTiffTags::default()),
        });
        cube
    }

    fn found(hsi: &Cube, msi: &Cube) -> Result<Base> {
        let named = |name, image| Named { name, image };
        base(named("x", hsi), named("y", msi), false).map(|(base, _)| base)
    }

    #[test]
    fn grids_of_one_system_give_an_affine_map() {
        let hsi = image([40, 30], 32633, [500.0, 30.0, 0.0, 4000.0, 0.0, -30.0]);
        // South-up, and begun 100 m west and 2000 m south of the HSI.
        let msi = image([200, 200], 32633, [400.0, 10.0, 0.0, 2000.0, 0.0, 10.0]);
        let at = found(&hsi, &msi).unwrap();
        assert_eq!(at.at([0.0, 0.0]), [200.0, 10.0]);
        assert_eq!(at.at([1.0, 2.0]), [197.0, 16.0]);
        assert_eq!(at.integer([40, 30]), None);
        let straight = image([120, 90], 32633, [500.0, 10.0, 0.0, 4004.0, 0.0, -10.0]);
        let at = found(&hsi, &straight).unwrap();
        assert_eq!(at.integer([40, 30]).map(|(s, _)| s), Some(3));
        assert!((at.at([0.0; 2])[0] - 0.4).abs() < 1e-9);
    }

    // By GDAL 3.10's PROJ, EPSG:32633 (500000, 5300000) is 15 E, 47.85334195 N in EPSG:4326, (948758.191, 5317451.777) in
    // EPSG:32632 and (4695071.691, 2761514.491) in EPSG:3035.
    #[test]
    fn systems_are_brought_together() {
        let hsi = image([50, 50], 32633, [499_250.0, 30.0, 0.0, 5_300_750.0, 0.0, -30.0]);
        for (code, (x, y), pixel) in [
            (4326, (15.0, 47.853_341_95), 1e-4),
            (32632, (948_758.191, 5_317_451.777), 10.0),
            (3035, (4_695_071.691, 2_761_514.491), 10.0),
        ] {
            let corner = [x - 250.0 * pixel, pixel, 0.0, y + 250.0 * pixel, 0.0, -pixel];
            let base = found(&hsi, &image([500, 500], code, corner)).unwrap();
            let middle = base.at([25.0, 25.0]);
            assert!(
                middle.iter().all(|m| (m - 250.0).abs() < 0.01),
                "{code} {middle:?}"
            );
        }
        let unknown = image([500, 500], 32767, [0.0, 10.0, 0.0, 0.0, 0.0, -10.0]);
        let line = found(&hsi, &unknown).unwrap_err().to_string();
        assert!(
            line.contains("gdalwarp -t_srs") && line.contains("32767"),
            "{line}"
        );
    }

    #[test]
    fn one_system_in_two_wordings_is_an_affine_map() {
        let mut hsi = image([40, 30], 25832, [600_000.0, 30.0, 0.0, 5_300_000.0, 0.0, -30.0]);
        let msi = image([120, 90], 25832, [600_000.0, 10.0, 0.0, 5_300_000.0, 0.0, -10.0]);
        let text = "PROJCS[\"x\",GEOGCS[\"y\",DATUM[\"D_ETRS_1989\",SPHEROID[\"GRS_1980\",6378137.0,298.257222101]],PRIMEM[\"Greenwich\",0.0],UNIT[\"Degree\",0.0174532925199433]],PROJECTION[\"Transverse_Mercator\"],PARAMETER[\"False_Easting\",500000.0],PARAMETER[\"False_Northing\",0.0],PARAMETER[\"Central_Meridian\",9.0],PARAMETER[\"Scale_Factor\",0.9996],PARAMETER[\"Latitude_Of_Origin\",0.0],UNIT[\"Meter\",1.0]]";
        for words in [text.to_owned(), text.replace("298.257222101", "298.257223563")] {
            if let Some(grid) = &mut hsi.metadata.grid {
                (grid.epsg, grid.wkt) = (None, Some(words));
            }
            assert_eq!(found(&hsi, &msi).unwrap().integer([40, 30]), Some((3, [0.0; 2])));
        }
        // The same numbers on another ellipsoid, whose datum nobody says.
        if let Some(grid) = &mut hsi.metadata.grid {
            grid.wkt = Some(text.replace("6378137.0,298.257222101", "6377397.155,299.1528128"));
        }
        let line = found(&hsi, &msi).unwrap_err().to_string();
        assert!(line.contains("datums") && line.contains("gdalwarp"), "{line}");
    }

    #[test]
    fn what_cannot_be_placed_is_refused_with_what_to_do() {
        let mut points = image([4, 4], 32633, [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]);
        let hsi = points.clone();
        if let Some(grid) = &mut points.metadata.grid {
            grid.transform = None;
            grid.source = Source::GeoTiff(GeoTiffTags {
                tiepoints: vec![0.0; 24],
                ..GeoTiffTags::default()
            });
        }
        let line = found(&hsi, &points).unwrap_err().to_string();
        assert!(line.contains("ground control points"), "{line}");
        let sizes = |rows, columns| Cube::new(Array3::zeros((rows, columns, 1)));
        assert!(
            found(&sizes(8, 8), &sizes(4, 4))
                .unwrap_err()
                .to_string()
                .contains("swapped")
        );
        assert!(found(&sizes(40, 40), &sizes(109, 108)).is_ok());
    }
}
