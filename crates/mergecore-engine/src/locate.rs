//! From a model's name to its directory.

use std::path::{Path, PathBuf};

use mergecore_config::ModelLocation;
use mergecore_io::IoError;

use crate::ModelLocator;

/// Why a model cannot be opened.
///
/// ```
/// use mergecore_engine::{Model, OpenError};
///
/// let error = Model::open(&"org/name".parse()?, None).unwrap_err();
/// assert!(matches!(error, OpenError::NotFound(_)));
/// # Ok::<(), mergecore_config::ModelRefError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is not there.
    #[error(transparent)]
    NotFound(#[from] ModelNotFound),
    /// It is there and cannot be read.
    #[error(transparent)]
    Checkpoint(Box<IoError>),
    /// It has an adapter.
    #[error(
        "the adapter `{adapter}` cannot be applied: LoRA adapters are not supported yet; merge it into its base model first and give the result"
    )]
    Adapter {
        /// The adapter.
        adapter: ModelLocation,
    },
}

impl From<IoError> for OpenError {
    fn from(error: IoError) -> Self {
        OpenError::Checkpoint(Box::new(error))
    }
}

/// A model that is nowhere to be found.
///
/// ```
/// use mergecore_config::ModelLocation;
/// use mergecore_engine::{ModelLocator, locate_model};
///
/// let locator = ModelLocator::new(|model| Err(format!("the shelf has no {}", model.path)));
/// let error = locate_model(&ModelLocation::new("org/name"), Some(&locator)).unwrap_err();
/// assert_eq!(error.searched, ["there is no directory org/name", "the shelf has no org/name"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model `{model}` was not found: {}; {}", searched.join("; "), advice(model))]
#[non_exhaustive]
pub struct ModelNotFound {
    /// The model.
    pub model: ModelLocation,
    /// Where it was looked for, in order, a clause each.
    pub searched: Vec<String>,
}

fn advice(model: &ModelLocation) -> String {
    let ModelLocation { path, revision } = model;
    match revision {
        _ if path.starts_with('~') => {
            "`~` is not understood here: write the home directory out".to_owned()
        }
        _ if !model.looks_like_hub_name() => {
            "check the spelling, and note that a relative path starts at the current directory"
                .to_owned()
        }
        revision => {
            let revision = revision.as_ref().map(|revision| format!(" --revision {revision}"));
            let revision = revision.unwrap_or_default();
            format!(
                "download it (`hf download {path}{revision}`), set HF_HUB_CACHE if it is in another cache, or give the path of its directory"
            )
        }
    }
}

/// The directory of a model: the path itself where it exists, else what the locator
/// finds. The locator is asked only for what can be a name: `name`, `org/name`, or
/// anything with a revision.
///
/// A directory has no revisions, so a model with a revision is only looked for by
/// name.
///
/// # Errors
/// If it is in neither place. The error says where it was looked for.
///
/// ```
/// use mergecore_config::ModelLocation;
/// use mergecore_engine::locate_model;
///
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().to_str().unwrap();
/// assert_eq!(locate_model(&ModelLocation::new(path), None).unwrap(), dir.path());
///
/// let error = locate_model(&ModelLocation::new("org/name"), None).unwrap_err();
/// assert!(error.to_string().contains("there is no directory org/name"));
/// ```
pub fn locate_model(
    model: &ModelLocation,
    locator: Option<&ModelLocator>,
) -> Result<PathBuf, ModelNotFound> {
    let dir = Path::new(&model.path);
    let mut searched = Vec::new();
    match &model.revision {
        None if dir.exists() => return Ok(dir.to_owned()),
        None => searched.push(format!("there is no directory {}", dir.display())),
        Some(revision) => {
            let whole = PathBuf::from(format!("{}@{revision}", model.path));
            if whole.exists() {
                searched.push(format!(
                    "{} is a directory whose name has an `@`, so write it as {{model: {{path: {}}}}}",
                    whole.display(),
                    whole.display()
                ));
            } else if dir.exists() {
                searched.push(format!(
                    "{} is a directory, which has no revisions (leave `@{revision}` out to use it)",
                    dir.display()
                ));
            }
        }
    }
    // Old models have a name without an owner.
    let is_name = model.looks_like_hub_name() || !model.path.contains(['/', '\\']);
    if is_name || model.revision.is_some() {
        match locator.map(|locator| locator.call(model)) {
            Some(Ok(dir)) => return Ok(dir),
            Some(Err(reason)) => searched.push(reason),
            None => {}
        }
    }
    Err(ModelNotFound { model: model.clone(), searched })
}
