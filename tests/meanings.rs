//! What files say of their samples besides the samples: no data, masks, scale, order of axes, wavelengths. Files of other programs'
//! making (scripts/make_fixtures.py) and headers by hand.

use std::fs;

use crate::common::{fixture, fixture_samples, refusal};
use hsr_gpu::cube::{Cube, SampleType};
use hsr_gpu::io::{self, Arrangement, Axes};
use ndarray::{Array3, Axis, s};

/// The image of a file, with its notes.
fn read(spec: &str, arrangement: &Arrangement) -> (Cube, String) {
    let image = io::open_cube_as(spec, arrangement, usize::MAX).unwrap();
    (image.rows(0..image.dim().0).unwrap(), image.notes().join("\n"))
}

fn plain(name: &str) -> (Cube, String) {
    read(&fixture(name), &Arrangement::default())
}

fn in_order(axes: Axes) -> Arrangement {
    Arrangement {
        axes: Some(axes),
        ..Arrangement::default()
    }
}

/// Places of the pixels that are masked.
fn masked(cube: &Cube) -> Vec<(usize, usize)> {
    let valid = cube.valid.as_ref().unwrap();
    valid
        .indexed_iter()
        .filter(|(_, ok)| !**ok)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn netcdf_by_its_conventions() {
    let (cube, notes) = plain("cf.nc");
    assert_eq!(cube.samples.dim(), (3, 4, 5));
    assert_eq!(cube.sample_type, SampleType::F32);
    // _FillValue in one band, valid_range in another.
    assert_eq!(masked(&cube), [(0, 1), (2, 3)]);
    for ((at, x), stored) in cube.samples.indexed_iter().zip(&fixture_samples()) {
        let hidden = [(0, 1, 2), (2, 3, 4)].contains(&at);
        assert!(
            if hidden {
                x.is_nan()
            } else {
                *x == 0.5 * stored + 10.0
            },
            "{at:?}: {x}"
        );
    }
    let m = &cube.metadata;
    assert_eq!(m.wavelengths, Some(vec![400.0, 450.0, 500.0, 550.0, 600.5]));
    let grid = m.grid.as_ref().unwrap();
    assert_eq!(grid.transform.unwrap().0, [485.0, 30.0, 0.0, 4015.0, 0.0, -30.0]);
    assert_eq!(grid.epsg, Some(32633));
    assert!(notes.contains("times 0.5 plus 10"), "{notes}");
}

#[test]
fn products_of_pace() {
    let (cube, _) = plain("pace_l2.nc");
    assert_eq!(masked(&cube), [(1, 2)]);
    assert_eq!(cube.samples[[2, 3, 4]], 0.5 * 234.0 + 10.0);
    assert_eq!(
        cube.metadata.wavelengths,
        Some(vec![400.0, 450.0, 500.0, 550.0, 600.5])
    );
    let uncertainty = plain("pace_l2.nc:/geophysical_data/Rrs_unc").0;
    assert_eq!(masked(&uncertainty), masked(&cube));
    let (cube, _) = plain("pace_l3.nc");
    assert_eq!(cube.samples, fixture_samples());
    let grid = cube.metadata.grid.as_ref().unwrap();
    assert_eq!(grid.epsg, Some(4326));
    assert_eq!(grid.transform.unwrap().0, [19.875, 0.25, 0.0, 10.125, 0.0, -0.25]);
    assert_eq!(cube.metadata.wavelengths.as_ref().unwrap().len(), 5);
    // A file of wavelengths leaves the order of the axes to their names.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.csv");
    fs::write(&file, "1\n2\n3\n4\n5\n").unwrap();
    let given = Arrangement {
        wavelengths: Some(file.to_str().unwrap().to_owned()),
        ..Arrangement::default()
    };
    assert_eq!(read(&fixture("cf.nc"), &given).0.samples.dim(), (3, 4, 5));
}

#[test]
fn zarr_of_both_versions_by_the_same_conventions() {
    let (netcdf, _) = plain("cf.nc");
    for name in ["cf_v2.zarr", "cf_v3.zarr"] {
        let (cube, notes) = plain(name);
        assert_eq!(masked(&cube), masked(&netcdf), "{name}");
        let same = |a: &f32, b: &f32| a == b || a.is_nan() && b.is_nan();
        assert!(
            cube.samples.iter().zip(&netcdf.samples).all(|(a, b)| same(a, b)),
            "{name}"
        );
        assert_eq!(cube.sample_type, SampleType::F32);
        assert_eq!(cube.metadata.wavelengths, netcdf.metadata.wavelengths, "{name}");
        let grid = |cube: &Cube| {
            let grid = cube.metadata.grid.clone().unwrap();
            (grid.transform.unwrap().0, grid.epsg)
        };
        assert_eq!(grid(&cube), grid(&netcdf), "{name}");
        assert!(notes.contains("times 0.5 plus 10"), "{notes}");
        // By the name of the array, and by its folder.
        for spec in [format!("{name}:/refl"), format!("{name}/refl")] {
            let named = plain(&spec).0;
            assert_eq!(named.metadata.wavelengths, cube.metadata.wavelengths, "{spec}");
            assert_eq!(
                (masked(&named), grid(&named)),
                (masked(&cube), grid(&cube)),
                "{spec}"
            );
        }
    }
}

#[test]
fn damaged_zarr_is_refused_and_a_missing_chunk_is_the_fill_value() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("s.zarr");
    fs::create_dir_all(store.join("x")).unwrap();
    fs::write(store.join(".zgroup"), "{\"zarr_format\": 2}").unwrap();
    let text = r#"{"zarr_format": 2, "shape": [2, 3, 2], "chunks": [2, 2, 2], "dtype": "<u2", "compressor": null,
        "fill_value": 7, "order": "C", "filters": null}"#;
    let write = |text: &str, chunk: &[u8]| {
        fs::write(store.join("x/.zarray"), text).unwrap();
        fs::write(store.join("x/0.0.0"), chunk).unwrap();
    };
    let read = || io::read_cube(store.to_str().unwrap());
    let chunk: Vec<u8> = (0..8_u16).flat_map(u16::to_le_bytes).collect();
    write(text, &chunk);
    let cube = read().unwrap();
    let expected = [0.0, 1.0, 2.0, 3.0, 7.0, 7.0, 4.0, 5.0, 6.0, 7.0, 7.0, 7.0];
    assert!(cube.samples.iter().eq(&expected), "{:?}", cube.samples);
    assert_eq!(cube.sample_type, SampleType::U16);
    write(text, &chunk[1..]);
    assert!(refusal(read(), "0.0.0").contains("15 bytes"));
    for (from, to, word) in [
        ("null,\n", "{\"id\": \"zstd\"},\n", "damaged"),
        ("null,\n", "{\"id\": \"blosc\"},\n", "0.0.0"),
        ("null,\n", "{\"id\": \"bz2\"},\n", "bz2"),
        ("<u2", "<U2", "real numbers"),
        ("[2, 3, 2]", "[2, 3000000000, 2000]", "truncated"),
        ("[2, 2, 2]", "[2, 2, 9000000000000000000]", "addressed"),
        ("\"shape\"", "\"shap\"", "shape"),
        ("7,", "\"seven\",", "seven"),
        ("}", "", "damaged"),
    ] {
        write(&text.replace(from, to), &chunk);
        let said = refusal(read(), "s.zarr");
        assert!(said.contains(word), "{to}: {said}");
    }
}

#[test]
fn variables_a_band_are_one_image() {
    let (cube, notes) = plain("bands.nc");
    assert_eq!(
        cube.samples.slice(s![1.., .., ..]),
        fixture_samples().slice(s![1.., .., ..])
    );
    assert_eq!(masked(&cube), [(0, 1)]);
    assert_eq!(
        cube.metadata.wavelengths,
        Some(vec![443.0, 492.0, 560.0, 665.0, 865.0])
    );
    assert!(notes.contains("rhos_443"), "{notes}");
}

#[test]
fn cousins_of_the_conventions() {
    let (cube, _) = plain("neon.h5");
    assert_eq!(masked(&cube), [(1, 2)]);
    assert_eq!(
        (cube.samples[[0, 1, 2]], cube.sample_type),
        (12.0, SampleType::I16)
    );
    let m = &cube.metadata;
    assert_eq!(m.nodata, Some(-9999.0));
    assert_eq!(m.wavelengths, Some(vec![400.0, 450.0, 500.0, 550.0, 600.5]));
    assert_eq!(m.fwhm, Some(vec![5.0; 5]));
    assert_eq!(m.extra["reflectance scale factor"], "10000");
}

#[test]
fn sensor_geometry_goes_to_its_grid() {
    let (cube, notes) = plain("emit.nc");
    assert_eq!(cube.samples.dim(), (3, 5, 5));
    assert_eq!(masked(&cube), [(0, 0), (1, 0), (2, 0)]);
    // Upside down, behind a column that nobody sees.
    let flipped = fixture_samples().slice_move(s![..;-1, .., ..]);
    assert_eq!(cube.samples.slice(s![.., 1.., ..]), flipped);
    let m = &cube.metadata;
    assert_eq!(m.bad_bands, Some(vec![false, false, true, false, false]));
    assert_eq!(m.fwhm, Some(vec![8.5; 5]));
    let grid = m.grid.as_ref().unwrap();
    assert_eq!(grid.transform.unwrap().0, [10.0, 0.5, 0.0, 50.0, 0.0, -0.25]);
    assert_eq!(grid.epsg, Some(4326));
    assert!(notes.contains("lookup table"), "{notes}");
}

#[test]
fn filters_of_h5py() {
    let plain = io::read_cube(&fixture("filters.h5:plain")).unwrap();
    assert_eq!(
        io::read_cube(&fixture("filters.h5:lzf")).unwrap().samples,
        plain.samples
    );
}

#[test]
fn masks_of_a_tiff() {
    for name in ["mask_inside.tif", "mask_beside.tif"] {
        let (cube, _) = plain(name);
        assert_eq!(cube.samples, fixture_samples(), "{name}");
        assert_eq!(masked(&cube), [(1, 2)], "{name}");
        // Strips of it have it, too.
        let image = io::open_cube(&fixture(name), usize::MAX).unwrap();
        assert_eq!(masked(&image.rows(1..2).unwrap()), [(0, 2)]);
    }
    let (cube, notes) = plain("alpha.tif");
    assert_eq!((cube.bands(), masked(&cube)), (3, vec![(1, 2)]));
    assert!(notes.contains("transparency"), "{notes}");
    let (cube, notes) = plain("alpha_nir.tif");
    assert_eq!((cube.bands(), cube.valid.is_none()), (4, true));
    assert!(notes.contains("near infrared"), "{notes}");
}

#[test]
fn compressions_of_a_tiff() {
    for name in ["zstd.tif", "packbits.tif"] {
        let (cube, _) = plain(name);
        assert_eq!(cube.samples, fixture_samples(), "{name}");
        // Cut off, they are damaged and no image.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let bytes = fs::read(fixture(name)).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        refusal(io::read_cube(path.to_str().unwrap()), name);
    }
}

#[test]
fn arrays_in_a_tiff() {
    let (cube, notes) = plain("array_hwb.tif");
    assert_eq!(cube.samples, fixture_samples().permuted_axes([1, 0, 2]));
    assert!(notes.contains("tifffile"), "{notes}");
    let (cube, notes) = plain("array_bhw.tif");
    assert_eq!(cube.samples.dim(), (3, 4, 2));
    assert_eq!(notes, "");
}

#[test]
fn scale_and_wavelengths_of_a_tiff_go_to_envi_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let (cube, _) = plain("described.tif");
    assert_eq!(cube.samples, fixture_samples());
    let m = &cube.metadata;
    assert_eq!(m.wavelengths, Some(vec![400.0, 450.0, 500.0, 550.0, 600.5]));
    let list = |x: f64| format!("{{{}}}", vec![x.to_string(); 5].join(", "));
    assert_eq!(m.extra["data gain values"], list(0.5));
    assert_eq!(m.extra["data offset values"], list(-1.0));
    for name in ["a.hdr", "a.tif", "b.hdr"] {
        let path = folder.path().join(name);
        io::write_cube(&path, &cube).unwrap();
        let back = io::read_cube(path.to_str().unwrap()).unwrap();
        assert_eq!(back.metadata.extra["data gain values"], list(0.5), "{name}");
        assert_eq!(back.metadata.extra["data offset values"], list(-1.0), "{name}");
    }
}

#[test]
fn notes_of_gdal_beside_a_tiff() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tif");
    let cube = Cube::new(fixture_samples());
    io::write_cube(&path, &cube).unwrap();
    let xml = "<PAMDataset><SRS>GEOGCS[\"x\",AUTHORITY[\"EPSG\",\"4326\"]]</SRS><GeoTransform> 10, 0.5, 0, 50, 0, -0.5</GeoTransform>\
        <PAMRasterBand band=\"1\"><NoDataValue>1.12E+02</NoDataValue><Description>first</Description><Scale>0.1</Scale></PAMRasterBand>\
        </PAMDataset>";
    fs::write(folder.path().join("x.tif.aux.xml"), xml).unwrap();
    let back = io::read_cube(path.to_str().unwrap()).unwrap();
    assert_eq!(masked(&back), [(1, 1)]);
    assert_eq!(back.metadata.band_names.unwrap()[0], "first");
    let grid = back.metadata.grid.unwrap();
    assert_eq!(grid.transform.unwrap().0, [10.0, 0.5, 0.0, 50.0, 0.0, -0.5]);
    assert_eq!(grid.epsg, Some(4326));
}

#[test]
fn no_data_in_few_digits() {
    let mut cube = Cube::new(fixture_samples());
    cube.samples[[1, 1, 1]] = f32::MIN;
    cube.mask_value("-3.40282e+38".parse().unwrap());
    assert_eq!(masked(&cube), [(1, 1)]);
    // An integer is what it is.
    let mut cube = Cube::new(Array3::from_elem((1, 1, 1), -9999.01));
    cube.mask_value(-9999.0);
    assert_eq!(cube.masked_pixels(), 0);
}

/// Two images of one stem with a header each, as GDAL names them, and headers of other programs.
#[test]
fn headers_of_envi_and_their_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let spec = |name: &str| path(name).to_str().unwrap().to_owned();
    let header = |more: &str| {
        format!(
            "ENVI\nsamples = 2\nlines = 1\nbands = 2\ndata type = 1\ninterleave = bsq\nbyte order = 0\n{more}"
        )
    };
    let write = |name: &str, bytes: &[u8]| fs::write(path(name), bytes).unwrap();
    let samples = |name: &str| {
        io::read_cube(&spec(name))
            .unwrap()
            .samples
            .into_raw_vec_and_offset()
            .0
    };

    write("s.bil", &[1, 2, 3, 4]);
    write("s.hdr", header("").replace("bsq", "bil").as_bytes());
    write("s.bsq", &[5, 6, 7, 8]);
    write("s.bsq.hdr", header("").as_bytes());
    assert_eq!(samples("s.bsq"), [5.0, 7.0, 6.0, 8.0]);
    assert_eq!(samples("s.bil"), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(samples("s.hdr"), samples("s.bil"));
    assert_eq!(samples("s.bsq.hdr"), samples("s.bsq"));

    for ending in ["hyspex", "bin", "ref", "fla", "raw"] {
        let stem = format!("e_{ending}");
        write(&format!("{stem}.{ending}"), &[1, 2, 3, 4]);
        write(&format!("{stem}.hdr"), header("").as_bytes());
        write(&format!("{stem}.txt"), b"a note");
        assert_eq!(samples(&format!("{stem}.hdr")), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(samples(&format!("{stem}.{ending}")), [1.0, 3.0, 2.0, 4.0]);
    }
    write("capital.dat", &[1, 2, 3, 4]);
    write("capital.Hdr", header("").as_bytes());
    assert_eq!(samples("capital.dat"), [1.0, 3.0, 2.0, 4.0]);

    write("long.img", &[1, 2, 3, 4, 9, 9, 9]);
    write("long.hdr", header("").as_bytes());
    let (cube, notes) = read(&spec("long.hdr"), &Arrangement::default());
    assert_eq!(cube.samples.len(), 4);
    assert!(notes.contains("3 bytes behind the last sample"), "{notes}");
}

#[test]
fn the_header_of_a_tiff() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    io::write_cube(path("x.tif"), &Cube::new(fixture_samples())).unwrap();
    let header = |columns: usize| {
        format!(
            "ENVI\nsamples = {columns}\nlines = 3\nbands = 5\nfile type = TIFF\ndata type = 4\ninterleave = tif\nbyte order = 0\n\
             wavelength units = Unknown\nwavelength = {{0.4, 0.45, 0.5, 0.55, 0.6}}\nbbl = {{1, 1, 0, 1, 1}}\ndata ignore value = 12\n"
        )
    };
    fs::write(path("x.hdr"), header(4)).unwrap();
    for name in ["x.tif", "x.hdr"] {
        let (cube, notes) = read(&path(name), &Arrangement::default());
        assert_eq!(cube.samples, fixture_samples());
        assert_eq!(
            cube.metadata.wavelengths,
            Some(vec![400.0, 450.0, 500.0, 550.0, 600.0])
        );
        assert!(cube.metadata.is_bad(2));
        assert_eq!(masked(&cube), [(0, 1)]);
        assert!(notes.contains("micrometres"), "{notes}");
    }
    // Of another image.
    fs::write(path("x.hdr"), header(5)).unwrap();
    assert_eq!(plain_at(&path("x.tif")).metadata.wavelengths, None);
    refusal(io::read_cube(&path("x.hdr")), "x.hdr");
}

fn plain_at(spec: &str) -> Cube {
    io::read_cube(spec).unwrap()
}

#[test]
fn arrays_in_structures_and_cells() {
    let expected = fixture_samples();
    let (cube, _) = plain("inside.mat");
    assert_eq!(cube.samples, expected);
    assert_eq!(
        cube.metadata.wavelengths,
        Some(vec![400.0, 450.0, 500.0, 550.0, 600.5])
    );
    assert_eq!(
        plain_at(&fixture("inside.mat:data.parts{1}.cube")).samples,
        expected
    );
    // What lies beside comes before what lies inside.
    assert_eq!(
        plain_at(&fixture("v7.mat")).metadata.wavelengths.unwrap().len(),
        5
    );
    assert_eq!(plain_at(&fixture("v7.mat:nested.cube")).samples, expected);
    let text = refusal(io::read_cube(&fixture("v7.mat:nested.none")), "v7.mat");
    assert!(text.contains("nested.cube (3 x 4 x 5)"), "{text}");
}

#[test]
fn axes_in_every_order_and_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let expected = fixture_samples();
    for (axes, order) in [
        (Axes::Hwb, [0, 1, 2]),
        (Axes::Bhw, [2, 0, 1]),
        (Axes::Hbw, [0, 2, 1]),
    ] {
        let stored = Cube::new(
            expected
                .clone()
                .permuted_axes(order)
                .as_standard_layout()
                .into_owned(),
        );
        for name in ["a.npy", "a.npz", "a.mat"] {
            io::write_cube(path(name), &stored).unwrap();
            let (cube, _) = read(&path(name), &in_order(axes));
            assert_eq!(cube.samples, expected, "{name} {axes:?}");
        }
    }
    // Lengths that speak against the default are told.
    let odd = Cube::new(Array3::zeros((5, 20, 20)));
    io::write_cube(path("odd.npy"), &odd).unwrap();
    let (_, notes) = read(&path("odd.npy"), &Arrangement::default());
    assert!(notes.contains("the setting axes bhw"), "{notes}");
    assert_eq!(read(&path("odd.npy"), &in_order(Axes::Bhw)).1, "");
    let text = refusal(
        io::open_cube_as(&fixture("zstd.tif"), &in_order(Axes::Bhw), 0).map(drop),
        "zstd.tif",
    );
    assert!(text.contains("the setting axes"), "{text}");
}

#[test]
fn bands_times_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let sized = |rows, columns| Arrangement {
        size: Some((rows, columns)),
        ..Arrangement::default()
    };
    let expected = fixture_samples();
    // MATLAB counts pixels down the columns.
    assert_eq!(read(&fixture("pixels.mat:Y"), &sized(3, 4)).0.samples, expected);
    // NumPy along the rows, pixels first or last.
    let flat = expected.clone().into_shape_with_order((12, 5)).unwrap();
    for matrix in [
        flat.clone(),
        flat.reversed_axes().as_standard_layout().into_owned(),
    ] {
        io::write_matrix(path("p.npy"), &matrix.mapv(f64::from)).unwrap();
        assert_eq!(read(&path("p.npy"), &sized(3, 4)).0.samples, expected);
    }
    let text = refusal(
        io::open_cube_as(&path("p.npy"), &sized(3, 5), 0).map(drop),
        "p.npy",
    );
    assert!(text.contains("the setting shape"), "{text}");
}

#[test]
fn wavelengths_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    io::write_cube(path("x.npy"), &Cube::new(fixture_samples())).unwrap();
    let centres = ndarray::array![[0.4, 0.45, 0.5, 0.55, 0.6]];
    io::write_matrix(path("x.wl.npy"), &centres).unwrap();
    let (cube, notes) = read(&path("x.npy"), &Arrangement::default());
    let nm = vec![400.0, 450.0, 500.0, 550.0, 600.0];
    assert_eq!(cube.metadata.wavelengths, Some(nm.clone()));
    assert!(notes.contains("x.wl.npy"), "{notes}");
    let given = |file: &str| Arrangement {
        wavelengths: Some(path(file)),
        ..Arrangement::default()
    };
    let mut both = Array3::zeros((1, 5, 2)).remove_axis(Axis(0));
    both.column_mut(0).assign(&ndarray::arr1(&nm));
    both.column_mut(1).fill(7.5);
    io::write_matrix(path("both.csv"), &both).unwrap();
    let (cube, _) = read(&path("x.npy"), &given("both.csv"));
    assert_eq!(
        (cube.metadata.wavelengths, cube.metadata.fwhm),
        (Some(nm), Some(vec![7.5; 5]))
    );
    io::write_matrix(path("few.csv"), &ndarray::array![[1.0, 2.0]]).unwrap();
    refusal(
        io::open_cube_as(&path("x.npy"), &given("few.csv"), 0).map(drop),
        "few.csv",
    );
}
