//! Which windows a step takes: patches of p×p LR pixels, every epoch in a new order.

use std::sync::Arc;

use ndarray::Array2;

use crate::random::{Purpose, key, philox};

/// Patches over a training set, and the order in which epochs go through them.
///
/// The batch of a step follows from the seed and the step's number alone, so a resumed run goes on as if it had
/// not stopped.
#[derive(Debug, Clone)]
pub struct Batches {
    patches: Vec<Vec<u32>>,
    per_step: usize,
    seed: u64,
    epoch: Option<(u32, Vec<u32>)>,
    whole: Option<Arc<[u32]>>,
}

/// The p×p patches of one scene at every LR offset whose pixels are all usable, as window numbers.
///
/// `numbers` holds each usable LR pixel's window; rows × columns.
pub fn patches(numbers: &Array2<Option<u32>>, side: usize) -> Vec<Vec<u32>> {
    numbers
        .windows((side.min(numbers.nrows()), side.min(numbers.ncols())))
        .into_iter()
        .filter_map(|patch| patch.iter().copied().collect())
        .collect()
}

impl Batches {
    /// Batches of `per_step` of these patches; as many as there are where that is fewer.
    pub fn new(patches: Vec<Vec<u32>>, per_step: usize, seed: u64) -> Self {
        let whole = (patches.len() <= per_step).then(|| patches.concat().into());
        Batches {
            per_step: per_step.min(patches.len()).max(1),
            patches,
            seed,
            epoch: None,
            whole,
        }
    }

    /// Batches of those of the patches whose windows all have `part`; `None` where no patch has.
    pub fn of_part(&self, part: impl Fn(u32) -> bool) -> Option<Self> {
        let patches = self.patches.iter().filter(|patch| patch.iter().all(|&w| part(w)));
        let patches: Vec<Vec<u32>> = patches.cloned().collect();
        (!patches.is_empty()).then(|| Batches::new(patches, self.per_step, self.seed))
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        self.patches.len().div_ceil(self.per_step).max(1) as u32
    }

    /// Largest number of windows in a step.
    pub fn capacity(&self) -> usize {
        self.patches.iter().map(Vec::len).max().unwrap_or(0) * self.per_step
    }

    /// Windows of step number `step` (from 1).
    pub fn batch(&mut self, step: u32) -> Arc<[u32]> {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let per_epoch = self.steps_per_epoch();
        let (epoch, at) = ((step - 1) / per_epoch, ((step - 1) % per_epoch) as usize);
        let order = match self.epoch.take() {
            Some((number, order)) if number == epoch => order,
            _ => self.order(epoch),
        };
        let chosen = order.iter().skip(at * self.per_step).take(self.per_step);
        let batch = chosen
            .flat_map(|&p| self.patches[p as usize].iter().copied())
            .collect();
        self.epoch = Some((epoch, order));
        batch
    }

    /// Fisher–Yates from the counter (epoch, position).
    fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.patches.len() as u32).collect();
        for i in (1..order.len()).rev() {
            let word = philox(key(self.seed), [i as u32, 0, Purpose::Shuffle as u32, epoch])[0];
            let j = (u64::from(word) * (i as u64 + 1)) >> 32;
            order.swap(i, j as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_takes_every_patch_once_and_the_next_in_another_order() {
        let mut batches = Batches::new((0..10).map(|i| vec![i]).collect(), 4, 3);
        assert_eq!(batches.steps_per_epoch(), 3);
        let mut epoch =
            |from: u32| -> Vec<u32> { (from..from + 3).flat_map(|s| batches.batch(s).to_vec()).collect() };
        let (first, second, again) = (epoch(1), epoch(4), epoch(1));
        let mut sorted = first.clone();
        sorted.sort();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_ne!(first, second);
        assert_eq!(first, again);
    }

    // DESIGN section 1: 169 patches of side 4 in a 16×16 image.
    #[test]
    fn cave_has_169_patches_and_a_hole_removes_those_that_touch_it() {
        let mut numbers = Array2::from_shape_fn((16, 16), |(r, c)| Some((16 * r + c) as u32));
        assert_eq!(patches(&numbers, 4).len(), 169);
        numbers[[8, 8]] = None;
        assert_eq!(patches(&numbers, 4).len(), 169 - 16);
    }
}
