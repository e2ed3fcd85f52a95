//! Slices: which layers the output has, and what its config.json says of them.

use mergecore::DType;
use serde_json::{Value, json};

use crate::support::{Folder, Model, Tensor, llama, llama_config};

const STACK: &str = "merge_method: passthrough
slices:
  - sources: [{model: DIR/a, layer_range: [0, 2]}]
  - sources: [{model: DIR/b, layer_range: [1, 3]}]
  - sources: [{model: DIR/a, layer_range: [0, 1]}]
  - sources: [{model: DIR/b, layer_range: [2, 3]}]
";

/// A Llama of that many layers whose tensors all differ.
fn numbered(layers: usize, first: f64) -> Model {
    let tensors = llama(layers, 0.0).into_keys().enumerate();
    tensors.map(|(i, name)| (name, Tensor::constant(first + i as f64))).collect()
}

fn up_proj(layer: usize) -> String {
    format!("model.layers.{layer}.mlp.up_proj.weight")
}

/// Two models of three layers.
fn folder(config: impl Fn(usize) -> Value) -> (Folder, Model, Model) {
    let folder = Folder::new();
    let (a, b) = (numbered(3, 0.0), numbered(3, 100.0));
    folder.write("a", &config(0), &a);
    folder.write("b", &config(1), &b);
    (folder, a, b)
}

#[test]
fn a_stack_renumbers_its_layers() {
    let (folder, a, b) = folder(|_| llama_config(3));
    let merged = folder.merge(STACK);
    let origins = [(&a, 0), (&a, 1), (&b, 1), (&b, 2), (&a, 0), (&b, 2)];
    assert_eq!(merged.len(), 3 + 2 * origins.len());
    for (layer, (model, from)) in origins.into_iter().enumerate() {
        for part in ["self_attn.q_proj", "mlp.up_proj"] {
            let name = |layer| format!("model.layers.{layer}.{part}.weight");
            assert_eq!(merged[&name(layer)], model[&name(from)], "layer {layer}");
        }
    }
    assert_eq!(merged["model.embed_tokens.weight"], a["model.embed_tokens.weight"]);
    assert_eq!(merged["model.norm.weight"], b["model.norm.weight"]);
    assert_eq!(merged["lm_head.weight"], b["lm_head.weight"]);
}

#[test]
fn more_than_ten_layers_are_in_order() {
    let folder = Folder::new();
    let deep = numbered(12, 0.0);
    folder.write("deep", &llama_config(12), &deep);
    let merged = folder.merge("merge_method: passthrough\nslices: [{sources: [{model: DIR/deep, layer_range: [1, 12]}]}, {sources: [{model: DIR/deep, layer_range: [0, 1]}]}]");
    for layer in 0..12 {
        assert_eq!(merged[&up_proj(layer)], deep[&up_proj((layer + 1) % 12)]);
    }
}

#[test]
fn layers_of_one_model_meet_in_a_slice() {
    let (folder, a, b) = folder(|_| llama_config(3));
    let merged = folder.merge(
        "merge_method: linear
slices:
  - sources:
      - {model: DIR/a, layer_range: [0, 2], parameters: {weight: 1}}
      - {model: DIR/a, layer_range: [1, 3], parameters: {weight: 2}}
      - {model: DIR/b, layer_range: [1, 3], parameters: {weight: 3}}
parameters: {normalize: false}",
    );
    for layer in 0..2 {
        let [first, second, third] =
            [(&a, layer), (&a, layer + 1), (&b, layer + 1)].map(|(m, i)| m[&up_proj(i)].value());
        assert_eq!(merged[&up_proj(layer)].value(), first + 2.0 * second + 3.0 * third);
    }
    let head = "lm_head.weight";
    assert_eq!(merged[head].value(), 3.0 * a[head].value() + 3.0 * b[head].value());
}

#[test]
fn a_slice_may_have_a_base_of_its_own() {
    let (folder, a, b) = folder(|_| llama_config(3));
    let slice = |base: &str| {
        format!(
            "{{base_model: DIR/{base}, sources: [{{model: DIR/a, layer_range: [0, 1]}}, {{model: DIR/b, layer_range: [0, 1]}}], parameters: {{t: 0}}}}"
        )
    };
    let merged =
        folder.merge(&format!("merge_method: slerp\nslices: [{}, {}]", slice("a"), slice("b")));
    assert_eq!(merged[&up_proj(0)], a[&up_proj(0)]);
    assert_eq!(merged[&up_proj(1)], b[&up_proj(0)]);
}

#[test]
fn config_json_says_what_was_written_in_the_same_order() {
    let (folder, ..) = folder(|model| {
        let types = [0, 1, 2].map(|layer| format!("{model}-{layer}"));
        json!({
            "zeta": [1, 2, 3],
            "model_type": "llama",
            "num_hidden_layers": 3,
            "n_layer": 3,
            "num_attention_heads": 3,
            "layer_types": types,
            "no_rope_layers": [0, model, 1],
            "torch_dtype": "float32",
            "vision_config": { "dtype": "float32", "num_hidden_layers": 7 },
            "alpha": { "torch_dtype": null },
        })
    });
    folder.merge(&format!("{STACK}dtype: bfloat16"));
    let config = folder.json("out/config.json");
    let expected = json!({
        "zeta": [1, 2, 3],
        "model_type": "llama",
        "num_hidden_layers": 6,
        "n_layer": 6,
        "num_attention_heads": 3,
        "layer_types": ["0-0", "0-1", "1-1", "1-2", "0-0", "1-2"],
        "no_rope_layers": [0, 0, 1, 1, 0, 1],
        "torch_dtype": "bfloat16",
        "vision_config": { "dtype": "bfloat16", "num_hidden_layers": 7 },
        "alpha": { "torch_dtype": "bfloat16" },
    });
    assert_eq!(config, expected);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&config), keys(&expected));
}

#[test]
fn a_nested_layer_count_is_rewritten_in_its_place() {
    let (folder, ..) = folder(|model| {
        let types = [0, 1, 2].map(|layer| format!("{model}-{layer}"));
        json!({
            "model_type": "gemma3",
            "text_config": { "num_hidden_layers": 3, "layer_types": types, "dtype": "float32" },
            "dtype": "float32",
        })
    });
    folder.merge(&format!("{STACK}dtype: float16"));
    let expected = json!({
        "model_type": "gemma3",
        "text_config": {
            "num_hidden_layers": 6,
            "layer_types": ["0-0", "0-1", "1-1", "1-2", "0-0", "1-2"],
            "dtype": "float16",
        },
        "dtype": "float16",
    });
    assert_eq!(folder.json("out/config.json"), expected);
}

#[test]
fn whole_models_keep_their_config_json() {
    let config =
        json!({ "model_type": "llama", "num_hidden_layers": 3, "layer_types": ["a", "b", "a"] });
    let (folder, ..) = folder(|_| config.clone());
    folder.merge(
        "merge_method: linear\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1}",
    );
    assert_eq!(folder.json("out/config.json"), config);
}

#[test]
fn mixed_output_dtypes_leave_the_dtype_in_config_json() {
    let folder = Folder::new();
    let mut model = numbered(1, 1.0);
    model.insert("model.norm.weight".to_owned(), Tensor::of(DType::F16, &[1], &[1.0]));
    let config = json!({ "model_type": "llama", "num_hidden_layers": 1, "dtype": "float16" });
    folder.write("a", &config, &model);
    let recipe = "merge_method: passthrough\nmodels: [{model: DIR/a}]";
    assert!(folder.merge(recipe) == model);
    assert_eq!(folder.json("out/config.json"), config);
    folder.merge(&format!("{recipe}\nout_dtype: float32"));
    assert_eq!(folder.json("out/config.json")["dtype"], "float32");
}
