//! `experiment misplaced`: pairs whose images do not lie on each other, blind, beside the same pair undisturbed.

use crate::baseline;
use crate::error::{Error, Result};
use crate::experiment::cell::{Method, Setting, Told};
use crate::experiment::conditions::as_wide;
use crate::experiment::manifest::{MsiSource, Reference};
use crate::experiment::misplacement::{AROUND, Misplaced};
use crate::experiment::plan::Plan;
use crate::sensor::estimate::PsfModel;

/// Ratio of the grids.
const SCALE: usize = 3;
/// SNR of both images in dB.
const SNR: f64 = 40.0;
/// LR pixels of an HSI's side at least.
const LEAST: usize = 12;

/// The misplacements by name, the undisturbed pair first.
fn all() -> Vec<(&'static str, Misplaced)> {
    let moved = |down: f64, right: f64| Misplaced {
        shift: [down, right],
        ..Misplaced::default()
    };
    let turned = |rotation: f64| Misplaced {
        rotation,
        ..Misplaced::default()
    };
    let bent = |warp: f64| Misplaced {
        warp,
        ..Misplaced::default()
    };
    let on = |system: u32| Misplaced {
        system: Some(system),
        ..Misplaced::default()
    };
    vec![
        ("undisturbed", Misplaced::default()),
        ("shift by 0.9 px", moved(0.54, 0.72)),
        ("shift by 4 px", moved(3.2, -2.4)),
        ("shift by 9.9 px", moved(7.92, -5.94)),
        ("rotation by 0.5°", turned(0.5)),
        ("rotation by 2°", turned(2.0)),
        ("warp of 1 px rms", bent(1.0)),
        ("warp of 2 px rms", bent(2.0)),
        (
            "ratio 2.7",
            Misplaced {
                ratio: Some(2.7),
                ..Misplaced::default()
            },
        ),
        (
            "MSI larger by 20 px on all sides",
            Misplaced {
                larger: true,
                ..Misplaced::default()
            },
        ),
        ("MSI in the next UTM zone", on(32632)),
        ("MSI in EPSG:4326", on(4326)),
    ]
}

/// The plan for these scenes.
///
/// # Errors
/// [`Error::Input`] where every scene is a pair of real sensors or too small.
pub fn plan(
    references: &[Reference],
    psf_model: PsfModel,
    (first_seed, seeds): (u64, u64),
    beside: &[baseline::Method],
) -> Result<Plan> {
    let mut plan = Plan::beside(beside);
    for (value, misplaced) in all() {
        for reference in references {
            let (rows, columns, _) = reference.shape;
            let middle = Misplaced::middle(&(0..rows.min(columns)), SCALE);
            if matches!(reference.msi, MsiSource::Image(_)) || middle.len() < LEAST {
                continue;
            }
            for seed in first_seed..first_seed + seeds {
                let setting = Setting {
                    scene: reference.name.clone(),
                    sensor: reference.sensor(),
                    scale: SCALE,
                    psf: as_wide(1.0, SCALE),
                    published: false,
                    shift: 0.0,
                    misplaced: Some(misplaced.clone()),
                    snr_hsi: Some(SNR),
                    snr_msi: Some(SNR),
                    told: Told::Blind,
                    psf_model,
                    seed,
                };
                plan.add_method("misplaced", value, &setting, Method::Refined);
                plan.add_beside("misplaced", value, &setting);
            }
        }
    }
    if plan.rows.is_empty() {
        return Err(Error::input(format!(
            "misplaced needs a scene whose MSI is simulated, of at least {} pixels a side",
            (LEAST * SCALE * AROUND).div_ceil(AROUND - 2) + 2 * SCALE
        )));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::align::geometry::Place;
    use crate::cube::Cube;
    use crate::experiment::manifest::built_in;

    fn wave(r: f64, c: f64) -> f32 {
        (2.0 + (0.31 * r).sin() + (0.23 * c - 0.1 * r).cos()) as f32
    }

    #[test]
    fn the_msi_shows_the_scene_where_the_misplacement_says() {
        let scene = Cube::new(Array3::from_shape_fn((100, 110, 1), |(r, c, _)| {
            wave(r as f64, c as f64)
        }));
        let covered = [1..100, 0..108];
        let middle = covered.clone().map(|c| Misplaced::middle(&c, 3));
        assert_eq!(middle, [7..26, 8..28]);
        let corner = [1 + 21, 24];
        let hsi = Cube::new(Array3::zeros((19, 20, 1)));
        for (name, misplaced) in all() {
            let mut hsi = hsi.clone();
            let msi = misplaced.msi(&scene, &mut hsi, corner, 3).unwrap();
            let at = |r: usize, c: usize| msi.samples[[r, c, 0]];
            let near = |r: usize, c: usize, place: Place| {
                let expected = wave(place[0] - 0.5, place[1] - 0.5);
                assert!(
                    (at(r, c) - expected).abs() < 0.02,
                    "{name}: {} {expected}",
                    at(r, c)
                );
            };
            let (mid_r, mid_c) = (msi.rows() / 2, msi.columns() / 2);
            match name {
                "undisturbed" => {
                    assert_eq!(msi.samples, scene.samples.slice(ndarray::s![22..79, 24..84, ..]));
                }
                "shift by 4 px" => near(30, 30, [52.5 - 3.2, 54.5 + 2.4]),
                "ratio 2.7" => near(10, 20, [22.0 + 10.5 / 0.9, 24.0 + 20.5 / 0.9]),
                "MSI larger by 20 px on all sides" => near(3, 5, [5.5, 9.5]),
                // The middle stays the middle.
                name if name.contains("EPSG") || name.contains("UTM") => {
                    assert!(hsi.metadata.grid.is_some() && msi.metadata.grid.is_some());
                    let middle = at(mid_r, mid_c);
                    assert!((middle - wave(50.0, 53.5)).abs() < 0.3, "{name}: {middle}");
                }
                _ => assert_eq!(msi.samples.dim(), (57, 60, 1)),
            }
        }
    }

    #[test]
    fn every_misplacement_is_a_cell_of_its_own() {
        let demo = [built_in().unwrap()];
        let plan = plan(&demo, PsfModel::Gaussian, (0, 1), &[]).unwrap();
        let names: std::collections::BTreeSet<String> = plan.rows.iter().map(|r| r.cell.name()).collect();
        assert_eq!((plan.rows.len(), names.len()), (12, 12));
    }
}
