//! Files that hold several arrays and folders that hold one image: `.npz`, HDF5 by path, PRISMA products, pictures. Files of
//! other programs' making (scripts/make_fixtures.py), round trips, and archives that lie.

use std::fs;
use std::io::Write;

use crate::common::{fixture, fixture_samples, refusal};
use hsr_gpu::cube::strips::Strips;
use hsr_gpu::cube::{Cube, SampleType};
use hsr_gpu::io::{self, Reading};
use ndarray::{Array3, array};

#[test]
fn npz_of_another_program() {
    let cube = io::read_cube(&fixture("stored.npz")).unwrap();
    assert_eq!(cube.samples, fixture_samples());
    assert_eq!(cube.sample_type, SampleType::U16);
    assert_eq!(
        cube.metadata.wavelengths,
        Some(vec![400.0, 450.0, 500.0, 550.0, 600.5])
    );
    assert_eq!(
        io::read_matrix(&fixture("stored.npz:psf")).unwrap()[[2, 2]],
        3.0 / 18.0
    );
    let first = io::read_cube(&fixture("deflated.npz:first")).unwrap();
    assert_eq!(first.samples, fixture_samples());
    let second = io::read_cube(&fixture("deflated.npz:second")).unwrap();
    assert_eq!(second.samples, fixture_samples() + 1.0);
    let text = refusal(io::read_cube(&fixture("deflated.npz")), "deflated.npz");
    assert!(
        text.contains("first (3 x 4 x 5)") && text.contains(":NAME"),
        "{text}"
    );
    assert!(refusal(io::read_cube(&fixture("stored.npz:label")), "label").contains("no numeric array"));
}

#[test]
fn npz_round_trip_in_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    for kind in [
        SampleType::U8,
        SampleType::I16,
        SampleType::F16,
        SampleType::F32,
        SampleType::F64,
    ] {
        let mut cube = Cube::new(Array3::from_shape_fn((3, 4, 5), |(r, c, b)| {
            (40 * r + 10 * c + b) as f32
        }));
        cube.sample_type = kind;
        cube.metadata.wavelengths = Some(vec![400.0, 450.25, 500.0, 550.0, 2500.1]);
        cube.metadata.fwhm = Some(vec![10.0; 5]);
        cube.metadata.nodata = Some(33.0);
        io::write_cube(&path, &cube).unwrap();
        let once = fs::read(&path).unwrap();
        let back = io::read_cube(path.to_str().unwrap()).unwrap();
        assert_eq!(
            (back.samples.view(), back.sample_type),
            (cube.samples.view(), kind)
        );
        assert_eq!(back.metadata, cube.metadata);
        // The same bytes every time: no clock is in them.
        io::write_cube(&path, &cube).unwrap();
        assert_eq!(fs::read(&path).unwrap(), once);
    }
    refusal(
        io::write_matrix(folder.path().join("m.npz"), &array![[1.0]]),
        "m.npz",
    );
}

/// An archive of one array of a million zeros that claims to be something else.
#[test]
fn npz_that_claim_too_much_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.npz");
    let name = path.to_str().unwrap();
    let write = |shape: &str, zeros: usize, names: &[&str]| {
        let mut archive = zip_writer(&path);
        for name in names {
            let options = zip::write::SimpleFileOptions::default();
            archive.start_file(*name, options).unwrap();
            let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
            archive.write_all(b"\x93NUMPY\x01\x00").unwrap();
            archive.write_all(&(text.len() as u16).to_le_bytes()).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
            archive.write_all(&vec![0; zeros]).unwrap();
        }
        archive.finish().unwrap();
    };
    // More samples than the member says it has bytes, and a product that overflows.
    for shape in ["(10000, 10000, 10000)", "(4294967296, 4294967296, 4294967296)"] {
        write(shape, 4_000_000, &["x.npy"]);
        refusal(io::read_cube(name), "bomb.npz");
    }
    // A truthful one of which the central directory is made to lie: 2^31 bytes in some kilobytes.
    write("(100, 100, 100)", 4_000_000, &["x.npy"]);
    io::read_cube(name).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let directory = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    bytes[directory + 24..directory + 28].copy_from_slice(&(1_u32 << 31).to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(refusal(io::read_cube(name), "bomb.npz").contains("claims"));
    // Names that would be paths are names: nothing is written anywhere.
    write("(1, 2, 3)", 24, &["../../escaped.npy"]);
    let before = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(io::read_cube(name).unwrap().samples.dim(), (1, 2, 3));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
    assert!(!folder.path().parent().unwrap().join("escaped.npy").exists());
    // A checksum that is wrong is seen, though every sample was there.
    write("(1, 2, 3)", 24, &["x.npy"]);
    let mut bytes = fs::read(&path).unwrap();
    let directory = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    bytes[directory + 16] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(refusal(io::read_cube(name), "bomb.npz").contains("damaged"));
}

fn zip_writer(path: &std::path::Path) -> zip::ZipWriter<fs::File> {
    zip::ZipWriter::new(fs::File::create(path).unwrap())
}

#[test]
fn hdf5_by_the_path_of_a_dataset() {
    for path in ["scene/level/cube", "/scene/level/cube", "/view/level/cube"] {
        let cube = io::read_cube(&fixture(&format!("groups.h5:{path}"))).unwrap();
        assert_eq!(cube.samples, fixture_samples());
        assert_eq!(
            cube.metadata.wavelengths,
            Some(vec![400.0, 450.0, 500.0, 550.0, 600.5])
        );
    }
    // The wavelengths of another group are not its own.
    let other = io::read_cube(&fixture("groups.h5:/other/cube")).unwrap();
    assert_eq!(other.samples, fixture_samples() + 1.0);
    assert_eq!(other.metadata.wavelengths, None);
    let text = refusal(io::read_cube(&fixture("groups.h5")), "groups.h5");
    assert!(
        text.contains("/other/cube (3 x 4 x 5)") && text.contains("/scene/level/cube"),
        "{text}"
    );
    assert!(refusal(io::read_cube(&fixture("groups.h5:/none")), "none").contains("/other/cube"));
}

#[test]
fn a_prisma_product_is_one_image() {
    let image = io::open_cube(&fixture("prisma_l2d.he5"), usize::MAX).unwrap();
    assert_eq!(image.dim(), (3, 4, 5));
    let m = image.metadata();
    // VNIR's band at 970 nm lies over the SWIR's at 950: the SWIR's are taken. Absent bands have no wavelength.
    assert_eq!(m.wavelengths, Some(vec![450.0, 930.0, 950.0, 1000.0, 2000.0]));
    let fwhm: Vec<f64> = m
        .fwhm
        .clone()
        .unwrap()
        .iter()
        .map(|x| (10.0 * x).round() / 10.0)
        .collect();
    assert_eq!(fwhm, [4.5, 9.3, 9.5, 10.0, 20.0]);
    // Marked in eight of twelve pixels.
    assert_eq!(m.bad_bands, Some(vec![false, false, false, false, true]));
    let cube = image.rows(0..3).unwrap();
    assert_eq!(cube.masked_pixels(), 1);
    assert!(!cube.is_valid(0, 0) && cube.samples[[0, 0, 2]].is_nan());
    for ((r, c, b), &x) in cube
        .samples
        .indexed_iter()
        .filter(|((r, c, _), _)| (*r, *c) != (0, 0))
    {
        // DN 1e-5 of 0.65535 / 65535.
        let dn = (1000 + 1000 * b + 100 * r + 10 * c) as f32;
        assert!((x - 1e-5 * dn).abs() < 1e-6, "{r} {c} {b}: {x}");
    }
    // Strips and bands of it, as a command asks for them.
    let reading = Reading {
        memory: usize::MAX,
        ..Reading::default()
    };
    let used = io::open_image_as(&fixture("prisma_l2d.he5"), &reading).unwrap();
    assert_eq!(used.dim(), (3, 4, 4));
    assert_eq!(
        used.rows(1..3).unwrap().samples[[0, 1, 3]],
        cube.samples[[1, 1, 3]]
    );
    // The corners are the middles of the outer pixels.
    let grid = m.grid.as_ref().unwrap();
    let transform = [499_985.0, 30.0, 0.0, 4_600_015.0, 0.0, -30.0];
    assert_eq!((grid.epsg, grid.transform.unwrap().0), (Some(32633), transform));
    let pan = io::read_cube(&fixture("prisma_l2d.he5:PAN")).unwrap();
    assert_eq!((pan.samples.dim(), pan.masked_pixels()), ((12, 18, 1), 2));
    assert!((pan.samples[[3, 5, 0]] - 1e-5 * 1305.0).abs() < 1e-7);
    // Of pixels of 5 m they are the outer corners.
    let grid = pan.metadata.grid.as_ref().unwrap();
    let transform = [500_000.0, 5.0, 0.0, 4_600_000.0, 0.0, -5.0];
    assert_eq!((grid.epsg, grid.transform.unwrap().0), (Some(32633), transform));
    let none = refusal(io::read_cube(&fixture("groups.h5:pan")), "groups.h5");
    assert!(none.contains("no numeric array"), "{none}");
    // By path the stored cube is there as it is: rows x bands x columns.
    let path = fixture("prisma_l2d.he5:/HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/VNIR_Cube");
    assert_eq!(io::read_cube(&path).unwrap().samples.dim(), (3, 4, 4));
    let small = Reading {
        memory: 100,
        ..Reading::default()
    };
    let Err(error) = io::open_image_as(&fixture("prisma_l2d.he5"), &small) else {
        panic!("60 samples in 100 bytes");
    };
    assert!(error.to_string().contains("the setting max-memory"), "{error}");
}

#[test]
fn a_folder_of_pictures_is_one_image() {
    let image = io::open_cube(&fixture("bands_ms"), usize::MAX).unwrap();
    let cube = image.rows(0..3).unwrap();
    // Sorted by number: 8 to 12.
    assert_eq!(cube.samples, fixture_samples());
    assert_eq!(cube.sample_type, SampleType::U16);
    assert_eq!(cube.metadata.band_names.as_ref().unwrap()[0], "scene_ms_8");
    let [note] = image.notes() else {
        panic!("{:?}", image.notes())
    };
    assert!(note.contains("5 bands; 2 other files"), "{note}");
    let rgb = io::read_cube(&fixture("bands_ms/scene_RGB.png")).unwrap();
    assert_eq!((rgb.samples.dim(), rgb.sample_type), ((3, 4, 3), SampleType::U8));
    assert_eq!(rgb.samples[[1, 2, 1]], 121.0);
}

#[test]
fn bands_may_be_tiff_files() {
    let folder = tempfile::tempdir().unwrap();
    for number in [2, 10, 1] {
        let mut band = Cube::new(Array3::from_elem((3, 4, 1), number as f32));
        band.sample_type = SampleType::U16;
        io::write_cube(folder.path().join(format!("B{number}.tif")), &band).unwrap();
    }
    let cube = io::read_cube(folder.path().to_str().unwrap()).unwrap();
    assert_eq!(
        cube.samples.slice(ndarray::s![0, 0, ..]).to_vec(),
        [1.0, 2.0, 10.0]
    );
}

#[test]
fn bands_may_have_each_a_no_data_value() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().to_str().unwrap();
    let write = |number: usize, nodata: Option<f64>, samples: [f32; 4]| {
        let samples = Array3::from_shape_vec((2, 2, 1), samples.to_vec()).unwrap();
        let mut band = Cube::new(samples);
        band.sample_type = SampleType::I16;
        band.metadata.nodata = nodata;
        io::write_cube(folder.path().join(format!("B{number}.tif")), &band).unwrap();
    };
    write(1, None, [1.0, 2.0, 3.0, 4.0]);
    write(2, Some(-1.0), [-1.0, 2.0, 0.0, 4.0]);
    write(3, Some(0.0), [1.0, 0.0, 3.0, 4.0]);
    let cube = io::read_image(name, None).unwrap();
    assert_eq!(cube.metadata.nodata, Some(-1.0));
    let valid = cube.valid.unwrap();
    assert_eq!(
        valid.iter().copied().collect::<Vec<_>>(),
        [false, false, true, true]
    );
    write(3, Some(0.0), [1.0, 0.0, -1.0, 4.0]);
    assert!(refusal(io::read_image(name, None), "B3.tif").contains("samples of -1"));
}

#[test]
fn folders_that_are_no_image_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let name = path.to_str().unwrap();
    let band = |number: usize| fixture(&format!("bands_ms/scene_ms_{number}.png"));
    assert!(refusal(io::read_cube(name), name).contains("without bands"));
    fs::copy(band(8), path.join("a_01.png")).unwrap();
    fs::copy(band(9), path.join("a_02.png")).unwrap();
    io::read_cube(name).unwrap();
    // Another size, a colour picture, two bands of one number, two rows of bands.
    write_png(&path.join("a_03.png"), 5, 3, png::ColorType::Grayscale);
    assert!(refusal(io::read_cube(name), "a_03.png").contains("5"));
    write_png(&path.join("a_03.png"), 4, 3, png::ColorType::Rgb);
    assert!(refusal(io::read_cube(name), "a_03.png").contains("3 bands"));
    write_png(&path.join("a_03.png"), 4, 3, png::ColorType::GrayscaleAlpha);
    assert!(refusal(io::read_cube(name), "a_03.png").contains("GrayscaleAlpha"));
    fs::remove_file(path.join("a_03.png")).unwrap();
    fs::copy(band(9), path.join("a_1.png")).unwrap();
    assert!(refusal(io::read_cube(name), name).contains("two bands of one number"));
    fs::remove_file(path.join("a_1.png")).unwrap();
    fs::copy(band(8), path.join("b_1.png")).unwrap();
    fs::copy(band(9), path.join("b_2.png")).unwrap();
    assert!(refusal(io::read_cube(name), name).contains("two rows"));
}

/// A picture of 16-bit zeros.
fn write_png(path: &std::path::Path, width: u32, height: u32, kind: png::ColorType) {
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(kind);
    encoder.set_depth(png::BitDepth::Sixteen);
    let bytes = vec![0; (width * height) as usize * kind.samples() * 2];
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
}
