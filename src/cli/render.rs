//! `render`: pictures of images. A composite, one band in colours, error maps, panels side by side.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use ndarray::Array2;

use super::Output;
use super::options::MemoryOptions;
use crate::cube::Cube;
use crate::cube::bands::BandName;
use crate::cube::strips::{self, Strips};
use crate::error::{Error, Result};
use crate::io::{self, OutputSet};
use crate::report::Picture;
use crate::report::panels::{Bar, ColourMap, PANEL_WIDTH, Panel, sheet};
use crate::report::picture::{
    ERROR_COLOURS, Stretch, band_limits, band_picture, composite_bands, error_limit, error_map, pixel_errors,
};

/// Most pixels of a picture: 256 MiB of RGB.
const MOST_PIXELS: usize = 1 << 28;

/// Make a picture (PNG) of images: RGB composite, one band in colours, error maps, panels side by side
///
/// One image becomes its composite, pixel by pixel. Several images, --label, --band or --reference make a sheet of
/// panels with captions: the images above, all in the colours of the reference (else of the last image), and with
/// --reference their error maps below on one scale. Images of fewer pixels (the LR HSI) are enlarged to the size of the
/// largest. Composites run from the 2nd to the 98th percentile; in error maps a pixel is the root mean square error over
/// bands, with --band the absolute error of that band, and the scale ends at the 98th percentile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hsr-gpu render fused.npy --out fused.png\n  \
    hsr-gpu render scene.hdr --rgb 640nm,550nm,460nm --out scene.png\n  \
    hsr-gpu render scene.hdr --band 12 --colour-map viridis --out band.png\n  \
    hsr-gpu render lr.npy bicubic.npy fused.npy --label LR,bicubic,fused --reference z.npy --out figure.png")]
pub struct Render {
    /// The images, in the order of their panels
    #[arg(required = true)]
    images: Vec<String>,
    /// Picture to write (.png)
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Bands shown as red, green and blue: numbers from 0, or wavelengths such as 640nm [default: 640, 550, 460 nm]
    #[arg(long, value_name = "R,G,B", conflicts_with = "band")]
    rgb: Option<Rgb>,
    /// Show one band in colours: a number from 0, or a wavelength such as 550nm
    #[arg(long)]
    band: Option<BandName>,
    /// Colours of --band
    #[arg(long, value_enum, default_value_t = ColourMap::Viridis, requires = "band")]
    colour_map: ColourMap,
    /// Samples shown as darkest and brightest colour of --band [default: 2nd and 98th percentile]
    #[arg(long, value_name = "LOW,HIGH", requires = "band", allow_hyphen_values = true)]
    limits: Option<Limits>,
    /// Reference image: adds its panel and an error map below each image of its size
    #[arg(long, value_name = "FILE")]
    reference: Option<String>,
    /// Error shown as the brightest colour [default: 98th percentile of all error maps]
    #[arg(long, value_name = "ERROR", requires = "reference")]
    error_limit: Option<f32>,
    /// Captions of the panels, one an image [default: file names]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    label: Vec<String>,
    /// Width and height of a pixel [default: 1, in sheets as much as fits into 288 pixels]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    zoom: Option<u16>,
    /// Value that stands for "no data" (nan for NaN); its pixels are grey
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    nodata: Option<f64>,
    #[command(flatten)]
    memory: MemoryOptions,
}

/// Three bands with commas between them.
#[derive(Debug, Clone, Copy)]
struct Rgb([BandName; 3]);

impl FromStr for Rgb {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bands: Vec<BandName> = text
            .split(',')
            .map(|part| part.trim().parse())
            .collect::<std::result::Result<_, String>>()?;
        <[BandName; 3]>::try_from(bands)
            .map(Rgb)
            .map_err(|_| format!("'{text}' is not three bands with commas between them"))
    }
}

/// Two samples, the first below the second.
#[derive(Debug, Clone, Copy)]
struct Limits(f32, f32);

impl FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parsed = text
            .split_once(',')
            .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
        match parsed {
            Some((low, high)) if f32::is_finite(low) && f32::is_finite(high) && low < high => {
                Ok(Limits(low, high))
            }
            _ => Err(format!(
                "'{text}' is not LOW,HIGH with the first number below the second"
            )),
        }
    }
}

/// The band of an image that is meant.
fn find(band: BandName, image: &dyn Strips, file: &str) -> Result<usize> {
    band.find(image.metadata(), image.dim().2, file)
}

/// What was written, for `--json`.
#[derive(serde::Serialize)]
struct Written {
    output: String,
    width: usize,
    height: usize,
    bands: Vec<usize>,
    error_limit: Option<f32>,
}

/// An image with the bands that are shown of it.
struct Shown<'a> {
    file: &'a str,
    image: &'a dyn Strips,
    bands: Cube,
}

impl Shown<'_> {
    fn size(&self) -> (usize, usize) {
        let (rows, columns, _) = self.image.dim();
        (rows, columns)
    }
}

/// How samples of the bands shown become colours.
enum Look {
    Composite(Stretch),
    Band { limits: (f32, f32), map: ColourMap },
}

impl Look {
    fn picture(&self, shown: &Cube) -> Result<Picture> {
        match self {
            Look::Composite(stretch) => stretch.composite(shown),
            Look::Band { limits, map } => band_picture(shown, 0, *limits, *map),
        }
    }

    /// Errors of all bands, or of the one that is shown.
    fn errors(&self, reference: &Shown, estimate: &Shown) -> Result<Array2<f32>> {
        match self {
            Look::Composite(_) => pixel_errors(reference.image, estimate.image),
            Look::Band { .. } => pixel_errors(&reference.bands, &estimate.bands),
        }
    }
}

impl Render {
    /// What it reads and writes.
    ///
    /// # Errors
    /// None.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        self.images.iter().for_each(|image| set.reads("the image", image));
        if let Some(file) = &self.reference {
            set.reads("--reference", file);
        }
        set.writes("--out", &self.out);
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Input`] for images that cannot be read or do not go together, bands they do not have, and a picture
    /// that cannot be written there.
    pub fn run(self, output: &Output) -> Result<()> {
        let png = self
            .out
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("png"));
        if !png {
            return Err(Error::input(format!(
                "{}: pictures are written as PNG; end the name in .png",
                self.out.display()
            )));
        }
        if !self.label.is_empty() && self.label.len() != self.images.len() {
            return Err(Error::input(format!(
                "--label has {} names for {} images",
                self.label.len(),
                self.images.len()
            )));
        }
        let open = |file: &String| io::open_image(file, self.nodata, self.memory.max_memory);
        let files: Vec<&String> = self.images.iter().chain(&self.reference).collect();
        let opened = files.iter().map(|f| open(f)).collect::<Result<Vec<_>>>()?;
        let all: Vec<(&str, &dyn Strips)> = files
            .iter()
            .zip(&opened)
            .map(|(file, image)| (file.as_str(), image as &dyn Strips))
            .collect();
        let (_, _, bands) = all[0].1.dim();
        for (file, image) in &all {
            if image.dim().2 != bands {
                return Err(Error::input(format!(
                    "{file}: has {} bands and {} has {bands}; panels show the same bands",
                    image.dim().2,
                    self.images[0]
                )));
            }
        }
        let chosen = self.bands(&all)?;
        let alone = all.len() == 1 && self.label.is_empty() && self.band.is_none();
        let zoom = self.zoom.map_or(1, usize::from);
        if alone {
            let (rows, columns, _) = all[0].1.dim();
            check_size(&self.out, rows, columns, zoom, 1)?;
        }
        let mut shown = Vec::new();
        for (file, image) in all {
            let bands = strips::select(image, &chosen)?;
            shown.push(Shown { file, image, bands });
        }
        let look = self.look(&shown[shown.len() - 1].bands);
        let (picture, top) = if alone {
            (look.picture(&shown[0].bands)?.enlarged(zoom), None)
        } else {
            self.sheet(&shown, &look)?
        };
        io::replace(&self.out, |out| picture.write_png(out))?;
        let written = Written {
            output: self.out.display().to_string(),
            width: picture.width(),
            height: picture.height(),
            bands: chosen,
            error_limit: top,
        };
        let shown = match (self.band, written.bands.as_slice()) {
            (None, [r, g, b]) => format!("bands {r}, {g}, {b} as red, green, blue"),
            (_, bands) => format!("band {}", bands[0]),
        };
        let errors = top.map_or(String::new(), |t| format!(", errors from 0 to {t}"));
        let text = format!(
            "{}: {} x {} pixels, {shown}{errors}",
            written.output, written.width, written.height
        );
        output.result(&written, &text)
    }

    /// The bands that are shown: named by the wavelengths of the reference, else of the last image that has any.
    fn bands(&self, all: &[(&str, &dyn Strips)]) -> Result<Vec<usize>> {
        let (file, named) = all
            .iter()
            .rev()
            .find(|(_, image)| image.metadata().wavelengths.is_some())
            .unwrap_or(&all[all.len() - 1]);
        if let Some(band) = self.band {
            return Ok(vec![find(band, *named, file)?]);
        }
        Ok(match self.rgb {
            Some(Rgb(bands)) => bands
                .iter()
                .map(|&band| find(band, *named, file))
                .collect::<Result<_>>()?,
            None => composite_bands(*named).to_vec(),
        })
    }

    /// The colours, from the bands shown of the reference, else of the last image.
    fn look(&self, source: &Cube) -> Look {
        if self.band.is_none() {
            return Look::Composite(Stretch::with_bands(source, [0, 1, 2]));
        }
        Look::Band {
            limits: match self.limits {
                Some(Limits(low, high)) => (low, high),
                None => band_limits(source, 0),
            },
            map: self.colour_map,
        }
    }

    /// The sheet and the error at the top of its scale.
    fn sheet(&self, all: &[Shown], look: &Look) -> Result<(Picture, Option<f32>)> {
        let (cubes, reference) = match self.reference {
            Some(_) => (&all[..all.len() - 1], all.last()),
            None => (all, None),
        };
        let (rows, columns) = match reference {
            Some(reference) => reference.size(),
            None => all.iter().map(Shown::size).max().unwrap_or_default(),
        };
        let zoom = self.zoom.map_or((PANEL_WIDTH / columns).max(1), usize::from);
        check_size(&self.out, rows, columns, zoom, 2 * all.len())?;
        let mut above = Vec::new();
        for (k, shown) in all.iter().enumerate() {
            let size = shown.size();
            let factor = rows / size.0;
            if (size.0 * factor, size.1 * factor) != (rows, columns) {
                return Err(Error::input(format!(
                    "{}: {} x {} pixels do not fit {rows} x {columns} by a whole factor; panels show one scene",
                    shown.file, size.0, size.1
                )));
            }
            let caption = match (self.label.get(k), k < cubes.len()) {
                (Some(label), _) => label.clone(),
                (None, false) => "reference".to_owned(),
                (None, true) => stem(shown.file),
            };
            above.push(Some(Panel::new(
                caption,
                look.picture(&shown.bands)?.enlarged(factor * zoom),
            )));
        }
        let (mut sheet_rows, mut bars) = (vec![above], Vec::new());
        if let Look::Band { limits, map, .. } = look {
            bars.push(Bar {
                columns: 0..all.len(),
                limits: *limits,
                map: *map,
            });
        }
        let mut top = None;
        if let Some(reference) = reference {
            let mut errors = Vec::new();
            for shown in cubes {
                let comparable = shown.size() == (rows, columns);
                errors.push(comparable.then(|| look.errors(reference, shown)).transpose()?);
            }
            let maps: Vec<_> = errors.iter().flatten().collect();
            let place = Option::is_some;
            let (Some(first), Some(last)) = (errors.iter().position(place), errors.iter().rposition(place))
            else {
                return Err(Error::input(format!(
                    "{}: no image has its {rows} x {columns} pixels, so there is no error to show",
                    self.reference.as_deref().unwrap_or_default()
                )));
            };
            let limit = match self.error_limit {
                Some(limit) if limit > 0.0 && limit.is_finite() => limit,
                Some(limit) => {
                    return Err(Error::input(format!(
                        "--error-limit {limit}: must be a positive number"
                    )));
                }
                None => error_limit(&maps),
            };
            top = Some(limit);
            let name = if self.band.is_some() {
                "absolute error"
            } else {
                "RMSE"
            };
            let maps = errors.iter().map(|e| {
                let picture = error_map(e.as_ref()?, limit).enlarged(zoom);
                Some(Panel::new(name, picture))
            });
            sheet_rows.push(maps.collect());
            bars.push(Bar {
                columns: first..last + 1,
                limits: (0.0, limit),
                map: ERROR_COLOURS,
            });
        }
        Ok((sheet(&sheet_rows, &bars), top))
    }
}

/// Refuses a picture too large to make.
fn check_size(out: &Path, rows: usize, columns: usize, zoom: usize, panels: usize) -> Result<()> {
    let pixels = [rows, columns, zoom, zoom, panels]
        .into_iter()
        .try_fold(1usize, usize::checked_mul);
    if pixels.is_some_and(|n| n <= MOST_PIXELS) {
        return Ok(());
    }
    Err(Error::input(format!(
        "{}: {panels} panels of {rows} x {columns} pixels, {zoom} times as large, are too large a picture; lower --zoom",
        out.display()
    )))
}

/// A file's name without folder and ending.
fn stem(file: &str) -> String {
    Path::new(file)
        .file_stem()
        .map_or_else(|| file.to_owned(), |s| s.to_string_lossy().into_owned())
}
