//! What befalls a run from outside: killed, interrupted, no room, no right to write, damaged or foreign checkpoints,
//! divergence. Never may a result be half there, an old one be lost, or a resumed run end with other bits.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::common::{Folder, besides_times, interrupt, wait_until};
use hsr_gpu::coordination::checkpoint;
use hsr_gpu::cube::Cube;
use hsr_gpu::cube::strips::Strips;
use hsr_gpu::io::{open_image, write_matrix};
use hsr_gpu::random::{key, philox};
use ndarray::{Array2, Array3};

/// Samples that vary smoothly.
fn waves(rows: usize, columns: usize) -> Cube {
    Cube::new(Array3::from_shape_fn((rows, columns, 9), |(r, c, b)| {
        let (r, c, b) = (r as f32 / 24.0, c as f32 / 20.0, b as f32 / 9.0);
        0.5 + 0.2 * (5.0 * r + 3.0 * b).sin() + 0.2 * (7.0 * c - 2.0 * b).cos()
    }))
}

/// A folder with a pair at ×4, `x.npy` 6×5×9 and `y.npy` 24×20×3, a manifest of it, and one
/// of a reference for experiments.
fn pair() -> Folder {
    let folder = Folder::new();
    folder.cube("z.npy", &waves(24, 20));
    folder.cube("large.npy", &waves(48, 48));
    let response = Array2::from_shape_fn((9, 3), |(i, j)| {
        (-0.5 * (i as f64 - 1.0 - 3.0 * j as f64).powi(2)).exp()
    });
    write_matrix(folder.path("r.csv"), &response).unwrap();
    folder.good("simulate --hsi z.npy --psf gaussian:1.2,0.8,0.3 --kernel 4 --srf r.csv --scale 4 --out-hsi x.npy --out-msi y.npy");
    fs::write(folder.path("scenes.txt"), "x.npy,y.npy\n").unwrap();
    fs::write(folder.path("m.txt"), "large.npy,r.csv\n").unwrap();
    folder
}

/// A fusion through all stages, with looks for dead outputs in it: the cave network can die.
const FUSE: &str = "fuse --hsi x.npy --msi y.npy --backend cpu --quiet --preset cave --revive --refine auto --steps 120 \
                    --finetune-steps 60";
const TRAIN: &str = "train --scenes scenes.txt --backend cpu --quiet --revive --steps 150";

/// A run with this output is killed again and again at random moments and resumed, until it was killed `kills` times.
/// The file that it writes is at every moment the old one or the new one, and the new one is `expected`.
fn survives(folder: &Folder, run: &str, out: &str, kills: u32, same: &dyn Fn(&Path) -> bool) {
    let old = b"an older file".as_slice();
    let path = folder.path(out);
    fs::write(&path, old).unwrap();
    let command = format!("{run} --out {out} --checkpoint c.safetensors --every 3 --resume");
    // From process start to the end without a kill, so that kills fall everywhere.
    let began = Instant::now();
    folder.good(&command.replace(&format!("--out {out}"), &format!("--out timed_{out}")));
    let whole = began.elapsed();
    let names = folder.names();
    let (mut killed, mut ended, mut draw) = (0, 0, 0);
    while killed < kills {
        draw += 1;
        assert!(
            draw < 40 * kills,
            "{killed} kills and {ended} ends in {draw} runs"
        );
        let share = f64::from(philox(key(6), [draw, 0, 0, 0])[0]) / f64::from(u32::MAX);
        let mut child = folder.start(&command);
        std::thread::sleep(whole.mul_f64(share));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        let now = fs::read(&path).unwrap();
        if status.success() {
            ended += 1;
            assert!(same(&path), "the end of run {draw}");
            assert!(!folder.path("c.safetensors").exists());
            fs::write(&path, old).unwrap();
        } else {
            assert_eq!(status.code(), None, "run {draw} failed by itself");
            killed += 1;
            assert!(now == old || same(&path), "a half-written file after run {draw}");
            if let Ok(bytes) = fs::read(folder.path("c.safetensors")) {
                let whole = checkpoint::load(&folder.path("c.safetensors"));
                assert!(whole.is_ok(), "{} bytes after run {draw}: {whole:?}", bytes.len());
            }
        }
    }
    folder.good(&command);
    assert!(same(&path), "the last run");
    println!("{run}: {killed} kills, {ended} ends before one");
    // Neither the checkpoint nor any temporary file of the killed runs.
    assert_eq!(folder.names(), names);
}

// `HSR_KILLS` is the number of kills; the recorded hundred of docs/RELIABILITY.md were made with 100.
#[test]
fn killed_at_random_and_resumed_the_result_has_the_same_bits() {
    let kills: u32 = std::env::var("HSR_KILLS").map_or(20, |n| n.parse().unwrap());
    let folder = pair();
    folder.good(&format!("{FUSE} --out whole.npy"));
    let whole = fs::read(folder.path("whole.npy")).unwrap();
    survives(&folder, FUSE, "f.npy", kills / 2, &|path| {
        fs::read(path).unwrap() == whole
    });
    folder.good(&format!("{TRAIN} --out whole.safetensors"));
    let model = checkpoint::load(&folder.path("whole.safetensors")).unwrap();
    survives(&folder, TRAIN, "m.safetensors", kills - kills / 2, &|path| {
        checkpoint::load(path).is_ok_and(|found| found == model)
    });
}

// Steps beyond what a machine does in the time, so that the interruption falls into training; then as many as it had.
#[test]
fn ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on() {
    let folder = pair();
    let run = "fuse --hsi x.npy --msi y.npy --backend cpu --quiet --steps 1000000 --out f.npy --checkpoint c.safetensors";
    let child = folder.start(&format!("{run} --every 50"));
    wait_until("a checkpoint", || folder.path("c.safetensors").exists());
    let (code, said) = interrupt(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(
        said.contains("c.safetensors holds step") && said.contains("--resume"),
        "{said}"
    );
    assert!(!folder.path("f.npy").exists());
    let step = checkpoint::load(&folder.path("c.safetensors")).unwrap().step;
    assert!(said.contains(&format!("step {step} of 1000000")), "{said}");
    // Where it is, it is refused without --resume, and another schedule is another run.
    assert!(folder.refused(run).contains("--resume"));
    let other = folder.refused(&format!("{} --resume", run.replace("1000000", "1000001")));
    assert!(
        other.contains("training.steps was 1000000 and is 1000001"),
        "{other}"
    );
    assert_eq!(
        checkpoint::load(&folder.path("c.safetensors")).unwrap().step,
        step
    );
}

/// Leaves a checkpoint of `run` in `c.safetensors`: the run is killed once there is one.
fn leave_checkpoint(folder: &Folder, run: &str) {
    let mut child = folder.start(run);
    wait_until("a checkpoint", || folder.path("c.safetensors").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_checkpoint_of_another_run_is_refused_by_what_differs() {
    let folder = pair();
    let long = FUSE.replace("--steps 120", "--steps 100000");
    let run = format!("{long} --out f.npy --checkpoint c.safetensors --every 2");
    leave_checkpoint(&folder, &run);
    let resume = format!("{run} --resume");
    folder.good("simulate --hsi z.npy --psf gaussian:1.2,0.8,0.3 --kernel 4 --srf r.csv --scale 4 --snr-hsi 40 --snr-msi 40 --out-hsi x2.npy --out-msi y2.npy");
    folder.good(&format!("{FUSE} --out g.npy --save-degradation s"));
    for (arguments, named) in [
        (format!("{resume} --seed 7"), "seed was 0 and is 7"),
        (resume.replace("y.npy", "y2.npy"), "the MSI"),
        (resume.replace("x.npy", "x2.npy"), "the HSI"),
        (format!("{resume} --members 2"), "network.members was 1 and is 2"),
        (
            resume.replace("--refine auto", "--refine off"),
            "refine was \"auto\" and is \"off\"",
        ),
        (format!("{resume} --psf s/psf.npy"), "the PSF was blind"),
        (
            "train --scenes scenes.txt --backend cpu --out m.safetensors --checkpoint c.safetensors --resume"
                .to_owned(),
            "checkpoint of another run",
        ),
    ] {
        let line = folder.refused(&arguments);
        assert!(
            line.contains(named) && line.contains("c.safetensors"),
            "{arguments}: {line}"
        );
    }
    let bytes = fs::read(folder.path("c.safetensors")).unwrap();
    let cut = &bytes[..bytes.len() - 5];
    let mut flipped = bytes.clone();
    let at = bytes.len() - 40;
    flipped[at] ^= 1;
    for (bytes, named) in [
        (cut, "damaged"),
        (&flipped[..], "checksum is wrong"),
        (&b""[..], "damaged"),
    ] {
        fs::write(folder.path("c.safetensors"), bytes).unwrap();
        let line = folder.refused(&resume);
        assert!(line.contains(named), "{named}: {line}");
    }
    folder.good("train --scenes scenes.txt --backend cpu --quiet --steps 1 --out m.safetensors");
    let line = folder.refused(&resume.replace("c.safetensors", "m.safetensors"));
    assert!(line.contains("no checkpoint"), "{line}");
}

// Weights of the losses that no f32 bears: of L_phi from the first step on, of L_theta from its first update, step 25.
#[test]
fn divergence_names_step_and_term_and_keeps_the_last_good_checkpoint() {
    let folder = pair();
    for (weights, term, last_good) in [
        ("beta = 1e30", "L_phi", None),
        ("alpha = [1e30, 0.2, 0.2]", "L_theta", Some(24)),
    ] {
        fs::write(folder.path("c.toml"), format!("[training]\n{weights}\n")).unwrap();
        let run = "fuse --hsi x.npy --msi y.npy --backend cpu --quiet --steps 200 --config c.toml --out f.npy --checkpoint \
                   c.safetensors --every 1";
        let out = folder.run(run);
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert_eq!(besides_times(&said).len(), 1, "{said}");
        let step = last_good.map_or(1, |step| step + 1);
        assert!(
            said.contains(&format!("step {step}: ")) && said.contains(term),
            "{said}"
        );
        assert!(!folder.path("f.npy").exists());
        assert_eq!(folder.path("c.safetensors").exists(), last_good.is_some());
        if let Some(step) = last_good {
            assert_eq!(
                checkpoint::load(&folder.path("c.safetensors")).unwrap().step,
                step
            );
            assert!(
                said.contains(&format!("c.safetensors holds step {step} of")),
                "{said}"
            );
        }
    }
}

// Lengthened, or written again with as many bytes.
#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let folder = pair();
    let path = folder.path("y.npy");
    let bytes = fs::read(&path).unwrap();
    for longer in [true, false] {
        let image = open_image(&path.to_string_lossy(), None, 0).unwrap();
        image.rows(0..4).unwrap();
        let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        if longer {
            (&file).write_all(&[0]).unwrap();
        }
        file.set_modified(SystemTime::now() + Duration::from_secs(7))
            .unwrap();
        let error = image.rows(4..8).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("y.npy: was changed"), "{error}");
        fs::write(&path, &bytes).unwrap();
    }
}

/// A mounted tmpfs; gone when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// None where this is not allowed: it takes root.
    fn new(at: &'a Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Some(Mounted(at)),
            // Where all is to be tested, nothing is left out in silence.
            _ if std::env::var("CI").is_ok_and(|value| value == "true") => {
                panic!("mounting a small file system takes root, and CI=true leaves nothing out")
            }
            _ => {
                println!("skipped: mounting a small file system takes root");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn fails(folder: &Folder, arguments: &str, code: i32, named: &[&str]) {
    let out = folder.run(arguments);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(code), "{arguments}: {said}");
    assert_eq!(besides_times(&said).len(), 1, "{arguments}: {said}");
    assert!(named.iter().all(|n| said.contains(n)), "{arguments}: {said}");
}

#[test]
fn a_full_disk_is_one_line_and_old_files_stay() {
    let folder = pair();
    let disk = folder.path("disk");
    let Some(_mounted) = Mounted::new(&disk, "size=256k") else {
        return;
    };
    let old = [7_u8; 1000];
    let room = |left: usize| {
        let used = fs::read_dir(&disk)
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len().div_ceil(4096))
            .sum::<u64>();
        let fill = (256 << 10) / 4096 - used as usize - left.div_ceil(4096);
        fs::write(disk.join("filler"), vec![0; 4096 * fill]).unwrap();
    };
    // A result of 17 kB, of which the disk takes 8.
    for out in ["f.npy", "f.hdr", "f.mat"] {
        fs::write(disk.join(out), old).unwrap();
        room(8 << 10);
        fails(&folder, &format!("{FUSE} --out disk/{out}"), 1, &["disk/f."]);
        assert_eq!(fs::read(disk.join(out)).unwrap(), old);
        fs::remove_file(disk.join("filler")).unwrap();
        fs::remove_file(disk.join(out)).unwrap();
        let names: Vec<_> = fs::read_dir(&disk)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(names.is_empty(), "{names:?}");
    }
    // A checkpoint that does not fit any more: the one before stays, and the run says so.
    let long = FUSE.replace("--steps 120", "--steps 100000");
    let run = format!("{long} --out f.npy --checkpoint disk/c.safetensors --every 5");
    let mut child = folder.start(&run);
    wait_until("a checkpoint", || disk.join("c.safetensors").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    for entry in fs::read_dir(&disk).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("c.safetensors") {
            fs::remove_file(path).unwrap();
        }
    }
    let before = fs::read(disk.join("c.safetensors")).unwrap();
    room(4 << 10);
    fails(
        &folder,
        &format!("{run} --resume"),
        1,
        &["c.safetensors", "writing failed"],
    );
    assert_eq!(fs::read(disk.join("c.safetensors")).unwrap(), before);
    fs::remove_file(disk.join("c.safetensors")).unwrap();
    fs::remove_file(disk.join("filler")).unwrap();
    // An experiment that has no room for a cell.

    fs::create_dir_all(disk.join("e/cells")).unwrap();
    room(0);
    let experiment =
        "experiment robustness --scenes m.txt --only seed0 --steps 2 --backend cpu --quiet --out disk/e";
    fails(&folder, experiment, 1, &["disk/e/cells", "writing failed"]);
}

// 120 × 120 × 5 samples of the HR-MSI are 288 kB, more than the disk has; those of the LR-HSI are not.
#[test]
fn a_disk_without_room_for_scratch_data_is_one_line() {
    let folder = Folder::new();
    let disk = folder.path("disk");
    let Some(mounted) = Mounted::new(&disk, "size=256k") else {
        return;
    };
    // One ground on all grids, so that nothing is moved.
    let image = |rows: usize, bands: usize| {
        let pixel = 60.0 / rows as f32;
        Cube::new(Array3::from_shape_fn((rows, rows, bands), |(r, c, b)| {
            let (r, c) = ((r as f32 + 0.5) * pixel, (c as f32 + 0.5) * pixel);
            let (share, band) = (
                0.5 + 0.5 * (0.31 * r).sin() * (0.23 * c).cos(),
                b as f32 / bands as f32,
            );
            1.0 + share * band + 0.5 * (0.17 * (r + c)).cos() * (1.0 - band)
        }))
    };
    folder.cube("x.npy", &image(30, 8));
    folder.cube("y.npy", &image(120, 5));
    fs::write(folder.path("f.npy"), b"old").unwrap();
    let run = "fuse --hsi x.npy --msi y.npy --out f.npy --backend cpu --steps 2 --quiet --max-memory 1MB --scratch disk";
    fails(&folder, run, 1, &["disk: no room for", "--scratch"]);
    assert_eq!(fs::read(folder.path("f.npy")).unwrap(), b"old");
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
    // Room for the two images and not for what refinement makes of them.
    folder.cube("y.npy", &image(60, 5));
    folder.cube("x.npy", &image(30, 30));
    fails(&folder, run, 1, &["disk: no room for", "--scratch"]);
    folder.good(&format!("{run} --refine off"));
    mounted.remount("ro");
    fails(&folder, run, 2, &["disk: cannot create scratch data"]);
}

#[test]
fn a_folder_that_is_read_only_is_refused_before_the_work() {
    let folder = pair();
    let disk = folder.path("disk");
    let Some(mounted) = Mounted::new(&disk, "size=256k") else {
        return;
    };
    fs::write(disk.join("f.npy"), b"old").unwrap();
    mounted.remount("ro");
    // More steps than the test would wait for.
    let long = FUSE.replace("--steps 120", "--steps 10000000");
    fails(&folder, &format!("{long} --out disk/f.npy"), 2, &["disk/f.npy"]);
    fails(
        &folder,
        &format!("{long} --out f.npy --checkpoint disk/c.safetensors"),
        2,
        &["disk/c.safetensors"],
    );
    fails(
        &folder,
        &format!("{TRAIN} --out disk/m.safetensors"),
        2,
        &["disk/m.safetensors"],
    );
    assert_eq!(fs::read(disk.join("f.npy")).unwrap(), b"old");
}

/// The outcomes in `folder`/cells without their times.
fn outcomes(folder: &Folder, out: &str) -> Vec<(String, serde_json::Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.path(out).join("cells")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let outcome = file["outcome"].as_object_mut().unwrap();
        assert!(outcome.remove("seconds").unwrap().as_f64().unwrap() > 0.0);
        found.push((name, file["outcome"].take()));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Whether an unfinished cell has left a checkpoint.
fn has_checkpoint(folder: &Folder, out: &str) -> bool {
    fs::read_dir(folder.path(out).join("cells")).is_ok_and(|mut entries| {
        entries.any(|e| e.unwrap().path().extension().is_some_and(|x| x == "checkpoint"))
    })
}

#[test]
fn an_interrupted_cell_of_an_experiment_goes_on_from_its_checkpoint() {
    let folder = pair();

    let run = "experiment robustness --scenes m.txt --only seed0 --steps 600 --finetune-steps 20 --backend cpu --quiet";
    let began = Instant::now();
    folder.good(&format!("{run} --out whole"));
    let whole = began.elapsed();
    for attempt in 1..=9 {
        let child = folder.start(&format!("{run} --out e --fresh"));
        std::thread::sleep(whole.mul_f64(0.1 * f64::from(attempt)));
        let (code, said) = interrupt(child);
        if has_checkpoint(&folder, "e") {
            assert_eq!(code, Some(130), "{said}");
            assert!(said.contains("the same command goes on"), "{said}");
            folder.good(&format!("{run} --out e"));
            assert!(!has_checkpoint(&folder, "e"));
            assert_eq!(outcomes(&folder, "e"), outcomes(&folder, "whole"));
            return;
        }
    }
    panic!("no interruption fell into training");
}
