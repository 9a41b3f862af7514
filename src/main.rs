//! The `hsr-gpu` binary.

fn main() {}
