//! Curves as data: what the report page draws in the browser and `plot` draws into files.

use serde::Serialize;

/// A plot of curves.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    /// Its name.
    pub title: String,
    /// What runs to the right, with its unit.
    pub x_label: String,
    /// What runs upwards, with its unit.
    pub y_label: String,
    /// Whether the upward axis is logarithmic.
    pub logarithmic: bool,
    /// The curves.
    pub series: Vec<Series>,
}

/// A curve.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Positions.
    pub x: Vec<f64>,
    /// Values, as many.
    pub y: Vec<f64>,
}

impl Series {
    /// A curve through these points.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let (x, y) = points.into_iter().unzip();
        Series {
            name: name.into(),
            x,
            y,
        }
    }
}
