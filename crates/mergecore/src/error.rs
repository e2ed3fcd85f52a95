//! One error for the whole way from recipe to checkpoint.

use mergecore_config::ConfigError;
use mergecore_engine::{EngineError, OpenError};

/// A result with this crate's [`Error`].
///
/// ```
/// fn models_of(recipe: &str) -> mergecore::Result<usize> {
///     Ok(mergecore::load_recipe(recipe)?.models().len())
/// }
/// assert!(models_of("no/such.yml").is_err());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a recipe could not be read or a merge not be made. The text is one
/// paragraph, complete in itself: where, what is wrong, and what to do; of several
/// problems a numbered line each.
///
/// ```
/// use mergecore::{EngineError, Error, MergeConfig, MergeOptions, plan};
///
/// let config = MergeConfig::from_yaml_str("merge_method: tise\nmodels: [{model: no/a}]")?;
/// let error = plan(&config, &MergeOptions::default()).unwrap_err();
/// assert!(error.to_string().contains("did you mean `ties`?"));
/// let Error::Merge(error) = error else { panic!("a problem of the recipe") };
/// assert!(matches!(
///     error.problems(),
///     [EngineError::UnknownMethod { .. }, EngineError::Model { .. }],
/// ));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The merge cannot be planned or carried out.
    #[error(transparent)]
    Merge(#[from] EngineError),
    /// A model cannot be opened.
    #[error(transparent)]
    Model(#[from] OpenError),
}

impl Error {
    /// A text for each of the problems that it stands for: of many the first 20 (of a
    /// kind), and at the end how many are not shown.
    ///
    /// ```
    /// use mergecore::{MergeConfig, MergeOptions, plan};
    ///
    /// let config = MergeConfig::from_yaml_str(
    ///     "merge_method: linear
    /// models: [{model: no/a}, {model: no/b}]
    /// parameters: {weight: 1}",
    /// )?;
    /// let lines = plan(&config, &MergeOptions::default()).unwrap_err().lines();
    /// assert!(lines[0].starts_with("line 2, column 18: models[0].model: the model `no/a` was"));
    /// assert!(lines[1].starts_with("line 2, column 33: models[1].model: the model `no/b` was"));
    /// # Ok::<(), mergecore::Error>(())
    /// ```
    pub fn lines(&self) -> Vec<String> {
        match self {
            Error::Config(error) => error.lines(),
            Error::Merge(EngineError::Several { problems }) => problems.lines(),
            one => vec![one.to_string()],
        }
    }

    /// Whether the recipe is at fault (or names a model that is not there), not the
    /// models or the machine.
    ///
    /// ```
    /// use mergecore::{ModelRef, load_recipe, open_model};
    ///
    /// assert!(load_recipe("no/such.yml").unwrap_err().is_recipe());
    /// let empty = tempfile::tempdir().unwrap(); // no checkpoint
    /// let error = open_model(&ModelRef::new(empty.path().to_str().unwrap())).unwrap_err();
    /// assert!(!error.is_recipe());
    /// ```
    pub fn is_recipe(&self) -> bool {
        match self {
            Error::Config(_) => true,
            Error::Merge(error) => error.is_recipe(),
            Error::Model(error) => !matches!(error, OpenError::Checkpoint(_)),
        }
    }
}
