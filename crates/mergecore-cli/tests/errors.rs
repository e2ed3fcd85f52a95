//! Errors that only a process of its own can be brought to, and the command's own.

#![cfg(target_os = "linux")]

#[allow(dead_code)] // the other test file uses all of it
mod support;

use std::process::{Command, Output, Stdio};

use support::Folder;

/// The models `a` and `b` and a recipe.
fn folder() -> Folder {
    let folder = Folder::new();
    let recipe =
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n";
    std::fs::write(folder.path("recipe.yml"), recipe).unwrap();
    folder
}

/// The command fails, with status 1 and one line that holds all of `parts`.
#[track_caller]
fn fails(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

fn mergecore() -> &'static str {
    env!("CARGO_BIN_EXE_mergecore")
}

mod engine_error {
    use super::*;

    /// With too little address space for the stacks of so many threads, which are so large that
    /// there is always room left for all else.
    #[test]
    fn threads() {
        let folder = folder();
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 67108864; exec \"$0\" merge recipe.yml out --threads 1024"])
            .arg(mergecore())
            .env("RUST_MIN_STACK", (4u64 << 30).to_string())
            .current_dir(folder.path(""))
            .output()
            .unwrap();
        fails(&output, &["cannot start 1024 threads: ", "ask for fewer (--threads)"]);
        assert!(!folder.path("out").exists());
    }
}

#[test]
fn a_result_that_cannot_be_written() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = folder();
    let output = Command::new(mergecore())
        .args(["plan", "recipe.yml"])
        .current_dir(folder.path(""))
        .stdout(Stdio::from(full))
        .output()
        .unwrap();
    fails(&output, &["cannot write the result: No space left", "somewhere else"]);
}

#[test]
fn man_pages_that_cannot_be_written() {
    let output = Command::new(mergecore()).args(["man", "/no/such/dir"]).output().unwrap();
    fails(&output, &["cannot write man pages to /no/such/dir: No such file", "a directory that"]);
}
