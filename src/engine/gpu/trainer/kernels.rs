//! The kernels of a run, compiled and bound with the first step that needs them, and the calls of them that make a step.

use super::queue::Queued;
use crate::engine::cpu;
use crate::engine::gpu::blocks::blocks;
use crate::engine::gpu::defines::{Shape, keeps_tensors};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::pass::Pass;
use crate::engine::gpu::recording::{Buffers, Recording, Texts, record};
use crate::engine::gpu::step::StepUniform;
use crate::engine::gpu::{
    degradation, degradation_sums, degradation_update, half_weights, hr_network, hr_window, lr_network,
    lr_steps, network_update, psf_blur,
};
use crate::engine::step::{Kernel, LrKernels, StepParts, step_kernels};
use crate::engine::work::Work;
use crate::engine::{Noise, Precision, Problem, TrainingSet, TrainingState};
use crate::error::{Error, Result};
use crate::network::Layout;

/// A run's buffers and kernels on the device.
pub(super) struct BoundKernels<'a> {
    pub(super) engine: &'a GpuEngine,
    pub(super) problem: Problem<f32>,
    pub(super) layout: Layout,
    pub(super) shape: Shape,
    /// Windows of the training set.
    pub(super) windows: usize,
    pub(super) buffers: Buffers,
    /// Distance of two uniforms in bytes.
    pub(super) pitch: usize,
    /// Whether steps without an update of θ go to `lr_steps`, for comparisons; else as [`lr_steps::suits`].
    pub(super) persistent: Option<bool>,
    /// Blocks of learned parameters of a member.
    blocks: usize,
    /// Parts of a window, see [`hr_network::parts`].
    parts: usize,
    recording: Recording,
}

/// A call of a kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) kernel: Kernel,
    /// Workgroups of the whole call.
    groups: [u32; 3],
    /// The same in one line, which may be dispatched a few at a time, and how many stand beside each of it.
    pub(super) line: [u32; 2],
    /// LR pixels, HR windows and steps that it is for.
    lr_count: usize,
    hr_count: usize,
    run: usize,
}

impl<'a> BoundKernels<'a> {
    /// Puts a run on the device, with room for `batch_capacity` numbers of windows.
    pub(super) fn new(
        engine: &'a GpuEngine,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: &TrainingState<f32>,
        batch_capacity: usize,
    ) -> Result<Self> {
        let architecture = &problem.architecture;
        let layout = architecture.layout();
        let shape = Shape::new(architecture, &layout, problem.geometry, keeps_tensors(problem));
        let pitch = size_of::<StepUniform>()
            .next_multiple_of(engine.context.limits.min_uniform_buffer_offset_alignment as usize);
        Ok(BoundKernels {
            buffers: Buffers::new(
                engine,
                problem,
                data,
                state,
                &layout,
                &shape,
                (pitch, batch_capacity),
            )?,
            parts: hr_network::parts(&layout, &shape, engine.target())?,
            blocks: blocks(&layout, &shape, problem.frozen_encoder).len(),
            engine,
            problem: problem.clone(),
            layout,
            shape,
            windows: data.windows,
            pitch,
            persistent: None,
            recording: Recording::default(),
        })
    }

    /// Whether the adapter has as many storage buffers as `lr_steps` binds.
    pub(super) fn can_persist(&self) -> bool {
        let there = self.engine.context.limits.max_storage_buffers_per_shader_stage;
        there >= lr_steps::bindings(self.problem.noise, self.problem.frozen_encoder)
    }

    /// Whether a step goes to `lr_steps`.
    pub(super) fn is_persistent(&self, lr_count: usize, update_degradation: bool) -> bool {
        let frozen = self.problem.frozen_encoder;
        let suits = || lr_steps::suits(&self.layout, frozen, lr_count, self.engine.target());
        !update_degradation && self.can_persist() && self.persistent.unwrap_or_else(suits)
    }

    /// What decides the kernels of a step.
    fn parts_of(&self, step: &Queued) -> StepParts {
        StepParts {
            // Where both are fixed they were uploaded with the run.
            degradation: step.observe
                && (self.problem.fixed_psf.is_none() || self.problem.fixed_srf.is_none()),
            observations: step.observe,
            lr: Some(if step.persistent {
                LrKernels::Merged
            } else {
                LrKernels::Spread
            }),
            theta: step.update_degradation,
            half: self.engine.precision() == Precision::F16,
        }
    }

    /// Compiles and binds what a step like this one needs and no step before it did.
    pub(super) fn prepare(&mut self, step: &Queued) -> Result<()> {
        let needed: Vec<Kernel> = step_kernels(self.parts_of(step))
            .filter(|&kernel| self.recording[kernel as usize].is_none())
            .collect();
        if needed.is_empty() {
            return Ok(());
        }
        let texts = Texts {
            problem: &self.problem,
            layout: &self.layout,
            shape: &self.shape,
            windows: self.windows,
            pitch: self.pitch,
            target: self.engine.target(),
        };
        let texts = needed
            .iter()
            .map(|&kernel| texts.of(kernel))
            .collect::<Result<Vec<_>>>()?;
        let recorded = record(self.engine, &self.buffers, &texts)?;
        for (kernel, recorded) in needed.into_iter().zip(recorded) {
            self.recording[kernel as usize] = Some(recorded);
        }
        Ok(())
    }

    fn call(&self, kernel: Kernel, step: &Queued, run: usize) -> Call {
        let (problem, layout) = (&self.problem, &self.layout);
        let (lr, hr, members) = (step.lr_count, step.hr_count, problem.architecture.members);
        let groups = match kernel {
            Kernel::Degradation => degradation::workgroups(&self.shape),
            Kernel::PsfBlur => psf_blur::workgroups(lr),
            Kernel::LrSteps => lr_steps::workgroups(members),
            Kernel::LrNetwork => lr_network::workgroups(&self.shape, lr, members),
            Kernel::NetworkUpdate => network_update::workgroups(self.blocks, members),
            Kernel::HalfWeights => half_weights::workgroups(layout),
            Kernel::HrNetwork => hr_network::workgroups(hr, self.parts),
            Kernel::HrWindow => hr_window::workgroups(hr),
            Kernel::DegradationSums => degradation_sums::workgroups(&self.shape),
            Kernel::DegradationUpdate => degradation_update::WORKGROUPS,
        };
        let line = match kernel {
            Kernel::PsfBlur => [lr as u32, 1],
            Kernel::HrNetwork => [(hr * self.parts) as u32, 1],
            _ => [groups[0], groups[1]],
        };
        Call {
            kernel,
            groups,
            line,
            lr_count: lr,
            hr_count: hr,
            run,
        }
    }

    /// The calls of a step, and with `lr_steps` of the `run` steps from it on.
    pub(super) fn calls(&self, step: &Queued, run: usize) -> Vec<Call> {
        let kernels = step_kernels(self.parts_of(step));
        kernels.map(|kernel| self.call(kernel, step, run)).collect()
    }

    /// The calls that make PSF, SRF and the observations of a step's LR pixels.
    pub(super) fn observation(&self, step: &Queued) -> Vec<Call> {
        let parts = StepParts {
            lr: None,
            theta: false,
            ..self.parts_of(step)
        };
        step_kernels(parts)
            .map(|kernel| self.call(kernel, step, 1))
            .collect()
    }

    /// Work of a call.
    pub(super) fn work_of(&self, call: &Call) -> Work {
        let (problem, lr, hr) = (&self.problem, call.lr_count, call.hr_count);
        let with_std = problem.noise != Noise::Off;
        match call.kernel {
            Kernel::Degradation => cpu::degradation::work(problem),
            Kernel::PsfBlur => cpu::psf_blur::work(problem, lr),
            Kernel::LrSteps => {
                let step = cpu::lr_steps::work(problem, lr, with_std, true);
                std::iter::repeat_n(step, call.run).sum()
            }
            Kernel::LrNetwork => cpu::lr_network::work(problem, lr, with_std),
            Kernel::NetworkUpdate => cpu::network_update::work(problem, lr, true),
            Kernel::HalfWeights => cpu::half_weights::work(&self.layout),
            Kernel::HrNetwork => cpu::hr_network::work(problem, hr),
            Kernel::HrWindow => cpu::hr_window::work(problem, hr),
            Kernel::DegradationSums => cpu::degradation_sums::work(problem, lr, hr),
            Kernel::DegradationUpdate => cpu::degradation_update::work(problem),
        }
    }

    /// Dispatches `groups` of a call, by the uniform at `offset`.
    pub(super) fn dispatch(
        &self,
        pass: &mut Pass,
        call: &Call,
        groups: [u32; 3],
        offset: usize,
        work: impl FnOnce() -> Work,
    ) -> Result<()> {
        let kernel = call.kernel;
        let recorded = self.recording[kernel as usize]
            .as_ref()
            .ok_or_else(|| Error::failed(format!("{kernel:?} was not compiled for this step")))?;
        let offset = [offset as u32];
        let offsets = if recorded.stepped { &offset[..] } else { &[] };
        pass.dispatch(&recorded.pipeline, &recorded.group, offsets, groups, work);
        Ok(())
    }

    /// Dispatches calls one behind the other.
    pub(super) fn dispatch_all(&self, pass: &mut Pass, calls: &[Call], offset: usize) -> Result<()> {
        for call in calls {
            self.dispatch(pass, call, call.groups, offset, || self.work_of(call))?;
        }
        Ok(())
    }
}
