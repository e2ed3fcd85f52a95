//! [`EngineError`], but for `Threads`, which only the command's own process can be brought to.

use std::fs;

use mergecore::kernel::{Extent, Kernel, KernelError, Step};
use mergecore::{CancelFlag, DType, EngineError, IoError, MergeOptions, OpenError};
use serde_json::json;

use super::{LINEAR, folder, refused, refused_with, says};
use crate::support::{Folder, Tensor, llama, llama_config};

/// A tensor of the models.
const NORM: &str = "model.norm.weight";

fn slices(method: &str, sources: &str) -> String {
    format!(
        "merge_method: {method}\nbase_model: DIR/a\nparameters: {{t: 0.5}}\nslices:\n  - sources:\n{sources}"
    )
}

#[test]
fn not_supported() {
    let error = refused(&folder(), &format!("{LINEAR}tokenizer_source: union\n"));
    assert!(matches!(error, EngineError::NotSupported { .. }));
    says(&error, &["line 6, column 19: tokenizer_source", "`tokenizer_source: union` is not"]);
    says(&error, &["not supported yet; "]);
}

#[test]
fn unknown_method() {
    let error = refused(&folder(), &LINEAR.replace("linear", "liner"));
    assert!(matches!(error, EngineError::UnknownMethod { .. }));
    says(&error, &["line 1, column 15: merge_method: unknown merge method `liner`"]);
    says(&error, &["did you mean `linear`?", "available: ", "dare_ties", "slerp"]);
}

#[test]
fn unknown_parameter() {
    let error = refused(&folder(), &LINEAR.replace("{weight: 1}", "{weight: 1, normalise: true}"));
    assert!(matches!(error, EngineError::UnknownParameter { .. }));
    says(&error, &["line 2, column 25: parameters.normalise", "`normalise`"]);
    says(&error, &["did you mean `normalize`?", "linear takes `", "`weight`"]);
}

#[test]
fn missing_parameter() {
    let error = refused(&folder(), &LINEAR.replace("parameters: {weight: 1}\n", ""));
    // Of the one model and of the other.
    let [error, EngineError::MissingParameter { .. }] = error.problems() else { panic!("{error}") };
    assert!(matches!(error, EngineError::MissingParameter { .. }));
    says(error, &["line 3, column 5: models[0]", "linear needs the parameter `weight` for"]);
    says(error, &["/a`", "add `parameters: {weight: ...}` to that entry"]);
}

#[test]
fn misplaced_parameter() {
    let recipe = "merge_method: slerp\nbase_model: DIR/a\nmodels:\n  - model: DIR/b\n    parameters: {t: 0.5}\n";
    let error = refused(&folder(), recipe);
    assert!(matches!(error, EngineError::MisplacedParameter { .. }));
    says(&error, &["line 5, column 18: models[0].parameters.t: slerp has one `t` for all models"]);
    says(&error, &["move it to `parameters` beside or above the list of models"]);
}

#[test]
fn parameter_value() {
    let recipe = "merge_method: ties\nbase_model: DIR/a\nmodels:\n  - model: DIR/b\n    parameters: {weight: 1, density: [0.5, 2]}\n";
    let error = refused(&folder(), recipe);
    assert!(matches!(error, EngineError::ParameterValue { .. }));
    says(&error, &["line 5, column 38: models[0].parameters.density: `density` is 2 for tensor"]);
    says(&error, &["`model.layers.1.", "but must be a number between 0 and 1"]);
}

#[test]
fn parameters() {
    let error = refused(&folder(), &LINEAR.replace("weight: 1", "weight: 0"));
    assert!(matches!(error, EngineError::Parameters { .. }));
    says(&error, &["line 1, column 15: merge_method: tensor `model.embed_tokens.weight`: "]);
    says(&error, &["weights sum to 0", "choose other weights, or set `normalize: false`"]);
    // What one model's do not fit is placed at that model.
    let recipe = "merge_method: della\nbase_model: DIR/a\nparameters: {weight: 1}\nmodels:\n  - {model: DIR/b, parameters: {density: 0.5}}\n  - {model: DIR/b, parameters: {density: 0.95}}\n";
    let error = refused(&folder(), recipe);
    assert!(matches!(error, EngineError::Parameters { .. }));
    says(&error, &["line 6, column 5: models[1]: tensor `model.embed_tokens.weight`: "]);
    says(&error, &["`density` is 0.95 and `epsilon` is 0.15", "set a smaller epsilon"]);
}

#[test]
fn no_base() {
    let error = refused(
        &folder(),
        &LINEAR.replace("linear\nparameters: {weight: 1}", "slerp\nparameters: {t: 0.5}"),
    );
    assert!(matches!(error, EngineError::NoBase { .. }));
    says(&error, &["line 1, column 15: merge_method: slerp needs a base model", "`base_model:`"]);
}

#[test]
fn base_not_in_slice() {
    let folder = folder();
    folder.write_llama("c", 2, 2.0);
    let sources = "      - {model: DIR/b, layer_range: [0, 2]}\n      - {model: DIR/c, layer_range: [0, 2]}\n";
    let error = refused(&folder, &slices("slerp", sources));
    assert!(matches!(error, EngineError::BaseNotInSlice { .. }));
    says(&error, &["line 6, column 7: slices[0].sources: slerp needs the base model", "/a`"]);
    says(&error, &["add it with the layers"]);
}

#[test]
fn model_count() {
    let folder = folder();
    folder.write_llama("c", 2, 2.0);
    let recipe = "merge_method: slerp\nbase_model: DIR/a\nparameters: {t: 0.5}\nmodels: [{model: DIR/a}, {model: DIR/b}, {model: DIR/c}]\n";
    let error = refused(&folder, recipe);
    assert!(matches!(error, EngineError::ModelCount { found: 3, .. }));
    says(&error, &["line 4, column 9: models: slerp merges ", "one model besides"]);
    says(&error, &["but here are 3 models", "choose another method or change the list"]);
}

#[test]
fn model() {
    let folder = folder();
    fs::remove_file(folder.path("b/config.json")).unwrap();
    let error = refused(&folder, LINEAR);
    assert!(matches!(error, EngineError::Model { source: OpenError::Checkpoint(_), .. }));
    says(&error, &["line 5, column 12: models[1].model: ", "/b has no config.json"]);
}

#[test]
fn architectures_differ() {
    let folder = folder();
    let mut mistral = llama_config(2);
    mistral["model_type"] = json!("mistral");
    folder.write("b", &mistral, &llama(2, 3.0));
    let error = refused(&folder, LINEAR);
    assert!(matches!(error, EngineError::ArchitecturesDiffer { .. }));
    says(&error, &["line 5, column 12: models[1].model: ", "/b` is a mistral model"]);
    says(&error, &["/a` is a llama model", "--allow-crimes"]);
}

#[test]
fn no_layers() {
    let folder = folder();
    folder.write("a", &json!({ "model_type": "llama" }), &llama(2, 1.0));
    let sources = "      - {model: DIR/a, layer_range: [0, 1]}\n";
    let error = refused(&folder, &slices("passthrough", sources));
    assert!(matches!(error, EngineError::NoLayers { .. }));
    says(&error, &["line 6, column 17: slices[0].sources[0].model: no stack of layers", "/a`"]);
    says(&error, &["num_hidden_layers", "check that config.json and weights belong together"]);
}

#[test]
fn layer_range() {
    let sources = "      - {model: DIR/a, layer_range: [0, 3]}\n";
    let error = refused(&folder(), &slices("passthrough", sources));
    assert!(matches!(error, EngineError::LayerRange { layers: 2, .. }));
    says(&error, &["slices[0].sources[0].layer_range: layer range [0, 3] goes past the end of"]);
    says(&error, &["/a`, which has 2 layers, numbered 0 to 1", "let it end at 2 or before"]);
}

#[test]
fn slice_lengths() {
    let sources = "      - {model: DIR/a, layer_range: [0, 2]}\n      - {model: DIR/b, layer_range: [0, 1]}\n";
    let error = refused(&folder(), &slices("slerp", sources));
    assert!(matches!(error, EngineError::SliceLengths { found: 1, expected: 2, .. }));
    says(&error, &["slices[0].sources[1].layer_range: ", "/b` gives 1 and ", "/a` 2"]);
    says(&error, &["make the layer ranges equally long"]);
}

#[test]
fn layer_counts() {
    let folder = folder();
    folder.write_llama("b", 3, 3.0);
    let error = refused(&folder, LINEAR);
    assert!(matches!(error, EngineError::LayerCounts { found: 3, expected: 2, .. }));
    says(&error, &["models[1].model: ", "/b` has 3 layers under `model.layers`", "/a` has 2"]);
    says(&error, &["use `slices` to say which layers belong together"]);
}

#[test]
fn missing_tensor() {
    let folder = folder();
    let mut fewer = llama(2, 3.0);
    fewer.remove(NORM);
    folder.write("b", &llama_config(2), &fewer);
    let error = refused(&folder, LINEAR);
    assert!(matches!(error, EngineError::MissingTensor { .. }));
    says(&error, &["`model.norm.weight` is in `", "/a` but not in `", "/b`; "]);
    says(&error, &["check that they have one architecture and are complete"]);
}

/// Model `b` with another norm.
fn with_norm(norm: Tensor) -> Folder {
    let folder = folder();
    let mut model = llama(2, 3.0);
    model.insert(NORM.to_owned(), norm);
    folder.write("b", &llama_config(2), &model);
    folder
}

#[test]
fn shapes() {
    let error = refused(&with_norm(Tensor::of(DType::F32, &[5], &[0.0; 5])), LINEAR);
    assert!(matches!(error, EngineError::Shapes { .. }));
    says(&error, &["`model.norm.weight` has shape [5] in `", "/b` but [2, 2] in `", "/a`"]);
    says(&error, &["check that they have the same architecture and size"]);
}

/// Model `b` with another row of vocabulary than `a`.
fn vocabularies_of_two_sizes() -> Folder {
    let folder = folder();
    for (name, rows) in [("a", 2), ("b", 3)] {
        let mut model = llama(2, 3.0);
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            let values = vec![1.0; 2 * rows];
            model.insert(name.to_owned(), Tensor::of(DType::F32, &[rows, 2], &values));
        }
        let mut config = llama_config(2);
        config["vocab_size"] = json!(rows);
        folder.write(name, &config, &model);
    }
    folder
}

#[test]
fn vocabularies() {
    let error = refused(&vocabularies_of_two_sizes(), LINEAR);
    assert!(matches!(error, EngineError::Vocabularies(_)));
    says(&error, &["models[1].model: tensor `model.embed_tokens.weight` has 3 rows of vocabulary"]);
}

#[test]
fn vocabulary_mismatch() {
    let folder = vocabularies_of_two_sizes();
    says(&refused(&folder, LINEAR), &["have no tokenizer vocabulary", "(tokenizer.json)", "leave"]);
    let tokens = |name: &str, vocab: serde_json::Value| {
        let tokenizer = json!({ "model": { "type": "BPE", "vocab": vocab, "merges": [] } });
        fs::write(folder.path(name).join("tokenizer.json"), tokenizer.to_string()).unwrap();
    };
    tokens("a", json!({ "x": 0, "y": 1 }));
    tokens("b", json!({ "x": 0, "Y": 1, "z": 2 }));
    let error = refused(&folder, LINEAR);
    let EngineError::Vocabularies(mismatch) = &error else { panic!("{error}") };
    assert_eq!((mismatch.found, mismatch.expected), (3, 2));
    says(&**mismatch, &["3 rows of vocabulary in `", "/b` but 2 in `", "/a`"]);
    says(&**mismatch, &[r#"id 1 is "y" in the one and "Y" in the other"#, "leave `", "/b` out"]);
    fs::remove_file(folder.path("b/tokenizer.json")).unwrap();
    fs::write(folder.path("b/tokenizer.model"), "pieces").unwrap();
    says(&refused(&folder, LINEAR), &["of different kinds", "a tokenizer.json into both"]);
}

#[test]
fn tokenizer() {
    let folder = vocabularies_of_two_sizes();
    fs::write(folder.path("b/tokenizer.json"), "{").unwrap();
    let error = refused(&folder, LINEAR);
    assert!(matches!(error, EngineError::Tokenizer { .. }));
    says(&error, &["models[1].model: the vocabularies of `", "/b` and `", "differ in size"]);
    says(&error, &["but ", "/b/tokenizer.json cannot be understood", "line 1", "fetch it again"]);
}

#[test]
fn d_types_differ() {
    let integers = Tensor { dtype: DType::I32, shape: vec![2, 2], bytes: vec![0; 16] };
    let error = refused(&with_norm(integers), LINEAR);
    assert!(matches!(error, EngineError::DTypesDiffer { .. }));
    says(&error, &["`model.norm.weight` is I32 in `", "/b` but F32 in `", "/a`"]);
    says(&error, &["check that the models belong together"]);
}

#[test]
fn integers_differ() {
    let folder = folder();
    for (name, value) in [("a", 1), ("b", 2)] {
        let mut model = llama(2, 1.0);
        let bytes = vec![7, value, 7];
        model.insert("model.step".to_owned(), Tensor { dtype: DType::U8, shape: vec![3], bytes });
        folder.write(name, &llama_config(2), &model);
    }
    let error = refused(&folder, LINEAR);
    assert!(matches!(error, EngineError::IntegersDiffer { index: 1, .. }));
    says(&error, &["`model.step` holds U8 elements", "/b` differs from `", "/a` at element 1"]);
    says(&error, &["use one model's tensor (`passthrough`) or make them equal"]);
}

#[test]
fn non_finite() {
    let values = [1.0, f64::NAN, f64::INFINITY, 1.0];
    let error = refused(&with_norm(Tensor::of(DType::F32, &[2, 2], &values)), LINEAR);
    assert!(matches!(error, EngineError::NonFinite { count: 2, first: 1, .. }));
    says(&error, &["`model.norm.weight` of `", "/b` holds NaN or infinity in 2 of its 4 elements"]);
    says(&error, &["the first at index 1", "repair or replace that model", "--allow-nonfinite"]);
}

/// A method whose kernel refuses every tensor.
#[derive(Debug)]
struct Choosy;

impl Kernel for Choosy {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        KernelError::check_fraction("length", extent.len() as f64)?;
        unreachable!("all tensors are longer")
    }
}

impl mergecore::kernel::Method for Choosy {
    fn name(&self) -> &str {
        "choosy"
    }
    fn title(&self) -> &str {
        "Choosy"
    }
    fn inputs(&self) -> mergecore::kernel::Inputs {
        mergecore::kernel::Inputs { base: mergecore::kernel::Base::None, models: 1..=2 }
    }
    fn parameters(&self) -> &[mergecore::kernel::Parameter] {
        &[]
    }
    fn bind(&self, _: &mergecore::kernel::Binding) -> Result<Box<dyn Kernel>, KernelError> {
        Ok(Box::new(Choosy))
    }
}

#[test]
fn kernel() {
    let folder = folder();
    let mut registry = mergecore::builtin_methods();
    registry.register(Choosy);
    let recipe = folder.recipe("merge_method: choosy\nmodels: [{model: DIR/a}]\n").unwrap();
    let out = folder.path("out");
    let error = mergecore::merge_with(&recipe, &registry, &out, &MergeOptions::default());
    let mergecore::Error::Merge(error) = error.unwrap_err() else { panic!("another kind") };
    assert!(matches!(error, EngineError::Kernel { .. }));
    says(&error, &["tensor `", ".weight`: `length` is 4, but must be between 0 and 1"]);
    assert!(!out.exists());
}

#[test]
fn card() {
    let template = mergecore::ModelCardTemplate::new("mine.md", "{{ model_nam }}");
    let options = MergeOptions { model_card_template: Some(template), ..MergeOptions::default() };
    let error = refused_with(&folder(), LINEAR, &options);
    assert!(matches!(error, EngineError::Card(_)));
    says(&error, &["mine.md: unknown variable `model_nam` (did you mean `model_name`?)"]);
}

#[test]
fn io() {
    let folder = folder();
    fs::create_dir(folder.path("taken")).unwrap();
    fs::write(folder.path("taken/config.json"), "{}").unwrap();
    let error = folder.merge_with(LINEAR, "taken", &MergeOptions::default()).unwrap_err();
    let mergecore::Error::Merge(error) = error else { panic!("{error}") };
    assert!(matches!(error, EngineError::Io(IoError::OutputExists { .. })));
    says(&error, &["taken exists and is not empty", "--overwrite"]);
}

#[test]
fn output_overlaps_input() {
    let folder = folder();
    for out in ["a", "a/merged", "b/../a/x", "."] {
        let options = MergeOptions { overwrite: true, ..MergeOptions::default() };
        let error = folder.merge_with(LINEAR, out, &options).unwrap_err();
        let mergecore::Error::Merge(error) = error else { panic!("{error}") };
        assert!(matches!(error, EngineError::OutputOverlapsInput { .. }), "{out}: {error}");
        says(&error, &["the output ", "is the model directory ", "or one lies within the other"]);
        says(&error, &["inputs are never written, so choose another output directory"]);
    }
}

#[test]
fn partial_differs() {
    let values = [1.0, f64::NAN, 1.0, 1.0];
    let folder = with_norm(Tensor::of(DType::F32, &[2, 2], &values));
    refused(&folder, LINEAR);
    let options = MergeOptions { seed: 7, ..MergeOptions::default() };
    let error = refused_with(&folder, LINEAR, &options);
    assert!(matches!(error, EngineError::PartialDiffers { .. }), "{error}");
    says(&error, &[".out.mergecore-partial holds what another merge to ", "seed", "--restart"]);
}

#[test]
fn manifest() {
    let folder = folder();
    let error = mergecore::verify(folder.path("a"), &MergeOptions::default()).unwrap_err();
    let mergecore::Error::Merge(error) = error else { panic!("{error}") };
    assert!(matches!(error, EngineError::Manifest(_)));
    says(&error, &["/a has no merge_manifest.json"]);
}

#[test]
fn cancelled() {
    let cancel = CancelFlag::new();
    cancel.cancel();
    let options = MergeOptions { cancel: Some(cancel), ..MergeOptions::default() };
    let error = refused_with(&folder(), LINEAR, &options);
    assert!(matches!(error, EngineError::Cancelled));
    says(&error, &["the merge was cancelled", "no output was written"]);
}

#[test]
fn no_tensors() {
    let folder = Folder::new();
    folder.write("a", &json!({ "model_type": "llama" }), &crate::support::Model::new());
    folder.write("b", &json!({ "model_type": "llama" }), &crate::support::Model::new());
    let error = refused(&folder, LINEAR);
    assert!(matches!(error, EngineError::NoTensors { .. }), "{error}");
    says(&error, &["/a` has no tensors", "check that its weights are complete"]);
}

#[test]
fn non_finite_output() {
    let folder = with_norm(Tensor::of(DType::F32, &[2, 2], &[1.0, 1e9, 1.0, 1e9]));
    let error = refused(&folder, &format!("{LINEAR}dtype: float16\n"));
    assert!(matches!(error, EngineError::NonFiniteOutput { count: 2, first: 1, len: 4, .. }));
    says(&error, &["`model.norm.weight`", "2 of its 4 elements", "at index 1"]);
    says(&error, &["bfloat16", "--allow-nonfinite"]);
}

/// Each on its line, in the order of the recipe.
#[test]
fn several() {
    let recipe = LINEAR.replace("weight: 1", "wieght: 1, nomalize: true");
    let error = refused(&folder(), &recipe);
    assert!(matches!(&error, EngineError::Several { problems } if problems.len() == 2), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("2 problems:\n(1) line 2, column "), "{text}");
    for part in ["did you mean `weight`?", "\n(2) line 2, column ", "did you mean `normalize`?"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn survey_differs() {
    let recipe = "merge_method: ties
base_model: DIR/a
models:
  - model: DIR/b
    parameters: {weight: 1, density: [{filter: norm, value: 0.5}, {value: 0.25}]}
parameters: {scope: model}
";
    let error = refused(&folder(), recipe);
    assert!(matches!(error, EngineError::SurveyDiffers { .. }), "{error}");
    says(
        &error,
        &["line 1, column 15: merge_method", "among all tensors together", "[0.5]", "[0.25]"],
    );
    says(&error, &["remove filters and gradients of `density`", "`scope: tensor`"]);
}
