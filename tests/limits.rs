//! What a system may not give (memory, threads, sizes of files) and samples that are none: one line, and nothing is lost.

#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::process::{Command, Output};

use crate::common::{Folder, besides_times, fixture, scene};
use hsr_gpu::cube::SampleType;
use hsr_gpu::io::{open_image, read_array, read_cube, write_cube};
use ndarray::{Array2, Array3, ArrayD, IxDyn};

/// Runs the program under a limit of the shell's `ulimit`.
fn limited(folder: &Folder, limit: &str, arguments: &str) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_hsr-gpu");
    let Output { status, stderr, .. } = Command::new("sh")
        .args(["-c", &format!("ulimit {limit} && exec {program} {arguments}")])
        .current_dir(folder.path(""))
        .env("HSR_GPU_CACHE", "off")
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Runs the program as a user without rights, whose processes and threads may be so many; `None` where this test may not become one.
#[cfg(target_os = "linux")]
fn with_threads(folder: &Folder, most: usize, arguments: &str) -> Option<(Option<i32>, String)> {
    use std::os::unix::process::CommandExt;
    let shell = fs::metadata("/bin/bash").is_ok();
    if !rustix::process::geteuid().is_root() || !shell {
        return None;
    }
    // A user of whom nothing else runs.
    const NOBODY: u32 = 61_023;
    let program = env!("CARGO_BIN_EXE_hsr-gpu");
    let Output { status, stderr, .. } = Command::new("/bin/bash")
        .args(["-c", &format!("ulimit -u {most} && exec {program} {arguments}")])
        .current_dir(folder.path(""))
        .env("HSR_GPU_CACHE", "off")
        .env_remove("XDG_RUNTIME_DIR")
        .uid(NOBODY)
        .output()
        .unwrap();
    Some((status.code(), String::from_utf8(stderr).unwrap()))
}

#[test]
#[cfg(target_os = "linux")]
fn few_threads_are_enough_or_one_line() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.cube("hsi.npy", &scene(12, 12, 6));
    folder.cube("msi.npy", &scene(24, 24, 3));
    fs::write(folder.path("scenes.txt"), "hsi.npy,msi.npy\n").unwrap();
    for open in ["", "hsi.npy", "msi.npy", "scenes.txt"] {
        fs::set_permissions(folder.path(open), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let fuse = "--steps 4 --finetune-steps 2 --backend cpu";
    for most in [1, 2, 3, 4, 8] {
        for arguments in [
            format!("fuse hsi.npy msi.npy -o z{most}.npy {fuse}"),
            format!("batch scenes.txt --out b{most} -- {fuse}"),
            "info hsi.npy".to_owned(),
        ] {
            let Some((code, said)) = with_threads(&folder, most, &arguments) else {
                println!("skipped: this test becomes another user, which takes root and bash");
                return;
            };
            assert!(!said.contains("panicked"), "{most}: {arguments}: {said}");
            if most == 1 {
                assert_eq!((code, besides_times(&said).len()), (Some(1), 1), "{said}");
                assert!(said.contains("ulimit -u"), "{said}");
            } else if !arguments.starts_with("batch") {
                assert_eq!(code, Some(0), "{most}: {arguments}: {said}");
            }
        }
    }
}

#[test]
fn a_matrix_is_no_longer_unpacked_than_in_a_file() {
    let folder = Folder::new();
    folder.cube("hsi.npy", &scene(12, 12, 6));
    folder.cube("msi.npy", &scene(24, 24, 3));
    // 300 MB of zeros.
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (6250, 6000), }";
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:117}\n").bytes());
    let mut archive = zip::ZipWriter::new(fs::File::create(folder.path("bomb.npz")).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("x.npy", options).unwrap();
    archive.write_all(&bytes).unwrap();
    let zeros = vec![0; 1_000_000];
    for _ in 0..300 {
        archive.write_all(&zeros).unwrap();
    }
    archive.finish().unwrap();
    for option in ["--psf", "--srf", "--wavelengths"] {
        let arguments = format!("estimate --hsi hsi.npy --msi msi.npy {option} bomb.npz");
        let (code, said) = limited(&folder, "-v 400000", &arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("bomb.npz: is 300 MB long"), "{said}");
    }
}

#[test]
fn files_that_may_not_grow_and_memory_that_is_not_there_are_one_line() {
    let folder = Folder::new();
    folder.cube("x.npy", &scene(64, 64, 8));
    fs::write(folder.path("o.npy"), b"old").unwrap();
    let before = folder.names();
    let (code, said) = limited(&folder, "-f 8", "convert x.npy o.npy --threads 1");
    assert_eq!((code, besides_times(&said).len()), (Some(1), 1), "{said}");
    assert!(said.contains("o.npy: writing failed"), "{said}");
    assert_eq!(folder.names(), before);
    assert_eq!(fs::read(folder.path("o.npy")).unwrap(), b"old");
    folder.cube("l.npy", &scene(400, 400, 100));
    let (code, said) = limited(&folder, "-v 120000", "convert l.npy l.mat --threads 1");
    assert_eq!((code, besides_times(&said).len()), (Some(1), 1), "{said}");
    assert!(said.contains("out of memory"), "{said}");
    assert!(!folder.path("l.mat").exists());
}

#[test]
fn threads_beyond_sense_are_refused() {
    let folder = Folder::new();
    folder.cube("x.npy", &scene(4, 4, 2));
    let error = folder.refused("info x.npy --threads 1024");
    assert!(
        error.contains("--threads 1024") && error.contains("cores"),
        "{error}"
    );
    folder.good("info x.npy --threads 64");
}

#[test]
fn matrices_and_masks_are_looked_at_before_they_are_read() {
    let folder = Folder::new();
    folder.cube("x.npy", &scene(4, 4, 6));
    folder.cube("y.npy", &scene(16, 16, 2));
    let sparse = fs::File::create(folder.path("p.npy")).unwrap();
    sparse.set_len(320 << 30).unwrap();
    let error = folder.refused("estimate --hsi x.npy --msi y.npy --psf p.npy");
    assert!(error.contains("p.npy: is 343597 MB long"), "{error}");
    folder.cube("m.npy", &scene(3, 5, 1));
    let error = folder.refused("estimate --hsi x.npy --msi y.npy --hsi-mask m.npy");
    assert!(error.contains("the mask is 3 x 5"), "{error}");
    let error = folder.refused("fuse --hsi x.npy --msi y.npy --out o.npy --adapter= ");
    assert!(error.contains("--adapter is empty"), "{error}");
    fs::write(
        folder.path("c.toml"),
        "[network]\nencoder = [4096, 4096, 4096]\nmembers = 64\n",
    )
    .unwrap();
    let error = folder.refused("fuse --hsi x.npy --msi y.npy --out o.npy --backend cpu --config c.toml");
    assert!(error.contains("Adam's moments"), "{error}");
    let error = folder.refused("fuse --hsi x.npy --msi y.npy --out o.npy --seed 9223372036854775808");
    assert!(error.contains("seed must be at most"), "{error}");
}

#[test]
fn what_a_terminal_obeys_is_shown_and_not_done() {
    let folder = Folder::new();
    let out = Command::new(env!("CARGO_BIN_EXE_hsr-gpu"))
        .args(["info", "a\u{1b}[31m.npy"])
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(
        !said.contains('\u{1b}') && said.contains("\\u{1b}[31m.npy"),
        "{said}"
    );
    let error = folder.refused(&format!("info {}.npy", "n".repeat(50_000)));
    assert!(error.len() < 3000, "{}", error.len());
}

#[test]
fn valid_samples_are_never_the_no_data_value() {
    let folder = Folder::new();
    // Masked where it is 7: what is 7 after rounding must not be.
    let mut image = scene(4, 4, 3);
    image.samples.fill(6.9);
    image.samples[[0, 0, 0]] = 7.0;
    image.mask_value(7.0);
    for name in ["u8.tif", "u16.img", "f16.npy", "f32.tif"] {
        folder.cube("x.tif", &image);
        let kind = name.split('.').next().unwrap();
        folder.good(&format!("convert x.tif {name} --type {kind} --nodata 7 --quiet"));
        let back = open_image(&folder.path(name).to_string_lossy(), Some(7.0), usize::MAX).unwrap();
        use hsr_gpu::cube::strips::Strips;
        assert_eq!(back.rows(0..4).unwrap().masked_pixels(), 1, "{name}");
    }
    // A result with 0 for no data whose samples are 0 in all bands of a pixel.
    let mut zero = scene(2, 2, 2);
    zero.samples.fill(0.0);
    zero.metadata.nodata = Some(0.0);
    zero.valid = Some(Array2::from_elem((2, 2), true));
    write_cube(folder.path("z.tif"), &zero).unwrap();
    let back = read_cube(&folder.path("z.tif").to_string_lossy()).unwrap();
    assert_eq!(back.masked_pixels(), 0);
    assert!(back.samples.iter().all(|&x| x == f32::MIN_POSITIVE));
}

/// An array of eight-byte samples as NumPy writes it.
fn npy(folder: &Folder, name: &str, kind: &str, values: &[[u8; 8]]) {
    let header = format!(
        "{{'descr': '{kind}', 'fortran_order': False, 'shape': (1, {}, 1), }}",
        values.len()
    );
    let length = (10 + header.len() + 1).next_multiple_of(64);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((length - 10) as u16).to_le_bytes());
    bytes.extend(format!("{header:width$}\n", width = length - 11).bytes());
    bytes.extend(values.iter().flatten());
    fs::write(folder.path(name), bytes).unwrap();
}

#[test]
fn conversion_of_netcdf_keeps_what_the_type_holds() {
    let folder = Folder::new();
    let wide = fixture("wide.nc");
    let back = |name: &str| -> ArrayD<f64> {
        let said = folder.run(&format!("convert {wide}:/{name} back.npy"));
        let said = String::from_utf8(said.stderr).unwrap();
        assert!(!said.contains("difference"), "{said}");
        read_array(folder.path("back.npy")).unwrap()
    };
    let doubles = [1e300, 1e-300, 0.1, 16_777_217.0, -1.0, 2.5];
    assert!(back("doubles").iter().eq(&doubles));
    back("integers");
    let integers: [i64; 6] = [i64::MAX, 16_777_217, -9_007_199_254_740_993, 0, 1, 2];
    let bytes: Vec<u8> = integers.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(fs::read(folder.path("back.npy")).unwrap()[128..], bytes);
    // What stored integers of 32 bits stand for are doubles.
    let scaled: Vec<f64> = [123_456_789, -5, i32::MAX, 0, 16_777_217, 1]
        .map(|n| f64::from(n) * 1e-6 + 0.25)
        .into();
    assert!(back("scaled").iter().eq(&scaled));
}

#[test]
fn the_no_data_value_is_written_whole() {
    let folder = Folder::new();
    // Single precision has -2147483648 for it, which other programs take for data.
    let nodata: i32 = -2_147_483_647;
    let mut masked = scene(2, 2, 1);
    masked.sample_type = SampleType::I32;
    masked.metadata.nodata = Some(f64::from(nodata));
    masked.valid = Some(Array2::from_shape_fn((2, 2), |at| at != (1, 0)));
    write_cube(folder.path("m.img"), &masked).unwrap();
    let bytes = fs::read(folder.path("m.img")).unwrap();
    assert_eq!(bytes[8..12], nodata.to_le_bytes());
    folder.good("convert m.img again.bip --quiet");
    assert_eq!(fs::read(folder.path("again.bip")).unwrap(), bytes);
}

#[test]
fn conversion_keeps_what_the_type_holds_and_says_what_it_does_not() {
    let folder = Folder::new();
    let doubles = [1e300, 1e-300, 16_777_217.0, 0.1, -1.0, f64::MAX];
    npy(&folder, "d.npy", "<f8", &doubles.map(f64::to_le_bytes));
    let integers = [i64::MAX, i64::MIN, 16_777_217, -9_007_199_254_740_993, 0, 1];
    npy(&folder, "i.npy", "<i8", &integers.map(i64::to_le_bytes));
    let unsigned = [u64::MAX, u64::MAX - 1, 16_777_217, 9_007_199_254_740_993, 0, 1];
    npy(&folder, "u.npy", "<u8", &unsigned.map(u64::to_le_bytes));
    let whole = |name: &str| fs::read(folder.path(name)).unwrap();
    let data = |name: &str| whole(name)[128..].to_vec();
    for source in ["d.npy", "i.npy", "u.npy"] {
        for way in ["w.img", "w.bip", "w.tif", "w.mat", "w.npz"] {
            for old in ["w.img", "w.bip", "w.tif", "w.hdr"] {
                let _ = fs::remove_file(folder.path(old));
            }
            let said = folder.run(&format!("convert {source} {way}"));
            assert!(said.status.success(), "{source} {way}");
            let said = String::from_utf8(said.stderr).unwrap();
            assert!(!said.contains("difference"), "{source} {way}: {said}");
            folder.good(&format!("convert {way} back.npy --quiet"));
            assert!(data("back.npy") == data(source), "{source} through {way}");
        }
    }
    let said = folder.run("convert i.npy s.npy --type f32");
    assert!(
        String::from_utf8(said.stderr)
            .unwrap()
            .contains("the largest difference is 1e0")
    );
    let array: ArrayD<f64> = read_array(folder.path("s.npy")).unwrap();
    assert_eq!(array[IxDyn(&[0, 2, 0])], 16_777_216.0);
    // Folders of bands and virtual images are as exact as their files.
    fs::create_dir(folder.path("bands")).unwrap();
    for band in 1..=2 {
        folder.good(&format!("convert d.npy bands/x_{band}.tif --quiet"));
    }
    let band = |number: usize| {
        format!(
            "<VRTRasterBand dataType=\"Float64\" band=\"{number}\"><SimpleSource><SourceFilename relativeToVRT=\"1\">bands/x_{number}.tif\
             </SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        )
    };
    let text = format!(
        "<VRTDataset rasterXSize=\"6\" rasterYSize=\"1\">{}{}</VRTDataset>",
        band(1),
        band(2)
    );
    fs::write(folder.path("two.vrt"), text).unwrap();
    for source in ["bands", "two.vrt"] {
        folder.good(&format!("convert {source} back.npy --quiet"));
        let array: ArrayD<f64> = read_array(folder.path("back.npy")).unwrap();
        let twice = doubles.iter().flat_map(|&x| [x, x]);
        assert!(array.iter().copied().eq(twice), "{source}: {array}");
    }
    folder.cube(
        "f.npy",
        &hsr_gpu::cube::Cube::new(Array3::from_elem((2, 2, 2), 0.25)),
    );
    let said = folder.run("convert f.npy b.npy --type u8");
    assert!(
        String::from_utf8(said.stderr)
            .unwrap()
            .contains("the largest difference is 2.5e-1")
    );
}
