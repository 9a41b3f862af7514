//! `demo`: the built-in scene degraded, fused blind, and laid beside bicubic interpolation.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::Output;
use super::engine_options::EngineOptions;
use super::options::{ConfigOptions, Printed, RefineOptions};
use super::page::{Images, PAGE, page_path, write_page};
use super::pending_engine::PendingEngine;
use super::progress::Stages;
use super::summary::{DEGRADATION, compare, make_folder, save_degradation};
use crate::coordination::scene::Scene;
use crate::cube::{Metadata, bicubic};
use crate::error::Result;
use crate::fusion::Fusion;
use crate::io::{self, OutputSet};
use crate::report::picture::Comparison;
use crate::sensor::demo_pair::{DemoPair, SCALE, demo_pair};
use crate::sensor::window::resized;

/// What lies in the folder at the end, beside PSF, SRF and page.
const FILES: [&str; 7] = [
    "hsi.npy",
    "msi.npy",
    "reference.npy",
    "fused.npy",
    "comparison.png",
    "report.txt",
    "report.json",
];

/// Fuse the built-in scene: degrade it, recover it blind, compare with bicubic interpolation
///
/// The scene is AVIRIS Indian Pines, 144 x 144 pixels and 200 bands. It is blurred and decimated by 8 on one side and
/// seen through six Landsat-like bands on the other; the fusion is told neither PSF nor response.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu demo --out demo-result")]
pub struct Demo {
    /// Folder for the images, pictures and the report
    #[arg(short, long, value_name = "DIR", default_value = "hsr-gpu-demo")]
    out: PathBuf,
    #[command(flatten)]
    config: ConfigOptions,
    #[command(flatten)]
    refine: RefineOptions,
    #[command(flatten)]
    engine: EngineOptions,
    /// Folder for the page for the browser (report.html, one file) [default: that of --out]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

impl Demo {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        if self.config.dump_config {
            return Ok(());
        }
        self.config.files(set);
        set.writes_into("--out", &self.out, &FILES);
        set.writes_into("--out", &self.out, &DEGRADATION);
        set.writes_into("--report", self.report.as_deref().unwrap_or(&self.out), &[PAGE]);
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`crate::Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let started = Instant::now();
        let mut config = self.config.load("single-scene", None)?;
        self.refine.apply(&mut config);
        if self.config.dump_config {
            return output.result(&Printed { config: &config }, &config.to_toml()?);
        }
        make_folder(&self.out)?;
        let page = page_path(self.report.as_deref().unwrap_or(&self.out))?;
        let device = PendingEngine::begin(&self.engine, output)?;
        let mut stages = Stages::new(output);
        let DemoPair {
            reference,
            hsi,
            msi,
            psf: truth,
        } = stages.run("simulate", |_| demo_pair())?;
        device.look()?;
        let scene = Scene::new(&hsi, &msi, "demo HSI", "demo MSI")?;
        let metadata = Metadata::of_fusion(&hsi.metadata, &msi.metadata);
        let fused = Fusion::of_scene(scene, metadata)
            .config(config)
            .on_demand(&|| device.engine())
            .watch(stages.watcher())
            .run()?;
        let image = fused.image()?;
        let mut summary = fused.report();
        let (metrics, baseline) =
            stages.run("metrics", |_| compare(&reference, &image, (&hsi, SCALE), None))?;
        summary.metrics = Some(metrics);
        summary.bicubic = Some(baseline);
        let picture = self.out.join("comparison.png");
        stages.run("write", |_| {
            for (name, image) in FILES.iter().zip([&hsi, &msi, &reference, &image]) {
                io::write_cube(self.out.join(name), image)?;
            }
            save_degradation(&self.out, &fused.degradation())?;
            let bicubic = bicubic::upsample(&hsi, SCALE)?;
            let comparison = Comparison {
                lr_hsi: &hsi,
                bicubic: &bicubic,
                fused: &image,
                reference: Some(&reference),
            };
            let panels = comparison.picture()?;
            io::replace(&picture, |out| panels.write_png(out))
        })?;
        // In windows of one side: that of the estimate follows from its mass.
        let found = fused.model.psf();
        let side = found.nrows().max(truth.nrows());
        let (found, whole) = (resized(&found, side), resized(&truth, side));
        let error: f64 = found.iter().zip(&whole).map(|(a, b)| (a - b) * (a - b)).sum();
        let psf_nrmse = (error / truth.iter().map(|x| x * x).sum::<f64>()).sqrt();
        summary.finish(Some(fused.engine), stages.times, started);
        let images = Images {
            hsi: &hsi,
            result: &image,
            reference: Some(&reference),
            true_psf: Some(&truth),
        };
        let title = "The demo: AVIRIS Indian Pines, degraded by 8 and fused blind";
        write_page(&page, title, &fused, &summary, &images)?;
        let wavelengths = hsi.metadata.wavelengths.as_deref();
        let text = format!(
            "{}error of the estimated PSF (NRMSE): {psf_nrmse:.4}\nimages, PSF, SRF and report: {}, picture: {}, page: {}\n",
            summary.text(&fused.degradation(), wavelengths),
            self.out.display(),
            picture.display(),
            page.display()
        );
        io::replace(self.out.join("report.txt"), |out| out.write_all(text.as_bytes()))?;
        let json = serde_json::to_vec_pretty(&summary)
            .map_err(|e| crate::Error::failed(format!("report as JSON: {e}")))?;
        io::replace(self.out.join("report.json"), |out| out.write_all(&json))?;
        output.result(&summary, &text)
    }
}
