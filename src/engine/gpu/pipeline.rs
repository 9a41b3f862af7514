//! From shader file and defines to a pipeline, and from a pipeline and named buffers to a bind group.
//!
//! A shader's own binding lines say what it binds and how; the host names buffers and never numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::gpu::buffers::GpuBuffer;
use crate::engine::gpu::device::Device;
use crate::engine::gpu::options::Options;
use crate::engine::gpu::pipeline_cache::PipelineCache;
use crate::engine::gpu::preprocessor::{Defines, expand};
use crate::engine::gpu::shaders::{self, Replacement};
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Uniform,
    Read,
    ReadWrite,
}

#[derive(Debug, Clone)]
struct Binding {
    number: u32,
    name: String,
    access: Access,
}

/// A compiled kernel.
#[derive(Debug)]
pub struct Pipeline {
    /// File name of its shader.
    pub name: String,
    /// wgpu's pipeline.
    pub pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    bindings: Vec<Binding>,
}

/// Compiled kernels by file and defines.
#[derive(Debug, Default)]
pub struct Pipelines {
    options: Options,
    cache: Mutex<HashMap<(String, Defines), Arc<Pipeline>>>,
    disk: Option<PipelineCache>,
}

/// A shader's text after the preprocessor.
///
/// # Errors
/// [`Error::Failed`] from the preprocessor.
pub fn source(file: &str, defines: &Defines, replacements: &[Replacement]) -> Result<String> {
    expand(file, &|name| shaders::read(name, replacements), defines)
}

fn bindings(file: &str, text: &str) -> Result<Vec<Binding>> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| {
        let at = e.location(text).map_or(0, |l| l.line_number);
        let line = text
            .lines()
            .nth(at.saturating_sub(1) as usize)
            .unwrap_or_default();
        Error::failed(format!("shaders/{file}: {}: `{}`", e.message(), line.trim()))
    })?;
    let mut bindings: Vec<Binding> = module
        .global_variables
        .iter()
        .filter_map(|(_, v)| {
            let access = match v.space {
                naga::AddressSpace::Uniform => Access::Uniform,
                naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => {
                    Access::ReadWrite
                }
                _ => Access::Read,
            };
            Some(Binding {
                number: v.binding?.binding,
                name: v.name.clone()?,
                access,
            })
        })
        .collect();
    bindings.sort_by_key(|b| b.number);
    Ok(bindings)
}

impl Pipelines {
    /// No pipelines yet, but those that the disk remembers.
    pub fn new(context: &Device, options: Options) -> Self {
        let folder = options.cache.as_deref();
        Pipelines {
            disk: folder.and_then(|folder| PipelineCache::open(context, folder)),
            options,
            cache: Mutex::default(),
        }
    }

    /// How they are compiled.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether compiled pipelines are kept on disk.
    pub fn are_kept(&self) -> bool {
        self.disk.is_some()
    }

    /// The pipeline of `file` with `defines`, compiled at its first use.
    ///
    /// # Errors
    /// [`Error::Failed`] if the text does not expand or the driver does not compile it.
    pub fn get(&self, context: &Device, file: &str, defines: &Defines) -> Result<Arc<Pipeline>> {
        let key = (file.to_owned(), defines.clone());
        let cached = |cache: &Mutex<HashMap<_, Arc<Pipeline>>>| {
            let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.get(&key).cloned()
        };
        if let Some(pipeline) = cached(&self.cache) {
            return Ok(pipeline);
        }
        let text = source(file, defines, &self.options.replacements)?;
        let pipeline = Arc::new(self.compile(context, file, &text)?);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.entry(key).or_insert(pipeline).clone())
    }

    /// Compiles the entry point `main` of a WGSL text.
    ///
    /// # Errors
    /// [`Error::Failed`] if the driver does not compile it.
    pub fn compile(&self, context: &Device, name: &str, text: &str) -> Result<Pipeline> {
        let bindings = bindings(name, text)?;
        let device = &context.device;
        let entries: Vec<wgpu::BindGroupLayoutEntry> = bindings
            .iter()
            .map(|b| wgpu::BindGroupLayoutEntry {
                binding: b.number,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match b.access {
                        Access::Uniform => wgpu::BufferBindingType::Uniform,
                        _ => wgpu::BufferBindingType::Storage {
                            read_only: b.access == Access::Read,
                        },
                    },
                    has_dynamic_offset: b.access == Access::Uniform,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        context.made.object();
        context.scoped(&format!("shaders/{name}"), || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(name),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            };
            let module = if self.options.checked {
                device.create_shader_module(descriptor)
            } else {
                // SAFETY: the shaders are this crate's own; their indices come from sizes that the host checks, and
                // the kernel tests run them with the checks on.
                unsafe {
                    device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
                }
            };
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(name),
                entries: &entries,
            });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(name),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    // Every kernel writes its workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.disk.as_ref().map(PipelineCache::handle),
            });
            Pipeline {
                name: name.to_owned(),
                pipeline,
                layout,
                bindings: bindings.clone(),
            }
        })
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            disk.save();
        }
    }
}

impl Pipeline {
    /// Its kernel's stem.
    pub fn stem(&self) -> String {
        self.name.trim_end_matches(".wgsl").to_owned()
    }

    /// Binds buffers by the names of the shader's variables; `uniform` is the size of the uniform's struct in bytes.
    ///
    /// # Errors
    /// [`Error::Failed`] if a buffer is missing or larger than a binding may be.
    pub fn bind(
        &self,
        context: &Device,
        buffers: &[(&str, &GpuBuffer)],
        uniform: u64,
    ) -> Result<wgpu::BindGroup> {
        let entries = self
            .bindings
            .iter()
            .map(|b| {
                let (_, buffer) = buffers
                    .iter()
                    .find(|(name, _)| *name == b.name)
                    .ok_or_else(|| Error::failed(format!("{}: no buffer `{}`", self.name, b.name)))?;
                let size = if b.access == Access::Uniform {
                    uniform
                } else {
                    buffer.bytes
                };
                Ok(wgpu::BindGroupEntry {
                    binding: b.number,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &buffer.buffer,
                        offset: buffer.offset,
                        size: wgpu::BufferSize::new(size),
                    }),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        context.made.object();
        context.scoped(&self.name, || {
            context.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&self.name),
                layout: &self.layout,
                entries: &entries,
            })
        })
    }
}

/// Workgroups along the first dimension of a dispatch at most: half of what every adapter allows.
pub const ROW: u32 = 32_768;

/// Workgroups of a dispatch of `n`, over two dimensions where one does not hold them.
pub fn spread(n: usize) -> [u32; 3] {
    if n <= ROW as usize {
        [n as u32, 1, 1]
    } else {
        [ROW, n.div_ceil(ROW as usize) as u32, 1]
    }
}
