//! `ManifestError`: manifests of outputs that cannot be relied on.

use std::fs;

use mergecore::{EngineError, Error, ManifestError, MergeOptions, reproduce, verify};

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
fn not_there() {
    for check in [
        |path| verify(path, &MergeOptions::default()).map(drop),
        |path| reproduce(path, &MergeOptions::default()).map(drop),
    ] {
        let error = check("no/such.json").unwrap_err();
        says(&error, &["there is no no/such.json; give the output directory of a merge"]);
    }
}

/// Whatever else it is, and however large.
#[test]
fn not_a_manifest() {
    let folder = folder();
    for (name, content) in [
        ("recipe.yml", &b"merge_method: linear\n"[..]),
        ("config.json", b"{\"model_type\": \"llama\"}"),
        ("empty.json", b""),
        ("binary", b"\xff\xfe\x00"),
    ] {
        fs::write(folder.path(name), content).unwrap();
    }
    fs::File::create(folder.path("weights")).unwrap().set_len(1 << 40).unwrap(); // sparse
    for name in ["recipe.yml", "config.json", "empty.json", "binary", "weights"] {
        for check in [
            |path| verify(path, &MergeOptions::default()).map(drop),
            |path| reproduce(path, &MergeOptions::default()).map(drop),
        ] {
            let error = check(folder.path(name)).unwrap_err();
            let Error::Merge(EngineError::Manifest(error)) = error else { panic!("{error}") };
            assert!(matches!(error, ManifestError::NotAManifest { .. }), "{error}");
            says(&error, &[name, "is not a merge_manifest.json", "give the output directory"]);
        }
    }
}

#[test]
fn syntax() {
    let error = error(|folder| write(folder, "{\n  \"mergecore_version\": \"9\"\n}\n"));
    says(&error, &["merge_manifest.json is not a manifest", "line 3", "the version of mergecore"]);
}

#[test]
fn changed() {
    let error = error(|folder| {
        let text = fs::read_to_string(folder.path("out/merge_manifest.json")).unwrap();
        write(folder, &text.replacen("llama", "lama", 1).replacen("\"seed\": 0", "\"seed\": 1", 1));
    });
    says(&error, &["merge_manifest.json was changed since it was written", "merge again"]);
}

/// A manifest of another program, its hash and all, whose recipe is none.
#[test]
fn recipe() {
    let folder = folder();
    folder.merge(LINEAR);
    let path = folder.path("out/merge_manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let blank = "0".repeat(64);
    let text = text.replace("merge_method: ", "merge_methid: ");
    let text = text.replace(manifest["manifest_blake3"].as_str().unwrap(), &blank);
    let hash = blake3::hash(text.as_bytes()).to_string();
    fs::write(&path, text.replace(&blank, &hash)).unwrap();
    let error = reproduce(&path, &MergeOptions::default()).unwrap_err();
    says(&error, &["the recipe in ", "merge_manifest.json: ", "did you mean `merge_method`?"]);
}
