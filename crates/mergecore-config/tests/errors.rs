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

/// The misspelt key is the cause, not what it leaves missing.
#[test]
fn a_misspelt_key_is_not_missing_besides() {
    let error = error("merge_metod: linear\nmodel: [{modle: a}]\n");
    let keys: Vec<&str> = error
        .problems()
        .iter()
        .map(|problem| match problem {
            ConfigError::UnknownKey { key, .. } => key.as_str(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(keys, ["merge_metod", "model"]);
}

/// Of many mistakes in a long recipe the last have no line, which takes a parse each.
#[test]
fn ten_thousand_mistakes_are_found_in_time() {
    let begun = std::time::Instant::now();
    let wrong: String =
        (0..10_000).map(|n| format!("this_is_no_key_of_a_recipe_{n}: 1\n")).collect();
    let error = tail(&wrong);
    assert_eq!(error.problems().len(), 10_000);
    assert_eq!(error.problems()[0].place().unwrap().line(), Some(3));
    assert_eq!(error.problems()[9_999].place().unwrap().line(), None);
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1 + 20 + 1);
    assert!(text.ends_with("\n(21) 9980 more problems are not shown"), "{text}");
    // Ten thousand parses of this recipe take minutes.
    assert!(begun.elapsed().as_secs() < 40, "{:?}", begun.elapsed());
}
