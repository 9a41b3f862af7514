//! What can stand behind `--psf` and `--srf`: the sensors the program knows, by name.
//!
//! Parsing names a file but never opens one: `sensor` knows no file formats. Whoever reads the matrix hands
//! it to [`psf_from_matrix`] or [`srf_from_matrix`] to have it checked and normalised.

use std::fmt;
use std::str::FromStr;

use ndarray::Array2;
use serde::Deserialize;

use super::psf::GaussianPsf;
use super::shapes;
use crate::error::{Error, Result};

const PAPER_PSFS: &str = include_str!("../../assets/psf/paper.toml");
const NIKON_D700: &str = include_str!("../../assets/srf/nikon-d700.csv");
const LANDSAT_OLI6: &str = include_str!("../../assets/srf/landsat-oli6.csv");

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
    /// `nikon-d700`: blue, green, red.
    NikonD700,
    /// `landsat-oli6`: six rectangular bands like those of Landsat 8 OLI.
    LandsatOli6,
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

/// The six PSFs of Guo et al. 2023 in their order, centre on pixel `K / 2`.
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
    /// `centre` is the offset (row, column) of the PSF's centre from pixel `size / 2` in HR pixels. What reaches out of
    /// the window is cut off.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such PSF, or nothing of it lies in the window.
    pub fn kernel(&self, size: usize, centre: [f64; 2]) -> Result<Option<Array2<f64>>> {
        let gaussian = |psf: GaussianPsf| GaussianPsf { centre, ..psf }.kernel(size);
        let kernel = match *self {
            PsfSpec::Blind | PsfSpec::File(_) => return Ok(None),
            PsfSpec::Paper(n) => paper_psfs()?.get(n).copied().map(gaussian),
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
        match text {
            "" => Err(Error::input(
                "empty SRF name: use blind, a file, nikon-d700 or landsat-oli6",
            )),
            "blind" => Ok(SrfSpec::Blind),
            "nikon-d700" => Ok(SrfSpec::NikonD700),
            "landsat-oli6" => Ok(SrfSpec::LandsatOli6),
            path => Ok(SrfSpec::File(path.to_owned())),
        }
    }
}

impl fmt::Display for SrfSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SrfSpec::Blind => "blind",
            SrfSpec::File(path) => path,
            SrfSpec::NikonD700 => "nikon-d700",
            SrfSpec::LandsatOli6 => "landsat-oli6",
        })
    }
}

impl SrfSpec {
    /// The response (B×b, columns sum to 1) on an image of `bands` bands with these centres (nm); `None` for
    /// `blind` and for a file.
    ///
    /// `nikon-d700` is its table interpolated linearly at the centres, zero outside 400 to 700 nm; an image of 31
    /// bands without wavelengths is taken to be on the table's own grid. `landsat-oli6` weighs a
    /// band by the part of it that lies in the passband, bands reaching half-way to their neighbours.
    ///
    /// # Errors
    /// [`Error::Input`] if the image has no wavelengths, or none of its bands lies in one of the sensor's.
    pub fn response(&self, wavelengths: Option<&[f64]>, bands: usize) -> Result<Option<Array2<f64>>> {
        if matches!(self, SrfSpec::Blind | SrfSpec::File(_)) {
            return Ok(None);
        }
        let table = self.table()?;
        let grid: Vec<f64> = match wavelengths {
            Some(w) if w.len() == bands && w.iter().all(|x| x.is_finite()) => w.to_vec(),
            None if *self == SrfSpec::NikonD700 && bands == table.rows.len() => {
                table.rows.iter().map(|r| r.1[0]).collect()
            }
            _ => {
                return Err(Error::input(format!(
                    "SRF {self} needs the wavelength of each of the {bands} bands and the image has none{}; give the response as a {bands} x b file",
                    if *self == SrfSpec::NikonD700 {
                        " (only 31 bands are taken to be 400 to 700 nm by 10)"
                    } else {
                        ""
                    }
                )));
            }
        };
        let response = match self {
            SrfSpec::LandsatOli6 => passbands(&table, &grid),
            _ => interpolated(&table, &grid),
        };
        for (name, column) in table.bands(self).iter().zip(response.columns()) {
            if column.sum() <= 0.0 {
                let (low, high) = grid
                    .iter()
                    .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &w| {
                        (l.min(w), h.max(w))
                    });
                return Err(Error::input(format!(
                    "SRF {self}: no band of the image ({low} to {high} nm) lies in the sensor's band {name}; give the response as a file"
                )));
            }
        }
        Ok(Some(normalised(response)))
    }

    fn table(&self) -> Result<Table> {
        let (name, text) = match self {
            SrfSpec::LandsatOli6 => ("landsat-oli6.csv", LANDSAT_OLI6),
            _ => ("nikon-d700.csv", NIKON_D700),
        };
        Table::parse(text).ok_or_else(|| Error::failed(format!("built-in srf/{name} is broken")))
    }
}

/// A built-in table: a header, then a first cell (text) and numbers.
struct Table {
    header: Vec<String>,
    /// First cell as text, and all cells that are numbers.
    rows: Vec<(String, Vec<f64>)>,
}

impl Table {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|l| !l.starts_with('#'));
        let cells = |line: &str| line.split(',').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
        let header = cells(lines.next()?);
        let rows = lines
            .map(|line| {
                let row = cells(line);
                let numbers: Vec<f64> = row.iter().filter_map(|c| c.parse().ok()).collect();
                (row.len() == header.len() && numbers.len() + 1 >= row.len())
                    .then(|| (row[0].clone(), numbers))
            })
            .collect::<Option<Vec<_>>>()?;
        (!rows.is_empty()).then_some(Table { header, rows })
    }

    /// Names of the sensor's bands.
    fn bands(&self, spec: &SrfSpec) -> Vec<String> {
        match spec {
            SrfSpec::LandsatOli6 => self.rows.iter().map(|r| r.0.clone()).collect(),
            _ => self.header[1..].to_vec(),
        }
    }
}

/// Curves at 10 nm steps, linearly between them.
fn interpolated(table: &Table, grid: &[f64]) -> Array2<f64> {
    Array2::from_shape_fn((grid.len(), table.header.len() - 1), |(i, j)| {
        table
            .rows
            .windows(2)
            .find_map(|pair| {
                let (a, b) = (&pair[0].1, &pair[1].1);
                (a[0] <= grid[i] && grid[i] <= b[0]).then(|| {
                    let t = (grid[i] - a[0]) / (b[0] - a[0]);
                    a[j + 1] * (1.0 - t) + b[j + 1] * t
                })
            })
            .unwrap_or(0.0)
    })
}

/// The part of each band of the image that lies between the sensor's limits.
fn passbands(table: &Table, grid: &[f64]) -> Array2<f64> {
    let mut order: Vec<usize> = (0..grid.len()).collect();
    order.sort_by(|&a, &b| grid[a].total_cmp(&grid[b]));
    let mut limits = vec![(0.0, 0.0); grid.len()];
    for (k, &i) in order.iter().enumerate() {
        let half_to = |n: Option<&usize>| n.map(|&n| 0.5 * (grid[n] - grid[i]).abs());
        let below = half_to(k.checked_sub(1).and_then(|p| order.get(p)));
        let above = half_to(order.get(k + 1));
        // The outermost bands reach as far out as in.
        let (below, above) = (
            below.or(above).unwrap_or_default(),
            above.or(below).unwrap_or_default(),
        );
        limits[i] = (grid[i] - below, grid[i] + above);
    }
    Array2::from_shape_fn((grid.len(), table.rows.len()), |(i, j)| {
        let passband = &table.rows[j].1;
        let overlap = limits[i].1.min(passband[1]) - limits[i].0.max(passband[0]);
        overlap.max(0.0)
    })
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
mod tests {
    use ndarray::arr2;

    use super::*;
    use crate::sensor::psf::centroid;

    #[derive(Deserialize)]
    struct Moments {
        psf: Vec<Published>,
    }

    #[derive(Deserialize)]
    struct Published {
        published_moments: Option<[f64; 3]>,
    }

    // The released kernels are tabulated from samples, so their moments differ from the exact Gaussian's by up to
    // 1.1 per cent; a swapped axis or a wrong sign would be off by a factor.
    #[test]
    fn paper_psfs_have_the_published_second_moments() {
        let table: Moments = toml::from_str(PAPER_PSFS).unwrap();
        let psfs = paper_psfs().unwrap();
        assert_eq!(psfs.len(), 6);
        let mut compared = 0;
        for (psf, published) in psfs.iter().zip(&table.psf) {
            let Some([rr, cc, rc]) = published.published_moments else {
                continue;
            };
            let kernel = psf.kernel(32);
            let moment = |f: fn(f64, f64) -> f64| -> f64 {
                kernel
                    .indexed_iter()
                    .map(|((i, j), &w)| w * f(i as f64, j as f64))
                    .sum()
            };
            let (mr, mc) = (moment(|r, _| r), moment(|_, c| c));
            for (found, expected) in [
                (moment(|r, _| r * r) - mr * mr, rr),
                (moment(|_, c| c * c) - mc * mc, cc),
                (moment(|r, c| r * c) - mr * mc, rc),
            ] {
                assert!(
                    (found - expected).abs() < 0.015 * expected.abs(),
                    "{found} is not {expected}"
                );
            }
            compared += 1;
        }
        assert_eq!(compared, 3);
    }

    #[test]
    fn names_are_parsed_and_printed_alike() {
        for name in [
            "blind",
            "paper:0",
            "paper:5",
            "gaussian:2.5,1.5,0.6",
            "disk:2.8",
            "line:4.8,0.6",
            "some/psf.npy",
        ] {
            assert_eq!(name.parse::<PsfSpec>().unwrap().to_string(), name);
        }
        for name in ["blind", "nikon-d700", "landsat-oli6", "r.mat:R"] {
            assert_eq!(name.parse::<SrfSpec>().unwrap().to_string(), name);
        }
        for name in [
            "",
            "paper:6",
            "paper:-1",
            "paper:x",
            "gaussian:1,2",
            "gaussian:1,2,3,4",
            "gaussian:0,1,0",
            "gaussian:nan,1,0",
            "gaussian:1,inf,0",
            "gaussian:1,a,0",
            "disk:0.4",
            "disk:",
            "disk:1,2",
            "disk:inf",
            "line:3",
            "line:0.9,0",
            "line:3,nan",
        ] {
            let error = name.parse::<PsfSpec>().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{name}");
        }
        assert!("".parse::<SrfSpec>().is_err());
    }

    #[test]
    fn every_named_psf_is_a_kernel_with_sum_one_that_moves() {
        for name in ["paper:5", "gaussian:2.5,1.5,0.6", "disk:2.8", "line:4.8,0.6"] {
            let spec: PsfSpec = name.parse().unwrap();
            let at = |centre| spec.kernel(32, centre).unwrap().unwrap();
            let (still, moved) = (at([0.0, 0.0]), at([2.0, -1.0]));
            assert!((still.sum() - 1.0).abs() < 1e-9, "{name}");
            let (a, b) = (centroid(&still), centroid(&moved));
            // The widest, paper:5, is cut off at three standard deviations: the cut does not move with it.
            assert!(
                (b[0] - a[0] - 2.0).abs() < 0.05 && (b[1] - a[1] + 1.0).abs() < 0.05,
                "{name}: {a:?} {b:?}"
            );
        }
        assert_eq!(PsfSpec::Blind.kernel(8, [0.0; 2]).unwrap(), None);
        let outside = PsfSpec::Disk(1.0).kernel(4, [40.0, 0.0]).unwrap_err();
        assert_eq!(outside.exit_code(), 2);
    }

    #[test]
    fn nikon_on_its_own_grid_is_its_table() {
        let plain = SrfSpec::NikonD700.response(None, 31).unwrap().unwrap();
        let centres: Vec<f64> = (0..31).map(|i| 400.0 + 10.0 * f64::from(i)).collect();
        let named = SrfSpec::NikonD700.response(Some(&centres), 31).unwrap().unwrap();
        assert_eq!(plain, named);
        assert_eq!(plain.dim(), (31, 3));
        // Sums 200, 164 and 209; peaks 30 at 460, 20 at 550 and 22 at 610 nm.
        assert_eq!(plain[[6, 0]], 30.0 / 200.0);
        assert_eq!(plain[[15, 1]], 20.0 / 164.0);
        assert_eq!(plain[[21, 2]], 22.0 / 209.0);
    }

    #[test]
    fn nikon_between_and_outside_its_grid() {
        // Blue is 25 at 450 and 30 at 460: 27.5 half-way; green 1 and 2: 1.5; red needs a band past 560.
        let r = SrfSpec::NikonD700
            .response(Some(&[455.0, 610.0, 1000.0]), 3)
            .unwrap()
            .unwrap();
        assert_eq!(r.column(0).to_vec(), [1.0, 0.0, 0.0]);
        assert_eq!(r.column(1).to_vec(), [0.6, 0.4, 0.0]);
        let far = SrfSpec::NikonD700.response(Some(&[900.0, 910.0]), 2).unwrap_err();
        assert!(far.to_string().contains("900 to 910 nm"), "{far}");
        let unknown = SrfSpec::NikonD700.response(None, 32).unwrap_err();
        assert!(unknown.to_string().contains("32 bands"), "{unknown}");
    }

    #[test]
    fn landsat_weighs_bands_by_their_part_in_the_passband() {
        // Bands of 20 nm: 450 reaches to 460 and lies in blue (452 to 512) from 452, 470 and 490 wholly.
        let centres: Vec<f64> = (0..103).map(|i| 450.0 + 20.0 * f64::from(i)).collect();
        let r = SrfSpec::LandsatOli6
            .response(Some(&centres), 103)
            .unwrap()
            .unwrap();
        assert_eq!(r.dim(), (103, 6));
        let blue: Vec<f64> = r.column(0).iter().take(5).map(|x| x * 60.0).collect();
        for (found, expected) in blue.iter().zip([8.0, 20.0, 20.0, 12.0, 0.0]) {
            assert!((found - expected).abs() < 1e-12);
        }
        for column in r.columns() {
            assert!((column.sum() - 1.0).abs() < 1e-12);
        }
        assert!(SrfSpec::LandsatOli6.response(None, 31).is_err());
    }

    #[test]
    fn matrices_are_checked_and_normalised() {
        let psf = psf_from_matrix(arr2(&[[1.0, 1.0], [2.0, 4.0]]), "k.npy").unwrap();
        assert_eq!(psf[[1, 1]], 0.5);
        let srf = srf_from_matrix(arr2(&[[1.0], [3.0]]), 2, "r.npy").unwrap();
        assert_eq!(srf[[1, 0]], 0.75);
        for (error, word) in [
            (psf_from_matrix(Array2::zeros((2, 3)), "k.npy"), "2 x 3"),
            (psf_from_matrix(Array2::zeros((2, 2)), "k.npy"), "zero"),
            (psf_from_matrix(arr2(&[[f64::NAN]]), "k.npy"), "NaN at row 0"),
            (srf_from_matrix(Array2::ones((2, 31)), 31, "r.npy"), "transpose"),
            (
                srf_from_matrix(arr2(&[[1.0, 0.0], [1.0, 0.0]]), 2, "r.npy"),
                "column 1",
            ),
            (srf_from_matrix(arr2(&[[1.0], [-1.0]]), 2, "r.npy"), "-1 at row 1"),
        ] {
            let error = error.unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
