//! The scenes of an experiment: reference images with a sensor to look at them through, or pairs of two real sensors.

use std::path::Path;

use ndarray::{Array2, Array3, s};

use crate::coordination::manifest::{SCENE_FIELDS, SceneOptions, lines, place};
use crate::coordination::response::response_file;
use crate::cube::bands::BandSelection;
use crate::cube::demo_scene::demo_scene;
use crate::cube::strips::Strips;
use crate::cube::{Cube, SampleType};
use crate::error::{Error, Result};
use crate::io::{self, Reading};
use crate::sensor::catalogue::SrfSpec;

/// What a line of a manifest holds, before [`SCENE_FIELDS`]; the reference takes the place of the HSI.
const EXPECTED: &str = "REFERENCE, REFERENCE,SRF or REFERENCE,msi:MSI";
/// Neighbouring bands of the built-in scene whose mean is a band of the paper's experiments: 40 bands, like the 31 that
/// the paper's network was made for.
const BINNED: usize = 5;
/// Side of the built-in scene's part that experiments take where no manifest is given: it ends in minutes.
const BUILT_IN_SIDE: usize = 96;
/// Fewest LR pixels along an axis, and in all, that a scale must leave of a scene. With fewer, nothing is left to
/// fit, and the indices say more about the crop than about the method.
const LEAST_LR: (usize, usize) = (4, 32);

/// Where the MSI of a scene comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum MsiSource {
    /// The reference seen through this response (B×b), known by this name.
    Response(String, Array2<f64>),
    /// An image of a second sensor on the reference's grid.
    Image(String),
}

/// Where a reference comes from.
#[derive(Debug, Clone)]
enum Source {
    File(String),
    /// The part of the built-in scene with all bands.
    BuiltIn,
    /// The whole built-in scene with its bands in groups.
    BuiltInBinned,
}

impl Source {
    fn read(&self, options: &SceneOptions) -> Result<Cube> {
        match self {
            Source::File(file) => read_reference(file, options),
            Source::BuiltIn => Ok(demo_scene()?.cropped(BUILT_IN_SIDE, BUILT_IN_SIDE)),
            Source::BuiltInBinned => Ok(binned(&demo_scene()?, BINNED)),
        }
    }
}

/// A scene of an experiment. The image itself is read when its turn comes ([`Reference::read`]).
#[derive(Debug, Clone)]
pub struct Reference {
    /// Its name in tables and in the names of cells: the file's, without folder and ending.
    pub name: String,
    /// Rows, columns and bands.
    pub shape: (usize, usize, usize),
    /// Where the MSI comes from.
    pub msi: MsiSource,
    /// CRC-32 of all samples that enter: the cells of another image under the same name are not taken for this one's.
    pub checksum: u32,
    source: Source,
    options: SceneOptions,
}

/// The images of a scene.
pub struct Images {
    /// The reference.
    pub reference: Cube,
    /// The second sensor's image, for a pair.
    pub msi: Option<Cube>,
}

impl Reference {
    /// Reads its images. Band centres come from the file, or from `NAME.wl.npy` beside `NAME.npy` (in nanometres).
    ///
    /// # Errors
    /// [`Error::Input`] naming the file.
    pub fn read(&self) -> Result<Images> {
        let reference = self.source.read(&self.options)?;
        let msi = match &self.msi {
            MsiSource::Image(file) => Some(read_msi(file, &self.options)?),
            MsiSource::Response(..) => None,
        };
        Ok(Images { reference, msi })
    }

    /// Whether `scale` leaves enough of the scene.
    pub fn fits(&self, scale: usize) -> bool {
        let (h, w) = (self.shape.0 / scale, self.shape.1 / scale);
        h.min(w) >= LEAST_LR.0 && h * w >= LEAST_LR.1
    }

    /// The one-line refusal of a scene that fits no scale of an experiment.
    pub fn too_small(&self, scales: &[usize]) -> Error {
        let scales: Vec<String> = scales.iter().map(|s| format!("x{s}")).collect();
        Error::input(format!(
            "{}: {} x {} pixels are too small for {}: at least {} LR pixels along each axis and {} in all are needed",
            match &self.source {
                Source::File(file) => file,
                Source::BuiltIn | Source::BuiltInBinned => &self.name,
            },
            self.shape.0,
            self.shape.1,
            scales.join(", "),
            LEAST_LR.0,
            LEAST_LR.1
        ))
    }

    fn open(
        name: String,
        source: Source,
        options: SceneOptions,
        msi: impl FnOnce(&Cube) -> Result<MsiSource>,
    ) -> Result<Self> {
        let mut found = Reference {
            name,
            shape: (0, 0, 0),
            msi: MsiSource::Image(String::new()),
            checksum: 0,
            source,
            options,
        };
        let image = found.source.read(&found.options)?;
        found.shape = image.samples.dim();
        found.msi = msi(&image)?;
        let mut crc = flate2::Crc::new();
        add_image(&mut crc, &image);
        match &found.msi {
            MsiSource::Response(_, response) => {
                add(&mut crc, response.iter().map(|&x| (x as f32).to_bits()));
            }
            MsiSource::Image(file) => {
                let other = read_msi(file, &found.options)?;
                if (other.rows(), other.columns()) != (image.rows(), image.columns()) {
                    return Err(Error::input(format!(
                        "{file}: {} x {} pixels, but the reference has {} x {}; a pair lies on one grid",
                        other.rows(),
                        other.columns(),
                        image.rows(),
                        image.columns()
                    )));
                }
                add_image(&mut crc, &other);
            }
        }
        found.checksum = crc.sum();
        Ok(found)
    }
}

/// Adds the samples of an image and, where some are masked, which.
fn add_image(crc: &mut flate2::Crc, image: &Cube) {
    add(crc, image.samples.iter().map(|x| x.to_bits()));
    if let Some(valid) = image.valid.as_ref().filter(|_| image.masked_pixels() > 0) {
        add(crc, valid.iter().map(|&ok| u32::from(ok)));
    }
}

fn add(crc: &mut flate2::Crc, words: impl Iterator<Item = u32>) {
    for word in words {
        crc.update(&word.to_le_bytes());
    }
}

/// The part of the built-in scene that experiments take, seen by six Landsat-like bands.
///
/// # Errors
/// [`Error::Failed`] if the program was built with a broken asset.
pub fn built_in() -> Result<Reference> {
    Reference::open(
        "demo".to_owned(),
        Source::BuiltIn,
        SceneOptions::default(),
        |image| named_response(&SrfSpec::landsat_oli6(), image),
    )
}

/// The built-in scene with means of five neighbouring bands for bands, seen by six Landsat-like bands: what the paper's
/// experiments take.
///
/// # Errors
/// As [`built_in`].
pub fn built_in_binned() -> Result<Reference> {
    Reference::open(
        "demo40".to_owned(),
        Source::BuiltInBinned,
        SceneOptions::default(),
        |image| named_response(&SrfSpec::landsat_oli6(), image),
    )
}

/// An image whose bands are means of `group` neighbouring bands; a last incomplete group is left out.
fn binned(image: &Cube, group: usize) -> Cube {
    let (rows, columns, bands) = image.samples.dim();
    let samples = Array3::from_shape_fn((rows, columns, bands / group), |(r, c, b)| {
        let members = image.samples.slice(s![r, c, b * group..(b + 1) * group]);
        members.sum() / group as f32
    });
    let mut binned = Cube::new(samples);
    binned.metadata.wavelengths = image.metadata.wavelengths.as_ref().map(|centres| {
        let groups = centres.chunks_exact(group);
        groups.map(|g| g.iter().sum::<f64>() / group as f64).collect()
    });
    binned
}

/// Reads a manifest, opening every scene of it. Empty lines and lines that begin with `#` are left out; paths are
/// relative to the manifest's folder.
///
/// Behind them may stand how the scene's images are read: fields of [`SceneOptions`]. A line without SRF takes `landsat-oli6` where the scene's wavelengths reach over its bands, else `nikon-d700`.
///
/// # Errors
/// [`Error::Input`] naming the manifest and the number of the line that cannot be used.
pub fn read(path: &Path) -> Result<Vec<Reference>> {
    let mut found: Vec<(usize, Reference)> = Vec::new();
    let expected = format!("{EXPECTED}, and behind that {SCENE_FIELDS}");
    for (line, fields) in lines(path, &expected)? {
        let at = |e: Error| match e {
            Error::Input(m) => Error::input(format!("{} line {line}: {m}", path.display())),
            other => other,
        };
        let mut options = SceneOptions::default();
        let mut images = Vec::new();
        for field in &fields {
            if options.take(path, field).map_err(at)?.is_none() {
                images.push(field);
            }
        }
        let (file, second) = match images[..] {
            [file] => (file, None),
            [file, second] => (file, Some(second.as_str())),
            _ => {
                return Err(at(Error::input(format!(
                    "{} fields; expected {expected}",
                    fields.len()
                ))));
            }
        };
        let file = place(path, file);
        let source = Source::File(file.clone());
        let scene = Reference::open(stem(&file), source, options, |image| match second {
            None => guessed_response(image, &file),
            Some(text) => match text.strip_prefix("msi:") {
                Some(other) => Ok(MsiSource::Image(place(path, other.trim()))),
                None => match text.parse()? {
                    SrfSpec::File(srf) => {
                        let srf = place(path, &srf);
                        let response = response_file(&srf, &image.metadata, image.bands(), None)?;
                        Ok(MsiSource::Response(stem(&srf), response))
                    }
                    spec => named_response(&spec, image),
                },
            },
        })
        .map_err(at)?;
        if let Some((other, _)) = found
            .iter()
            .find(|(_, r)| r.name == scene.name && r.sensor() == scene.sensor())
        {
            return Err(at(Error::input(format!(
                "the scene {} seen by {} stands in line {other} already; rename one of the files",
                scene.name,
                scene.sensor()
            ))));
        }
        found.push((line, scene));
    }
    Ok(found.into_iter().map(|(_, scene)| scene).collect())
}

impl Reference {
    /// Name of the sensor that the MSI comes from.
    pub fn sensor(&self) -> String {
        match &self.msi {
            MsiSource::Response(name, _) => name.clone(),
            MsiSource::Image(file) => stem(file),
        }
    }
}

/// A file's name without folder and ending, in characters that any file system takes.
fn stem(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            c
        } else {
            '_'
        }
    };
    stem.chars().map(plain).collect()
}

fn named_response(spec: &SrfSpec, image: &Cube) -> Result<MsiSource> {
    let response = spec.response(&image.metadata, image.bands(), None)?;
    response
        .map(|r| MsiSource::Response(spec.to_string(), r))
        .ok_or_else(|| Error::input("SRF blind: an experiment makes the MSI itself; name a sensor or a file"))
}

fn guessed_response(image: &Cube, file: &str) -> Result<MsiSource> {
    [SrfSpec::landsat_oli6(), SrfSpec::nikon_d700()]
        .iter()
        .find_map(|spec| named_response(spec, image).ok())
        .ok_or_else(|| {
            Error::input(format!(
                "{file}: its {} bands fit neither landsat-oli6 nor nikon-d700{}; name a response: {file},SRF.csv",
                image.bands(),
                if image.metadata.wavelengths.is_none() {
                    " (it has no wavelengths; NAME.wl.npy beside it may hold them in nm)"
                } else {
                    ""
                }
            ))
        })
}

fn read_msi(file: &str, options: &SceneOptions) -> Result<Cube> {
    let reading = Reading {
        bands: options.msi_bands.clone().unwrap_or(BandSelection::All),
        nodata: None,
        mask: options.msi_mask.clone(),
        arrangement: options.msi_array.clone(),
        memory: usize::MAX,
    };
    let image = io::open_image_as(file, &reading)?;
    image.rows(0..image.dim().0)
}

fn read_reference(file: &str, options: &SceneOptions) -> Result<Cube> {
    let reading = Reading {
        bands: options.bands.clone().unwrap_or(BandSelection::All),
        nodata: None,
        mask: options.hsi_mask.clone(),
        arrangement: options.array.clone(),
        memory: usize::MAX,
    };
    let image = io::open_image_as(file, &reading)?;
    let mut image = image.rows(0..image.dim().0)?;
    // Observations are made in single precision whatever the file held, and both images must count as of one type.
    image.sample_type = SampleType::F32;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn scene(bands: usize) -> Cube {
        Cube::new(Array3::from_shape_fn((8, 8, bands), |(r, c, b)| {
            1.0 + ((r * 5 + c * 3 + b) % 11) as f32
        }))
    }

    #[test]
    fn sensors_are_guessed_from_bands_and_wavelengths() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        io::write_cube(path("rgb.npy"), &scene(31)).unwrap();
        io::write_cube(path("air.npy"), &scene(110)).unwrap();
        let centres = Array2::from_shape_fn((1, 110), |(_, i)| 400.0 + 20.0 * i as f64);
        io::write_matrix(path("air.wl.npy"), &centres).unwrap();
        io::write_cube(path("two.npy"), &scene(2)).unwrap();
        fs::write(
            path("m.txt"),
            "# scenes\nrgb.npy\nair.npy\nair.npy, msi:two.npy\n",
        )
        .unwrap();
        let found = read(&path("m.txt")).unwrap();
        let sensors: Vec<String> = found.iter().map(Reference::sensor).collect();
        assert_eq!(sensors, ["nikon-d700", "landsat-oli6", "two"]);
        assert_eq!(
            found[1].read().unwrap().reference.metadata.wavelengths.unwrap()[3],
            460.0
        );
        assert!(found[2].read().unwrap().msi.is_some());
        // Bands by the wavelengths that stand beside the file, and a mask.
        let mask = Array2::from_shape_fn((8, 8), |(r, _)| f64::from(u8::from(r > 0)));
        io::write_matrix(path("mask.csv"), &mask).unwrap();
        let line = "air.npy, msi:two.npy, bands=400nm-1000nm, hsi-mask=mask.csv, msi-bands=1\n";
        fs::write(path("m.txt"), line).unwrap();
        let some = &read(&path("m.txt")).unwrap()[0];
        let images = some.read().unwrap();
        assert_eq!((some.shape, images.msi.unwrap().bands()), ((8, 8, 31), 1));
        assert_eq!(images.reference.masked_pixels(), 8);
        assert_eq!(images.reference.metadata.wavelengths.unwrap()[30], 1000.0);
        assert_ne!(some.checksum, found[2].checksum);
        assert_ne!(found[1].checksum, found[2].checksum);
    }

    #[test]
    fn wrong_lines_are_named_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        io::write_cube(path("rgb.npy"), &scene(31)).unwrap();
        io::write_cube(path("odd.npy"), &scene(40)).unwrap();
        io::write_matrix(path("odd.wl.npy"), &Array2::ones((1, 3))).unwrap();
        io::write_cube(path("none.npy"), &scene(40)).unwrap();
        io::write_cube(path("small.npy"), &scene(2).cropped(4, 4)).unwrap();
        for (line, named) in [
            ("gone.npy", "gone.npy"),
            ("rgb.npy,nikon-d700,more", "3 fields"),
            ("rgb.npy,", "empty"),
            ("rgb.npy,bands=99", "no band 99"),
            ("rgb.npy,nikon-d700,bands=1-", "bands=1-"),
            ("rgb.npy,blind", "blind"),
            ("rgb.npy,nosuch.csv", "nosuch.csv"),
            ("rgb.npy,landsat-oli6", "wavelength"),
            ("odd.npy", "odd.wl.npy"),
            ("none.npy", "no wavelengths"),
            ("rgb.npy,msi:small.npy", "one grid"),
            ("rgb.npy", "line 1 already"),
        ] {
            fs::write(path("m.txt"), format!("rgb.npy\n{line}\n")).unwrap();
            let error = read(&path("m.txt")).unwrap_err();
            let said = error.to_string();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(
                said.contains("line 2") && said.contains(named) && !said.contains('\n'),
                "{said}"
            );
        }
    }

    #[test]
    fn the_built_in_scene_fits_its_experiments() {
        let demo = built_in().unwrap();
        assert_eq!(
            (demo.shape, demo.sensor().as_str()),
            ((96, 96, 200), "landsat-oli6")
        );
        assert!(demo.fits(8) && !demo.fits(32));
    }
}
