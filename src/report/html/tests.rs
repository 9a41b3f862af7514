//! The page as a file: whole, self-contained, small enough. What it does in a browser is `scripts/check_report.py`'s.

use crate::cube::Cube;
use ndarray::Array3;

use super::*;
use crate::cube::bicubic;
use crate::metrics::{Convention, evaluate};

struct Scene {
    lr: Cube,
    bicubic: Cube,
    fused: Cube,
    reference: Cube,
}

/// A scene of `side` × `side` × `bands` at ×8, with noise of the given size.
fn scene(side: usize, bands: usize, noise: f32) -> Scene {
    let mut state = 1u32;
    let mut random = move || {
        // A linear congruential generator (Numerical Recipes) is noise enough for a compressor.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let smooth = |r: usize, c: usize, b: usize| {
        let (r, c, b) = (r as f32 / 40.0, c as f32 / 40.0, b as f32 / bands as f32);
        0.5 + 0.2 * (r + 3.0 * b).sin() + 0.2 * (1.4 * c - 2.0 * b).cos()
    };
    let reference = Cube::new(Array3::from_shape_fn((side, side, bands), |(r, c, b)| {
        smooth(r, c, b) + noise * random()
    }));
    let mut fused = reference.clone();
    fused.samples.mapv_inplace(|x| x + 0.01 * random());
    let lr = Cube::new(Array3::from_shape_fn((side / 8, side / 8, bands), |(r, c, b)| {
        smooth(8 * r, 8 * c, b)
    }));
    let bicubic = bicubic::upsample(&lr, 8).unwrap();
    Scene {
        lr,
        bicubic,
        fused,
        reference,
    }
}

impl Scene {
    fn page(&self) -> Page<'_> {
        let scores = evaluate(&self.reference, &self.fused, 8, Convention::Strict).unwrap();
        Page {
            title: "Fusion of <a> & b".to_owned(),
            facts: vec![("engine".to_owned(), "cpu".to_owned())],
            remarks: vec!["</script><script>alert(1)</script>".to_owned()],
            lr_hsi: &self.lr,
            bicubic: &self.bicubic,
            fused: &self.fused,
            reference: Some(&self.reference),
            kernels: vec![("estimated".to_owned(), Array2::from_elem((8, 8), 1.0 / 64.0))],
            response: Array2::from_elem((self.fused.bands(), 3), 0.1),
            charts: vec![Chart {
                title: "Objective".to_owned(),
                x_label: "step".to_owned(),
                y_label: "mean loss".to_owned(),
                logarithmic: true,
                series: vec![Series {
                    name: "L".to_owned(),
                    x: vec![1.0, 2.0],
                    y: vec![0.5, 0.25],
                }],
            }],
            scores: vec![("fused".to_owned(), scores)],
            settings: "seed = 1\n".to_owned(),
            times: vec![("train".to_owned(), 1.5)],
        }
    }
}

/// The JSON in a page.
fn data(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_holds_everything_and_asks_for_nothing() {
    let scene = scene(48, 5, 0.05);
    let html = String::from_utf8(scene.page().html().unwrap()).unwrap();
    assert!(html.contains("<title>Fusion of &lt;a&gt; &amp; b</title>"));
    assert!(!html.contains("{{") && !html.contains("alert(1)</script>"));
    // Nothing that a browser would fetch: no address at all but the name space of SVG, no link, no import.
    let addresses = html.replace("http://www.w3.org/2000/svg", "");
    for forbidden in [
        "http://",
        "https://",
        "src=\"",
        "<link",
        "@import",
        "url(",
        "fetch(",
        "XMLHttpRequest",
    ] {
        assert!(!addresses.contains(forbidden), "{forbidden}");
    }
    assert!(html.contains("default-src 'none'"));
    let data = data(&html);
    assert_eq!((&data["rows"], &data["bands"]), (&48.into(), &5.into()));
    assert_eq!(data["settings"], "seed = 1\n");
    assert_eq!(data["scores"][0][1]["pixels"], 48 * 48);
    assert!(data["precision"].as_str().unwrap().contains("every pixel"));
    assert_eq!(data["cubes"][0]["pitch"], 8);
    let listed = ["cubes", "pictures", "kernels"].map(|kind| data[kind].as_array().unwrap().clone());
    assert_eq!(listed.each_ref().map(Vec::len), [3, 6, 1]);
    for entry in listed.iter().flatten() {
        let id = entry["id"].as_str().unwrap();
        let (_, blob) = html.split_once(&format!("id=\"{id}\">")).unwrap();
        let blob = blob.split_once("</script>").unwrap().0;
        assert!(STANDARD.decode(blob).unwrap().len() > 50, "{id}");
    }
    // Without a reference, its cube and pictures and the errors are not there.
    let html = Page {
        reference: None,
        ..scene.page()
    }
    .html()
    .unwrap();
    let html = String::from_utf8(html).unwrap();
    assert!(!html.contains("id=\"cube-reference\"") && !html.contains("id=\"error-fused\""));
}

#[test]
fn the_same_data_give_the_same_page() {
    let scene = scene(16, 4, 0.1);
    assert_eq!(scene.page().html().unwrap(), scene.page().html().unwrap());
}

// A real scene of this size compresses far better than noise; noise is the worst that can come.
#[test]
fn a_large_page_stays_below_20_megabytes() {
    for (noise, whole) in [(0.02, true), (1.0, false)] {
        let scene = scene(512, 31, noise);
        let bytes = scene.page().html().unwrap();
        println!("noise {noise}: {} bytes", bytes.len());
        assert!(bytes.len() < 20_000_000, "{}", bytes.len());
        let data = data(std::str::from_utf8(&bytes).unwrap());
        let precision = data["precision"].as_str().unwrap();
        assert_eq!(precision.contains("every pixel"), whole, "{precision}");
    }
}

#[test]
fn images_of_different_scenes_are_refused() {
    let (a, b) = (scene(16, 4, 0.1), scene(24, 4, 0.1));
    let page = Page {
        reference: Some(&b.reference),
        ..a.page()
    };
    assert!(page.html().unwrap_err().to_string().contains("not of one scene"));
}

#[test]
fn large_pictures_are_thinned() {
    let large = Picture::from_fn(2000, 1000, |r, c| [r as u8, c as u8, 0]);
    let small = thinned(&large);
    assert_eq!((small.width(), small.height()), (1000, 500));
    assert_eq!(small.pixel(3, 5), large.pixel(6, 10));
    let one = Picture::filled(700, 700, [1; 3]);
    assert_eq!(thinned(&one), one);
}
