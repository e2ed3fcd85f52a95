//! What is in a checkpoint's directory, and which of its files hold weights.

use std::fs::{self, File, FileType};
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::IoError;
use crate::index::{INDEX_FILE, Index, parse_index};
use crate::natural::natural_order;
use crate::storage::Storage;

/// The weights of a checkpoint in one file.
pub(crate) const SINGLE_FILE: &str = "model.safetensors";

/// The most bytes of a file that is read whole: an index, a tokenizer's file and whatever else is
/// small. Three times the largest tokenizer.json seen, and below what hurts.
pub const MAX_FILE_BYTES: u64 = 100_000_000;

/// The same for config.json, which becomes a tree of values: sixty times its bytes, at worst.
pub const MAX_CONFIG_BYTES: u64 = 10_000_000;

/// The names in `dir`, in natural order.
pub(crate) fn list_directory(storage: &Storage, dir: &Path) -> Result<Vec<String>, IoError> {
    let metadata = storage.inspect(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => IoError::NoDirectory { path: dir.to_owned() },
        _ => IoError::system("open", dir)(error),
    })?;
    if !metadata.is_dir() {
        return Err(IoError::NotADirectory { path: dir.to_owned() });
    }
    let entries = storage.list(dir)?;
    let mut names: Vec<String> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_by(|a, b| natural_order(a, b));
    Ok(names)
}

/// Reads config.json, or says what the directory is instead of a checkpoint.
pub(crate) fn read_config(
    storage: &Storage,
    dir: &Path,
    names: &[String],
) -> Result<Map<String, Value>, IoError> {
    if !has(names, "config.json") {
        if has(names, "adapter_config.json") {
            return Err(IoError::AdapterOnly { dir: dir.to_owned() });
        }
        if !names.iter().any(|name| name.ends_with(".safetensors")) {
            unsupported_format(dir, names)?;
        }
        return Err(IoError::NoConfig { dir: dir.to_owned(), found: names.to_owned() });
    }
    let path = dir.join("config.json");
    let bytes = storage.read_at_most(&path, MAX_CONFIG_BYTES)?;
    let value = serde_json::from_slice(&bytes).map_err(|source| IoError::ConfigSyntax {
        path: path.clone(),
        line: source.line(),
        column: source.column(),
        source,
    })?;
    let found = match value {
        Value::Object(map) => return Ok(map),
        Value::Array(_) => "an array",
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
    };
    Err(IoError::ConfigNotObject { path, found })
}

/// The weights files' names, in natural order, with the index if there is one.
pub(crate) fn weight_files(
    storage: &Storage,
    dir: &Path,
    names: &[String],
) -> Result<(Vec<String>, Option<Index>), IoError> {
    if has(names, INDEX_FILE) {
        let path = dir.join(INDEX_FILE);
        let index = parse_index(&read_small_file(storage, &path)?)
            .map_err(|source| IoError::Index { path, source })?;
        let shards: Vec<String> = index.shards().into_iter().map(str::to_owned).collect();
        let missing: Vec<String> =
            shards.iter().filter(|shard| !has(names, shard)).cloned().collect();
        if !missing.is_empty() {
            return Err(IoError::MissingShards { dir: dir.to_owned(), missing });
        }
        return Ok((shards, Some(index)));
    }
    if has(names, SINGLE_FILE) {
        return Ok((vec![SINGLE_FILE.to_owned()], None));
    }
    if has(names, "adapter_config.json") {
        return Err(IoError::AdapterOnly { dir: dir.to_owned() });
    }
    let files: Vec<String> =
        names.iter().filter(|name| name.ends_with(".safetensors")).cloned().collect();
    match files.as_slice() {
        [] => {
            unsupported_format(dir, names)?;
            Err(IoError::NoWeights { dir: dir.to_owned(), found: names.to_owned() })
        }
        [file] if is_one_of_several(file) => {
            Err(IoError::LoneShard { dir: dir.to_owned(), file: file.clone() })
        }
        [_] => Ok((files, None)),
        _ => Err(IoError::SeveralFiles { dir: dir.to_owned(), files }),
    }
}

/// Opens a file that must be a regular one, following symbolic links, and
/// without ever opening anything else: a FIFO would block. Gives its length too.
pub(crate) fn open_regular(
    storage: &Storage,
    path: &Path,
) -> Result<(File, fs::Metadata), IoError> {
    inspect_regular(storage, path)?;
    let file = storage.open(path)?;
    // The length of what was opened, should the name have changed hands since.
    let metadata = file.metadata().map_err(IoError::system("open", path))?;
    Ok((file, metadata))
}

/// What a file that must be a regular one is like, symbolic links followed.
pub(crate) fn inspect_regular(storage: &Storage, path: &Path) -> Result<fs::Metadata, IoError> {
    let metadata = storage.inspect(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_ok() {
            return IoError::BrokenLink { path: path.to_owned() };
        }
        IoError::system("open", path)(error)
    })?;
    if !metadata.is_file() {
        return Err(IoError::NotAFile {
            path: path.to_owned(),
            found: kind_of(metadata.file_type()),
        });
    }
    Ok(metadata)
}

/// Opens a file that must not have more bytes.
pub(crate) fn open_at_most(storage: &Storage, path: &Path, limit: u64) -> Result<File, IoError> {
    let (file, metadata) = open_regular(storage, path)?;
    let bytes = metadata.len();
    if bytes > limit {
        return Err(IoError::FileTooLarge { path: path.to_owned(), bytes, limit });
    }
    Ok(file)
}

/// The content of a file that is not so large that reading it whole would hurt.
pub(crate) fn read_small_file(storage: &Storage, path: &Path) -> Result<Vec<u8>, IoError> {
    storage.read_at_most(path, MAX_FILE_BYTES)
}

/// Whether programs that load a model may take a file of that name, in its directory, for weights
/// or for what says where they are: of whatever format, and whatever its content.
///
/// ```
/// use mergecore_io::may_be_weights;
///
/// assert!(may_be_weights("consolidated.safetensors"));
/// assert!(may_be_weights("pytorch_model.bin.index.json"));
/// assert!(!may_be_weights("tokenizer.json"));
/// assert!(!may_be_weights("training_args.bin")); // known to be none
/// ```
pub fn may_be_weights(name: &str) -> bool {
    const ENDINGS: [&str; 9] =
        [".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".index.json"];
    // What trainers leave, and loaders pass over.
    const NONE: [&str; 5] =
        ["training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"];
    ENDINGS.iter().any(|ending| name.ends_with(ending)) && !NONE.contains(&name)
}

/// What something that is no regular file is, for a message.
pub(crate) fn kind_of(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_file() => "a file",
        _ => "something special",
    }
}

/// Fails if the directory holds weights in another format.
fn unsupported_format(dir: &Path, names: &[String]) -> Result<(), IoError> {
    let pickled = |name: &str| {
        let stem = name.strip_suffix(".bin").or_else(|| name.strip_suffix(".pt"));
        stem.is_some_and(|stem| stem.starts_with("pytorch_model")) || name.ends_with(".pth")
    };
    let select = |is: &dyn Fn(&str) -> bool| {
        names.iter().filter(|name| is(name)).cloned().collect::<Vec<_>>()
    };
    let formats =
        [("PyTorch pickles", select(&pickled)), ("GGUF", select(&|name| name.ends_with(".gguf")))];
    match formats.into_iter().find(|(_, files)| !files.is_empty()) {
        Some((format, files)) => {
            Err(IoError::UnsupportedFormat { dir: dir.to_owned(), format, files })
        }
        None => Ok(()),
    }
}

/// Whether a name like `model-00001-of-00003.safetensors` promises more files.
fn is_one_of_several(file: &str) -> bool {
    let stem = file.strip_suffix(".safetensors").unwrap_or(file);
    let count = stem.rsplit_once("-of-").and_then(|(_, count)| count.parse::<u64>().ok());
    count.is_some_and(|count| count > 1)
}

pub(crate) fn has(names: &[String], name: &str) -> bool {
    names.binary_search_by(|n| natural_order(n, name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_of_sets_are_told_from_single_files() {
        assert!(is_one_of_several("model-00001-of-00003.safetensors"));
        assert!(!is_one_of_several("model-00001-of-00001.safetensors"));
        assert!(!is_one_of_several("best-of-breed.safetensors"));
    }
}
