//! Estimates PSF and spectral response from two images alone: `cargo run --release --example estimate_psf`.

use hsr_gpu::sensor::demo_pair::{DemoPair, demo_pair};
use hsr_gpu::{Fusion, Result};

fn main() -> Result<()> {
    let DemoPair { hsi, msi, .. } = demo_pair()?;
    let found = Fusion::new(&hsi, &msi).estimate()?;
    println!("PSF:\n{:.4}", found.psf.kernel(8));
    println!("misfit: {:.3} % of the images' spread", 100.0 * found.misfit);
    for remark in &found.determined.remarks {
        println!("{remark}");
    }
    Ok(())
}
