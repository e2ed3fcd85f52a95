//! A merge repeated from its manifest.

use std::path::{Path, PathBuf};

use mergecore_config::MergeConfig;

use crate::card;
use crate::manifest::{FileEntry, Manifest};
use crate::read_manifest::ManifestFile;
use crate::{EngineError, ManifestError, MergeOptions, MergePlan, ModelLocator, Registry};

/// What repeating a merge has shown.
///
/// ```
/// # use mergecore_engine::{MergeOptions, Registry};
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
/// # let mut registry = Registry::new();
/// # registry.register(example::Mean);
/// use mergecore_engine::reproduce;
///
/// plan.execute("merged", &MergeOptions::default())?;
/// let repeated = reproduce("merged", &registry, &MergeOptions::default())?;
/// assert!(repeated.is_same());
/// assert_eq!(repeated.tensors, 3);
/// # Ok::<(), mergecore_engine::EngineError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Reproduction {
    /// Tensors that came out the same, byte for byte.
    pub tensors: usize,
    /// Tensors without a hash in the manifest, so that nothing could be compared.
    pub unhashed: usize,
    /// Files that would be the same, byte for byte: small ones, and of those with weights what
    /// comes before the tensors.
    pub files: usize,
    /// What is another than it was, a sentence each.
    pub differences: Vec<String>,
    /// What the user should know besides.
    pub notes: Vec<String>,
}

impl Reproduction {
    /// Whether every tensor could be compared, and they and the other files came out the same.
    pub fn is_same(&self) -> bool {
        self.differences.is_empty() && self.unhashed == 0
    }
}

/// Repeats the merge that a manifest tells of, given by its file (whatever its name) or the
/// directory that it is in, and compares the hash of every tensor and of every other file that
/// the merge would write. Nothing is written.
///
/// Two files are not compared: the manifest itself, which also says where the models were and when
/// their files were written, and the model card, because the template, the owner's name and
/// whether there is to be one at all are not in the manifest: no byte of the model follows from
/// them.
///
/// The recipe, the seed and what else a plan follows from are the manifest's. Models are looked
/// for as a merge does, and where they are not found, in the directories where they were.
/// Of `options`, the locator, threads, memory, chunk, instruction set, storage, progress and
/// cancel flag are used.
///
/// # Errors
/// If there is no manifest that can be relied on, or the merge cannot be planned or fails. That
/// something is another than it was is no error but in [`Reproduction::differences`].
pub fn reproduce(
    manifest: impl AsRef<Path>,
    registry: &Registry,
    options: &MergeOptions,
) -> Result<Reproduction, EngineError> {
    let file = ManifestFile::read(manifest.as_ref(), options)?;
    let manifest = file.parse()?;
    let config = MergeConfig::from_yaml_str(&manifest.recipe).map_err(|source| {
        ManifestError::Recipe { path: file.path().to_owned(), source: Box::new(source) }
    })?;
    let options = MergeOptions {
        seed: manifest.seed,
        max_shard_bytes: manifest.options.max_shard_bytes,
        allow_mixed_architectures: manifest.options.allow_mixed_architectures,
        copy_tokenizer: manifest.options.copy_tokenizer,
        model_card: false,
        hash: true,
        allow_nonfinite: true,
        locator: Some(where_they_were(&manifest, options.locator.clone())),
        ..options.clone()
    };
    let plan = MergePlan::new(&config, registry, &options)?;
    let (differences, notes) = (Vec::new(), Vec::new());
    let mut found = Reproduction { tensors: 0, unhashed: 0, files: 0, differences, notes };
    compare_inputs(&plan, &manifest, &mut found);
    if plan.plan_hash != *manifest.plan_blake3 {
        found.notes.push(
            "recipe and headers do not give the plan that they gave (see mergecore_plan_blake3)"
                .to_owned(),
        );
    }
    let outcomes = plan.outcomes(&options)?;
    let small = plan.small_files(None)?;
    plan.models.iter().try_for_each(|model| model.checkpoint.check_unchanged())?;
    if plan.tensors.len() != manifest.tensors.len() {
        found.differences.push(format!(
            "there were {} tensors and are {}",
            manifest.tensors.len(),
            plan.tensors.len()
        ));
    }
    for (entry, (tensor, outcome)) in
        manifest.tensors.iter().zip(plan.tensors.iter().zip(&outcomes))
    {
        if tensor.name != *entry.name {
            found
                .differences
                .push(format!("tensor `{}` is called `{}` now", entry.name, tensor.name));
            continue;
        }
        let same = match (entry.xxh3_128, outcome.hashes.output) {
            (Some(then), Some(now)) => then == now && tensor.dtype.name() == entry.dtype,
            _ => {
                found.unhashed += 1;
                continue;
            }
        };
        if same {
            found.tensors += 1;
            continue;
        }
        let now = outcome.hashes.inputs.iter().flatten();
        let changed = entry.inputs.iter().zip(now).find(|(then, now)| then.xxh3_128 != Some(**now));
        found.differences.push(match changed {
            Some((input, _)) => {
                let model = manifest.models.get(input.model).map_or("a model", |model| &*model.model);
                format!(
                    "tensor `{}` came out another: its input `{}` of `{model}` is not what it was",
                    entry.name, input.tensor
                )
            }
            None => format!(
                "tensor `{}` came out another from the same inputs; it was made by mergecore {}, and this is {}",
                entry.name,
                manifest.mergecore_version,
                env!("CARGO_PKG_VERSION")
            ),
        });
    }
    let now = Manifest::new(&plan, &outcomes, &small);
    compare_files(&manifest.files, &now.files, &mut found);
    Ok(found)
}

/// What the output's files would be, except for tensors, against what they were.
fn compare_files(then: &[FileEntry<'_>], now: &[FileEntry<'_>], found: &mut Reproduction) {
    for old in then.iter().filter(|old| *old.name != *card::FILE) {
        let name = &old.name;
        let how = match named(now, name) {
            None => {
                found.differences.push(format!("{name} was written and would not be now"));
                continue;
            }
            Some(new) if new == old => {
                found.files += 1;
                continue;
            }
            Some(new) if new.bytes != old.bytes => {
                format!("it had {} bytes and has {}", old.bytes, new.bytes)
            }
            Some(new) if new.header_bytes.is_some() => {
                "its header does not fit its hash".to_owned()
            }
            Some(_) => "it does not fit its hash".to_owned(),
        };
        found.differences.push(format!("{name} came out another: {how}"));
    }
    for new in now.iter().filter(|new| named(then, &new.name).is_none()) {
        found.differences.push(format!("{} was not written and would be now", new.name));
    }
}

fn named<'f, 'm>(files: &'f [FileEntry<'m>], name: &str) -> Option<&'f FileEntry<'m>> {
    files.iter().find(|file| *file.name == *name)
}

/// Finds models by the locator given, else in the directories where they were.
fn where_they_were(manifest: &Manifest<'_>, locator: Option<ModelLocator>) -> ModelLocator {
    let known: Vec<(String, PathBuf)> = manifest
        .models
        .iter()
        .map(|model| (model.model.to_string(), PathBuf::from(&*model.directory)))
        .collect();
    ModelLocator::new(move |model| {
        let name = model.to_string();
        let dir = known.iter().find(|(known, _)| *known == name).map(|(_, dir)| dir);
        let found = locator.as_ref().map(|locator| locator.call(model));
        match (found, dir) {
            (Some(Ok(found)), _) => Ok(found),
            (_, Some(dir)) if dir.is_dir() => Ok(dir.clone()),
            (Some(error), _) => error,
            (None, Some(dir)) => Err(format!("{}, where it was, is not there", dir.display())),
            (None, None) => Err("the manifest does not know it".to_owned()),
        }
    })
}

/// What can be told of the inputs before they are read.
fn compare_inputs(plan: &MergePlan, manifest: &Manifest<'_>, found: &mut Reproduction) {
    for model in &plan.models {
        let name = model.name();
        let Some(entry) = manifest.models.iter().find(|entry| *entry.model == name) else {
            continue;
        };
        for file in &entry.files {
            let now = model.checkpoint.files().iter().find(|now| now.name == *file.name);
            match now.map(|now| now.bytes) {
                Some(bytes) if bytes == file.bytes => {}
                Some(bytes) => found.notes.push(format!(
                    "{} of `{name}` had {} bytes and has {bytes}",
                    file.name, file.bytes
                )),
                None => found.notes.push(format!("`{name}` had {}, which is not there", file.name)),
            }
        }
    }
}
