//! The scene that the program carries inside itself: AVIRIS Indian Pines, 144 × 144 pixels, 200 bands.
//!
//! `scripts/pack-demo-scene.py` made the file and describes the packing, which is undone here without loss.
//! `assets/README.md` has the source and the attribution.

use std::io::Cursor;

use ndarray::Array3;

use super::{Cube, SampleType};
use crate::error::{Error, Result};

const PACKED: &[u8] = include_bytes!("../../assets/demo/indian-pines.png");
const SIDE: usize = 144;
const BANDS: usize = 200;

/// Bands of the 220 of the delivered scene, counted from 1, that water vapour leaves without signal; they are
/// not in the image.
const WATER: [std::ops::RangeInclusive<usize>; 3] = [104..=108, 150..=163, 220..=220];

/// The scene: 144 × 144 × 200, calibrated counts as delivered (955 to 9604), with nominal wavelengths.
///
/// # Errors
/// [`Error::Failed`] if the program was built with a broken asset.
pub fn demo_scene() -> Result<Cube> {
    let broken = |why: &str| Error::failed(format!("built-in demo/indian-pines.png: {why}"));
    let mut reader = png::Decoder::new(Cursor::new(PACKED))
        .read_info()
        .map_err(|e| broken(&e.to_string()))?;
    let mut planes = vec![0u8; 2 * BANDS * SIDE * SIDE];
    if reader.output_buffer_size() != Some(planes.len()) {
        return Err(broken("wrong size"));
    }
    reader
        .next_frame(&mut planes)
        .map_err(|e| broken(&e.to_string()))?;
    let (high, low) = planes.split_at(BANDS * SIDE * SIDE);
    let mut samples = Array3::<f32>::zeros((SIDE, SIDE, BANDS));
    // Difference from the band before of the pixel at hand, and the sample it leads to.
    let mut sample = vec![0i32; SIDE * SIDE];
    for b in 0..BANDS {
        for r in 0..SIDE {
            let mut difference = 0;
            for c in 0..SIDE {
                let pixel = r * SIDE + c;
                let i = b * SIDE * SIDE + pixel;
                let zigzag = i32::from(high[i]) << 8 | i32::from(low[i]);
                difference += (zigzag >> 1) ^ -(zigzag & 1);
                sample[pixel] += difference;
                samples[[r, c, b]] = sample[pixel] as f32;
            }
        }
    }
    let mut scene = Cube::new(samples);
    scene.sample_type = SampleType::U16;
    scene.metadata.wavelengths = Some(wavelengths());
    scene.metadata.extra.insert(
        "description".to_owned(),
        "AVIRIS Indian Pines test site 3, 12 June 1992, NASA/JPL; Purdue University Research Repository, doi:10.4231/R7RX991C"
            .to_owned(),
    );
    Ok(scene)
}

/// Nominal band centres: 220 bands evenly from 400 to 2500 nm, less the water bands.
///
/// The instrument's four spectrometers overlap and are not quite even, so a centre may be off by some 10 nm: one
/// band, good enough to simulate Landsat-like bands and to choose bands for a picture.
fn wavelengths() -> Vec<f64> {
    (1..=220)
        .filter(|band| !WATER.iter().any(|gap| gap.contains(band)))
        .map(|band| 400.0 + (band - 1) as f64 * (2500.0 - 400.0) / 219.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The sum and single samples were taken from the source array with numpy.
    #[test]
    fn unpacks_to_the_source() {
        let scene = demo_scene().unwrap();
        assert_eq!(scene.samples.dim(), (144, 144, 200));
        let sum: f64 = scene.samples.iter().map(|&x| f64::from(x)).sum();
        assert_eq!(sum, 11_003_623_947.0);
        let at = |r, c, b| scene.samples[[r, c, b]];
        assert_eq!(
            (at(0, 0, 0), at(143, 143, 199), at(70, 21, 100), at(5, 140, 30)),
            (3172.0, 1000.0, 1867.0, 4362.0)
        );
    }

    #[test]
    fn wavelengths_skip_the_water_bands() {
        let w = wavelengths();
        assert_eq!(w.len(), 200);
        assert_eq!((w[0], w[102]), (400.0, 400.0 + 102.0 * 2100.0 / 219.0));
        // Between band 103 and band 109 lie six steps.
        assert!((w[103] - w[102] - 6.0 * 2100.0 / 219.0).abs() < 1e-9);
        // Band 220, at 2500 nm, is the last one removed.
        assert!((w[199] - (2500.0 - 2100.0 / 219.0)).abs() < 1e-9);
    }
}
