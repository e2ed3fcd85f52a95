//! `ManifestError`: manifests of outputs that cannot be relied on.

use std::fs;

use mergecore::{EngineError, Error, MergeOptions, verify};

use super::{LINEAR, folder, says};
use crate::support::Folder;

/// The error of verifying an output whose manifest was edited.
#[track_caller]
fn error(edit: impl FnOnce(&Folder)) -> EngineError {
    let folder = folder();
    folder.merge(LINEAR);
    edit(&folder);
    match verify(folder.path("out"), &MergeOptions::default()) {
        Err(Error::Merge(error @ EngineError::Manifest(_))) => error,
        other => panic!("{other:?}"),
    }
}

fn write(folder: &Folder, text: &str) {
    fs::write(folder.path("out/merge_manifest.json"), text).unwrap();
}

#[test]
fn missing() {
    let error = error(|folder| fs::remove_file(folder.path("out/merge_manifest.json")).unwrap());
    says(&error, &["out has no merge_manifest.json", "give the output directory of a merge"]);
}

#[test]
fn syntax() {
    let error = error(|folder| write(folder, "{\n"));
    says(&error, &["merge_manifest.json is not a manifest", "line 2", "the version of mergecore"]);
}

#[test]
fn changed() {
    let error = error(|folder| {
        let text = fs::read_to_string(folder.path("out/merge_manifest.json")).unwrap();
        write(folder, &text.replacen("llama", "lama", 1).replacen("\"seed\": 0", "\"seed\": 1", 1));
    });
    says(&error, &["merge_manifest.json was changed since it was written", "merge again"]);
}
