//! What registration found, in numbers and words.

use serde::Serialize;

use super::fit::Fit;
use super::geometry::{Displacement, Geometry};

/// Stages of registration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The images lie where their files have them.
    #[default]
    None,
    /// A shift.
    Shift,
    /// A shift, a rotation, scales and a shear.
    Affine,
    /// Those and a field.
    Local,
}

/// A misplacement in numbers, each with its standard error. Lengths are LR pixels.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Misplacement {
    /// The last stage that was kept.
    pub stage: Stage,
    /// Where the ground of an LR pixel in the middle lies in the MSI, down and across from where the files have it.
    #[serde(serialize_with = "crate::named::down_across")]
    pub shift: [f64; 2],
    /// Of each.
    #[serde(serialize_with = "crate::named::down_across")]
    pub shift_error: [f64; 2],
    /// Degrees, positive where the MSI's content is turned clockwise against the HSI's.
    pub rotation: f64,
    /// Of the rotation.
    pub rotation_error: f64,
    /// Down and across: how much larger an LR pixel is in the MSI than the files say, as a factor.
    #[serde(serialize_with = "crate::named::down_across")]
    pub scale: [f64; 2],
    /// Of each.
    #[serde(serialize_with = "crate::named::down_across")]
    pub scale_error: [f64; 2],
    /// Degrees between the axes beyond a right angle.
    pub shear: f64,
    /// Of the shear.
    pub shear_error: f64,
    /// Root mean square of the field, without the rest.
    pub field_rms: f64,
    /// Its standard error, from halves of the LR pixels.
    pub field_error: f64,
    /// Share of the MSI's variance at the LR pixels that the HSI does not tell: as the files have it, and as kept.
    #[serde(serialize_with = "crate::named::before_after_of")]
    pub misfit: [f64; 2],
    /// LR pixels that the last number was made of.
    pub pixels: usize,
}

impl Misplacement {
    /// That of images that lie where their files have them.
    pub fn none() -> Self {
        Misplacement {
            scale: [1.0; 2],
            ..Misplacement::default()
        }
    }

    /// Shift, rotation, scales and shear of a displacement as a whole, and the rest of it.
    ///
    /// `pixels` are the LR pixels that were looked at, `fit` that of a shift or an affine displacement, `halves` what two halves of
    /// the pixels say of a local one.
    pub fn describe(
        &mut self,
        geometry: &Geometry,
        pixels: &[(usize, usize)],
        fit: Option<&Fit>,
        halves: Option<&[Geometry; 2]>,
    ) {
        let Some((linear, rms)) = flattened(&geometry.displacement, pixels) else {
            return;
        };
        self.shift = [linear[0][0], linear[1][0]];
        let half = geometry.displacement.centre[0].max(geometry.displacement.centre[1]);
        let degrees = |x: f64| x.to_degrees();
        let [[_, rr, rc], [_, cr, cc]] = linear;
        self.rotation = degrees(0.5 * (rc - cr));
        self.shear = degrees(rc + cr);
        self.scale = [1.0 + rr, 1.0 + cc];
        self.field_rms = rms;
        if let Some(fit) = fit {
            let error = |k: usize| {
                if k < fit.covariance.nrows() {
                    fit.covariance[(k, k)].max(0.0).sqrt()
                } else {
                    0.0
                }
            };
            self.shift_error = [error(0), error(1)];
            self.scale_error = [error(2) / half, error(5) / half];
            let turned = error(3).hypot(error(4)) / half;
            self.rotation_error = degrees(0.5 * turned);
            self.shear_error = degrees(turned);
        }
        if let Some([a, b]) = halves {
            let differences = pixels.iter().map(|&(r, c)| {
                let place = [r as f64 + 0.5, c as f64 + 0.5];
                let (x, y) = (a.displacement.at(place), b.displacement.at(place));
                (x[0] - y[0]).powi(2) + (x[1] - y[1]).powi(2)
            });
            let mean = differences.sum::<f64>() / pixels.len().max(1) as f64;
            self.field_error = 0.5 * mean.sqrt();
        }
    }

    /// One line of words.
    pub fn line(&self) -> String {
        if self.stage == Stage::None {
            return format!(
                "the images lie on each other as their files have them; the HSI tells {:.0} % of the MSI's variance",
                100.0 * (1.0 - self.misfit[1])
            );
        }
        let mut text = format!(
            "the HSI lies ({:+.2}, {:+.2}) of its pixels (down, right) off in the MSI (±{:.2}, ±{:.2})",
            self.shift[0], self.shift[1], self.shift_error[0], self.shift_error[1]
        );
        if matches!(self.stage, Stage::Affine | Stage::Local) {
            text += &format!(
                ", turned by {:+.2}° (±{:.2}), scaled by {:.4} and {:.4}",
                self.rotation, self.rotation_error, self.scale[0], self.scale[1]
            );
        }
        if self.stage == Stage::Local {
            text += &format!(
                ", and bent by {:.2} of its pixels rms (±{:.2})",
                self.field_rms, self.field_error
            );
        }
        text + &format!(
            "; with that it tells {:.0} % of the MSI's variance, {:.0} % before",
            100.0 * (1.0 - self.misfit[1]),
            100.0 * (1.0 - self.misfit[0])
        )
    }
}

/// The affine map (of row and column: constant at the middle, by row, by column) nearest to a displacement over some
/// pixels, and the root mean square of what it leaves.
fn flattened(displacement: &Displacement, pixels: &[(usize, usize)]) -> Option<([[f64; 3]; 2], f64)> {
    if displacement.field.is_none() {
        let row = |k: usize| {
            [
                displacement.shift[k],
                displacement.linear[k][0],
                displacement.linear[k][1],
            ]
        };
        return Some(([row(0), row(1)], 0.0));
    }
    let mut normal = nalgebra::Matrix3::<f64>::zeros();
    let mut right = nalgebra::Matrix3x2::<f64>::zeros();
    let rows: Vec<_> = pixels
        .iter()
        .map(|&(r, c)| {
            let place = [r as f64 + 0.5, c as f64 + 0.5];
            let by = displacement.at(place);
            let from = nalgebra::Vector3::new(
                1.0,
                place[0] - displacement.centre[0],
                place[1] - displacement.centre[1],
            );
            (from, nalgebra::RowVector2::new(by[0], by[1]))
        })
        .collect();
    for (from, by) in &rows {
        normal += from * from.transpose();
        right += from * by;
    }
    let solved = normal.cholesky()?.solve(&right);
    let left: f64 = rows
        .iter()
        .map(|(from, by)| (by - from.transpose() * solved).norm_squared())
        .sum();
    let row = |k: usize| [solved[(0, k)], solved[(1, k)], solved[(2, k)]];
    Some(([row(0), row(1)], (left / rows.len().max(1) as f64).sqrt()))
}
