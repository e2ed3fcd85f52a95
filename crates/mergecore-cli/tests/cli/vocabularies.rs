//! Vocabularies of different size.

use serde_json::json;

use crate::LINEAR;
use crate::support::{Folder, config, floats, tensors};

/// Eight tokens.
const TOKENS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A folder whose model `b` has ten rows of vocabulary, where the others have eight.
fn folder() -> Folder {
    let folder = Folder::new();
    let mut other = tensors(2.0);
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        other.insert(name.to_owned(), floats(&[10, 4], 2.0));
    }
    let mut bigger = config();
    bigger["vocab_size"] = json!(10);
    folder.write_model("b", &bigger, &other);
    folder
}

#[test]
fn without_a_tokenizer_nothing_is_proven() {
    let folder = folder();
    let parts = [
        "recipe.yml:5:12",
        "`model.embed_tokens.weight` has 10 rows of vocabulary in `b` but 8 in `a`",
        "`b` and `a` have no tokenizer vocabulary",
        "put the tokenizer's files (tokenizer.json) beside the weights, or leave `b` out",
    ];
    folder.refuses(1, LINEAR, &parts);
    folder.write_tokens("a", &TOKENS);
    folder.refuses(1, LINEAR, &["`b` has no tokenizer vocabulary"]);
}

#[test]
fn tokenizers_of_different_kinds_prove_nothing() {
    let folder = folder();
    folder.write_tokens("a", &TOKENS);
    std::fs::remove_file(folder.path("b/tokenizer.json")).unwrap();
    std::fs::write(folder.path("b/tokenizer.model"), "pieces").unwrap();
    folder.refuses(1, LINEAR, &["different kinds", "put a tokenizer.json into both"]);
}

#[test]
fn tokens_that_differ_are_named() {
    let folder = folder();
    folder.write_tokens("a", &TOKENS);
    folder.write_tokens("b", &["a", "b", "X", "d", "e", "f", "h", "g", "<1>", "<2>"]);
    let parts = [
        "recipe.yml:5:12",
        "10 rows of vocabulary in `b` but 8 in `a`",
        r#"(`a` against `b`: id 2 is "c" in the one and "X" in the other, and 2 more differ)"#,
        "leave `b` out",
        "`tokenizer_source`",
    ];
    folder.refuses(1, LINEAR, &parts);
}

#[test]
fn a_tokenizer_that_cannot_be_read_is_named() {
    let folder = folder();
    folder.write_tokens("a", &TOKENS);
    std::fs::write(folder.path("b/tokenizer.json"), "{").unwrap();
    folder.refuses(1, LINEAR, &["recipe.yml:5:12", "b/tokenizer.json", "line 1"]);
}

#[test]
fn a_longer_vocabulary_is_cut_with_a_note() {
    let folder = folder();
    folder.write_tokens("a", &TOKENS);
    folder.write_tokens("b", &[&TOKENS[..], &["<im_end>", "<im_start>"]].concat());
    let (code, _, stderr) = folder.merge(LINEAR, &[]);
    assert_eq!(code, 0, "{stderr}");
    let note = "note: `b` has 10 rows of vocabulary and the output the 8 of `a`: rows 8 and 9 (`<im_end>`, `<im_start>`) are left out\n";
    assert_eq!(stderr.matches(note).count(), 1, "{stderr}");
}

#[test]
fn equal_sizes_of_different_tokens_are_noted() {
    let folder = Folder::new();
    folder.write_tokens("a", &TOKENS);
    folder.write_tokens("b", &["a", "b", "c", "d", "e", "f", "g", "H"]);
    let (code, _, stderr) = folder.merge(LINEAR, &[]);
    assert_eq!(code, 0, "{stderr}");
    for part in ["note: the tokenizers of `a` and `b` differ", r#"id 7 is "h""#, "tokenizer of `a`"]
    {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

#[test]
fn a_shorter_vocabulary_is_filled_with_a_note() {
    let folder = folder();
    folder.write_tokens("a", &TOKENS);
    folder.write_tokens("b", &[&TOKENS[..], &["<im_end>", "<im_start>"]].concat());
    let recipe = format!("{LINEAR}base_model: b\n");
    let (code, _, stderr) = folder.merge(&recipe, &[]);
    assert_eq!(code, 0, "{stderr}");
    let note = "note: `a` has 8 rows of vocabulary and the output the 10 of `b`: for rows 8 and 9 (`<im_end>`, `<im_start>`), which it lacks, those of `b` stand in\n";
    assert_eq!(stderr.matches(note).count(), 1, "{stderr}");
}
