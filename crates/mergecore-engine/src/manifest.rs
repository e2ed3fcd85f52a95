//! merge_manifest.json: what was read, what was written, and how to repeat it.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::execute::TensorHashes;
use crate::plan::{MergePlan, Model, Operation};

pub(crate) fn build(plan: &MergePlan, hashes: &[TensorHashes]) -> Value {
    let tensors = plan.tensors.iter().zip(hashes).enumerate().map(|(index, (tensor, hashes))| {
        let operation = match tensor.operation {
            Operation::Copy => "copy",
            Operation::Merge(_) => "merge",
        };
        let inputs = tensor.inputs.iter().enumerate().map(|(index, input)| {
            let hash = hashes.inputs.as_ref().and_then(|hashes| hashes.get(index));
            json!({
                "model": input.model,
                "tensor": input.name,
                "dtype": input.source.dtype().name(),
                "blake3": hash.map(|hash| hash.to_string()),
            })
        });
        let shard =
            plan.layout.placement(index).and_then(|place| plan.layout.shards().get(place.shard));
        json!({
            "name": tensor.name,
            "dtype": tensor.dtype.name(),
            "shape": tensor.shape,
            "file": shard.map(|shard| shard.file_name()),
            "operation": operation,
            "blake3": hashes.output.map(|hash| hash.to_string()),
            "inputs": inputs.collect::<Vec<_>>(),
        })
    });
    json!({
        "mergecore_version": env!("CARGO_PKG_VERSION"),
        "merge_method": plan.method,
        "seed": plan.seed,
        "recipe_blake3": plan.recipe_hash,
        "models": plan.models.iter().map(model).collect::<Vec<_>>(),
        "base_model": plan.base,
        "tally": plan.tally,
        "tensors": tensors.collect::<Vec<_>>(),
    })
}

fn model(model: &Model) -> Value {
    let files = model.checkpoint.files().iter().map(|file| {
        let modified = file.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        json!({
            "name": file.name,
            "bytes": file.bytes,
            "modified_unix_seconds": modified.map(|time| time.as_secs_f64()),
        })
    });
    json!({ "model": model.name(), "files": files.collect::<Vec<_>>() })
}
