#![doc = include_str!("../README.md")]

mod compare;
mod error;
mod files;
mod vocabulary;

pub use compare::Disagreement;
pub use error::TokenizerError;
pub use vocabulary::Vocabulary;
