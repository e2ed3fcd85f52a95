//! An output against its manifest.

use std::collections::BTreeSet;
use std::path::{Component, Path};
use std::sync::Mutex;

use mergecore_io::{
    Checkpoint, IoError, MAX_HEADER_BYTES, StoredTensor, TensorSource, may_be_weights,
};
use rayon::prelude::*;

use crate::execute::Pool;
use crate::hash::hash_source;
use crate::manifest::{FileEntry, Manifest, TensorEntry};
use crate::read_manifest::ManifestFile;
use crate::{EngineError, MergeOptions, Progress};

/// What looking an output through has found.
///
/// ```
/// # use mergecore_engine::MergeOptions;
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
/// use mergecore_engine::verify;
///
/// plan.execute("merged", &MergeOptions::default())?;
/// let found = verify("merged", &MergeOptions::default())?;
/// assert!(found.is_right());
/// assert_eq!((found.tensors, found.bytes), (3, 56));
///
/// // A bit of the last element is flipped.
/// let mut file = std::fs::read("merged/model.safetensors").unwrap();
/// *file.last_mut().unwrap() ^= 1;
/// std::fs::write("merged/model.safetensors", file).unwrap();
/// let found = verify("merged", &MergeOptions::default())?;
/// assert!(!found.is_right());
/// assert!(found.faults[0].to_string().starts_with("tensor `model.norm.weight` in model.safetensors"));
/// # Ok::<(), mergecore_engine::EngineError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Verification {
    /// Tensors whose bytes were compared with their hashes.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Tensors that have no hash in the manifest (`--no-hash`), so that only name, dtype, shape
    /// and place could be compared.
    pub unhashed: usize,
    /// Files beside the weights that were compared.
    pub files: usize,
    /// Files in the directory that the manifest does not know, and that no loader takes for
    /// weights: those that one may are [faults](Fault::StrayWeights).
    pub unknown_files: Vec<String>,
    /// What is not as it was written.
    pub faults: Vec<Fault>,
}

impl Verification {
    /// Whether everything could be compared and is as it was written.
    pub fn is_right(&self) -> bool {
        self.faults.is_empty() && self.unhashed == 0
    }
}

/// Something of an output that is not as it was written.
///
/// ```
/// use mergecore_engine::Fault;
///
/// let fault = Fault::FileMissing { file: "config.json".into() };
/// assert_eq!(fault.to_string(), "config.json is missing");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A file that is not there.
    #[error("{file} is missing")]
    FileMissing {
        /// Its name.
        file: String,
    },
    /// A file, or the header of one with weights, that is another.
    #[error("{file} was changed: {how}")]
    FileChanged {
        /// Its name.
        file: String,
        /// What is another, as a clause.
        how: String,
    },
    /// A file that is not of the merge and that loaders may read.
    #[error(
        "{file} was not written by the merge, but loaders may take it for weights of the model; move it elsewhere"
    )]
    StrayWeights {
        /// Its name.
        file: String,
    },
    /// A tensor whose bytes are others.
    #[error("tensor `{tensor}` in {file} was changed: its bytes do not fit their hash")]
    TensorChanged {
        /// The tensor.
        tensor: String,
        /// The file that holds it.
        file: String,
    },
    /// A tensor that cannot be read.
    #[error("tensor `{tensor}` cannot be compared: {why}")]
    TensorUnreadable {
        /// The tensor.
        tensor: String,
        /// Why not.
        why: String,
    },
    /// A tensor that is another: of another dtype or shape, or in another file.
    #[error("tensor `{tensor}` was written as {expected} and is {found}")]
    TensorDiffers {
        /// The tensor.
        tensor: String,
        /// Dtype, shape and file by the manifest.
        expected: String,
        /// Dtype, shape and file now.
        found: String,
    },
    /// The directory is no checkpoint any more.
    #[error("the tensors cannot be compared: {0}")]
    Unopenable(#[source] IoError),
}

/// Looks an output through, given by its directory or the manifest in it: every file and every
/// tensor against the hashes in its merge_manifest.json. A single bit that is not as it was
/// written is found. (A forger, who writes a manifest that fits, is not.)
///
/// Of `options`, threads, progress, cancel flag and storage are used.
///
/// # Errors
/// If there is no manifest that can be relied on, threads cannot be started, or it is cancelled.
/// What is wrong with the output is no error but in [`Verification::faults`].
pub fn verify(
    output: impl AsRef<Path>,
    options: &MergeOptions,
) -> Result<Verification, EngineError> {
    let file = ManifestFile::read(output.as_ref(), options)?;
    let (dir, manifest) = (file.dir(), file.parse()?);
    let mut found = Verification {
        tensors: 0,
        bytes: 0,
        unhashed: 0,
        files: 0,
        unknown_files: Vec::new(),
        faults: Vec::new(),
    };
    for file in &manifest.files {
        options.check_cancelled()?;
        match check_file(dir, file, options) {
            Some(fault) => found.faults.push(fault),
            None => found.files += 1,
        }
    }
    let known: BTreeSet<&str> = manifest.files.iter().map(|file| &*file.name).collect();
    let mut names = options.storage.list_names(dir)?;
    names.retain(|name| !known.contains(name.as_str()) && !file.path().ends_with(name));
    let (stray, unknown): (Vec<_>, _) = names.into_iter().partition(|name| may_be_weights(name));
    found.unknown_files = unknown;
    found.faults.extend(stray.into_iter().map(|file| Fault::StrayWeights { file }));
    match Checkpoint::open_unless(dir, &options.storage, || options.is_cancelled()) {
        Ok(None) => return Err(EngineError::Cancelled),
        Ok(Some(checkpoint)) => check_tensors(&checkpoint, &manifest, options, &mut found)?,
        Err(error) => found.faults.push(Fault::Unopenable(error)),
    }
    Ok(found)
}

/// What is wrong with a file: the whole of it, or the header of one with weights.
fn check_file(dir: &Path, file: &FileEntry<'_>, options: &MergeOptions) -> Option<Fault> {
    // The manifest may be a stranger's: no name in it leads out of the directory.
    let mut components = Path::new(&*file.name).components();
    let plain = matches!(components.next(), Some(Component::Normal(_)));
    if !plain || components.next().is_some() {
        let how = "a manifest cannot name files elsewhere".to_owned();
        return Some(Fault::FileChanged { file: file.name.to_string(), how });
    }
    let (name, path) = (file.name.to_string(), dir.join(&*file.name));
    let changed = |how: String| Some(Fault::FileChanged { file: file.name.to_string(), how });
    let bytes = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some(Fault::FileMissing { file: name });
        }
        Err(error) => return changed(error.to_string()),
        Ok(metadata) => metadata.len(),
    };
    if bytes != file.bytes {
        return changed(format!("it had {} bytes and has {bytes}", file.bytes));
    }
    // The eight bytes of a header's length and the longest header, which no file's is beyond.
    if file.header_bytes.is_some_and(|header| header > 8 + MAX_HEADER_BYTES) {
        return changed("no header is as long as the manifest says".to_owned());
    }
    let content = match file.header_bytes {
        None => options.storage.read_file(&path),
        Some(header) => options.storage.read_beginning(&path, header),
    };
    match content {
        Err(error) => changed(error.to_string()),
        Ok(content) if blake3::hash(&content).to_string() == *file.blake3 => None,
        Ok(_) if file.header_bytes.is_some() => changed("its header does not fit its hash".into()),
        Ok(_) => changed("it does not fit its hash".to_owned()),
    }
}

fn check_tensors(
    checkpoint: &Checkpoint,
    manifest: &Manifest<'_>,
    options: &MergeOptions,
    found: &mut Verification,
) -> Result<(), EngineError> {
    let total = manifest.tensors.iter().filter_map(|tensor| checkpoint.tensor(&tensor.name));
    let bytes_total = total.map(StoredTensor::byte_len).sum();
    let done = Mutex::new((0, 0));
    let report = |bytes: u64| {
        let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *done = (done.0 + bytes, done.1 + 1);
        if let Some(progress) = &options.progress {
            progress.call(Progress {
                bytes_done: done.0,
                bytes_total,
                tensors_done: done.1,
                tensors_total: manifest.tensors.len(),
                ..Progress::default()
            });
        }
    };
    let cancelled = || options.is_cancelled();
    let check = |entry: &TensorEntry<'_>| {
        let tensor = checkpoint.tensor(&entry.name);
        let checked = check_tensor(entry, tensor, &cancelled);
        report(tensor.map_or(0, StoredTensor::byte_len));
        checked
    };
    let checked: Result<Vec<Checked>, EngineError> =
        Pool::new(options)?.run(|| manifest.tensors.par_iter().map(check).collect());
    for checked in checked? {
        match checked {
            Checked::Right(bytes) => {
                found.tensors += 1;
                found.bytes += bytes;
            }
            Checked::Unhashed => found.unhashed += 1,
            Checked::Wrong(fault) => found.faults.push(fault),
        }
    }
    let known: BTreeSet<&str> = manifest.tensors.iter().map(|tensor| &*tensor.name).collect();
    let others = checkpoint.tensors().filter(|tensor| !known.contains(tensor.name()));
    found.faults.extend(others.map(|tensor| Fault::TensorDiffers {
        tensor: tensor.name().to_owned(),
        expected: "nothing".to_owned(),
        found: described(tensor),
    }));
    Ok(())
}

enum Checked {
    Right(u64),
    Unhashed,
    Wrong(Fault),
}

fn check_tensor(
    entry: &TensorEntry<'_>,
    tensor: Option<&StoredTensor>,
    cancelled: &impl Fn() -> bool,
) -> Result<Checked, EngineError> {
    let name = entry.name.to_string();
    let file = entry.file.as_deref().unwrap_or("no file");
    let expected = format!("{} of shape {:?} in {file}", entry.dtype, entry.shape);
    let is = tensor.map_or_else(|| "not there".to_owned(), described);
    let Some(tensor) = tensor.filter(|_| is == expected) else {
        return Ok(Checked::Wrong(Fault::TensorDiffers { tensor: name, expected, found: is }));
    };
    let Some(hash) = entry.xxh3_128 else { return Ok(Checked::Unhashed) };
    Ok(match hash_source(tensor, cancelled) {
        Ok(None) => return Err(EngineError::Cancelled),
        Ok(Some(found)) if found == hash => Checked::Right(tensor.byte_len()),
        Ok(Some(_)) => Checked::Wrong(Fault::TensorChanged { tensor: name, file: file.to_owned() }),
        Err(error) => {
            Checked::Wrong(Fault::TensorUnreadable { tensor: name, why: error.to_string() })
        }
    })
}

fn described(tensor: &StoredTensor) -> String {
    format!("{} of shape {:?} in {}", tensor.dtype().name(), tensor.shape(), tensor.file_name())
}
