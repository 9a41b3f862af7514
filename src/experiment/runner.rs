//! Working off a plan: one file a finished cell, so that a run that was interrupted goes on where it stopped.
//!
//! A cell's file holds its specification (the cell, the scene's checksum, the configuration, the engine, the version)
//! beside its outcome. It is taken over only if the specification is the one that would be run now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::baseline;
use crate::coordination::config::{Config, Refine};
use crate::coordination::keeper::Keeper;
use crate::coordination::model::Degradation;
use crate::coordination::watcher::{StageTime, Watcher, stage};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::experiment::cell::{Cell, Method, Outcome, Setting};
use crate::experiment::manifest::{Images, Reference};
use crate::experiment::observed::{Made, Observed};
use crate::experiment::paper_run::{Task, Trained};
use crate::experiment::plan::Plan;
use crate::fusion::Fusion;
use crate::interrupt::{self, Keeping};
use crate::io;

/// Whoever watches an experiment: told of its cells, and of the stages of the one that runs.
pub trait Observer: Watcher {
    /// `done` of `total` cells have their outcome; `name` is that of the next one, or none at the end.
    fn cells(&mut self, done: usize, total: usize, next: Option<&str>);
}

/// What an experiment runs with.
pub struct Runner<'a> {
    /// The device.
    pub engine: &'a dyn Engine<f32>,
    /// The configuration of what `fuse` does; a cell decides seed, PSF side and form, and whether it is refined.
    pub config: &'a Config,
    /// The configuration of [`Method::Paper`]; a cell decides likewise, and what its [`Paper`](crate::experiment::paper::Paper) says.
    pub paper: &'a Config,
    /// The scenes that the plan names.
    pub references: &'a [Reference],
    /// Folder of the cells' files; it exists.
    pub folder: PathBuf,
    /// Whether finished cells are run anew.
    pub fresh: bool,
}

/// The outcomes of a plan.
pub struct Finished {
    /// Outcome of each cell by name.
    pub outcomes: BTreeMap<String, Outcome>,
    /// Cells that ran.
    pub computed: usize,
    /// Cells that were taken over from a run of another build of the program.
    pub other_builds: usize,
}

/// What must agree for a finished cell to be taken over.
#[derive(Serialize)]
struct Specification<'a> {
    version: &'a str,
    engine: String,
    checksum: u32,
    cell: &'a Cell,
    /// None where the method does not look at it.
    config: Option<Config>,
}

#[derive(Serialize, Deserialize)]
struct CellFile {
    specification: Value,
    /// CRC-32 of the executable: tells builds of one version apart.
    build: u32,
    outcome: Outcome,
    /// CRC-32 of the outcome as JSON.
    checksum: u32,
}

/// A trained model with its configuration but for fine-tuning, and the scenes that it was trained on.
struct Before {
    config: Config,
    train_on: Vec<(String, u32)>,
    trained: Trained,
}

impl Runner<'_> {
    /// Runs what is not finished of `plan`.
    ///
    /// # Errors
    /// [`Error::Input`] where a scene cannot be read or does not fit its setting, [`Error::Failed`] where a fusion or
    /// writing fails, [`Error::Interrupted`] after Ctrl-C. Finished cells are kept in every case.
    pub fn run(&self, plan: &Plan, observer: &mut dyn Observer) -> Result<Finished> {
        let _keeping = Keeping::say(format!(
            "interrupted; finished cells are kept in {}, the same command goes on from them",
            self.folder.display()
        ));
        let mut cells: Vec<&Cell> = Vec::new();
        for row in &plan.rows {
            if !cells.contains(&&row.cell) {
                cells.push(&row.cell);
            }
        }
        let mut finished = Finished {
            outcomes: BTreeMap::new(),
            computed: 0,
            other_builds: 0,
        };
        let build = build();
        if self.fresh {
            cells.iter().try_for_each(|cell| remove(&self.checkpoint(cell)))?;
        }
        let mut missing = Vec::new();
        for cell in &cells {
            match self.taken_over(cell)? {
                Some(file) => {
                    finished.other_builds += usize::from(file.build != build);
                    finished.outcomes.insert(cell.name(), file.outcome);
                }
                None => missing.push(*cell),
            }
        }
        let mut current: Option<(&Reference, Images)> = None;
        while let Some(first) = missing.first().copied() {
            interrupt::check()?;
            observer.cells(finished.outcomes.len(), cells.len(), Some(&first.name()));
            let (group, rest): (Vec<&Cell>, Vec<&Cell>) =
                missing.iter().partition(|cell| cell.setting == first.setting);
            missing = rest;
            let reference = self.reference(&first.setting)?;
            let images = match current.take() {
                Some((before, images)) if std::ptr::eq(before, reference) => images,
                _ => reference.read()?,
            };
            self.compute(reference, &images, &group, observer, &mut |cell, outcome| {
                self.keep(cell, &outcome, build)?;
                finished.outcomes.insert(cell.name(), outcome);
                finished.computed += 1;
                Ok(())
            })?;
            current = Some((reference, images));
        }
        observer.cells(finished.outcomes.len(), cells.len(), None);
        Ok(finished)
    }

    fn reference(&self, setting: &Setting) -> Result<&Reference> {
        self.references
            .iter()
            .find(|r| r.name == setting.scene && r.sensor() == setting.sensor)
            .ok_or_else(|| Error::failed(format!("no scene {} in this experiment", setting.scene)))
    }

    fn configuration(&self, cell: &Cell) -> Config {
        let setting = &cell.setting;
        let mut config = match cell.paper {
            Some(_) => self.paper.clone(),
            None => self.config.clone(),
        };
        config.seed = setting.seed;
        config.degradation.psf_model = setting.psf_model;
        config.refine = match cell.method {
            Method::RefinedBaseline(_) | Method::Refined => Refine::Auto,
            Method::Bicubic | Method::Baseline(_) | Method::Network | Method::Paper => Refine::Off,
        };
        if let Some(paper) = &cell.paper {
            paper.apply(&mut config);
        }
        config
    }

    fn specification(&self, cell: &Cell) -> Result<Value> {
        let specification = Specification {
            version: env!("CARGO_PKG_VERSION"),
            engine: self.engine.name(),
            checksum: self.reference(&cell.setting)?.checksum,
            cell,
            config: (cell.method != Method::Bicubic).then(|| self.configuration(cell)),
        };
        serde_json::to_value(&specification).map_err(|e| Error::failed(format!("specification as JSON: {e}")))
    }

    fn file(&self, cell: &Cell) -> PathBuf {
        self.folder.join(format!("{}.json", cell.name()))
    }

    /// The checkpoint of a cell that is not finished.
    fn checkpoint(&self, cell: &Cell) -> PathBuf {
        self.folder.join(format!("{}.checkpoint", cell.name()))
    }

    /// The cell's file, if it is whole and of this specification. Any other is as good as none: it will be replaced.
    fn taken_over(&self, cell: &Cell) -> Result<Option<CellFile>> {
        if self.fresh {
            return Ok(None);
        }
        let specification = self.specification(cell)?;
        Ok(std::fs::read(self.file(cell))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<CellFile>(&bytes).ok())
            .filter(|file| file.specification == specification)
            .filter(|file| checksum(&file.outcome).is_ok_and(|sum| sum == file.checksum)))
    }

    fn keep(&self, cell: &Cell, outcome: &Outcome, build: u32) -> Result<()> {
        let file = CellFile {
            specification: self.specification(cell)?,
            build,
            outcome: outcome.clone(),
            checksum: checksum(outcome)?,
        };
        let text =
            serde_json::to_vec_pretty(&file).map_err(|e| Error::failed(format!("outcome as JSON: {e}")))?;
        io::replace(self.file(cell), |out| out.write_all(&text))
    }

    /// Runs cells that share a setting, the quick methods first; each goes to `keep` when it is done.
    fn compute(
        &self,
        reference: &Reference,
        images: &Images,
        cells: &[&Cell],
        observer: &mut dyn Observer,
        keep: &mut dyn FnMut(&Cell, Outcome) -> Result<()>,
    ) -> Result<()> {
        let Some(setting) = cells.first().map(|cell| &cell.setting) else {
            return Ok(());
        };
        let observed = stage("simulate", observer, &mut Vec::new(), |_| {
            Observed::of(reference, images, setting)
        })?;
        let mut cells = cells.to_vec();
        cells.sort_by_key(|cell| cell.method);
        let mut trained = None;
        for cell in cells {
            let made = match cell.method {
                Method::Bicubic => observed.bicubic()?,
                Method::Baseline(method) | Method::RefinedBaseline(method) => {
                    self.baseline(method, cell, &observed, observer)?
                }
                Method::Network | Method::Refined => self.network(cell, &observed, observer)?,
                Method::Paper => self.paper(cell, &observed, &mut trained, observer)?,
            };
            keep(cell, observed.outcome(&made, observer)?)?;
            remove(&self.checkpoint(cell))?;
        }
        Ok(())
    }

    fn baseline(
        &self,
        method: baseline::Method,
        cell: &Cell,
        observed: &Observed,
        observer: &mut dyn Observer,
    ) -> Result<Made> {
        let (config, known) = (self.configuration(cell), observed.known(cell.setting.told));
        let made = Fusion::of_scene(observed.scene()?, observed.result_metadata())
            .config(config)
            .known(known)
            .on(self.engine)
            .watch(observer)
            .run_method(method)?;
        let Degradation { psf, srf } = made.degradation.clone();
        Ok(Made {
            degradation: Some((psf, srf)),
            image: made.strips().whole()?,
            seconds: total(&made.common.times),
            dead_bands: None,
            trace: None,
        })
    }

    /// A run of the paper's method; `before` holds the newest trained model, for cells that differ in fine-tuning alone.
    fn paper(
        &self,
        cell: &Cell,
        observed: &Observed,
        before: &mut Option<Before>,
        observer: &mut dyn Observer,
    ) -> Result<Made> {
        let config = self.configuration(cell);
        let paper = cell.paper.as_ref();
        let train_on = paper.map_or(&[][..], |p| &p.train_on);
        let mut others = Vec::new();
        for (name, _) in train_on {
            let setting = Setting {
                scene: name.clone(),
                ..cell.setting.clone()
            };
            let reference = self.reference(&setting)?;
            others.push(Observed::of(reference, &reference.read()?, &setting)?);
        }
        let task = Task {
            engine: self.engine,
            config: &config,
            traced: paper.is_some_and(|p| p.traced),
            observed,
            others: &others,
        };
        let mut untuned = config.clone();
        untuned.finetune = self.paper.finetune.clone();
        let trained = match before.take() {
            Some(b) if b.config == untuned && b.train_on == train_on => b.trained,
            _ => task.train(observer, Keeper::silent(&self.checkpoint(cell)))?,
        };
        *before = Some(Before {
            config: untuned,
            train_on: train_on.to_vec(),
            trained: trained.clone(),
        });
        task.finish(trained, observer)
    }

    fn network(&self, cell: &Cell, observed: &Observed, observer: &mut dyn Observer) -> Result<Made> {
        let (config, known) = (self.configuration(cell), observed.known(cell.setting.told));
        let mut keeper = Keeper::silent(&self.checkpoint(cell));
        let fused = Fusion::of_scene(observed.scene()?, observed.result_metadata())
            .config(config)
            .known(known)
            .on(self.engine)
            .watch(observer)
            .keep(&mut keeper)
            .run()?;
        let seconds = keeper.seconds_before() + total(&fused.common.times);
        Ok(Made {
            degradation: Some((fused.model.psf(), fused.model.srf())),
            image: fused.into_image()?,
            seconds,
            dead_bands: None,
            trace: None,
        })
    }
}

/// Removes a file if it is there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::failed(format!(
            "{}: cannot be removed: {e}",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn total(times: &[StageTime]) -> f64 {
    times.iter().map(|t| t.seconds).sum()
}

fn checksum(outcome: &Outcome) -> Result<u32> {
    let text = serde_json::to_vec(outcome).map_err(|e| Error::failed(format!("outcome as JSON: {e}")))?;
    Ok(crc(&text))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// CRC-32 of the running executable; 0 where it cannot be read.
pub fn build() -> u32 {
    std::env::current_exe()
        .and_then(std::fs::read)
        .map_or(0, |bytes| crc(&bytes))
}

/// The folder of the cells of an experiment written to `out`; made where it is missing.
///
/// # Errors
/// [`Error::Input`] where that is not possible.
pub fn cells_folder(out: &Path) -> Result<PathBuf> {
    let folder = out.join("cells");
    std::fs::create_dir_all(&folder)
        .map_err(|e| Error::input(format!("{}: cannot make this folder: {e}", folder.display())))?;
    Ok(folder)
}
