//! One test for each way in which a tokenizer cannot be read, named for it.

/// [`mergecore_tokenizer::TokenizerError`].
mod tokenizer_error {
    use std::cell::Cell;
    use std::fs;

    use mergecore_io::{IoError, MAX_FILE_BYTES, Storage};
    use mergecore_tokenizer::{TokenizerError, Vocabulary};

    /// Reading a directory with that file must fail, with a text that names the file.
    #[track_caller]
    fn error(name: &str, put: impl FnOnce(&std::path::Path), parts: &[&str]) -> TokenizerError {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        put(&path);
        let error = Vocabulary::read(dir.path()).unwrap_err();
        let text = error.to_string();
        for part in parts.iter().chain(&[path.to_str().unwrap()]) {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
        error
    }

    #[cfg(unix)]
    #[test]
    fn read() {
        let link = |path: &std::path::Path| std::os::unix::fs::symlink("gone", path).unwrap();
        let broken = error("tokenizer.json", link, &["a symbolic link", "fetch the model again"]);
        assert!(matches!(broken, TokenizerError::Read(IoError::BrokenLink { .. })));
        for name in ["tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model"] {
            let dir = |path: &std::path::Path| fs::create_dir(path).unwrap();
            let error = error(name, dir, &["is a directory, not a regular file"]);
            assert!(matches!(error, TokenizerError::Read(IoError::NotAFile { .. })), "{error}");
        }
    }

    /// The same limit as for every other file that is read whole.
    #[test]
    fn too_large() {
        let of = |bytes: u64| {
            move |path: &std::path::Path| {
                fs::File::create(path).unwrap().set_len(bytes).unwrap();
            }
        };
        for name in ["tokenizer.json", "tokenizer.model"] {
            let parts = ["has 100000001 bytes, beyond the 100000000", "fetch it again"];
            let error = error(name, of(MAX_FILE_BYTES + 1), &parts);
            let TokenizerError::Read(IoError::FileTooLarge { limit, .. }) = error else {
                panic!("{error}")
            };
            assert_eq!(limit, MAX_FILE_BYTES);
        }
        // Zeros are no JSON, but they are read.
        let error = error("tokenizer.json", of(MAX_FILE_BYTES), &["cannot be understood"]);
        assert!(matches!(error, TokenizerError::Json { .. }));
    }

    /// While the vocabulary is read, not only before and after.
    #[test]
    fn stopped() {
        let vocab: Vec<String> = (0..5000).map(|id| format!("\"token{id}\": {id}")).collect();
        let vocab = format!("{{{}}}", vocab.join(", "));
        let list: Vec<String> = (0..5000).map(|id| format!("[\"token{id}\", 0]")).collect();
        for (name, content) in [
            ("tokenizer.json", format!("{{\"model\": {{\"vocab\": {vocab}}}}}")),
            ("tokenizer.json", format!("{{\"model\": {{\"vocab\": [{}]}}}}", list.join(", "))),
            ("vocab.json", vocab),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), content).unwrap();
            let asked = Cell::new(0);
            let stop = || {
                asked.set(asked.get() + 1);
                asked.get() > 2
            };
            let read = Vocabulary::read_unless(dir.path(), &Storage::new(), &stop);
            let error = read.unwrap_err();
            assert!(matches!(error, TokenizerError::Stopped { .. }), "{error}");
            assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
            // Before, at the first token and the thousandth, and at the end.
            assert_eq!(asked.get(), 4, "{name}");
        }
    }

    #[test]
    fn json() {
        for (name, content, what) in [
            ("tokenizer.json", "{\n  \"model\": 7}", "line 2"),
            ("tokenizer.json", r#"{"model": {"vocab": {"a": 99999999999}}}"#, "99999999999"),
            ("tokenizer.json", r#"{"model": {"vocab": {"a": -1}}}"#, "-1"),
            ("tokenizer.json", r#"{"model": {}, "model": {}}"#, "duplicate field `model`"),
            ("tokenizer.json", "{\"model\":\n{\"vocab\": {}, \"vocab\": {}}}", "line 2"),
            ("tokenizer.json", r#"{"added_tokens": [], "added_tokens": []}"#, "duplicate field"),
            ("tokenizer.json", "{} {}", "trailing characters"),
            ("tokenizer.json", "{\"model\": null}", "line 1"),
            ("vocab.json", "[1]", "line 1"),
            ("added_tokens.json", "\u{0}", "line 1"),
            ("tokenizer_config.json", r#"{"added_tokens_decoder": {"x": {}}}"#, "line 1"),
        ] {
            let put = |path: &std::path::Path| fs::write(path, content).unwrap();
            let error = error(name, put, &["cannot be understood", what, "fetch it again"]);
            assert!(matches!(error, TokenizerError::Json { .. }), "{error}");
        }
    }
}
