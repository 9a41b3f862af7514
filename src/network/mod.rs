//! The network φ: its architecture, the layout of its parameters, and how they start.
//!
//! Every layer acts on one pixel. An encoder of 1×1 convolutions (the MSI pixel concatenated before all but
//! the first) gives the abundance, two decoders give mean and standard deviation of every band.

mod architecture;
mod initialisation;

pub use architecture::{Activation, Architecture, Branch, Layer, Layout, MOST_MEMBERS};
pub use initialisation::{Initialisation, initial_parameters};
