//! From text to a [`MergeConfig`]: the YAML tree first, then what it means.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny};

use crate::config::{
    InputModel, MergeConfig, MergeInput, Module, ModuleInput, OutputSlice, SliceSource,
};
use crate::error::{ConfigError, Limit};
use crate::file::check_size;
use crate::float_type::FloatType;
use crate::model_ref::{ModelLocation, ModelRef};
use crate::node::{Node, Parse, Problem};
use crate::place::{Place, Source};
use crate::probe::{self, Target};
use crate::read_parameters::parameters;
use crate::read_tokenizer::{tokenizer, tokenizer_source};
use crate::reader::{Cursor, Fields, Reader, Result};
use crate::suggest::nearest;

pub(crate) fn config_from_source(source: Source) -> Result<MergeConfig> {
    check_size(&source)?;
    let tree = tree(&source)?;
    if tree == Node::Null {
        let place = Place::new(source.file(), None, crate::RecipePath::root());
        return Err(ConfigError::Empty { place: Box::new(place) });
    }
    let mut config = config(&tree, Some(&source))?;
    config.source = Some(source);
    Ok(config)
}

impl<'de> Deserialize<'de> for MergeConfig {
    /// From any self-describing format. Errors carry the path; line and column are
    /// known to [`MergeConfig::from_yaml_str`] only.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let tree = Parse::new().seed().deserialize(deserializer)?;
        config(&tree, None).map_err(D::Error::custom)
    }
}

/// Parses the one document of the text.
fn tree(source: &Source) -> Result<Node> {
    let mut documents = serde_yaml::Deserializer::from_str(source.yaml());
    let Some(first) = documents.next() else {
        return Ok(Node::Null);
    };
    let parse = Parse::new();
    let tree = match parse.seed().deserialize(first) {
        Ok(tree) => tree,
        Err(error) => return Err(yaml_error(source, parse, error)),
    };
    let Some(second) = documents.next() else {
        return Ok(tree);
    };
    // Another document, or only something that is no YAML after the first.
    let root = crate::RecipePath::root();
    if let Some(Err(error)) =
        serde_yaml::Deserializer::from_str(source.yaml()).nth(1).map(IgnoredAny::deserialize)
    {
        return Err(syntax(source, error, root));
    }
    let place = source.at(&probe::root_location(second), root);
    Err(ConfigError::SeveralDocuments { place: Box::new(place) })
}

fn yaml_error(source: &Source, parse: Parse, error: serde_yaml::Error) -> ConfigError {
    let (problem, path) = parse.into_problem();
    let at_error = |path| Box::new(source.at(&error, path));
    match problem {
        None => {
            // The one limit of the parser that is below ours.
            if error.to_string().starts_with("repetition limit") {
                return ConfigError::TooLarge {
                    place: Box::new(source.place(&path, Target::Value)),
                    limit: Limit::Aliases,
                };
            }
            syntax(source, error, crate::RecipePath::root())
        }
        Some(Problem::DuplicateKey(key)) => ConfigError::DuplicateKey {
            first: source.place(&path, Target::Key).line(),
            place: at_error(path),
            key,
        },
        Some(Problem::BadMerge(found)) => {
            ConfigError::BadMergeKey { place: Box::new(source.place(&path, Target::Value)), found }
        }
        Some(Problem::Tag(tag)) => ConfigError::Tag { place: at_error(path), tag },
        // Too deep is too long a path to be of use.
        Some(Problem::Limit(limit)) => {
            ConfigError::TooLarge { place: at_error(crate::RecipePath::root()), limit }
        }
    }
}

fn syntax(source: &Source, error: serde_yaml::Error, path: crate::RecipePath) -> ConfigError {
    let message = error.to_string();
    if let Some(position) = unprintable(source.yaml()).filter(|_| message.contains("control")) {
        // The parser gives the first character of the text as the place.
        return ConfigError::Syntax {
            place: Box::new(Place::new(source.file(), Some(position), path)),
            hint: "the character here cannot be printed; remove it",
            source: error,
        };
    }
    let line = error
        .location()
        .and_then(|location| source.yaml().lines().nth(location.line().checked_sub(1)?))
        .unwrap_or_default();
    let rest: String = error
        .location()
        .map(|location| line.chars().skip(location.column() - 1).collect())
        .unwrap_or_default();
    let says = |part: &str| message.contains(part);
    let indent = &line[..line.len() - line.trim_start().len()];
    let hint = if indent.contains('\t') || rest.starts_with('\t') {
        "indent with spaces, YAML allows no tabs there"
    } else if rest.starts_with(['@', '`', '%']) {
        "text that begins with `@`, `%` or a backtick must be in quotes"
    } else if says("scanning an alias") || says("scanning an anchor") {
        "text that begins with `*` or `&` must be in quotes, as in `filter: \"*\"`"
    } else if says("unknown anchor") {
        "the anchor (`&name`) that an alias (`*name`) refers to must stand before it; \
         put the text in quotes if it is no alias"
    } else if says("mapping values are not allowed") {
        "check the indentation, and put text that contains `: ` in quotes"
    } else if says("scanning a quoted scalar") {
        "a closing quote is missing"
    } else if says("parsing a flow") {
        "a `]`, a `}` or a comma is missing, or one is too many"
    } else if says("could not find expected ':'") {
        "a `:` is missing after a key, or the indentation is wrong"
    } else if says("did not find expected") {
        "check that the lines of each block are indented alike"
    } else if says("plain text") {
        "keys are plain text, not lists or mappings"
    } else {
        ""
    };
    ConfigError::Syntax { place: Box::new(source.at(&error, path)), hint, source: error }
}

/// Line and column of the first character that YAML does not allow, with the ends of lines
/// that it knows.
fn unprintable(text: &str) -> Option<(usize, usize)> {
    const BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let forbidden = |c: char| c.is_control() && c != '\t' && !BREAKS.contains(&c);
    let before = &text[..text.find(forbidden)?];
    let line = 1 + before.matches(BREAKS).count() - before.matches("\r\n").count();
    let rest = before.rsplit(BREAKS).next().unwrap_or_default();
    Some((line, 1 + rest.chars().count()))
}

const TOP_KEYS: &[&str] = &[
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "name",
];

fn config(tree: &Node, source: Option<&Source>) -> Result<MergeConfig> {
    let reader = Reader::new(source);
    let root = reader.root(tree);
    let config = root.keep(root.fields(RECIPE, TOP_KEYS)).map(|fields| read_config(&fields));
    drop(root);
    let notes = reader.finish()?;
    let mut config = config.expect("what cannot be read is a problem");
    config.notes = notes;
    Ok(config)
}

const RECIPE: &str = "a recipe: a mapping with the key `merge_method`";

/// What the keys say; what cannot be read is left empty and is among the problems.
fn read_config(fields: &Fields<'_>) -> MergeConfig {
    if let Some(name) = fields.raw("name") {
        name.note("`name` has no effect; the name of the output comes from its directory");
    }
    let method = fields.need("merge_method", "merge_method: linear");
    let method = fields.keep(method.and_then(|method| {
        let name = method.text("the name of a merge method")?.trim();
        match name.is_empty() {
            true => Err(method.wrong("the name of a merge method")),
            false => Ok(name),
        }
    }));
    let input = fields.one_of(&["models", "slices", "modules"]);
    let input = fields.keep(input.and_then(|input| match input {
        ("models", list) => models(&list).map(MergeInput::Models),
        ("slices", list) => slices(&list).map(MergeInput::Slices),
        (_, map) => modules(&map).map(MergeInput::Modules),
    }));
    let mut config = MergeConfig::new(
        method.unwrap_or_default(),
        input.unwrap_or(MergeInput::Models(Vec::new())),
    );
    config.base_model = fields.keep(model(fields, "base_model")).flatten();
    config.parameters = fields.keep(parameters(fields.get("parameters"))).unwrap_or_default();
    let dtype = |key| fields.get(key).and_then(|value| fields.keep(dtype(&value)));
    (config.dtype, config.out_dtype) = (dtype("dtype"), dtype("out_dtype"));
    match fields.keep(fields.at_most_one_of(&["tokenizer_source", "tokenizer"])).flatten() {
        Some(("tokenizer_source", source)) => {
            config.tokenizer_source = fields.keep(tokenizer_source(&source));
        }
        Some((_, map)) => config.tokenizer = fields.keep(tokenizer(&map)),
        None => {}
    }
    if let Some(template) = fields.get("chat_template") {
        let text = template.text("the name of a chat template, `auto`, or a template");
        config.chat_template = fields.keep(text).map(str::to_owned);
    }
    config
}

/// Reads every element; those that cannot be read are among the problems.
fn each<T>(items: &[Cursor<'_>], read: impl Fn(&Cursor<'_>) -> Result<T>) -> Vec<T> {
    items.iter().filter_map(|item| item.keep(read(item))).collect()
}

fn models(list: &Cursor<'_>) -> Result<Vec<InputModel>> {
    let items = list.some_items(
        "a list of models, each written `- model: ...`",
        "name the models to merge, each as `- model: ...`",
    )?;
    Ok(each(&items, |entry| {
        let fields = entry.fields(
            "a mapping with the key `model`, as in `- model: org/name`",
            &["model", "parameters", "layer_range"],
        )?;
        if let Some(range) = fields.raw("layer_range") {
            range.note(
                "`layer_range` has no effect under `models`, which take all layers; \
                 use `slices` to pick some",
            );
        }
        let parameters = fields.keep(parameters(fields.get("parameters")));
        let model = model_ref(&fields.need("model", "model: org/name")?)?;
        Ok(InputModel { model, parameters: parameters.unwrap_or_default() })
    }))
}

fn slices(list: &Cursor<'_>) -> Result<Vec<OutputSlice>> {
    let items = list.some_items(
        "a list of slices, each with its `sources`",
        "give each slice of the output as `- sources: [...]`",
    )?;
    Ok(each(&items, |entry| {
        let fields = entry.fields(
            "a mapping with the key `sources`",
            &["sources", "base_model", "parameters", "residual_weight"],
        )?;
        if let Some(weight) = fields.raw("residual_weight") {
            weight.note("`residual_weight` has no effect");
        }
        let sources =
            fields.need("sources", "sources: [{model: org/name, layer_range: [0, 8]}]")?;
        Ok(OutputSlice {
            sources: fields.keep(slice_sources(&sources)).unwrap_or_default(),
            base_model: fields.keep(model(&fields, "base_model")).flatten(),
            parameters: fields.keep(parameters(fields.get("parameters"))).unwrap_or_default(),
        })
    }))
}

fn slice_sources(list: &Cursor<'_>) -> Result<Vec<SliceSource>> {
    let items = list.some_items(
        "a list of sources, each with `model` and `layer_range`",
        "name the layers that this slice is made of, each as \
         `- {model: org/name, layer_range: [0, 8]}`",
    )?;
    Ok(each(&items, |entry| {
        let fields = entry.fields(
            "a mapping with the keys `model` and `layer_range`",
            &["model", "layer_range", "parameters"],
        )?;
        let parameters = fields.keep(parameters(fields.get("parameters")));
        let range = fields.need("layer_range", "layer_range: [0, 8]");
        let range = fields.keep(range.and_then(|range| layer_range(&range)));
        let model = model_ref(&fields.need("model", "model: org/name")?)?;
        let parameters = parameters.unwrap_or_default();
        Ok(SliceSource { model, layer_range: range.unwrap_or_default(), parameters })
    }))
}

fn layer_range(range: &Cursor<'_>) -> Result<std::ops::Range<usize>> {
    const EXPECTED: &str = "two whole numbers, [first layer, one past the last layer]";
    let items = range.items(EXPECTED)?;
    let [start, end] = items.as_slice() else {
        return Err(range.wrong(EXPECTED));
    };
    const NUMBER: &str = "the number of a layer, counted from 0";
    let (start, end) = (start.whole(NUMBER)?, end.whole(NUMBER)?);
    if start >= end {
        let place = range.place();
        return Err(ConfigError::EmptyLayerRange { place, start, end });
    }
    Ok(start..end)
}

fn modules(modules: &Cursor<'_>) -> Result<Vec<(String, Module)>> {
    let entries =
        modules.entries("a mapping from the names of modules to what they are merged from")?;
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() {
        return Err(ConfigError::EmptyList {
            place: modules.place(),
            advice: "name the modules to merge, each with `models` or `slices`",
        });
    }
    let read = |(name, module): &(&str, Cursor<'_>)| {
        Some(((*name).to_owned(), module.keep(read_module(module))?))
    };
    Ok(entries.iter().filter_map(read).collect())
}

fn read_module(module: &Cursor<'_>) -> Result<Module> {
    let fields = module
        .fields("a mapping with `models` or `slices`", &["models", "slices", "parameters"])?;
    let parameters = fields.keep(parameters(fields.get("parameters")));
    let input = match fields.one_of(&["models", "slices"])? {
        ("models", list) => ModuleInput::Models(models(&list)?),
        (_, list) => ModuleInput::Slices(slices(&list)?),
    };
    Ok(Module { input, parameters: parameters.unwrap_or_default() })
}

fn dtype(value: &Cursor<'_>) -> Result<FloatType> {
    let name = value.text("bfloat16, float16, float32 or float64")?;
    FloatType::from_name(name).ok_or_else(|| {
        let known = FloatType::ALL.map(FloatType::as_str);
        // All the names are close to one another; only a real slip is worth a guess.
        let suggestion = nearest(name, known)
            .filter(|near| strsim::osa_distance(&name.to_lowercase(), near) <= 2)
            .and_then(|near| known.into_iter().find(|known| *known == near));
        ConfigError::UnknownDtype { place: value.place(), found: value.quoted(), suggestion }
    })
}

fn model(fields: &Fields<'_>, key: &str) -> Result<Option<ModelRef>> {
    fields.get(key).as_ref().map(model_ref).transpose()
}

pub(crate) fn model_ref(value: &Cursor<'_>) -> Result<ModelRef> {
    const EXPECTED: &str = "a model: `org/name`, a path, or a mapping with the key `model`";
    let refused = |source| ConfigError::ModelRef { place: value.place(), source };
    let entries = match value.node {
        Node::Text(text) => return text.parse().map_err(refused),
        Node::Map(entries) => entries,
        _ => return value.text(EXPECTED).and(Err(value.wrong(EXPECTED))),
    };
    let has = |key: &str| entries.iter().any(|(known, _)| known == key);
    if !has("model") && (has("path") || has("revision")) {
        return Ok(ModelRef {
            model: location(value)?,
            adapter: None,
            override_architecture: None,
        });
    }
    let fields = value.fields(EXPECTED, &["model", "adapter", "lora", "override_architecture"])?;
    let adapter = fields.at_most_one_of(&["adapter", "lora"])?;
    let architecture = fields.get("override_architecture");
    Ok(ModelRef {
        model: location(&fields.need("model", "model: org/name")?)?,
        adapter: adapter.map(|(_, value)| location(&value)).transpose()?,
        override_architecture: architecture
            .map(|value| value.text("the name of an architecture").map(str::to_owned))
            .transpose()?,
    })
}

/// A path and a revision, as text or as a mapping. A `+` means nothing here.
fn location(value: &Cursor<'_>) -> Result<ModelLocation> {
    const EXPECTED: &str = "`org/name[@revision]`, a path, or a mapping with the key `path`";
    let refused = |source| ConfigError::ModelRef { place: value.place(), source };
    match value.node {
        Node::Text(text) => ModelLocation::split(text, text).map_err(refused),
        Node::Map(_) => {
            let fields = value.fields(EXPECTED, &["path", "revision"])?;
            let path = fields.need("path", "path: org/name")?;
            let name = path.text("a path or `org/name`")?;
            if name.trim().is_empty() {
                return Err(path.wrong("a path or `org/name`"));
            }
            let revision = fields.get("revision");
            Ok(ModelLocation {
                path: name.to_owned(),
                revision: revision
                    .map(|value| value.text("a branch, tag or commit").map(str::to_owned))
                    .transpose()?,
            })
        }
        _ => value.text(EXPECTED).and(Err(value.wrong(EXPECTED))),
    }
}
