//! Checkpoints for the tests, written by the `safetensors` crate, not by this one.

#![allow(dead_code)] // not every test file uses everything

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use tempfile::TempDir;

pub(crate) fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A safetensors file with one-dimensional U8 tensors.
pub(crate) fn file(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, data)| (*name, TensorView::new(Dtype::U8, vec![data.len()], data).unwrap()));
    serialize(views, None).unwrap()
}

/// A safetensors file with the given header and that much data.
pub(crate) fn raw_file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

pub(crate) fn put(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) {
    fs::write(dir.path().join(name), content).unwrap();
}

/// A directory with config.json `{}` and model.safetensors with tensor `w`.
pub(crate) fn single() -> TempDir {
    let dir = dir();
    put(&dir, "config.json", "{}");
    put(&dir, "model.safetensors", file(&[("w", &[1, 2, 3, 4])]));
    dir
}

/// Two shards: `layers.2` and `embed` in the first, `layers.10` in the second.
pub(crate) fn sharded() -> TempDir {
    let dir = dir();
    put(&dir, "config.json", "{}");
    put(&dir, "m-1.safetensors", file(&[("layers.2", &[1]), ("embed", &[2, 3])]));
    put(&dir, "m-2.safetensors", file(&[("layers.10", &[4])]));
    let map = [
        ("layers.2", "m-1.safetensors"),
        ("embed", "m-1.safetensors"),
        ("layers.10", "m-2.safetensors"),
    ];
    put(&dir, "model.safetensors.index.json", index(&map));
    dir
}

pub(crate) fn index(map: &[(&str, &str)]) -> String {
    let map: serde_json::Map<_, _> =
        map.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    serde_json::json!({ "weight_map": map }).to_string()
}

pub(crate) fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
