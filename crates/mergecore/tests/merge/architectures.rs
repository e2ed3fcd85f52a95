//! Checkpoints whose tensors are named in other ways.

use mergecore::DType;
use serde_json::{Value, json};

use crate::support::{Folder, Model, Tensor, llama, llama_config};

/// A model of these tensors, the i-th of value `first + i`.
fn model<S: AsRef<str>>(names: &[S], first: f64) -> Model {
    let tensor =
        |(i, name): (usize, &S)| (name.as_ref().to_owned(), Tensor::constant(first + i as f64));
    names.iter().enumerate().map(tensor).collect()
}

/// Stacks layers 1 and 0 of a model of two layers; they must change places, and
/// nothing else.
fn assert_swaps(config: &Value, names: &[&str], prefix: &str) {
    let folder = Folder::new();
    let original = model(names, 1.0);
    folder.write("a", config, &original);
    let merged = folder.merge("merge_method: passthrough\nslices: [{sources: [{model: DIR/a, layer_range: [1, 2]}]}, {sources: [{model: DIR/a, layer_range: [0, 1]}]}]");
    assert_eq!(merged.len(), names.len());
    for (name, tensor) in merged {
        let (zero, one) = (format!("{prefix}.0."), format!("{prefix}.1."));
        let from = match name.starts_with(&zero) {
            true => name.replacen(&zero, &one, 1),
            false => name.replacen(&one, &zero, 1),
        };
        assert_eq!(tensor, original[&from], "{name}");
    }
}

#[test]
fn layers_are_found_whatever_they_are_called() {
    let gpt2 = [
        "transformer.wte.weight",
        "transformer.wpe.weight",
        "transformer.h.0.ln_1.weight",
        "transformer.h.0.mlp.c_fc.weight",
        "transformer.h.1.ln_1.weight",
        "transformer.h.1.mlp.c_fc.weight",
        "transformer.ln_f.weight",
    ];
    assert_swaps(
        &json!({ "model_type": "gpt2", "n_layer": 2, "n_head": 2 }),
        &gpt2,
        "transformer.h",
    );
    let bare = ["wte.weight", "h.0.mlp.c_fc.weight", "h.1.mlp.c_fc.weight", "ln_f.weight"];
    assert_swaps(&json!({ "model_type": "gpt2", "n_layer": 2 }), &bare, "h");
    let neox = [
        "gpt_neox.embed_in.weight",
        "gpt_neox.layers.0.attention.dense.weight",
        "gpt_neox.layers.1.attention.dense.weight",
        "gpt_neox.final_layer_norm.weight",
        "embed_out.weight",
    ];
    let config = json!({ "model_type": "gpt_neox", "num_hidden_layers": 2 });
    assert_swaps(&config, &neox, "gpt_neox.layers");
    let nested = [
        "language_model.model.embed_tokens.weight",
        "language_model.model.layers.0.mlp.weight",
        "language_model.model.layers.1.mlp.weight",
        "language_model.lm_head.weight",
        "multi_modal_projector.weight",
    ];
    let config = json!({ "model_type": "llava", "text_config": { "num_hidden_layers": 2 } });
    assert_swaps(&config, &nested, "language_model.model.layers");
}

#[test]
fn as_many_experts_as_layers_stay_experts() {
    let names = [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.experts.0.w1.weight",
        "model.layers.0.mlp.experts.1.w1.weight",
        "model.layers.0.mlp.gate.weight",
        "model.layers.1.mlp.experts.0.w1.weight",
        "model.layers.1.mlp.experts.1.w1.weight",
        "model.layers.1.mlp.gate.weight",
        "lm_head.weight",
    ];
    let config = json!({ "model_type": "mixtral", "num_hidden_layers": 2, "num_local_experts": 2 });
    assert_swaps(&config, &names, "model.layers");
}

#[test]
fn mask_buffers_may_be_missing_and_biases_may_not() {
    let folder = Folder::new();
    let names = ["transformer.wte.weight", "transformer.h.0.attn.c_attn.weight"];
    let mask = "transformer.h.0.attn.bias".to_owned();
    let config = json!({ "model_type": "gpt2", "n_layer": 1 });
    let plain = model(&names, 1.0);
    let mut all = plain.clone();
    all.insert(mask.clone(), Tensor::of(DType::F32, &[1, 1, 2, 2], &[1.0; 4]));
    let masked = "transformer.h.0.attn.masked_bias".to_owned();
    all.insert(masked, Tensor::of(DType::F32, &[], &[-10_000.0]));
    folder.write("plain", &config, &plain);
    folder.write("all", &config, &all);
    let linear = |first: &str, second: &str| {
        format!(
            "merge_method: linear\nmodels: [{{model: DIR/{first}}}, {{model: DIR/{second}}}]\nparameters: {{weight: 1}}"
        )
    };
    assert!(folder.merge(&linear("all", "all")) == all);
    assert!(folder.merge(&linear("all", "plain")) == plain);
    assert!(folder.merge(&linear("plain", "all")) == plain);
    for recipe in [linear("all", "plain"), linear("plain", "all")] {
        let notes = folder.notes(&recipe);
        let note = format!("`{mask}` and 1 more of `{}`", folder.path("all").display());
        assert!(notes.iter().any(|found| found.contains(&note)), "{notes:?}");
    }
    // Of the mask's name, but a vector of weights.
    for name in ["transformer.h.0.attn.c_attn.bias", "transformer.h.0.attn.bias"] {
        let mut bias = plain.clone();
        bias.insert(name.to_owned(), Tensor::of(DType::F32, &[4], &[1.0; 4]));
        folder.write("bias", &config, &bias);
        for recipe in [linear("bias", "plain"), linear("plain", "bias")] {
            let error = folder.refuse(&recipe);
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }
}

#[test]
fn a_tied_head_meets_a_stored_one() {
    let folder = Folder::new();
    let untied = llama(2, 3.0);
    let mut tied = llama(2, 1.0);
    tied.remove("lm_head.weight");
    let mut config = llama_config(2);
    folder.write("untied", &config, &untied);
    config["tie_word_embeddings"] = true.into();
    folder.write("tied", &config, &tied);
    let mut copy = llama(2, 3.0);
    copy.insert("model.embed_tokens.weight".to_owned(), Tensor::constant(7.0));
    copy.insert("lm_head.weight".to_owned(), Tensor::constant(7.0));
    folder.write("copy", &config, &copy);
    let linear = |first: &str, second: &str| {
        format!(
            "merge_method: linear\nmodels: [{{model: DIR/{first}}}, {{model: DIR/{second}}}]\nparameters: {{weight: 1}}"
        )
    };
    // A head of its own: the embedding stands in for the one that is tied.
    let merged = folder.merge(&linear("untied", "tied"));
    assert_eq!(merged["lm_head.weight"].value(), 2.0);
    // Tied and tied.
    let merged = folder.merge(&linear("tied", "tied"));
    assert_eq!(merged.get("lm_head.weight"), None);
    // A head that only repeats the embedding may go.
    let merged = folder.merge(&linear("tied", "copy"));
    assert_eq!(merged.get("lm_head.weight"), None);
    assert_eq!(merged["model.embed_tokens.weight"].value(), 4.0);
    // One that does not may not.
    let error = folder.refuse(&linear("tied", "untied"));
    assert!(error.contains("`lm_head.weight` is in"), "{error}");
}

#[test]
fn stacks_that_end_with_different_models_agree_on_the_head() {
    let folder = Folder::new();
    let mut tied = llama(2, 1.0);
    tied.remove("lm_head.weight");
    let mut config = llama_config(2);
    folder.write("untied", &config, &llama(2, 3.0));
    config["tie_word_embeddings"] = true.into();
    folder.write("tied", &config, &tied);
    let stack = |first: &str, last: &str| {
        format!(
            "merge_method: passthrough\nslices: [{{sources: [{{model: DIR/{first}, layer_range: [0, 1]}}]}}, {{sources: [{{model: DIR/{last}, layer_range: [1, 2]}}]}}]"
        )
    };
    let merged = folder.merge(&stack("untied", "tied"));
    assert_eq!(merged["lm_head.weight"].value(), 1.0);
    assert_eq!(folder.json("out/config.json").get("tie_word_embeddings"), None);
    let error = folder.refuse(&stack("tied", "untied"));
    assert!(error.contains("`lm_head.weight`"), "{error}");
}

/// An encoder and a decoder.
fn two_stacks(value: f64) -> Model {
    let layers = |prefix: &str, layers: usize| {
        (0..layers).map(|layer| format!("{prefix}.{layer}.w")).collect::<Vec<_>>()
    };
    let names = [
        vec!["shared.embed.weight".to_owned(), "final.norm.weight".to_owned()],
        layers("encoder.block", 2),
        layers("decoder.block", 3),
    ];
    names.concat().into_iter().map(|name| (name, Tensor::constant(value))).collect()
}

fn two_stacks_config() -> Value {
    json!({ "model_type": "t5", "num_layers": 2, "num_decoder_layers": 3 })
}

#[test]
fn models_of_two_stacks_are_merged_whole() {
    let folder = Folder::new();
    folder.write("a", &two_stacks_config(), &two_stacks(1.0));
    folder.write("b", &two_stacks_config(), &two_stacks(3.0));
    let merged = folder.merge("merge_method: slerp\nbase_model: DIR/a\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {t: [0, 1]}");
    let values: Vec<(&str, f64)> =
        merged.iter().map(|(name, t)| (name.as_str(), t.value())).collect();
    assert_eq!(
        values,
        [
            ("decoder.block.0.w", 1.0),
            ("decoder.block.1.w", 2.0),
            ("decoder.block.2.w", 3.0),
            ("encoder.block.0.w", 1.0),
            ("encoder.block.1.w", 3.0),
            ("final.norm.weight", 1.0),
            ("shared.embed.weight", 1.0),
        ]
    );
    assert_eq!(folder.json("out/config.json"), two_stacks_config());
    let error = folder.refuse(
        "merge_method: passthrough\nslices: [{sources: [{model: DIR/a, layer_range: [0, 1]}]}]",
    );
    assert!(error.contains("several stacks"), "{error}");
}

/// Whichever of two models has more than the other, it is never dropped silently.
#[test]
fn what_only_one_model_has_is_named() {
    let folder = Folder::new();
    folder.write("a", &llama_config(2), &llama(2, 1.0));
    let add = |names: &[&str], config: Value| {
        let mut model = llama(2, 1.0);
        model.extend(names.iter().map(|name| ((*name).to_owned(), Tensor::constant(1.0))));
        (model, config)
    };
    let vision = |layers: usize| {
        let mut config = llama_config(2);
        config["vision_config"] = json!({ "num_hidden_layers": layers });
        config
    };
    for (name, (model, config)) in [
        ("bias", add(&["model.layers.1.mlp.up_proj.bias"], llama_config(2))),
        ("norm", add(&["model.final_norm.bias"], llama_config(2))),
        ("embedding", add(&["model.embed_positions.weight"], llama_config(2))),
        ("vision-after", add(&["vision.layers.0.w"], vision(1))),
        ("vision-before", add(&["audio.layers.0.w"], vision(1))),
        ("uncounted", add(&["model.layers.2.mlp.up_proj.weight"], llama_config(3))),
    ] {
        folder.write(name, &config, &model);
        for models in [["a", name], [name, "a"]] {
            for (method, end) in [
                ("linear", "parameters: {weight: 1}".to_owned()),
                ("ties", format!("base_model: DIR/{}\nparameters: {{weight: 1}}", models[0])),
            ] {
                let error = folder.refuse(&format!(
                    "merge_method: {method}\nmodels: [{{model: DIR/{}}}, {{model: DIR/{}}}]\n{end}",
                    models[0], models[1]
                ));
                assert!(error.contains("is in") || error.contains("layers under"), "{error}");
            }
        }
    }
}

/// Without a layer count nothing is a layer, and nothing is lost.
#[test]
fn models_without_layer_counts_are_merged_by_name() {
    let folder = Folder::new();
    folder.write("short", &json!({}), &llama(2, 1.0));
    folder.write("same", &llama_config(2), &llama(2, 3.0));
    folder.write("long", &llama_config(3), &llama(3, 3.0));
    let linear = |first: &str, second: &str| {
        format!(
            "merge_method: linear\nmodels: [{{model: DIR/{first}}}, {{model: DIR/{second}}}]\nparameters: {{weight: 1}}"
        )
    };
    let options = mergecore::MergeOptions {
        allow_mixed_architectures: true,
        ..mergecore::MergeOptions::default()
    };
    folder.merge_with(&linear("short", "same"), "merged", &options).unwrap();
    assert!(folder.read("merged") == llama(2, 2.0));
    let error = folder.merge_with(&linear("short", "long"), "none", &options).unwrap_err();
    assert!(error.to_string().contains("`model.layers.2."), "{error}");
}

#[test]
fn layers_that_are_not_recognised_are_noted() {
    let folder = Folder::new();
    // One layer more than config.json counts, as of a predictor of later tokens.
    for (name, value) in [("a", 1.0), ("b", 3.0)] {
        folder.write(name, &llama_config(2), &llama(3, value));
    }
    let recipe = "merge_method: slerp\nbase_model: DIR/a\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {t: [0, 1]}";
    let notes = folder.notes(recipe);
    assert!(
        notes.iter().any(|note| note.contains("gradients are at their first point")),
        "{notes:?}"
    );
}

/// Found with the fuzz target `config_json`: numbers at the end of a name, and zeros in front.
#[test]
fn lists_of_tensors_keep_their_names() {
    let folder = Folder::new();
    let names =
        ["embed", "h.0.w", "h.00.w", "h.1.w", "scale.0", "scale.0.", "scale.1", "big.99999999999"];
    let original = model(&names, 1.0);
    folder.write("a", &json!({ "model_type": "x", "n_layer": 2 }), &original);
    let merged = folder.merge("merge_method: linear\nmodels: [{model: DIR/a, parameters: {weight: 0.5}}, {model: DIR/a, parameters: {weight: 0.5}}]");
    assert_eq!(merged, original);
}
