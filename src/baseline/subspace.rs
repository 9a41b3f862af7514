//! The subspace that the spectra of a scene lie in.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::pair::Pair;

/// Spectra as coefficients of a few orthonormal ones.
pub(super) struct Subspace {
    /// E, B×p with orthonormal columns, the most powerful first.
    pub basis: DMatrix<f64>,
    /// Mean square of what of the HSI lies outside, each band.
    pub outside: Vec<f64>,
    /// Mean square of each band.
    pub power: Vec<f64>,
}

impl Subspace {
    /// The `dimensions` leading eigenvectors of the second moments of the usable LR spectra; fewer where there are fewer
    /// bands or pixels.
    pub fn new(pair: &Pair, dimensions: usize) -> Subspace {
        let bands = pair.hsi.dim().2;
        let count = pair.spectra().count();
        let mut moments = DMatrix::<f64>::zeros(bands, bands);
        for (_, hsi) in pair.spectra() {
            let spectrum = DVector::from_iterator(bands, hsi.iter().map(|&x| f64::from(x)));
            moments.ger(1.0 / count as f64, &spectrum, &spectrum, 1.0);
        }
        let eigen = SymmetricEigen::new(moments.clone());
        let mut order: Vec<usize> = (0..bands).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        order.truncate(dimensions.min(count).max(1));
        let basis = DMatrix::from_fn(bands, order.len(), |i, k| eigen.eigenvectors[(i, order[k])]);
        let within = &basis * (basis.transpose() * &moments * &basis) * basis.transpose();
        Subspace {
            outside: (0..bands)
                .map(|k| (moments[(k, k)] - within[(k, k)]).max(0.0))
                .collect(),
            power: (0..bands).map(|k| moments[(k, k)]).collect(),
            basis,
        }
    }
}
