//! GDAL's virtual images: mosaics, stacks and parts, in the words that gdalbuildvrt and gdal_translate write.

use std::fs;

use crate::common::{Folder, refusal};
use hsr_gpu::cube::{Cube, SampleType};
use hsr_gpu::io;
use ndarray::{Array3, s};

fn image(rows: usize, columns: usize, bands: usize, first: usize) -> Cube {
    let mut cube = Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
        (first + 100 * r + 10 * c + b) as f32
    }));
    cube.sample_type = SampleType::U16;
    cube
}

fn source(file: &str, band: usize, from: [usize; 4], to: [usize; 4], more: &str) -> String {
    let kind = if more.is_empty() {
        "SimpleSource"
    } else {
        "ComplexSource"
    };
    let rectangle = |name: &str, [y, x, h, w]: [usize; 4]| {
        format!("<{name} xOff=\"{x}\" yOff=\"{y}\" xSize=\"{w}\" ySize=\"{h}\" />")
    };
    format!(
        "<{kind}><SourceFilename relativeToVRT=\"1\">{file}</SourceFilename><SourceBand>{band}</SourceBand>\
         <SourceProperties RasterXSize=\"9\" RasterYSize=\"9\" DataType=\"UInt16\" BlockXSize=\"9\" BlockYSize=\"9\" />{}{}{more}</{kind}>",
        rectangle("SrcRect", from),
        rectangle("DstRect", to)
    )
}

fn vrt(rows: usize, columns: usize, bands: &[String]) -> String {
    let bands: String = bands
        .iter()
        .enumerate()
        .map(|(k, band)| {
            format!(
                "<VRTRasterBand dataType=\"UInt16\" band=\"{}\">{band}</VRTRasterBand>",
                k + 1
            )
        })
        .collect();
    format!(
        "<VRTDataset rasterXSize=\"{columns}\" rasterYSize=\"{rows}\"><SRS dataAxisToSRSAxisMapping=\"1,2\">PROJCS[\"x\",AUTHORITY[\"EPSG\",\"32633\"]]</SRS>\
         <GeoTransform> 5.0e+05,  1.0e+01,  0.0e+00,  5.2e+06,  0.0e+00, -1.0e+01</GeoTransform>{bands}</VRTDataset>"
    )
}

#[test]
fn mosaics_stacks_and_parts() {
    let folder = Folder::new();
    folder.cube("a.tif", &image(4, 3, 2, 0));
    folder.cube("b.img", &image(4, 3, 2, 5000));
    // Beside each other with a column of nothing between, the second in band 2 shifted down.
    let nodata = "<NODATA>5000</NODATA>";
    let bands: Vec<String> = (1..=2)
        .map(|band| {
            format!(
                "<Description>band {band}</Description><NoDataValue>7</NoDataValue>{}{}",
                source("a.tif", band, [0, 0, 4, 3], [0, 0, 4, 3], ""),
                source("b.img", band, [0, 0, 3, 3], [1, 4, 3, 3], nodata)
            )
        })
        .collect();
    fs::write(folder.path("m.vrt"), vrt(4, 7, &bands)).unwrap();
    let spec = folder.path("m.vrt").to_string_lossy().into_owned();
    assert_eq!(io::format_of(&spec).unwrap(), io::Format::Vrt);
    let file = io::open_cube(&spec, usize::MAX).unwrap();
    let cube = file.rows(0..4).unwrap();
    assert_eq!(
        (cube.samples.dim(), cube.sample_type),
        ((4, 7, 2), SampleType::U16)
    );
    assert_eq!(cube.metadata.band_names.as_deref().unwrap(), ["band 1", "band 2"]);
    let grid = cube.metadata.grid.as_ref().unwrap();
    assert_eq!(
        (grid.epsg, grid.transform.unwrap().0[3]),
        (Some(32633), 5_200_000.0)
    );
    assert_eq!(cube.samples.slice(s![.., ..3, ..]), image(4, 3, 2, 0).samples);
    assert_eq!(cube.samples[[3, 6, 1]], 5221.0);
    // The column between, the row above, and the pixel whose number is that of nothing in the source.
    for (r, c, ok) in [
        (0, 3, false),
        (0, 4, false),
        (1, 4, false),
        (1, 5, true),
        (3, 3, false),
        (2, 0, true),
    ] {
        assert_eq!(cube.is_valid(r, c), ok, "{r} {c}");
    }
    // Strips are the rows of the whole.
    let strip = file.rows(1..3).unwrap();
    assert_eq!(strip.samples, cube.samples.slice(s![1..3, .., ..]));

    // A stack of bands of several files, the part of another.
    let bands = [
        source("b.img", 2, [1, 1, 2, 2], [0, 0, 2, 2], ""),
        source("a.tif", 1, [0, 1, 2, 2], [0, 0, 2, 2], ""),
    ];
    fs::write(folder.path("s.vrt"), vrt(2, 2, &bands)).unwrap();
    let cube = io::read_cube(&folder.path("s.vrt").to_string_lossy()).unwrap();
    assert_eq!(cube.samples[[0, 0, 0]], 5111.0);
    assert_eq!(cube.samples[[1, 1, 1]], 120.0);

    // Its sources are what is read: a result may be none of them.
    let error = folder.refused("convert s.vrt a.tif");
    assert!(error.contains("of its own"), "{error}");
    fs::write(
        folder.path("v.vrt"),
        vrt(2, 2, &[source("s.vrt", 1, [0, 0, 2, 2], [0, 0, 2, 2], "")]),
    )
    .unwrap();
    let open = |name: &str| {
        let spec = folder.path(name).to_string_lossy().into_owned();
        io::open_cube(&spec, usize::MAX).and_then(|file| file.rows(0..2))
    };
    assert!(refusal(open("v.vrt"), "s.vrt").contains("a VRT in another"));
    fs::write(
        folder.path("n.vrt"),
        vrt(2, 2, &[source("none.tif", 1, [0, 0, 2, 2], [0, 0, 2, 2], "")]),
    )
    .unwrap();
    assert!(refusal(open("n.vrt"), "none.tif").contains("no such file"));
    fs::write(
        folder.path("o.vrt"),
        vrt(2, 2, &[source("a.tif", 3, [0, 0, 2, 2], [0, 0, 2, 2], "")]),
    )
    .unwrap();
    assert!(refusal(open("o.vrt"), "a.tif").contains("2 bands"));
}
