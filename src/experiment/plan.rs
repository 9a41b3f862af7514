//! A plan: the rows of an experiment's table, each with its cell.

use crate::baseline;
use crate::error::{Error, Result};
use crate::experiment::cell::{Cell, Method, Setting};
use crate::experiment::paper::Paper;

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
    /// Methods without a network that run beside those of the tables.
    beside: Vec<baseline::Method>,
}

impl Plan {
    /// An empty one; `beside` run wherever the fusion does.
    pub fn beside(beside: &[baseline::Method]) -> Self {
        Plan {
            beside: beside.to_vec(),
            ..Plan::default()
        }
    }

    /// Adds a row for every method of the quality tables and those beside them.
    pub fn add(&mut self, factor: &str, value: &str, setting: &Setting) {
        for method in Method::OF_QUALITY {
            self.add_method(factor, value, setting, method);
        }
        self.add_beside(factor, value, setting);
    }

    /// Adds a row for every method beside those of the tables.
    pub fn add_beside(&mut self, factor: &str, value: &str, setting: &Setting) {
        for method in self.beside.clone() {
            let method = Method::Baseline(method);
            if !Method::OF_QUALITY.contains(&method) {
                self.add_method(factor, value, setting, method);
            }
        }
    }

    /// Adds a row for a method that needs nothing but the setting.
    pub fn add_method(&mut self, factor: &str, value: &str, setting: &Setting, method: Method) {
        self.push(factor, value, setting, method, None);
    }

    /// Adds a row for a run of the paper's method.
    pub fn add_paper(&mut self, factor: &str, value: &str, setting: &Setting, paper: Paper) {
        self.push(factor, value, setting, Method::Paper, Some(paper));
    }

    fn push(&mut self, factor: &str, value: &str, setting: &Setting, method: Method, paper: Option<Paper>) {
        self.rows.push(Row {
            factor: factor.to_owned(),
            value: value.to_owned(),
            cell: Cell {
                setting: setting.clone(),
                method,
                paper,
            },
        });
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
