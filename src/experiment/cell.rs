//! A cell: one fully specified run of one method, and what came out of it.

use std::fmt;

use ndarray::Array2;
use serde::{Deserialize, Serialize, Serializer};

use crate::baseline;
use crate::error::Error;
use crate::experiment::misplacement::Misplaced;
use crate::experiment::paper::Paper;
use crate::experiment::trace::Trace;
use crate::metrics::Scores;
use crate::sensor::catalogue::PsfSpec;
use crate::sensor::estimate::PsfModel;
use crate::sensor::psf::published_centre;

/// What the fusion is told of the degradation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// Nothing: PSF and SRF are estimated.
    Blind,
    /// The PSF.
    Psf,
    /// The SRF.
    Srf,
}

/// How the result is made; in the order of the tables, and of how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Bicubic interpolation of the LR-HSI.
    Bicubic,
    /// A method without a network.
    Baseline(baseline::Method),
    /// The same with the refinement of a fusion.
    RefinedBaseline(baseline::Method),
    /// The fusion without refinement.
    Network,
    /// The fusion with refinement.
    Refined,
    /// The paper's own network and schedule, as the cell's [`Paper`] says.
    Paper,
}

impl Method {
    /// Quadratic regression from the estimated PSF: what any network must be better than.
    pub const CONTROL: Method = Method::Baseline(baseline::Method::Regression);
    /// The control with the refinement of a fusion.
    pub const REFINED_CONTROL: Method = Method::RefinedBaseline(baseline::Method::Regression);
    /// Those of the quality tables, which need nothing but a setting.
    pub const OF_QUALITY: [Method; 5] = [
        Method::Bicubic,
        Method::CONTROL,
        Method::REFINED_CONTROL,
        Method::Network,
        Method::Refined,
    ];
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |method: &baseline::Method| match method {
            baseline::Method::Regression => "control",
            other => other.name(),
        };
        match self {
            Method::Bicubic => f.write_str("bicubic"),
            Method::Baseline(method) => f.write_str(name(method)),
            Method::RefinedBaseline(method) => write!(f, "refined-{}", name(method)),
            Method::Network => f.write_str("network"),
            Method::Refined => f.write_str("refined"),
            Method::Paper => f.write_str("paper"),
        }
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Told::Blind => "blind",
            Told::Psf => "psf",
            Told::Srf => "srf",
        })
    }
}

/// The conditions of a run: what is observed of which scene, and what the fusion knows and may do.
///
/// The methods of one setting share the observations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Name of the scene.
    pub scene: String,
    /// Name of the sensor that made the MSI.
    pub sensor: String,
    /// Ratio s of the grids.
    pub scale: usize,
    /// The true PSF.
    #[serde(serialize_with = "as_text")]
    pub psf: PsfSpec,
    /// Whether the true PSF is as Guo et al. have it: K = s, its centre on pixel K / 2. Otherwise it is whole.
    pub published: bool,
    /// Misregistration in LR pixels: the HSI looks this far further down and further left than the MSI.
    pub shift: f64,
    /// How the MSI lies off the HSI, which is then the middle of the scene.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misplaced: Option<Misplaced>,
    /// SNR of the HSI in dB; none: no noise.
    pub snr_hsi: Option<f64>,
    /// SNR of the MSI in dB; none: no noise.
    pub snr_msi: Option<f64>,
    /// What the fusion is told.
    pub told: Told,
    /// The form of an estimated PSF.
    pub psf_model: PsfModel,
    /// Seed of the noise of the observations and of the fusion.
    pub seed: u64,
}

impl Setting {
    /// The true PSF, K×K with sum 1, its centre moved by the misregistration.
    ///
    /// # Errors
    /// [`Error::Input`] for a PSF that is no named one.
    pub fn true_psf(&self) -> crate::error::Result<Array2<f64>> {
        let shift = self.shift * self.scale as f64;
        let mut centre = [shift, -shift];
        let kernel = match (self.published, &self.psf) {
            (false, psf) => psf.whole(self.scale, centre)?,
            // Has its own place already.
            (true, psf @ PsfSpec::Paper(_)) => psf.kernel(self.scale, centre)?,
            (true, psf) => {
                let published = published_centre(self.scale);
                (0..2).for_each(|axis| centre[axis] += published[axis]);
                psf.kernel(self.scale, centre)?
            }
        };
        kernel.ok_or_else(|| Error::input(format!("PSF {}: an experiment takes named PSFs", self.psf)))
    }
}

fn as_text<S: Serializer>(psf: &PsfSpec, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(psf)
}

/// A setting and a method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The conditions.
    #[serde(flatten)]
    pub setting: Setting,
    /// The method.
    pub method: Method,
    /// Of [`Method::Paper`], and of no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paper: Option<Paper>,
}

impl Cell {
    /// Its name: every condition spelt out, in characters that any file system takes. Two cells that differ have
    /// different names.
    pub fn name(&self) -> String {
        let s = &self.setting;
        let decibel = |snr: Option<f64>| snr.map_or("none".to_owned(), |x| format!("{x}dB"));
        let psf: String = s
            .psf
            .to_string()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-.".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let model = match s.psf_model {
            PsfModel::Auto => "auto",
            PsfModel::Gaussian => "gaussian",
            PsfModel::Free => "free",
        };
        let paper = self
            .paper
            .as_ref()
            .map_or(String::new(), |p| format!("+{}", p.name()));
        let misplaced = s
            .misplaced
            .as_ref()
            .map_or(String::new(), |m| format!("+{}", m.name()));
        format!(
            "{}+{}+x{}+{psf}+{}+shift{}{misplaced}+snr{}_{}+{}+{model}+seed{}+{}{paper}",
            s.scene,
            s.sensor,
            s.scale,
            if s.published { "published" } else { "whole" },
            s.shift,
            decibel(s.snr_hsi),
            decibel(s.snr_msi),
            s.told,
            s.seed,
            self.method
        )
    }
}

/// What came out of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Quality against the reference, `strict`.
    pub scores: Scores,
    /// ‖Ĉ − C‖ / ‖C‖ of the PSF that the method went by; none where it uses none.
    pub psf_nrmse: Option<f64>,
    /// ‖R̂ − R‖ / ‖R‖ of the SRF; none where the method uses none or the truth is not known.
    pub srf_nrmse: Option<f64>,
    /// Distance of the centroids of Ĉ and C in LR pixels.
    pub centre_error: Option<f64>,
    /// Seconds from the two observations to the result.
    pub seconds: f64,
    /// Bands of the result that are zero everywhere; of the paper's method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_bands: Option<usize>,
    /// The course of a run of the paper's method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    pub fn setting() -> Setting {
        Setting {
            scene: "toys".into(),
            sensor: "nikon-d700".into(),
            scale: 8,
            psf: PsfSpec::Gaussian(2.5, 1.5, 0.6),
            published: false,
            shift: 0.0,
            misplaced: None,
            snr_hsi: None,
            snr_msi: None,
            told: Told::Blind,
            psf_model: PsfModel::Gaussian,
            seed: 0,
        }
    }

    // The name is the file that a later version looks for: a change here forgets every finished cell.
    #[test]
    fn the_name_is_stable() {
        let mut setting = setting();
        setting.snr_hsi = Some(20.0);
        setting.snr_msi = Some(17.5);
        setting.shift = 0.25;
        let method = Method::CONTROL;
        assert_eq!(
            Cell {
                setting,
                method,
                paper: None
            }
            .name(),
            "toys+nikon-d700+x8+gaussian_2.5_1.5_0.6+whole+shift0.25+snr20dB_17.5dB+blind+gaussian+seed0+control"
        );
    }

    #[test]
    fn every_condition_is_in_the_name() {
        let base = setting();
        let changed: [fn(&mut Setting); 13] = [
            |_| (),
            |s| s.scene = "toy".into(),
            |s| s.sensor = "other".into(),
            |s| s.scale = 4,
            |s| s.psf = PsfSpec::Paper(5),
            |s| s.published = true,
            |s| s.shift = 0.5,
            |s| s.misplaced = Some(Misplaced::default()),
            |s| s.snr_hsi = Some(30.0),
            |s| s.snr_msi = Some(30.0),
            |s| s.told = Told::Srf,
            |s| s.psf_model = PsfModel::Free,
            |s| s.seed = 1,
        ];
        let more = [baseline::Method::Gsa, baseline::Method::GlpHpm].map(Method::Baseline);
        let every: Vec<Method> = Method::OF_QUALITY
            .into_iter()
            .chain(more)
            .chain([Method::Paper])
            .collect();
        let mut names = BTreeSet::new();
        for change in changed {
            for &method in &every {
                let mut setting = base.clone();
                change(&mut setting);
                let cell = Cell {
                    setting,
                    method,
                    paper: None,
                };
                names.insert(cell.name());
            }
        }
        assert_eq!(names.len(), 13 * 8);
    }
}
