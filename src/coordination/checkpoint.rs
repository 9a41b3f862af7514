//! A model on disk: one safetensors file with named weights, moments, θ, and the configuration as metadata.
//!
//! Weights are named `member.E.BRANCH.LAYER.weight` (out × in) and `….bias`, Adam's moments the same with the prefix
//! `adam.m.` and `adam.v.`, so other programs can read the network without knowing how it lies in memory here.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::coordination::config::Config;
use crate::coordination::model::{Calibration, Model};
use crate::engine::{Geometry, TrainingState, degradation_parameters};
use crate::error::{Error, Result};
use crate::io;
use crate::network::{Architecture, Layout};

/// Version of the file's layout.
const VERSION: &str = "1";

/// Writes a model; an existing file is replaced only once the new one is whole.
///
/// # Errors
/// [`Error::Input`] if the folder cannot take the file, [`Error::Failed`] if writing fails.
pub fn save(path: &Path, model: &Model) -> Result<()> {
    let failed = |e: safetensors::SafeTensorError| Error::failed(format!("{}: {e}", path.display()));
    let state = &model.state;
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let layout = model.architecture.layout();
    for (prefix, block) in [
        ("", &state.network),
        ("adam.m.", &state.network_m),
        ("adam.v.", &state.network_v),
    ] {
        for (member, parameters) in block.chunks_exact(layout.parameters).enumerate() {
            unpack(&layout, prefix, member, parameters, &mut tensors);
        }
    }
    for (name, values) in [
        ("degradation", &state.degradation),
        ("adam.m.degradation", &state.degradation_m),
        ("adam.v.degradation", &state.degradation_v),
        ("start.degradation", &model.start),
        ("linear_path", &state.linear),
    ] {
        tensors.push((name.to_owned(), vec![values.len()], values.clone()));
    }
    let (k, b) = (model.geometry.kernel, model.architecture.msi_bands);
    if let Some(psf) = &model.fixed_psf {
        tensors.push(("fixed.psf".to_owned(), vec![k, k], psf.clone()));
    }
    if let Some(srf) = &model.fixed_srf {
        tensors.push((
            "fixed.srf".to_owned(),
            vec![model.architecture.bands, b],
            srf.clone(),
        ));
    }
    let unwritable = |e: serde_json::Error| Error::failed(format!("{}: metadata: {e}", path.display()));
    let wavelengths = serde_json::to_string(&model.wavelengths).map_err(unwritable)?;
    let calibration = serde_json::to_string(&model.calibration).map_err(unwritable)?;
    let metadata: HashMap<String, String> = [
        ("format", "hsr-gpu model".to_owned()),
        ("version", VERSION.to_owned()),
        ("config", model.config.to_toml()?),
        ("bands", model.architecture.bands.to_string()),
        ("msi_bands", b.to_string()),
        ("scale", model.geometry.scale.to_string()),
        ("kernel", k.to_string()),
        ("step", model.step.to_string()),
        ("network_updates", state.network_updates.to_string()),
        ("degradation_updates", state.degradation_updates.to_string()),
        ("wavelengths", wavelengths),
        ("calibration", calibration),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| (name, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    let file = safetensors::serialize(views, Some(metadata)).map_err(failed)?;
    io::replace(path, |out| out.write_all(&file))
}

fn unpack(
    layout: &Layout,
    prefix: &str,
    member: usize,
    parameters: &[f32],
    tensors: &mut Vec<(String, Vec<usize>, Vec<f32>)>,
) {
    for l in &layout.layers {
        let name = format!("{prefix}member.{member}.{}.{}", l.branch.name(), l.index);
        let weight = (0..l.outputs)
            .flat_map(|o| (0..l.inputs).map(move |i| parameters[l.weight + i * l.stride + o]))
            .collect();
        tensors.push((format!("{name}.weight"), vec![l.outputs, l.inputs], weight));
        tensors.push((
            format!("{name}.bias"),
            vec![l.outputs],
            parameters[l.bias..l.bias + l.outputs].to_vec(),
        ));
    }
}

fn pack(file: &Reader, layout: &Layout, prefix: &str, members: usize) -> Result<Vec<f32>> {
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

struct Reader<'a> {
    name: String,
    tensors: SafeTensors<'a>,
}

impl Reader<'_> {
    /// A tensor of `length` finite single-precision values.
    fn tensor(&self, tensor: &str, length: usize) -> Result<Vec<f32>> {
        let bad = |what: String| Error::input(format!("{}: tensor {tensor}: {what}", self.name));
        let view = self.tensors.tensor(tensor).map_err(|e| bad(e.to_string()))?;
        if view.dtype() != Dtype::F32 || view.data().len() != length * size_of::<f32>() {
            return Err(bad(format!(
                "found {:?} {:?}, expected {length} of F32",
                view.dtype(),
                view.shape()
            )));
        }
        let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
        if values.iter().any(|x| !x.is_finite()) {
            return Err(bad(
                "holds a value that is not finite; the file is damaged".to_owned()
            ));
        }
        Ok(values)
    }

    fn optional(&self, tensor: &str, length: usize) -> Result<Option<Vec<f32>>> {
        match self.tensors.names().contains(&tensor) {
            true => self.tensor(tensor, length).map(Some),
            false => Ok(None),
        }
    }
}

/// Reads a model.
///
/// # Errors
/// [`Error::Input`] where the file is missing, is no model of this version, or is damaged.
pub fn load(path: &Path) -> Result<Model> {
    let name = path.display().to_string();
    let bad = |what: String| Error::input(format!("{name}: {what}"));
    let bytes = std::fs::read(path).map_err(|e| bad(format!("{e}; give a model that `train` wrote")))?;
    let no_model = |e: safetensors::SafeTensorError| bad(format!("not a safetensors file or damaged: {e}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(no_model)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(no_model)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let field = |key: &str| {
        metadata
            .get(key)
            .cloned()
            .ok_or_else(|| bad(format!("no model of hsr-gpu: metadata `{key}` is missing")))
    };
    let number = |key: &str| -> Result<usize> {
        field(key)?
            .parse()
            .map_err(|_| bad(format!("metadata `{key}` is not a number; the file is damaged")))
    };
    let version = field("version")?;
    if field("format")? != "hsr-gpu model" || version != VERSION {
        return Err(bad(format!(
            "a model of version {version}; this program reads version {VERSION}"
        )));
    }
    let config = Config::load("cave", Some((&name, &field("config")?)))?;
    let (bands, msi_bands) = (number("bands")?, number("msi_bands")?);
    let (scale, kernel) = (number("scale")?, number("kernel")?);
    const LARGEST: usize = 1 << 16;
    if [bands, msi_bands, scale, kernel]
        .iter()
        .any(|&x| x == 0 || x > LARGEST)
    {
        return Err(bad(format!(
            "metadata sizes must lie in 1..={LARGEST}; the file is damaged"
        )));
    }
    let architecture: Architecture = config.architecture(bands, msi_bands)?;
    let layout = architecture.layout();
    let weights = architecture.weights() * architecture.members * size_of::<f32>();
    if weights > bytes.len() {
        return Err(bad("shorter than its own network; the file is damaged".to_owned()));
    }
    let json = |e: serde_json::Error| bad(format!("metadata: {e}; the file is damaged"));
    let wavelengths: Option<Vec<f64>> = serde_json::from_str(&field("wavelengths")?).map_err(json)?;
    let calibration: Calibration = serde_json::from_str(&field("calibration")?).map_err(json)?;
    if calibration.gain.len() != msi_bands || calibration.offset.len() != msi_bands {
        return Err(bad(
            "metadata `calibration` has not one gain and offset an MSI band".to_owned(),
        ));
    }
    let file = Reader {
        name: name.clone(),
        tensors,
    };
    let theta = degradation_parameters(msi_bands);
    let members = architecture.members;
    let state = TrainingState {
        network: pack(&file, &layout, "", members)?,
        network_m: pack(&file, &layout, "adam.m.", members)?,
        network_v: pack(&file, &layout, "adam.v.", members)?,
        linear: file.tensor("linear_path", architecture.linear_parameters())?,
        degradation: file.tensor("degradation", theta)?,
        degradation_m: file.tensor("adam.m.degradation", theta)?,
        degradation_v: file.tensor("adam.v.degradation", theta)?,
        network_updates: number("network_updates")? as u64,
        degradation_updates: number("degradation_updates")? as u64,
    };
    Ok(Model {
        start: file.tensor("start.degradation", theta)?,
        fixed_psf: file.optional("fixed.psf", kernel * kernel)?,
        fixed_srf: file.optional("fixed.srf", bands * msi_bands)?,
        step: number("step")? as u32,
        geometry: Geometry { scale, kernel },
        wavelengths,
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
        let architecture = config.architecture(7, 3).unwrap();
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
}
