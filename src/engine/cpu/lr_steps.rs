//! Twin of `shaders/lr_steps.wgsl`: LR steps one after the other, without a degradation update between them.

use crate::engine::cpu::lr_network::{self, LrPass, LrPixel, lr_network};
use crate::engine::cpu::network_update::{self, Adam};
use crate::engine::work::Work;
use crate::engine::{Problem, StepPlan, TrainingState};
use crate::real::Real;

/// Work of one step on `pixels` LR pixels of each member: that of `lr_network` and `network_update`, but a pixel's record
/// stays where it was made. A run without noise leaves σ out of the pass, and perhaps of the update.
pub fn work<T: Real>(problem: &Problem<T>, pixels: usize, pass_std: bool, update_std: bool) -> Work {
    let architecture = &problem.architecture;
    let both =
        lr_network::work(problem, pixels, pass_std) + network_update::work(problem, pixels, update_std);
    let record = 4 * architecture.layout().activations + 1 + architecture.msi_bands;
    let stays = Work::of::<T>(0, architecture.members * pixels * record);
    Work {
        bytes: both.bytes - stays.bytes,
        ..both
    }
}

/// Takes φ and its moments in `state` through `plans`, whose batches are that of `first`; `first.network` is not read.
/// Returns Σ|X̂_ds − X| of every member, step by step, and the last step's gradient of φ.
pub fn lr_steps<T: Real>(
    first: &LrPass<T>,
    plans: &[StepPlan],
    state: &mut TrainingState<T>,
) -> (Vec<T>, Vec<T>) {
    let architecture = &first.problem.architecture;
    let (members, bands, n) = (architecture.members, architecture.bands, first.batch.len());
    let mut pixels = vec![LrPixel::zero(first.layout, bands); members * n];
    let mut gradient = vec![T::zero(); state.network.len()];
    let mut losses = Vec::new();
    for plan in plans {
        let network = state.network.clone();
        let pass = LrPass {
            network: &network,
            step: plan.step,
            ..*first
        };
        lr_network(&pass, &mut pixels);
        losses.extend(
            pixels
                .chunks_exact(n)
                .map(|p| p.iter().map(|p| p.loss).sum::<T>()),
        );
        network_update::gradient(&pass, &pixels, &mut gradient);
        if let Some(rate) = plan.network_rate {
            state.network_updates += 1;
            network_update::update(
                first.abundance.map(|_| first.layout.decoders),
                first.layout.parameters,
                Adam::new(rate, state.network_updates),
                &gradient,
                &mut state.network,
                &mut state.network_m,
                &mut state.network_v,
            );
        }
    }
    (losses, gradient)
}
