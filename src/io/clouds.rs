//! Pixels that a product itself takes for cloud, cirrus or their shadow: masked, unless the user keeps them.

use std::path::Path;

/// What is done about them.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clouds {
    /// They are masked.
    #[default]
    Mask,
    /// They are pixels like others.
    Keep,
}

impl std::str::FromStr for Clouds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mask" => Ok(Clouds::Mask),
            "keep" => Ok(Clouds::Keep),
            _ => Err(format!(
                "'{text}' is nothing that is done about clouds: give mask or keep"
            )),
        }
    }
}

/// What whoever reads the product is told of so many masked pixels.
pub(super) fn note(path: &Path, masked: usize, of: usize) -> String {
    format!(
        "{}: {:.1} % of the pixels are cloud, shadow of cloud or without data by the product's classification and masked; the setting clouds keep takes them",
        path.display(),
        100.0 * masked as f64 / of.max(1) as f64
    )
}
