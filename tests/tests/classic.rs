//! Four recipes as people wrote them, on models by name: tiny stand-ins in a cache, of
//! several dtypes, in one file or several, one with two more tokens than the others.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use mergecore::{HubCache, MergeConfig, MergeOptions, MergeReport, hub_locator, merge};
use mergecore_tests::{mistral_logits, project_root};
use serde_json::{Value, json};

const LAYERS: usize = 32;
const WIDTH: usize = 16;
const TOKENS: usize = 1024;

/// Name, dtype, number of files, number of added tokens.
const MODELS: [(&str, DType, usize, usize); 8] = [
    ("mistralai/Mistral-7B-v0.1", DType::BF16, 2, 0),
    ("OpenPipe/mistral-ft-optimized-1218", DType::BF16, 3, 0),
    ("mlabonne/NeuralHermes-2.5-Mistral-7B", DType::F16, 3, 2),
    ("AIDC-ai-business/Marcoroni-7B-v3", DType::F16, 2, 0),
    ("EmbeddedLLM/Mistral-7B-Merge-14-v0.1", DType::BF16, 1, 0),
    ("EmbeddedLLM/Mistral-7B-Merge-14-v0.2", DType::F32, 1, 0),
    ("samir-fama/SamirGPT-v1", DType::BF16, 1, 0),
    ("abacusai/Slerp-CM-mist-dpo", DType::BF16, 2, 0),
];

/// A tensor like that of the base, a little moved for each model.
fn tensor(name: &str, shape: &[usize], model: usize, dtype: DType) -> Tensor {
    let len: usize = shape.iter().product();
    let seed: usize = name.bytes().map(usize::from).sum();
    let wave = |i: usize, step: usize| ((i + 1) * (step + seed) % 1009) as f32 / 1009.0 - 0.5;
    let norm = if name.contains("norm") { 1.0 } else { 0.0 };
    let value = |i| norm + 0.2 * wave(i, 7919) + 0.02 * wave(i, 6101 * model);
    let values: Vec<f32> = (0..len).map(value).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn shapes(rows: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![rows, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
        ("lm_head.weight".to_owned(), vec![rows, WIDTH]),
    ];
    for layer in 0..LAYERS {
        let parts: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[WIDTH]),
            ("post_attention_layernorm", &[WIDTH]),
            ("mlp.gate_proj", &[24, WIDTH]),
            ("mlp.up_proj", &[24, WIDTH]),
            ("mlp.down_proj", &[WIDTH, 24]),
            ("self_attn.q_proj", &[WIDTH, WIDTH]),
            ("self_attn.k_proj", &[8, WIDTH]),
            ("self_attn.v_proj", &[8, WIDTH]),
            ("self_attn.o_proj", &[WIDTH, WIDTH]),
        ];
        let name = |part| format!("model.layers.{layer}.{part}.weight");
        shapes.extend(parts.map(|(part, shape)| (name(part), shape.to_vec())));
    }
    shapes
}

fn write(path: PathBuf, json: &Value) {
    std::fs::write(path, format!("{json:#}")).unwrap();
}

/// A model's snapshot: weights, configs, tokenizer.
fn write_model(dir: &Path, index: usize) {
    let (_, dtype, files, added) = MODELS[index];
    let rows = TOKENS + added;
    let eos = if added == 0 { 2 } else { TOKENS };
    std::fs::create_dir_all(dir).unwrap();
    let config = json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
        "bos_token_id": 1, "eos_token_id": eos, "hidden_size": WIDTH, "intermediate_size": 24,
        "max_position_embeddings": 512, "num_attention_heads": 2, "num_key_value_heads": 1,
        "num_hidden_layers": LAYERS, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "float32",
        "vocab_size": rows,
    });
    write(dir.join("config.json"), &config);
    write(dir.join("generation_config.json"), &json!({ "eos_token_id": eos }));

    let path = project_root().join("models/tiny-llama-base/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for id in TOKENS..rows {
        let token = json!({
            "id": id, "content": format!("<|{id}|>"), "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        });
        tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    }
    write(dir.join("tokenizer.json"), &tokenizer);

    let mut shards = vec![HashMap::new(); files];
    let mut map = serde_json::Map::new();
    let file = |shard: usize| match files {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{files:05}.safetensors", shard + 1),
    };
    for (i, (name, shape)) in shapes(rows).into_iter().enumerate() {
        map.insert(name.clone(), file(i % files).into());
        let value = tensor(&name, &shape, index, dtype);
        shards[i % files].insert(name, value);
    }
    for (shard, tensors) in shards.iter().enumerate() {
        candle_core::safetensors::save(tensors, dir.join(file(shard))).unwrap();
    }
    if files > 1 {
        write(dir.join("model.safetensors.index.json"), &json!({ "weight_map": map }));
    }
}

/// Merges by one of the recipes, from a cache of stand-ins; yields the report, config.json,
/// the tensors and the logits of the merged model, which candle must load without a tensor too few or many.
fn merged(recipe: &str) -> (MergeReport, Vec<f32>, Value, HashMap<String, Tensor>) {
    let dir = tempfile::tempdir().unwrap();
    for (index, (name, ..)) in MODELS.iter().enumerate() {
        let model = dir.path().join(format!("models--{}", name.replace('/', "--")));
        write_model(&model.join("snapshots/c0ffee"), index);
        std::fs::create_dir(model.join("refs")).unwrap();
        std::fs::write(model.join("refs/main"), "c0ffee").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(recipe);
    let config = MergeConfig::from_path(path).unwrap();
    let locator = Some(hub_locator(HubCache::new(dir.path())));
    let options = MergeOptions { locator, ..MergeOptions::default() };
    let out = dir.path().join("merged");
    let report = merge(&config, &out, &options).unwrap();
    let logits = mistral_logits(&out, "In the beginning").unwrap();
    let json = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(out.join(name)).unwrap()).unwrap()
    };
    // What says how many tokens there are agrees.
    let config = json("config.json");
    assert_eq!(config["vocab_size"], TOKENS);
    assert_eq!(
        (&config["eos_token_id"], &json("generation_config.json")["eos_token_id"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(json("tokenizer.json")["added_tokens"].as_array().unwrap().len(), 3);
    let file = out.join("model.safetensors");
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    (report, logits, config, tensors)
}

#[track_caller]
fn check(recipe: &str, layers: usize, dtype: &str, note: Option<&str>) -> HashMap<String, Tensor> {
    let (report, logits, config, tensors) = merged(recipe);
    assert_eq!(report.tensors, 3 + 9 * layers);
    assert_eq!(config["num_hidden_layers"], layers);
    assert_eq!(config["torch_dtype"], dtype);
    assert_eq!(logits.len(), TOKENS);
    assert!(logits.iter().all(|logit| logit.is_finite() && *logit != 0.0));
    // The models' config.json have the dtype of the family, whatever the weights are.
    let of_dtype = |note: &&String| note.contains("they are read as they are stored");
    let notes: Vec<&str> =
        report.notes.iter().filter(|note| !of_dtype(note)).map(String::as_str).collect();
    let notes = notes.join("\n");
    match note {
        Some(note) => assert!(notes.contains(note), "{notes}"),
        None => assert_eq!(notes, ""),
    }
    tensors
}

/// A model's tensor as it is stored, widened.
fn stored(model: usize, name: &str) -> Vec<f64> {
    let (_, dtype, _, added) = MODELS[model];
    let all = shapes(TOKENS + added);
    let (_, shape) = all.iter().find(|(known, _)| known == name).unwrap();
    values(&tensor(name, shape, model, dtype))
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Whether the merged values are these, but for one rounding to a type with so many bits
/// of precision.
#[track_caller]
fn assert_close(name: &str, merged: &Tensor, expected: &[f64], bits: i32) {
    let merged = values(merged);
    assert_eq!(merged.len(), expected.len(), "{name}");
    for (i, (got, expected)) in merged.iter().zip(expected).enumerate() {
        // Half a unit in the last place, or of the smallest numbers of f16.
        let error = expected.abs() * 2f64.powi(-bits) + 2f64.powi(-25);
        assert!((got - expected).abs() <= error, "{name} [{i}]: {got}, not {expected}");
    }
}

/// Task vectors, pruned, added to the base where the sign is the elected one.
fn elected(base: &[f64], deltas: &[Vec<f64>], weights: &[f64], normalize: bool) -> Vec<f64> {
    let at = |i: usize| {
        let weighted: Vec<f64> = deltas.iter().zip(weights).map(|(d, w)| w * d[i]).collect();
        let plus = weighted.iter().sum::<f64>() >= 0.0;
        let agrees = |d: f64| d != 0.0 && (d > 0.0) == plus;
        let agreeing = || weighted.iter().zip(weights).filter(move |(d, _)| agrees(**d));
        let divisor: f64 = agreeing().map(|(_, w)| w).sum();
        let sum: f64 = agreeing().map(|(d, _)| d).sum();
        base[i] + if normalize && divisor != 0.0 { sum / divisor } else { sum }
    };
    (0..base.len()).map(at).collect()
}

fn deltas(base: &[f64], models: &[usize], name: &str) -> Vec<Vec<f64>> {
    let delta = |model: &usize| {
        let values = stored(*model, name);
        base.iter().zip(values).map(|(base, value)| value - base).collect()
    };
    models.iter().map(delta).collect()
}

const INSIDE: &str = "model.layers.5.mlp.up_proj.weight";

#[test]
fn slerp() {
    let tensors = check("slerp.yml", 32, "bfloat16", None);
    // t begins at 0 for the attention, which is the base, and at 1 for the rest of a layer.
    let name = "model.layers.0.self_attn.q_proj.weight";
    assert_close(name, &tensors[name], &stored(3, name), 8);
    let name = "model.layers.0.mlp.up_proj.weight";
    assert_close(name, &tensors[name], &stored(4, name), 8);
    // Between: the fifth layer's t on the way from 1 to 0.5.
    let t = 1.0 - 0.5 * (5.0 * 4.0 / 31.0);
    let (a, b) = (stored(3, INSIDE), stored(4, INSIDE));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let theta = (dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()).acos();
    let (s0, s1) = ((1.0 - t) * theta, t * theta);
    let (s0, s1) = match theta.cos() > 0.9995 {
        true => (1.0 - t, t),
        false => (s0.sin() / theta.sin(), s1.sin() / theta.sin()),
    };
    let expected: Vec<f64> = a.iter().zip(&b).map(|(a, b)| s0 * a + s1 * b).collect();
    assert_close(INSIDE, &tensors[INSIDE], &expected, 8);
}

#[test]
fn ties() {
    let note = "rows 1024 and 1025 (`<|1024|>`, `<|1025|>`) are left out";
    let tensors = check("ties.yml", 32, "float16", Some(note));
    let base = stored(0, INSIDE);
    let mut deltas = deltas(&base, &[1, 2], INSIDE);
    for delta in &mut deltas {
        let mut order: Vec<usize> = (0..delta.len()).collect();
        order.sort_by(|a, b| delta[*b].abs().total_cmp(&delta[*a].abs()).then(a.cmp(b)));
        for i in &order[delta.len() / 2..] {
            delta[*i] = 0.0;
        }
    }
    let expected = elected(&base, &deltas, &[0.5, 0.3], true);
    assert_close(INSIDE, &tensors[INSIDE], &expected, 11);
}

#[test]
fn dare_ties() {
    let tensors = check("dare_ties.yml", 32, "bfloat16", Some("`int8_mask` has no effect"));
    let base = stored(0, INSIDE);
    let mut deltas = deltas(&base, &[6, 7, 5], INSIDE);
    let densities = vec![0.53; 3];
    let stream = mergecore::stream_key(0, INSIDE);
    let dare = mergecore::Dare { densities, stream, ..mergecore::Dare::default() };
    for (model, delta) in deltas.iter_mut().enumerate() {
        let mask = dare.mask(model, 0, delta.len()).unwrap();
        for (delta, kept) in delta.iter_mut().zip(mask) {
            *delta = if kept { *delta / 0.53 } else { 0.0 };
        }
    }
    let expected = elected(&base, &deltas, &[0.4, 0.3, 0.3], false);
    assert_close(INSIDE, &tensors[INSIDE], &expected, 8);
}

/// Embeddings from a model of 1,024 rows, head from one of 1,026.
#[test]
fn passthrough() {
    let note = "`mlabonne/NeuralHermes-2.5-Mistral-7B` has 1026 rows";
    let tensors = check("passthrough.yml", 40, "bfloat16", Some(note));
    let name = "model.embed_tokens.weight";
    assert_close(name, &tensors[name], &stored(1, name), 8);
    let name = "lm_head.weight";
    assert_close(name, &tensors[name], &stored(2, name)[..TOKENS * WIDTH], 8);
    assert_close(INSIDE, &tensors[INSIDE], &stored(1, INSIDE), 8);
    let (name, from) = (INSIDE.replace(".5.", ".37."), INSIDE.replace(".5.", ".29."));
    assert_close(&name, &tensors[&name], &stored(2, &from), 8);
}
