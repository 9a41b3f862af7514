//! GeoTIFF as others write it and as we do: every layout, compression and byte order, grids and metadata, and files
//! that lie. The fixtures are of GDAL's and tifffile's making (`scripts/make_fixtures.py`).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{fixture_samples, refusal};
use hsr_gpu::cube::grid::{GeoTiffTags, Grid, Source, Transform};
use hsr_gpu::cube::{Cube, Metadata, SampleType};
use hsr_gpu::io::{self, Target, TiffOptions};
use ndarray::{Array3, s};

/// Samples of the fixtures: 100 r + 10 c + b, of GDAL's modulo 250.
fn expected(name: &str) -> Array3<f32> {
    let modulus = if name.starts_with("gdal") { 250 } else { 1000 };
    Array3::from_shape_fn((3, 4, 5), |(r, c, b)| ((100 * r + 10 * c + b) % modulus) as f32)
}

pub(crate) fn fixture(name: &str) -> String {
    crate::common::fixture(&format!("{name}.tif"))
}

const FIXTURES: [(&str, SampleType); 11] = [
    ("gdal_strips_lzw", SampleType::I16),
    ("gdal_planar_deflate", SampleType::U16),
    ("gdal_tiles_float", SampleType::F32),
    ("gdal_bigtiff_tiles", SampleType::F64),
    ("gdal_rgb_more", SampleType::U8),
    ("gdal_big_endian", SampleType::I32),
    ("tifffile_big_endian", SampleType::U16),
    ("tifffile_big_endian_float", SampleType::F32),
    ("tifffile_half", SampleType::F16),
    ("tifffile_bigtiff_big_endian", SampleType::I64),
    ("tifffile_pages", SampleType::U32),
];

#[test]
fn files_of_gdal_and_tifffile_are_read_in_any_strips() {
    for (name, kind) in FIXTURES {
        let image = io::open_cube(&fixture(name), 0).unwrap();
        assert_eq!((image.dim(), image.sample_type()), ((3, 4, 5), kind), "{name}");
        for rows in [0..3, 2..3, 0..1, 1..3, 1..2, 0..2, 2..3] {
            let strip = image.rows(rows.clone()).unwrap();
            assert_eq!(strip.samples, expected(name).slice(s![rows, .., ..]), "{name}");
        }
    }
}

#[test]
fn what_gdal_says_of_an_image_is_understood() {
    for (name, _) in FIXTURES.iter().filter(|(name, _)| name.starts_with("gdal")) {
        let cube = io::read_cube(&fixture(name)).unwrap();
        let m = &cube.metadata;
        assert_eq!(
            m.wavelengths,
            Some(vec![400.0, 450.0, 500.0, 550.0, 600.5]),
            "{name}"
        );
        assert_eq!(m.fwhm, Some(vec![10.0; 5]), "{name}");
        assert_eq!(m.band_names.as_ref().unwrap()[4], "band 4 <a & b>");
        assert_eq!(m.extra["sensor"], "AVIRIS & friends");
        assert_eq!(m.nodata, Some(213.0));
        assert_eq!(cube.masked_pixels(), 1, "{name}");
        let grid = m.grid.as_ref().unwrap();
        assert_eq!(grid.epsg, Some(32616));
        assert_eq!(
            grid.transform.unwrap().0,
            [500_000.0, 20.0, 0.0, 4_400_000.0, 0.0, -20.0]
        );
    }
    assert_eq!(
        io::format_of(&fixture("gdal_rgb_more")).unwrap(),
        io::Format::Tiff
    );
}

/// An image with everything that a GeoTIFF can say.
pub(crate) fn rich(kind: SampleType) -> Cube {
    let mut cube = Cube::new(Array3::from_shape_fn((50, 40, 3), |(r, c, b)| {
        ((r * 7 + c * 3 + b) % 100) as f32
    }));
    cube.sample_type = kind;
    cube.metadata = io::read_cube(&fixture("gdal_strips_lzw")).unwrap().metadata;
    cube.metadata.nodata = Some(99.0);
    cube.metadata.wavelengths = Some(vec![450.123_456_789, 550.0, 2500.5]);
    cube.metadata.fwhm = Some(vec![6.5, 7.0, 8.25]);
    cube.metadata.band_names = Some(vec![
        "blue".into(),
        "green & \"yellow\"".into(),
        "SWIR <2>".into(),
    ]);
    cube.metadata.bad_bands = Some(vec![false, true, false]);
    cube
}

#[test]
fn every_type_comes_back_with_all_that_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tiff");
    for kind in [
        SampleType::U8,
        SampleType::I8,
        SampleType::U16,
        SampleType::I16,
        SampleType::U32,
        SampleType::I32,
        SampleType::U64,
        SampleType::I64,
        SampleType::F16,
        SampleType::F32,
        SampleType::F64,
    ] {
        let cube = rich(kind);
        io::write_cube(&path, &cube).unwrap();
        let back = io::read_cube(path.to_str().unwrap()).unwrap();
        assert_eq!(back.samples, cube.samples, "{kind:?}");
        assert_eq!((back.sample_type, &back.metadata), (kind, &cube.metadata));
        assert!(io::metadata_lost(&path, &cube.metadata).is_empty());
    }
}

#[test]
fn masked_pixels_and_strips_are_written_like_those_of_other_formats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tif");
    let mut cube = rich(SampleType::F32);
    cube.mask_value(f64::NAN);
    cube.mask_value(99.0);
    let masked = cube.masked_pixels();
    assert!(masked > 0);
    let target = Target {
        path: &path,
        sample_type: SampleType::I16,
        interleave: None,
        memory: 0,
        tiff: TiffOptions::default(),
    };
    io::write_strips(&target, &cube, &mut |_, _| ()).unwrap();
    let back = io::read_cube(path.to_str().unwrap()).unwrap();
    assert_eq!(back.masked_pixels(), masked);
    let wrong = Target {
        interleave: Some(io::Interleave::Bil),
        ..target
    };
    refusal(io::write_strips(&wrong, &cube, &mut |_, _| ()), "x.tif");
}

#[test]
fn a_grid_goes_from_envi_to_geotiff_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let through = |metadata: &Metadata, names: &[&str]| {
        let mut metadata = metadata.clone();
        for name in names {
            let mut cube = Cube::new(Array3::zeros((2, 2, 3)));
            cube.metadata = metadata;
            io::write_cube(at(name), &cube).unwrap();
            metadata = io::read_cube(at(name).to_str().unwrap()).unwrap().metadata;
        }
        metadata.grid.unwrap()
    };
    let tiff = rich(SampleType::F32).metadata;
    let grid = tiff.grid.clone().unwrap();
    assert_eq!(through(&tiff, &["a.tif", "b.tif"]), grid);
    let envi = through(&tiff, &["a.hdr"]);
    assert_eq!((envi.transform, envi.epsg), (grid.transform, grid.epsg));
    let back = through(&tiff, &["a.hdr", "b.tif"]);
    assert_eq!((back.transform, back.epsg), (grid.transform, grid.epsg));
    assert_eq!(back.wkt, envi.wkt);
    // A part of it begins where it lies, in both.
    let part = Metadata {
        grid: grid.cropped(3, 5),
        ..tiff.clone()
    };
    for names in [&["c.tif"][..], &["c.hdr"], &["c.hdr", "c.tif"]] {
        let there = through(&part, names).transform.unwrap();
        assert_eq!(there.0, [500_100.0, 20.0, 0.0, 4_399_940.0, 0.0, -20.0]);
    }
    // A reference system that only its text describes keeps the text.
    let text = "PROJCS[\"Somewhere\",GEOGCS[\"g\"],UNIT[\"Meter\",1.0]]";
    let described = Metadata {
        grid: Some(Grid {
            epsg: None,
            wkt: Some(text.to_owned()),
            source: Source::Envi(Default::default()),
            ..grid.clone()
        }),
        ..tiff.clone()
    };
    assert_eq!(
        through(&described, &["d.tif", "d.hdr", "e.tif"]).wkt.as_deref(),
        Some(text)
    );
    // What a format cannot say is named.
    let unknown = Metadata {
        grid: Some(Grid {
            epsg: Some(32767),
            ..grid.clone()
        }),
        ..Metadata::default()
    };
    assert_eq!(
        io::metadata_lost("x.img", &unknown),
        ["coordinate reference system"]
    );
    assert_eq!(io::metadata_lost("x.npy", &unknown), ["georeference"]);
}

#[test]
fn a_point_grid_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tif");
    let tags = GeoTiffTags {
        pixel_scale: vec![20.0, 20.0, 0.0],
        tiepoints: vec![0.0, 0.0, 0.0, 510.0, 3990.0, 0.0],
        keys: vec![1, 1, 0, 2, 1025, 0, 1, 2, 3072, 0, 1, 32633],
        ..GeoTiffTags::default()
    };
    let mut cube = Cube::new(Array3::zeros((4, 4, 1)));
    cube.metadata.grid = Some(Grid {
        transform: Transform::new([500.0, 20.0, 0.0, 4000.0, 0.0, -20.0]),
        epsg: Some(32633),
        wkt: None,
        source: Source::GeoTiff(tags),
    });
    let read = |cube: &Cube| {
        io::write_cube(&path, cube).unwrap();
        io::read_cube(path.to_str().unwrap())
            .unwrap()
            .metadata
            .grid
            .unwrap()
    };
    assert_eq!(read(&cube), cube.metadata.grid.clone().unwrap());
    let part = read(&cube.part(1..3, 2..4));
    assert_eq!(part.transform.unwrap().0, [540.0, 20.0, 0.0, 3980.0, 0.0, -20.0]);
    assert!(matches!(part.source, Source::GeoTiff(tags) if tags.tiepoints[3..5] == [550.0, 3970.0]));
}

/// A classic little-endian TIFF of 2 × 2 bytes, with these tags (number, type, count, value) over its own.
fn made(changes: &[(u16, u16, u32, u32)], next: u32) -> Vec<u8> {
    let mut tags: Vec<(u16, u16, u32, u32)> = vec![
        (256, 3, 1, 2),
        (257, 3, 1, 2),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 3, 1, 2),
        (279, 4, 1, 4),
    ];
    for change in changes {
        tags.retain(|tag| tag.0 != change.0);
        tags.push(*change);
    }
    tags.sort_unstable();
    let mut bytes = b"II\x2a\0\x0c\0\0\0\x01\x02\x03\x04".to_vec();
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (number, kind, count, value) in tags {
        bytes.extend(number.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(next.to_le_bytes());
    bytes
}

#[test]
fn files_that_lie_are_refused_before_memory_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.tif");
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refusal(io::read_cube(path.to_str().unwrap()), "h.tif")
    };
    fs::write(&path, made(&[], 0)).unwrap();
    let plain = io::read_cube(path.to_str().unwrap()).unwrap();
    assert_eq!(plain.samples.as_slice().unwrap(), [1.0, 2.0, 3.0, 4.0]);

    let large = [
        (256, 4, 1, 1_000_000),
        (257, 4, 1, 1_000_000),
        (278, 4, 1, 1_000_000),
    ];
    assert!(message(&made(&large, 0)).contains("1000000 x 1000000 x 1"));
    for compression in [5, 8] {
        let mut squeezed = large.to_vec();
        squeezed.push((259, 3, 1, compression));
        assert!(message(&made(&squeezed, 0)).contains("cannot hold"));
    }
    assert!(message(&made(&[], 12)).contains("loop"));
    assert!(message(&made(&[], 1 << 30)).contains("truncated"));
    assert!(message(&made(&[(273, 4, 1, 1 << 30)], 0)).contains("outside"));
    assert!(message(&made(&[(273, 4, 1 << 30, 8)], 0)).contains("outside"));
    assert!(message(&made(&[(279, 4, 1, 3)], 0)).contains("truncated"));
    assert!(message(&made(&[(257, 3, 1, 0)], 0)).contains("ImageLength is 0"));
    assert!(message(&made(&[(278, 3, 1, 1)], 0)).contains("asks for 2"));
    assert!(message(&made(&[(258, 3, 1, 12)], 0)).contains("12 bits"));
    assert!(message(&made(&[(339, 3, 1, 6)], 0)).contains("complex"));
    assert!(message(&made(&[(259, 3, 1, 2)], 0)).contains("compression (number 2)"));
    assert!(message(&made(&[(259, 3, 1, 8), (317, 3, 1, 3)], 0)).contains("floats"));
    assert!(message(&made(&[(259, 3, 1, 8)], 0)).contains("damaged"));
    let tile = [
        (322, 4, 1, u32::MAX),
        (323, 4, 1, 1),
        (324, 4, 1, 8),
        (325, 4, 1, 4),
        (257, 3, 1, 1),
    ];
    assert!(message(&made(&tile, 0)).contains("cannot hold"));
    assert!(message(b"II\x2a\0").contains("truncated"));
    assert!(message(b"II\x2b\0\x09\0\0\0\0\0\0\0\0\0\0\0").contains("neither"));
    assert!(message(&made(&[], 0)[..40]).contains("more than the file holds"));
    assert!(message(b"not a TIFF").contains("does not begin like one"));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.tif");
    fs::copy(Path::new(&fixture("gdal_rgb_more")), &path).unwrap();
    let image = io::open_cube(path.to_str().unwrap(), 0).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, bytes).unwrap();
    assert!(refusal(image.rows(0..1), "h.tif").contains("changed"));
}

/// An image of a smooth scene by place on the ground: its first corner, pixel size and size in pixels.
fn seen(corner: (f64, f64), pixel: f64, (rows, columns): (usize, usize), bands: usize) -> Cube {
    let mut cube = Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
        let x = corner.0 + (c as f64 + 0.5) * pixel;
        let y = corner.1 - (r as f64 + 0.5) * pixel;
        (2.0 + (x / 70.0 + b as f64).sin() + 0.8 * (y / 50.0 - 0.7 * b as f64).cos()) as f32
    }));
    cube.metadata.grid = Some(Grid {
        transform: Transform::new([corner.0, pixel, 0.0, corner.1, 0.0, -pixel]),
        epsg: Some(32633),
        wkt: None,
        source: Source::GeoTiff(GeoTiffTags {
            keys: vec![1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633],
            ..GeoTiffTags::default()
        }),
    });
    cube
}

#[test]
fn a_fusion_lies_where_both_images_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    io::write_cube(at("lr.tif"), &seen((500.0, 4000.0), 40.0, (9, 8), 6)).unwrap();
    // Begins two columns to the left and a row above, and ends half an LR pixel before the HSI does.
    let msi = seen((480.0, 4010.0), 10.0, (35, 36), 2);
    io::write_cube(at("hr.tif"), &msi).unwrap();
    io::write_cube(at("hr.hdr"), &msi).unwrap();
    io::write_cube(at("reference.tif"), &seen((480.0, 4010.0), 10.0, (35, 36), 6)).unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hsr-gpu"))
            .args([
                "fuse",
                "--backend",
                "cpu",
                "--steps",
                "3",
                "--finetune-steps",
                "0",
                "--members",
                "1",
                "--refine",
                "off",
            ])
            .args(["--hsi", &at("lr.tif")])
            .args(arguments)
            .output()
            .unwrap()
    };
    let (out, reference) = (at("z.tif"), at("reference.tif"));
    for (name, more) in [
        ("hr.tif", &["--reference", reference.as_str()][..]),
        ("hr.hdr", &[]),
    ] {
        let done = run(&[&["--msi", &at(name), "--out", &out], more].concat());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        // Less than an LR pixel beyond the HSI: the result has all pixels of the MSI.
        let result = io::read_cube(&out).unwrap();
        assert_eq!(result.samples.dim(), (35, 36, 6));
        let grid = result.metadata.grid.unwrap();
        assert_eq!(grid.transform.unwrap().0, [480.0, 10.0, 0.0, 4010.0, 0.0, -10.0]);
        assert_eq!(grid.epsg, Some(32633));
    }
    let by_size = run(&["--msi", &at("hr.tif"), "--out", &out, "--ignore-georeference"]);
    let said = String::from_utf8_lossy(&by_size.stderr).into_owned();
    // 3.9 and 4.5 MSI pixels to an LR pixel by the sizes: the ratio is found by what both show.
    assert!(by_size.status.success(), "{said}");
    assert!(said.contains("it tells 100 % of the MSI's variance"), "{said}");
    io::write_cube(at("odd.tif"), &seen((480.0, 4010.0), 12.5, (35, 36), 2)).unwrap();
    let odd = run(&["--msi", &at("odd.tif"), "--out", &out]);
    let said = String::from_utf8_lossy(&odd.stderr).into_owned();
    assert!(odd.status.success(), "{said}");
    // 3.2 MSI pixels to an LR pixel, of which the HSI shows all rows but the first and some columns.
    let result = io::read_cube(&out).unwrap();
    let [x, width, _, y, _, height] = result.metadata.grid.unwrap().transform.unwrap().0;
    assert_eq!((width, height), (12.5, -12.5));
    assert_eq!(((x - 480.0) % 12.5, (4010.0 - y) % 12.5), (0.0, 0.0));
    let hsi = run(&["--msi", &at("odd.tif"), "--out", &out, "--grid", "hsi"]);
    assert!(hsi.status.success());
    let result = io::read_cube(&out).unwrap();
    assert_eq!(result.samples.dim(), (36, 32, 6));
    let grid = result.metadata.grid.unwrap();
    assert_eq!(grid.transform.unwrap().0, [500.0, 10.0, 0.0, 4000.0, 0.0, -10.0]);
}

#[test]
fn chunks_that_are_decoded_whole() {
    for name in ["lerc", "lerc_zstd"] {
        let cube = io::read_cube(&fixture(name)).unwrap();
        assert_eq!(cube.samples, fixture_samples(), "{name}");
    }
    let hole = io::open_cube(&fixture("lerc_deflate"), 0).unwrap();
    let cube = hole.rows(0..3).unwrap();
    for ((r, c, b), x) in cube.samples.indexed_iter() {
        let expected = fixture_samples()[[r, c, b]];
        assert!(
            if (r, c) == (1, 2) {
                x.is_nan()
            } else {
                *x == expected
            },
            "{r} {c} {b}"
        );
    }
    // JPEG is near what was written, and strips are the rows of the whole to the bit.
    for name in ["jpeg_colours", "jpeg_pixels", "jpeg_bands"] {
        let image = io::open_cube(&fixture(name), 0).unwrap();
        let whole = image.rows(0..40).unwrap();
        assert_eq!(whole.samples.dim(), (40, 40, 3));
        for ((r, c, b), x) in whole.samples.indexed_iter() {
            let (r, c) = (r as f32, c as f32);
            let written = [2.0 * r + 3.0 * c, 200.0 - 3.0 * r, 100.0 + c][b];
            assert!((x - written).abs() <= 8.0, "{name} {r} {c} {b}: {x} of {written}");
        }
        for rows in [3..9, 9..10, 10..33, 33..40] {
            let strip = image.rows(rows.clone()).unwrap();
            assert_eq!(strip.samples, whole.samples.slice(ndarray::s![rows, .., ..]));
        }
    }
    // A stream that is cut or of another size is damage, and no image.
    let folder = tempfile::tempdir().unwrap();
    for name in ["lerc", "jpeg_bands"] {
        let mut bytes = fs::read(fixture(name)).unwrap();
        let end = bytes.len();
        bytes[end - 60..].fill(0xff);
        let path = folder.path().join(format!("{name}.tif"));
        fs::write(&path, bytes).unwrap();
        let path = path.to_string_lossy().into_owned();
        if let Err(error) = io::read_cube(&path) {
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
}
