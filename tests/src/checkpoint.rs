//! From a checkpoint's folder to candle's Llama or Mistral, strictly.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Config, Llama, LlamaConfig};
use candle_transformers::models::mistral;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;

/// Loads the checkpoint in `dir` with f32 weights.
pub(crate) fn load(dir: &Path) -> Result<(Llama, Config), Error> {
    let config = read_config(dir)?;
    let weights = read_weights(dir, config.num_hidden_layers, config.tie_word_embeddings)?;
    Ok((Llama::load(weights, &config)?, config))
}

/// Loads the Mistral checkpoint in `dir`, whose head is stored, with f32 weights.
pub(crate) fn load_mistral(dir: &Path) -> Result<mistral::Model, Error> {
    let config: mistral::Config = read_json(&dir.join("config.json"))?;
    let weights = read_weights(dir, config.num_hidden_layers, false)?;
    Ok(mistral::Model::new(&config, weights)?)
}

/// Reads the tensors, which must be exactly those of a model of so many layers: candle
/// ignores tensors that it does not ask for.
fn read_weights(dir: &Path, layers: usize, tied: bool) -> Result<VarBuilder<'static>, Error> {
    let tensors = read_tensors(dir)?;
    check_names(dir, layers, tied, &tensors)?;
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

/// Reads config.json as transformers 4 or 5 writes it.
fn read_config(dir: &Path) -> Result<Config, Error> {
    let path = dir.join("config.json");
    let mut json: Value = read_json(&path)?;
    let expect = |key, found: &Value, expected: Value| {
        if *found == expected {
            return Ok(());
        }
        let (found, expected) = (found.to_string(), expected.to_string());
        Err(Error::Config { path: path.clone(), key, found, expected })
    };

    // transformers 5 moved rope_theta and rope_type into rope_parameters, which candle
    // does not know.
    if let Some(rope) = json.get_mut("rope_parameters").map(Value::take) {
        expect("rope_type", &rope["rope_type"], "default".into())?;
        json["rope_theta"] = rope["rope_theta"].clone();
    }
    expect("model_type", &json["model_type"], "llama".into())?;
    expect("hidden_act", &json["hidden_act"], "silu".into())?;
    // candle derives it.
    if let Some(head_dim) = json["head_dim"].as_u64() {
        let heads = json["num_attention_heads"].as_u64().unwrap_or(0);
        expect("hidden_size", &json["hidden_size"], (head_dim * heads).into())?;
    }

    let config: LlamaConfig =
        serde_json::from_value(json).map_err(|source| Error::Json { path, source })?;
    Ok(config.into_config(false))
}

/// Reads the tensors of model.safetensors, or of all shards that the index names.
fn read_tensors(dir: &Path) -> Result<HashMap<String, Tensor>, Error> {
    let index = dir.join("model.safetensors.index.json");
    if !index.exists() {
        return read_shard(&dir.join("model.safetensors"));
    }

    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, shard) in read_json::<Index>(&index)?.weight_map {
        shards.entry(shard).or_default().insert(tensor);
    }
    let mut tensors = HashMap::new();
    for (shard, promised) in shards {
        let path = dir.join(shard);
        let stored = read_shard(&path)?;
        let names = stored.keys().cloned().collect();
        let disagreed: Vec<_> = promised.symmetric_difference(&names).cloned().collect();
        if !disagreed.is_empty() {
            return Err(Error::Index { path, tensors: disagreed });
        }
        tensors.extend(stored);
    }
    Ok(tensors)
}

/// Checks that the checkpoint has the tensors of a Llama or Mistral of so many layers,
/// all and no more.
fn check_names(
    dir: &Path,
    layers: usize,
    tied: bool,
    tensors: &HashMap<String, Tensor>,
) -> Result<(), Error> {
    let stored: BTreeSet<String> = tensors.keys().cloned().collect();
    let used = llama_tensors(layers, tied);
    if stored == used {
        return Ok(());
    }
    Err(Error::Tensors {
        path: dir.join("config.json"),
        missing: used.difference(&stored).cloned().collect(),
        unused: stored.difference(&used).cloned().collect(),
    })
}

/// The names of the tensors that candle's Llama and Mistral ask for.
fn llama_tensors(layers: usize, tied: bool) -> BTreeSet<String> {
    const IN_LAYER: [&str; 9] = [
        "input_layernorm",
        "mlp.down_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "post_attention_layernorm",
        "self_attn.k_proj",
        "self_attn.o_proj",
        "self_attn.q_proj",
        "self_attn.v_proj",
    ];
    let layers = (0..layers)
        .flat_map(|layer| IN_LAYER.map(|part| format!("model.layers.{layer}.{part}.weight")));
    let head = (!tied).then(|| "lm_head.weight".to_owned());
    ["model.embed_tokens.weight", "model.norm.weight"]
        .map(str::to_owned)
        .into_iter()
        .chain(layers)
        .chain(head)
        .collect()
}

fn read_shard(path: &Path) -> Result<HashMap<String, Tensor>, Error> {
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| Error::Json { path: path.to_owned(), source })
}
