//! `Fault`: what verifying an output finds.

use std::fs;

use mergecore::{MergeOptions, Storage, StorageCall, StorageHook, verify};

use super::{LINEAR, folder};
use crate::support::Folder;

/// One of the faults that are found once an output was edited must say all of `parts`.
#[track_caller]
fn finds(edit: impl FnOnce(&Folder), parts: &[&str]) {
    let folder = folder();
    folder.merge(LINEAR);
    edit(&folder);
    let found = verify(folder.path("out"), &MergeOptions::default()).unwrap();
    assert!(!found.is_right());
    let texts: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| parts.iter().all(|part| text.contains(part))), "{texts:?}");
}

const WEIGHTS: &str = "out/model.safetensors";

#[test]
fn file_missing() {
    let remove = |folder: &Folder| fs::remove_file(folder.path("out/config.json")).unwrap();
    finds(remove, &["config.json is missing"]);
}

#[test]
fn file_changed() {
    let change = |folder: &Folder| fs::write(folder.path("out/config.json"), "{}").unwrap();
    finds(change, &["config.json was changed: it had ", "bytes and has 2"]);
}

#[test]
fn stray_weights() {
    let add = |folder: &Folder| {
        fs::copy(folder.path(WEIGHTS), folder.path("out/old.safetensors")).map(drop).unwrap();
    };
    finds(add, &["old.safetensors was not written by the merge, but loaders", "move it elsewhere"]);
}

#[test]
fn tensor_changed() {
    let flip = |folder: &Folder| {
        let mut bytes = fs::read(folder.path(WEIGHTS)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(folder.path(WEIGHTS), bytes).unwrap();
    };
    finds(flip, &["tensor `model.", "in model.safetensors was changed", "do not fit their hash"]);
}

#[test]
fn tensor_differs() {
    let rename = |folder: &Folder| {
        let mut bytes = fs::read(folder.path(WEIGHTS)).unwrap();
        let at = bytes.windows(10).position(|part| part == b"model.norm").unwrap();
        bytes[at + 6] = b'N';
        fs::write(folder.path(WEIGHTS), bytes).unwrap();
    };
    finds(rename, &["`model.norm.weight` was written as F32 of shape [2, 2]", "is not there"]);
}

#[test]
fn unopenable() {
    let cut = |folder: &Folder| {
        fs::OpenOptions::new().write(true).open(folder.path(WEIGHTS)).unwrap().set_len(20).unwrap();
    };
    finds(cut, &["the tensors cannot be compared: ", "model.safetensors"]);
}

/// A disk that cannot read the weights behind their header.
struct Broken;

impl StorageHook for Broken {
    fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
        match call {
            StorageCall::Read { path, bytes } if path.ends_with(WEIGHTS) && bytes.start > 8 => {
                Err(std::io::Error::other("medium error"))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn tensor_unreadable() {
    let folder = folder();
    folder.merge(LINEAR);
    let storage = Storage::with_hook(std::sync::Arc::new(Broken));
    let options = MergeOptions { storage, ..MergeOptions::default() };
    let text = verify(folder.path("out"), &options).unwrap().faults[0].to_string();
    for part in ["tensor `", "cannot be compared: cannot read ", "model.safetensors: medium error"]
    {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}
