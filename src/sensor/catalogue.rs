//! What can stand behind `--psf` and `--srf`: the sensors the program knows, by name.
//!
//! Parsing names a file but never opens one: `sensor` knows no file formats. Whoever reads the matrix hands
//! it to [`psf_from_matrix`] or [`srf_from_matrix`] to have it checked and normalised.

use std::fmt;
use std::str::FromStr;

use ndarray::Array2;
use serde::Deserialize;

use super::psf::{GaussianPsf, published_centre};
use super::shapes;
use super::spectral_response::{Band, Sensor, resample};
use super::window::{MASS, gaussian_side, side_of_parity, trimmed};
use crate::cube::Metadata;
use crate::cube::bands::TakenBands;
use crate::error::{Error, Result};

const PAPER_PSFS: &str = include_str!("../../assets/psf/paper.toml");

/// Side of the windows of the published PSFs.
const PUBLISHED_SIDE: usize = 32;
/// The longest reach of a shape that is looked at, HR pixels: far beyond what any scale takes.
const FARTHEST: f64 = 1024.0;

/// The sensors whose response is known: name and file.
const SENSORS: [(&str, &str); 9] = [
    ("sentinel-2a", include_str!("../../assets/srf/sentinel-2a.toml")),
    ("sentinel-2b", include_str!("../../assets/srf/sentinel-2b.toml")),
    ("landsat-8", include_str!("../../assets/srf/landsat-8.toml")),
    ("landsat-9", include_str!("../../assets/srf/landsat-9.toml")),
    ("landsat-oli6", include_str!("../../assets/srf/landsat-oli6.toml")),
    ("eo1-ali", include_str!("../../assets/srf/eo1-ali.toml")),
    ("worldview-2", include_str!("../../assets/srf/worldview-2.toml")),
    ("worldview-3", include_str!("../../assets/srf/worldview-3.toml")),
    ("nikon-d700", include_str!("../../assets/srf/nikon-d700.toml")),
];

/// A point spread function as named on the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum PsfSpec {
    /// `blind`: to be estimated.
    Blind,
    /// A K×K matrix in this file.
    File(String),
    /// `paper:N`: one of the six of Guo et al. 2023, by number.
    Paper(usize),
    /// `gaussian:VAR1,VAR2,ANGLE`: variances in HR pixels squared, angle in radians.
    Gaussian(f64, f64, f64),
    /// `disk:RADIUS`: defocus, radius in HR pixels.
    Disk(f64),
    /// `line:LENGTH,ANGLE`: motion, length in HR pixels, angle in radians.
    Line(f64, f64),
}

/// A spectral response function as named on the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum SrfSpec {
    /// `blind`: to be estimated.
    Blind,
    /// A B×b matrix in this file.
    File(String),
    /// `sentinel-2a`, ...: a known sensor, by its name and those of its bands that are meant, in their order; none for
    /// those that the name alone stands for. With bands it is written `sentinel-2a:B2,B3`.
    Known {
        /// Its name, one of [`sensor_names`].
        sensor: &'static str,
        /// Names of bands.
        bands: Vec<String>,
    },
}

/// Names of the sensors whose response is known.
pub fn sensor_names() -> impl Iterator<Item = &'static str> {
    SENSORS.iter().map(|(name, _)| *name)
}

/// What is known of the sensor with this name.
///
/// # Errors
/// [`Error::Input`] if there is none; [`Error::Failed`] if the program was built with a broken file of assets/srf.
pub fn sensor(name: &str) -> Result<Sensor> {
    let (_, text) = SENSORS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let all: Vec<&str> = sensor_names().collect();
        Error::input(format!("no sensor '{name}'; known are {}", all.join(", ")))
    })?;
    Sensor::parse(text).map_err(|why| Error::failed(format!("built-in srf/{name}.toml: {why}")))
}

#[derive(Deserialize)]
struct PaperPsfs {
    psf: Vec<PaperPsf>,
}

#[derive(Deserialize)]
struct PaperPsf {
    variances: [f64; 2],
    angle: f64,
}

/// The six PSFs of Guo et al. 2023 in their order; published with the centre on pixel `K / 2` ([`published_centre`]).
///
/// # Errors
/// [`Error::Failed`] if the program was built with a broken `assets/psf/paper.toml`.
pub fn paper_psfs() -> Result<Vec<GaussianPsf>> {
    let broken = |why: String| Error::failed(format!("built-in psf/paper.toml: {why}"));
    let table: PaperPsfs = toml::from_str(PAPER_PSFS).map_err(|e| broken(e.message().to_owned()))?;
    table
        .psf
        .iter()
        .map(|p| {
            GaussianPsf::from_variances(p.variances[0], p.variances[1], p.angle)
                .ok_or_else(|| broken(format!("no covariance: {:?}", p.variances)))
        })
        .collect()
}

impl FromStr for PsfSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = "use blind, a file, paper:0 to paper:5, gaussian:VAR1,VAR2,ANGLE, disk:RADIUS or line:LENGTH,ANGLE";
        if text.is_empty() {
            return Err(Error::input(format!("empty PSF name: {known}")));
        }
        if text == "blind" {
            return Ok(PsfSpec::Blind);
        }
        if let Some(number) = text.strip_prefix("paper:") {
            return match number.parse() {
                Ok(n) if n < paper_psfs()?.len() => Ok(PsfSpec::Paper(n)),
                _ => Err(Error::input(format!("unknown PSF '{text}': {known}"))),
            };
        }
        let (shape, numbers) = text.split_once(':').unwrap_or((text, ""));
        let all: Option<Vec<f64>> = numbers.split(',').map(|n| n.trim().parse().ok()).collect();
        // Half a pixel and a pixel: what is narrower is no blur and could fall between two points of a pixel.
        let wide = |x: f64, least: f64| x >= least && x.is_finite();
        let (found, takes) = match (shape, all.as_deref()) {
            ("gaussian", values) => (
                match values {
                    Some(&[v1, v2, a]) => {
                        GaussianPsf::from_variances(v1, v2, a).map(|_| PsfSpec::Gaussian(v1, v2, a))
                    }
                    _ => None,
                },
                "two positive variances (HR pixels squared) and an angle (radians), e.g. gaussian:2.5,1.5,0.6",
            ),
            ("disk", values) => (
                match values {
                    Some(&[radius]) if wide(radius, 0.5) => Some(PsfSpec::Disk(radius)),
                    _ => None,
                },
                "a radius of at least 0.5 (HR pixels), e.g. disk:2.8",
            ),
            ("line", values) => (
                match values {
                    Some(&[length, angle]) if wide(length, 1.0) && angle.is_finite() => {
                        Some(PsfSpec::Line(length, angle))
                    }
                    _ => None,
                },
                "a length of at least 1 (HR pixels) and an angle (radians), e.g. line:4.8,0.6",
            ),
            _ => return Ok(PsfSpec::File(text.to_owned())),
        };
        found.ok_or_else(|| Error::input(format!("PSF '{text}': {shape}: takes {takes}")))
    }
}

impl PsfSpec {
    /// The K×K kernel behind the name, sum 1; `None` for `blind` and for a file.
    ///
    /// `centre` is the offset (row, column) of the PSF's centre from the middle of the window in HR pixels; a published
    /// PSF has its own offset beside it. What reaches out of the window is cut off.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such PSF, or nothing of it lies in the window.
    pub fn kernel(&self, size: usize, centre: [f64; 2]) -> Result<Option<Array2<f64>>> {
        let gaussian = |psf: GaussianPsf| GaussianPsf { centre, ..psf }.kernel(size);
        let kernel = match *self {
            PsfSpec::Blind | PsfSpec::File(_) => return Ok(None),
            PsfSpec::Paper(n) => {
                let own = published_centre(size);
                let moved = |psf: &GaussianPsf| GaussianPsf {
                    centre: [centre[0] + own[0], centre[1] + own[1]],
                    ..*psf
                };
                paper_psfs()?.get(n).map(|psf| moved(psf).kernel(size))
            }
            PsfSpec::Gaussian(v1, v2, angle) => GaussianPsf::from_variances(v1, v2, angle).map(gaussian),
            PsfSpec::Disk(radius) => Some(shapes::disk(radius, centre, size)),
            PsfSpec::Line(length, angle) => Some(shapes::line(length, angle, centre, size)),
        };
        kernel
            .filter(|k| (k.sum() - 1.0).abs() < 1e-6)
            .map(Some)
            .ok_or_else(|| {
                Error::input(format!(
                    "PSF {self} has no weight in a window of {size} x {size} pixels"
                ))
            })
    }
}

impl PsfSpec {
    /// The kernel behind the name for a scale: in a window of this side, or of one more where its parity is not the
    /// scale's; without a side as [`PsfSpec::whole`].
    ///
    /// # Errors
    /// As [`PsfSpec::kernel`].
    pub fn sized(&self, scale: usize, side: Option<usize>) -> Result<Option<Array2<f64>>> {
        match side {
            Some(side) => self.kernel(side_of_parity(side, scale), [0.0; 2]),
            None => self.whole(scale, [0.0; 2]),
        }
    }

    /// The kernel behind the name for a scale in the smallest window of its parity that holds
    /// [`MASS`] of it; a published one in the window of 32 pixels that it was published in. `None`
    /// for `blind` and for a file; `centre` as in [`PsfSpec::kernel`].
    ///
    /// # Errors
    /// As [`PsfSpec::kernel`].
    pub fn whole(&self, scale: usize, centre: [f64; 2]) -> Result<Option<Array2<f64>>> {
        let offset = centre[0].abs().max(centre[1].abs());
        let reach = match *self {
            PsfSpec::Blind | PsfSpec::File(_) => return Ok(None),
            PsfSpec::Paper(_) => {
                let size = PUBLISHED_SIDE + 2 * offset.ceil() as usize;
                return self.kernel(side_of_parity(size, scale), centre);
            }
            PsfSpec::Gaussian(v1, v2, angle) => GaussianPsf::from_variances(v1, v2, angle).map_or(0, |psf| {
                gaussian_side(&GaussianPsf { centre, ..psf }, scale, MASS)
            }),
            PsfSpec::Disk(radius) => 2 * (radius + offset).min(FARTHEST).ceil() as usize + 1,
            PsfSpec::Line(length, _) => (length + 2.0 * offset).min(2.0 * FARTHEST).ceil() as usize + 1,
        };
        let kernel = self.kernel(side_of_parity(reach, scale), centre)?;
        Ok(kernel.map(|kernel| trimmed(&kernel)))
    }
}

impl fmt::Display for PsfSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PsfSpec::Blind => f.write_str("blind"),
            PsfSpec::File(path) => f.write_str(path),
            PsfSpec::Paper(n) => write!(f, "paper:{n}"),
            PsfSpec::Gaussian(v1, v2, angle) => write!(f, "gaussian:{v1},{v2},{angle}"),
            PsfSpec::Disk(radius) => write!(f, "disk:{radius}"),
            PsfSpec::Line(length, angle) => write!(f, "line:{length},{angle}"),
        }
    }
}

impl FromStr for SrfSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::input(
                "empty SRF name: use blind, a file or a sensor (see hsr-gpu sensors)",
            ));
        }
        if text == "blind" {
            return Ok(SrfSpec::Blind);
        }
        let (name, list) = text.split_once(':').unwrap_or((text, ""));
        let Some(found) = sensor_names().find(|known| *known == name) else {
            return Ok(SrfSpec::File(text.to_owned()));
        };
        let bands: Vec<String> = list
            .split(',')
            .map(|band| band.trim().to_owned())
            .filter(|band| !band.is_empty())
            .collect();
        // A name that it has not is refused now and not after the images are read.
        sensor(found)?.named(&bands, found)?;
        Ok(SrfSpec::Known { sensor: found, bands })
    }
}

impl fmt::Display for SrfSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SrfSpec::Blind => f.write_str("blind"),
            SrfSpec::File(path) => f.write_str(path),
            SrfSpec::Known { sensor, bands } if bands.is_empty() => f.write_str(sensor),
            SrfSpec::Known { sensor, bands } => write!(f, "{sensor}:{}", bands.join(",")),
        }
    }
}

impl SrfSpec {
    /// `landsat-oli6`: six rectangular bands like those of Landsat 8 OLI.
    pub fn landsat_oli6() -> Self {
        SrfSpec::Known {
            sensor: "landsat-oli6",
            bands: Vec::new(),
        }
    }

    /// `nikon-d700`: blue, green, red.
    pub fn nikon_d700() -> Self {
        SrfSpec::Known {
            sensor: "nikon-d700",
            bands: Vec::new(),
        }
    }

    /// The response (B×b, columns sum to 1) on an image of `bands` bands with these metadata, as [`resample`] makes it;
    /// `None` for `blind` and for a file. Where `msi` is an MSI's selection out of as many bands as the sensor's, the
    /// bands of the sensor are selected likewise.
    ///
    /// # Errors
    /// As [`resample`].
    pub fn response(
        &self,
        metadata: &Metadata,
        bands: usize,
        msi: Option<&TakenBands>,
    ) -> Result<Option<Array2<f64>>> {
        let SrfSpec::Known {
            sensor: name,
            bands: named,
        } = self
        else {
            return Ok(None);
        };
        let known = sensor(name)?;
        let all = known.named(named, name)?;
        let taken = selected(&all, msi);
        resample(&taken, metadata, bands, &self.to_string(), Some(&known)).map(Some)
    }
}

/// Those bands of a sensor that an MSI has after its selection, where there is one for each band of the MSI's file; else
/// all.
pub fn selected<'a>(bands: &[&'a Band], msi: Option<&TakenBands>) -> Vec<&'a Band> {
    match msi {
        Some(msi) if msi.all == bands.len() => msi.taken.iter().map(|&b| bands[b]).collect(),
        _ => bands.to_vec(),
    }
}

fn normalised(mut response: Array2<f64>) -> Array2<f64> {
    for mut column in response.columns_mut() {
        let sum = column.sum();
        column /= sum;
    }
    response
}

/// Checks a matrix read from the file `name` and makes it a PSF: square, non-negative, sum 1.
///
/// # Errors
/// [`Error::Input`] naming the file and what is wrong.
pub fn psf_from_matrix(matrix: Array2<f64>, name: &str) -> Result<Array2<f64>> {
    let (rows, columns) = matrix.dim();
    if rows != columns || rows == 0 {
        return Err(Error::input(format!(
            "{name}: a PSF is a square matrix, found {rows} x {columns}"
        )));
    }
    check_weights(&matrix, name, "PSF")?;
    let sum = matrix.sum();
    if sum <= 0.0 {
        return Err(Error::input(format!("{name}: every weight of the PSF is zero")));
    }
    Ok(matrix / sum)
}

/// Checks a matrix read from the file `name` and makes it an SRF: one row for each of `bands` bands,
/// non-negative, columns sum to 1.
///
/// # Errors
/// [`Error::Input`] naming the file and what is wrong.
pub fn srf_from_matrix(matrix: Array2<f64>, bands: usize, name: &str) -> Result<Array2<f64>> {
    let (rows, columns) = matrix.dim();
    if rows != bands || columns == 0 {
        let hint = if columns == bands { "; transpose it" } else { "" };
        return Err(Error::input(format!(
            "{name}: an SRF has one row for each of the {bands} bands and one column for each band of the multispectral image, found {rows} x {columns}{hint}"
        )));
    }
    check_weights(&matrix, name, "SRF")?;
    if let Some(j) = matrix.columns().into_iter().position(|c| c.sum() <= 0.0) {
        return Err(Error::input(format!(
            "{name}: column {j} of the SRF (counted from 0) is zero"
        )));
    }
    Ok(normalised(matrix))
}

fn check_weights(matrix: &Array2<f64>, name: &str, what: &str) -> Result<()> {
    match matrix.indexed_iter().find(|(_, x)| !x.is_finite() || **x < 0.0) {
        Some(((i, j), x)) => Err(Error::input(format!(
            "{name}: {x} at row {i}, column {j} of the {what}; weights are finite and not negative"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
