//! The cache: where it is, and how a name and a revision become a directory.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::HubError;

/// The revision that is meant where none is given.
const DEFAULT_REVISION: &str = "main";

/// Far above the 40 letters of a commit's name.
const MAX_REF_BYTES: u64 = 1024;

/// A Hugging Face cache on this machine.
///
/// ```
/// use mergecore_hub::HubCache;
/// # let dir = tempfile::tempdir().unwrap();
/// # let cache = dir.path().join("models--org--name");
/// # std::fs::create_dir_all(cache.join("refs")).unwrap();
/// # std::fs::create_dir_all(cache.join("snapshots/c0ffee")).unwrap();
/// # std::fs::write(cache.join("refs/v2"), "c0ffee\n").unwrap();
///
/// let cache = HubCache::new(dir.path());
/// let snapshot = cache.find("org/name", Some("v2"))?; // a tag
/// assert_eq!(snapshot, cache.dir().join("models--org--name/snapshots/c0ffee"));
/// # Ok::<(), mergecore_hub::HubError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubCache {
    dir: PathBuf,
}

impl HubCache {
    /// The cache in that directory, which need not exist.
    ///
    /// ```
    /// use mergecore_hub::HubCache;
    ///
    /// assert_eq!(HubCache::new("hub").dir().to_str(), Some("hub"));
    /// ```
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        HubCache { dir: dir.into() }
    }

    /// The cache that the environment names, or the default one; `None` where
    /// nothing says where that is, not even a home directory.
    ///
    /// ```
    /// use mergecore_hub::HubCache;
    ///
    /// if let Some(cache) = HubCache::from_env() {
    ///     println!("models are looked for in {}", cache.dir().display());
    /// }
    /// ```
    pub fn from_env() -> Option<Self> {
        HubCache::from_vars(|name| std::env::var_os(name), std::env::home_dir())
    }

    /// As [`from_env`](HubCache::from_env), with an environment (from a variable's name
    /// to its value) and a home directory of the caller's.
    ///
    /// ```
    /// use mergecore_hub::HubCache;
    ///
    /// let vars = |name: &str| (name == "HF_HOME").then(|| "~/hf".into());
    /// let cache = HubCache::from_vars(vars, Some("/home/me".into())).unwrap();
    /// assert_eq!(cache, HubCache::new("/home/me/hf/hub"));
    /// ```
    pub fn from_vars(
        var: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Option<Self> {
        let dir = |name: &str| {
            let path = PathBuf::from(var(name).filter(|value| !value.is_empty())?);
            match (path.strip_prefix("~"), &home) {
                (Ok(rest), Some(home)) => Some(home.join(rest)),
                _ => Some(path),
            }
        };
        let cache = dir("HF_HUB_CACHE")
            .or_else(|| dir("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(dir("HF_HOME")?.join("hub")))
            .or_else(|| Some(dir("XDG_CACHE_HOME")?.join("huggingface/hub")))
            .or_else(|| Some(home.clone()?.join(".cache/huggingface/hub")))?;
        Some(HubCache::new(cache))
    }

    /// The cache's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory with the files of a model.
    ///
    /// `name` is `org/name`, or `name` alone for an old model without an owner;
    /// `revision` is a branch, tag or full commit name, `main` if not given.
    ///
    /// # Errors
    /// If the model or the revision is not there; see [`HubError`].
    ///
    /// ```
    /// use mergecore_hub::HubCache;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let model = dir.path().join("models--org--name");
    /// # std::fs::create_dir_all(model.join("refs")).unwrap();
    /// # std::fs::create_dir_all(model.join("snapshots/c0ffee")).unwrap();
    /// # std::fs::write(model.join("refs/main"), "c0ffee").unwrap();
    ///
    /// let cache = HubCache::new(dir.path());
    /// let snapshot = cache.find("org/name", None)?;
    /// assert!(snapshot.ends_with("models--org--name/snapshots/c0ffee"));
    /// assert_eq!(cache.find("org/name", Some("c0ffee"))?, snapshot);
    /// # Ok::<(), mergecore_hub::HubError>(())
    /// ```
    pub fn find(&self, name: &str, revision: Option<&str>) -> Result<PathBuf, HubError> {
        if name.contains("--")
            || !name.split('/').all(is_plain)
            || !(1..=2).contains(&name.split('/').count())
        {
            return Err(HubError::NotAName { name: name.to_owned() });
        }
        if !self.dir.is_dir() {
            return Err(HubError::NoCache { dir: self.dir.clone() });
        }
        let dir = self.dir.join(folder_of(name));
        if !dir.is_dir() {
            let similar = self.similar(name);
            return Err(HubError::NotCached { dir, similar });
        }
        let revision = revision.unwrap_or(DEFAULT_REVISION);
        if !revision.split('/').all(is_plain) {
            return Err(HubError::NotARevision { revision: revision.to_owned() });
        }
        let snapshots = dir.join("snapshots");
        let commit = match read_ref(&dir.join("refs").join(revision))? {
            Some(commit) => commit,
            None if snapshots.join(revision).is_dir() => revision.to_owned(),
            None => {
                let available = revisions(&dir);
                return Err(HubError::NoRevision { dir, revision: revision.to_owned(), available });
            }
        };
        let snapshot = snapshots.join(&commit);
        if !is_plain(&commit) || !snapshot.is_dir() {
            return Err(HubError::NoSnapshot { revision: revision.to_owned(), snapshot });
        }
        Ok(snapshot)
    }

    /// The model in the cache of the same name but for letter case, or of another
    /// owner.
    fn similar(&self, name: &str) -> Option<String> {
        let last = |name: &str| name.rsplit('/').next().map(str::to_lowercase);
        let mut names: Vec<String> = list(&self.dir)
            .iter()
            .filter_map(|folder| Some(folder.strip_prefix("models--")?.replace("--", "/")))
            .filter(|other| last(other) == last(name))
            .collect();
        names.sort();
        names.into_iter().next()
    }
}

/// The name of a model's folder.
fn folder_of(name: &str) -> String {
    format!("models--{}", name.replace('/', "--"))
}

/// Whether a part of a name or revision is a plain file name on every system.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\\', ':', '\0'])
}

/// The commit that a branch or tag stands for; `None` if there is no such one.
fn read_ref(path: &Path) -> Result<Option<String>, HubError> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_REF_BYTES).read_to_string(&mut text))
        .map_err(|source: io::Error| HubError::Read { path: path.to_owned(), source })?;
    Ok(Some(text.trim().to_owned()))
}

/// Branches and tags with a slash in their names are found by name, but not listed.
fn revisions(dir: &Path) -> Vec<String> {
    let mut names = list(&dir.join("refs"));
    names.retain(|name| dir.join("refs").join(name).is_file());
    names.extend(list(&dir.join("snapshots")));
    names
}

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
