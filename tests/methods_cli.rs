//! `fuse --method` and `experiment --methods` as a user calls them: results are written, masked and measured as those of the network,
//! and options of the network are refused. What methods compute is tested beside them (`src/baseline/tests.rs`).

use std::fs;

use crate::common::Folder;
use hsr_gpu::baseline::Method;
use hsr_gpu::cube::Cube;
use hsr_gpu::cube::grid::{Grid, Source, Transform};
use hsr_gpu::io::{read_cube, read_matrix, write_matrix};
use ndarray::{Array2, Array3};
use serde_json::Value;

/// A folder with a reference `z.npy` (40×36×9), its response `r.csv` and a pair at ×4, `x.npy` and `y.npy`.
fn pair() -> Folder {
    let folder = Folder::new();
    let smooth = Cube::new(Array3::from_shape_fn((40, 36, 9), |(r, c, b)| {
        let (r, c, b) = (r as f32 / 6.0, c as f32 / 5.0, b as f32 / 9.0);
        0.5 + 0.2 * (2.0 * r + 3.0 * b).sin() + 0.2 * (3.0 * c - 2.0 * b).cos()
    }));
    folder.cube("z.npy", &smooth);
    let response = Array2::from_shape_fn((9, 3), |(i, j)| {
        (-0.5 * (i as f64 - 1.0 - 3.0 * j as f64).powi(2)).exp()
    });
    write_matrix(folder.path("r.csv"), &response).unwrap();
    folder.good(
        "simulate --hsi z.npy --psf gaussian:1.2,0.8,0.3 --kernel 4 --srf r.csv --scale 4 --out-hsi x.npy --out-msi y.npy",
    );
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read(folder: &Folder, name: &str) -> Cube {
    read_cube(&folder.path(name).to_string_lossy()).unwrap()
}

#[test]
fn every_method_writes_a_result_and_says_who_made_it() {
    let folder = pair();
    for method in Method::ALL.map(Method::name) {
        let summary = json(&folder.good(&format!(
            "fuse x.npy y.npy -o {method}.npy --method {method} --reference z.npy --json --quiet"
        )));
        assert_eq!(summary["method"], method);
        assert_eq!(
            summary["size"],
            serde_json::json!({"rows": 40, "columns": 36, "bands": 9})
        );
        let psnr = |of: &str| summary[of]["psnr_db"].as_f64().unwrap();
        assert!(psnr("metrics") > psnr("bicubic"), "{method}: {}", psnr("metrics"));
        assert!(summary["engine"].is_null() && summary.get("weights").is_none());
        assert_eq!(read(&folder, &format!("{method}.npy")).samples.dim(), (40, 36, 9));
    }
    // Told PSF and SRF are what is gone by, and what is saved.
    let text = folder.good(
        "fuse x.npy y.npy -o t.npy --method fuse --psf gaussian:1.2,0.8,0.3 --srf r.csv --save-degradation s --quiet",
    );
    assert!(
        text.contains("by fuse, without a network") && text.contains("PSF (given"),
        "{text}"
    );
    let told = read_matrix(&folder.path("s/srf.npy").to_string_lossy()).unwrap();
    assert!((told.sum() - 3.0).abs() < 1e-9);
    assert_ne!(read(&folder, "t.npy").samples, read(&folder, "fuse.npy").samples);
    // Refinement takes a device and brings the result nearer to the HSI.
    let summary = json(&folder.good(
        "fuse x.npy y.npy -o g.npy --method sfim --refine auto --backend cpu --reference z.npy --json --quiet",
    ));
    assert!(summary["engine"].as_str().unwrap().contains("CPU"));
    let residual = &summary["refinement"]["residual"];
    assert!(
        residual["after"].as_f64().unwrap() < residual["before"].as_f64().unwrap(),
        "{residual}"
    );
}

#[test]
fn masked_pixels_stay_without_data_and_are_seen_by_none() {
    let folder = pair();
    let mut msi = read(&folder, "y.npy");
    msi.samples[[10, 11, 1]] = -9999.0;
    folder.cube("m.npy", &msi);
    let mut hsi = read(&folder, "x.npy");
    hsi.samples[[4, 4, 2]] = -9999.0;
    folder.cube("h.npy", &hsi);
    for method in Method::ALL.map(Method::name) {
        let summary = json(&folder.good(&format!(
            "fuse h.npy m.npy -o f.npy --method {method} --nodata -9999 --json --quiet"
        )));
        assert_eq!(summary["masked_pixels"], 1, "{method}");
        let image = read(&folder, "f.npy");
        let holes = image.samples.indexed_iter().filter(|(_, x)| **x == -9999.0);
        assert!(holes.map(|((r, c, _), _)| (r, c)).eq([(10, 11); 9]), "{method}");
        assert!(image.samples.iter().all(|x| x.is_finite()), "{method}");
    }
}

// 72 columns of the MSI over 40 of the HSI: no integer, so the image is brought back to the MSI's pixels, or stays on the HSI's.
#[test]
fn the_result_lies_on_the_grid_that_is_asked_for() {
    let folder = Folder::new();
    let image = |rows: usize, columns: usize, size: f32, bands: usize| {
        let mut cube = Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
            let (y, x) = ((r as f32 + 0.5) * size, (c as f32 + 0.5) * size);
            2.0 + (0.21 * y + 0.3 * b as f32).sin() + (0.17 * x - 0.04 * y).cos()
        }));
        let side = f64::from(size);
        cube.metadata.grid = Some(Grid {
            transform: Transform::new([500_000.0, side, 0.0, 4_000_000.0, 0.0, -side]),
            epsg: Some(32616),
            wkt: None,
            source: Source::Envi(Default::default()),
        });
        cube
    };
    folder.cube("x.tif", &image(30, 30, 5.0, 6));
    folder.cube("y.tif", &image(75, 75, 2.0, 2));
    let run = "fuse x.tif y.tif --method glp --align off --quiet --json";
    let on_msi = json(&folder.good(&format!("{run} -o a.tif")));
    assert_eq!(
        on_msi["size"],
        serde_json::json!({"rows": 75, "columns": 75, "bands": 6})
    );
    let on_hsi = json(&folder.good(&format!("{run} -o b.tif --grid hsi")));
    assert_eq!(
        on_hsi["size"],
        serde_json::json!({"rows": 90, "columns": 90, "bands": 6})
    );
    let grid = |name: &str| read(&folder, name).metadata.grid.unwrap().transform;
    assert_eq!(grid("a.tif"), grid("y.tif"));
    assert!(read(&folder, "a.tif").samples.iter().all(|x| x.is_finite()));
}

#[test]
fn wrong_names_and_options_of_the_network_are_refused() {
    let folder = pair();
    let wrong = folder.refused("fuse x.npy y.npy -o f.npy --method gsaa");
    assert!(
        wrong.contains("did you mean gsa?") && wrong.contains("glp-hpm"),
        "{wrong}"
    );
    let help = folder.refused("fuse x.npy y.npy -o f.npy --method help");
    assert!(Method::ALL.iter().all(|m| help.contains(m.name())), "{help}");
    for option in [
        "--checkpoint c.safetensors",
        "--save-std s.npy",
        "--save-suspect s.npy",
        "--members 4",
        "--seed 1",
        "--steps 10",
        "--report page",
        "--log log",
        "--robust auto",
        "--dry-run",
    ] {
        let said = folder.refused(&format!("fuse x.npy y.npy -o f.npy --method gsa {option}"));
        let name = option.split(' ').next().unwrap();
        assert!(said.contains("--method") && said.contains(name), "{said}");
    }
    // Notes go before.
    let little = folder.run("fuse x.npy y.npy -o f.npy --method gsa --max-memory 1MB");
    let said = String::from_utf8(little.stderr).unwrap();
    assert_eq!(little.status.code(), Some(2), "{said}");
    assert!(
        said.lines().last().unwrap().contains("gsa holds the whole image"),
        "{said}"
    );
    assert!(!folder.path("f.npy").exists());
}

#[test]
fn experiments_measure_methods_beside_the_fusion() {
    let folder = pair();
    fs::write(folder.path("m.txt"), "z.npy,r.csv\n").unwrap();
    let few = "--backend cpu --quiet --steps 3 --finetune-steps 0 --members 1 --json";
    let run =
        format!("experiment scenes --scenes m.txt --out e --methods gsa,glp,regression --only gsa {few}");
    let large = Cube::new(Array3::from_shape_fn((64, 56, 9), |(r, c, b)| {
        let (r, c, b) = (r as f32 / 6.0, c as f32 / 5.0, b as f32 / 9.0);
        0.5 + 0.2 * (2.0 * r + 3.0 * b).sin() + 0.2 * (3.0 * c - 2.0 * b).cos()
    }));
    folder.cube("z.npy", &large);
    let results = json(&folder.good(&run));
    let rows = results["results"]["rows"].as_array().unwrap();
    // Blind and told the response.
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter()
            .all(|row| row["method"] == "gsa" && row["seconds"].as_f64().unwrap() > 0.0)
    );
    let all = json(&folder.good(&run.replace("--only gsa", "").replace("--out e", "--out a")));
    let names: Vec<&str> = all["results"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["method"].as_str().unwrap())
        .collect();
    // The regression is the control, which runs anyway.
    let each = [
        "bicubic",
        "control",
        "refined-control",
        "network",
        "refined",
        "gsa",
        "glp",
    ];
    assert_eq!(names, [each, each].concat());
}
