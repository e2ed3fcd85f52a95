//! Why a tokenizer's files could not be read.

use std::io;
use std::path::PathBuf;

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
    /// The system refused.
    #[error("cannot read {path}: {source}; check who may read it, or fetch it again")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's report.
        source: io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{path} is not a regular file and is not opened; put the tokenizer's own file there")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Larger than any tokenizer.
    #[error(
        "{path} is larger than {limit} bytes, so it cannot be a tokenizer's file; fetch it again"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
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
