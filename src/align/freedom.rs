//! What a displacement may do: the numbers that it has, and what they are worth at a place.

use nalgebra::{DMatrix, DVector};

use super::geometry::{Displacement, Field, Geometry, Place};

/// Numbers that a fit may change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Freedom<'a> {
    /// Two of a shift.
    Shift,
    /// Six: shift, and displacement by row and column.
    Affine,
    /// Those and the nodes of the field.
    Local {
        /// What bending costs, nats for a square LR pixel.
        bending: f64,
        /// A field on the same nodes that bends along: the MSI was brought here by it.
        with: Option<&'a Field>,
    },
}

impl Freedom<'_> {
    /// That of a field whose bending costs this much.
    pub fn local(bending: f64) -> Self {
        Freedom::Local { bending, with: None }
    }
}

/// How many numbers there are.
pub fn numbers(geometry: &Geometry, freedom: Freedom) -> usize {
    let field = geometry.displacement.field.as_ref();
    match freedom {
        Freedom::Shift => 2,
        Freedom::Affine => 6,
        Freedom::Local { .. } => 6 + field.map_or(0, |f| 2 * f.values[0].len()),
    }
}

/// Half the HSI's longer side: what linear numbers are counted over, so that all numbers are LR pixels.
pub fn half(displacement: &Displacement) -> f64 {
    displacement.centre[0].max(displacement.centre[1])
}

/// The functions whose sum is the displacement at a place: number, axis, value.
pub fn functions(
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
    if let (Freedom::Local { .. }, Some(field)) = (freedom, field) {
        let nodes = field.values[0].len();
        for (node, w) in field.reached(place) {
            list.push((6 + node, 0, w));
            list.push((6 + nodes + node, 1, w));
        }
    }
    list
}

/// `geometry` with its numbers changed.
pub fn moved(geometry: &Geometry, freedom: Freedom, by: &DVector<f64>) -> Geometry {
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
    if let (Freedom::Local { .. }, Some(field)) = (freedom, &mut d.field) {
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

/// The nodes of a field along one axis that bend: its own, and those of the field that bends along.
fn bent(values: &[f64], with: Option<&Field>, axis: usize) -> Vec<f64> {
    let along = with.map(|field| &field.values[axis]);
    let along = |node: usize| along.map_or(0.0, |values| values[node]);
    values
        .iter()
        .enumerate()
        .map(|(node, x)| x + along(node))
        .collect()
}

/// What the bending of a field costs.
pub fn bending(geometry: &Geometry, freedom: Freedom) -> f64 {
    let (Freedom::Local { bending, with }, Some(field)) = (freedom, &geometry.displacement.field) else {
        return 0.0;
    };
    let stencils = bends(field.nodes);
    let energy = |axis: usize| -> f64 {
        let values = bent(&field.values[axis], with, axis);
        let stencil = |s: &Vec<(usize, f64)>| s.iter().map(|&(node, w)| w * values[node]).sum::<f64>();
        stencils.iter().map(|s| stencil(s).powi(2)).sum()
    };
    bending * (energy(0) + energy(1))
}

/// Adds the derivatives of [`bending`] to those of the evidence: to the matrix (its lower half), and to the right side, where the nodes
/// of both axes are the last numbers.
pub fn add_bending(
    geometry: &Geometry,
    freedom: Freedom,
    normal: &mut DMatrix<f64>,
    right: &mut DVector<f64>,
) {
    let (Freedom::Local { bending, with }, Some(field)) = (freedom, &geometry.displacement.field) else {
        return;
    };
    for axis in 0..2 {
        let values = bent(&field.values[axis], with, axis);
        let first = 6 + axis * values.len();
        for stencil in bends(field.nodes) {
            let sum: f64 = stencil.iter().map(|&(node, w)| w * values[node]).sum();
            for &(i, wi) in &stencil {
                right[first + i] -= 2.0 * bending * wi * sum;
                for &(j, wj) in &stencil {
                    if j <= i {
                        normal[(first + i, first + j)] += 2.0 * bending * wi * wj;
                    }
                }
            }
        }
    }
}
