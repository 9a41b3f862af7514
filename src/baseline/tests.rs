//! What holds for every method, and values of single ones that are worked out by hand.

use ndarray::{Array2, Array3, s};

use super::{Inputs, Method, fuse};
use crate::cube::{Cube, bicubic};
use crate::error::Result;
use crate::interrupt::Token;

/// Two images, a PSF of one LR pixel, and which LR pixels may be gone by.
struct Case {
    hsi: Array3<f32>,
    msi: Array3<f32>,
    scale: usize,
    response: Array2<f64>,
    usable: Array2<bool>,
}

impl Case {
    fn new(hsi: Array3<f32>, msi: Array3<f32>) -> Case {
        let (h, w, bands) = hsi.dim();
        Case {
            scale: msi.dim().0 / h,
            response: Array2::from_elem((bands, msi.dim().2), 1.0 / bands as f64),
            usable: Array2::from_elem((h, w), true),
            hsi,
            msi,
        }
    }

    /// Both images of a scene that is smooth and has detail: `h` × `w` LR pixels, `bands` and `msi_bands`.
    fn simulated(
        (h, w, bands): (usize, usize, usize),
        msi_bands: usize,
        scale: usize,
    ) -> (Case, Array3<f32>) {
        let truth = Array3::from_shape_fn((h * scale, w * scale, bands), |(r, c, b)| {
            let (r, c, b) = (r as f32, c as f32, b as f32 / bands as f32);
            let (first, second) = (
                0.5 + 0.4 * (0.9 * r + 0.3 * c).sin(),
                0.5 + 0.4 * (0.23 * c - 0.4 * r).cos(),
            );
            first * (1.0 - b) + second * b * b + 0.1
        });
        let each = bands.div_ceil(msi_bands);
        let response = Array2::from_shape_fn((bands, msi_bands), |(k, j)| {
            let first = (j * each).min(bands - 1);
            let last = ((j + 1) * each).min(bands).max(first + 1);
            if (first..last).contains(&k) {
                1.0 / (last - first) as f64
            } else {
                0.0
            }
        });
        let mixed = |pixel: ndarray::ArrayView1<f32>, j: usize| -> f32 {
            let weights = response.column(j);
            pixel.iter().zip(&weights).map(|(&x, &r)| x * r as f32).sum()
        };
        let msi = Array3::from_shape_fn((h * scale, w * scale, msi_bands), |(r, c, j)| {
            mixed(truth.slice(s![r, c, ..]), j)
        });
        let hsi = Array3::from_shape_fn((h, w, bands), |(r, c, k)| {
            let block = s![r * scale..(r + 1) * scale, c * scale..(c + 1) * scale, k];
            truth.slice(block).mean().unwrap()
        });
        (
            Case {
                response,
                ..Case::new(hsi, msi)
            },
            truth,
        )
    }

    fn fuse(&self, method: Method) -> Result<Array3<f32>> {
        let side = self.scale;
        let psf = Array2::from_elem((side, side), 1.0 / (side * side) as f64);
        let inputs = Inputs {
            hsi: self.hsi.view(),
            msi: self.msi.view(),
            scale: self.scale,
            psf: &psf,
            response: &self.response,
            usable: self.usable.view(),
        };
        let mut last = (0, 0);
        let image = fuse(method, &inputs, &mut |done, total| last = (done, total))?;
        assert_eq!(last.0, last.1, "{}", method.name());
        Ok(image)
    }
}

fn error(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    let squares = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
    (squares / a.len() as f32).sqrt()
}

/// LR values, and an MSI of one band that has them as means of its 2×2 blocks; the HSI's second band is twice the first.
fn proportional() -> Case {
    let value = |r: usize, c: usize| [0.2, 0.5, 0.9, 0.4, 0.7, 0.3][(2 * r + c) % 6];
    let hsi = Array3::from_shape_fn((4, 5, 2), |(r, c, k)| value(r, c) * (1 + k) as f32);
    let msi = Array3::from_shape_fn((8, 10, 1), |(r, c, _)| {
        let detail = [[0.1, -0.1], [0.05, -0.05]][r % 2][c % 2];
        value(r / 2, c / 2) + detail
    });
    Case::new(hsi, msi)
}

// The intensity is the first band and its fit without error; gains are 1 and 2, so the bands become Y and 2 Y. So they do where
// Y itself is the synthesised band and the pyramid takes out what it puts in.
#[test]
fn injection_of_proportional_bands_by_hand() {
    let case = proportional();
    for method in [Method::Gsa, Method::Glp, Method::GlpHpm] {
        let image = case.fuse(method).unwrap();
        for ((r, c, k), &x) in image.indexed_iter() {
            let expected = case.msi[[r, c, 0]] * (1 + k) as f32;
            assert!(
                (x - expected).abs() < 1e-5,
                "{} {r} {c} {k}: {x} {expected}",
                method.name()
            );
        }
    }
}

// Of an even side the mean is over 3×3 pixels of weights 1, 2, 1 over 4 each way.
#[test]
fn modulation_by_hand() {
    let case = proportional();
    let image = case.fuse(Method::Sfim).unwrap();
    let expanded = bicubic::upsample(&Cube::new(case.hsi.clone()), 2)
        .unwrap()
        .samples;
    let mut mean = 0.0;
    for (i, down) in [0.25, 0.5, 0.25].into_iter().enumerate() {
        for (j, across) in [0.25, 0.5, 0.25].into_iter().enumerate() {
            mean += down * across * case.msi[[2 + i, 3 + j, 0]];
        }
    }
    for k in 0..2 {
        let expected = expanded[[3, 4, k]] * case.msi[[3, 4, 0]] / mean;
        assert!((image[[3, 4, k]] - expected).abs() < 1e-5);
    }
}

/// Y is constant over every block, so that (Y∗C)↓ is the block's own pixel and a spectrum that is a quadratic of Y is one on
/// both grids.
fn polynomial(of: impl Fn([f64; 2], usize) -> f64) -> (Case, Array3<f32>) {
    let pixel = |r: usize, c: usize| {
        let (r, c) = (r as f64, c as f64);
        [
            0.5 + 0.4 * (1.3 * r + 0.2 * c).sin(),
            0.5 + 0.4 * (0.7 * c - 0.9 * r).cos(),
        ]
    };
    let hsi = Array3::from_shape_fn((9, 8, 5), |(r, c, b)| of(pixel(r, c), b) as f32);
    let truth = Array3::from_shape_fn((27, 24, 5), |(r, c, b)| hsi[[r / 3, c / 3, b]]);
    let msi = Array3::from_shape_fn((27, 24, 2), |(r, c, j)| pixel(r / 3, c / 3)[j] as f32);
    (Case::new(hsi, msi), truth)
}

// The ridge moves a coefficient by about 1e-8 of its size and single precision rounds to 6e-8.
#[test]
fn regression_recovers_a_quadratic_and_no_cubic() {
    let (case, truth) = polynomial(|[x, y], band| {
        let b = band as f64;
        0.2 + 0.1 * b * x + 0.3 * y + (0.2 - 0.05 * b) * x * x + 0.1 * x * y + 0.04 * b * y * y
    });
    let worst = |case: &Case, truth: &Array3<f32>| {
        let found = case.fuse(Method::Regression).unwrap();
        (&found - truth).iter().fold(0f32, |m, e| m.max(e.abs()))
    };
    assert!(worst(&case, &truth) < 2e-6);
    let (case, truth) = polynomial(|[x, _], _| x.powi(3));
    assert!(worst(&case, &truth) > 1e-3);
}

#[test]
fn every_method_beats_interpolation_on_a_scene_of_two_materials() {
    let (case, truth) = Case::simulated((8, 9, 12), 3, 4);
    let interpolated = bicubic::upsample(&Cube::new(case.hsi.clone()), 4)
        .unwrap()
        .samples;
    let most = error(&interpolated, &truth);
    for method in Method::ALL {
        let found = error(&case.fuse(method).unwrap(), &truth);
        assert!(found < 0.6 * most, "{}: {found} of {most}", method.name());
    }
}

#[test]
fn the_solution_agrees_with_both_images() {
    let (case, _) = Case::simulated((7, 6, 9), 3, 3);
    let image = case.fuse(Method::Fuse).unwrap();
    let side = Array2::from_elem((3, 3), 1.0 / 9.0);
    let low = crate::sensor::observe::blur_samples(image.view(), &side, 3).unwrap();
    let seen = crate::sensor::observe::apply_response(&Cube::new(image), &case.response).unwrap();
    assert!(error(&low, &case.hsi) < 2e-3 && error(&seen.samples, &case.msi) < 2e-3);
}

// One band, odd sizes, a scale of 1, dead bands, a flat scene, more bands than pixels, negative samples: numbers, always.
#[test]
fn never_anything_but_numbers() {
    let mut cases = vec![
        Case::simulated((3, 5, 7), 1, 3).0,
        Case::simulated((1, 1, 6), 2, 5).0,
        Case::simulated((2, 1, 40), 4, 2).0,
        Case::simulated((5, 4, 6), 2, 1).0,
        Case::new(
            Array3::from_elem((3, 3, 4), 0.5),
            Array3::from_elem((6, 6, 2), 0.25),
        ),
        Case::new(Array3::zeros((3, 3, 4)), Array3::from_elem((6, 6, 2), 0.25)),
        Case::new(Array3::from_elem((3, 3, 4), 0.5), Array3::zeros((6, 6, 2))),
    ];
    let (mut dead, _) = Case::simulated((4, 5, 8), 3, 2);
    dead.hsi.slice_mut(s![.., .., 2..4]).fill(0.0);
    cases.push(dead);
    let (mut negative, _) = Case::simulated((4, 5, 8), 3, 2);
    negative.hsi -= 0.6;
    negative.msi -= 0.6;
    cases.push(negative);
    for (number, case) in cases.iter().enumerate() {
        for method in Method::ALL {
            let image = case
                .fuse(method)
                .unwrap_or_else(|e| panic!("{number} {}: {e}", method.name()));
            assert!(image.iter().all(|x| x.is_finite()), "{number} {}", method.name());
            let (rows, columns, _) = case.msi.dim();
            assert_eq!(image.dim(), (rows, columns, case.hsi.dim().2));
        }
    }
}

// What masked LR pixels hold is seen by none, and elsewhere they change little.
#[test]
fn masked_pixels_are_gone_without() {
    let (mut case, truth) = Case::simulated((8, 8, 6), 3, 3);
    case.usable[[3, 4]] = false;
    case.usable[[0, 0]] = false;
    for method in Method::ALL {
        let mut made = [0.0, 1e6, f32::NAN].map(|x| {
            case.hsi.slice_mut(s![3, 4, ..]).fill(x);
            case.hsi.slice_mut(s![0, 0, ..]).fill(x);
            case.fuse(method).unwrap()
        });
        let first = std::mem::take(&mut made[0]);
        assert!(made[1..].iter().all(|other| *other == first), "{}", method.name());
        let hole = s![9..12, 12..15, ..];
        let found = error(&first.slice(hole).to_owned(), &truth.slice(hole).to_owned());
        assert!(found < 0.1, "{}: {found}", method.name());
    }
    case.usable.fill(false);
    for method in Method::ALL {
        assert_eq!(case.fuse(method).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn every_method_stops_when_it_is_told_to() {
    let (case, _) = Case::simulated((6, 5, 6), 2, 2);
    let token = Token::new();
    token.cancel();
    for method in Method::ALL {
        let error = token.during(|| case.fuse(method)).unwrap_err();
        assert_eq!(error.exit_code(), 130, "{}", method.name());
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let (mut case, _) = Case::simulated((6, 5, 6), 2, 2);
    case.response = Array2::from_elem((5, 2), 0.2);
    assert_eq!(case.fuse(Method::Gsa).unwrap_err().exit_code(), 2);
}
