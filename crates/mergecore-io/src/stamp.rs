//! Whether a file is still what it was.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::IoError;
use crate::storage::Storage;

/// What changes when a file is written to or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device and number on it, where files have such.
    id: Option<(u64, u64)>,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Stamp { bytes: metadata.len(), modified: metadata.modified().ok(), id: id(metadata) }
    }

    /// What is another, in words.
    fn difference(&self, now: &Stamp) -> Option<String> {
        if self.bytes != now.bytes {
            return Some(format!("it had {} bytes and has {}", self.bytes, now.bytes));
        }
        if self.id != now.id {
            return Some("another file has taken its name".to_owned());
        }
        (self.modified != now.modified).then(|| "it was written to".to_owned())
    }
}

#[cfg(unix)]
fn id(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn id(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// A file with what it was like when it was first looked at.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    path: PathBuf,
    stamp: Stamp,
}

impl Watched {
    /// To be taken before the file is read.
    pub(crate) fn new(path: &Path, metadata: &Metadata) -> Self {
        Watched { path: path.to_owned(), stamp: Stamp::of(metadata) }
    }

    /// Whether the name still leads to the same file, and `open`, the file once opened, is as
    /// it was.
    pub(crate) fn check(&self, storage: &Storage, open: Option<&File>) -> Result<(), IoError> {
        let Watched { path, stamp } = self;
        let changed = |how: String| IoError::Changed { path: path.clone(), how };
        let named = match storage.inspect(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(changed("it is not there any more".to_owned()));
            }
            Err(error) => return Err(IoError::system("open", path)(error)),
        };
        let open = open.map(File::metadata).transpose().map_err(IoError::system("open", path))?;
        let now = std::iter::once(&named).chain(&open);
        match now.map(Stamp::of).find_map(|now| stamp.difference(&now)) {
            Some(how) => Err(changed(how)),
            None => Ok(()),
        }
    }
}
