//! Options of the command, and what a merge prints and writes.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::Folder;
use crate::{LINEAR, shard};

/// A mistake on the command line, in the words of the argument parser.
#[track_caller]
fn usage(args: &[&str], parts: &[&str]) {
    let folder = Folder::new();
    let (code, stdout, stderr) = folder.merge(LINEAR, args);
    println!("{stderr}");
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.starts_with("error: ") && !stderr.contains("panicked"), "{stderr}");
    for part in parts.iter().chain(&["--help"]) {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
    assert!(!folder.path("out").exists() && !folder.path(".out.mergecore-partial").exists());
}

#[test]
fn threads_must_be_a_number_above_zero() {
    usage(&["--threads", "0"], &["'0'", "--threads", "1 to 1024"]);
    usage(&["--threads", "many"], &["'many'", "--threads", "1 to 1024"]);
}

#[test]
fn sizes_must_be_sizes() {
    usage(&["--out-shard-size", "5X"], &["`5X`", "--out-shard-size", "2GB"]);
    usage(&["--out-shard-size", "0"], &["`0`", "--out-shard-size", "at least one byte"]);
    usage(&["--max-memory", "lots"], &["`lots`", "--max-memory", "2GiB"]);
}

#[test]
fn options_that_are_not_there_are_named() {
    usage(&["--overwrit"], &["--overwrit", "--overwrite"]);
}

#[test]
fn help_and_version() {
    let folder = Folder::new();
    for args in [&["--help"][..], &["merge", "--help"], &["--version"]] {
        let (code, stdout, stderr) = folder.run(args);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        assert!(stdout.contains("mergecore"), "{stdout}");
    }
    assert!(folder.run(&["--help"]).1.contains("Exit status"));
    let merge = folder.run(&["merge", "--help"]).1;
    let options = [
        "--copy-tokenizer",
        "--no-copy-tokenizer",
        "--allow-crimes",
        "--out-shard-size",
        "--lazy-unpickle",
        "--random-seed",
        "--threads",
        "--max-memory",
        "--overwrite",
        "--no-hash",
        "--allow-nonfinite",
        "--no-model-card",
        "--quiet",
    ];
    for option in options {
        assert!(merge.contains(option), "{option}");
    }
    assert_eq!(folder.run(&["--version"]).1, format!("mergecore {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn stdout_is_the_output_and_nothing_else() {
    let folder = Folder::new();
    let (code, stdout, stderr) = folder.merge(LINEAR, &[]);
    assert_eq!((code, stdout.as_str()), (0, "out\n"), "{stderr}");
    assert!(stderr.contains("9 tensors") && !stderr.contains("note"), "{stderr}");
}

#[test]
fn quiet_hides_notes_but_not_errors() {
    let folder = Folder::new();
    let recipe = format!("{LINEAR}parameters: {{int8_mask: true}}\n");
    assert_eq!(folder.merge(&recipe, &["--quiet"]), (0, String::new(), String::new()));
    folder.refuses_with(&["--quiet"], 1, LINEAR, &["--overwrite"]);
}

/// All tensors of a checkpoint: dtype, shape and bytes by name.
fn stored(dir: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let bytes = std::fs::read(path).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                let dtype = format!("{:?}", view.dtype());
                let tensor = (dtype, view.shape().to_vec(), view.data().to_vec());
                assert!(all.insert(name, tensor).is_none());
            }
        }
    }
    all
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn shards_hold_the_same_bytes_as_one_file() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &[]).0, 0);
    std::fs::rename(folder.path("out"), folder.path("single")).unwrap();
    assert_eq!(folder.merge(LINEAR, &["--out-shard-size", "0.3K"]).0, 0);
    let (single, out) = (stored(&folder.path("single")), folder.path("out"));
    assert_eq!(stored(&out), single);

    let index = json(&out.join("model.safetensors.index.json"));
    let total: usize = single.values().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(index["metadata"]["total_size"], total);
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!(map.len(), single.len());
    let mut sizes = BTreeMap::<&str, usize>::new();
    for (name, file) in map {
        let file = file.as_str().unwrap();
        let bytes = std::fs::read(out.join(file)).unwrap();
        assert!(SafeTensors::deserialize(&bytes).unwrap().tensor(name).is_ok(), "{name}");
        *sizes.entry(file).or_default() += single[name].2.len();
    }
    let n = sizes.len();
    assert!(n > 2, "{sizes:?}");
    assert!(sizes.values().all(|size| *size <= 300), "{sizes:?}");
    let expected = (1..=n).map(|i| format!("model-{i:05}-of-{n:05}.safetensors"));
    assert!(expected.eq(sizes.keys().copied().map(str::to_owned)), "{sizes:?}");
}

#[test]
fn a_shard_size_above_the_models_gives_one_file_without_index() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &["--out-shard-size", "10K"]).0, 0);
    assert!(folder.path("out/model.safetensors").exists());
    assert!(!folder.path("out/model.safetensors.index.json").exists());
}

#[test]
fn neither_threads_nor_memory_nor_sharded_inputs_change_a_byte() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &["--threads", "1"]).0, 0);
    let expected = std::fs::read(folder.path("out/model.safetensors")).unwrap();
    shard(&folder);
    let args = ["--overwrite", "--threads", "4", "--max-memory", "1MiB"];
    assert_eq!(folder.merge(LINEAR, &args).0, 0);
    assert_eq!(std::fs::read(folder.path("out/model.safetensors")).unwrap(), expected);
}

#[test]
fn without_hashes_all_of_them_are_null() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &[]).0, 0);
    let hashes = || -> Vec<Value> {
        let manifest = json(&folder.path("out/merge_manifest.json"));
        let tensors = manifest["tensors"].as_array().unwrap();
        let of = |tensor: &Value| {
            let inputs = tensor["inputs"].as_array().unwrap().iter();
            let inputs = inputs.map(|input| input["xxh3_128"].clone());
            inputs.chain([tensor["xxh3_128"].clone()]).collect::<Vec<_>>()
        };
        tensors.iter().flat_map(of).collect()
    };
    assert_eq!(hashes().len(), 9 * 3);
    assert!(hashes().iter().all(|hash| hash.as_str().is_some_and(|hash| hash.len() == 32)));
    assert_eq!(folder.merge(LINEAR, &["--overwrite", "--no-hash"]).0, 0);
    assert_eq!(hashes(), vec![Value::Null; 9 * 3]);
}

#[test]
fn a_model_without_tokenizer_is_noted() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path("a/tokenizer.json")).unwrap();
    let (code, _, stderr) = folder.merge(LINEAR, &[]);
    assert_eq!(code, 0);
    assert!(stderr.contains("note: a has no tokenizer files"), "{stderr}");
    let (code, _, stderr) = folder.merge(LINEAR, &["--overwrite", "--no-copy-tokenizer"]);
    assert!(code == 0 && !stderr.contains("note"), "{stderr}");
}

#[test]
fn the_recipe_is_kept_byte_for_byte() {
    let folder = Folder::new();
    let recipe = format!("# comments, spaces   \r\n{LINEAR}\n\n# and no end of line");
    assert_eq!(folder.merge(&recipe, &[]).0, 0);
    let kept = std::fs::read(folder.path("out/mergecore_config.yml")).unwrap();
    assert_eq!(kept, recipe.as_bytes());
}
