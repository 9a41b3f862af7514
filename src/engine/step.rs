//! The one order of a training step: which kernels make it, one behind the other. All engines, comparisons and profiles
//! take it from here.

/// A kernel of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// PSF and SRF from θ.
    Degradation,
    /// (Y∗C)↓ of the LR batch.
    PsfBlur,
    /// The LR pass, back to every layer.
    LrNetwork,
    /// A member's weights rounded to 16 bits.
    HalfWeights,
    /// The HR pass over parts of windows.
    HrNetwork,
    /// Parts of windows added up.
    HrWindow,
    /// The gradient of φ, and Adam.
    NetworkUpdate,
    /// `LrNetwork` and `NetworkUpdate` in one, for as many steps as keep batch and θ.
    LrSteps,
    /// Sums over windows and LR pixels.
    DegradationSums,
    /// The gradient of θ, and Adam.
    DegradationUpdate,
}

/// How an engine makes the LR pass of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LrKernels {
    /// [`Kernel::LrNetwork`] and [`Kernel::NetworkUpdate`].
    Spread,
    /// [`Kernel::LrSteps`].
    Merged,
}

/// What decides which kernels a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepParts {
    /// Whether PSF and SRF have to be made from θ.
    pub degradation: bool,
    /// Whether (Y∗C)↓ of the LR batch has to be made.
    pub observations: bool,
    /// The LR pass; `None` where only what precedes it is wanted.
    pub lr: Option<LrKernels>,
    /// Whether θ is updated, which takes the HR pass.
    pub theta: bool,
    /// Whether the HR pass is in 16 bits.
    pub half: bool,
}

/// Whether a step with these parts needs a kernel.
type Needed = fn(&StepParts) -> bool;

/// Every kernel, in the one order, and whether a step needs it. Both updates start from the same φ and θ: the HR pass comes
/// before Adam.
const ORDER: [(Kernel, Needed); Kernel::COUNT] = [
    (Kernel::Degradation, |s| s.degradation),
    (Kernel::PsfBlur, |s| s.observations),
    (Kernel::LrNetwork, |s| s.lr == Some(LrKernels::Spread)),
    (Kernel::HalfWeights, |s| s.theta && s.half),
    (Kernel::HrNetwork, |s| s.theta),
    (Kernel::HrWindow, |s| s.theta),
    (Kernel::NetworkUpdate, |s| s.lr == Some(LrKernels::Spread)),
    (Kernel::LrSteps, |s| s.lr == Some(LrKernels::Merged)),
    (Kernel::DegradationSums, |s| s.theta),
    (Kernel::DegradationUpdate, |s| s.theta),
];

impl Kernel {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// All of them, in the order of a step.
    pub fn all() -> impl Iterator<Item = Kernel> {
        ORDER.into_iter().map(|(kernel, _)| kernel)
    }

    /// Its shader.
    pub const fn file(self) -> &'static str {
        match self {
            Kernel::Degradation => "degradation.wgsl",
            Kernel::PsfBlur => "psf_blur.wgsl",
            Kernel::LrNetwork => "lr_network.wgsl",
            Kernel::HalfWeights => "half_weights.wgsl",
            Kernel::HrNetwork => "hr_network.wgsl",
            Kernel::HrWindow => "hr_window.wgsl",
            Kernel::NetworkUpdate => "network_update.wgsl",
            Kernel::LrSteps => "lr_steps.wgsl",
            Kernel::DegradationSums => "degradation_sums.wgsl",
            Kernel::DegradationUpdate => "degradation_update.wgsl",
        }
    }

    /// The stem of its files.
    pub fn name(self) -> &'static str {
        self.file().trim_end_matches(".wgsl")
    }
}

/// The kernels of a step with these parts, in their order.
pub fn step_kernels(parts: StepParts) -> impl Iterator<Item = Kernel> {
    let needed = ORDER.into_iter().filter(move |(_, needed)| needed(&parts));
    needed.map(|(kernel, _)| kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: StepParts = StepParts {
        degradation: true,
        observations: true,
        lr: Some(LrKernels::Spread),
        theta: true,
        half: true,
    };

    fn names(parts: StepParts) -> Vec<&'static str> {
        step_kernels(parts).map(Kernel::name).collect()
    }

    #[test]
    fn every_kernel_has_one_place() {
        let mut numbers: Vec<usize> = Kernel::all().map(|kernel| kernel as usize).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..Kernel::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn a_step_leaves_out_what_it_does_not_need() {
        let at = |name| names(FULL).iter().position(|n| *n == name).unwrap();
        // Both updates start from the same φ and θ.
        assert!(at("hr_window") < at("network_update") && at("network_update") < at("degradation_update"));
        assert_eq!(names(FULL).len(), Kernel::COUNT - 1);
        let alone = StepParts {
            degradation: false,
            observations: false,
            theta: false,
            ..FULL
        };
        assert_eq!(names(alone), ["lr_network", "network_update"]);
        let merged = StepParts {
            lr: Some(LrKernels::Merged),
            ..alone
        };
        assert_eq!(names(merged), ["lr_steps"]);
        let observation = StepParts {
            lr: None,
            theta: false,
            ..FULL
        };
        assert_eq!(names(observation), ["degradation", "psf_blur"]);
        assert!(!names(StepParts { half: false, ..FULL }).contains(&"half_weights"));
    }
}
