//! Where the pixels of one image lie in another.
//!
//! Places are counted from the outer corner of the first pixel, so that pixel (r, c) has its centre at
//! (r + ½, c + ½), whatever image it is of. A place of the HSI is first displaced by what the images say of their
//! misplacement, in LR pixels, and then mapped into the MSI by what their files say (georeferences, or sizes).

/// A place: row and column.
pub type Place = [f64; 2];

/// What files say: a map from places of the HSI to places of the MSI.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    centre: Place,
    half: Place,
    /// Coefficients of the row and of the column, over the powers that [`powers`] lists.
    coefficients: [Vec<f64>; 2],
}

/// Highest total power of a [`Base`]: enough for two map projections of one scene.
const DEGREE: usize = 4;

/// Powers (of row, of column) up to `degree`, the constant first, then row and column.
fn powers(degree: usize) -> impl Iterator<Item = (i32, i32)> {
    (0..=degree).flat_map(|total| (0..=total).map(move |c| ((total - c) as i32, c as i32)))
}

impl Base {
    /// place ↦ `origin` + `matrix` · place.
    pub fn affine(origin: Place, matrix: [[f64; 2]; 2]) -> Base {
        let row = |k: usize| vec![origin[k], matrix[k][0], matrix[k][1]];
        Base {
            centre: [0.0; 2],
            half: [1.0; 2],
            coefficients: [row(0), row(1)],
        }
    }

    /// The least-squares polynomial of a smooth map over an image of `size` pixels, and how far it is from the map at
    /// worst, in pixels of the MSI; `None` where the map has no value or no unique polynomial.
    pub fn fitted(size: [usize; 2], map: impl Fn(Place) -> Option<Place>) -> Option<(Base, f64)> {
        const NODES: usize = 11;
        let half = size.map(|n| 0.5 * n as f64);
        let node = |k: usize, n: usize| (k as f64 / (n - 1) as f64) * 2.0 - 1.0;
        let count = powers(DEGREE).count();
        let terms = |u: Place| powers(DEGREE).map(move |(i, j)| u[0].powi(i) * u[1].powi(j));
        let mut normal = nalgebra::DMatrix::<f64>::zeros(count, count);
        let mut right = nalgebra::DMatrix::<f64>::zeros(count, 2);
        for i in 0..NODES {
            for j in 0..NODES {
                let u = [node(i, NODES), node(j, NODES)];
                let to = map([half[0] * (1.0 + u[0]), half[1] * (1.0 + u[1])])?;
                let row = nalgebra::DVector::from_iterator(count, terms(u));
                normal.ger(1.0, &row, &row, 1.0);
                right.ger(1.0, &row, &nalgebra::DVector::from_row_slice(&to), 1.0);
            }
        }
        let solved = normal.cholesky()?.solve(&right);
        let base = Base {
            centre: half,
            half,
            coefficients: [0, 1].map(|k| solved.column(k).iter().copied().collect()),
        };
        let mut worst = 0.0f64;
        for i in 0..2 * NODES {
            for j in 0..2 * NODES {
                let at = [(i, 0), (j, 1)].map(|(k, axis)| half[axis] * (1.0 + node(k, 2 * NODES)));
                let (found, told) = (base.at(at), map(at)?);
                worst = worst
                    .max((found[0] - told[0]).abs())
                    .max((found[1] - told[1]).abs());
            }
        }
        worst.is_finite().then_some((base, worst))
    }

    /// The same map into the part of the MSI that begins at this row and column.
    pub fn into_part(mut self, first: [usize; 2]) -> Base {
        for (coefficients, first) in self.coefficients.iter_mut().zip(first) {
            coefficients[0] -= first as f64;
        }
        self
    }

    /// The same map from places that are counted in pixels of `factor` × `factor` of the HSI's.
    pub fn magnified(&self, factor: f64) -> Base {
        Base {
            centre: self.centre.map(|c| c / factor),
            half: self.half.map(|h| h / factor),
            coefficients: self.coefficients.clone(),
        }
    }

    /// Ratio of the pixels and place of the HSI's first corner, where the axes of both images agree and the ratio is one
    /// integer to a thousandth; in the middle of an HSI of `size`, where a ratio that is not quite an integer is right.
    pub fn integer(&self, size: [usize; 2]) -> Option<(usize, Place)> {
        let [rows, columns] = &self.coefficients;
        if rows.len() != 3 {
            return None;
        }
        let scale = rows[1].round();
        let straight = rows[2].abs() <= 1e-6 * rows[1].abs() && columns[1].abs() <= 1e-6 * columns[2].abs();
        let one = |ratio: f64| (ratio - scale).abs() <= 1e-3;
        (scale >= 1.0 && straight && one(rows[1]) && one(columns[2])).then(|| {
            let middle = self.at(size.map(|n| 0.5 * n as f64));
            (
                scale as usize,
                [0, 1].map(|k| middle[k] - 0.5 * scale * size[k] as f64),
            )
        })
    }

    /// Where a place of the HSI lies in the MSI.
    pub fn at(&self, place: Place) -> Place {
        let u = [0, 1].map(|k| (place[k] - self.centre[k]) / self.half[k]);
        let [rows, columns] = &self.coefficients;
        if rows.len() == 3 {
            return [rows, columns].map(|c| c[0] + c[1] * u[0] + c[2] * u[1]);
        }
        let mut sum = [0.0; 2];
        for (k, (i, j)) in powers(DEGREE).enumerate() {
            let term = u[0].powi(i) * u[1].powi(j);
            sum[0] += rows[k] * term;
            sum[1] += columns[k] * term;
        }
        sum
    }

    /// Derivatives of the MSI's row and column (first index) to the HSI's.
    pub fn jacobian(&self, place: Place) -> [[f64; 2]; 2] {
        let step = 0.25;
        let along = |axis: usize| {
            let mut ends = [place; 2];
            ends[0][axis] -= step;
            ends[1][axis] += step;
            let [a, b] = ends.map(|end| self.at(end));
            [0, 1].map(|k| (b[k] - a[k]) / (2.0 * step))
        };
        let (down, across) = (along(0), along(1));
        [[down[0], across[0]], [down[1], across[1]]]
    }

    /// Pixels of the MSI that an LR pixel in the middle of an image of `size` spans down and across its own axes.
    pub fn ratio(&self, size: [usize; 2]) -> [f64; 2] {
        let j = self.jacobian(size.map(|n| 0.5 * n as f64));
        [0, 1].map(|axis| j[0][axis].hypot(j[1][axis]))
    }
}

/// A smooth displacement over the HSI: cubic B-splines on a coarse lattice.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// LR pixels between two nodes.
    pub spacing: f64,
    /// Rows and columns of nodes.
    pub nodes: [usize; 2],
    /// Displacement down, then across, of each node, row by row; LR pixels.
    pub values: [Vec<f64>; 2],
}

/// Weights of the four B-splines that reach a place between two nodes.
fn splines(t: f64) -> [f64; 4] {
    let s = 1.0 - t;
    [
        s * s * s / 6.0,
        (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
        (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0,
        t * t * t / 6.0,
    ]
}

impl Field {
    /// No displacement, on nodes at most `spacing` LR pixels apart over an image of `size`.
    pub fn zero(size: [usize; 2], spacing: f64) -> Field {
        let nodes = size.map(|n| (n as f64 / spacing).ceil() as usize + 3);
        Field {
            spacing,
            nodes,
            values: [vec![0.0; nodes[0] * nodes[1]], vec![0.0; nodes[0] * nodes[1]]],
        }
    }

    /// The sixteen nodes that reach a place, and their weights; places beyond the image take those of its edge.
    pub fn reached(&self, place: Place) -> [(usize, f64); 16] {
        let axis = |k: usize| {
            let last = (self.nodes[k] - 3) as f64;
            let x = (place[k] / self.spacing).clamp(0.0, last);
            let first = x.floor().min(last - 1.0);
            (first as usize, splines(x - first))
        };
        let ((r, wr), (c, wc)) = (axis(0), axis(1));
        std::array::from_fn(|k| {
            let (i, j) = (k / 4, k % 4);
            ((r + i) * self.nodes[1] + c + j, wr[i] * wc[j])
        })
    }

    /// About this displacement, on nodes at most `spacing` LR pixels apart over an image of `size`.
    pub fn of(size: [usize; 2], spacing: f64, displacement: impl Fn(Place) -> Place) -> Field {
        let mut field = Field::zero(size, spacing);
        let at = |r: isize, c: isize| displacement([(r - 1) as f64 * spacing, (c - 1) as f64 * spacing]);
        for node in 0..field.nodes[0] * field.nodes[1] {
            let (r, c) = ((node / field.nodes[1]) as isize, (node % field.nodes[1]) as isize);
            // What B-splines smooth, to the second order.
            let beside = [at(r - 1, c), at(r + 1, c), at(r, c - 1), at(r, c + 1)];
            let here = at(r, c);
            for (k, values) in field.values.iter_mut().enumerate() {
                let curved: f64 = beside.iter().map(|b| b[k] - here[k]).sum();
                values[node] = here[k] - curved / 6.0;
            }
        }
        field
    }

    /// The displacement at a place of the HSI, LR pixels.
    pub fn at(&self, place: Place) -> Place {
        let near = self.reached(place);
        [0, 1].map(|k| near.iter().map(|&(node, w)| w * self.values[k][node]).sum())
    }
}

/// What the images say of their misplacement; the HSI's place p is p + displacement(p) of where its file has it, all in
/// LR pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Displacement {
    /// The place that `linear` turns about: the middle of the HSI.
    pub centre: Place,
    /// Displacement of the middle, down and across.
    pub shift: Place,
    /// Displacement for each LR pixel from the middle: `linear[k]` is that of row (0) or column (1) by row and column.
    pub linear: [[f64; 2]; 2],
    /// The rest.
    pub field: Option<Field>,
}

impl Displacement {
    /// None, for an HSI of `size`.
    pub fn none(size: [usize; 2]) -> Displacement {
        Displacement {
            centre: size.map(|n| 0.5 * n as f64),
            shift: [0.0; 2],
            linear: [[0.0; 2]; 2],
            field: None,
        }
    }

    /// At a place of the HSI.
    pub fn at(&self, place: Place) -> Place {
        let straight = self.straight(place);
        let field = self.field.as_ref().map_or([0.0; 2], |f| f.at(place));
        [0, 1].map(|k| straight[k] + field[k])
    }

    /// The same without the field.
    pub fn straight(&self, place: Place) -> Place {
        let from = [0, 1].map(|k| place[k] - self.centre[k]);
        [0, 1].map(|k| self.shift[k] + self.linear[k][0] * from[0] + self.linear[k][1] * from[1])
    }

    /// How far it moves anything in an HSI of `size` at most, LR pixels: at the corners and a lattice between them.
    pub fn largest(&self, size: [usize; 2]) -> f64 {
        let steps = 16;
        let places = (0..=steps).flat_map(|i| (0..=steps).map(move |j| [i, j]));
        let by = places.map(|at| {
            let place = [0, 1].map(|k| at[k] as f64 / steps as f64 * size[k] as f64);
            let [down, across] = self.at(place);
            down.hypot(across)
        });
        by.fold(0.0, f64::max)
    }

    /// Whether it is a shift and nothing else.
    pub fn is_shift(&self) -> bool {
        self.linear == [[0.0; 2]; 2] && self.field.is_none()
    }
}

/// Where the HSI's pixels lie in the MSI.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Rows and columns of the HSI.
    pub size: [usize; 2],
    /// What the files say.
    pub base: Base,
    /// What the images say.
    pub displacement: Displacement,
}

impl Geometry {
    /// As the files have it.
    pub fn new(size: [usize; 2], base: Base) -> Geometry {
        Geometry {
            size,
            base,
            displacement: Displacement::none(size),
        }
    }

    /// Where a place of the HSI lies in the MSI.
    pub fn at(&self, place: Place) -> Place {
        let by = self.displacement.at(place);
        self.base.at([place[0] + by[0], place[1] + by[1]])
    }

    /// The place of the HSI that lies at a place of the MSI, to a millionth of an LR pixel; `None` where there is none
    /// near.
    pub fn inverse(&self, place: Place, start: Place) -> Option<Place> {
        let mut at = start;
        for _ in 0..30 {
            let found = self.at(at);
            let miss = [place[0] - found[0], place[1] - found[1]];
            let [[a, b], [c, d]] = self.base.jacobian(at);
            let determinant = a * d - b * c;
            if determinant == 0.0 || !determinant.is_finite() {
                return None;
            }
            // The displacement is small and smooth: without its derivative this still contracts.
            let step = [
                (d * miss[0] - b * miss[1]) / determinant,
                (a * miss[1] - c * miss[0]) / determinant,
            ];
            at = [at[0] + step[0], at[1] + step[1]];
            if step[0].abs().max(step[1].abs()) < 1e-6 {
                return Some(at);
            }
            if !at.iter().all(|x| x.is_finite()) {
                return None;
            }
        }
        None
    }

    /// The same seen from a part of the HSI and a part of the MSI, which begin at these rows and columns.
    pub fn between(&self, hsi: [usize; 2], msi: [usize; 2]) -> Between {
        Between {
            geometry: self.clone(),
            hsi: hsi.map(|n| n as f64),
            msi: msi.map(|n| n as f64),
        }
    }
}

/// A [`Geometry`] between parts of both images.
#[derive(Debug, Clone, PartialEq)]
pub struct Between {
    geometry: Geometry,
    hsi: Place,
    msi: Place,
}

impl Between {
    /// Where a place of the HSI's part lies in the MSI's part.
    pub fn at(&self, place: Place) -> Place {
        let to = self.geometry.at([place[0] + self.hsi[0], place[1] + self.hsi[1]]);
        [to[0] - self.msi[0], to[1] - self.msi[1]]
    }

    /// The place of the HSI's part that lies at a place of the MSI's part; sought from `start` on.
    pub fn inverse(&self, place: Place, start: Place) -> Option<Place> {
        let start = [start[0] + self.hsi[0], start[1] + self.hsi[1]];
        let to = [place[0] + self.msi[0], place[1] + self.msi[1]];
        let found = self.geometry.inverse(to, start)?;
        Some([found[0] - self.hsi[0], found[1] - self.hsi[1]])
    }

    /// Pixels of the MSI that an LR pixel spans, down and across.
    pub fn ratio(&self) -> [f64; 2] {
        self.geometry.base.ratio(self.geometry.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smooth_map_is_met_by_its_polynomial_and_turned_back() {
        let map = |p: Place| {
            Some([
                3.0 + 2.7 * p[0] + 0.05 * p[1] + 1e-5 * p[0] * p[1],
                -8.0 + 2.6 * p[1] - 0.04 * p[0] + 2e-8 * p[1] * p[1] * p[0],
            ])
        };
        let (base, worst) = Base::fitted([60, 90], map).unwrap();
        assert!(worst < 1e-9, "{worst}");
        let j = base.jacobian([10.0, 20.0]);
        assert!((j[0][0] - 2.7 - 1e-5 * 20.0).abs() < 1e-7 && (j[1][0] + 0.04).abs() < 1e-4);
        let mut geometry = Geometry::new([60, 90], base);
        geometry.displacement.shift = [1.5, -0.4];
        geometry.displacement.linear = [[0.01, 0.03], [-0.03, 0.0]];
        let mut field = Field::zero([60, 90], 8.0);
        field.values[0][40] = 0.7;
        geometry.displacement.field = Some(field);
        for place in [[0.5, 0.5], [30.0, 41.25], [59.5, 88.0]] {
            let back = geometry.inverse(geometry.at(place), [30.0, 45.0]).unwrap();
            assert!(
                (0..2).all(|k| (back[k] - place[k]).abs() < 1e-5),
                "{place:?} {back:?}"
            );
        }
        let part = geometry.between([10, 20], [30, 40]);
        let (there, whole) = (part.at([0.5, 0.5]), geometry.at([10.5, 20.5]));
        assert_eq!(there, [whole[0] - 30.0, whole[1] - 40.0]);
        let back = part.inverse(there, [5.0, 5.0]).unwrap();
        assert!((0..2).all(|k| (back[k] - 0.5).abs() < 1e-5));
        assert!(Base::fitted([4, 4], |_| None).is_none());
    }

    #[test]
    fn a_field_of_equal_nodes_is_a_shift_everywhere() {
        let mut field = Field::zero([20, 33], 5.0);
        field.values[1].fill(0.25);
        for place in [[0.0, 0.0], [20.0, 33.0], [7.3, 11.9], [-5.0, 99.0]] {
            let at = field.at(place);
            assert!(at[0] == 0.0 && (at[1] - 0.25).abs() < 1e-12, "{place:?} {at:?}");
        }
    }
}
