//! Estimates PSF and spectral response from two images alone: `cargo run --release --example estimate_psf`.

use hsr_gpu::sensor::demo_pair::{DemoPair, demo_pair};
use hsr_gpu::{Fusion, Result};

fn main() -> Result<()> {
    let DemoPair { hsi, msi, .. } = demo_pair()?;
    let found = Fusion::new(&hsi, &msi).estimate()?;
    let report = found.report();
    println!("PSF:\n{:.4}", found.degradation().psf);
    println!("misfit: {:.3} % of the images' spread", 100.0 * report.misfit.1);
    for remark in &report.remarks {
        println!("{remark}");
    }
    Ok(())
}
