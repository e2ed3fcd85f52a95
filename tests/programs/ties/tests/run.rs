//! The program runs, needs few crates, and the README shows it as it is.

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn it_merges() {
    let output = Command::new(env!("CARGO_BIN_EXE_ties-alone")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[[3, 3],\n [-5, 0]]\n");
}

#[test]
fn the_readme_shows_it() {
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(include_str!("../src/main.rs")));
}

#[test]
fn it_pulls_few_crates() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "mergecore-ties", "--edges", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("mergecore-ties") && crates.contains("ndarray"), "{tree}");
    assert!(crates.len() < 20, "{} crates: {crates:?}", crates.len());
    for heavy in ["mergecore-engine", "mergecore-io", "serde", "rayon"] {
        assert!(!crates.contains(heavy), "{heavy}");
    }
}
