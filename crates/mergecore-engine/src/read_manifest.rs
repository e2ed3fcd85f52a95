//! A manifest, found and read.

use std::path::{Path, PathBuf};

use mergecore_config::ConfigError;

use crate::manifest::{self, Manifest, is_intact};
use crate::{EngineError, MergeOptions};

/// Far above any manifest: a hundred thousand tensors of three models take about 100 MB.
const MAX_BYTES: u64 = 400_000_000;

/// Why an output cannot be looked through, or a merge not be repeated.
///
/// ```
/// use mergecore_engine::{EngineError, ManifestError, MergeOptions, verify};
///
/// let dir = tempfile::tempdir().unwrap();
/// let error = verify(dir.path(), &MergeOptions::default()).unwrap_err();
/// assert!(matches!(error, EngineError::Manifest(ManifestError::Missing { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The path leads nowhere.
    #[error(
        "there is no {path}; give the output directory of a merge by mergecore, or its merge_manifest.json"
    )]
    NotThere {
        /// The path given.
        path: PathBuf,
    },
    /// The directory has none.
    #[error(
        "{dir} has no merge_manifest.json, so nothing says what should be in it; give the output directory of a merge by mergecore"
    )]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// It is something else.
    #[error(
        "{path} is not a merge_manifest.json, for it does not begin like one; give the output directory of a merge by mergecore, or the manifest in it"
    )]
    NotAManifest {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be understood.
    #[error(
        "{path} is not a manifest that this version understands: {source}; if the file was not changed, use the version of mergecore that wrote it"
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's report, with line and column.
        source: serde_json::Error,
    },
    /// The recipe in it cannot be read.
    #[error("the recipe in {path}: {source}")]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ConfigError>,
    },
    /// It was changed since it was written.
    #[error(
        "{path} was changed since it was written (its own hash does not fit), so nothing can be concluded from it; restore it, or merge again"
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// The text of a manifest, and where it is.
pub(crate) struct ManifestFile {
    path: PathBuf,
    text: String,
}

impl ManifestFile {
    /// Reads a manifest by its path, whatever its name, or the one in a directory.
    pub(crate) fn read(given: &Path, options: &MergeOptions) -> Result<Self, EngineError> {
        let (path, is_dir) = match given.is_dir() {
            true => (given.join(manifest::FILE), true),
            false => (given.to_owned(), false),
        };
        if path.symlink_metadata().is_err() {
            return Err(match is_dir {
                true => ManifestError::Missing { dir: given.to_owned() }.into(),
                false => ManifestError::NotThere { path }.into(),
            });
        }
        // Whatever was given instead, a file of weights say, is not read to its end.
        let beginning = options.storage.read_beginning(&path, manifest::BEGINNING.len() as u64)?;
        if beginning != manifest::BEGINNING.as_bytes() {
            return Err(ManifestError::NotAManifest { path }.into());
        }
        let bytes = options.storage.read_at_most(&path, MAX_BYTES)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(ManifestFile { path, text }),
            Err(_) => Err(ManifestError::Changed { path }.into()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is in.
    pub(crate) fn dir(&self) -> &Path {
        match self.path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        }
    }

    /// The manifest, if it is as it was written.
    pub(crate) fn parse(&self) -> Result<Manifest<'_>, EngineError> {
        let path = || self.path.clone();
        let manifest: Manifest<'_> = serde_json::from_str(&self.text)
            .map_err(|source| ManifestError::Syntax { path: path(), source })?;
        match is_intact(&self.text, &manifest) {
            Some(true) => Ok(manifest),
            _ => Err(ManifestError::Changed { path: path() }.into()),
        }
    }
}
