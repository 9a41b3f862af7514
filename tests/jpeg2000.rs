//! JPEG 2000 as GDAL writes it, and Sentinel-2 products of our own making that hold it (scripts/make_fixtures.py).

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::common::{fixture, fixture_samples, refusal};
use hsr_gpu::cube::strips::Strips;
use hsr_gpu::cube::{Cube, SampleType};
use hsr_gpu::io;
use ndarray::s;

fn read(spec: &str) -> (Cube, Box<dyn Strips>) {
    let image = io::open_cube(spec, usize::MAX).unwrap();
    (image.rows(0..image.dim().0).unwrap(), image)
}

#[test]
fn images_and_their_places() {
    let (cube, _) = read(&fixture("cube.jp2"));
    assert_eq!(cube.samples, fixture_samples());
    assert_eq!(cube.sample_type, SampleType::U16);
    let grid = cube.metadata.grid.unwrap();
    assert_eq!(
        grid.transform.unwrap().0,
        [500_000.0, 10.0, 0.0, 5_200_000.0, 0.0, -10.0]
    );
    assert_eq!(grid.epsg, Some(32633));
    let (signed, _) = read(&fixture("signed.jp2"));
    assert_eq!(signed.sample_type, SampleType::I16);
    assert_eq!(
        signed.samples,
        fixture_samples().slice(s![.., .., ..1]).mapv(|x| x - 200.0)
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jp2");
    let whole = std::fs::read(fixture("cube.jp2")).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 200]).unwrap();
    assert!(refusal(io::read_cube(&path.to_string_lossy()), "x.jp2").contains("damaged JPEG 2000"));
    assert!(refusal(io::open_cube(&fixture("cube.jp2"), 500), "cube.jp2").contains("max-memory"));
}

/// What the product's maker wrote: reflectances from numbers less 1000, two pixels without data and one cloud of four.
fn check_fine(cube: &Cube) {
    assert_eq!(cube.samples.dim(), (8, 8, 2));
    assert_eq!(cube.sample_type, SampleType::F32);
    assert_eq!(cube.metadata.band_names.as_deref().unwrap(), ["B02", "B08"]);
    assert_eq!(cube.metadata.wavelengths.as_deref().unwrap(), [492.4, 832.8]);
    let grid = cube.metadata.grid.as_ref().unwrap();
    assert_eq!(
        grid.transform.unwrap().0,
        [500_000.0, 10.0, 0.0, 5_200_000.0, 0.0, -10.0]
    );
    for r in 0..8 {
        for c in 0..8 {
            let cloud = (2..4).contains(&r) && (4..6).contains(&c);
            let hidden = cloud || [(0, 0), (7, 7)].contains(&(r, c));
            assert_eq!(cube.is_valid(r, c), !hidden, "{r} {c}");
            let number = (100 * r + c) as f32;
            let found = [cube.samples[[r, c, 0]], cube.samples[[r, c, 1]]];
            if !hidden {
                assert!(
                    (found[0] - number / 1e4).abs() < 1e-7 && (found[1] - (number + 1.0) / 1e4).abs() < 1e-7
                );
            }
        }
    }
}

#[test]
fn a_sentinel_2_product_is_reflectances_of_one_resolution() {
    let product = fixture("S2X_MSIL2A.SAFE");
    let (fine, image) = read(&product);
    check_fine(&fine);
    let notes = image.notes().join("\n");
    assert!(notes.contains(":20m") && notes.contains("6.2 %"), "{notes}");
    let (same, _) = read(&format!("{product}/MTD_MSIL2A.xml"));
    check_fine(&same);
    // Bands that were measured at 20 m, not copies of others.
    let (coarse, _) = read(&format!("{product}:20m"));
    assert_eq!(coarse.metadata.band_names.as_deref().unwrap(), ["B8A"]);
    assert_eq!(coarse.metadata.wavelengths.as_deref().unwrap(), [864.7]);
    assert!((coarse.samples[[1, 1, 0]] - 0.0303).abs() < 1e-7);
    assert_eq!(coarse.masked_pixels(), 1);
    // Clouds may be kept; what is no data stays so.
    let keep = io::Arrangement {
        clouds: Some(io::Clouds::Keep),
        ..io::Arrangement::default()
    };
    let kept = io::open_cube_as(&product, &keep, usize::MAX).unwrap();
    let notes = kept.notes().join("\n");
    assert!(!notes.contains('%'), "{notes}");
    let kept = kept.rows(0..kept.dim().0).unwrap();
    assert!(
        kept.masked_pixels() < fine.masked_pixels(),
        "{}",
        kept.masked_pixels()
    );
    let error = refusal(
        io::open_cube(&format!("{product}:5m"), usize::MAX),
        "MTD_MSIL2A.xml",
    );
    assert!(error.contains(":10m, :20m or :60m"), "{error}");
    assert!(
        refusal(
            io::open_cube(&format!("{product}:60m"), usize::MAX),
            "MTD_MSIL2A.xml"
        )
        .contains("no images of 60m")
    );
}

#[test]
fn a_product_may_be_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("S2X.zip");
    let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
    let product = fixture("S2X_MSIL2A.SAFE");
    let images = "GRANULE/L2A_T33/IMG_DATA";
    let names = ["R10m/T33_B02_10m", "R10m/T33_B08_10m", "R20m/T33_SCL_20m"]
        .map(|name| format!("{images}/{name}.jp2"));
    for name in names.iter().map(String::as_str).chain(["MTD_MSIL2A.xml"]) {
        archive
            .start_file(
                format!("S2X_MSIL2A.SAFE/{name}"),
                zip::write::SimpleFileOptions::default(),
            )
            .unwrap();
        archive
            .write_all(&std::fs::read(Path::new(&product).join(name)).unwrap())
            .unwrap();
    }
    archive.finish().unwrap();
    let spec = path.to_string_lossy().into_owned();
    check_fine(&read(&spec).0);
    check_fine(&read(&format!("{spec}:10m")).0);
    // A band that its XML does not list with an image is not there; one that it lists must be.
    refusal(
        io::open_cube(&format!("{spec}:20m"), usize::MAX),
        "T33_B8A_20m.jp2",
    );
}
