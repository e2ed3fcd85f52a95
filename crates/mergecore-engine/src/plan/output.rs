//! The output's config.json.

use std::collections::BTreeSet;

use mergecore_io::CompanionKind;
use serde_json::{Map, Value};

use super::sections::Section;
use super::{Model, PlannedTensor};
use crate::architecture::Stack;

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

/// Notes ids of special tokens that the vocabulary does not have: in config.json and
/// generation_config.json, which follow the donor, as the vocabulary does.
pub(super) fn note_ids(donor: &Model, notes: &mut Vec<String>) {
    let [rows] = donor.architecture.vocabulary_sizes() else { return };
    let generation = donor.checkpoint.companions().iter();
    let generation = generation
        .filter(|companion| companion.kind == CompanionKind::GenerationConfig)
        .filter_map(|companion| std::fs::read(&companion.path).ok())
        .find_map(|content| serde_json::from_slice::<Map<String, Value>>(&content).ok());
    let files = [
        ("config.json", Some(donor.checkpoint.config())),
        ("generation_config.json", generation.as_ref()),
    ];
    for (file, object) in files {
        for (key, value) in object.into_iter().flatten() {
            let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let outside = |id: &&Value| id.as_u64().is_some_and(|id| id >= *rows as u64);
            if key.ends_with("_token_id")
                && let Some(id) = ids.iter().find(outside)
            {
                let name = donor.name();
                notes.push(format!(
                    "`{key}` is {id} in {file}, as in that of `{name}`, but the vocabulary has {rows} rows; check it"
                ));
            }
        }
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
