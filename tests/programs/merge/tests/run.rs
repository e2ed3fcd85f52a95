//! The program runs, and the README shows it as it is.

use std::path::Path;
use std::process::Command;

#[test]
fn it_merges() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("merged");
    let mut command = Command::new(env!("CARGO_BIN_EXE_first-merge"));
    let output = command.arg(&out).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("57 tensors in "));
    assert!(out.join("model.safetensors").exists() && out.join("tokenizer.json").exists());
}

#[test]
fn the_readme_shows_it() {
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(include_str!("../src/main.rs")));
}
