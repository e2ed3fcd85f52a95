//! `mergecore plan`.

use std::collections::BTreeSet;

use indicatif::DecimalBytes;
use mergecore::{DType, MergeConfig, MergePlan, Operation, PlannedTensor, TensorSource, plan};
use serde_json::{Value, json};

use crate::args::PlanArgs;
use crate::table::{count, table};
use crate::{Failure, print};

pub(crate) fn run(args: &PlanArgs) -> Result<(), Failure> {
    let config = MergeConfig::from_path(&args.config)?;
    let plan = plan(&config, &args.options())?;
    if args.json {
        return Ok(print::result(format_args!("{:#}\n", as_json(&plan)))?);
    }
    plan.notes().iter().for_each(print::note);
    Ok(print::result(as_text(&plan, args.verbose))?)
}

fn operation(tensor: &PlannedTensor) -> &'static str {
    match tensor.operation {
        Operation::Copy => "copy",
        _ => "merge",
    }
}

/// Each dtype once.
fn dtypes(dtypes: impl Iterator<Item = DType>) -> String {
    let dtypes: BTreeSet<DType> = dtypes.collect();
    dtypes.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ")
}

fn as_text(plan: &MergePlan, verbose: bool) -> String {
    let models = plan.models().iter().enumerate().map(|(index, model)| {
        let checkpoint = &model.checkpoint;
        [
            index.to_string(),
            model.name() + if plan.base() == Some(index) { " (base)" } else { "" },
            dtypes(checkpoint.tensors().map(|tensor| tensor.dtype())),
            count(checkpoint.len(), "tensor"),
            count(checkpoint.files().len(), "file"),
            checkpoint.dir().display().to_string(),
        ]
    });
    let tally = plan.tally();
    let mut text = format!("method: {}\nmodels:\n", plan.method());
    text += &table(&models.collect::<Vec<_>>());
    text += &format!(
        "output: {} ({}), {} merged and {} copied, {}; {} of {} input tensors used\nfiles:\n",
        count(plan.tensors().len(), "tensor"),
        dtypes(plan.tensors().iter().map(|tensor| tensor.dtype)),
        tally.merged,
        tally.copied,
        DecimalBytes(plan.layout().total_bytes()),
        tally.inputs - tally.unused,
        tally.inputs,
    );
    let shards = plan.layout().shards().iter();
    let mut files: Vec<[String; 2]> = shards
        .map(|shard| [shard.file_name().to_owned(), DecimalBytes(shard.file_len()).to_string()])
        .collect();
    files.push(["config.json".to_owned(), String::new()]);
    files.extend(plan.companions().iter().map(|file| [file.name.to_owned(), String::new()]));
    let own = ["mergecore_config.yml", "merge_manifest.json", "README.md (model card)"];
    files.extend(own.map(|name| [name.to_owned(), String::new()]));
    text += &table(&files);
    if verbose {
        text += "tensors:\n";
        let tensors = plan.tensors().iter().map(|tensor| {
            let inputs = tensor.inputs.iter();
            let inputs = inputs.map(|input| format!("{}:{}", input.model, input.name));
            [
                tensor.name.clone(),
                tensor.dtype.name().to_owned(),
                format!("{:?}", tensor.shape),
                operation(tensor).to_owned(),
                inputs.collect::<Vec<_>>().join(" "),
            ]
        });
        text += &table(&tensors.collect::<Vec<_>>());
    }
    text
}

fn as_json(plan: &MergePlan) -> Value {
    let models = plan.models().iter().map(|model| {
        let files = model.checkpoint.files().iter();
        json!({
            "model": model.name(),
            "directory": model.checkpoint.dir(),
            "tensors": model.checkpoint.len(),
            "bytes": files.clone().map(|file| file.bytes).sum::<u64>(),
            "files": files.map(|file| &file.name).collect::<Vec<_>>(),
        })
    });
    let tensors = plan.tensors().iter().enumerate().map(|(index, tensor)| {
        let placement = plan.layout().placement(index);
        let shard = placement.and_then(|place| plan.layout().shards().get(place.shard));
        let inputs = tensor.inputs.iter().map(|input| {
            json!({ "model": input.model, "tensor": input.name, "dtype": input.source.dtype().name() })
        });
        json!({
            "name": tensor.name,
            "dtype": tensor.dtype.name(),
            "shape": tensor.shape,
            "operation": operation(tensor),
            "file": shard.map(|shard| shard.file_name()),
            "inputs": inputs.collect::<Vec<_>>(),
        })
    });
    let files = plan.layout().shards().iter();
    let files = files.map(|shard| json!({ "name": shard.file_name(), "bytes": shard.file_len() }));
    json!({
        "merge_method": plan.method(),
        "models": models.collect::<Vec<_>>(),
        "base_model": plan.base(),
        "tally": plan.tally(),
        "bytes": plan.layout().total_bytes(),
        "files": files.collect::<Vec<_>>(),
        "copied_files": plan.companions().iter().map(|file| file.name).collect::<Vec<_>>(),
        "config": plan.config(),
        "notes": plan.notes(),
        "tensors": tensors.collect::<Vec<_>>(),
    })
}
