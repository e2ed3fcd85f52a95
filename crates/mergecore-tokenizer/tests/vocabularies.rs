//! Vocabularies of every kind of file, and what two of them prove.

use std::path::Path;

use mergecore_tokenizer::{Disagreement, Vocabulary};

/// A directory with those files.
fn tokenizer(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn read(files: &[(&str, &str)]) -> Vocabulary {
    Vocabulary::read(tokenizer(files).path()).unwrap()
}

const BPE: &str = r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]},
    "added_tokens": [{"id": 0, "content": "a", "special": true}, {"id": 2, "content": "<x>"}]}"#;
const UNIGRAM: &str = r#"{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", -1.5]]},
    "added_tokens": [{"id": 2, "content": "<x>"}]}"#;

#[test]
fn every_form_of_vocabulary() {
    let forms: [&[(&str, &str)]; 4] = [
        &[("tokenizer.json", BPE), ("vocab.json", r#"{"stale": 0}"#)],
        &[("tokenizer.json", UNIGRAM)],
        &[("vocab.json", r#"{"a": 0, "b": 1}"#), ("added_tokens.json", r#"{"<x>": 2}"#)],
        &[
            ("vocab.txt", "a\r\nb\r\n"),
            ("tokenizer_config.json", r#"{"added_tokens_decoder": {"2": {"content": "<x>"}}}"#),
        ],
    ];
    for files in forms {
        let vocabulary = read(files);
        let tokens = [0, 1, 2, 3].map(|id| vocabulary.token(id));
        assert_eq!(tokens, [Some("a"), Some("b"), Some("<x>"), None], "{files:?}");
        assert_eq!(vocabulary.compare(&read(forms[0]), 3), Ok(()), "{files:?}");
    }
}

#[test]
fn the_first_difference_is_named() {
    let base = read(&[("vocab.json", r#"{"a": 0, "b": 1, "c": 2, "d": 4}"#)]);
    let other = read(&[("vocab.json", r#"{"a": 0, "B": 1, "c": 2, "x": 3}"#)]);
    let differs = |id, first: &str, second: Option<&str>, count| {
        let (first, second) = (first.to_owned(), second.map(str::to_owned));
        Err(Disagreement::Differs { id, first, second, count })
    };
    assert_eq!(base.compare(&other, 1), Ok(()));
    assert_eq!(base.compare(&other, 4), differs(1, "b", Some("B"), 1));
    assert_eq!(base.compare(&other, 5), differs(1, "b", Some("B"), 2));
    assert_eq!(other.compare(&base, 4), differs(1, "B", Some("b"), 2));
    let text = base.compare(&other, 5).unwrap_err().to_string();
    assert_eq!(text, r#"id 1 is "b" in the one and "B" in the other, and 1 more differ"#);
}

#[test]
fn opaque_files_prove_by_being_the_same() {
    let model =
        |content, added| read(&[("tokenizer.model", content), ("added_tokens.json", added)]);
    let base = model("pieces", "{}");
    assert!(base.is_empty());
    assert_eq!(base.compare(&model("pieces", r#"{"<x>": 3}"#), 3), Ok(()));
    let text = base.compare(&model("others", "{}"), 3).unwrap_err().to_string();
    assert!(text.contains("tokenizer.model"), "{text}");
    let (one, two) = (model("pieces", r#"{"<x>": 3}"#), model("pieces", r#"{"<y>": 3}"#));
    assert_eq!(one.compare(&two, 3), Ok(()));
    assert!(matches!(one.compare(&two, 4), Err(Disagreement::Differs { id: 3, .. })));
    let listed = read(&[("vocab.json", r#"{"a": 0}"#)]);
    assert_eq!(base.compare(&listed, 1), Err(Disagreement::Unknown));
}

#[test]
fn nothing_proves_nothing() {
    let empty = read(&[]);
    let without = read(&[("tokenizer.json", r#"{"model": {}}"#)]);
    assert_eq!(empty.compare(&empty, 1), Err(Disagreement::Unknown));
    assert_eq!(without.compare(&without, 1), Err(Disagreement::Unknown));
    let null = read(&[("tokenizer.json", r#"{"model": {"vocab": null}, "added_tokens": null}"#)]);
    assert!(!null.is_known());
}

#[test]
fn a_directory_that_is_not_there_has_no_tokenizer() {
    assert!(Vocabulary::read(Path::new("/no/such/directory")).unwrap().is_empty());
}

/// One has tokenizer.json and tokenizer.model, the other the same tokenizer.model alone.
#[test]
fn the_same_opaque_file_proves_what_only_one_side_lists() {
    let both = read(&[("tokenizer.json", BPE), ("tokenizer.model", "pieces")]);
    let alone = read(&[("tokenizer.model", "pieces")]);
    assert_eq!(both.compare(&alone, 2), Ok(()));
    assert_eq!(alone.compare(&both, 2), Ok(()));
    // Id 2 was added to the one, and the other's row 2 may be anything.
    assert!(matches!(both.compare(&alone, 3), Err(Disagreement::Differs { id: 2, .. })));
    let another = read(&[("tokenizer.model", "others")]);
    assert!(matches!(both.compare(&another, 2), Err(Disagreement::Files { .. })));
}
