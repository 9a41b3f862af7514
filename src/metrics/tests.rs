//! Values worked out by hand, values of an independent computation, and the edge cases.

use ndarray::{Array2, Array3, s};

use super::pair::Row;
use super::slide::Rows;
use super::*;
use crate::cube::Cube;

fn cube(rows: usize, columns: usize, bands: usize, f: impl Fn(usize, usize, usize) -> f64) -> Cube {
    Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
        f(r, c, b) as f32
    }))
}

/// A textured pair: integers of a congruential pattern, and the same with a small deterministic error.
fn pair() -> (Cube, Cube) {
    let x =
        |r: usize, c: usize, b: usize| ((r * 37 + c * 91 + b * 53 + (r * c) % 17 * 29) % 256) as f64 / 255.0;
    let error = |r: usize, c: usize, b: usize| (((r * 13 + c * 7 + b * 11) % 32) as f64 - 15.5) / 320.0;
    (
        cube(40, 48, 4, x),
        cube(40, 48, 4, |r, c, b| x(r, c, b) + error(r, c, b)),
    )
}

fn assert_scores(s: &Scores, expected: [f64; 6], tolerance: f64) {
    let found = [s.psnr_db, s.sam_deg, s.ergas, s.uiqi, s.ssim, s.rmse];
    for ((name, a), b) in ["psnr", "sam", "ergas", "uiqi", "ssim", "rmse"]
        .iter()
        .zip(found)
        .zip(expected)
    {
        assert!(
            (a - b).abs() <= tolerance * b.abs().max(1e-3),
            "{name}: {a} is not {b}"
        );
    }
}

#[test]
fn constant_offset_by_hand() {
    // One band of 0.5 against 0.4: PSNR = 20 log10(0.5/0.1), ERGAS = 100/4 · 0.1/0.5, parallel spectra,
    // UIQI and the luminance factor of SSIM are 2·0.2 / 0.41 (SSIM with c1 = (0.01·0.5)²).
    let s = evaluate(
        &cube(40, 40, 1, |_, _, _| 0.5),
        &cube(40, 40, 1, |_, _, _| 0.4),
        4,
        Convention::Strict,
    )
    .unwrap();
    let c1 = 0.005f64.powi(2);
    let expected = [
        20.0 * 5f64.log10(),
        0.0,
        5.0,
        0.4 / 0.41,
        (0.4 + c1) / (0.41 + c1),
        0.1,
    ];
    // 0.4 is not a single-precision number: 3e-8 relative.
    assert_scores(&s, expected, 1e-6);
    assert_eq!((s.pixels, s.masked), (1600, 0));
}

#[test]
fn angle_by_hand() {
    // (1, 0) against (1, 1) is 45°; (0, 2) against (0, 1) is 0°: mean 22.5°.
    let reference = cube(1, 2, 2, |_, c, b| [[1.0, 0.0], [0.0, 2.0]][c][b]);
    let estimate = cube(1, 2, 2, |_, c, b| [[1.0, 1.0], [0.0, 1.0]][c][b]);
    let s = evaluate(&reference, &estimate, 1, Convention::Strict).unwrap();
    assert!((s.sam_deg - 22.5).abs() < 1e-12);
}

#[test]
fn agrees_with_an_independent_computation() {
    // Computed with numpy: means and arccos written out, UIQI by explicit 32x32 windows with sample covariances,
    // SSIM by skimage 0.26 structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    // data_range=reference maximum), on the same single-precision arrays.
    let (x, y) = pair();
    let strict = evaluate(&x, &y, 8, Convention::Strict).unwrap();
    assert_scores(
        &strict,
        [
            30.795631258040267,
            2.649916687197423,
            0.7210459395965122,
            0.9950473931622019,
            0.9947342256078902,
            0.02885482483786029,
        ],
        1e-9,
    );
    // skimage defaults with data_range = max - min of the estimate, sewar 0.4.10 uqi, both on x255.
    let daem = evaluate(&x, &y, 8, Convention::Daem).unwrap();
    assert_scores(
        &daem,
        [
            30.795631258040235,
            2.6499255613341632,
            0.1802614848991287,
            0.9987192693533815,
            0.9949203208949657,
            7.357980333654373,
        ],
        1e-9,
    );
}

#[test]
fn equal_images_are_perfect_and_finite() {
    let (x, _) = pair();
    for convention in Convention::ALL {
        let s = evaluate(&x, &x, 4, convention).unwrap();
        assert_eq!(s.psnr_db, PSNR_CAP_DB);
        // The arccosine of `daem` cannot tell angles below 1e-4 degrees from zero.
        assert!(
            s.sam_deg
                < if convention == Convention::Strict {
                    1e-12
                } else {
                    1e-2
                }
        );
        assert_eq!((s.ergas, s.rmse), (0.0, 0.0));
        // Rounding of sums of 1024 products.
        assert!((s.uiqi - 1.0).abs() < 1e-9 && (s.ssim - 1.0).abs() < 1e-9);
        let json = serde_json::to_string(&s).unwrap();
        assert!(json.starts_with(&format!(
            "{{\"convention\":\"{convention}\",\"psnr_db\":160.0,\"sam_deg\":"
        )));
        assert!(!json.contains("null"));
    }
}

#[test]
fn masked_pixels_do_not_count_whatever_they_hold() {
    let (mut x, y) = pair();
    let mut spoilt = y.clone();
    let mask = Array2::from_shape_fn((40, 48), |(r, c)| r < 38 || c % 5 != 0);
    for ((r, c), &ok) in mask.indexed_iter() {
        if !ok {
            spoilt.samples[[r, c, 1]] = f32::NAN;
        }
    }
    x.valid = Some(mask);
    for convention in Convention::ALL {
        let with_samples = evaluate(&x, &y, 4, convention).unwrap();
        let with_nan = evaluate(&x, &spoilt, 4, convention).unwrap();
        assert_eq!(with_samples, with_nan);
        assert_eq!((with_nan.pixels, with_nan.masked), (40 * 48 - 20, 20));
    }
}

#[test]
fn masking_away_rows_equals_cutting_them_for_pixelwise_indices() {
    let (mut x, y) = pair();
    x.valid = Some(Array2::from_shape_fn((40, 48), |(r, _)| r < 36));
    let cut = |c: &Cube| Cube::new(c.samples.slice(s![..36, .., ..]).to_owned());
    let masked = evaluate(&x, &y, 4, Convention::Strict).unwrap();
    let cut = evaluate(&cut(&x), &cut(&y), 4, Convention::Strict).unwrap();
    assert_eq!(
        (masked.psnr_db, masked.sam_deg, masked.ergas, masked.rmse),
        (cut.psnr_db, cut.sam_deg, cut.ergas, cut.rmse)
    );
}

#[test]
fn zero_spectra_are_left_out_and_counted() {
    let (mut x, y) = pair();
    x.samples.slice_mut(s![3, 4..9, ..]).fill(0.0);
    let s = evaluate(&x, &y, 4, Convention::Strict).unwrap();
    assert_eq!((s.pixels, s.masked), (40 * 48 - 5, 5));
    let s = evaluate(&x, &y, 4, Convention::Daem).unwrap();
    assert_eq!((s.pixels, s.masked), (40 * 48, 0));
    // A zero estimate is a wrong one, not a missing one.
    let zero = Cube::new(Array3::zeros(x.samples.dim()));
    let s = evaluate(&x, &zero, 4, Convention::Strict).unwrap();
    assert!((s.sam_deg - 90.0).abs() < 1e-9);
    assert_eq!(s.masked, 5);
    assert!(serde_json::to_string(&s).unwrap().contains("\"masked\":5"));
}

#[test]
fn flat_and_dark_bands_stay_finite() {
    let x = cube(36, 36, 3, |r, c, b| [0.0, 0.7, ((r + 2 * c) % 7) as f64][b]);
    let y = cube(36, 36, 3, |r, c, b| [0.1, 0.7, ((2 * r + c) % 7) as f64][b]);
    for convention in Convention::ALL {
        for (a, b) in [(&x, &y), (&x, &x)] {
            let s = evaluate(a, b, 3, convention).unwrap();
            for v in [s.psnr_db, s.sam_deg, s.ergas, s.uiqi, s.ssim, s.rmse] {
                assert!(v.is_finite(), "{convention}: {s:?}");
            }
        }
    }
}

#[test]
fn images_smaller_than_the_windows() {
    let (x, y) = pair();
    for (rows, columns) in [(1, 1), (3, 39), (8, 8), (9, 5)] {
        let cut = |c: &Cube| Cube::new(c.samples.slice(s![1..=rows, 1..=columns, ..]).to_owned());
        for convention in Convention::ALL {
            let s = evaluate(&cut(&x), &cut(&y), 2, convention).unwrap();
            assert!(
                s.uiqi.is_finite() && s.ssim.is_finite() && s.ssim <= 1.0,
                "{rows}x{columns} {s:?}"
            );
        }
    }
}

// In whole numbers, whose sums are exact.
#[test]
fn window_sums_of_every_side_are_plain_sums() {
    let image = |r: usize, c: usize| ((r * 37 + c * 91 + (r * c) % 17 * 29) % 256) as f64;
    for side in 1..=40 {
        let taps = (0..side).map(|k| (k % 5 + 1) as f64).collect();
        for (weighting, weight) in [
            (Weighting::Box(side), (|_| 1.0) as fn(usize) -> f64),
            (Weighting::Taps(taps), |k| (k % 5 + 1) as f64),
        ] {
            let windows = 48 - side + 1;
            // One that begins at a block's first row and one that does not.
            for first in [0, 3] {
                let mut rows = Rows::<1>::new(side, windows);
                let mut ends = vec![[0.0]; 48];
                for r in first..43 {
                    let row: Vec<[f64; 1]> = (0..48).map(|c| [image(r, c)]).collect();
                    weighting.along_row(1, &row, &mut ends, rows.row(r, windows));
                    let sums = rows.complete(&weighting, r, windows);
                    if r + 1 < first + side {
                        continue;
                    }
                    let top = r + 1 - side;
                    for (c, sum) in sums.iter().enumerate().take(windows) {
                        let expected: f64 = (0..side * side)
                            .map(|k| (k / side, k % side))
                            .map(|(i, j)| weight(i) * weight(j) * image(top + i, c + j))
                            .sum();
                        assert_eq!(*sum, [expected], "side {side}, row {r}, column {c}");
                    }
                }
            }
        }
    }
}

// A wide image has several columns of tiles, and more bands than go side by side.
#[test]
fn tiles_leave_no_seam() {
    let x = cube(70, 150, 11, |r, c, b| {
        ((r * 37 + c * 91 + b * 53 + (r * c) % 17 * 29) % 256) as f64
    });
    let y = cube(70, 150, 11, |r, c, b| {
        ((r * 31 + c * 90 + b * 53 + (r * c) % 19 * 29) % 256) as f64
    });
    let all = vec![true; 150];
    let windows = |weighting| Windows::new(weighting, (70, 150), 0);
    let (uiqi, ssim) = (windows(Weighting::Box(32)), windows(Weighting::Box(9)));
    let ranges = [255.0; 11];
    let indices = Indices {
        uiqi: &uiqi,
        ssim: &ssim,
        as_published: false,
        gain: 1.0,
        ranges: &ranges,
    };
    let (x, y) = (x.samples.as_slice().unwrap(), y.samples.as_slice().unwrap());
    let row = |r: usize| Row {
        reference: &x[r * 150 * 11..(r + 1) * 150 * 11],
        estimate: &y[r * 150 * 11..(r + 1) * 150 * 11],
        counted: &all,
    };
    let mut found = [vec![0.0; 11], vec![0.0; 11]];
    for tile in Tile::over(0..70, 150) {
        let of_tile = OfTile {
            indices: &indices,
            tile: &tile,
            row,
        };
        for (found, sums) in found.iter_mut().zip(Arch::new().dispatch(of_tile)) {
            for row in sums.sums.chunks_exact(11) {
                found.iter_mut().zip(row).for_each(|(f, s)| *f += s);
            }
        }
    }
    // By the formulas, window by window.
    let at = |image: &[f32], r: usize, c: usize, b: usize| f64::from(image[(r * 150 + c) * 11 + b]);
    for b in [0, 7, 8, 10] {
        for (side, index, found) in [(32, 0, found[0][b]), (9, 1, found[1][b])] {
            let mut expected = 0.0;
            for (r, c) in (0..=70 - side).flat_map(|r| (0..=150 - side).map(move |c| (r, c))) {
                let n = (side * side) as f64;
                let mut m = [0.0; 5];
                for (i, j) in (0..side).flat_map(|i| (0..side).map(move |j| (r + i, c + j))) {
                    let (x, y) = (at(x, i, j, b), at(y, i, j, b));
                    for (m, v) in m.iter_mut().zip([x, y, x * x, y * y, x * y]) {
                        *m += v / n;
                    }
                }
                let (vx, vy, cov) = (m[2] - m[0] * m[0], m[3] - m[1] * m[1], m[4] - m[0] * m[1]);
                let (c1, c2) = (2.55f64.powi(2), 7.65f64.powi(2));
                expected += n * if index == 0 {
                    4.0 * cov * m[0] * m[1] / ((vx + vy) * (m[0] * m[0] + m[1] * m[1]))
                } else {
                    (2.0 * m[0] * m[1] + c1) * (2.0 * cov + c2)
                        / ((m[0] * m[0] + m[1] * m[1] + c1) * (vx + vy + c2))
                };
            }
            assert!(
                (found - expected).abs() < 1e-9 * expected.abs(),
                "band {b}, side {side}: {found} is not {expected}"
            );
        }
    }
}

#[test]
fn misuse_is_refused() {
    let (x, y) = pair();
    let narrow = Cube::new(y.samples.slice(s![.., .., ..3]).to_owned());
    let mut broken = y.clone();
    broken.samples[[2, 3, 1]] = f32::INFINITY;
    let dark = Cube::new(Array3::zeros(x.samples.dim()));
    let mut hidden = x.clone();
    hidden.valid = Some(Array2::from_elem((40, 48), false));
    for (reference, estimate, scale, word) in [
        (&x, &narrow, 4, "40 rows x 48 columns x 3 bands"),
        (&x, &y, 0, "scale 0"),
        (&x, &broken, 4, "estimate: sample at row 2, column 3, band 1"),
        (&dark, &y, 4, "all 1920 pixels"),
        (&hidden, &y, 4, "all 1920 pixels"),
    ] {
        let error = evaluate(reference, estimate, scale, Convention::Strict).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!("textbook".parse::<Convention>().is_err());
    assert_eq!("daem".parse::<Convention>().unwrap(), Convention::Daem);
}

// Strips of any height give the bits of the whole image, also where a window is higher than the image.
#[test]
fn strips_leave_no_seam() {
    let (mut x, y) = pair();
    x.samples.slice_mut(s![12..15, 20, ..]).fill(-1.0);
    x.mask_value(-1.0);
    for (x, y) in [(x.clone(), y.clone()), (x.cropped(20, 48), y.cropped(20, 48))] {
        for convention in Convention::ALL {
            let whole = scores(&x, &y, 4, convention, 1000).unwrap();
            assert_eq!(whole, evaluate(&x, &y, 4, convention).unwrap());
            for rows in [1, 7, 33] {
                assert_eq!(whole, scores(&x, &y, 4, convention, rows).unwrap(), "{rows}");
            }
        }
    }
}
