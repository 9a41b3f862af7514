//! Scenes whose images do not fit: they lie on disk, with the bits of a run that holds them, and nothing of them is left
//! however the run ends.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::{Folder, wait_until};
use hsr_gpu::coordination::checkpoint;
use hsr_gpu::cube::Cube;
use hsr_gpu::io::{read_cube, write_matrix};
use ndarray::{Array2, Array3, s};

/// So much that the scene is in memory, and its result is not: what the program takes (400 MiB), and 800 kB.
const BETWEEN: &str = "420230400";
/// So little that both are on disk.
const TINY: &str = "1MB";

/// A smooth scene with edges, and a part that the response of [`pair`] does not see, so that refinement has to spread it.
fn truth(rows: usize, columns: usize, bands: usize) -> Cube {
    Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
        let field = ((r / 12 * 7 + c / 10 * 3) % 5) as f32 / 10.0;
        let hidden =
            0.1 * (10.0 * field - 2.0) * (r as f32 / 23.0).sin() * if b % 2 == 0 { 1.0 } else { -1.0 };
        let (wave, b) = ((r as f32 / 9.0 + c as f32 / 7.0).sin(), b as f32 / bands as f32);
        0.5 + field * (1.0 - b) + 0.1 * wave * (0.5 + b) + hidden
    }))
}

/// x.npy and y.npy of a scene, the MSI noisy, so that it is denoised; x.bil and y.tif of the same, x.mat; holes.npy, an MSI
/// with no-data pixels; and half.npy, the MSI half a pixel off.
fn pair() -> Folder {
    let folder = Folder::new();
    folder.cube("z.npy", &truth(96, 80, 12));
    let response = Array2::from_shape_fn((12, 3), |(i, j)| if i / 4 == j { 0.25 } else { 0.0 });
    write_matrix(folder.path("r.csv"), &response).unwrap();
    folder.good(
        "simulate --hsi z.npy --psf gaussian:1.2,0.8,0.3 --kernel 4 --srf r.csv --scale 4 --snr-msi 35 --snr-hsi 60 --out-hsi x.npy \
         --out-msi y.npy",
    );
    folder.good("convert x.npy x.bil");
    folder.good("convert x.npy x.mat");
    folder.good("convert y.npy y.tif");
    let mut msi = read_cube(folder.path("y.npy").to_str().unwrap()).unwrap();
    let clean = msi.samples.clone();
    msi.samples.slice_mut(s![9..11, 7, ..]).fill(-1.0);
    folder.cube("holes.npy", &msi);
    for c in 0..79 {
        let mean = (&clean.slice(s![.., c, ..]) + &clean.slice(s![.., c + 1, ..])) / 2.0;
        msi.samples.slice_mut(s![.., c, ..]).assign(&mean);
    }
    folder.cube("half.npy", &msi);
    fs::create_dir(folder.path("scratch")).unwrap();
    folder
}

fn nothing_left(folder: &Folder) {
    let left = fs::read_dir(folder.path("scratch")).unwrap().count();
    assert_eq!(left, 0);
    let names = folder.names();
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
}

/// Blind and not, with and without refinement, masks and registration, formats that are read in strips and whole.
#[test]
fn a_fusion_on_disk_has_the_bits_of_one_in_memory() {
    let folder = pair();
    let mut guided = false;
    for (pair, options) in [
        (
            "--hsi x.npy --msi y.npy",
            "--save-std s.npy --reference z.npy --report page",
        ),
        ("--hsi x.bil --msi y.tif", "--kernel 7"),
        ("--hsi x.mat --msi y.npy", "--refine off"),
        ("--hsi x.bil --msi holes.npy", "--nodata -1"),
        ("--hsi x.npy --msi half.npy", "--grid hsi"),
    ] {
        let run = |memory: &str| {
            let json = folder.good(&format!(
                "fuse {pair} --out f.npy --backend cpu --steps 30 --finetune-steps 5 --scratch scratch --max-memory {memory} \
                 --json {options}"
            ));
            nothing_left(&folder);
            let report: serde_json::Value = serde_json::from_str(&json).unwrap();
            let std = folder.path("s.npy");
            (
                fs::read(folder.path("f.npy")).unwrap(),
                options.contains("s.npy").then(|| fs::read(std).unwrap()),
                ["metrics", "bicubic", "refinement", "degradation", "placement"].map(|k| report[k].clone()),
            )
        };
        let held = run("4GiB");
        assert!(held == run(BETWEEN), "{pair} {options}: the result in strips");
        assert!(held == run(TINY), "{pair} {options}: on disk");
        let refined = !options.contains("off");
        guided |= held.2[2]["reach"].is_number();
        assert_eq!(
            held.2[2]["msi_denoised"] == true,
            refined,
            "{pair} {options}: {:?}",
            held.2[2]
        );
        assert_eq!(
            held.2[4]["resampled"] == true,
            options.contains("grid"),
            "{:?}",
            held.2[4]
        );
    }
    assert!(guided, "no case in which the residual is spread");
}

/// What is said tells the two apart; without a folder of its own the scene lies beside the result.
#[test]
fn where_a_scene_lies_is_said() {
    let folder = pair();
    let said = |arguments: &str| String::from_utf8(folder.run(arguments).stderr).unwrap();
    let run = "fuse --hsi x.npy --msi y.npy --out scratch/f.npy --backend cpu --steps 2";
    assert!(!said(&format!("{run} --max-memory {BETWEEN}")).contains("lies on disk"));
    let beside = said(&format!("{run} --max-memory {TINY}"));
    assert!(beside.contains("lies on disk, in scratch"), "{beside}");
    let named = said(&format!("{run} --max-memory {TINY} --scratch ."));
    assert!(named.contains("lies on disk, in ."), "{named}");
}

#[test]
fn other_commands_over_scenes_have_the_same_bits() {
    let folder = pair();
    fs::write(
        folder.path("scenes.txt"),
        "x.npy,y.npy\nx.bil,y.tif\nx.mat,holes.npy\n",
    )
    .unwrap();
    let run = |memory: &str| {
        let options = format!("--quiet --scratch scratch --max-memory {memory}");
        folder.good(&format!(
            "train --scenes scenes.txt --out m.safetensors --backend cpu --steps 12 {options} --checkpoint c.safetensors"
        ));
        folder.good(&format!(
            "finetune --model m.safetensors --hsi x.npy --msi y.npy --out t.safetensors --psf blind --steps 5 --backend cpu \
             {options}"
        ));
        let estimate = folder.good(&format!("estimate --hsi x.bil --msi y.tif --json {options}"));
        nothing_left(&folder);
        let model = |name: &str| checkpoint::load(&folder.path(name)).unwrap();
        let mut estimate: serde_json::Value = serde_json::from_str(&estimate).unwrap();
        // It says what memory it was given.
        assert_eq!(estimate["options"]["max_memory"].take(), memory);
        (model("m.safetensors"), model("t.safetensors"), estimate)
    };
    let (held, on_disk) = (run("4GiB"), run(TINY));
    assert!(held.0 == on_disk.0, "train");
    assert!(held.1 == on_disk.1, "finetune");
    assert_eq!(held.2, on_disk.2, "estimate");
}

#[test]
fn errors_and_kills_leave_nothing() {
    let folder = pair();
    let mut broken = truth(96, 80, 3);
    broken.samples[[50, 3, 1]] = f32::NAN;
    folder.cube("nan.npy", &broken);
    // Of other ground, and of no integer ratio: nothing says where it lies.
    let mut state = 1_u32;
    let noise = Array3::from_shape_simple_fn((60, 80, 3), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1.0 + (state >> 8) as f32 / (1 << 24) as f32
    });
    folder.cube("odd.npy", &Cube::new(noise));
    let run = format!("fuse --hsi x.npy --out f.npy --backend cpu --quiet --max-memory {TINY} --scratch");
    for (msi, named) in [("nan.npy", "row 50, column 3, band 1"), ("odd.npy", "ratio")] {
        let line = folder.refused(&format!("{run} scratch --msi {msi}"));
        assert!(line.contains(msi) && line.contains(named), "{line}");
        nothing_left(&folder);
    }
    // In a folder that is none, before anything is read.
    let line = folder.refused(&format!("{run} none --msi nan.npy"));
    assert!(
        line.contains("none: this folder for scratch data does not exist"),
        "{line}"
    );
    let line = folder.refused(&format!("{run} z.npy --msi nan.npy"));
    assert!(line.contains("z.npy: "), "{line}");
    // Killed in the middle of training: what it had on disk went with it.
    let arguments = format!("{run} scratch --msi y.npy --steps 1000000 --log log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hsr-gpu"))
        .args(arguments.split_whitespace())
        .current_dir(folder.path("."))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("training", || folder.path("log").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    nothing_left(&folder);
}
