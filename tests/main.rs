//! The tests of commands, formats and the library as one program: linking takes longer than most of them. One file's are run
//! by `cargo test --test integration fuse_cli::`. Those that count memory by an allocator are programs of their own.

// Helpers of tests fail as the tests themselves do: by unwrapping.
#![allow(clippy::unwrap_used)]

mod common;

mod architecture;
mod bands_and_masks;
mod batch_cli;
mod dlr_products;
mod dry_run;
mod engine_on_demand;
mod eval_simulate;
mod experiment_cli;
#[cfg(unix)]
mod faults;
mod formats;
mod formats_cli;
mod formats_containers;
mod front_door;
mod fuse_cli;
mod geotiff;
mod geotiff_layout;
mod instruments_cli;
mod jpeg2000;
mod json;
mod limits;
mod meanings;
mod methods_cli;
mod output_cli;
mod outputs;
mod report_cli;
mod scratch;
mod sensors_cli;
mod supplement_cli;
mod trust_cli;
mod vrt;
