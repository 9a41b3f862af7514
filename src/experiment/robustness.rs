//! `experiment robustness`: one factor at a time away from a clean base setting, blind.

use crate::baseline;
use crate::error::{Error, Result};
use crate::experiment::cell::{Method, Setting, Told};
use crate::experiment::conditions::as_wide;
use crate::experiment::manifest::{MsiSource, Reference};
use crate::experiment::plan::Plan;
use crate::sensor::catalogue::{PsfSpec, paper_psfs};
use crate::sensor::estimate::PsfModel;

/// Scales of the base setting, the first that leaves enough of the scene.
const BASE_SCALES: [usize; 2] = [8, 4];
/// Scales of the factor.
const SCALES: [usize; 4] = [4, 8, 16, 32];
/// SNR of the HSI in dB.
const SNR: [f64; 5] = [20.0, 25.0, 30.0, 35.0, 40.0];
/// What the SNR of the MSI is above that of the HSI, in dB.
const MSI_ABOVE: [f64; 3] = [5.0, 0.0, -5.0];
/// Misregistration along both axes in LR pixels.
const SHIFTS: [f64; 3] = [0.0, 0.25, 0.5];

/// Full widths at half maximum in LR pixels.
const WIDTHS: [f64; 5] = [0.5, 0.7, 1.0, 1.3, 1.5];
/// Scales at which PSFs are as wide.
const WIDTH_SCALES: [usize; 3] = [3, 4, 8];
/// SNR of both images there, in dB.
const WIDTH_SNR: f64 = 40.0;

/// The PSF of a form at a scale.
type Shape = fn(usize) -> PsfSpec;

/// The Gaussian of the quality tables at ×8, its standard deviations in proportion to the scale.
fn gaussian(scale: usize) -> PsfSpec {
    let area = (scale as f64 / 8.0).powi(2);
    PsfSpec::Gaussian(2.5 * area, 1.5 * area, 0.6)
}

/// The plan for these scenes; the base setting runs with the seeds `first_seed ..` of which there are `seeds`, everything
/// else with the first.
///
/// # Errors
/// [`Error::Input`] for a scene that is too small, and where every scene is a pair of real sensors.
pub fn plan(
    references: &[Reference],
    psf_model: PsfModel,
    (first_seed, seeds): (u64, u64),
    beside: &[baseline::Method],
) -> Result<Plan> {
    let mut plan = Plan::beside(beside);
    let mut bases = Vec::new();
    for reference in references {
        if let MsiSource::Image(_) = reference.msi {
            plan.left_out
                .push(format!("{}: its MSI is a real image", reference.name));
            continue;
        }
        let scale = BASE_SCALES
            .into_iter()
            .find(|&s| reference.fits(s))
            .ok_or_else(|| reference.too_small(&BASE_SCALES))?;
        let base = Setting {
            scene: reference.name.clone(),
            sensor: reference.sensor(),
            scale,
            psf: gaussian(scale),
            published: false,
            shift: 0.0,
            misplaced: None,
            snr_hsi: None,
            snr_msi: None,
            told: Told::Blind,
            psf_model,
            seed: first_seed,
        };
        bases.push((reference, base));
    }
    if bases.is_empty() {
        return Err(Error::input(
            "robustness needs a scene whose MSI is simulated; this manifest has pairs of real sensors only",
        ));
    }
    let mut each = |factor: &str, value: &str, change: &dyn Fn(&mut Setting)| {
        for (_, base) in &bases {
            let mut setting = base.clone();
            change(&mut setting);
            plan.add(factor, value, &setting);
        }
    };
    each("noise", "none", &|_| ());
    for above in MSI_ABOVE {
        for hsi in SNR {
            each("noise", &format!("HSI {hsi} dB, MSI {} dB", hsi + above), &|s| {
                s.snr_hsi = Some(hsi);
                s.snr_msi = Some(hsi + above);
            });
        }
    }
    for model in [PsfModel::Auto, PsfModel::Gaussian, PsfModel::Free] {
        let name = match model {
            PsfModel::Auto => "auto",
            PsfModel::Gaussian => "Gaussian",
            PsfModel::Free => "free",
        };
        // Radius and length whose mean variance is about that of the Gaussian.
        let shapes: [(&str, Shape); 3] = [
            ("Gaussian", gaussian),
            ("defocus disk", |s| PsfSpec::Disk(35.0 * s as f64 / 100.0)),
            ("motion line", |s| PsfSpec::Line(6.0 * s as f64 / 10.0, 0.6)),
        ];
        for (shape, psf) in shapes {
            each("PSF", &format!("{shape}, estimated as {name}"), &|s| {
                s.psf = psf(s.scale);
                s.psf_model = model;
            });
        }
    }
    for shift in SHIFTS {
        each("misregistration", &format!("{shift} LR pixel"), &|s| {
            s.shift = shift;
        });
    }
    for seed in first_seed..first_seed + seeds {
        each("seed", &seed.to_string(), &|s| s.seed = seed);
    }
    // The estimate alone is asked for, and every method has the same: the control is there soonest.
    for scale in SCALES {
        for number in 0..paper_psfs()?.len() {
            for (_, base) in bases.iter().filter(|(reference, _)| reference.fits(scale)) {
                let setting = Setting {
                    scale,
                    psf: PsfSpec::Paper(number),
                    ..base.clone()
                };
                let value = format!("x{scale}, paper:{number}");
                plan.add_method("published PSF", &value, &setting, Method::CONTROL);
            }
        }
    }
    // What not knowing the PSF costs.
    for scale in WIDTH_SCALES {
        for (told, name) in [(Told::Blind, "blind"), (Told::Psf, "told the PSF")] {
            for width in WIDTHS {
                for (_, base) in bases.iter().filter(|(reference, _)| reference.fits(scale)) {
                    let setting = Setting {
                        scale,
                        psf: as_wide(width, scale),
                        snr_hsi: Some(WIDTH_SNR),
                        snr_msi: Some(WIDTH_SNR),
                        told,
                        ..base.clone()
                    };
                    let value = format!("x{scale}, FWHM {width} LR pixels, {name}");
                    plan.add_method("PSF width", &value, &setting, Method::Refined);
                }
            }
        }
    }
    for scale in SCALES {
        for (reference, base) in &bases {
            if !reference.fits(scale) {
                plan.left_out
                    .push(format!("{} at x{scale}: too small", reference.name));
                continue;
            }
            let setting = Setting {
                scale,
                psf: gaussian(scale),
                ..base.clone()
            };
            plan.add("scale", &format!("x{scale}"), &setting);
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::experiment::manifest::built_in;

    // The base setting stands under every factor, and is one cell.
    #[test]
    fn every_factor_is_there_and_the_base_is_shared() {
        let demo = [built_in().unwrap()];
        let plan = plan(&demo, PsfModel::Gaussian, (3, 4), &[]).unwrap();
        let factors: BTreeSet<&str> = plan.rows.iter().map(|r| r.factor.as_str()).collect();
        let expected = [
            "PSF",
            "PSF width",
            "misregistration",
            "noise",
            "published PSF",
            "scale",
            "seed",
        ];
        assert_eq!(factors.into_iter().collect::<Vec<_>>(), expected);
        let names: BTreeSet<String> = plan.rows.iter().map(|r| r.cell.name()).collect();
        // 16 of noise, 9 of PSF, 3 shifts, 4 seeds and 3 scales (x32 is too large); the base stands in five of them. And
        // six PSFs at the three scales, for the control alone; five widths at three scales, blind and told, refined.
        assert_eq!(plan.rows.len(), 35 * 5 + 18 + 30);
        assert_eq!(names.len(), 31 * 5 + 18 + 30);
        assert_eq!(plan.left_out, ["demo at x32: too small"]);
        let mut one = plan.clone();
        one.only("HSI 20 dB, MSI 15 dB").unwrap();
        assert_eq!(one.rows.len(), 5);
        assert!(one.rows.iter().all(|r| r.cell.setting.seed == 3));
        assert_eq!(one.only("nosuch").unwrap_err().exit_code(), 2);
    }
}
