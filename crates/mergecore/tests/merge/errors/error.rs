//! [`Error`]: this crate's own, whose text is that of what it stands for.

use mergecore::{EngineError, Error, ModelRef, load_recipe, open_model};

use super::{LINEAR, folder, says};

#[test]
fn config() {
    let error = load_recipe("no/such.yml").unwrap_err();
    assert!(matches!(error, Error::Config(_)) && error.is_recipe());
    says(&error, &["no/such.yml: the recipe cannot be read", "check the path"]);
}

#[test]
fn merge() {
    let folder = folder();
    let recipe = LINEAR.replace("linear", "tise");
    let error = folder.merge_with(&recipe, "out", &Default::default()).unwrap_err();
    assert!(matches!(error, Error::Merge(EngineError::UnknownMethod { .. })));
    assert!(error.is_recipe());
    says(&error, &["line 1, column 15: merge_method: unknown merge method `tise`", "`ties`"]);
}

#[test]
fn model() {
    let error = open_model(&ModelRef::new("./no/such")).unwrap_err();
    assert!(matches!(error, Error::Model(_)));
    says(&error, &["`./no/such` was not found", "check the spelling"]);
}
