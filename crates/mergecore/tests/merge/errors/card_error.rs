//! [`CardError`]: model cards that cannot be made.

use std::path::Path;

use mergecore::{
    CardError, EngineError, Error, MergeConfig, ModelCardOptions, ModelCardTemplate,
    render_model_card, save_model_card,
};

use super::says;

#[track_caller]
fn card_error<T>(result: Result<T, Error>) -> CardError {
    match result {
        Err(Error::Merge(EngineError::Card(error))) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it worked"),
    }
}

/// The error of a card by a template of that text.
#[track_caller]
fn of_template(text: &str) -> CardError {
    let config = MergeConfig::from_yaml_str("merge_method: linear\nmodels: [{model: a}]").unwrap();
    let template = Some(ModelCardTemplate::new("mine.md", text));
    card_error(render_model_card(&config, &ModelCardOptions { template, ..Default::default() }))
}

#[test]
fn read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("card.md");
    let error = ModelCardTemplate::from_path(&path).unwrap_err();
    assert!(matches!(error, CardError::Read { .. }));
    says(&error, &["template ", "card.md: No such file", "give a text file in UTF-8"]);
    std::fs::write(&path, b"caf\xe9").unwrap();
    says(&ModelCardTemplate::from_path(&path).unwrap_err(), &["card.md: incomplete utf-8"]);
}

#[test]
fn not_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let error = ModelCardTemplate::from_path(dir.path()).unwrap_err();
    assert!(matches!(error, CardError::NotAFile { .. }));
    says(&error, &[dir.path().to_str().unwrap(), "is not a file", "give a text file in UTF-8"]);
}

#[test]
fn too_large() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("card.md");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = ModelCardTemplate::from_path(&path).unwrap_err();
    assert!(matches!(error, CardError::TooLarge { .. }));
    says(&error, &["card.md is larger than 1 MiB", "give a text file in UTF-8"]);
}

#[test]
fn template() {
    let error = of_template("a\n{% for x in %}");
    assert!(matches!(error, CardError::Template { .. }));
    says(&error, &["mine.md:2: ", "correct the model card's template, or leave it out"]);
}

#[test]
fn too_complex() {
    let error = of_template(&format!("a\n{{{{ {}1 }}}}", "not ".repeat(1000)));
    assert!(matches!(error, CardError::TooComplex { line: 2, .. }));
    says(&error, &["mine.md:2: an expression is too long", "in several, simpler parts"]);
}

#[test]
fn unknown_variable() {
    let error = of_template("{{ model_nam }}");
    assert!(matches!(error, CardError::UnknownVariable { .. }));
    says(&error, &["mine.md: unknown variable `model_nam` (did you mean `model_name`?)"]);
    says(&error, &["can use base_model, license"]);
}

#[test]
fn write() {
    let dir = tempfile::tempdir().unwrap();
    let error = card_error(save_model_card("# card", Path::new(&dir.path().join("none"))));
    assert!(matches!(error, CardError::Write { .. }));
    says(&error, &["cannot write ", "none/README.md", "a directory that exists"]);
}
