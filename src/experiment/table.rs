//! The results of an experiment as CSV (one line a row of the plan), JSON (everything) and a text table.

use std::fmt::Write;

use serde::Serialize;

use crate::coordination::config::Config;
use crate::experiment::cell::{Cell, Method, Outcome};
use crate::experiment::manifest::Reference;
use crate::experiment::plan::Plan;
use crate::experiment::runner::{Finished, build};
use crate::sensor::estimate::PsfModel;

/// A row of the plan with its outcome.
#[derive(Debug, Clone, Serialize)]
pub struct ResultRow {
    /// What is varied.
    pub factor: String,
    /// Its value.
    pub value: String,
    /// Name of the cell.
    pub name: String,
    /// The run.
    #[serde(flatten)]
    pub cell: Cell,
    /// What came out.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A scene of the experiment.
#[derive(Debug, Clone, Serialize)]
pub struct SceneLine {
    /// Its name.
    pub name: String,
    /// Rows, columns and bands.
    pub shape: (usize, usize, usize),
    /// Where the MSI comes from.
    pub sensor: String,
    /// CRC-32 of its samples.
    pub checksum: u32,
}

/// The machine that an experiment ran on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Operating system and architecture.
    pub system: String,
    /// Model of the processor, where the system tells it.
    pub processor: Option<String>,
    /// Threads that run at once.
    pub threads: usize,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        Machine {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: model,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Every number and every setting of an experiment.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Name of the experiment.
    pub experiment: &'static str,
    /// The command line.
    pub command: String,
    /// Version of the program.
    pub version: &'static str,
    /// CRC-32 of the executable.
    pub build: u32,
    /// The device.
    pub engine: String,
    /// The machine.
    pub machine: Machine,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: u64,
    /// Cells in all, and those that this run computed.
    pub cells: (usize, usize),
    /// The configuration before a cell's own settings.
    pub config: Config,
    /// The scenes.
    pub scenes: Vec<SceneLine>,
    /// What was left out and why.
    pub left_out: Vec<String>,
    /// The rows.
    pub rows: Vec<ResultRow>,
}

/// What stays the same over an experiment: its name, the device, the configuration.
pub struct Heading<'a> {
    /// Name of the experiment.
    pub experiment: &'static str,
    /// The device.
    pub engine: String,
    /// The configuration.
    pub config: &'a Config,
    /// Number of seeds.
    pub seeds: u64,
}

impl Results {
    /// Puts the outcomes to the rows of the plan.
    pub fn new(heading: &Heading, references: &[Reference], plan: &Plan, finished: &Finished) -> Self {
        let rows = plan
            .rows
            .iter()
            .filter_map(|row| {
                let name = row.cell.name();
                finished.outcomes.get(&name).map(|outcome| ResultRow {
                    factor: row.factor.clone(),
                    value: row.value.clone(),
                    name,
                    cell: row.cell.clone(),
                    outcome: outcome.clone(),
                })
            })
            .collect();
        Results {
            experiment: heading.experiment,
            command: std::env::args().collect::<Vec<_>>().join(" "),
            version: env!("CARGO_PKG_VERSION"),
            build: build(),
            engine: heading.engine.clone(),
            machine: Machine::this(),
            seed: heading.config.seed,
            seeds: heading.seeds,
            cells: (finished.outcomes.len(), finished.computed),
            config: heading.config.clone(),
            scenes: references
                .iter()
                .map(|r| SceneLine {
                    name: r.name.clone(),
                    shape: r.shape,
                    sensor: r.sensor(),
                    checksum: r.checksum,
                })
                .collect(),
            left_out: plan.left_out.clone(),
            rows,
        }
    }

    /// One line a row, with a header. What does not apply is empty.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "experiment,factor,value,name,scene,sensor,scale,psf,kernel,shift_lr_pixels,snr_hsi_db,snr_msi_db,told,psf_model,\
             seed,method,psnr_db,sam_deg,ergas,uiqi,ssim,rmse,pixels,masked,psf_nrmse,srf_nrmse,centre_error_lr_pixels,\
             seconds,engine,version\n",
        );
        let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        for row in &self.rows {
            let (s, o) = (&row.cell.setting, &row.outcome);
            let fields = [
                self.experiment.to_owned(),
                row.factor.clone(),
                row.value.clone(),
                row.name.clone(),
                s.scene.clone(),
                s.sensor.clone(),
                s.scale.to_string(),
                s.psf.to_string(),
                s.kernel.to_string(),
                s.shift.to_string(),
                number(s.snr_hsi),
                number(s.snr_msi),
                s.told.to_string(),
                match s.psf_model {
                    PsfModel::Gaussian => "gaussian".to_owned(),
                    PsfModel::Free => "free".to_owned(),
                },
                s.seed.to_string(),
                row.cell.method.to_string(),
                o.scores.psnr_db.to_string(),
                o.scores.sam_deg.to_string(),
                o.scores.ergas.to_string(),
                o.scores.uiqi.to_string(),
                o.scores.ssim.to_string(),
                o.scores.rmse.to_string(),
                o.scores.pixels.to_string(),
                o.scores.masked.to_string(),
                number(o.psf_nrmse),
                number(o.srf_nrmse),
                number(o.centre_error),
                o.seconds.to_string(),
                self.engine.clone(),
                self.version.to_owned(),
            ];
            let line: Vec<String> = fields.iter().map(|f| quoted(f)).collect();
            text.push_str(&line.join(","));
            text.push('\n');
        }
        text
    }

    /// For a terminal: under each factor a line a value and method, means over scenes and seeds, and what was run.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut factor = "";
        for (name, value) in self.groups() {
            if name != factor {
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "{}{name}\n{:<36} {:<15} {:>14} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>9} {:>4}",
                    if text.is_empty() { "" } else { "\n" },
                    "",
                    "",
                    "PSNR dB",
                    "SAM deg",
                    "ERGAS",
                    "UIQI",
                    "PSF err",
                    "SRF err",
                    "centre",
                    "seconds",
                    "runs"
                );
                factor = name;
            }
            for method in Method::ALL {
                let rows: Vec<&ResultRow> = self
                    .rows
                    .iter()
                    .filter(|r| r.factor == name && r.value == value && r.cell.method == method)
                    .collect();
                if !rows.is_empty() {
                    let _ = writeln!(text, "{value:<36} {:<15} {}", method.to_string(), numbers(&rows));
                }
            }
        }
        for line in &self.left_out {
            let _ = writeln!(text, "left out: {line}");
        }
        let _ = writeln!(
            text,
            "\nexperiment {}, {} cells ({} computed now), hsr-gpu {} (build {:08x}), engine {}, seeds {} to {}\n{}",
            self.experiment,
            self.cells.0,
            self.cells.1,
            self.version,
            self.build,
            self.engine,
            self.seed,
            self.seed + self.seeds.max(1) - 1,
            self.command
        );
        text
    }

    /// Factor and value of every line of the table, in the order of the plan.
    fn groups(&self) -> Vec<(&str, &str)> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for row in &self.rows {
            let group = (row.factor.as_str(), row.value.as_str());
            if !found.contains(&group) {
                found.push(group);
            }
        }
        found
    }
}

/// Means of some rows; PSNR with its standard deviation where there are several.
fn numbers(rows: &[&ResultRow]) -> String {
    let mean = |f: &dyn Fn(&Outcome) -> Option<f64>| {
        let found: Vec<f64> = rows.iter().filter_map(|r| f(&r.outcome)).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    };
    let psnr = mean(&|o| Some(o.scores.psnr_db)).unwrap_or(f64::NAN);
    let spread = if rows.len() > 1 {
        let squares: f64 = rows
            .iter()
            .map(|r| (r.outcome.scores.psnr_db - psnr).powi(2))
            .sum();
        format!("{psnr:.2} ±{:5.2}", (squares / (rows.len() - 1) as f64).sqrt())
    } else {
        format!("{psnr:.2}       ")
    };
    let shown = |x: Option<f64>, digits: usize| x.map_or("-".to_owned(), |x| format!("{x:.digits$}"));
    format!(
        "{spread:>14} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>9} {:>4}",
        shown(mean(&|o| Some(o.scores.sam_deg)), 2),
        shown(mean(&|o| Some(o.scores.ergas)), 3),
        shown(mean(&|o| Some(o.scores.uiqi)), 4),
        shown(mean(&|o| o.psf_nrmse), 3),
        shown(mean(&|o| o.srf_nrmse), 3),
        shown(mean(&|o| o.centre_error), 3),
        shown(mean(&|o| Some(o.seconds)), 2),
        rows.len()
    )
}

/// A field of a CSV file (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("gaussian:1,2,3"), "\"gaussian:1,2,3\"");
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
    }
}
