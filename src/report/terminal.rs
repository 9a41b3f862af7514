//! PSF and SRF in characters, for a report on a terminal.

use std::fmt::Write;

use ndarray::Array2;

/// Characters from dark to bright; two of them make a square.
const RAMP: &[u8] = b" .:-=+*#%@";
/// Most rows of a PSF picture.
const PSF_ROWS: usize = 16;
/// Characters from low to high.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Most characters of a response curve.
const CURVE: usize = 64;

/// A kernel as a picture of characters: the square around its centre that holds all weights above 2 % of the
/// largest, two characters a cell; the line below says how many pixels a cell is.
///
/// `kernel` is K×K with its centre on pixel K/2; weights that are not positive and finite are blank.
pub fn psf_picture(kernel: &Array2<f64>) -> String {
    let size = kernel.nrows().min(kernel.ncols());
    let weight = |i: usize, j: usize| Some(kernel[[i, j]]).filter(|w| w.is_finite()).unwrap_or(0.0);
    let peak = (0..size)
        .flat_map(|i| (0..size).map(move |j| (i, j)))
        .fold(0.0, |peak: f64, (i, j)| peak.max(weight(i, j)));
    if peak <= 0.0 {
        return "(a PSF without positive weights)\n".to_owned();
    }
    let centre = size / 2;
    let mut radius = 0;
    for i in 0..size {
        for j in 0..size {
            if weight(i, j) > 0.02 * peak {
                radius = radius.max(i.abs_diff(centre)).max(j.abs_diff(centre));
            }
        }
    }
    let side = 2 * radius + 1;
    let cell = side.div_ceil(PSF_ROWS);
    let cells = side.div_ceil(cell);
    // Mean weight of a cell; pixels outside the kernel count as nothing.
    let value = |row: usize, column: usize| {
        let mut sum = 0.0;
        for i in row * cell..(row + 1) * cell {
            for j in column * cell..(column + 1) * cell {
                let (i, j) = ((i + centre).checked_sub(radius), (j + centre).checked_sub(radius));
                if let (Some(i), Some(j)) = (i, j)
                    && i < size
                    && j < size
                {
                    sum += weight(i, j);
                }
            }
        }
        sum / (cell * cell) as f64
    };
    let values = Array2::from_shape_fn((cells, cells), |(r, c)| value(r, c));
    let brightest = values.iter().fold(0.0f64, |a, &b| a.max(b));
    let mut text = String::new();
    for row in values.rows() {
        for &v in row {
            let level = (v / brightest * (RAMP.len() - 1) as f64).round() as usize;
            let character = RAMP[level.min(RAMP.len() - 1)] as char;
            text.push(character);
            text.push(character);
        }
        text.push('\n');
    }
    let unit = if cell == 1 { "pixel" } else { "pixels" };
    // Writing into a String cannot fail.
    let _ = writeln!(text, "cell {cell} {unit} wide, largest weight {peak:.4}");
    text
}

/// The columns of a response (B×b) as curves of characters, each with the band of its peak and, where the image has
/// `wavelengths` (nm), that band's.
///
/// More than 64 bands are drawn in groups, each by its largest weight.
pub fn srf_curves(response: &Array2<f64>, wavelengths: Option<&[f64]>) -> String {
    let bands = response.nrows();
    let group = bands.div_ceil(CURVE).max(1);
    let mut text = String::new();
    for (j, column) in response.columns().into_iter().enumerate() {
        let weights: Vec<f64> = column
            .iter()
            .map(|&w| if w.is_finite() { w.max(0.0) } else { 0.0 })
            .collect();
        let (at, peak) = weights
            .iter()
            .enumerate()
            .fold((0, 0.0), |best, (i, &w)| if w > best.1 { (i, w) } else { best });
        let curve: String = weights
            .chunks(group)
            .map(|g| {
                let w = g.iter().fold(0.0f64, |a, &b| a.max(b));
                let level = if peak > 0.0 {
                    (w / peak * 7.0).round() as usize
                } else {
                    0
                };
                BARS[level.min(7)]
            })
            .collect();
        let nm = wavelengths
            .and_then(|w| w.get(at))
            .map_or(String::new(), |w| format!(" ({w:.0} nm)"));
        let _ = writeln!(text, "MSI band {j:>2} {curve} peak at band {at}{nm}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cube::Metadata;
    use crate::sensor::catalogue::SrfSpec;
    use crate::sensor::psf::GaussianPsf;

    #[test]
    fn small_psf_by_hand() {
        let mut kernel = Array2::zeros((5, 5));
        kernel[[2, 2]] = 0.6;
        kernel[[2, 3]] = 0.4;
        // Level of 0.4/0.6 is 6 of 9.
        assert_eq!(
            psf_picture(&kernel),
            "      \n  @@**\n      \ncell 1 pixel wide, largest weight 0.6000\n"
        );
        assert!(psf_picture(&Array2::zeros((3, 3))).contains("without"));
        assert!(psf_picture(&Array2::zeros((0, 0))).contains("without"));
    }

    #[test]
    fn wide_psf_fits_a_terminal() {
        let psf = GaussianPsf::from_variances(28.0, 1.0, 3.52).unwrap().kernel(32);
        let text = psf_picture(&psf);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= PSF_ROWS + 1);
        assert!(lines.iter().all(|l| l.len() <= 80));
        assert!(lines[..lines.len() - 1].iter().any(|l| l.contains("@@")));
        assert!(lines[lines.len() - 1].starts_with("cell 2 pixels wide"));
    }

    #[test]
    fn curves_show_their_peaks() {
        let srf = SrfSpec::nikon_d700()
            .response(&Metadata::default(), 31, None)
            .unwrap()
            .unwrap();
        let centres: Vec<f64> = (0..31).map(|i| 400.0 + 10.0 * f64::from(i)).collect();
        let text = srf_curves(&srf, Some(&centres));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].ends_with("peak at band 6 (460 nm)"), "{text}");
        assert!(lines[2].contains("█") && lines[2].ends_with("peak at band 21 (610 nm)"));
        assert_eq!(
            lines[0].matches(['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']).count(),
            31
        );
        let wide = srf_curves(&Array2::from_elem((200, 1), 0.005), None);
        assert!(wide.ends_with("peak at band 0\n"));
        assert_eq!(wide.matches('█').count(), 50);
    }
}
