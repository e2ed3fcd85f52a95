//! Why a model was not found.

use std::io;
use std::path::PathBuf;

/// Why a model is not in the cache. The text says where it was looked for and what
/// was found there instead.
///
/// ```
/// use mergecore_hub::{HubCache, HubError};
///
/// let error = HubCache::new("/no/such/cache").find("org/name", None).unwrap_err();
/// assert!(matches!(error, HubError::NoCache { .. }));
/// assert_eq!(
///     error.to_string(),
///     "there is no Hugging Face cache at /no/such/cache"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Not the name of a repository.
    #[error("`{name}` is not a model's name on the Hugging Face hub, which has the form org/name")]
    NotAName {
        /// The name.
        name: String,
    },
    /// Not the name of a revision.
    #[error("`{revision}` cannot be a revision: it is a branch, a tag or a commit")]
    NotARevision {
        /// The revision.
        revision: String,
    },
    /// The cache's directory is not there.
    #[error("there is no Hugging Face cache at {dir}")]
    NoCache {
        /// The cache's directory.
        dir: PathBuf,
    },
    /// The cache has nothing of that name.
    #[error("the Hugging Face cache has no {}{}", dir.display(),
        similar.as_ref().map(|name| format!(" (did you mean `{name}`, which it has?)")).unwrap_or_default())]
    NotCached {
        /// The model's directory, were it there.
        dir: PathBuf,
        /// A model in the cache whose name is nearly the same.
        similar: Option<String>,
    },
    /// The model is there, but not in that revision.
    #[error("the Hugging Face cache has {}, but not its revision `{revision}`: {}", dir.display(), revisions(available))]
    NoRevision {
        /// The model's directory.
        dir: PathBuf,
        /// The revision.
        revision: String,
        /// The branches, tags and commits that are there.
        available: Vec<String>,
    },
    /// The revision is known, its files are not there.
    #[error("the revision `{revision}` is not in the Hugging Face cache: {} does not exist, so the download was never completed", snapshot.display())]
    NoSnapshot {
        /// The revision.
        revision: String,
        /// The directory that should hold its files.
        snapshot: PathBuf,
    },
    /// The system refused.
    #[error("cannot read {path}: {source}; remove it from the cache")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's report.
        source: io::Error,
    },
}

fn revisions(available: &[String]) -> String {
    match available {
        [] => "there is none at all".to_owned(),
        all => format!("there are {}", all.join(", ")),
    }
}
