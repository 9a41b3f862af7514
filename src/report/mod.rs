//! What a person looks at after a run: pictures of images and errors, PSF and SRF on a terminal.
//!
//! Nothing here opens a file: pictures are written into any [`std::io::Write`].

pub mod picture;
pub mod terminal;

mod canvas;

pub use canvas::Picture;
