//! One error for the whole way from recipe to checkpoint.

use mergecore_config::ConfigError;
use mergecore_engine::{EngineError, OpenError};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a recipe could not be read or a merge not be made. The text is one
/// paragraph, complete in itself: where, what is wrong, and what to do.
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
    /// Whether the recipe is at fault, not the models or the machine.
    pub fn is_recipe(&self) -> bool {
        match self {
            Error::Config(_) => true,
            Error::Merge(error) => error.is_recipe(),
            Error::Model(error) => !matches!(error, OpenError::Checkpoint(_)),
        }
    }
}
