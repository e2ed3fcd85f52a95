//! Everything that can go wrong between the file system and a tensor.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mergecore_tensor::DType;

use crate::header::{HeaderError, MAX_HEADER_BYTES};
use crate::index::IndexError;

/// What went wrong with a checkpoint or an output directory, where, and what to
/// do about it. The text of each is one paragraph and complete in itself: it
/// includes the text of the error below, which [`source`](std::error::Error::source)
/// offers too.
///
/// ```
/// use mergecore_io::{Checkpoint, IoError};
///
/// let dir = tempfile::tempdir().unwrap();
/// match Checkpoint::open(&dir.path().join("bsae")) {
///     Err(IoError::NoDirectory { path }) => assert!(path.ends_with("bsae")),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}{}", advice(source.kind()))]
    System {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's report.
        source: io::Error,
    },

    /// The checkpoint's directory is not there.
    #[error(
        "there is no directory {path}; check the spelling, and note that a relative path starts at the current directory"
    )]
    NoDirectory {
        /// The path given.
        path: PathBuf,
    },
    /// The checkpoint's path is a file.
    #[error(
        "{path} is a file, not a directory; give the directory that holds config.json and the weights"
    )]
    NotADirectory {
        /// The path given.
        path: PathBuf,
    },
    /// No config.json.
    #[error(
        "{dir} has no config.json, so it is not a checkpoint; give the directory that holds \
         config.json and the safetensors files (this one holds {})",
        list(found)
    )]
    NoConfig {
        /// The directory.
        dir: PathBuf,
        /// What is in it.
        found: Vec<String>,
    },
    /// config.json is not JSON.
    #[error("{path} is not valid JSON: {source}; correct it or fetch it again")]
    ConfigSyntax {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// The parser's report.
        source: serde_json::Error,
    },
    /// config.json holds something other than an object.
    #[error(
        "{path} holds {found} where a JSON object is expected; fetch the model's own config.json"
    )]
    ConfigNotObject {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
    },
    /// A file that should be small is huge.
    #[error(
        "{path} has {bytes} bytes, beyond the {limit} that such a file may have; it is probably something else under that name, so fetch it again"
    )]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The weights are in a format that cannot be read yet.
    #[error(
        "{dir} holds its weights as {format} ({}), which is not supported yet; safetensors files \
         are needed, so use a revision of the model that has them or convert it first",
        list(files)
    )]
    UnsupportedFormat {
        /// The directory.
        dir: PathBuf,
        /// The format.
        format: &'static str,
        /// The files in that format.
        files: Vec<String>,
    },
    /// No weights at all.
    #[error(
        "{dir} has a config.json but no .safetensors file (it holds {}); the download was probably \
         cut off, so fetch the weights",
        list(found)
    )]
    NoWeights {
        /// The directory.
        dir: PathBuf,
        /// What is in it.
        found: Vec<String>,
    },
    /// The directory is a LoRA adapter.
    #[error(
        "{dir} is a LoRA adapter (adapter_config.json), not a whole model; adapters are not \
         supported yet, so merge it into the model that it was trained on and give the result"
    )]
    AdapterOnly {
        /// The directory.
        dir: PathBuf,
    },
    /// Several weight files and no index that orders them.
    #[error(
        "{dir} has several safetensors files ({}) but no model.safetensors.index.json to say which \
         belong together; fetch the index, or leave only the model's own file",
        list(files)
    )]
    SeveralFiles {
        /// The directory.
        dir: PathBuf,
        /// The files.
        files: Vec<String>,
    },
    /// One shard of several, and no index.
    #[error(
        "{dir} holds only {file}, by its name one of several shards, and no \
         model.safetensors.index.json; fetch the index and the other shards"
    )]
    LoneShard {
        /// The directory.
        dir: PathBuf,
        /// The file.
        file: String,
    },
    /// Something other than a file bears a file's name.
    #[error(
        "{path} is {found}, not a regular file, and is not opened; put the file itself there, or a link to it"
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A symbolic link that leads nowhere.
    #[error(
        "{path} is a symbolic link to a file that is not there; fetch the model again (in a hub cache, the blob was removed)"
    )]
    BrokenLink {
        /// The link.
        path: PathBuf,
    },
    /// The index is malformed.
    #[error("{path}: {source}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        source: IndexError,
    },
    /// Shards that the index names are not there.
    #[error(
        "{dir} lacks shards that its model.safetensors.index.json names: {}; fetch them",
        list(missing)
    )]
    MissingShards {
        /// The directory.
        dir: PathBuf,
        /// The shards' names.
        missing: Vec<String>,
    },
    /// The index promises a tensor that its shard does not hold.
    #[error(
        "the index of {dir} puts tensor `{tensor}` in {shard}, which does not hold it; index and \
         shards are of different versions, so fetch both again"
    )]
    NotInShard {
        /// The directory.
        dir: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A shard holds a tensor that the index does not list.
    #[error(
        "{shard} in {dir} holds tensor `{tensor}`, which the index does not list; index and shards \
         are of different versions, so fetch both again"
    )]
    NotInIndex {
        /// The directory.
        dir: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// Two shards hold a tensor of one name.
    #[error(
        "tensor `{tensor}` is both in {first} and in {second} of {dir}; only one of them can be meant, so fetch the model again"
    )]
    InTwoShards {
        /// The directory.
        dir: PathBuf,
        /// The tensor.
        tensor: String,
        /// One shard.
        first: String,
        /// The other.
        second: String,
    },
    /// A weights file has a bad header.
    #[error("{path}: {source}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// The weights are quantised.
    #[error(
        "{dir} is quantised with {scheme} ({evidence}), which is not supported: its tensors are \
         codes that mean something only together with their scales, and merging them as numbers \
         would corrupt the model without a sign; use the original, unquantised checkpoint, or \
         dequantise this one first"
    )]
    Quantised {
        /// The directory.
        dir: PathBuf,
        /// The scheme's name.
        scheme: String,
        /// What gave it away.
        evidence: String,
    },

    /// Elements outside the tensor were asked for.
    #[error("elements {}..{} of tensor `{tensor}` were asked for, which has {len}", range.start, range.end)]
    ElementRange {
        /// The tensor.
        tensor: String,
        /// The elements asked for.
        range: Range<u64>,
        /// How many there are.
        len: u64,
    },
    /// A buffer that does not fit the elements.
    #[error("a buffer of {found} bytes was given for {expected} bytes of tensor `{tensor}`")]
    BufferSize {
        /// The tensor.
        tensor: String,
        /// Bytes that the elements take.
        expected: u64,
        /// Bytes of the buffer.
        found: u64,
    },
    /// Rows outside the tensor were asked for.
    #[error("rows {}..{} of tensor `{tensor}` were asked for, which has {rows}", range.start, range.end)]
    RowRange {
        /// The tensor.
        tensor: String,
        /// The rows asked for.
        range: Range<usize>,
        /// How many there are.
        rows: usize,
    },
    /// Rows of different tensors do not fit together.
    #[error(
        "rows of tensor `{tensor}`, {dtype} of shape {row:?} each, cannot stand below rows that are {expected_dtype} of shape {expected_row:?}"
    )]
    RowsDiffer {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: DType,
        /// The shape of a row of it.
        row: Vec<usize>,
        /// The dtype of the rows above.
        expected_dtype: DType,
        /// The shape of a row above.
        expected_row: Vec<usize>,
    },
    /// A file lost bytes after its header was read.
    #[error(
        "{path} became shorter while {reading} was read; something else is writing to it, so stop that and start again"
    )]
    Shrunk {
        /// The file.
        path: PathBuf,
        /// What was read: a tensor in backticks, or the header.
        reading: String,
    },

    /// Two tensors of the output have one name.
    #[error("two tensors of the output are named `{tensor}`; rename one")]
    DuplicateName {
        /// The name.
        tensor: String,
    },
    /// A name that safetensors keeps for itself.
    #[error(
        "a tensor cannot be named `{tensor}`, a name that safetensors files use for their own metadata; rename it"
    )]
    ReservedName {
        /// The name.
        tensor: String,
    },
    /// The output's size exceeds what a file can have.
    #[error(
        "tensor `{tensor}` of shape {shape:?} makes the output larger than a file can be; check its shape"
    )]
    OutputTooLarge {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// So many tensors that no reader would accept the header.
    #[error(
        "the header of {file} would take {bytes} bytes, beyond the format's limit of \
         {MAX_HEADER_BYTES}; write smaller shards"
    )]
    HeaderTooLarge {
        /// The file.
        file: String,
        /// The header's length.
        bytes: u64,
    },
    /// No such tensor in the layout.
    #[error("tensor {index} was written, but the layout has only {count}")]
    TensorIndex {
        /// The index given.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Bytes outside a tensor were written.
    #[error(
        "{len} bytes were to be written at byte {offset} of tensor `{tensor}`, which has {size}"
    )]
    WriteRange {
        /// The tensor.
        tensor: String,
        /// Where, within the tensor.
        offset: u64,
        /// How many.
        len: u64,
        /// The tensor's size in bytes.
        size: u64,
    },
    /// A tensor of the output was never written in full.
    #[error(
        "tensor `{tensor}` was not written in full: {written} of {expected} bytes; the output is incomplete and must not be used"
    )]
    Unwritten {
        /// The tensor.
        tensor: String,
        /// Bytes written.
        written: u64,
        /// Its size in bytes.
        expected: u64,
    },

    /// The output's path names no directory.
    #[error(
        "{path:?} cannot be the output, because it ends in no name of its own; give a new directory such as ./merged"
    )]
    OutputName {
        /// The path given.
        path: PathBuf,
    },
    /// The output is there already.
    #[error(
        "{path} exists and is not empty; choose another output or pass --overwrite to replace it"
    )]
    OutputExists {
        /// The output.
        path: PathBuf,
    },
    /// The output is a file.
    #[error("{path} is {found}, and the output is a directory; choose another name")]
    OutputNotADirectory {
        /// The output.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Overwriting would delete something that is no checkpoint.
    #[error(
        "{path} does not look like a checkpoint (neither config.json nor weights; it holds {}), so \
         it is not overwritten; choose another output or delete it yourself",
        list(found)
    )]
    OutputNotACheckpoint {
        /// The output.
        path: PathBuf,
        /// What is in it.
        found: Vec<String>,
    },
    /// Another process works on the same output.
    #[error(
        "another merge is writing to {path}: {holder}, which holds {staging}; wait for it, or choose another output"
    )]
    OutputLocked {
        /// The output.
        path: PathBuf,
        /// The directory of its work.
        staging: PathBuf,
        /// Who works on it, as it says itself: `process 4711 on host`.
        holder: String,
    },
    /// Something that no merge of this version leaves is where the work of one would be.
    #[error(
        "{path} is {found}, so the work there cannot be gone on with; discard it (--restart), or move {} elsewhere",
        working_directory(path).display()
    )]
    OddWork {
        /// The path, in the working directory or that directory's own.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The output would not fit on the disk.
    #[error(
        "the output needs {needed} bytes ({} GB) in {path}, where {free} ({} GB) are free; free {} bytes, or choose another disk",
        gigabytes(*needed),
        gigabytes(*free),
        needed - free
    )]
    NoSpace {
        /// The directory that the output is to be in.
        path: PathBuf,
        /// Bytes that it takes, without those that are there already.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A file of a checkpoint is not what it was when the checkpoint was opened.
    #[error(
        "{path} was changed while it was in use: {how}; what was read of it may be old and new mixed, so see that nobody writes to it and start again"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is another, as a clause.
        how: String,
    },
    /// The finished output could not be moved into place; it is kept.
    #[error(
        "the finished output could not be moved to {path}: {source}; it is complete in {staging}, so move it yourself"
    )]
    Commit {
        /// The output.
        path: PathBuf,
        /// Where the finished output is.
        staging: PathBuf,
        /// The system's report.
        source: io::Error,
    },
    /// The new output is in place, but nothing says that its name is on the disk.
    #[error(
        "{path} is complete and in its place, but the system could not make sure that a power failure now would not undo its name: {source}; run `sync`, and see that it is there{}",
        before_deleting(old.as_deref())
    )]
    NameNotSynced {
        /// The output.
        path: PathBuf,
        /// Where the output is that it replaced, if it did.
        old: Option<PathBuf>,
        /// The system's report.
        source: io::Error,
    },
    /// The new output is in place, but the one that it replaced is still there.
    #[error(
        "{path} is complete, but the output that it replaced could not be deleted: {source}; delete {old} yourself"
    )]
    OldOutputLeft {
        /// The output.
        path: PathBuf,
        /// Where the old output is now.
        old: PathBuf,
        /// The system's report.
        source: io::Error,
    },
}

impl IoError {
    /// For `map_err`: attaches what was attempted and where.
    pub(crate) fn system(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> IoError {
        let path = path.into();
        move |source| IoError::System { action, path, source }
    }
}

/// The directory beside an output, of that path or one in it.
fn working_directory(path: &Path) -> &Path {
    match path.extension().is_some_and(|end| end == "mergecore-partial") {
        true => path,
        false => path.parent().unwrap_or(path),
    }
}

/// With one decimal.
fn gigabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000_000, bytes / 100_000_000 % 10)
}

/// When an output that was replaced may go, if there was one.
fn before_deleting(old: Option<&Path>) -> String {
    let left =
        |old: &Path| format!(" before you delete the output that it replaced, {}", old.display());
    old.map(left).unwrap_or_default()
}

/// What to do about a refusal of the system, where there is something.
fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => "; check who may read and write there",
        io::ErrorKind::NotADirectory => "; part of that path is a file, so choose another",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or choose a place on another disk"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; choose a place that can be written",
        _ => "",
    }
}

/// The first few of many names.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "nothing".to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..20).map(|i| i.to_string()).collect();
        assert_eq!(list(&names[..2]), "0, 1");
        assert!(list(&names).ends_with("11 and 8 more"));
        assert_eq!(list(&[]), "nothing");
    }

    #[test]
    fn errors_travel_between_threads() {
        fn check<T: Send + Sync + std::error::Error + 'static>() {}
        check::<IoError>();
    }
}
