//! The model card, README.md: what was merged, how, and by which recipe.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mergecore_config::{MergeConfig, ModelRef, nearest};
use mergecore_kernel::Method;
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;
use serde_yaml::{Mapping, Value};

use crate::Registry;
use crate::card_limits::beyond_limits;

const TEMPLATE: &str = include_str!("model_card.md.jinja");

/// What a template may use.
const VARIABLES: [&str; 13] = [
    "base_model",
    "license",
    "merge_method",
    "metadata",
    "method_title",
    "method_url",
    "model_name",
    "models",
    "pipeline_tag",
    "sources",
    "username",
    "version",
    "yaml_config",
];

/// Steps that rendering may take: thousands of times what a card needs.
const FUEL: u64 = 10_000_000;

/// Its name.
pub(crate) const FILE: &str = "README.md";

/// How deeply blocks, macros (which count four times) and loops may call one another.
const MAX_CALLS: usize = 100;

/// Far above any template.
const MAX_TEMPLATE: u64 = 1 << 20;

/// Far above any card's metadata.
const MAX_METADATA: u64 = 100_000;

/// Far above the name of any licence.
const MAX_LICENSE: usize = 1_000;

/// What a model card says besides its recipe.
///
/// ```
/// use mergecore_engine::ModelCardOptions;
///
/// let options = ModelCardOptions {
///     model_name: "my-merge".to_owned(),
///     username: Some("me".to_owned()),
///     license: Some("apache-2.0".to_owned()),
///     ..ModelCardOptions::default()
/// };
/// # let config = mergecore_config::MergeConfig::from_yaml_str(
/// #     "merge_method: linear\nmodels: [{model: org/a}]",
/// # ).unwrap();
/// # let registry = mergecore_engine::Registry::new();
/// let card = mergecore_engine::render_model_card(&config, &registry, &options)?;
/// assert!(card.contains("\nlicense: apache-2.0\n") && card.contains("\n# my-merge\n"));
/// # Ok::<(), mergecore_engine::CardError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelCardOptions {
    /// The merged model's name, without its owner.
    pub model_name: String,
    /// Its owner on the hub.
    pub username: Option<String>,
    /// Its licence, by the hub's identifier: `apache-2.0`.
    pub license: Option<String>,
    /// What it is for, by the hub's identifier: `text-generation`.
    pub pipeline_tag: Option<String>,
    /// A template to render instead of the built-in one.
    pub template: Option<ModelCardTemplate>,
}

/// A template of a model card, in the language of Jinja.
///
/// It may use `model_name`, `models` (their names: see [`MergeConfig::models`]),
/// `yaml_config` (the recipe, on lines of its own), `username`, `merge_method`,
/// `base_model` and `license`; those that are not known print as nothing. Beyond
/// these: `method_title`, `method_url`, `metadata` (the hub's, as YAML),
/// `pipeline_tag`, `sources` (all models, each with `name`, `url` if it has a hub name,
/// and `base`) and `version`.
///
/// A template may be anybody's: it reaches no file, and the steps, the memory and the depth
/// of its calls are bounded. There is no `namespace`, with which values could contain
/// themselves.
///
/// ```
/// use mergecore_config::MergeConfig;
/// use mergecore_engine::{ModelCardOptions, ModelCardTemplate, Registry, render_model_card};
///
/// let text = "# {{ model_name }}\n{% for model in models %}* {{ model }}\n{% endfor %}";
/// let options = ModelCardOptions {
///     model_name: "ab".to_owned(),
///     template: Some(ModelCardTemplate::new("card.md", text)),
///     ..ModelCardOptions::default()
/// };
/// let recipe = "{merge_method: linear, models: [{model: org/a}, {model: org/b}]}";
/// let config = MergeConfig::from_yaml_str(recipe)?;
/// let card = render_model_card(&config, &Registry::new(), &options).unwrap();
/// assert_eq!(card, "# ab\n* org/a\n* org/b\n");
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCardTemplate {
    name: String,
    text: String,
}

impl ModelCardTemplate {
    /// A template with this text, and a name for messages. The text is looked at when
    /// a card is rendered.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        ModelCardTemplate { name: name.into(), text: text.into() }
    }

    /// Reads a template from a file, by whose path messages name it.
    ///
    /// # Errors
    /// [`CardError::Read`] if it cannot be read or is not UTF-8, [`CardError::NotAFile`] and
    /// [`CardError::TooLarge`] if it is something else.
    ///
    /// ```
    /// use mergecore_engine::ModelCardTemplate;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("card.md");
    /// std::fs::write(&path, "# {{ model_name }}").unwrap();
    /// let template = ModelCardTemplate::from_path(&path)?;
    /// assert_eq!(template, ModelCardTemplate::new(path.to_str().unwrap(), "# {{ model_name }}"));
    /// # Ok::<(), mergecore_engine::CardError>(())
    /// ```
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, CardError> {
        let path = path.as_ref();
        let failed = |source| CardError::Read { path: path.to_owned(), source };
        // What the shell hands over as `<(...)` is a pipe, and is meant to be read.
        let is_handed_over = path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
        if !is_handed_over && !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(CardError::NotAFile { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_TEMPLATE + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_TEMPLATE {
            return Err(CardError::TooLarge { path: path.to_owned() });
        }
        let text = String::from_utf8(bytes).map_err(|error| failed(io::Error::other(error)))?;
        Ok(ModelCardTemplate::new(path.display().to_string(), text))
    }
}

/// Why there is no model card.
///
/// ```
/// # use mergecore_config::MergeConfig;
/// use mergecore_engine::{CardError, ModelCardOptions, ModelCardTemplate};
/// # use mergecore_engine::{Registry, render_model_card};
///
/// let template = ModelCardTemplate::new("card.md", "# {{ modelname }}");
/// let options = ModelCardOptions { template: Some(template), ..Default::default() };
/// # let config = MergeConfig::from_yaml_str("merge_method: linear\nmodels: [{model: org/a}]")?;
/// let error = render_model_card(&config, &Registry::new(), &options).unwrap_err();
/// assert!(matches!(error, CardError::UnknownVariable { suggestion: "model_name", .. }));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The template's file cannot be read.
    #[error("cannot read the model card's template {path}: {source}; give a text file in UTF-8")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's report.
        source: std::io::Error,
    },
    /// The template's path leads to a directory, a pipe or a device.
    #[error(
        "the model card's template {path} is not a file and is not opened; give a text file in UTF-8"
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Larger than any template.
    #[error(
        "the model card's template {path} is larger than 1 MiB, so it cannot be one; give a text file in UTF-8"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The template is not valid, or fails.
    #[error("{name}{}: {}; correct the model card's template, or leave it out for the built-in one",
        source.line().map(|line| format!(":{line}")).unwrap_or_default(),
        what_is_wrong(source))]
    Template {
        /// The template's name.
        name: String,
        /// What is wrong.
        source: minijinja::Error,
    },
    /// The template is so long or deep in a place that rendering it might not be safe.
    #[error(
        "{name}:{line}: {reason} for a model card's template; write it in several, simpler parts"
    )]
    TooComplex {
        /// The template's name.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is too much.
        reason: &'static str,
    },
    /// The template uses a variable that there is not, but nearly.
    #[error("{name}: unknown variable `{variable}` (did you mean `{suggestion}`?); a model card's template can use {}", VARIABLES.join(", "))]
    UnknownVariable {
        /// The template's name.
        name: String,
        /// The variable.
        variable: String,
        /// The nearest variable there is.
        suggestion: &'static str,
    },
    /// The card cannot be written.
    #[error("cannot write {path}: {source}; give a directory that exists and can be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's report.
        source: std::io::Error,
    },
}

/// The template engine's words, where they say something to who writes templates.
fn what_is_wrong(source: &minijinja::Error) -> String {
    if source.kind() == minijinja::ErrorKind::OutOfFuel {
        return "it takes more work than any card does, as by loops within loops".to_owned();
    }
    source.detail().map_or_else(|| source.kind().to_string(), str::to_owned)
}

/// Renders the model card of a merge: Markdown with the hub's metadata on top, the
/// method with a link to its paper (if the registry knows the method), the models, and
/// the recipe. No model is opened.
///
/// # Errors
/// If there is a template of one's own and it is not valid; see [`CardError`].
///
/// ```
/// use mergecore_config::MergeConfig;
/// use mergecore_engine::{ModelCardOptions, Registry, render_model_card};
///
/// let config = MergeConfig::from_yaml_str("merge_method: linear\nmodels: [{model: org/a}]")?;
/// let options = ModelCardOptions { model_name: "merged".into(), ..Default::default() };
/// let card = render_model_card(&config, &Registry::new(), &options).unwrap();
/// assert!(card.contains("[org/a](https://huggingface.co/org/a)"));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
pub fn render_model_card(
    config: &MergeConfig,
    registry: &Registry,
    options: &ModelCardOptions,
) -> Result<String, CardError> {
    let method = registry.get(&config.merge_method).map(|method| &**method);
    CardContent::new(config, method).render(options)
}

/// Saves a model card as README.md in a directory that exists, in place of one that is
/// there; yields its path.
///
/// # Errors
/// [`CardError::Write`] if it cannot be written.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let path = mergecore_engine::save_model_card("# my-merge\n", dir.path()).unwrap();
/// assert_eq!(path, dir.path().join("README.md"));
/// ```
pub fn save_model_card(card: &str, dir: impl AsRef<Path>) -> Result<PathBuf, CardError> {
    let path = dir.as_ref().join(FILE);
    match std::fs::write(&path, card) {
        Ok(()) => Ok(path),
        Err(source) => Err(CardError::Write { path, source }),
    }
}

/// What a recipe contributes to its card.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CardContent {
    models: Vec<String>,
    yaml_config: String,
    merge_method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_model: Option<String>,
    method_title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method_url: Option<String>,
    sources: Vec<Source>,
    version: &'static str,
}

/// A model that was read.
#[derive(Debug, Clone, Serialize)]
struct Source {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip)]
    hub_name: Option<String>,
    base: bool,
}

/// All that a template sees.
#[derive(Serialize)]
struct Variables<'a> {
    #[serde(flatten)]
    content: &'a CardContent,
    model_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline_tag: Option<&'a str>,
    metadata: String,
}

impl CardContent {
    pub(crate) fn new(config: &MergeConfig, method: Option<&dyn Method>) -> Self {
        let recipe = config.source_text().map_or_else(|| config.to_yaml_string(), str::to_owned);
        let base = config.base_model.as_ref();
        let source = |model: &ModelRef| {
            let (path, revision) = (&model.model.path, &model.model.revision);
            let hub_name = model.looks_like_hub_name().then(|| path.clone());
            let tree = revision.as_ref().map(|revision| format!("/tree/{revision}"));
            let url = |path| format!("https://huggingface.co/{path}{}", tree.unwrap_or_default());
            let url = hub_name.as_deref().map(url);
            Source { name: model.to_string(), url, hub_name, base: base == Some(model) }
        };
        CardContent {
            models: config.models().iter().map(ToString::to_string).collect(),
            // A template may put it right between the fences of a block of code.
            yaml_config: format!("\n{}\n", recipe.trim_matches('\n').trim_end()),
            merge_method: config.merge_method.clone(),
            base_model: base.map(ToString::to_string),
            method_title: method.map_or(&*config.merge_method, Method::title).to_owned(),
            method_url: method.and_then(Method::source).map(str::to_owned),
            sources: config.referenced_models().into_iter().map(source).collect(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    pub(crate) fn render(&self, options: &ModelCardOptions) -> Result<String, CardError> {
        let (name, text) = match &options.template {
            Some(template) => (&*template.name, &*template.text),
            None => ("the built-in template", TEMPLATE),
        };
        let failed = |source| CardError::Template { name: name.to_owned(), source };
        if let Some((line, reason)) = beyond_limits(text) {
            return Err(CardError::TooComplex { name: name.to_owned(), line, reason });
        }
        let mut environment = Environment::new();
        environment.remove_global("namespace");
        environment.set_recursion_limit(MAX_CALLS);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("fence", fence);
        // Under a name of its own: by the file's, `card.html` would be escaped.
        let template = environment.template_from_named_str("card", text).map_err(failed)?;
        // As in Jinja a variable that is not there prints as nothing; one that is nearly
        // one of those above is a slip.
        let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| !VARIABLES.contains(&name.as_str()) && !is_assigned(text, name));
        unknown.sort();
        for variable in unknown {
            let near = nearest(&variable, VARIABLES);
            if let Some(suggestion) = VARIABLES.into_iter().find(|name| near == Some(name)) {
                let name = name.to_owned();
                return Err(CardError::UnknownVariable { name, variable, suggestion });
            }
        }
        let variables = Variables {
            content: self,
            model_name: &options.model_name,
            username: options.username.as_deref(),
            license: options.license.as_deref(),
            pipeline_tag: options.pipeline_tag.as_deref(),
            metadata: self.metadata(options),
        };
        let mut card = template.render(Serde(variables)).map_err(failed)?;
        // Jinja drops the last line's end.
        if text.ends_with('\n') && !card.ends_with('\n') {
            card.push('\n');
        }
        Ok(card)
    }

    /// The hub's metadata, as YAML.
    fn metadata(&self, options: &ModelCardOptions) -> String {
        let mut metadata = Mapping::new();
        let mut set = |key: &str, value: Value| metadata.insert(key.into(), value);
        // The hub accepts nothing but its own names here.
        let mut hub_names: Vec<Value> = Vec::new();
        for name in self.sources.iter().filter_map(|source| source.hub_name.as_deref()) {
            // Two revisions of a model are one model of the hub.
            if !hub_names.contains(&name.into()) {
                hub_names.push(name.into());
            }
        }
        if !hub_names.is_empty() {
            set("base_model", hub_names.into());
            set("base_model_relation", "merge".into());
        }
        set("library_name", "transformers".into());
        if let Some(license) = &options.license {
            set("license", license.clone().into());
        }
        if let Some(pipeline_tag) = &options.pipeline_tag {
            set("pipeline_tag", pipeline_tag.clone().into());
        }
        set("tags", Value::Sequence(vec!["merge".into(), "mergecore".into()]));
        serde_yaml::to_string(&metadata).unwrap_or_default()
    }
}

/// Whether a template sets a variable of that name, wherever.
fn is_assigned(template: &str, name: &str) -> bool {
    let words = template.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| pair == ["set", name])
}

/// The text between fences that are longer than any run of backticks in it.
fn fence(text: &str, language: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}", text.trim_matches('\n'))
}

/// The licence in the metadata of a model's own card, where there is exactly one and the
/// hub knows it by name: `other` says nothing without the text it stands for.
pub(crate) fn license_of(dir: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        license: Option<OneOrMore>,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let mut bytes = Vec::new();
    let path = dir.join(FILE);
    let file = path.is_file().then(|| File::open(path).ok())??;
    file.take(MAX_METADATA).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    let metadata = text.trim_start_matches('\u{feff}').strip_prefix("---\n")?;
    let metadata = metadata.split("\n---").next()?;
    // The entry alone: deep nesting elsewhere would take the parser minutes.
    let mut lines = metadata.lines().skip_while(|line| !line.starts_with("license:"));
    let mut entry = lines.next()?.to_owned();
    for line in lines.take_while(|line| line.starts_with([' ', '-', '#'])) {
        entry.push('\n');
        entry.push_str(line);
    }
    if entry.len() > MAX_LICENSE {
        return None;
    }
    let license = match serde_yaml::from_str::<Metadata>(&entry).ok()?.license? {
        OneOrMore::One(license) => license,
        OneOrMore::More(licenses) => <[String; 1]>::try_from(licenses).ok()?[0].clone(),
    };
    (license != "other").then_some(license)
}
