//! A training run: queued steps, carried out in runs with as few hand-offs between threads as the results allow.
//!
//! As long as θ and the batch stay, members do not meet: a thread takes a member through all its queued steps,
//! gradient and Adam included. Where there are more threads than members, the chunks of the batch are shared out
//! instead; the sums are taken in the same order, so the bits are the same.

mod degradation_side;
mod tensors;

use std::sync::{Arc, Mutex, PoisonError};

use pulp::Arch;
use rayon::prelude::*;

use super::hr_network::HrScratch;
use super::lines::Rows;
use super::lr_network::{LrScratch, chunk_length};
use super::lr_steps::{Abundances, LrShared, MemberSteps, OneChunk, OneUpdate, Pack, turn};
use super::network::Net;
use super::psf_blur::Maps;
use crate::engine::cpu::degradation_update::DegradationGradient;
use crate::engine::cpu::network_update::Adam;
use crate::engine::cpu::{self, degradation::Degradation};
use crate::engine::profile::Recorder;
use crate::engine::step::{Kernel, LrKernels, StepParts, step_kernels};
use crate::engine::work::Work;
use crate::engine::{
    Noise, Problem, StepLosses, StepPlan, StepTensors, Trainer, TrainingSet, TrainingState, check_length,
};
use crate::error::Result;
use crate::sensor::psf;

/// Steps queued before they are carried out.
const QUEUE: usize = 64;
/// Multiply-adds below which a hand-off to other threads (some 20 µs) costs more than it saves.
const WORTH_SHARING: usize = 1_000_000;

/// Working memory that threads borrow: one piece for as many as work at once, kept between steps.
struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    fn with<R>(&self, make: impl FnOnce() -> T, work: impl FnOnce(&mut T) -> R) -> R {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut piece = lock().pop().unwrap_or_else(make);
        let result = work(&mut piece);
        lock().push(piece);
        result
    }
}

pub(super) struct SimdTrainer {
    arch: Arch,
    recorder: Arc<Recorder>,
    problem: Problem<f32>,
    net: Net,
    /// Spectra of all windows.
    lr_hsi: Vec<f32>,
    /// HR-MSI of all windows, band by band.
    planes: Rows,
    windows: usize,
    /// All but φ.
    state: TrainingState<f32>,
    /// φ before and after the last update, in turn.
    phi: [Vec<f32>; 2],
    current: usize,
    theta: ThetaSide,
    pack: Pack,
    /// Frozen abundances of all windows, members × windows × P.
    abundance: Option<Vec<f32>>,
    network_gradient: Vec<f32>,
    partial: Vec<f32>,
    lr_losses: Vec<f64>,
    lr_scratch: Pool<LrScratch>,
    hr_scratch: Pool<HrScratch>,
    /// Results of the last HR pass, a slot a window.
    hr_slots: Vec<f32>,
    degradation_gradient: Option<DegradationGradient<f32>>,
    noise: (Vec<f32>, Vec<f32>),
    queue: Vec<StepPlan>,
    /// The last step and which φ it started from.
    last: Option<(StepPlan, usize)>,
    losses: Vec<StepLosses>,
}

/// What follows from θ.
struct ThetaSide {
    degradation: Degradation<f32>,
    maps: Maps,
    /// The SRF as a map of B inputs to b outputs, padded to a multiple of four, and a bias of zero.
    srf: Vec<f32>,
    /// Whether all this belongs to the current θ.
    fresh: bool,
    /// (Y∗C)↓ of every window that `known` marks.
    lr_msi: Vec<f32>,
    known: Vec<bool>,
    todo: Vec<u32>,
    sums: Vec<f32>,
}

/// A member's share of φ (both copies), of the moments, and of gradient and losses.
type MemberSlices<'a> = (
    ((&'a mut [f32], &'a mut [f32]), (&'a mut [f32], &'a mut [f32])),
    (&'a mut [f32], &'a mut [f64]),
);

/// Whether two batches are the same windows.
fn same(a: &Arc<[u32]>, b: &Arc<[u32]>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

impl SimdTrainer {
    pub(super) fn new(
        arch: Arch,
        recorder: Arc<Recorder>,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        mut state: TrainingState<f32>,
    ) -> Self {
        let architecture = &problem.architecture;
        let (bands, b) = (architecture.bands, architecture.msi_bands);
        let area = problem.geometry.window() * problem.geometry.window();
        let kernel = problem.geometry.kernel * problem.geometry.kernel;
        let mut planes = Rows::dense(data.windows * b, area);
        for (window, pixels) in data.hr_msi.chunks_exact(area * b).enumerate() {
            for j in 0..b {
                let row = planes.row_mut(window * b + j);
                for (to, from) in row.iter_mut().zip(pixels[j..].iter().step_by(b)) {
                    *to = *from;
                }
            }
        }
        let network = std::mem::take(&mut state.network);
        let mut trainer = SimdTrainer {
            arch,
            recorder,
            net: Net::new(architecture),
            lr_hsi: data.lr_hsi.clone(),
            planes,
            windows: data.windows,
            network_gradient: vec![0.0; network.len()],
            phi: [network.clone(), network],
            current: 0,
            theta: ThetaSide {
                degradation: Degradation {
                    bank: vec![0.0; (1 + psf::PARAMETERS) * kernel],
                    srf: vec![0.0; bands * b],
                },
                maps: Maps::new(problem.geometry),
                srf: vec![0.0; (bands + 1) * b.next_multiple_of(4)],
                fresh: false,
                lr_msi: vec![0.0; data.windows * b],
                known: vec![false; data.windows],
                todo: Vec::new(),
                sums: Vec::new(),
            },
            pack: Pack {
                batch: Arc::from([]),
                valid: false,
                length: chunk_length(problem.lr_capacity.max(1)),
                chunks: Vec::new(),
            },
            abundance: None,
            partial: Vec::new(),
            lr_losses: Vec::new(),
            lr_scratch: Pool(Mutex::default()),
            hr_scratch: Pool(Mutex::default()),
            hr_slots: Vec::new(),
            degradation_gradient: None,
            noise: (Vec::new(), Vec::new()),
            queue: Vec::new(),
            last: None,
            losses: Vec::new(),
            problem: problem.clone(),
            state,
        };
        if problem.frozen_encoder {
            trainer.abundance = Some(trainer.abundances());
        }
        trainer
    }

    /// Abundances of all windows' LR pixels, members × windows × P.
    fn abundances(&mut self) -> Vec<f32> {
        self.refresh();
        self.look(&(0..self.windows as u32).collect::<Vec<_>>());
        let mut out =
            vec![0.0; self.problem.architecture.members * self.windows * self.net.layout.abundances];
        let each = self.windows * self.net.layout.abundances;
        for (parameters, out) in self.phi[0]
            .chunks_exact(self.net.layout.parameters)
            .zip(out.chunks_exact_mut(each))
        {
            self.arch.dispatch(Abundances {
                net: &self.net,
                parameters,
                msi: &self.theta.lr_msi,
                out,
            });
        }
        out
    }

    /// Carries out the queued steps.
    fn flush(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        let mut rest = &queue[..];
        while let Some(first) = rest.first() {
            let alike = |p: &&StepPlan| p.degradation_rate.is_none() && same(&p.lr_batch, &first.lr_batch);
            let run = rest.iter().take_while(alike).count().max(1);
            let (plans, after) = rest.split_at(run);
            let parts = StepParts {
                degradation: !self.theta.fresh,
                observations: !(self.theta.fresh
                    && self.pack.valid
                    && same(&first.lr_batch, &self.pack.batch)),
                lr: Some(LrKernels::Merged),
                theta: first.degradation_rate.is_some(),
                half: false,
            };
            for kernel in step_kernels(parts) {
                self.run(kernel, plans);
            }
            rest = after;
        }
        queue.clear();
        self.queue = queue;
    }

    /// Runs one kernel of `plans`, which share batch and θ; only the first of them may update θ.
    fn run(&mut self, kernel: Kernel, plans: &[StepPlan]) {
        let Some(first) = plans.first() else { return };
        match kernel {
            Kernel::Degradation => self.refresh(),
            Kernel::PsfBlur => self.observe(&first.lr_batch),
            Kernel::HrNetwork => {
                let mut slots = std::mem::take(&mut self.hr_slots);
                let begin = self.recorder.begin();
                self.hr_pass(first, self.current, &mut slots, None);
                self.recorder.end(begin, "hr_network", 1, || {
                    let windows = first.hr_batch.len();
                    cpu::hr_network::work(&self.problem, windows)
                        + cpu::hr_window::work(&self.problem, windows)
                });
                self.hr_slots = slots;
            }
            Kernel::LrSteps => {
                let begin = self.recorder.begin();
                self.lr_steps(plans);
                let (pixels, steps) = (first.lr_batch.len(), plans.len());
                self.recorder
                    .end(begin, "lr_network + network_update", steps as u64, || {
                        self.lr_work(pixels, steps)
                    });
            }
            Kernel::DegradationUpdate => self.update_degradation(first),
            // Their work is part of the passes above; the LR pass is asked for in one, the HR pass in single precision.
            Kernel::HrWindow
            | Kernel::DegradationSums
            | Kernel::LrNetwork
            | Kernel::NetworkUpdate
            | Kernel::HalfWeights => {}
        }
    }

    /// Work of the LR pass and the update of φ over `steps` steps of `pixels` LR pixels.
    fn lr_work(&self, pixels: usize, steps: usize) -> Work {
        // Without noise the σ decoder is not run.
        let with_std = self.problem.noise != Noise::Off;
        let step = cpu::lr_steps::work(&self.problem, pixels, with_std, with_std);
        std::iter::repeat_n(step, steps).sum()
    }

    fn shared(&self) -> LrShared<'_> {
        LrShared {
            problem: &self.problem,
            net: &self.net,
            pack: &self.pack,
            noise: &self.noise.1,
        }
    }

    /// The LR pass and Adam of steps that share batch and θ.
    fn lr_steps(&mut self, plans: &[StepPlan]) {
        let (size, chunks) = (self.net.layout.parameters, self.pack.chunks.len());
        let (members, threads) = (self.problem.architecture.members, rayon::current_num_threads());
        let work = 3 * members * self.pack.batch.len() * self.net.layout.parameters;
        let even = members >= 4 * threads || members % threads == 0 || chunks == 1;
        let mut losses = std::mem::take(&mut self.lr_losses);
        losses.clear();
        losses.resize(members * plans.len(), 0.0);
        let updates = self.state.network_updates;
        let current = self.current;
        let adams = |plans: &[StepPlan]| plans.iter().filter(|p| p.network_rate.is_some()).count();

        if threads > 1 && !even && work >= WORTH_SHARING {
            let mut partial = std::mem::take(&mut self.partial);
            partial.resize(members * chunks * size, 0.0);
            let mut sums = vec![0.0; members * chunks];
            // One way into the pool for all steps.
            rayon::scope(|_| {
                for (k, plan) in plans.iter().enumerate() {
                    self.lr_step_by_chunks(plan, k, plans.len(), &mut partial, &mut sums, &mut losses);
                }
            });
            self.partial = partial;
        } else {
            let mut gradient = std::mem::take(&mut self.network_gradient);
            let mut phi = std::mem::take(&mut self.phi);
            let mut m = std::mem::take(&mut self.state.network_m);
            let mut v = std::mem::take(&mut self.state.network_v);
            let (shared, pool, arch) = (self.shared(), &self.lr_scratch, self.arch);
            let [phi0, phi1] = &mut phi;
            let phis = phi0.par_chunks_mut(size).zip(phi1.par_chunks_mut(size));
            let states = m.par_chunks_mut(size).zip(v.par_chunks_mut(size));
            let results = gradient
                .par_chunks_mut(size)
                .zip(losses.par_chunks_mut(plans.len()));
            let work_on = |(member, (((phi0, phi1), (m, v)), (gradient, losses))): (usize, MemberSlices)| {
                pool.with(
                    || LrScratch::new(shared.net, shared.pack.length),
                    |scratch| {
                        arch.dispatch(MemberSteps {
                            shared,
                            member,
                            plans,
                            phi: [phi0, phi1],
                            current,
                            moments: (m, v),
                            gradient,
                            updates,
                            losses,
                            scratch,
                        });
                    },
                );
            };
            let all = phis.zip(states).zip(results).enumerate();
            if threads == 1 || members == 1 || work * plans.len() < WORTH_SHARING {
                // Too little to share: the same work in one piece, which stays on this thread.
                all.with_min_len(members).for_each(work_on);
            } else {
                all.for_each(work_on);
            }
            (self.phi, self.network_gradient) = (phi, gradient);
            (self.state.network_m, self.state.network_v) = (m, v);
            self.current = (current + adams(plans)) % 2;
            self.state.network_updates += adams(plans) as u64;
        }
        let scale = 1.0 / (self.pack.batch.len() * self.net.bands) as f64;
        for (k, plan) in plans.iter().enumerate() {
            self.losses.push(StepLosses {
                step: plan.step,
                degradation: None,
                network: losses
                    .iter()
                    .skip(k)
                    .step_by(plans.len())
                    .map(|l| l * scale)
                    .collect(),
            });
        }
        if let Some((last, before)) = plans.split_last() {
            self.last = Some((last.clone(), (current + adams(before)) % 2));
        }
        self.lr_losses = losses;
    }

    /// One step with the chunks of all members shared out.
    fn lr_step_by_chunks(
        &mut self,
        plan: &StepPlan,
        k: usize,
        steps: usize,
        partial: &mut [f32],
        sums: &mut [f64],
        losses: &mut [f64],
    ) {
        let (size, chunks) = (self.net.layout.parameters, self.pack.chunks.len());
        let (shared, pool, arch) = (self.shared(), &self.lr_scratch, self.arch);
        let phi = &self.phi[self.current];
        partial
            .par_chunks_mut(size)
            .zip(&mut *sums)
            .enumerate()
            .for_each(|(at, (gradient, loss))| {
                let (member, chunk) = (at / chunks, at % chunks);
                pool.with(
                    || LrScratch::new(shared.net, shared.pack.length),
                    |scratch| {
                        *loss = arch.dispatch(OneChunk {
                            task: shared.task(
                                &shared.pack.chunks[chunk],
                                member,
                                &phi[member * size..][..size],
                                plan.step,
                            ),
                            scratch,
                            gradient,
                        });
                    },
                );
            });
        for (member, sums) in sums.chunks_exact(chunks).enumerate() {
            losses[member * steps + k] = sums.iter().sum();
        }
        let pairs = self.network_gradient.par_chunks_mut(size);
        pairs
            .zip(partial.par_chunks(chunks * size))
            .for_each(|(gradient, partial)| {
                gradient.fill(0.0);
                for partial in partial.chunks_exact(size) {
                    for (g, p) in gradient.iter_mut().zip(partial) {
                        *g += p;
                    }
                }
            });
        if let Some(rate) = plan.network_rate {
            self.state.network_updates += 1;
            let (from, to) = turn(&mut self.phi, self.current);
            let learned = if self.problem.frozen_encoder {
                self.net.layout.decoders
            } else {
                0
            };
            let states = self
                .state
                .network_m
                .par_chunks_mut(size)
                .zip(self.state.network_v.par_chunks_mut(size));
            let values = from.par_chunks(size).zip(to.par_chunks_mut(size));
            let adam = Adam::new(rate, self.state.network_updates);
            let gradients = self.network_gradient.par_chunks(size);
            states
                .zip(values)
                .zip(gradients)
                .for_each(|(((m, v), (from, to)), gradient)| {
                    arch.dispatch(OneUpdate {
                        adam,
                        learned,
                        gradient,
                        from,
                        to,
                        moments: (m, v),
                    });
                });
            self.current = 1 - self.current;
        }
    }
}

impl Trainer<f32> for SimdTrainer {
    fn step(&mut self, plan: &StepPlan) -> Result<()> {
        self.queue.push(plan.clone());
        if self.queue.len() >= QUEUE {
            self.flush();
        }
        Ok(())
    }

    fn losses(&mut self) -> Result<Vec<StepLosses>> {
        self.flush();
        Ok(std::mem::take(&mut self.losses))
    }

    fn state(&mut self) -> Result<TrainingState<f32>> {
        self.flush();
        let mut state = self.state.clone();
        state.network = self.phi[self.current].clone();
        Ok(state)
    }

    fn set_degradation(&mut self, theta: &[f32]) -> Result<()> {
        check_length(theta.len(), self.state.degradation.len())?;
        self.flush();
        self.state.degradation.copy_from_slice(theta);
        self.theta.fresh = false;
        Ok(())
    }

    fn give_noise(&mut self, hr: &[f32], lr: &[f32]) -> Result<()> {
        self.flush();
        self.noise = (hr.to_vec(), lr.to_vec());
        Ok(())
    }

    fn tensors(&mut self) -> Result<StepTensors<f32>> {
        self.flush();
        Ok(self.last_tensors())
    }
}
