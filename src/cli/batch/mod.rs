//! `batch`: many scenes, one `fuse` each.
//!
//! A scene is a process of its own, so that what befalls one (memory, a driver) befalls no other, and so that several
//! GPUs work side by side. What is done is told by files alone: shards of one batch need nothing in common but the
//! folder of results.

mod child;
mod contents;
mod plan;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Mutex;

use clap::{Args, Parser};
use serde::Serialize;

use self::contents::Contents;
use self::plan::{BatchScene, Files, Record, Shard, Specification, scenes};
use super::Output;
use super::fuse::Fuse;
use super::summary::make_folder;
use crate::error::{Error, Result};
use crate::interrupt::{self, Keeping, Shield};
use crate::io::{self, OutputSet};

/// Fuse many scenes, one after the other or spread over GPUs and over the jobs of a cluster
///
/// Finished scenes are skipped, failed ones do not stop the others and are tried again by the same command, which goes on
/// from the checkpoint of a scene that was stopped. Results are DIR/NAME.npy and, with how they were made and what fuse
/// says of them, DIR/NAME.json.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hsr-gpu batch scenes.txt --out results\n  \
    hsr-gpu batch scenes.txt --out results --shard auto -- --members 4 --max-memory 4GiB")]
pub struct Batch {
    /// Text file with one scene a line: HSI,MSI[,name=NAME][,reference=FILE] and, for a scene alone, [,bands=LIST]
    /// [,msi-bands=LIST][,hsi-mask=FILE][,msi-mask=FILE][,axes=ORDER][,shape=ROWSxCOLUMNS][,wavelengths=FILE][,msi-axes=ORDER]
    /// [,msi-wavelengths=FILE][,clouds=mask|keep][,msi-clouds=mask|keep] as the options of fuse that are called so, with spaces in lists;
    /// paths are relative to its own folder
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Folder for the results
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Format of the results by its ending
    #[arg(long, value_name = "ENDING", default_value = "npy")]
    format: String,
    /// Part of the scenes that this process takes: I/N, or auto in a job of a Slurm array or an indexed Kubernetes job
    #[arg(long, value_name = "I/N|auto")]
    shard: Option<Shard>,
    /// GPU adapters, a scene at a time on each: numbers or parts of names with commas between, or all hardware adapters
    #[arg(long, value_name = "LIST|all")]
    adapter: Option<String>,
    /// Fuse finished scenes anew, and stopped ones from their beginning
    #[arg(long)]
    fresh: bool,
    /// Options of fuse for all scenes, after --; {name} in them stands for the scene's name, as in --save-std
    /// std-{name}.npy
    #[arg(last = true, value_name = "FUSE OPTIONS")]
    fuse: Vec<String>,
}

/// Parses the options of `fuse` by themselves.
#[derive(Debug, Parser)]
#[command(name = "fuse")]
struct FuseAlone {
    #[command(flatten)]
    fuse: Fuse,
}

/// What became of a scene.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// Fused now.
    Fused,
    /// Found finished.
    Skipped,
    /// Its line of error.
    Failed(String),
}

/// A scene's line of the summary.
#[derive(Debug, Clone, Serialize)]
struct Line {
    name: String,
    status: Status,
    /// Seconds of its fusion, where there is a result.
    seconds: Option<f64>,
    /// Peak signal-to-noise ratio in dB, where it has a reference.
    psnr_db: Option<f64>,
}

/// What became of a batch or of a shard of it.
#[derive(Debug, Serialize)]
struct Summary {
    fused: usize,
    skipped: usize,
    failed: usize,
    scenes: Vec<Line>,
}

impl Batch {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Input`] for a manifest or options that are wrong, [`Error::Failed`] where scenes have failed.
    pub fn run(self, output: &Output) -> Result<()> {
        let all = scenes(&self.manifest)?;
        let adapters = self.adapters()?;
        make_folder(&self.out)?;
        let program = std::env::current_exe()
            .map_err(|e| Error::failed(format!("cannot find this program to run it again: {e}")))?;
        let own = |place: usize| self.shard.is_none_or(|shard| shard.takes(place));
        let mine: Vec<BatchScene> = all
            .into_iter()
            .enumerate()
            .filter_map(|(k, s)| own(k).then_some(s))
            .collect();
        let lines = self.work(&program, &mine, &adapters, output)?;
        let count = |of: fn(&Status) -> bool| lines.iter().filter(|l| of(&l.status)).count();
        let summary = Summary {
            fused: count(|s| matches!(s, Status::Fused)),
            skipped: count(|s| matches!(s, Status::Skipped)),
            failed: count(|s| matches!(s, Status::Failed(_))),
            scenes: lines,
        };
        output.result(&summary, &summary.text())?;
        match summary.failed {
            0 => Ok(()),
            failed => Err(Error::failed(format!(
                "{failed} of {} scenes failed; the same command tries them again",
                summary.scenes.len()
            ))),
        }
    }

    /// One adapter's name a process at a time; one of no name where fuse is to choose.
    fn adapters(&self) -> Result<Vec<Option<String>>> {
        match self.adapter.as_deref() {
            None => Ok(vec![None]),
            Some("all") => all_adapters(),
            Some(list) => Ok(list.split(',').map(|name| Some(name.trim().to_owned())).collect()),
        }
    }

    /// The options of `fuse` that all scenes share, for the scene of this name.
    fn shared(&self, name: &str) -> Vec<String> {
        self.fuse
            .iter()
            .map(|word| word.replace("{name}", name))
            .collect()
    }

    /// How a scene is fused.
    fn specification(&self, scene: &BatchScene) -> Specification {
        Specification {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fields: scene.fields.clone(),
            options: self.shared(&scene.name),
        }
    }

    /// The words that `fuse` is called with.
    fn words(&self, scene: &BatchScene) -> Result<Vec<String>> {
        let text = |path: PathBuf| {
            let name = path.into_os_string().into_string();
            name.map_err(|name| {
                Error::input(format!(
                    "{}: the name is not UTF-8; give another one",
                    PathBuf::from(name).display()
                ))
            })
        };
        let files = Files::new(&self.out, &scene.name, &self.format);
        let specification = self.specification(scene);
        let checkpoint = specification.checkpoint(&self.out, &scene.name);
        let mut words = scene.options.clone();
        words.extend(["--out".to_owned(), text(files.result)?]);
        words.extend([
            "--checkpoint".to_owned(),
            text(checkpoint)?,
            "--resume".to_owned(),
        ]);
        words.extend(specification.options);
        Ok(words)
    }

    /// What fusing a scene reads and writes.
    ///
    /// # Errors
    /// [`Error::Input`] where `fuse` would not take the options.
    fn scene_files(&self, scene: &BatchScene, set: &mut OutputSet) -> Result<()> {
        set.scene(&scene.name);
        let words = std::iter::once("fuse".to_owned()).chain(self.words(scene)?);
        let FuseAlone { fuse } = FuseAlone::try_parse_from(words).map_err(|e| {
            let text = e.to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line);
            Error::input(format!("options of fuse: {line}; see hsr-gpu fuse --help"))
        })?;
        if let Some(option) = fuse.only_shows() {
            return Err(Error::input(format!(
                "options of fuse: {option} fuses nothing; give it to hsr-gpu fuse itself"
            )));
        }
        fuse.files(set)
    }

    /// What it reads and writes.
    ///
    /// # Errors
    /// [`Error::Input`] for a manifest or options that are wrong.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        set.reads("the manifest", &self.manifest.to_string_lossy());
        set.writes_into("--out", &self.out, &[]);
        for scene in scenes(&self.manifest)? {
            self.scene_files(&scene, set)?;
            set.writes("--out", &Files::new(&self.out, &scene.name, &self.format).record);
        }
        Ok(())
    }

    /// Fuses what is not done, a process an adapter.
    fn work(
        &self,
        program: &Path,
        scenes: &[BatchScene],
        adapters: &[Option<String>],
        output: &Output,
    ) -> Result<Vec<Line>> {
        let _shield = Shield::hold();
        let _keeping = Keeping::say(
            "interrupted; finished scenes are kept, and the same command goes on with the others".to_owned(),
        );
        let queue = Mutex::new((0..scenes.len()).collect::<VecDeque<_>>());
        let next = || queue.lock().ok()?.pop_front();
        let done = Mutex::new(Vec::new());
        let work = |adapter: Option<&str>| {
            while let Some(k) = next().filter(|_| interrupt::check().is_ok()) {
                let scene = &scenes[k];
                let line = self.one(program, scene, adapter, output);
                if let Ok(mut done) = done.lock() {
                    done.push((k, line.clone()));
                    output.say(&format!("{} of {}: {}", done.len(), scenes.len(), line.text()));
                }
            }
        };
        std::thread::scope(|scope| {
            let Some((first, others)) = adapters.split_first() else {
                return;
            };
            for adapter in others {
                let work = &work;
                // Scenes of an adapter for which the system gives no thread are done by the others.
                let _started =
                    std::thread::Builder::new().spawn_scoped(scope, move || work(adapter.as_deref()));
            }
            work(first.as_deref());
        });
        interrupt::check()?;
        let mut lines = done.into_inner().unwrap_or_default();
        lines.sort_by_key(|(k, _)| *k);
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }

    /// Fuses one scene, if that is not done.
    fn one(&self, program: &Path, scene: &BatchScene, adapter: Option<&str>, output: &Output) -> Line {
        match self.fused(program, scene, adapter, output) {
            Ok((status, record)) => Line::new(scene, status, Some(&record)),
            Err(e) => Line::new(scene, Status::Failed(e.to_string()), None),
        }
    }

    fn fused(
        &self,
        program: &Path,
        scene: &BatchScene,
        adapter: Option<&str>,
        output: &Output,
    ) -> Result<(Status, Record)> {
        let files = Files::new(&self.out, &scene.name, &self.format);
        let specification = self.specification(scene);
        let mut set = OutputSet::new();
        self.scene_files(scene, &mut set)?;
        if let Some(record) = files.done(&specification, &set).filter(|_| !self.fresh) {
            return Ok((Status::Skipped, record));
        }
        let checkpoint = specification.checkpoint(&self.out, &scene.name);
        if self.fresh
            && let Err(e) = std::fs::remove_file(&checkpoint)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            let line = format!("{}: cannot be removed: {e}", checkpoint.display());
            return Err(Error::failed(line));
        }
        // As they are before they are read: what changes meanwhile is another scene.
        let inputs = Contents::of(&set)?;
        let mut process = Process::new(program);
        process.arg("fuse").args(self.words(scene)?);
        process
            .args(adapter.map(|name| format!("--adapter={name}")))
            .arg(format!("--threads={}", rayon::current_num_threads()))
            .arg("--json");
        if output.quiet {
            process.arg("--quiet");
        }
        let summary = child::run(process, |line| output.say(&format!("{}: {line}", scene.name)))?;
        let record = Record {
            specification,
            inputs,
            summary,
        };
        let text = serde_json::to_vec(&record).map_err(|e| Error::failed(format!("record as JSON: {e}")))?;
        io::replace(&files.record, |file| file.write_all(&text))?;
        Ok((Status::Fused, record))
    }
}

/// Every hardware adapter.
#[cfg(feature = "gpu")]
fn all_adapters() -> Result<Vec<Option<String>>> {
    let hardware = crate::engine::gpu::hardware_adapters().into_iter();
    let found: Vec<_> = hardware.map(|a| Some(a.index.to_string())).collect();
    if found.is_empty() {
        Err(Error::input(
            "--adapter all: this machine has no hardware adapter; leave it out to compute on the CPU",
        ))
    } else {
        Ok(found)
    }
}

/// There are none in this build.
#[cfg(not(feature = "gpu"))]
fn all_adapters() -> Result<Vec<Option<String>>> {
    Err(Error::input(
        "--adapter all: this build has no GPU engine (--no-default-features); leave it out to compute on the CPU",
    ))
}

impl Line {
    fn new(scene: &BatchScene, status: Status, record: Option<&Record>) -> Self {
        let summary = record.map(|record| &record.summary);
        Line {
            name: scene.name.clone(),
            status,
            seconds: summary.and_then(|s| s["seconds"].as_f64()),
            psnr_db: summary.and_then(|s| s["metrics"]["psnr_db"].as_f64()),
        }
    }

    fn text(&self) -> String {
        let what = match &self.status {
            Status::Fused => "fused",
            Status::Skipped => "was done",
            Status::Failed(line) => return format!("{} failed: {line}", self.name),
        };
        let psnr = self.psnr_db.map_or(String::new(), |db| format!(", {db:.2} dB"));
        let seconds = self.seconds.map_or(String::new(), |s| format!(" in {s:.1} s"));
        format!("{} {what}{seconds}{psnr}", self.name)
    }
}

impl Summary {
    fn text(&self) -> String {
        let mut text: String = self.scenes.iter().map(|line| line.text() + "\n").collect();
        text += &format!(
            "{} scenes: {} fused now, {} done before, {} failed\n",
            self.scenes.len(),
            self.fused,
            self.skipped,
            self.failed
        );
        text
    }
}
