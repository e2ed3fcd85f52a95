//! Outputs that are looked through, and merges that are repeated.

use std::fs;
use std::path::PathBuf;

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

/// A manifest is a stranger's as everything else: it names no files elsewhere.
#[test]
fn a_manifest_that_names_files_elsewhere() {
    let (folder, out) = merged();
    fs::write(folder.path("secret"), "x").unwrap();
    let path = out.join("merge_manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    for name in ["../secret", "/dev/zero", ".."] {
        let mut text =
            text.replacen("\"name\": \"config.json\"", &format!("\"name\": \"{name}\""), 1);
        let at = text.rfind("\"manifest_blake3\": \"").unwrap() + "\"manifest_blake3\": \"".len();
        text.replace_range(at..at + 64, &"0".repeat(64));
        let hash = blake3::hash(text.as_bytes()).to_string();
        text.replace_range(at..at + 64, &hash);
        fs::write(&path, text).unwrap();
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
