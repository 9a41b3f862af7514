//! Where two images lie on each other, and the scene that follows: read, registered, and brought to one grid.
//!
//! Where both share a grid but for an integer ratio, and no more than a shift was found, the MSI's pixels are taken
//! as they are, as long as LR pixels cover them wholly; what is left of a shift, less than a pixel, is the PSF's centre. Everything
//! else is resampled, once, onto the HSI's grid divided by the ratio rounded up: after a shift at whole pixels, where nothing is
//! interpolated. A result on the MSI's pixels has all that the HSI shows, and those less than an LR pixel beyond.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::align::features::{Components, Pyramid, Reduced};
use crate::align::files::{Named, base};
use crate::align::geometry::{Base, Geometry};
use crate::align::misplacement::{Misplacement, Stage};
use crate::align::ratio::{is_another, ratios};
use crate::align::register::{Align, Registration, register};
use crate::align::resample::{SHARP, Source};
use crate::coordination::memory::{Dim, pair_bytes};
use crate::coordination::native::{Native, REACH, on_hsi};
use crate::coordination::overlap::{common, completed, shown, whole};
use crate::coordination::scene::{Loaded, Part, Scene};
use crate::cube::Metadata;
use crate::cube::extend::extend;
use crate::cube::scratch::Store;
use crate::error::{Error, Result};

/// Whose pixels a result lies on.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnGrid {
    /// The MSI's.
    #[default]
    Msi,
    /// The HSI's, each divided by the ratio.
    Hsi,
}

/// What is asked of a placement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Placing {
    /// Whether sizes place the images, whatever the files say.
    pub by_sizes: bool,
    /// How far registration may climb.
    pub align: Align,
    /// Where the result lies.
    pub grid: OnGrid,
}

/// What says how many pixels of the MSI an LR pixel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RatioFrom {
    /// The places that both files give.
    Files,
    /// The sizes of the images, which are taken to show the same ground.
    Sizes,
    /// What both images show.
    Images,
}

/// How two images were placed.
#[derive(Debug, Clone, Serialize)]
pub struct Placement {
    /// Where the result lies.
    pub grid: OnGrid,
    /// MSI pixels of an LR pixel, down and across, before what registration found.
    #[serde(serialize_with = "crate::named::down_across")]
    pub ratio: [f64; 2],
    /// What says so.
    pub ratio_from: RatioFrom,
    /// The integer ratio that the model works with.
    pub scale: usize,
    /// Whether the MSI was resampled for the model.
    pub resampled: bool,
    /// Rows and columns of the HSI's file that take part.
    #[serde(serialize_with = "crate::named::part")]
    pub hsi_part: Part,
    /// Rows and columns of the MSI's file that take part; where the result lies on its pixels, these.
    #[serde(serialize_with = "crate::named::part")]
    pub msi_part: Part,
    /// Rows and columns of both files.
    #[serde(skip)]
    pub whole: [(usize, usize); 2],
    /// What registration found; `null` where it was off.
    pub found: Option<Misplacement>,
    /// The geometry in words of numbers, for whoever draws or resamples.
    #[serde(skip)]
    pub geometry: Geometry,
}

/// A scene with what is known of its images.
pub struct Placed {
    /// Metadata of the HSI, of the part and the bands that are used.
    pub hsi: Metadata,
    /// Metadata of the MSI, likewise; its grid is the result's.
    pub msi: Metadata,
    /// How the images lie on each other.
    pub placement: Placement,
    /// The scene.
    pub scene: Scene,
}

/// An image that was opened, before and after it is read.
struct Opened<'a> {
    named: Named<'a>,
    metadata: &'a Metadata,
    size: [usize; 2],
}

impl<'a> Opened<'a> {
    fn new(named: Named<'a>) -> Self {
        let (rows, columns, _) = named.image.dim();
        Opened {
            named,
            metadata: named.image.metadata(),
            size: [rows, columns],
        }
    }
}

/// LR pixels around the HSI that registration looks for it in, at least, and as a share of its size.
const MARGIN: f64 = 48.0;
const MARGIN_SHARE: f64 = 0.5;
/// Ratios that are looked at more closely where sizes are wrong.
const RATIOS: usize = 3;
/// A remainder that no pixel of the MSI would notice, in its pixels.
const NONE: f64 = 0.05;

/// Two images that are to be placed.
pub struct Ground<'a> {
    hsi: Opened<'a>,
    msi: Opened<'a>,
    base: Base,
    /// Whether the files say so, and not sizes.
    told: bool,
    placing: Placing,
    /// The part of the MSI that is read.
    read: Part,
}

impl<'a> Ground<'a> {
    /// From what their files say.
    ///
    /// # Errors
    /// As [`base`], and [`Error::Input`] where they share no ground.
    pub fn new(hsi: Named<'a>, msi: Named<'a>, placing: Placing) -> Result<Self> {
        let (base, told) = base(hsi, msi, placing.by_sizes)?;
        let (hsi, msi) = (Opened::new(hsi), Opened::new(msi));
        let margin = match placing.align {
            Align::Off => 2.0,
            _ => MARGIN.max(MARGIN_SHARE * hsi.size[0].max(hsi.size[1]) as f64),
        };
        let geometry = Geometry::new(hsi.size, base.clone());
        let read = shown(&geometry, msi.size, margin).ok_or_else(|| {
            let corner = base.at([0.0; 2]);
            Error::input(format!(
                "{}: shares no pixel of {}, whose corner lies {:.1} rows and {:.1} columns of the MSI from its own; take images of \
                 one place, or place them by their sizes with the setting ignore-georeference",
                msi.named.name, hsi.named.name, corner[0], corner[1]
            ))
        })?;
        Ok(Ground {
            base: base.into_part([read.0.start, read.1.start]),
            told,
            hsi,
            msi,
            placing,
            read,
        })
    }

    /// Ratio that the model will work with: that of the pixels, rounded up; a hundredth more than an integer is the integer, as between
    /// the zones of a projection.
    fn scale(&self, base: &Base) -> usize {
        let ratio = base.ratio(self.hsi.size);
        (0.99 * ratio[0].max(ratio[1])).ceil().max(1.0) as usize
    }

    /// Bytes of a scene of these images, of which `need` says what one takes with arrays of the sizes of X and Y.
    pub fn bytes(&self, need: impl Fn(Dim, Dim) -> usize) -> usize {
        let [lr, read, model] = self.dims();
        // The MSI that is read stands beside the one that the model sees.
        need(lr, model).saturating_add(pair_bytes((0, 0, 0), read))
    }

    /// Rows, columns and bands of the HSI, of the part of the MSI that is read, and of the MSI on the model's pixels.
    fn dims(&self) -> [Dim; 3] {
        let bands = |o: &Opened| o.named.image.dim().2;
        let [rows, columns] = self.hsi.size;
        let scale = self.scale(&self.base);
        [
            (rows, columns, bands(&self.hsi)),
            (self.read.0.len(), self.read.1.len(), bands(&self.msi)),
            (rows * scale, columns * scale, bands(&self.msi)),
        ]
    }

    /// Reads both images and makes a scene of them in `store`; `notice` sees each as it was read.
    ///
    /// # Errors
    /// Those of the images, of `notice` and of [`Scene::of`]; [`Error::Input`] where they share no LR pixel.
    pub fn read(&self, store: Store, notice: &mut dyn FnMut(&str, &Loaded) -> Result<()>) -> Result<Placed> {
        let load = |o: &Opened, part: Option<&Part>| Loaded::read(o.named.name, o.named.image, part, &store);
        let hsi = load(&self.hsi, None)?;
        notice(self.hsi.named.name, &hsi)?;
        let msi = load(&self.msi, Some(&self.read))?;
        notice(self.msi.named.name, &msi)?;
        let (geometry, found) = self.registered(&hsi, &msi)?;
        self.scene([hsi, msi], geometry, found, store)
    }

    /// The geometry between the HSI and the part of the MSI that was read.
    fn registered(&self, hsi: &Loaded, msi: &Loaded) -> Result<(Geometry, Option<Misplacement>)> {
        let start = Geometry::new(self.hsi.size, self.base.clone());
        let size = [self.read.0.len(), self.read.1.len()];
        let ratio = self.base.ratio(self.hsi.size);
        let odd = !self.told && (ratio[0] - ratio[1]).abs() > 0.02 * ratio[0];
        let features = Components::of_hsi(hsi.samples(), hsi.valid())
            .filter(|c| c.axes() > 0 && self.placing.align != Align::Off)
            .zip(Reduced::new(msi.samples(), msi.valid(), ratio));
        let Some((components, reduced)) = features else {
            // Not asked for; or too few pixels, or nothing that varies.
            if odd {
                return Err(self.no_ratio(ratio));
            }
            let found = (self.placing.align != Align::Off).then(Misplacement::none);
            return Ok((start, found));
        };
        let mut best = register(&components, &reduced, &start, size, self.placing.align);
        if !self.told {
            best = self.of_any_ratio(best, (&components, &start), msi, size);
            if odd && !best.told() {
                return Err(self.no_ratio(ratio));
            }
        }
        Ok((best.geometry, Some(best.found)))
    }

    /// That the sizes tell the ratio is a hypothesis where no file places the images: `sizes` is what came of it, and others replace it
    /// where the images speak for them.
    fn of_any_ratio(
        &self,
        sizes: Registration,
        (hsi, start): (&Components, &Geometry),
        msi: &Loaded,
        size: [usize; 2],
    ) -> Registration {
        let Some(pyramid) = Pyramid::new(msi.samples(), msi.valid()) else {
            return sizes;
        };
        let rival = sizes.told().then_some(start);
        let mut best = sizes;
        for start in ratios(hsi, &pyramid, size, rival, RATIOS) {
            let ratio = start.base.ratio(self.hsi.size);
            let Some(reduced) = Reduced::new(msi.samples(), msi.valid(), ratio) else {
                continue;
            };
            let other = register(hsi, &reduced, &start, size, self.placing.align);
            // Registration may have brought another ratio to the right one by its scales: then the right one is the simpler account.
            let rescaled = best.found.scale.iter().any(|&s| is_another(s));
            if other.told() && (!best.told() || other.beats(&best) || (rescaled && !best.beats(&other))) {
                best = other;
            }
        }
        best
    }

    fn no_ratio(&self, ratio: [f64; 2]) -> Error {
        let ([rows, columns], [lr_rows, lr_columns]) = (self.msi.size, self.hsi.size);
        Error::input(format!(
            "{}: {rows} x {columns} pixels against {lr_rows} x {lr_columns} of {}: the ratio is {:.3} down and {:.3} across, and nothing \
             was found that both show; crop one of them to the ground of the other, or give both a georeference",
            self.msi.named.name, self.hsi.named.name, ratio[0], ratio[1]
        ))
    }

    fn scene(
        &self,
        [hsi, msi]: [Loaded; 2],
        geometry: Geometry,
        found: Option<Misplacement>,
        store: Store,
    ) -> Result<Placed> {
        let cut = self.cut(&geometry);
        let geometry = if cut.is_none() {
            self.rounded(geometry)
        } else {
            geometry
        };
        let scale = cut.as_ref().map_or(self.scale(&geometry.base), |cut| cut.scale);
        let read = [self.read.0.start, self.read.1.start];
        let (lr, hr) = match &cut {
            Some(cut) => (cut.lr.clone(), cut.hr.clone()),
            None => self.parts(&geometry)?,
        };
        let names = (self.hsi.named.name, self.msi.named.name);
        let hsi = hsi.part(lr.clone(), &store)?;
        let msi = msi.part(hr.clone(), &store)?;
        let scene = match &cut {
            Some(_) => Scene::of(hsi, msi, names.0, names.1, store)?,
            None => {
                let between = geometry.between([lr.0.start, lr.1.start], [hr.0.start, hr.1.start]);
                let size = [lr.0.len(), lr.1.len()];
                let source = Source {
                    samples: msi.samples(),
                    valid: msi.valid(),
                    half: SHARP,
                };
                let (samples, valid) = on_hsi(&source, &between, size, scale, &store)?;
                let model = msi.on(samples, valid);
                let mut scene = Scene::of(hsi, model, names.0, names.1, store)?;
                let (mut msi, valid) = msi.scaled(scene.msi_unit);
                extend(msi.samples_mut(), valid.view(), REACH * scale);
                scene.native = Some(Native {
                    msi,
                    valid,
                    geometry: between,
                    wanted: self.placing.grid == OnGrid::Msi,
                });
                scene
            }
        };
        let in_file = |part: &Part| {
            (
                part.0.start + read[0]..part.0.end + read[0],
                part.1.start + read[1]..part.1.end + read[1],
            )
        };
        let msi_part = in_file(&hr);
        let hsi_metadata = self.hsi.metadata.cropped(lr.0.start, lr.1.start);
        let mut msi_metadata = self.msi.metadata.cropped(msi_part.0.start, msi_part.1.start);
        if self.placing.grid == OnGrid::Hsi {
            let divided = hsi_metadata
                .grid
                .as_ref()
                .and_then(|g| g.scaled(1.0 / scale as f64));
            if divided.is_some() || cut.is_none() {
                msi_metadata.grid = divided;
            }
        }
        Ok(Placed {
            hsi: hsi_metadata,
            msi: msi_metadata,
            placement: Placement {
                grid: self.placing.grid,
                ratio: geometry.base.ratio(self.hsi.size),
                ratio_from: if self.told {
                    RatioFrom::Files
                } else if geometry.base == self.base {
                    RatioFrom::Sizes
                } else {
                    RatioFrom::Images
                },
                scale,
                resampled: cut.is_none(),
                hsi_part: lr,
                msi_part,
                whole: [&self.hsi, &self.msi].map(|o| (o.size[0], o.size[1])),
                found,
                geometry,
            },
            scene,
        })
    }

    /// The geometry with a shift by whole pixels of the MSI where it is no more than a shift and the result lies on those pixels: then
    /// nothing is interpolated, and what is left, less than a pixel, is the PSF's centre.
    fn rounded(&self, mut geometry: Geometry) -> Geometry {
        if let (OnGrid::Msi, true, Some((scale, told))) = (
            self.placing.grid,
            geometry.displacement.is_shift(),
            geometry.base.integer(self.hsi.size),
        ) {
            for (shift, told) in geometry.displacement.shift.iter_mut().zip(told) {
                *shift = (whole(told, told + *shift * scale as f64) - told) / scale as f64;
            }
        }
        geometry
    }

    /// The parts of both images that need no resampling, if they leave out no pixel that the result is to have.
    fn cut(&self, geometry: &Geometry) -> Option<Cut> {
        let (scale, told) = geometry.base.integer(self.hsi.size)?;
        if !geometry.displacement.is_shift() {
            return None;
        }
        let size = [self.read.0.len(), self.read.1.len()];
        let mut parts = [(0..0, 0..0), (0..0, 0..0)];
        for k in 0..2 {
            let found = told[k] + geometry.displacement.shift[k] * scale as f64;
            let first = whole(told[k], found);
            let lr_pixels = self.hsi.size[k];
            let (lr, hr) = common(first, scale, lr_pixels, size[k])?;
            let lost = match self.placing.grid {
                OnGrid::Msi => {
                    let end = first + (lr_pixels * scale) as f64;
                    hr != completed(
                        first.max(0.0) as usize..end.min(size[k] as f64) as usize,
                        scale,
                        size[k],
                    )
                }
                OnGrid::Hsi => lr.len() != lr_pixels || (found - first).abs() > NONE,
            };
            if lost {
                return None;
            }
            parts[k] = (lr, hr);
        }
        let [(lr_rows, hr_rows), (lr_columns, hr_columns)] = parts;
        Some(Cut {
            scale,
            lr: (lr_rows, lr_columns),
            hr: (hr_rows, hr_columns),
        })
    }

    /// The parts that take part where the MSI is resampled: on the HSI's grid all of the HSI and what the MSI has of
    /// it; on the MSI's the LR pixels that it reaches, and its pixels that the HSI shows.
    fn parts(&self, geometry: &Geometry) -> Result<(Part, Part)> {
        let size = [self.read.0.len(), self.read.1.len()];
        let none = || {
            Error::input(format!(
                "{}: shares no LR pixel of {}, as registered; take images of one place, or leave them as they are with the setting align off",
                self.msi.named.name, self.hsi.named.name
            ))
        };
        let [rows, columns] = self.hsi.size;
        if self.placing.grid == OnGrid::Hsi {
            let hr = shown(geometry, size, 4.0).ok_or_else(none)?;
            return Ok(((0..rows, 0..columns), hr));
        }
        let mut reach = [(usize::MAX, 0); 2];
        for r in 0..rows {
            for c in 0..columns {
                let at = geometry.at([r as f64 + 0.5, c as f64 + 0.5]);
                if (0..2).all(|k| at[k] >= 0.0 && at[k] <= size[k] as f64) {
                    for (reach, x) in reach.iter_mut().zip([r, c]) {
                        *reach = (reach.0.min(x), reach.1.max(x + 1));
                    }
                }
            }
        }
        if reach[0].1 == 0 {
            return Err(none());
        }
        // One more on each side, which the MSI may reach in part.
        let [lr_rows, lr_columns] =
            [0, 1].map(|k| reach[k].0.saturating_sub(1)..(reach[k].1 + 1).min(self.hsi.size[k]));
        let hr = shown(geometry, size, 0.0).ok_or_else(none)?;
        let scale = self.scale(&geometry.base);
        let hr = (completed(hr.0, scale, size[0]), completed(hr.1, scale, size[1]));
        Ok(((lr_rows, lr_columns), hr))
    }
}

/// Parts of both images on one grid.
struct Cut {
    scale: usize,
    lr: Part,
    hr: Part,
}

impl Placement {
    /// The part of an image of `size` that a result of `shape` shows, and the grid that it lies on: that of the result, of the whole MSI
    /// or HSI of which the result is a part, or the HSI's, each pixel divided by the scale, where only that fits.
    pub fn shown(&self, size: (usize, usize), shape: (usize, usize)) -> Option<(Part, OnGrid)> {
        let times = |n: &Range<usize>| n.start * self.scale..n.end * self.scale;
        let [(lr_rows, lr_columns), msi] = self.whole;
        let hsi = (lr_rows * self.scale, lr_columns * self.scale);
        let (part_rows, part_columns) = (times(&self.hsi_part.0), times(&self.hsi_part.1));
        let on_msi = self.grid == OnGrid::Msi;
        let whole = (0..size.0, 0..size.1);
        if size == shape {
            Some((whole, self.grid))
        } else if on_msi && size == msi {
            Some((self.msi_part.clone(), OnGrid::Msi))
        } else if size == hsi && (self.resampled || !on_msi) {
            Some(((part_rows, part_columns), OnGrid::Hsi))
        } else if self.resampled && size == (part_rows.len(), part_columns.len()) {
            Some((whole, OnGrid::Hsi))
        } else {
            None
        }
    }

    /// Lines about what was found and what is cut off, for people.
    pub fn notes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.ratio_from == RatioFrom::Images {
            let [down, across] = [0, 1].map(|k| {
                let [lr, hr] = self.whole.map(|(rows, columns)| [rows, columns][k]);
                hr as f64 / lr as f64
            });
            let corner = self.geometry.at([0.0; 2]);
            let told = self.found.as_ref().map_or(0.0, |f| 1.0 - f.misfit[1]);
            lines.push(format!(
                "note: both images show that an HSI pixel is {:.3} MSI pixels, where their sizes say {down:.3} down and {across:.3} across; the HSI \
                 begins at row {:.1}, column {:.1} of the MSI, and tells {:.0} % of its variance",
                self.ratio[0],
                corner[0],
                corner[1],
                100.0 * told
            ));
        }
        if let Some(found) = self.found.as_ref().filter(|f| f.stage != Stage::None) {
            lines.push(format!("note: {}", found.line()));
        }
        let size = |part: &Part| (part.0.len(), part.1.len());
        let (lr, hr) = (size(&self.hsi_part), size(&self.msi_part));
        let [whole_lr, whole_hr] = self.whole;
        let cut = match self.grid {
            OnGrid::Msi => [lr, hr] != self.whole && (hr != whole_hr || !self.resampled),
            OnGrid::Hsi => lr != whole_lr,
        };
        if cut {
            let begins = match self.grid {
                OnGrid::Msi => format!(
                    "the result begins at row {}, column {} of the MSI",
                    self.msi_part.0.start, self.msi_part.1.start
                ),
                OnGrid::Hsi => format!(
                    "the result begins at row {}, column {} of the HSI",
                    self.hsi_part.0.start, self.hsi_part.1.start
                ),
            };
            lines.push(format!(
                "note: the images share {} x {} of {} x {} HSI and {} x {} of {} x {} MSI pixels; {begins}",
                lr.0, lr.1, whole_lr.0, whole_lr.1, hr.0, hr.1, whole_hr.0, whole_hr.1
            ));
        }
        lines
    }
}
