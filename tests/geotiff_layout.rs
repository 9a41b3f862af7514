//! How a GeoTIFF is laid out when it is written: creation options, and cloud-optimised files.

use std::path::Path;

use crate::geotiff::rich;
use hsr_gpu::cube::{Cube, Metadata, SampleType};
use hsr_gpu::io::{self, Target, TiffOptions};
use ndarray::Array3;

/// The image of a file that was written with these creation options.
fn created(path: &Path, cube: &Cube, options: &[&str]) -> Cube {
    let options: Vec<String> = options.iter().map(|&o| o.to_owned()).collect();
    let target = Target {
        path,
        sample_type: cube.sample_type,
        interleave: None,
        memory: 0,
        tiff: TiffOptions::parse(&options, &[path]).unwrap(),
    };
    io::write_strips(&target, cube, &mut |_, _| ()).unwrap();
    io::read_cube(path.to_str().unwrap()).unwrap()
}

/// Little-endian numbers of a file.
fn number(bytes: &[u8], at: usize, width: usize) -> usize {
    (0..width).map(|k| usize::from(bytes[at + k]) << (8 * k)).sum()
}

#[test]
fn creation_options_change_the_layout_and_no_sample() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tif");
    for kind in [SampleType::F32, SampleType::U16] {
        let samples = Array3::from_shape_fn((150, 130, 3), |(r, c, b)| (r * 61 % 97 * (c + 1) + b) as f32);
        let mut cube = Cube::new(samples);
        cube.sample_type = kind;
        cube.metadata = Metadata {
            wavelengths: Some(vec![400.0, 500.0, 600.0]),
            nodata: Some(7.0),
            grid: rich(kind).metadata.grid,
            ..Metadata::default()
        };
        let plain = created(&path, &cube, &[]);
        for options in [
            &["COMPRESS=NONE"][..],
            &["COMPRESS=LZW", "BLOCKYSIZE=7"],
            &["COMPRESS=ZSTD", "PREDICTOR=2"],
            &["ZLEVEL=1", "PREDICTOR=NO", "BIGTIFF=YES"],
            &["TILED=YES"],
            &["TILED=YES", "BLOCKXSIZE=32", "BLOCKYSIZE=64", "COMPRESS=ZSTD"],
            &["TILED=YES", "BLOCKSIZE=16", "COMPRESS=NONE"],
            &["COG=YES", "BLOCKSIZE=32", "COMPRESS=LZW"],
            &["COG=YES", "BIGTIFF=YES"],
        ] {
            let back = created(&path, &cube, options);
            assert_eq!(back.samples, plain.samples, "{options:?}");
            assert_eq!(back.metadata, plain.metadata, "{options:?}");
            assert_eq!(back.sample_type, kind);
        }
    }
    // Rows of tiles that are more than what is held lie on disk.
    let wide = Cube::new(Array3::from_shape_fn((20, 300, 16), |(r, c, b)| {
        (r * 4800 + c * 16 + b) as f32
    }));
    let options = ["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=4096"];
    assert_eq!(created(&path, &wide, &options).samples, wide.samples);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_cloud_optimised_file_has_directories_first_and_the_whole_image_last() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tif");
    let mut cube = Cube::new(Array3::from_shape_fn((201, 333, 2), |(r, c, b)| {
        (r + c + b) as f32
    }));
    cube.sample_type = SampleType::U16;
    let back = created(&path, &cube, &["COG=YES", "BLOCKSIZE=64", "COMPRESS=NONE"]);
    assert_eq!(back.samples, cube.samples);
    let bytes = std::fs::read(&path).unwrap();
    let (mut at, mut images) = (number(&bytes, 4, 4), Vec::new());
    assert_eq!(at, 8);
    while at != 0 {
        let entries = number(&bytes, at, 2);
        let tag = |wanted: usize| {
            let mut entries = (0..entries).map(|k| at + 2 + 12 * k);
            let entry = entries.find(|&entry| number(&bytes, entry, 2) == wanted).unwrap();
            (number(&bytes, entry + 4, 4), number(&bytes, entry + 8, 4))
        };
        let (count, places) = tag(324);
        images.push((tag(256).1, tag(257).1, count, number(&bytes, places, 4), at));
        at = number(&bytes, at + 2 + 12 * entries, 4);
    }
    let sizes: Vec<_> = images.iter().map(|image| (image.0, image.1, image.2)).collect();
    assert_eq!(sizes, [(333, 201, 48), (167, 101, 12), (84, 51, 4), (42, 26, 2)]);
    assert!(
        images
            .windows(2)
            .all(|pair| pair[0].3 > pair[1].3 && pair[0].4 < pair[1].4)
    );
    // The mean of four.
    assert_eq!(number(&bytes, images[1].3, 2), 1);
    assert_eq!(number(&bytes, images[1].3 + 2, 2), 3);
}
