//! config.json beside a fixed set of tensors.
//!
//! The first byte is a digit, which chooses the tensors, and the rest is the text of the
//! file; or it is another, and the file is built from the rest, of keys that mean something.
//!
//! Oracle: what is no JSON object is refused, with the file's name. Otherwise every layer of
//! every stack that is inferred is there among the tensors, as many as the key of config.json
//! says that is given as the reason; every tensor has one role and can be found again from
//! it; sizes of vocabularies are those of config.json, and a tensor by token has such a shape.
//! The model merged with nothing else is planned, with every tensor and the same counts; its
//! layers stacked twice are planned where it has one stack, with every layer and the count
//! doubled.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mergecore::{
    Architecture, Checkpoint, EngineError, InputModel, IoError, MergeConfig, MergeInput,
    MergeOptions, MergePlan, Model, ModelRef, OpenError, OutputSlice, Parameters, Role,
    SliceSource, TensorSource, plan,
};
use mergecore_fuzz::{Scratch, TensorFile};
use serde_json::{Map, Value, json};

type Tensor = (&'static str, &'static [usize]);

const DECODER: &[Tensor] = &[
    ("model.embed_tokens.weight", &[8, 2]),
    ("model.layers.0.mlp.weight", &[2, 2]),
    ("model.layers.0.norm.weight", &[2]),
    ("model.layers.1.mlp.weight", &[2, 2]),
    ("model.layers.1.norm.weight", &[2]),
    ("model.norm.weight", &[2]),
    ("lm_head.weight", &[8, 2]),
];

const TIED: &[Tensor] = &[
    ("transformer.wte.weight", &[6, 2]),
    ("transformer.wpe.weight", &[4, 2]),
    ("transformer.h.0.attn.bias", &[1, 1, 2, 2]),
    ("transformer.h.0.attn.c_attn.weight", &[2, 2]),
    ("transformer.ln_f.weight", &[2]),
];

const TWO_STACKS: &[Tensor] = &[
    ("shared.embedding", &[8, 2]),
    ("encoder.block.0.w", &[2]),
    ("encoder.block.1.w", &[2]),
    ("decoder.block.0.w", &[2]),
    ("decoder.block.1.w", &[2]),
    ("decoder.block.2.w", &[2]),
    ("lm_head.weight", &[8, 2]),
];

const EXPERTS: &[Tensor] = &[
    ("language_model.model.embed_tokens.weight", &[8, 2]),
    ("language_model.model.layers.0.mlp.experts.0.w", &[2]),
    ("language_model.model.layers.0.mlp.experts.1.w", &[2]),
    ("language_model.model.layers.0.mlp.experts.2.w", &[2]),
    ("language_model.model.layers.1.mlp.experts.0.w", &[2]),
    ("vision_tower.patch_embed.0.w", &[2]),
    ("vision_tower.blocks.0.w", &[2]),
    ("vision_tower.blocks.1.w", &[2]),
    ("vision_tower.blocks.2.w", &[2]),
];

/// Names that nobody gives a tensor.
const HOSTILE: &[Tensor] = &[
    ("", &[2]),
    (".0.", &[2]),
    ("0.w", &[2]),
    ("a..0", &[]),
    ("a..0.", &[8, 0]),
    ("h.0", &[2]),
    ("h.1", &[2]),
    ("k.0.w", &[2]),
    ("k.00.w", &[2]),
    ("k.1.w", &[2]),
    ("big.18446744073709551615.w", &[2]),
    ("huge.99999999999999999999.w", &[2]),
    ("n.0x.1.w", &[2]),
    ("embed", &[8]),
    ("é.0.ü", &[2]),
    ("lm_head.0.embed", &[8, 2]),
];

const SETS: [&[Tensor]; 5] = [DECODER, TIED, TWO_STACKS, EXPERTS, HOSTILE];

/// One directory for each set of tensors; only config.json changes.
static DIRECTORIES: LazyLock<(Scratch, Vec<PathBuf>)> = LazyLock::new(|| {
    let scratch = Scratch::new();
    let make = |(index, set): (usize, &&[Tensor])| {
        let dir = scratch.empty(&index.to_string());
        let mut file = TensorFile::default();
        for (name, shape) in *set {
            let bytes = vec![0; 4 * shape.iter().product::<usize>()];
            file.add(name, "F32", shape, &bytes);
        }
        std::fs::write(dir.join("model.safetensors"), file.bytes()).expect("a file is written");
        dir
    };
    let dirs = SETS.iter().enumerate().map(make).collect();
    (scratch, dirs)
});

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    if first.is_ascii_digit() {
        check(usize::from(first - b'0') % SETS.len(), rest);
    } else if let Ok(config) = object(&mut Unstructured::new(rest), 0) {
        check(usize::from(*first) % SETS.len(), Value::Object(config).to_string().as_bytes());
    }
});

const COUNTS: [&str; 6] =
    ["num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers", "depth", "num_blocks"];
const KEYS: [&str; 14] = [
    "vocab_size",
    "tie_word_embeddings",
    "layer_types",
    "no_rope_layers",
    "max_window_layers",
    "text_config",
    "vision_config",
    "model_type",
    "torch_dtype",
    "dtype",
    "architectures",
    "eos_token_id",
    "quantization_config",
    "",
];

fn object(input: &mut Unstructured<'_>, depth: usize) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    for _ in 0..input.int_in_range(0..=6)? {
        let key: &str = match input.int_in_range(0..=8)? {
            0..=2 => input.choose(&COUNTS)?,
            3..=7 => input.choose(&KEYS)?,
            _ => input.arbitrary()?,
        };
        object.insert(key.to_owned(), value(input, depth + 1)?);
    }
    Ok(object)
}

fn value(input: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    Ok(match input.int_in_range(0..=12)? {
        0..=4 => input.int_in_range(0..=8)?.into(),
        5 => input.arbitrary::<u64>()?.into(),
        6 => input.arbitrary::<i64>()?.into(),
        7 => input.arbitrary::<bool>()?.into(),
        8 => Value::from(input.arbitrary::<f64>()?),
        9 => input.arbitrary::<&str>()?.into(),
        10 if depth < 8 => {
            let list = (0..input.int_in_range(0..=4)?).map(|_| value(input, depth + 1));
            Value::Array(list.collect::<Result<_>>()?)
        }
        11 if depth < 8 => Value::Object(object(input, depth)?),
        _ => Value::Null,
    })
}

fn check(set: usize, text: &[u8]) {
    let dir = &DIRECTORIES.1[set];
    std::fs::write(dir.join("config.json"), text).expect("a file is written");
    let model = ModelRef::new(dir.to_str().expect("a temporary path is text"));
    let opened = mergecore::open_model(&model);
    let config = serde_json::from_slice::<Map<String, Value>>(text);
    let (config, opened) = match (config, opened) {
        (Ok(config), Ok(opened)) => (config, opened),
        (Err(_), Ok(_)) => panic!("what is no JSON object was accepted"),
        (config, Err(error)) => {
            let said = error.to_string();
            assert!(said.contains(&dir.display().to_string()), "{said}");
            let quantised = match &error {
                mergecore::Error::Model(OpenError::Checkpoint(error)) => {
                    matches!(**error, IoError::Quantised { .. })
                }
                _ => false,
            };
            assert_eq!(quantised, config.is_ok(), "{said}");
            assert!(quantised || said.contains("config.json"), "{said}");
            return;
        }
    };
    assert_eq!(*opened.checkpoint.config(), config);
    check_stacks(&opened, &config);
    check_roles(&opened);
    check_vocabulary(&opened.architecture, &opened.checkpoint, &config);
    check_plans(&model, &opened);
}

fn at<'a>(config: &'a Map<String, Value>, path: &[String]) -> &'a Map<String, Value> {
    path.iter().fold(config, |object, key| object[key].as_object().expect("the path is there"))
}

fn check_stacks(model: &Model, config: &Map<String, Value>) {
    let names: Vec<&str> = model.checkpoint.tensors().map(|tensor| tensor.name()).collect();
    let mut prefixes = BTreeSet::new();
    for stack in model.architecture.stacks() {
        assert!(prefixes.insert(&stack.prefix), "{} twice", stack.prefix);
        assert!(!stack.count_keys.is_empty());
        for key in &stack.count_keys {
            assert_eq!(at(config, &stack.config_path)[key], stack.layers);
        }
        for layer in 0..stack.layers {
            let layer = format!("{}.{layer}", stack.prefix);
            let within = |name: &&&str| {
                name.strip_prefix(&layer)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            assert!(names.iter().find(within).is_some(), "no tensor in {layer}");
        }
    }
}

fn check_roles(model: &Model) {
    let stacks = model.architecture.stacks();
    let mut seen = BTreeMap::new();
    for tensor in model.checkpoint.tensors() {
        let name = tensor.name();
        let Role::Layer { stack, layer, rest } = model.architecture.role(name) else { continue };
        assert!(layer < stacks[stack].layers, "{name}");
        if let Some(other) = seen.insert((stack, layer, rest), name) {
            panic!("{name:?} and {other:?} have one place");
        }
        let whole = format!("{}.{layer}.{rest}", stacks[stack].prefix);
        assert!(whole == name || whole.strip_suffix('.') == Some(name), "{whole:?} is {name:?}");
    }
}

fn check_vocabulary(
    architecture: &Architecture,
    checkpoint: &Checkpoint,
    config: &Map<String, Value>,
) {
    let mut stated = Vec::new();
    all_vocabularies(config, &mut stated);
    for size in architecture.vocabulary_sizes() {
        assert!(stated.contains(size), "{size} is not among {stated:?}");
    }
    for tensor in checkpoint.tensors() {
        let (name, shape) = (tensor.name(), tensor.shape());
        let rows = shape.first().is_some_and(|n| architecture.vocabulary_sizes().contains(n));
        let outside = !matches!(architecture.role(name), Role::Layer { .. });
        assert_eq!(architecture.is_by_token(name, shape), rows && outside, "{name}");
        if let Some(tied) = architecture.tied_to("lm_head.weight", shape) {
            let stored = checkpoint.tensor(tied).expect("what is tied is there");
            assert_eq!(architecture.role(tied), Role::Before);
            assert_eq!(stored.shape().get(1..), shape.get(1..));
        }
    }
}

fn all_vocabularies(object: &Map<String, Value>, found: &mut Vec<usize>) {
    for (key, value) in object {
        match value {
            Value::Number(number) if key == "vocab_size" => {
                found.extend(number.as_u64().and_then(|n| usize::try_from(n).ok()));
            }
            Value::Object(inner) => all_vocabularies(inner, found),
            _ => {}
        }
    }
}

fn check_plans(model: &ModelRef, opened: &Model) {
    let one = InputModel { model: model.clone(), parameters: weight() };
    let whole = planned(MergeInput::Models(vec![one])).expect("a model fits itself");
    assert_eq!(whole.tensors().len(), opened.checkpoint.len());
    for tensor in whole.tensors() {
        let stored = opened.checkpoint.tensor(&tensor.name).expect("no tensor is invented");
        assert_eq!((&tensor.shape[..], tensor.dtype), (stored.shape(), stored.dtype()));
    }
    let stacks = opened.architecture.stacks();
    let counts = |plan: &MergePlan, stack: usize, layers: usize| {
        for key in &stacks[stack].count_keys {
            assert_eq!(at(plan.config(), &stacks[stack].config_path)[key], json!(layers));
        }
    };
    for (index, stack) in stacks.iter().enumerate() {
        counts(&whole, index, stack.layers);
    }

    let layers = stacks.first().map_or(1, |stack| stack.layers);
    let source = SliceSource { model: model.clone(), layer_range: 0..layers, parameters: weight() };
    let slice =
        OutputSlice { sources: vec![source], base_model: None, parameters: Parameters::new() };
    match (planned(MergeInput::Slices(vec![slice.clone(), slice])), stacks) {
        (Ok(twice), [stack]) => {
            counts(&twice, 0, 2 * stack.layers);
            let role = |name| opened.architecture.role(name);
            let is_layers = |name| matches!(role(name), Role::Layer { .. });
            let names: BTreeSet<&str> =
                twice.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
            assert_eq!(names.len(), twice.tensors().len(), "a name twice");
            let expected = opened.checkpoint.tensors().map(|tensor| tensor.name());
            let expected: usize = expected.map(|name| if is_layers(name) { 2 } else { 1 }).sum();
            assert_eq!(names.len(), expected);
        }
        (Err(EngineError::NoLayers { .. }), []) => {}
        (Err(EngineError::NotSupported { .. }), [_, _, ..]) => {}
        (Err(error), stacks) => panic!("{} stacks: {error}", stacks.len()),
        (Ok(_), stacks) => panic!("planned in spite of {} stacks", stacks.len()),
    }
}

fn weight() -> Parameters {
    Parameters::new().with("weight", 1.0)
}

fn planned(input: MergeInput) -> std::result::Result<MergePlan, EngineError> {
    let options = MergeOptions { model_card: false, ..MergeOptions::default() };
    plan(&MergeConfig::new("linear", input), &options).map_err(|error| match error {
        mergecore::Error::Merge(error) => error,
        other => panic!("{other}"),
    })
}
