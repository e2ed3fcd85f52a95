//! From a [`MergeConfig`] back to YAML.

use serde::ser::{Serialize, Serializer};

use crate::config::{InputModel, MergeConfig, MergeInput, ModuleInput, OutputSlice};
use crate::model_ref::{ModelLocation, ModelRef};
use crate::node::Node;
use crate::parameters::Parameters;
use crate::tokenizer::{TokenConfig, TokenSelector, TokenSource, TokenizerConfig, TokenizerSource};
use crate::value::{Scalar, Setting, Value};

impl Serialize for MergeConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        config(self).serialize(serializer)
    }
}

/// A mapping under construction; what is empty is left out.
#[derive(Default)]
struct Map(Vec<(String, Node)>);

impl Map {
    fn with(mut self, key: &str, value: Node) -> Self {
        self.0.push((key.to_owned(), value));
        self
    }

    fn maybe(self, key: &str, value: Option<Node>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn parameters(self, parameters: &Parameters) -> Self {
        if parameters.is_empty() {
            return self;
        }
        let entries = parameters.iter().map(|(name, value)| (name.to_owned(), setting(value)));
        self.with("parameters", Node::Map(entries.collect()))
    }

    fn done(self) -> Node {
        Node::Map(self.0)
    }
}

pub(crate) fn config(config: &MergeConfig) -> Node {
    let text = |text: &String| Node::Text(text.clone());
    let name = |name: &str| Node::Text(name.to_owned());
    let map = match &config.input {
        MergeInput::Models(list) => Map::default().with("models", models(list)),
        MergeInput::Slices(list) => Map::default().with("slices", slices(list)),
        MergeInput::Modules(list) => {
            let entries = list.iter().map(|(name, module)| {
                let map = match &module.input {
                    ModuleInput::Models(list) => Map::default().with("models", models(list)),
                    ModuleInput::Slices(list) => Map::default().with("slices", slices(list)),
                };
                (name.clone(), map.parameters(&module.parameters).done())
            });
            Map::default().with("modules", Node::Map(entries.collect()))
        }
    };
    map.with("merge_method", text(&config.merge_method))
        .maybe("base_model", config.base_model.as_ref().map(model))
        .parameters(&config.parameters)
        .maybe("dtype", config.dtype.map(|dtype| name(dtype.as_str())))
        .maybe("out_dtype", config.out_dtype.map(|dtype| name(dtype.as_str())))
        .maybe("tokenizer_source", config.tokenizer_source.as_ref().map(tokenizer_source))
        .maybe("tokenizer", config.tokenizer.as_ref().map(tokenizer))
        .maybe("chat_template", config.chat_template.as_ref().map(text))
        .done()
}

fn models(list: &[InputModel]) -> Node {
    let entries = list.iter().map(|input| {
        Map::default().with("model", model(&input.model)).parameters(&input.parameters).done()
    });
    Node::List(entries.collect())
}

fn slices(list: &[OutputSlice]) -> Node {
    let slices = list.iter().map(|slice| {
        let sources = slice.sources.iter().map(|source| {
            let range = [source.layer_range.start, source.layer_range.end];
            Map::default()
                .with("model", model(&source.model))
                .with("layer_range", Node::List(range.map(whole).into()))
                .parameters(&source.parameters)
                .done()
        });
        Map::default()
            .with("sources", Node::List(sources.collect()))
            .maybe("base_model", slice.base_model.as_ref().map(model))
            .parameters(&slice.parameters)
            .done()
    });
    Node::List(slices.collect())
}

fn whole(n: usize) -> Node {
    Node::Int(n as i128)
}

fn setting(setting: &Setting) -> Node {
    match setting {
        Setting::Value(inner) => value(inner),
        Setting::Conditional(conditions) => {
            let conditions = conditions.iter().map(|condition| {
                Map::default()
                    .maybe("filter", condition.filter.clone().map(Node::Text))
                    .with("value", value(&condition.value))
                    .done()
            });
            Node::List(conditions.collect())
        }
    }
}

fn value(value: &Value) -> Node {
    match value {
        Value::Scalar(inner) => scalar(inner),
        Value::Gradient(points) => Node::List(points.iter().map(scalar).collect()),
    }
}

fn scalar(scalar: &Scalar) -> Node {
    match scalar {
        Scalar::Bool(value) => Node::Bool(*value),
        // Whole numbers look like ones, but -0 and 1e300 are better off as they are.
        Scalar::Number(n) if n.fract() == 0.0 && n.abs() < 1e15 && n.to_bits() << 1 != 0 => {
            Node::Int(*n as i128)
        }
        Scalar::Number(n) if n.to_bits() == 0 => Node::Int(0),
        Scalar::Number(n) => Node::Float(*n),
        Scalar::Text(text) => Node::Text(text.clone()),
    }
}

/// The text form where it says everything, else the mapping that mergekit reads too.
fn model(model: &ModelRef) -> Node {
    if model.has_text_form() {
        return Node::Text(model.to_string());
    }
    let architecture = model.override_architecture.clone();
    Map::default()
        .with("model", location(&model.model))
        .maybe("lora", model.adapter.as_ref().map(location))
        .maybe("override_architecture", architecture.map(Node::Text))
        .done()
}

fn location(location: &ModelLocation) -> Node {
    Map::default()
        .with("path", Node::Text(location.path.clone()))
        .maybe("revision", location.revision.clone().map(Node::Text))
        .done()
}

fn tokenizer_source(source: &TokenizerSource) -> Node {
    match source {
        TokenizerSource::Union => Node::Text("union".into()),
        TokenizerSource::Base => Node::Text("base".into()),
        // A model of that very name needs the form that cannot be taken for a word.
        TokenizerSource::Model(inner) => match model(inner) {
            Node::Text(text) if text == "union" || text == "base" => location(&inner.model),
            node => node,
        },
    }
}

fn tokenizer(config: &TokenizerConfig) -> Node {
    let tokens = config.tokens.iter().map(|(token, config)| (token.clone(), token_config(config)));
    let tokens = (!config.tokens.is_empty()).then(|| Node::Map(tokens.collect()));
    Map::default()
        .with("source", tokenizer_source(&config.source))
        .maybe("tokens", tokens)
        .maybe("pad_to_multiple_of", config.pad_to_multiple_of.map(whole))
        .done()
}

fn token_config(config: &TokenConfig) -> Node {
    let source = config.source.as_ref().map(|source| match source {
        TokenSource::Zero => Map::default().with("kind", Node::Text("zero".into())).done(),
        TokenSource::Model(inner) => model(inner),
        TokenSource::ModelToken { model: inner, token } => {
            let map = Map::default()
                .with("kind", Node::Text("model_token".into()))
                .with("model", model(inner));
            match token {
                TokenSelector::Text(text) => map.with("token", Node::Text(text.clone())),
                TokenSelector::Id(id) => map.with("token_id", whole(*id)),
            }
            .done()
        }
    });
    Map::default()
        .maybe("source", source)
        .maybe("force", config.force.then_some(Node::Bool(true)))
        .done()
}
