//! What a batch is to do: the scenes of its manifest, which of them this shard takes, and which are done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::contents::Contents;
use crate::coordination::manifest::{SCENE_FIELDS, SceneOptions, lines, place};
use crate::error::{Error, Result};
use crate::io::OutputSet;

/// Variables that a job of an array finds its number and their count in, and whether there is a first number and a
/// step, too: Slurm, then Kubernetes, whose job file must set the count itself.
const ARRAYS: [[&str; 4]; 2] = [
    [
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_COUNT",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_STEP",
    ],
    ["JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", "", ""],
];

/// A scene of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchScene {
    /// Its name: results are called so.
    pub name: String,
    /// Options of `fuse` that read it.
    pub options: Vec<String>,
    /// Its line, field by field.
    pub fields: Vec<String>,
}

/// Reads a manifest. A scene without a name gets that of its HSI's file.
///
/// # Errors
/// [`Error::Input`] naming the line whose fields or name are wrong, or the two that have one name.
pub fn scenes(manifest: &Path) -> Result<Vec<BatchScene>> {
    let mut numbers = BTreeMap::new();
    let mut scenes = Vec::new();
    let expected = format!("HSI,MSI[,name=NAME][,reference=FILE]{SCENE_FIELDS}");
    for (line, fields) in lines(manifest, &expected)? {
        let wrong = |what: String| Error::input(format!("{} line {line}: {what}", manifest.display()));
        let [hsi, msi, further @ ..] = &fields[..] else {
            return Err(wrong(format!("expected {expected}")));
        };
        let mut options: Vec<String> = ["--hsi", &place(manifest, hsi), "--msi", &place(manifest, msi)]
            .map(str::to_owned)
            .into();
        let (mut name, mut own) = (None, SceneOptions::default());
        for field in further {
            match field.split_once('=') {
                Some(("name", _)) if name.is_some() => {
                    return Err(wrong("name= stands there twice".to_owned()));
                }
                Some(("name", given)) => name = Some(given.to_owned()),
                Some(("reference", file)) => {
                    options.extend(["--reference".to_owned(), place(manifest, file)]);
                }
                _ => match own.take(manifest, field).map_err(|e| wrong(e.to_string()))? {
                    Some(option) => options.extend(option),
                    None => return Err(wrong(format!("'{field}' is no field; expected {expected}"))),
                },
            }
        }
        let stem = || {
            Path::new(hsi)
                .file_stem()
                .map(|s| s.to_string_lossy().into_owned())
        };
        let name = name.or_else(stem).unwrap_or_default();
        // A name is a file in the folder of the results, and nowhere else.
        let plain = |c: char| c.is_alphanumeric() || "-_.+ ".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(wrong(format!(
                "'{name}' is no name for files; give it letters, digits, '-', '_', '.' with name=NAME"
            )));
        }
        if let Some(first) = numbers.insert(name.to_lowercase(), line) {
            return Err(wrong(format!(
                "a second scene called {name} after line {first}; tell them apart with name=NAME"
            )));
        }
        scenes.push(BatchScene {
            name,
            options,
            fields,
        });
    }
    Ok(scenes)
}

/// One of so many parts of a batch: every `count`-th scene from number `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl Shard {
    /// Whether the scene in this place of the manifest (from 0) is its own.
    pub fn takes(self, place: usize) -> bool {
        place % self.count == self.index
    }

    /// From what `variable` says of the job that this process is.
    fn of_job(variable: impl Fn(&str) -> Option<String>) -> std::result::Result<Self, String> {
        let number = |name: &str| variable(name)?.parse::<usize>().ok();
        for [id, count, first, step] in ARRAYS {
            let (Some(id), first, step) = (number(id), number(first).unwrap_or(0), number(step).unwrap_or(1))
            else {
                continue;
            };
            let Some(count) = number(count) else {
                return Err(format!(
                    "auto: the job's environment has no {count}; give --shard I/N"
                ));
            };
            let index = id.checked_sub(first).map(|past| past / step.max(1));
            return match index.filter(|&index| index < count) {
                Some(index) => Ok(Shard { index, count }),
                None => Err(format!(
                    "auto: job {id} is none of {count} from {first} on; give --shard I/N"
                )),
            };
        }
        let names = ARRAYS.map(|[id, ..]| id).join(" and no ");
        Err(format!(
            "auto: this is no job of an array (no {names}); give --shard I/N"
        ))
    }
}

impl FromStr for Shard {
    type Err = String;

    /// `I/N` with I from 1 to N, or `auto`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "auto" {
            return Shard::of_job(|name| std::env::var(name).ok());
        }
        let parts = text
            .split_once('/')
            .map(|(i, n)| (i.parse::<usize>(), n.parse::<usize>()));
        match parts {
            Some((Ok(i), Ok(count))) if (1..=count).contains(&i) => Ok(Shard { index: i - 1, count }),
            _ => Err("give I/N with I from 1 to N, such as 1/4, or auto".to_owned()),
        }
    }
}

/// How a scene is fused; kept beside its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specification {
    /// Version of the program.
    pub version: String,
    /// The scene's line in the manifest, field by field.
    pub fields: Vec<String>,
    /// The options of `fuse` that all scenes share.
    pub options: Vec<String>,
}

impl Specification {
    /// The checkpoint of a scene of this name that is fused like this: one of a run with other options is another file.
    pub fn checkpoint(&self, folder: &Path, name: &str) -> PathBuf {
        let words = [&self.version]
            .into_iter()
            .chain(&self.fields)
            .chain(&self.options);
        let sum = words.fold(0, |sum, word| {
            crc32c::crc32c_append(crc32c::crc32c_append(sum, word.as_bytes()), &[0])
        });
        folder.join(format!("{name}.{sum:08x}.checkpoint"))
    }
}

/// The file beside a result that says that it is complete: how it was made, and what `fuse --json` said.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// How it was made.
    pub specification: Specification,
    /// The files that it was made from.
    pub inputs: Contents,
    /// What `fuse` said.
    pub summary: serde_json::Value,
}

/// The files of a scene.
#[derive(Debug, Clone)]
pub struct Files {
    /// The result.
    pub result: PathBuf,
    /// Its [`Record`], written after it.
    pub record: PathBuf,
}

impl Files {
    /// In `folder`, with a result of this format's ending.
    pub fn new(folder: &Path, name: &str, ending: &str) -> Self {
        Files {
            result: folder.join(format!("{name}.{ending}")),
            record: folder.join(format!("{name}.json")),
        }
    }

    /// What is recorded of a scene that has been fused like this from files of the contents that they have now, and
    /// whose results are there; else nothing, which is no error: the scene is fused again.
    pub fn done(&self, specification: &Specification, set: &OutputSet) -> Option<Record> {
        let record: Record = serde_json::from_slice(&std::fs::read(&self.record).ok()?).ok()?;
        let same = record.specification == *specification && set.all_written() && record.inputs.hold(set);
        same.then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Result<Vec<BatchScene>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scenes.txt");
        std::fs::write(&path, text).unwrap();
        scenes(&path)
    }

    #[test]
    fn scenes_have_names_of_their_own() {
        let second = "c/a.npy,b.npy,name=second,reference=z.npy,bands=0-9 11,hsi-mask=m.png";
        let found = manifest(&format!("a.npy,b.npy\n{second}\n")).unwrap();
        assert_eq!((&*found[0].name, &*found[1].name), ("a", "second"));
        assert_eq!(found[1].options[4], "--reference");
        assert_eq!(found[1].options[6..9], ["--bands", "0-9,11", "--hsi-mask"]);
        for (text, part) in [
            ("a.npy,b.npy\nc/a.npy,b.npy\n", "line 2: a second scene called a"),
            ("a.npy,b.npy\nc/A.npy,b.npy\n", "a second scene called A"),
            ("a.npy\n", "expected HSI,MSI"),
            ("a.npy,b.npy,scale=4\n", "'scale=4' is no field"),
            ("a.npy,b.npy,bands=x\n", "line 1: bands=x"),
            ("a.npy,b.npy,name=../x\n", "no name for files"),
            ("a.npy,b.npy,name=.x\n", "no name for files"),
            ("a.npy,b.npy,name=\n", "no name for files"),
            ("a.npy,b.npy,name=x,name=y\n", "twice"),
            ("\u{feff}a.npy,b.npy,scale=4\n", "'scale=4' is no field"),
        ] {
            let error = manifest(text).unwrap_err();
            assert!(
                error.to_string().contains(part) && error.exit_code() == 2,
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn shards_take_every_scene_once() {
        let shards: Vec<Shard> = (1..=4).map(|i| format!("{i}/4").parse().unwrap()).collect();
        for place in 0..20 {
            assert_eq!(shards.iter().filter(|s| s.takes(place)).count(), 1);
        }
        for wrong in ["", "4", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/4/4"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn jobs_of_an_array_know_their_part() {
        let job = |set: &[(&str, &str)]| {
            Shard::of_job(|name| {
                set.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "7"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        assert_eq!(job(&slurm), Ok(Shard { index: 3, count: 4 }));
        let kubernetes = [("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "3")];
        assert_eq!(job(&kubernetes), Ok(Shard { index: 0, count: 3 }));
        assert!(job(&kubernetes[..1]).unwrap_err().contains("no JOB_COMPLETIONS"));
        assert!(job(&[("JOB_COMPLETION_INDEX", "3"), ("JOB_COMPLETIONS", "3")]).is_err());
        assert!(job(&[]).unwrap_err().contains("no job of an array"));
    }
}
