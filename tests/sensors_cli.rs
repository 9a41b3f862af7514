//! Sensors by name, as a user meets them: the list, the curves, and that name, bands and own curves go the same way.

use std::fs;

use crate::common::{Folder, scene};
use hsr_gpu::io::read_cube;

/// A folder with `z.hdr`, 64 bands from 400 to 1030 nm of 12 nm FWHM.
fn folder() -> Folder {
    let folder = Folder::new();
    let mut cube = scene(16, 16, 64);
    cube.metadata.wavelengths = Some((0..64).map(|b| 400.0 + 10.0 * f64::from(b)).collect());
    cube.metadata.fwhm = Some(vec![12.0; 64]);
    folder.cube("z.hdr", &cube);
    folder
}

const SIMULATE: &str = "simulate --hsi z.hdr --psf gaussian:1,1,0 --scale 4 --kernel 4 --out-hsi x.hdr";

#[test]
fn the_list_names_every_sensor_with_its_source() {
    let folder = Folder::new();
    let text = folder.good("sensors");
    let json: serde_json::Value = serde_json::from_str(&folder.good("sensors --json")).unwrap();
    let all = json["sensors"].as_array().unwrap();
    for name in [
        "sentinel-2a",
        "sentinel-2b",
        "landsat-8",
        "landsat-9",
        "eo1-ali",
        "worldview-2",
        "nikon-d700",
    ] {
        let one = all.iter().find(|s| s["name"] == name).unwrap();
        assert!(text.contains(name));
        assert!(one["source"].as_str().unwrap().len() > 20);
        assert!(!one["bands"].as_array().unwrap().is_empty());
    }
    let one = folder.good("sensors worldview-2");
    assert!(
        one.contains("from band limits") && one.contains("rededge"),
        "{one}"
    );
    assert!(folder.refused("sensors sentinel-9").contains("sentinel-2a"));
}

#[test]
fn what_was_probably_meant_is_named() {
    let folder = folder();
    let refused = |rest: &str| folder.refused(&format!("{SIMULATE} --out-msi y.npy {rest}"));
    assert!(refused("--srf sentinel2a").contains("did you mean sentinel-2a?"));
    assert!(refused("--srf sentinel2a:B2").contains("did you mean sentinel-2a?"));
    assert!(refused("--srf nowhere.csv").contains("nowhere.csv"));
    let psf =
        "simulate --hsi z.hdr --psf gausian:1,1,0 --srf nikon-d700 --scale 4 --out-hsi x.hdr --out-msi y.npy";
    assert!(folder.refused(psf).contains("did you mean gaussian?"));
    assert!(folder.refused("simulat").contains("did you mean simulate?"));
    assert!(
        folder
            .refused("info z.hdr --no-data 3")
            .contains("did you mean --nodata?")
    );
}

#[test]
fn a_name_and_its_own_curves_make_the_same_image() {
    let folder = folder();
    folder.good(&format!(
        "{SIMULATE} --srf sentinel-2a:B4,B3,B8A --out-msi named.npy"
    ));
    let curves = folder.good("sensors sentinel-2a --csv");
    let kept: Vec<String> = curves
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            [0, 4, 3, 9].map(|k| cells[k]).join(",")
        })
        .collect();
    assert_eq!(kept[0], "wavelength_nm,B4,B3,B8A");
    fs::write(folder.path("own.csv"), kept.join("\n")).unwrap();
    folder.good(&format!("{SIMULATE} --srf own.csv --out-msi own.npy"));
    let read = |name: &str| read_cube(&folder.path(name).to_string_lossy()).unwrap().samples;
    let (named, own) = (read("named.npy"), read("own.npy"));
    assert_eq!(named.dim(), (16, 16, 3));
    // The table's curve ends where it falls below a thousandth of its peak, the CSV's a nanometre later.
    let worst = named
        .iter()
        .zip(&own)
        .fold(0.0_f32, |w, (a, b)| w.max((a - b).abs()));
    assert!(worst < 1e-4, "{worst}");
}

#[test]
fn a_band_that_the_image_does_not_reach_is_named() {
    let folder = folder();
    let line = folder.refused(&format!("{SIMULATE} --srf sentinel-2a --out-msi y.npy"));
    assert!(
        line.contains("band B11") && line.contains("395 to 1035 nm"),
        "{line}"
    );
    assert!(
        folder
            .refused(&format!("{SIMULATE} --srf sentinel-2a:B22 --out-msi y.npy"))
            .contains("B8A")
    );
    folder.good(&format!(
        "{SIMULATE} --srf worldview-3:blue,green,red,nir1 --out-msi y.npy"
    ));
    let fuse = "fuse --hsi x.hdr --msi y.npy --backend cpu --steps 3 --finetune-steps 1 --quiet --out f.npy";
    folder.good(&format!("{fuse} --srf worldview-3:blue,green,red,nir1"));
    folder.good(&format!(
        "{fuse} --srf worldview-3:blue,green,red,nir1 --msi-bands 2,0"
    ));
    let line = folder.refused(&format!("{fuse} --srf worldview-2"));
    assert!(line.contains("--msi-bands"), "{line}");
    assert!(!folder.path("no.npy").exists());
}
