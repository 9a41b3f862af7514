//! How well the two images determine the PSF.

use nalgebra::DMatrix;

use super::Determined;
use super::search::Found;

/// Adds to `determined` standard errors from the curvature of what was `found`, and sentences on what they mean.
pub(super) fn judge(found: &Found, learn_centre: bool, determined: &mut Determined) {
    let free = if learn_centre { 5 } else { 3 };
    let inverse = found
        .information
        .view((0, 0), (free, free))
        .into_owned()
        .try_inverse();
    let (v1, v2, angle) = found.psf.variances();
    let covariance =
        inverse.filter(|c| c.iter().all(|x| x.is_finite()) && (0..free).all(|k| c[(k, k)] >= 0.0));
    let Some(covariance) = covariance else {
        determined
            .remarks
            .push("the scene does not determine the PSF: many PSFs fit the two images equally well".into());
        return;
    };
    // Delta method with central differences of the three quantities to the factor.
    let mut slopes = DMatrix::zeros(3, 3);
    for k in 0..3 {
        let step = 1e-5 * found.psf.factor.iter().fold(0.0, |a: f64, f| a.max(f.abs()));
        let moved = |by: f64| {
            let mut psf = found.psf;
            psf.factor[k] += by;
            psf.variances()
        };
        let (plus, minus) = (moved(step), moved(-step));
        // The angle is known modulo π.
        let half = std::f64::consts::FRAC_PI_2;
        let turn = (plus.2 - minus.2 + half).rem_euclid(2.0 * half) - half;
        for (row, difference) in [plus.0 - minus.0, plus.1 - minus.1, turn].into_iter().enumerate() {
            slopes[(row, k)] = difference / (2.0 * step);
        }
    }
    let shape = &slopes * covariance.view((0, 0), (3, 3)) * slopes.transpose();
    let errors = [shape[(0, 0)].sqrt(), shape[(1, 1)].sqrt(), shape[(2, 2)].sqrt()];
    determined.psf = Some(errors);
    if learn_centre {
        determined.centre = Some([covariance[(3, 3)].sqrt(), covariance[(4, 4)].sqrt()]);
    }
    for (name, value, error) in [("larger", v1, errors[0]), ("smaller", v2, errors[1])] {
        if error > 0.5 * value {
            determined.remarks.push(format!(
                    "the {name} variance of the PSF ({value:.2} square pixels) is uncertain: standard error {error:.2}"
                ));
        }
    }
    if errors[2] > 0.5 && v1 > 1.2 * v2 {
        determined.remarks.push(format!(
            "the direction of the PSF ({angle:.2} rad) is uncertain: standard error {:.2}",
            errors[2]
        ));
    }
}
