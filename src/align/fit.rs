//! Displacements by Gauss–Newton. The MSI at the displaced LR pixels is regressed on the HSI's components, and the
//! displacement makes what the regression leaves least. The regression is eliminated in every step (variable
//! projection), so that a displacement is never mistaken for a difference of sensors.

use nalgebra::{DMatrix, DVector};

use super::features::{Components, Guide};
use super::geometry::{Displacement, Field, Geometry, Place};

/// LR pixels that take part, and what they are compared with.
pub struct Problem<'a> {
    /// The HSI's components.
    pub hsi: &'a Components,
    /// The blurred MSI.
    pub guide: &'a Guide,
    /// LR pixels (row, column) to look at.
    pub pixels: &'a [(usize, usize)],
}

/// Numbers that a fit may change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Freedom {
    /// Two of a shift.
    Shift,
    /// Six: shift, and displacement by row and column.
    Affine,
    /// Those and the nodes of the field, whose bending costs this much (in units of the evidence).
    Local(f64),
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

    /// The regression of the MSI on the HSI at these pixels.
    pub fn regress(&self, geometry: &Geometry) -> Option<Regression> {
        Regression::of(&self.table(geometry))
    }

    /// How much better than its mean the MSI is told at these pixels: sum over channels of ½ n log(total / left), for
    /// unbiased variances; nats. The MSI must tell at least `least` pixels.
    pub fn evidence(&self, geometry: &Geometry, least: usize) -> Option<f64> {
        let table = self.table(geometry);
        if table.which.len() < least {
            return None;
        }
        Regression::of(&table).map(|r| r.evidence())
    }

    /// How much better than its own mean each of `count` parts of the pixels is told by a regression on the others: ½ n log
    /// (total / left) summed over channels; nats, 0 for parts that the MSI hardly reaches. `part[k]` is that of pixel k.
    pub fn gains(&self, geometry: &Geometry, part: &[usize], count: usize) -> Vec<f64> {
        let table = self.table(geometry);
        let (known, channels) = (table.known.ncols(), table.value.ncols());
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (i, &k) in table.which.iter().enumerate() {
            rows[part[k]].push(i);
        }
        let sides: Vec<_> = rows
            .iter()
            .map(|rows| (table.known.select_rows(rows), table.value.select_rows(rows)))
            .collect();
        let sums: Vec<_> = sides.iter().map(|(u, y)| (u.tr_mul(u), u.tr_mul(y))).collect();
        let mut normal = DMatrix::zeros(known, known);
        let mut right = DMatrix::zeros(known, channels);
        for (n, r) in &sums {
            normal += n;
            right += r;
        }
        let ridge = DMatrix::identity(known, known) * (1e-9 * normal.trace() / known as f64);
        type Two = (DMatrix<f64>, DMatrix<f64>);
        let gain = |((u, y), (n, r)): (&Two, &Two)| {
            let size = u.nrows();
            if size < 6 || table.which.len() < size + 2 * known {
                return 0.0;
            }
            let Some(solver) = (&normal - n + &ridge).cholesky() else {
                return 0.0;
            };
            let left = y - u * solver.solve(&(&right - r));
            let gain = |b: usize| {
                let mean = y.column(b).mean();
                let all: f64 = y.column(b).iter().map(|x| (x - mean).powi(2)).sum();
                (all.max(1e-30) / left.column(b).norm_squared().max(1e-8 * all).max(1e-30)).ln()
            };
            0.5 * size as f64 * (0..channels).map(gain).sum::<f64>()
        };
        sides.iter().zip(&sums).map(gain).collect()
    }

    /// Errors of a regression at these pixels, in units of its own deviations: half the sum of squares over channels, one
    /// for each pixel of the problem, `None` where the MSI does not tell it.
    pub fn errors(&self, geometry: &Geometry, by: &Regression) -> Vec<Option<f64>> {
        let table = self.table(geometry);
        let left = &table.value - &table.known * &by.coefficients;
        let mut out = vec![None; self.pixels.len()];
        for (i, &k) in table.which.iter().enumerate() {
            let sum = (0..left.ncols())
                .map(|b| left[(i, b)].powi(2) / by.variance[b])
                .sum::<f64>();
            out[k] = Some(0.5 * sum);
        }
        out
    }

    /// The displacement that leaves least, from that of `geometry` on; with it, what its numbers may be off by.
    pub fn fit(&self, geometry: &Geometry, freedom: Freedom) -> Option<Fit> {
        let mut at = geometry.clone();
        let mut best = None;
        let mut damping = 1.0;
        for _ in 0..25 {
            let table = self.table(&at);
            let regression = Regression::of(&table)?;
            // Pixels that leave the image must not make a displacement look better.
            let score = regression.evidence() / table.which.len() as f64
                - bending(&at, freedom) / table.which.len() as f64;
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
        for b in 0..table.value.ncols() {
            let weight = 1.0 / regression.variance[b];
            let mut across = DMatrix::zeros(count, table.known.ncols());
            for (i, functions) in basis.iter().enumerate() {
                let slope = [table.slope[0][(i, b)], table.slope[1][(i, b)]];
                let left = regression.left[(i, b)];
                for &(p, axis, x) in functions {
                    let jp = slope[axis] * x;
                    right[p] -= weight * jp * left;
                    for k in 0..across.ncols() {
                        across[(p, k)] += jp * table.known[(i, k)];
                    }
                    for &(q, other, y) in functions {
                        if q <= p {
                            normal[(p, q)] += weight * jp * slope[other] * y;
                        }
                    }
                }
            }
            // What the regression takes over.
            let solved = regression.normal.solve(&across.transpose());
            let taken = &across * solved;
            for p in 0..count {
                for q in 0..=p {
                    normal[(p, q)] -= weight * taken[(p, q)];
                }
            }
        }
        if let (Freedom::Local(weight), Some(field)) = (freedom, field) {
            for (axis, values) in field.values.iter().enumerate() {
                let first = 6 + axis * values.len();
                for stencil in bends(field.nodes) {
                    let sum: f64 = stencil.iter().map(|&(node, w)| w * values[node]).sum();
                    for &(i, wi) in &stencil {
                        right[first + i] -= 2.0 * weight * wi * sum;
                        for &(j, wj) in &stencil {
                            if j <= i {
                                normal[(first + i, first + j)] += 2.0 * weight * wi * wj;
                            }
                        }
                    }
                }
            }
        }
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
            Freedom::Local(_) => DMatrix::zeros(0, 0),
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

/// How many numbers there are.
fn numbers(geometry: &Geometry, freedom: Freedom) -> usize {
    let field = geometry.displacement.field.as_ref();
    match freedom {
        Freedom::Shift => 2,
        Freedom::Affine => 6,
        Freedom::Local(_) => 6 + field.map_or(0, |f| 2 * f.values[0].len()),
    }
}

/// Half the HSI's longer side: what linear numbers are counted over, so that all numbers are LR pixels.
fn half(displacement: &Displacement) -> f64 {
    displacement.centre[0].max(displacement.centre[1])
}

/// The functions whose sum is the displacement at a place: number, axis, value.
fn functions(
    displacement: &Displacement,
    field: Option<&Field>,
    freedom: Freedom,
    place: Place,
) -> Vec<(usize, usize, f64)> {
    let mut list = vec![(0, 0, 1.0), (1, 1, 1.0)];
    if freedom == Freedom::Shift {
        return list;
    }
    let u = [0, 1].map(|k| (place[k] - displacement.centre[k]) / half(displacement));
    list.extend([(2, 0, u[0]), (3, 0, u[1]), (4, 1, u[0]), (5, 1, u[1])]);
    if let (Freedom::Local(_), Some(field)) = (freedom, field) {
        let nodes = field.values[0].len();
        for (node, w) in field.reached(place) {
            list.push((6 + node, 0, w));
            list.push((6 + nodes + node, 1, w));
        }
    }
    list
}

/// `geometry` with its numbers changed.
fn moved(geometry: &Geometry, freedom: Freedom, by: &DVector<f64>) -> Geometry {
    let mut geometry = geometry.clone();
    let d = &mut geometry.displacement;
    for k in 0..2 {
        d.shift[k] += by[k];
    }
    if freedom == Freedom::Shift {
        return geometry;
    }
    let half = half(d);
    for k in 0..4 {
        d.linear[k / 2][k % 2] += by[2 + k] / half;
    }
    if let (Freedom::Local(_), Some(field)) = (freedom, &mut d.field) {
        let nodes = field.values[0].len();
        for (axis, values) in field.values.iter_mut().enumerate() {
            for (node, value) in values.iter_mut().enumerate() {
                *value += by[6 + axis * nodes + node];
            }
        }
    }
    geometry
}

/// Second differences of a lattice along its axes and its diagonal, whose squares are the energy of a bent plate, and a
/// little of the values themselves, because the affine numbers hold what bends nothing.
fn bends(nodes: [usize; 2]) -> Vec<Vec<(usize, f64)>> {
    let at = |r: usize, c: usize| r * nodes[1] + c;
    let mut list = Vec::new();
    for r in 0..nodes[0] {
        for c in 0..nodes[1] {
            list.push(vec![(at(r, c), 0.03)]);
            if r + 2 < nodes[0] {
                list.push(vec![(at(r, c), 1.0), (at(r + 1, c), -2.0), (at(r + 2, c), 1.0)]);
            }
            if c + 2 < nodes[1] {
                list.push(vec![(at(r, c), 1.0), (at(r, c + 1), -2.0), (at(r, c + 2), 1.0)]);
            }
            if r + 1 < nodes[0] && c + 1 < nodes[1] {
                let w = std::f64::consts::SQRT_2;
                list.push(vec![
                    (at(r, c), w),
                    (at(r + 1, c), -w),
                    (at(r, c + 1), -w),
                    (at(r + 1, c + 1), w),
                ]);
            }
        }
    }
    list
}

/// What the bending of a field costs.
fn bending(geometry: &Geometry, freedom: Freedom) -> f64 {
    match (freedom, &geometry.displacement.field) {
        (Freedom::Local(weight), Some(field)) => {
            let stencils = bends(field.nodes);
            let energy = |values: &Vec<f64>| -> f64 {
                stencils
                    .iter()
                    .map(|s| s.iter().map(|&(node, w)| w * values[node]).sum::<f64>().powi(2))
                    .sum()
            };
            weight * (energy(&field.values[0]) + energy(&field.values[1]))
        }
        _ => 0.0,
    }
}

/// Least squares of the MSI's channels on the HSI's components.
pub struct Regression {
    /// (1 + components) × channels.
    coefficients: DMatrix<f64>,
    /// What is left of each channel, unbiased.
    variance: Vec<f64>,
    total: Vec<f64>,
    left: DMatrix<f64>,
    normal: nalgebra::Cholesky<f64, nalgebra::Dyn>,
}

impl Regression {
    fn of(table: &Table) -> Option<Regression> {
        let (n, known) = table.known.shape();
        if n < 2 * known {
            return None;
        }
        let mut normal = table.known.tr_mul(&table.known);
        let ridge = 1e-10 * normal.trace() / known as f64;
        (0..known).for_each(|k| normal[(k, k)] += ridge);
        let normal = normal.cholesky()?;
        let coefficients = normal.solve(&table.known.tr_mul(&table.value));
        let left = &table.value - &table.known * &coefficients;
        let mut total = Vec::new();
        let mut variance = Vec::new();
        for (b, value) in table.value.column_iter().enumerate() {
            let mean = value.mean();
            let all = value.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
            // A channel that the HSI tells exactly must not rule alone: rounding is not evidence.
            let rest = left.column(b).norm_squared() / (n - known) as f64;
            total.push(all);
            variance.push(rest.max(1e-8 * all).max(1e-30));
        }
        Some(Regression {
            coefficients,
            variance,
            total,
            left,
            normal,
        })
    }

    /// Sum over channels of ½ n log(total / left).
    pub fn evidence(&self) -> f64 {
        let n = self.left.nrows() as f64;
        let ratio = |(all, left): (&f64, &f64)| (all.max(1e-30) / left).ln();
        0.5 * n * self.total.iter().zip(&self.variance).map(ratio).sum::<f64>()
    }

    /// Share of the variance that is left, over all channels.
    pub fn misfit(&self) -> f64 {
        self.variance.iter().sum::<f64>() / self.total.iter().sum::<f64>().max(1e-30)
    }

    /// The same with errors counted in the unit of another.
    pub fn in_unit_of(mut self, other: &Regression) -> Regression {
        self.variance.clone_from(&other.variance);
        self
    }

    /// Pixels that it is made of.
    pub fn pixels(&self) -> usize {
        self.left.nrows()
    }
}
