//! Pictures, report page and event file as a user asks for them, and how bad requests are refused.

use std::fs;

use crate::common::{Folder, scene};

/// Width, height and pixels of a PNG file.
fn png(folder: &Folder, name: &str) -> (usize, usize, Vec<u8>) {
    let file = std::io::BufReader::new(fs::File::open(folder.path(name)).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width as usize, info.height as usize, pixels)
}

/// A reference of 24×20×9 with wavelengths (ENVI), an estimate, and an LR image at ×4.
fn images() -> Folder {
    let folder = Folder::new();
    let mut reference = scene(24, 20, 9);
    reference.metadata.wavelengths = Some((0..9).map(|i| 400.0 + 40.0 * f64::from(i)).collect());
    folder.cube("z.hdr", &reference);
    let mut estimate = reference.clone();
    estimate.samples.mapv_inplace(|x| x + 0.05);
    folder.cube("e.npy", &estimate);
    folder.cube("lr.npy", &scene(6, 5, 9));
    folder
}

#[test]
fn pictures_have_the_size_of_what_they_show() {
    let folder = images();
    folder.good("render e.npy --out a.png");
    let (width, height, pixels) = png(&folder, "a.png");
    assert_eq!((width, height, pixels.len()), (20, 24, 1440));
    folder.good("render e.npy --out a3.png --zoom 3");
    assert_eq!(png(&folder, "a3.png").0, 60);
    // Two images and the reference: 3 panels of 20·14 = 280 by 24·14 = 336, two rows and a bar.
    let json = folder.good("render lr.npy e.npy --label LR,fused --reference z.hdr --out f.png --json");
    let (width, height, _) = png(&folder, "f.png");
    assert_eq!((width, height), (8 + 3 * 288, 8 + 2 * (336 + 24) + 20));
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&told["width"], &told["height"]), (&width.into(), &height.into()));
    // 640, 560 and 480 nm are the nearest to 640, 550 and 460; ties go to the first.
    assert_eq!(told["bands"], serde_json::json!([6, 4, 1]));
    // The estimate is off by 0.05 everywhere.
    assert!((told["error_limit"].as_f64().unwrap() - 0.05).abs() < 1e-5);
    folder.good("render e.npy --band 3 --limits 0,1 --colour-map grey --zoom 2 --out b.png");
    assert_eq!(
        (png(&folder, "b.png").0, png(&folder, "b.png").1),
        (8 + 48, 8 + 48 + 24 + 20)
    );
}

#[test]
fn bands_are_found_by_number_and_wavelength() {
    let folder = images();
    for (request, band) in [("3", 3), ("520nm", 3), ("535nm", 3), ("720nm", 8)] {
        let told = folder.good(&format!("render z.hdr --band {request} --out a.png"));
        assert!(told.contains(&format!("band {band}")), "{told}");
    }
    folder.good("render z.hdr --rgb 6,4,2 --out n.png");
    folder.good("render z.hdr --rgb 640nm,560nm,480nm --out w.png");
    assert_eq!(png(&folder, "n.png"), png(&folder, "w.png"));
    folder.good("render z.hdr --rgb 0,1,2 --out o.png");
    assert_ne!(png(&folder, "n.png"), png(&folder, "o.png"));
}

#[test]
fn pictures_that_cannot_be_made_are_refused() {
    let folder = images();
    folder.cube("odd.npy", &scene(7, 5, 9));
    folder.cube("few.npy", &scene(24, 20, 4));
    fs::write(folder.path("old.png"), "old").unwrap();
    let before = folder.names();
    for (request, word) in [
        ("e.npy --out old.jpg", "PNG"),
        ("e.npy --out none/a.png", "does not exist"),
        ("missing.npy --out old.png", "missing.npy"),
        ("e.npy --band 9 --out old.png", "no band 9"),
        ("e.npy --band 550nm --out old.png", "no wavelengths"),
        ("z.hdr --band 900nm --out old.png", "between 400 and 720"),
        ("e.npy --band red --out old.png", "red"),
        ("e.npy --rgb 1,2 --out old.png", "three bands"),
        ("e.npy --rgb 1,2,nm --out old.png", "nm"),
        ("e.npy --rgb 1,2,3 --band 1 --out old.png", "--band"),
        ("e.npy --band 1 --limits 2,1 --out old.png", "--limits"),
        ("e.npy --band 1 --limits -1 --out old.png", "LOW,HIGH"),
        ("e.npy --label a,b --out old.png", "2 names for 1 images"),
        ("e.npy odd.npy --out old.png", "odd.npy"),
        ("e.npy few.npy --out old.png", "4 bands"),
        ("lr.npy --reference z.hdr --out old.png", "no error to show"),
        (
            "e.npy --reference z.hdr --error-limit 0 --out old.png",
            "--error-limit",
        ),
        ("e.npy --zoom 0 --out old.png", "--zoom"),
        ("--out old.png", "IMAGES"),
    ] {
        let line = folder.refused(&format!("render {request}"));
        assert!(line.contains(word), "{request}: {line}");
    }
    assert_eq!(folder.names(), before);
    assert_eq!(fs::read(folder.path("old.png")).unwrap(), b"old");
}

#[test]
fn fuse_writes_the_page_and_the_event_file() {
    let folder = images();
    folder.cube("msi.npy", &scene(24, 20, 3));
    let fuse =
        "fuse --hsi lr.npy --msi msi.npy --backend cpu --steps 60 --finetune-steps 2 --quiet --out f.npy";
    folder.good(&format!("{fuse} --reference z.hdr --report r --log l"));
    let html = fs::read_to_string(folder.path("r/report.html")).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("id=\"cube-reference\""));
    let logs: Vec<_> = fs::read_dir(folder.path("l"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(logs.len(), 1);
    assert!(logs[0].to_str().unwrap().contains("tfevents"));
    let bytes = fs::read(&logs[0]).unwrap();
    let has = |tag: &str| bytes.windows(tag.len()).any(|w| w == tag.as_bytes());
    for tag in [
        "brain.Event:2",
        "train/L_phi",
        "train/L_theta",
        "fine-tune/L_phi",
        "fused/psnr_db",
        "psf",
    ] {
        assert!(has(tag), "{tag}");
    }
    fs::write(folder.path("file"), "x").unwrap();
    for option in ["--report", "--log"] {
        let line = folder.refused(&format!("{fuse} {option} file"));
        assert!(
            line.contains("file: is a file") && line.contains(option),
            "{line}"
        );
    }
    assert_eq!(fs::read(folder.path("file")).unwrap(), b"x");
}
