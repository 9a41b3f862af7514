//! Files in and out. One module a format; this file tells the formats apart and is the only door to
//! them: [`read_cube`], [`write_cube`], [`read_matrix`], [`write_matrix`], and for images that do not fit in memory
//! [`open_cube`], [`open_image`] and [`write_strips`].
//!
//! A new format is a module, a [`Format`], its line in `format` and in `open`, and in `writer` if it is written.
//!
//! Readers never panic on damaged or hostile files, and hold what a header claims against the length of
//! the file before they ask for memory. Writers replace a file whole or not at all.

mod array;
mod attributes;
mod band_folder;
mod clouds;
mod conventions;
mod crs;
mod dlr;
mod envi;
mod envi_header;
mod envi_map;
mod file;
mod format;
mod hdf5;
mod identity;
mod image;
mod jp2;
mod mat;
mod mat5;
mod named;
mod npy;
mod npz;
mod open;
mod output_set;
mod path;
mod png_image;
mod prisma;
mod safe;
mod samples;
mod strip_file;
mod temporary;
mod text;
mod tiff;
mod tree;
mod vrt;
mod wavelength;
mod wavelength_file;
mod writer;
mod xml;
mod zarr;

pub use array::{Arrangement, Axes, parse_size};
pub use clouds::Clouds;
pub use envi_header::Interleave;
pub use file::{Lock, check_writable, replace};
pub use format::{Format, format_of, metadata_lost};
pub use image::{Image, Reading, open_image, open_image_as, read_image, read_mask};
pub use npy::read_array;
pub use open::{is_there, open_cube, open_cube_as, read_cube, read_matrix, read_response};
pub use output_set::{OutputSet, Planned, Source, Written, bytes_of, files_of, same_file};
pub use path::folder_of;
pub use samples::{parse_sample_type, sample_type_name};
pub use text::ResponseTable;
pub use tiff::TiffOptions;
pub use writer::{
    CubeWriter, Target, check_cube_writable, check_matrix_writable, write_cube, write_cube_as, write_exactly,
    write_matrix, write_strips,
};
