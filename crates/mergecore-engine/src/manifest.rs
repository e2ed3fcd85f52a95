//! merge_manifest.json: what was read, what was written, and how to repeat and check it.

use std::borrow::Cow;
use std::fmt;
use std::time::UNIX_EPOCH;

use mergecore_io::Shard;
use serde::{Deserialize, Serialize};

use crate::execute::{Findings, Outcome, SmallFiles};
use crate::hash::TensorHash;
use crate::plan::{MergePlan, Model, Operation, PlanOptions, Tally};

/// Its name.
pub(crate) const FILE: &str = "merge_manifest.json";

/// What every manifest begins with.
pub(crate) const BEGINNING: &str = "{\n  \"mergecore_version\": \"";

/// What stands for the manifest's own hash while that is computed.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The manifest, which is displayed as JSON.
///
/// Serialised as it is, without a tree of JSON values in between: with 10,000 tensors
/// that tree takes longer than the merge of small ones.
#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest<'a> {
    pub(crate) mergecore_version: Cow<'a, str>,
    pub(crate) merge_method: Cow<'a, str>,
    pub(crate) seed: u64,
    pub(crate) recipe: Cow<'a, str>,
    pub(crate) recipe_blake3: Cow<'a, str>,
    pub(crate) plan_blake3: Cow<'a, str>,
    pub(crate) options: PlanOptions,
    pub(crate) models: Vec<ModelEntry<'a>>,
    pub(crate) base_model: Option<usize>,
    pub(crate) tally: Tally,
    pub(crate) files: Vec<FileEntry<'a>>,
    pub(crate) tensors: Vec<TensorEntry<'a>>,
    /// Of the manifest's text, with zeros in this place.
    pub(crate) manifest_blake3: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ModelEntry<'a> {
    pub(crate) model: Cow<'a, str>,
    /// Where it was found.
    pub(crate) directory: Cow<'a, str>,
    pub(crate) files: Vec<InputFileEntry<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct InputFileEntry<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) bytes: u64,
    pub(crate) modified_unix_seconds: Option<f64>,
}

/// A file of the output, except for the manifest.
#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct FileEntry<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) bytes: u64,
    /// Of a weights file, what comes before its tensors, which have hashes of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header_bytes: Option<u64>,
    /// Of the whole file, or of a weights file's header.
    pub(crate) blake3: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TensorEntry<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) dtype: Cow<'a, str>,
    pub(crate) shape: Cow<'a, [usize]>,
    pub(crate) file: Option<Cow<'a, str>>,
    pub(crate) operation: Cow<'a, str>,
    pub(crate) xxh3_128: Option<TensorHash>,
    /// Numbers that are wrong, where there are any.
    #[serde(default, skip_serializing_if = "Findings::is_none")]
    pub(crate) findings: Findings,
    pub(crate) inputs: Vec<InputEntry<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct InputEntry<'a> {
    pub(crate) model: usize,
    pub(crate) tensor: Cow<'a, str>,
    pub(crate) dtype: Cow<'a, str>,
    pub(crate) xxh3_128: Option<TensorHash>,
}

impl fmt::Display for Manifest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)? + "\n";
        f.write_str(&sealed(&json))
    }
}

/// The text with its own hash in the place that is kept for it.
fn sealed(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_string();
    match text.rfind(BLANK) {
        Some(at) => format!("{}{hash}{}", &text[..at], &text[at + BLANK.len()..]),
        None => text.to_owned(),
    }
}

/// Whether a manifest's text is as it was written; `None` where it does not say.
pub(crate) fn is_intact(text: &str, manifest: &Manifest<'_>) -> Option<bool> {
    let hash = &*manifest.manifest_blake3;
    let at = text.rfind(hash).filter(|_| hash.len() == BLANK.len())?;
    let blank = format!("{}{BLANK}{}", &text[..at], &text[at + BLANK.len()..]);
    Some(blake3::hash(blank.as_bytes()).to_string() == hash)
}

impl<'a> Manifest<'a> {
    /// The manifest of a merge, from what is known of its tensors and the output's small files.
    pub(crate) fn new(plan: &'a MergePlan, outcomes: &[Outcome], small: &'a SmallFiles) -> Self {
        let tensors = plan.tensors.iter().zip(outcomes).enumerate();
        let tensors = tensors.map(|(index, (tensor, Outcome { hashes, findings, .. }))| {
            let inputs = tensor.inputs.iter().enumerate().map(|(index, input)| InputEntry {
                model: input.model,
                tensor: (&input.name).into(),
                dtype: input.source.dtype().name().into(),
                xxh3_128: hashes.inputs.as_ref().and_then(|hashes| hashes.get(index)).copied(),
            });
            let place = plan.layout.placement(index);
            let shard = place.and_then(|place| plan.layout.shards().get(place.shard));
            TensorEntry {
                name: (&tensor.name).into(),
                dtype: tensor.dtype.name().into(),
                shape: (&tensor.shape[..]).into(),
                file: shard.map(|shard| shard.file_name().into()),
                operation: match tensor.operation {
                    Operation::Copy => "copy",
                    Operation::Merge(_) => "merge",
                }
                .into(),
                xxh3_128: hashes.output,
                findings: findings.clone(),
                inputs: inputs.collect(),
            }
        });
        let shards = plan.layout.shards().iter().map(shard);
        let small = small.iter().map(|(name, content)| file(name, content));
        Manifest {
            mergecore_version: env!("CARGO_PKG_VERSION").into(),
            merge_method: (&plan.method).into(),
            seed: plan.seed,
            recipe: (&plan.recipe).into(),
            recipe_blake3: (&plan.recipe_hash).into(),
            plan_blake3: (&plan.plan_hash).into(),
            options: plan.options,
            models: plan.models.iter().map(model).collect(),
            base_model: plan.base,
            tally: plan.tally,
            files: shards.chain(plan.index_file()).chain(small).collect(),
            tensors: tensors.collect(),
            manifest_blake3: BLANK.into(),
        }
    }
}

impl MergePlan {
    /// The index, where there is one.
    fn index_file(&self) -> Option<FileEntry<'static>> {
        let text = self.layout.index_text()?;
        Some(file(mergecore_io::INDEX_FILE, text.as_bytes()))
    }
}

fn file<'a>(name: &'a str, content: &[u8]) -> FileEntry<'a> {
    FileEntry {
        name: name.into(),
        bytes: content.len() as u64,
        header_bytes: None,
        blake3: blake3::hash(content).to_string().into(),
    }
}

fn shard(shard: &Shard) -> FileEntry<'_> {
    let header = shard.header();
    FileEntry {
        bytes: shard.file_len(),
        header_bytes: Some(header.len() as u64),
        ..file(shard.file_name(), header)
    }
}

fn model(model: &Model) -> ModelEntry<'_> {
    let files = model.checkpoint.files().iter().map(|file| {
        let modified = file.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        InputFileEntry {
            name: (&file.name).into(),
            bytes: file.bytes,
            modified_unix_seconds: modified.map(|time| time.as_secs_f64()),
        }
    });
    // Where it is from anywhere, should the process have another current directory next time.
    let dir = model.checkpoint.dir();
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    ModelEntry {
        model: model.name().into(),
        directory: dir.to_string_lossy().into_owned().into(),
        files: files.collect(),
    }
}
