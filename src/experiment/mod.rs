//! Experiments: many fusions of reference scenes under chosen conditions, their quality measured, in tables.
//!
//! A [`cell::Cell`] is one fully specified run. An experiment ([`scenes`], [`robustness`]) is a [`plan::Plan`]: rows of
//! a table with a cell each. The [`runner`] works a plan off, one file a finished cell, so that an interrupted
//! experiment goes on where it stopped; [`table`] puts the results into CSV, JSON and text. Stands between the command
//! line and coordination: it fuses with what `fuse` fuses with, and adds nothing to it.

pub mod cell;
pub mod manifest;
pub mod plan;
pub mod robustness;
pub mod runner;
pub mod scenes;
pub mod table;
