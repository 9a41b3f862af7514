//! What a run is made of, as read from a preset and a TOML file, with the flags of the command line on top.
//!
//! A preset is a TOML file of `assets/presets`; a user's file is laid over it key by key, so it needs to name
//! only what differs.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::{Activation, Architecture, Initialisation, MOST_MEMBERS};
use crate::sensor::estimate::PsfModel;

/// Members times LR pixels that [`Config::members`] aims at: what a step of 8 members on 256 pixels costs.
const MEMBER_PIXELS: usize = 2048;
/// Fewest and most members of its choice. Above 32 the spread over seeds is no more than that of refinement.
const FEWEST_CHOSEN: usize = 8;
const MOST_CHOSEN: usize = 32;

/// Everything that decides a run's result besides the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Seed of weights, noise and batches.
    pub seed: u64,
    /// Whether a fusion is refined; off where a preset does not say.
    #[serde(default)]
    pub refine: Refine,
    /// Whether LR pixels that the others cannot explain are left out; off where a preset does not say.
    #[serde(default)]
    pub robust: Robust,
    /// The network.
    pub network: NetworkConfig,
    /// The coordination loop.
    pub training: TrainingConfig,
    /// Where PSF and SRF start and whether they are learned.
    pub degradation: DegradationConfig,
    /// Partial fine-tuning.
    pub finetune: FineTuneConfig,
}

/// Refinement of a fusion: denoising of the MSI before it, consistency with the HSI after it.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Refine {
    /// As strongly as the noise found in the two images allows
    Auto,
    /// The network's output as it is
    #[default]
    Off,
}

/// What is done with LR pixels that the others cannot explain: clouds, changes, dead detectors.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Robust {
    /// They are left out where the rest is then explained much better
    Auto,
    /// All are taken for good
    #[default]
    Off,
}

/// Widths and activations; the band counts come from the scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Output widths of the encoder; the last is the number of abundances.
    pub encoder: Vec<usize>,
    /// Whether the MSI pixel is concatenated before every encoder layer but the first.
    pub concatenate: bool,
    /// Hidden widths of the mean decoder.
    pub mean: Vec<usize>,
    /// Hidden widths of the standard deviation decoder.
    pub std: Vec<usize>,
    /// Slope of LeakyReLU for negative values, in 0..=1.
    pub slope: f64,
    /// Activation after the encoder.
    pub encoder_last: Activation,
    /// Activation after each decoder.
    pub decoder_last: Activation,
    /// Networks trained side by side and averaged; 0 stands for as many as the LR pixels are few
    /// ([`Config::members`]).
    pub members: usize,
    /// Whether a least-squares linear map from MSI to bands is added to the mean.
    pub linear_path: bool,
    /// Distribution of the starting weights.
    pub initialisation: Initialisation,
}

/// How the learning rate goes through a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The same rate throughout.
    Constant,
    /// Multiplied by `decay` after every `decay_every` steps.
    Stepped,
    /// Rising linearly over the first tenth, then falling as a cosine to zero.
    Cosine,
}

/// The coordination loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Steps in all.
    pub steps: u32,
    /// Side p of a patch in LR pixels.
    pub patch: usize,
    /// Patches a step; a scene with fewer is taken whole in every step.
    pub batch: usize,
    /// Learning rate of φ (the highest of the schedule).
    pub rate: f64,
    /// Course of both learning rates.
    pub schedule: Schedule,
    /// Factor of [`Schedule::Stepped`].
    pub decay: f64,
    /// Steps between two factors of [`Schedule::Stepped`].
    pub decay_every: u32,
    /// Weights α₁, α₂, α₃ of L_θ.
    pub alpha: [f64; 3],
    /// Weight β of L_φ.
    pub beta: f64,
    /// Whether samples μ + σ ε are trained, as in the paper, or the mean alone.
    pub sampling: bool,
    /// Whether outputs that die and members that learn nothing are given another start early in training.
    #[serde(default)]
    pub revive: bool,
    /// Steps of a stretch: training ends early where L_φ has not fallen from one to the next
    /// ([`crate::coordination::training::on_plateau`]). 0: never.
    #[serde(default)]
    pub patience: u32,
}

/// The degradation θ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DegradationConfig {
    /// Side K of the PSF's window; 0 stands for what `psf_window` says, another parity than the scale's for one more.
    pub kernel: usize,
    /// Where the window of an estimated or learned PSF comes from.
    #[serde(default)]
    pub psf_window: PsfWindow,
    /// Whether the start is estimated from the two images; otherwise it is an isotropic PSF of `variance` and
    /// a response whose Gaussians are spread over the bands.
    pub estimate_start: bool,
    /// Variance of the isotropic starting PSF in HR pixels squared.
    pub variance: f64,
    /// The form that an estimated PSF takes.
    pub psf_model: PsfModel,
    /// Whether the PSF's centre is learned: the misregistration of the two images.
    pub centre: bool,
    /// Whether the fusion guides the degradation: θ is updated in the loop. Without it PSF and SRF stay at their start.
    pub coordination: bool,
    /// The PSF that guides the fusion, where θ is updated.
    #[serde(default)]
    pub guide: Guide,
    /// Learning rate of θ (the highest of the schedule).
    pub rate: f64,
    /// θ and its HR pass take part in every so many steps.
    pub every: u32,
    /// LR pixels of the batch whose HR windows enter the HR pass; 0 stands for all.
    pub windows: usize,
}

/// Window and centre of a PSF that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum PsfWindow {
    /// As large as the PSF that the two images ask for; the centre is that of the LR pixel's block.
    #[default]
    Images,
    /// As Guo et al. have it: K = s, the centre on pixel K / 2.
    Published,
}

/// The PSF that makes the LR-MSI (Y∗C)↓ from which L_φ learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Guide {
    /// The one that θ stands at: what is learned of the degradation guides the fusion.
    #[default]
    Estimated,
    /// The one that the loop started from, while θ is learned from the fusion all the same: the paper's ablation
    /// "without coordination".
    Start,
}

/// Partial fine-tuning of the decoders on frozen abundances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuneConfig {
    /// Steps; 0 leaves fine-tuning out.
    pub steps: u32,
    /// Learning rate.
    pub rate: f64,
    /// Course of the learning rate.
    pub schedule: Schedule,
    /// The PSF that makes the LR-MSI.
    pub psf: FineTunePsf,
}

/// The PSF of partial fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FineTunePsf {
    /// The one that the coordination loop found.
    Estimated,
    /// The one that the loop started from (the paper's ablation).
    Start,
}

/// Name and text of every preset, the default of `fuse` first.
pub const PRESETS: [(&str, &str); 6] = [
    (
        "single-scene",
        include_str!("../../assets/presets/single-scene.toml"),
    ),
    ("cave", include_str!("../../assets/presets/cave.toml")),
    ("harvard", include_str!("../../assets/presets/harvard.toml")),
    ("chikusei", include_str!("../../assets/presets/chikusei.toml")),
    ("wv2", include_str!("../../assets/presets/wv2.toml")),
    (
        "cave-released",
        include_str!("../../assets/presets/cave-released.toml"),
    ),
];

impl Config {
    /// A preset with the user's TOML text (`name` and text) laid over it.
    ///
    /// # Errors
    /// [`Error::Input`] for an unknown preset, TOML that does not parse, unknown keys and values out of range.
    pub fn load(preset: &str, overlay: Option<(&str, &str)>) -> Result<Config> {
        let text = PRESETS
            .iter()
            .find(|(name, _)| *name == preset)
            .map(|(_, text)| *text)
            .ok_or_else(|| {
                let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
                Error::input(format!(
                    "the setting preset {preset}: no such preset; there are {}",
                    names.join(", ")
                ))
            })?;
        let parse = |name: &str, text: &str| -> Result<toml::Table> {
            text.parse()
                .map_err(|e: toml::de::Error| Error::input(format!("{name}: {}", one_line(&e))))
        };
        let mut table = parse(preset, text)?;
        if let Some((name, text)) = overlay {
            overlay_table(&mut table, parse(name, text)?);
        }
        let source = overlay.map_or(preset, |(name, _)| name);
        let config: Config = table
            .try_into()
            .map_err(|e: toml::de::Error| Error::input(format!("{source}: {}", one_line(&e))))?;
        config.check(source)?;
        Ok(config)
    }

    /// Checks the ranges; `source` names the file for the message.
    ///
    /// # Errors
    /// [`Error::Input`] naming the key and what it may be.
    pub fn check(&self, source: &str) -> Result<()> {
        let bad = |what: &str| Err(Error::input(format!("{source}: {what}")));
        let (t, d, f) = (&self.training, &self.degradation, &self.finetune);
        let rate = |x: f64| x.is_finite() && x > 0.0 && x <= 1.0;
        if !rate(t.rate) || !rate(d.rate) || !rate(f.rate) {
            return bad("a learning rate (`rate`) must lie in 0 < rate <= 1");
        }
        if t.alpha
            .iter()
            .chain([&t.beta])
            .any(|x| !x.is_finite() || *x < 0.0)
        {
            return bad("training.alpha and training.beta must not be negative");
        }
        if i64::try_from(self.seed).is_err() {
            return bad(
                "seed must be at most 9223372036854775807: configurations and models hold no larger one",
            );
        }
        if t.patch == 0 || t.batch == 0 {
            return bad("training.patch and training.batch must be at least 1");
        }
        if t.decay_every == 0 || !(t.decay > 0.0 && t.decay <= 1.0) {
            return bad("training.decay must lie in 0 < decay <= 1 and training.decay_every be at least 1");
        }
        if d.every == 0 {
            return bad("degradation.every must be at least 1");
        }
        if !(d.variance.is_finite() && d.variance > 0.0) {
            return bad("degradation.variance must be positive");
        }
        if self.network.members > MOST_MEMBERS {
            return bad(&format!("network.members must lie in 0..={MOST_MEMBERS}"));
        }
        // With the fewest bands: what is too much for them is too much for any, and is said before images are read.
        self.architecture(1, 1, usize::MAX)
            .map_or_else(|e| bad(&e.to_string()), |_| Ok(()))
    }

    /// The configuration as TOML, as `--dump-config` prints it and `--config` reads it.
    ///
    /// # Errors
    /// [`Error::Failed`] if a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::failed(format!("configuration as TOML: {e}")))
    }

    /// Members of a network that is trained on so many LR pixels.
    ///
    /// The fewer pixels, the more the members differ where they extrapolate, and the cheaper each of them is. Standard
    /// deviation of PSNR over seeds with 8, 16 and 32 members: 0.35, 0.19, 0.08 dB on 64 pixels (chart at x32), 0.12, 0.10,
    /// 0.07 dB on 128 (EnMAP at x8), 0.05 dB with 8 on 144 (Jasper Ridge), 0.1 dB with 8 on 256 (stuffed toys at x32).
    pub fn members(&self, lr_pixels: usize) -> usize {
        match self.network.members {
            0 => (MEMBER_PIXELS / lr_pixels.max(1)).clamp(FEWEST_CHOSEN, MOST_CHOSEN),
            members => members,
        }
    }

    /// This configuration with the members that so many LR pixels ask for.
    pub fn settled(&self, lr_pixels: usize) -> Config {
        let mut config = self.clone();
        config.network.members = self.members(lr_pixels);
        config
    }

    /// The network for a scene's band counts, trained on so many LR pixels.
    ///
    /// # Errors
    /// [`Error::Input`] where the widths make no network.
    pub fn architecture(&self, bands: usize, msi_bands: usize, lr_pixels: usize) -> Result<Architecture> {
        let n = &self.network;
        let architecture = Architecture {
            bands,
            msi_bands,
            encoder: n.encoder.clone(),
            concatenate: n.concatenate,
            mean: n.mean.clone(),
            std: n.std.clone(),
            slope: n.slope,
            encoder_last: n.encoder_last,
            decoder_last: n.decoder_last,
            members: self.members(lr_pixels),
            linear_path: n.linear_path,
        };
        architecture.check()?;
        Ok(architecture)
    }
}

impl Schedule {
    /// Factor of the rate at `step` (from 1) of `steps`.
    pub fn factor(self, step: u32, steps: u32, decay: f64, decay_every: u32) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Stepped => decay.powi(((step - 1) / decay_every) as i32),
            Schedule::Cosine => {
                let rise = (steps / 10).max(1);
                if step <= rise {
                    f64::from(step) / f64::from(rise)
                } else {
                    let fall = f64::from(step - rise) / f64::from(steps - rise + 1);
                    0.5 * (1.0 + (std::f64::consts::PI * fall).cos())
                }
            }
        }
    }
}

fn overlay_table(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => overlay_table(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pixels_have_many_members() {
        let config = Config::load("single-scene", None).unwrap();
        let members = [0, 1, 64, 128, 150, 256, 100_000].map(|pixels| config.members(pixels));
        assert_eq!(members, [32, 32, 32, 16, 13, 8, 8]);
        let settled = config.settled(128);
        assert_eq!((settled.network.members, settled.members(64)), (16, 16));
        assert_eq!(settled.architecture(31, 3, 1).unwrap().members, 16);
    }

    #[test]
    fn every_preset_parses_and_survives_a_round_trip() {
        for (name, _) in PRESETS {
            let config = Config::load(name, None).unwrap();
            let text = config.to_toml().unwrap();
            assert_eq!(
                Config::load("cave", Some(("dump", &text))).unwrap(),
                config,
                "{name}"
            );
        }
    }

    #[test]
    fn overlay_changes_what_it_names_and_refuses_unknown_keys() {
        let config = Config::load("cave", Some(("mine", "[training]\nsteps = 7\n"))).unwrap();
        assert_eq!(config.training.steps, 7);
        assert_eq!(
            config.training.batch,
            Config::load("cave", None).unwrap().training.batch
        );
        let error = Config::load("cave", Some(("mine", "[training]\nstep = 7\n"))).unwrap_err();
        assert!(
            error.to_string().starts_with("mine: ") && error.to_string().contains("step"),
            "{error}"
        );
    }

    #[test]
    fn widths_are_held_against_memory_before_any_image_is_read() {
        let said = |text: &str| {
            let error = Config::load("cave", Some(("mine", text))).unwrap_err();
            error.to_string()
        };
        let wide = "[network]\nencoder = [4096, 4096, 4096]\nmembers = 64\n";
        assert!(said(wide).contains("take fewer members"));
        assert!(said("[network]\nencoder = [5000]\n").contains("1..=4096"));
        assert!(said("[network]\nencoder = []\n").starts_with("mine: "));
    }

    #[test]
    fn cosine_rises_to_one_and_ends_near_zero() {
        let f = |step| Schedule::Cosine.factor(step, 100, 1.0, 1);
        assert!((f(10) - 1.0).abs() < 1e-12 && f(1) < f(5) && f(50) < f(20));
        assert!(f(100) > 0.0 && f(100) < 0.01);
        let g = |step| Schedule::Stepped.factor(step, 100, 0.5, 40);
        assert_eq!((g(40), g(41), g(81)), (1.0, 0.5, 0.25));
    }
}
