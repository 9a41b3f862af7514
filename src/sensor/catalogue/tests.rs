use ndarray::arr2;

use super::*;
use crate::sensor::psf::centroid;
use crate::sensor::spectral_response::Origin;

#[derive(Deserialize)]
struct Moments {
    psf: Vec<Published>,
}

#[derive(Deserialize)]
struct Published {
    published_moments: Option<[f64; 3]>,
}

// The released kernels are tabulated from samples, so their moments differ from the exact Gaussian's by up to
// 1.1 per cent; a swapped axis or a wrong sign would be off by a factor.
#[test]
fn paper_psfs_have_the_published_second_moments() {
    let table: Moments = toml::from_str(PAPER_PSFS).unwrap();
    let psfs = paper_psfs().unwrap();
    assert_eq!(psfs.len(), 6);
    let mut compared = 0;
    for (psf, published) in psfs.iter().zip(&table.psf) {
        let Some([rr, cc, rc]) = published.published_moments else {
            continue;
        };
        let kernel = psf.kernel(32);
        let moment = |f: fn(f64, f64) -> f64| -> f64 {
            kernel
                .indexed_iter()
                .map(|((i, j), &w)| w * f(i as f64, j as f64))
                .sum()
        };
        let (mr, mc) = (moment(|r, _| r), moment(|_, c| c));
        for (found, expected) in [
            (moment(|r, _| r * r) - mr * mr, rr),
            (moment(|_, c| c * c) - mc * mc, cc),
            (moment(|r, c| r * c) - mr * mc, rc),
        ] {
            assert!(
                (found - expected).abs() < 0.015 * expected.abs(),
                "{found} is not {expected}"
            );
        }
        compared += 1;
    }
    assert_eq!(compared, 3);
}

#[test]
fn names_are_parsed_and_printed_alike() {
    for name in [
        "blind",
        "paper:0",
        "paper:5",
        "gaussian:2.5,1.5,0.6",
        "disk:2.8",
        "line:4.8,0.6",
        "some/psf.npy",
    ] {
        assert_eq!(name.parse::<PsfSpec>().unwrap().to_string(), name);
    }
    for name in [
        "blind",
        "nikon-d700",
        "landsat-oli6",
        "sentinel-2a:B2,B8A",
        "r.mat:R",
    ] {
        assert_eq!(name.parse::<SrfSpec>().unwrap().to_string(), name);
    }
    for name in [
        "",
        "paper:6",
        "paper:-1",
        "paper:x",
        "gaussian:1,2",
        "gaussian:1,2,3,4",
        "gaussian:0,1,0",
        "gaussian:nan,1,0",
        "gaussian:1,inf,0",
        "gaussian:1,a,0",
        "disk:0.4",
        "disk:",
        "disk:1,2",
        "disk:inf",
        "line:3",
        "line:0.9,0",
        "line:3,nan",
    ] {
        let error = name.parse::<PsfSpec>().unwrap_err();
        assert_eq!(error.exit_code(), 2, "{name}");
    }
    assert!("".parse::<SrfSpec>().is_err());
}

#[test]
fn every_named_psf_is_a_kernel_with_sum_one_that_moves() {
    for name in ["paper:5", "gaussian:2.5,1.5,0.6", "disk:2.8", "line:4.8,0.6"] {
        let spec: PsfSpec = name.parse().unwrap();
        let at = |centre| spec.kernel(32, centre).unwrap().unwrap();
        let (still, moved) = (at([0.0, 0.0]), at([2.0, -1.0]));
        assert!((still.sum() - 1.0).abs() < 1e-9, "{name}");
        let (a, b) = (centroid(&still), centroid(&moved));
        // The widest, paper:5, is cut off at three standard deviations: the cut does not move with it.
        assert!(
            (b[0] - a[0] - 2.0).abs() < 0.05 && (b[1] - a[1] + 1.0).abs() < 0.05,
            "{name}: {a:?} {b:?}"
        );
    }
    assert_eq!(PsfSpec::Blind.kernel(8, [0.0; 2]).unwrap(), None);
    let outside = PsfSpec::Disk(1.0).kernel(4, [40.0, 0.0]).unwrap_err();
    assert_eq!(outside.exit_code(), 2);
}

fn response(spec: &SrfSpec, centres: Option<Vec<f64>>, bands: usize) -> Result<Array2<f64>> {
    let metadata = Metadata {
        wavelengths: centres,
        ..Metadata::default()
    };
    spec.response(&metadata, bands, None).map(Option::unwrap)
}

#[test]
fn nikon_on_its_own_grid_is_its_table() {
    let nikon = SrfSpec::nikon_d700();
    let plain = response(&nikon, None, 31).unwrap();
    let centres: Vec<f64> = (0..31).map(|i| 400.0 + 10.0 * f64::from(i)).collect();
    assert_eq!(plain, response(&nikon, Some(centres), 31).unwrap());
    assert_eq!(plain.dim(), (31, 3));
    // Sums 200, 164 and 209; peaks 30 at 460, 20 at 550 and 22 at 610 nm.
    assert_eq!(plain[[6, 0]], 30.0 / 200.0);
    assert_eq!(plain[[15, 1]], 20.0 / 164.0);
    assert_eq!(plain[[21, 2]], 22.0 / 209.0);
    let unknown = response(&nikon, None, 32).unwrap_err();
    assert!(unknown.to_string().contains("32 bands"), "{unknown}");
    // Half-way between its rows: blue is 25 at 450 and 30 at 460, and its whole sum 200 but for the ends.
    let between: Vec<f64> = (0..31).map(|i| 405.0 + 10.0 * f64::from(i)).collect();
    let r = response(&nikon, Some(between), 31).unwrap();
    assert!((r[[5, 0]] - 27.5 / 197.5).abs() < 1e-12);
}

#[test]
fn landsat_weighs_bands_by_their_part_in_the_passband() {
    // Bands of 20 nm: 450 reaches to 460 and lies in blue (452 to 512) from 452, 470 and 490 wholly.
    let centres: Vec<f64> = (0..103).map(|i| 450.0 + 20.0 * f64::from(i)).collect();
    let r = response(&SrfSpec::landsat_oli6(), Some(centres), 103).unwrap();
    assert_eq!(r.dim(), (103, 6));
    let blue: Vec<f64> = r.column(0).iter().take(5).map(|x| x * 60.0).collect();
    for (found, expected) in blue.iter().zip([8.0, 20.0, 20.0, 12.0, 0.0]) {
        assert!((found - expected).abs() < 1e-12);
    }
    assert!(response(&SrfSpec::landsat_oli6(), None, 31).is_err());
}

/// Every sensor on a 5 nm grid from 350 to 2550 nm with 8 nm FWHM: columns sum to 1, and the response-weighted mean
/// of the wavelength is that of the sensor's own curve.
#[test]
fn every_sensor_keeps_the_mean_wavelength_of_its_bands() {
    let centres: Vec<f64> = (0..441).map(|i| 350.0 + 5.0 * f64::from(i)).collect();
    let metadata = Metadata {
        fwhm: Some(vec![8.0; 441]),
        wavelengths: Some(centres.clone()),
        ..Metadata::default()
    };
    for name in sensor_names() {
        let known = sensor(name).unwrap();
        let names: Vec<String> = known.bands.iter().map(|b| b.name.clone()).collect();
        let spec: SrfSpec = format!("{name}:{}", names.join(",")).parse().unwrap();
        let r = spec.response(&metadata, 441, None).unwrap().unwrap();
        assert_eq!(r.ncols(), known.bands.len());
        for (band, column) in known.bands.iter().zip(r.columns()) {
            assert!((column.sum() - 1.0).abs() < 1e-12, "{name} {}", band.name);
            let found: f64 = column.iter().zip(&centres).map(|(w, l)| w * l).sum();
            let (mut moment, mut weight) = (0.0, 0.0);
            for l in (3500..25500).map(|k| 0.1 * f64::from(k)) {
                moment += band.curve.at(l) * l;
                weight += band.curve.at(l);
            }
            // A fifth of the spacing: what a band of 15 nm on a 5 nm grid may be off. The Nikon's table ends at 700 nm
            // in the middle of its red band.
            let least = if known.origin == Origin::Table { 2.0 } else { 1.0 };
            assert!(
                (found - moment / weight).abs() < least,
                "{name} {}: {found}",
                band.name
            );
        }
    }
}

/// Centres and widths that the agencies publish beside the curves (nm): a swapped band or a wrong first wavelength
/// would be off by more.
#[test]
fn measured_bands_lie_where_the_agencies_say() {
    for (name, band, low, high) in [
        ("sentinel-2a", "B2", 459.0, 525.0),
        ("sentinel-2a", "B8A", 854.0, 876.0),
        ("sentinel-2a", "B12", 2115.0, 2290.0),
        ("sentinel-2b", "B4", 649.0, 680.0),
        ("landsat-8", "B2", 452.0, 512.0),
        ("landsat-8", "B7", 2107.0, 2294.0),
        ("landsat-9", "B5", 851.0, 879.0),
    ] {
        let known = sensor(name).unwrap();
        let (from, to) = known.named(&[band.to_owned()], name).unwrap()[0]
            .curve
            .half_power();
        assert!(
            (from - low).abs() < 4.0 && (to - high).abs() < 4.0,
            "{name} {band}: {from} to {to}"
        );
    }
}

#[test]
fn bands_of_a_sensor_by_name_and_by_the_selection_of_the_msi() {
    let centres: Vec<f64> = (0..441).map(|i| 350.0 + 5.0 * f64::from(i)).collect();
    let metadata = Metadata {
        wavelengths: Some(centres),
        ..Metadata::default()
    };
    let plain: SrfSpec = "worldview-2".parse().unwrap();
    let all = plain.response(&metadata, 441, None).unwrap().unwrap();
    assert_eq!(all.ncols(), 8);
    let named: SrfSpec = "worldview-2:red, green".parse().unwrap();
    let two = named.response(&metadata, 441, None).unwrap().unwrap();
    assert_eq!((two.column(0), two.column(1)), (all.column(4), all.column(2)));
    let taken = TakenBands {
        all: 8,
        taken: vec![4, 2],
    };
    assert_eq!(
        plain.response(&metadata, 441, Some(&taken)).unwrap().unwrap(),
        two
    );
    // A band that the image does not reach is no matter where it is left out.
    let visible = Metadata {
        wavelengths: Some((0..61).map(|i| 400.0 + 5.0 * f64::from(i)).collect()),
        ..Metadata::default()
    };
    let refused = plain.response(&visible, 61, None).unwrap_err();
    assert!(refused.to_string().contains("band rededge"), "{refused}");
    plain.response(&visible, 61, Some(&taken)).unwrap();
    let wrong = "sentinel-2a:B13".parse::<SrfSpec>().unwrap_err();
    assert!(wrong.to_string().contains("B8A"), "{wrong}");
    // The panchromatic and the cirrus band only where they are named.
    assert_eq!(sensor("landsat-8").unwrap().named(&[], "").unwrap().len(), 7);
}

#[test]
fn matrices_are_checked_and_normalised() {
    let psf = psf_from_matrix(arr2(&[[1.0, 1.0], [2.0, 4.0]]), "k.npy").unwrap();
    assert_eq!(psf[[1, 1]], 0.5);
    let srf = srf_from_matrix(arr2(&[[1.0], [3.0]]), 2, "r.npy").unwrap();
    assert_eq!(srf[[1, 0]], 0.75);
    for (error, word) in [
        (psf_from_matrix(Array2::zeros((2, 3)), "k.npy"), "2 x 3"),
        (psf_from_matrix(Array2::zeros((2, 2)), "k.npy"), "zero"),
        (psf_from_matrix(arr2(&[[f64::NAN]]), "k.npy"), "NaN at row 0"),
        (srf_from_matrix(Array2::ones((2, 31)), 31, "r.npy"), "transpose"),
        (
            srf_from_matrix(arr2(&[[1.0, 0.0], [1.0, 0.0]]), 2, "r.npy"),
            "column 1",
        ),
        (srf_from_matrix(arr2(&[[1.0], [-1.0]]), 2, "r.npy"), "-1 at row 1"),
    ] {
        let error = error.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}
