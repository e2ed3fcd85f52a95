//! Why a merge could not be planned or carried out.

use std::path::PathBuf;
use std::sync::Arc;

use mergecore_config::Place;
use mergecore_io::IoError;
use mergecore_kernel::KernelError;
use mergecore_tokenizer::{Disagreement, TokenizerError};

use crate::{CardError, ManifestError, OpenError, Problems};

/// Why a merge failed. The text is one paragraph: where, what is wrong, and what
/// to do next; of several problems a line each.
///
/// ```
/// # use mergecore_config::MergeConfig;
/// use mergecore_engine::EngineError;
/// # use mergecore_engine::{MergeOptions, MergePlan, Registry};
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let mut registry = Registry::new();
/// # registry.register(example::Mean);
/// # let options = MergeOptions::default();
///
/// // `mean` takes two models.
/// let config = MergeConfig::from_yaml_str("merge_method: mean\nmodels: [{model: a}]")?;
/// let error = MergePlan::new(&config, &registry, &options).unwrap_err();
/// assert!(matches!(&error, EngineError::ModelCount { found: 1, .. }));
/// assert!(error.to_string().starts_with("line 2, column 9: models: mean merges exactly 2 models"));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Something that recipes may say but that this version cannot do.
    #[error("{place}: {what} not supported yet; {instead}")]
    NotSupported {
        /// Where the recipe asks for it.
        place: Box<Place>,
        /// What it asks for, with its verb: `LoRA adapters are`.
        what: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// A method that is not registered.
    #[error("{place}: unknown merge method `{name}`{}; available: {}", did_you_mean(suggestion), available.join(", "))]
    UnknownMethod {
        /// Where the recipe names it.
        place: Box<Place>,
        /// The name.
        name: String,
        /// The nearest registered name.
        suggestion: Option<String>,
        /// All registered names.
        available: Vec<String>,
    },
    /// A parameter that no method knows.
    #[error(
        "{place}: unknown parameter `{name}`{}; {method} takes {}",
        did_you_mean(suggestion),
        names(takes)
    )]
    UnknownParameter {
        /// Where the recipe gives it.
        place: Box<Place>,
        /// Its name.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
        /// The recipe's method.
        method: String,
        /// The parameters that the method takes.
        takes: Vec<String>,
    },
    /// A required parameter without a value.
    #[error("{place}: {method} needs the parameter `{parameter}`{}, but the recipe gives none{}; add `parameters: {{{parameter}: ...}}` {}",
        model.as_ref().map(|model| format!(" for the model `{model}`")).unwrap_or_default(),
        for_tensor(tensor),
        if model.is_some() { "to that entry" } else { "at the top level" })]
    MissingParameter {
        /// The entry that lacks it.
        place: Box<Place>,
        /// The method.
        method: String,
        /// The parameter.
        parameter: &'static str,
        /// The model, for a per-model parameter.
        model: Option<String>,
        /// The first tensor for which it is missing; `None` where the tensors were not
        /// looked at, for other problems.
        tensor: Option<String>,
    },
    /// A required parameter that all models share, given to one of them.
    #[error(
        "{place}: {method} has one `{parameter}` for all models; move it to `parameters` beside or above the list of models"
    )]
    MisplacedParameter {
        /// Where the recipe gives it.
        place: Box<Place>,
        /// The method.
        method: String,
        /// The parameter.
        parameter: &'static str,
    },
    /// A parameter's value of the wrong type or out of range.
    #[error("{place}: `{parameter}` is {found}{}, but must be {expected}", for_tensor(tensor))]
    ParameterValue {
        /// Where the recipe gives it.
        place: Box<Place>,
        /// The parameter.
        parameter: &'static str,
        /// The value, which a gradient may have between two points.
        found: String,
        /// The first tensor that has it; `None` where the tensors were not looked at, for
        /// other problems.
        tensor: Option<String>,
        /// What it may be.
        expected: String,
    },
    /// Parameters that do not fit together.
    #[error("{place}: tensor `{tensor}`: {source}")]
    Parameters {
        /// The recipe's method, or the model whose parameters they are.
        place: Box<Place>,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        source: KernelError,
    },
    /// What a method selects among all tensors together is another for some of them.
    #[error(
        "{place}: {method} selects among all tensors together, for which each model needs one density and all tensors the same models; tensor `{first}` has the densities {expected:?} and `{tensor}` {densities:?}; remove filters and gradients of `density`, or have it select tensor by tensor (`scope: tensor`)"
    )]
    SurveyDiffers {
        /// The recipe's method.
        place: Box<Place>,
        /// The method.
        method: String,
        /// A tensor.
        tensor: String,
        /// Its models' densities.
        densities: Box<[f64]>,
        /// Another tensor.
        first: String,
        /// The densities of that one's models.
        expected: Box<[f64]>,
    },
    /// A method that needs a base model, and none is named.
    #[error(
        "{place}: {method} needs a base model; add `base_model:` with one of the models, or the model that they were trained from"
    )]
    NoBase {
        /// Where it could stand.
        place: Box<Place>,
        /// The method.
        method: String,
    },
    /// A slice that lacks the base model.
    #[error(
        "{place}: {method} needs the base model `{base}` among the sources of every slice; add it with the layers that the others are compared with"
    )]
    BaseNotInSlice {
        /// The slice.
        place: Box<Place>,
        /// The method.
        method: String,
        /// The base model.
        base: String,
    },
    /// A number of models that the method does not take.
    #[error(
        "{place}: {method} merges {expected}, but here {}; choose another method or change the list",
        if *found == 1 { "is one model".to_owned() } else { format!("are {found} models") }
    )]
    ModelCount {
        /// The list.
        place: Box<Place>,
        /// The method.
        method: String,
        /// How many it takes, in words.
        expected: String,
        /// How many there are.
        found: usize,
    },
    /// A model that is not there or cannot be opened.
    #[error("{place}: {source}")]
    Model {
        /// Where the recipe names it.
        place: Box<Place>,
        /// What is wrong with it.
        source: OpenError,
    },
    /// Models of different architectures.
    #[error(
        "{place}: `{model}` is a {found} model, but `{first}` is a {expected} model; merging different architectures seldom gives a working model, so check the list, or allow it (--allow-crimes) if their tensors fit together"
    )]
    ArchitecturesDiffer {
        /// Where the recipe names the model.
        place: Box<Place>,
        /// The model.
        model: String,
        /// Its `model_type`.
        found: String,
        /// The model it is compared with.
        first: String,
        /// That one's `model_type`.
        expected: String,
    },
    /// No stack of layers was found where slices need one.
    #[error(
        "{place}: no stack of layers can be recognised in `{model}`: slices need tensors numbered from 0 up to a layer count of its config.json (such as num_hidden_layers); check that config.json and weights belong together"
    )]
    NoLayers {
        /// Where the recipe names the model.
        place: Box<Place>,
        /// The model.
        model: String,
    },
    /// A layer range beyond the model's layers.
    #[error("{place}: layer range [{}, {}] goes past the end of `{model}`, which has {layers} layers, numbered 0 to {}; a range excludes its end, so let it end at {layers} or before", range.start, range.end, layers.saturating_sub(1))]
    LayerRange {
        /// Where the recipe gives it.
        place: Box<Place>,
        /// The model.
        model: String,
        /// The range.
        range: std::ops::Range<usize>,
        /// How many layers it has.
        layers: usize,
    },
    /// Sources of one slice with different numbers of layers.
    #[error(
        "{place}: the sources of a slice must have the same number of layers, but `{model}` gives {found} and `{first}` {expected}; make the layer ranges equally long"
    )]
    SliceLengths {
        /// The source.
        place: Box<Place>,
        /// Its model.
        model: String,
        /// Its number of layers.
        found: usize,
        /// The model of the first source.
        first: String,
        /// That one's number of layers.
        expected: usize,
    },
    /// Whole models with different numbers of layers.
    #[error(
        "{place}: `{model}` has {found} layers under `{stack}`, but `{first}` has {expected}; whole models can only be merged layer by layer, so use `slices` to say which layers belong together"
    )]
    LayerCounts {
        /// Where the recipe names the model.
        place: Box<Place>,
        /// The model.
        model: String,
        /// The stack's prefix.
        stack: String,
        /// Its number of layers.
        found: usize,
        /// The model it is compared with.
        first: String,
        /// That one's number of layers.
        expected: usize,
    },
    /// A merge of nothing.
    #[error(
        "`{model}` has no tensors, so there is nothing to merge; check that its weights are complete"
    )]
    NoTensors {
        /// The model that the output follows.
        model: String,
    },
    /// A tensor that one of the models lacks.
    #[error(
        "tensor `{tensor}` is in `{first}` but not in `{model}`; models can only be merged tensor by tensor, so check that they have one architecture and are complete"
    )]
    MissingTensor {
        /// The tensor.
        tensor: String,
        /// The model that lacks it.
        model: String,
        /// A model that has it.
        first: String,
    },
    /// Tensors of different shape.
    #[error(
        "tensor `{tensor}` has shape {found:?} in `{model}` but {expected:?} in `{first}`; models can only be merged where shapes agree, so check that they have the same architecture and size{hint}"
    )]
    Shapes {
        /// The tensor.
        tensor: String,
        /// The model.
        model: String,
        /// Its shape there.
        found: Box<[usize]>,
        /// The model it is compared with.
        first: String,
        /// Its shape there.
        expected: Box<[usize]>,
        /// What else to check, or nothing.
        hint: &'static str,
    },
    /// Vocabularies of different size that are not known to count the same tokens.
    #[error(transparent)]
    Vocabularies(#[from] Box<VocabularyMismatch>),
    /// A tokenizer that had to be looked at and cannot be read.
    #[error(
        "{place}: the vocabularies of `{model}` and `{first}` differ in size, so their tokenizers must show which rows belong together, but {source}"
    )]
    Tokenizer {
        /// Where the recipe names the model.
        place: Box<Place>,
        /// The model.
        model: String,
        /// The model whose vocabulary the output takes.
        first: String,
        /// What is wrong.
        source: Arc<TokenizerError>,
    },
    /// A tensor that is merged in some models and copied in others.
    #[error(
        "tensor `{tensor}` is {found} in `{model}` but {expected} in `{first}`; only floating-point tensors can differ in dtype, so check that the models belong together"
    )]
    DTypesDiffer {
        /// The tensor.
        tensor: String,
        /// The model.
        model: String,
        /// Its dtype there.
        found: mergecore_tensor::DType,
        /// The model it is compared with.
        first: String,
        /// Its dtype there.
        expected: mergecore_tensor::DType,
    },
    /// Integer tensors that differ.
    #[error(
        "tensor `{tensor}` holds {dtype} elements, which are copied and never averaged, but `{model}` differs from `{first}` at element {index}; use one model's tensor (`passthrough`) or make them equal"
    )]
    IntegersDiffer {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: mergecore_tensor::DType,
        /// The model.
        model: String,
        /// The model it is compared with.
        first: String,
        /// Flat index of the first element that differs.
        index: u64,
    },
    /// NaN or infinity in an input.
    #[error(
        "tensor `{tensor}` of `{model}` holds NaN or infinity in {count} of its {len} elements, the first at index {first}; the merged model would be broken too, so repair or replace that model, or go on regardless with --allow-nonfinite"
    )]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// The model.
        model: String,
        /// How many elements.
        count: u64,
        /// How many there are in all.
        len: u64,
        /// Flat index of the first.
        first: u64,
    },
    /// NaN or infinity in an output whose inputs have none.
    #[error(
        "the merged tensor `{tensor}` would hold NaN or infinity as {dtype} in {count} of its {len} elements, the first at index {first}, though its inputs are finite; {}, or go on regardless with --allow-nonfinite",
        wider(*dtype)
    )]
    NonFiniteOutput {
        /// The tensor.
        tensor: String,
        /// The dtype that it was to be written in.
        dtype: mergecore_tensor::DType,
        /// How many elements.
        count: u64,
        /// How many there are in all.
        len: u64,
        /// Flat index of the first.
        first: u64,
    },
    /// What a kernel found in the data of a tensor.
    #[error("tensor `{tensor}`: {source}")]
    Kernel {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        source: KernelError,
    },
    /// The model card cannot be made.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The output's place is an input's.
    #[error(
        "the output {output} is the model directory {input}, or one lies within the other; inputs are never written, so choose another output directory"
    )]
    OutputOverlapsInput {
        /// The output directory.
        output: PathBuf,
        /// The input directory.
        input: PathBuf,
    },
    /// Another merge has left its work where this one would do its own.
    #[error(
        "{partial} holds what another merge to {output} has done so far, which this one cannot go on with: {}; repeat that merge as it was to finish it, or discard its work (--restart)",
        differences.join("; ")
    )]
    PartialDiffers {
        /// The output directory.
        output: PathBuf,
        /// Where the work is.
        partial: PathBuf,
        /// How that merge and this one differ, a clause each.
        differences: Vec<String>,
    },
    /// The manifest of an output cannot be relied on.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The pool of threads could not be started.
    #[error("cannot start {threads} threads: {source}; ask for fewer (--threads)")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the pool says.
        source: rayon::ThreadPoolBuildError,
    },
    /// The merge was cancelled.
    #[error("the merge was cancelled; no output was written")]
    Cancelled,
    /// More than one of these.
    #[error("{problems}")]
    Several {
        /// All of them, in the order of the recipe.
        problems: Problems,
    },
}

impl EngineError {
    /// The problems that this stands for, one by one: itself, if it is not
    /// [`Several`](EngineError::Several).
    ///
    /// ```
    /// use mergecore_engine::{EngineError, Problems};
    ///
    /// assert!(matches!(EngineError::Cancelled.problems(), [EngineError::Cancelled]));
    /// let mut problems = Problems::new();
    /// problems.add::<()>(Err(EngineError::Cancelled));
    /// problems.add::<()>(Err(EngineError::Cancelled));
    /// assert_eq!(problems.into_result().unwrap_err().problems().len(), 2);
    /// ```
    pub fn problems(&self) -> &[EngineError] {
        match self {
            EngineError::Several { problems } => problems.as_slice(),
            one => std::slice::from_ref(one),
        }
    }

    /// Where in the recipe it stands, if it has a place there.
    ///
    /// ```
    /// use mergecore_engine::{EngineError, check_recipe};
    /// # use mergecore_config::MergeConfig;
    /// # use mergecore_engine::Registry;
    ///
    /// # let config = MergeConfig::from_yaml_str("merge_method: tise\nmodels: [{model: org/a}]")?;
    /// let error = check_recipe(&config, &Registry::new()).unwrap_err();
    /// assert_eq!(error.place().and_then(|place| place.line()), Some(1));
    /// assert!(EngineError::Cancelled.place().is_none());
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn place(&self) -> Option<&Place> {
        match self {
            EngineError::NotSupported { place, .. }
            | EngineError::UnknownMethod { place, .. }
            | EngineError::UnknownParameter { place, .. }
            | EngineError::MissingParameter { place, .. }
            | EngineError::MisplacedParameter { place, .. }
            | EngineError::ParameterValue { place, .. }
            | EngineError::Parameters { place, .. }
            | EngineError::SurveyDiffers { place, .. }
            | EngineError::NoBase { place, .. }
            | EngineError::BaseNotInSlice { place, .. }
            | EngineError::ModelCount { place, .. }
            | EngineError::Model { place, .. }
            | EngineError::ArchitecturesDiffer { place, .. }
            | EngineError::NoLayers { place, .. }
            | EngineError::LayerRange { place, .. }
            | EngineError::SliceLengths { place, .. }
            | EngineError::LayerCounts { place, .. }
            | EngineError::Tokenizer { place, .. } => Some(place),
            EngineError::Vocabularies(mismatch) => Some(&mismatch.place),
            EngineError::NoTensors { .. }
            | EngineError::MissingTensor { .. }
            | EngineError::Shapes { .. }
            | EngineError::DTypesDiffer { .. }
            | EngineError::IntegersDiffer { .. }
            | EngineError::NonFinite { .. }
            | EngineError::Kernel { .. }
            | EngineError::Card(_)
            | EngineError::Io(_)
            | EngineError::OutputOverlapsInput { .. }
            | EngineError::Threads { .. }
            | EngineError::Cancelled
            | EngineError::Several { .. }
            | EngineError::PartialDiffers { .. }
            | EngineError::Manifest(_)
            | EngineError::NonFiniteOutput { .. } => None,
        }
    }

    /// Whether the recipe (or the model card's template) is at fault, not the models or
    /// the machine; of several problems, whether it is for any of them.
    ///
    /// ```
    /// use mergecore_engine::{EngineError, check_recipe};
    /// # use mergecore_config::MergeConfig;
    /// # use mergecore_engine::Registry;
    ///
    /// # let config = MergeConfig::from_yaml_str("merge_method: tise\nmodels: [{model: org/a}]")?;
    /// assert!(check_recipe(&config, &Registry::new()).unwrap_err().is_recipe());
    /// assert!(!EngineError::Cancelled.is_recipe());
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn is_recipe(&self) -> bool {
        match self {
            EngineError::Several { problems } => {
                problems.as_slice().iter().any(EngineError::is_recipe)
            }
            EngineError::NotSupported { .. }
            | EngineError::UnknownMethod { .. }
            | EngineError::UnknownParameter { .. }
            | EngineError::MissingParameter { .. }
            | EngineError::MisplacedParameter { .. }
            | EngineError::ParameterValue { .. }
            | EngineError::Parameters { .. }
            | EngineError::SurveyDiffers { .. }
            | EngineError::NoBase { .. }
            | EngineError::BaseNotInSlice { .. }
            | EngineError::ModelCount { .. }
            | EngineError::Model {
                source: OpenError::NotFound(_) | OpenError::Adapter { .. },
                ..
            }
            | EngineError::NoLayers { .. }
            | EngineError::LayerRange { .. }
            | EngineError::SliceLengths { .. }
            | EngineError::LayerCounts { .. }
            | EngineError::Card(
                CardError::Read { .. }
                | CardError::NotAFile { .. }
                | CardError::TooLarge { .. }
                | CardError::TooComplex { .. }
                | CardError::Template { .. }
                | CardError::UnknownVariable { .. },
            ) => true,
            EngineError::Model { source: OpenError::Checkpoint(_), .. }
            | EngineError::ArchitecturesDiffer { .. }
            | EngineError::NoTensors { .. }
            | EngineError::MissingTensor { .. }
            | EngineError::Shapes { .. }
            | EngineError::Vocabularies(_)
            | EngineError::Tokenizer { .. }
            | EngineError::DTypesDiffer { .. }
            | EngineError::IntegersDiffer { .. }
            | EngineError::NonFinite { .. }
            | EngineError::NonFiniteOutput { .. }
            | EngineError::Kernel { .. }
            | EngineError::Card(CardError::Write { .. })
            | EngineError::Io(_)
            | EngineError::OutputOverlapsInput { .. }
            | EngineError::PartialDiffers { .. }
            | EngineError::Manifest(_)
            | EngineError::Threads { .. }
            | EngineError::Cancelled => false,
        }
    }
}

/// What to do where results do not fit into a dtype.
fn wider(dtype: mergecore_tensor::DType) -> &'static str {
    match dtype {
        mergecore_tensor::DType::F16 => {
            "numbers beyond 65504 do not fit into float16, so choose another `dtype` (bfloat16, float32) or smaller weights"
        }
        _ => "choose other parameters, such as smaller weights",
    }
}

/// Vocabularies of different size that are not known to count the same tokens.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "{place}: tensor `{tensor}` has {found} rows of vocabulary in `{model}` but {expected} in `{first}`, and {}",
    self.why()
)]
#[non_exhaustive]
pub struct VocabularyMismatch {
    /// Where the recipe names the model.
    pub place: Place,
    /// The tensor.
    pub tensor: String,
    /// The model.
    pub model: String,
    /// Its number of rows.
    pub found: usize,
    /// The model whose vocabulary the output takes.
    pub first: String,
    /// That one's number of rows.
    pub expected: usize,
    /// Why they are not known to be the same tokens: how the first model's tokenizer
    /// differs from this one's.
    pub disagreement: Disagreement,
    /// Those of the two that have no tokenizer.
    pub without_tokenizer: Vec<String>,
}

impl VocabularyMismatch {
    /// What is not known to be the same, and the ways out.
    fn why(&self) -> String {
        let VocabularyMismatch { model, first, .. } = self;
        match (&self.disagreement, &self.without_tokenizer[..]) {
            (Disagreement::Unknown, []) => format!(
                "their tokenizers are of different kinds, so that nothing shows which rows are the same tokens; put a tokenizer.json into both directories, or leave `{model}` out"
            ),
            (Disagreement::Unknown, without) => {
                let names: Vec<String> = without.iter().map(|name| format!("`{name}`")).collect();
                let have = if names.len() == 1 { "has" } else { "have" };
                format!(
                    "{} {have} no tokenizer vocabulary, so that nothing shows which rows are the same tokens; put the tokenizer's files (tokenizer.json) beside the weights, or leave `{model}` out",
                    names.join(" and ")
                )
            }
            (differs, _) => format!(
                "their tokenizers do not agree on the rows they share (`{first}` against `{model}`: {differs}), so that different words would be mixed; merge models of one vocabulary, or leave `{model}` out (merging token by token, `tokenizer_source`, is not supported yet)"
            ),
        }
    }
}

fn for_tensor(tensor: &Option<String>) -> String {
    tensor.as_ref().map(|tensor| format!(" for tensor `{tensor}`")).unwrap_or_default()
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

fn names(takes: &[String]) -> String {
    if takes.is_empty() {
        return "no parameters".to_owned();
    }
    takes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
