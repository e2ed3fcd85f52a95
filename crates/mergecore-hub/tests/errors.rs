//! One test for each way in which a model is not found, named for it.

/// [`mergecore_hub::HubError`].
mod hub_error {
    use std::fs;
    use std::path::{Path, PathBuf};

    use mergecore_hub::{HubCache, HubError};

    /// A cache with `org/name` in revision `c0ffee`, which is its branch `main`.
    fn cache() -> (tempfile::TempDir, HubCache, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("models--org--name");
        fs::create_dir_all(model.join("snapshots/c0ffee")).unwrap();
        fs::create_dir_all(model.join("refs")).unwrap();
        fs::write(model.join("refs/main"), "c0ffee").unwrap();
        fs::write(model.join("refs/fix--x"), "c0ffee").unwrap();
        let cache = HubCache::new(dir.path());
        (dir, cache, model)
    }

    #[track_caller]
    fn says(error: &HubError, parts: &[&str]) {
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
    }

    fn text(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    #[test]
    fn not_a_name() {
        let (_dir, cache, _) = cache();
        let error = cache.find("a/b/c", None).unwrap_err();
        assert!(matches!(error, HubError::NotAName { .. }));
        says(&error, &["`a/b/c` is not a model's name", "has the form org/name"]);
    }

    #[test]
    fn not_a_revision() {
        let (_dir, cache, _) = cache();
        let error = cache.find("org/name", Some("../x")).unwrap_err();
        assert!(matches!(error, HubError::NotARevision { .. }));
        says(&error, &["`../x` cannot be a revision", "a branch, a tag or a commit"]);
    }

    #[test]
    fn no_cache() {
        let (dir, ..) = cache();
        let none = dir.path().join("none");
        let error = HubCache::new(&none).find("org/name", None).unwrap_err();
        assert!(matches!(error, HubError::NoCache { .. }));
        says(&error, &["no Hugging Face cache at ", text(&none)]);
    }

    #[test]
    fn not_cached() {
        let (dir, cache, _) = cache();
        let error = cache.find("org/other", None).unwrap_err();
        assert!(matches!(error, HubError::NotCached { similar: None, .. }));
        says(&error, &["has no ", text(&dir.path().join("models--org--other"))]);
        let error = cache.find("else/Name", None).unwrap_err();
        says(&error, &["models--else--Name", "did you mean `org/name`, which it has?"]);
    }

    #[test]
    fn no_revision() {
        let (_dir, cache, model) = cache();
        let error = cache.find("org/name", Some("v2")).unwrap_err();
        assert!(matches!(error, HubError::NoRevision { .. }));
        says(&error, &[text(&model), "not its revision `v2`", "there are fix--x, main, c0ffee"]);
    }

    #[test]
    fn no_snapshot() {
        let (_dir, cache, model) = cache();
        fs::write(model.join("refs/gone"), "deadbeef").unwrap();
        let error = cache.find("org/name", Some("gone")).unwrap_err();
        assert!(matches!(error, HubError::NoSnapshot { .. }));
        let snapshot = model.join("snapshots/deadbeef");
        says(&error, &["`gone`", text(&snapshot), "the download was never completed"]);
    }

    #[test]
    fn read() {
        let (_dir, cache, model) = cache();
        fs::write(model.join("refs/main"), b"c0ffee\xff").unwrap();
        let error = cache.find("org/name", None).unwrap_err();
        assert!(matches!(error, HubError::Read { .. }));
        says(&error, &["cannot read ", text(&model.join("refs/main")), "UTF-8"]);
        says(&error, &["remove it from the cache"]);
    }
}
