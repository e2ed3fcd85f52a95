//! One test for each way in which a tokenizer cannot be read, named for it.

/// [`mergecore_tokenizer::TokenizerError`].
mod tokenizer_error {
    use std::fs;

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
        let error =
            error("tokenizer.json", link, &["cannot read", "No such file", "fetch it again"]);
        assert!(matches!(error, TokenizerError::Read { .. }));
    }

    #[test]
    fn not_a_file() {
        for name in ["tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model"] {
            let dir = |path: &std::path::Path| fs::create_dir(path).unwrap();
            let error = error(name, dir, &["not a regular file", "tokenizer's own file"]);
            assert!(matches!(error, TokenizerError::NotAFile { .. }), "{error}");
        }
    }

    #[test]
    fn too_large() {
        let sparse = |path: &std::path::Path| {
            fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        };
        let error = error("tokenizer.json", sparse, &["larger than 200000000 bytes", "again"]);
        assert!(matches!(error, TokenizerError::TooLarge { limit: 200_000_000, .. }));
    }

    #[test]
    fn json() {
        for (name, content, what) in [
            ("tokenizer.json", "{\n  \"model\": 7}", "line 2"),
            ("tokenizer.json", r#"{"model": {"vocab": {"a": 99999999999}}}"#, "99999999999"),
            ("tokenizer.json", r#"{"model": {"vocab": {"a": -1}}}"#, "-1"),
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
