//! [`IoError`]: checkpoints and outputs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use mergecore_io::{
    Checkpoint, CheckpointWriter, HeaderError, IndexError, IoError, Layout, MAX_CONFIG_BYTES,
    MAX_FILE_BYTES, Rows, StagedDir, Storage, StorageCall, StorageHook, TensorSource, TensorSpec,
};
use mergecore_tensor::DType;
use tempfile::TempDir;

use crate::says;
use crate::support::{dir, file, index as index_of, names, put, raw_file, sharded, single};

/// Opening must fail, with a text that names the directory.
#[track_caller]
fn error(dir: &TempDir) -> IoError {
    let error = Checkpoint::open(dir.path()).unwrap_err();
    says(&error, &[dir.path().to_str().unwrap()]);
    error
}

fn spec(name: &str, dtype: DType, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn layout(specs: &[TensorSpec]) -> Result<Layout, IoError> {
    Layout::new(specs.to_vec(), u64::MAX, BTreeMap::new())
}

/// A writer of one tensor `w` of four bytes.
fn writer() -> (TempDir, CheckpointWriter) {
    let dir = dir();
    let layout = layout(&[spec("w", DType::U8, &[4])]).unwrap();
    let writer = CheckpointWriter::create(dir.path(), layout.into()).unwrap();
    (dir, writer)
}

/// An output with a checkpoint, and its path.
fn output() -> (TempDir, std::path::PathBuf) {
    let dir = dir();
    let output = dir.path().join("out");
    fs::create_dir(&output).unwrap();
    fs::write(output.join("config.json"), "{}").unwrap();
    (dir, output)
}

#[test]
fn system() {
    let dir = dir();
    put(&dir, "file", "x");
    let error = StagedDir::create(&dir.path().join("file/out"), false).unwrap_err();
    assert!(matches!(&error, IoError::System { action: "open", .. }), "{error}");
    says(&error, &["cannot open ", "file", "part of that path is a file, so choose another"]);

    let broken =
        Refusing(|call| matches!(call, StorageCall::Open { .. }), io::ErrorKind::PermissionDenied);
    let error = Checkpoint::open_in(single().path(), &broken.storage()).unwrap_err();
    says(&error, &["cannot open ", "config.json", "check who may read and write there"]);
}

/// A system that refuses some calls.
struct Refusing(fn(&StorageCall<'_>) -> bool, io::ErrorKind);

impl StorageHook for Refusing {
    fn before(&self, call: &StorageCall<'_>) -> io::Result<()> {
        if (self.0)(call) { Err(self.1.into()) } else { Ok(()) }
    }
}

impl Refusing {
    fn storage(self) -> Storage {
        Storage::with_hook(Arc::new(self))
    }
}

#[test]
fn no_directory() {
    let dir = dir();
    let path = dir.path().join("bsae");
    let error = Checkpoint::open(&path).unwrap_err();
    assert!(matches!(&error, IoError::NoDirectory { path: p } if *p == path));
    says(&error, &["no directory", "bsae", "check the spelling", "the current directory"]);
}

#[test]
fn not_a_directory() {
    let dir = single();
    let path = dir.path().join("model.safetensors");
    let error = Checkpoint::open(&path).unwrap_err();
    assert!(matches!(&error, IoError::NotADirectory { path: p } if *p == path));
    says(&error, &["model.safetensors", "is a file", "give the directory"]);
}

#[test]
fn no_config() {
    let dir = dir();
    put(&dir, "model.safetensors", file(&[]));
    put(&dir, "notes.txt", "");
    let error = error(&dir);
    assert!(matches!(error, IoError::NoConfig { .. }));
    says(&error, &["no config.json", "give the directory", "model.safetensors, notes.txt"]);
}

#[test]
fn config_syntax() {
    let dir = single();
    put(&dir, "config.json", "{\n  \"a\": ,\n}");
    let error = error(&dir);
    assert!(matches!(error, IoError::ConfigSyntax { line: 2, column: 8, .. }));
    says(&error, &["config.json", "not valid JSON", "line 2 column 8", "fetch it again"]);
}

#[test]
fn config_not_object() {
    let dir = single();
    put(&dir, "config.json", "[1]");
    let error = error(&dir);
    assert!(matches!(error, IoError::ConfigNotObject { found: "an array", .. }));
    says(&error, &["config.json holds an array", "fetch the model's own config.json"]);
}

#[test]
fn file_too_large() {
    for (name, limit) in
        [("config.json", MAX_CONFIG_BYTES), ("model.safetensors.index.json", MAX_FILE_BYTES)]
    {
        let dir = single();
        let file = fs::File::create(dir.path().join(name)).unwrap();
        file.set_len(limit + 1).unwrap();
        let too_large = error(&dir);
        let IoError::FileTooLarge { bytes, limit: known, .. } = too_large else {
            panic!("{too_large}")
        };
        assert_eq!((bytes, known), (limit + 1, limit));
        let has = format!("{name} has {bytes} bytes, beyond the {limit}");
        says(&too_large, &[&has, "fetch it again"]);
        // Zeros are no JSON, but they are read.
        file.set_len(limit).unwrap();
        assert!(!matches!(error(&dir), IoError::FileTooLarge { .. }));
    }
}

#[test]
fn unsupported_format() {
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
            assert!(matches!(error, IoError::UnsupportedFormat { .. }));
            says(&error, &[&format!("as {expected} ({name})"), "not supported yet", "convert"]);
        }
    }
}

#[test]
fn no_weights() {
    let dir = dir();
    put(&dir, "config.json", "{}");
    let error = error(&dir);
    assert!(matches!(error, IoError::NoWeights { .. }));
    says(&error, &["no .safetensors file", "it holds config.json", "fetch the weights"]);
}

#[test]
fn adapter_only() {
    let dir = dir();
    put(&dir, "adapter_config.json", "{}");
    put(&dir, "adapter_model.safetensors", file(&[("a", &[1])]));
    says(&error(&dir), &["a LoRA adapter", "not supported yet", "merge it into the model"]);
    put(&dir, "config.json", "{}");
    assert!(matches!(error(&dir), IoError::AdapterOnly { .. }));
}

#[test]
fn several_files() {
    let dir = sharded();
    fs::remove_file(dir.path().join("model.safetensors.index.json")).unwrap();
    let error = error(&dir);
    assert!(matches!(error, IoError::SeveralFiles { .. }));
    says(&error, &["(m-1.safetensors, m-2.safetensors)", "no model.safetensors.index.json"]);
    says(&error, &["fetch the index, or leave only the model's own file"]);
}

#[test]
fn lone_shard() {
    let dir = dir();
    put(&dir, "config.json", "{}");
    put(&dir, "model-00002-of-00003.safetensors", file(&[("w", &[1])]));
    let error = error(&dir);
    assert!(matches!(error, IoError::LoneShard { .. }));
    says(&error, &["only model-00002-of-00003.safetensors", "fetch the index and the other"]);
}

#[test]
fn not_a_file() {
    let dir = single();
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    let error = error(&dir);
    assert!(matches!(error, IoError::NotAFile { found: "a directory", .. }));
    says(&error, &["model.safetensors", "is a directory", "put the file itself there"]);
}

#[cfg(unix)]
#[test]
fn broken_link() {
    let dir = single();
    let path = dir.path().join("model.safetensors");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("gone", &path).unwrap();
    let error = error(&dir);
    assert!(matches!(&error, IoError::BrokenLink { path: p } if *p == path));
    says(&error, &["model.safetensors", "link to a file that is not there", "fetch the model"]);
}

#[test]
fn index() {
    let dir = sharded();
    put(&dir, "model.safetensors.index.json", index_of(&[("embed", "../m-1.safetensors")]));
    let error = error(&dir);
    assert!(matches!(&error, IoError::Index { source: IndexError::ShardName { .. }, .. }));
    says(&error, &["model.safetensors.index.json: ", "`embed`", "../m-1.safetensors"]);
}

#[test]
fn missing_shards() {
    let dir = sharded();
    for name in ["m-1.safetensors", "m-2.safetensors"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let error = error(&dir);
    assert!(matches!(&error, IoError::MissingShards { missing, .. } if missing.len() == 2));
    says(&error, &["lacks shards", "m-1.safetensors, m-2.safetensors", "fetch them"]);
}

#[test]
fn not_in_shard() {
    let dir = sharded();
    put(&dir, "m-2.safetensors", file(&[]));
    let error = error(&dir);
    assert!(matches!(error, IoError::NotInShard { .. }));
    says(&error, &["`layers.10`", "m-2.safetensors", "does not hold it", "fetch both again"]);
}

#[test]
fn not_in_index() {
    let dir = sharded();
    put(&dir, "m-2.safetensors", file(&[("layers.10", &[4]), ("extra", &[5])]));
    let error = error(&dir);
    assert!(matches!(error, IoError::NotInIndex { .. }));
    says(&error, &["m-2.safetensors", "`extra`", "the index does not list", "fetch both again"]);
}

#[test]
fn in_two_shards() {
    let dir = sharded();
    put(&dir, "m-2.safetensors", file(&[("layers.10", &[4]), ("embed", &[5])]));
    let error = error(&dir);
    assert!(matches!(error, IoError::InTwoShards { .. }));
    says(&error, &["`embed` is both in m-1.safetensors and in m-2.safetensors", "fetch the model"]);
}

#[test]
fn header() {
    let dir = single();
    let mut bytes = file(&[("w", &[1, 2, 3, 4])]);
    bytes.truncate(bytes.len() - 3);
    put(&dir, "model.safetensors", &bytes);
    let error = error(&dir);
    assert!(matches!(&error, IoError::Header { source: HeaderError::Truncated { .. }, .. }));
    says(&error, &["model.safetensors: ", "3 too few"]);
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn quantised() {
    let dir = single();
    put(&dir, "config.json", r#"{"quantization_config": {"quant_method": "awq"}}"#);
    // Before the headers are read.
    let header = r#"{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}"#;
    put(&dir, "model.safetensors", raw_file(header, 1));
    let by_config = error(&dir);
    assert!(matches!(&by_config, IoError::Quantised { scheme, .. } if scheme == "awq"));
    says(&by_config, &["quantised with awq", "scales", "corrupt", "unquantised", "dequantise"]);

    put(&dir, "config.json", "{}");
    let mxfp4 = file(&[("mlp.weight_blocks", &[1]), ("mlp.weight_scales", &[1])]);
    put(&dir, "model.safetensors", mxfp4);
    says(&error(&dir), &["quantised with MXFP4", "mlp.weight_scales"]);
}

#[test]
fn element_range() {
    let checkpoint = Checkpoint::open(single().path()).unwrap();
    let w = checkpoint.tensor("w").unwrap();
    #[allow(clippy::reversed_empty_ranges)]
    for range in [3..5, 5..5, 2..1, 0..u64::MAX] {
        let error = w.read(range.clone(), &mut [0; 2]).unwrap_err();
        assert!(matches!(&error, IoError::ElementRange { range: r, len: 4, .. } if *r == range));
        says(&error, &[&format!("elements {}..{}", range.start, range.end), "`w`", "which has 4"]);
    }
}

#[test]
fn buffer_size() {
    let checkpoint = Checkpoint::open(single().path()).unwrap();
    let error = checkpoint.tensor("w").unwrap().read(0..3, &mut [0; 2]).unwrap_err();
    assert!(matches!(error, IoError::BufferSize { expected: 3, found: 2, .. }));
    says(&error, &["buffer of 2 bytes", "3 bytes of tensor `w`"]);
}

/// A checkpoint with matrices `a`, `wide` and `flags`.
fn matrices() -> Checkpoint {
    let header = r#"{
        "a":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},
        "wide":{"dtype":"F32","shape":[1,3],"data_offsets":[24,36]},
        "flags":{"dtype":"BOOL","shape":[1,2],"data_offsets":[36,38]}}"#;
    let dir = single();
    put(&dir, "model.safetensors", raw_file(header, 38));
    Checkpoint::open(dir.path()).unwrap()
}

#[test]
fn row_range() {
    let checkpoint = matrices();
    let a = checkpoint.tensor("a").unwrap().clone();
    let error = Rows::new([(a, 2..4)]).unwrap_err();
    assert!(matches!(&error, IoError::RowRange { range, rows: 3, .. } if *range == (2..4)));
    says(&error, &["rows 2..4 of tensor `a`", "which has 3"]);
}

#[test]
fn rows_differ() {
    let checkpoint = matrices();
    let get = |name| checkpoint.tensor(name).unwrap().clone();
    for (name, row) in [("wide", "F32 of shape [3]"), ("flags", "BOOL of shape [2]")] {
        let error = Rows::new([(get("a"), 0..1), (get(name), 0..1)]).unwrap_err();
        assert!(matches!(error, IoError::RowsDiffer { .. }));
        says(&error, &[&format!("tensor `{name}`, {row}"), "below rows that are F32 of shape [2]"]);
    }
}

#[test]
fn shrunk() {
    let dir = single();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let path = dir.path().join("model.safetensors");
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(20).unwrap();
    let error = checkpoint.tensor("w").unwrap().read(0..4, &mut [0; 4]).unwrap_err();
    assert!(matches!(&error, IoError::Shrunk { reading, .. } if reading == "tensor `w`"));
    says(&error, &["model.safetensors became shorter while tensor `w` was read", "start again"]);
}

#[test]
fn duplicate_name() {
    let tensor = spec("w", DType::F32, &[2]);
    let error = layout(&[tensor.clone(), tensor]).unwrap_err();
    assert!(matches!(error, IoError::DuplicateName { .. }));
    says(&error, &["two tensors of the output are named `w`", "rename one"]);
}

#[test]
fn reserved_name() {
    let error = layout(&[spec("__metadata__", DType::F32, &[2])]).unwrap_err();
    assert!(matches!(error, IoError::ReservedName { .. }));
    says(&error, &["cannot be named `__metadata__`", "rename it"]);
}

#[test]
fn output_too_large() {
    let error = layout(&[spec("w", DType::F32, &[usize::MAX, 2])]).unwrap_err();
    assert!(matches!(error, IoError::OutputTooLarge { .. }));
    says(&error, &["`w` of shape [18446744073709551615, 2]", "larger than a file can be"]);
    says(&error, &["check its shape"]);
}

#[test]
fn header_too_large() {
    let error = layout(&[spec(&"w".repeat(100_000_000), DType::F32, &[2])]).unwrap_err();
    assert!(matches!(error, IoError::HeaderTooLarge { .. }));
    says(&error, &["the header of model.safetensors would take 1000", "write smaller shards"]);
}

#[test]
fn tensor_index() {
    let (_dir, writer) = writer();
    let error = writer.write(1, 0, &[]).unwrap_err();
    assert!(matches!(error, IoError::TensorIndex { index: 1, count: 1 }));
    says(&error, &["tensor 1 was written, but the layout has only 1"]);
}

#[test]
fn write_range() {
    let (_dir, writer) = writer();
    for (offset, len) in [(0, 5), (4, 1), (5, 0), (u64::MAX, 1)] {
        let error = writer.write(0, offset, &vec![0; len]).unwrap_err();
        assert!(matches!(error, IoError::WriteRange { size: 4, .. }));
        says(&error, &[&format!("{len} bytes were to be written at byte {offset} of tensor `w`")]);
    }
    writer.write(0, 4, &[]).unwrap();
}

#[test]
fn unwritten() {
    let (_dir, writer) = writer();
    writer.write(0, 0, &[0; 3]).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, IoError::Unwritten { .. }));
    says(&error, &["`w` was not written in full: 3 of 4 bytes", "must not be used"]);
}

#[test]
fn output_name() {
    for path in ["/", "..", ".", "", "a/.."] {
        let error = StagedDir::create(Path::new(path), true).unwrap_err();
        assert!(matches!(&error, IoError::OutputName { path: p } if p == Path::new(path)));
        says(&error, &[&format!("{path:?} cannot be the output"), "a new directory", "./merged"]);
    }
}

#[test]
fn output_exists() {
    let (_dir, output) = output();
    let error = StagedDir::create(&output, false).unwrap_err();
    assert!(matches!(&error, IoError::OutputExists { path } if *path == output));
    says(&error, &["out exists and is not empty", "choose another output or pass --overwrite"]);
}

#[test]
fn output_not_a_directory() {
    let dir = dir();
    put(&dir, "out", "x");
    for overwrite in [false, true] {
        let error = StagedDir::create(&dir.path().join("out"), overwrite).unwrap_err();
        assert!(matches!(error, IoError::OutputNotADirectory { found: "a file", .. }));
        says(&error, &["out is a file", "the output is a directory", "choose another name"]);
    }
}

#[test]
fn output_not_a_checkpoint() {
    let dir = dir();
    put(&dir, "thesis.tex", "years of work");
    let error = StagedDir::create(dir.path(), true).unwrap_err();
    assert!(matches!(error, IoError::OutputNotACheckpoint { .. }));
    says(&error, &["does not look like a checkpoint", "thesis.tex", "choose another output"]);
}

#[test]
fn output_locked() {
    let dir = dir();
    let output = dir.path().join("out");
    let _first = StagedDir::create(&output, false).unwrap();
    let error = StagedDir::create(&output, true).unwrap_err();
    assert!(matches!(&error, IoError::OutputLocked { path, .. } if *path == output));
    let holder = format!("another merge is writing to {}", output.display());
    says(&error, &[&holder, &format!("process {}", std::process::id()), "wait for it"]);
}

#[test]
fn odd_work() {
    let dir = dir();
    let journal = dir.path().join(".out.mergecore-partial/journal");
    fs::create_dir_all(&journal).unwrap();
    let output = dir.path().join("out");
    let error = StagedDir::resume(&output, false, &Storage::new()).unwrap_err();
    assert!(matches!(&error, IoError::OddWork { path, found: "a directory" } if *path == journal));
    let home = format!("move {} elsewhere", journal.parent().unwrap().display());
    says(&error, &["/.out.mergecore-partial/journal is a directory", "(--restart)", &home]);
}

#[test]
fn no_space() {
    let dir = dir();
    let staged = StagedDir::create(&dir.path().join("out"), false).unwrap();
    let error = StagedDir::check_space(staged.output(), u64::MAX, &Storage::new()).unwrap_err();
    let IoError::NoSpace { needed: u64::MAX, free, path } = &error else { panic!("{error}") };
    assert_eq!(path, dir.path());
    says(&error, &["needs 18446744073709551615 bytes", &format!("where {free} (")]);
    says(&error, &[&format!("free {} bytes, or choose another disk", u64::MAX - free)]);
}

#[test]
fn changed() {
    let dir = single();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    put(&dir, "model.safetensors", file(&[("w", &[1, 2, 3, 4, 5])]));
    let error = checkpoint.check_unchanged().unwrap_err();
    assert!(matches!(error, IoError::Changed { .. }));
    says(&error, &["model.safetensors was changed while it was in use", "bytes and has"]);
    says(&error, &["see that nobody writes to it and start again"]);
}

#[test]
fn commit() {
    let dir = dir();
    let output = dir.path().join("out");
    let staged = StagedDir::create(&output, false).unwrap();
    let staging = staged.path().to_owned();
    fs::create_dir(&output).unwrap();
    fs::write(output.join("other"), "x").unwrap();
    let error = staged.commit().unwrap_err();
    assert!(matches!(error, IoError::Commit { .. }));
    let kept = format!("it is complete in {}", staging.display());
    says(&error, &["could not be moved to", "out: ", &kept, "move it yourself"]);
    assert!(staging.is_dir());
}

#[test]
fn old_output_left() {
    let (_dir, output) = output();
    let refuses = |call: &StorageCall<'_>| matches!(call, StorageCall::RemoveAll { .. });
    let storage = Refusing(refuses, io::ErrorKind::PermissionDenied).storage();
    let staged = StagedDir::resume(&output, true, &storage).unwrap();
    staged.write_file("config.json", br#"{"new": true}"#).unwrap();
    let error = staged.commit().unwrap_err();
    let IoError::OldOutputLeft { old, .. } = &error else { panic!("{error}") };
    assert_eq!(names(old), ["config.json"]);
    assert_eq!(fs::read(output.join("config.json")).unwrap(), br#"{"new": true}"#);
    let left = format!("delete {} yourself", old.display());
    says(&error, &["out is complete", "that it replaced could not be deleted", &left]);
}

#[test]
fn name_not_synced() {
    let (_dir, output) = output();
    let refuses = |call: &StorageCall<'_>| {
        let is_above = |path: &Path| path.join("out").exists();
        matches!(call, StorageCall::Sync { path } if is_above(path))
    };
    let storage = Refusing(refuses, io::ErrorKind::PermissionDenied).storage();
    let staged = StagedDir::resume(&output, true, &storage).unwrap();
    staged.write_file("config.json", br#"{"new": true}"#).unwrap();
    let error = staged.commit().unwrap_err();
    let IoError::NameNotSynced { path, old: Some(old), .. } = &error else { panic!("{error}") };
    assert_eq!(*path, output);
    assert_eq!(fs::read(output.join("config.json")).unwrap(), br#"{"new": true}"#);
    assert_eq!(fs::read(old.join("config.json")).unwrap(), b"{}");
    let old = format!("before you delete the output that it replaced, {}", old.display());
    says(&error, &["out is complete and in its place", "run `sync`", &old]);
}
