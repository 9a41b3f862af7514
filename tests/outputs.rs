//! What commands write: no file is another output or an input, whatever it is called; what cannot be written is refused
//! before the work; links stay links; a checkpoint belongs to one run; ENVI pairs keep to themselves.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Folder, interrupt, scene, trains, wait_until};
use hsr_gpu::io::{read_cube, write_cube};

/// A folder with `x.npy` 4×4×6, `y.npy` 16×16×2, a reference `z.npy` and manifests.
fn pair() -> Folder {
    let folder = Folder::new();
    folder.cube("x.npy", &scene(4, 4, 6));
    folder.cube("y.npy", &scene(16, 16, 2));
    folder.cube("z.npy", &scene(16, 16, 6));
    fs::write(folder.path("scenes.txt"), "x.npy,y.npy\n").unwrap();
    fs::write(folder.path("references.txt"), "z.npy,landsat-oli6\n").unwrap();
    folder
}

const LITTLE: &str = "--backend cpu --steps 6 --members 2 --finetune-steps 2";

fn fuse(more: &str) -> String {
    format!("fuse --hsi x.npy --msi y.npy {LITTLE} {more}")
}

/// What each command needs beside the options of the table in docs/RELIABILITY.md.
fn needed(command: &str) -> Vec<(&'static str, &'static str)> {
    match command {
        "fuse" => vec![("--hsi", "x.npy"), ("--msi", "y.npy"), ("--out", "out.npy")],
        "batch" => vec![("MANIFEST", "scenes.txt"), ("--out", "results")],
        "align" => vec![("--hsi", "x.npy"), ("--msi", "y.npy"), ("--out", "out.npy")],
        "estimate" => vec![("--hsi", "x.npy"), ("--msi", "y.npy")],
        "train" => vec![("--scenes", "scenes.txt"), ("--out", "m.safetensors")],
        "finetune" => vec![
            ("--model", "m.safetensors"),
            ("--hsi", "x.npy"),
            ("--msi", "y.npy"),
            ("--out", "t.safetensors"),
        ],
        "infer" => vec![
            ("--model", "m.safetensors"),
            ("--msi", "y.npy"),
            ("--out", "out.npy"),
        ],
        "eval" => vec![
            ("--reference", "z.npy"),
            ("--estimate", "y.npy"),
            ("--scale", "4"),
        ],
        "simulate" => vec![
            ("--hsi", "z.npy"),
            ("--psf", "paper:0"),
            ("--srf", "landsat-oli6"),
            ("--scale", "4"),
            ("--out-hsi", "a.npy"),
            ("--out-msi", "b.npy"),
        ],
        "info" => vec![("FILE", "x.npy")],
        "convert" => vec![("INPUT", "x.npy"), ("OUTPUT", "out.npy")],
        "render" => vec![("IMAGES", "x.npy"), ("--out", "x.png")],
        "demo" | "manual" => vec![("--out", "made")],
        "experiment scenes" | "experiment table2" => vec![("--out", "results")],
        "experiment network" => vec![("--out", "results")],
        _ => vec![],
    }
}

/// A place in the table: an option, and where it names a folder the file in it that is meant.
#[derive(Clone, PartialEq)]
struct Use {
    option: String,
    file: Option<String>,
}

/// The uses between backquotes in a cell.
fn uses(cell: &str) -> Vec<Use> {
    let names = cell.split('`').skip(1).step_by(2);
    names
        .map(|name| match name.split_once('/') {
            Some((option, file)) => Use {
                option: option.to_owned(),
                file: Some(file.to_owned()),
            },
            None => Use {
                option: name.to_owned(),
                file: None,
            },
        })
        .collect()
}

/// Rows of the table: command, what it reads, what it writes.
fn table() -> Vec<(String, Vec<Use>, Vec<Use>)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RELIABILITY.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| command |"));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (
            cells[1].trim_matches('`').to_owned(),
            uses(cells[2]),
            uses(cells[3]),
        )
    })
    .collect()
}

/// The line that calls a command with two uses of one file; `None` where no name is right for both.
fn clash(command: &str, one: &Use, other: &Use) -> Option<(String, String)> {
    let image = [
        "--out",
        "--save-std",
        "--out-hsi",
        "--out-msi",
        "--out-reference",
        "OUTPUT",
    ];
    let is_image = |u: &Use| image.contains(&u.option.as_str()) && u.file.is_none() && command != "render";
    let model = command == "train" || command == "finetune";
    let (folder, file) = match (&one.file, &other.file) {
        (None, None) => (
            ".".to_owned(),
            if command == "render" { "p.png" } else { "same.npy" }.to_owned(),
        ),
        (Some(file), None) | (None, Some(file)) => ("made".to_owned(), file.clone()),
        (Some(a), Some(b)) if a == b => ("made".to_owned(), a.clone()),
        _ => return None,
    };
    if !model && [one, other].into_iter().any(is_image) && !file.ends_with(".npy") {
        return None;
    }
    let mut words = needed(command);
    words.retain(|(option, _)| *option != one.option && *option != other.option);
    let mut line: Vec<String> = vec![command.to_owned()];
    for (option, value) in words {
        if option.starts_with('-') {
            line.push(option.to_owned());
        }
        line.push(value.to_owned());
    }
    for (k, u) in [one, other].into_iter().enumerate() {
        if k == 1 && one.option == other.option {
            continue;
        }
        if u.option.starts_with('-') {
            line.push(u.option.clone());
        }
        line.push(match &u.file {
            Some(_) => folder.clone(),
            None => format!("{folder}/./{file}"),
        });
    }
    Some((line.join(" "), format!("{folder}/{file}")))
}

#[test]
fn every_command_refuses_two_uses_of_one_file() {
    let folder = pair();
    let rows = table();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RELIABILITY.md")).unwrap();
    let commands = folder.good("--help");
    let commands = commands
        .lines()
        .skip_while(|l| !l.starts_with("Commands:"))
        .skip(1);
    for command in commands.take_while(|l| !l.is_empty()) {
        if command.starts_with("   ") {
            continue;
        }
        let name = command.split_whitespace().next().unwrap();
        let there = text
            .lines()
            .any(|l| l.starts_with("| `") && l.split(" | ").next().unwrap().contains(&format!("`{name}")));
        assert!(
            there || name == "help",
            "{name} is not in the table of docs/RELIABILITY.md"
        );
    }
    let mut tried = 0;
    for (command, reads, writes) in &rows {
        for (k, write) in writes.iter().enumerate() {
            for other in reads.iter().chain(&writes[..k]) {
                let Some((line, file)) = clash(command, write, other) else {
                    continue;
                };
                // In the order of the columns, and with a file that is there.
                let path = folder.path(&file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, b"kept").unwrap();
                let error = folder.refused(&line);
                assert!(error.contains("of its own"), "{line}: {error}");
                assert_eq!(fs::read(&path).unwrap(), b"kept", "{line}");
                fs::remove_file(&path).unwrap();
                tried += 1;
            }
        }
        // The log file is of all commands.
        for read in reads.iter().filter(|u| u.file.is_none()) {
            let log = Use {
                option: "--log-file".to_owned(),
                file: None,
            };
            let Some((line, file)) = clash(command, &log, read) else {
                continue;
            };
            fs::write(folder.path(&file), b"kept").unwrap();
            let error = folder.refused(&line);
            assert!(error.contains("--log-file"), "{line}: {error}");
            assert_eq!(fs::read(folder.path(&file)).unwrap(), b"kept", "{line}");
            fs::remove_file(folder.path(&file)).unwrap();
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn names_of_one_file_in_every_spelling_are_refused() {
    let folder = pair();
    fs::create_dir(folder.path("d")).unwrap();
    write_cube(folder.path("e.img"), &scene(4, 4, 6)).unwrap();
    let mut cases = vec![
        (fuse("--out o.npy --save-std ./o.npy"), "--save-std"),
        (fuse("--out o.npy --save-std d/../o.npy"), "--save-std"),
        (fuse("--out o.hdr --save-std o.img"), "--save-std"),
        (
            fuse("--out o.bil --save-std o.bip"),
            "o.hdr: --out and --save-std",
        ),
        (fuse("--out d/psf.npy --save-degradation d"), "psf.npy"),
        (
            fuse("--out c --checkpoint ./c.npy").replace("--out c ", "--out c.npy "),
            "--checkpoint",
        ),
        (fuse("--out x.npy"), "--hsi"),
        (
            fuse("--out o.npy --log-file scenes.txt --config scenes.txt"),
            "--log-file",
        ),
        (fuse("--out e.hdr").replace("x.npy", "e.img"), "e.hdr"),
        (
            fuse("--out e.img").replace("x.npy", "e.hdr"),
            "e.hdr: --out writes",
        ),
        (fuse("--out o.npy --report o.npy"), "o.npy"),
        (
            format!("train --scenes scenes.txt {LITTLE} --out x.npy"),
            "the manifest",
        ),
        ("batch scenes.txt --out .".to_owned(), "x.npy"),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("x.npy", folder.path("link.npy")).unwrap();
        fs::hard_link(folder.path("x.npy"), folder.path("hard.npy")).unwrap();
        std::os::unix::fs::symlink("new.npy", folder.path("dangling.npy")).unwrap();
        cases.push((fuse("--out link.npy"), "--hsi"));
        cases.push((fuse("--out hard.npy"), "--hsi"));
        cases.push((fuse("--out new.npy --save-std dangling.npy"), "--save-std"));
    }
    let before = folder.names();
    let content = |name: &str| fs::read(folder.path(name)).unwrap();
    let kept = ["x.npy", "e.img", "e.hdr", "scenes.txt"].map(content);
    for (line, part) in cases {
        let error = folder.refused(&line);
        assert!(
            error.contains(part) && error.contains("of its own"),
            "{line}: {error}"
        );
    }
    assert_eq!(folder.names(), before);
    assert!(kept == ["x.npy", "e.img", "e.hdr", "scenes.txt"].map(content));
}

#[test]
fn pictures_do_not_land_among_bands_and_leftovers_are_not_removed_as_such() {
    let folder = pair();
    fs::create_dir(folder.path("bands")).unwrap();
    let band = scene(4, 4, 1);
    for k in 1..4 {
        write_cube(folder.path(&format!("bands/b_{k:02}.tif")), &band).unwrap();
    }
    let error = folder.refused(&fuse("--out bands/b_04.tif").replace("x.npy", "bands"));
    assert!(error.contains("among the bands"), "{error}");
    let left = ".hsr-gpu-o.npy-abc123";
    fs::copy(folder.path("x.npy"), folder.path(left)).unwrap();
    let error = folder.refused(&fuse("--out o.npy").replace("x.npy", left));
    assert!(
        error.contains("abandoned") && folder.path(left).exists(),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn what_cannot_be_written_is_refused_before_the_work() {
    use std::os::unix::ffi::OsStrExt;
    let folder = pair();
    fs::create_dir(folder.path("folder.npy")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(folder.path("pipe.npy"))
            .status()
            .unwrap()
            .success()
    );
    let long = "n".repeat(253) + ".npy";
    let before = folder.names();
    for (out, part) in [
        ("o.npy/", "names a folder"),
        ("folder.npy", "is a folder"),
        ("none/o.npy", "does not exist"),
        ("x.npy/o.npy", "does not exist"),
        ("pipe.npy", "a pipe"),
        ("/dev/null", "/dev/null"),
        (&long, "too long"),
    ] {
        // The images are not looked at: they are not there.
        let error = folder.refused(&format!("fuse --hsi none-x.npy --msi none-y.npy --out {out}"));
        assert!(error.contains(part), "{out}: {error}");
        let error = folder.refused(&fuse(&format!("--out p.npy --checkpoint {out}")));
        assert!(error.contains(part), "{out}: {error}");
    }
    for option in ["--report", "--log", "--save-degradation"] {
        let error = folder.refused(&fuse(&format!("--out o.npy {option} z.npy")));
        assert!(error.contains("asks for a folder"), "{error}");
    }
    let name = std::ffi::OsStr::from_bytes(b"\xff.npy");
    let mut run = Command::new(env!("CARGO_BIN_EXE_hsr-gpu"));
    run.current_dir(folder.path(""))
        .args(["fuse", "--hsi", "x.npy", "--msi", "y.npy", "--out"])
        .arg(name);
    let out = run.output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("not UTF-8"));
    assert_eq!(folder.names(), before);
}

#[test]
fn two_images_stand_for_their_options() {
    let folder = pair();
    folder.good(&fuse("-o a.npy"));
    folder.good(&format!("fuse x.npy y.npy -o b.npy {LITTLE}"));
    assert_eq!(
        fs::read(folder.path("a.npy")).unwrap(),
        fs::read(folder.path("b.npy")).unwrap()
    );
    assert!(
        folder
            .refused(&format!("fuse x.npy -o c.npy {LITTLE}"))
            .contains("MSI")
    );
    let twice = format!("fuse x.npy y.npy --hsi x.npy -o c.npy {LITTLE}");
    assert!(folder.refused(&twice).contains("--hsi"));
    assert!(
        folder
            .refused(&format!("fuse x.npy y.npy -o y.npy {LITTLE}"))
            .contains("--msi")
    );
    // Without a ratio there is no ERGAS, and with one there is.
    let eval = |more: &str| -> serde_json::Value {
        let told = folder.good(&format!("eval --reference z.npy --estimate a.npy --json {more}"));
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["scores"][0].clone()
    };
    assert!(eval("")["ergas"].is_null() && eval("")["psnr_db"] == eval("--scale 4")["psnr_db"]);
    assert!(eval("--scale 4")["ergas"].is_number());
}

#[test]
fn results_are_named_at_the_end_and_those_that_were_there_are_replaced() {
    let folder = pair();
    let said = |line: &str| {
        let out = folder.run(line);
        let text = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{text}");
        text.lines().last().unwrap().to_owned()
    };
    let run = fuse("--out o.tif --save-std s.npy --save-degradation d --checkpoint c");
    let first = said(&run);
    assert!(first.starts_with("wrote o.tif ("), "{first}");
    assert!(
        first.ends_with("kB, 16 x 16 x 6), s.npy (6.3 kB, 16 x 16 x 6), d"),
        "{first}"
    );
    fs::remove_file(folder.path("s.npy")).unwrap();
    // Statistics of the image that is replaced.
    fs::write(folder.path("o.tif.aux.xml"), "<PAMDataset/>").unwrap();
    let second = first.replace("o.tif (", "o.tif (replaced, ") + " (replaced)";
    assert_eq!(said(&run), second);
    assert!(!folder.path("o.tif.aux.xml").exists());
    assert_eq!(
        said("convert o.tif o.npy --type f32"),
        "wrote o.npy (6.3 kB, 16 x 16 x 6)"
    );
    // Whoever wants no words gets none.
    assert!(folder.run("convert o.tif o.npy --quiet").stderr.is_empty());
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_stays() {
    use std::os::unix::fs::symlink;
    let folder = pair();
    fs::create_dir(folder.path("store")).unwrap();
    fs::write(folder.path("store/old.npy"), b"old").unwrap();
    symlink("store/old.npy", folder.path("o.npy")).unwrap();
    symlink("store/new.npy", folder.path("n.npy")).unwrap();
    folder.good("convert x.npy o.npy");
    folder.good("convert x.npy n.npy");
    for (link, target) in [("o.npy", "store/old.npy"), ("n.npy", "store/new.npy")] {
        assert!(folder.path(link).is_symlink());
        let samples = |name: &str| fs::read(folder.path(name)).unwrap();
        assert!(samples(target) == samples("x.npy"), "{target}");
    }
    let names: Vec<_> = fs::read_dir(folder.path("store")).unwrap().collect();
    assert_eq!(names.len(), 2);
    symlink("none/o.npy", folder.path("wrong.npy")).unwrap();
    assert!(
        folder
            .refused("convert x.npy wrong.npy")
            .contains("does not exist")
    );
}

#[test]
fn a_checkpoint_belongs_to_one_run() {
    let folder = pair();
    let run = |out: &str| {
        format!(
            "fuse --hsi x.npy --msi y.npy --backend cpu --steps 100000 --checkpoint c --every 10 --quiet --resume --out {out}"
        )
    };
    let mut first = folder.start(&run("a.npy"));
    wait_until("a checkpoint", || folder.path("c").exists());
    let error = folder.refused(&run("b.npy"));
    assert!(error.contains("another run"), "{error}");
    // However the first ends, its right ends with it.
    first.kill().unwrap();
    first.wait().unwrap();
    let left = fs::read_dir(folder.path("")).unwrap().count();
    let short = run("b.npy").replace("--checkpoint c", "--checkpoint d");
    folder.good(&short.replace("--steps 100000", "--steps 1 --finetune-steps 1"));
    assert!(fs::read_dir(folder.path("")).unwrap().count() <= left + 1);
}

#[test]
fn a_finished_model_outlives_an_interrupted_training() {
    let folder = pair();
    let train = |steps: u32| {
        format!(
            "train --scenes scenes.txt --backend cpu --members 1 --quiet --out m.safetensors --steps {steps}"
        )
    };
    folder.good(&train(3));
    let finished = fs::read(folder.path("m.safetensors")).unwrap();
    // It is interrupted once its losses are logged: then it trains.
    let child = folder.start(&format!("{} --log events", train(5_000_000)));
    wait_until("training", || trains(&folder.path("events")));
    let (code, said) = interrupt(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(fs::read(folder.path("m.safetensors")).unwrap() == finished);
    let kept = "m.interrupted.safetensors";
    assert!(said.contains(kept) && folder.path(kept).exists(), "{said}");
}

#[test]
fn an_image_keeps_its_header_beside_another_of_its_name() {
    let folder = pair();
    let (img, bip) = (scene(4, 5, 3), scene(5, 4, 3));
    write_cube(folder.path("e.img"), &img).unwrap();
    let header = fs::read(folder.path("e.hdr")).unwrap();
    write_cube(folder.path("e.bip"), &bip).unwrap();
    assert!(fs::read(folder.path("e.hdr")).unwrap() == header);
    let read = |name: &str| read_cube(&folder.path(name).to_string_lossy()).unwrap().samples;
    assert_eq!(read("e.img"), img.samples);
    assert_eq!(read("e.bip"), bip.samples);
    // The header alone means what it belongs to.
    assert_eq!(read("e.hdr"), img.samples);
    // Twice is as once.
    write_cube(folder.path("e.bip"), &bip).unwrap();
    assert_eq!(
        (read("e.img"), read("e.bip")),
        (img.samples.clone(), bip.samples.clone())
    );
    // A header's name means the data file .img, and nobody else's.
    write_cube(folder.path("f.bil"), &bip).unwrap();
    let error = folder.refused("convert x.npy f.hdr");
    assert!(error.contains("it is the header of"), "{error}");
    write_cube(folder.path("e.hdr"), &bip).unwrap();
    assert_eq!(read("e.img"), bip.samples);
    // The same run twice has the same result.
    write_cube(folder.path("s.img"), &scene(4, 4, 6)).unwrap();
    let run = fuse("--out s.bil").replace("x.npy", "s.hdr");
    folder.good(&run);
    let first = fs::read(folder.path("s.bil")).unwrap();
    folder.good(&run);
    assert!(fs::read(folder.path("s.bil")).unwrap() == first);
}

#[test]
fn an_experiment_has_a_folder_of_its_own() {
    let folder = Folder::new();
    folder.good("experiment network --out results");
    let kept = fs::read(folder.path("results/results.json")).unwrap();
    let error = folder.refused("experiment scenes --out results");
    assert!(error.contains("experiment network"), "{error}");
    assert!(fs::read(folder.path("results/results.json")).unwrap() == kept);
    folder.good("experiment network --out results");
    fs::write(folder.path("results/results.json"), "{\"mine\": 1}").unwrap();
    let error = folder.refused("experiment scenes --out results");
    assert!(error.contains("of its own"), "{error}");
}

/// Started with these signals ignored, as `nohup` and `trap '' TERM` do.
#[cfg(unix)]
#[test]
fn ignored_signals_stay_ignored() {
    let folder = pair();
    let program = env!("CARGO_BIN_EXE_hsr-gpu");
    let run = "fuse --hsi x.npy --msi y.npy --backend cpu --steps 3000 --members 1 --finetune-steps 0 --quiet --out o.npy";
    let child = Command::new("sh")
        .args(["-c", &format!("trap '' HUP INT TERM; exec {program} {run}")])
        .current_dir(folder.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id().to_string();
    for signal in ["-HUP", "-INT", "-TERM"] {
        std::thread::sleep(Duration::from_millis(300));
        Command::new("kill").args([signal, &id]).status().unwrap();
    }
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(folder.path("o.npy").exists());
}
