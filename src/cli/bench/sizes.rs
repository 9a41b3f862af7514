//! The rows of `bench` and their sizes.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::coordination::config::Config;
use crate::engine::Noise;
use crate::engine::workload::Workload;
use crate::error::Result;
use crate::network::{Activation, Architecture};

/// A kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// A step of the coordination loop: 32 patches of 4 x 4 LR pixels, both updates
    TrainStep,
    /// A step of partial fine-tuning on 256 LR pixels
    FinetuneStep,
    /// The mean of a whole image
    Reconstruct,
    /// A step of eight networks of six layers of 24 on LR pixels alone
    MemberStep,
    /// Opening the device and the first training step
    ColdStart,
    /// The paper's protocol on 16 training and 16 test scenes: 7,300 steps, 475 fine-tune steps and a reconstruction a
    /// test scene
    CaveProtocol,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No row is hidden from the command line, so each has a value there.
        f.pad(self.to_possible_value().as_ref().map_or("", |v| v.get_name()))
    }
}

/// Sizes of a row.
#[derive(Debug, Clone)]
pub struct Sizes {
    pub name: Row,
    pub preset: &'static str,
    pub bands: usize,
    pub scale: usize,
    /// LR pixels of a step; side of the image of a reconstruction.
    pub size: usize,
    /// What sizes and the protocol's steps were divided by.
    pub shrunk: usize,
}

impl Sizes {
    /// The rows of every measurement.
    pub fn main() -> Vec<Sizes> {
        let row = |name, preset, scale, size| Sizes {
            name,
            preset,
            bands: 31,
            scale,
            size,
            shrunk: 1,
        };
        let mut rows = vec![
            row(Row::ColdStart, "cave", 32, 16),
            row(Row::TrainStep, "cave", 32, 512),
            row(Row::FinetuneStep, "cave", 32, 256),
            row(Row::Reconstruct, "cave", 32, 512),
        ];
        rows.extend([64, 256, 1024].map(|n| row(Row::MemberStep, "members", 32, n)));
        rows
    }

    /// The rows of `--sweep`.
    pub fn sweep() -> Vec<Sizes> {
        let row = |name, bands, scale, size| Sizes {
            name,
            preset: "cave",
            bands,
            scale,
            size,
            shrunk: 1,
        };
        let mut rows = Vec::new();
        rows.extend([256, 1024, 2048, 4096].map(|side| row(Row::Reconstruct, 31, 32, side)));
        rows.extend([8, 128, 200].map(|bands| row(Row::Reconstruct, bands, 32, 512)));
        rows.extend([8, 128, 200].map(|bands| row(Row::TrainStep, bands, 32, 512)));
        rows.extend([4, 8, 16].map(|scale| row(Row::TrainStep, 31, scale, 512)));
        rows
    }

    /// The network: the preset's, or the eight members of `member_step`.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a preset that does not exist.
    pub fn architecture(&self) -> Result<Architecture> {
        if self.name == Row::MemberStep {
            return Ok(Architecture {
                bands: self.bands,
                msi_bands: 3,
                encoder: vec![24; 6],
                concatenate: true,
                mean: vec![],
                std: vec![],
                slope: 0.3,
                encoder_last: Activation::Leaky,
                decoder_last: Activation::Linear,
                members: 8,
                linear_path: false,
            });
        }
        Config::load(self.preset, None)?.architecture(self.bands, 3, self.size)
    }

    /// The row of `cave_protocol`: images of 512 × 512, as many LR pixels a step as in `train_step`.
    pub fn protocol() -> Sizes {
        Sizes {
            name: Row::CaveProtocol,
            preset: "cave",
            bands: 31,
            scale: 32,
            size: 512,
            shrunk: 1,
        }
    }

    /// The size in words.
    pub fn extent(&self) -> String {
        match (self.name, self.size) {
            (Row::Reconstruct, side) => format!("{side} x {side} HR pixels"),
            (_, 1) => "1 LR pixel".to_owned(),
            (_, pixels) => format!("{pixels} LR pixels"),
        }
    }

    /// Divides the pixels by `by`, down to one.
    pub fn shrink(&mut self, by: usize) {
        self.size = (self.size / by).max(1);
        self.shrunk = by;
    }

    /// The training run of a step's row.
    ///
    /// # Errors
    /// As [`Sizes::architecture`].
    pub fn workload(&self) -> Result<Workload> {
        let with_theta = matches!(self.name, Row::TrainStep | Row::ColdStart | Row::CaveProtocol);
        Ok(Workload {
            architecture: self.architecture()?,
            scale: self.scale,
            windows: self.size,
            lr_pixels: self.size,
            hr_windows: if with_theta { self.size } else { 0 },
            every: 1,
            noise: match self.name {
                Row::MemberStep => Noise::Off,
                _ => Noise::Philox(0),
            },
            frozen_encoder: self.name == Row::FinetuneStep,
        })
    }
}
