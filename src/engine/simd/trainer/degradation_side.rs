//! What a step has to do with θ: PSF and SRF, the LR-MSI seen through them, the HR pass and the update of θ.

use std::sync::Arc;

use rayon::prelude::*;

use super::super::degradation_update::{Sums, gradient};
use super::super::hr_network::{HrPass, HrScratch, HrSlot, HrWindow};
use super::super::lr_steps::Observations;
use super::super::normals::Epsilon;
use super::super::psf_blur::{self, Blur, MAPS};
use super::{SimdTrainer, WORTH_SHARING};
use crate::engine::cpu;
use crate::engine::cpu::degradation::degradation;
use crate::engine::cpu::degradation_update::update;
use crate::engine::cpu::network_update::Adam;
use crate::engine::cpu::psf_blur::sign;
use crate::engine::{Noise, StepPlan};
use crate::random::{Purpose, key};
use crate::sensor::psf;

impl SimdTrainer {
    /// Brings PSF, SRF and what follows from them up to date with θ.
    pub(super) fn refresh(&mut self) {
        let theta = &mut self.theta;
        if theta.fresh {
            return;
        }
        let begin = self.recorder.begin();
        degradation(&self.problem, &self.state.degradation, &mut theta.degradation);
        self.recorder
            .end(begin, "degradation", 1, || cpu::degradation::work(&self.problem));
        theta.maps.set(self.problem.geometry, &theta.degradation.bank);
        let b = self.net.msi_bands;
        for (to, from) in theta
            .srf
            .chunks_exact_mut(b.next_multiple_of(4))
            .zip(theta.degradation.srf.chunks_exact(b))
        {
            to[..b].copy_from_slice(from);
        }
        theta.known.fill(false);
        theta.fresh = true;
        self.pack.valid = false;
    }

    /// Multiplies the windows with the maps: a row of MSI bands × `wanted` in `sums` for each.
    fn blur(&mut self, windows: &[u32], wanted: usize) {
        let (b, stride) = (self.net.msi_bands, self.planes.stride());
        let mut sums = std::mem::take(&mut self.theta.sums);
        sums.clear();
        sums.resize(windows.len() * b * wanted, 0.0);
        let (arch, maps, planes) = (self.arch, &self.theta.maps, self.planes.all());
        let work = |(out, &window): (&mut [f32], &u32)| {
            let planes = &planes[window as usize * b * stride..][..b * stride];
            arch.dispatch(Blur {
                planes,
                maps,
                wanted,
                out,
            });
        };
        if sums.len() * stride < WORTH_SHARING {
            sums.chunks_exact_mut(b * wanted).zip(windows).for_each(work);
        } else {
            sums.par_chunks_exact_mut(b * wanted)
                .zip(windows)
                .with_min_len(8)
                .for_each(work);
        }
        self.theta.sums = sums;
    }

    /// Finds (Y∗C)↓ of those of `windows` that have none yet.
    pub(super) fn look(&mut self, windows: &[u32]) {
        let mut todo = std::mem::take(&mut self.theta.todo);
        todo.clear();
        for &w in windows {
            if !std::mem::replace(&mut self.theta.known[w as usize], true) {
                todo.push(w);
            }
        }
        let (b, wanted) = (self.net.msi_bands, 4);
        let begin = self.recorder.begin().filter(|_| !todo.is_empty());
        self.blur(&todo, wanted);
        self.recorder
            .end(begin, "psf_blur", 1, || psf_blur::work(&self.problem, todo.len()));
        for (sums, &w) in self.theta.sums.chunks_exact(b * wanted).zip(&todo) {
            for (to, sums) in self.theta.lr_msi[w as usize * b..][..b]
                .iter_mut()
                .zip(sums.chunks_exact(wanted))
            {
                *to = sums[0];
            }
        }
        self.theta.todo = todo;
    }

    /// Packs `batch` for the LR pass.
    pub(super) fn observe(&mut self, batch: &Arc<[u32]>) {
        self.look(batch);
        let from = Observations {
            problem: &self.problem,
            state: &self.state,
            net: &self.net,
            lr_hsi: &self.lr_hsi,
            lr_msi: &self.theta.lr_msi,
            abundance: self.abundance.as_deref(),
        };
        self.pack.fill(from, batch);
    }

    /// The HR pass of `plan` with φ number `phi`, into one slot a window; Ẑ·R (a window S·S·b) where it is wanted.
    pub(super) fn hr_pass(
        &self,
        plan: &StepPlan,
        phi: usize,
        slots: &mut Vec<f32>,
        response: Option<&mut [f32]>,
    ) {
        let (net, geometry) = (&self.net, self.problem.geometry);
        let (bands, b, stride) = (net.bands, net.msi_bands, self.planes.stride());
        let pixels = geometry.window() * geometry.window();
        let slot = HrSlot::new(net).length();
        slots.resize(plan.hr_batch.len() * slot, 0.0);
        let size = net.layout.parameters;
        let pass = HrPass {
            net,
            parameters: &self.phi[phi][plan.member as usize * size..][..size],
            linear: (self.problem.architecture.linear_path).then_some(&self.state.linear),
            maps: &self.theta.maps,
            wanted: match self.problem.fixed_psf {
                Some(_) => 1,
                None => 1 + psf::PARAMETERS,
            },
            srf: &self.theta.srf,
            epsilon: match self.problem.noise {
                Noise::Off => Epsilon::Off,
                Noise::Given => Epsilon::Given(&self.noise.0),
                Noise::Philox(seed) => Epsilon::Philox {
                    key: key(seed),
                    step: plan.step,
                    purpose: Purpose::HighResolution as u32,
                    first: 0,
                },
            },
            pixels,
        };
        let run = |(index, (slot, response)): (usize, (&mut [f32], Option<&mut [f32]>))| {
            let window = plan.hr_batch[index] as usize;
            self.hr_scratch.with(
                || HrScratch::new(net),
                |scratch| {
                    self.arch.dispatch(HrWindow {
                        pass,
                        index,
                        planes: &self.planes.all()[window * b * stride..][..b * stride],
                        spectrum: &self.lr_hsi[window * bands..][..bands],
                        scratch,
                        slot,
                        response,
                    });
                },
            );
        };
        match response {
            None => slots
                .par_chunks_mut(slot)
                .map(|slot| (slot, None))
                .enumerate()
                .for_each(run),
            Some(response) => slots
                .chunks_mut(slot)
                .zip(response.chunks_mut(pixels * b).map(Some))
                .enumerate()
                .for_each(run),
        }
    }

    /// Adam on θ, where `plan` has it; its losses go to those of the step.
    pub(super) fn update_degradation(&mut self, plan: &StepPlan) {
        let Some(rate) = plan.degradation_rate else { return };
        let begin = self.recorder.begin();
        self.blur(&plan.lr_batch, MAPS);
        self.recorder.end(begin, "psf_blur", 1, || {
            cpu::psf_blur::work(&self.problem, plan.lr_batch.len())
        });
        let begin = self.recorder.begin();
        let (bands, b) = (self.net.bands, self.net.msi_bands);
        let block = self.problem.geometry.scale * self.problem.geometry.scale;
        let mut sums = Sums {
            losses: [0.0; 3],
            to_psf: [[0.0; psf::PARAMETERS]; 3],
            to_srf: [vec![0.0; bands * b], vec![0.0; bands * b]],
        };
        let slot = HrSlot::new(&self.net);
        for (_, to_psf, to_srf, losses) in self.hr_slots.chunks_exact(slot.length()).map(|s| slot.split(s)) {
            for (sum, &loss) in sums.losses.iter_mut().zip(losses) {
                *sum += f64::from(loss);
            }
            sums.to_psf[0]
                .iter_mut()
                .zip(to_psf)
                .for_each(|(sum, g)| *sum += g);
            for (j, to_srf) in to_srf.chunks_exact(bands).enumerate() {
                for (sum, g) in sums.to_srf[0][j..].iter_mut().step_by(b).zip(to_srf) {
                    *sum += g;
                }
            }
        }
        for (&window, blurred) in plan.lr_batch.iter().zip(self.theta.sums.chunks_exact(b * MAPS)) {
            let spectrum = &self.lr_hsi[window as usize * bands..][..bands];
            for (j, blurred) in blurred.chunks_exact(MAPS).enumerate() {
                let residual = self.response(spectrum, j) - blurred[0];
                let s = sign(residual);
                sums.losses[2] += f64::from(residual.abs());
                for (sum, g) in sums.to_psf[2].iter_mut().zip(&blurred[1..]) {
                    *sum -= s * g;
                }
                for (sum, x) in sums.to_srf[1][j..].iter_mut().step_by(b).zip(spectrum) {
                    *sum += s * x;
                }
            }
        }
        let hr = plan.hr_batch.len();
        let counts = [hr * bands, hr * block * b, plan.lr_batch.len() * b];
        let theta = &self.state.degradation;
        let gradient = gradient(&self.problem, theta, &self.theta.degradation.srf, &sums, counts);
        self.state.degradation_updates += 1;
        update(
            &self.problem,
            Adam::new(rate, self.state.degradation_updates),
            &gradient.total,
            &mut self.state.degradation,
            &mut self.state.degradation_m,
            &mut self.state.degradation_v,
        );
        if let Some(losses) = self.losses.last_mut() {
            losses.degradation = Some(gradient.losses.map(f64::from));
        }
        self.degradation_gradient = Some(gradient);
        self.theta.fresh = false;
        self.recorder
            .end(begin, "degradation_sums + degradation_update", 1, || {
                cpu::degradation_sums::work(&self.problem, plan.lr_batch.len(), hr)
                    + cpu::degradation_update::work(&self.problem)
            });
    }

    /// Band `j` of X·R.
    pub(super) fn response(&self, spectrum: &[f32], j: usize) -> f32 {
        let b = self.net.msi_bands;
        let column = self.theta.degradation.srf[j..].iter().step_by(b);
        spectrum.iter().zip(column).map(|(x, r)| x * r).sum()
    }
}
