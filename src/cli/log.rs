//! `--log`: the curves of a run as a TensorBoard event file, written while it runs.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ndarray::Array2;

use super::summary::make_folder;
use crate::coordination::config::TrainingConfig;
use crate::coordination::watcher::{StageTime, Watcher};
use crate::engine::StepLosses;
use crate::error::{Error, Result};
use crate::metrics::Scores;
use crate::report::html::kernel_picture;
use crate::report::tensorboard::EventFile;

/// Width in pixels from which on a PSF is not enlarged any further.
const PSF_WIDTH: usize = 256;

/// An event file, or nothing where none was asked for. What goes wrong while it is written is remembered until
/// [`Log::finish`]: a full disk must not cost the run its result.
pub struct Log {
    file: Option<EventFile<BufWriter<File>>>,
    path: PathBuf,
    training: TrainingConfig,
    failed: Option<io::Error>,
}

impl Log {
    /// Begins an event file in `folder`, which is made where it is missing; `training` has the weights of the losses.
    ///
    /// # Errors
    /// [`Error::Input`] where the folder cannot take it.
    pub fn open(folder: Option<&Path>, training: &TrainingConfig) -> Result<Self> {
        let mut log = Log {
            file: None,
            path: PathBuf::new(),
            training: training.clone(),
            failed: None,
        };
        if let Some(folder) = folder {
            make_folder(folder)?;
            // TensorBoard takes files with "tfevents" in their names, and reads them in the order of their names.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let name = format!(
                "events.out.tfevents.{:010}.hsr-gpu.{}",
                now.as_secs(),
                std::process::id()
            );
            log.path = folder.join(name);
            let file = File::create_new(&log.path).and_then(|f| EventFile::new(BufWriter::new(f)));
            log.file = Some(file.map_err(|e| {
                Error::input(format!(
                    "{}: cannot create the event file: {e}",
                    log.path.display()
                ))
            })?);
        }
        Ok(log)
    }

    fn write(&mut self, write: impl FnOnce(&mut EventFile<BufWriter<File>>) -> io::Result<()>) {
        if let (Some(file), None) = (&mut self.file, &self.failed) {
            self.failed = write(file).and_then(|()| file.flush()).err();
        }
    }

    /// The losses of a step: L_φ and L_θ weighted as in the objective, the terms of L_θ as they are.
    fn losses(&mut self, stage: &str, losses: &StepLosses) {
        let (alpha, beta) = (self.training.alpha, self.training.beta);
        self.write(|file| {
            let mut scalar =
                |tag: &str, x: f64| file.scalar(losses.step, &format!("{stage}/{tag}"), x as f32);
            let members = losses.network.len().max(1) as f64;
            scalar("L_phi", beta * losses.network.iter().sum::<f64>() / members)?;
            if let Some(terms) = losses.degradation {
                scalar("L_theta", terms.iter().zip(alpha).map(|(t, a)| t * a).sum())?;
                for (k, term) in terms.into_iter().enumerate() {
                    scalar(&format!("L_theta_term_{}", k + 1), term)?;
                }
            }
            Ok(())
        });
    }

    /// A PSF as a picture.
    pub fn psf(&mut self, step: u32, kernel: &Array2<f64>) {
        self.write(|file| {
            let picture = kernel_picture(kernel).enlarged(PSF_WIDTH / kernel.ncols().max(1));
            let mut png = Vec::new();
            picture.write_png(&mut png)?;
            file.image(step, "psf", picture.width(), picture.height(), &png)
        });
    }

    /// The metrics of an image, under `name`.
    pub fn scores(&mut self, step: u32, name: &str, scores: &Scores) {
        self.write(|file| {
            for (tag, x) in [
                ("psnr_db", scores.psnr_db),
                ("sam_deg", scores.sam_deg),
                ("ergas", scores.ergas),
                ("uiqi", scores.uiqi),
                ("ssim", scores.ssim),
                ("rmse", scores.rmse),
            ] {
                file.scalar(step, &format!("{name}/{tag}"), x as f32)?;
            }
            Ok(())
        });
    }

    /// A watcher that logs the losses and hands everything on to `watcher`.
    pub fn watch<'a>(&'a mut self, watcher: &'a mut dyn Watcher) -> Logged<'a> {
        Logged {
            log: self,
            watcher,
            stage: "train",
        }
    }

    /// Says what went wrong, if anything did.
    ///
    /// # Errors
    /// [`Error::Failed`] if the file is not whole.
    pub fn finish(self) -> Result<()> {
        match self.failed {
            None => Ok(()),
            Some(e) => Err(Error::failed(format!(
                "{}: writing the log failed: {e}; all other results are written",
                self.path.display()
            ))),
        }
    }
}

/// A [`Watcher`] with a [`Log`].
pub struct Logged<'a> {
    log: &'a mut Log,
    watcher: &'a mut dyn Watcher,
    stage: &'static str,
}

impl Watcher for Logged<'_> {
    fn begin(&mut self, stage: &'static str) {
        self.stage = stage;
        self.watcher.begin(stage);
    }

    fn progress(&mut self, done: usize, total: usize, losses: Option<&StepLosses>) {
        if let Some(losses) = losses {
            self.log.losses(self.stage, losses);
        }
        self.watcher.progress(done, total, losses);
    }

    fn end(&mut self, time: &StageTime) {
        self.watcher.end(time);
    }
}
