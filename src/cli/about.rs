//! What every result under `--json` begins with: the schema, the command, what it read and wrote, and what was asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, ArgMatches, Command};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::io::{self, OutputSet, bytes_of};
use crate::named::Size;

/// The shape of what `--json` prints. The number grows when a field is removed, renamed or means something else; fields may be
/// added to it.
pub const SCHEMA: &str = "hsr-gpu/1";

/// A file that was read.
#[derive(Serialize)]
struct Input {
    option: String,
    path: String,
    /// Of all files that it is read from.
    bytes: u64,
    /// Null where it is no image, or where its format has to be read whole to tell.
    #[serde(flatten)]
    image: Image,
}

/// A file that was written.
#[derive(Serialize)]
struct Made {
    path: PathBuf,
    bytes: Option<u64>,
    replaced: bool,
    #[serde(flatten)]
    image: Image,
}

/// What an image file is.
#[derive(Default, Serialize)]
struct Image {
    size: Option<Size>,
    #[serde(rename = "type")]
    sample_type: Option<&'static str>,
}

impl Image {
    fn of(name: &str) -> Self {
        match io::open_cube(name, 0) {
            Ok(image) => Image {
                size: Some(image.dim().into()),
                sample_type: Some(io::sample_type_name(image.sample_type())),
            },
            Err(_) => Image::default(),
        }
    }
}

/// A result with what stands before it.
#[derive(Serialize)]
struct Envelope<'a, T> {
    schema: &'static str,
    command: &'a str,
    version: &'static str,
    inputs: Vec<Input>,
    outputs: Vec<Made>,
    options: &'a BTreeMap<String, Value>,
    #[serde(flatten)]
    result: &'a T,
}

/// The command and its files.
#[derive(Debug, Clone, Default)]
pub struct About {
    command: String,
    options: BTreeMap<String, Value>,
    files: Arc<OutputSet>,
}

impl About {
    /// Of what was parsed.
    pub fn new(program: &Command, matches: &ArgMatches) -> Self {
        let (mut names, mut options) = (Vec::new(), BTreeMap::new());
        let (mut command, mut matches) = (program, matches);
        while let Some((name, below)) = matches.subcommand() {
            let Some(found) = command.find_subcommand(name) else {
                break;
            };
            (command, matches) = (found, below);
            names.push(name);
            options.extend(asked(command, matches));
        }
        About {
            command: names.join(" "),
            options,
            files: Arc::default(),
        }
    }

    /// With the files that the command reads and writes.
    pub fn with_files(self, files: Arc<OutputSet>) -> Self {
        About { files, ..self }
    }

    /// A result as an object.
    ///
    /// # Errors
    /// [`Error::Failed`] for a result that is no struct.
    pub fn json(&self, result: &impl Serialize) -> Result<String> {
        // How the axes of a file lie is for the option to say, and only the command knows of which file it does.
        let told = !self.options.keys().any(|name| name.ends_with("axes"));
        let image = |name: &str| match Some(name).filter(|_| told) {
            Some(name) => Image::of(name),
            None => Image::default(),
        };
        let inputs = self.files.sources().iter().map(|source| Input {
            option: source.option.clone(),
            path: source.name.clone(),
            bytes: bytes_of(&source.name),
            image: image(&source.name),
        });
        let outputs = self.files.results().into_iter().map(|made| Made {
            bytes: std::fs::metadata(&made.path).ok().map(|file| file.len()),
            replaced: made.replaced,
            image: Some(made.path.to_string_lossy())
                .filter(|_| made.image)
                .map_or(Image::default(), |name| Image::of(&name)),
            path: made.path,
        });
        let envelope = Envelope {
            schema: SCHEMA,
            command: &self.command,
            version: env!("CARGO_PKG_VERSION"),
            inputs: inputs.collect(),
            outputs: outputs.collect(),
            options: &self.options,
            result,
        };
        serde_json::to_string(&envelope).map_err(|e| Error::failed(format!("result as JSON: {e}")))
    }
}

/// The options of a command that have a value, by their long names with `_` for `-`: as they were given, or their defaults.
/// Those that all commands share are about how a result is shown.
fn asked(command: &Command, matches: &ArgMatches) -> BTreeMap<String, Value> {
    let own = command.get_arguments().filter(|arg| !arg.is_global_set());
    own.filter_map(|arg| {
        let given: Vec<Value> = matches
            .try_get_raw(arg.get_id().as_str())
            .ok()??
            .map(|word| word.to_string_lossy().into_owned().into())
            .collect();
        let several = arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        let value = match (arg.get_action(), given.as_slice()) {
            (ArgAction::SetTrue | ArgAction::SetFalse, [word]) => (word == "true").into(),
            (_, []) => true.into(),
            (ArgAction::Append, _) => given.into(),
            (_, [word]) if !several => word.clone(),
            _ => given.into(),
        };
        // A value without an option is called what help calls it, as an option of the same meaning is.
        let place = arg.get_value_names().and_then(|names| names.first());
        let name = arg
            .get_long()
            .or(place.map(|name| name.as_str()))
            .unwrap_or(arg.get_id().as_str());
        Some((name.replace(['-', ' '], "_").to_lowercase(), value))
    })
    .collect()
}
