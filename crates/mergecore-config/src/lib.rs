#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod brackets;
mod config;
mod error;
mod file;
mod float_type;
mod model_ref;
mod node;
mod parameters;
mod path;
mod place;
mod probe;
mod read;
mod read_parameters;
mod read_tokenizer;
mod reader;
mod resolve;
mod suggest;
mod tokenizer;
mod value;
mod write;

pub use config::{
    InputModel, MergeConfig, MergeInput, Module, ModuleInput, OutputSlice, Site, SliceSource,
};
pub use error::{ConfigError, Limit};
pub use float_type::FloatType;
pub use model_ref::{ModelLocation, ModelRef, ModelRefError};
pub use parameters::Parameters;
pub use path::{RecipePath, Segment};
pub use place::{Note, Place};
pub use resolve::{Level, Resolved, resolve, resolve_value};
pub use suggest::nearest;
pub use tokenizer::{TokenConfig, TokenSelector, TokenSource, TokenizerConfig, TokenizerSource};
pub use value::{Conditional, Scalar, Setting, Value};
