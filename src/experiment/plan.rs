//! A plan: the rows of an experiment's table, each with its cell.

use crate::error::{Error, Result};
use crate::experiment::cell::{Cell, Method, Setting};

/// A cell under the factor that it is looked at for. One cell may stand in several rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What is varied: a heading of the table.
    pub factor: String,
    /// The value it has here: a line under that heading.
    pub value: String,
    /// The run.
    pub cell: Cell,
}

/// What an experiment runs.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The rows in the order of the table.
    pub rows: Vec<Row>,
    /// What was left out and why, a sentence each.
    pub left_out: Vec<String>,
}

impl Plan {
    /// Adds a row for every method.
    pub fn add(&mut self, factor: &str, value: &str, setting: &Setting) {
        let rows = Method::ALL.map(|method| Row {
            factor: factor.to_owned(),
            value: value.to_owned(),
            cell: Cell {
                setting: setting.clone(),
                method,
            },
        });
        self.rows.extend(rows);
    }

    /// Keeps the rows whose factor, value or cell's name contains `filter`.
    ///
    /// # Errors
    /// [`Error::Input`] where none does.
    pub fn only(&mut self, filter: &str) -> Result<()> {
        let mut factors: Vec<String> = self.rows.iter().map(|r| r.factor.clone()).collect();
        factors.dedup();
        self.rows.retain(|row| {
            [&row.factor, &row.value, &row.cell.name()]
                .iter()
                .any(|text| text.contains(filter))
        });
        if self.rows.is_empty() {
            return Err(Error::input(format!(
                "--only {filter}: in no factor, value or name of a cell; the factors are {}",
                factors.join("; ")
            )));
        }
        Ok(())
    }
}
