//! A checkpoint that candle would load wrongly, or not at all, is an error.

use std::fs;
use std::path::Path;

use mergecore_tests::{Error, eval_kjv, perplexity, project_root};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A copy of one of the models, to be damaged.
fn copy_of(model: &str) -> TempDir {
    let copy = TempDir::new().unwrap();
    for file in fs::read_dir(project_root().join("models").join(model)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut json);
    fs::write(file, json.to_string()).unwrap();
}

/// The error that `change` to the base model's config.json leads to.
fn error_with_config(change: impl FnOnce(&mut Value)) -> Error {
    let model = copy_of("tiny-llama-base");
    edit(&model.path().join("config.json"), change);
    perplexity(model.path(), &eval_kjv()).unwrap_err()
}

#[test]
fn a_layer_more_than_config_json_says() {
    let error = error_with_config(|config| config["num_hidden_layers"] = json!(5));
    let Error::Tensors { missing, unused, .. } = error else { panic!("{error}") };
    assert_eq!((missing.len(), unused.len()), (0, 9));
    assert!(unused.iter().all(|name| name.starts_with("model.layers.5.")), "{unused:?}");
}

#[test]
fn a_layer_fewer_than_config_json_says() {
    let error = error_with_config(|config| config["num_hidden_layers"] = json!(7));
    let Error::Tensors { missing, unused, .. } = error else { panic!("{error}") };
    assert_eq!((missing.len(), unused.len()), (9, 0));
    assert!(missing.iter().all(|name| name.starts_with("model.layers.6.")), "{missing:?}");
}

#[test]
fn a_head_that_tied_embeddings_would_replace() {
    let error = error_with_config(|config| config["tie_word_embeddings"] = json!(true));
    let Error::Tensors { unused, .. } = error else { panic!("{error}") };
    assert_eq!(unused, ["lm_head.weight"]);
}

#[test]
fn a_model_that_is_no_plain_llama() {
    for (key, change) in [
        ("model_type", json!({"model_type": "mistral"})),
        ("hidden_act", json!({"hidden_act": "gelu"})),
        ("hidden_size", json!({"head_dim": 64})),
        ("rope_type", json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}})),
    ] {
        let error = error_with_config(|config| {
            config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        });
        assert!(matches!(error, Error::Config { key: k, .. } if k == key), "{key}: {error}");
    }
}

#[test]
fn config_json_incomplete() {
    let error = error_with_config(|config| config["vocab_size"] = Value::Null);
    assert!(matches!(error, Error::Json { .. }), "{error}");
}

#[test]
fn config_json_missing() {
    let error = perplexity(TempDir::new().unwrap().path(), "").unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
}

#[test]
fn an_index_that_forgets_a_tensor() {
    let model = copy_of("tiny-llama-code");
    edit(&model.path().join("model.safetensors.index.json"), |index| {
        index["weight_map"].as_object_mut().unwrap().remove("model.norm.weight").unwrap();
    });
    let error = perplexity(model.path(), &eval_kjv()).unwrap_err();
    let Error::Index { tensors, .. } = error else { panic!("{error}") };
    assert_eq!(tensors, ["model.norm.weight"]);
}

#[test]
fn a_shard_missing() {
    let model = copy_of("tiny-llama-code");
    fs::remove_file(model.path().join("model-00002-of-00004.safetensors")).unwrap();
    let error = perplexity(model.path(), &eval_kjv()).unwrap_err();
    assert!(matches!(error, Error::Candle(_)), "{error}");
}

#[test]
fn tokenizer_missing() {
    let model = copy_of("tiny-llama-base");
    fs::remove_file(model.path().join("tokenizer.json")).unwrap();
    let error = perplexity(model.path(), &eval_kjv()).unwrap_err();
    assert!(matches!(error, Error::Tokenizer(_)), "{error}");
}

#[test]
fn a_text_of_less_than_a_row() {
    let model = project_root().join("models/tiny-llama-base");
    let error = perplexity(&model, "In the beginning").unwrap_err();
    assert!(matches!(error, Error::ShortText { expected: 128, .. }), "{error}");
}

/// transformers 4 writes `rope_theta` where transformers 5 writes `rope_parameters`: both
/// must reach the model.
#[test]
fn rope_theta_of_either_spelling_matters() {
    let text: String = eval_kjv().chars().take(2_000).collect();
    let score = |change: fn(&mut Value)| {
        let model = copy_of("tiny-llama-base");
        edit(&model.path().join("config.json"), change);
        perplexity(model.path(), &text).unwrap()
    };
    let five = score(|config| config["rope_parameters"]["rope_theta"] = json!(500.0));
    let four = score(|config| {
        config.as_object_mut().unwrap().remove("rope_parameters");
        config["rope_theta"] = json!(500.0);
    });
    assert_eq!(five, four);
    assert_ne!(five, score(|_| ()));
}
