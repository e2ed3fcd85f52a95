//! Does a merged checkpoint still work as a language model?
//!
//! Everything else in this workspace judges a merge by its numbers. These tests judge
//! it from outside: a checkpoint is loaded by an independent inference library, candle,
//! which knows nothing of merging, and [`perplexity`] says how well it predicts text.
//! A tensor under a wrong name, a swapped row, a missing layer all show.
//!
//! The models and the text are in the project's `models` folder; see its README.

mod checkpoint;
mod error;
mod perplexity;

pub use error::Error;
pub use perplexity::{mistral_logits, perplexity};

use std::path::{Path, PathBuf};

/// The project's root, from which the recipes' paths start.
pub fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The held-out part of the King James Bible.
///
/// # Panics
///
/// If it is not in the models folder.
pub fn eval_kjv() -> String {
    let path = project_root().join("models/eval_kjv.txt");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The examples of a page in `docs`.
#[cfg(doctest)]
#[doc = include_str!("../../docs/adding-a-method.md")]
struct AddingAMethod;
