//! Fuses two arrays blind and writes the result: `cargo run --release --example fuse_two_arrays`.

use hsr_gpu::cube::Metadata;
use hsr_gpu::cube::view::View;
use hsr_gpu::sensor::demo_pair::{DemoPair, demo_pair};
use hsr_gpu::{Fusion, Psf, Result};

fn main() -> Result<()> {
    // Any two `ndarray`s of rows x columns x bands do: here those of the built-in scene, 18 x 18 x 200 and 144 x 144 x 6.
    let DemoPair { hsi, msi, .. } = demo_pair()?;
    let metadata = Metadata {
        wavelengths: hsi.metadata.wavelengths.clone(),
        ..Metadata::default()
    };
    let fused = Fusion::new(
        View::new(hsi.samples.view()).with_metadata(metadata),
        &msi.samples,
    )
    .psf(Psf::Blind)
    .seed(7)
    .run()?;
    let image = fused.image()?;
    println!(
        "{:?} samples in {:.1} s",
        image.samples.dim(),
        fused.report().seconds
    );
    fused.write(std::env::temp_dir().join("fused.npy"))
}
