//! Products of DLR's: EnMAP and DESIS, in their layout but of our own making.

use std::fs;
use std::path::Path;

use crate::common::refusal;
use crate::geotiff::{fixture, rich};
use hsr_gpu::cube::strips::Strips;
use hsr_gpu::cube::{Cube, SampleType};
use hsr_gpu::io;
use ndarray::{Array3, s};

/// A product as EnMAP's ground segment makes them: six bands in hundredths, of which the fourth (of SWIR) is filled and the
/// last is none that was expected.
fn enmap(folder: &Path) {
    let mut image = Cube::new(Array3::from_shape_fn((3, 4, 6), |(r, c, b)| match b {
        3 => -32768.0,
        _ => (100 * r + 10 * c + b) as f32,
    }));
    image.samples[[1, 2, 0]] = -32768.0;
    image.sample_type = SampleType::I16;
    image.metadata.grid = rich(SampleType::I16).metadata.grid;
    io::write_cube(folder.join("scratch.tif"), &image).unwrap();
    fs::rename(
        folder.join("scratch.tif"),
        folder.join("ENMAP01-X-SPECTRAL_IMAGE.TIF"),
    )
    .unwrap();
    let bands: String = [420.0, 905.5, 990.25, 910.0, 2400.0, 2450.0]
        .iter()
        .enumerate()
        .map(|(k, wavelength)| {
            let n = k + 1;
            format!(
                "<bandID number=\"{n}\"><wavelengthCenterOfBand>{wavelength}</wavelengthCenterOfBand>\
                 <FWHMOfBand>{n}.5</FWHMOfBand><GainOfBand>0.01</GainOfBand><OffsetOfBand>{k}</OffsetOfBand></bandID>"
            )
        })
        .collect();
    let statistics: String = (1..=6)
        .map(|n| {
            format!(
                "<bandID number=\"{n}\"><stdDeviation>{}</stdDeviation></bandID>",
                (n - 4) * 10
            )
        })
        .collect();
    let list = |detector: &str, list: &str| {
        format!("<{detector}><expectedChannelsList>{list}</expectedChannelsList></{detector}>")
    };
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><level_X xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
         <base><level>L2A</level></base><specific><backgroundValue>-32768</backgroundValue>{}{}\
         <bandCharacterisation>{bands}</bandCharacterisation></specific>\
         <product><bandStatistics>{statistics}</bandStatistics></product></level_X>",
        list("vnirProductQuality", "1,2,3"),
        list("swirProductQuality", "4, 5")
    );
    fs::write(folder.join("ENMAP01-X-METADATA.XML"), xml).unwrap();
}

#[test]
fn an_enmap_product_is_read_by_its_folder_and_by_its_xml() {
    let folder = tempfile::tempdir().unwrap();
    enmap(folder.path());
    let xml = folder.path().join("ENMAP01-X-METADATA.XML");
    let tiff = folder.path().join("ENMAP01-X-SPECTRAL_IMAGE.TIF");
    for path in [folder.path(), &xml, &tiff] {
        let path = path.to_str().unwrap();
        assert_eq!(io::format_of(path).unwrap(), io::Format::Enmap);
        let reading = io::Reading {
            memory: usize::MAX,
            ..io::Reading::default()
        };
        let image = io::open_image_as(path, &reading).unwrap();
        // The filled band and the one that nobody expected are left out, and take no pixel with them.
        assert_eq!((image.dim(), image.sample_type()), ((3, 4, 4), SampleType::F32));
        let cube = image.rows(0..3).unwrap();
        assert_eq!(cube.masked_pixels(), 1);
        assert!(!cube.is_valid(1, 2));
        // Sample 234 of the fifth band, whose gain is 0.01 and whose offset 4.
        assert_eq!(cube.samples[[2, 3, 3]], (234.0 * 0.01 + 4.0) as f32);
        let m = &cube.metadata;
        assert_eq!(m.wavelengths, Some(vec![420.0, 905.5, 990.25, 2400.0]));
        assert_eq!(m.fwhm, Some(vec![1.5, 2.5, 3.5, 5.5]));
        let names = ["VNIR band 1", "VNIR band 2", "VNIR band 3", "SWIR band 5"].map(str::to_owned);
        assert_eq!(m.band_names, Some(names.into()));
        assert_eq!(m.extra["detector overlap"], "910 to 990.25 nm");
        assert_eq!(
            (m.nodata, m.grid.as_ref().unwrap().epsg),
            (Some(-32768.0), Some(32616))
        );
    }
    let whole = io::open_cube(xml.to_str().unwrap(), 0).unwrap();
    let bad = vec![false, false, false, true, false, true];
    assert_eq!(whole.metadata().bad_bands, Some(bad));

    // What the quality layers take for cloud, cirrus or shadow is masked, or kept.
    let layer = |name: &str, at: (usize, usize), class: f32, (rows, bands): (usize, usize)| {
        let mut layer = Cube::new(Array3::zeros((rows, 4, bands)));
        layer.samples[[at.0, at.1, bands - 1]] = class;
        layer.sample_type = SampleType::U8;
        io::write_cube(folder.path().join("scratch.tif"), &layer).unwrap();
        fs::rename(folder.path().join("scratch.tif"), folder.path().join(name)).unwrap();
    };
    layer("ENMAP01-X-QL_QUALITY_CLOUD.TIF", (0, 1), 1.0, (3, 1));
    layer("ENMAP01-X-QL_QUALITY_CIRRUS.TIF", (2, 2), 3.0, (3, 1));
    layer("ENMAP01-X-QL_QUALITY_CLOUDSHADOW.TIF", (1, 2), 1.0, (3, 1));
    layer("ENMAP01-X-QL_QUALITY_HAZE.TIF", (0, 0), 1.0, (3, 1));
    let with = |path: &Path, clouds| {
        let reading = io::Reading {
            memory: usize::MAX,
            arrangement: io::Arrangement {
                clouds,
                ..io::Arrangement::default()
            },
            ..io::Reading::default()
        };
        let image = io::open_image_as(path.to_str().unwrap(), &reading)?;
        Ok((image.rows(0..image.dim().0)?, image.notes().join("\n")))
    };
    let (cube, notes) = with(&tiff, None).unwrap();
    assert_eq!(cube.masked_pixels(), 3);
    assert!(!cube.is_valid(0, 1) && !cube.is_valid(2, 2) && !cube.is_valid(1, 2));
    assert!(
        notes.contains("25.0 %") && notes.contains("the setting clouds keep"),
        "{notes}"
    );
    let (cube, notes) = with(&tiff, Some(io::Clouds::Keep)).unwrap();
    assert_eq!((cube.masked_pixels(), notes.as_str()), (1, ""));
    layer("ENMAP01-X-QL_QUALITY_CLOUD.TIF", (0, 1), 1.0, (2, 1));
    assert!(refusal(with(&tiff, None), "QL_QUALITY_CLOUD.TIF").contains("2 x 4"));
    assert!(with(&tiff, Some(io::Clouds::Keep)).is_ok());
    let plain = fixture("gdal_tiles_float");
    assert!(refusal(with(Path::new(&plain), Some(io::Clouds::Mask)), "tif").contains("the setting clouds"));

    let text = fs::read_to_string(&xml).unwrap();
    let read = |text: &str| {
        fs::write(&xml, text).unwrap();
        refusal(io::read_cube(xml.to_str().unwrap()), "METADATA.XML")
    };
    assert!(
        read(
            &text
                .replacen("bandID number=\"6\"", "x number=\"6\"", 1)
                .replacen("</bandID></band", "</x></band", 1)
        )
        .contains("describes 5 bands")
    );
    assert!(
        read(&text.replacen("wavelengthCenterOfBand>420", "wavelengthCenterOfBand>x", 1))
            .contains("wavelengthCenter")
    );
    assert!(read("<level_X/>").contains("<specific>"));
    assert!(read("<level_X").contains("no XML"));
    fs::write(&xml, &text).unwrap();
    fs::copy(&xml, folder.path().join("OTHER-METADATA.XML")).unwrap();
    let several = refusal(io::read_cube(folder.path().to_str().unwrap()), "2 products");
    assert!(several.contains("name the METADATA.XML"));
    fs::remove_file(folder.path().join("ENMAP01-X-SPECTRAL_IMAGE.TIF")).unwrap();
    assert!(
        refusal(io::read_cube(xml.to_str().unwrap()), "METADATA.XML").contains("SPECTRAL_IMAGE.TIF beside")
    );
}

#[test]
fn a_desis_product_is_read_with_its_clouds() {
    let folder = tempfile::tempdir().unwrap();
    let name = |ending: &str| folder.path().join(format!("DESIS-HSI-L2A-X-{ending}"));
    let mut image = Cube::new(Array3::from_shape_fn((3, 4, 2), |(r, c, b)| {
        (100 * r + 10 * c + b) as f32
    }));
    image.samples.slice_mut(s![2, 3, ..]).fill(-32768.0);
    image.sample_type = SampleType::I16;
    io::write_cube(name("SPECTRAL_IMAGE.tif"), &image).unwrap();
    let band = |number: usize, centre: f64, gain: f64, offset: f64| {
        format!(
            "<band><bandNumber>{number}</bandNumber><wavelengthCenterOfBand>{centre}</wavelengthCenterOfBand><wavelengthWidthOfBand>3.5\
             </wavelengthWidthOfBand><gainOfBand>{gain}</gainOfBand><offsetOfBand>{offset}</offsetOfBand></band>"
        )
    };
    let xml = format!(
        "<hsi_doc><specific><bandCharacterisation>{}{}</bandCharacterisation></specific></hsi_doc>",
        band(2, 404.5, 0.01, 1.0),
        band(1, 402.0, 0.5, 0.0)
    );
    fs::write(name("METADATA.xml"), &xml).unwrap();
    // Shadow, and cloud over water.
    let mut layers = Cube::new(Array3::zeros((3, 4, 10)));
    layers.sample_type = SampleType::U8;
    layers.samples[[0, 0, 0]] = 1.0;
    layers.samples[[1, 1, 6]] = 1.0;
    layers.samples[[0, 3, 1]] = 1.0;
    io::write_cube(name("QL_QUALITY-2.tif"), &layers).unwrap();
    for path in [folder.path(), &name("METADATA.xml"), &name("SPECTRAL_IMAGE.tif")] {
        let path = path.to_str().unwrap();
        assert_eq!(io::format_of(path).unwrap(), io::Format::Desis);
        let cube = io::read_cube(path).unwrap();
        assert_eq!((cube.samples.dim(), cube.masked_pixels()), ((3, 4, 2), 3));
        assert!(!cube.is_valid(0, 0) && !cube.is_valid(1, 1) && !cube.is_valid(2, 3));
        let sample = cube.samples.slice(s![1, 2, ..]).to_vec();
        assert_eq!(sample, [60.0, (121.0 * 0.01 + 1.0) as f32]);
        assert_eq!(cube.metadata.wavelengths, Some(vec![402.0, 404.5]));
        assert_eq!(cube.metadata.fwhm, Some(vec![3.5, 3.5]));
    }
    fs::write(
        name("METADATA.xml"),
        xml.replace("gainOfBand>0.5", "gainOfBand>0,5"),
    )
    .unwrap();
    let said = refusal(io::read_cube(folder.path().to_str().unwrap()), "METADATA.xml");
    assert!(said.contains("gainOfBand"), "{said}");
}
