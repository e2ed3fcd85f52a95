//! Tokenizers from strangers: an answer at once, whatever is in their files.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use mergecore_io::IoError;
use mergecore_tokenizer::{TokenizerError, Vocabulary};

/// What reading gives, which must not take ten seconds.
fn read(dir: &Path) -> Result<Vocabulary, TokenizerError> {
    let (send, receive) = mpsc::channel();
    let dir = dir.to_owned();
    std::thread::spawn(move || send.send(Vocabulary::read(&dir)));
    receive.recv_timeout(Duration::from_secs(10)).expect("it takes too long")
}

fn with(name: &str, content: impl AsRef<[u8]>) -> Result<Vocabulary, TokenizerError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), content).unwrap();
    read(dir.path())
}

const FILES: [&str; 6] = [
    "tokenizer.json",
    "vocab.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "vocab.txt",
    "tokenizer.model",
];

#[cfg(unix)]
#[test]
fn pipes_sockets_and_devices_are_not_opened() {
    for name in FILES {
        for make in ["pipe", "socket", "device"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            match make {
                "pipe" => {
                    let made = std::process::Command::new("mkfifo").arg(&path).status();
                    assert!(made.unwrap().success());
                }
                "socket" => drop(std::os::unix::net::UnixListener::bind(&path).unwrap()),
                _ => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
            }
            let error = read(dir.path()).unwrap_err();
            let refused = matches!(error, TokenizerError::Read(IoError::NotAFile { .. }));
            assert!(refused, "{name}, {make}: {error}");
        }
    }
}

#[test]
fn nesting_without_end() {
    for (name, start) in [
        ("tokenizer.json", "["),
        ("tokenizer.json", r#"{"model":{"vocab":"#),
        ("tokenizer.json", r#"{"model":{"vocab":["#),
        ("tokenizer.json", r#"{"unknown":"#),
        ("vocab.json", r#"{"a":"#),
    ] {
        let text = format!("{start}{}", "[".repeat(1_000_000));
        assert!(matches!(with(name, text), Err(TokenizerError::Json { .. })), "{name}");
    }
}

#[test]
fn text_that_is_not_utf8() {
    for name in ["tokenizer.json", "vocab.json"] {
        let error = with(name, b"{\"caf\xe9\": 1}").unwrap_err();
        assert!(matches!(error, TokenizerError::Json { .. }), "{error}");
    }
}

#[test]
fn ids_far_apart_take_no_memory() {
    let text = r#"{"model": {"vocab": {"a": 0, "b": 4294967295}}}"#;
    let vocabulary = with("tokenizer.json", text).unwrap();
    assert_eq!(vocabulary.token(4_294_967_295), Some("b"));
}
