//! One test for each error of the engine and of this crate, named for it: what leads there,
//! and what the text says.

mod card_error;
mod engine_error;
mod error;
mod fault;
mod manifest_error;
mod not_found;
mod open_error;

use mergecore::{EngineError, Error, MergeOptions};

use crate::support::Folder;

const LINEAR: &str = "merge_method: linear
parameters: {weight: 1}
models:
  - model: DIR/a
  - model: DIR/b
";

/// A folder with two small models of two layers, `a` and `b`.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write_llama("a", 2, 1.0);
    folder.write_llama("b", 2, 3.0);
    folder
}

/// The text of an error must be one paragraph that holds all of these.
#[track_caller]
fn says(error: &impl std::error::Error, parts: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

/// The error that merging ends with; it leaves nothing.
#[track_caller]
fn refused(folder: &Folder, recipe: &str) -> EngineError {
    refused_with(folder, recipe, &MergeOptions::default())
}

#[track_caller]
fn refused_with(folder: &Folder, recipe: &str, options: &MergeOptions) -> EngineError {
    let error = folder.merge_with(recipe, "out", options).unwrap_err();
    assert!(!folder.path("out").exists());
    match error {
        Error::Merge(error) => error,
        other => panic!("{other}"),
    }
}
