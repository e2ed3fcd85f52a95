//! The recipe's JSON Schema, from what the methods declare.

use mergecore_config::FloatType;
use mergecore_kernel::{Base, DefaultValue, Method, Parameter, ParameterKind};
use serde_json::{Map, Value, json};

use crate::Registry;
use crate::plan::known_parameters;

impl Registry {
    /// A JSON Schema (draft 7) of recipes for these methods: what editors complete and check
    /// YAML with. It knows of each method which parameters it takes, with their types, ranges
    /// and defaults.
    ///
    /// What it refuses, a merge refuses too, but for numbers, flags and lists that are given as
    /// text (`"0.5"`) or left empty. A merge sees more: whether models are there, how
    /// layers and filters fit them, what a merge method asks of several values together.
    ///
    /// ```
    /// # use mergecore_engine::Registry;
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
    /// let mut registry = Registry::new();
    /// registry.register(example::Mean);
    /// let schema = registry.recipe_schema();
    /// assert_eq!(schema["properties"]["merge_method"]["anyOf"][0]["const"], "mean");
    /// ```
    pub fn recipe_schema(&self) -> Value {
        let mut definitions = Map::new();
        for (name, definition) in common_definitions() {
            definitions.insert(name.to_owned(), definition);
        }
        definitions.insert("parameters".to_owned(), any_parameters(self));
        for method in self.methods() {
            definitions.insert(format!("method_{}", method.name()), parameters_of(method));
        }
        let methods = self.methods().map(|method| {
            json!({ "const": method.name(), "title": method.title(), "description": method.summary() })
        });
        let by_method: Vec<Value> = self.methods().map(rules_of).collect();
        let dtypes: Vec<&str> = FloatType::ALL.iter().map(|dtype| dtype.as_str()).collect();
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Merge recipe",
            "description": "How models are merged: see the README of mergecore-config.",
            "type": "object",
            "additionalProperties": false,
            "required": ["merge_method"],
            "oneOf": [
                { "required": ["models"] },
                { "required": ["slices"] },
                { "required": ["modules"] },
            ],
            "properties": {
                "merge_method": {
                    "description": "How the models' weights are combined",
                    "anyOf": methods.collect::<Vec<_>>(),
                },
                "base_model": {
                    "description": "The model that changes are counted from; it also gives configuration and tokenizer",
                    "anyOf": or_null("model"),
                },
                "models": { "$ref": "#/definitions/models" },
                "slices": { "$ref": "#/definitions/slices" },
                "modules": {
                    "description": "What each module of a composite model is merged from",
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": { "$ref": "#/definitions/module" },
                },
                "parameters": { "$ref": "#/definitions/parameters" },
                "dtype": {
                    "description": "The output's dtype, where out_dtype names none",
                    "type": ["string", "null"],
                    "examples": dtypes,
                },
                "out_dtype": {
                    "description": "The output's dtype",
                    "type": ["string", "null"],
                    "examples": dtypes,
                },
                "tokenizer_source": {
                    "description": "Whose tokenizer the output gets: `base`, `union` or a model",
                    "anyOf": or_null("model"),
                },
                "tokenizer": {
                    "description": "The output's tokenizer in detail",
                    "type": ["object", "null"],
                    "additionalProperties": false,
                    "properties": {
                        "source": { "$ref": "#/definitions/model" },
                        "tokens": { "type": "object" },
                        "pad_to_multiple_of": { "type": "integer", "minimum": 1 },
                    },
                },
                "chat_template": {
                    "description": "The name of a chat template, `auto`, or a template",
                    "type": ["string", "null"],
                },
                "name": { "description": "Has no effect" },
            },
            "allOf": by_method,
            "definitions": definitions,
        })
    }
}

/// A definition, or nothing: the key is there and empty.
fn or_null(definition: &str) -> Value {
    json!([{ "$ref": format!("#/definitions/{definition}") }, { "type": "null" }])
}

/// What a parameter may be set to: a value, a value a layer, or either where a filter matches.
fn setting(parameter: &Parameter) -> Value {
    let scalar = scalar(&parameter.kind);
    let value = json!({ "anyOf": [scalar, { "type": "array", "items": scalar, "minItems": 1 }] });
    let conditional = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["value"],
        "properties": {
            "filter": {
                "description": "Part of the names of the tensors that this is for; `*` for all",
                "type": ["string", "null"],
            },
            "value": value,
        },
    });
    let mut setting = Map::new();
    setting.insert("description".to_owned(), parameter.help.into());
    let default = match parameter.default {
        DefaultValue::Number(number) => Some(number_value(number)),
        DefaultValue::Flag(flag) => Some(flag.into()),
        DefaultValue::Text(text) => Some(text.into()),
        DefaultValue::Required | DefaultValue::Unset => None,
    };
    setting.extend(default.map(|default| ("default".to_owned(), default)));
    let list = json!({ "type": "array", "items": conditional, "minItems": 1 });
    setting.insert("anyOf".to_owned(), json!([value, conditional, list, { "type": "null" }]));
    Value::Object(setting)
}

/// As people write it: whole numbers without a fraction.
fn number_value(number: f64) -> Value {
    match number as i64 {
        whole if whole as f64 == number => whole.into(),
        _ => number.into(),
    }
}

fn scalar(kind: &ParameterKind) -> Value {
    let mut schema = Map::new();
    let mut set = |key: &str, value: Value| {
        schema.insert(key.to_owned(), value);
    };
    match *kind {
        ParameterKind::Number { min, max } => {
            set("type", "number".into());
            if min > f64::MIN {
                set("minimum", number_value(min));
            }
            if max < f64::MAX {
                set("maximum", number_value(max));
            }
        }
        ParameterKind::Integer { min, max } => {
            set("type", "integer".into());
            set("minimum", min.into());
            if max < u32::MAX {
                set("maximum", max.into());
            }
        }
        ParameterKind::Flag => set("enum", json!([true, false, 0, 1])),
        ParameterKind::Choice(names) => set("enum", json!(names)),
    }
    Value::Object(schema)
}

/// A `parameters` mapping of a recipe for this method.
fn parameters_of(method: &dyn Method) -> Value {
    let parameters = method.parameters().iter();
    let properties: Map<String, Value> =
        parameters.map(|parameter| (parameter.name.to_owned(), setting(parameter))).collect();
    json!({ "properties": properties })
}

/// A `parameters` mapping of a recipe for whatever method: no name that none knows.
fn any_parameters(registry: &Registry) -> Value {
    let mut names: Vec<&str> = known_parameters(registry).collect();
    names.sort_unstable();
    names.dedup();
    json!({
        "description": "The method's parameters",
        "type": ["object", "null"],
        "propertyNames": { "enum": names },
    })
}

/// What a recipe of this method must have besides.
fn rules_of(method: &dyn Method) -> Value {
    let own = json!({ "$ref": format!("#/definitions/method_{}", method.name()) });
    let inputs = json!({ "items": { "properties": { "parameters": own } } });
    let slices = json!({ "items": { "properties": { "parameters": own, "sources": inputs } } });
    let module = json!({ "properties": { "parameters": own, "models": inputs, "slices": slices } });
    let mut then = json!({
        "properties": {
            "parameters": own,
            "models": inputs,
            "slices": slices,
            "modules": { "additionalProperties": module },
        },
    });
    if method.inputs().base == Base::Required {
        then["anyOf"] = json!([
            { "required": ["base_model"] },
            { "properties": { "slices": { "items": { "required": ["base_model"] } } }, "required": ["slices"] },
        ]);
    }
    json!({
        "if": { "properties": { "merge_method": { "const": method.name() } } },
        "then": then,
    })
}

fn common_definitions() -> [(&'static str, Value); 5] {
    let location = json!({
        "anyOf": [
            { "type": "string", "minLength": 1 },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["path"],
                "properties": {
                    "path": { "type": "string", "minLength": 1 },
                    "revision": { "type": ["string", "null"] },
                },
            },
        ],
    });
    let model = json!({
        "description": "A directory, or a name on the hub: org/name[@revision]",
        "anyOf": [
            { "type": "string", "minLength": 1 },
            {
                "type": "object",
                "required": ["model"],
                "properties": {
                    "model": { "$ref": "#/definitions/location" },
                    "adapter": { "anyOf": or_null("location") },
                    "lora": { "anyOf": or_null("location") },
                    "override_architecture": { "type": ["string", "null"] },
                },
            },
            {
                "type": "object",
                "required": ["path"],
                "properties": { "path": { "type": "string", "minLength": 1 }, "revision": {} },
            },
        ],
    });
    let range = json!({
        "description": "The first layer, and one past the last layer",
        "type": "array",
        "items": { "type": "integer", "minimum": 0 },
        "minItems": 2,
        "maxItems": 2,
    });
    let models = json!({
        "description": "The models that are merged, with all of their layers",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["model"],
            "properties": {
                "model": { "$ref": "#/definitions/model" },
                "parameters": { "$ref": "#/definitions/parameters" },
                "layer_range": { "description": "Has no effect under `models`" },
            },
        },
    });
    let slices = json!({
        "description": "The output's layers, a run at a time",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["sources"],
            "properties": {
                "sources": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["model", "layer_range"],
                        "properties": {
                            "model": { "$ref": "#/definitions/model" },
                            "layer_range": range,
                            "parameters": { "$ref": "#/definitions/parameters" },
                        },
                    },
                },
                "base_model": { "anyOf": or_null("model") },
                "parameters": { "$ref": "#/definitions/parameters" },
                "residual_weight": { "description": "Has no effect" },
            },
        },
    });
    let module = json!({
        "type": "object",
        "additionalProperties": false,
        "oneOf": [{ "required": ["models"] }, { "required": ["slices"] }],
        "properties": {
            "models": { "$ref": "#/definitions/models" },
            "slices": { "$ref": "#/definitions/slices" },
            "parameters": { "$ref": "#/definitions/parameters" },
        },
    });
    [
        ("location", location),
        ("model", model),
        ("models", models),
        ("slices", slices),
        ("module", module),
    ]
}
