//! The output's config.json.

use std::collections::BTreeSet;

use mergecore_io::{CompanionKind, MAX_CONFIG_BYTES};
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
    let outside: Vec<(Role<'_>, &PlannedTensor)> = tensors
        .iter()
        .map(|tensor| (architecture.role(&tensor.name), tensor))
        .filter(|(role, _)| !matches!(role, Role::Layer { .. }))
        .collect();
    if outside.iter().any(|(_, tensor)| tensor.shape.first() == Some(&stated)) {
        return;
    }
    let embeddings = outside.iter().filter(|(role, _)| *role == Role::Before);
    let embeddings: BTreeSet<&[usize]> = embeddings.map(|(_, tensor)| &tensor.shape[..]).collect();
    let head = outside.iter().find(|(_, tensor)| {
        is_head(&tensor.name) && tensor.shape.len() == 2 && embeddings.contains(&tensor.shape[..])
    });
    if let Some((_, head)) = head {
        let rows = head.shape[0];
        config.insert("vocab_size".to_owned(), rows.into());
        notes.push(format!(
            "`vocab_size` in the config.json of `{}` is {stated}, but embedding and head have {rows} rows; the output's says {rows}",
            donor.name()
        ));
    }
}

/// Notes ids of special tokens that the vocabulary does not have: in the output's
/// config.json and in generation_config.json, which is the donor's.
pub(super) fn note_ids(config: &Map<String, Value>, donor: &Model, notes: &mut Vec<String>) {
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
    let rows = |object: &Map<String, Value>| object.get("vocab_size").and_then(as_usize);
    let objects = objects(config);
    // An object that counts no rows itself speaks of the outermost vocabulary.
    let Some(outermost) = objects.iter().find_map(|(_, object)| rows(object)) else { return };
    for (_, object) in objects {
        check("config.json", object, rows(object).unwrap_or(outermost));
    }
    let mut files = donor.checkpoint.companions().iter();
    let Some(file) = files.find(|file| file.kind == CompanionKind::GenerationConfig) else {
        return;
    };
    let content = file.read().ok().filter(|content| content.len() as u64 <= MAX_CONFIG_BYTES);
    let object = content.and_then(|content| serde_json::from_slice(&content).ok());
    match object {
        Some(object) => check("generation_config.json", &object, outermost),
        None => notes.push(format!(
            "{} cannot be read as a JSON object, so what it says was not checked; it is copied as it is",
            file.path.display()
        )),
    }
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
            layer: source.first_layer() + layer,
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
