//! Folds: which LR pixels a prediction is made without, so that they can judge it.

use crate::random::{Purpose, key, philox};

/// Folds that the LR pixels are dealt into. A prediction is fitted to all but one of them: with four, three quarters of the
/// pixels, and the mean of the four is as good as one prediction that has seen all pixels (docs/ARCHITECTURE.md).
pub const FOLDS: usize = 4;

/// The fold of each of `pixels` LR pixels: as many in each as the number allows, dealt at random by `seed`.
pub fn folds(pixels: usize, seed: u64) -> Vec<u8> {
    let mut order: Vec<u32> = (0..pixels as u32).collect();
    order.sort_by_key(|&p| (philox(key(seed), [p, 0, Purpose::Folds as u32, 0])[0], p));
    let mut folds = vec![0; pixels];
    for (place, &pixel) in order.iter().enumerate() {
        folds[pixel as usize] = (place % FOLDS) as u8;
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_even_and_follow_from_the_seed() {
        let dealt = folds(103, 5);
        for fold in 0..FOLDS as u8 {
            let size = dealt.iter().filter(|&&f| f == fold).count();
            assert!((25..=26).contains(&size), "{size}");
        }
        assert_eq!(dealt, folds(103, 5));
        assert_ne!(dealt, folds(103, 6));
    }
}
