//! Names and revisions in caches as they are found on disk.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use mergecore_hub::{HubCache, HubError};

const COMMIT: &str = "1842b397d5f410f53392d7028ad3ff187fbb2ce7";

/// A cache with one model, `org/name`, whose only file is a link to its blob.
fn cache() -> (tempfile::TempDir, HubCache) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("models--org--name");
    let snapshot = model.join("snapshots").join(COMMIT);
    for dir in [&snapshot, &model.join("refs/pr"), &model.join("blobs")] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::write(model.join("refs/main"), COMMIT).unwrap();
    fs::write(model.join("refs/v1"), format!("{COMMIT}\n")).unwrap();
    fs::write(model.join("refs/pr/1"), COMMIT).unwrap();
    fs::write(model.join("refs/fix--x"), COMMIT).unwrap();
    fs::write(model.join("blobs/aa"), "{}").unwrap();
    link(Path::new("../../blobs/aa"), &snapshot.join("config.json"));
    let cache = HubCache::new(dir.path());
    (dir, cache)
}

#[cfg(unix)]
fn link(target: &Path, at: &Path) {
    std::os::unix::fs::symlink(target, at).unwrap();
}

/// Where links need a privilege, the hub's own programs copy too.
#[cfg(not(unix))]
fn link(_: &Path, at: &Path) {
    fs::write(at, "{}").unwrap();
}

#[test]
fn branches_tags_and_commits() {
    let (dir, cache) = cache();
    let expected = dir.path().join("models--org--name/snapshots").join(COMMIT);
    for revision in [None, Some("main"), Some("v1"), Some("pr/1"), Some("fix--x"), Some(COMMIT)] {
        assert_eq!(cache.find("org/name", revision).unwrap(), expected, "{revision:?}");
    }
    assert_eq!(fs::read_to_string(expected.join("config.json")).unwrap(), "{}");
}

#[test]
fn a_name_without_an_owner() {
    let (dir, cache) = cache();
    let snapshot = dir.path().join("models--gpt2/snapshots/c0ffee");
    fs::create_dir_all(&snapshot).unwrap();
    assert_eq!(cache.find("gpt2", Some("c0ffee")).unwrap(), snapshot);
}

#[test]
fn names_cannot_leave_the_cache() {
    let (dir, cache) = cache();
    fs::create_dir_all(dir.path().join("models--a--b")).unwrap();
    for name in ["..", "../x", "a/../b", "/a", "a/", "a/b/c", "a\\b", "a--b", "", ".a/b"] {
        let error = cache.find(name, None).unwrap_err();
        assert!(matches!(error, HubError::NotAName { .. }), "{name}: {error}");
    }
    for revision in ["../../..", "a/../b", "/etc", "", "a//b"] {
        let error = cache.find("org/name", Some(revision)).unwrap_err();
        assert!(matches!(error, HubError::NotARevision { .. }), "{revision}: {error}");
    }
    let outside = dir.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    let absolute = outside.display().to_string();
    for commit in ["../../..", "../../outside", &format!("{COMMIT}/../../../outside"), &absolute] {
        fs::write(dir.path().join("models--org--name/refs/evil"), commit).unwrap();
        let error = cache.find("org/name", Some("evil")).unwrap_err();
        assert!(matches!(error, HubError::NoSnapshot { .. }), "{commit}: {error}");
    }
}

#[test]
fn the_environment_says_where() {
    let find = |vars: &[(&str, &str)], home: Option<&str>| {
        let var = |name: &str| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        HubCache::from_vars(var, home.map(PathBuf::from)).map(|cache| cache.dir().to_owned())
    };
    let path = |text: &str| Some(PathBuf::from(text));
    let all = [
        ("HF_HUB_CACHE", "/a"),
        ("HUGGINGFACE_HUB_CACHE", "/b"),
        ("HF_HOME", "/c"),
        ("XDG_CACHE_HOME", "/d"),
    ];
    assert_eq!(find(&all, Some("/h")), path("/a"));
    assert_eq!(find(&all[1..], Some("/h")), path("/b"));
    assert_eq!(find(&all[2..], Some("/h")), path("/c/hub"));
    assert_eq!(find(&all[3..], Some("/h")), path("/d/huggingface/hub"));
    assert_eq!(find(&[], Some("/h")), path("/h/.cache/huggingface/hub"));
    assert_eq!(find(&[("HF_HUB_CACHE", "")], Some("/h")), path("/h/.cache/huggingface/hub"));
    assert_eq!(find(&[("HF_HUB_CACHE", "~/x")], Some("/h")), path("/h/x"));
    assert_eq!(find(&[("HF_HUB_CACHE", "../hub")], None), path("../hub"));
    assert_eq!(find(&[], None), None);
}
