//! Options for arrays whose files do not say which axis is which, nor the wavelengths.

use clap::Args;

use crate::io::{Arrangement, Axes, Clouds, OutputSet, parse_size};

/// How the array of an image lies in its file.
#[derive(Debug, Clone, Default, Args)]
pub struct ArrayOptions {
    /// Order of the axes of an array (.npy, .npz, .mat, HDF5) of the HSI, or of the one image there is: h rows, w columns, b
    /// bands [default: as names of dimensions say, else hwb]
    #[arg(long, value_enum)]
    axes: Option<Axes>,
    /// Rows and columns of an array of bands x pixels or pixels x bands of the HSI, or of the one image there is, such as 100x120
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = parse_size)]
    shape: Option<(usize, usize)>,
    /// Wavelengths of the HSI, or of the one image there is: one a band, or centre and width in two columns, in nm or µm (.npy,
    /// .csv, .txt, .mat) [default: those of the file, or of NAME.wl.npy beside NAME.npy]
    #[arg(long, value_name = "FILE")]
    wavelengths: Option<String>,
    /// What is done about pixels that the product of the HSI, or of the one image there is, takes for cloud, cirrus or their shadow
    /// (Sentinel-2, EnMAP, DESIS): they are masked, or kept [default: mask]
    #[arg(long, value_enum)]
    clouds: Option<Clouds>,
}

/// The same of the MSI.
#[derive(Debug, Clone, Default, Args)]
pub struct MsiArrayOptions {
    /// Order of the axes of an array of the MSI
    #[arg(long, value_enum)]
    msi_axes: Option<Axes>,
    /// Wavelengths of the MSI
    #[arg(long, value_name = "FILE")]
    msi_wavelengths: Option<String>,
    /// What is done about pixels that the product of the MSI takes for cloud, cirrus or their shadow [default: mask]
    #[arg(long, value_enum)]
    msi_clouds: Option<Clouds>,
}

impl ArrayOptions {
    /// The files that are read.
    pub fn files(&self, set: &mut OutputSet) {
        if let Some(file) = &self.wavelengths {
            set.reads("--wavelengths", file);
        }
    }

    /// What is asked for.
    pub fn arrangement(&self) -> Arrangement {
        Arrangement {
            axes: self.axes,
            size: self.shape,
            wavelengths: self.wavelengths.clone(),
            clouds: self.clouds,
        }
    }
}

impl MsiArrayOptions {
    /// The files that are read.
    pub fn files(&self, set: &mut OutputSet) {
        if let Some(file) = &self.msi_wavelengths {
            set.reads("--msi-wavelengths", file);
        }
    }

    /// What is asked for.
    pub fn arrangement(&self) -> Arrangement {
        Arrangement {
            axes: self.msi_axes,
            size: None,
            wavelengths: self.msi_wavelengths.clone(),
            clouds: self.msi_clouds,
        }
    }
}
