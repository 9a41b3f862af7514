//! When a run leaves a checkpoint, and whether one that it finds is its own.
//!
//! A checkpoint carries the identity of its run: everything that decides the bits of the result, item by item, so that
//! a refusal names what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use web_time::{Duration, Instant};

use bytemuck::Pod;
use ndarray::{ArrayView, Dimension};
use serde::{Deserialize, Serialize};

use crate::coordination::checkpoint::{load_run, save_run};
use crate::coordination::config::Config;
use crate::coordination::model::Model;
use crate::coordination::run::Run;
use crate::coordination::scene::Scene;
use crate::coordination::start::Known;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::interrupt::{Keeping, Shield};
use crate::io::Lock;

/// Steps between two looks at the clock where no number of steps was asked for.
const EVERY: u32 = 250;
/// Least time between two checkpoints then: writing costs a thousandth of it.
const INTERVAL: Duration = Duration::from_secs(20);
/// The item of an identity that is the device.
const DEVICE: &str = "the device";

/// What decides the bits of a run: names and values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity(BTreeMap<String, String>);

impl Identity {
    /// Of `work` with this configuration on this engine, by this version of the program.
    ///
    /// # Errors
    /// [`Error::Failed`] if the configuration cannot be written as text.
    pub fn of(work: &str, config: &Config, engine: &dyn Engine<f32>) -> Result<Self> {
        let mut identity = Identity(BTreeMap::new())
            .with("the work", work)
            .with("the program's version", env!("CARGO_PKG_VERSION"))
            .with(DEVICE, engine.device());
        let text = config.to_toml()?;
        let table: toml::Table = text
            .parse()
            .map_err(|e| Error::failed(format!("configuration: {e}")))?;
        identity.settings("", &table);
        Ok(identity)
    }

    fn settings(&mut self, prefix: &str, table: &toml::Table) {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            match value {
                toml::Value::Table(inner) => self.settings(&format!("{name}."), inner),
                value => {
                    self.0.insert(name, value.to_string());
                }
            }
        }
    }

    /// Of the fusion of a scene as it was read.
    ///
    /// # Errors
    /// As [`Identity::of`].
    pub fn of_fusion(
        config: &Config,
        engine: &dyn Engine<f32>,
        scene: &Scene,
        known: &Known,
    ) -> Result<Self> {
        Ok(Identity::of("a fusion", config, engine)?
            .scene("", scene)
            .known(known))
    }

    /// With one more item.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    /// With the checksums of the images of a scene; `of` tells it from other scenes.
    pub fn scene(self, of: &str, scene: &Scene) -> Self {
        let hsi = checksum(scene.lr_hsi.view(), scene.hsi_unit.to_bits());
        let hsi = checksum(scene.lr_valid.mapv(u8::from).view(), hsi);
        let msi = checksum(scene.hr_msi.view(), scene.msi_unit.to_bits());
        let msi = checksum(scene.hr_valid.mapv(u8::from).view(), msi);
        self.with(&format!("the HSI{of} (checksum)"), format!("{hsi:08x}"))
            .with(&format!("the MSI{of} (checksum)"), format!("{msi:08x}"))
    }

    /// With what the user knows of the degradation.
    pub fn known(self, known: &Known) -> Self {
        let told = |matrix: &Option<ndarray::Array2<f64>>| match matrix {
            Some(matrix) => format!("given (checksum {:08x})", checksum(matrix.view(), 0)),
            None => "blind".to_owned(),
        };
        self.with("the PSF", told(&known.psf))
            .with("the SRF", told(&known.srf))
    }

    /// The items in which `now` is another.
    fn difference(&self, now: &Identity) -> Option<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let value = |of: &Identity, name: &String| of.0.get(name).cloned().unwrap_or("not given".to_owned());
        let differing: Vec<String> = names
            .into_iter()
            .map(|name| (name, value(self, name), value(now, name)))
            .filter(|(_, then, now)| then != now)
            .map(|(name, then, now)| format!("{name} was {then} and is {now}"))
            .collect();
        (!differing.is_empty()).then(|| differing.join(", "))
    }
}

impl Identity {
    /// With the checksum of a model's parameters and moments.
    pub fn model(self, name: &str, model: &Model) -> Self {
        let state = &model.state;
        let sum = [
            &state.network,
            &state.network_m,
            &state.network_v,
            &state.degradation,
            &state.degradation_m,
            &state.degradation_v,
        ]
        .into_iter()
        .fold(model.step, |sum, values| {
            crc32c::crc32c_append(sum, bytemuck::cast_slice(values))
        });
        self.with(name, format!("{sum:08x}"))
    }
}

/// CRC-32C of shape and elements, going on from `seed`.
fn checksum<T: Pod, D: Dimension>(array: ArrayView<T, D>, seed: u32) -> u32 {
    let mut sum = seed;
    for &n in array.shape() {
        sum = crc32c::crc32c_append(sum, &(n as u64).to_le_bytes());
    }
    match array.as_slice() {
        Some(elements) => crc32c::crc32c_append(sum, bytemuck::cast_slice(elements)),
        None => array
            .iter()
            .fold(sum, |sum, x| crc32c::crc32c_append(sum, bytemuck::bytes_of(x))),
    }
}

/// Where a run leaves checkpoints, if it does.
#[derive(Debug)]
pub struct Keeper {
    path: Option<PathBuf>,
    /// Steps between two checkpoints; none: by the clock.
    every: Option<u32>,
    /// Whether to go on from what is there.
    resume: bool,
    /// What the user is told to do after an interruption; none where someone else says it.
    advice: bool,
    /// Keeps other runs from writing there.
    _lock: Option<Lock>,
    identity: Option<Identity>,
    /// When the loop began or the newest checkpoint was written.
    since: Option<Instant>,
    /// When the loop began.
    began: Option<Instant>,
    /// Seconds of the loop before this process.
    before: f64,
    /// How far the newest checkpoint is.
    written: Option<String>,
    keeping: Option<Keeping>,
}

/// What a checkpoint holds for its keeper.
#[derive(Serialize, Deserialize)]
struct Stamp {
    identity: Identity,
    /// Seconds that the loop has run so far.
    seconds: f64,
}

impl Keeper {
    /// No checkpoints.
    pub fn none() -> Self {
        Keeper {
            path: None,
            every: None,
            resume: false,
            advice: false,
            _lock: None,
            identity: None,
            since: None,
            began: None,
            before: 0.0,
            written: None,
            keeping: None,
        }
    }

    /// Checkpoints in `path`, every so many steps, or about every 20 s. With `resume` the run goes on from what is there,
    /// if anything is.
    ///
    /// # Errors
    /// [`Error::Input`] where the folder cannot take the file, another run has it, and without `resume` where it is there already.
    pub fn new(path: &Path, every: Option<u32>, resume: bool) -> Result<Self> {
        let lock = Lock::take(path, "another run leaves its checkpoints there")?;
        if !resume && path.exists() {
            return Err(Error::input(format!(
                "{}: is there already; add the setting resume to go on from it, or remove it to begin anew",
                path.display()
            )));
        }
        Ok(Keeper {
            path: Some(path.to_owned()),
            every,
            resume,
            advice: true,
            _lock: Some(lock),
            ..Keeper::none()
        })
    }

    /// Checkpoints of a part of a longer work, which finds them itself: one of another run is as good as none.
    pub fn silent(path: &Path) -> Self {
        Keeper {
            path: Some(path.to_owned()),
            resume: true,
            ..Keeper::none()
        }
    }

    /// Whether there is anything to keep.
    pub fn keeps(&self) -> bool {
        self.path.is_some()
    }

    /// The run begins; gives the checkpoint that it goes on from.
    ///
    /// # Errors
    /// [`Error::Input`] where there is one that is damaged or of another run.
    pub fn begin(&mut self, identity: Identity) -> Result<Option<Run>> {
        let Some(path) = self.path.clone().filter(|path| self.resume && path.exists()) else {
            self.identity = Some(identity);
            return Ok(None);
        };
        let found = load_run::<Stamp>(&path).and_then(|(run, stamp)| match stamp.identity.difference(&identity) {
            None => Ok((run, stamp.seconds)),
            Some(difference) => Err(Error::input(format!(
                "{}: a checkpoint of another run: {difference}; call as that one was called, or remove the file to begin anew",
                path.display()
            ))),
        });
        self.identity = Some(identity);
        match found {
            Err(_) if !self.advice => Ok(None),
            Err(e) => Err(e),
            Ok((run, seconds)) => {
                self.before = seconds;
                self.written = Some(reached(&run));
                self.say();
                Ok(Some(run))
            }
        }
    }

    /// The run that goes on from a checkpoint, if what comes before training came out as it did then.
    ///
    /// # Errors
    /// [`Error::Input`] where it did not: on another machine the same program may round otherwise.
    pub fn continued(&mut self, run: Run, start: &Model) -> Result<Run> {
        let m = &run.model;
        let same = m.start == start.start
            && m.state.linear == start.state.linear
            && m.geometry == start.geometry
            && m.architecture == start.architecture
            && m.calibration == start.calibration
            && m.fixed_psf == start.fixed_psf
            && m.fixed_srf == start.fixed_srf;
        match (&self.path, same) {
            (Some(path), false) if self.advice => Err(Error::input(format!(
                "{}: a checkpoint of another run: the estimate from the two images came out otherwise, as it may on another \
                 machine; go on where it was begun, or remove the file to begin anew",
                path.display()
            ))),
            (_, false) => {
                self.before = 0.0;
                Ok(Run::new(start.clone()))
            }
            (_, true) => Ok(run),
        }
    }

    /// Last step of the stretch behind `step` after which the loop offers a checkpoint.
    pub fn next(&self, step: u32) -> u32 {
        match (&self.path, self.every.unwrap_or(EVERY).max(1)) {
            (None, _) => u32::MAX,
            (Some(_), every) => (step / every).saturating_add(1).saturating_mul(every),
        }
    }

    /// The loop begins. While what is given back lives, Ctrl-C waits for the loop to look, which then leaves a checkpoint.
    pub fn watch(&mut self) -> Option<Shield> {
        self.began.get_or_insert_with(Instant::now);
        self.since.get_or_insert_with(Instant::now);
        self.path.is_some().then(Shield::hold)
    }

    /// Seconds that the loop ran in processes before this one.
    pub fn seconds_before(&self) -> f64 {
        self.before
    }

    /// Writes a checkpoint if it is time, or if the run has `stopped`.
    ///
    /// # Errors
    /// [`Error::Failed`] if that fails.
    pub fn offer(&mut self, run: &Run, engine: &dyn Engine<f32>, stopped: bool) -> Result<()> {
        let (Some(path), Some(identity)) = (&self.path, self.identity.take()) else {
            return Ok(());
        };
        let waits = self.every.is_none() && self.since.is_some_and(|at| at.elapsed() < INTERVAL);
        if waits && !stopped {
            self.identity = Some(identity);
            return Ok(());
        }
        let stamp = Stamp {
            // The engine may be another than at the start, where that one failed.
            identity: identity.with(DEVICE, engine.device()),
            seconds: self.before + self.began.map_or(0.0, |at| at.elapsed().as_secs_f64()),
        };
        let result = save_run(path, run, &stamp);
        self.identity = Some(stamp.identity);
        result?;
        self.since = Some(Instant::now());
        self.written = Some(reached(run));
        self.say();
        Ok(())
    }

    fn say(&mut self) {
        if let (Some(path), Some(reached), true) = (&self.path, &self.written, self.advice) {
            // The one before says its last first.
            self.keeping = None;
            self.keeping = Some(Keeping::say(format!(
                "interrupted; {} holds {reached}, the same command with the setting resume goes on from it",
                path.display()
            )));
        }
    }

    /// `error` with what is kept.
    pub fn explained(&self, error: Error) -> Error {
        match (&self.path, &self.written, error) {
            // Only now is it known where the run stopped.
            (Some(path), Some(reached), Error::Interrupted(_)) if self.advice => Error::Interrupted(format!(
                "interrupted; {} holds {reached}, the same command with the setting resume goes on from it",
                path.display()
            )),
            (_, _, error @ (Error::Input(_) | Error::Interrupted(_))) => error,
            (Some(path), Some(reached), error) if self.advice => {
                Error::Failed(format!("{error}; {} holds {reached}", path.display()))
            }
            (_, _, error) => error,
        }
    }

    /// The result is written: the checkpoint has served.
    ///
    /// # Errors
    /// [`Error::Failed`] if it cannot be removed.
    pub fn done(mut self) -> Result<()> {
        self.keeping = None;
        match self.path.filter(|path| path.exists()) {
            Some(path) => std::fs::remove_file(&path).map_err(|e| {
                Error::failed(format!(
                    "{}: the work is done, but its checkpoint cannot be removed: {e}",
                    path.display()
                ))
            }),
            None => Ok(()),
        }
    }
}

/// How far a run is, in words.
fn reached(run: &Run) -> String {
    match &run.tuning {
        Some(tuning) => format!(
            "step {} of {} of fine-tuning",
            tuning.step, run.model.config.finetune.steps
        ),
        None => format!(
            "step {} of {} of training",
            run.model.step, run.model.config.training.steps
        ),
    }
}
