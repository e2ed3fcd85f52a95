//! The command from outside: every way a merge is refused, and what it prints.

#[path = "cli/checks.rs"]
mod checks;
#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/hub.rs"]
mod hub;
#[path = "cli/inputs.rs"]
mod inputs;
#[path = "cli/options.rs"]
mod options;
#[path = "cli/outputs.rs"]
mod outputs;
#[path = "cli/recipes.rs"]
mod recipes;
mod support;
#[path = "cli/vocabularies.rs"]
mod vocabularies;

use safetensors::Dtype;
use serde_json::{Value, json};
use support::{Folder, LAYERS, config, floats, tensors, write_weights};

const LINEAR: &str = "merge_method: linear
models:
  - model: a
    parameters: {weight: 0.5}
  - model: b
    parameters: {weight: 0.5}
";

const TIES: &str = "merge_method: ties
base_model: base
models:
  - model: a
    parameters: {weight: 0.5, density: 0.5}
";

const Q_PROJ: &str = "model.layers.1.self_attn.q_proj.weight";

#[test]
fn yaml_syntax() {
    Folder::new().refuses(2, "merge_method: linear\nmodels: [a\n", &["recipe.yml:", "line"]);
}

#[test]
fn duplicate_key() {
    Folder::new().refuses(
        2,
        &format!("{LINEAR}merge_method: ties\n"),
        &["recipe.yml:7:1", "merge_method"],
    );
}

#[test]
fn unknown_key() {
    let recipe = format!("{LINEAR}dtyp: bfloat16\n");
    Folder::new().refuses(2, &recipe, &["recipe.yml:7:1", "`dtyp`", "did you mean `dtype`?"]);
}

#[test]
fn misspelt_parameter() {
    let recipe = TIES.replace("density", "densty");
    Folder::new().refuses(2, &recipe, &["recipe.yml:5:31", "`densty`", "did you mean `density`?"]);
}

#[test]
fn missing_weight() {
    let recipe = LINEAR.replace("  - model: b\n    parameters: {weight: 0.5}", "  - model: b");
    Folder::new().refuses(
        2,
        &recipe,
        &["recipe.yml:5:5", "models[1]", "`weight`", "`b`", "parameters: {weight"],
    );
}

#[test]
fn density_outside_its_range() {
    let recipe = TIES.replace("density: 0.5", "density: 1.5");
    Folder::new().refuses(2, &recipe, &["recipe.yml:5:40", "`density` is 1.5", "between 0 and 1"]);
}

#[test]
fn unknown_method() {
    let recipe = TIES.replace(": ties", ": tie");
    Folder::new().refuses(
        2,
        &recipe,
        &["recipe.yml:1:15", "`tie`", "did you mean `ties`?", "dare_ties"],
    );
}

fn slices(sources: &str, method: &str) -> String {
    format!(
        "merge_method: {method}\nbase_model: a\nparameters: {{t: 0.5}}\nslices:\n  - sources:\n{sources}"
    )
}

#[test]
fn layer_range_past_the_end() {
    let sources =
        "      - {model: a, layer_range: [0, 4]}\n      - {model: b, layer_range: [0, 4]}\n";
    Folder::new().refuses(
        2,
        &slices(sources, "slerp"),
        &["recipe.yml:6:33", "[0, 4]", "`a`", "3 layers", "0 to 2"],
    );
}

#[test]
fn slices_of_unequal_length() {
    let sources =
        "      - {model: a, layer_range: [0, 3]}\n      - {model: b, layer_range: [0, 2]}\n";
    Folder::new().refuses(
        2,
        &slices(sources, "slerp"),
        &["recipe.yml:7:33", "`b` gives 2", "`a` 3"],
    );
}

#[test]
fn slerp_with_three_models() {
    let recipe = "merge_method: slerp\nbase_model: a\nparameters: {t: 0.5}\nmodels: [{model: a}, {model: b}, {model: base}]\n";
    Folder::new().refuses(2, recipe, &["recipe.yml:4:9", "slerp", "3 models", "one model besides"]);
}

#[test]
fn slerp_without_a_base() {
    let recipe = "merge_method: slerp\nparameters: {t: 0.5}\nmodels: [{model: a}, {model: b}]\n";
    Folder::new().refuses(2, recipe, &["base_model"]);
}

#[test]
fn a_directory_without_config_json() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path("b/config.json")).unwrap();
    folder.refuses(1, LINEAR, &["recipe.yml:5:12", "config.json"]);
}

#[test]
fn a_model_that_is_not_there() {
    Folder::new().refuses(2, &LINEAR.replace("model: b", "model: c"), &["recipe.yml:5:12", "`c`"]);
    let named = LINEAR.replace("model: b", "model: org/name");
    let parts =
        ["`org/name`", "no directory org/name", "no Hugging Face cache at hub", "hf download"];
    Folder::new().refuses(2, &named, &parts);
}

/// Makes model `b` one of two shards.
fn shard(folder: &Folder) {
    let all = tensors(2.0);
    let (first, second) = all.clone().into_iter().partition(|(name, _)| name.contains("layers"));
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    write_weights(&folder.path("b").join(names[0]), &first);
    write_weights(&folder.path("b").join(names[1]), &second);
    let file = |name: &String| names[usize::from(!first.contains_key(name))];
    let map: serde_json::Map<String, Value> =
        all.keys().map(|name| (name.clone(), Value::from(file(name)))).collect();
    let index = json!({ "metadata": {}, "weight_map": map });
    std::fs::write(folder.path("b/model.safetensors.index.json"), index.to_string()).unwrap();
    std::fs::remove_file(folder.path("b/model.safetensors")).unwrap();
}

#[test]
fn a_shard_named_in_the_index_but_absent() {
    let folder = Folder::new();
    shard(&folder);
    assert_eq!(folder.merge(LINEAR, &["--overwrite"]).0, 0);
    std::fs::remove_dir_all(folder.path("out")).unwrap();
    std::fs::remove_file(folder.path("b/model-00002-of-00002.safetensors")).unwrap();
    folder.refuses(1, LINEAR, &["model-00002-of-00002.safetensors", "fetch"]);
}

#[test]
fn a_truncated_shard() {
    let folder = Folder::new();
    let path = folder.path("b/model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    folder.refuses(1, LINEAR, &["model.safetensors", "truncated", "10 too few", "fetch it again"]);
}

#[test]
fn a_tensor_missing_in_one_model() {
    let folder = Folder::new();
    let mut fewer = tensors(2.0);
    fewer.remove(Q_PROJ);
    folder.write_model("b", &config(), &fewer);
    folder.refuses(1, LINEAR, &[Q_PROJ, "in `a` but not in `b`"]);
    // The other way round nothing is dropped in silence either.
    let swapped = LINEAR
        .replace("model: a", "model: c")
        .replace("model: b", "model: a")
        .replace("model: c", "model: b");
    folder.refuses(1, &swapped, &[Q_PROJ, "in `a` but not in `b`"]);
}

#[test]
fn shapes_that_differ() {
    let folder = Folder::new();
    let mut other = tensors(2.0);
    other.insert(Q_PROJ.to_owned(), floats(&[4, 5], 0.0));
    folder.write_model("b", &config(), &other);
    folder.refuses(1, LINEAR, &[Q_PROJ, "[4, 5] in `b`", "[4, 4] in `a`"]);
}

#[test]
fn quantised_by_config() {
    for method in ["gptq", "awq", "bitsandbytes", "fp8", "mxfp4"] {
        let folder = Folder::new();
        let mut quantised = config();
        quantised["quantization_config"] = json!({ "quant_method": method });
        folder.write_model("b", &quantised, &tensors(2.0));
        folder.refuses(1, LINEAR, &["quantised with", method, "scales", "dequantise"]);
    }
}

#[test]
fn quantised_by_tensors() {
    let byte = |dtype| (dtype, vec![4, 4], vec![0; 16]);
    let word = |dtype| (dtype, vec![2, 2], vec![0; 16]);
    let cases = [
        (
            "GPTQ",
            vec![
                (".qweight", word(Dtype::I32)),
                (".qzeros", word(Dtype::I32)),
                (".scales", word(Dtype::F32)),
            ],
        ),
        ("FP8", vec![(".weight", byte(Dtype::F8_E4M3)), (".weight_scale_inv", word(Dtype::F32))]),
        ("MXFP4", vec![("_blocks", byte(Dtype::U8)), ("_scales", byte(Dtype::U8))]),
        ("bitsandbytes", vec![(".weight", byte(Dtype::U8)), (".weight.absmax", word(Dtype::F32))]),
    ];
    for (named, parts) in cases {
        let folder = Folder::new();
        let mut quantised = tensors(2.0);
        for (ending, tensor) in parts {
            quantised.insert(format!("model.layers.1.mlp.gate_proj{ending}"), tensor);
        }
        folder.write_model("b", &config(), &quantised);
        folder.refuses(1, LINEAR, &[named, "gate_proj"]);
    }
}

/// Puts a value into element 5 of a tensor of model `b`.
fn poison(folder: &Folder, value: f32) {
    let mut poisoned = tensors(2.0);
    poisoned.get_mut(Q_PROJ).unwrap().2[20..24].copy_from_slice(&value.to_le_bytes());
    folder.write_model("b", &config(), &poisoned);
}

#[test]
fn nan_and_infinity_in_an_input() {
    for value in [f32::NAN, f32::INFINITY] {
        let folder = Folder::new();
        poison(&folder, value);
        folder.fails_halfway(
            &[],
            LINEAR,
            &[Q_PROJ, "`b`", "1 of its 16 elements", "index 5", "--allow-nonfinite"],
        );
        let (code, _, stderr) = folder.merge(LINEAR, &["--allow-nonfinite"]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.contains("by an interrupted merge"), "{stderr}");
        assert!(stderr.contains("note: ") && stderr.contains("index 5"), "{stderr}");
    }
}

#[test]
fn an_output_that_exists() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &[]).0, 0);
    let before = std::fs::read(folder.path("out/model.safetensors")).unwrap();
    folder.refuses(1, TIES, &["out", "--overwrite"]);
    assert_eq!(std::fs::read(folder.path("out/model.safetensors")).unwrap(), before);
    assert_eq!(folder.merge(TIES, &["--overwrite"]).0, 0);
    assert_ne!(std::fs::read(folder.path("out/model.safetensors")).unwrap(), before);
}

#[test]
fn an_output_within_an_input() {
    let folder = Folder::new();
    let recipe = LINEAR.replace("model: b", "model: out");
    folder.write_model("out", &config(), &tensors(3.0));
    let (code, _, stderr) = folder.merge(&recipe, &["--overwrite"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("inputs are never written"), "{stderr}");
}

#[test]
fn what_is_not_supported_yet_is_named() {
    for (key, named) in [
        ("tokenizer_source: union", "tokenizer_source"),
        ("tokenizer: {source: base}", "tokenizer"),
        ("chat_template: auto", "chat_template"),
    ] {
        let recipe = format!("{LINEAR}{key}\n");
        Folder::new().refuses(2, &recipe, &["recipe.yml:7:", named, "not supported yet"]);
    }
    Folder::new().refuses(
        2,
        &LINEAR.replace("model: b", "model: b+lora"),
        &["`lora`", "not supported yet"],
    );
}

#[test]
fn weights_that_cancel() {
    let recipe = LINEAR.replacen("0.5", "-0.5", 1);
    Folder::new().refuses(2, &recipe, &["sum to", "normalize: false"]);
}

#[test]
fn integers_that_differ() {
    let folder = Folder::new();
    for (name, value) in [("a", 1u8), ("b", 2)] {
        let mut with_integers = tensors(1.0);
        with_integers.insert("model.step".to_owned(), (Dtype::U8, vec![3], vec![7, value, 7]));
        folder.write_model(name, &config(), &with_integers);
    }
    folder.refuses(1, LINEAR, &["model.step", "U8", "element 1"]);
}

#[test]
fn models_of_different_type() {
    let folder = Folder::new();
    let mut other = config();
    other["model_type"] = json!("mistral");
    folder.write_model("b", &other, &tensors(2.0));
    folder.refuses(1, LINEAR, &["recipe.yml:5:12", "mistral", "llama", "--allow-crimes"]);
    assert_eq!(folder.merge(LINEAR, &["--allow-crimes"]).0, 0);
}

#[test]
fn models_with_different_layer_counts() {
    let folder = Folder::new();
    let mut fewer = tensors(2.0);
    fewer.retain(|name, _| !name.contains("layers.2"));
    let mut shorter = config();
    shorter["num_hidden_layers"] = json!(LAYERS - 1);
    folder.write_model("b", &shorter, &fewer);
    folder.refuses(2, LINEAR, &["recipe.yml:5:12", "`b` has 2 layers", "slices"]);
}

#[test]
fn command_line_mistakes() {
    for args in [["--threads", "0"], ["--out-shard-size", "5X"], ["--no-such-option", "1"]] {
        let (code, _, stderr) = Folder::new().merge(LINEAR, &args);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

#[test]
fn success_prints_the_output_and_quiet_nothing() {
    let folder = Folder::new();
    let (code, stdout, stderr) =
        folder.merge(&format!("{LINEAR}parameters: {{int8_mask: true}}\n"), &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.trim_end().ends_with("out"), "{stdout}");
    assert!(stderr.contains("note: recipe.yml:7:") && stderr.contains("int8_mask"), "{stderr}");
    let (code, stdout, stderr) = folder.merge(LINEAR, &["--overwrite", "--quiet"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""));
}

#[test]
fn the_files_of_an_output() {
    let folder = Folder::new();
    let args = ["--lazy-unpickle", "--copy-tokenizer", "--allow-crimes", "--out-shard-size", "500"];
    assert_eq!(folder.merge(LINEAR, &args).0, 0);
    let out = folder.path("out");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(read("mergecore_config.yml"), LINEAR);
    assert_eq!(read("tokenizer.json"), "{\"model\": {}}");
    assert_eq!(read("generation_config.json"), "{}");
    assert!(read("README.md").contains("merge_method: linear"));
    let manifest: Value = serde_json::from_str(&read("merge_manifest.json")).unwrap();
    assert!(manifest["tensors"][0]["xxh3_128"].is_string());
    let index: Value = serde_json::from_str(&read("model.safetensors.index.json")).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!(map.len(), tensors(0.0).len());
    for (name, file) in map {
        let bytes = std::fs::read(out.join(file.as_str().unwrap())).unwrap();
        let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert!(stored.tensor(name).is_ok(), "{name} in {file}");
    }
    let args = ["--overwrite", "--no-hash", "--no-copy-tokenizer", "--no-model-card"];
    assert_eq!(folder.merge(LINEAR, &args).0, 0);
    assert!(!out.join("tokenizer.json").exists() && !out.join("README.md").exists());
    assert!(read("merge_manifest.json").contains("\"xxh3_128\": null"));
}

#[test]
fn a_float_tensor_that_is_an_integer_elsewhere() {
    let folder = Folder::new();
    for (name, dtype) in [("a", Dtype::F32), ("b", Dtype::I32)] {
        let mut with_step = tensors(1.0);
        with_step.insert("model.step".to_owned(), (dtype, vec![2], vec![0; 8]));
        folder.write_model(name, &config(), &with_step);
    }
    folder.refuses(1, LINEAR, &["model.step", "I32 in `b`", "F32 in `a`"]);
}
