//! From recipe and headers to everything that will be done.

mod arguments;
mod inputs;
mod models;
mod output;
mod sections;
mod tensors;
mod vocabulary;

use std::collections::BTreeMap;
use std::sync::Arc;

use mergecore_config::MergeConfig;
use mergecore_io::{Checkpoint, Companion, CompanionKind, Layout, TensorSpec};
use mergecore_kernel::{Kernel, StreamKey};
use serde_json::{Map, Value};

use crate::{EngineError, MergeOptions, Registry};

pub use models::Model;
pub use tensors::{Operation, PlannedTensor, TensorInput};

/// A merge known before it begins: every output tensor with its inputs,
/// parameters, dtype and place in the output's files.
#[derive(Debug)]
pub struct MergePlan {
    pub(crate) method: String,
    pub(crate) title: String,
    pub(crate) source: Option<String>,
    pub(crate) models: Vec<Model>,
    pub(crate) base: Option<usize>,
    pub(crate) tensors: Vec<PlannedTensor>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) config: Map<String, Value>,
    pub(crate) companions: Vec<Companion>,
    pub(crate) recipe: String,
    pub(crate) recipe_hash: String,
    pub(crate) seed: u64,
    pub(crate) tally: Tally,
    pub(crate) notes: Vec<String>,
}

/// What becomes of the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
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
    /// # Errors
    /// Whatever can be known to go wrong before a tensor is read; see
    /// [`EngineError`].
    pub fn new(
        config: &MergeConfig,
        registry: &Registry,
        options: &MergeOptions,
    ) -> Result<Self, EngineError> {
        models::check_supported(config)?;
        let method = arguments::method(config, registry)?;
        let mut notes: Vec<String> = config.notes().iter().map(ToString::to_string).collect();
        arguments::check_names(config, registry, &*method, &mut notes)?;
        let models = models::open(config, options, &mut notes)?;
        let sections = sections::lay_out(config, &models, &*method)?;
        arguments::note_base_parameters(config, &*method, &sections, &mut notes);
        let base = config.base_model.as_ref();
        let base = base.and_then(|base| models.iter().position(|model| model.reference == *base));
        let donor = base.unwrap_or_else(|| sections::first_model(&sections));
        let planned =
            tensors::plan(config, &models, donor, &sections, &*method, options.seed, &mut notes)?;
        let output_config = output::config(&models, donor, &sections, &planned.tensors, &mut notes);
        output::note_ids(&models[donor], &mut notes);
        let companions = companions(&models[donor].checkpoint, options, &mut notes);

        let recipe = config.source_text().map_or_else(|| config.to_yaml_string(), str::to_owned);
        let recipe_hash = blake3::hash(recipe.as_bytes()).to_string();
        let specs = planned.tensors.iter().map(|tensor| TensorSpec {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
        });
        let metadata =
            BTreeMap::from([("mergecore_recipe_blake3".to_owned(), recipe_hash.clone())]);
        let layout = Arc::new(Layout::new(specs.collect(), options.max_shard_bytes, metadata)?);
        let tally = planned.tally;
        Ok(MergePlan {
            method: method.name().to_owned(),
            title: method.title().to_owned(),
            source: method.source().map(str::to_owned),
            base,
            tensors: planned.tensors,
            models,
            layout,
            config: output_config,
            companions,
            recipe,
            recipe_hash,
            seed: options.seed,
            tally,
            notes,
        })
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

/// The key of an output tensor's random stream: a hash of seed and name.
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

/// The donor's small files that go to the output.
fn companions(
    donor: &Checkpoint,
    options: &MergeOptions,
    notes: &mut Vec<String>,
) -> Vec<Companion> {
    let wanted = |companion: &&Companion| {
        companion.kind != CompanionKind::Tokenizer || options.copy_tokenizer
    };
    let companions: Vec<Companion> = donor.companions().iter().filter(wanted).cloned().collect();
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
