//! Displacements by Gauss–Newton. The MSI at the displaced LR pixels is regressed on the HSI's components, and the
//! displacement makes what the regression leaves least. The regression is eliminated in every step (variable
//! projection), so that a displacement is never mistaken for a difference of sensors.

use nalgebra::{DMatrix, DVector};

use super::features::{Components, Guide};
use super::freedom::{Freedom, add_bending, bending, functions, moved, numbers};
use super::geometry::{Geometry, Place};
use super::regression::{self, Regression};

/// LR pixels that take part, and what they are compared with.
pub struct Problem<'a> {
    /// The HSI's components.
    pub hsi: &'a Components,
    /// The blurred MSI.
    pub guide: &'a Guide,
    /// LR pixels (row, column) to look at.
    pub pixels: &'a [(usize, usize)],
}

/// The MSI at the LR pixels, one row a pixel that the MSI tells.
struct Table {
    /// Which of the problem's pixels.
    which: Vec<usize>,
    /// 1 and the HSI's components.
    known: DMatrix<f64>,
    value: DMatrix<f64>,
    /// Slopes by a displacement down and across, LR pixels.
    slope: [DMatrix<f64>; 2],
}

/// The logarithm of the density of what has this gain or none, both as likely.
fn as_likely_as_not(gain: f64) -> f64 {
    gain.max(0.0) + (0.5 * (1.0 + (-gain.abs()).exp())).ln()
}

fn centre(&(r, c): &(usize, usize)) -> Place {
    [r as f64 + 0.5, c as f64 + 0.5]
}

impl Problem<'_> {
    fn table(&self, geometry: &Geometry) -> Table {
        let channels = self.guide.channels();
        let sampled: Vec<_> = self
            .pixels
            .iter()
            .enumerate()
            .filter_map(|(k, at)| {
                let by = geometry.displacement.at(centre(at));
                let place = [centre(at)[0] + by[0], centre(at)[1] + by[1]];
                let found = self.guide.at(geometry.base.at(place))?;
                Some((k, found, geometry.base.jacobian(place)))
            })
            .collect();
        let n = sampled.len();
        let slope = |axis: usize| {
            DMatrix::from_fn(n, channels, |i, b| {
                let (_, (_, slope), j) = &sampled[i];
                slope[0][b] * j[0][axis] + slope[1][b] * j[1][axis]
            })
        };
        Table {
            known: DMatrix::from_fn(n, self.hsi.axes() + 1, |i, k| {
                let (r, c) = self.pixels[sampled[i].0];
                if k == 0 {
                    1.0
                } else {
                    self.hsi.samples[[r, c, k - 1]]
                }
            }),
            value: DMatrix::from_fn(n, channels, |i, b| sampled[i].1.0[b]),
            slope: [slope(0), slope(1)],
            which: sampled.iter().map(|s| s.0).collect(),
        }
    }

    /// The regression of the MSI on the HSI at these pixels; with it, the share of the MSI's variance that it leaves.
    pub fn regress(&self, geometry: &Geometry) -> Option<(Regression, f64)> {
        let table = self.table(geometry);
        let regression = Regression::fitted(&table.known, &table.value, None)?;
        let misfit = regression.misfit(&table.value);
        Some((regression, misfit))
    }

    /// How much better than by constants the MSI is told at these pixels, nats. The MSI must tell at least `least` pixels.
    pub fn evidence(&self, geometry: &Geometry, least: usize) -> Option<f64> {
        let table = self.table(geometry);
        if table.which.len() < least {
            return None;
        }
        Some(Regression::fitted(&table.known, &table.value, None)?.evidence(&table.value))
    }

    /// How much better than by constants of its own each of `count` parts of the pixels is told by a regression on the others,
    /// nats; 0 for parts that the MSI hardly reaches. A part may be one that the HSI does not show (a cloud, a change): it is
    /// told by its own constants as likely as not, so that it costs no more than the logarithm of 2. `part[k]` is that of
    /// pixel k.
    pub fn gains(&self, geometry: &Geometry, part: &[usize], count: usize) -> Vec<f64> {
        let table = self.table(geometry);
        let mut gains = vec![0.0; count];
        let Some(whole) = Regression::fitted(&table.known, &table.value, None) else {
            return gains;
        };
        let (numbers, channels) = (table.known.ncols(), table.value.ncols());
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (i, &k) in table.which.iter().enumerate() {
            rows[part[k]].push(i);
        }
        let sides: Vec<_> = rows
            .iter()
            .map(|rows| (table.known.select_rows(rows), table.value.select_rows(rows)))
            .collect();
        let sums: Vec<_> = sides
            .iter()
            .zip(&rows)
            .map(|((known, value), rows)| {
                let mut weighted = known.clone();
                for mut column in weighted.column_iter_mut() {
                    let weights = rows.iter().map(|&i| whole.weight()[i]);
                    column.iter_mut().zip(weights).for_each(|(x, w)| *x *= w);
                }
                (weighted.tr_mul(known), weighted.tr_mul(value))
            })
            .collect();
        let mut normal = DMatrix::zeros(numbers, numbers);
        let mut right = DMatrix::zeros(numbers, channels);
        for (n, r) in &sums {
            normal += n;
            right += r;
        }
        let ridge = DMatrix::identity(numbers, numbers) * (1e-9 * normal.trace() / numbers as f64);
        for ((gain, (known, value)), (n, r)) in gains.iter_mut().zip(&sides).zip(&sums) {
            let size = known.nrows();
            if size < 6 || table.which.len() < size + 2 * numbers {
                continue;
            }
            if let Some(solver) = (&normal - n + &ridge).cholesky() {
                let left = value - known * solver.solve(&(&right - r));
                *gain = as_likely_as_not(regression::gain(value, &left));
            }
        }
        gains
    }

    /// What the MSI costs at these pixels by a regression, less the logarithm of its density: one for each pixel of the
    /// problem, `None` where the MSI does not tell it.
    pub fn costs(&self, geometry: &Geometry, by: &Regression) -> Vec<Option<f64>> {
        let table = self.table(geometry);
        let mut out = vec![None; self.pixels.len()];
        for (&k, cost) in table.which.iter().zip(by.costs(&table.known, &table.value)) {
            out[k] = Some(cost);
        }
        out
    }

    /// The displacement that leaves least, from that of `geometry` on; with it, what its numbers may be off by.
    pub fn fit(&self, geometry: &Geometry, freedom: Freedom) -> Option<Fit> {
        let mut at = geometry.clone();
        let mut best = None;
        let mut damping = 1.0;
        let mut weight: Option<(Vec<usize>, Vec<f64>)> = None;
        for _ in 0..25 {
            let table = self.table(&at);
            // The weights of the step before, where the MSI tells the same pixels.
            let known = weight.take().filter(|(which, _)| *which == table.which);
            let near = known.as_ref().map(|(_, weight)| weight.as_slice());
            let regression = Regression::fitted(&table.known, &table.value, near)?;
            weight = Some((table.which.clone(), regression.weight().to_vec()));
            // Pixels that leave the image must not make a displacement look better.
            let score =
                (regression.evidence(&table.value) - bending(&at, freedom)) / table.which.len() as f64;
            match &best {
                Some((found, _, _, _)) if score <= *found + 1e-9 => {
                    // Half of the step before.
                    damping *= 0.5;
                    let (_, from, step, _): &(f64, Geometry, DVector<f64>, _) = best.as_ref()?;
                    if damping < 0.1 {
                        break;
                    }
                    at = moved(from, freedom, &(step * damping));
                    continue;
                }
                _ => {}
            }
            damping = 1.0;
            let (step, covariance) = self.step(&table, &regression, &at, freedom)?;
            let from = at.clone();
            at = moved(&from, freedom, &step);
            let small = step.iter().all(|x| x.abs() < 1e-5);
            best = Some((score, from, step, covariance));
            if small {
                break;
            }
        }
        let (_, geometry, _, covariance) = best?;
        Some(Fit { geometry, covariance })
    }

    /// The Gauss–Newton step, and the covariance of the numbers.
    fn step(
        &self,
        table: &Table,
        regression: &Regression,
        geometry: &Geometry,
        freedom: Freedom,
    ) -> Option<(DVector<f64>, DMatrix<f64>)> {
        let field = geometry.displacement.field.as_ref();
        let count = numbers(geometry, freedom);
        let (mut normal, mut right) = (DMatrix::zeros(count, count), DVector::zeros(count));
        let basis: Vec<Vec<(usize, usize, f64)>> = table
            .which
            .iter()
            .map(|&k| functions(&geometry.displacement, field, freedom, centre(&self.pixels[k])))
            .collect();
        for (b, scale) in regression.scale().iter().enumerate() {
            let mut across = DMatrix::zeros(count, table.known.ncols());
            for (i, functions) in basis.iter().enumerate() {
                let slope = [table.slope[0][(i, b)], table.slope[1][(i, b)]];
                let weight = regression.weight()[i] / scale;
                let left = regression.left[(i, b)];
                for &(p, axis, x) in functions {
                    let jp = weight * slope[axis] * x;
                    right[p] -= jp * left;
                    for k in 0..across.ncols() {
                        across[(p, k)] += jp * table.known[(i, k)];
                    }
                    for &(q, other, y) in functions {
                        if q <= p {
                            normal[(p, q)] += jp * slope[other] * y;
                        }
                    }
                }
            }
            // What the regression takes over.
            let solved = regression.normal.solve(&across.transpose());
            let taken = &across * solved;
            for p in 0..count {
                for q in 0..=p {
                    normal[(p, q)] -= *scale * taken[(p, q)];
                }
            }
        }
        add_bending(geometry, freedom, &mut normal, &mut right);
        let largest = (0..count).map(|k| normal[(k, k)]).fold(0.0, f64::max);
        for p in 0..count {
            normal[(p, p)] += 1e-9 * largest + f64::MIN_POSITIVE;
            for q in 0..p {
                normal[(q, p)] = normal[(p, q)];
            }
        }
        let solver = normal.cholesky()?;
        let step = solver.solve(&right);
        let covariance = match freedom {
            Freedom::Local { .. } => DMatrix::zeros(0, 0),
            _ => solver.inverse(),
        };
        step.iter().all(|x| x.is_finite()).then_some((step, covariance))
    }
}

/// A displacement that was fitted.
pub struct Fit {
    /// With the displacement.
    pub geometry: Geometry,
    /// Of the numbers of a shift (2) or an affine displacement (6: shift; rows by row and column; columns likewise, each
    /// over half the HSI); empty of a local one.
    pub covariance: DMatrix<f64>,
}
