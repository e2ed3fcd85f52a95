//! Whole checkpoint directories, right ones and ones with faults: truncated files, offsets
//! that overlap or overflow, shards elsewhere, tensors twice, lies about dtypes and shapes,
//! links, named pipes, companions that are something else.
//!
//! One model with faults and one without are merged by `linear` into a new directory.
//!
//! Oracle: nothing changes but below the output's parent. Without faults it is merged, with
//! certain ones it is not. An error names a file or a tensor of the models, and there is no
//! output. An output opens, holds nothing but plain files, and its tensors, read by the
//! `safetensors` crate, are the weighted sums of what that crate reads from the models.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mergecore::{
    Checkpoint, FloatType, InputModel, MergeConfig, MergeInput, MergeOptions, ModelRef, Parameters,
    merge,
};
use mergecore_fuzz::{Bytes, INDEX, Model, Outlook, Scratch, Shape, TensorFile, add_faults};
use mergecore_tensor::{DType, Element, bf16, f16, widen_bytes};
use safetensors::SafeTensors;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

const DTYPES: [&str; 4] = ["F32", "BF16", "F16", "F64"];
const WEIGHTS: [f64; 6] = [1.0, 0.5, 0.25, 0.0, -0.5, 2.0];

fuzz_target!(|input: &[u8]| {
    let mut input = Bytes(input);
    let scratch = &*SCRATCH;
    let outside = scratch.empty("outside");
    let mut secret = TensorFile::default();
    secret.add("model.norm.weight", "F32", &[1], &[0; 4]);
    fs::write(outside.join("secret.safetensors"), secret.bytes()).expect("a file is written");

    let shape = Shape::read(&mut input);
    let mut first =
        Model::new(&shape, input.pick(&DTYPES), input.below(3) + 1, input.byte().into());
    let second = Model::new(&shape, input.pick(&DTYPES), input.below(3) + 1, input.byte().into());
    let weights = [input.pick(&WEIGHTS), input.pick(&WEIGHTS)];
    let normalize = input.below(2) == 0;
    let dtype =
        input.pick(&[None, Some(FloatType::Bf16), Some(FloatType::F16), Some(FloatType::F32)]);
    let faulty_is_first = input.below(2) == 0;
    let options = MergeOptions {
        max_shard_bytes: input.pick(&[5_000_000_000, 64]),
        ..MergeOptions::default()
    };
    let outlook = add_faults(&mut first, &mut input, outside.to_str().expect("a plain path"));

    let names = if faulty_is_first { ["faulty", "sound"] } else { ["sound", "faulty"] };
    first.write(&scratch.empty("faulty"));
    second.write(&scratch.empty("sound"));
    let parent = scratch.empty("parent");
    let output = parent.join("merged");
    let before = scratch.listing(&parent);

    let inputs = [0, 1].map(|index| InputModel {
        model: ModelRef::new(scratch.path().join(names[index]).to_str().expect("a plain path")),
        parameters: Parameters::new().with("weight", weights[index]),
    });
    let mut config = MergeConfig::new("linear", MergeInput::Models(inputs.into()));
    config.parameters = Parameters::new().with("normalize", normalize);
    config.dtype = dtype;
    let cancels = normalize && weights[0] + weights[1] == 0.0;

    let merged = merge(&config, &output, &options);
    assert!(scratch.listing(&parent) == before, "something was written elsewhere");
    match merged {
        Err(error) => {
            let said = error.to_string();
            assert!(outlook != Outlook::Good || cancels, "{said}");
            assert!(names_something(&said, scratch.path(), &first), "{said}");
            assert!(!output.exists(), "{said}, and yet there is an output");
        }
        Ok(_) => {
            assert!(outlook != Outlook::Bad && !cancels, "merged in spite of the fault");
            check_plain(&output);
            Checkpoint::open(&output).expect("an output opens");
            let models = names.map(|name| tensors(&scratch.path().join(name)));
            let weights = match normalize {
                true => weights.map(|weight| weight / (weights[0] + weights[1])),
                false => weights,
            };
            check_sums(&models, weights, &tensors(&output));
        }
    }
});

/// Whether the text names the directory, a file or a tensor.
fn names_something(text: &str, scratch: &Path, model: &Model) -> bool {
    let tensors = model.shards.iter().flat_map(|(_, shard)| &shard.header).map(|(name, _)| name);
    let files = model.shards.iter().map(|(name, _)| name);
    text.contains(&scratch.join("faulty").display().to_string())
        || tensors.chain(files).any(|name| text.contains(name.as_str()))
}

fn check_plain(dir: &Path) {
    let parent = dir.parent().expect("a directory has a parent");
    let beside: Vec<_> = fs::read_dir(parent).expect("it can be listed").collect();
    assert_eq!(beside.len(), 1, "only the output is left: {beside:?}");
    for entry in fs::read_dir(dir).expect("it can be listed") {
        let entry = entry.expect("it can be listed");
        assert!(entry.file_type().expect("it has a type").is_file(), "{:?}", entry.path());
    }
}

struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn values(&self) -> Vec<f64> {
        let mut values = vec![0.0; self.bytes.len() / self.dtype.size()];
        widen_bytes(self.dtype, &self.bytes, &mut values);
        values
    }
}

/// What a directory holds, by other code: the index's files, else the one there is.
fn tensors(dir: &Path) -> BTreeMap<String, Tensor> {
    let read = |name: &str| fs::read(dir.join(name)).expect("a weights file can be read");
    let mut names: Vec<String> = match fs::read(dir.join(INDEX)) {
        Err(_) => vec!["model.safetensors".to_owned()],
        Ok(index) => {
            let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
            let map = index["weight_map"].as_object().expect("a weight map");
            map.values().map(|name| name.as_str().expect("a file name").to_owned()).collect()
        }
    };
    names.sort();
    names.dedup();
    let mut all = BTreeMap::new();
    for name in names {
        let bytes = read(&name);
        let file = SafeTensors::deserialize(&bytes).expect("the reference reads it too");
        for (name, view) in file.iter() {
            let tensor = Tensor {
                dtype: view.dtype().to_string().parse().expect("a dtype of ours"),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            };
            assert!(all.insert(name.to_owned(), tensor).is_none(), "{name} twice");
        }
    }
    all
}

fn check_sums(
    models: &[BTreeMap<String, Tensor>; 2],
    weights: [f64; 2],
    merged: &BTreeMap<String, Tensor>,
) {
    for (name, tensor) in &models[0] {
        let (Some(other), Some(out)) = (models[1].get(name), merged.get(name)) else { continue };
        if other.shape != tensor.shape || out.shape != tensor.shape {
            continue; // rows of vocabulary left out or filled in
        }
        if !tensor.dtype.is_float() {
            assert_eq!((&tensor.bytes, tensor.dtype), (&out.bytes, out.dtype), "{name}");
            assert_eq!(tensor.bytes, other.bytes, "{name}: integers that differ");
            continue;
        }
        let (a, b) = (tensor.values(), other.values());
        for (index, (out, (a, b))) in out.values().into_iter().zip(a.iter().zip(&b)).enumerate() {
            let part = |weight: f64, value: f64| if weight == 0.0 { 0.0 } else { weight * value };
            let sum = part(weights[0], *a) + part(weights[1], *b);
            if !sum.is_finite() {
                assert!(!out.is_finite(), "{name}[{index}]: {out:e} of {a:e} and {b:e}");
                continue;
            }
            let d = 1e-12 * (a.abs() + b.abs()).max(sum.abs());
            let (low, high) =
                (narrowed(merged[name].dtype, sum - d), narrowed(merged[name].dtype, sum + d));
            assert!(
                low <= out && out <= high,
                "{name}[{index}]: {out:e} of {a:e} and {b:e}, expected {sum:e}"
            );
        }
    }
    let lost: Vec<&String> = models[0].keys().filter(|name| !merged.contains_key(*name)).collect();
    assert!(lost.len() <= 1, "only a head that is tied may be left out: {lost:?}");
}

fn narrowed(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::Bf16 => bf16::narrow(value).widen(),
        DType::F16 => f16::narrow(value).widen(),
        DType::F32 => f32::narrow(value).widen(),
        _ => value,
    }
}
