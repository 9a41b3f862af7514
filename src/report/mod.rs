//! What a person looks at after a run: pictures of images and errors, PSF and SRF on a terminal, a page for the
//! browser, curves for TensorBoard, figures.
//!
//! Nothing here opens a file: pictures are written into any [`std::io::Write`].

pub mod chart;
pub mod html;
pub mod panels;
pub mod picture;
pub mod plot;
pub mod table;
pub mod tensorboard;
pub mod terminal;

mod canvas;

pub use canvas::Picture;
