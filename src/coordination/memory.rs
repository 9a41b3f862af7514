//! What a run holds in memory and what it puts on disk: a rule of sizes and of `--max-memory` alone, not of the machine,
//! so that a run does the same everywhere. No bit of a result depends on it.

use std::path::PathBuf;

use crate::baseline::Method;
use crate::coordination::scene::Scene;
use crate::cube::scratch::Store;
use crate::error::Result;

/// Bytes that a run takes besides its arrays: the program, windows for training, strips on their way.
const BASE_BYTES: usize = 400 << 20;
/// Arrays of the size of the LR-HSI that refinement holds at once, the scene's own included.
const LR_ARRAYS: usize = 8;
/// The same while the system of the spread is solved ([`crate::refine::spread`]), and the neighbours that the system has of
/// an LR pixel at most: places nearer than [`Guide::MAX_RADIUS`](crate::engine::refinement::Guide::MAX_RADIUS).
const LR_ARRAYS_BESIDE: usize = 4;
const NEIGHBOURS: usize = 193;
/// Arrays of the size of the HR-MSI that there are at once: denoising takes a second one.
const HR_ARRAYS: usize = 2;

/// Rows, columns and bands.
pub type Dim = (usize, usize, usize);

fn bytes(arrays: usize, (rows, columns, bands): Dim) -> usize {
    [rows, columns, bands, size_of::<f32>()]
        .into_iter()
        .fold(arrays, usize::saturating_mul)
}

/// Bytes of a fusion's arrays of the sizes of its two images.
pub fn fusion_bytes(lr_hsi: Dim, hr_msi: Dim) -> usize {
    let system = bytes(NEIGHBOURS, (lr_hsi.0, lr_hsi.1, 1));
    let spread = bytes(LR_ARRAYS_BESIDE, lr_hsi).saturating_add(system);
    bytes(LR_ARRAYS, lr_hsi)
        .max(spread)
        .saturating_add(bytes(HR_ARRAYS, hr_msi))
}

/// Bytes of two images.
pub fn pair_bytes(lr_hsi: Dim, hr_msi: Dim) -> usize {
    bytes(1, lr_hsi).saturating_add(bytes(1, hr_msi))
}

/// Bytes of a fusion of `scene` that holds its result as a whole.
pub fn whole_bytes(scene: &Scene) -> usize {
    let (lr_hsi, hr_msi) = (scene.lr_hsi.dim(), scene.hr_msi.dim());
    let result = bytes(1, (hr_msi.0, hr_msi.1, lr_hsi.2));
    let native = scene.native.as_ref().map_or(0, |n| bytes(HR_ARRAYS, n.msi.dim()));
    result
        .saturating_add(native)
        .saturating_add(fusion_bytes(lr_hsi, hr_msi))
        .saturating_add(BASE_BYTES)
}

/// Bytes of a fusion of `scene` by a method without a network, which holds its result.
pub fn method_bytes(scene: &Scene, method: Method) -> usize {
    let (rows, columns, _) = scene.hr_msi.dim();
    let bands = scene.lr_hsi.dim().2;
    whole_bytes(scene).saturating_add(bytes(
        1,
        (rows, columns, method.planes(bands).saturating_sub(bands)),
    ))
}

/// Whether a fusion of `scene` may hold its result as a whole within `memory` bytes.
pub fn fits(scene: &Scene, memory: usize) -> bool {
    whole_bytes(scene) <= memory
}

/// Memory for scenes, and the folder for what does not fit.
#[derive(Debug)]
pub struct MemoryBudget {
    left: usize,
    folder: PathBuf,
    scratch: Option<Store>,
}

impl MemoryBudget {
    /// Of `memory` bytes, of which the program itself needs a part; `folder` is not looked at before it is needed.
    pub fn new(memory: usize, folder: PathBuf) -> MemoryBudget {
        MemoryBudget {
            left: memory.saturating_sub(BASE_BYTES),
            folder,
            scratch: None,
        }
    }

    /// Where a scene with arrays of so many bytes lies: in memory as long as there is room, after what went before.
    ///
    /// # Errors
    /// As [`Store::folder`].
    pub fn place(&mut self, bytes: usize) -> Result<Store> {
        if bytes <= self.left {
            self.left -= bytes;
            return Ok(Store::Memory);
        }
        if let Some(store) = &self.scratch {
            return Ok(store.clone());
        }
        let store = Store::folder(&self.folder)?;
        self.scratch = Some(store.clone());
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::refinement::Guide;

    #[test]
    fn scenes_take_memory_until_it_is_used_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut budget = MemoryBudget::new(BASE_BYTES + 100, folder.path().to_owned());
        let mut place = |bytes| matches!(budget.place(bytes).unwrap(), Store::Memory);
        assert_eq!([60, 50, 40, 1].map(&mut place), [true, false, true, false]);
        // Little memory is none, and a folder that is not there is seen when it is needed.
        let mut none = MemoryBudget::new(BASE_BYTES / 2, folder.path().join("none"));
        assert!(matches!(none.place(0).unwrap(), Store::Memory));
        assert_eq!(none.place(1).unwrap_err().exit_code(), 2);
        assert_eq!(
            fusion_bytes((1, 2, 3), (4, 5, 6)),
            4 * (2 * 193 + 4 * 6 + 2 * 120)
        );
        assert_eq!(fusion_bytes((1, 2, 300), (4, 5, 6)), 4 * (8 * 600 + 2 * 120));
        let reach = Guide::MAX_RADIUS as i32;
        let near = (-reach..=reach).flat_map(|i| (-reach..=reach).map(move |j| i * i + j * j));
        assert_eq!(near.filter(|square| *square < reach * reach).count(), NEIGHBOURS);
        assert_eq!(pair_bytes((usize::MAX, 2, 3), (4, 5, 6)), usize::MAX);
    }
}
