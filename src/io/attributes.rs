//! Attributes of arrays and groups, and lists of arrays: what containers of arrays (HDF5, Zarr) have in common.

use std::collections::BTreeMap;

use super::array::Layout;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Numbers(Vec<f64>),
    Text(String),
}

/// Attributes by their names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Attributes(BTreeMap<String, Value>);

impl Attributes {
    /// The numbers of an attribute, also of one that is their text.
    pub(crate) fn numbers(&self, name: &str) -> Vec<f64> {
        match self.0.get(name) {
            Some(Value::Numbers(numbers)) => numbers.clone(),
            Some(Value::Text(text)) => {
                let parts = text.split([',', ' ', ';']).filter(|part| !part.is_empty());
                parts
                    .map(str::parse)
                    .collect::<std::result::Result<_, _>>()
                    .unwrap_or_default()
            }
            None => Vec::new(),
        }
    }

    /// The text of an attribute.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Value::Text(text) => Some(text.trim()),
            Value::Numbers(_) => None,
        }
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl FromIterator<(String, Value)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(attributes: I) -> Self {
        Attributes(attributes.into_iter().collect())
    }
}

impl Extend<(String, Value)> for Attributes {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, attributes: I) {
        self.0.extend(attributes);
    }
}

/// The arrays of a file.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Those of real numbers: path and layout.
    pub numeric: Vec<(String, Layout)>,
    /// Those that cannot be read: path and the reason.
    pub unreadable: Vec<(String, String)>,
}
