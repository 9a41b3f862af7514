//! Damaged files, by the thousand: a reader answers with an image or an error, never with a panic, and never
//! asks for more memory than its format's documentation allows.
//!
//! The random numbers have a fixed seed, so a failure repeats. Memory is counted by an allocator of this test
//! program, per thread, as the largest amount held at once above what was held before the call.

// The helpers of a test fail as the test itself does: by unwrapping.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::panic::catch_unwind;

use hsr_gpu::io;

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more, and nothing that is measured.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// One to eight damages: a bit flipped, a byte or a word of extreme value, a piece cut out or doubled, the end cut.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    // Headers are where damage has consequences: half of it falls into the first bytes.
    for _ in 0..=random.below(8) {
        let length = match random.below(2) {
            0 => bytes.len().min(256),
            _ => bytes.len(),
        };
        if length == 0 {
            return;
        }
        let at = random.below(length);
        match random.below(7) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'9', b'{', b'('][random.below(7)],
            3 => bytes[at] = random.next() as u8,
            4 => {
                let end = bytes.len().min(at + 4);
                bytes[at..end].fill([0, 0xff, 0x7f][random.below(3)]);
            }
            5 => {
                let end = bytes.len().min(at + 1 + random.below(16));
                let piece: Vec<u8> = bytes.drain(at..end).collect();
                if random.below(2) == 0 {
                    bytes.splice(at..at, piece.repeat(2));
                }
            }
            _ if random.below(4) == 0 => bytes.truncate(at),
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
    }
}

/// Fuzzes one fixture and says how many damaged files were still read and how many refused.
fn fuzz(name: &str, target: &str, cases: u64, bytes_per_byte: usize) {
    let fixtures = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let whole = fs::read(format!("{fixtures}/{name}")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(target);
    if target.starts_with("spy_") {
        for file in ["spy_bil.hdr", "spy_bil.img"] {
            fs::copy(format!("{fixtures}/{file}"), folder.path().join(file)).unwrap();
        }
    }
    let spec = path.to_str().unwrap().to_owned();
    let (mut read, mut refused, mut worst) = (0, 0, 0);
    for case in 0..cases {
        let mut random = Random(case.wrapping_mul(0x1234_5678_9abc_def1));
        let mut bytes = whole.clone();
        damage(&mut bytes, &mut random);
        fs::write(&path, &bytes).unwrap();
        let before = HELD.get();
        PEAK.set(before);
        let result = catch_unwind(|| (io::read_cube(&spec).map(drop), io::read_matrix(&spec).map(drop)));
        let peak = (PEAK.get() - before) as usize;
        let Ok((cube, matrix)) = result else {
            panic!("case {case} of {name} panicked");
        };
        // 2 MiB: one block of bytes, stream buffers and the inflater's window.
        let allowed = bytes_per_byte * (bytes.len() + 512) + (2 << 20);
        worst = worst.max(peak);
        assert!(
            peak <= allowed,
            "case {case} of {name}: {peak} bytes held, {allowed} allowed"
        );
        for error in [cube.err(), matrix.err()].into_iter().flatten() {
            assert_eq!(error.exit_code(), 2, "case {case} of {name}: {error}");
            assert!(
                !error.to_string().contains('\n'),
                "case {case} of {name}: {error}"
            );
            refused += 1;
        }
        read += 2;
    }
    read -= refused;
    println!("{name}: {read} read, {refused} refused, at most {worst} bytes held");
    assert!(refused > 0 && worst > 0);
}

#[test]
fn damaged_npy() {
    for name in ["version2.npy", "fortran_big_endian.npy", "bool.npy"] {
        fuzz(name, "x.npy", 1500, 16);
    }
}

#[test]
fn damaged_matlab_5() {
    fuzz("v5.mat", "x.mat", 1500, 16);
    fuzz("big_endian.mat", "x.mat", 1500, 16);
    fuzz("v7.mat", "x.mat", 2000, 16 * 1032);
}

#[test]
fn damaged_matlab_73() {
    fuzz("v73.mat", "x.mat", 3000, 16 * 1032);
}

#[test]
fn damaged_npz() {
    fuzz("stored.npz", "x.npz", 1500, 64);
    fuzz("deflated.npz", "x.npz", 1500, 16 * 1032);
}

#[test]
fn damaged_hdf5() {
    fuzz("groups.h5", "x.h5", 2000, 16 * 1032);
    fuzz("prisma_l2d.he5", "x.he5", 2000, 16 * 1032);
}

#[test]
fn damaged_png() {
    fuzz("bands_ms/scene_ms_8.png", "x.png", 1500, 16 * 1032);
}

#[test]
fn damaged_envi() {
    // A name or a list entry in a header costs some dozens of bytes, whatever it says.
    fuzz("spy_bil.hdr", "spy_bil.hdr", 3000, 128);
    fuzz("spy_bil.img", "spy_bil.img", 300, 16);
}

#[test]
fn damaged_tiff() {
    for name in ["gdal_rgb_more", "tifffile_bigtiff_big_endian", "tifffile_pages"] {
        fuzz(&format!("{name}.tif"), "x.tif", 1500, 128);
    }
    for name in ["gdal_planar_deflate", "gdal_tiles_float", "tifffile_big_endian"] {
        fuzz(&format!("{name}.tif"), "x.tif", 1500, 16 * 1032);
    }
    for name in ["gdal_strips_lzw", "gdal_bigtiff_tiles"] {
        fuzz(&format!("{name}.tif"), "x.tif", 1500, 16 * 2731);
    }
}

#[test]
fn damaged_enmap() {
    let folder = tempfile::tempdir().unwrap();
    let tiff = format!(
        "{}/tests/fixtures/gdal_planar_deflate.tif",
        env!("CARGO_MANIFEST_DIR")
    );
    fs::copy(tiff, folder.path().join("E-SPECTRAL_IMAGE.TIF")).unwrap();
    let path = folder.path().join("E-METADATA.XML");
    let bands: String = (1..=5)
        .map(|n| {
            format!(
                "<bandID number=\"{n}\"><wavelengthCenterOfBand>{n}00</wavelengthCenterOfBand></bandID>\n"
            )
        })
        .collect();
    let whole = format!(
        "<level_X><specific><bandCharacterisation>{bands}</bandCharacterisation><vnirProductQuality>\
         <expectedChannelsList>1,2,3</expectedChannelsList></vnirProductQuality></specific></level_X>"
    );
    fs::write(&path, &whole).unwrap();
    assert_eq!(
        io::read_cube(path.to_str().unwrap())
            .unwrap()
            .metadata
            .wavelengths
            .unwrap()[4],
        500.0
    );
    for case in 0..2000 {
        let mut bytes = whole.clone().into_bytes();
        damage(&mut bytes, &mut Random(case));
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = io::read_cube(path.to_str().unwrap()) {
            assert_eq!(error.exit_code(), 2, "case {case}: {error}");
            assert!(!error.to_string().contains('\n'), "case {case}: {error}");
        }
    }
}

#[test]
fn damaged_zarr() {
    // Array, its JSON and one of its chunks.
    let stores = [
        ("cf_v2.zarr", ".zarray", "0.0.0"),
        ("cf_v3.zarr", "zarr.json", "c/0/0/0"),
    ];
    for (store, mark, chunk) in stores {
        let from = format!("{}/tests/fixtures/{store}/refl", env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let array = folder.path().join("refl");
        fs::create_dir_all(array.join("c/0/0")).unwrap();
        let spec = array.to_str().unwrap();
        let whole = [mark, chunk].map(|name| fs::read(format!("{from}/{name}")).unwrap());
        let put = |bytes: &[Vec<u8>; 2]| {
            fs::write(array.join(mark), &bytes[0]).unwrap();
            fs::write(array.join(chunk), &bytes[1]).unwrap();
        };
        put(&whole);
        assert_eq!(io::read_cube(spec).unwrap().samples.len(), 60);
        let (mut refused, mut worst) = (0, 0);
        for case in 0..2000 {
            let mut bytes = whole.clone();
            damage(&mut bytes[case as usize % 2], &mut Random(case));
            put(&bytes);
            let before = HELD.get();
            PEAK.set(before);
            let read = catch_unwind(|| io::read_cube(spec));
            worst = worst.max(PEAK.get() - before);
            let Ok(read) = read else {
                panic!("case {case} of {store} panicked");
            };
            if let Err(error) = read {
                assert_eq!(error.exit_code(), 2, "case {case} of {store}: {error}");
                assert!(
                    !error.to_string().contains('\n'),
                    "case {case} of {store}: {error}"
                );
                refused += 1;
            }
        }
        println!("{store}: {refused} of 2000 refused, at most {worst} bytes held");
        // 16 MiB of bytes are 64 MiB of singles, and once more where axes are turned.
        assert!(refused > 500 && worst < 200 << 20, "{refused} {worst}");
    }
}

#[test]
fn damaged_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    let whole = b"# response\nred,green,blue\n0.1,2e-3,-4\n5;6;7\n1 2 3\n".repeat(5);
    for case in 0..2000 {
        let mut bytes = whole.clone();
        damage(&mut bytes, &mut Random(case));
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = io::read_matrix(path.to_str().unwrap()) {
            assert_eq!(error.exit_code(), 2, "case {case}: {error}");
        }
    }
}
