//! Vocabularies of different size: what is merged is what would be merged if the
//! inputs had been cut or lengthened by hand.

use mergecore::{DType, MergeOptions};
use serde_json::{Value, json};

use crate::support::{Folder, Model, Random, Tensor};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
const WIDTH: usize = 24;

fn config(rows: usize, tied: bool) -> Value {
    json!({
        "model_type": "llama", "num_hidden_layers": 2, "vocab_size": rows, "eos_token_id": rows - 1,
        "tie_word_embeddings": tied
    })
}

fn shapes(rows: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        (EMBEDDING.to_owned(), vec![rows, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
        (HEAD.to_owned(), vec![rows, WIDTH]),
        ("lm_head.bias".to_owned(), vec![rows]),
    ];
    shapes.extend((0..2).map(|layer| (format!("model.layers.{layer}.w"), vec![rows, WIDTH])));
    for (name, shape) in &mut shapes {
        if name.contains("layers") {
            shape[0] = 7;
        }
    }
    shapes
}

fn write(folder: &Folder, name: &str, rows: usize, model: &Model) {
    folder.write(name, &config(rows, !model.contains_key(HEAD)), model);
    let vocab: serde_json::Map<String, Value> =
        (0..rows).map(|id| (format!("t{id}"), id.into())).collect();
    let tokenizer = json!({ "model": { "vocab": vocab } });
    std::fs::write(folder.path(name).join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let generation = json!({ "eos_token_id": [rows - 1] });
    std::fs::write(folder.path(name).join("generation_config.json"), generation.to_string())
        .unwrap();
}

/// The model with another number of rows: cut, or with those of another below, in
/// f32, which holds the elements of both.
fn with_rows(model: &Model, rows: usize, from: &Model) -> Model {
    let mut model = model.clone();
    for name in [EMBEDDING, HEAD, "lm_head.bias"] {
        let Some(tensor) = model.get_mut(name) else { continue };
        let width = tensor.shape.get(1).copied().unwrap_or(1);
        let own = tensor.shape[0];
        let mut values = tensor.values();
        values.truncate(rows * width);
        let dtype = if own < rows {
            values.extend(&from[name].values()[own * width..]);
            DType::F32
        } else {
            tensor.dtype
        };
        *tensor = Tensor::of(dtype, &[&[rows], &tensor.shape[1..]].concat(), &values);
    }
    model
}

/// Random models, none of f64.
fn random(seed: u64, rows: usize) -> Model {
    let dtypes = [DType::Bf16, DType::F16, DType::F32];
    let model = Random::new(seed).model(&shapes(rows));
    let of = |(i, (name, tensor)): (usize, (String, Tensor))| {
        let dtype = dtypes[(i + seed as usize) % 3];
        (name, Tensor::of(dtype, &tensor.shape, &tensor.values()))
    };
    model.into_iter().enumerate().map(of).collect()
}

const METHODS: [&str; 5] = [
    "merge_method: linear\nparameters: {weight: 0.5}",
    "merge_method: slerp\nbase_model: DIR/base\nparameters: {t: 0.3}",
    "merge_method: task_arithmetic\nbase_model: DIR/base\nparameters: {weight: 0.5}",
    "merge_method: ties\nbase_model: DIR/base\nparameters: {weight: 0.5, density: 0.5}",
    "merge_method: dare_ties\nbase_model: DIR/base\nparameters: {weight: 0.5, density: 0.5}",
];

/// Merges `base` with `other` by every method, then with `by_hand`, which must be the
/// same.
fn assert_as_by_hand(base: (usize, Model), other: (usize, Model), by_hand: &Model) {
    let folder = Folder::new();
    write(&folder, "base", base.0, &base.1);
    for head in METHODS {
        let recipe =
            format!("{head}\ndtype: bfloat16\nmodels: [{{model: DIR/base}}, {{model: DIR/other}}]");
        write(&folder, "other", base.0, by_hand);
        let expected = folder.merge(&recipe);
        write(&folder, "other", other.0, &other.1);
        assert!(folder.merge(&recipe) == expected, "{head}");
        assert_eq!(expected[EMBEDDING].shape, [base.0, WIDTH]);
        let config = folder.json("out/config.json");
        assert_eq!(
            (&config["vocab_size"], &config["eos_token_id"]),
            (&json!(base.0), &json!(base.0 - 1))
        );
        assert_eq!(folder.json("out/generation_config.json")["eos_token_id"], json!([base.0 - 1]));
        let tokenizer = folder.json("out/tokenizer.json");
        assert_eq!(tokenizer["model"]["vocab"].as_object().unwrap().len(), base.0);
    }
}

#[test]
fn a_longer_input_loses_its_extra_rows() {
    let (base, other) = (random(1, 16), random(2, 19));
    let by_hand = with_rows(&other, 16, &base);
    assert_as_by_hand((16, base), (19, other), &by_hand);
}

#[test]
fn a_shorter_input_gets_the_rows_it_lacks_from_the_base() {
    let (base, other) = (random(3, 19), random(4, 16));
    let by_hand = with_rows(&other, 19, &base);
    assert_as_by_hand((19, base), (16, other), &by_hand);
}

#[test]
fn a_tied_model_of_another_size() {
    let base = random(5, 16);
    let mut other = random(6, 19);
    other.remove(HEAD);
    let mut by_hand = with_rows(&other, 16, &base);
    by_hand.insert(HEAD.to_owned(), by_hand[EMBEDDING].clone());
    assert_as_by_hand((16, base), (19, other), &by_hand);
}

/// The rows that the head lacks are those of the base's head, not of its embedding.
#[test]
fn a_shorter_tied_model() {
    let base = random(12, 19);
    let mut other = random(13, 16);
    other.remove(HEAD);
    let mut by_hand = with_rows(&other, 19, &base);
    let mut head = other.clone();
    head.insert(HEAD.to_owned(), other[EMBEDDING].clone());
    by_hand.insert(HEAD.to_owned(), with_rows(&head, 19, &base)[HEAD].clone());
    assert_as_by_hand((19, base), (16, other), &by_hand);
}

#[test]
fn stacked_models_of_different_sizes() {
    let folder = Folder::new();
    let (short, long) = (random(7, 16), random(8, 19));
    write(&folder, "short", 16, &short);
    write(&folder, "long", 19, &long);
    for ((first, rows, embedding), (last, head)) in [
        (("short", 16, &short), ("long", with_rows(&long, 16, &short))),
        (("long", 19, &long), ("short", with_rows(&short, 19, &long))),
    ] {
        let recipe = format!(
            "merge_method: passthrough\nslices: [{{sources: [{{model: DIR/{first}, layer_range: [0, 2]}}]}}, {{sources: [{{model: DIR/{last}, layer_range: [1, 2]}}]}}]"
        );
        let notes = folder.notes(&recipe);
        assert!(notes.iter().any(|note| note.contains("rows 16 to 18")), "{notes:?}");
        let merged = folder.merge(&recipe);
        assert_eq!(merged[EMBEDDING], embedding[EMBEDDING]);
        // The stored dtype is the last model's, whose head it is.
        assert_eq!(merged[HEAD].shape, [rows, WIDTH]);
        assert_eq!(merged[HEAD].values().len(), head[HEAD].values().len());
        let kept = 16 * WIDTH;
        assert_eq!(merged[HEAD].values()[..kept], head[HEAD].values()[..kept]);
        let config = folder.json("out/config.json");
        assert_eq!(
            (&config["vocab_size"], &config["num_hidden_layers"]),
            (&json!(rows), &json!(3))
        );
    }
}

#[test]
fn the_base_says_how_many_rows_even_where_it_is_no_source() {
    let folder = Folder::new();
    let (base, long) = (random(9, 16), random(10, 19));
    write(&folder, "base", 16, &base);
    write(&folder, "long", 19, &long);
    let merged = folder.merge("merge_method: passthrough\nbase_model: DIR/base\nslices: [{sources: [{model: DIR/long, layer_range: [0, 2]}]}]");
    assert_eq!(merged[EMBEDDING], with_rows(&long, 16, &base)[EMBEDDING]);
    assert_eq!(folder.json("out/config.json")["vocab_size"], json!(16));
}

#[test]
fn ids_outside_the_vocabulary_are_noted() {
    let folder = Folder::new();
    write(&folder, "a", 16, &random(11, 16));
    let config = json!({ "model_type": "llama", "num_hidden_layers": 2, "vocab_size": 16, "pad_token_id": 16, "eos_token_id": [3, 15] });
    std::fs::write(folder.path("a/config.json"), config.to_string()).unwrap();
    std::fs::write(folder.path("a/generation_config.json"), r#"{"eos_token_id": [2, 40]}"#)
        .unwrap();
    let recipe = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: DIR/a}]";
    let notes: Vec<String> =
        folder.notes(recipe).into_iter().filter(|note| note.contains("_token_id")).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("`pad_token_id` is 16 in config.json"), "{notes:?}");
    assert!(notes[1].contains("`eos_token_id` is 40 in generation_config.json"), "{notes:?}");
    assert!(folder.merge_with(recipe, "out", &MergeOptions::default()).is_ok());
}

/// The output's config.json would not agree with its tensors.
#[test]
fn a_vocabulary_that_config_json_does_not_count_is_not_fitted() {
    let folder = Folder::new();
    let (long, short) = (random(14, 19), random(15, 16));
    write(&folder, "long", 19, &long);
    write(&folder, "short", 16, &short);
    for wrong in [json!(16), Value::Null] {
        let mut config = config(19, false);
        config["vocab_size"] = wrong;
        std::fs::write(folder.path("long/config.json"), config.to_string()).unwrap();
        for [first, second] in [["long", "short"], ["short", "long"]] {
            let error = folder.refuse(&format!(
                "merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: DIR/{first}}}, {{model: DIR/{second}}}]"
            ));
            assert!(error.contains("[19, 24]") && error.contains("`vocab_size`"), "{error}");
        }
    }
}

/// Embeddings and head from different models, of which one does not count its rows.
#[test]
fn a_stack_never_has_a_head_of_another_size() {
    let folder = Folder::new();
    for uncounted in ["short", "long"] {
        write(&folder, "short", 16, &random(16, 16));
        write(&folder, "long", 19, &random(17, 19));
        let path = folder.path(uncounted).join("config.json");
        let mut config = folder.json(&format!("{uncounted}/config.json"));
        config["vocab_size"] = Value::Null;
        std::fs::write(path, config.to_string()).unwrap();
        for [first, last] in [["short", "long"], ["long", "short"]] {
            let error = folder.refuse(&format!(
                "merge_method: passthrough\nslices: [{{sources: [{{model: DIR/{first}, layer_range: [0, 2]}}]}}, {{sources: [{{model: DIR/{last}, layer_range: [1, 2]}}]}}]"
            ));
            for part in ["lm_head", "[16", "[19", "/short`", "/long`", "`vocab_size`"] {
                assert!(error.contains(part), "no {part:?} in: {error}");
            }
        }
    }
}

#[test]
fn ids_are_checked_in_nested_objects_and_in_files_that_can_be_read() {
    let folder = Folder::new();
    write(&folder, "a", 16, &random(18, 16));
    let text = json!({ "vocab_size": 8, "bos_token_id": 8 });
    let other = json!({ "image_token_id": 16 });
    let config =
        json!({ "num_hidden_layers": 2, "vocab_size": 16, "text_config": text, "x": other });
    std::fs::write(folder.path("a/config.json"), config.to_string()).unwrap();
    std::fs::write(folder.path("a/generation_config.json"), "[").unwrap();
    let notes =
        folder.notes("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: DIR/a}]");
    for part in [
        "`bos_token_id` is 8",
        "`image_token_id` is 16",
        "generation_config.json cannot be read as a JSON object",
    ] {
        assert!(notes.iter().any(|note| note.contains(part)), "no {part:?} in: {notes:?}");
    }
}

#[test]
fn tokens_that_the_output_cannot_name_are_noted() {
    let folder = Folder::new();
    write(&folder, "padded", 16, &random(19, 16));
    write(&folder, "chat", 16, &random(20, 16));
    let vocab: serde_json::Map<String, Value> =
        (0..10).map(|id| (format!("t{id}"), id.into())).collect();
    let tokenizer = json!({ "model": { "vocab": vocab } });
    std::fs::write(folder.path("padded/tokenizer.json"), tokenizer.to_string()).unwrap();
    let notes = folder.notes("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: DIR/padded}, {model: DIR/chat}]");
    let expected = "`t10` (10), `t11` (11), `t12` (12), `t13` (13) and 2 more";
    assert!(notes.iter().any(|note| note.contains(expected)), "{notes:?}");
}

/// The input does not load; its merge with itself does.
#[test]
fn a_vocab_size_that_no_tensor_has_is_corrected_with_a_note() {
    let folder = Folder::new();
    write(&folder, "a", 16, &random(21, 16));
    std::fs::write(folder.path("a/config.json"), config(11, false).to_string()).unwrap();
    let recipe = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: DIR/a}]";
    assert!(
        folder
            .notes(recipe)
            .iter()
            .any(|note| note.contains("is 11, but embedding and head have 16"))
    );
    folder.merge(recipe);
    assert_eq!(folder.json("out/config.json")["vocab_size"], 16);
}
