//! A directory in memory where there is one, so that a target runs at its own speed and not
//! at a disk's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::TempDir;

/// A temporary directory, deleted with all that is in it.
pub struct Scratch(TempDir);

/// An entry of a tree: its path, what it is, its content or the target of a link.
pub type Entry = (PathBuf, &'static str, Vec<u8>, Option<SystemTime>);

impl Scratch {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Scratch(dir.expect("a temporary directory can be made"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// An empty directory of that name, whatever was there before.
    pub fn empty(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        if path.exists() {
            fs::remove_dir_all(&path).expect("what a target made it can delete");
        }
        fs::create_dir_all(&path).expect("a directory can be made");
        path
    }

    /// Everything in the directory but what lies under `except`, with contents and times of
    /// change: two equal listings mean that nothing was written in between.
    pub fn listing(&self, except: &Path) -> Vec<Entry> {
        let mut found = Vec::new();
        list(self.path(), except, &mut found);
        found.sort();
        found
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

fn list(dir: &Path, except: &Path, found: &mut Vec<Entry>) {
    for entry in fs::read_dir(dir).expect("a directory can be listed") {
        let path = entry.expect("a directory can be listed").path();
        if path == except {
            continue;
        }
        let metadata = fs::symlink_metadata(&path).expect("an entry has metadata");
        let kind = metadata.file_type();
        let modified = if kind.is_dir() { None } else { metadata.modified().ok() };
        let (what, content) = if kind.is_dir() {
            ("directory", Vec::new())
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).expect("a link can be read");
            ("link", target.into_os_string().into_encoded_bytes())
        } else if kind.is_file() {
            ("file", fs::read(&path).expect("a file can be read"))
        } else {
            ("special", Vec::new())
        };
        found.push((path.clone(), what, content, modified));
        if kind.is_dir() {
            list(&path, except, found);
        }
    }
}
