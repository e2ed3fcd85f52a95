//! merge_manifest.json: what was read, what was written, and how to repeat it.

use std::fmt;
use std::time::UNIX_EPOCH;

use serde::Serialize;

use crate::execute::TensorHashes;
use crate::plan::{MergePlan, Model, Operation, Tally};

/// The manifest, which is displayed as JSON.
///
/// Serialised as it is, without a tree of JSON values in between: with 10,000 tensors
/// that tree takes longer than the merge of small ones.
#[derive(Serialize)]
pub(crate) struct Manifest<'a> {
    mergecore_version: &'static str,
    merge_method: &'a str,
    seed: u64,
    recipe_blake3: &'a str,
    models: Vec<ModelEntry<'a>>,
    base_model: Option<usize>,
    tally: Tally,
    tensors: Vec<TensorEntry<'a>>,
}

#[derive(Serialize)]
struct ModelEntry<'a> {
    model: String,
    files: Vec<FileEntry<'a>>,
}

#[derive(Serialize)]
struct FileEntry<'a> {
    name: &'a str,
    bytes: u64,
    modified_unix_seconds: Option<f64>,
}

#[derive(Serialize)]
struct TensorEntry<'a> {
    name: &'a str,
    dtype: &'static str,
    shape: &'a [usize],
    file: Option<&'a str>,
    operation: &'static str,
    xxh3_128: Option<String>,
    inputs: Vec<InputEntry<'a>>,
}

#[derive(Serialize)]
struct InputEntry<'a> {
    model: usize,
    tensor: &'a str,
    dtype: &'static str,
    xxh3_128: Option<String>,
}

impl fmt::Display for Manifest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

pub(crate) fn build<'a>(plan: &'a MergePlan, hashes: &[TensorHashes]) -> Manifest<'a> {
    let tensors = plan.tensors.iter().zip(hashes).enumerate().map(|(index, (tensor, hashes))| {
        let inputs = tensor.inputs.iter().enumerate().map(|(index, input)| {
            let hash = hashes.inputs.as_ref().and_then(|hashes| hashes.get(index));
            InputEntry {
                model: input.model,
                tensor: &input.name,
                dtype: input.source.dtype().name(),
                xxh3_128: hash.map(|hash| hash.to_string()),
            }
        });
        let shard =
            plan.layout.placement(index).and_then(|place| plan.layout.shards().get(place.shard));
        TensorEntry {
            name: &tensor.name,
            dtype: tensor.dtype.name(),
            shape: &tensor.shape,
            file: shard.map(|shard| shard.file_name()),
            operation: match tensor.operation {
                Operation::Copy => "copy",
                Operation::Merge(_) => "merge",
            },
            xxh3_128: hashes.output.map(|hash| hash.to_string()),
            inputs: inputs.collect(),
        }
    });
    Manifest {
        mergecore_version: env!("CARGO_PKG_VERSION"),
        merge_method: &plan.method,
        seed: plan.seed,
        recipe_blake3: &plan.recipe_hash,
        models: plan.models.iter().map(model).collect(),
        base_model: plan.base,
        tally: plan.tally,
        tensors: tensors.collect(),
    }
}

fn model(model: &Model) -> ModelEntry<'_> {
    let files = model.checkpoint.files().iter().map(|file| {
        let modified = file.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        FileEntry {
            name: &file.name,
            bytes: file.bytes,
            modified_unix_seconds: modified.map(|time| time.as_secs_f64()),
        }
    });
    ModelEntry { model: model.name(), files: files.collect() }
}
