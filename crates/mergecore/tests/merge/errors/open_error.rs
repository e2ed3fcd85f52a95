//! [`OpenError`]: models that cannot be opened.

use mergecore::{Error, ModelRef, OpenError, open_model};

use super::says;

#[track_caller]
fn error(model: &str) -> OpenError {
    match open_model(&model.parse().unwrap()) {
        Err(Error::Model(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn not_found() {
    let error = error("./no/such/model");
    assert!(matches!(error, OpenError::NotFound(_)));
    says(&error, &["`./no/such/model` was not found", "no directory ./no/such/model"]);
}

#[test]
fn checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let Err(Error::Model(error)) = open_model(&ModelRef::new(path)) else { panic!("it opened") };
    assert!(matches!(error, OpenError::Checkpoint(_)));
    says(&error, &[path, "has no config.json", "give the directory"]);
}

#[test]
fn adapter() {
    let error = error("org/model+org/lora@v2");
    assert!(matches!(error, OpenError::Adapter { .. }));
    says(&error, &["the adapter `org/lora@v2`", "not supported yet", "merge it into its base"]);
}
