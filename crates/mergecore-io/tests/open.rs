//! Opening checkpoints. What cannot be opened is in `errors` and `hostile`.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mergecore_io::{
    Checkpoint, CompanionKind, IoError, MappedCheckpoint, Storage, StorageCall, StorageHook,
    TensorSource,
};
use mergecore_tensor::DType;
use support::{dir, put, raw_file, sharded, single};
use tempfile::TempDir;

fn open(dir: &TempDir) -> Result<Checkpoint, IoError> {
    Checkpoint::open(dir.path())
}

#[test]
fn one_file_is_opened_and_read() {
    let dir = single();
    put(&dir, "config.json", r#"{"z": 1, "a": {"b": 2}}"#);
    put(&dir, "consolidated.safetensors", "not looked at");
    let checkpoint = open(&dir).unwrap();
    assert_eq!(checkpoint.len(), 1);
    assert_eq!(checkpoint.dir(), dir.path());
    assert_eq!(checkpoint.config().keys().collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!(checkpoint.files()[0].name, "model.safetensors");
    assert_eq!(
        checkpoint.files()[0].bytes,
        fs::metadata(&checkpoint.files()[0].path).unwrap().len()
    );
    assert!(checkpoint.files()[0].modified.is_some());
    let w = checkpoint.tensor("w").unwrap().clone();
    drop(checkpoint);
    assert_eq!((w.dtype(), w.shape(), w.len(), w.byte_len()), (DType::U8, &[4][..], 4, 4));
    let mut out = [0; 2];
    w.read(1..3, &mut out).unwrap();
    assert_eq!(out, [2, 3]);
    w.read(4..4, &mut []).unwrap();
}

#[test]
fn shards_are_opened_in_natural_order() {
    let dir = sharded();
    put(&dir, "consolidated.safetensors", "not in the index");
    let checkpoint = open(&dir).unwrap();
    let names: Vec<_> = checkpoint.tensors().map(|t| (t.name(), t.file_name())).collect();
    let expected = [
        ("embed", "m-1.safetensors"),
        ("layers.2", "m-1.safetensors"),
        ("layers.10", "m-2.safetensors"),
    ];
    assert_eq!(names, expected);
    assert_eq!(checkpoint.files().len(), 2);
    assert!(checkpoint.tensor("layers.3").is_none());
}

#[test]
fn the_only_file_is_taken_whatever_its_name() {
    let dir = single();
    fs::rename(
        dir.path().join("model.safetensors"),
        dir.path().join("other-00001-of-00001.safetensors"),
    )
    .unwrap();
    assert_eq!(open(&dir).unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn links_are_followed_as_hub_caches_need() {
    let (blobs, dir) = (single(), dir());
    for name in ["config.json", "model.safetensors"] {
        std::os::unix::fs::symlink(blobs.path().join(name), dir.path().join(name)).unwrap();
    }
    assert_eq!(open(&dir).unwrap().len(), 1);
}

#[test]
fn a_tensor_beyond_the_end_of_memory_opens_from_its_header() {
    // A sparse file: were its data read or mapped eagerly, this would not end well.
    let dir = single();
    let bytes = 1u64 << 42;
    let header =
        format!(r#"{{"w":{{"dtype":"F16","shape":[{}],"data_offsets":[0,{bytes}]}}}}"#, bytes / 2);
    let path = dir.path().join("model.safetensors");
    fs::write(&path, raw_file(&header, 0)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    if file.set_len(8 + header.len() as u64 + bytes).is_err() {
        return; // this file system has no such files
    }
    let checkpoint = open(&dir).unwrap();
    let w = checkpoint.tensor("w").unwrap();
    let mut out = [1; 4];
    w.read(w.len() - 2..w.len(), &mut out).unwrap();
    assert_eq!(out, [0; 4]);
}

#[test]
fn sources_are_shared_between_threads_behind_the_trait() {
    fn shareable<T: Send + Sync>(_: &T) {}
    let checkpoint = open(&single()).unwrap();
    shareable(&checkpoint);
    let source: std::sync::Arc<dyn TensorSource> =
        std::sync::Arc::new(checkpoint.tensor("w").unwrap().clone());
    std::thread::scope(|scope| {
        for start in 0..4u8 {
            let source = &source;
            scope.spawn(move || {
                let mut out = [0];
                source.read(u64::from(start)..u64::from(start) + 1, &mut out).unwrap();
                assert_eq!(out, [start + 1]);
            });
        }
    });
    assert!(!source.is_empty());
}

#[test]
fn companions_are_listed_by_kind() {
    let dir = single();
    for name in [
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "chat_template.jinja",
        "notes.txt",
    ] {
        put(&dir, name, "x");
    }
    let checkpoint = open(&dir).unwrap();
    let found: Vec<_> = checkpoint.companions().iter().map(|c| (c.name, c.kind)).collect();
    let expected = [
        ("generation_config.json", CompanionKind::GenerationConfig),
        ("tokenizer.json", CompanionKind::Tokenizer),
        ("tokenizer.model", CompanionKind::Tokenizer),
        ("chat_template.jinja", CompanionKind::Tokenizer),
    ];
    assert_eq!(found, expected);
    assert!(checkpoint.companions()[0].path.is_file());
}

#[test]
fn mapped_views_show_the_same_bytes() {
    let dir = sharded();
    let mapped = MappedCheckpoint::open(dir.path()).unwrap();
    let view = mapped.view("embed").unwrap();
    assert_eq!(
        (view.dtype(), view.shape(), view.data()),
        (safetensors::Dtype::U8, &[2][..], &[2, 3][..])
    );
    assert!(mapped.view("nope").is_none());
    assert_eq!(mapped.checkpoint().len(), 3);
}

/// Sees which files are opened.
#[derive(Default)]
struct Opened(Mutex<Vec<PathBuf>>);

impl StorageHook for Opened {
    fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
        if let StorageCall::Open { path } = call {
            self.0.lock().unwrap().push(path.to_path_buf());
        }
        Ok(())
    }
}

#[test]
fn opening_stops_between_files() {
    let dir = sharded();
    let opened = Arc::new(Opened::default());
    let storage = Storage::with_hook(opened.clone());
    let first = dir.path().join("m-1.safetensors");
    let stop = || opened.0.lock().unwrap().contains(&first);
    assert!(Checkpoint::open_unless(dir.path(), &storage, stop).unwrap().is_none());
    let opened = opened.0.lock().unwrap();
    assert!(opened.last() == Some(&first), "{opened:?}");
}
