//! Shifts by exhaustive search: how well the HSI tells the MSI at every shift by half a pixel at which they overlap.
//!
//! Differences of neighbouring pixels are compared, not the pixels: large bright and dark areas resemble each other
//! at any shift, edges only at the right one. The MSI is regressed on the HSI's components over the overlap of each
//! shift; all the sums that this takes are correlations, so fast Fourier transforms give them for all shifts at once.

use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, Array3, s};
use rayon::prelude::*;
use rustfft::num_complex::Complex;

use super::features::{Components, Guide};
use super::geometry::{Geometry, Place};
use crate::cube::fourier::{Fourier, Plane, quick};

/// How closely a search looks. Cost grows with the square of the components, and in proportion to the rest.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Components of the HSI that are used, at most.
    components: usize,
    /// Channels of the MSI that are used, at most.
    channels: usize,
    /// Parts of a pixel by which the lattice of shifts is moved, down and across.
    phases: &'static [[f64; 2]],
}

/// For the shift of a geometry that is known otherwise.
pub const FULL: Effort = Effort {
    components: 6,
    channels: 4,
    phases: &[[0.0, 0.0], [0.0, 0.5], [0.5, 0.0], [0.5, 0.5]],
};

/// For many geometries, most of them wrong.
pub const QUICK: Effort = Effort {
    components: 3,
    channels: 2,
    phases: &[[0.0, 0.0], [0.5, 0.5]],
};

/// Differences that count in full, in units of their mean size.
const LARGEST: f64 = 4.0;

/// A shift that is better than its neighbours.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Down and across, LR pixels.
    pub shift: Place,
    /// Sum over channels of ½ n log(total / left), n counting LR pixels.
    pub evidence: f64,
}

type Spectrum = Plane<f64>;

/// Two-dimensional transforms of one size, of images and zeros behind and below them.
struct Transforms {
    size: [usize; 2],
    fourier: Fourier<f64>,
}

impl Transforms {
    fn new(size: [usize; 2]) -> Self {
        Transforms {
            size,
            fourier: Fourier::new(size[0], size[1]),
        }
    }

    /// The spectrum of an image in the first corner of a plane of zeros.
    fn forward(&self, image: &Array2<f64>) -> Spectrum {
        let mut plane = vec![Complex::default(); self.size[0] * self.size[1]];
        for ((r, c), &x) in image.indexed_iter() {
            plane[r * self.size[1] + c].re = x;
        }
        self.fourier.forward(&mut plane);
        plane
    }

    /// Sums of products over all shifts; a shift of −1 is the last row (column).
    fn correlation(&self, pairs: &[(&Spectrum, &Spectrum)]) -> Vec<f64> {
        let n = self.size[0] * self.size[1];
        let mut plane: Spectrum = (0..n)
            .map(|i| pairs.iter().map(|(a, b)| a[i].conj() * b[i]).sum())
            .collect();
        self.fourier.inverse(&mut plane);
        plane.into_iter().map(|z| z.re).collect()
    }
}

/// Differences of neighbours down (0) and across (1), the largest held, and where both neighbours are valid.
fn differences(image: &Array3<f64>, valid: &Array2<bool>, axis: usize) -> (Vec<Array2<f64>>, Array2<f64>) {
    let (rows, columns, bands) = image.dim();
    let next = |(r, c): (usize, usize)| if axis == 0 { (r + 1, c) } else { (r, c + 1) };
    let mask = Array2::from_shape_fn((rows, columns), |at| {
        let (r, c) = next(at);
        f64::from(u8::from(r < rows && c < columns && valid[at] && valid[[r, c]]))
    });
    let count = mask.sum().max(1.0);
    let band = |b: usize| {
        let mut differences = Array2::from_shape_fn((rows, columns), |at| {
            if mask[at] > 0.0 {
                let (r, c) = next(at);
                image[[r, c, b]] - image[[at.0, at.1, b]]
            } else {
                0.0
            }
        });
        // The edge of a cloud or a dead detector must not outdo all others.
        let most = LARGEST * differences.iter().map(|d| d.abs()).sum::<f64>() / count;
        differences.mapv_inplace(|d| d.clamp(-most, most));
        differences
    };
    ((0..bands).map(band).collect(), mask)
}

/// Spectra of differences along one axis: of the mask, of single images, of products.
struct Side {
    mask: Spectrum,
    single: Vec<Spectrum>,
    products: Vec<Spectrum>,
}

impl Side {
    fn new(
        fft: &Transforms,
        image: &Array3<f64>,
        valid: &Array2<bool>,
        axis: usize,
        pairs: &[(usize, usize)],
    ) -> Self {
        let (bands, mask) = differences(image, valid, axis);
        Side {
            mask: fft.forward(&mask),
            single: bands.par_iter().map(|b| fft.forward(b)).collect(),
            products: pairs
                .par_iter()
                .map(|&(i, j)| fft.forward(&(&bands[i] * &bands[j])))
                .collect(),
        }
    }
}

/// What is searched.
pub struct Search<'a> {
    /// Pixels of `factor` × `factor` LR pixels.
    pub hsi: &'a Components,
    /// How many LR pixels a pixel of `hsi` is, down and across.
    pub factor: usize,
    /// The MSI, blurred to such pixels.
    pub guide: &'a Guide,
    /// Where LR pixels lie in it without a shift.
    pub geometry: &'a Geometry,
    /// Rows and columns of the MSI.
    pub size: [usize; 2],
    /// How closely to look.
    pub effort: Effort,
}

/// The shifts that stand out, best first, at most `most`. Overlaps of less than `least` pixels of the search's HSI do not
/// count.
pub fn search(what: &Search, least: usize, most: usize) -> Vec<Candidate> {
    let Search {
        hsi,
        factor,
        guide,
        geometry,
        size,
        effort,
    } = *what;
    let [rows, columns] = hsi.size();
    let Some(reach) = reached(geometry, size, factor, [rows, columns]) else {
        return Vec::new();
    };
    let lattice = [0, 1].map(|k| (reach[k].1 - reach[k].0).max(1) as usize);
    let fft = Transforms::new([lattice[0] + rows, lattice[1] + columns].map(quick));
    let components = hsi.axes().min(effort.components);
    let pairs: Vec<(usize, usize)> = (0..components)
        .flat_map(|i| (0..=i).map(move |j| (i, j)))
        .collect();
    let image = hsi.samples.slice(s![.., .., ..components]).to_owned();
    let known = [0, 1].map(|axis| Side::new(&fft, &image, &hsi.valid, axis, &pairs));
    let channels = guide.channels().min(effort.channels);
    let squares: Vec<(usize, usize)> = (0..channels).map(|b| (b, b)).collect();
    let mut found: Vec<Candidate> = Vec::new();
    let mut scores = Array2::from_elem((2 * fft.size[0], 2 * fft.size[1]), f64::NEG_INFINITY);
    for phase in effort.phases {
        let mut values = Array3::zeros((lattice[0], lattice[1], channels));
        let mut valid = Array2::from_elem((lattice[0], lattice[1]), false);
        for ((r, c), ok) in valid.indexed_iter_mut() {
            let place = [
                (reach[0].0 as f64 + r as f64 + 0.5 + phase[0]) * factor as f64,
                (reach[1].0 as f64 + c as f64 + 0.5 + phase[1]) * factor as f64,
            ];
            if let Some((value, _)) = guide.at(geometry.base.at(place)) {
                *ok = true;
                for b in 0..channels {
                    values[[r, c, b]] = value[b];
                }
            }
        }
        let seen = [0, 1].map(|axis| Side::new(&fft, &values, &valid, axis, &squares));
        let count = fft.correlation(&[0, 1].map(|a| (&known[a].mask, &seen[a].mask)));
        let grams: Vec<Vec<f64>> = (0..pairs.len())
            .into_par_iter()
            .map(|k| fft.correlation(&[0, 1].map(|a| (&known[a].products[k], &seen[a].mask))))
            .collect();
        let cross: Vec<Vec<f64>> = (0..components * channels)
            .into_par_iter()
            .map(|k| {
                let (i, b) = (k / channels, k % channels);
                fft.correlation(&[0, 1].map(|a| (&known[a].single[i], &seen[a].single[b])))
            })
            .collect();
        let energy: Vec<Vec<f64>> = (0..channels)
            .into_par_iter()
            .map(|b| fft.correlation(&[0, 1].map(|a| (&known[a].mask, &seen[a].products[b]))))
            .collect();
        let evidence: Vec<f64> = (0..count.len())
            .into_par_iter()
            .map(|at| {
                let n = 0.5 * count[at];
                if n < least as f64 {
                    return f64::NEG_INFINITY;
                }
                let mut gram = DMatrix::zeros(components, components);
                for (k, &(i, j)) in pairs.iter().enumerate() {
                    gram[(i, j)] = grams[k][at];
                    gram[(j, i)] = grams[k][at];
                }
                let ridge = 1e-8 * gram.trace().max(f64::MIN_POSITIVE);
                (0..components).for_each(|k| gram[(k, k)] += ridge);
                let Some(solver) = gram.cholesky() else {
                    return f64::NEG_INFINITY;
                };
                (0..channels)
                    .map(|b| {
                        let right = DVector::from_fn(components, |i, _| cross[i * channels + b][at]);
                        let all = energy[b][at].max(1e-12 * n);
                        let left = (all - right.dot(&solver.solve(&right))).max(1e-6 * all);
                        let freedom = (n - components as f64) / n;
                        0.5 * n * (all * freedom / left).ln()
                    })
                    .sum()
            })
            .collect();
        for (at, &e) in evidence.iter().enumerate() {
            let (r, c) = (at / fft.size[1], at % fft.size[1]);
            scores[[
                2 * r + (2.0 * phase[0]) as usize,
                2 * c + (2.0 * phase[1]) as usize,
            ]] = e;
        }
    }
    let (height, width) = scores.dim();
    for ((r, c), &evidence) in scores.indexed_iter() {
        if evidence == f64::NEG_INFINITY {
            continue;
        }
        let neighbours = (0..9)
            .filter(|&k| k != 4)
            .map(|k| scores[[(r + height + k / 3 - 1) % height, (c + width + k % 3 - 1) % width]]);
        if neighbours.into_iter().all(|n| evidence >= n) {
            let shift = [(r, 0), (c, 1)].map(|(at, k)| {
                let wrapped = if at >= 2 * lattice[k] {
                    at as f64 - 2.0 * fft.size[k] as f64
                } else {
                    at as f64
                };
                (0.5 * wrapped + reach[k].0 as f64) * factor as f64
            });
            found.push(Candidate { shift, evidence });
        }
    }
    found.sort_by(|a, b| b.evidence.total_cmp(&a.evidence));
    found.truncate(most);
    found
}

/// First and last (exclusive) row and column of the HSI's coarse lattice that the MSI reaches, no further than its own
/// size beyond it.
fn reached(
    geometry: &Geometry,
    size: [usize; 2],
    factor: usize,
    coarse: [usize; 2],
) -> Option<[(isize, isize); 2]> {
    let [rows, columns] = size.map(|n| n as f64);
    let middle = geometry.displacement.centre;
    let mut reach = [(f64::INFINITY, f64::NEG_INFINITY); 2];
    for corner in [[0.0, 0.0], [rows, 0.0], [0.0, columns], [rows, columns]] {
        let place = geometry.inverse(corner, middle)?;
        for k in 0..2 {
            reach[k].0 = reach[k].0.min(place[k]);
            reach[k].1 = reach[k].1.max(place[k]);
        }
    }
    Some([0, 1].map(|k| {
        let own = coarse[k] as isize;
        let first = (reach[k].0 / factor as f64).floor().max(-own as f64) as isize;
        let end = (reach[k].1 / factor as f64).ceil().min(2.0 * own as f64) as isize;
        (first, end.max(first))
    }))
}
