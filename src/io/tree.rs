//! Containers of arrays in groups, by path, with attributes and named axes: HDF5 files and Zarr stores, as `named` and `conventions` see
//! them.

use std::path::Path;

use ndarray::ArrayD;

use super::array::Layout;
use super::attributes::{Attributes, Listing};
use super::hdf5::Hdf5;
use super::samples::Float;
use super::zarr::Zarr;
use crate::error::Result;

/// An open container.
pub(crate) enum Tree {
    Hdf5(Hdf5),
    Zarr(Zarr),
}

impl Tree {
    /// The arrays of all groups.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if the file is damaged.
    pub(crate) fn all_datasets(&self, path: &Path) -> Result<Listing> {
        match self {
            Tree::Hdf5(file) => file.all_datasets(path),
            Tree::Zarr(store) => Ok(store.all_datasets()),
        }
    }

    /// The arrays of real numbers in the group with this path, where links may lead to more than are listed.
    pub(crate) fn datasets_in(&self, place: &str) -> Vec<(String, Layout)> {
        match self {
            Tree::Hdf5(file) => file.datasets_in(place),
            Tree::Zarr(_) => Vec::new(),
        }
    }

    /// Layout of the array with this path, where there is one of real numbers.
    pub(crate) fn layout_of(&self, name: &str) -> Option<Layout> {
        match self {
            Tree::Hdf5(file) => file.layout_of(name),
            Tree::Zarr(store) => store.layout_of(name),
        }
    }

    /// Whether there is a group of this path.
    pub(crate) fn has_group(&self, name: &str) -> bool {
        match self {
            Tree::Hdf5(file) => file.has_group(name),
            Tree::Zarr(store) => store.has_group(name),
        }
    }

    /// Attributes of an array or a group; none where there is no such thing.
    pub(crate) fn attributes(&self, name: &str) -> Attributes {
        match self {
            Tree::Hdf5(file) => file.attributes(name),
            Tree::Zarr(store) => store.attributes(name),
        }
    }

    /// Paths of the arrays that an array's axes are named after; `None` where none are named.
    pub(crate) fn dimensions(&self, name: &str, all: &[(String, Layout)]) -> Option<Vec<String>> {
        match self {
            Tree::Hdf5(file) => file.dimensions(name, all),
            Tree::Zarr(store) => store.dimensions(name),
        }
    }

    /// Reads the samples of an array, laid out as `layout` says.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if it is damaged or claims more than the file can hold.
    pub(crate) fn read<T: Float>(&self, path: &Path, name: &str, layout: &Layout) -> Result<ArrayD<T>> {
        match self {
            Tree::Hdf5(file) => file.read(path, name, layout),
            Tree::Zarr(store) => store.read(name, layout),
        }
    }
}
