//! The engines of this process, opened once each and kept until it ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hsr_gpu::engine::Engine;
use hsr_gpu::engine::failover::Failover;
use hsr_gpu::engine::gpu::{AdapterChoice, GpuEngine, Options};
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::{Error, Result};

type Boxed = Box<dyn Engine<f32>>;
type Shared = &'static dyn Engine<f32>;

static OPEN: Mutex<BTreeMap<(String, Option<String>), Shared>> = Mutex::new(BTreeMap::new());

/// The engine of `backend` (`auto`, `gpu`, `cpu`) and adapter (number or part of a name). A GPU's first results are compared
/// with the CPU's; with `auto` the CPU takes over where it fails.
///
/// # Errors
/// [`Error::Input`] for an unknown backend or adapter, [`Error::Device`] where the device cannot be opened.
pub fn open(backend: &str, adapter: Option<&str>) -> Result<Shared> {
    let key = (backend.to_owned(), adapter.map(str::to_owned));
    let mut engines = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&engine) = engines.get(&key) {
        return Ok(engine);
    }
    let engine: Shared = Box::leak(make(backend, adapter)?);
    engines.insert(key, engine);
    Ok(engine)
}

fn make(backend: &str, adapter: Option<&str>) -> Result<Boxed> {
    let cpu = || -> Result<Boxed> { Ok(Box::new(SimdEngine::new())) };
    let auto = match backend {
        "cpu" if adapter.is_some() => {
            return Err(Error::input(
                "an adapter is a GPU; leave it out with backend 'cpu'",
            ));
        }
        "cpu" => return cpu(),
        "auto" => adapter.is_none(),
        "gpu" => false,
        other => {
            return Err(Error::input(format!(
                "backend '{other}': use 'auto', 'gpu' or 'cpu'"
            )));
        }
    };
    let adapter = adapter.map(str::to_owned);
    let gpu = move || -> Result<Option<Boxed>> {
        let engine = if auto {
            GpuEngine::hardware(Options::default())?
        } else {
            let choice = AdapterChoice::from_option(adapter.as_deref());
            Some(GpuEngine::with_options(&choice, Options::default())?)
        };
        Ok(engine.map(|engine| Box::new(engine) as Boxed))
    };
    let engine = match gpu() {
        Ok(Some(engine)) => engine,
        Ok(None) => return cpu(),
        Err(error) if auto && error.is_of_device() => return cpu(),
        Err(error) => return Err(error),
    };
    let again = move || gpu()?.ok_or_else(|| Error::device("GPU", "is gone"));
    let recovery = Failover::new(engine, again, Some(cpu()?), |line| eprintln!("hsr_gpu: {line}"));
    Ok(Box::new(if auto { recovery.or(cpu) } else { recovery }))
}
