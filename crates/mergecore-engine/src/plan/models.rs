//! The models of a recipe, opened.

use mergecore_config::{MergeConfig, ModelRef, RecipePath, TokenizerSource};
use mergecore_io::{Checkpoint, Storage};

use super::inputs::{Entry, entries};
use crate::architecture::Architecture;
use crate::{EngineError, MergeOptions, ModelLocator, OpenError, locate_model};

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
        Model::open_in(reference, locator, &Storage::default())
    }

    fn open_in(
        reference: &ModelRef,
        locator: Option<&ModelLocator>,
        storage: &Storage,
    ) -> Result<Self, OpenError> {
        if let Some(adapter) = &reference.adapter {
            return Err(OpenError::Adapter { adapter: adapter.clone() });
        }
        let dir = locate_model(&reference.model, locator)?;
        let checkpoint = Checkpoint::open_in(&dir, storage)?;
        let architecture = Architecture::infer(&checkpoint);
        let (reference, path) = (reference.clone(), RecipePath::root());
        Ok(Model { reference, checkpoint, architecture, path })
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
pub(super) fn check_supported(config: &MergeConfig) -> Result<(), EngineError> {
    let root = RecipePath::root();
    let refuse = |path: RecipePath, what: String, instead: &'static str| {
        Err(EngineError::NotSupported { place: Box::new(config.place(&path)), what, instead })
    };
    if let Some(source) = &config.tokenizer_source {
        let what = format!("`tokenizer_source: {}` is", tokenizer_name(source));
        return refuse(root.key("tokenizer_source"), what, TOKENIZER);
    }
    if let Some(tokenizer) = &config.tokenizer {
        let what = format!("`tokenizer` (source: {}) is", tokenizer_name(&tokenizer.source));
        return refuse(root.key("tokenizer"), what, TOKENIZER);
    }
    if config.chat_template.is_some() {
        return refuse(root.key("chat_template"), "`chat_template` is".to_owned(), CHAT_TEMPLATE);
    }
    for Entry { model, path } in named_models(config) {
        if let Some(adapter) = &model.adapter {
            let source = OpenError::Adapter { adapter: adapter.clone() };
            return Err(EngineError::Model { place: Box::new(config.place(&path)), source });
        }
        if model.override_architecture.is_some() {
            let what = "`override_architecture` is".to_owned();
            return refuse(
                path,
                what,
                "leave it out: architectures are recognised from the tensors",
            );
        }
    }
    Ok(())
}

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

/// Every place that names a model whose weights are needed, the base last.
fn named_models(config: &MergeConfig) -> Vec<Entry<'_>> {
    let mut named: Vec<Entry<'_>> = entries(config);
    if let Some(model) = &config.base_model {
        named.push(Entry { model, path: RecipePath::root().key("base_model") });
    }
    named
}

/// Opens every model once, in the order in which the recipe names them.
pub(super) fn open(
    config: &MergeConfig,
    options: &MergeOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<Model>, EngineError> {
    let mut models: Vec<Model> = Vec::new();
    for Entry { model, path } in named_models(config) {
        if models.iter().all(|known| known.reference != *model) {
            models.push(open_one(config, model, path, options)?);
        }
    }
    compare_architectures(config, &models, options, notes)?;
    for model in models.iter().filter(|model| model.architecture.lacks_its_layers()) {
        let (place, name) = (config.place(&model.path), model.name());
        notes.push(format!(
            "{place}: no numbered tensors of `{name}` agree with the layer count of its config.json, so none count as layers: gradients are at their first point for all of them"
        ));
    }
    Ok(models)
}

fn open_one(
    config: &MergeConfig,
    model: &ModelRef,
    path: RecipePath,
    options: &MergeOptions,
) -> Result<Model, EngineError> {
    let opened = Model::open_in(model, options.locator.as_ref(), &options.storage);
    let place = || Box::new(config.place(&path));
    let model = opened.map_err(|source| EngineError::Model { place: place(), source })?;
    Ok(Model { path, ..model })
}

fn compare_architectures(
    config: &MergeConfig,
    models: &[Model],
    options: &MergeOptions,
    notes: &mut Vec<String>,
) -> Result<(), EngineError> {
    let Some((first, others)) = models.split_first() else { return Ok(()) };
    for model in others {
        let (expected, found) = (first.model_type(), model.model_type());
        if expected == found {
            continue;
        }
        if !options.allow_mixed_architectures {
            return Err(EngineError::ArchitecturesDiffer {
                place: Box::new(config.place(&model.path)),
                model: model.name(),
                found: found.to_owned(),
                first: first.name(),
                expected: expected.to_owned(),
            });
        }
        let (model, first) = (model.name(), first.name());
        notes.push(format!(
            "`{model}` is a {found} model and `{first}` a {expected} model, merged as asked"
        ));
    }
    Ok(())
}
