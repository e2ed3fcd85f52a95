//! The small files beside a checkpoint's weights.

use std::path::{Path, PathBuf};

use crate::discover::{MAX_FILE_BYTES, inspect_regular, open_at_most, read_small_file};
use crate::error::IoError;
use crate::storage::Storage;

/// A file that belongs to a checkpoint and holds no weights.
///
/// ```
/// use mergecore_io::{Checkpoint, CompanionKind};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
/// # std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
/// # let file = [&2u64.to_le_bytes()[..], b"{}"].concat();
/// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
/// # let dir = dir.path();
/// let checkpoint = Checkpoint::open(dir)?;
/// let tokenizer: Vec<&str> = checkpoint
///     .companions()
///     .iter()
///     .filter(|file| file.kind == CompanionKind::Tokenizer)
///     .map(|file| file.name)
///     .collect();
/// assert_eq!(tokenizer, ["tokenizer.json"]);
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Companion {
    /// Its name in the checkpoint's directory.
    pub name: &'static str,
    /// Its path: the directory's with the name.
    pub path: PathBuf,
    /// What it belongs to.
    pub kind: CompanionKind,
    storage: Storage,
}

impl Companion {
    /// Its content.
    ///
    /// # Errors
    /// If it cannot be read, is no regular file, or is larger than
    /// [`MAX_FILE_BYTES`](crate::MAX_FILE_BYTES).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    /// # std::fs::write(dir.path().join("generation_config.json"), r#"{"top_k": 5}"#).unwrap();
    /// # let file = [&2u64.to_le_bytes()[..], b"{}"].concat();
    /// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
    /// # let checkpoint = mergecore_io::Checkpoint::open(dir.path())?;
    /// assert_eq!(checkpoint.companions()[0].read()?, br#"{"top_k": 5}"#);
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn read(&self) -> Result<Vec<u8>, IoError> {
        read_small_file(&self.storage, &self.path)
    }

    /// Whether it can be read, by opening it.
    ///
    /// # Errors
    /// As [`Companion::read`], as far as that shows without reading.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    /// # std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    /// # let file = [&2u64.to_le_bytes()[..], b"{}"].concat();
    /// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
    /// # let checkpoint = mergecore_io::Checkpoint::open(dir.path())?;
    /// let tokenizer = &checkpoint.companions()[0];
    /// assert!(tokenizer.check().is_ok());
    /// std::fs::remove_file(&tokenizer.path).unwrap();
    /// assert!(tokenizer.check().unwrap_err().to_string().contains("tokenizer.json"));
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn check(&self) -> Result<(), IoError> {
        open_at_most(&self.storage, &self.path, MAX_FILE_BYTES).map(|_| ())
    }
}

/// What a [`Companion`] belongs to.
///
/// [`Companion`] shows how to tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompanionKind {
    /// The defaults for generating text.
    GenerationConfig,
    /// The tokenizer, chat templates included.
    Tokenizer,
}

const KNOWN: [(&str, CompanionKind); 14] = [
    ("generation_config.json", CompanionKind::GenerationConfig),
    ("tokenizer.json", CompanionKind::Tokenizer),
    ("tokenizer_config.json", CompanionKind::Tokenizer),
    ("special_tokens_map.json", CompanionKind::Tokenizer),
    ("added_tokens.json", CompanionKind::Tokenizer),
    ("vocab.json", CompanionKind::Tokenizer),
    ("vocab.txt", CompanionKind::Tokenizer),
    ("merges.txt", CompanionKind::Tokenizer),
    ("tokenizer.model", CompanionKind::Tokenizer),
    ("spiece.model", CompanionKind::Tokenizer),
    ("sentencepiece.bpe.model", CompanionKind::Tokenizer),
    ("tekken.json", CompanionKind::Tokenizer),
    ("chat_template.jinja", CompanionKind::Tokenizer),
    ("chat_template.json", CompanionKind::Tokenizer),
];

/// Those of the known files that are among `names`, which must be regular files.
pub(crate) fn find_companions(
    storage: &Storage,
    dir: &Path,
    names: &[String],
) -> Result<Vec<Companion>, IoError> {
    let present = KNOWN.iter().filter(|(name, _)| names.iter().any(|n| n == name));
    let companion = |(name, kind): &(&'static str, CompanionKind)| {
        let path = dir.join(name);
        inspect_regular(storage, &path)?;
        Ok(Companion { name, path, kind: *kind, storage: storage.clone() })
    };
    present.map(companion).collect()
}
