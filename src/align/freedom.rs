//! What a displacement may do: the numbers that it has, and what they are worth at a place.

use nalgebra::DVector;

use super::geometry::{Displacement, Field, Geometry, Place};

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

/// How many numbers there are.
pub fn numbers(geometry: &Geometry, freedom: Freedom) -> usize {
    let field = geometry.displacement.field.as_ref();
    match freedom {
        Freedom::Shift => 2,
        Freedom::Affine => 6,
        Freedom::Local(_) => 6 + field.map_or(0, |f| 2 * f.values[0].len()),
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
pub fn bends(nodes: [usize; 2]) -> Vec<Vec<(usize, f64)>> {
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
pub fn bending(geometry: &Geometry, freedom: Freedom) -> f64 {
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
