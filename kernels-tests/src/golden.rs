//! Golden tensors: whole optimisation steps of an outside float64 implementation, and the run that repeats them.
//!
//! Proves that an engine computes the paper's step as another implementation with automatic differentiation
//! does: forwards, losses, gradients and updates. Proves nothing of random numbers (ε is handed over) nor of
//! windows that overlap (the files have K = s).

// A test helper: what cannot be read must fail the test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsr_gpu::coordination::windows::gather;
use hsr_gpu::engine::{
    Engine, Geometry, Noise, Output, Problem, StepPlan, TrainingSet, TrainingState, degradation_parameters,
};
use hsr_gpu::network::{Activation, Architecture, Branch};
use hsr_gpu::real::Real;
use hsr_gpu::sensor::{psf, srf};
use ndarray::{Array3, Array4, ArrayView3, Axis};

/// One file.
pub struct Golden {
    /// File name, for messages.
    pub name: String,
    /// The network that the file's metadata describes.
    pub architecture: Architecture,
    /// Scale and PSF side.
    pub geometry: Geometry,
    batch: usize,
    patch: usize,
    rate: f64,
    steps: usize,
    alpha: [f64; 3],
    beta: f64,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

/// NMSE limits of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Forward tensors, losses and parameters.
    pub forward: f64,
    /// Gradients.
    pub gradient: f64,
}

/// All golden files: the repository's, then those in the directory that `HSR_GOLDEN` names.
pub fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let more = std::env::var_os("HSR_GOLDEN").map(PathBuf::from);
    let mut files = Vec::new();
    for folder in std::iter::once(own).chain(more) {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("golden folder {}: {e}", folder.display()));
        let mut here: Vec<PathBuf> = entries
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|x| x == "safetensors"))
            .collect();
        assert!(!here.is_empty(), "no golden file in {}", folder.display());
        here.sort();
        files.append(&mut here);
    }
    files
}

impl Golden {
    /// Reads a file.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let meta = header.metadata().clone().expect("metadata");
        let number = |k: &str| meta[k].parse::<f64>().unwrap();
        let list = |k: &str| -> Vec<f64> { meta[k].split(',').map(|x| x.parse().unwrap()).collect() };
        let activation = |k: &str| match meta[k].as_str() {
            "leaky" => Activation::Leaky,
            "relu" => Activation::Relu,
            other => panic!("activation {other}"),
        };
        let tensors: BTreeMap<_, _> = safetensors::SafeTensors::deserialize(&bytes)
            .unwrap()
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let data = view
                    .data()
                    .chunks_exact(8)
                    .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                    .collect();
                (name, (view.shape().to_vec(), data))
            })
            .collect();
        let encoder = (0..)
            .map_while(|i| {
                tensors
                    .get(&format!("param.0.encoder.{i}.bias"))
                    .map(|(shape, _)| shape[0])
            })
            .collect();
        let hidden = |k: &str| {
            let widths = list(k);
            widths[1..widths.len() - 1].iter().map(|&w| w as usize).collect()
        };
        Golden {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            architecture: Architecture {
                bands: number("bands") as usize,
                msi_bands: number("msi") as usize,
                encoder,
                concatenate: true,
                mean: hidden("mean"),
                std: hidden("std"),
                slope: 0.2,
                encoder_last: activation("encoder_last"),
                decoder_last: activation("decoder_last"),
                members: 1,
                linear_path: false,
            },
            geometry: Geometry {
                scale: number("scale") as usize,
                kernel: number("kernel") as usize,
            },
            batch: number("batch") as usize,
            patch: number("patch") as usize,
            rate: number("lr"),
            steps: number("steps") as usize,
            alpha: list("alpha").try_into().unwrap(),
            beta: number("beta"),
            tensors,
        }
    }

    fn tensor(&self, name: &str) -> &[f64] {
        &self
            .tensors
            .get(name)
            .unwrap_or_else(|| panic!("{}: no tensor {name}", self.name))
            .1
    }

    /// Images (batch, rows, columns, channels) as one block of windows, window by window.
    fn windows<T: Real>(&self, name: &str) -> Vec<T> {
        let (shape, data) = &self.tensors[name];
        let images = Array4::from_shape_vec((shape[0], shape[1], shape[2], shape[3]), data.clone()).unwrap();
        let mut out = Vec::new();
        for image in images.axis_iter(Axis(0)) {
            for r in 0..self.patch {
                for c in 0..self.patch {
                    gather(image, self.geometry, (r, c), &mut out);
                }
            }
        }
        out
    }

    fn real<T: Real>(&self, name: &str) -> Vec<T> {
        self.tensor(name).iter().map(|&x| T::of(x)).collect()
    }

    fn training_set<T: Real>(&self) -> TrainingSet<T> {
        TrainingSet {
            lr_hsi: self.real("input.lr_hsi"),
            hr_msi: self.windows("input.hr_msi"),
            windows: self.batch * self.patch * self.patch,
        }
    }

    /// A parameter-like set of tensors (`param.0.`, `grad.total.`) as flat blocks of φ and θ. Decoder-only sets
    /// leave the encoder at `encoder`.
    fn blocks(&self, prefix: &str, encoder: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
        let layout = self.architecture.layout();
        let mut network = vec![0.0; layout.parameters];
        if let Some(encoder) = encoder {
            network[..layout.decoders].copy_from_slice(&encoder[..layout.decoders]);
        }
        for l in &layout.layers {
            if encoder.is_some() && l.branch == Branch::Encoder {
                continue;
            }
            let weight = self.tensor(&format!("{prefix}{}.{}.weight", l.branch.name(), l.index));
            let bias = self.tensor(&format!("{prefix}{}.{}.bias", l.branch.name(), l.index));
            assert_eq!(weight.len(), l.inputs * l.outputs, "{}: {l:?}", self.name);
            for o in 0..l.outputs {
                for i in 0..l.inputs {
                    network[l.weight + i * l.stride + o] = weight[o * l.inputs + i];
                }
                network[l.bias + o] = bias[o];
            }
        }
        (
            network,
            if encoder.is_some() {
                vec![]
            } else {
                self.degradation(prefix)
            },
        )
    }

    /// θ-like tensors; one that the file lacks (a term that the parameter does not enter) is zero.
    fn degradation(&self, prefix: &str) -> Vec<f64> {
        let b = self.architecture.msi_bands;
        let mut theta = vec![0.0; degradation_parameters(b)];
        let get = |name: &str| {
            self.tensors
                .get(&format!("{prefix}{name}"))
                .map(|(_, data)| &data[..])
        };
        if let Some(m) = get("psf.m") {
            theta[..3].copy_from_slice(&[m[0], m[2], m[3]]);
            // The outside implementation has the centre on pixel K / 2. Of a gradient the centre is not compared.
            if prefix.starts_with("param.") {
                theta[3..psf::PARAMETERS].copy_from_slice(&psf::published_centre(self.geometry.kernel));
            }
        }
        let (means, widths) = theta[psf::PARAMETERS..].split_at_mut(srf::GAUSSIANS * b);
        if let Some(mu) = get("srf.mu") {
            means.copy_from_slice(mu);
        }
        if let Some(sigma) = get("srf.sigma") {
            widths.copy_from_slice(sigma);
        }
        theta
    }

    fn problem<T: Real>(&self, frozen_encoder: bool) -> Problem<T> {
        let n = self.batch * self.patch * self.patch;
        Problem {
            architecture: self.architecture.clone(),
            geometry: self.geometry,
            alpha: self.alpha,
            beta: self.beta,
            noise: Noise::Given,
            learn_psf: true,
            learn_centre: false,
            learn_srf: true,
            fixed_psf: None,
            fixed_srf: None,
            frozen_encoder,
            lr_capacity: n,
            hr_capacity: n,
        }
    }

    /// μ, σ, abundance of the HR pixels as the engine reconstructs them.
    fn reconstruct<T: Real>(
        &self,
        engine: &dyn Engine<T>,
        state: &TrainingState<T>,
        output: Output,
    ) -> Vec<f64> {
        let side = self.patch * self.geometry.scale;
        let msi: Vec<T> = self.real("input.hr_msi");
        let view = ArrayView3::from_shape((self.batch * side, side, self.architecture.msi_bands), &msi);
        let channels = match output {
            Output::Abundance { .. } => self.architecture.layout().abundances,
            _ => self.architecture.bands,
        };
        let mut out = Array3::from_elem((self.batch * side, side, channels), T::zero());
        engine
            .reconstruct(
                &self.architecture,
                state,
                view.unwrap(),
                0,
                output,
                out.view_mut(),
            )
            .unwrap();
        out.iter().map(|x| x.f64()).collect()
    }

    /// Repeats the file's steps on `engine` and compares everything it recorded.
    ///
    /// Returns the worst NMSE seen, of forwards and of gradients.
    pub fn check<T: Real>(&self, engine: &dyn Engine<T>, limits: Limits) -> (f64, f64) {
        let mut checker = Checker {
            name: &self.name,
            limits,
            worst: (0.0, 0.0),
        };
        let data = self.training_set::<T>();
        let (network, theta) = self.blocks("param.0.", None);
        let real = |x: &[f64]| -> Vec<T> { x.iter().map(|&x| T::of(x)).collect() };
        let start = TrainingState::start(&self.architecture, real(&network), real(&theta));
        for (name, output) in [
            ("forward.abundance_hr", Output::Abundance { member: 0 }),
            ("forward.mean_hr", Output::Mean),
            ("forward.std_hr", Output::Std),
        ] {
            checker.forward(name, &self.reconstruct(engine, &start, output), self.tensor(name));
        }

        let problem = self.problem(false);
        let mut trainer = engine.trainer(&problem, &data, start).unwrap();
        let windows: Arc<[u32]> = (0..data.windows as u32).collect();
        let plan = |step: usize| StepPlan {
            step: step as u32,
            lr_batch: windows.clone(),
            hr_batch: windows.clone(),
            member: 0,
            network_rate: Some(self.rate),
            degradation_rate: Some(self.rate),
        };
        for step in 1..=self.steps {
            let hr = self.windows(&format!("noise.{step}.hr"));
            trainer
                .give_noise(&hr, &self.real::<T>(&format!("noise.{step}.lr")))
                .unwrap();
            trainer.step(&plan(step)).unwrap();
            if step == 1 {
                self.check_tensors(&mut checker, &trainer.tensors().unwrap());
            }
            let losses = trainer.losses().unwrap();
            let [t1, t2, t3] = losses[0].degradation.unwrap();
            let expected = &self.tensor("losses")[4 * (step - 1)..4 * step];
            checker.forward("losses", &[t1, t2, t3, losses[0].network[0]], expected);
            if self.tensors.contains_key(&format!("param.{step}.psf.m")) {
                let state = trainer.state().unwrap();
                let (network, theta) = self.blocks(&format!("param.{step}."), None);
                checker.forward(
                    &format!("param.{step} (network)"),
                    &f64s(&state.network),
                    &network,
                );
                checker.forward(
                    &format!("param.{step} (degradation)"),
                    &f64s(&state.degradation),
                    &theta,
                );
            }
        }
        let end = trainer.state().unwrap();
        drop(trainer);
        let mean = self.reconstruct(engine, &end, Output::Mean);
        checker.forward("final.reconstruction", &mean, self.tensor("final.reconstruction"));
        self.check_fine_tune(engine, &mut checker, &data, end);
        checker.worst
    }

    fn check_tensors<T: Real>(&self, checker: &mut Checker, tensors: &hsr_gpu::engine::StepTensors<T>) {
        for (name, values) in [
            ("psf", &tensors.psf),
            ("srf", &tensors.srf),
            ("lr_msi", &tensors.lr_msi),
            ("srf_of_lr_hsi", &tensors.srf_of_lr_hsi),
            ("abundance_lr", &tensors.abundance_lr),
            ("mean_lr", &tensors.mean_lr),
            ("std_lr", &tensors.std_lr),
            ("sample_lr", &tensors.sample_lr),
            ("blur_of_sample", &tensors.blur_of_sample),
        ] {
            let name = format!("forward.{name}");
            checker.forward(&name, &f64s(values), self.tensor(&name));
        }
        let expected: Vec<f64> = self.windows("forward.srf_of_sample");
        checker.forward("forward.srf_of_sample", &f64s(&tensors.srf_of_sample), &expected);

        let (network, theta) = self.blocks("grad.total.", None);
        checker.gradient("grad.total (network)", &f64s(&tensors.network_gradient), &network);
        // The centre is not learned in the files: its gradient is not in the total and not in theirs.
        checker.gradient(
            "grad.total (degradation)",
            &f64s(&tensors.degradation_gradient),
            &theta,
        );
        for (t, term) in tensors.term_gradients.chunks_exact(theta.len()).enumerate() {
            let mut term = f64s(term);
            term[3..psf::PARAMETERS].fill(0.0);
            let name = format!("grad.theta_term{}", t + 1);
            checker.gradient(&name, &term, &self.degradation(&format!("{name}.")));
        }
    }

    fn check_fine_tune<T: Real>(
        &self,
        engine: &dyn Engine<T>,
        checker: &mut Checker,
        data: &TrainingSet<T>,
        mut state: TrainingState<T>,
    ) {
        let n = state.network.len();
        state.network_m = vec![T::zero(); n];
        state.network_v = vec![T::zero(); n];
        state.network_updates = 0;
        let encoder = f64s(&state.network);
        let problem = self.problem(true);
        let mut trainer = engine.trainer(&problem, data, state).unwrap();
        let windows: Arc<[u32]> = (0..data.windows as u32).collect();
        let expected = self.tensor("finetune.losses");
        for (step, loss) in (1..).zip(expected) {
            trainer
                .give_noise(&[], &self.real::<T>(&format!("finetune.noise.{step}")))
                .unwrap();
            let plan = StepPlan {
                step,
                lr_batch: windows.clone(),
                hr_batch: Arc::from([]),
                member: 0,
                network_rate: Some(self.rate),
                degradation_rate: None,
            };
            trainer.step(&plan).unwrap();
            checker.forward("finetune.losses", &trainer.losses().unwrap()[0].network, &[*loss]);
            if step == 1 {
                let abundance = f64s(&trainer.tensors().unwrap().abundance_lr);
                checker.forward(
                    "finetune.abundance_lr",
                    &abundance,
                    self.tensor("finetune.abundance_lr"),
                );
            }
        }
        let (network, _) = self.blocks(&format!("finetune.param.{}.", expected.len()), Some(&encoder));
        checker.forward(
            "finetune.param",
            &f64s(&trainer.state().unwrap().network),
            &network,
        );
    }
}

fn f64s<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.f64()).collect()
}

struct Checker<'a> {
    name: &'a str,
    limits: Limits,
    worst: (f64, f64),
}

impl Checker<'_> {
    fn forward(&mut self, what: &str, got: &[f64], expected: &[f64]) {
        let e = self.compare(what, got, expected, self.limits.forward);
        self.worst.0 = self.worst.0.max(e);
    }

    fn gradient(&mut self, what: &str, got: &[f64], expected: &[f64]) {
        let e = self.compare(what, got, expected, self.limits.gradient);
        self.worst.1 = self.worst.1.max(e);
    }

    fn compare(&self, what: &str, got: &[f64], expected: &[f64], limit: f64) -> f64 {
        assert_eq!(got.len(), expected.len(), "{}: {what}: length", self.name);
        let e = crate::nmse(got, expected);
        assert!(
            e <= limit,
            "{}: {what}: NMSE {e:.3e} over the limit {limit:.0e}",
            self.name
        );
        e
    }
}
