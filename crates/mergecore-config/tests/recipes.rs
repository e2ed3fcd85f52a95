//! Recipes as people write them, from text to values and back.

use mergecore_config::{
    Conditional, FloatType, InputModel, Level, MergeConfig, MergeInput, ModelRef, Module,
    ModuleInput, Parameters, RecipePath, Resolved, Scalar, Setting, Site, TokenSelector,
    TokenSource, TokenizerSource, Value, resolve,
};

const RECIPES: [(&str, &str); 10] = [
    ("dare_ties", include_str!("recipes/dare_ties.yml")),
    ("passthrough", include_str!("recipes/passthrough.yml")),
    ("slerp", include_str!("recipes/slerp.yml")),
    ("ties", include_str!("recipes/ties.yml")),
    ("tiny_dare", include_str!("recipes/tiny_dare.yml")),
    ("tiny_slerp", include_str!("recipes/tiny_slerp.yml")),
    ("tiny_stack", include_str!("recipes/tiny_stack.yml")),
    ("tiny_ties", include_str!("recipes/tiny_ties.yml")),
    ("tiny_union", include_str!("recipes/tiny_union.yml")),
    ("tiny_union_base", include_str!("recipes/tiny_union_base.yml")),
];

fn recipe(name: &str) -> MergeConfig {
    let (_, text) = RECIPES.iter().find(|(known, _)| *known == name).unwrap();
    parse(text)
}

#[track_caller]
fn parse(text: &str) -> MergeConfig {
    let config = MergeConfig::from_yaml_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(config.source_text(), Some(text));
    config
}

#[track_caller]
fn round_trip(config: &MergeConfig) {
    let yaml = config.to_yaml_string();
    let again = MergeConfig::from_yaml_str(&yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    assert_eq!(again, *config, "{yaml}");
    let again: MergeConfig = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(again, *config, "{yaml}");
    assert_eq!(again.source_text(), None);
    let json = serde_json::to_string(config).unwrap();
    assert_eq!(serde_json::from_str::<MergeConfig>(&json).unwrap(), *config);
    assert_eq!(again.to_yaml_string(), yaml);
}

fn names(models: &[&ModelRef]) -> Vec<String> {
    models.iter().map(ToString::to_string).collect()
}

#[test]
fn every_recipe_reads_and_round_trips() {
    for (name, text) in RECIPES {
        let config = parse(text);
        assert!(config.notes().is_empty(), "{name}");
        round_trip(&config);
    }
}

#[test]
fn dare_ties() {
    let config = recipe("dare_ties");
    assert_eq!(config.merge_method, "dare_ties");
    assert_eq!(config.dtype, Some(FloatType::Bf16));
    assert_eq!(config.base_model, Some(ModelRef::new("mistralai/Mistral-7B-v0.1")));
    assert_eq!(
        names(&config.referenced_models()),
        [
            "mistralai/Mistral-7B-v0.1",
            "samir-fama/SamirGPT-v1",
            "abacusai/Slerp-CM-mist-dpo",
            "EmbeddedLLM/Mistral-7B-Merge-14-v0.2"
        ]
    );
    let MergeInput::Models(models) = &config.input else {
        panic!("{:?}", config.input);
    };
    assert!(models[0].parameters.is_empty());
    assert_eq!(models[1].parameters.get("weight"), Some(&0.4.into()));
    assert_eq!(config.parameters.get("int8_mask"), Some(&true.into()));
    let density = RecipePath::root().key("models").index(1).key("parameters").key("density");
    assert_eq!(
        config.place(&density).to_string(),
        "line 6, column 15: models[1].parameters.density"
    );
    assert_eq!(config.place_of_key(&density).column(), Some(6));
}

#[test]
fn slerp_resolves_filters_and_gradients() {
    let config = recipe("slerp");
    let levels = config.levels(Site { slice: Some(0), ..Site::default() });
    let t = |name: &str, position: f64| {
        let Resolved { value, path } = resolve(&levels, "t", name, position).unwrap();
        (value.as_f64().unwrap(), config.place(&path).to_string())
    };
    let attention = "model.layers.3.self_attn.q_proj.weight";
    assert_eq!(t(attention, 0.25).0, 0.5);
    assert_eq!(t(attention, 0.125).0, 0.25);
    assert_eq!(
        t("model.layers.3.mlp.up_proj.weight", 1.0),
        (0.0, "line 14, column 14: parameters.t[1].value".into())
    );
    assert_eq!(t("lm_head.weight", 0.0), (0.5, "line 15, column 14: parameters.t[2].value".into()));
}

#[test]
fn stack_looks_at_the_source_first() {
    let config = recipe("tiny_stack");
    let source = |slice| Site { slice: Some(slice), input: Some(0), ..Site::default() };
    assert_eq!(config.site_path(source(1)).to_string(), "slices[1].sources[0]");
    let scale = |slice, name| resolve(&config.levels(source(slice)), "scale", name, 0.0);
    assert_eq!(scale(0, "x"), None);
    let found = scale(1, "model.layers.2.mlp.down_proj.weight").unwrap();
    assert_eq!(found.value, 0.5.into());
    assert_eq!(found.path.to_string(), "slices[1].sources[0].parameters.scale[1].value");
    assert_eq!(scale(1, "norm").unwrap().value, 1.0.into());
}

#[test]
fn levels_of_modules_in_order() {
    let config = parse(
        "
merge_method: linear
parameters: {a: 1, b: 1, c: 1, d: 1}
modules:
  text:
    parameters: {a: 2, b: 2, c: 2}
    slices:
      - parameters: {a: 3, b: 3}
        base_model: org/other
        sources:
          - {model: x, layer_range: [0, 2], parameters: {a: 4}}
          - {model: y, layer_range: [0, 2]}
  vision tower:
    models:
      - {model: y}
      - {model: z, parameters: {a: {value: 5}}}
",
    );
    round_trip(&config);
    assert_eq!(names(&config.referenced_models()), ["x", "y", "org/other", "z"]);
    let site = |module, slice, input| Site { module, slice, input };
    let values = |site| {
        let levels: Vec<Level<'_>> = config.levels(site);
        ["a", "b", "c", "d"].map(|key| {
            let found = resolve(&levels, key, "x", 0.0).unwrap();
            found.value.as_f64().unwrap()
        })
    };
    assert_eq!(values(site(Some(0), Some(0), Some(0))), [4.0, 3.0, 2.0, 1.0]);
    assert_eq!(values(site(Some(0), Some(0), Some(1))), [3.0, 3.0, 2.0, 1.0]);
    assert_eq!(values(site(Some(0), Some(0), None)), [3.0, 3.0, 2.0, 1.0]);
    assert_eq!(values(site(Some(0), None, None)), [2.0, 2.0, 2.0, 1.0]);
    assert_eq!(values(site(Some(1), None, Some(1))), [5.0, 1.0, 1.0, 1.0]);
    assert_eq!(values(Site::default()), [1.0; 4]);
    // what points at nothing is left out
    assert_eq!(values(site(Some(9), Some(9), Some(9))), [1.0; 4]);
    let second = site(Some(1), None, Some(1));
    let levels = config.levels(second);
    let path = config.site_path(second);
    assert_eq!(path.to_string(), "modules[\"vision tower\"].models[1]");
    assert_eq!(levels[0].path, path.key("parameters"));
    let a = resolve(&levels, "a", "x", 0.0).unwrap();
    assert_eq!(
        config.place(&a.path).to_string(),
        "line 16, column 44: modules[\"vision tower\"].models[1].parameters.a[0].value"
    );
}

#[test]
fn tokenizer_in_full() {
    let config = parse(
        "
merge_method: linear
models: [{model: a}]
tokenizer:
  source: org/tok@v2
  pad_to_multiple_of: 64
  tokens:
    <|im_start|>:
      source: {kind: model_token, model: org/chat, token: <s>}
      force: yes
    '2':
      source: {kind: model_token, model: {path: ./a+b}, token_id: 7}
    <pad>:
      source: {kind: zero}
    plain: {source: org/chat}
    default: {}
chat_template: \"{% if x %}\\n  a: b\\n{% endif %} \"
",
    );
    round_trip(&config);
    let tokenizer = config.tokenizer.as_ref().unwrap();
    assert_eq!(tokenizer.source, TokenizerSource::Model("org/tok@v2".parse().unwrap()));
    assert_eq!(tokenizer.pad_to_multiple_of, Some(64));
    let token = |name: &str| &tokenizer.tokens.iter().find(|(t, _)| t == name).unwrap().1;
    assert!(token("<|im_start|>").force);
    assert_eq!(
        token("<|im_start|>").source,
        Some(TokenSource::ModelToken {
            model: ModelRef::new("org/chat"),
            token: TokenSelector::Text("<s>".into())
        })
    );
    assert_eq!(
        token("2").source,
        Some(TokenSource::ModelToken {
            model: ModelRef::new("./a+b"),
            token: TokenSelector::Id(7)
        })
    );
    assert_eq!(token("<pad>").source, Some(TokenSource::Zero));
    assert_eq!(token("default").source, None);
    assert_eq!(names(&config.tokenizer_models()), ["org/tok@v2", "org/chat", "./a+b"]);
    assert_eq!(names(&config.referenced_models()), ["a"]);
    assert_eq!(recipe("tiny_union").tokenizer.unwrap().source, TokenizerSource::Union);
    assert_eq!(recipe("tiny_union_base").tokenizer.unwrap().source, TokenizerSource::Base);
}

#[test]
fn tokenizer_source_words_and_models() {
    let source = |text: &str| {
        let config =
            parse(&format!("merge_method: m\nmodels: [{{model: a}}]\ntokenizer_source: {text}\n"));
        round_trip(&config);
        config.tokenizer_source
    };
    assert_eq!(source("union"), Some(TokenizerSource::Union));
    assert_eq!(source("base"), Some(TokenizerSource::Base));
    assert_eq!(source("null"), None);
    let model = |path: &str| Some(TokenizerSource::Model(ModelRef::new(path)));
    assert_eq!(source("org/x"), model("org/x"));
    // a directory that happens to be named like that
    assert_eq!(source("{path: union}"), model("union"));
}

#[test]
fn model_references_in_every_form() {
    let model = |text: &str| {
        let config = parse(&format!("merge_method: m\nmodels:\n  - model: {text}\n"));
        round_trip(&config);
        config.referenced_models()[0].clone()
    };
    let full: ModelRef = "org/a@v1+org/b@v2".parse().unwrap();
    assert_eq!(model("org/a@v1+org/b@v2"), full);
    assert_eq!(model("{model: org/a@v1, lora: org/b@v2}"), full);
    assert_eq!(
        model("{model: {path: org/a, revision: v1}, adapter: {path: org/b, revision: v2}}"),
        full
    );
    assert_eq!(model("{path: ./a+b@c}"), ModelRef::new("./a+b@c"));
    assert_eq!(model("{model: ./a+b}"), ModelRef::new("./a+b"));
    let special = model("{model: org/a, override_architecture: LlamaForCausalLM}");
    assert_eq!(special.override_architecture.as_deref(), Some("LlamaForCausalLM"));
    assert_eq!(model("'123'"), ModelRef::new("123"));
}

#[test]
fn numbers_and_booleans_of_yaml_1_1() {
    let config = parse(
        "merge_method: m\nmodels: [{model: a}]\nparameters:\n  \
         {a: 1e-4, b: .5, c: +1, d: 1_000, e: '2', f: yes, g: OFF, h: True, i: ~, j: [no, yes]}\n",
    );
    round_trip(&config);
    let get = |key: &str| match config.parameters.get(key) {
        Some(Setting::Value(Value::Scalar(scalar))) => scalar.clone(),
        other => panic!("{other:?}"),
    };
    for (key, value) in [("a", 1e-4), ("b", 0.5), ("c", 1.0), ("d", 1000.0), ("e", 2.0)] {
        assert_eq!(get(key).as_f64(), Some(value), "{key}");
    }
    for (key, value) in [("f", true), ("g", false), ("h", true)] {
        assert_eq!(get(key).as_bool(), Some(value), "{key}");
    }
    assert_eq!(config.parameters.get("i"), None);
    let levels = config.levels(Site::default());
    let j = resolve(&levels, "j", "x", 1.0).unwrap();
    assert_eq!(j.value.as_bool(), Some(true));
    assert_eq!(j.path.to_string(), "parameters.j[1]");
}

#[test]
fn null_is_absent() {
    let config = parse(
        "merge_method: m\nmodels: [{model: a, parameters: }]\nslices:\nbase_model: ~\n\
         parameters: null\ndtype:\ntokenizer: null\ntokenizer_source: union\nchat_template: ~\n",
    );
    let plain = parse("merge_method: m\nmodels: [{model: a}]\ntokenizer_source: union\n");
    assert_eq!(config, plain);
}

#[test]
fn merge_keys_and_anchors() {
    let config = parse(
        "
merge_method: linear
models:
  - model: a
    parameters: &half {weight: 0.5, t: 1}
  - model: b
    parameters:
      <<: *half
      t: 2
",
    );
    let levels = config.levels(Site { input: Some(1), ..Site::default() });
    let at = |key| {
        let found = resolve(&levels, key, "x", 0.0).unwrap();
        (found.value.as_f64().unwrap(), config.place(&found.path).line())
    };
    assert_eq!(at("weight"), (0.5, Some(5)));
    assert_eq!(at("t"), (2.0, Some(9)));
    round_trip(&config);
}

#[test]
fn byte_order_mark_and_windows_lines() {
    let config = parse("\u{feff}merge_method: m\r\nmodels:\r\n  - model: a\r\n");
    let place = config.place(&RecipePath::root().key("models").index(0).key("model"));
    assert_eq!((place.line(), place.column()), (Some(3), Some(12)));
}

#[test]
fn what_has_no_effect_gives_a_note() {
    let config = parse(
        "name: x\nmerge_method: m\nslices:\n  - residual_weight: 1\n    \
         sources: [{model: a, layer_range: [0, 1]}]\n",
    );
    let notes: Vec<_> = config.notes().iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "line 1, column 1: name: `name` has no effect; the name of the output comes from \
             its directory",
            "line 4, column 5: slices[0].residual_weight: `residual_weight` has no effect",
        ]
    );
    round_trip(&config);
    let config = parse("merge_method: m\nmodels: [{model: a, layer_range: [0, 1]}]\n");
    let note = &config.notes()[0];
    assert_eq!(note.place().to_string(), "line 2, column 21: models[0].layer_range");
    assert!(note.text().contains("`slices`"));
}

#[test]
fn configs_built_in_code() {
    let module = Module {
        input: ModuleInput::Models(vec![InputModel {
            model: ModelRef::new("./x@y/z"),
            parameters: Parameters::new()
                .with(
                    "t",
                    vec![Conditional::new("a", vec![1.0, -0.0]), Conditional::otherwise("b")],
                )
                .with("huge", 1e300)
                .with("tiny", 5e-324)
                .with("word", "yes")
                .with("number", "1e-4"),
        }]),
        parameters: [("k", true)].into_iter().collect(),
    };
    let mut config = MergeConfig::new("m", MergeInput::Modules(vec![("text".into(), module)]));
    config.base_model = Some("base@1+lora".parse().unwrap());
    config.out_dtype = Some(FloatType::F32);
    round_trip(&config);
    assert_eq!(names(&config.referenced_models()), ["./x@y/z", "base@1+lora"]);
    let path = RecipePath::root().key("dtype");
    assert_eq!(config.place(&path).to_string(), "dtype");
    assert_eq!(config.place(&path).line(), None);
    assert_eq!(Scalar::from(3), Scalar::Number(3.0));
}

#[test]
fn to_yaml_is_the_schema() {
    assert_eq!(
        recipe("tiny_stack").to_yaml_string(),
        "\
slices:
- sources:
  - model: models/tiny-llama-code
    layer_range:
    - 0
    - 4
- sources:
  - model: models/tiny-llama-kjv
    layer_range:
    - 2
    - 6
    parameters:
      scale:
      - filter: o_proj
        value: 0.5
      - filter: down_proj
        value: 0.5
      - value: 1
merge_method: passthrough
dtype: bfloat16
"
    );
}

/// The names of the models that a card lists.
fn card_models(text: &str) -> Vec<String> {
    let config = MergeConfig::from_yaml_str(text).unwrap();
    config.models().iter().map(ToString::to_string).collect()
}

#[test]
fn a_card_lists_entries_with_parameters() {
    let models = "merge_method: ties
base_model: base
models:
  - model: base
  - {model: b, parameters: {weight: 1}}
  - {model: a, parameters: {weight: 1}}
  - {model: b, parameters: {weight: 2}}
  - model: c
";
    assert_eq!(card_models(models), ["b", "a"]);
    let without =
        "merge_method: model_stock\nbase_model: x\nmodels: [{model: x}, {model: b}, {model: a}]\n";
    assert_eq!(card_models(without), ["b", "a"]);
}

#[test]
fn a_card_lists_every_source_of_slices_and_modules() {
    let slices = "slices:
  - sources: [{model: b, layer_range: [0, 2]}, {model: a, layer_range: [0, 2]}]
    base_model: b
  - sources: [{model: c, layer_range: [0, 2]}, {model: b, layer_range: [2, 4]}]
";
    assert_eq!(
        card_models(&format!("merge_method: slerp\nbase_model: x\n{slices}")),
        ["b", "a", "c"]
    );
    let indented = slices.replace('\n', "\n    ");
    let modules = format!(
        "merge_method: linear\nmodules:\n  one:\n    models: [{{model: d, parameters: {{weight: 1}}}}, {{model: e}}]\n  two:\n    {indented}"
    );
    assert_eq!(card_models(&modules), ["d", "b", "a", "c"]);
}
