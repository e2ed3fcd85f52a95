//! The output's config.json.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use mergecore_io::CompanionKind;
use serde_json::{Map, Value};

use super::sections::Section;
use super::{Model, PlannedTensor};
use crate::architecture::{Role, Stack, as_usize, is_head, objects};

/// The donor's config.json, rewritten to say what is written: dtype, layer counts
/// and lists with an entry a layer. Everything else, and the keys' order, stays.
pub(super) fn config(
    models: &[Model],
    donor: usize,
    sections: &[Section],
    tensors: &[PlannedTensor],
    notes: &mut Vec<String>,
) -> Map<String, Value> {
    let mut config = models[donor].checkpoint.config().clone();
    let floats = tensors.iter().map(|tensor| tensor.dtype).filter(|dtype| dtype.is_float());
    let dtypes: BTreeSet<_> = floats.collect();
    if dtypes.len() == 1
        && let Some(dtype) = dtypes.first()
    {
        set_dtype(&mut config, dtype.torch_name());
    }
    correct_vocabulary(&models[donor], tensors, &mut config, notes);
    for (index, stack) in models[donor].architecture.stacks().iter().enumerate() {
        let layers = output_layers(models, sections, index, stack);
        if !layers.is_empty()
            && let Some(object) = object_at(&mut config, &stack.config_path)
        {
            rewrite_stack(object, stack, &layers, notes);
        }
    }
    config
}

/// Where the donor's config.json counts a vocabulary that none of its tensors has, although
/// embedding and head agree on one: writes theirs, without which the output does not load.
fn correct_vocabulary(
    donor: &Model,
    tensors: &[PlannedTensor],
    config: &mut Map<String, Value>,
    notes: &mut Vec<String>,
) {
    let architecture = &donor.architecture;
    let (Some(stated), [_]) =
        (config.get("vocab_size").and_then(as_usize), architecture.vocabulary_sizes())
    else {
        return;
    };
    let outside = || {
        let role = |name| architecture.role(name);
        tensors.iter().filter(move |tensor| !matches!(role(&tensor.name), Role::Layer { .. }))
    };
    if outside().any(|tensor| tensor.shape.first() == Some(&stated)) {
        return;
    }
    let heads = outside().filter(|tensor| is_head(&tensor.name) && tensor.shape.len() == 2);
    for head in heads {
        let mut embeddings =
            outside().filter(|tensor| architecture.role(&tensor.name) == Role::Before);
        if embeddings.any(|embedding| embedding.shape == head.shape) {
            let rows = head.shape[0];
            config.insert("vocab_size".to_owned(), rows.into());
            notes.push(format!(
                "`vocab_size` in the config.json of `{}` is {stated}, but embedding and head have {rows} rows; the output's says {rows}",
                donor.name()
            ));
            return;
        }
    }
}

/// Far above any generation_config.json.
const MAX_GENERATION_CONFIG: u64 = 1_000_000;

/// Notes ids of special tokens that the vocabulary does not have: in config.json and
/// generation_config.json, which follow the donor, as the vocabulary does.
pub(super) fn note_ids(donor: &Model, notes: &mut Vec<String>) {
    let mut check = |file: &str, object: &Map<String, Value>, rows: usize| {
        for (key, value) in object.iter().filter(|(key, _)| key.ends_with("_token_id")) {
            let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let outside = |id: &&Value| id.as_u64().is_some_and(|id| id >= rows as u64);
            if let Some(id) = ids.iter().find(outside) {
                let name = donor.name();
                notes.push(format!(
                    "`{key}` is {id} in {file}, as in that of `{name}`, but the vocabulary has {rows} rows; check it"
                ));
            }
        }
    };
    // An object that counts no rows itself speaks of the outermost vocabulary.
    let Some(outermost) = donor.architecture.vocabulary_sizes().first().copied() else { return };
    for (_, object) in objects(donor.checkpoint.config()) {
        let own = object.get("vocab_size").and_then(as_usize);
        check("config.json", object, own.unwrap_or(outermost));
    }
    let mut files = donor.checkpoint.companions().iter();
    let Some(file) = files.find(|file| file.kind == CompanionKind::GenerationConfig) else {
        return;
    };
    match read_object(&file.path) {
        Some(object) => check("generation_config.json", &object, outermost),
        None => notes.push(format!(
            "{} is no JSON object of at most {MAX_GENERATION_CONFIG} bytes, so what it says was not checked; it is copied as it is",
            file.path.display()
        )),
    }
}

fn read_object(path: &Path) -> Option<Map<String, Value>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_GENERATION_CONFIG + 1).read_to_end(&mut bytes).ok()?;
    let fits = bytes.len() as u64 <= MAX_GENERATION_CONFIG;
    fits.then(|| serde_json::from_slice(&bytes).ok())?
}

/// A layer of the output: where its entries of per-layer lists come from.
struct LayerOrigin<'a> {
    config: &'a Map<String, Value>,
    path: &'a [String],
    layer: usize,
    of: usize,
}

fn output_layers<'a>(
    models: &'a [Model],
    sections: &[Section],
    stack: usize,
    donor: &Stack,
) -> Vec<LayerOrigin<'a>> {
    let mut layers = Vec::new();
    for section in sections.iter().filter(|section| section.stack == Some(stack)) {
        let source = section.reference();
        let model = &models[source.model];
        let own = model.architecture.stacks().iter().find(|own| own.prefix == donor.prefix);
        let Some(own) = own.or(model.architecture.stacks().get(stack)) else { continue };
        let origin = |layer| LayerOrigin {
            config: model.checkpoint.config(),
            path: &own.config_path,
            layer: source.first_layer + layer,
            of: own.layers,
        };
        layers.extend((0..section.layers).map(origin));
    }
    layers
}

fn rewrite_stack(
    object: &mut Map<String, Value>,
    stack: &Stack,
    layers: &[LayerOrigin<'_>],
    notes: &mut Vec<String>,
) {
    for key in &stack.count_keys {
        object.insert(key.clone(), Value::from(layers.len()));
    }
    let rearranged = layers.len() != stack.layers
        || layers.iter().enumerate().any(|(i, origin)| origin.layer != i);
    for (key, value) in object.iter_mut().filter(|(key, _)| key.contains("layer")) {
        let Value::Array(list) = value else { continue };
        if list.len() == stack.layers {
            let entry = |origin: &LayerOrigin<'_>| {
                origin.entry(key).or_else(|| list.get(origin.layer).cloned())
            };
            if let Some(entries) = layers.iter().map(entry).collect::<Option<Vec<Value>>>() {
                *list = entries;
                continue;
            }
        }
        if rearranged && !list.is_empty() {
            notes.push(format!(
                "`{key}` in config.json is kept as it was, although the layers are arranged anew; check it"
            ));
        }
    }
}

impl LayerOrigin<'_> {
    /// The layer's entry in a list of its own model's config.json.
    fn entry(&self, key: &str) -> Option<Value> {
        let mut object = self.config;
        for part in self.path {
            object = object.get(part)?.as_object()?;
        }
        let list = object.get(key)?.as_array().filter(|list| list.len() == self.of)?;
        list.get(self.layer).cloned()
    }
}

fn object_at<'a>(
    config: &'a mut Map<String, Value>,
    path: &[String],
) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(config, |object, key| object.get_mut(key)?.as_object_mut())
}

/// Sets `dtype` and `torch_dtype` wherever they stand.
fn set_dtype(object: &mut Map<String, Value>, name: &str) {
    for (key, value) in object.iter_mut() {
        match value {
            Value::Object(inner) => set_dtype(inner, name),
            Value::String(_) | Value::Null if key == "dtype" || key == "torch_dtype" => {
                *value = Value::from(name)
            }
            _ => {}
        }
    }
}
