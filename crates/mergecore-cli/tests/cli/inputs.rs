//! Models that are refused.

use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::support::{Folder, Stored, config, tensors};
use crate::{LINEAR, Q_PROJ, poison, shard};

#[test]
fn a_lora_directory() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path("b/config.json")).unwrap();
    let adapter = folder.path("b/adapter_model.safetensors");
    std::fs::rename(folder.path("b/model.safetensors"), adapter).unwrap();
    std::fs::write(folder.path("b/adapter_config.json"), "{}").unwrap();
    let parts = ["recipe.yml:5:12", "b is a LoRA adapter", "not supported yet", "merge it into"];
    folder.refuses(1, LINEAR, &parts);
}

#[test]
fn a_model_that_is_a_file() {
    let folder = Folder::new();
    let recipe = LINEAR.replace("model: b", "model: b/model.safetensors");
    folder.refuses(1, &recipe, &["recipe.yml:5:12", "is a file", "give the directory"]);
}

#[test]
fn a_model_without_weights() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path("b/model.safetensors")).unwrap();
    folder.refuses(
        1,
        LINEAR,
        &["recipe.yml:5:12", "no .safetensors file", "tokenizer.json", "fetch the weights"],
    );
}

#[test]
fn a_model_as_pytorch_pickles() {
    let folder = Folder::new();
    let pickle = folder.path("b/pytorch_model.bin");
    std::fs::rename(folder.path("b/model.safetensors"), pickle).unwrap();
    folder.refuses(
        1,
        LINEAR,
        &["recipe.yml:5:12", "pytorch_model.bin", "not supported", "convert"],
    );
}

#[test]
fn a_config_that_is_not_json() {
    let folder = Folder::new();
    std::fs::write(folder.path("b/config.json"), "{\"model_type\": \"llama\",\n").unwrap();
    folder.refuses(
        1,
        LINEAR,
        &["recipe.yml:5:12", "b/config.json", "line 2 column 0", "fetch it again"],
    );
}

#[test]
fn an_absent_shard_is_named_with_the_place_of_its_model() {
    let folder = Folder::new();
    shard(&folder);
    std::fs::remove_file(folder.path("b/model-00001-of-00002.safetensors")).unwrap();
    let parts = ["recipe.yml:5:12", "b lacks", "model-00001-of-00002.safetensors", "fetch"];
    folder.refuses(1, LINEAR, &parts);
}

#[test]
fn a_shard_cut_off_anywhere() {
    let folder = Folder::new();
    shard(&folder);
    let path = folder.path("b/model-00002-of-00002.safetensors");
    let whole = std::fs::read(&path).unwrap();
    // Without its header's length, within the header, at its end, within the data.
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 3, 8, 40, header, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let parts = ["recipe.yml:5:12", "b/model-00002-of-00002.safetensors", "again"];
        folder.refuses(1, LINEAR, &parts);
    }
}

#[test]
fn a_shard_longer_than_its_header_says() {
    let folder = Folder::new();
    let path = folder.path("b/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0; 4]);
    std::fs::write(&path, bytes).unwrap();
    folder.refuses(1, LINEAR, &["recipe.yml:5:12", "b/model.safetensors"]);
}

#[test]
fn an_extra_tensor() {
    let folder = Folder::new();
    let mut more = tensors(2.0);
    let extra = more[Q_PROJ].clone();
    more.insert("model.layers.1.self_attn.q_proj.bias".to_owned(), extra);
    folder.write_model("b", &config(), &more);
    let parts = ["model.layers.1.self_attn.q_proj.bias", "in `b` but not in `a`", "check"];
    folder.refuses(1, LINEAR, &parts);
}

/// Model `b` with tensors of that much besides, whose names end as given.
fn quantised(parts: &[(&str, Stored)], scheme: &str) {
    let folder = Folder::new();
    let mut all = tensors(2.0);
    for (ending, tensor) in parts {
        all.insert(format!("model.layers.1.mlp.gate_proj{ending}"), tensor.clone());
    }
    folder.write_model("b", &config(), &all);
    let parts = ["recipe.yml:5:12", "b is quantised", scheme, "gate_proj", "unquantised"];
    folder.refuses(1, LINEAR, &parts);
}

fn sixteen_bytes(dtype: Dtype, size: usize) -> Stored {
    (dtype, vec![4, 4 / size], vec![0; 16])
}

#[test]
fn gptq_or_awq_by_tensors() {
    let (codes, scales) = (sixteen_bytes(Dtype::I32, 4), sixteen_bytes(Dtype::F16, 2));
    quantised(&[(".qweight", codes), (".scales", scales)], "GPTQ or AWQ");
}

#[test]
fn bitsandbytes_4bit_by_tensors() {
    let byte = || sixteen_bytes(Dtype::U8, 1);
    let state = ".weight.quant_state.bitsandbytes__nf4";
    quantised(&[(".weight", byte()), (state, byte())], "bitsandbytes");
}

#[test]
fn bitsandbytes_8bit_by_tensors() {
    let (codes, scales) = (sixteen_bytes(Dtype::I8, 1), sixteen_bytes(Dtype::F32, 4));
    quantised(&[(".weight", codes), (".SCB", scales)], "bitsandbytes");
}

#[test]
fn fp8_with_one_scale_a_tensor() {
    let (codes, scale) = (sixteen_bytes(Dtype::F8_E4M3, 1), (Dtype::F32, vec![1], vec![0; 4]));
    quantised(&[(".weight", codes), (".weight_scale", scale)], "FP8 with scales");
}

/// Merges with a NaN of odd bits in `b`; yields the output's value in its place.
fn merge_nan(dtype: &str) -> Vec<u8> {
    let folder = Folder::new();
    poison(&folder, f32::from_bits(0xffa1_2345));
    let recipe = format!("{LINEAR}dtype: {dtype}\n");
    let (code, _, stderr) = folder.merge(&recipe, &["--allow-nonfinite"]);
    assert_eq!(code, 0, "{stderr}");
    for part in ["note: ", Q_PROJ, "`b`", "1 of its 16 elements", "index 5"] {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
    let bytes = std::fs::read(folder.path("out/model.safetensors")).unwrap();
    let data = SafeTensors::deserialize(&bytes).unwrap().tensor(Q_PROJ).unwrap().data().to_vec();
    let size = data.len() / 16;
    data[5 * size..6 * size].to_vec()
}

#[test]
fn nan_is_written_in_one_form() {
    assert_eq!(merge_nan("float32"), 0x7fc0_0000u32.to_le_bytes());
    assert_eq!(merge_nan("bfloat16"), 0x7fc0u16.to_le_bytes());
    assert_eq!(merge_nan("float16"), 0x7e00u16.to_le_bytes());
}

#[test]
fn all_nonfinite_elements_are_counted() {
    let folder = Folder::new();
    let mut poisoned = tensors(1.0);
    let data = &mut poisoned.get_mut(Q_PROJ).unwrap().2;
    for (index, value) in [(3, f32::NEG_INFINITY), (7, f32::NAN), (15, f32::NAN)] {
        data[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
    }
    folder.write_model("a", &config(), &poisoned);
    folder.fails_halfway(&[], LINEAR, &[Q_PROJ, "`a`", "3 of its 16 elements", "index 3"]);
}

#[test]
fn results_that_float16_cannot_hold() {
    let folder = Folder::new();
    for name in ["a", "b"] {
        let mut large = tensors(1.0);
        let data = &mut large.get_mut(Q_PROJ).unwrap().2;
        for (index, value) in [(4, 1e-9f32), (6, 1e5), (9, -2e5)] {
            data[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
        }
        folder.write_model(name, &config(), &large);
    }
    let recipe = format!("{LINEAR}dtype: float16\n");
    let (size, way_out) = ("2 of its 16 elements, the first at index 6", "bfloat16, float32");
    folder.fails_halfway(&[], &recipe, &[Q_PROJ, "as F16", size, way_out, "--allow-nonfinite"]);
    let (code, _, stderr) = folder.merge(&recipe, &["--allow-nonfinite"]);
    assert_eq!(code, 0, "{stderr}");
    let note = format!("note: the merged tensor `{Q_PROJ}` (F16) holds NaN or infinity in {size}");
    assert!(stderr.contains(&note), "{stderr}");
    let zero: Vec<_> = stderr.lines().filter(|line| line.contains("became zero")).collect();
    let [note] = zero[..] else { panic!("{stderr}") };
    assert!(note.starts_with("note: ") && note.contains("too small for F16"), "{note}");
}

#[test]
fn integers_that_agree_are_copied() {
    let folder = Folder::new();
    for name in ["a", "b"] {
        let mut with_integers = tensors(1.0);
        with_integers.insert("model.step".to_owned(), (Dtype::U8, vec![3], vec![7, 8, 9]));
        folder.write_model(name, &config(), &with_integers);
    }
    assert_eq!(folder.merge(&format!("{LINEAR}dtype: bfloat16\n"), &[]).0, 0);
    let bytes = std::fs::read(folder.path("out/model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let step = stored.tensor("model.step").unwrap();
    assert_eq!((step.dtype(), step.data()), (Dtype::U8, &[7, 8, 9][..]));
    let written = std::fs::read_to_string(folder.path("out/config.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap()["torch_dtype"], json!("bfloat16"));
}
