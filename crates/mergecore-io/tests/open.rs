//! Opening checkpoints: what works, and one test for each way in which it fails.

mod support;

use std::fs;
use std::path::Path;

use mergecore_io::{
    Checkpoint, CompanionKind, HeaderError, IndexError, IoError, MappedCheckpoint, TensorSource,
};
use mergecore_tensor::DType;
use support::{dir, file, index, put, raw_file, sharded, single};
use tempfile::TempDir;

fn open(dir: &TempDir) -> Result<Checkpoint, IoError> {
    Checkpoint::open(dir.path())
}

/// The error, its text being complete: it names the directory's path.
fn error(dir: &TempDir) -> IoError {
    let error = open(dir).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
    assert!(!text.contains('\n'), "one paragraph: {text}");
    error
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
    fs::create_dir(dir.path().join("vocab.json")).unwrap();
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

#[test]
fn no_directory() {
    let path = Path::new("/nonexistent/model");
    assert!(matches!(Checkpoint::open(path), Err(IoError::NoDirectory { path: p }) if p == path));
}

#[test]
fn not_a_directory() {
    let dir = single();
    let path = dir.path().join("model.safetensors");
    assert!(
        matches!(Checkpoint::open(&path), Err(IoError::NotADirectory { path: p }) if p == path)
    );
}

#[test]
fn no_config() {
    let dir = dir();
    put(&dir, "model.safetensors", file(&[]));
    put(&dir, "notes.txt", "");
    let error = error(&dir);
    assert!(
        matches!(&error, IoError::NoConfig { found, .. } if found == &["model.safetensors", "notes.txt"])
    );
    assert!(error.to_string().contains("model.safetensors, notes.txt"));
}

#[test]
fn config_syntax() {
    let dir = single();
    put(&dir, "config.json", "{\n  \"a\": ,\n}");
    assert!(matches!(error(&dir), IoError::ConfigSyntax { line: 2, column: 8, .. }));
    put(&dir, "config.json", "[".repeat(100_000));
    assert!(matches!(error(&dir), IoError::ConfigSyntax { .. }));
    put(&dir, "config.json", [0xff, 0xfe]);
    assert!(matches!(error(&dir), IoError::ConfigSyntax { .. }));
}

#[test]
fn config_not_an_object() {
    let dir = single();
    put(&dir, "config.json", "[1]");
    assert!(matches!(error(&dir), IoError::ConfigNotObject { found: "an array", .. }));
}

#[test]
fn config_too_large() {
    let dir = single();
    let file = fs::OpenOptions::new().write(true).open(dir.path().join("config.json")).unwrap();
    file.set_len(1 << 30).unwrap();
    assert!(matches!(error(&dir), IoError::FileTooLarge { bytes: 0x4000_0000, .. }));
}

#[test]
fn unsupported_formats_are_named() {
    for (name, expected) in
        [("pytorch_model-00001-of-00002.bin", "PyTorch pickles"), ("m.Q4_K.gguf", "GGUF")]
    {
        for with_config in [true, false] {
            let dir = dir();
            put(&dir, name, "x");
            if with_config {
                put(&dir, "config.json", "{}");
            }
            let error = error(&dir);
            assert!(matches!(&error, IoError::UnsupportedFormat { format, files, .. }
                if *format == expected && files == &[name]));
            assert!(error.to_string().contains("not supported yet"));
        }
    }
}

#[test]
fn no_weights() {
    let dir = dir();
    put(&dir, "config.json", "{}");
    assert!(matches!(error(&dir), IoError::NoWeights { found, .. } if found == ["config.json"]));
}

#[test]
fn adapter_only() {
    let dir = dir();
    put(&dir, "adapter_config.json", "{}");
    put(&dir, "adapter_model.safetensors", file(&[("a", &[1])]));
    assert!(error(&dir).to_string().contains("LoRA adapter"));
    put(&dir, "config.json", "{}");
    assert!(matches!(error(&dir), IoError::AdapterOnly { .. }));
}

#[test]
fn several_files_without_an_index() {
    let dir = sharded();
    fs::remove_file(dir.path().join("model.safetensors.index.json")).unwrap();
    let error = error(&dir);
    assert!(
        matches!(&error, IoError::SeveralFiles { files, .. } if files == &["m-1.safetensors", "m-2.safetensors"])
    );
}

#[test]
fn a_lone_shard_of_several() {
    let dir = dir();
    put(&dir, "config.json", "{}");
    put(&dir, "model-00002-of-00003.safetensors", file(&[("w", &[1])]));
    assert!(
        matches!(error(&dir), IoError::LoneShard { file, .. } if file.contains("00002-of-00003"))
    );
}

#[test]
fn weights_that_are_a_directory() {
    let dir = single();
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    assert!(matches!(error(&dir), IoError::NotAFile { found: "a directory", .. }));
}

#[cfg(unix)]
#[test]
fn pipes_do_not_block() {
    for name in ["config.json", "model.safetensors.index.json", "model.safetensors"] {
        let dir = single();
        let path = dir.path().join(name);
        let _ = fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(
            matches!(error(&dir), IoError::NotAFile { found: "a named pipe", path: p } if p == path)
        );
    }
}

#[cfg(unix)]
#[test]
fn broken_links_are_named() {
    let dir = single();
    let path = dir.path().join("model.safetensors");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("gone", &path).unwrap();
    assert!(matches!(error(&dir), IoError::BrokenLink { path: p } if p == path));
}

#[test]
fn a_malformed_index_is_named() {
    let dir = sharded();
    put(&dir, "model.safetensors.index.json", index(&[("embed", "../m-1.safetensors")]));
    let error = error(&dir);
    assert!(matches!(&error, IoError::Index { source: IndexError::ShardName { shard, .. }, .. }
        if shard == "../m-1.safetensors"));
    assert!(error.to_string().contains("index.json"));
}

#[test]
fn missing_shards_are_all_listed() {
    let dir = sharded();
    for name in ["m-1.safetensors", "m-2.safetensors"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let error = error(&dir);
    assert!(matches!(&error, IoError::MissingShards { missing, .. } if missing.len() == 2));
    assert!(error.to_string().contains("m-1.safetensors, m-2.safetensors"));
}

#[test]
fn a_tensor_that_is_not_in_its_shard() {
    let dir = sharded();
    put(&dir, "m-2.safetensors", file(&[]));
    assert!(matches!(error(&dir), IoError::NotInShard { tensor, shard, .. }
        if tensor == "layers.10" && shard == "m-2.safetensors"));
}

#[test]
fn a_tensor_that_the_index_does_not_list() {
    let dir = sharded();
    put(&dir, "m-2.safetensors", file(&[("layers.10", &[4]), ("extra", &[5])]));
    assert!(matches!(error(&dir), IoError::NotInIndex { tensor, shard, .. }
        if tensor == "extra" && shard == "m-2.safetensors"));
}

#[test]
fn a_tensor_in_two_shards() {
    let dir = sharded();
    put(&dir, "m-2.safetensors", file(&[("layers.10", &[4]), ("embed", &[5])]));
    assert!(matches!(error(&dir), IoError::InTwoShards { tensor, first, second, .. }
        if tensor == "embed" && first == "m-1.safetensors" && second == "m-2.safetensors"));
}

#[test]
fn a_bad_header_is_named_with_its_file() {
    let dir = single();
    let mut bytes = file(&[("w", &[1, 2, 3, 4])]);
    bytes.truncate(bytes.len() - 3);
    put(&dir, "model.safetensors", &bytes);
    let error = error(&dir);
    assert!(matches!(&error, IoError::Header { source: HeaderError::Truncated { .. }, .. }));
    assert!(
        error.to_string().contains("3 too few") && error.to_string().contains("model.safetensors")
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_header_length_beyond_the_file_takes_no_memory() {
    let dir = single();
    for length in [100_000_000u64, 100_000_001, u64::MAX] {
        put(&dir, "model.safetensors", length.to_le_bytes());
        assert!(matches!(error(&dir), IoError::Header { .. }));
    }
    put(&dir, "model.safetensors", "");
    assert!(matches!(
        error(&dir),
        IoError::Header { source: HeaderError::TooShort { file_len: 0 }, .. }
    ));
}

#[test]
fn quantised_by_config_is_refused_before_its_headers_are_read() {
    let dir = single();
    put(&dir, "config.json", r#"{"quantization_config": {"quant_method": "awq"}}"#);
    let header = r#"{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}"#;
    put(&dir, "model.safetensors", raw_file(header, 1));
    let error = error(&dir);
    assert!(matches!(&error, IoError::Quantised { scheme, .. } if scheme == "awq"));
    for part in ["scales", "corrupt", "unquantised", "dequantise"] {
        assert!(error.to_string().contains(part));
    }
}

#[test]
fn quantised_by_tensors_is_refused() {
    let dir = single();
    put(
        &dir,
        "model.safetensors",
        file(&[("mlp.weight_blocks", &[1]), ("mlp.weight_scales", &[1])]),
    );
    assert!(matches!(error(&dir), IoError::Quantised { scheme, evidence, .. }
        if scheme == "MXFP4" && evidence.contains("mlp.weight_scales")));
}

#[test]
fn elements_outside_the_tensor() {
    let checkpoint = open(&single()).unwrap();
    let w = checkpoint.tensor("w").unwrap();
    #[allow(clippy::reversed_empty_ranges)]
    for range in [3..5, 5..5, 2..1, 0..u64::MAX] {
        let error = w.read(range.clone(), &mut [0; 2]).unwrap_err();
        assert!(
            matches!(&error, IoError::ElementRange { tensor, range: r, len: 4 } if tensor == "w" && *r == range)
        );
    }
}

#[test]
fn a_buffer_of_another_size() {
    let checkpoint = open(&single()).unwrap();
    let error = checkpoint.tensor("w").unwrap().read(0..3, &mut [0; 2]).unwrap_err();
    assert!(matches!(error, IoError::BufferSize { expected: 3, found: 2, .. }));
}

#[cfg(unix)]
#[test]
fn a_file_that_shrinks_is_an_error_and_not_a_crash() {
    let dir = single();
    let checkpoint = open(&dir).unwrap();
    let file =
        fs::OpenOptions::new().write(true).open(dir.path().join("model.safetensors")).unwrap();
    file.set_len(20).unwrap();
    let error = checkpoint.tensor("w").unwrap().read(0..4, &mut [0; 4]).unwrap_err();
    assert!(
        matches!(&error, IoError::Shrunk { reading, .. } if reading == "tensor `w`"),
        "{error}"
    );
    assert!(error.to_string().contains("became shorter"));
}
