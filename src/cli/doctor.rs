//! `doctor`: whether this machine can do the work, what it will be done on, and what to install where it cannot.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::Output;
use crate::engine::simd::SimdEngine;
use crate::error::{Error, Result};

/// Look at adapters, drivers and folders, test every adapter, and say what is missing
#[derive(Debug, Args)]
#[command(
    after_help = "Example: hsr-gpu doctor\nExit code 1 if an adapter computes wrongly or cannot be opened."
)]
pub struct Doctor {}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    system: String,
    /// Whether this build has the GPU engine.
    gpu_engine: bool,
    cpu: Cpu,
    vulkan: Option<Vulkan>,
    adapters: Vec<Adapter>,
    kernels: Option<KernelFolder>,
    /// What `--backend auto` computes on.
    chosen: String,
    advice: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Cpu {
    threads: usize,
    instructions: &'static str,
}

/// What Linux has of Vulkan, outside the program.
#[derive(Debug, Default, Serialize)]
struct Vulkan {
    /// Files that name drivers.
    drivers: Vec<PathBuf>,
    loader: bool,
    /// Why the loader that is there cannot be loaded.
    loader_trouble: Option<String>,
    /// Files of drivers that cannot be used, and why.
    broken: Vec<(PathBuf, String)>,
    /// Devices of GPUs, and whether this user may use them.
    devices: Vec<(PathBuf, bool)>,
    /// Whether NVIDIA's kernel module is there.
    nvidia: bool,
}

#[derive(Debug, Serialize)]
struct Adapter {
    index: usize,
    name: String,
    driver: String,
    hardware: bool,
    /// Comparisons with the CPU engine: those that failed, all, and the seconds that they took; null where it cannot be
    /// opened.
    #[serde(serialize_with = "test")]
    test: Option<(usize, usize, f64)>,
    /// What is wrong with it.
    trouble: Option<String>,
}

/// What comparisons with the CPU engine gave.
#[derive(Serialize)]
struct Test {
    failed: usize,
    comparisons: usize,
    seconds: f64,
}

fn test<S: serde::Serializer>(
    found: &Option<(usize, usize, f64)>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    let named = |&(failed, comparisons, seconds): &(usize, usize, f64)| Test {
        failed,
        comparisons,
        seconds,
    };
    found.as_ref().map(named).serialize(to)
}

/// Where compiled kernels are kept.
#[derive(Debug, Serialize)]
struct KernelFolder {
    folder: PathBuf,
    bytes: u64,
    trouble: Option<String>,
}

impl Doctor {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Failed`] where an adapter is not to be trusted.
    pub fn run(self, output: &Output) -> Result<()> {
        let adapters = adapters(output);
        let vulkan = cfg!(target_os = "linux").then(Vulkan::look);
        let chosen = adapters.iter().find(|a| a.hardware).map(|a| a.name.clone());
        let mut report = Report {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            gpu_engine: cfg!(feature = "gpu"),
            cpu: Cpu {
                threads: rayon::current_num_threads(),
                instructions: SimdEngine::new().level(),
            },
            kernels: kernel_folder(),
            chosen: chosen.unwrap_or_else(|| "the CPU".to_owned()),
            advice: Vec::new(),
            vulkan,
            adapters,
        };
        report.advice = report.advise();
        output.result(&report, &report.text())?;
        let bad: Vec<&str> = report
            .adapters
            .iter()
            .filter(|a| a.trouble.is_some())
            .map(|a| a.name.as_str())
            .collect();
        if bad.is_empty() {
            Ok(())
        } else {
            Err(Error::failed(format!(
                "not to be used: {}; --backend cpu does without",
                bad.join(", ")
            )))
        }
    }
}

/// All adapters, each tested with one step and one reconstruction of the CAVE network.
#[cfg(feature = "verify")]
fn adapters(output: &Output) -> Vec<Adapter> {
    use std::time::Instant;

    use crate::engine::gpu::compare::{cases, compare_reconstruct, compare_step};
    use crate::engine::gpu::{AdapterChoice, GpuEngine, Options, hardware_adapters};
    let hardware: Vec<usize> = hardware_adapters().iter().map(|a| a.index).collect();
    let test = |index: usize| -> Result<(usize, usize, f64)> {
        let began = Instant::now();
        let options = Options {
            cache: super::engine_options::pipeline_folder(),
            ..Options::default()
        };
        let choice = AdapterChoice::from_option(Some(&index.to_string()));
        let engine = GpuEngine::with_options(&choice, options)?;
        let cases = cases::cases();
        let case = cases
            .first()
            .ok_or_else(|| Error::failed("no case to test with"))?;
        let mut rows = compare_step(&engine, case)?;
        rows.extend(compare_reconstruct(&engine, case)?);
        let failed = rows.iter().filter(|r| !r.passed).count();
        Ok((failed, rows.len(), began.elapsed().as_secs_f64()))
    };
    let all = crate::engine::gpu::adapters().into_iter().map(|a| {
        output.say(&format!("doctor: testing {}", a.name));
        let test = test(a.index);
        Adapter {
            index: a.index,
            trouble: match &test {
                Ok((0, ..)) => None,
                Ok((failed, all, _)) => Some(format!("{failed} of {all} comparisons with the CPU failed")),
                Err(e) => Some(e.to_string()),
            },
            test: test.ok(),
            hardware: hardware.contains(&a.index),
            name: a.name,
            driver: a.driver,
        }
    });
    all.collect()
}

/// A build without the comparisons tests none.
#[cfg(not(feature = "verify"))]
fn adapters(_output: &Output) -> Vec<Adapter> {
    Vec::new()
}

#[cfg(feature = "gpu")]
fn kernel_folder() -> Option<KernelFolder> {
    let folder = super::engine_options::pipeline_folder()?;
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let bytes = files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum();
    let made = std::fs::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder));
    Some(KernelFolder {
        trouble: made.err().map(|e| e.to_string()),
        folder,
        bytes,
    })
}

#[cfg(not(feature = "gpu"))]
fn kernel_folder() -> Option<KernelFolder> {
    None
}

/// The paths in a folder that `fits` accepts by name, in order.
fn entries(folder: &str, fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found
        .filter(|entry| fits(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// The library of the loader.
const LOADER: &str = "libvulkan.so.1";

/// Whether the system can load a library, by its name or path; what it says where it cannot.
#[cfg(unix)]
fn loads(library: &str) -> std::result::Result<(), String> {
    use std::ffi::{CStr, CString};
    let name = CString::new(library).map_err(|e| e.to_string())?;
    // SAFETY: both texts end with a zero; the library is one that the Vulkan loader would load, and is closed at once.
    unsafe {
        let handle = libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL);
        if !handle.is_null() {
            libc::dlclose(handle);
            return Ok(());
        }
        let why = libc::dlerror();
        Err(if why.is_null() {
            format!("{library}: cannot be loaded")
        } else {
            CStr::from_ptr(why).to_string_lossy().into_owned()
        })
    }
}

/// There is no asking here.
#[cfg(not(unix))]
fn loads(_: &str) -> std::result::Result<(), String> {
    Ok(())
}

/// What is wrong with a file that names a driver, if anything is.
fn driver_trouble(path: &Path) -> Option<String> {
    let named = || -> std::result::Result<String, String> {
        let text = std::fs::read(path).map_err(|e| e.to_string())?;
        let file: serde_json::Value = serde_json::from_slice(&text).map_err(|e| format!("no JSON: {e}"))?;
        let library = file["ICD"]["library_path"].as_str();
        Ok(library.ok_or("names no library (ICD, library_path)")?.to_owned())
    };
    match named() {
        Err(why) => Some(why),
        // A bare name is looked for where libraries lie, any other beside the file.
        Ok(library) if !library.contains('/') => loads(&library).err(),
        Ok(library) => loads(&crate::io::folder_of(path).join(library).to_string_lossy()).err(),
    }
}

impl Vulkan {
    /// Where the loader of Khronos looks.
    fn look() -> Self {
        let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
            .into_iter()
            .find_map(std::env::var_os);
        let drivers: Vec<PathBuf> = match named {
            Some(list) => std::env::split_paths(&list).filter(|p| p.exists()).collect(),
            None => [
                "/etc/vulkan/icd.d",
                "/usr/local/share/vulkan/icd.d",
                "/usr/share/vulkan/icd.d",
            ]
            .iter()
            .flat_map(|folder| entries(folder, |name| name.ends_with(".json")))
            .collect(),
        };
        let mut libraries = vec![
            PathBuf::from("/usr/lib64"),
            "/usr/lib".into(),
            "/usr/local/lib".into(),
        ];
        libraries.extend(entries("/usr/lib", |name| name.ends_with("-linux-gnu")));
        let loader = libraries.iter().any(|folder| folder.join(LOADER).exists());
        let trouble = |path: &PathBuf| driver_trouble(path).map(|why| (path.clone(), why));
        let devices = entries("/dev/dri", |name| name.starts_with("renderD")).into_iter();
        Vulkan {
            broken: drivers.iter().filter_map(trouble).collect(),
            drivers,
            loader,
            loader_trouble: loads(LOADER).err().filter(|_| loader),
            devices: devices
                .map(|path| {
                    let usable = std::fs::File::options()
                        .read(true)
                        .write(true)
                        .open(&path)
                        .is_ok();
                    (path, usable)
                })
                .collect(),
            nvidia: Path::new("/proc/driver/nvidia").exists(),
        }
    }
}

impl Report {
    /// What to do, most important first.
    fn advise(&self) -> Vec<String> {
        let mut advice = Vec::new();
        let mut say = |there: bool, text: &str| {
            if there {
                advice.push(text.to_owned());
            }
        };
        say(
            !self.gpu_engine,
            "this build has no GPU engine: build it without --no-default-features to use one",
        );
        let without = self.gpu_engine && !self.adapters.iter().any(|a| a.hardware);
        if let Some(vulkan) = self.vulkan.as_ref().filter(|_| without) {
            say(
                !vulkan.loader,
                "the Vulkan loader is missing: install libvulkan1 (Debian, Ubuntu) or vulkan-loader (Fedora, Arch)",
            );
            if let Some(why) = &vulkan.loader_trouble {
                say(
                    true,
                    &format!("the Vulkan loader is there and cannot be loaded ({why}): install it again"),
                );
            }
            for (file, why) in &vulkan.broken {
                let line = format!(
                    "{}: a Vulkan driver that cannot be loaded ({why}): install it again",
                    file.display()
                );
                say(true, &line);
            }
            let has = |part: &str| {
                let mut names = vulkan.drivers.iter().map(|p| p.to_string_lossy().to_lowercase());
                names.any(|name| name.contains(part))
            };
            say(
                vulkan.nvidia && !has("nvidia"),
                "an NVIDIA card without its Vulkan driver: install the driver's graphics libraries (libnvidia-gl of its version); in \
                 a container set NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics",
            );
            say(
                vulkan.devices.iter().any(|(_, usable)| !usable),
                "this user may not use the GPU in /dev/dri: add it to the group render and log in again",
            );
            say(
                vulkan.drivers.is_empty(),
                "no Vulkan driver: install mesa-vulkan-drivers (Debian, Ubuntu; Intel, AMD, and a software adapter), or the driver \
                 of the card's maker",
            );
        }
        say(
            without && !self.adapters.is_empty(),
            "no hardware GPU: the software adapter is for tests and used only when named with --adapter; the CPU engine is faster",
        );
        say(
            self.kernels.as_ref().is_some_and(|k| k.trouble.is_some()),
            "compiled kernels cannot be kept, so every run compiles them: set HSR_GPU_CACHE to a folder that can be written",
        );
        advice
    }

    fn text(&self) -> String {
        let mut text = format!(
            "hsr-gpu {} on {}\nCPU: {} threads, {}\n",
            env!("CARGO_PKG_VERSION"),
            self.system,
            self.cpu.threads,
            self.cpu.instructions
        );
        // Writing to a string cannot fail.
        if let Some(vulkan) = &self.vulkan {
            let loader = match (&vulkan.loader_trouble, vulkan.loader) {
                (Some(_), _) => "that cannot be loaded",
                (None, true) => "there",
                (None, false) => "missing",
            };
            let names: Vec<String> = vulkan.drivers.iter().map(|p| p.display().to_string()).collect();
            let _ = writeln!(
                text,
                "Vulkan: loader {loader}, drivers {}",
                or_none(&names.join(", "))
            );
            for (path, usable) in &vulkan.devices {
                let word = if *usable { "usable" } else { "no permission" };
                let _ = writeln!(text, "   {}: {word}", path.display());
            }
        }
        for a in &self.adapters {
            let kind = if a.hardware {
                "hardware"
            } else {
                "not chosen by itself"
            };
            let _ = writeln!(
                text,
                "adapter {}: {} ({kind}), driver {}",
                a.index,
                a.name,
                or_none(&a.driver)
            );
            if let Some((failed, all, seconds)) = a.test {
                let _ = writeln!(
                    text,
                    "   {} of {all} comparisons with the CPU hold, {seconds:.1} s",
                    all - failed
                );
            }
            if let Some(trouble) = &a.trouble {
                let _ = writeln!(text, "   {trouble}");
            }
        }
        if let Some(kernels) = &self.kernels {
            let _ = write!(
                text,
                "compiled kernels: {}, {} KiB",
                kernels.folder.display(),
                kernels.bytes >> 10
            );
            let _ = match &kernels.trouble {
                Some(trouble) => writeln!(text, ", cannot be written: {trouble}"),
                None => writeln!(text),
            };
        }
        let _ = writeln!(text, "--backend auto computes on {}", self.chosen);
        for advice in &self.advice {
            let _ = writeln!(text, "advice: {advice}");
        }
        text
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(vulkan: Vulkan, hardware: bool) -> Report {
        let adapter = Adapter {
            index: 0,
            name: "GPU".to_owned(),
            driver: String::new(),
            hardware,
            test: Some((0, 30, 1.0)),
            trouble: None,
        };
        Report {
            system: String::new(),
            gpu_engine: true,
            cpu: Cpu {
                threads: 2,
                instructions: "AVX2",
            },
            vulkan: Some(vulkan),
            adapters: vec![adapter],
            kernels: None,
            chosen: String::new(),
            advice: Vec::new(),
        }
    }

    #[test]
    fn advice_names_what_is_missing() {
        let there = |advice: &[String], part: &str| advice.iter().any(|a| a.contains(part));
        assert!(report(Vulkan::default(), true).advise().is_empty());
        let nothing = report(Vulkan::default(), false).advise();
        assert!(there(&nothing, "libvulkan1") && there(&nothing, "mesa-vulkan-drivers"));
        assert!(!there(&nothing, "NVIDIA") && there(&nothing, "no hardware GPU"));
        let nvidia = Vulkan {
            drivers: vec!["/usr/share/vulkan/icd.d/lvp_icd.json".into()],
            loader: true,
            devices: vec![("/dev/dri/renderD128".into(), false)],
            nvidia: true,
            ..Vulkan::default()
        };
        let advice = report(nvidia, false).advise();
        assert!(there(&advice, "NVIDIA_DRIVER_CAPABILITIES") && there(&advice, "group render"));
        assert!(!there(&advice, "libvulkan1"));
        let broken = Vulkan {
            loader: true,
            loader_trouble: Some("file too short".to_owned()),
            broken: vec![("/etc/vulkan/icd.d/x.json".into(), "no JSON".to_owned())],
            ..Vulkan::default()
        };
        let advice = report(broken, false).advise();
        assert!(there(&advice, "file too short") && there(&advice, "x.json"));
    }

    #[cfg(unix)]
    #[test]
    fn drivers_that_cannot_be_loaded_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.json");
        let trouble = |text: &str| {
            std::fs::write(&file, text).unwrap();
            driver_trouble(&file).unwrap()
        };
        assert!(trouble("{").contains("no JSON"));
        assert!(trouble("{}").contains("names no library"));
        let named = |library: &str| format!("{{\"ICD\": {{\"library_path\": \"{library}\"}}}}");
        assert!(trouble(&named("libnone-of-this-name.so")).contains("libnone"));
        std::fs::write(folder.path().join("short.so"), "x").unwrap();
        assert!(trouble(&named("./short.so")).contains("short.so"));
    }
}
