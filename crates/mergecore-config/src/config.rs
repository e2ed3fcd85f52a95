//! The recipe itself.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::brackets::too_much_work;
use crate::error::{ConfigError, Limit};
use crate::float_type::FloatType;
use crate::model_ref::ModelRef;
use crate::parameters::Parameters;
use crate::path::RecipePath;
use crate::place::{Note, Place, Source};
use crate::probe::Target;
use crate::resolve::Level;
use crate::tokenizer::{TokenSource, TokenizerConfig, TokenizerSource};
use crate::{read, write};

/// Bytes of a recipe file. The largest real ones have some ten thousand.
const MAX_FILE: usize = 1 << 20;

/// A merge recipe: what to merge, how, and into what.
///
/// Read from YAML with [`from_path`](Self::from_path) or
/// [`from_yaml_str`](Self::from_yaml_str), or built with [`new`](Self::new) and its
/// fields. Two recipes are equal if they say the same, whatever their text.
///
/// ```
/// use mergecore_config::{InputModel, MergeConfig, MergeInput, ModelRef, Parameters};
///
/// let inputs = ["org/a", "org/b"].map(|name| InputModel {
///     model: ModelRef::new(name),
///     parameters: Parameters::new().with("weight", 0.5),
/// });
/// let config = MergeConfig::new("linear", MergeInput::Models(inputs.into()));
/// assert_eq!(MergeConfig::from_yaml_str(&config.to_yaml_string())?, config);
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MergeConfig {
    /// The name of the method, such as `ties`. Not checked here.
    pub merge_method: String,
    /// What is merged.
    pub input: MergeInput,
    /// The model that task vectors are taken from and that others are compared with.
    pub base_model: Option<ModelRef>,
    /// Parameters for all inputs.
    pub parameters: Parameters,
    /// The dtype of the output, unless there is an `out_dtype`.
    pub dtype: Option<FloatType>,
    /// The dtype of the output.
    pub out_dtype: Option<FloatType>,
    /// Where the tokenizer comes from; not together with `tokenizer`.
    pub tokenizer_source: Option<TokenizerSource>,
    /// The same in more detail.
    pub tokenizer: Option<TokenizerConfig>,
    /// `auto`, the name of a chat template, or a template.
    pub chat_template: Option<String>,
    pub(crate) source: Option<Source>,
    pub(crate) notes: Vec<Note>,
}

/// What a recipe merges: exactly one of `models`, `slices` and `modules`.
///
/// ```
/// use mergecore_config::{MergeConfig, MergeInput};
///
/// let config = MergeConfig::from_yaml_str("merge_method: linear\nmodels: [{model: org/a}]\n")?;
/// match config.input {
///     MergeInput::Models(models) => assert_eq!(models[0].model.to_string(), "org/a"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum MergeInput {
    /// Whole models.
    Models(Vec<InputModel>),
    /// Ranges of layers, stacked in this order.
    Slices(Vec<OutputSlice>),
    /// Several modules (a language model and a vision tower, say), each on its own.
    Modules(Vec<(String, Module)>),
}

/// One entry of `models`.
///
/// ```
/// use mergecore_config::{InputModel, ModelRef, Parameters};
///
/// let parameters = Parameters::new().with("weight", 0.3).with("density", 0.5);
/// let input = InputModel { model: ModelRef::new("org/a"), parameters };
/// assert_eq!(input.parameters.get("weight"), Some(&0.3.into()));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct InputModel {
    /// The model.
    pub model: ModelRef,
    /// Parameters for this input.
    pub parameters: Parameters,
}

/// One entry of `slices`: some layers of the output.
///
/// ```
/// use mergecore_config::{MergeConfig, MergeInput};
///
/// let text = "
/// merge_method: passthrough
/// slices:
///   - sources: [{model: org/a, layer_range: [0, 24]}]
///   - sources: [{model: org/a, layer_range: [8, 32]}]
/// ";
/// let MergeInput::Slices(slices) = MergeConfig::from_yaml_str(text)?.input else {
///     panic!("the recipe has slices")
/// };
/// let layers: usize = slices.iter().map(|slice| slice.sources[0].layer_range.len()).sum();
/// assert_eq!(layers, 48);
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSlice {
    /// The layers they are merged from.
    pub sources: Vec<SliceSource>,
    /// The base model here, instead of the recipe's.
    pub base_model: Option<ModelRef>,
    /// Parameters for this slice.
    pub parameters: Parameters,
}

/// One entry of a slice's `sources`.
///
/// ```
/// use mergecore_config::{ModelRef, Parameters, SliceSource};
///
/// let source = SliceSource {
///     model: ModelRef::new("org/a"),
///     layer_range: 8..32, // layer 8 is the first, layer 31 the last
///     parameters: Parameters::new(),
/// };
/// assert_eq!(source.layer_range.len(), 24);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SliceSource {
    /// The model.
    pub model: ModelRef,
    /// Its layers, counted from 0, without the end; never empty in a recipe that was
    /// read.
    pub layer_range: Range<usize>,
    /// Parameters for this input.
    pub parameters: Parameters,
}

/// One entry of `modules`.
///
/// ```
/// use mergecore_config::{MergeConfig, MergeInput, ModuleInput};
///
/// let text = "
/// merge_method: linear
/// modules:
///   text_decoder: {models: [{model: org/a}, {model: org/b}]}
/// ";
/// let MergeInput::Modules(modules) = MergeConfig::from_yaml_str(text)?.input else {
///     panic!("the recipe has modules")
/// };
/// let (name, module) = &modules[0];
/// assert_eq!(name, "text_decoder");
/// assert!(matches!(&module.input, ModuleInput::Models(models) if models.len() == 2));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// What is merged.
    pub input: ModuleInput,
    /// Parameters for this module.
    pub parameters: Parameters,
}

/// What a module is merged from: exactly one of `models` and `slices`.
///
/// [`Module`] shows one.
#[derive(Debug, Clone, PartialEq)]
pub enum ModuleInput {
    /// Whole models.
    Models(Vec<InputModel>),
    /// Ranges of layers, stacked in this order.
    Slices(Vec<OutputSlice>),
}

/// Points at a part of a recipe by number, to ask for its parameters.
///
/// ```
/// use mergecore_config::Site;
///
/// // the parameters shared by all sources of the first slice
/// let shared = Site { slice: Some(0), ..Site::default() };
/// // those of its second source
/// let own = Site { input: Some(1), ..shared };
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Site {
    /// Which entry of `modules`, if the recipe has them.
    pub module: Option<usize>,
    /// Which entry of `slices`, if the recipe or the module has them.
    pub slice: Option<usize>,
    /// Which entry of `models`, or of the slice's `sources`; `None` for what all inputs
    /// share.
    pub input: Option<usize>,
}

impl MergeConfig {
    /// A recipe with that method and those inputs and nothing else.
    ///
    /// ```
    /// use mergecore_config::{FloatType, MergeConfig, MergeInput};
    ///
    /// let mut config = MergeConfig::new("ties", MergeInput::Models(Vec::new()));
    /// config.dtype = Some(FloatType::Bf16);
    /// assert!(config.base_model.is_none() && config.source_text().is_none());
    /// ```
    pub fn new(merge_method: impl Into<String>, input: MergeInput) -> Self {
        Self {
            merge_method: merge_method.into(),
            input,
            base_model: None,
            parameters: Parameters::new(),
            dtype: None,
            out_dtype: None,
            tokenizer_source: None,
            tokenizer: None,
            chat_template: None,
            source: None,
            notes: Vec::new(),
        }
    }

    /// Reads a recipe from its YAML text.
    ///
    /// # Errors
    ///
    /// Any mistake in it, as a [`ConfigError`] with line and column.
    ///
    /// ```
    /// use mergecore_config::{FloatType, MergeConfig};
    ///
    /// let text = "merge_method: linear\nmodels: [{model: org/a}]\ndtype: bf16\n";
    /// assert_eq!(MergeConfig::from_yaml_str(text)?.dtype, Some(FloatType::Bf16));
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn from_yaml_str(text: &str) -> Result<Self, ConfigError> {
        read::config_from_source(Source::new(text, None))
    }

    /// Reads a recipe from a file. Only that file is opened.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, and any mistake in it, as a [`ConfigError`] with
    /// file, line and column.
    ///
    /// ```
    /// use mergecore_config::MergeConfig;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("recipe.yml");
    /// std::fs::write(&path, "merge_method: linear\nmodels: []\n").unwrap();
    /// let error = MergeConfig::from_path(&path).unwrap_err();
    /// assert!(error.to_string().contains("recipe.yml:2:9: models: nothing is listed here"));
    /// ```
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = read_file(path)?;
        read::config_from_source(Source::new(text, Some(path.display().to_string())))
    }

    /// The recipe as YAML, in mergekit's schema. Comments and layout are
    /// lost; for the recipe as given see [`source_text`](Self::source_text). What was
    /// read reads back equal; what was built in code does if it is a valid recipe.
    ///
    /// # Panics
    ///
    /// Never, unless this crate is broken: a tree of plain values and text keys can
    /// always be written to a string.
    ///
    /// ```
    /// use mergecore_config::MergeConfig;
    ///
    /// let text = "merge_method: linear # a comment\nmodels: [{model: org/a}]\n";
    /// let written = MergeConfig::from_yaml_str(text)?.to_yaml_string();
    /// assert_eq!(written, "models:\n- model: org/a\nmerge_method: linear\n");
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn to_yaml_string(&self) -> String {
        serde_yaml::to_string(&write::config(self)).expect("a plain tree can be written")
    }

    /// The text this recipe was read from, as it was given; `None` if it was built in
    /// code or came through serde.
    ///
    /// ```
    /// let text = "merge_method: linear # plain\nmodels: [{model: org/a}]\n";
    /// let config = mergecore_config::MergeConfig::from_yaml_str(text)?;
    /// assert_eq!(config.source_text(), Some(text));
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn source_text(&self) -> Option<&str> {
        self.source.as_ref().map(Source::text)
    }

    /// What was accepted without having an effect.
    ///
    /// ```
    /// let text = "name: mine\nmerge_method: linear\nmodels: [{model: org/a}]\n";
    /// let config = mergecore_config::MergeConfig::from_yaml_str(text)?;
    /// assert_eq!(config.notes().len(), 1); // `name` has no effect
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The place of the value at `path`, with the line and column where the recipe's
    /// text is known. If nothing is there, those of the nearest thing that contains it;
    /// if the value is an alias, those of the value it stands for.
    ///
    /// ```
    /// # let text = "merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: 2}\n";
    /// # let config = mergecore_config::MergeConfig::from_yaml_str(text)?;
    /// use mergecore_config::RecipePath;
    ///
    /// let models = RecipePath::root().key("models");
    /// let place = config.place(&models.index(0).key("parameters").key("weight"));
    /// assert_eq!(
    ///     place.to_string(),
    ///     "line 4, column 26: models[0].parameters.weight"
    /// );
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn place(&self, path: &RecipePath) -> Place {
        self.place_of(path, Target::Value)
    }

    /// Like [`place`](Self::place), but of the key: for a name that should not be there.
    ///
    /// ```
    /// use mergecore_config::{MergeConfig, RecipePath};
    ///
    /// let text = "merge_method: linear\nmodels: [{model: org/a}]\nparameters: {wieght: 1}\n";
    /// let config = MergeConfig::from_yaml_str(text)?;
    /// let place = config.place_of_key(&RecipePath::root().key("parameters").key("wieght"));
    /// assert_eq!((place.line(), place.column()), (Some(3), Some(14)));
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn place_of_key(&self, path: &RecipePath) -> Place {
        self.place_of(path, Target::Key)
    }

    fn place_of(&self, path: &RecipePath, target: Target) -> Place {
        match &self.source {
            Some(source) => source.place(path, target),
            None => Place::new(None, None, path.clone()),
        }
    }

    /// The models that a card of the merge lists, in order and once each: under
    /// `models` the entries that have `parameters` (all but the base if none has),
    /// under `slices` every source, in `modules` those of each module.
    ///
    /// ```
    /// use mergecore_config::MergeConfig;
    ///
    /// let config = MergeConfig::from_yaml_str(
    ///     "
    /// merge_method: ties
    /// base_model: org/base
    /// models:
    ///   - model: org/base
    ///   - {model: org/a, parameters: {weight: 0.5, density: 0.5}}
    ///   - {model: org/b, parameters: {weight: 0.5, density: 0.5}}
    /// ",
    /// )?;
    /// let names: Vec<String> = config.models().iter().map(ToString::to_string).collect();
    /// assert_eq!(names, ["org/a", "org/b"]);
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn models(&self) -> Vec<&ModelRef> {
        let mut models = Vec::new();
        match &self.input {
            MergeInput::Models(inputs) => self.with_parameters(inputs, &mut models),
            MergeInput::Slices(slices) => models.extend(sources(slices)),
            MergeInput::Modules(modules) => {
                for (_, module) in modules {
                    match &module.input {
                        ModuleInput::Models(inputs) => self.with_parameters(inputs, &mut models),
                        ModuleInput::Slices(slices) => models.extend(sources(slices)),
                    }
                }
            }
        }
        once(models)
    }

    fn with_parameters<'a>(&'a self, inputs: &'a [InputModel], models: &mut Vec<&'a ModelRef>) {
        let any = inputs.iter().any(|input| !input.parameters.is_empty());
        let listed = inputs.iter().filter(|input| match any {
            true => !input.parameters.is_empty(),
            false => self.base_model.as_ref() != Some(&input.model),
        });
        models.extend(listed.map(|input| &input.model));
    }

    /// Every model whose weights the recipe names, once, in order of appearance; the
    /// recipe's base model last if it is not among the inputs. Models that only give a
    /// tokenizer are in [`tokenizer_models`](Self::tokenizer_models).
    ///
    /// ```
    /// let text = "
    /// merge_method: ties
    /// models: [{model: org/a}, {model: org/b}]
    /// base_model: org/base
    /// ";
    /// let config = mergecore_config::MergeConfig::from_yaml_str(text)?;
    /// let names: Vec<String> = config.referenced_models().iter().map(|m| m.to_string()).collect();
    /// assert_eq!(names, ["org/a", "org/b", "org/base"]);
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn referenced_models(&self) -> Vec<&ModelRef> {
        let mut models = Vec::new();
        match &self.input {
            MergeInput::Models(inputs) => of_models(inputs, &mut models),
            MergeInput::Slices(slices) => of_slices(slices, &mut models),
            MergeInput::Modules(modules) => {
                for (_, module) in modules {
                    match &module.input {
                        ModuleInput::Models(inputs) => of_models(inputs, &mut models),
                        ModuleInput::Slices(slices) => of_slices(slices, &mut models),
                    }
                }
            }
        }
        models.extend(&self.base_model);
        once(models)
    }

    /// Every model that `tokenizer_source` or `tokenizer` names, once, in order.
    ///
    /// ```
    /// let text = "merge_method: linear\nmodels: [{model: org/a}]\ntokenizer_source: org/chat\n";
    /// let config = mergecore_config::MergeConfig::from_yaml_str(text)?;
    /// assert_eq!(config.tokenizer_models()[0].to_string(), "org/chat");
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn tokenizer_models(&self) -> Vec<&ModelRef> {
        let mut models = Vec::new();
        if let Some(TokenizerSource::Model(model)) = &self.tokenizer_source {
            models.push(model);
        }
        if let Some(tokenizer) = &self.tokenizer {
            if let TokenizerSource::Model(model) = &tokenizer.source {
                models.push(model);
            }
            for (_, token) in &tokenizer.tokens {
                match &token.source {
                    Some(TokenSource::Model(model) | TokenSource::ModelToken { model, .. }) => {
                        models.push(model);
                    }
                    Some(TokenSource::Zero) | None => {}
                }
            }
        }
        once(models)
    }

    /// The path of what `site` points at, such as `slices[0].sources[1]`. Numbers that
    /// point at nothing are left out.
    ///
    /// ```
    /// use mergecore_config::{MergeConfig, Site};
    ///
    /// let text = "merge_method: linear\nmodels: [{model: org/a}, {model: org/b}]\n";
    /// let config = MergeConfig::from_yaml_str(text)?;
    /// let second = Site { input: Some(1), ..Site::default() };
    /// assert_eq!(config.site_path(second).to_string(), "models[1]");
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn site_path(&self, site: Site) -> RecipePath {
        self.walk(site).0
    }

    /// The `parameters` that apply at `site`, in look-up order: of the input, of the
    /// slice, of the module, of the recipe. For [`resolve`](crate::resolve).
    ///
    /// ```
    /// # let text = "merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: 2}\n";
    /// # let config = mergecore_config::MergeConfig::from_yaml_str(text)?;
    /// use mergecore_config::{Site, resolve};
    ///
    /// let levels = config.levels(Site { input: Some(0), ..Site::default() });
    /// let weight = resolve(&levels, "weight", "lm_head.weight", 0.0).unwrap();
    /// assert_eq!(weight.value.as_f64(), Some(2.0));
    /// # Ok::<(), mergecore_config::ConfigError>(())
    /// ```
    pub fn levels(&self, site: Site) -> Vec<Level<'_>> {
        let mut levels = self.walk(site).1;
        levels.reverse();
        levels
    }

    /// Goes from the top down to `site`; returns its path and the levels passed.
    fn walk(&self, site: Site) -> (RecipePath, Vec<Level<'_>>) {
        let mut path = RecipePath::root();
        let mut levels = Vec::new();
        fn enter<'a>(levels: &mut Vec<Level<'a>>, parameters: &'a Parameters, path: &RecipePath) {
            let path = path.key("parameters");
            levels.push(Level { parameters, path });
        }
        enter(&mut levels, &self.parameters, &path);
        let (mut models, mut slices): (&[InputModel], &[OutputSlice]) = (&[], &[]);
        match &self.input {
            MergeInput::Models(list) => models = list,
            MergeInput::Slices(list) => slices = list,
            MergeInput::Modules(modules) => {
                if let Some((name, module)) = site.module.and_then(|i| modules.get(i)) {
                    path = path.key("modules").key(name);
                    enter(&mut levels, &module.parameters, &path);
                    match &module.input {
                        ModuleInput::Models(list) => models = list,
                        ModuleInput::Slices(list) => slices = list,
                    }
                }
            }
        }
        let slice = site.slice.and_then(|i| Some((i, slices.get(i)?)));
        if let Some((i, slice)) = slice {
            path = path.key("slices").index(i);
            enter(&mut levels, &slice.parameters, &path);
            let source = site.input.and_then(|i| Some((i, slice.sources.get(i)?)));
            if let Some((i, source)) = source {
                path = path.key("sources").index(i);
                enter(&mut levels, &source.parameters, &path);
            }
        } else if let Some((i, model)) = site.input.and_then(|i| Some((i, models.get(i)?))) {
            path = path.key("models").index(i);
            enter(&mut levels, &model.parameters, &path);
        }
        (path, levels)
    }
}

impl PartialEq for MergeConfig {
    fn eq(&self, other: &Self) -> bool {
        self.merge_method == other.merge_method
            && self.input == other.input
            && self.base_model == other.base_model
            && self.parameters == other.parameters
            && self.dtype == other.dtype
            && self.out_dtype == other.out_dtype
            && self.tokenizer_source == other.tokenizer_source
            && self.tokenizer == other.tokenizer
            && self.chat_template == other.chat_template
    }
}

fn of_models<'a>(inputs: &'a [InputModel], models: &mut Vec<&'a ModelRef>) {
    models.extend(inputs.iter().map(|input| &input.model));
}

fn sources(slices: &[OutputSlice]) -> impl Iterator<Item = &ModelRef> {
    slices.iter().flat_map(|slice| &slice.sources).map(|source| &source.model)
}

fn of_slices<'a>(slices: &'a [OutputSlice], models: &mut Vec<&'a ModelRef>) {
    for slice in slices {
        models.extend(slice.sources.iter().map(|source| &source.model));
        models.extend(&slice.base_model);
    }
}

fn once(mut models: Vec<&ModelRef>) -> Vec<&ModelRef> {
    let mut seen = std::collections::HashSet::new();
    models.retain(|model| seen.insert(*model));
    models
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(ConfigError::IsDirectory { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() > MAX_FILE {
        let file = Some(path.display().to_string().into());
        return Err(ConfigError::TooLarge {
            place: Box::new(Place::new(file, None, RecipePath::root())),
            limit: Limit::File,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..offset];
        ConfigError::NotUtf8 {
            path: path.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            offset,
        }
    })
}

pub(crate) fn check_size(source: &Source) -> Result<(), ConfigError> {
    let too_large = |position, limit| {
        let place = Place::new(source.file(), position, RecipePath::root());
        Err(ConfigError::TooLarge { place: Box::new(place), limit })
    };
    if source.text().len() > MAX_FILE {
        return too_large(None, Limit::File);
    }
    match too_much_work(source.yaml()) {
        None => Ok(()),
        position => too_large(position, Limit::Brackets),
    }
}
