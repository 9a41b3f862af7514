//! What is observed of a scene under a setting, what a method makes of it, and how the two are compared.

use std::time::Instant;

use ndarray::{Array2, Array3};

use crate::align::files::Named;
use crate::coordination::fused_scene::finish;
use crate::coordination::placement::{Ground, OnGrid, Placing};
use crate::coordination::scene::Scene;
use crate::coordination::start::Known;
use crate::coordination::watcher::{Watcher, stage};
use crate::cube::scratch::Store;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, bicubic};
use crate::error::{Error, Result};
use crate::experiment::cell::{Outcome, Setting, Told};
use crate::experiment::manifest::{Images, MsiSource, Reference};
use crate::experiment::misplacement::Misplaced;
use crate::experiment::trace::{Trace, nrmse};
use crate::metrics::{Convention, evaluate};
use crate::sensor::observe::{Observation, add_noise, apply_response};
use crate::sensor::observe_strips::Blurred;
use crate::sensor::psf::{centroid, window_start};
use crate::sensor::window::resized;

/// What a method made of the observations.
pub(super) struct Made {
    /// The result.
    pub image: Cube,
    /// PSF and SRF that it went by.
    pub degradation: Option<(Array2<f64>, Array2<f64>)>,
    /// Seconds that it took.
    pub seconds: f64,
    /// Bands that are zero everywhere, of the paper's method.
    pub dead_bands: Option<usize>,
    /// Its course, where one was kept.
    pub trace: Option<Trace>,
}

/// The two observations of a scene, with the truth.
pub(super) struct Observed {
    /// The truth.
    pub reference: Cube,
    hsi: Cube,
    msi: Cube,
    /// The true PSF.
    pub psf: Array2<f64>,
    /// The true response, where it is known.
    pub srf: Option<Array2<f64>>,
    /// Ratio of the grids.
    pub scale: usize,
    /// How the images are placed; as what they are where nothing is misplaced.
    placing: Option<Placing>,
}

impl Observed {
    pub fn of(reference: &Reference, images: &Images, setting: &Setting) -> Result<Self> {
        let scale = setting.scale;
        let psf = setting.true_psf()?;
        let blurred = Blurred::within(&images.reference, &psf, scale)?;
        let covered = blurred.covered();
        let mut hsi = blurred.rows(0..blurred.dim().0)?;
        let [rows, columns] = match &setting.misplaced {
            None => covered,
            Some(_) => {
                let lr = [0, 1].map(|k| Misplaced::middle(&covered[k], scale));
                hsi = hsi.part(lr[0].clone(), lr[1].clone());
                [0, 1].map(|k| {
                    let first = covered[k].start;
                    first + lr[k].start * scale..first + lr[k].end * scale
                })
            }
        };
        let part = |image: &Cube| image.part(rows.clone(), columns.clone());
        let truth = part(&images.reference);
        // Two real instruments whose reference lies on the HSI's grid.
        let mut placing = Placing {
            by_sizes: true,
            grid: OnGrid::Hsi,
            ..Placing::default()
        };
        let (mut msi, srf, placing) = match (&reference.msi, &images.msi, &setting.misplaced) {
            (MsiSource::Response(_, srf), _, None) => (apply_response(&truth, srf)?, Some(srf.clone()), None),
            (MsiSource::Response(_, srf), _, Some(misplaced)) => {
                let whole = apply_response(&images.reference, srf)?;
                let msi = misplaced.msi(&whole, &mut hsi, [rows.start, columns.start], scale)?;
                placing.by_sizes = misplaced.system.is_none();
                (msi, Some(srf.clone()), Some(placing))
            }
            (MsiSource::Image(_), Some(image), _) => (part(image), None, Some(placing)),
            (MsiSource::Image(file), None, _) => return Err(Error::failed(format!("{file}: was not read"))),
        };
        if let Some(snr) = setting.snr_hsi {
            add_noise(&mut hsi, snr, setting.seed, Observation::LrHsi)?;
        }
        if let Some(snr) = setting.snr_msi {
            add_noise(&mut msi, snr, setting.seed, Observation::HrMsi)?;
        }
        Ok(Observed {
            reference: truth,
            hsi,
            msi,
            psf,
            srf,
            scale,
            placing,
        })
    }

    pub fn known(&self, told: Told) -> Known {
        Known {
            psf: (told == Told::Psf).then(|| self.psf.clone()),
            srf: self.srf.clone().filter(|_| told == Told::Srf),
        }
    }

    pub fn result_metadata(&self) -> Metadata {
        Metadata::of_fusion(&self.hsi.metadata, &self.msi.metadata)
    }

    pub fn finished(&self, samples: Array3<f32>, scene: &Scene) -> Result<Cube> {
        finish(
            samples,
            scene.hsi_unit,
            scene.hr_valid.view(),
            self.result_metadata(),
        )
    }

    pub fn scene(&self) -> Result<Scene> {
        let (hsi, msi) = ("HSI of the experiment", "MSI of the experiment");
        let Some(placing) = self.placing else {
            return Scene::new(&self.hsi, &self.msi, hsi, msi);
        };
        let hsi = Named {
            name: hsi,
            image: &self.hsi,
        };
        let msi = Named {
            name: msi,
            image: &self.msi,
        };
        let placed = Ground::new(hsi, msi, placing)?.read(Store::Memory, &mut |_, _| Ok(()))?;
        Ok(placed.scene)
    }

    pub fn bicubic(&self) -> Result<Made> {
        let started = Instant::now();
        Ok(Made {
            image: bicubic::upsample(&self.hsi, self.scale)?,
            degradation: None,
            seconds: started.elapsed().as_secs_f64(),
            dead_bands: None,
            trace: None,
        })
    }

    pub fn outcome(&self, made: &Made, watcher: &mut dyn Watcher) -> Result<Outcome> {
        let scores = stage("metrics", watcher, &mut Vec::new(), |_| {
            evaluate(&self.reference, &made.image, self.scale, Convention::Strict)
        })?;
        let distance = |psf: &Array2<f64>| {
            let from_block =
                |psf: &Array2<f64>| centroid(psf).map(|at| at + window_start(self.scale, psf.nrows()) as f64);
            let (a, b) = (from_block(psf), from_block(&self.psf));
            (a[0] - b[0]).hypot(a[1] - b[1]) / self.scale as f64
        };
        let used = made.degradation.as_ref();
        Ok(Outcome {
            scores,
            psf_nrmse: used.map(|(psf, _)| {
                let size = psf.nrows().max(self.psf.nrows());
                nrmse(&resized(psf, size), &resized(&self.psf, size))
            }),
            srf_nrmse: used
                .zip(self.srf.as_ref())
                .map(|((_, srf), truth)| nrmse(srf, truth)),
            centre_error: used.map(|(psf, _)| distance(psf)),
            seconds: made.seconds,
            dead_bands: made.dead_bands,
            trace: made.trace.clone(),
        })
    }
}
