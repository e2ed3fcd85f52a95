//! `mergecore inspect`.

use std::collections::BTreeMap;

use indicatif::DecimalBytes;
use mergecore::{Model, ModelRef, Role, StoredTensor, TensorSource, open_model};
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::table::{count, table};
use crate::{Failure, USAGE, print};

pub(crate) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let reference: ModelRef = args.model.parse().map_err(|error| Failure::new(error, USAGE))?;
    let model = open_model(&reference)?;
    match args.json {
        true => print::result(format_args!("{:#}\n", as_json(&model)))?,
        false => print::result(as_text(&model, args.verbose))?,
    }
    Ok(())
}

/// A key of config.json that is a text.
fn text_of<'a>(model: &'a Model, key: &str) -> Option<&'a str> {
    model.checkpoint.config().get(key)?.as_str()
}

fn class(model: &Model) -> Option<&str> {
    model.checkpoint.config().get("architectures")?.get(0)?.as_str()
}

/// Bytes of all tensors, and their number, by dtype.
fn by_dtype(model: &Model) -> BTreeMap<&'static str, (usize, u64)> {
    let mut sizes: BTreeMap<_, (usize, u64)> = BTreeMap::new();
    for tensor in model.checkpoint.tensors() {
        let size = sizes.entry(tensor.dtype().name()).or_default();
        *size = (size.0 + 1, size.1 + tensor.byte_len());
    }
    sizes
}

fn as_text(model: &Model, verbose: bool) -> String {
    let checkpoint = &model.checkpoint;
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut add = |key: &str, value: String| rows.push([key.to_owned(), value]);
    add("directory", checkpoint.dir().display().to_string());
    let model_type = text_of(model, "model_type").unwrap_or("no model_type");
    add("architecture", format!("{} ({model_type})", class(model).unwrap_or("no class")));
    for stack in model.architecture.stacks() {
        add("layers", format!("{} under {}", stack.layers, stack.prefix));
    }
    if model.architecture.stacks().is_empty() {
        add("layers", "none recognised".to_owned());
    }
    for rows in model.architecture.vocabulary_sizes() {
        add("vocabulary", count(*rows, "row"));
    }
    let parameters: u64 = checkpoint.tensors().map(|tensor| tensor.len()).sum();
    add("parameters", parameters.to_string());
    for (dtype, (tensors, bytes)) in by_dtype(model) {
        add("dtype", format!("{dtype}: {}, {}", count(tensors, "tensor"), DecimalBytes(bytes)));
    }
    let bytes = checkpoint.files().iter().map(|file| file.bytes).sum();
    add(
        "weights",
        format!("{} in {}", DecimalBytes(bytes), count(checkpoint.files().len(), "file")),
    );
    let companions: Vec<&str> = checkpoint.companions().iter().map(|file| file.name).collect();
    if !companions.is_empty() {
        add("other files", companions.join(", "));
    }
    let mut text = format!("{}\n{}tensors:\n", model.name(), table(&rows));
    text += &table(&if verbose { every_tensor(model) } else { folded(model) });
    text
}

fn describe(tensor: &StoredTensor) -> [String; 2] {
    [tensor.dtype().name().to_owned(), format!("{:?}", tensor.shape())]
}

fn every_tensor(model: &Model) -> Vec<[String; 4]> {
    let row = |tensor: &StoredTensor| {
        let [dtype, shape] = describe(tensor);
        [tensor.name().to_owned(), dtype, shape, tensor.file_name().to_owned()]
    };
    model.checkpoint.tensors().map(row).collect()
}

/// One row for what is alike in all layers.
fn folded(model: &Model) -> Vec<[String; 4]> {
    let mut rows: Vec<([String; 3], usize)> = Vec::new();
    let mut index = BTreeMap::new();
    for tensor in model.checkpoint.tensors() {
        let name = match model.architecture.role(tensor.name()) {
            Role::Layer { stack, rest, .. } => {
                let dot = if rest.is_empty() { "" } else { "." };
                format!("{}.*{dot}{rest}", model.architecture.stacks()[stack].prefix)
            }
            _ => tensor.name().to_owned(),
        };
        let [dtype, shape] = describe(tensor);
        let row = [name, dtype, shape];
        let at = *index.entry(row.clone()).or_insert(rows.len());
        match rows.get_mut(at) {
            Some((_, times)) => *times += 1,
            None => rows.push((row, 1)),
        }
    }
    let row = |([name, dtype, shape], times): ([String; 3], usize)| {
        let times = if times == 1 { String::new() } else { format!("x {times}") };
        [name, dtype, shape, times]
    };
    rows.into_iter().map(row).collect()
}

fn as_json(model: &Model) -> Value {
    let checkpoint = &model.checkpoint;
    let stacks = model.architecture.stacks().iter();
    let stacks = stacks.map(|stack| json!({ "prefix": stack.prefix, "layers": stack.layers }));
    let files = checkpoint.files().iter();
    let files = files.map(|file| json!({ "name": file.name, "bytes": file.bytes }));
    let tensors = checkpoint.tensors().map(|tensor| {
        let (role, layer) = match model.architecture.role(tensor.name()) {
            Role::Layer { layer, .. } => ("layer", Some(layer)),
            Role::Before => ("before", None),
            Role::After => ("after", None),
        };
        json!({
            "name": tensor.name(),
            "dtype": tensor.dtype().name(),
            "shape": tensor.shape(),
            "bytes": tensor.byte_len(),
            "file": tensor.file_name(),
            "role": role,
            "layer": layer,
        })
    });
    json!({
        "model": model.name(),
        "directory": checkpoint.dir(),
        "architecture": class(model),
        "model_type": text_of(model, "model_type"),
        "stacks": stacks.collect::<Vec<_>>(),
        "vocabulary_sizes": model.architecture.vocabulary_sizes(),
        "parameters": checkpoint.tensors().map(|tensor| tensor.len()).sum::<u64>(),
        "files": files.collect::<Vec<_>>(),
        "other_files": checkpoint.companions().iter().map(|file| file.name).collect::<Vec<_>>(),
        "tensors": tensors.collect::<Vec<_>>(),
    })
}
