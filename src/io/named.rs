//! Files that hold several arrays under names, as images and matrices: MATLAB of both kinds, NumPy's `.npz`, HDF5 and Zarr.
//! Which array is meant is settled here, for all of them alike: the one named (`FILE:NAME`), else the only one that could be.
//!
//! An image may have its wavelengths beside it: vectors named `wavelengths` and `fwhm` in
//! nanometres with one number a band, and a number `nodata`. They are read if they fit. What HDF5 and Zarr have besides is for `conventions`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3, ArrayD, s};

use super::array::{
    Arrangement, Axes, ImageOf, Layout, check_matrix_bytes, image_from, matrix_from, shape_text,
};
use super::attributes::Listing;
use super::conventions::{self, Meaning, Variable};
use super::hdf5::Hdf5;
use super::mat5::Mat5;
use super::npz::Npz;
use super::samples::Float;
use super::tree::Tree;
use super::wavelength;
use crate::cube::{Metadata, SampleType, is_nodata};
use crate::error::{Error, Result};

/// Whether an array of this shape could be what is looked for.
type ShapeTest<'a> = &'a dyn Fn(&[usize]) -> bool;

/// An open file.
enum Source {
    Level5(Mat5),
    Version73(Hdf5),
    Tree(Tree),
    Npz(Npz),
}

/// A file with the numeric arrays that it holds.
pub(crate) struct NamedFile {
    path: PathBuf,
    source: Source,
    /// Name, layout with the axes as the program that wrote it has them, and whether it is complex.
    variables: Vec<(String, Layout, bool)>,
    /// Arrays that are there and cannot be read, and why.
    unreadable: Vec<(String, String)>,
}

/// How an image of a file is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Name of the array.
    pub array: Option<String>,
    /// What the user says of its axes.
    pub arrangement: Arrangement,
    /// Bytes that the image may take.
    pub memory: usize,
}

/// Group or structure, and name of an array.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once(['/', '.']).unwrap_or(("", name))
}

impl NamedFile {
    /// Opens a MATLAB file of level 5 (`-v6`, `-v7`).
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn open_level5(path: &Path) -> Result<Self> {
        let mat = Mat5::open(path)?;
        let variables = mat
            .variables
            .iter()
            .map(|v| (v.name.clone(), v.layout.clone(), v.complex))
            .collect();
        Ok(NamedFile {
            path: path.to_owned(),
            source: Source::Level5(mat),
            variables,
            unreadable: Vec::new(),
        })
    }

    /// Opens a MATLAB file of version 7.3. MATLAB stores its arrays with the order of the axes reversed, and
    /// marks text, cells and empty arrays, which look like numbers, by an attribute.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn open_version73(path: &Path) -> Result<Self> {
        let hdf5 = Hdf5::open(path)?;
        let listing = hdf5.all_datasets(path)?;
        let is_number = |(name, _): &(String, Layout)| {
            let class = hdf5.attributes(name);
            !matches!(
                class.text("matlab_class"),
                Some("char" | "cell" | "struct" | "function_handle")
            )
        };
        let variables = listing
            .numeric
            .into_iter()
            // What cells refer to, and objects.
            .filter(|(name, _)| !name.starts_with("/#"))
            .filter(is_number)
            .map(|(name, mut layout)| {
                layout.shape.reverse();
                layout.first_axis_fastest = true;
                (name.trim_start_matches('/').replace('/', "."), layout, false)
            })
            .collect();
        Ok(NamedFile {
            path: path.to_owned(),
            source: Source::Version73(hdf5),
            variables,
            unreadable: listing.unreadable,
        })
    }

    /// Of an open HDF5 file or Zarr store: arrays of all groups, and of that of the array `wanted`, named by their path, with axes as
    /// they are stored.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn of_tree(path: &Path, tree: Tree, wanted: Option<&str>) -> Result<Self> {
        let wanted = wanted.map(|name| format!("/{}", name.trim_matches('/')));
        let found = wanted.and_then(|name| tree.layout_of(&name).map(|layout| (name, layout)));
        // A dataset that is named is read whatever stands beside it.
        let listing = match (tree.all_datasets(path), &found) {
            (Err(_), Some(_)) => Listing::default(),
            (listing, _) => listing?,
        };
        let mut variables: Vec<_> = listing
            .numeric
            .into_iter()
            .map(|(name, layout)| (name, layout, false))
            .collect();
        // Links make several paths to one dataset, of which one is known: its neighbours have the one that is named.
        if let Some((name, layout)) = found
            && !variables.iter().any(|(known, ..)| *known == name)
        {
            let beside = tree.datasets_in(split(&name).0).into_iter();
            variables.extend(
                beside
                    .filter(|(other, _)| *other != name)
                    .map(|(n, l)| (n, l, false)),
            );
            variables.push((name, layout, false));
        }
        Ok(NamedFile {
            path: path.to_owned(),
            source: Source::Tree(tree),
            variables,
            unreadable: listing.unreadable,
        })
    }

    /// Opens a `.npz` file.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn open_npz(path: &Path) -> Result<Self> {
        let npz = Npz::open(path)?;
        let variables = npz
            .arrays
            .iter()
            .map(|a| (a.name.clone(), a.layout.clone(), false))
            .collect();
        Ok(NamedFile {
            path: path.to_owned(),
            source: Source::Npz(npz),
            variables,
            unreadable: Vec::new(),
        })
    }

    fn read<T: Float>(&self, index: usize) -> Result<ArrayD<T>> {
        let (name, layout, complex) = &self.variables[index];
        if *complex {
            return Err(Error::input(format!(
                "{}: {name} is complex; save its real part or modulus",
                self.path.display()
            )));
        }
        match &self.source {
            Source::Level5(mat) => mat.read(&self.path, &mat.variables[index]),
            Source::Tree(tree) => {
                let unsigned = conventions::unsigned(&tree.attributes(name), layout.kind);
                let layout = Layout {
                    kind: unsigned.unwrap_or(layout.kind),
                    ..layout.clone()
                };
                tree.read(&self.path, name, &layout)
            }
            Source::Npz(npz) => npz.read(&self.path, index),
            Source::Version73(hdf5) => {
                // In the file the axes stand in reverse, last one fastest: the same bytes.
                let mut stored = layout.clone();
                stored.shape.reverse();
                stored.first_axis_fastest = false;
                let array = hdf5.read(&self.path, &name.replace('.', "/"), &stored)?;
                Ok(array.reversed_axes())
            }
        }
    }

    /// All arrays with their shapes, for messages.
    fn listing(&self, of: &[usize]) -> String {
        const SHOWN: usize = 20;
        let mut names: Vec<String> = of
            .iter()
            .take(SHOWN)
            .map(|&i| {
                format!(
                    "{} ({})",
                    self.variables[i].0,
                    shape_text(&self.variables[i].1.shape)
                )
            })
            .collect();
        if of.len() > SHOWN {
            names.push(format!("and {} more", of.len() - SHOWN));
        }
        names.join(", ")
    }

    /// The array called `name`, or the only one that passes the first of `tests` that any passes.
    fn choose(&self, name: Option<&str>, what: &str, tests: &[ShapeTest]) -> Result<usize> {
        let path = self.path.display();
        let all: Vec<usize> = (0..self.variables.len()).collect();
        let has = |all: &[usize]| {
            let found = match all {
                [] => "it holds no numeric array".to_owned(),
                _ => format!("it holds {}", self.listing(all)),
            };
            match self.unreadable.first() {
                Some((name, why)) => format!("{found}; of {name}, {why}"),
                None => found,
            }
        };
        if let Some(name) = name {
            let same = |other: &str| other.trim_start_matches('/') == name.trim_start_matches('/');
            if let Some((name, why)) = self.unreadable.iter().find(|(other, _)| same(other)) {
                return Err(Error::input(format!("{path}: {name} cannot be read: {why}")));
            }
            return all
                .iter()
                .copied()
                .find(|&i| self.variables[i].0.trim_start_matches('/') == name.trim_start_matches('/'))
                .ok_or_else(|| Error::input(format!("{path}: no numeric array {name:?}; {}", has(&all))));
        }
        // What lies in a MATLAB structure or cell is looked at only where nothing beside it fits.
        let inside = |&i: &usize| match self.source {
            Source::Level5(_) | Source::Version73(_) => self.variables[i].0.contains(['.', '{']),
            Source::Tree(_) | Source::Npz(_) => false,
        };
        let outside: Vec<usize> = all.iter().copied().filter(|i| !inside(i)).collect();
        for (among, test) in [&outside, &all]
            .iter()
            .flat_map(|among| tests.iter().map(move |test| (among, test)))
        {
            let mut fits: Vec<usize> = among
                .iter()
                .copied()
                .filter(|&i| test(&self.variables[i].1.shape))
                .collect();
            // Uncertainties are of what they are named after.
            let names: Vec<&str> = fits.iter().map(|&i| self.variables[i].0.as_str()).collect();
            let is_own = |&i: &usize| match self.variables[i].0.strip_suffix("_unc") {
                Some(of) => !names.contains(&of),
                None => true,
            };
            fits.retain(is_own);
            match fits.as_slice() {
                [] => {}
                [only] => return Ok(*only),
                several => {
                    return Err(Error::input(format!(
                        "{path}: several arrays could be the {what}: {}; say which one as {path}:NAME",
                        self.listing(several)
                    )));
                }
            }
        }
        Err(Error::input(format!(
            "{path}: no array could be the {what}; {}",
            has(&all)
        )))
    }

    /// Numbers of the vector called `name` beside the array `image` if it has `count` of them.
    fn vector(&self, image: usize, name: &str, count: usize) -> Result<Option<Vec<f64>>> {
        let (group, _) = split(&self.variables[image].0);
        let index = self.variables.iter().position(|(n, layout, complex)| {
            let (beside, leaf) = split(n);
            beside == group
                && leaf.eq_ignore_ascii_case(name)
                && layout.count() == Some(count)
                && layout.shape.iter().filter(|&&d| d != 1).count() <= 1
                && !complex
        });
        index
            .map(|i| self.read(i).map(|a: ArrayD<f64>| a.iter().copied().collect()))
            .transpose()
    }

    /// The image: the array called `name`, else the only one of three axes, else (MATLAB drops a
    /// last axis of length 1) the only one of two axes that is no vector; in HDF5 and Zarr also arrays of two axes, one a band. With it, what
    /// whoever reads it should be told.
    ///
    /// # Errors
    /// [`Error::Input`] if no array or several could be meant, the data are damaged, or the image would take more
    /// than `asked.memory` bytes.
    pub(crate) fn image<T: Float>(&self, asked: &Asked) -> Result<(ImageOf<T>, Vec<String>)> {
        // Axes of length 1 in front are times or the like.
        let three = |shape: &[usize]| {
            let extra = shape.len().saturating_sub(3);
            shape.len() >= 3 && shape[..extra].iter().all(|&d| d == 1)
        };
        let plane = |shape: &[usize]| shape.len() == 2 && shape.iter().all(|&d| d > 1);
        if asked.array.is_none()
            && let Source::Tree(tree) = &self.source
            && let Some(bands) = self.bands_apart(tree, &three)?
        {
            return self.stacked(tree, &bands, asked);
        }
        let index = self.choose(asked.array.as_deref(), "image", &[&three, &plane])?;
        self.check_memory(&self.variables[index].1.shape, asked.memory)?;
        let mut notes = Vec::new();
        let mut image = match &self.source {
            Source::Tree(tree) => {
                let all = self.layouts();
                let variable = self.variable(tree, &all, index);
                let described = variable.described(asked.arrangement.axes.map(Axes::places))?;
                let named = described.places;
                notes.extend(described.notes);
                let mut image = self.samples(index, &asked.arrangement, named, &mut notes)?;
                let nodata = self.vector(index, "nodata", 1)?;
                image.metadata = described.metadata;
                image.metadata.nodata = nodata.map(|values| values[0]);
                let meaning = self.meaning(&variable, index)?;
                meaning.apply(&mut image);
                notes.extend(meaning.note(&self.path));
                return Ok((variable.orthorectified(image, asked.memory, &mut notes)?, notes));
            }
            _ => self.samples(index, &asked.arrangement, None, &mut notes)?,
        };
        let bands = image.samples.dim().2;
        image.metadata.wavelengths = self.vector(index, "wavelengths", bands)?;
        image.metadata.fwhm = self.vector(index, "fwhm", bands)?;
        if let Some(&[value]) = self.vector(index, "nodata", 1)?.as_deref() {
            image.metadata.nodata = Some(value);
        }
        Ok((image, notes))
    }

    fn check_memory(&self, shape: &[usize], memory: usize) -> Result<()> {
        let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if count.is_none_or(|count| count > memory / size_of::<f32>()) {
            Err(Error::input(format!(
                "{}: a file of this kind is read whole, and {} samples are more than the setting max-memory allows; give more, or convert it to .npy or ENVI",
                self.path.display(),
                shape_text(shape)
            )))
        } else {
            Ok(())
        }
    }

    /// The array as an image, in the order asked for, else that of the names of its dimensions.
    fn samples<T: Float>(
        &self,
        index: usize,
        asked: &Arrangement,
        named: Option<[usize; 3]>,
        notes: &mut Vec<String>,
    ) -> Result<ImageOf<T>> {
        let layout = &self.variables[index].1;
        let mut placed = asked.place(&self.path, &layout.shape, layout.first_axis_fastest)?;
        if let Some(places) = named.filter(|_| asked.axes.is_none() && asked.size.is_none()) {
            placed.places = places;
            placed.note = None;
        }
        notes.extend(placed.note.take());
        image_from(&self.path, layout.kind, self.read(index)?, &placed)
    }

    fn layouts(&self) -> Vec<(String, Layout)> {
        self.variables
            .iter()
            .map(|(name, layout, _)| (name.clone(), layout.clone()))
            .collect()
    }

    fn variable<'b>(&'b self, file: &'b Tree, all: &'b [(String, Layout)], index: usize) -> Variable<'b> {
        Variable {
            path: &self.path,
            file,
            all,
            name: &self.variables[index].0,
            shape: &self.variables[index].1.shape,
        }
    }

    fn meaning(&self, variable: &Variable, index: usize) -> Result<Meaning> {
        let (name, layout, _) = &self.variables[index];
        Meaning::of(&variable.attributes(), layout.kind)
            .map_err(|what| Error::input(format!("{}: {name}: {what}", self.path.display())))
    }

    /// Arrays of two axes that are the bands of one image (`rhos_443`, `rhos_492`, ...), where there is none of three: as many as
    /// have one size and one name but for the wavelength in it, or an attribute that says the wavelength. With their centres.
    fn bands_apart(&self, tree: &Tree, three: ShapeTest) -> Result<Option<Vec<(usize, f64)>>> {
        if self.variables.iter().any(|(_, layout, _)| three(&layout.shape)) {
            return Ok(None);
        }
        /// Numbers of arrays and their centres.
        type Bands = Vec<(usize, f64)>;
        let mut groups: BTreeMap<(String, Vec<usize>), Bands> = BTreeMap::new();
        for (index, (name, layout, _)) in self.variables.iter().enumerate() {
            if layout.shape.len() != 2 || layout.shape.iter().any(|&d| d < 2) {
                continue;
            }
            let attributes = tree.attributes(name);
            let said = ["radiation_wavelength", "wavelength", "central_wavelength"]
                .iter()
                .find_map(|name| attributes.numbers(name).first().copied());
            let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
            let number = name[stem.len()..]
                .parse::<f64>()
                .ok()
                .filter(|x| (300.0..=20_000.0).contains(x));
            if let Some(centre) = said.or(number) {
                let stem: String = stem.chars().filter(|c| !c.is_ascii_digit()).collect();
                let key = (stem, layout.shape.clone());
                groups.entry(key).or_default().push((index, centre));
            }
        }
        groups.retain(|_, bands| bands.len() > 1);
        let mut found = groups.into_values();
        match (found.next(), found.next()) {
            (Some(mut bands), None) => {
                bands.sort_by(|a, b| a.1.total_cmp(&b.1));
                Ok(Some(bands))
            }
            _ => Ok(None),
        }
    }

    /// The image of such bands.
    fn stacked<T: Float>(
        &self,
        tree: &Tree,
        bands: &[(usize, f64)],
        asked: &Asked,
    ) -> Result<(ImageOf<T>, Vec<String>)> {
        let all = self.layouts();
        let shape = &self.variables[bands[0].0].1.shape;
        self.check_memory(&[shape[0], shape[1], bands.len()], asked.memory)?;
        let mut samples = Array3::from_elem((shape[0], shape[1], bands.len()), T::from_f64(0.0));
        let mut notes = vec![format!(
            "{}: {} arrays of two axes are taken for the bands of one image, from {} to {}",
            self.path.display(),
            bands.len(),
            self.variables[bands[0].0].0,
            self.variables[bands[bands.len() - 1].0].0
        )];
        let mut first: Option<(SampleType, Metadata)> = None;
        for (number, &(index, _)) in bands.iter().enumerate() {
            let variable = self.variable(tree, &all, index);
            let mut band: ImageOf<T> = self.samples(index, &Arrangement::default(), None, &mut notes)?;
            let meaning = self.meaning(&variable, index)?;
            meaning.apply(&mut band);
            let (_, metadata) = first.get_or_insert_with(|| (band.sample_type, band.metadata.clone()));
            if number == 0 {
                notes.extend(meaning.note(&self.path));
            }
            let mut to = samples.slice_mut(s![.., .., number]);
            to.assign(&band.samples.slice(s![.., .., 0]));
            // Each band may have a value of its own for no data.
            if let (Some(own), Some(one)) = (band.metadata.nodata, metadata.nodata) {
                to.mapv_inplace(|x| {
                    if is_nodata(x.single(), own) {
                        T::from_f64(one)
                    } else {
                        x
                    }
                });
            }
        }
        let (sample_type, mut metadata) = first.unwrap_or((SampleType::F32, Metadata::default()));
        let centres: Vec<f64> = bands.iter().map(|(_, centre)| *centre).collect();
        let names = bands
            .iter()
            .map(|&(index, _)| split(&self.variables[index].0).1.to_owned());
        metadata.band_names = Some(names.collect());
        metadata.wavelengths = wavelength::read(&centres, None, None).map(|found| found.centres);
        let image = ImageOf {
            samples,
            sample_type,
            metadata,
        };
        Ok((image, notes))
    }

    /// The matrix: the array called `name`, else the only one of two axes that is no single number,
    /// else the only single number.
    ///
    /// # Errors
    /// [`Error::Input`] if no array or several could be meant, or the data are damaged.
    pub(crate) fn matrix(&self, name: Option<&str>) -> Result<Array2<f64>> {
        let larger = |shape: &[usize]| shape.len() == 2 && shape.iter().any(|&d| d > 1);
        let single = |shape: &[usize]| shape == [1, 1];
        let index = self.choose(name, "matrix", &[&larger, &single])?;
        // What is deflated may be many times as long as its file.
        let count = self.variables[index].1.count().unwrap_or(usize::MAX) as u64;
        check_matrix_bytes(&self.path, count.saturating_mul(size_of::<f64>() as u64))?;
        matrix_from(&self.path, self.read(index)?)
    }
}
