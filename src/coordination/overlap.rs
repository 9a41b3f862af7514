//! Where two images of one scene lie on each other, from their pixel grids: the ratio of the pixels, and the part that
//! both show.
//!
//! Both images are cut to the LR pixels that lie within both. The LR grid may begin anywhere between two HR pixels; the
//! cut is at the nearest one, which leaves up to half an HR pixel on each axis. That remainder is not given to the PSF: the
//! registration of instruments is seldom as good as their coordinates have digits, and the blind estimate looks for
//! the centre anyway (`registration`), the remainder with it.

use std::ops::Range;

use crate::cube::grid::{Grid, Transform};
use crate::cube::strips::Strips;
use crate::error::{Error, Result};

/// How far a ratio of pixel sizes may be from an integer.
const TOLERANCE: f64 = 1e-3;

/// Rows and columns of an image.
pub type Part = (Range<usize>, Range<usize>);

/// The part that two images share.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// Ratio of the pixel grids.
    pub scale: usize,
    /// Rows and columns of the LR image.
    pub lr: Part,
    /// Rows and columns of the HR image, `scale` for each of the LR image.
    pub hr: Part,
    /// Rows and columns of both whole images, LR and HR.
    pub whole: [(usize, usize); 2],
    /// How far the LR pixels lie below and to the right of the HR pixels that they are cut to; (row, column) in HR
    /// pixels, in the middle of the part.
    pub remainder: [f64; 2],
}

/// Name, grid and number of rows and columns of an image.
struct Placed<'a> {
    name: &'a str,
    grid: &'a Grid,
    transform: Transform,
    size: [usize; 2],
}

impl<'a> Placed<'a> {
    fn new(name: &'a str, image: &'a dyn Strips) -> Option<Self> {
        let grid = image.metadata().grid.as_ref()?;
        let (rows, columns, _) = image.dim();
        Some(Placed {
            name,
            grid,
            transform: grid.transform?,
            size: [rows, columns],
        })
    }

    /// Pixel size (height, width) along the axes of the CRS.
    fn pixel(&self) -> Result<[f64; 2]> {
        let (width, height) = self.transform.pixel_size().ok_or_else(|| {
            Error::input(format!(
                "{}: its pixel grid is rotated against its coordinate system; rotate it with gdalwarp, or place both images by \
                 their sizes with --ignore-georeference",
                self.name
            ))
        })?;
        Ok([height, width])
    }
}

/// Where an HSI and an MSI lie on each other; `None` if one of them has no grid, and their sizes have to say it.
///
/// # Errors
/// [`Error::Input`] with what to do, if the grids are rotated or in different reference systems, if the ratio of their
/// pixels is no integer (within 1e-3) that is the same on both axes, or if they do not share one LR pixel.
pub fn overlap(
    hsi: &dyn Strips,
    msi: &dyn Strips,
    hsi_name: &str,
    msi_name: &str,
) -> Result<Option<Overlap>> {
    let (Some(lr), Some(hr)) = (Placed::new(hsi_name, hsi), Placed::new(msi_name, msi)) else {
        return Ok(None);
    };
    if !lr.grid.same_crs(hr.grid) {
        let named = |grid: &Grid| match grid.epsg {
            Some(code) => format!("EPSG:{code}"),
            None => "another one".to_owned(),
        };
        return Err(Error::input(format!(
            "{msi_name}: its coordinate system ({}) is not that of {hsi_name} ({}), as far as the files say; bring one to the \
             other's with gdalwarp -t_srs, or place both by their sizes with --ignore-georeference",
            named(hr.grid),
            named(lr.grid)
        )));
    }
    let (large, small) = (lr.pixel()?, hr.pixel()?);
    let ratio = [large[0] / small[0], large[1] / small[1]];
    let scale = ratio[0].round();
    if scale < 1.0 || ratio.iter().any(|r| (r - scale).abs() > TOLERANCE) {
        return Err(no_ratio(&lr, &hr, large, small));
    }
    let [hsi_x, _, _, hsi_y, ..] = lr.transform.0;
    let [msi_x, _, _, msi_y, ..] = hr.transform.0;
    let first = [(hsi_y - msi_y) / small[0], (hsi_x - msi_x) / small[1]];
    let mut cut = [(0..0, 0..0), (0..0, 0..0)];
    let mut remainder = [0.0; 2];
    for axis in 0..2 {
        // A ratio that is not quite an integer drifts; it is right in the middle of the image.
        let exact = first[axis] + 0.5 * (ratio[axis] - scale) * lr.size[axis] as f64;
        let (rows, offset) = common(exact.round(), scale, lr.size[axis], hr.size[axis]).ok_or_else(|| {
            Error::input(format!(
                "{msi_name}: shares no pixel of {hsi_name}, whose corner lies {:.1} rows and {:.1} columns of the MSI from its own; \
                 take images of one place, or place them by their sizes with --ignore-georeference",
                first[0], first[1]
            ))
        })?;
        let hr_rows = offset..offset + rows.len() * scale as usize;
        cut[axis] = (rows, hr_rows);
        remainder[axis] = exact - exact.round();
    }
    let [(lr_rows, hr_rows), (lr_columns, hr_columns)] = cut;
    Ok(Some(Overlap {
        scale: scale as usize,
        lr: (lr_rows, lr_columns),
        hr: (hr_rows, hr_columns),
        whole: [hsi, msi].map(|image| (image.dim().0, image.dim().1)),
        remainder,
    }))
}

/// The LR pixels of one axis that lie within the HR image, if LR pixel 0 begins at HR pixel `offset` (an integer), and
/// the HR pixel at which the first of them begins.
fn common(offset: f64, scale: f64, lr: usize, hr: usize) -> Option<(Range<usize>, usize)> {
    let first = (-offset / scale).ceil().max(0.0);
    let end = ((hr as f64 - offset) / scale).floor().min(lr as f64);
    if first >= end {
        return None;
    }
    Some((first as usize..end as usize, (offset + first * scale) as usize))
}

fn no_ratio(lr: &Placed, hr: &Placed, large: [f64; 2], small: [f64; 2]) -> Error {
    let ratio = [large[0] / small[0], large[1] / small[1]];
    let advice = match ratio[0] > 0.0 && ratio[1] > 0.0 {
        true => {
            let scale = ratio[0].max(ratio[1]).round().max(1.0);
            format!(
                "resample the MSI, for example with gdalwarp -r cubic -tr {} {}",
                large[1].abs() / scale,
                large[0].abs() / scale
            )
        }
        false => "the axes of one of them run the other way; write it anew with gdalwarp".to_owned(),
    };
    Error::input(format!(
        "{}: pixels of {} x {} against {} x {} of {}: the ratio ({:.4} and {:.4}) must be one integer on both axes; {advice}",
        hr.name,
        small[1].abs(),
        small[0].abs(),
        large[1].abs(),
        large[0].abs(),
        lr.name,
        ratio[1],
        ratio[0]
    ))
}

impl Overlap {
    /// One line about what is cut off, if anything is.
    pub fn note(&self) -> Option<String> {
        let size = |part: &Part| (part.0.len(), part.1.len());
        let (lr, hr) = (size(&self.lr), size(&self.hr));
        let [whole_lr, whole_hr] = self.whole;
        ([lr, hr] != self.whole).then(|| {
            format!(
                "note: by their grids the images share {} x {} of {} x {} HSI and {} x {} of {} x {} MSI pixels; the result \
                 begins at row {}, column {} of the MSI",
                lr.0, lr.1, whole_lr.0, whole_lr.1, hr.0, hr.1, whole_hr.0, whole_hr.1, self.hr.0.start, self.hr.1.start
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cube::Cube;
    use crate::cube::grid::{GeoTiffTags, Source};
    use ndarray::Array3;

    /// An image whose first corner is at (x, y), with square pixels and rows that run south.
    fn image(size: (usize, usize), x: f64, y: f64, pixel: f64) -> Cube {
        let mut cube = Cube::new(Array3::zeros((size.0, size.1, 1)));
        cube.metadata.grid = Some(Grid {
            transform: Transform::new([x, pixel, 0.0, y, 0.0, -pixel]),
            epsg: Some(32633),
            wkt: None,
            source: Source::GeoTiff(GeoTiffTags::default()),
        });
        cube
    }

    fn found(hsi: &Cube, msi: &Cube) -> Overlap {
        overlap(hsi, msi, "x", "y").unwrap().unwrap()
    }

    #[test]
    fn images_of_one_extent_are_left_alone() {
        let (hsi, msi) = (
            image((4, 5), 500.0, 4000.0, 30.0),
            image((12, 15), 500.0, 4000.0, 10.0),
        );
        let part = found(&hsi, &msi);
        assert_eq!(
            (part.scale, &part.lr, &part.hr),
            (3, &(0..4, 0..5), &(0..12, 0..15))
        );
        assert_eq!(part.remainder, [0.0; 2]);
        assert_eq!(part.note(), None);
        assert_eq!(
            msi.metadata.cropped(part.hr.0.start, part.hr.1.start),
            msi.metadata
        );
        let mut none = hsi.clone();
        none.metadata.grid = None;
        assert_eq!(overlap(&none, &msi, "x", "y").unwrap(), None);
    }

    #[test]
    fn each_may_reach_beyond_the_other() {
        // The MSI begins 10 m to the right of and 20 m above the HSI, and ends 5 HR pixels earlier at the right.
        let hsi = image((4, 5), 500.0, 4000.0, 30.0);
        let msi = image((16, 9), 510.0, 4020.0, 10.0);
        let part = found(&hsi, &msi);
        assert_eq!(part.lr, (0..4, 1..3));
        assert_eq!(part.hr, (2..14, 2..8));
        let corner = |cube: &Cube, (rows, columns): &Part| {
            let cut = cube.metadata.cropped(rows.start, columns.start);
            let t = cut.grid.unwrap().transform.unwrap().0;
            (t[0], t[3])
        };
        assert_eq!(corner(&hsi, &part.lr), (530.0, 4000.0));
        assert_eq!(corner(&msi, &part.hr), (530.0, 4000.0));
        assert!(part.note().unwrap().contains("row 2, column 2"));
    }

    #[test]
    fn a_part_of_a_pixel_is_left_to_the_registration() {
        // 0.3 HR pixels to the right, 0.4 down; an extent less by half an LR pixel at the right.
        let hsi = image((4, 4), 503.0, 3996.0, 30.0);
        let msi = image((12, 11), 500.0, 4000.0, 10.0);
        let part = found(&hsi, &msi);
        assert_eq!((&part.lr, &part.hr), (&(0..4, 0..3), &(0..12, 0..9)));
        assert!((part.remainder[0] - 0.4).abs() < 1e-9 && (part.remainder[1] - 0.3).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_may_miss_an_integer_by_a_thousandth_and_no_more() {
        let msi = image((300, 300), 0.0, 0.0, 10.0);
        // 100 LR pixels of 3.0009 HR pixels: 0.09 too far at the end, so all but the last lie within, and right in the middle.
        let near = found(&image((100, 100), 0.0, 0.0, 30.009), &msi);
        assert_eq!((near.scale, near.lr.0), (3, 0..100));
        assert!((near.remainder[0] - 0.045).abs() < 1e-9);
        let message = |hsi: &Cube, msi: &Cube| {
            let error = overlap(hsi, msi, "x", "y").unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'));
            error.to_string()
        };
        let odd = message(&image((100, 100), 0.0, 0.0, 30.02), &msi);
        assert!(odd.contains("3.0020") && odd.contains("gdalwarp"), "{odd}");
        let between = message(&image((9, 9), 0.0, 0.0, 30.0), &image((22, 22), 0.0, 0.0, 12.5));
        assert!(between.contains("-tr 15 15"), "{between}");
        assert!(message(&image((9, 9), 9e6, 0.0, 30.0), &msi).contains("shares no pixel"));
        assert!(message(&image((9, 9), f64::MAX, 0.0, 30.0), &msi).contains("shares no pixel"));
        let mut other = msi.clone();
        other.metadata.grid.as_mut().unwrap().epsg = Some(32634);
        assert!(message(&image((9, 9), 0.0, 0.0, 30.0), &other).contains("EPSG:32634"));
        other = msi.clone();
        other.metadata.grid.as_mut().unwrap().transform = Transform::new([0.0, 9.0, 3.0, 0.0, 3.0, -9.0]);
        assert!(message(&image((9, 9), 0.0, 0.0, 30.0), &other).contains("rotated"));
        other.metadata.grid.as_mut().unwrap().transform = Transform::new([0.0, 10.0, 0.0, 0.0, 0.0, 10.0]);
        assert!(message(&image((9, 9), 0.0, 0.0, 30.0), &other).contains("other way"));
    }
}
