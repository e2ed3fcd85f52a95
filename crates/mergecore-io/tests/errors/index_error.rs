//! [`IndexError`]: model.safetensors.index.json.

use mergecore_io::{IndexError, parse_index};

use crate::says;

#[track_caller]
fn error(text: &str) -> IndexError {
    parse_index(text.as_bytes()).unwrap_err()
}

#[test]
fn json() {
    let deep = format!(r#"{{"weight_map":{}"#, "[".repeat(100_000));
    for text in ["", "[]", "{}", "{\n\"weight_map\": []}", &deep] {
        assert!(matches!(error(text), IndexError::Json { .. }), "{text}");
    }
    let error = error("{\n\"weight_map\": {\"w\": 1}}");
    assert!(matches!(error, IndexError::Json { line: 2, .. }));
    says(&error, &["line 2, column ", "not a safetensors index", "integer `1`", "fetch the file"]);
}

#[test]
fn empty() {
    let error = error(r#"{"weight_map":{}}"#);
    assert!(matches!(error, IndexError::Empty));
    says(&error, &["`weight_map` lists no tensors", "fetch the file again"]);
}

#[test]
fn duplicate_tensor() {
    let error = error(r#"{"weight_map":{"w":"a.safetensors","w":"b.safetensors"}}"#);
    assert!(matches!(error, IndexError::DuplicateTensor { .. }));
    says(&error, &["lists tensor `w` twice", "remove the entry that is wrong"]);
}

#[test]
fn shard_name() {
    for name in [
        "",
        ".",
        "..",
        "/etc/x.safetensors",
        "../x.safetensors",
        "a/x.safetensors",
        r"a\\x.safetensors",
        "C:x.safetensors",
        "..safetensors",
        "x.bin",
        r"x\u0000.safetensors",
        ".safetensors",
    ] {
        let error = error(&format!(r#"{{"weight_map":{{"w":"{name}"}}}}"#));
        let IndexError::ShardName { shard, .. } = &error else { panic!("{name}: {error}") };
        says(&error, &[&format!("`w` is said to be in {shard:?}"), "not the plain name"]);
        says(&error, &["correct the index or fetch it again"]);
    }
}
