//! The response of a multispectral sensor as curves over wavelength, and what becomes of it on the bands of a
//! hyperspectral image.
//!
//! An MSI band j weighs the radiance L(λ) by its response r_j, an HSI band i by b_i: y_j = ∫ r_j L / ∫ r_j and x_i = ∫ b_i L with
//! ∫ b_i = 1. The response on the image's bands, with y_j ≈ Σ_i R_ij x_i, is taken as
//!
//! R_ij ∝ w_i ∫ r_j(λ) b_i(λ) dλ, every column divided by its sum,
//!
//! where w_i is the length of the axis that band i stands for: half-way to each neighbour, but on no side more than the median
//! distance of neighbours, so that no band stands for a gap (water absorption). b_i is a Gaussian about the band's centre
//! with the image's FWHM; without FWHM it is the rectangle of length w_i. A curve that is tabulated no finer than the
//! band is wide says nothing within it, and is taken at the centre.

use ndarray::Array2;
use serde::Deserialize;

use crate::cube::Metadata;
use crate::error::{Error, Result};

/// Part of a band's response that the image's bands must reach over.
const LEAST_COVERED: f64 = 0.8;
/// Points of the quadratures: over a Gaussian from −4 to 4 standard deviations, 0.02 of them apart, the error is far
/// below that of any table.
const NODES: usize = 400;

/// A response over wavelength (nm), in any unit.
#[derive(Debug, Clone, PartialEq)]
pub enum Curve {
    /// 1 between two wavelengths, else 0.
    Passband(f64, f64),
    /// Straight lines between points (wavelength, response), wavelengths ascending; 0 outside.
    Points(Vec<(f64, f64)>),
}

/// One band of a sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// Its name.
    pub name: String,
    /// Its response.
    pub curve: Curve,
    /// Whether it is meant only where it is named, and not by the sensor's name alone (panchromatic, cirrus).
    pub named_only: bool,
}

/// Where the figures of a sensor come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The instrument's measured response.
    Measured,
    /// Published band limits, taken for rectangles.
    Limits,
    /// A table of the literature whose making is not known.
    Table,
}

impl Origin {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Origin::Measured => "measured response",
            Origin::Limits => "from band limits",
            Origin::Table => "table of the literature",
        }
    }
}

/// What is known of a sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    /// Its full name.
    pub title: String,
    /// Who published the figures.
    pub source: String,
    /// What kind of figures they are.
    pub origin: Origin,
    /// Whether an image without wavelengths that has as many bands as the table has rows is taken to be on its grid.
    pub own_grid: bool,
    /// Its bands, by wavelength or in the maker's order.
    pub bands: Vec<Band>,
}

/// A sensor's file in assets/srf.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SensorFile {
    title: String,
    source: String,
    kind: Origin,
    #[serde(default)]
    own_grid: bool,
    band: Vec<BandFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BandFile {
    name: String,
    #[serde(default)]
    named_only: bool,
    limits: Option<(f64, f64)>,
    first: Option<f64>,
    step: Option<f64>,
    response: Option<Vec<f64>>,
}

impl Sensor {
    /// Reads a file of assets/srf.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn parse(text: &str) -> std::result::Result<Sensor, String> {
        let file: SensorFile = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let band = |band: BandFile| {
            let curve = match (band.limits, band.first, band.step, band.response) {
                (Some((low, high)), None, None, None) if low < high => Curve::Passband(low, high),
                (None, Some(first), Some(step), Some(response)) if step > 0.0 && response.len() > 1 => {
                    Curve::Points(
                        response
                            .iter()
                            .enumerate()
                            .map(|(k, &r)| (first + step * k as f64, r))
                            .collect(),
                    )
                }
                _ => return Err(format!("band {}: limits, or first, step and response", band.name)),
            };
            Ok(Band {
                name: band.name,
                curve,
                named_only: band.named_only,
            })
        };
        Ok(Sensor {
            title: file.title,
            source: file.source,
            origin: file.kind,
            own_grid: file.own_grid,
            bands: file
                .band
                .into_iter()
                .map(band)
                .collect::<std::result::Result<_, _>>()?,
        })
    }

    /// The bands with these names, in their order; those that the sensor's name alone means where there are none.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that it has not; `sensor` is its own name for the message.
    pub fn named(&self, names: &[String], sensor: &str) -> Result<Vec<&Band>> {
        if names.is_empty() {
            return Ok(self.bands.iter().filter(|b| !b.named_only).collect());
        }
        let find = |name: &String| {
            let found = self.bands.iter().find(|b| b.name.eq_ignore_ascii_case(name));
            found.ok_or_else(|| {
                let all: Vec<&str> = self.bands.iter().map(|b| b.name.as_str()).collect();
                Error::input(format!(
                    "{sensor} has no band '{name}'; it has {}",
                    all.join(", ")
                ))
            })
        };
        names.iter().map(find).collect()
    }

    /// The grid of its table, of the first band.
    fn grid(&self) -> Vec<f64> {
        match self.bands.first().map(|b| &b.curve) {
            Some(Curve::Points(points)) => points.iter().map(|p| p.0).collect(),
            _ => Vec::new(),
        }
    }
}

impl Curve {
    /// Straight lines between points, less the zeros before the last one ahead of the response and after the first one
    /// behind it.
    pub fn through(points: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut points: Vec<(f64, f64)> = points.collect();
        let first = points.iter().position(|p| p.1 != 0.0).unwrap_or(0);
        let last = points.iter().rposition(|p| p.1 != 0.0).unwrap_or(0);
        points.truncate(last + 2);
        points.drain(..first.saturating_sub(1));
        Curve::Points(points)
    }

    /// First and last wavelength of the response (nm).
    pub fn range(&self) -> (f64, f64) {
        match self {
            Curve::Passband(low, high) => (*low, *high),
            Curve::Points(points) => (
                points.first().map_or(f64::NAN, |p| p.0),
                points.last().map_or(f64::NAN, |p| p.0),
            ),
        }
    }

    /// The response at a wavelength (nm).
    pub fn at(&self, wavelength: f64) -> f64 {
        match self {
            Curve::Passband(low, high) => f64::from(u8::from((*low..=*high).contains(&wavelength))),
            Curve::Points(points) => {
                let after = points.partition_point(|p| p.0 <= wavelength);
                match (
                    after.checked_sub(1).and_then(|k| points.get(k)),
                    points.get(after),
                ) {
                    (Some(a), Some(b)) => {
                        let t = (wavelength - a.0) / (b.0 - a.0);
                        a.1 * (1.0 - t) + b.1 * t
                    }
                    // The last point itself.
                    (Some(a), None) if a.0 == wavelength => a.1,
                    _ => 0.0,
                }
            }
        }
    }

    /// Widest distance of points where there is a response; 0 for a rectangle, whose edges are sharp.
    fn step(&self) -> f64 {
        match self {
            Curve::Passband(..) => 0.0,
            Curve::Points(points) => points
                .windows(2)
                .filter(|p| p[0].1 != 0.0 || p[1].1 != 0.0)
                .map(|p| p[1].0 - p[0].0)
                .fold(0.0, f64::max),
        }
    }

    /// Wavelengths where the response is half its largest (nm): the first and the last of them.
    pub fn half_power(&self) -> (f64, f64) {
        let Curve::Points(points) = self else {
            return self.range();
        };
        let half = 0.5 * points.iter().map(|p| p.1).fold(0.0, f64::max);
        let crossing = |a: &(f64, f64), b: &(f64, f64)| a.0 + (half - a.1) / (b.1 - a.1) * (b.0 - a.0);
        let (low, high) = self.range();
        let up = points.windows(2).find(|p| p[0].1 < half && p[1].1 >= half);
        let down = points.windows(2).rev().find(|p| p[0].1 >= half && p[1].1 < half);
        (
            up.map_or(low, |p| crossing(&p[0], &p[1])),
            down.map_or(high, |p| crossing(&p[0], &p[1])),
        )
    }
}

/// One band of an image.
struct Cell {
    centre: f64,
    /// Wavelengths that it stands for.
    from: f64,
    to: f64,
    fwhm: Option<f64>,
}

impl Cell {
    fn width(&self) -> f64 {
        self.to - self.from
    }

    /// w ∫ r b.
    fn weight(&self, curve: &Curve) -> f64 {
        let width = self.fwhm.unwrap_or(self.width());
        // A rounding error must not decide.
        if curve.step() >= width * (1.0 - 1e-9) {
            return self.width() * curve.at(self.centre);
        }
        match (self.fwhm, curve) {
            (None, Curve::Passband(low, high)) => (self.to.min(*high) - self.from.max(*low)).max(0.0),
            (None, _) => {
                let step = self.width() / NODES as f64;
                (0..NODES)
                    .map(|k| step * curve.at(self.from + (k as f64 + 0.5) * step))
                    .sum()
            }
            (Some(fwhm), _) => {
                // FWHM = 2 √(2 ln 2) σ.
                let sigma = fwhm / (8.0 * std::f64::consts::LN_2).sqrt();
                let (mut sum, mut all) = (0.0, 0.0);
                for k in 0..NODES {
                    let z = -4.0 + 8.0 * (k as f64 + 0.5) / NODES as f64;
                    let gaussian = (-0.5 * z * z).exp();
                    sum += gaussian * curve.at(self.centre + z * sigma);
                    all += gaussian;
                }
                self.width() * sum / all
            }
        }
    }
}

/// What each band of an image stands for.
fn cells(centres: &[f64], fwhm: Option<&[f64]>) -> Vec<Cell> {
    let mut order: Vec<usize> = (0..centres.len()).collect();
    order.sort_by(|&a, &b| centres[a].total_cmp(&centres[b]));
    let mut distances: Vec<f64> = order.windows(2).map(|p| centres[p[1]] - centres[p[0]]).collect();
    distances.sort_by(f64::total_cmp);
    let median = distances.get(distances.len() / 2).copied().unwrap_or(0.0);
    let mut cells: Vec<Option<Cell>> = centres.iter().map(|_| None).collect();
    for (k, &i) in order.iter().enumerate() {
        let half_to = |n: Option<&usize>| n.map(|&n| (0.5 * (centres[n] - centres[i]).abs()).min(median));
        let below = half_to(k.checked_sub(1).and_then(|p| order.get(p)));
        let above = half_to(order.get(k + 1));
        // The outermost bands reach as far out as in.
        let (below, above) = (
            below.or(above).unwrap_or_default(),
            above.or(below).unwrap_or_default(),
        );
        cells[i] = Some(Cell {
            centre: centres[i],
            from: centres[i] - below,
            to: centres[i] + above,
            fwhm: fwhm.map(|f| f[i]),
        });
    }
    cells.into_iter().flatten().collect()
}

/// The part of a response that lies within the cells.
fn covered(curve: &Curve, cells: &[Cell]) -> f64 {
    let (low, high) = curve.range();
    let (mut inside, mut all) = (0.0, 0.0);
    for k in 0..NODES {
        let wavelength = low + (high - low) * (k as f64 + 0.5) / NODES as f64;
        let r = curve.at(wavelength);
        all += r;
        if cells.iter().any(|c| (c.from..=c.to).contains(&wavelength)) {
            inside += r;
        }
    }
    if all > 0.0 { inside / all } else { 0.0 }
}

/// The response of `bands` (B×b, columns sum to 1) on an image of `count` bands with these metadata. `name` is the
/// sensor's for messages; `sensor` the one that the bands are of, where that is a known one.
///
/// # Errors
/// [`Error::Input`] if the image has no wavelengths, or does not reach over one of the sensor's bands.
pub fn resample(
    bands: &[&Band],
    metadata: &Metadata,
    count: usize,
    name: &str,
    sensor: Option<&Sensor>,
) -> Result<Array2<f64>> {
    let grid = sensor
        .filter(|s| s.own_grid)
        .map(Sensor::grid)
        .unwrap_or_default();
    let usable = |list: &&Vec<f64>| list.len() == count && list.iter().all(|x| x.is_finite());
    let centres = match &metadata.wavelengths {
        Some(w) if usable(&w) => w.clone(),
        None if grid.len() == count => grid,
        _ => {
            let hint = match (grid.first(), grid.last()) {
                (Some(first), Some(last)) => {
                    format!(
                        " (only {} bands are taken to be {first} to {last} nm)",
                        grid.len()
                    )
                }
                _ => String::new(),
            };
            return Err(Error::input(format!(
                "SRF {name} needs the wavelength of each of the {count} bands and the image has none{hint}; give the response as a {count} x b file"
            )));
        }
    };
    let fwhm = metadata
        .fwhm
        .as_ref()
        .filter(usable)
        .filter(|f| f.iter().all(|&x| x > 0.0));
    let cells = cells(&centres, fwhm.map(Vec::as_slice));
    let mut response = Array2::zeros((count, bands.len()));
    for (band, mut column) in bands.iter().zip(response.columns_mut()) {
        for (to, cell) in column.iter_mut().zip(&cells) {
            *to = cell.weight(&band.curve);
        }
        let (share, sum) = (covered(&band.curve, &cells), column.sum());
        if share < LEAST_COVERED || sum <= 0.0 {
            let low = cells.iter().map(|c| c.from).fold(f64::INFINITY, f64::min);
            let high = cells.iter().map(|c| c.to).fold(f64::NEG_INFINITY, f64::max);
            let (from, to) = band.curve.half_power();
            return Err(Error::input(format!(
                "SRF {name}: the bands of the image, {low:.0} to {high:.0} nm, cover {:.0} % of the sensor's band {} ({from:.0} to {to:.0} nm); leave that band out of the MSI with the setting msi-bands, or name the sensor's bands that the MSI has as in sentinel-2a:B2,B3",
                100.0 * share,
                band.name
            )));
        }
        column /= sum;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(centres: Vec<f64>, fwhm: Option<f64>) -> Metadata {
        Metadata {
            fwhm: fwhm.map(|f| vec![f; centres.len()]),
            wavelengths: Some(centres),
            ..Metadata::default()
        }
    }

    fn band(curve: Curve) -> Band {
        Band {
            name: "B".to_owned(),
            curve,
            named_only: false,
        }
    }

    fn column(curve: Curve, image: &Metadata) -> Vec<f64> {
        let count = image.wavelengths.as_ref().unwrap().len();
        let response = resample(&[&band(curve)], image, count, "x", None).unwrap();
        response.column(0).to_vec()
    }

    #[test]
    fn rectangles_weigh_rectangles_by_what_they_share() {
        let centres = (0..10).map(|i| 450.0 + 20.0 * f64::from(i)).collect();
        let found = column(Curve::Passband(452.0, 512.0), &image(centres, None));
        let expected = [8.0, 20.0, 20.0, 12.0, 0.0].map(|x| x / 60.0);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12);
        }
    }

    /// A Gaussian seen by a Gaussian is a Gaussian of the sum of their variances, at the distance of their centres.
    #[test]
    fn gaussians_add_their_variances() {
        let (centre, sigma, fwhm) = (550.0, 20.0, 30.0);
        let curve = Curve::Points(
            (0..=400)
                .map(|k| 450.0 + 0.5 * f64::from(k))
                .map(|l| (l, (-0.5 * ((l - centre) / sigma).powi(2)).exp()))
                .collect(),
        );
        let centres: Vec<f64> = (0..41).map(|i| 450.0 + 5.0 * f64::from(i)).collect();
        let found = column(curve, &image(centres.clone(), Some(fwhm)));
        let variance = sigma * sigma + fwhm * fwhm / (8.0 * std::f64::consts::LN_2);
        let gaussian: Vec<f64> = centres
            .iter()
            .map(|l| (-0.5 * (l - centre).powi(2) / variance).exp())
            .collect();
        let sum: f64 = gaussian.iter().sum();
        for (found, expected) in found.iter().zip(&gaussian) {
            // The curve ends at five standard deviations, the band at four: 1e-4 of the peak between them.
            assert!(
                (found - expected / sum).abs() < 2e-4 * 1.0 / sum,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn a_flat_scene_has_the_same_value_whatever_the_spacing() {
        // Twice as many bands in the upper half, in no order: each then stands for half as much of the axis.
        let mut centres: Vec<f64> = (0..10).map(|i| 400.0 + 20.0 * f64::from(i)).collect();
        centres.extend((0..20).map(|i| 595.0 + 10.0 * f64::from(i)));
        centres.reverse();
        let found = column(Curve::Passband(500.0, 700.0), &image(centres.clone(), Some(12.0)));
        let mean: f64 = found.iter().zip(&centres).map(|(w, l)| w * l).sum();
        // The mean of the passband; bands weighed alike would give about 625.
        assert!((mean - 600.0).abs() < 2.0, "{mean}");
    }

    #[test]
    fn a_gap_is_not_bridged_and_a_band_outside_is_refused_by_name() {
        let with_gap = image(
            (0..20)
                .map(|i| 400.0 + 10.0 * f64::from(i + 10 * (i / 10)))
                .collect(),
            None,
        );
        let refuse = |curve| {
            let error = resample(&[&band(curve)], &with_gap, 20, "x", None).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        // The bands end at 490 and go on at 600: to 500 and from 590 they stand for the gap.
        let gap = refuse(Curve::Passband(510.0, 580.0));
        assert!(
            gap.contains("0 % of the sensor's band B (510 to 580 nm)")
                && gap.contains("the setting msi-bands"),
            "{gap}"
        );
        assert!(refuse(Curve::Passband(600.0, 1000.0)).contains("395 to 695 nm"));
        column(Curve::Passband(450.0, 500.0), &with_gap);
    }

    #[test]
    fn half_power_of_a_curve() {
        let curve = Curve::Points(vec![(10.0, 0.0), (20.0, 2.0), (30.0, 1.0), (40.0, 0.0)]);
        assert_eq!(curve.half_power(), (15.0, 30.0));
        assert_eq!((curve.at(25.0), curve.at(40.0), curve.at(41.0)), (1.5, 0.0, 0.0));
    }
}
