//! The models of a recipe, opened.

use std::collections::{BTreeSet, HashSet};

use mergecore_config::{MergeConfig, ModelRef, RecipePath, TokenizerSource};
use mergecore_io::{Checkpoint, TensorSource};
use mergecore_tensor::DType;

use super::inputs::{Entry, entries};
use super::recipe::Recipe;
use crate::architecture::Architecture;
use crate::place::InputPlace;
use crate::{EngineError, MergeOptions, ModelLocator, OpenError, Problems, locate_model};

/// A model that a recipe names, opened.
///
/// ```
/// use mergecore_engine::Model;
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
///
/// let model = Model::open(&"a".parse()?, None).unwrap();
/// assert_eq!(model.name(), "a");
/// assert_eq!(model.checkpoint.len(), 3); // tensors
/// assert_eq!(model.architecture.stacks()[0].prefix, "model.layers");
/// # Ok::<(), mergecore_config::ModelRefError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Model {
    /// As the recipe names it.
    pub reference: ModelRef,
    /// Its headers and sources.
    pub checkpoint: Checkpoint,
    /// What its tensors are.
    pub architecture: Architecture,
    /// Where the recipe first names it.
    pub(crate) path: RecipePath,
}

impl Model {
    /// Opens a model by its directory or, with a locator, by its name.
    ///
    /// # Errors
    /// If it is not found, is no checkpoint that can be read, or has an adapter.
    ///
    /// ```
    /// use mergecore_engine::Model;
    ///
    /// let error = Model::open(&"no/such".parse()?, None).unwrap_err();
    /// assert!(error.to_string().contains("`no/such` was not found"));
    /// # Ok::<(), mergecore_config::ModelRefError>(())
    /// ```
    pub fn open(reference: &ModelRef, locator: Option<&ModelLocator>) -> Result<Self, OpenError> {
        if let Some(adapter) = &reference.adapter {
            return Err(OpenError::Adapter { adapter: adapter.clone() });
        }
        let checkpoint = Checkpoint::open(&locate_model(&reference.model, locator)?)?;
        Ok(Model::new(reference, checkpoint, RecipePath::root()))
    }

    fn new(reference: &ModelRef, checkpoint: Checkpoint, path: RecipePath) -> Self {
        let architecture = Architecture::infer(&checkpoint);
        Model { reference: reference.clone(), checkpoint, architecture, path }
    }

    /// The name for messages: as the recipe has it.
    pub fn name(&self) -> String {
        self.reference.to_string()
    }

    fn model_type(&self) -> &str {
        self.checkpoint
            .config()
            .get("model_type")
            .and_then(|value| value.as_str())
            .unwrap_or("nameless")
    }
}

/// Refuses what recipes may say but this version cannot do.
pub(super) fn check_supported(recipe: &Recipe<'_>, problems: &mut Problems) {
    let (root, config) = (RecipePath::root(), recipe.config);
    let mut refuse = |path: RecipePath, what: String, instead: &'static str| {
        let place = recipe.place(&path);
        problems.push(EngineError::NotSupported { place, what, instead });
    };
    if let Some(source) = &config.tokenizer_source {
        let what = format!("`tokenizer_source: {}` is", tokenizer_name(source));
        refuse(root.key("tokenizer_source"), what, TOKENIZER);
    }
    if let Some(tokenizer) = &config.tokenizer {
        let what = format!("`tokenizer` (source: {}) is", tokenizer_name(&tokenizer.source));
        refuse(root.key("tokenizer"), what, TOKENIZER);
    }
    if config.chat_template.is_some() {
        refuse(root.key("chat_template"), "`chat_template` is".to_owned(), CHAT_TEMPLATE);
    }
    let named = distinct(config);
    for Entry { model, path } in &named {
        if model.override_architecture.is_some() {
            refuse(path.clone(), "`override_architecture` is".to_owned(), ARCHITECTURE);
        }
    }
    for Entry { model, path } in &named {
        if let Some(adapter) = &model.adapter {
            let source = OpenError::Adapter { adapter: adapter.clone() };
            problems.push(EngineError::Model { place: recipe.place(path), source });
        }
    }
}

const ARCHITECTURE: &str = "leave it out: architectures are recognised from the tensors";
const TOKENIZER: &str = "leave it out: the output then has the base model's tokenizer, and where vocabularies differ in size the base model's rows";
const CHAT_TEMPLATE: &str = "leave it out: the output then has the base model's chat template";

/// How a tokenizer source is called in messages.
fn tokenizer_name(source: &TokenizerSource) -> String {
    match source {
        TokenizerSource::Union => "union".to_owned(),
        TokenizerSource::Base => "base".to_owned(),
        TokenizerSource::Model(model) => model.to_string(),
    }
}

/// Every model whose weights are needed, once each, where the recipe first names it; the
/// base last.
pub(super) fn distinct(config: &MergeConfig) -> Vec<Entry<'_>> {
    let mut named: Vec<Entry<'_>> = entries(config);
    if let Some(model) = &config.base_model {
        named.push(Entry { model, path: RecipePath::root().key("base_model") });
    }
    let mut seen = HashSet::new();
    named.retain(|entry| seen.insert(entry.model));
    named
}

/// Opens the models; `None` in place of each that cannot be. Adds where they are, also of those
/// that are there and cannot be opened.
///
/// # Errors
/// If it is cancelled; all else is among the problems.
pub(super) fn open(
    recipe: &Recipe<'_>,
    named: &[Entry<'_>],
    options: &MergeOptions,
    places: &mut Vec<InputPlace>,
    problems: &mut Problems,
) -> Result<Vec<Option<Model>>, EngineError> {
    let open = |Entry { model, path }: &Entry<'_>| {
        options.check_cancelled()?;
        let dir = locate_model(&model.model, options.locator.as_ref());
        let there = dir.as_ref().ok().map(|dir| InputPlace { dir: dir.clone(), files: Vec::new() });
        let opened = match dir {
            // Refused with what else is not supported.
            _ if model.adapter.is_some() => None,
            Err(error) => problems.add(Err(cannot_open(recipe, path, error))),
            Ok(dir) => {
                let stop = || options.is_cancelled();
                let opened = Checkpoint::open_unless(&dir, &options.storage, stop);
                match problems.add(opened.map_err(|error| cannot_open(recipe, path, error))) {
                    Some(None) => return Err(EngineError::Cancelled),
                    opened => opened.flatten(),
                }
            }
        };
        places.extend(opened.as_ref().map(InputPlace::of).or(there));
        Ok(opened.map(|checkpoint| Model::new(model, checkpoint, path.clone())))
    };
    named.iter().map(open).collect()
}

fn cannot_open(recipe: &Recipe<'_>, path: &RecipePath, error: impl Into<OpenError>) -> EngineError {
    EngineError::Model { place: recipe.place(path), source: error.into() }
}

/// Notes models whose layers were not recognised.
pub(super) fn note_layers(recipe: &Recipe<'_>, models: &[Model], notes: &mut Vec<String>) {
    for model in models.iter().filter(|model| model.architecture.lacks_its_layers()) {
        let (place, name) = (recipe.place(&model.path), model.name());
        notes.push(format!(
            "{place}: no numbered tensors of `{name}` agree with the layer count of its config.json, so none count as layers: gradients are at their first point for all of them"
        ));
    }
}

/// Notes models whose config.json names a dtype that none of their weights has: theirs
/// counts.
pub(super) fn note_dtypes(models: &[Model], notes: &mut Vec<String>) {
    for model in models {
        let config = model.checkpoint.config();
        let stated = ["dtype", "torch_dtype"].iter().find_map(|key| config.get(*key)?.as_str());
        let Some(stated) = stated.filter(|name| FLOATS.iter().any(|d| d.torch_name() == *name))
        else {
            continue;
        };
        let stored = model.checkpoint.tensors().map(|tensor| tensor.dtype());
        let stored: BTreeSet<DType> = stored.filter(|dtype| dtype.is_float()).collect();
        if !stored.is_empty() && stored.iter().all(|dtype| dtype.torch_name() != stated) {
            let stored: Vec<&str> = stored.iter().map(|dtype| dtype.torch_name()).collect();
            notes.push(format!(
                "config.json of `{}` says {stated}, but its weights are {}; they are read as they are stored",
                model.name(),
                stored.join(" and ")
            ));
        }
    }
}

const FLOATS: [DType; 4] = [DType::Bf16, DType::F16, DType::F32, DType::F64];

/// Compares what the models say they are. Whether they may be merged: where they may
/// not, their tensors differ for that reason.
pub(super) fn compare_architectures<'a>(
    recipe: &Recipe<'_>,
    mut models: impl Iterator<Item = &'a Model>,
    options: &MergeOptions,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> bool {
    let Some(first) = models.next() else { return true };
    let others = models.filter(|model| model.model_type() != first.model_type());
    let mut agree = true;
    for model in others {
        let (expected, found) = (first.model_type(), model.model_type());
        if options.allow_mixed_architectures {
            let (model, first) = (model.name(), first.name());
            notes.push(format!(
                "`{model}` is a {found} model and `{first}` a {expected} model, merged as asked"
            ));
            continue;
        }
        agree = false;
        problems.push(EngineError::ArchitecturesDiffer {
            place: recipe.place(&model.path),
            model: model.name(),
            found: found.to_owned(),
            first: first.name(),
            expected: expected.to_owned(),
        });
    }
    agree
}
