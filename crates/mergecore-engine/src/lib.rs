#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod architecture;
mod card;
mod card_limits;
mod describe;
mod error;
mod execute;
mod hash;
mod identity;
mod locate;
mod manifest;
mod options;
mod place;
mod plan;
mod problems;
mod read_manifest;
mod registry;
mod reproduce;
mod schema;
mod verify;

pub use architecture::{Architecture, Role, Stack};
pub use card::{
    CardError, ModelCardOptions, ModelCardTemplate, render_model_card, save_model_card,
};
pub use error::{EngineError, VocabularyMismatch};
pub use execute::MergeReport;
pub use locate::{ModelNotFound, OpenError, locate_model};
pub use options::{CancelFlag, MergeOptions, ModelLocator, Progress, ProgressCallback};
pub use plan::{
    MergePlan, Model, Operation, PlannedTensor, Tally, TensorInput, check_recipe, stream_key,
};
pub use problems::Problems;
pub use read_manifest::ManifestError;
pub use registry::Registry;
pub use reproduce::{Reproduction, reproduce};
pub use verify::{Fault, Verification, verify};
