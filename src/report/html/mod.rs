//! The report page: one HTML file with everything in it, which a browser opens from disk.
//!
//! What a page shows is plain data in a [`Page`]. Layout, style and behaviour are the hand-written files in
//! `assets/report`; this file fills in the data: texts and curves as JSON, pictures as PNG, cubes as `packing` packs
//! them. A policy in the page forbids it every request.

mod experiment;
mod packing;

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ndarray::Array2;
use serde::Serialize;

use super::canvas::Picture;
pub use super::chart::{Chart, Series};
use super::panels::ColourMap;
use super::picture::{ERROR_COLOURS, Stretch, composite_bands, error_limit, error_map, pixel_errors};
use crate::cube::strips::{self, Strips};
use crate::error::{Error, Result};
use crate::metrics::Scores;

pub use experiment::ExperimentPage;

/// Largest page in bytes.
pub const MOST_BYTES: usize = 19_000_000;
/// Samples of all cubes together that are tried to fit: more than fit of any image worth a page, and few enough to hold.
const MOST_SAMPLES: usize = 64 << 20;
/// Pixels of a picture from which on it is thinned: five pictures of noise then still leave half a page to the cubes.
const PICTURE_PIXELS: usize = 1 << 19;

const PAGE: &str = include_str!("../../../assets/report/page.html");
const STYLE: &str = include_str!("../../../assets/report/page.css");
const SCRIPT: &str = include_str!("../../../assets/report/page.js");

/// Everything that a page shows.
pub struct Page<'a> {
    /// Heading.
    pub title: String,
    /// Name and value of what is worth knowing first.
    pub facts: Vec<(String, String)>,
    /// Remarks and warnings.
    pub remarks: Vec<String>,
    /// X.
    pub lr_hsi: &'a dyn Strips,
    /// The bicubic baseline, of the size of the result.
    pub bicubic: &'a dyn Strips,
    /// The result.
    pub fused: &'a dyn Strips,
    /// The truth, of the size of the result, where it is known.
    pub reference: Option<&'a dyn Strips>,
    /// PSFs (K×K) with their names.
    pub kernels: Vec<(String, Array2<f64>)>,
    /// SRF, B×b.
    pub response: Array2<f64>,
    /// Curves.
    pub charts: Vec<Chart>,
    /// Rows of the table of metrics.
    pub scores: Vec<(String, Scores)>,
    /// The configuration.
    pub settings: String,
    /// Stages and their seconds.
    pub times: Vec<(String, f64)>,
}

/// A picture in the page: the id of its data and what it shows.
#[derive(Serialize)]
struct PictureData {
    id: String,
    name: String,
    note: String,
}

/// A packed cube in the page.
#[derive(Serialize)]
struct CubeData {
    id: &'static str,
    name: &'static str,
    /// Of what is stored.
    rows: usize,
    columns: usize,
    /// Pixels of the result from one stored pixel to the next.
    pitch: usize,
}

#[derive(Serialize)]
struct PageData<'a> {
    title: &'a str,
    facts: &'a [(String, String)],
    remarks: &'a [String],
    rows: usize,
    columns: usize,
    bands: usize,
    wavelengths: Option<&'a [f64]>,
    composite: [usize; 3],
    limits: Vec<(f32, f32)>,
    top: u8,
    precision: String,
    cubes: Vec<CubeData>,
    pictures: Vec<PictureData>,
    kernels: Vec<PictureData>,
    response: Vec<Vec<f64>>,
    charts: &'a [Chart],
    scores: &'a [(String, Scores)],
    settings: &'a str,
    times: &'a [(String, f64)],
}

/// What stands in the page besides the JSON: id and base 64.
type Blobs = Vec<(String, String)>;

impl Page<'_> {
    /// Writes the page, of at most [`MOST_BYTES`]; spectra and pictures of large scenes are thinned to that, and the
    /// page says so.
    ///
    /// # Errors
    /// [`Error::Input`] if the images do not belong together, [`Error::Failed`] if the page cannot be made.
    pub fn html(&self) -> Result<Vec<u8>> {
        let scale = self.check()?;
        let failed = |e: io::Error| Error::failed(format!("report page: {e}"));
        let mut blobs = Blobs::new();
        let pictures = self.pictures(&mut blobs)?;
        let kernels = self.kernel_pictures(&mut blobs).map_err(failed)?;
        let used: usize = blobs.iter().map(|(_, data)| data.len()).sum();
        // The rest of the page: style, script, curves, settings.
        let room =
            MOST_BYTES.saturating_sub(used + self.json_bytes() + PAGE.len() + STYLE.len() + SCRIPT.len());

        let compared: Vec<&dyn Strips> = [self.lr_hsi, self.fused]
            .into_iter()
            .chain(self.reference)
            .collect();
        let limits = packing::limits(&compared)?;
        let samples: usize = compared.iter().map(|c| c.dim().0 * c.dim().1 * c.dim().2).sum();
        // Deflate needs more than half a bit a sample of anything worth a page: no need to try what cannot fit.
        let mut step = 1;
        while samples / (step * step) / 16 > room || samples / (step * step) > MOST_SAMPLES {
            step += 1;
        }
        let (rows, columns, bands) = self.fused.dim();
        let cubes = loop {
            let (described, packed) = self.cubes(scale, step, &limits)?;
            if packed.iter().map(|(_, data)| data.len()).sum::<usize>() <= room {
                blobs.extend(packed);
                break described;
            }
            if step > rows.max(columns) {
                return Err(Error::failed(
                    "report page: the image has too many bands for a page",
                ));
            }
            step += 1;
        };
        let data = PageData {
            title: &self.title,
            facts: &self.facts,
            remarks: &self.remarks,
            rows,
            columns,
            bands,
            wavelengths: self.wavelengths(),
            composite: composite_bands(self.fused),
            limits,
            top: packing::TOP,
            precision: precision(step),
            cubes,
            pictures,
            kernels,
            response: self.response.columns().into_iter().map(|c| c.to_vec()).collect(),
            charts: &self.charts,
            scores: &self.scores,
            settings: &self.settings,
            times: &self.times,
        };
        let json = serde_json::to_string(&data)
            .map_err(|e| Error::failed(format!("report page: {e}")))?
            // So that no text can end the element that the JSON stands in.
            .replace('<', "\\u003c");
        self.assemble(&json, &blobs).map_err(failed)
    }

    /// The ratio of the grids of images that belong together.
    fn check(&self) -> Result<usize> {
        let (rows, columns, bands) = self.fused.dim();
        let (lr_rows, lr_columns, lr_bands) = self.lr_hsi.dim();
        let scale = rows.checked_div(lr_rows).unwrap_or(0);
        let fits = scale > 0
            && columns > 0
            && bands > 0
            && (lr_rows * scale, lr_columns * scale, lr_bands) == (rows, columns, bands)
            && self.bicubic.dim() == (rows, columns, bands)
            && self.reference.is_none_or(|r| r.dim() == (rows, columns, bands));
        if fits {
            return Ok(scale);
        }
        Err(Error::input(format!(
            "no report page: LR image {:?}, result {:?} and the others are not of one scene (rows, columns, bands)",
            self.lr_hsi.dim(),
            self.fused.dim()
        )))
    }

    fn wavelengths(&self) -> Option<&[f64]> {
        let known = self.fused.metadata().wavelengths.as_deref();
        known.filter(|w| w.len() == self.fused.dim().2)
    }

    /// About the bytes of texts and curves, with room to spare: a number is at most 25 characters.
    fn json_bytes(&self) -> usize {
        let texts = self.facts.iter().map(|(a, b)| a.len() + b.len()).sum::<usize>()
            + self.remarks.iter().map(String::len).sum::<usize>()
            + self.settings.len()
            + self.title.len();
        let numbers = self
            .charts
            .iter()
            .flat_map(|c| &c.series)
            .map(|s| 2 * s.x.len())
            .sum::<usize>()
            + self.response.len()
            + 3 * self.fused.dim().2;
        // An escaped character takes six.
        6 * texts + 25 * numbers + 20_000
    }

    /// Composites on one stretch and error maps on one scale.
    fn pictures(&self, blobs: &mut Blobs) -> Result<Vec<PictureData>> {
        let mut pictures = Vec::new();
        let mut add = |id: &str, name: &str, note: String, picture: &Picture| {
            pictures.push(PictureData {
                id: id.to_owned(),
                name: name.to_owned(),
                note,
            });
            let data = png(&thinned(picture)).map_err(|e| Error::failed(format!("report page: {e}")))?;
            blobs.push((id.to_owned(), data));
            Ok::<(), Error>(())
        };
        // The three bands that are shown, of one image at a time.
        let bands = composite_bands(self.reference.unwrap_or(self.fused));
        let shown = |image: &dyn Strips| strips::select(image, &bands);
        let stretch = Stretch::with_bands(&shown(self.reference.unwrap_or(self.fused))?, [0, 1, 2]);
        let composite = |image: &dyn Strips| stretch.composite(&shown(image)?);
        let note = String::new;
        add("rgb-lr", "LR HSI", note(), &composite(self.lr_hsi)?)?;
        add("rgb-bicubic", "bicubic", note(), &composite(self.bicubic)?)?;
        add("rgb-fused", "fused", note(), &composite(self.fused)?)?;
        if let Some(reference) = self.reference {
            add("rgb-reference", "reference", note(), &composite(reference)?)?;
            let errors = [
                pixel_errors(reference, self.bicubic)?,
                pixel_errors(reference, self.fused)?,
            ];
            let limit = error_limit(&[&errors[0], &errors[1]]);
            let note = || format!("root mean square error over bands, dark 0 to bright {limit:.4} and above");
            add(
                "error-bicubic",
                "error of bicubic",
                note(),
                &error_map(&errors[0], limit),
            )?;
            add(
                "error-fused",
                "error of fused",
                note(),
                &error_map(&errors[1], limit),
            )?;
        }
        Ok(pictures)
    }

    /// Kernels in the colours of error maps, each from 0 to its largest weight.
    fn kernel_pictures(&self, blobs: &mut Blobs) -> io::Result<Vec<PictureData>> {
        let mut pictures = Vec::new();
        for (k, (name, kernel)) in self.kernels.iter().enumerate() {
            let id = format!("psf-{k}");
            let (rows, columns) = kernel.dim();
            blobs.push((id.clone(), png(&kernel_picture(kernel))?));
            let peak = kernel.iter().fold(0.0f64, |a, &b| a.max(b));
            pictures.push(PictureData {
                id,
                name: name.clone(),
                note: format!("{rows} x {columns} HR pixels, largest weight {peak:.4}"),
            });
        }
        Ok(pictures)
    }

    /// The cubes with every `step`-th pixel of the result, and of the LR image what lies there.
    fn cubes(&self, scale: usize, step: usize, limits: &[(f32, f32)]) -> Result<(Vec<CubeData>, Blobs)> {
        let lr_step = step.div_ceil(scale);
        let all = [
            ("cube-lr", "LR HSI", Some(self.lr_hsi), lr_step, lr_step * scale),
            ("cube-fused", "fused", Some(self.fused), step, step),
            ("cube-reference", "reference", self.reference, step, step),
        ];
        let (mut described, mut blobs) = (Vec::new(), Blobs::new());
        for (id, name, cube, step, pitch) in all {
            let Some(cube) = cube else { continue };
            let thinned = packing::thinned(cube, step)?;
            described.push(CubeData {
                id,
                name,
                rows: thinned.rows(),
                columns: thinned.columns(),
                pitch,
            });
            let data =
                packing::packed(&thinned, limits).map_err(|e| Error::failed(format!("report page: {e}")))?;
            blobs.push((id.to_owned(), data));
        }
        Ok((described, blobs))
    }

    /// Template, style, script and data as one file.
    fn assemble(&self, json: &str, blobs: &Blobs) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut rest = PAGE;
        while let Some((before, after)) = rest.split_once("{{") {
            out.write_all(before.as_bytes())?;
            let (name, after) = after
                .split_once("}}")
                .ok_or_else(|| io::Error::other("its template has an open {{"))?;
            match name {
                "title" => out.write_all(escaped(&self.title).as_bytes())?,
                "style" => out.write_all(STYLE.as_bytes())?,
                "script" => out.write_all(SCRIPT.as_bytes())?,
                "data" => out.write_all(json.as_bytes())?,
                "blobs" => {
                    for (id, data) in blobs {
                        writeln!(out, "<script type=\"text/plain\" id=\"{id}\">{data}</script>")?;
                    }
                }
                other => return Err(io::Error::other(format!("its template asks for '{other}'"))),
            }
            rest = after;
        }
        out.write_all(rest.as_bytes())?;
        Ok(out)
    }
}

/// A PSF as a picture of its weights, dark 0 to bright at the largest, one pixel each.
pub fn kernel_picture(kernel: &Array2<f64>) -> Picture {
    let peak = kernel.iter().fold(0.0f64, |a, &b| a.max(b));
    let map: ColourMap = ERROR_COLOURS;
    Picture::from_fn(kernel.ncols(), kernel.nrows(), |r, c| {
        map.colour(if peak > 0.0 {
            (kernel[[r, c]] / peak) as f32
        } else {
            0.0
        })
    })
}

/// The sentence about what the page's spectra are worth.
fn precision(step: usize) -> String {
    let thinned = match step {
        1 => "every pixel".to_owned(),
        2 => "every second row and column, so that the page stays below 20 MB".to_owned(),
        n => format!("every {n}th row and column, so that the page stays below 20 MB"),
    };
    format!(
        "The page holds the spectra of {thinned}, with 255 levels a band: a value is off by at most 0.4 % of the range of \
         its band over the whole image, and by less where it is dark. The image file has the full precision."
    )
}

/// The picture with as many pixels left out as it takes to have at most [`PICTURE_PIXELS`].
fn thinned(picture: &Picture) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let mut step = 1;
    while width.div_ceil(step) * height.div_ceil(step) > PICTURE_PIXELS {
        step += 1;
    }
    Picture::from_fn(width.div_ceil(step), height.div_ceil(step), |r, c| {
        picture.pixel(r * step, c * step)
    })
}

/// A PNG file in base 64.
fn png(picture: &Picture) -> io::Result<String> {
    let mut bytes = Vec::new();
    picture.write_png(&mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

/// Text that HTML shows as it is.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
