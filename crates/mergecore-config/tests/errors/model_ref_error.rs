//! [`ModelRefError`]: model references that cannot be read.

use mergecore_config::{ModelRef, ModelRefError};

use crate::says;

#[track_caller]
fn error(text: &str) -> ModelRefError {
    text.parse::<ModelRef>().unwrap_err()
}

#[test]
fn no_path() {
    for text in ["", "@v1", "a+", "+a"] {
        let error = error(text);
        assert!(matches!(&error, ModelRefError::NoPath { text: t } if t == text), "{error}");
        says(&error, &[&format!("`{text}` lacks a path"), "write `org/name` or a path"]);
    }
}

#[test]
fn no_revision() {
    let error = error("org/name@");
    assert!(matches!(&error, ModelRefError::NoRevision { text } if text == "org/name@"));
    says(&error, &["`org/name@`", "nothing after its `@`", "name a revision there"]);
}

#[test]
fn several_plus() {
    let error = error("a+b+c");
    assert!(matches!(&error, ModelRefError::SeveralPlus { text } if text == "a+b+c"));
    says(&error, &["`a+b+c`", "more than one `+`", "{model: {path: ...}, adapter: {path: ...}}"]);
}

#[test]
fn several_at() {
    let error = error("a@b@c");
    assert!(matches!(&error, ModelRefError::SeveralAt { text } if text == "a@b@c"));
    says(&error, &["`a@b@c`", "more than one `@`", "{path: ..., revision: ...}"]);
}
