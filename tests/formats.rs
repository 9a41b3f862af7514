//! Every file format from outside: files of other programs' making, round trips, and bad input.

use std::fs;
use std::path::Path;

use crate::common::{fixture, fixture_samples, refusal};
use hsr_gpu::cube::grid::{Grid, Source, Transform};
use hsr_gpu::cube::{Cube, Metadata, SampleType};
use hsr_gpu::io::{self, Interleave};
use ndarray::{Array2, Array3, array};

const TYPES: [SampleType; 11] = [
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
];

fn fixture_psf() -> Array2<f64> {
    array![[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 3.0]] / 18.0
}

/// An image whose samples every type holds exactly.
fn small(kind: SampleType) -> Cube {
    let mut cube = Cube::new(Array3::from_shape_fn((3, 4, 5), |(r, c, b)| {
        (40 * r + 10 * c + b) as f32
    }));
    cube.sample_type = kind;
    cube
}

/// An image with everything that a header can say.
fn rich() -> Cube {
    let mut cube = small(SampleType::I16);
    let text = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    };
    cube.metadata = Metadata {
        wavelengths: Some(vec![400.0, 450.25, 500.0, 550.0, 2500.1]),
        fwhm: Some(vec![10.0, 10.5, 11.0, 9.75, 1e-3]),
        band_names: Some((0..5).map(|b| format!("band {b}")).collect()),
        grid: Some(Grid {
            transform: Transform::new([500_000.0, 20.0, 0.0, 4_400_000.0, 0.0, -20.0]),
            epsg: Some(32616),
            wkt: Some("PROJCS[\"UTM\",UNIT[\"m\",1]]".to_owned()),
            source: Source::Envi(text(&[
                (
                    "map info",
                    "{UTM, 1, 1, 500000, 4400000, 20, 20, 16, North, WGS-84}",
                ),
                ("coordinate system string", "{PROJCS[\"UTM\",UNIT[\"m\",1]]}"),
            ])),
        }),
        bad_bands: Some(vec![false, false, true, false, false]),
        extra: text(&[("sensor type", "AVIRIS")]),
        ..Metadata::default()
    };
    cube
}

#[test]
fn files_of_other_programs() {
    let expected = fixture_samples();
    for (name, kind) in [
        ("fortran_big_endian.npy", SampleType::F64),
        ("version2.npy", SampleType::I32),
        ("version3.npy", SampleType::I32),
        ("half.npy", SampleType::F16),
        ("v5.mat", SampleType::F64),
        ("v7.mat", SampleType::U16),
        ("v73.mat", SampleType::U16),
        ("two.mat:first", SampleType::U16),
        ("big_endian.mat", SampleType::F64),
        ("spy_bsq.hdr", SampleType::I16),
        ("spy_bil.hdr", SampleType::I16),
        ("spy_bip.img", SampleType::I16),
    ] {
        let cube = io::read_cube(&fixture(name)).unwrap();
        assert_eq!(cube.samples, expected, "{name}");
        assert!(cube.samples.is_standard_layout(), "{name}");
        assert_eq!(cube.sample_type, kind, "{name}");
    }
    let odd = io::read_cube(&fixture("bool.npy")).unwrap();
    assert_eq!(odd.samples, expected.mapv(|x| x % 2.0));
    assert_eq!(
        io::read_cube(&fixture("two.mat:second")).unwrap().samples,
        &expected + 1.0
    );
    let wavelengths = io::read_cube(&fixture("v7.mat")).unwrap().metadata.wavelengths;
    assert_eq!(wavelengths, Some(vec![400.0, 450.0, 500.0, 550.0, 600.5]));
    for name in ["v5.mat", "v73.mat", "v73.mat:psf"] {
        assert_eq!(io::read_matrix(&fixture(name)).unwrap(), fixture_psf(), "{name}");
    }
}

#[test]
fn envi_metadata_of_another_program() {
    let cube = io::read_cube(&fixture("spy_bil.hdr")).unwrap();
    let m = &cube.metadata;
    assert_eq!(m.wavelengths, Some(vec![400.0, 450.0, 500.0, 550.0, 600.5]));
    assert_eq!(m.fwhm, Some(vec![10.0; 5]));
    assert_eq!(m.band_names.as_ref().unwrap()[4], "band 4");
    assert_eq!(m.nodata, Some(213.0));
    let grid = m.grid.clone().unwrap();
    assert!(matches!(&grid.source, Source::Envi(fields) if fields["map info"].contains("4400000.0")));
    assert_eq!(grid.epsg, Some(32616));
    assert_eq!(m.bad_bands, Some(vec![false, false, true, false, false]));
    // 213 stands at row 2, column 1, band 3 and nowhere else.
    assert_eq!(cube.masked_pixels(), 1);
    assert!(!cube.is_valid(2, 1));
}

#[test]
fn ambiguous_and_missing_variables_are_named() {
    let text = refusal(io::read_cube(&fixture("two.mat")), "two.mat");
    assert!(
        text.contains("first (3 x 4 x 5), second (3 x 4 x 5)") && text.contains(":NAME"),
        "{text}"
    );
    for name in ["v5.mat:none", "v7.mat:none", "v73.mat:none"] {
        let text = refusal(io::read_cube(&fixture(name)), "none");
        assert!(text.contains("cube (3 x 4 x 5)"), "{text}");
    }
    assert!(refusal(io::read_cube(&fixture("complex.mat")), "complex.mat").contains("real part"));
    refusal(io::read_cube(&fixture("no.mat:cube")), "no such file");
    refusal(io::read_cube(&fixture("half.npy:cube")), "one array only");
    refusal(
        io::read_matrix(&fixture("half.npy")),
        "a matrix has rows x columns",
    );
}

#[test]
fn every_type_survives_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for kind in TYPES {
        let cube = small(kind);
        for name in ["a.npy", "a.mat", "a.hdr", "b.bil", "c.bip", "d.bsq", "e.dat"] {
            let path = folder.path().join(name);
            io::write_cube(&path, &cube).unwrap();
            let back = io::read_cube(path.to_str().unwrap()).unwrap();
            assert_eq!(back.samples, cube.samples, "{name} {kind:?}");
            // MATLAB and ENVI have no half precision, ENVI no signed bytes.
            let expected = match (kind, name) {
                (SampleType::F16, n) if n != "a.npy" => SampleType::F32,
                (SampleType::I8, n) if n != "a.npy" && n != "a.mat" => SampleType::I16,
                _ => kind,
            };
            assert_eq!(back.sample_type, expected, "{name} {kind:?}");
        }
    }
}

#[test]
fn envi_reads_every_type_interleave_and_byte_order() {
    let folder = tempfile::tempdir().unwrap();
    let codes = [
        (1, 1),
        (2, 2),
        (3, 4),
        (4, 4),
        (5, 8),
        (12, 2),
        (13, 4),
        (14, 8),
        (15, 8),
    ];
    let expected = small(SampleType::F32).samples;
    for (code, width) in codes {
        for interleave in ["bsq", "BIL", "bip"] {
            for order in [0, 1] {
                let permuted = match interleave {
                    "bsq" => expected.view().permuted_axes([2, 0, 1]),
                    "BIL" => expected.view().permuted_axes([0, 2, 1]),
                    _ => expected.view(),
                };
                let mut data = b"junk before the data".to_vec();
                for &x in permuted.iter() {
                    let mut bytes = match code {
                        4 => x.to_le_bytes().to_vec(),
                        5 => f64::from(x).to_le_bytes().to_vec(),
                        _ => (x as u64).to_le_bytes()[..width].to_vec(),
                    };
                    if order == 1 {
                        bytes.reverse();
                    }
                    data.extend(bytes);
                }
                fs::write(folder.path().join("image"), data).unwrap();
                let header = format!(
                    "ENVI\nsamples=4\nlines=3\nbands=5\nheader offset=20\ndata type={code}\ninterleave={interleave}\nbyte order={order}"
                );
                fs::write(folder.path().join("image.hdr"), header).unwrap();
                for name in ["image", "image.hdr"] {
                    let cube = io::read_cube(folder.path().join(name).to_str().unwrap()).unwrap();
                    assert_eq!(cube.samples, expected, "{code} {interleave} {order}");
                }
            }
        }
    }
}

/// Fields left out, names of every kind, any case: what a header leaves open is taken for granted, with one note.
#[test]
fn envi_headers_that_say_little() {
    let expected = fixture_samples();
    let bytes = |axes: [usize; 3]| -> Vec<u8> {
        let stored = expected.view().permuted_axes(axes);
        stored.iter().flat_map(|&x| (x as u16).to_le_bytes()).collect()
    };
    // Name of the data file and of its header, and the interleave that follows from the names.
    for (data, header, axes) in [
        ("scene", "scene.hdr", [2, 0, 1]),
        ("scene.img", "scene.img.hdr", [2, 0, 1]),
        ("scene.raw", "scene.hdr", [2, 0, 1]),
        ("scene.DAT", "scene.HDR", [2, 0, 1]),
        ("scene.bsq", "scene.hdr", [2, 0, 1]),
        ("scene.bil", "scene.hdr", [0, 2, 1]),
        ("scene.bip", "scene.bip.hdr", [0, 1, 2]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(at(data), bytes(axes)).unwrap();
        fs::write(
            at(header),
            "ENVI\nSAMPLES = 4\nLines=3\nbands  =5\nDATA TYPE=12\nWavelength={1,2,3,4,5}\n",
        )
        .unwrap();
        for name in [data, header] {
            let image = io::open_cube(&at(name), usize::MAX).unwrap();
            assert_eq!(image.rows(0..3).unwrap().samples, expected, "{name}");
            let [note] = image.notes() else {
                panic!("{:?}", image.notes())
            };
            assert!(
                note.contains("byte order") && note.contains("interleave") && note.contains("micrometres"),
                "{note}"
            );
        }
    }
}

#[test]
fn metadata_survive_envi_and_matlab() {
    let folder = tempfile::tempdir().unwrap();
    let cube = rich();
    for interleave in [Interleave::Bsq, Interleave::Bil, Interleave::Bip] {
        let path = folder.path().join("rich.img");
        io::write_cube_as(&path, &cube, Some(interleave)).unwrap();
        let back = io::read_cube(path.to_str().unwrap()).unwrap();
        assert_eq!(back.metadata, cube.metadata);
        assert_eq!(back.samples, cube.samples);
        assert!(back.valid.is_none());
    }
    let path = folder.path().join("rich.mat");
    io::write_cube(&path, &cube).unwrap();
    let back = io::read_cube(path.to_str().unwrap()).unwrap().metadata;
    assert_eq!(
        (back.wavelengths, back.fwhm),
        (cube.metadata.wavelengths.clone(), cube.metadata.fwhm.clone())
    );
    assert_eq!(
        io::metadata_lost(&path, &cube.metadata),
        [
            "band names",
            "marks of bad bands",
            "georeference",
            "other header fields"
        ]
    );
    assert!(io::metadata_lost("x.hdr", &cube.metadata).is_empty());
}

#[test]
fn masked_pixels_are_written_as_no_data() {
    let folder = tempfile::tempdir().unwrap();
    let mut cube = small(SampleType::I16);
    cube.samples[[1, 2, 3]] = -9999.0;
    cube.mask_value(-9999.0);
    for name in ["m.hdr", "m.mat"] {
        let path = folder.path().join(name);
        io::write_cube(&path, &cube).unwrap();
        let back = io::read_cube(path.to_str().unwrap()).unwrap();
        assert_eq!(back.valid, cube.valid, "{name}");
        assert_eq!(back.metadata.nodata, Some(-9999.0));
        assert!((0..5).all(|b| back.samples[[1, 2, b]] == -9999.0));
    }
    cube.sample_type = SampleType::U8;
    let path = folder.path().join("unfit.hdr");
    let text = refusal(io::write_cube(&path, &cube), "unfit.hdr");
    assert!(text.contains("-9999") && !path.exists(), "{text}");
}

#[test]
fn matrices_survive() {
    let folder = tempfile::tempdir().unwrap();
    let matrix = array![[0.1, -2.0, 1e-300], [f64::MAX, 0.0, 1.0 / 3.0]];
    for name in ["m.npy", "m.mat", "m.csv", "m.txt"] {
        let path = folder.path().join(name);
        io::check_matrix_writable(&path).unwrap();
        io::write_matrix(&path, &matrix).unwrap();
        assert_eq!(io::read_matrix(path.to_str().unwrap()).unwrap(), matrix, "{name}");
    }
    refusal(io::write_matrix(folder.path().join("m.hdr"), &matrix), "m.hdr");
    refusal(io::read_matrix(&fixture("spy_bil.hdr")), "is an image");
    refusal(
        io::read_cube(folder.path().join("m.csv").to_str().unwrap()),
        "is text",
    );
}

#[test]
fn a_plane_is_an_image_of_one_band() {
    let folder = tempfile::tempdir().unwrap();
    let plane = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
    for name in ["p.npy", "p.mat"] {
        let path = folder.path().join(name);
        io::write_matrix(&path, &plane).unwrap();
        let cube = io::read_cube(path.to_str().unwrap()).unwrap();
        assert_eq!(cube.samples.dim(), (2, 3, 1));
        assert_eq!(cube.samples[[1, 0, 0]], 4.0);
    }
}

#[test]
fn outputs_are_checked_before_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for good in ["z.npy", "z.mat", "z.hdr", "z.img", "z.bil"] {
        io::check_cube_writable(at(good)).unwrap();
    }
    refusal(io::check_cube_writable(at("z.jpg")), "z.jpg");
    refusal(io::check_cube_writable(at("z")), ".npy");
    for name in ["none/z.npy", "none/z.hdr"] {
        assert!(refusal(io::check_cube_writable(at(name)), "none/z.").contains("does not exist"));
        refusal(io::write_cube(at(name), &small(SampleType::U8)), "none/z.");
    }
    let bil = io::write_cube_as(at("z.bil"), &small(SampleType::U8), Some(Interleave::Bsq));
    assert!(refusal(bil, "z.bil").contains("asked for"));
    let npy = io::write_cube_as(at("z.npy"), &small(SampleType::U8), Some(Interleave::Bsq));
    assert!(refusal(npy, "z.npy").contains("interleave"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn missing_and_unknown_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["no.npy", "no.mat", "no.hdr", "no.img", "no"] {
        assert!(refusal(io::read_cube(&at(name)), name).contains("no such file"));
    }
    assert!(refusal(io::read_cube(&at(".")), "folder").contains("without bands"));
    fs::write(at("x.jpg"), b"\xff\xd8\xff\xe0").unwrap();
    assert!(refusal(io::read_cube(&at("x.jpg")), "x.jpg").contains("unknown format"));
    fs::write(at("x.img"), b"1234").unwrap();
    assert!(refusal(io::read_cube(&at("x.img")), "x.img").contains(".hdr"));
    fs::write(at("x.hdr"), b"ENVI\nsamples=1\nlines=2\nbands=1\ndata type=12\n").unwrap();
    io::read_cube(&at("x.img")).unwrap();
    fs::remove_file(at("x.img")).unwrap();
    assert!(refusal(io::read_cube(&at("x.hdr")), "x.hdr").contains("no data file"));
    for name in ["empty.npy", "empty.mat", "empty.hdr"] {
        fs::write(at(name), b"").unwrap();
        refusal(io::read_cube(&at(name)), name);
    }
    fs::write(at("text.npy"), b"not an array at all").unwrap();
    assert!(refusal(io::read_cube(&at("text.npy")), "text.npy").contains("not a .npy"));
    fs::write(at("plain.h5"), b"\x89HDF\r\n\x1a\n").unwrap();
    assert!(refusal(io::read_cube(&at("plain.h5")), "plain.h5").contains("HDF5"));
}

/// A file that ends anywhere before its end is refused. (A MATLAB 5 file may end after any whole variable,
/// so of these one with a single variable is cut.)
#[test]
fn every_truncation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "version2.npy",
        "fortran_big_endian.npy",
        "big_endian.mat",
        "v73.mat",
        "spy_bil.img",
    ] {
        let whole = fs::read(fixture(name)).unwrap();
        let cut = folder.path().join(name);
        if name.ends_with(".img") {
            fs::copy(fixture("spy_bil.hdr"), folder.path().join("spy_bil.hdr")).unwrap();
        }
        for length in 0..whole.len() {
            fs::write(&cut, &whole[..length]).unwrap();
            refusal(io::read_cube(cut.to_str().unwrap()), name);
        }
    }
}

#[test]
fn truncated_files_say_both_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let npy = fs::read(fixture("version2.npy")).unwrap();
    fs::write(at("t.npy"), &npy[..npy.len() - 1]).unwrap();
    let text = refusal(io::read_cube(&at("t.npy")), "t.npy");
    assert!(text.contains("240 bytes") && text.contains("239 bytes"), "{text}");
    fs::copy(fixture("spy_bil.hdr"), at("t.hdr")).unwrap();
    fs::write(at("t.img"), vec![0; 119]).unwrap();
    let text = refusal(io::read_cube(&at("t.hdr")), "t.img");
    assert!(
        text.contains("119") && text.contains("120") && text.contains("truncated"),
        "{text}"
    );
}

/// 10^12 samples and lengths whose product overflows; each must fail at once, before memory is asked for
/// (which would fail or end the process).
#[test]
fn hostile_sizes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let npy = |path: &Path, shape: &str| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend([0; 64]);
        fs::write(path, bytes).unwrap();
    };
    for shape in [
        "(10000, 10000, 10000)",
        "(4294967296, 4294967296, 4294967296)",
        "(18446744073709551615, 2, 1)",
        "(0, 18446744073709551615, 18446744073709551615)",
    ] {
        npy(Path::new(&at("h.npy")), shape);
        refusal(io::read_cube(&at("h.npy")), "h.npy");
    }
    let long_header = [
        b"\x93NUMPY\x02\x00".as_slice(),
        &u32::MAX.to_le_bytes(),
        b"{'descr'",
    ]
    .concat();
    fs::write(at("l.npy"), long_header).unwrap();
    refusal(io::read_cube(&at("l.npy")), "l.npy");

    fs::write(at("e.img"), [0; 64]).unwrap();
    for (samples, offset) in [
        ("10000", "0"),
        ("18446744073709551615", "0"),
        ("1", "18446744073709551615"),
    ] {
        let header = format!(
            "ENVI\nsamples={samples}\nlines=10000\nbands=10000\ndata type=5\nheader offset={offset}\n"
        );
        fs::write(at("e.hdr"), header).unwrap();
        refusal(io::read_cube(&at("e.hdr")), "e.hdr");
    }

    // The axis lengths of a MATLAB variable start 8 bytes into its second element.
    let mut mat = fs::read(fixture("big_endian.mat")).unwrap();
    let axes = 128 + 8 + 16 + 8;
    for axis in 0..3 {
        mat[axes + 4 * axis..axes + 4 * axis + 4].copy_from_slice(&10_000_i32.to_be_bytes());
    }
    fs::write(at("h.mat"), &mat).unwrap();
    refusal(io::read_cube(&at("h.mat")), "h.mat");
    mat[axes..axes + 4].copy_from_slice(&(-1_i32).to_be_bytes());
    fs::write(at("h.mat"), &mat).unwrap();
    refusal(io::read_cube(&at("h.mat")), "negative");
}

/// NaN is the business of `Cube::check`, which names its place; a reader hands it on.
#[test]
fn nan_is_read_and_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.npy");
    let mut cube = small(SampleType::F32);
    cube.samples[[2, 1, 0]] = f32::NAN;
    io::write_cube(&path, &cube).unwrap();
    let mut back = io::read_cube(path.to_str().unwrap()).unwrap();
    assert!(refusal(back.check("nan.npy"), "nan.npy").contains("row 2, column 1, band 0"));
    back.mask_value(f64::NAN);
    back.check("nan.npy").unwrap();
}

#[test]
fn a_fused_image_has_the_grid_of_one_and_the_bands_of_the_other() {
    let hsi = rich().metadata;
    let msi = Metadata {
        grid: rich().metadata.grid.unwrap().cropped(1, 1),
        wavelengths: Some(vec![450.0, 550.0, 650.0]),
        nodata: Some(0.0),
        ..Metadata::default()
    };
    let fused = Metadata::of_fusion(&hsi, &msi);
    assert_eq!(fused.grid, msi.grid);
    assert_eq!((fused.wavelengths, fused.extra), (hsi.wavelengths, hsi.extra));
    assert_eq!(fused.nodata, Some(0.0));
}
