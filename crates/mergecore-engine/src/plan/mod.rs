//! From recipe and headers to everything that will be done.

mod arguments;
mod inputs;
mod models;
mod output;
mod recipe;
mod sections;
mod survey;
mod tensors;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mergecore_config::MergeConfig;
use mergecore_io::{Checkpoint, Companion, CompanionKind, Layout, TensorSpec};
use mergecore_kernel::{Kernel, Method, StreamKey, Survey};
use serde_json::{Map, Value};

use crate::card::{CardContent, license_of};
use crate::identity::plan_hash;
use crate::place::{InputPlace, check_place};
use crate::{EngineError, MergeOptions, Problems, Registry};
use arguments::{Mistakes, Slips};
use recipe::Recipe;
use tensors::Grounds;

pub(crate) use arguments::known_parameters;
pub use models::Model;
pub use tensors::{Operation, PlannedTensor, TensorInput};

/// A merge known before it begins: every output tensor with its inputs,
/// parameters, dtype and place in the output's files.
///
/// ```
/// # use mergecore_config::MergeConfig;
/// # use mergecore_engine::{MergeOptions, MergePlan, Registry};
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let mut registry = Registry::new();
/// # registry.register(example::Mean);
/// let recipe = "
/// merge_method: mean
/// base_model: a
/// models: [{model: a}, {model: b}]
/// ";
/// let config = MergeConfig::from_yaml_str(recipe)?;
/// let plan = MergePlan::new(&config, &registry, &MergeOptions::default())?;
/// assert_eq!((plan.method(), plan.base()), ("mean", Some(0)));
/// assert_eq!(plan.models()[1].name(), "b");
/// assert_eq!(plan.tensors()[0].name, "model.embed_tokens.weight");
/// assert_eq!(plan.layout().shards()[0].file_name(), "model.safetensors");
/// assert_eq!(plan.config()["num_hidden_layers"], 1);
/// assert!(plan.companions().is_empty()); // the models have no tokenizer files
/// assert!(plan.notes()[0].contains("no tokenizer files"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MergePlan {
    pub(crate) method: String,
    pub(crate) card: CardContent,
    /// The licence that all models have.
    pub(crate) license: Option<String>,
    pub(crate) models: Vec<Model>,
    pub(crate) base: Option<usize>,
    pub(crate) tensors: Vec<PlannedTensor>,
    /// What is to be selected among all tensors together, before they are merged.
    pub(crate) survey: Option<Survey>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) config: Map<String, Value>,
    pub(crate) companions: Vec<Companion>,
    pub(crate) recipe: String,
    pub(crate) recipe_hash: String,
    /// Of recipe and plan: see [`plan_hash`].
    pub(crate) plan_hash: String,
    pub(crate) seed: u64,
    pub(crate) options: PlanOptions,
    pub(crate) tally: Tally,
    pub(crate) notes: Vec<String>,
}

/// The options that a plan follows from, besides the seed.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct PlanOptions {
    pub(crate) max_shard_bytes: u64,
    pub(crate) allow_mixed_architectures: bool,
    pub(crate) copy_tokenizer: bool,
}

impl PlanOptions {
    fn of(options: &MergeOptions) -> Self {
        PlanOptions {
            max_shard_bytes: options.max_shard_bytes,
            allow_mixed_architectures: options.allow_mixed_architectures,
            copy_tokenizer: options.copy_tokenizer,
        }
    }
}

/// What becomes of the tensors.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
/// let tally = plan.tally();
/// assert_eq!((tally.merged, tally.copied), (3, 0));
/// assert_eq!((tally.inputs, tally.unused), (6, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Tally {
    /// Output tensors that are computed.
    pub merged: usize,
    /// Output tensors that are copied from one input bit for bit.
    pub copied: usize,
    /// Tensors in the input files, over all models.
    pub inputs: usize,
    /// Of those, the ones that the recipe does not ask for.
    pub unused: usize,
}

impl MergePlan {
    /// Plans a merge: opens the models' headers and follows from them and the
    /// recipe every output tensor. No tensor byte is read and nothing is written.
    ///
    /// Of `options`, what matters here are the seed, the shards' size, the locator,
    /// whether architectures may differ, whether there are to be tokenizer files
    /// and a model card, the storage and the cancel flag.
    ///
    /// # Errors
    /// Whatever can be known to go wrong before a tensor is read, all of it: one problem
    /// is the error itself, more are [`EngineError::Several`], each cause once. Mistakes
    /// of the recipe and models that cannot be opened come together; tensors are looked
    /// at only where models and layers fit together. [`EngineError::Cancelled`] alone, where it
    /// is cancelled.
    ///
    /// ```
    /// use mergecore_config::{InputModel, MergeConfig, MergeInput, ModelRef, Parameters};
    /// use mergecore_engine::{MergeOptions, MergePlan, Registry};
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
    /// # let _folder = example::folder();
    ///
    /// let inputs = ["a", "b"].map(|model| InputModel {
    ///     model: ModelRef::new(model),
    ///     parameters: Parameters::new(),
    /// });
    /// let config = MergeConfig::new("mean", MergeInput::Models(inputs.into()));
    /// let mut registry = Registry::new();
    /// registry.register(example::Mean); // a method
    /// let plan = MergePlan::new(&config, &registry, &MergeOptions::default())?;
    /// assert_eq!(plan.layout().total_bytes(), 56);
    /// # Ok::<(), mergecore_engine::EngineError>(())
    /// ```
    pub fn new(
        config: &MergeConfig,
        registry: &Registry,
        options: &MergeOptions,
    ) -> Result<Self, EngineError> {
        MergePlan::follow(config, registry, options, &mut Vec::new())
    }

    /// Makes the plan, and says where its inputs are even if there is none.
    fn follow(
        config: &MergeConfig,
        registry: &Registry,
        options: &MergeOptions,
        places: &mut Vec<InputPlace>,
    ) -> Result<Self, EngineError> {
        let (mut problems, mut notes) = (Problems::new(), Vec::new());
        let recipe = &Recipe::new(config);
        let method = check(recipe, registry, &mut problems, &mut notes);
        let (method, slips) =
            method.map_or((None, Slips::default()), |(m, slips)| (Some(m), slips));
        let named = models::distinct(config);
        let before = problems.len();
        let groups = sections::arrange(recipe, &named, method.as_deref(), &mut problems);
        let opened = models::open(recipe, &named, options, places, &mut problems)?;
        let comparable = models::compare_architectures(
            recipe,
            opened.iter().flatten(),
            options,
            &mut problems,
            &mut notes,
        );
        sections::check_layers(recipe, &opened, &groups, &mut problems);
        let models: Option<Vec<Model>> = opened.into_iter().collect();
        // Where models and layers do not fit together, neither do the tensors.
        let fit = comparable && problems.len() == before;
        let (Some(method), Some(models), true) = (&method, models, fit) else {
            if let Some(method) = &method {
                let mut mistakes = Mistakes::new(recipe, &**method, &slips);
                mistakes.check_without_tensors(&named, &groups, &mut problems);
            }
            return problems.finish(None);
        };
        models::note_layers(recipe, &models, &mut notes);
        models::note_dtypes(&models, &mut notes);
        let sections = sections::lay_out(&models, groups);
        arguments::note_base_parameters(recipe, &**method, &sections, &mut notes);
        let base = config.base_model.as_ref();
        let base = base.and_then(|base| models.iter().position(|model| model.reference == *base));
        let donor = base.unwrap_or_else(|| sections::first_model(&sections));
        let grounds = Grounds {
            recipe,
            models: &models,
            donor,
            sections: &sections,
            method: &**method,
            options,
        };
        let mistakes = Mistakes::new(recipe, &**method, &slips);
        let planned = tensors::plan(&grounds, mistakes, &mut problems, &mut notes)?;
        if planned.tensors.is_empty() && problems.is_empty() {
            problems.push(EngineError::NoTensors { model: models[donor].name() });
        }
        let survey = survey::survey(recipe, &planned.tensors, &mut problems);
        let companions = companions(&models[donor].checkpoint, options, &mut problems, &mut notes);
        let output_config = output::config(&models, donor, &sections, &planned.tensors, &mut notes);
        output::note_ids(&output_config, &models[donor], &mut notes);

        options.check_cancelled()?;
        let recipe = config.source_text().map_or_else(|| config.to_yaml_string(), str::to_owned);
        let recipe_hash = blake3::hash(recipe.as_bytes()).to_string();
        let specs = planned.tensors.iter().map(|tensor| TensorSpec {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
        });
        let specs = specs.collect();
        let tally = planned.tally;
        let plan_hash = plan_hash(&recipe, method.name(), options.seed, &models, &planned.tensors);
        let metadata = metadata(&recipe, &recipe_hash, &plan_hash);
        options.check_cancelled()?;
        let layout = Layout::new(specs, options.max_shard_bytes, metadata);
        let layout = problems.add(layout.map_err(EngineError::from));
        let layout = Arc::new(problems.finish(layout)?);
        Ok(MergePlan {
            method: method.name().to_owned(),
            card: CardContent::new(config, Some(&**method)),
            license: license(&models, options, &mut notes),
            base,
            tensors: planned.tensors,
            survey,
            models,
            layout,
            config: output_config,
            companions,
            recipe,
            recipe_hash,
            plan_hash,
            seed: options.seed,
            options: PlanOptions::of(options),
            tally,
            notes,
        })
    }

    /// As [`new`](Self::new), for a merge to `output`: what is wrong with that one (it exists,
    /// overlaps an input, cannot be written, does not fit on the disk, or its model card cannot
    /// be made) is reported together with everything else. Nothing is written.
    ///
    /// # Errors
    /// As [`new`](Self::new), and what [`execute`](Self::execute) would refuse before it begins.
    ///
    /// ```
    /// # use mergecore_config::MergeConfig;
    /// # use mergecore_engine::{MergeOptions, MergePlan, Registry};
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
    /// # let _folder = example::folder();
    /// # let mut registry = Registry::new();
    /// # registry.register(example::Mean);
    /// # let options = MergeOptions::default();
    /// use mergecore_engine::EngineError;
    ///
    /// let config = MergeConfig::from_yaml_str("{merge_method: mean, models: [{model: a}]}")?;
    /// // One model too few, and an output that is one of the inputs.
    /// let error = MergePlan::for_output(&config, &registry, "a".as_ref(), &options).unwrap_err();
    /// assert!(matches!(error.problems(), [
    ///     EngineError::ModelCount { .. },
    ///     EngineError::OutputOverlapsInput { .. },
    /// ]));
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn for_output(
        config: &MergeConfig,
        registry: &Registry,
        output: &Path,
        options: &MergeOptions,
    ) -> Result<Self, EngineError> {
        let (mut problems, mut places) = (Problems::new(), Vec::new());
        let plan = match MergePlan::follow(config, registry, options, &mut places) {
            Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
            plan => problems.add(plan),
        };
        let checked = match &plan {
            Some(plan) => plan.check_output(output, options).map(drop),
            // The inputs are known where they could be found, whatever else is wrong.
            None => check_place(output, places, options),
        };
        problems.add(checked);
        problems.finish(plan)
    }

    /// The output tensors, ordered by name (numbers by value).
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// The output's files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The models that are read.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Index of the base model among the models, where the recipe names one.
    pub fn base(&self) -> Option<usize> {
        self.base
    }

    /// The method's name.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The output's config.json.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// The small files that are copied: generation_config.json and the tokenizer's.
    pub fn companions(&self) -> &[Companion] {
        &self.companions
    }

    /// What becomes of the tensors.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What was accepted without having an effect, and what else the user should
    /// know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Checks what can be known of a recipe without its models: that its method is
/// registered, that it asks for nothing that is not supported, and that the method or
/// another one knows its parameters. Yields what was accepted without having an effect.
///
/// # Errors
/// All mistakes, with their places.
///
/// ```
/// use mergecore_config::MergeConfig;
/// use mergecore_engine::{Registry, check_recipe};
///
/// let config = MergeConfig::from_yaml_str("merge_method: tise\nmodels: [{model: org/a}]")?;
/// let error = check_recipe(&config, &Registry::new()).unwrap_err();
/// assert!(error.to_string().contains("unknown merge method `tise`"));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
pub fn check_recipe(config: &MergeConfig, registry: &Registry) -> Result<Vec<String>, EngineError> {
    let (mut problems, mut notes) = (Problems::new(), Vec::new());
    check(&Recipe::new(config), registry, &mut problems, &mut notes);
    problems.into_result()?;
    Ok(notes)
}

fn check(
    recipe: &Recipe<'_>,
    registry: &Registry,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> Option<(Arc<dyn Method>, Slips)> {
    models::check_supported(recipe, problems);
    let method = problems.add(arguments::method(recipe, registry))?;
    notes.extend(recipe.config.notes().iter().map(ToString::to_string));
    let slips = arguments::check_names(recipe, registry, &*method, problems, notes);
    Some((method, slips))
}

/// What each of the output's files says of where it comes from.
fn metadata(recipe: &str, recipe_hash: &str, plan_hash: &str) -> BTreeMap<String, String> {
    let entries = [
        ("mergecore_recipe", recipe),
        ("mergecore_recipe_blake3", recipe_hash),
        ("mergecore_plan_blake3", plan_hash),
    ];
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The licence that all models have, by their cards.
fn license(models: &[Model], options: &MergeOptions, notes: &mut Vec<String>) -> Option<String> {
    if !options.model_card {
        return None;
    }
    let licenses: Vec<(&Model, Option<String>)> =
        models.iter().map(|model| (model, license_of(model.checkpoint.dir()))).collect();
    let (stating, license) =
        licenses.iter().find_map(|(model, license)| Some((model, license.as_ref()?)))?;
    let Some((other, others)) = licenses.iter().find(|(_, other)| other.as_ref() != Some(license))
    else {
        return Some(license.clone());
    };
    notes.push(format!(
        "the licence of `{}` is {license}, that of `{}` {}, so the model card states none; see what they allow",
        stating.name(),
        other.name(),
        match others {
            Some(license) => format!("is {license}"),
            None => "is not known from its README.md".to_owned(),
        }
    ));
    None
}

/// The key of an output tensor's random stream: BLAKE3 of seed and name, with a
/// context of its own. Methods that draw masks get it as [`Binding::stream`], so that
/// what one tensor draws depends on no other.
///
/// [`Binding::stream`]: mergecore_kernel::Binding::stream
///
/// ```
/// use mergecore_engine::stream_key;
///
/// assert_eq!(stream_key(1, "lm_head.weight"), stream_key(1, "lm_head.weight"));
/// assert_ne!(stream_key(1, "lm_head.weight"), stream_key(2, "lm_head.weight"));
/// ```
pub fn stream_key(seed: u64, tensor: &str) -> StreamKey {
    let mut hasher =
        blake3::Hasher::new_derive_key("mergecore 2026-11-24 random stream of an output tensor");
    hasher.update(&seed.to_le_bytes()).update(tensor.as_bytes());
    StreamKey(*hasher.finalize().as_bytes())
}

/// The donor's small files that go to the output. They are copied last, so that what
/// stands against it should be known first.
fn companions(
    donor: &Checkpoint,
    options: &MergeOptions,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> Vec<Companion> {
    let wanted = |companion: &&Companion| {
        companion.kind != CompanionKind::Tokenizer || options.copy_tokenizer
    };
    let companions: Vec<Companion> = donor.companions().iter().filter(wanted).cloned().collect();
    for companion in &companions {
        problems.add(companion.check().map_err(EngineError::from));
    }
    let has_tokenizer =
        companions.iter().any(|companion| companion.kind == CompanionKind::Tokenizer);
    if options.copy_tokenizer && !has_tokenizer {
        notes.push(format!(
            "{} has no tokenizer files, so the output has none",
            donor.dir().display()
        ));
    }
    companions
}

/// A kernel that is shared by the threads working on one tensor.
pub(crate) type SharedKernel = Arc<dyn Kernel>;
