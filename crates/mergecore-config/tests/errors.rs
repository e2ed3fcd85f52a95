//! One test for each thing that can be wrong, named for it: where it is, what the text says.

#[path = "errors/config_error.rs"]
mod config_error;
#[path = "errors/limit.rs"]
mod limit;
#[path = "errors/model_ref_error.rs"]
mod model_ref_error;

use mergecore_config::{ConfigError, MergeConfig};

/// A recipe to which a mistake can be added.
const HEAD: &str = "merge_method: linear\nmodels: [{model: a}]\n";

#[track_caller]
fn error(text: &str) -> ConfigError {
    MergeConfig::from_yaml_str(text).unwrap_err()
}

/// The error that more lines make of a recipe.
#[track_caller]
fn tail(text: &str) -> ConfigError {
    error(&format!("{HEAD}{text}"))
}

/// Writes a file that is no recipe, and tries to read it as one.
#[track_caller]
fn of_file(content: &[u8]) -> (String, ConfigError) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yml");
    std::fs::write(&file, content).unwrap();
    (file.display().to_string(), MergeConfig::from_path(&file).unwrap_err())
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
