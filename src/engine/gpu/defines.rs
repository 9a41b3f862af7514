//! The names that shaders know: sizes of the data, of the network and of the records that kernels leave.
//!
//! One place says where a record's parts lie; the shaders take it as constants, the read-back from [`Shape`].

use crate::engine::gpu::half_weights;
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::{Geometry, Noise, Problem};
use crate::error::{Error, Result};
use crate::network::{Architecture, Branch, Layer, Layout};
use crate::random::Purpose;
use crate::real::Real;
use crate::sensor::psf;

/// Most quads of outputs of one pixel that a layer computes at once, each an accumulator with a name.
const MOST_ACCUMULATORS: usize = 8;
/// The same of all pixels of an invocation: 96 registers.
const MOST_OF_ALL: usize = 24;

/// What a shader's text takes from the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShaderTarget {
    /// Whether it is a software rasteriser: its compiler wants little text and no unrolled loops.
    pub software: bool,
    /// Workgroup memory in bytes.
    pub workgroup_memory: usize,
    /// Arithmetic of the HR pass and of reconstruction.
    pub arithmetic: Arithmetic,
    /// Bytes of workgroup memory that a workgroup of the HR pass takes in f32 where it has a choice: what one takes more is
    /// paid in workgroups that run side by side.
    pub memory_budget: usize,
    /// Most pixels an invocation of the HR pass and of reconstruction in f32; with matrices it has one.
    pub pixels: usize,
    /// Whether no compiler is to unroll the loops over a layer's inputs.
    pub rolled: bool,
    /// Inputs of a layer that are taken together, 1, 2 or 4: so many rows of weights are loaded at once.
    pub inputs: usize,
    /// Whether shaders have 64-bit integers.
    pub wide: bool,
    /// LR pixels that an invocation of `lr_steps` takes side by side.
    pub lr_pixels: usize,
}

impl ShaderTarget {
    /// Quads of outputs of a pixel that a layer of `pixels` pixels computes at once.
    pub fn accumulators(&self, pixels: usize) -> usize {
        if self.software {
            1
        } else {
            (MOST_OF_ALL / pixels).clamp(2, MOST_ACCUMULATORS)
        }
    }

    /// Pixels an invocation of reconstruction.
    pub fn pixels_an_invocation(&self) -> usize {
        match self.arithmetic {
            Arithmetic::Single => self.pixels,
            _ => 1,
        }
    }
}

/// How the HR pass and reconstruction multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// In f32.
    Single,
    /// Factors in f16, sums in f32.
    Half,
    /// The same with cooperative matrices.
    Matrix,
}

/// Quads (four-wide vectors) that hold `n` numbers.
pub fn quads(n: usize) -> usize {
    n.div_ceil(4)
}

/// A number of outputs cut into tiles of equal width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// Number of tiles.
    pub count: usize,
    /// Quads a tile.
    pub width: usize,
}

impl Tiles {
    /// `quads` in tiles of at most `most`.
    pub fn of(quads: usize, most: usize) -> Self {
        let count = quads.div_ceil(most);
        Tiles {
            count,
            width: quads.div_ceil(count),
        }
    }
}

/// Where the parts of a kernel's record lie; offsets and lengths in quads unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// HSI bands B.
    pub bands: usize,
    /// MSI bands b.
    pub msi: usize,
    /// Quads of B.
    pub band_quads: usize,
    /// Side S of a window.
    pub side: usize,
    /// Side K of the PSF.
    pub kernel: usize,
    /// Row of activations of an LR pixel.
    pub row: usize,
    /// The MSI pixel and a one behind it.
    pub extra: usize,
    /// Offset of the gradients to the affine outputs.
    pub deltas: usize,
    /// Offset of the loss of an LR pixel.
    pub loss: usize,
    /// Offset of the LR sample, where tensors are kept.
    pub sample: usize,
    /// Record of an LR pixel of a member.
    pub pixel_record: usize,
    /// Offset of a window's seven sums.
    pub tail: usize,
    /// Offset of a window's Ẑ·R, where tensors are kept.
    pub response: usize,
    /// Quads of an HR pixel's Ẑ·R.
    pub response_quads: usize,
    /// Record of an HR window.
    pub window_record: usize,
    /// Floats of an LR pixel's observation.
    pub observation: usize,
    /// Number of degradation parameters.
    pub theta: usize,
}

impl Shape {
    /// Sizes for an architecture and a geometry; `keep` makes room for the tensors that only comparisons ask for.
    pub fn new(architecture: &Architecture, layout: &Layout, geometry: Geometry, keep: bool) -> Self {
        let (bands, msi) = (architecture.bands, architecture.msi_bands);
        let (band_quads, side) = (quads(bands), geometry.window());
        let (row, extra) = (layout.activations / 4, quads(msi + 1));
        let deltas = row + extra;
        let loss = deltas + row;
        let tail = (1 + psf::PARAMETERS + msi) * band_quads;
        let response_quads = quads(msi);
        Shape {
            bands,
            msi,
            band_quads,
            side,
            kernel: geometry.kernel,
            row,
            extra,
            deltas,
            loss,
            sample: loss + 1,
            pixel_record: loss + 1 + if keep { band_quads } else { 0 },
            tail,
            response: tail + 2,
            response_quads,
            window_record: tail + 2 + if keep { side * side * response_quads } else { 0 },
            observation: 3 * msi + 1 + psf::PARAMETERS,
            theta: crate::engine::degradation_parameters(msi),
        }
    }

    /// Sizes of the data.
    pub fn defines(&self, geometry: Geometry) -> Defines {
        let mut d = Defines::default();
        d.number("BANDS", self.bands)
            .number("MSI", self.msi)
            .number("BAND_QUADS", self.band_quads)
            .number("SIDE", self.side)
            .number("KERNEL", self.kernel)
            .number("KERNEL_AT", geometry.kernel_offset())
            .number("BLOCK_AT", geometry.block_offset())
            .number("SCALE", geometry.scale);
        d
    }

    /// Offsets of an LR pixel's record.
    pub fn pixel_defines(&self) -> Defines {
        let mut d = Defines::default();
        d.number("ROW_QUADS", self.row)
            .number("EXTRA_QUADS", self.extra)
            .number("PIXEL_DELTAS", self.deltas)
            .number("PIXEL_LOSS", self.loss)
            .number("PIXEL_SAMPLE", self.sample)
            .number("PIXEL_RECORD", self.pixel_record);
        d
    }

    /// Offsets of an HR window's record.
    pub fn window_defines(&self) -> Defines {
        let mut d = Defines::default();
        d.number("WINDOW_TAIL", self.tail)
            .number("WINDOW_RESPONSE", self.response)
            .number("RESPONSE_QUADS", self.response_quads)
            .number("WINDOW_RECORD", self.window_record);
        d
    }
}

/// Offset in a member's row of the activations that a layer reads, and its layer's number; `None` for the MSI pixel.
fn from(layout: &Layout, layer: &Layer) -> Option<usize> {
    let offset = crate::engine::cpu::network::input_offset(layout, layer)?;
    layout.layers.iter().position(|l| l.activation == offset)
}

fn last(layout: &Layout, branch: Branch) -> Option<usize> {
    layout.layers.iter().rposition(|l| l.branch == branch)
}

/// The network: tables over its layers, in the layout's order. A tile of bands has at most `band_tile` quads, no more
/// than eight.
///
/// # Errors
/// [`Error::Failed`] for an architecture that [`Architecture::check`] refuses.
pub fn network(
    architecture: &Architecture,
    layout: &Layout,
    band_tile: usize,
    target: ShaderTarget,
) -> Result<Defines> {
    let place = |branch| {
        last(layout, branch)
            .ok_or_else(|| Error::failed("network: a branch without layers cannot be compiled"))
    };
    let (abundance, mean, std) = (place(Branch::Encoder)?, place(Branch::Mean)?, place(Branch::Std)?);
    let is_last = |at: usize| at == mean || at == std;
    let bands = match target.arithmetic {
        Arithmetic::Single => Tiles::of(quads(architecture.bands), band_tile.min(MOST_ACCUMULATORS)),
        // Tiles of whole matrices, as wide as asked for.
        _ => Tiles {
            count: quads(architecture.bands).div_ceil(band_tile),
            width: band_tile,
        },
    };
    let most = target.accumulators(target.pixels_an_invocation());
    // Parts that a layer's outputs (for a last layer: those of one tile of bands) are computed in.
    let parts: Vec<Tiles> = (0..layout.layers.len())
        .map(|at| {
            if is_last(at) {
                Tiles::of(bands.width, most)
            } else {
                Tiles::of(layout.layers[at].stride / 4, most)
            }
        })
        .collect();
    let table = |f: &dyn Fn(usize, &Layer) -> usize| -> Vec<i64> {
        let values = layout.layers.iter().enumerate().map(|(at, l)| f(at, l) as i64);
        values.collect()
    };
    // MSI bands that the layer above takes beside these outputs.
    let appended = |at: usize| match layout.layers.get(at + 1) {
        Some(above) if above.branch == Branch::Encoder => above.msi_inputs,
        _ => 0,
    };
    let mut d = Defines::default();
    d.extend(&half_weights::network(layout))
        .number("HALF", usize::from(target.arithmetic != Arithmetic::Single))
        .number("MATRIX", usize::from(target.arithmetic == Arithmetic::Matrix))
        .number("LAYERS", layout.layers.len())
        .number("MEMBERS", architecture.members)
        .number("PARAMETER_QUADS", layout.parameters / 4)
        .number("LINEAR", usize::from(architecture.linear_path))
        .number("LINEAR_AT", architecture.members * layout.parameters / 4)
        .number("ABUNDANCE", abundance)
        .number("MEAN", mean)
        .number("STD", std)
        .number("SOFTWARE", usize::from(target.software))
        .number("ROLLED", usize::from(target.rolled))
        .number("STEP", target.inputs)
        .number("WIDE", usize::from(target.wide))
        .number("BAND_TILES", bands.count)
        .number("BAND_WIDTH", bands.width)
        .table("OWN", table(&|_, l| l.inputs - l.msi_inputs))
        .table("MSI_INPUTS", table(&|_, l| l.msi_inputs))
        // The first layer has no layer below; its entry is never used.
        .table("FROM", table(&|_, l| from(layout, l).unwrap_or(0)))
        .table("BRANCH", table(&|_, l| l.branch as usize))
        .table("LAST", table(&|at, _| usize::from(is_last(at))))
        .table("QUADS", table(&|_, l| l.stride / 4))
        .table("PARTS", table(&|at, _| parts[at].count))
        .table("ACCUMULATORS", table(&|at, _| parts[at].width))
        .table("WIDTH", table(&|at, _| if is_last(at) { bands.width } else { 0 }))
        .table("OUTPUTS", table(&|_, l| l.outputs))
        .table("APPENDED", table(&|at, _| appended(at)))
        // Quads of outputs and of what stands behind them as inputs of the next layer: the MSI pixel and a one.
        .table(
            "LENGTH",
            table(&|at, l| (parts[at].width * parts[at].count).max(quads(l.outputs + appended(at) + 1))),
        )
        .table("WEIGHT", table(&|_, l| l.weight / 4))
        .table("ROW_AT", table(&|_, l| l.activation / 4))
        .floats("SLOPE", layout.layers.iter().map(|l| l.slope));
    Ok(d)
}

/// Where ε comes from, for draws of `purpose`.
pub fn noise(noise: Noise, purpose: Purpose) -> Defines {
    let mut d = Defines::default();
    d.number(
        "NOISE",
        match noise {
            Noise::Off => 0,
            Noise::Philox(_) => 1,
            Noise::Given => 2,
        },
    )
    .number("PURPOSE", purpose as usize);
    d
}

/// Whether a run keeps the tensors that only a comparison asks for: where ε is handed over.
pub fn keeps_tensors<T: Real>(problem: &Problem<T>) -> bool {
    problem.noise == Noise::Given
}
