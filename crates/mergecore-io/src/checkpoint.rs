//! Opening a checkpoint from its headers alone.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fs::Metadata;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::companions::{Companion, find_companions};
use crate::discover::{
    has, inspect_regular, list_directory, open_regular, read_config, weight_files,
};
use crate::error::IoError;
use crate::header::{Header, read_header};
use crate::index::{INDEX_FILE, Index};
use crate::natural::natural_order;
use crate::quantisation::{Quantisation, detect_quantisation};
use crate::source::{OpenFile, StoredTensor, TensorSource};
use crate::stamp::Stamp;
use crate::storage::Storage;

/// A checkpoint directory: config.json and tensors in one safetensors file or in
/// several with an index.
///
/// Opening reads config.json, the index and the headers, and not one byte of a
/// tensor; tensors are read by position when asked, each being a
/// [`TensorSource`]. The weights files stay open (one descriptor each).
///
/// ```
/// use mergecore_io::{Checkpoint, TensorSource};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("config.json"), r#"{"model_type": "tiny"}"#).unwrap();
/// # let json = br#"{"norm":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// # let file = [&(json.len() as u64).to_le_bytes()[..], &json[..], &[0; 8]].concat();
/// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
/// # let dir = dir.path();
/// let checkpoint = Checkpoint::open(dir)?;
/// assert_eq!(checkpoint.config()["model_type"], "tiny");
/// assert_eq!(checkpoint.files()[0].name, "model.safetensors");
/// let names: Vec<&str> = checkpoint.tensors().map(|tensor| tensor.name()).collect();
/// assert_eq!(names, ["norm"]);
/// assert_eq!(checkpoint.tensor("norm").map(|tensor| tensor.shape()), Some(&[2][..]));
/// assert!(checkpoint.tensor("lm_head").is_none());
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    config: Map<String, Value>,
    /// In natural order of their names.
    tensors: Vec<StoredTensor>,
    /// The same.
    by_name: HashSet<ByName>,
    files: Vec<SourceFile>,
    companions: Vec<Companion>,
    storage: Storage,
    /// The weights files, to see whether they change.
    open: Vec<Arc<OpenFile>>,
    /// The other files, for the same.
    watched: Vec<(PathBuf, Stamp)>,
}

/// A weights file as it was when the checkpoint was opened.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
/// # let file = [&2u64.to_le_bytes()[..], b"{}"].concat();
/// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
/// # let dir = dir.path();
/// let checkpoint = mergecore_io::Checkpoint::open(dir)?;
/// for file in checkpoint.files() {
///     assert_eq!(file.path, dir.join(&file.name));
///     assert_eq!(file.bytes, std::fs::metadata(&file.path).unwrap().len());
/// }
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceFile {
    /// Its name in the checkpoint's directory.
    pub name: String,
    /// Its path: the directory's with the name.
    pub path: PathBuf,
    /// Its length in bytes, which agrees with its header.
    pub bytes: u64,
    /// When it was last written, where the file system knows.
    pub modified: Option<SystemTime>,
    /// By which to tell whether it is still the same.
    pub stamp: Stamp,
}

impl SourceFile {
    pub(crate) fn new(name: String, path: PathBuf, metadata: &Metadata) -> Self {
        let (bytes, modified) = (metadata.len(), metadata.modified().ok());
        SourceFile { name, path, bytes, modified, stamp: Stamp::of(metadata) }
    }
}

impl Checkpoint {
    /// Opens the checkpoint in `dir`.
    ///
    /// With a model.safetensors.index.json, exactly the shards it names are
    /// opened, and index and headers must list the same tensors. Without, it is
    /// model.safetensors or else the only .safetensors file there is.
    ///
    /// # Errors
    ///
    /// If something is missing, malformed, truncated or contradictory, if the
    /// weights are in another format, or if they are quantised; see [`IoError`].
    ///
    /// ```
    /// use mergecore_io::{Checkpoint, TensorSource};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    /// # let json = br#"{"norm":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    /// # let file = [&(json.len() as u64).to_le_bytes()[..], &json[..], &[0; 8]].concat();
    /// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
    /// # let dir = dir.path();
    /// let checkpoint = Checkpoint::open(dir)?;
    /// for tensor in checkpoint.tensors() {
    ///     println!("{} {} {:?}", tensor.name(), tensor.dtype(), tensor.shape());
    /// }
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn open(dir: &Path) -> Result<Checkpoint, IoError> {
        Checkpoint::open_in(dir, &Storage::default())
    }

    /// As [`open`](Checkpoint::open), through a [`Storage`] of one's own, by which the
    /// tensors are read too.
    ///
    /// # Errors
    ///
    /// As [`open`](Checkpoint::open), and whatever a hook refuses.
    pub fn open_in(dir: &Path, storage: &Storage) -> Result<Checkpoint, IoError> {
        let opened = Checkpoint::open_unless(dir, storage, || false)?;
        Ok(opened.expect("nobody told it to stop"))
    }

    /// As [`open_in`](Checkpoint::open_in), unless it is told to stop meanwhile, which it asks
    /// `stop` for before each file of weights: `None` then.
    ///
    /// # Errors
    ///
    /// As [`open_in`](Checkpoint::open_in).
    ///
    /// ```
    /// use mergecore_io::{Checkpoint, Storage};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    /// # let file = [&2u64.to_le_bytes()[..], b"{}"].concat();
    /// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
    /// # let dir = dir.path();
    /// assert!(Checkpoint::open_unless(dir, &Storage::new(), || false)?.is_some());
    /// assert!(Checkpoint::open_unless(dir, &Storage::new(), || true)?.is_none());
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn open_unless(
        dir: &Path,
        storage: &Storage,
        stop: impl Fn() -> bool,
    ) -> Result<Option<Checkpoint>, IoError> {
        let names = list_directory(storage, dir)?;
        // What is read from here on must still be the same when the caller is done.
        let companions = find_companions(storage, dir, &names)?;
        let read = ["config.json", INDEX_FILE].into_iter().filter(|name| has(&names, name));
        let read = read.chain(companions.iter().map(|companion| companion.name));
        let watch = |name: &str| {
            let path = dir.join(name);
            let stamp = Stamp::of(&inspect_regular(storage, &path)?);
            Ok((path, stamp))
        };
        let watched = read.map(watch).collect::<Result<_, IoError>>()?;
        let config = read_config(storage, dir, &names)?;
        // Before the headers, whose dtypes may be ones that only quantisers use.
        refuse_quantised(dir, detect_quantisation(&config, []))?;

        let (file_names, index) = weight_files(storage, dir, &names)?;
        let mut tensors = Vec::new();
        let (mut files, mut open) = (Vec::new(), Vec::new());
        for name in file_names {
            if stop() {
                return Ok(None);
            }
            let (file, header) = open_file(storage, dir, name)?;
            files.push(file.about.clone());
            open.push(Arc::clone(&file));
            tensors.extend(header.entries.into_iter().map(|entry| {
                StoredTensor::new(
                    entry.name,
                    entry.dtype,
                    entry.shape,
                    Arc::clone(&file),
                    entry.bytes,
                )
            }));
        }
        tensors.sort_by(|a, b| natural_order(a.name(), b.name()));
        let by_name = tensors.iter().cloned().map(ByName).collect();
        check_against_index(dir, &tensors, &by_name, index.as_ref())?;
        let dtypes = tensors.iter().map(|tensor| (tensor.name(), tensor.dtype()));
        refuse_quantised(dir, detect_quantisation(&config, dtypes))?;

        let (dir, storage) = (dir.to_owned(), storage.clone());
        Ok(Some(Checkpoint {
            dir,
            config,
            tensors,
            by_name,
            files,
            companions,
            storage,
            open,
            watched,
        }))
    }

    /// The directory, as given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The content of config.json, its keys in the file's order.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// The tensors in [natural order](natural_order) of their names.
    pub fn tensors(&self) -> std::slice::Iter<'_, StoredTensor> {
        self.tensors.iter()
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        self.by_name.get(name).map(|ByName(tensor)| tensor)
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The weights files, in natural order of their names.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The files beside the weights that an output may want to carry over:
    /// generation_config.json and the tokenizer's.
    pub fn companions(&self) -> &[Companion] {
        &self.companions
    }

    /// Whether all files that were found on opening, small ones too, are still the same:
    /// neither written to nor replaced, as far as their [`Stamp`]s show.
    ///
    /// # Errors
    ///
    /// [`IoError::Changed`], and [`IoError::System`] if one cannot be looked at.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    /// # let file = [&2u64.to_le_bytes()[..], b"{}"].concat();
    /// # std::fs::write(dir.path().join("model.safetensors"), &file).unwrap();
    /// # let dir = dir.path();
    /// use mergecore_io::{Checkpoint, IoError};
    ///
    /// let checkpoint = Checkpoint::open(dir)?;
    /// checkpoint.check_unchanged()?;
    /// std::fs::write(dir.join("config.json"), r#"{"model_type": "other"}"#).unwrap();
    /// let error = checkpoint.check_unchanged().unwrap_err();
    /// assert!(matches!(error, IoError::Changed { path, .. } if path.ends_with("config.json")));
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn check_unchanged(&self) -> Result<(), IoError> {
        for OpenFile { about, file, .. } in self.open.iter().map(Arc::as_ref) {
            about.stamp.check(&about.path, &self.storage, Some(file))?;
        }
        self.watched.iter().try_for_each(|(path, stamp)| stamp.check(path, &self.storage, None))
    }
}

/// A handle to a tensor that is found by its name.
#[derive(Debug)]
struct ByName(StoredTensor);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for ByName {}

fn refuse_quantised(dir: &Path, found: Option<Quantisation>) -> Result<(), IoError> {
    match found {
        Some(Quantisation { scheme, evidence }) => {
            Err(IoError::Quantised { dir: dir.to_owned(), scheme, evidence })
        }
        None => Ok(()),
    }
}

fn open_file(
    storage: &Storage,
    dir: &Path,
    name: String,
) -> Result<(Arc<OpenFile>, Header), IoError> {
    let path = dir.join(&name);
    let (file, metadata) = open_regular(storage, &path)?;
    let read = |out: &mut [u8], at| storage.read_at(&file, &path, out, at);
    let header = match read_header(read, metadata.len()) {
        Ok(Ok(header)) => header,
        Ok(Err(source)) => return Err(IoError::Header { path, source }),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(IoError::Shrunk { path, reading: "its header".to_owned() });
        }
        Err(error) => return Err(IoError::system("read", path)(error)),
    };
    let about = SourceFile::new(name, path, &metadata);
    Ok((Arc::new(OpenFile { about, file, storage: storage.clone() }), header))
}

/// No tensor twice; and with an index, no tensor elsewhere, missing or unlisted.
fn check_against_index(
    dir: &Path,
    tensors: &[StoredTensor],
    by_name: &HashSet<ByName>,
    index: Option<&Index>,
) -> Result<(), IoError> {
    let dir = dir.to_owned();
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
        let tensor = pair[0].name().to_owned();
        let (first, second) = (pair[0].file_name().to_owned(), pair[1].file_name().to_owned());
        return Err(IoError::InTwoShards { dir, tensor, first, second });
    }
    let Some(index) = index else { return Ok(()) };
    for (tensor, shard) in &index.tensors {
        let stored = by_name.get(tensor.as_str());
        if stored.is_none_or(|ByName(stored)| stored.file_name() != shard) {
            return Err(IoError::NotInShard { dir, tensor: tensor.clone(), shard: shard.clone() });
        }
    }
    // All that are listed are stored, so there are others only where more are stored.
    if tensors.len() == index.tensors.len() {
        return Ok(());
    }
    match tensors.iter().find(|tensor| index.shard_of(tensor.name()).is_none()) {
        Some(tensor) => Err(IoError::NotInIndex {
            dir,
            tensor: tensor.name().to_owned(),
            shard: tensor.file_name().to_owned(),
        }),
        None => Ok(()),
    }
}
