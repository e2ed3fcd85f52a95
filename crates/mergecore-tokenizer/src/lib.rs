#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod compare;
mod error;
mod files;
mod vocabulary;

pub use compare::Disagreement;
pub use error::TokenizerError;
pub use vocabulary::Vocabulary;
