//! Images as strips of rows: what reads, compares, draws and writes an image does so strip by strip, and need not
//! know whether the image stands in memory, lies in a file or is computed on the way.

use std::ops::Range;

use ndarray::{Array2, Array3, s};

use super::exact::Exact;
use super::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};
use crate::interrupt;

/// Bytes of samples (as `f32`) of a strip: small beside any image that does not fit, large beside a disk's blocks.
pub const STRIP_BYTES: usize = 32 << 20;

/// An image that hands out its rows.
pub trait Strips {
    /// Rows, columns and bands.
    fn dim(&self) -> (usize, usize, usize);

    /// What is said of the image besides its samples.
    fn metadata(&self) -> &Metadata;

    /// Numeric type of the file that the image came from.
    fn sample_type(&self) -> SampleType;

    /// Some rows as an image of their own, with their mask, metadata and type.
    ///
    /// # Errors
    /// [`Error::Input`] or [`Error::Failed`] where they cannot be read or made.
    fn rows(&self, rows: Range<usize>) -> Result<Cube>;

    /// The samples of some rows as the file has them, where single precision may not hold them; `None` where it does.
    ///
    /// # Errors
    /// As [`Strips::rows`].
    fn exact(&self, _rows: Range<usize>) -> Result<Option<Array3<Exact>>> {
        Ok(None)
    }

    /// What whoever reads the image should be told: what its file leaves open and what was taken for it.
    fn notes(&self) -> &[String] {
        &[]
    }
}

/// Rows of an image of this many columns and bands that are handled at once, at least one.
pub fn strip_rows(columns: usize, bands: usize) -> usize {
    (STRIP_BYTES / (columns * bands * size_of::<f32>()).max(1)).max(1)
}

/// The strips of an image from top to bottom.
pub fn ranges(image: &dyn Strips) -> impl Iterator<Item = Range<usize>> + use<> {
    let (rows, columns, bands) = image.dim();
    let step = strip_rows(columns, bands);
    (0..rows)
        .step_by(step)
        .map(move |first| first..(first + step).min(rows))
}

/// The samples of some rows as the image's file has them.
///
/// # Errors
/// Those of the image.
pub fn exactly(image: &dyn Strips, rows: Range<usize>) -> Result<Array3<Exact>> {
    match image.exact(rows.clone())? {
        Some(samples) => Ok(samples),
        None => Ok(image.rows(rows)?.samples.mapv(Exact::from)),
    }
}

/// Shows `see` every strip of an image, from top to bottom, with the number of its first row.
///
/// # Errors
/// Those of the image and of `see`; [`Error::Interrupted`] after Ctrl-C.
pub fn for_each(image: &dyn Strips, mut see: impl FnMut(usize, Cube) -> Result<()>) -> Result<()> {
    for rows in ranges(image) {
        interrupt::check()?;
        see(rows.start, image.rows(rows)?)?;
    }
    Ok(())
}

/// The whole image in memory.
///
/// # Errors
/// Those of the image.
pub fn collect(image: &dyn Strips) -> Result<Cube> {
    let bands: Vec<usize> = (0..image.dim().2).collect();
    select(image, &bands)
}

/// Some bands of an image in memory, in this order, with the metadata of those bands.
///
/// # Errors
/// Those of the image; [`Error::Failed`] for a band that it has not.
pub fn select(image: &dyn Strips, bands: &[usize]) -> Result<Cube> {
    let (rows, columns, all) = image.dim();
    if let Some(band) = bands.iter().find(|&&b| b >= all) {
        return Err(Error::failed(format!("band {band} of an image of {all} bands")));
    }
    let whole = bands.len() == all && bands.iter().enumerate().all(|(k, &b)| k == b);
    let mut samples = Array3::zeros((rows, columns, bands.len()));
    let mut valid: Option<Array2<bool>> = None;
    for_each(image, |first, strip| {
        let rows_here = first..first + strip.rows();
        let mut to = samples.slice_mut(s![rows_here.clone(), .., ..]);
        if whole {
            to.assign(&strip.samples);
        } else {
            for (k, &band) in bands.iter().enumerate() {
                to.slice_mut(s![.., .., k])
                    .assign(&strip.samples.slice(s![.., .., band]));
            }
        }
        if let Some(here) = &strip.valid {
            valid
                .get_or_insert_with(|| Array2::from_elem((rows, columns), true))
                .slice_mut(s![rows_here, ..])
                .assign(here);
        }
        Ok(())
    })?;
    let mut cube = Cube::new(samples);
    cube.valid = valid;
    cube.sample_type = image.sample_type();
    cube.metadata = image.metadata().clone();
    if !whole {
        cube.metadata = cube.metadata.of_bands(bands, all);
    }
    Ok(cube)
}

impl Strips for Cube {
    fn dim(&self) -> (usize, usize, usize) {
        self.samples.dim()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.sample_type
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        Ok(Cube {
            samples: self.samples.slice(s![rows.clone(), .., ..]).to_owned(),
            valid: self.valid.as_ref().map(|v| v.slice(s![rows, ..]).to_owned()),
            metadata: self.metadata.clone(),
            sample_type: self.sample_type,
        })
    }
}

/// Some rows and columns of an image.
pub struct Cropped<'a> {
    image: &'a dyn Strips,
    rows: Range<usize>,
    columns: Range<usize>,
    metadata: Metadata,
}

impl<'a> Cropped<'a> {
    /// Rows and columns of `image`, which it must have.
    pub fn new(image: &'a dyn Strips, rows: Range<usize>, columns: Range<usize>) -> Self {
        Cropped {
            metadata: image.metadata().cropped(rows.start, columns.start),
            image,
            rows,
            columns,
        }
    }
}

impl Strips for Cropped<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        (self.rows.len(), self.columns.len(), self.image.dim().2)
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.image.sample_type()
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let first = self.rows.start;
        let mut strip = self.image.rows(first + rows.start..first + rows.end)?;
        if strip.columns() != self.columns.len() {
            strip = strip.part(0..strip.rows(), self.columns.clone());
        }
        strip.metadata = self.metadata.clone();
        Ok(strip)
    }

    fn notes(&self) -> &[String] {
        self.image.notes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_make_up_the_image() {
        let mut cube = Cube::new(Array3::from_shape_fn((300, 200, 200), |(r, c, b)| {
            ((r * 7 + c * 3 + b) % 101) as f32
        }));
        cube.mask_value(17.0);
        cube.metadata.wavelengths = Some((0..200).map(f64::from).collect());
        cube.metadata.bad_bands = Some((0..200).map(|b| b == 5).collect());
        // 32 MiB are 209 rows here.
        assert_eq!(ranges(&cube).collect::<Vec<_>>(), [0..209, 209..300]);
        let back = collect(&cube).unwrap();
        assert_eq!((&back.samples, &back.valid), (&cube.samples, &cube.valid));
        let some = select(&cube, &[5, 0]).unwrap();
        assert_eq!(some.metadata.wavelengths, Some(vec![5.0, 0.0]));
        assert_eq!(some.metadata.bad_bands, Some(vec![true, false]));
        assert_eq!(some.samples[[299, 7, 0]], cube.samples[[299, 7, 5]]);
        assert!(select(&cube, &[200]).is_err());
        let cropped = Cropped::new(&cube, 10..40, 5..25);
        assert_eq!(
            collect(&cropped).unwrap().samples,
            cube.samples.slice(s![10..40, 5..25, ..])
        );
    }
}
