//! Pictures of cubes: RGB composites on one stretch, single bands in colours, error maps, the comparison of a fusion.

use ndarray::{Array2, s};

use super::canvas::Picture;
use super::panels::{Bar, ColourMap, PANEL_WIDTH, Panel, sheet};
use crate::cube::Cube;
use crate::cube::strips::{self, Strips};
use crate::error::{Error, Result};

/// Wavelengths (nm) that stand for red, green and blue.
const RGB_NM: [f64; 3] = [640.0, 550.0, 460.0];
/// Where those lie in 400 to 700 nm, for images without wavelengths.
const RGB_POSITION: [f64; 3] = [0.8, 0.5, 0.2];
/// Colour of masked pixels.
const MASKED: [u8; 3] = [128; 3];
/// Colours of error maps.
pub const ERROR_COLOURS: ColourMap = ColourMap::Inferno;

/// The bands shown as red, green and blue: those nearest 640, 550 and 460 nm, or by position where
/// the image has no wavelengths or they do not tell three bands apart.
pub fn composite_bands(image: &dyn Strips) -> [usize; 3] {
    let (_, _, bands) = image.dim();
    if let Some(centres) = image.metadata().wavelengths.as_ref().filter(|w| w.len() == bands) {
        let nearest = RGB_NM.map(|wanted| {
            let distance = |i: &usize| (centres[*i] - wanted).abs();
            (0..bands)
                .min_by(|a, b| distance(a).total_cmp(&distance(b)))
                .unwrap_or(0)
        });
        if bands < 3 || (nearest[0] != nearest[1] && nearest[1] != nearest[2] && nearest[0] != nearest[2]) {
            return nearest;
        }
    }
    RGB_POSITION.map(|p| (p * bands.saturating_sub(1) as f64).round() as usize)
}

/// Which bands are shown and between which samples they run from dark to bright; made of one image and used for
/// all pictures that are to be compared with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    bands: [usize; 3],
    /// Sample shown as 0 and as 255, for red, green and blue.
    limits: [(f32, f32); 3],
}

impl Stretch {
    /// Of the bands that [`composite_bands`] chooses.
    pub fn of(cube: &Cube) -> Self {
        Stretch::with_bands(cube, composite_bands(cube))
    }

    /// From the 2nd to the 98th percentile of each of these bands' usable pixels.
    pub fn with_bands(cube: &Cube, bands: [usize; 3]) -> Self {
        Stretch {
            bands,
            limits: bands.map(|band| band_limits(cube, band)),
        }
    }

    /// The bands shown as red, green and blue.
    pub fn bands(&self) -> [usize; 3] {
        self.bands
    }

    /// The composite of an image with the same bands; masked pixels are grey.
    ///
    /// # Errors
    /// [`Error::Input`] if the image lacks one of the bands.
    pub fn composite(&self, cube: &Cube) -> Result<Picture> {
        if let Some(band) = self.bands.iter().find(|&&b| b >= cube.bands()) {
            return Err(missing_band(cube, *band));
        }
        Ok(Picture::from_fn(cube.columns(), cube.rows(), |r, c| {
            if !cube.is_valid(r, c) {
                return MASKED;
            }
            std::array::from_fn(|k| {
                let (low, high) = self.limits[k];
                let t = (cube.samples[[r, c, self.bands[k]]] - low) / (high - low);
                // A constant band has no contrast: middle grey. `as` sends NaN to 0.
                if high > low {
                    (t.clamp(0.0, 1.0) * 255.0).round() as u8
                } else {
                    128
                }
            })
        }))
    }
}

/// The 2nd and the 98th percentile of a band's usable pixels; zeros where it has none.
pub fn band_limits(cube: &Cube, band: usize) -> (f32, f32) {
    let mut values: Vec<f32> = if band < cube.bands() {
        cube.samples
            .slice(s![.., .., band])
            .indexed_iter()
            .filter(|&((r, c), x)| cube.is_valid(r, c) && x.is_finite())
            .map(|(_, &x)| x)
            .collect()
    } else {
        Vec::new()
    };
    (percentile(&mut values, 0.02), percentile(&mut values, 0.98))
}

/// One band in colours, from `limits.0` to `limits.1`; masked pixels are grey, and so is everything where the
/// limits do not differ.
///
/// # Errors
/// [`Error::Input`] if the image lacks the band.
pub fn band_picture(cube: &Cube, band: usize, limits: (f32, f32), map: ColourMap) -> Result<Picture> {
    if band >= cube.bands() {
        return Err(missing_band(cube, band));
    }
    let (low, high) = limits;
    Ok(Picture::from_fn(cube.columns(), cube.rows(), |r, c| {
        if cube.is_valid(r, c) && high > low {
            map.colour((cube.samples[[r, c, band]] - low) / (high - low))
        } else {
            MASKED
        }
    }))
}

fn missing_band(cube: &Cube, band: usize) -> Error {
    Error::input(format!(
        "band {band} is to be shown and the image has {} bands (counted from 0)",
        cube.bands()
    ))
}

/// The value below which the part `q` of the values lies (nearest rank); 0 of none.
fn percentile(values: &mut [f32], q: f64) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let rank = (q * (values.len() - 1) as f64).round() as usize;
    *values.select_nth_unstable_by(rank, f32::total_cmp).1
}

/// Root mean square error over bands of every pixel; NaN where a pixel is masked in either image.
///
/// # Errors
/// [`Error::Input`] if the shapes differ, and those of the images.
pub fn pixel_errors(reference: &dyn Strips, estimate: &dyn Strips) -> Result<Array2<f32>> {
    if reference.dim() != estimate.dim() {
        return Err(Error::input(format!(
            "no error map: reference is {:?} and estimate {:?} rows, columns, bands",
            reference.dim(),
            estimate.dim()
        )));
    }
    let (rows, columns, bands) = reference.dim();
    let bands = bands.max(1) as f64;
    let mut errors = Array2::zeros((rows, columns));
    strips::for_each(reference, |first, reference| {
        let here = first..first + reference.rows();
        let estimate = estimate.rows(here.clone())?;
        for ((r, c), error) in errors.slice_mut(s![here, ..]).indexed_iter_mut() {
            if !reference.is_valid(r, c) || !estimate.is_valid(r, c) {
                *error = f32::NAN;
                continue;
            }
            let squares: f64 = reference
                .samples
                .slice(s![r, c, ..])
                .iter()
                .zip(estimate.samples.slice(s![r, c, ..]))
                .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                .sum();
            *error = (squares / bands).sqrt() as f32;
        }
        Ok(())
    })?;
    Ok(errors)
}

/// 98th percentile of the finite errors of all maps: the top of a colour scale that they share.
pub fn error_limit(maps: &[&Array2<f32>]) -> f32 {
    let mut values: Vec<f32> = maps
        .iter()
        .flat_map(|m| m.iter().copied())
        .filter(|x| x.is_finite())
        .collect();
    percentile(&mut values, 0.98)
}

/// Errors as colours, 0 dark to `limit` and beyond bright; grey where there is none.
pub fn error_map(errors: &Array2<f32>, limit: f32) -> Picture {
    Picture::from_fn(errors.ncols(), errors.nrows(), |r, c| {
        let error = errors[[r, c]];
        if error.is_nan() {
            MASKED
        } else if limit > 0.0 {
            ERROR_COLOURS.colour(error / limit)
        } else {
            ERROR_COLOURS.colour(0.0)
        }
    })
}

/// The images of one fusion that are shown beside each other, all in one unit.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// X, shown enlarged to the size of the others by nearest neighbour.
    pub lr_hsi: &'a Cube,
    /// The bicubic baseline.
    pub bicubic: &'a Cube,
    /// The result.
    pub fused: &'a Cube,
    /// The truth, where it is known: adds its panel and the error maps of bicubic and result.
    pub reference: Option<&'a Cube>,
}

impl Comparison<'_> {
    /// The panel picture: LR HSI | bicubic | fused and, with a reference, below them reference | error of bicubic |
    /// error of fused. Composites share one stretch (the reference's, else the result's), error maps one colour scale.
    ///
    /// # Errors
    /// [`Error::Input`] if the images do not belong together.
    pub fn picture(&self) -> Result<Picture> {
        let (rows, columns) = (self.fused.rows(), self.fused.columns());
        if self.lr_hsi.rows() == 0 || self.lr_hsi.columns() == 0 || rows == 0 || columns == 0 {
            return Err(Error::input("no picture: an image is empty"));
        }
        let scale = rows / self.lr_hsi.rows();
        let fits = (self.lr_hsi.rows() * scale, self.lr_hsi.columns() * scale) == (rows, columns)
            && (self.bicubic.rows(), self.bicubic.columns()) == (rows, columns);
        if !fits {
            return Err(Error::input(format!(
                "no picture: LR image {} x {}, bicubic {} x {} and result {rows} x {columns} are not on one grid",
                self.lr_hsi.rows(),
                self.lr_hsi.columns(),
                self.bicubic.rows(),
                self.bicubic.columns()
            )));
        }
        let zoom = (PANEL_WIDTH / columns).max(1);
        let stretch = Stretch::of(self.reference.unwrap_or(self.fused));
        let panel = |caption: &str, picture: Picture| Some(Panel::new(caption, picture.enlarged(zoom)));
        let mut rows = vec![vec![
            panel(
                &format!("LR HSI, 1/{scale}"),
                stretch.composite(self.lr_hsi)?.enlarged(scale),
            ),
            panel("bicubic", stretch.composite(self.bicubic)?),
            panel("fused", stretch.composite(self.fused)?),
        ]];
        let mut bar = None;
        if let Some(reference) = self.reference {
            let bicubic = pixel_errors(reference, self.bicubic)?;
            let fused = pixel_errors(reference, self.fused)?;
            let limit = error_limit(&[&bicubic, &fused]);
            rows.push(vec![
                panel("reference", stretch.composite(reference)?),
                panel("RMSE, bicubic", error_map(&bicubic, limit)),
                panel("RMSE, fused", error_map(&fused, limit)),
            ]);
            bar = Some(Bar {
                columns: 1..3,
                limits: (0.0, limit),
                map: ERROR_COLOURS,
            });
        }
        Ok(sheet(&rows, bar.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    fn ramp(rows: usize, columns: usize, bands: usize) -> Cube {
        Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
            (r * columns + c + 1000 * b) as f32
        }))
    }

    #[test]
    fn bands_by_wavelength_or_position() {
        let mut cube = ramp(2, 2, 31);
        // 0.8, 0.5 and 0.2 of 400 to 700 nm are 640, 550 and 460 nm, bands 24, 15 and 6.
        assert_eq!(composite_bands(&cube), [24, 15, 6]);
        cube.metadata.wavelengths = Some((0..31).map(|i| 700.0 - 10.0 * f64::from(i)).collect());
        assert_eq!(composite_bands(&cube), [6, 15, 24]);
        // Short-wave infrared: the nearest band is the same for all three, so by position.
        cube.metadata.wavelengths = Some((0..31).map(|i| 1000.0 + 10.0 * f64::from(i)).collect());
        assert_eq!(composite_bands(&cube), [24, 15, 6]);
        assert_eq!(composite_bands(&ramp(2, 2, 3)), [2, 1, 0]);
        assert_eq!(composite_bands(&ramp(2, 2, 1)), [0, 0, 0]);
    }

    #[test]
    fn stretch_runs_between_percentiles_and_is_shared() {
        // 0 to 100 in each band: percentiles 2 and 98 are 2 and 98.
        let mut cube = ramp(1, 101, 3);
        let stretch = Stretch::of(&cube);
        assert_eq!(stretch.limits[2], (2.0, 98.0));
        let picture = stretch.composite(&cube).unwrap();
        assert_eq!(picture.pixel(0, 0), [0; 3]);
        assert_eq!(picture.pixel(0, 50), [128; 3]);
        assert_eq!(picture.pixel(0, 100), [255; 3]);
        cube.samples.mapv_inplace(|x| x + 24.0);
        assert_eq!(stretch.composite(&cube).unwrap().pixel(0, 50), [191; 3]);
        cube.samples[[0, 7, 0]] = f32::NAN;
        cube.mask_value(f64::NAN);
        assert_eq!(stretch.composite(&cube).unwrap().pixel(0, 7), MASKED);
        assert!(stretch.composite(&ramp(1, 1, 2)).is_err());
        let flat = Cube::new(Array3::from_elem((4, 4, 3), 5.0));
        assert_eq!(Stretch::of(&flat).composite(&flat).unwrap().pixel(1, 1), [128; 3]);
    }

    #[test]
    fn errors_by_hand() {
        let reference = ramp(1, 2, 2);
        let mut estimate = reference.clone();
        estimate.samples[[0, 1, 0]] += 3.0;
        estimate.samples[[0, 1, 1]] -= 1.0;
        let errors = pixel_errors(&reference, &estimate).unwrap();
        // Root of (9 + 1)/2.
        assert_eq!((errors[[0, 0]], errors[[0, 1]]), (0.0, 5f32.sqrt()));
        assert_eq!(error_limit(&[&errors]), 5f32.sqrt());
        let map = error_map(&errors, 5f32.sqrt());
        assert_eq!(
            (map.pixel(0, 0), map.pixel(0, 1)),
            (ERROR_COLOURS.colour(0.0), ERROR_COLOURS.colour(1.0))
        );
        assert_ne!(ERROR_COLOURS.colour(0.0), ERROR_COLOURS.colour(1.0));
        let mut hidden = reference.clone();
        hidden.mask_value(1.0);
        let errors = pixel_errors(&hidden, &estimate).unwrap();
        assert_eq!(error_map(&errors, 1.0).pixel(0, 1), MASKED);
        assert!(pixel_errors(&reference, &ramp(2, 2, 2)).is_err());
    }

    #[test]
    fn panels_lie_where_they_belong() {
        let reference = ramp(64, 48, 3);
        let low = ramp(8, 6, 3);
        let mut fused = reference.clone();
        fused.samples.mapv_inplace(|x| x + 1.0);
        let comparison = Comparison {
            lr_hsi: &low,
            bicubic: &reference,
            fused: &fused,
            reference: Some(&reference),
        };
        let picture = comparison.picture().unwrap();
        // 48 columns are enlarged six times to 288; three panels and four margins of 8 across.
        assert_eq!(picture.width(), 3 * 288 + 4 * 8);
        let stretch = Stretch::of(&reference);
        let (top, left) = (8 + 8 + 4, 8);
        let expected = stretch.composite(&reference).unwrap();
        assert_eq!(picture.pixel(top, left + 296), expected.pixel(0, 0));
        assert_eq!(
            picture.pixel(top + 6 * 63, left + 296 + 6 * 47),
            expected.pixel(63, 47)
        );
        // Bicubic is the reference here, so its error map is the darkest colour all over.
        let below = 384 + 8 + 16;
        assert_eq!(
            picture.pixel(top + below + 100, left + 296 + 100),
            ERROR_COLOURS.colour(0.0)
        );
        assert_eq!(
            picture.pixel(top + below + 100, left + 2 * 296 + 100),
            ERROR_COLOURS.colour(1.0)
        );
        let without = Comparison {
            reference: None,
            ..comparison
        }
        .picture()
        .unwrap();
        assert!(without.height() < picture.height() / 2 + 20);
        let crooked = ramp(7, 6, 3);
        assert!(
            Comparison {
                lr_hsi: &crooked,
                ..comparison
            }
            .picture()
            .is_err()
        );
    }
}
