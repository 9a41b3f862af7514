//! Models and checkpoints on disk, as safetensors files.
//!
//! A model is named weights, moments, θ, and the configuration as metadata. Weights are named
//! `member.E.BRANCH.LAYER.weight` (out × in) and `….bias`, Adam's moments the same with the prefix `adam.m.` and
//! `adam.v.`, so other programs can read the network without knowing how it lies in memory here. A checkpoint is the
//! model of an unfinished run with the losses so far and, in fine-tuning, the state of that stage beside it
//! (`tuning.`): whatever takes a model takes a checkpoint as well.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::coordination::config::Config;
use crate::coordination::model::{Calibration, Model};
use crate::coordination::revival::Revived;
use crate::coordination::run::{Run, Tuning};
use crate::coordination::tensor_file::{ReadTensorFile, TensorFile};
use crate::coordination::training::History;
use crate::engine::{Geometry, StepLosses, TrainingState, degradation_parameters};
use crate::error::{Error, Result};
use crate::network::{Architecture, Layout};

/// Writes a model; an existing file is replaced only once the new one is whole.
///
/// # Errors
/// [`Error::Input`] if the folder cannot take the file, [`Error::Failed`] if writing fails.
pub fn save(path: &Path, model: &Model) -> Result<()> {
    contents(model)?.write(path)
}

/// Reads a model, or the model of a checkpoint.
///
/// # Errors
/// [`Error::Input`] where the file is missing, is no model of this version, or is damaged.
pub fn load(path: &Path) -> Result<Model> {
    model(&ReadTensorFile::read(path)?)
}

/// What a checkpoint has besides tensors; the identity is for [`crate::coordination::keeper`] to make and to compare.
#[derive(Serialize, Deserialize)]
struct Course<I> {
    identity: I,
    revived: Vec<Revived>,
    dead: Vec<(usize, usize)>,
    /// Steps of fine-tuning, and updates of φ in it; none before.
    tuned: Option<(u32, u64)>,
}

/// Writes a checkpoint; an existing file is replaced only once the new one is whole.
///
/// # Errors
/// As [`save`].
pub fn save_run<I: Serialize>(path: &Path, run: &Run, identity: &I) -> Result<()> {
    let mut file = contents(&run.model)?;
    let members = run.model.architecture.members;
    put_losses(&mut file, "losses.training", members, &run.training);
    if let Some(tuning) = &run.tuning {
        put_losses(&mut file, "losses.finetuning", members, &tuning.history);
        put_network(
            &mut file,
            "tuning.",
            &run.model.architecture.layout(),
            &tuning.state,
        );
    }
    let course = Course {
        identity,
        revived: run.training.revived.clone(),
        dead: run.training.dead.clone(),
        tuned: run.tuning.as_ref().map(|t| (t.step, t.state.network_updates)),
    };
    let text = serde_json::to_string(&course)
        .map_err(|e| Error::failed(format!("{}: metadata: {e}", path.display())))?;
    file.tell("run", text);
    file.write(path)
}

/// Reads a checkpoint and the identity that it was written with.
///
/// # Errors
/// [`Error::Input`] where the file is missing, is no checkpoint of this version, or is damaged.
pub fn load_run<I: serde::de::DeserializeOwned>(path: &Path) -> Result<(Run, I)> {
    let file = ReadTensorFile::read(path)?;
    let model = model(&file)?;
    if file.optional_text("run").is_none() {
        return Err(file.bad("a model and no checkpoint of an unfinished run; name another file"));
    }
    let course: Course<I> = file.json("run")?;
    let members = model.architecture.members;
    let tuning = match course.tuned {
        None => None,
        Some((step, updates)) => {
            let mut tuning = Tuning::of(&model);
            let layout = model.architecture.layout();
            tuning.state.network = network(&file, "tuning.", &layout, members)?;
            tuning.state.network_m = network(&file, "tuning.adam.m.", &layout, members)?;
            tuning.state.network_v = network(&file, "tuning.adam.v.", &layout, members)?;
            tuning.state.network_updates = updates;
            tuning.history.steps = losses(&file, "losses.finetuning", members)?;
            tuning.step = step;
            Some(tuning)
        }
    };
    let training = History {
        steps: losses(&file, "losses.training", members)?,
        revived: course.revived,
        dead: course.dead,
    };
    let run = Run {
        model,
        training,
        tuning,
    };
    Ok((run, course.identity))
}

/// Columns of a table of losses besides one a member: step, whether θ was updated, the three terms of L_θ.
const COLUMNS: usize = 5;

fn put_losses(file: &mut TensorFile, name: &str, members: usize, history: &History) {
    let mut table = Vec::with_capacity(history.steps.len() * (COLUMNS + members));
    for losses in &history.steps {
        let updated = f64::from(u8::from(losses.degradation.is_some()));
        table.extend([f64::from(losses.step), updated]);
        table.extend(losses.degradation.unwrap_or_default());
        table.extend(&losses.network);
    }
    file.put_f64(name, &[history.steps.len(), COLUMNS + members], &table);
}

fn losses(file: &ReadTensorFile, name: &str, members: usize) -> Result<Vec<StepLosses>> {
    let rows = file.matrix(name, COLUMNS + members)?;
    let read = |row: Vec<f64>| StepLosses {
        step: row[0] as u32,
        degradation: (row[1] != 0.0).then(|| [row[2], row[3], row[4]]),
        network: row[COLUMNS..].to_vec(),
    };
    Ok(rows.into_iter().map(read).collect())
}

fn contents(model: &Model) -> Result<TensorFile> {
    let state = &model.state;
    let mut file = TensorFile::default();
    put_network(&mut file, "", &model.architecture.layout(), state);
    for (name, values) in [
        ("degradation", &state.degradation),
        ("adam.m.degradation", &state.degradation_m),
        ("adam.v.degradation", &state.degradation_v),
        ("start.degradation", &model.start),
        ("linear_path", &state.linear),
    ] {
        file.put(name, &[values.len()], values);
    }
    let (k, b) = (model.geometry.kernel, model.architecture.msi_bands);
    if let Some(psf) = &model.fixed_psf {
        file.put("fixed.psf", &[k, k], psf);
    }
    if let Some(srf) = &model.fixed_srf {
        file.put("fixed.srf", &[model.architecture.bands, b], srf);
    }
    let unwritable = |e: serde_json::Error| Error::failed(format!("metadata of the model: {e}"));
    file.tell("config", model.config.to_toml()?);
    file.tell("bands", model.architecture.bands);
    file.tell("msi_bands", b);
    file.tell("scale", model.geometry.scale);
    file.tell("kernel", k);
    file.tell("step", model.step);
    file.tell("network_updates", state.network_updates);
    file.tell("degradation_updates", state.degradation_updates);
    file.tell(
        "wavelengths",
        serde_json::to_string(&model.wavelengths).map_err(unwritable)?,
    );
    file.tell(
        "calibration",
        serde_json::to_string(&model.calibration).map_err(unwritable)?,
    );
    Ok(file)
}

/// φ of all members and its moments, every layer a tensor.
fn put_network(file: &mut TensorFile, prefix: &str, layout: &Layout, state: &TrainingState<f32>) {
    for (kind, block) in [
        ("", &state.network),
        ("adam.m.", &state.network_m),
        ("adam.v.", &state.network_v),
    ] {
        for (member, parameters) in block.chunks_exact(layout.parameters).enumerate() {
            for l in &layout.layers {
                let name = format!("{prefix}{kind}member.{member}.{}.{}", l.branch.name(), l.index);
                let weight: Vec<f32> = (0..l.outputs)
                    .flat_map(|o| (0..l.inputs).map(move |i| parameters[l.weight + i * l.stride + o]))
                    .collect();
                file.put(format!("{name}.weight"), &[l.outputs, l.inputs], &weight);
                let bias = &parameters[l.bias..l.bias + l.outputs];
                file.put(format!("{name}.bias"), &[l.outputs], bias);
            }
        }
    }
}

fn network(file: &ReadTensorFile, prefix: &str, layout: &Layout, members: usize) -> Result<Vec<f32>> {
    let mut block = vec![0.0; layout.parameters * members];
    for (member, parameters) in block.chunks_exact_mut(layout.parameters).enumerate() {
        for l in &layout.layers {
            let name = format!("{prefix}member.{member}.{}.{}", l.branch.name(), l.index);
            let weight = file.tensor(&format!("{name}.weight"), l.outputs * l.inputs)?;
            let bias = file.tensor(&format!("{name}.bias"), l.outputs)?;
            for o in 0..l.outputs {
                for i in 0..l.inputs {
                    parameters[l.weight + i * l.stride + o] = weight[o * l.inputs + i];
                }
                parameters[l.bias + o] = bias[o];
            }
        }
    }
    Ok(block)
}

fn model(file: &ReadTensorFile) -> Result<Model> {
    let config = Config::load("cave", Some(("the file", file.text("config")?))).map_err(|e| file.bad(e))?;
    let (bands, msi_bands) = (file.number("bands")?, file.number("msi_bands")?);
    let (scale, kernel) = (file.number("scale")?, file.number("kernel")?);
    const LARGEST: usize = 1 << 16;
    if [bands, msi_bands, scale, kernel]
        .iter()
        .any(|&x| x == 0 || x > LARGEST)
    {
        return Err(file.bad(format!(
            "metadata sizes must lie in 1..={LARGEST}; the file is damaged"
        )));
    }
    if config.network.members == 0 {
        return Err(file.bad("metadata `config` has no number of members"));
    }
    // A model's members are settled: its training decided on them.
    let architecture: Architecture = config.architecture(bands, msi_bands, 0)?;
    let layout = architecture.layout();
    let weights = architecture.weights() * architecture.members * size_of::<f32>();
    if weights > file.bytes() {
        return Err(file.bad("shorter than its own network; the file is damaged"));
    }
    let calibration: Calibration = file.json("calibration")?;
    if calibration.gain.len() != msi_bands || calibration.offset.len() != msi_bands {
        return Err(file.bad("metadata `calibration` has not one gain and offset an MSI band"));
    }
    let c = &calibration;
    let units = [c.hsi_unit, c.msi_unit].map(f64::from).into_iter();
    let positive = units
        .chain(c.gain.iter().copied())
        .all(|x| x.is_finite() && x > 0.0);
    if !positive || c.offset.iter().any(|x| !x.is_finite()) {
        return Err(file.bad(
            "metadata `calibration` has units or gains that are not positive numbers, or offsets that are none",
        ));
    }
    let theta = degradation_parameters(msi_bands);
    let members = architecture.members;
    let state = TrainingState {
        network: network(file, "", &layout, members)?,
        network_m: network(file, "adam.m.", &layout, members)?,
        network_v: network(file, "adam.v.", &layout, members)?,
        linear: file.tensor("linear_path", architecture.linear_parameters())?,
        degradation: file.tensor("degradation", theta)?,
        degradation_m: file.tensor("adam.m.degradation", theta)?,
        degradation_v: file.tensor("adam.v.degradation", theta)?,
        network_updates: file.number("network_updates")? as u64,
        degradation_updates: file.number("degradation_updates")? as u64,
    };
    Ok(Model {
        start: file.tensor("start.degradation", theta)?,
        fixed_psf: file.optional("fixed.psf", kernel * kernel)?,
        fixed_srf: file.optional("fixed.srf", bands * msi_bands)?,
        step: file.number("step")? as u32,
        geometry: Geometry { scale, kernel },
        wavelengths: file.json("wavelengths")?,
        calibration,
        state,
        architecture,
        config,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::initial_parameters;

    fn model() -> Model {
        let config = Config::load("cave", Some(("t", "[network]\nmembers = 2\nlinear_path = true"))).unwrap();
        let architecture = config.architecture(7, 3, 0).unwrap();
        let network = initial_parameters(&architecture, config.network.initialisation, 5);
        let theta: Vec<f32> = (0..degradation_parameters(3)).map(|k| 0.5 + k as f32).collect();
        let mut state = TrainingState::start(&architecture, network, theta.clone());
        state.network_m.copy_from_slice(&state.network.clone());
        state.network_updates = 9;
        Model {
            geometry: Geometry { scale: 4, kernel: 5 },
            state,
            start: theta,
            fixed_psf: Some(vec![0.04; 25]),
            fixed_srf: None,
            step: 9,
            wavelengths: Some(vec![400.0, 410.5, 420.0, 430.0, 440.0, 450.0, 460.0]),
            calibration: Calibration {
                hsi_unit: 2.0,
                msi_unit: 3.0,
                gain: vec![1.0, 0.9, 1.1],
                offset: vec![0.0, 0.01, -0.02],
            },
            config,
            architecture,
        }
    }

    #[test]
    fn a_saved_model_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        save(&path, &model()).unwrap();
        assert_eq!(load(&path).unwrap(), model());
    }

    #[test]
    fn every_truncation_is_refused_with_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        save(&path, &model()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for k in 0..40 {
            std::fs::write(&path, &bytes[..bytes.len() * k / 40]).unwrap();
            let error = load(&path).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    fn run() -> Run {
        let losses = |step, degradation| StepLosses {
            step,
            degradation,
            network: vec![0.25, 1.0 / 3.0],
        };
        let mut tuning = Tuning::of(&model());
        tuning.state.network[0] = 7.5;
        tuning.state.network_v[1] = 1e-30;
        tuning.state.network_updates = 2;
        tuning.step = 2;
        tuning.history.steps = vec![losses(10, None), losses(11, None)];
        Run {
            model: model(),
            training: History {
                steps: vec![losses(1, None), losses(2, Some([0.1, 0.2, 1.0 / 3.0]))],
                revived: vec![Revived {
                    step: 1,
                    outputs: vec![(1, 3)],
                    members: vec![0],
                }],
                dead: vec![(0, 2)],
            },
            tuning: Some(tuning),
        }
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit_and_is_a_model_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let before = Run {
            tuning: None,
            ..run()
        };
        for run in [run(), before] {
            save_run(&path, &run, &"this run").unwrap();
            assert_eq!(load_run::<String>(&path).unwrap(), (run, "this run".to_owned()));
            assert_eq!(load(&path).unwrap(), model());
        }
        save(&path, &model()).unwrap();
        let error = load_run::<String>(&path).unwrap_err().to_string();
        assert!(error.contains("no checkpoint"), "{error}");
    }

    // A flipped bit of a weight is still a finite number: only the checksum sees it.
    #[test]
    fn every_flipped_bit_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        save_run(&path, &run(), &"this run").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for k in 0..200 {
            let mut damaged = bytes.clone();
            let at = bytes.len() * k / 200 + k % 3;
            damaged[at] ^= 1 << (k % 8);
            std::fs::write(&path, &damaged).unwrap();
            let error = load_run::<String>(&path).expect_err("a damaged checkpoint was taken");
            assert_eq!(error.exit_code(), 2, "byte {at}: {error}");
            assert!(!error.to_string().contains('\n'), "byte {at}: {error}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        save(&path, &model()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let told = br#""version":"3""#;
        let at = bytes.windows(told.len()).position(|part| part == told).unwrap() + told.len() - 2;
        let mut other = bytes.clone();
        other[at] = b'1';
        std::fs::write(&path, &other).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("version 1"), "{error}");
    }
}
