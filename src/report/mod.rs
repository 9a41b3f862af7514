//! What a person looks at after a run: pictures of images and errors, PSF and SRF on a terminal, a page for the
//! browser, curves for TensorBoard.
//!
//! Nothing here opens a file: pictures are written into any [`std::io::Write`].

pub mod html;
pub mod panels;
pub mod picture;
pub mod tensorboard;
pub mod terminal;

mod canvas;

pub use canvas::Picture;
