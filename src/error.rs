//! The one error type: what went wrong, in one line, and which exit code it means.

use std::fmt;

/// A failure with the sentence that is shown to the user and the exit code that belongs to it.
///
/// Messages are one line, name the file or option, say what was found and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Misuse or bad input (exit code 2): the user can mend it by calling differently.
    Input(String),
    /// The work itself failed (exit code 1): a device, a disk, a check that did not hold.
    Failed(String),
    /// A device failed (exit code 1): another one may do.
    Device {
        /// Its name, as its driver or engine gives it.
        device: String,
        /// What happened.
        reason: String,
    },
    /// A device has not enough memory (exit code 1): smaller parts or another device may do.
    DeviceMemory {
        /// Its name.
        device: String,
        /// What was to be held, and what there is room for.
        reason: String,
    },
    /// Stopped by the user (exit code 130); says what was kept.
    Interrupted(String),
}

/// Shorthand for results with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// How alike two words have to be for one to be meant by the other, by Jaro and Winkler's measure.
const ALIKE: f64 = 0.8;

/// The end of a sentence about an unknown word: the known one that was probably meant, or nothing.
pub fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let alike = |known: &'a str| (strsim::jaro_winkler(word, known), known);
    let nearest = known.map(alike).max_by(|a, b| a.0.total_cmp(&b.0));
    let meant = nearest.filter(|(similarity, _)| *similarity >= ALIKE);
    meant.map_or(String::new(), |(_, known)| format!("; did you mean {known}?"))
}

impl Error {
    /// Bad input; see [`Error::Input`].
    pub fn input(message: impl Into<String>) -> Self {
        Error::Input(message.into())
    }

    /// Failed work; see [`Error::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Error::Failed(message.into())
    }

    /// A device that failed; see [`Error::Device`].
    pub fn device(device: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Device {
            device: device.into(),
            reason: reason.into(),
        }
    }

    /// A device without enough memory; see [`Error::DeviceMemory`].
    pub fn device_memory(device: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::DeviceMemory {
            device: device.into(),
            reason: reason.into(),
        }
    }

    /// Whether it is a device that failed, so that another one may do.
    pub fn is_of_device(&self) -> bool {
        matches!(self, Error::Device { .. } | Error::DeviceMemory { .. })
    }

    /// The process exit code of this error: 2, 1 or 130.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input(_) => 2,
            Error::Failed(_) | Error::Device { .. } | Error::DeviceMemory { .. } => 1,
            Error::Interrupted(_) => 130,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Input(m) | Error::Failed(m) | Error::Interrupted(m) => f.write_str(m),
            Error::Device { device, reason } | Error::DeviceMemory { device, reason } => {
                write!(f, "{device}: {reason}")
            }
        }
    }
}

impl std::error::Error for Error {}
