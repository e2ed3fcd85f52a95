//! The examples do what they say.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs an example in the project's root; yields its exit status, stdout and stderr.
fn run(name: &str, args: &[&str]) -> (bool, String, String) {
    // Cargo builds the examples beside the tests: target/debug/deps and .../examples.
    let test = std::env::current_exe().unwrap();
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let example = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(example).args(args).current_dir(root).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn out(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("out")
}

#[test]
fn merge_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let path = out(&dir);
    let args = ["models/recipes/tiny_slerp.yml", path.to_str().unwrap()];
    let (ok, stdout, stderr) = run("merge_recipe", &args);
    assert!(ok && stdout.contains("reading models/tiny-llama-code"), "{stdout}{stderr}");
    assert!(path.join("model.safetensors").exists());
    let (ok, _, stderr) = run("merge_recipe", &[]);
    assert!(!ok && stderr.contains("usage"), "{stderr}");
}

#[test]
fn merge_in_code() {
    let dir = tempfile::tempdir().unwrap();
    let models = ["base", "code", "kjv"].map(|name| format!("models/tiny-llama-{name}"));
    let [base, a, b] = models.each_ref().map(String::as_str);
    let (ok, stdout, stderr) = run("merge_in_code", &[base, a, b, out(&dir).to_str().unwrap()]);
    assert!(ok && stdout.contains("merge_method: ties"), "{stdout}{stderr}");
    // What it prints is the recipe that it merges by.
    let recipe = std::fs::read_to_string(out(&dir).join("mergecore_config.yml")).unwrap();
    assert!(stdout.contains(&recipe), "{stdout}");
}

#[test]
fn kernel_on_arrays() {
    let (ok, stdout, stderr) = run("kernel_on_arrays", &[]);
    assert!(ok && stdout.contains("ties:\n[[2, 2],\n [1, 1]]"), "{stdout}{stderr}");
}

#[test]
fn progress_and_cancel() {
    let dir = tempfile::tempdir().unwrap();
    let path = out(&dir);
    let args = ["models/recipes/tiny_ties.yml", path.to_str().unwrap()];
    let (ok, stdout, stderr) = run("progress_and_cancel", &[&args[..], &["0"]].concat());
    assert!(ok && stdout.contains("cancelled after"), "{stdout}{stderr}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    let (ok, stdout, stderr) = run("progress_and_cancel", &[&args[..], &["600"]].concat());
    assert!(ok && stdout.contains("100 %") && path.exists(), "{stdout}{stderr}");
}
