//! An open device, its limits and its errors: what everything on the GPU stands on.
//!
//! wgpu reports most errors through a callback. The device keeps the first of them, and whoever submits or
//! reads asks [`Device::check`], so that a user sees one line and not a panic.

use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::gpu::memory::Made;
use crate::error::{Error, Result};

/// An open device.
#[derive(Debug)]
pub struct Device {
    /// wgpu's device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// The adapter it was opened on.
    pub info: wgpu::AdapterInfo,
    /// The limits that everything obeys.
    pub limits: wgpu::Limits,
    /// What was made on it.
    pub made: Arc<Made>,
    errors: Arc<Mutex<Option<Error>>>,
}

/// A driver's or validator's error as one of ours.
fn error_of(adapter: &str, what: &str, error: &wgpu::Error) -> Error {
    let message = first_line(&error.to_string());
    match error {
        wgpu::Error::OutOfMemory { .. } => {
            Error::device_memory(adapter, format!("{what}the device is out of memory: {message}"))
        }
        _ => Error::device(adapter, format!("{what}{message}")),
    }
}

/// The first line of a driver's or validator's message, for an error of one line.
fn first_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines.join("; ").chars().take(600).collect()
}

impl Device {
    /// Opens an adapter with these features and limits, to hold at most `memory` bytes of buffers where that is given.
    ///
    /// # Errors
    /// [`Error::Device`] if it cannot be opened.
    pub fn open(
        adapter: &wgpu::Adapter,
        descriptor: &wgpu::DeviceDescriptor,
        memory: Option<u64>,
    ) -> Result<Self> {
        let info = adapter.get_info();
        let (device, queue) = pollster::block_on(adapter.request_device(descriptor)).map_err(|e| {
            let message = first_line(&e.to_string());
            Error::device(&info.name, format!("cannot be opened: {message}"))
        })?;
        let errors: Arc<Mutex<Option<Error>>> = Arc::default();
        let (uncaptured, adapter) = (errors.clone(), info.name.clone());
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            let mut first = uncaptured.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error_of(&adapter, "", &e));
        }));
        let (lost, adapter) = (errors.clone(), info.name.clone());
        // Also called when the device is dropped, after which no one asks for errors.
        device.set_device_lost_callback(move |reason, message| {
            let mut first = lost.lock().unwrap_or_else(PoisonError::into_inner);
            // What was reported before follows from the loss.
            let message = first_line(&message);
            *first = Some(Error::device(
                &adapter,
                format!("the device was lost ({reason:?}): {message}"),
            ));
        });
        Ok(Device {
            device,
            queue,
            info,
            limits: descriptor.required_limits.clone(),
            made: Arc::new(Made::within(memory)),
            errors,
        })
    }

    /// Name of the adapter and how it is driven.
    pub fn name(&self) -> String {
        format!("{} ({})", self.info.name, self.info.backend)
    }

    /// The first error that wgpu has reported since the last call.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceMemory`] with its message.
    pub fn check(&self) -> Result<()> {
        let mut first = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match first.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Checks that a buffer of `bytes` may be made.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] where the run may not hold so much.
    pub fn check_memory(&self, what: &str, bytes: u64) -> Result<()> {
        self.made.room_for(bytes).map_err(|most| {
            let (bytes, most) = (bytes.div_ceil(1 << 10), most >> 10);
            Error::device_memory(
                &self.info.name,
                format!("`{what}` of {bytes} KiB does not fit into the {most} KiB that the run may take"),
            )
        })
    }

    /// Runs `make` and turns the validation error or lack of memory that it causes into an error.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceMemory`] with `what` and wgpu's message.
    pub fn scoped<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<T> {
        let scopes = [
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Validation,
        ]
        .map(|filter| self.device.push_error_scope(filter));
        let made = make();
        let mut first = None;
        // Scopes are popped in the reverse of their order.
        for scope in scopes.into_iter().rev() {
            let error = pollster::block_on(scope.pop());
            first = first.or(error);
        }
        match first {
            Some(e) => Err(error_of(&self.info.name, &format!("{what}: "), &e)),
            None => Ok(made),
        }
    }

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// [`Error::Failed`] if the device was lost.
    pub fn wait(&self) -> Result<()> {
        self.polled(wgpu::PollType::wait_indefinitely())
    }

    /// Waits until this submission, and with it all before, is done.
    ///
    /// # Errors
    /// As [`Device::wait`].
    pub fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        self.polled(wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: None,
        })
    }

    /// Sees what is done, without waiting.
    ///
    /// # Errors
    /// As [`Device::wait`].
    pub fn poll(&self) -> Result<()> {
        self.polled(wgpu::PollType::Poll)
    }

    fn polled(&self, how: wgpu::PollType) -> Result<()> {
        let polled = self.device.poll(how);
        // That a device is lost says more than that waiting for it failed.
        self.check()?;
        polled
            .map(drop)
            .map_err(|e| Error::device(&self.info.name, e.to_string()))
    }

    /// As [`Device::wait`], with an error kept for [`Device::check`].
    pub(super) fn wait_and_note(&self) {
        if let Err(e) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            let mut first = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| Error::device(&self.info.name, e.to_string()));
        }
    }
}
