//! How results that are GeoTIFF are laid out.

use std::path::Path;

use clap::Args;

use crate::error::Result;
use crate::io::TiffOptions;

/// Creation options.
#[derive(Debug, Clone, Default, Args)]
pub struct CreationOptions {
    /// How GeoTIFF is laid out, once for every option of GDAL's: COG=YES (cloud-optimised, with overviews), TILED=YES,
    /// BLOCKSIZE, BLOCKXSIZE, BLOCKYSIZE, COMPRESS=DEFLATE|LZW|ZSTD|NONE, ZLEVEL, PREDICTOR, BIGTIFF [default: strips, deflate]
    #[arg(long, value_name = "NAME=VALUE")]
    co: Vec<String>,
}

impl CreationOptions {
    /// The options, for images that go to `outputs`.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for options that are not known, contradict each other, or are for none of the images.
    pub fn tiff(&self, outputs: &[&Path]) -> Result<TiffOptions> {
        TiffOptions::parse(&self.co, outputs)
    }
}
