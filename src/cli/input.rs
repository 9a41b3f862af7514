//! Opening an image beside another one that several commands take.

use crate::cube::bands::{BandSelection, TakenBands};
use crate::cube::strips::Strips;
use crate::error::Result;
use crate::io;
use crate::io::{Image, Reading};

/// Opens an image that is to be compared with `other`: of the bands of `other`, where its file has as many as that of
/// `other`; as it is, where bands have been left out of it already.
///
/// # Errors
/// As [`io::open_image_as`].
pub fn open_matching(file: &str, reading: &Reading, other: &Image) -> Result<Image> {
    let open = |bands| {
        let reading = Reading {
            bands,
            ..reading.clone()
        };
        io::open_image_as(file, &reading)
    };
    let image = open(BandSelection::All)?;
    let TakenBands { all, taken } = other.bands();
    if image.dim().2 == all && taken.len() != all {
        open(BandSelection::numbers(&taken))
    } else {
        Ok(image)
    }
}
