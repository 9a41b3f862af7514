//! Experiments: many fusions of reference scenes under chosen conditions, their quality measured, in tables.
//!
//! A [`cell::Cell`] is one fully specified run. An experiment is a [`plan::Plan`]: rows of a table with a cell each.
//! [`scenes`] and [`robustness`] measure what `fuse` does; [`convergence`], [`coordination`], [`finetune`],
//! [`hyperparameters`] and [`table2`] repeat the supplement of Guo et al. (CVPR 2023) with the paper's own network and
//! schedule ([`paper`]), and [`network`] counts its Table 1. The [`runner`] works a plan off, one file a finished cell,
//! so that an interrupted experiment goes on where it stopped; [`table`] puts the results into CSV, JSON and text, and
//! the figures are data that [`crate::report::plot`] draws. Stands between the command line and coordination.

pub mod cell;
pub mod conditions;
pub mod convergence;
pub mod coordination;
pub mod finetune;
pub mod hyperparameters;
pub mod manifest;
pub mod misplaced;
pub mod misplacement;
pub mod network;
mod observed;
pub mod paper;
mod paper_run;
pub mod plan;
pub mod published;
pub mod robustness;
pub mod runner;
pub mod scenes;
pub mod table;
pub mod table2;
pub mod trace;
