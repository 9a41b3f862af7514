//! Registration of images whose places are known.

use ndarray::{Array2, Array3};

use super::features::{Components, Pyramid, Reduced};
use super::geometry::{Base, Geometry, Place};
use super::misplacement::Stage;
use super::ratio::ratios;
use super::register::{Align, Registration, register};

/// Textures of blobs of many sizes, the same for the same seed.
fn texture(seed: u32, place: Place) -> f64 {
    let word = |k: u32, n: u32| {
        let w = crate::random::philox([seed, 7], [k, n, 0, 0])[0];
        f64::from(w) / f64::from(u32::MAX)
    };
    let mut sum = 0.0;
    for k in 0..40 {
        let (angle, length) = (6.3 * word(k, 0), 0.08 + 0.9 * word(k, 1) * word(k, 1));
        let phase = length * (angle.cos() * place[0] + angle.sin() * place[1]) + 6.3 * word(k, 2);
        sum += phase.sin() / (1.0 + 3.0 * length);
    }
    sum
}

/// An HSI of 30 × 32 LR pixels of 3 × 3, 12 bands of three textures; and an MSI of `size` that shows at its places what
/// `there` says.
fn pair(seed: u32, size: [usize; 2], there: impl Fn(Place) -> Place) -> (Array3<f32>, Array3<f32>) {
    let grey = |p: Place| [0, 1, 2].map(|k| texture(seed + k, p));
    let noise = |a: usize, b: usize| {
        let word = crate::random::philox([seed, 9], [a as u32, b as u32, 0, 0])[0];
        0.02 * (f64::from(word) / f64::from(u32::MAX) - 0.5)
    };
    let hsi = Array3::from_shape_fn((30, 32, 12), |(r, c, b)| {
        let mut sum = 0.0;
        for i in 0..3 {
            for j in 0..3 {
                let g = grey([3.0 * r as f64 + i as f64 + 0.5, 3.0 * c as f64 + j as f64 + 0.5]);
                sum += g[b % 3] + 0.3 * g[(b / 3) % 3];
            }
        }
        (5.0 + sum / 9.0 + noise(r * 32 + c, b)) as f32
    });
    let msi = Array3::from_shape_fn((size[0], size[1], 3), |(r, c, b)| {
        let g = grey(there([r as f64 + 0.5, c as f64 + 0.5]));
        (3.0 + g[b] - 0.5 * g[(b + 1) % 3] + noise(r * 1000 + c, 50 + b)) as f32
    });
    (hsi, msi)
}

fn all(image: &Array3<f32>) -> Array2<bool> {
    Array2::from_elem((image.dim().0, image.dim().1), true)
}

fn features((hsi, msi): &(Array3<f32>, Array3<f32>), ratio: f64) -> (Components, Reduced) {
    let components = Components::of_hsi(hsi.view(), all(hsi).view()).unwrap();
    let reduced = Reduced::new(msi.view(), all(msi).view(), [ratio; 2]).unwrap();
    (components, reduced)
}

fn found(images: &(Array3<f32>, Array3<f32>), align: Align) -> Registration {
    let (hsi, msi) = features(images, 3.0);
    let start = Geometry::new([30, 32], Base::affine([0.0; 2], [[3.0, 0.0], [0.0, 3.0]]));
    register(&hsi, &msi, &start, [images.1.dim().0, images.1.dim().1], align)
}

#[test]
fn an_aligned_pair_stays_bit_for_bit() {
    let still = found(&pair(1, [90, 96], |p| p), Align::Auto);
    assert_eq!(still.found.stage, Stage::None);
    assert_eq!(
        still.geometry.displacement,
        Geometry::new([30, 32], still.geometry.base.clone()).displacement
    );
    assert!(still.told());
}

#[test]
fn a_shift_of_several_lr_pixels_is_found() {
    // What lies at p of the HSI lies at p + (19, -11.5) of the MSI.
    let moved = found(&pair(2, [90, 96], |p| [p[0] - 19.0, p[1] + 11.5]), Align::Auto);
    let [down, across] = moved.found.shift;
    assert_eq!(moved.found.stage, Stage::Shift, "{:?}", moved.found);
    assert!(
        (3.0 * down - 19.0).abs() < 0.1 && (3.0 * across + 11.5).abs() < 0.1,
        "{:?}",
        moved.found
    );
}

#[test]
fn a_turned_image_is_found_where_that_is_allowed() {
    let (sin, cos) = 1.5f64.to_radians().sin_cos();
    let turned = |p: Place| {
        let (r, c) = (p[0] - 45.0, p[1] - 48.0);
        [45.0 + cos * r - sin * c, 48.0 + sin * r + cos * c]
    };
    let images = pair(3, [90, 96], turned);
    let affine = found(&images, Align::Affine).found;
    assert_eq!(affine.stage, Stage::Affine, "{affine:?}");
    assert!((affine.rotation.abs() - 1.5).abs() < 0.05, "{affine:?}");
    assert!(affine.scale.iter().all(|s| (s - 1.0).abs() < 0.004), "{affine:?}");
    assert_ne!(found(&images, Align::Shift).found.stage, Stage::Affine);
}

#[test]
fn a_warp_is_met_by_a_field() {
    let warp = |p: Place| [p[0] + 1.5 * (p[1] / 13.0).sin(), p[1] + 1.5 * (p[0] / 11.0).cos()];
    let images = pair(4, [90, 96], warp);
    let local = found(&images, Align::Auto);
    assert_eq!(local.found.stage, Stage::Local, "{:?}", local.found);
    let affine = found(&images, Align::Affine);
    let miss = |r: &Registration| {
        let places = (4..26).flat_map(|r| (4..28).map(move |c| [f64::from(r), f64::from(c)]));
        let errors = places.map(|p| {
            // The MSI at `at` shows the HSI's place `there`, which is to be p.
            let there = warp(r.geometry.at(p));
            (there[0] - 3.0 * p[0]).powi(2) + (there[1] - 3.0 * p[1]).powi(2)
        });
        let errors: Vec<f64> = errors.collect();
        (errors.iter().sum::<f64>() / errors.len() as f64).sqrt()
    };
    assert!(
        miss(&local) < 0.4 && miss(&affine) > 0.8,
        "{} {}",
        miss(&local),
        miss(&affine)
    );
}

#[test]
fn another_place_is_not_believed() {
    for seed in [5, 60, 70] {
        let hsi = pair(seed, [90, 96], |p| p).0;
        let msi = pair(seed + 300, [90, 96], |p| p).1;
        let other = found(&(hsi, msi), Align::Auto);
        assert_eq!(
            (other.found.stage, other.told()),
            (Stage::None, false),
            "{seed}: {:?}",
            other.found
        );
    }
}

#[test]
fn without_georeferences_the_images_say_the_ratio() {
    // 20 pixels more on all sides, so that sizes say 4.3 and 4.25.
    let images = pair(8, [130, 136], |p| [p[0] - 20.0, p[1] - 20.0]);
    let hsi = features(&images, 4.3).0;
    let msi = Pyramid::new(images.1.view(), all(&images.1).view()).unwrap();
    let best = ratios(&hsi, &msi, [130, 136], None, 1).remove(0);
    assert_eq!(best.base.ratio([30, 32]), [3.0; 2]);
    let corner = best.at([0.0; 2]);
    assert!(corner.iter().all(|x| (x - 20.0).abs() < 1.0), "{corner:?}");
    // Where sizes say what is right, they have no rival.
    let images = pair(8, [90, 96], |p| p);
    let msi = Pyramid::new(images.1.view(), all(&images.1).view()).unwrap();
    let sizes = Geometry::new([30, 32], Base::affine([0.0; 2], [[3.0, 0.0], [0.0, 3.0]]));
    let others = ratios(&hsi, &msi, [90, 96], Some(&sizes), 3);
    assert!(others.iter().all(|g| g.base.ratio([30, 32]) == [3.0; 2]));
}
