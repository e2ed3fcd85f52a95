//! The output's working directory, which becomes the output only when complete.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::discover::{kind_of, list_directory};
use crate::error::IoError;
use crate::writer::sync_dir;

const LOCK: &str = "lock";

/// A directory in which the output is made, and which takes the output's name in
/// one step when it is complete.
///
/// It is beside the output: `.<name>.mergecore-partial`. Dropped before
/// [`commit`](StagedDir::commit), it is removed.
///
/// A lock file in it keeps two processes from making one output at once; what a
/// crashed process left is wiped by the next.
///
/// ```
/// use mergecore_io::StagedDir;
///
/// let dir = tempfile::tempdir().unwrap();
/// let output = dir.path().join("merged");
/// let staged = StagedDir::create(&output, false)?;
/// std::fs::write(staged.path().join("config.json"), "{}").unwrap();
/// assert!(!output.exists());
/// staged.commit()?;
/// assert!(output.join("config.json").exists());
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug)]
pub struct StagedDir {
    staging: PathBuf,
    output: PathBuf,
    overwrite: bool,
    /// `None` where the file system has no locks.
    lock: Option<File>,
    /// Directories above the output that were missing, innermost first.
    made: Vec<PathBuf>,
    /// Whether dropping removes the directory.
    disposable: bool,
}

impl StagedDir {
    /// Makes the working directory of `output`, and the directories above it
    /// where they are missing.
    ///
    /// An output that exists must be an empty directory or, with `overwrite`, a
    /// checkpoint; nothing is done to it before [`commit`](StagedDir::commit). An
    /// output that is a symbolic link stands for the directory that it leads to.
    ///
    /// # Errors
    ///
    /// [`IoError::OutputName`], [`IoError::OutputExists`],
    /// [`IoError::OutputNotADirectory`], [`IoError::OutputNotACheckpoint`],
    /// [`IoError::OutputLocked`] and [`IoError::System`].
    ///
    /// ```
    /// use mergecore_io::{IoError, StagedDir};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// std::fs::write(dir.path().join("notes.txt"), "").unwrap();
    /// let error = StagedDir::create(dir.path(), false).unwrap_err();
    /// assert!(matches!(error, IoError::OutputExists { .. }));
    /// // Nor is everything deleted on request.
    /// let error = StagedDir::create(dir.path(), true).unwrap_err();
    /// assert!(matches!(error, IoError::OutputNotACheckpoint { .. }));
    /// ```
    pub fn create(output: &Path, overwrite: bool) -> Result<StagedDir, IoError> {
        let output = resolve(output)?;
        check_output(&output, overwrite)?;
        let parent = parent(&output);
        let made: Vec<PathBuf> =
            parent.ancestors().take_while(|dir| !dir.exists()).map(Path::to_owned).collect();
        fs::create_dir_all(parent).map_err(IoError::system("create", parent))?;
        let staging = sibling(&output, "partial")?;
        let lock = claim(&staging, &output)?;
        let staged = StagedDir { staging, output, overwrite, lock, made, disposable: true };
        staged.wipe()?;
        Ok(staged)
    }

    /// The working directory.
    ///
    /// ```
    /// use mergecore_io::StagedDir;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let staged = StagedDir::create(&dir.path().join("merged"), false)?;
    /// assert_eq!(staged.path().file_name().unwrap(), ".merged.mergecore-partial");
    /// assert_eq!(staged.output().file_name().unwrap(), "merged");
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.staging
    }

    /// The output's final path.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Gives the directory its final name. An output that is replaced is first
    /// moved aside, moved back if that fails, and deleted at the very end.
    ///
    /// # Errors
    ///
    /// [`IoError::Commit`] if the output cannot be moved into place: it is then
    /// kept where it is, complete. [`IoError::OldOutputLeft`] if all went well
    /// except that the replaced output could not be deleted. [`IoError::System`]
    /// if syncing fails.
    ///
    /// ```
    /// use mergecore_io::StagedDir;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let output = dir.path().join("merged");
    /// for content in ["{}", r#"{"model_type": "tiny"}"#] {
    ///     let staged = StagedDir::create(&output, true)?;
    ///     std::fs::write(staged.path().join("config.json"), content).unwrap();
    ///     staged.commit()?; // the second time, what the first made is replaced
    ///     assert_eq!(std::fs::read_to_string(output.join("config.json")).unwrap(), content);
    /// }
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn commit(mut self) -> Result<(), IoError> {
        self.disposable = false;
        sync_tree(&self.staging)?;
        if cfg!(windows) {
            // There, an open file keeps its directory from being renamed.
            self.remove_lock(&self.staging.clone());
        }
        let old = self.move_into_place().map_err(|source| IoError::Commit {
            path: self.output.clone(),
            staging: self.staging.clone(),
            source,
        })?;
        // Only now: unlocked under its old name, the directory could be taken
        // for a leftover and wiped.
        self.remove_lock(&self.output.clone());
        sync_dir(&self.output)?;
        sync_dir(parent(&self.output))?;
        if let Some(old) = old {
            fs::remove_dir_all(&old).map_err(|source| IoError::OldOutputLeft {
                path: self.output.clone(),
                old,
                source,
            })?;
        }
        Ok(())
    }

    /// Gives the path to which an old output was moved, if there was one.
    fn move_into_place(&self) -> io::Result<Option<PathBuf>> {
        match fs::remove_dir(&self.output) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if !self.overwrite => return Err(error),
            Err(_) => {
                let old = self.unused_name()?;
                fs::rename(&self.output, &old)?;
                return match fs::rename(&self.staging, &self.output) {
                    Ok(()) => Ok(Some(old)),
                    Err(error) => {
                        // The first failure is the one to report.
                        let _ = fs::rename(&old, &self.output);
                        Err(error)
                    }
                };
            }
        }
        fs::rename(&self.staging, &self.output)?;
        Ok(None)
    }

    /// A sibling's name for the old output that no earlier crash has left in use.
    fn unused_name(&self) -> io::Result<PathBuf> {
        let names = (0..1000).map(|n| sibling(&self.output, &format!("old-{n}")));
        let free = names.flatten().find(|path| fs::symlink_metadata(path).is_err());
        free.ok_or_else(|| io::ErrorKind::AlreadyExists.into())
    }

    fn remove_lock(&mut self, dir: &Path) {
        self.lock = None;
        // An empty file too many does not make the output wrong.
        let _ = fs::remove_file(dir.join(LOCK));
    }

    /// Removes what an interrupted process left.
    fn wipe(&self) -> Result<(), IoError> {
        let list = |source| IoError::System { action: "list", path: self.staging.clone(), source };
        for entry in fs::read_dir(&self.staging).map_err(list)? {
            let entry = entry.map_err(list)?;
            if entry.file_name() == LOCK {
                continue;
            }
            let path = entry.path();
            let is_dir = entry.file_type().map_err(list)?.is_dir();
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(IoError::system("remove", path))?;
        }
        Ok(())
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        if self.disposable {
            if cfg!(windows) {
                self.lock = None;
            }
            let _ = fs::remove_dir_all(&self.staging);
            // Only where nobody has put something else there.
            self.made.iter().for_each(|dir| drop(fs::remove_dir(dir)));
        }
    }
}

/// The output's path with its own name at the end, links followed.
fn resolve(output: &Path) -> Result<PathBuf, IoError> {
    let is_link = fs::symlink_metadata(output).is_ok_and(|metadata| metadata.is_symlink());
    let resolved = match is_link {
        true if fs::metadata(output).is_err() => {
            return Err(IoError::BrokenLink { path: output.to_owned() });
        }
        true => fs::canonicalize(output).map_err(IoError::system("open", output))?,
        // Drops a trailing slash, and a `.` at the end.
        false => output.components().collect(),
    };
    match resolved.file_name() {
        Some(_) => Ok(resolved),
        None => Err(IoError::OutputName { path: output.to_owned() }),
    }
}

fn check_output(output: &Path, overwrite: bool) -> Result<(), IoError> {
    let metadata = match fs::metadata(output) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(IoError::system("open", output)(error)),
    };
    if !metadata.is_dir() {
        let found = kind_of(metadata.file_type());
        return Err(IoError::OutputNotADirectory { path: output.to_owned(), found });
    }
    let names = list_directory(output)?;
    if names.is_empty() {
        return Ok(());
    }
    if !overwrite {
        return Err(IoError::OutputExists { path: output.to_owned() });
    }
    // Overwriting deletes the whole directory. A slip of the hand must not cost
    // someone a home directory.
    let typical = |name: &String| {
        name == "config.json"
            || [".safetensors", ".bin", ".gguf"].iter().any(|end| name.ends_with(end))
    };
    match names.iter().any(typical) {
        true => Ok(()),
        false => Err(IoError::OutputNotACheckpoint { path: output.to_owned(), found: names }),
    }
}

/// Makes the staging directory, or takes over one that nobody holds.
fn claim(staging: &Path, output: &Path) -> Result<Option<File>, IoError> {
    let locked = || IoError::OutputLocked { path: output.to_owned(), staging: staging.to_owned() };
    // Someone finishing at this very moment may remove the directory under us.
    for _ in 0..10 {
        let is_new = match fs::create_dir(staging) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(IoError::system("create", staging)(error)),
        };
        let path = staging.join(LOCK);
        let file = match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(IoError::system("create", path)(error)),
        };
        match file.try_lock() {
            Ok(()) if is_still_at(&file, &path) => return Ok(Some(file)),
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => return Err(locked()),
            // Without locks, a directory that exists may be in use.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return if is_new { Ok(None) } else { Err(locked()) };
            }
            Err(TryLockError::Error(error)) => return Err(IoError::system("lock", path)(error)),
        }
    }
    Err(locked())
}

/// Whether the file locked is the one that bears the name now.
#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Elsewhere, an open file keeps its name.
#[cfg(not(unix))]
fn is_still_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Syncs every file and directory of a tree, whoever wrote them.
fn sync_tree(dir: &Path) -> Result<(), IoError> {
    for entry in fs::read_dir(dir).map_err(IoError::system("list", dir))? {
        let entry = entry.map_err(IoError::system("list", dir))?;
        let kind = entry.file_type().map_err(IoError::system("list", dir))?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() && cfg!(unix) {
            // Elsewhere, syncing takes the right to write, which this file need not grant.
            let synced = File::open(entry.path()).and_then(|file| file.sync_all());
            synced.map_err(IoError::system("sync", entry.path()))?;
        }
    }
    sync_dir(dir)
}

/// `.<name>.mergecore-<what>` beside the output.
fn sibling(output: &Path, what: &str) -> Result<PathBuf, IoError> {
    let name = output.file_name().ok_or_else(|| IoError::OutputName { path: output.to_owned() })?;
    let mut sibling = OsString::from(".");
    sibling.push(name);
    sibling.push(format!(".mergecore-{what}"));
    Ok(output.with_file_name(sibling))
}

fn parent(output: &Path) -> &Path {
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_cannot_be_replaced_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        fs::create_dir(&output).unwrap();
        fs::write(output.join("config.json"), "old").unwrap();
        let staged = StagedDir::create(&output, true).unwrap();
        // Without it, only the second of the two renames fails.
        fs::remove_dir_all(staged.path()).unwrap();
        assert!(staged.move_into_place().is_err());
        assert_eq!(fs::read_to_string(output.join("config.json")).unwrap(), "old");
        assert_eq!(list_directory(dir.path()).unwrap(), ["out"]);
    }

    #[test]
    fn an_old_output_left_by_a_crash_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        let left = sibling(&output, "old-0").unwrap();
        for path in [&output, &left] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("config.json"), "old").unwrap();
        }
        StagedDir::create(&output, true).unwrap().commit().unwrap();
        assert!(list_directory(&output).unwrap().is_empty());
        assert_eq!(fs::read_to_string(left.join("config.json")).unwrap(), "old");
    }
}
