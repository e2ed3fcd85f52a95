//! Why a tokenizer's files could not be read.

use std::path::PathBuf;

use mergecore_io::IoError;

/// Why a tokenizer's files could not be read.
///
/// ```
/// use mergecore_tokenizer::{TokenizerError, Vocabulary};
///
/// let dir = tempfile::tempdir().unwrap();
/// std::fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
/// let error = Vocabulary::read(dir.path()).unwrap_err();
/// assert!(matches!(error, TokenizerError::Json { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// It is not a regular file, is larger than any such file, or the system refused.
    #[error(transparent)]
    Read(#[from] IoError),
    /// It was told to stop.
    #[error("reading the tokenizer in {dir} was stopped")]
    Stopped {
        /// The tokenizer's directory.
        dir: PathBuf,
    },
    /// Not JSON, or not of the form that the file should have.
    #[error("{path} cannot be understood: {source}; fetch it again")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
}
