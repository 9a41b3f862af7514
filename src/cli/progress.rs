//! Progress of long work on standard error: a bar with the time left on a terminal, a line a stage elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Output;
use crate::engine::StepLosses;
use crate::error::Result;

/// Seconds from which on a finished stage is worth a line of its own.
const WORTH_A_LINE: f64 = 0.5;

/// Seconds that a stage took.
#[derive(Debug, Clone, Serialize)]
pub struct StageTime {
    /// Name of the stage.
    pub stage: &'static str,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Runs stages one after the other, shows them and keeps their times.
pub struct Stages {
    output: Output,
    /// Times of the finished stages.
    pub times: Vec<StageTime>,
}

impl Stages {
    /// Stages shown as `output` asks for.
    pub fn new(output: &Output) -> Self {
        Stages {
            output: *output,
            times: Vec::new(),
        }
    }

    /// Runs one stage; `work` gets the bar to move.
    ///
    /// # Errors
    /// Whatever `work` returns.
    pub fn run<R>(&mut self, stage: &'static str, work: impl FnOnce(&Bar) -> Result<R>) -> Result<R> {
        let started = Instant::now();
        let bar = Bar::new(stage, &self.output);
        let result = work(&bar);
        bar.bar.finish_and_clear();
        let result = result?;
        let seconds = started.elapsed().as_secs_f64();
        if seconds >= WORTH_A_LINE {
            self.output.say(&format!("{stage}: {seconds:.2} s"));
        }
        self.times.push(StageTime { stage, seconds });
        Ok(result)
    }
}

/// A stage's progress bar; draws nothing where standard error is no terminal or under `--quiet`.
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(stage: &'static str, output: &Output) -> Self {
        let shown = !output.quiet && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_prefix(stage);
        // The template is a constant; were it wrong, the plain style would do.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>12} {wide_bar} {pos}/{len} {msg} {eta} left")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Bar { bar }
    }

    /// `done` of `total`.
    pub fn at(&self, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }

    /// `done` of `total` steps and their newest losses.
    pub fn step(&self, done: u32, total: u32, losses: &StepLosses) {
        self.at(done as usize, total as usize);
        let mean = losses.network.iter().sum::<f64>() / losses.network.len().max(1) as f64;
        self.bar.set_message(format!("L1 {mean:.5}"));
    }
}
