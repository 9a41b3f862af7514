//! Option groups that several commands share: the pair of images, what is known of the sensors, the
//! configuration. Those of the device stand in `engine_options`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Output;
use super::arrays::{ArrayOptions, MsiArrayOptions};
use super::input::open_matching;
use crate::align::files::Named;
use crate::align::register::Align;
use crate::coordination::config::{Config, Refine, Robust};
use crate::coordination::memory::{Dim, MemoryBudget};
use crate::coordination::placement::{Ground, OnGrid, Placed, Placing};
use crate::coordination::response::{psf_kernel, srf_response};
use crate::coordination::scene::Scene;
use crate::coordination::start::Known;
use crate::cube::bands::{BandSelection, TakenBands};
use crate::cube::scratch::Store;
use crate::cube::{Metadata, Oddities};
use crate::error::{Error, Result};
use crate::io::{self, Image, OutputSet, Reading};
use crate::sensor::catalogue::{PsfSpec, SrfSpec};
use crate::sensor::estimate::PsfModel;

/// The two images of a scene.
#[derive(Debug, Clone, Args)]
pub struct PairOptions {
    /// Low-resolution hyperspectral image (.npy, .npz, .mat, HDF5, ENVI, GeoTIFF, a folder of bands or an EnMAP product;
    /// FILE:NAME for one of several arrays)
    #[arg(value_name = "HSI", required_unless_present = "hsi", conflicts_with = "hsi")]
    hsi_name: Option<String>,
    /// High-resolution multispectral or RGB image
    #[arg(value_name = "MSI", required_unless_present = "msi", conflicts_with = "msi")]
    msi_name: Option<String>,
    /// The same as HSI
    #[arg(long, value_name = "FILE")]
    hsi: Option<String>,
    /// The same as MSI
    #[arg(long, value_name = "FILE")]
    msi: Option<String>,
    /// Value that stands for "no data" in both images (nan for NaN), besides those that the files name; pixels that hold
    /// it in any band that is used are left out, and in the MSI stay so in the result
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    pub nodata: Option<f64>,
    #[command(flatten)]
    pub bands: BandOptions,
    #[command(flatten)]
    pub array: ArrayOptions,
    #[command(flatten)]
    pub msi_array: MsiArrayOptions,
    /// Bands of the MSI, in the order of the list: numbers from 0 and wavelengths as in --bands; the columns of --srf
    /// follow where they are as many as the file's bands [default: all]
    #[arg(long, value_name = "LIST")]
    pub msi_bands: Option<BandSelection>,
    #[command(flatten)]
    pub placement: PlacementOptions,
    /// Pixels of the HSI to leave out: matrix or image of one band, 0 where a pixel is left out. The result there comes
    /// from the MSI alone
    #[arg(long, value_name = "FILE")]
    pub hsi_mask: Option<String>,
    /// Pixels of the MSI to leave out, likewise; the result has no data there
    #[arg(long, value_name = "FILE")]
    pub msi_mask: Option<String>,
}

/// What says where the two images lie on each other.
#[derive(Debug, Clone, Copy, Args)]
pub struct PlacementOptions {
    /// Take both images to show the same ground by their sizes, whatever the files say of their pixel grids [default:
    /// where both have a grid, it says the ratio and what they share]
    #[arg(long)]
    pub ignore_georeference: bool,
    /// How far the images are registered to each other: by a shift, an affine map, a smooth local displacement, or as far as
    /// LR pixels that were held out reward it, which is also asked of what is named; off takes them as the files have them
    #[arg(long, value_enum, default_value = "auto")]
    pub align: Align,
}

impl PlacementOptions {
    /// Reads two images, the HSI and the MSI, into a scene of what they share, for a result on `grid`; what is unusual about them is added to
    /// `unusual`, one line each. `need` says how many bytes a scene of images of these sizes takes of `budget`.
    ///
    /// # Errors
    /// [`Error::Input`] where the images do not fit each other, [`Error::Failed`] where there is no room for them.
    pub fn read(
        self,
        ([hsi, msi], grid): ([&Image; 2], OnGrid),
        budget: &mut MemoryBudget,
        need: impl Fn(Dim, Dim) -> usize,
        unusual: &mut Vec<String>,
    ) -> Result<Placed> {
        let named = |image| Named {
            name: Image::name(image),
            image,
        };
        let placing = Placing {
            by_sizes: self.ignore_georeference,
            align: self.align,
            grid,
        };
        let ground = Ground::new(named(hsi), named(msi), placing)?;
        let store = budget.place(ground.bytes(need))?;
        if let Some(folder) = store.path() {
            let line = format!(
                "note: more than fits --max-memory; what does not lies on disk, in {}",
                folder.display()
            );
            if !unusual.contains(&line) {
                unusual.push(line);
            }
        }
        let placed = ground.read(store, &mut |name, loaded| {
            let image = if name == hsi.name() { hsi } else { msi };
            notice(image, &loaded.oddities, unusual)
        })?;
        unusual.extend(placed.placement.notes());
        Ok(placed)
    }
}

/// Which bands of a hyperspectral image are used.
#[derive(Debug, Clone, Args)]
pub struct BandOptions {
    /// Bands of the HSI: numbers from 0 and wavelengths, single or from-to, such as 0-99,110 or 400nm-900nm; `all` takes
    /// bad bands, too [default: all but those that the file marks as bad]
    #[arg(long, value_name = "LIST")]
    pub bands: Option<BandSelection>,
}

impl BandOptions {
    /// What is asked for.
    pub fn selection(&self) -> BandSelection {
        self.bands.clone().unwrap_or_default()
    }
}

/// The two images of a command line as a scene.
pub struct Pair {
    /// The scene and what else is known of it.
    pub placed: Placed,
    /// Bands of the MSI's file that are used.
    pub msi_bands: TakenBands,
    /// The HSI in its own unit.
    pub hsi: Image,
}

/// How much memory a command may use.
#[derive(Debug, Clone, Copy, Args)]
pub struct MemoryOptions {
    /// Memory to stay below where that is possible. A larger result is made and written strip by strip instead of being
    /// held, and the images of a larger scene lie on disk, which takes longer and changes no bit; a result or a single image
    /// in a file that can only be written or read whole (MATLAB) is refused
    #[arg(long, value_name = "SIZE", default_value = "1536MiB", value_parser = bytes)]
    pub max_memory: usize,
}

/// How much memory a command over scenes may use, and where the rest goes.
#[derive(Debug, Clone, Args)]
pub struct ScratchOptions {
    #[command(flatten)]
    pub memory: MemoryOptions,
    /// Folder on whose disk images lie that do not fit --max-memory, and what is made of them; the files have no name and
    /// are gone when the command ends, however it does [default: that of --out, or the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

impl ScratchOptions {
    /// Room for scenes; `out` is the file that the command writes.
    ///
    /// # Errors
    /// [`Error::Input`] where the folder that is named takes no files.
    pub fn budget(&self, out: Option<&Path>) -> Result<MemoryBudget> {
        let folder = match (&self.scratch, out) {
            (Some(folder), _) => {
                // Said now and not after long work.
                Store::folder(folder)?;
                folder.clone()
            }
            (None, Some(out)) => io::folder_of(out).to_owned(),
            (None, None) => std::env::temp_dir(),
        };
        Ok(MemoryBudget::new(self.memory.max_memory, folder))
    }
}

/// A number of bytes with a unit: `B`, `kB`, `MB`, `GB` of thousands, `KiB`, `MiB`, `GiB` of 1024, none for bytes.
pub(super) fn bytes(text: &str) -> std::result::Result<usize, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim().to_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("'{unit}' is no unit; use MB, GB, MiB or GiB")),
    };
    match number.parse::<f64>() {
        Ok(number) if number * factor >= 1.0 => Ok((number * factor) as usize),
        _ => Err("give a number with a unit, such as 800MB or 4GiB".to_owned()),
    }
}

/// One of two ways to name an image; that there is one is clap's affair.
fn named<'a>(position: &'a Option<String>, option: &'a Option<String>) -> &'a str {
    position.as_ref().or(option.as_ref()).map_or("", String::as_str)
}

impl PairOptions {
    /// Name of the HSI.
    pub fn hsi(&self) -> &str {
        named(&self.hsi_name, &self.hsi)
    }

    /// Name of the MSI.
    pub fn msi(&self) -> &str {
        named(&self.msi_name, &self.msi)
    }

    /// The files that are read.
    pub fn files(&self, set: &mut OutputSet) {
        set.reads("--hsi", self.hsi());
        set.reads("--msi", self.msi());
        let masks = [("--hsi-mask", &self.hsi_mask), ("--msi-mask", &self.msi_mask)];
        for (option, file) in masks {
            file.iter().for_each(|file| set.reads(option, file));
        }
        self.array.files(set);
        self.msi_array.files(set);
    }

    /// Reads and checks both images, and says what is unusual about them. `need` says how many bytes a scene of images of
    /// these sizes takes of `budget`.
    ///
    /// # Errors
    /// As [`PlacementOptions::read`].
    pub fn read(
        &self,
        output: &Output,
        grid: OnGrid,
        budget: &mut MemoryBudget,
        need: impl Fn(Dim, Dim) -> usize,
    ) -> Result<Pair> {
        let (hsi, msi) = (self.open_hsi()?, self.open_msi()?);
        // First of all: what a file leaves open may be why the two do not go together.
        output.notes(&[&hsi, &msi]);
        let mut unusual = Vec::new();
        let placed = self
            .placement
            .read(([&hsi, &msi], grid), budget, need, &mut unusual)?;
        unusual.iter().for_each(|line| output.say(line));
        Ok(Pair {
            placed,
            msi_bands: msi.bands(),
            hsi,
        })
    }

    fn open_hsi(&self) -> Result<Image> {
        io::open_image_as(
            self.hsi(),
            &Reading {
                bands: self.bands.selection(),
                nodata: self.nodata,
                mask: self.hsi_mask.clone(),
                arrangement: self.array.arrangement(),
                memory: usize::MAX,
            },
        )
    }

    fn open_msi(&self) -> Result<Image> {
        io::open_image_as(
            self.msi(),
            &Reading {
                bands: self.msi_bands.clone().unwrap_or(BandSelection::All),
                nodata: self.nodata,
                mask: self.msi_mask.clone(),
                arrangement: self.msi_array.arrangement(),
                memory: usize::MAX,
            },
        )
    }

    /// Opens an image of the bands of the result: those of `hsi` that are used, where its file has as many as that.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file.
    pub fn open_reference(&self, file: &str, memory: usize, hsi: &Image) -> Result<Image> {
        let reading = Reading {
            nodata: self.nodata,
            memory,
            ..Reading::default()
        };
        open_matching(file, &reading, hsi)
    }
}

/// Numbers of bands, the first eight of them.
fn listed(bands: &[usize]) -> String {
    let list: Vec<String> = bands.iter().take(8).map(usize::to_string).collect();
    list.join(", ") + if bands.len() > 8 { ", ..." } else { "" }
}

/// Adds lines about what is seldom meant so in an image.
///
/// # Errors
/// [`Error::Input`] where bands without data leave no pixel.
fn notice(image: &Image, oddities: &Oddities, unusual: &mut Vec<String>) -> Result<()> {
    let TakenBands { all, taken } = image.bands();
    let single = oddities.masked_bands().into_iter();
    let empty: Vec<usize> = single
        .filter(|&(_, value)| image.is_nodata(value))
        .map(|(band, _)| taken[band])
        .collect();
    if !empty.is_empty() && empty.len() < taken.len() {
        return Err(Error::input(format!(
            "{}: every pixel is masked, because {} nothing but no data; leave such bands out with --bands (of the MSI with \
             --msi-bands)",
            image.name(),
            match &empty[..] {
                [one] => format!("band {one} holds"),
                many => format!("bands {} hold", listed(many)),
            }
        )));
    }
    if let Some((pixels, next)) = oddities.sentinels.alone() {
        return Err(Error::input(format!(
            "{}: {pixels} pixels hold 65535, the largest number of its type, and no other sample is above {next}: no data or \
             saturated; mask them with --nodata 65535",
            image.name()
        )));
    }
    let mut found = Vec::new();
    for &(value, pixels) in &oddities.sentinels.found {
        if !image.is_nodata(value) {
            found.push(format!(
                "{pixels} pixels hold {value:e}, which is taken for no data"
            ));
        }
    }
    if taken.len() < all {
        found.push(format!("{} of its {all} bands are used (--bands)", taken.len()));
    }
    let dead = oddities.dead_bands();
    if !dead.is_empty() {
        let which = if dead.len() == 1 { "band" } else { "bands" };
        let dead: Vec<usize> = dead.iter().map(|&b| taken[b]).collect();
        found.push(format!("one value everywhere in {which} {}", listed(&dead)));
    }
    match oddities.negative_samples {
        0 => {}
        n => found.push(format!("{n} samples are negative and kept so")),
    }
    if !found.is_empty() {
        unusual.push(format!("note: {}: {}", image.name(), found.join("; ")));
    }
    Ok(())
}

/// What the user knows of the two sensors.
#[derive(Debug, Clone, Args)]
pub struct SensorOptions {
    /// Point spread function: blind, FILE (K x K), paper:0 to paper:5, gaussian:VAR1,VAR2,ANGLE,
    /// disk:RADIUS or line:LENGTH,ANGLE
    ///
    /// Its middle is the middle of the low-resolution pixel. Of a FILE with an odd K at an even ratio of the grids, or the
    /// other way round, element K/2 lies on pixel s/2 of the s x s block (integer divisions, counted from 0). It is taken whole.
    #[arg(long, default_value = "blind")]
    pub psf: PsfSpec,
    /// Spectral response: blind; a sensor (see `hsr-gpu sensors`), or some of its bands as in sentinel-2a:B2,B3,B4; or
    /// FILE: B x b, or text with a first column `wavelength` (nm) and a response a band, which is resampled
    #[arg(long, default_value = "blind")]
    pub srf: SrfSpec,
    /// Side of the PSF's window in HR pixels [default: as the two images ask for: 99.9 % of the PSF]; one more where it and
    /// the ratio of the grids are not both even or both odd
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub kernel: Option<u16>,
    /// Form of an estimated PSF: gaussian, free (any non-negative kernel: defocus, motion), or auto: free where a disk or a
    /// line explains the two images better than a Gaussian [default: the preset's; auto for single-scene]
    #[arg(long, value_enum)]
    pub psf_model: Option<PsfModel>,
    /// Hold the PSF's centre in the middle of its pixel instead of searching for a misregistration of the two images
    #[arg(long)]
    pub fixed_centre: bool,
}

impl SensorOptions {
    /// The files that are read.
    pub fn files(&self, set: &mut OutputSet) {
        if let PsfSpec::File(file) = &self.psf {
            set.reads("--psf", file);
        }
        if let SrfSpec::File(file) = &self.srf {
            set.reads("--srf", file);
        }
    }

    /// Lays these options over a configuration.
    pub fn apply(&self, config: &mut Config) {
        config.degradation.kernel = self.kernel.map_or(config.degradation.kernel, usize::from);
        config.degradation.psf_model = self.psf_model.unwrap_or(config.degradation.psf_model);
        config.degradation.centre &= !self.fixed_centre;
    }

    /// The known PSF and SRF for a scene whose HSI says `hsi` of itself and whose MSI is of `msi`. Where the response has
    /// a column for each band of the MSI's file, columns follow the bands.
    ///
    /// # Errors
    /// [`Error::Input`] where a file holds no PSF or SRF for these images.
    pub fn known(&self, hsi: &Metadata, msi: &TakenBands, scene: &Scene) -> Result<Known> {
        let (bands, msi_bands) = (scene.lr_hsi.dim().2, scene.hr_msi.dim().2);
        let psf = psf_kernel(&self.psf, self.kernel.map(usize::from), scene.scale)?;
        let srf = srf_response(&self.srf, hsi, bands, Some(msi))?;
        if let Some(srf) = &srf
            && srf.ncols() != msi_bands
        {
            return Err(Error::input(format!(
                "--srf {}: a response of {} bands, but {msi_bands} of the MSI are used; choose among them with --msi-bands, or name the sensor's bands as in sentinel-2a:B2,B3",
                self.srf,
                srf.ncols()
            )));
        }
        Ok(Known { psf, srf })
    }
}

/// What `--dump-config` tells under `--json`.
#[derive(serde::Serialize)]
pub struct Printed<'a> {
    pub config: &'a Config,
}

/// Configuration: a preset, a TOML file over it, flags over that.
#[derive(Debug, Clone, Args)]
pub struct ConfigOptions {
    /// Preset to start from: single-scene, cave, harvard, chikusei, wv2, cave-released
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// TOML file whose keys win over the preset's
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration that this run would use as TOML and stop
    #[arg(long)]
    pub dump_config: bool,
    /// Seed of weights, noise and batches
    #[arg(long)]
    pub seed: Option<u64>,
    /// Steps of the coordination loop
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub steps: Option<u32>,
    /// Steps of partial fine-tuning (0: none)
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub finetune_steps: Option<u32>,
    /// Networks trained side by side and averaged, 0 to 64; 0 as many as the LR pixels are few: 8, or with fewer than
    /// 256 pixels up to 32 [default: the preset's; 0 for single-scene]
    #[arg(long)]
    pub members: Option<usize>,
    /// Give outputs that die, and members that learn nothing, another start early in training [default: the
    /// preset's; on for single-scene, whose outputs cannot die, off for the presets of the paper]
    #[arg(long)]
    pub revive: bool,
    /// End training early where L_phi has not fallen from one stretch of this many steps to the next; 0 never does
    /// [default: the preset's, 0]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub patience: Option<u32>,
    /// Leave PSF and SRF at their start instead of learning them in the loop
    #[arg(long)]
    pub no_coordination: bool,
}

impl ConfigOptions {
    /// The file that is read.
    pub fn files(&self, set: &mut OutputSet) {
        if let Some(path) = &self.config {
            set.reads("--config", &path.to_string_lossy());
        }
    }

    /// The configuration, with `default` as the preset where none is named and `sensors` over it.
    ///
    /// # Errors
    /// [`Error::Input`] for a preset, file or value that does not fit.
    pub fn load(&self, default: &str, sensors: Option<&SensorOptions>) -> Result<Config> {
        let preset = self.preset.as_deref().unwrap_or(default);
        let mut config = load_config(preset, self.config.as_deref())?;
        let set = |to: &mut u32, from: Option<u32>| *to = from.unwrap_or(*to);
        set(&mut config.training.steps, self.steps);
        set(&mut config.finetune.steps, self.finetune_steps);
        config.seed = self.seed.unwrap_or(config.seed);
        config.training.revive |= self.revive;
        set(&mut config.training.patience, self.patience);
        config.network.members = self.members.unwrap_or(config.network.members);
        if let Some(sensors) = sensors {
            sensors.apply(&mut config);
        }
        config.degradation.coordination &= !self.no_coordination;
        config.check("command line")?;
        Ok(config)
    }
}

/// A preset with the TOML file of `--config` over it.
///
/// # Errors
/// [`Error::Input`] for an unknown preset, a file that cannot be read or that says what is no configuration.
pub fn load_config(preset: &str, file: Option<&Path>) -> Result<Config> {
    let Some(path) = file else {
        return Config::load(preset, None);
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::input(format!("{name}: {e}; --config takes a TOML file")))?;
    Config::load(preset, Some((&name, &text)))
}

/// Refinement.
#[derive(Debug, Clone, Args)]
pub struct RefineOptions {
    /// Denoise the MSI beforehand and make the result agree with the HSI, both as far as the noise found in them
    /// allows; off leaves the network's output as it is [default: the preset's; auto for single-scene]
    #[arg(long, value_enum)]
    refine: Option<Refine>,
    /// Leave out pixels of the HSI that the others cannot explain (clouds, changes, dead detectors), where the rest is then
    /// explained much better [default: the preset's; auto for single-scene]
    #[arg(long, value_enum)]
    robust: Option<Robust>,
}

impl RefineOptions {
    /// Lays the flags over the configuration.
    pub fn apply(&self, config: &mut Config) {
        config.refine = self.refine.unwrap_or(config.refine);
        config.robust = self.robust.unwrap_or(config.robust);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_unit() {
        assert_eq!(bytes("1536MiB"), Ok(1536 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(bytes("4096"), Ok(4096));
        for wrong in ["", "GB", "-1GB", "1XB", "0", "1..2MB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
