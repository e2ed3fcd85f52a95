//! The lock that keeps two processes from making one output at once.

use std::fs::{File, FileType, TryLockError};
use std::io::{self, Read};
use std::path::Path;

use crate::discover::kind_of;
use crate::error::IoError;
use crate::storage::Storage;

/// The lock's file in the directory beside the output.
pub(crate) const LOCK: &str = "lock";

/// What becomes of something odd in the place of what is ours. A link is, too: it would lead to
/// what is not.
#[derive(Clone, Copy)]
pub(crate) enum Odd {
    IsRefused,
    IsRemoved,
}

impl Odd {
    /// Sees that what bears the name, if anything does, is of the kind that it should be.
    pub(crate) fn look_at(
        self,
        storage: &Storage,
        path: &Path,
        is_right: impl Fn(&FileType) -> bool,
    ) -> Result<(), IoError> {
        match path.symlink_metadata().map(|metadata| metadata.file_type()) {
            Ok(kind) if !is_right(&kind) => match self {
                Odd::IsRemoved => remove(storage, path, kind),
                Odd::IsRefused => {
                    Err(IoError::OddWork { path: path.to_owned(), found: kind_of(kind) })
                }
            },
            _ => Ok(()),
        }
    }
}

/// Removes whatever it is, and of a link nothing that it leads to.
pub(crate) fn remove(storage: &Storage, path: &Path, kind: FileType) -> Result<(), IoError> {
    let removed = match kind.is_dir() {
        true => storage.remove_dir_all(path),
        false => storage.remove_file(path),
    };
    removed.map_err(IoError::system("remove", path))
}

/// Makes the directory beside the output, or takes over one that nobody holds; yields the lock
/// and whether the directory is new.
pub(crate) fn claim(
    storage: &Storage,
    home: &Path,
    output: &Path,
    odd: Odd,
) -> Result<(Option<File>, bool), IoError> {
    let locked = |holder: String| IoError::OutputLocked {
        path: output.to_owned(),
        staging: home.to_owned(),
        holder,
    };
    // Someone finishing at this very moment may remove the directory under us.
    for _ in 0..10 {
        odd.look_at(storage, home, FileType::is_dir)?;
        let is_new = match storage.create_dir(home) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(IoError::system("create", home)(error)),
        };
        let path = home.join(LOCK);
        odd.look_at(storage, &path, FileType::is_file)?;
        let opened = storage.open_or_create(&path);
        if is_new && opened.is_err() {
            let _ = storage.remove_dir(home);
        }
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(IoError::system("create", path)(error)),
        };
        match file.try_lock() {
            Ok(()) if is_still_at(&file, &path) => {
                // For people only: nothing depends on what is in it.
                let name = own_name();
                let _ = storage.set_len(&file, &path, name.len() as u64);
                let _ = storage.write_at(&file, &path, name.as_bytes(), 0);
                return Ok((Some(file), is_new));
            }
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => return Err(locked(holder(file))),
            // Without locks, a directory that exists may be in use.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return if is_new { Ok((None, true)) } else { Err(locked(holder(file))) };
            }
            Err(TryLockError::Error(error)) => return Err(IoError::system("lock", path)(error)),
        }
    }
    Err(locked("someone".to_owned()))
}

/// This process, for others that find its lock.
fn own_name() -> String {
    format!("process {} on {}", std::process::id(), host())
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "this machine".to_owned())
}

/// Who wrote a lock file.
fn holder(file: File) -> String {
    let mut name = Vec::new();
    let _ = file.take(200).read_to_end(&mut name);
    match String::from_utf8_lossy(&name).trim() {
        "" => "another process".to_owned(),
        name => name.to_owned(),
    }
}

/// Whether the file locked is the one that bears the name now.
#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Elsewhere, an open file keeps its name.
#[cfg(not(unix))]
fn is_still_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_holder_is_named_as_far_as_it_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "").unwrap();
        assert_eq!(holder(File::open(&path).unwrap()), "another process");
        fs::write(&path, own_name()).unwrap();
        let name = holder(File::open(&path).unwrap());
        assert!(name.starts_with(&format!("process {} on ", std::process::id())), "{name}");
    }
}
