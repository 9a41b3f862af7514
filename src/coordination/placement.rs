//! Two images read into a scene of the ground that they share.

use crate::coordination::memory::{Dim, Room};
use crate::coordination::overlap::{Overlap, Part};
use crate::coordination::scene::{Loaded, Scene};
use crate::cube::scratch::Store;
use crate::cube::strips::Strips;
use crate::cube::{Metadata, Oddities};
use crate::error::Result;

/// Both images as a checked, scaled scene, and what else is known of them.
pub struct Placed {
    /// Metadata of the HSI, of the part and the bands that are used.
    pub hsi: Metadata,
    /// Metadata of the MSI, likewise.
    pub msi: Metadata,
    /// Which parts of the images these are, where their grids say it.
    pub overlap: Option<Overlap>,
    /// The scene.
    pub scene: Scene,
}

/// Where a scene of `images`, the HSI and the MSI, lies; `need` says how many bytes one of these sizes takes of `room`.
///
/// # Errors
/// [`crate::Error::Failed`] where there is no room.
pub fn store(
    images: [&dyn Strips; 2],
    overlap: Option<&Overlap>,
    room: &mut Room,
    need: impl Fn(Dim, Dim) -> usize,
) -> Result<Store> {
    let dim = |image: &dyn Strips, part: Option<&Part>| {
        let (rows, columns, bands) = image.dim();
        part.map_or((rows, columns, bands), |(r, c)| (r.len(), c.len(), bands))
    };
    let [hsi, msi] = images;
    room.place(need(
        dim(hsi, overlap.map(|o| &o.lr)),
        dim(msi, overlap.map(|o| &o.hr)),
    ))
}

/// Reads two named images, the HSI and the MSI, into `store`; `see` is shown the number (0 or 1) of each and what is unusual
/// about it.
///
/// # Errors
/// [`crate::Error::Input`] where the images do not fit each other, [`crate::Error::Failed`] where there is no room for them, and
/// what `see` returns.
pub fn place(
    images: [(&str, &dyn Strips); 2],
    overlap: Option<Overlap>,
    store: Store,
    mut see: impl FnMut(usize, &Oddities) -> Result<()>,
) -> Result<Placed> {
    let mut read = |number: usize, part: Option<&Part>| {
        let (name, image) = images[number];
        let loaded = Loaded::read(name, image, part, &store)?;
        see(number, &loaded.oddities)?;
        let metadata = match part {
            Some((rows, columns)) => image.metadata().cropped(rows.start, columns.start),
            None => image.metadata().clone(),
        };
        Ok::<_, crate::Error>((loaded, metadata))
    };
    let (x, hsi) = read(0, overlap.as_ref().map(|o| &o.lr))?;
    let (y, msi) = read(1, overlap.as_ref().map(|o| &o.hr))?;
    Ok(Placed {
        hsi,
        msi,
        overlap,
        scene: Scene::of(x, y, images[0].0, images[1].0, store)?,
    })
}
