//! The results of an experiment as CSV (one line a row of the plan; one line an epoch), JSON (everything) and text.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

use crate::coordination::config::Config;
use crate::experiment::cell::{Cell, Method, Outcome};
use crate::experiment::manifest::Reference;
use crate::experiment::plan::Plan;
use crate::experiment::published::{METRICS, Published};
use crate::experiment::runner::{Finished, build};
use crate::experiment::trace::SETTLED;
use crate::metrics::Scores;
use crate::report::table::{Table, quoted};
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
    /// Threads that computed on the CPU.
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
            threads: rayon::current_num_threads(),
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
    /// What was run, in a sentence.
    pub ran: String,
    /// What was left out and why.
    pub left_out: Vec<String>,
    /// What stands beside the measured rows as published, and under which protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<(&'static str, &'static [Published])>,
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
    /// What was run, in a sentence.
    pub ran: String,
    /// What stands beside the rows as published.
    pub published: Option<(&'static str, &'static [Published])>,
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
            ran: heading.ran.clone(),
            left_out: plan.left_out.clone(),
            published: heading.published,
            rows,
        }
    }

    /// One line a row, with a header. What does not apply is empty.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "experiment,factor,value,name,scene,sensor,scale,psf,kernel,shift_lr_pixels,snr_hsi_db,snr_msi_db,told,psf_model,\
             seed,method,psnr_db,sam_deg,ergas,uiqi,ssim,rmse,pixels,masked,psf_nrmse,srf_nrmse,centre_error_lr_pixels,\
             seconds,start,guide,finetune_psf,alpha1,alpha2,alpha3,beta,train_on,dead_bands,settled_epoch,rises,engine,\
             version\n",
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
                s.true_psf().map_or(String::new(), |psf| psf.nrows().to_string()),
                s.shift.to_string(),
                number(s.snr_hsi),
                number(s.snr_msi),
                s.told.to_string(),
                match s.psf_model {
                    PsfModel::Auto => "auto".to_owned(),
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
            ];
            let paper = paper_fields(row);
            let ends = [self.engine.clone(), self.version.to_owned()];
            let line: Vec<String> = fields
                .iter()
                .chain(&paper)
                .chain(&ends)
                .map(|f| quoted(f))
                .collect();
            text.push_str(&line.join(","));
            text.push('\n');
        }
        text
    }

    /// One line an epoch of every run whose course was kept; none where there is no such run.
    pub fn epochs_csv(&self) -> Option<String> {
        let mut text = String::from(
            "name,stage,epoch,step,objective,error,L_theta,L_phi,m00,m10,m11,psf_nrmse,srf_nrmse,psnr_db,sam_deg,ergas,uiqi,\
             ssim,rmse,dead_bands\n",
        );
        let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        let mut any = false;
        let mut written: Vec<&str> = Vec::new();
        for row in &self.rows {
            let Some(trace) = row
                .outcome
                .trace
                .as_ref()
                .filter(|_| !written.contains(&row.name.as_str()))
            else {
                continue;
            };
            written.push(&row.name);
            for (stage, points) in [("train", &trace.training), ("fine-tune", &trace.finetuning)] {
                for (epoch, p) in points.iter().enumerate() {
                    any = true;
                    let score = |f: fn(&Scores) -> f64| number(p.scores.as_ref().map(f));
                    let factor = |k: usize| number(p.psf.get(k).copied());
                    let fields = [
                        quoted(&row.name),
                        stage.to_owned(),
                        epoch.to_string(),
                        p.step.to_string(),
                        number(p.objective()),
                        number(p.error),
                        number(p.degradation),
                        number(p.network),
                        factor(0),
                        factor(1),
                        factor(2),
                        p.psf_nrmse.to_string(),
                        number(p.srf_nrmse),
                        score(|s| s.psnr_db),
                        score(|s| s.sam_deg),
                        score(|s| s.ergas),
                        score(|s| s.uiqi),
                        score(|s| s.ssim),
                        score(|s| s.rmse),
                        p.dead_bands.map_or(String::new(), |n| n.to_string()),
                    ];
                    text.push_str(&fields.join(","));
                    text.push('\n');
                }
            }
        }
        any.then_some(text)
    }

    /// What the courses of the runs say: rises of the objective, when the PSF settled, outputs that died.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for row in &self.rows {
            let what = format!("{}, {}, seed {}", row.factor, row.value, row.cell.setting.seed);
            if let Some(trace) = &row.outcome.trace {
                let epochs = trace.training.len().saturating_sub(1);
                remarks.push(match &trace.rises[..] {
                    [] => format!("{what}: in none of {epochs} epochs did the objective rise beyond sampling noise"),
                    rises => format!(
                        "{what}: the objective rose beyond sampling noise in {} of {epochs} epochs: {rises:?}",
                        rises.len()
                    ),
                });
                let end = trace.training.last().map_or(f64::NAN, |p| p.psf_nrmse);
                remarks.push(format!(
                    "{what}: the PSF settles in epoch {} (within {} % of where it ends, {end:.3} from the true one)",
                    trace.settled_epoch,
                    100.0 * SETTLED
                ));
            }
        }
        let dead: Vec<usize> = self
            .rows
            .iter()
            .filter_map(|row| row.outcome.dead_bands)
            .collect();
        if let (Some(least), Some(most)) = (dead.iter().min(), dead.iter().max())
            && *most > 0
        {
            let affected = dead.iter().filter(|&&n| n > 0).count();
            remarks.push(format!(
                "in {affected} of {} rows, {least} to {most} bands of the result are zero everywhere: their ReLU never fires",
                dead.len()
            ));
        }
        remarks
    }

    /// Published rows, then measured ones with mean and standard deviation over scenes and seeds.
    fn beside(&self, protocol: &str, published: &[Published]) -> Table {
        let head = ["", "PSNR (dB)", "SAM (deg)", "ERGAS", "UIQI", "runs"];
        let mut rows: Vec<Vec<String>> = published
            .iter()
            .map(|p| {
                let mut row = vec![format!("{} (published)", p.method)];
                row.extend(p.scores.iter().map(f64::to_string));
                row.push("-".to_owned());
                row
            })
            .collect();
        for (_, value) in self.groups() {
            let here = self.rows.iter().filter(|r| r.value == value);
            let scores: Vec<_> = here.map(|r| &r.outcome.scores).collect();
            let mut row = vec![value.to_owned()];
            for (k, (_, _, metric)) in METRICS.iter().enumerate() {
                let values: Vec<f64> = scores.iter().map(|s| metric(s)).collect();
                row.push(mean_and_spread(&values, [2, 2, 3, 4][k]));
            }
            row.push(scores.len().to_string());
            rows.push(row);
        }
        Table {
            title: "Table of section E".to_owned(),
            head: head.map(str::to_owned).to_vec(),
            rows,
            note: format!(
                "Published rows: {protocol}. The others: mean and standard deviation over scenes and seeds, `strict`."
            ),
        }
    }

    /// A table a factor, with means over scenes and seeds; where there are published rows, the one table with them.
    pub fn tables(&self) -> Vec<Table> {
        if let Some((protocol, published)) = self.published {
            return vec![self.beside(protocol, published)];
        }
        let mut tables: Vec<Table> = Vec::new();
        for (factor, value) in self.groups() {
            if tables.last().is_none_or(|t| t.title != factor) {
                tables.push(Table {
                    title: factor.to_owned(),
                    head: [
                        "",
                        "method",
                        "PSNR (dB)",
                        "SAM (deg)",
                        "ERGAS",
                        "UIQI",
                        "PSF error",
                        "SRF error",
                        "seconds",
                        "runs",
                    ]
                    .map(str::to_owned)
                    .to_vec(),
                    rows: Vec::new(),
                    note: "Mean and, of several runs, standard deviation over scenes and seeds, `strict`."
                        .to_owned(),
                });
            }
            let Some(table) = tables.last_mut() else { continue };
            for method in self.methods() {
                let rows: Vec<&ResultRow> = self.of(factor, value, method).collect();
                if rows.is_empty() {
                    continue;
                }
                let shown = |digits: usize, f: &dyn Fn(&Outcome) -> Option<f64>| {
                    let found: Vec<f64> = rows.iter().filter_map(|r| f(&r.outcome)).collect();
                    mean_and_spread(&found, digits)
                };
                table.rows.push(vec![
                    value.to_owned(),
                    method.to_string(),
                    shown(2, &|o| Some(o.scores.psnr_db)),
                    shown(2, &|o| Some(o.scores.sam_deg)),
                    shown(3, &|o| Some(o.scores.ergas)),
                    shown(4, &|o| Some(o.scores.uiqi)),
                    shown(3, &|o| o.psf_nrmse),
                    shown(3, &|o| o.srf_nrmse),
                    shown(1, &|o| Some(o.seconds)),
                    rows.len().to_string(),
                ]);
            }
        }
        tables
    }

    /// Seconds of every run, those of its method alone.
    pub fn times(&self) -> Vec<(String, f64)> {
        let mut seen: Vec<&str> = Vec::new();
        let mut times = Vec::new();
        for row in &self.rows {
            if !seen.contains(&row.name.as_str()) {
                seen.push(&row.name);
                let (setting, method) = (&row.cell.setting, row.cell.method);
                let name = format!(
                    "{}: {}, {method}, {}, seed {}",
                    row.factor, row.value, setting.scene, setting.seed
                );
                times.push((name, row.outcome.seconds));
            }
        }
        times
    }

    fn of<'a>(
        &'a self,
        factor: &'a str,
        value: &'a str,
        method: Method,
    ) -> impl Iterator<Item = &'a ResultRow> {
        self.rows
            .iter()
            .filter(move |r| r.factor == factor && r.value == value && r.cell.method == method)
    }

    /// For a terminal: the table, remarks, and what was run.
    pub fn text(&self) -> String {
        let mut text = match self.published {
            Some(_) => self.tables().iter().map(Table::text).collect(),
            None => self.lines(),
        };
        for line in self
            .left_out
            .iter()
            .map(|l| format!("left out: {l}"))
            .chain(self.remarks())
        {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(
            text,
            "\nexperiment {}, {} cells ({} computed now), hsr-gpu {} (build {:08x}), engine {}, seeds {} to {}\nran: {}\n{}",
            self.experiment,
            self.cells.0,
            self.cells.1,
            self.version,
            self.build,
            self.engine,
            self.seed,
            self.seed + self.seeds.max(1) - 1,
            self.ran,
            self.command
        );
        text
    }

    /// Under each factor a line a value and method, means over scenes and seeds.
    fn lines(&self) -> String {
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
            for method in self.methods() {
                let rows: Vec<&ResultRow> = self.of(name, value, method).collect();
                if !rows.is_empty() {
                    let _ = writeln!(text, "{value:<36} {:<15} {}", method.to_string(), numbers(&rows));
                }
            }
        }
        text
    }

    /// The methods of all rows, in the order of the tables.
    fn methods(&self) -> BTreeSet<Method> {
        self.rows.iter().map(|row| row.cell.method).collect()
    }

    /// Factor and value of every line of the table, in the order of the plan.
    pub(super) fn groups(&self) -> Vec<(&str, &str)> {
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

/// The fields of a row that only a run of the paper's method has.
fn paper_fields(row: &ResultRow) -> Vec<String> {
    let trace = row.outcome.trace.as_ref();
    let Some(p) = &row.cell.paper else {
        return vec![String::new(); 11];
    };
    let word = |json: serde_json::Result<serde_json::Value>| {
        let value = json.unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    };
    let names: Vec<&str> = p.train_on.iter().map(|(name, _)| name.as_str()).collect();
    let rises: Option<Vec<String>> = trace.map(|t| t.rises.iter().map(usize::to_string).collect());
    vec![
        word(serde_json::to_value(p.start)),
        word(serde_json::to_value(p.guide)),
        word(serde_json::to_value(p.finetune)),
        p.alpha[0].to_string(),
        p.alpha[1].to_string(),
        p.alpha[2].to_string(),
        p.beta.to_string(),
        names.join(" "),
        row.outcome.dead_bands.map_or(String::new(), |n| n.to_string()),
        trace.map_or(String::new(), |t| t.settled_epoch.to_string()),
        rises.map_or(String::new(), |r| r.join(" ")),
    ]
}

/// The mean of some values and, where there are several, their standard deviation; a dash of none.
pub(super) fn mean_and_spread(values: &[f64], digits: usize) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    match values.len() {
        0 => "-".to_owned(),
        1 => format!("{mean:.digits$}"),
        _ => {
            let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
            format!("{mean:.digits$} ± {:.digits$}", (squares / (n - 1.0)).sqrt())
        }
    }
}
