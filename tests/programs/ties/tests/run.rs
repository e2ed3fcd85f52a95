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
fn a_method_crate_pulls_few_crates() {
    // That with the decompositions is the exception.
    for method in ["linear", "slerp", "ties", "dare", "adaptive"] {
        let name = format!("mergecore-{method}");
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--package", &name, "--edges", "normal", "--prefix", "none"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let tree = String::from_utf8(output.stdout).unwrap();
        // A line a crate and version; what was listed before has a mark.
        let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
        let crates: BTreeSet<&str> = lines.filter(|line| !line.is_empty()).collect();
        let has = |name: &str| crates.iter().any(|line| line.starts_with(&format!("{name} ")));
        assert!(has(&name) && has("ndarray"), "{tree}");
        assert!(crates.len() < 20, "{name}: {} crates: {crates:?}", crates.len());
        for heavy in ["mergecore-engine", "mergecore-io", "serde", "rayon"] {
            assert!(!has(heavy), "{name}: {heavy}");
        }
    }
}
