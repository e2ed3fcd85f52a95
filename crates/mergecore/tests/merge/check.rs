//! Outputs that are looked through, and merges that are repeated.

use std::fs;
use std::path::{Path, PathBuf};

use mergecore::{EngineError, Error, ManifestError, MergeOptions, reproduce, verify};

use crate::support::{Folder, Random};

const DARE: &str = "merge_method: dare_ties\nbase_model: DIR/base\ndtype: bfloat16\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 0.5, density: 0.5}";

fn merged() -> (Folder, PathBuf) {
    let folder = Folder::in_memory();
    folder.write_random(51);
    fs::write(folder.path("base/tokenizer.json"), "{}").unwrap();
    let options = MergeOptions { seed: 3, max_shard_bytes: 200_000, ..MergeOptions::default() };
    folder.merge_with(DARE, "out", &options).unwrap();
    let out = folder.path("out");
    (folder, out)
}

/// In weights, headers, index, config, tokenizer, card, recipe and manifest.
#[test]
fn every_flipped_bit_is_found() {
    let (_folder, out) = merged();
    let options = MergeOptions { threads: Some(1), ..MergeOptions::default() };
    assert!(verify(&out, &options).unwrap().is_right());
    let mut random = Random::new(52);
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let content = fs::read(&path).unwrap();
        for _ in 0..40 {
            let (at, bit) = (random.below(content.len()), random.below(8));
            let mut flipped = content.clone();
            flipped[at] ^= 1 << bit;
            fs::write(&path, &flipped).unwrap();
            match verify(&out, &options) {
                Ok(found) => {
                    assert!(!found.is_right(), "{name}, bit {bit} of byte {at}");
                    let told = found.faults.iter().map(ToString::to_string);
                    let told: Vec<String> = told.collect();
                    assert!(told.iter().any(|fault| fault.contains(name)), "{told:?}");
                    let header = content.first_chunk().map(|len| 8 + u64::from_le_bytes(*len));
                    if name.ends_with(".safetensors") && header.is_some_and(|len| at as u64 >= len)
                    {
                        assert!(told.len() == 1 && told[0].starts_with("tensor `"), "{told:?}");
                    }
                }
                Err(error) => {
                    assert_eq!(name, "merge_manifest.json");
                    assert!(matches!(error, Error::Merge(EngineError::Manifest(_))), "{error}");
                }
            }
        }
        fs::write(&path, &content).unwrap();
    }
    assert!(verify(&out, &options).unwrap().is_right());
}

#[test]
fn files_that_are_missing_or_strange_are_told() {
    let (_folder, out) = merged();
    let options = MergeOptions::default();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let found = verify(&out, &options).unwrap();
    assert!(found.is_right());
    assert_eq!(found.unknown_files, ["notes.txt"]);
    fs::remove_file(out.join("tokenizer.json")).unwrap();
    fs::remove_file(out.join("model-00002-of-00003.safetensors")).unwrap();
    let told: Vec<String> =
        verify(&out, &options).unwrap().faults.iter().map(ToString::to_string).collect();
    assert!(told.contains(&"tokenizer.json is missing".to_owned()), "{told:?}");
    assert!(told.contains(&"model-00002-of-00003.safetensors is missing".to_owned()), "{told:?}");
    fs::remove_file(out.join("merge_manifest.json")).unwrap();
    let error = verify(&out, &options).unwrap_err();
    let missing =
        matches!(error, Error::Merge(EngineError::Manifest(ManifestError::Missing { .. })));
    assert!(missing, "{error}");
}

/// Writes a manifest that was edited, with a hash of itself that fits.
fn reseal(path: &Path, mut text: String) {
    let at = text.rfind("\"manifest_blake3\": \"").unwrap() + "\"manifest_blake3\": \"".len();
    text.replace_range(at..at + 64, &"0".repeat(64));
    let hash = blake3::hash(text.as_bytes()).to_string();
    text.replace_range(at..at + 64, &hash);
    fs::write(path, text).unwrap();
}

/// A manifest is a stranger's as everything else: it names no files elsewhere.
#[test]
fn a_manifest_that_names_files_elsewhere() {
    let (folder, out) = merged();
    fs::write(folder.path("secret"), "x").unwrap();
    let path = out.join("merge_manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    for name in ["../secret", "/dev/zero", ".."] {
        let named = format!("\"name\": \"{name}\"");
        reseal(&path, text.replacen("\"name\": \"config.json\"", &named, 1));
        let found = verify(&out, &MergeOptions::default()).unwrap();
        let told = found.faults[0].to_string();
        assert!(told.contains("cannot name files elsewhere"), "{told}");
    }
}

#[test]
fn a_merge_is_repeated_from_its_manifest() {
    let (folder, out) = merged();
    let options = MergeOptions::default();
    let repeated = reproduce(&out, &options).unwrap();
    assert!(repeated.is_same(), "{:?}", repeated.differences);
    assert!(repeated.tensors > 10 && repeated.notes.is_empty());
    assert_eq!(folder.names(), ["a", "b", "base", "out"]);

    let weights = folder.path("a/model.safetensors");
    let mut content = fs::read(&weights).unwrap();
    // Some of these are dropped by the mask.
    let end = content.len();
    content[end - 100..].iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(&weights, content).unwrap();
    let repeated = reproduce(out.join("merge_manifest.json"), &options).unwrap();
    let [difference] = &repeated.differences[..] else { panic!("{:?}", repeated.differences) };
    assert!(difference.contains("came out another: its input `"), "{difference}");
    assert!(difference.contains("/a` is not what it was"), "{difference}");

    fs::remove_dir_all(folder.path("b")).unwrap();
    let error = reproduce(&out, &options).unwrap_err().to_string();
    assert!(error.contains("/b` was not found"), "{error}");
}

/// Tensors are not all that a merge writes.
#[test]
fn files_that_would_be_others_are_told() {
    let folder = Folder::in_memory();
    folder.write_random(54);
    for name in ["tokenizer.json", "vocab.json", "generation_config.json"] {
        fs::write(folder.path("base").join(name), "{}").unwrap();
    }
    let options = MergeOptions { max_shard_bytes: 200_000, ..MergeOptions::default() };
    folder.merge_with(DARE, "out", &options).unwrap();
    let out = folder.path("out");
    let repeated = reproduce(&out, &options).unwrap();
    assert!(repeated.is_same(), "{:?}", repeated.differences);
    // All but the manifest and the model card.
    assert_eq!(repeated.files, fs::read_dir(&out).unwrap().count() - 2);
    let tensors = repeated.tensors;

    fs::write(folder.path("base/tokenizer.json"), r#"{"model": {}}"#).unwrap();
    fs::write(folder.path("base/vocab.json"), "[]").unwrap();
    fs::remove_file(folder.path("base/generation_config.json")).unwrap();
    fs::write(folder.path("base/merges.txt"), "").unwrap();
    let config = fs::read_to_string(folder.path("base/config.json")).unwrap();
    let config = config.replacen('{', r#"{"new": 1, "#, 1);
    fs::write(folder.path("base/config.json"), config).unwrap();
    let changed = reproduce(&out, &options).unwrap();
    assert!(!changed.is_same());
    assert_eq!((changed.tensors, changed.files), (tensors, repeated.files - 4));
    let [config, generation, tokenizer, vocab, merges] = &changed.differences[..] else {
        panic!("{:?}", changed.differences)
    };
    assert!(config.starts_with("config.json came out another: it had "), "{config}");
    assert_eq!(generation, "generation_config.json was written and would not be now");
    assert_eq!(tokenizer, "tokenizer.json came out another: it had 2 bytes and has 13");
    assert_eq!(vocab, "vocab.json came out another: it does not fit its hash");
    assert_eq!(merges, "merges.txt was not written and would be now");
}

/// A manifest's name is nothing that it says.
#[test]
fn a_manifest_of_any_name_is_one() {
    let (folder, out) = merged();
    let options = MergeOptions::default();
    fs::create_dir(folder.path("manifests")).unwrap();
    let copy = folder.path("manifests/mine.json");
    fs::copy(out.join("merge_manifest.json"), &copy).unwrap();
    let repeated = reproduce(&copy, &options).unwrap();
    assert!(repeated.is_same(), "{:?}", repeated.differences);
    assert!(verify(out.join("merge_manifest.json"), &options).unwrap().is_right());
    fs::rename(out.join("merge_manifest.json"), out.join("renamed")).unwrap();
    let found = verify(out.join("renamed"), &options).unwrap();
    assert!(found.is_right() && found.unknown_files.is_empty(), "{found:?}");
}

/// Of models with very many tensors.
#[test]
fn a_manifest_of_more_than_a_hundred_megabytes_is_read() {
    let (_folder, out) = merged();
    let path = out.join("merge_manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    reseal(&path, text + &" ".repeat(101_000_000));
    assert!(verify(&out, &MergeOptions::default()).unwrap().is_right());
}

/// Programs that load the output may read what lies beside its weights.
#[test]
fn weights_that_are_not_of_the_merge_are_a_fault() {
    for name in [
        "model.safetensors",
        "consolidated.safetensors",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "model.gguf",
    ] {
        let (_folder, out) = merged();
        fs::write(out.join(name), "x").unwrap();
        fs::write(out.join("training_args.bin"), "x").unwrap();
        let found = verify(&out, &MergeOptions::default()).unwrap();
        let told: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
        let stray = format!("{name} was not written by the merge");
        assert!(told.len() == 1 && told[0].starts_with(&stray), "{told:?}");
        assert_eq!(found.unknown_files, ["training_args.bin"]);
    }
}

#[test]
fn without_hashes_nothing_is_said_to_be_right() {
    let folder = Folder::in_memory();
    folder.write_random(53);
    let options = MergeOptions { hash: false, ..MergeOptions::default() };
    folder.merge_with(DARE, "out", &options).unwrap();
    let found = verify(folder.path("out"), &options).unwrap();
    assert!(found.faults.is_empty() && !found.is_right() && found.unhashed > 10);
    let repeated = reproduce(folder.path("out"), &options).unwrap();
    assert!(!repeated.is_same() && repeated.differences.is_empty());
}
