//! `experiment scenes`: every scene under the two settings of the quality tables, blind and told the response; pairs of
//! real sensors blind at ×3 and ×4.

use crate::baseline::Method;
use crate::error::Result;
use crate::experiment::cell::{Setting, Told};
use crate::experiment::manifest::{MsiSource, Reference};
use crate::experiment::plan::Plan;
use crate::sensor::catalogue::PsfSpec;
use crate::sensor::estimate::PsfModel;

/// Scale and PSF of a simulated observation.
const SIMULATED: [(usize, PsfSpec); 2] = [(32, PsfSpec::Paper(5)), (8, PsfSpec::Gaussian(2.5, 1.5, 0.6))];
/// Scale and PSF by which the HSI of a pair is degraded: standard deviations of about a third of the scale.
const PAIRS: [(usize, PsfSpec); 2] = [
    (3, PsfSpec::Gaussian(1.2, 0.8, 0.6)),
    (4, PsfSpec::Gaussian(2.0, 1.4, 0.6)),
];

/// The plan for these scenes with the seeds `first_seed ..` of which there are `seeds`.
///
/// # Errors
/// [`crate::Error::Input`] for a scene that is too small for every scale.
pub fn plan(
    references: &[Reference],
    psf_model: PsfModel,
    (first_seed, seeds): (u64, u64),
    beside: &[Method],
) -> Result<Plan> {
    let mut plan = Plan::beside(beside);
    for told in [Told::Blind, Told::Srf] {
        for (simulated, conditions) in [(true, &SIMULATED), (false, &PAIRS)] {
            for (scale, psf) in conditions {
                for reference in references {
                    let is_simulated = matches!(reference.msi, MsiSource::Response(..));
                    // The response of a pair's second sensor is what nobody knows.
                    if is_simulated != simulated || (!simulated && told != Told::Blind) {
                        continue;
                    }
                    if !conditions.iter().any(|(s, _)| reference.fits(*s)) {
                        return Err(reference.too_small(&conditions.each_ref().map(|(s, _)| *s)));
                    }
                    if !reference.fits(*scale) {
                        if told == Told::Blind {
                            plan.left_out
                                .push(format!("{} at x{scale}: too small", reference.name));
                        }
                        continue;
                    }
                    let kind = if simulated { "" } else { "two sensors, " };
                    let told_text = match told {
                        Told::Blind => "blind",
                        _ => "told the response",
                    };
                    let factor = format!("{kind}x{scale}, {psf}, {told_text}");
                    for seed in first_seed..first_seed + seeds {
                        let setting = Setting {
                            scene: reference.name.clone(),
                            sensor: reference.sensor(),
                            scale: *scale,
                            psf: psf.clone(),
                            published: false,
                            shift: 0.0,
                            misplaced: None,
                            snr_hsi: None,
                            snr_msi: None,
                            told,
                            psf_model,
                            seed,
                        };
                        plan.add(&factor, &reference.name, &setting);
                    }
                }
            }
        }
    }
    Ok(plan)
}
