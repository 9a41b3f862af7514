//! A numeric array as it lies in a file, and its way into an image or a matrix. `.npy` and both MATLAB
//! formats say shape, type and storage order; what follows from that is the same for all of them.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ndarray::{Array, Array2, Array3, ArrayD, Axis, Dimension, IxDyn, ShapeBuilder};

use super::clouds::Clouds;
use super::file::read_error;
use super::samples::{ByteOrder, Float, read_samples, sample_type_name, width};
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// Header of an array: everything but the samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Numeric type of the samples in the file.
    pub kind: SampleType,
    /// Byte order of the samples in the file.
    pub order: ByteOrder,
    /// `true` if the first axis varies fastest (Fortran, MATLAB), `false` if the last one does.
    pub first_axis_fastest: bool,
}

/// In which order the axes of an array are stored, the last one fastest.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// Rows, columns, bands.
    Hwb,
    /// Bands, rows, columns.
    Bhw,
    /// Rows, bands, columns.
    Hbw,
}

impl std::str::FromStr for Axes {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "hwb" => Ok(Axes::Hwb),
            "bhw" => Ok(Axes::Bhw),
            "hbw" => Ok(Axes::Hbw),
            _ => Err(format!("'{text}' is no order of axes: give hwb, bhw or hbw")),
        }
    }
}

/// Rows and columns written as `ROWSxCOLUMNS`.
///
/// # Errors
/// What a size looks like.
pub fn parse_size(text: &str) -> std::result::Result<(usize, usize), String> {
    let wrong = || format!("'{text}' is no size: give rows and columns, such as 100x120");
    let (rows, columns) = text.split_once('x').ok_or_else(wrong)?;
    match (rows.trim().parse(), columns.trim().parse()) {
        (Ok(rows), Ok(columns)) if rows > 0 && columns > 0 => Ok((rows, columns)),
        _ => Err(wrong()),
    }
}

impl Axes {
    /// Which axes of the array are rows, columns and bands.
    pub(crate) fn places(self) -> [usize; 3] {
        match self {
            Axes::Hwb => [0, 1, 2],
            Axes::Bhw => [1, 2, 0],
            Axes::Hbw => [0, 2, 1],
        }
    }

    /// The order that the lengths of an array suggest, where it is another one than rows x columns x bands: of square images, and
    /// of those with fewer bands than half their rows or columns.
    fn suggested([a, b, c]: [usize; 3]) -> Option<Axes> {
        if a == b {
            return None;
        }
        if b == c || 2 * a < b.min(c) {
            return Some(Axes::Bhw);
        }
        (a == c || 2 * b < a.min(c)).then_some(Axes::Hbw)
    }
}

/// What a user says of how a file is an image: of arrays what their formats do not say, of products what is taken of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arrangement {
    /// Order of its axes.
    pub axes: Option<Axes>,
    /// Rows and columns of an array of pixels (bands x pixels, or pixels x bands).
    pub size: Option<(usize, usize)>,
    /// A file of the bands' wavelengths.
    pub wavelengths: Option<String>,
    /// What is done about what a product takes for cloud.
    pub clouds: Option<Clouds>,
}

/// An array as an image.
pub(crate) struct Placed {
    /// Lengths of its three axes as they are stored.
    pub shape: [usize; 3],
    /// Which of these are rows, columns and bands.
    pub places: [usize; 3],
    /// The first of them is the one that runs fastest.
    pub first_axis_fastest: bool,
    /// What whoever reads it should be told.
    pub note: Option<String>,
}

impl Arrangement {
    /// How an array of these lengths is an image. Pixels run over the columns of a row where NumPy wrote them, and down a column
    /// where MATLAB did (`first_axis_fastest`).
    ///
    /// # Errors
    /// [`Error::Input`] if it cannot be one so.
    pub(crate) fn place(&self, path: &Path, shape: &[usize], first_axis_fastest: bool) -> Result<Placed> {
        if let Some((rows, columns)) = self.size {
            return self.pixels(path, shape, (rows, columns), first_axis_fastest);
        }
        let found = image_shape(path, shape)?;
        if shape.len() == 2 {
            return Ok(Placed {
                shape: found,
                places: [0, 1, 2],
                first_axis_fastest,
                note: None,
            });
        }
        let option = match Axes::suggested(found).filter(|_| self.axes.is_none()) {
            None => None,
            Some(Axes::Bhw) => Some("bands come first, read it with the setting axes bhw"),
            Some(_) => Some("bands come between, read it with the setting axes hbw"),
        };
        Ok(Placed {
            shape: found,
            places: self.axes.map_or([0, 1, 2], Axes::places),
            first_axis_fastest,
            note: option.map(|option| {
                format!(
                    "{}: {} is taken for rows x columns x bands; if {option}",
                    path.display(),
                    shape_text(&found)
                )
            }),
        })
    }

    fn pixels(
        &self,
        path: &Path,
        shape: &[usize],
        (rows, columns): (usize, usize),
        first_axis_fastest: bool,
    ) -> Result<Placed> {
        let pixels = rows.checked_mul(columns);
        let wrong = || {
            Error::input(format!(
                "{}: an array of {} is no image of {rows} x {columns} pixels (the setting shape); one axis has that many pixels, the other the bands",
                path.display(),
                shape_text(shape)
            ))
        };
        let &[first, second] = shape else {
            return Err(wrong());
        };
        let (shape, places) = match (Some(first) == pixels, Some(second) == pixels) {
            (false, true) => ([first, rows, columns], [1, 2, 0]),
            (true, false) => ([rows, columns, second], [0, 1, 2]),
            _ => return Err(wrong()),
        };
        Ok(Placed {
            shape,
            places,
            first_axis_fastest,
            note: None,
        })
    }
}

/// `2 x 3 x 4`, for messages.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    let lengths: Vec<String> = shape.iter().map(usize::to_string).collect();
    lengths.join(" x ")
}

impl Layout {
    /// Number of samples, or `None` if the product of the lengths or its size in bytes is beyond
    /// what the machine can address.
    pub(crate) fn count(&self) -> Option<usize> {
        let count = self.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))?;
        // ndarray wants the product of the nonzero lengths to fit as well.
        self.shape
            .iter()
            .filter(|&&d| d > 0)
            .try_fold(1_usize, |n, &d| n.checked_mul(d))
            .filter(|&n| n <= isize::MAX as usize / size_of::<f64>())
            .map(|_| count)
    }

    /// Number of samples, after checking that `available` bytes can hold them; to be called before
    /// memory is asked for.
    ///
    /// # Errors
    /// [`Error::Input`] with both sizes if they do not.
    pub(crate) fn checked_count(&self, path: &Path, available: u64) -> Result<usize> {
        let claim = || {
            format!(
                "{}: the header claims {} samples of type {}",
                path.display(),
                shape_text(&self.shape),
                sample_type_name(self.kind)
            )
        };
        let count = self.count().ok_or_else(|| {
            Error::input(format!(
                "{}, more than can be addressed; the file is damaged",
                claim()
            ))
        })?;
        let needed = count as u64 * width(self.kind) as u64;
        if needed > available {
            return Err(Error::input(format!(
                "{}, which need {needed} bytes, but {available} bytes of data follow; the file is truncated or damaged",
                claim()
            )));
        }
        Ok(count)
    }

    /// Reads the samples that this header describes from `source`.
    ///
    /// # Errors
    /// [`Error::Input`] if the source ends early or cannot be read.
    pub(crate) fn read<T: Float>(
        &self,
        path: &Path,
        source: &mut dyn std::io::Read,
        count: usize,
    ) -> Result<ArrayD<T>> {
        let samples = read_samples(source, self.kind, self.order, count).map_err(|e| read_error(path, &e))?;
        self.arrange(path, samples)
    }

    /// Puts samples in file order into an array of this shape.
    ///
    /// # Errors
    /// [`Error::Input`] if their number is not that of the shape.
    pub(crate) fn arrange<T>(&self, path: &Path, samples: Vec<T>) -> Result<ArrayD<T>> {
        let shape = IxDyn(&self.shape).set_f(self.first_axis_fastest);
        ArrayD::from_shape_vec(shape, samples)
            .map_err(|e| Error::input(format!("{}: damaged array: {e}", path.display())))
    }

    /// [`Layout::read`] from a file that stands at the first sample and has `available` bytes left.
    ///
    /// # Errors
    /// [`Error::Input`] if the samples do not fit into what is left or cannot be read.
    pub(crate) fn read_file<T: Float>(&self, path: &Path, file: File, available: u64) -> Result<ArrayD<T>> {
        let count = self.checked_count(path, available)?;
        self.read(path, &mut BufReader::with_capacity(1 << 16, file), count)
    }
}

/// The same array stored with its last axis fastest; copies only if it is stored otherwise.
fn row_major<T: Clone, D: Dimension>(array: Array<T, D>) -> Array<T, D> {
    if array.is_standard_layout() {
        return array;
    }
    array.as_standard_layout().into_owned()
}

/// Lengths of an array that is an image without axes of length 1 in front; one of two axes has one band.
///
/// # Errors
/// [`Error::Input`] if it has neither two axes nor three.
pub(crate) fn image_shape(path: &Path, shape: &[usize]) -> Result<[usize; 3]> {
    let extra = shape.len().saturating_sub(3);
    let short = if shape.iter().take(extra).all(|&d| d == 1) {
        &shape[extra..]
    } else {
        shape
    };
    match *short {
        [rows, columns] => Ok([rows, columns, 1]),
        [a, b, c] => Ok([a, b, c]),
        _ => Err(Error::input(format!(
            "{}: holds an array of {} axes ({}); an image has rows x columns x bands",
            path.display(),
            shape.len(),
            shape_text(shape)
        ))),
    }
}

/// An image of samples of any type: what a [`Cube`] is of singles, for those who want them as the file has them.
#[derive(Debug, Clone)]
pub(crate) struct ImageOf<T> {
    /// Rows x columns x bands.
    pub samples: Array3<T>,
    /// Numeric type of the file.
    pub sample_type: SampleType,
    pub metadata: Metadata,
}

impl From<ImageOf<f32>> for Cube {
    fn from(image: ImageOf<f32>) -> Self {
        Cube {
            sample_type: image.sample_type,
            metadata: image.metadata,
            ..Cube::new(image.samples)
        }
    }
}

/// An image from an array that is placed as one.
///
/// # Errors
/// [`Error::Input`] if it has another number of samples.
pub(crate) fn image_from<T: Clone>(
    path: &Path,
    kind: SampleType,
    array: ArrayD<T>,
    placed: &Placed,
) -> Result<ImageOf<T>> {
    let damaged = |e: ndarray::ShapeError| Error::input(format!("{}: damaged array: {e}", path.display()));
    // An axis that is taken apart runs on in the order of the file.
    let order = if placed.first_axis_fastest {
        ndarray::Order::ColumnMajor
    } else {
        ndarray::Order::RowMajor
    };
    let samples: Array3<T> = array
        .into_shape_with_order((placed.shape, order))
        .map_err(damaged)?;
    Ok(ImageOf {
        samples: row_major(samples.permuted_axes(placed.places)),
        sample_type: kind,
        metadata: Metadata::default(),
    })
}

/// Bytes of the longest matrix, in a file or unpacked: PSFs and responses have some thousand numbers.
const MATRIX_BYTES: u64 = 1 << 28;

/// Refuses what is too long for a matrix before memory is asked for.
///
/// # Errors
/// [`Error::Input`] with both sizes.
pub(crate) fn check_matrix_bytes(path: &Path, bytes: u64) -> Result<()> {
    if bytes <= MATRIX_BYTES {
        return Ok(());
    }
    Err(Error::input(format!(
        "{}: is {} MB long, and no PSF or response has more than {}; name a file that holds one",
        path.display(),
        bytes / 1_000_000,
        MATRIX_BYTES / 1_000_000
    )))
}

/// A matrix from an array of two axes, or of one (a single row).
///
/// # Errors
/// [`Error::Input`] if it has another number of axes.
pub(crate) fn matrix_from(path: &Path, array: ArrayD<f64>) -> Result<Array2<f64>> {
    let shape = array.shape().to_vec();
    let two = match shape.len() {
        1 => array.insert_axis(Axis(0)).into_dimensionality().ok(),
        2 => array.into_dimensionality().ok(),
        _ => None,
    };
    two.map(row_major).ok_or_else(|| {
        Error::input(format!(
            "{}: holds an array of {} axes ({}); a matrix has rows x columns",
            path.display(),
            shape.len(),
            shape_text(&shape)
        ))
    })
}
