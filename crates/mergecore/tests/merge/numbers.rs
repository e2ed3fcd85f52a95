//! Results that are NaN, infinite or lost to zero: counted, placed, refused or noted.

use mergecore::{DType, EngineError, Error, MergeOptions};
use serde_json::json;

use crate::support::{Folder, Model, Tensor, llama, llama_config};

const Q: &str = "model.layers.0.self_attn.q_proj.weight";
const UP: &str = "model.layers.0.mlp.up_proj.weight";
/// More than two of the engine's blocks, so that several workers share it.
const LEN: usize = 2 * 65_536 + 100;

/// A Llama of ones, two of its tensors with these values at these places.
fn model(values: &[(usize, f64)]) -> Model {
    let mut model = llama(1, 1.0);
    for name in [Q, UP] {
        let mut all = vec![1.0; LEN];
        values.iter().for_each(|(at, value)| all[*at] = *value);
        model.insert(name.to_owned(), Tensor::of(DType::F32, &[2, LEN / 2], &all));
    }
    model
}

/// A folder with two such models, the mean of which is asked for.
fn folder(values: &[(usize, f64)]) -> Folder {
    let folder = Folder::new();
    folder.write("a", &llama_config(1), &model(values));
    folder.write("b", &llama_config(1), &model(values));
    folder
}

fn mean(dtype: &str) -> String {
    let models = "[{model: DIR/a}, {model: DIR/b}]";
    format!("merge_method: linear\nmodels: {models}\nparameters: {{weight: 1}}\ndtype: {dtype}")
}

/// Chunks of one block, several workers.
fn options() -> MergeOptions {
    MergeOptions {
        threads: Some(3),
        max_memory: Some(4 << 20),
        chunk: 1,
        ..MergeOptions::default()
    }
}

#[test]
fn results_beyond_the_dtypes_range_are_refused() {
    let values = [(65_530, 65_519.0), (65_536, -70_000.0), (LEN - 1, 1e30), (70_000, 1e5)];
    let folder = folder(&values);
    let error = folder.merge_with(&mean("float16"), "out", &options()).unwrap_err();
    let Error::Merge(EngineError::NonFiniteOutput { dtype, count, len, first, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!((*dtype, *count, *len, *first), (DType::F16, 3, LEN as u64, 65_536));
    let text = error.to_string();
    for part in
        ["_proj.weight`", "F16", "3 of its 131172", "65504", "bfloat16", "--allow-nonfinite"]
    {
        assert!(text.contains(part), "{text}");
    }
    // Another dtype, and permission, are what the text offers.
    for dtype in ["bfloat16", "float32"] {
        let report = folder.merge_with(&mean(dtype), dtype, &options()).unwrap();
        assert!(!report.notes.iter().any(|note| note.contains("NaN")), "{:?}", report.notes);
    }
    let tolerant = MergeOptions { allow_nonfinite: true, ..options() };
    let report = folder.merge_with(&mean("float16"), "out", &tolerant).unwrap();
    for name in [Q, UP] {
        let start = format!("the merged tensor `{name}` (F16) holds NaN or infinity in 3 of its");
        let note = report.notes.iter().find(|note| note.starts_with(&start));
        assert!(note.is_some_and(|note| note.ends_with("at index 65536")), "{:?}", report.notes);
    }
    assert_eq!(folder.read("out")[Q].values()[65_536], f64::NEG_INFINITY);
    assert_eq!(findings(&folder, "out", Q), json!({"nonfinite": {"count": 3, "first": 65_536}}));
}

/// Two finite f32 models whose sum f32 cannot hold.
#[test]
fn results_beyond_the_range_of_every_dtype() {
    let folder = folder(&[(9, 3e38)]);
    for (dtype, stored) in [("bfloat16", "BF16"), ("float32", "F32")] {
        let sum = mean(dtype).replace("weight: 1", "weight: 1, normalize: false");
        let text = folder.merge_with(&sum, dtype, &options()).unwrap_err().to_string();
        for part in [stored, "1 of its 131172", "index 9", "smaller weights"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

/// What is wrong with an input is said before what it makes of the output.
#[test]
fn infinity_in_an_input_is_the_inputs() {
    let folder = folder(&[(11, f64::INFINITY), (5, 1e5)]);
    let error = folder.merge_with(&mean("float16"), "out", &options()).unwrap_err();
    let Error::Merge(EngineError::NonFinite { count, first, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!((*count, *first), (1, 11));
    let tolerant = MergeOptions { allow_nonfinite: true, ..options() };
    folder.merge_with(&mean("float16"), "out", &tolerant).unwrap();
    let input = |input| json!({"input": input, "count": 1, "first": 11});
    let expected = json!({
        "nonfinite_inputs": [input(0), input(1)],
        "nonfinite": {"count": 2, "first": 5},
    });
    assert_eq!(findings(&folder, "out", Q), expected);
}

#[test]
fn results_that_become_zero_are_noted_once() {
    let values = [(LEN - 2, -1e-9), (65_537, 1e-9), (40, 1e-7), (41, 0.0)];
    let folder = folder(&values);
    let report = folder.merge_with(&mean("float16"), "out", &options()).unwrap();
    let notes: Vec<_> = report.notes.iter().filter(|note| note.contains("became zero")).collect();
    let merged = mergecore::plan(&folder.recipe(&mean("float16")).unwrap(), &options()).unwrap();
    let first = merged.tensors().iter().find(|tensor| [Q, UP].contains(&&*tensor.name)).unwrap();
    let expected = format!(
        "4 elements of 2 tensors became zero, being too small for F16; the first is of `{}`, at index 65537",
        first.name
    );
    assert_eq!(notes, [&expected]);
    let expected = json!({"flushed": {"count": 2, "first": 65_537}});
    assert_eq!(findings(&folder, "out", UP), expected);
    assert_eq!(findings(&folder, "out", "model.norm.weight"), json!(null));
    // Larger ranges hold them.
    let report = folder.merge_with(&mean("bfloat16"), "wide", &options()).unwrap();
    assert!(!report.notes.iter().any(|note| note.contains("became zero")), "{:?}", report.notes);
}

/// What the manifest says was found in a tensor.
fn findings(folder: &Folder, out: &str, name: &str) -> serde_json::Value {
    let manifest = folder.json(&format!("{out}/merge_manifest.json"));
    let tensors = manifest["tensors"].as_array().unwrap();
    tensors.iter().find(|tensor| tensor["name"] == name).unwrap()["findings"].clone()
}
