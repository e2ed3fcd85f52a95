//! The output's working directory, and how the output comes from it.

use std::collections::HashSet;
use std::fs::{self, File, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::IoError;
use crate::output_path::{check_output, home, may_write, nearest_directory, parent, resolve};
use crate::storage::Storage;
use crate::work_lock::{LOCK, Odd, claim, remove};

const JOURNAL: &str = "journal";
/// The output in the making.
const NEW: &str = "output";
/// The output when it is complete, on its way to its name. Where two directories change names,
/// the old output is here then: under another name than what can be gone on with.
const COMPLETE: &str = "complete";
/// An output that is being replaced, where two directories cannot change names at once.
const OLD: &str = "old";

/// A directory in which the output is made, and which takes the output's name in
/// one step when it is complete.
///
/// It is in a directory beside the output, `.<name>.mergecore-partial`, together with a lock
/// file, which keeps two processes from making one output at once, and a journal of the
/// work. Dropped before [`commit`](StagedDir::commit), all of it is removed, unless it is to
/// be [kept](StagedDir::keep) for a process that goes on with it.
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
    home: PathBuf,
    /// In it, the output in the making.
    new: PathBuf,
    output: PathBuf,
    overwrite: bool,
    storage: Storage,
    /// `None` where the file system has no locks.
    lock: Option<File>,
    /// Directories above the output that were missing, innermost first.
    made: Vec<PathBuf>,
    /// Whether dropping removes the directory.
    disposable: AtomicBool,
}

impl StagedDir {
    /// Makes the working directory of `output`, and the directories above it
    /// where they are missing. What a process that was stopped, or somebody, has left in its
    /// place is removed; links in it are, and not what they lead to.
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
        StagedDir::restart(output, overwrite, &Storage::default())
    }

    /// As [`create`](StagedDir::create), through a [`Storage`] of one's own.
    ///
    /// # Errors
    ///
    /// As [`create`](StagedDir::create), and whatever a hook refuses.
    ///
    /// ```
    /// use mergecore_io::{StagedDir, Storage};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let output = dir.path().join("merged");
    /// std::fs::create_dir_all(dir.path().join(".merged.mergecore-partial/journal")).unwrap();
    /// let error = StagedDir::resume(&output, false, &Storage::new()).unwrap_err();
    /// assert!(error.to_string().contains("journal is a directory"));
    /// StagedDir::restart(&output, false, &Storage::new())?.commit()?;
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn restart(
        output: &Path,
        overwrite: bool,
        storage: &Storage,
    ) -> Result<StagedDir, IoError> {
        let staged = StagedDir::open(output, overwrite, storage, Odd::IsRemoved)?;
        staged.clear()?;
        Ok(staged)
    }

    /// As [`restart`](StagedDir::restart), but what a process that was stopped has left there
    /// stays.
    ///
    /// # Errors
    ///
    /// As [`restart`](StagedDir::restart), and [`IoError::OddWork`] where something else is in
    /// the place of what it leaves.
    ///
    /// ```
    /// use mergecore_io::{StagedDir, Storage};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let output = dir.path().join("merged");
    /// let staged = StagedDir::resume(&output, false, &Storage::new())?;
    /// std::fs::write(staged.path().join("half.safetensors"), "half").unwrap();
    /// staged.keep();
    /// drop(staged); // the process is stopped
    ///
    /// let staged = StagedDir::resume(&output, false, &Storage::new())?;
    /// assert!(staged.path().join("half.safetensors").exists());
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn resume(output: &Path, overwrite: bool, storage: &Storage) -> Result<StagedDir, IoError> {
        StagedDir::open(output, overwrite, storage, Odd::IsRefused)
    }

    fn open(
        output: &Path,
        overwrite: bool,
        storage: &Storage,
        odd: Odd,
    ) -> Result<StagedDir, IoError> {
        let output = resolve(output)?;
        check_output(storage, &output, overwrite)?;
        let missing = parent(&output).ancestors().take_while(|dir| !dir.exists());
        let made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        let home = home(&output)?;
        let claimed = make(storage, &made).and_then(|()| claim(storage, &home, &output, odd));
        if claimed.is_err() {
            made.iter().for_each(|dir| drop(storage.remove_dir(dir)));
        }
        let (lock, is_new) = claimed?;
        let staged = StagedDir {
            new: home.join(NEW),
            home,
            output,
            overwrite,
            storage: storage.clone(),
            lock,
            made,
            disposable: AtomicBool::new(is_new),
        };
        odd.look_at(storage, &staged.journal_path(), FileType::is_file)?;
        for name in [NEW, COMPLETE, OLD] {
            odd.look_at(storage, &staged.home.join(name), FileType::is_dir)?;
        }
        staged.put_back()?;
        if staged.new.symlink_metadata().is_err() {
            staged.remove_journal()?;
            storage.create_dir(&staged.new).map_err(IoError::system("create", &staged.new))?;
        }
        Ok(staged)
    }

    /// Whether an output can be written to that path, as far as can be seen without writing
    /// anything.
    ///
    /// # Errors
    ///
    /// As [`create`](StagedDir::create), except that nobody's lock is looked for.
    ///
    /// ```
    /// use mergecore_io::{StagedDir, Storage};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// StagedDir::check(&dir.path().join("a/b/merged"), false, &Storage::new())?;
    /// assert!(!dir.path().join("a").exists());
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn check(output: &Path, overwrite: bool, storage: &Storage) -> Result<(), IoError> {
        let output = resolve(output)?;
        check_output(storage, &output, overwrite)?;
        home(&output)?;
        let parent = nearest_directory(parent(&output));
        may_write(parent).map_err(IoError::system("write to", parent))
    }

    /// The directory beside `output` in which a process that was stopped, or is at work, has
    /// left something; `None` where there is no such thing.
    ///
    /// ```
    /// use mergecore_io::StagedDir;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let output = dir.path().join("merged");
    /// assert_eq!(StagedDir::left(&output), None);
    /// StagedDir::create(&output, false)?.keep();
    /// assert_eq!(StagedDir::left(&output), Some(dir.path().join(".merged.mergecore-partial")));
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn left(output: &Path) -> Option<PathBuf> {
        let home = home(&resolve(output).ok()?).ok()?;
        home.symlink_metadata().is_ok_and(|found| found.is_dir()).then_some(home)
    }

    /// Where the work on an output is done, whether there is any or not; `None` where the path
    /// names no output.
    ///
    /// ```
    /// use std::path::Path;
    /// use mergecore_io::StagedDir;
    ///
    /// let work = StagedDir::work_of(Path::new("models/merged"));
    /// assert_eq!(work.as_deref(), Some(Path::new("models/.merged.mergecore-partial")));
    /// ```
    pub fn work_of(output: &Path) -> Option<PathBuf> {
        home(output).ok()
    }

    /// The working directory.
    ///
    /// ```
    /// use mergecore_io::StagedDir;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let staged = StagedDir::create(&dir.path().join("merged"), false)?;
    /// assert!(staged.path().ends_with(".merged.mergecore-partial/output"));
    /// assert_eq!(staged.output().file_name().unwrap(), "merged");
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.new
    }

    /// The output's final path.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Where a [`Journal`](crate::Journal) of the work belongs: it never is in the output.
    pub fn journal_path(&self) -> PathBuf {
        self.home.join(JOURNAL)
    }

    /// From now on, dropping leaves the working directory, for a process that goes on.
    pub fn keep(&self) {
        self.disposable.store(false, Ordering::Relaxed);
    }

    /// From now on, dropping removes the working directory.
    pub fn discard(&self) {
        self.disposable.store(true, Ordering::Relaxed);
    }

    /// Removes what a process that was stopped has left.
    ///
    /// # Errors
    ///
    /// [`IoError::System`].
    pub fn clear(&self) -> Result<(), IoError> {
        self.remove_journal()?;
        self.remove_others(&self.home, |entry| entry.file_name() == LOCK)?;
        self.discard();
        self.storage.create_dir(&self.new).map_err(IoError::system("create", &self.new))
    }

    /// Removes from the working directory what bears another name than these, or is no regular
    /// file: what a process that was stopped has left is not all for the output.
    ///
    /// # Errors
    ///
    /// [`IoError::System`].
    pub fn keep_only<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), IoError> {
        let names: HashSet<&str> = names.into_iter().collect();
        self.remove_others(&self.new, |entry| {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            is_file && entry.file_name().to_str().is_some_and(|name| names.contains(name))
        })
    }

    /// Removes the journal where there is one, on the disk too: it must not outlast the work
    /// of which it tells.
    fn remove_journal(&self) -> Result<(), IoError> {
        let path = self.journal_path();
        match self.storage.remove_file(&path) {
            Ok(()) => self.storage.sync_dir(&self.home),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(IoError::system("remove", path)(error)),
        }
    }

    fn remove_others(
        &self,
        dir: &Path,
        keep: impl Fn(&fs::DirEntry) -> bool,
    ) -> Result<(), IoError> {
        for entry in self.storage.list(dir)?.iter().filter(|entry| !keep(entry)) {
            let kind = entry.file_type().map_err(IoError::system("list", dir))?;
            remove(&self.storage, &entry.path(), kind)?;
        }
        Ok(())
    }

    /// Whether the file system can take an output of so many bytes, of which those that
    /// a working directory holds already do not count. Where the system does not say, it
    /// can.
    ///
    /// # Errors
    ///
    /// [`IoError::NoSpace`], with the bytes needed, and [`IoError::System`].
    ///
    /// ```
    /// use mergecore_io::{IoError, StagedDir, Storage};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let output = dir.path().join("merged");
    /// StagedDir::check_space(&output, 1000, &Storage::new())?;
    /// let error = StagedDir::check_space(&output, u64::MAX, &Storage::new()).unwrap_err();
    /// assert!(matches!(error, IoError::NoSpace { needed: u64::MAX, .. }));
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn check_space(output: &Path, bytes: u64, storage: &Storage) -> Result<(), IoError> {
        let output = resolve(output)?;
        let new = home(&output)?.join(NEW);
        let is_there = new.symlink_metadata().is_ok_and(|found| found.is_dir());
        let files = if is_there { storage.list(&new)? } else { Vec::new() };
        let held = files.iter().filter_map(|entry| entry.metadata().ok()).map(|file| held(&file));
        let needed = bytes.saturating_sub(held.sum());
        let parent = nearest_directory(parent(&output));
        match storage.space_left(parent)? {
            Some(free) if free < needed => {
                Err(IoError::NoSpace { path: parent.to_owned(), needed, free })
            }
            _ => Ok(()),
        }
    }

    /// Writes a small file into the working directory.
    ///
    /// # Errors
    ///
    /// [`IoError::System`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let staged = mergecore_io::StagedDir::create(&dir.path().join("merged"), false)?;
    /// staged.write_file("config.json", b"{}")?;
    /// assert_eq!(std::fs::read(staged.path().join("config.json")).unwrap(), b"{}");
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn write_file(&self, name: &str, content: &[u8]) -> Result<(), IoError> {
        let path = self.new.join(name);
        let file = self.storage.open_or_create(&path).map_err(IoError::system("create", &path))?;
        self.storage.set_len(&file, &path, content.len() as u64)?;
        self.storage.write_at(&file, &path, content, 0)
    }

    /// Gives the directory its final name. An output that is replaced changes places with
    /// it in one step, where the system can do that, and is deleted at the very end;
    /// elsewhere it is first moved aside, and back if the new one cannot be moved.
    ///
    /// # Errors
    ///
    /// [`IoError::System`] if syncing what is to be moved fails, [`IoError::Commit`] if it
    /// cannot be moved into place, and what [`StagedDir::create`] says of an output that is there
    /// by now and not to be replaced: it is then kept where it is, complete.
    /// [`IoError::NameNotSynced`] or [`IoError::OldOutputLeft`] if all went well except that
    /// the new name could not be synced or the replaced output could not be deleted.
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
    pub fn commit(self) -> Result<(), IoError> {
        self.keep();
        sync_tree(&self.storage, &self.new)?;
        if self.overwrite {
            // Since the merge began, somebody may have put there what is not to be deleted.
            check_output(&self.storage, &self.output, true)?;
        }
        let old = self.move_into_place().map_err(|source| IoError::Commit {
            path: self.output.clone(),
            staging: self.new.clone(),
            source,
        })?;
        let synced = self.storage.sync_dir(parent(&self.output));
        // First what a later process would take for work to go on with.
        let _ = self.storage.remove_file(&self.journal_path());
        // What a power failure may yet bring back under the output's name stays whole.
        let removed = match &old {
            Some(old) if synced.is_ok() => self.storage.remove_dir_all(old),
            _ => Ok(()),
        };
        // An empty directory too many does not make the output wrong.
        let _ = self.storage.remove_file(&self.home.join(LOCK));
        let _ = self.storage.remove_dir(&self.home);
        if let Err(IoError::System { source, .. }) = synced {
            return Err(IoError::NameNotSynced { path: self.output.clone(), old, source });
        }
        match (removed, old) {
            (Err(source), Some(old)) => {
                Err(IoError::OldOutputLeft { path: self.output.clone(), old, source })
            }
            _ => Ok(()),
        }
    }

    /// Gives the path at which an old output is now, if there was one.
    fn move_into_place(&self) -> io::Result<Option<PathBuf>> {
        let (StagedDir { storage, new, .. }, complete) = (self, &self.home.join(COMPLETE));
        storage.rename(new, complete)?;
        let moved = self.move_from(complete);
        if moved.is_err() {
            // Where the user and the next process look for it.
            let _ = storage.rename(complete, new);
        }
        moved
    }

    fn move_from(&self, new: &Path) -> io::Result<Option<PathBuf>> {
        let StagedDir { storage, output, .. } = self;
        let is_new = match storage.inspect(output) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            found => found.map(|_| false)?,
        };
        if is_new || !self.overwrite {
            if cfg!(windows) {
                // There, not even an empty directory is replaced.
                let _ = storage.remove_dir(output);
            }
            return storage.rename(new, output).map(|()| None);
        }
        if storage.exchange(new, output)? {
            return Ok(Some(new.to_owned()));
        }
        let old = self.home.join(OLD);
        storage.rename(output, &old)?;
        match storage.rename(new, output) {
            Ok(()) => Ok(Some(old)),
            Err(error) => {
                // The first failure is the one to report.
                let _ = storage.rename(&old, output);
                Err(error)
            }
        }
    }

    /// Clears up after a process that was stopped while it gave the output its name: puts back
    /// an old output that it has moved aside, and removes one that it has replaced.
    fn put_back(&self) -> Result<(), IoError> {
        let StagedDir { storage, new, output, .. } = self;
        let (old, complete) = (self.home.join(OLD), self.home.join(COMPLETE));
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        if is_there(output) {
            let mut left = [&old, &complete].into_iter().filter(|dir| is_there(dir)).peekable();
            if left.peek().is_some() {
                // Complete, but not moved, or an old output, which was to be deleted. A power
                // failure must bring back neither under the name that it had before.
                storage.sync_dir(parent(output))?;
                self.remove_journal()?;
            }
            return left.try_for_each(|dir| {
                storage.remove_dir_all(dir).map_err(IoError::system("remove", dir))
            });
        }
        if is_there(&complete) {
            let done = match is_there(new) {
                true => storage.remove_dir_all(&complete),
                false => storage.rename(&complete, new),
            };
            done.map_err(IoError::system("clear away", &complete))?;
        }
        if !is_there(&old) {
            return Ok(());
        }
        storage.rename(&old, output).map_err(IoError::system("move back", old))?;
        check_output(storage, output, self.overwrite)
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        if self.disposable.load(Ordering::Relaxed) {
            if cfg!(windows) {
                // There, what is open cannot be removed.
                self.lock = None;
            }
            let _ = self.remove_journal();
            let _ = self.storage.remove_dir_all(&self.home);
            // Only where nobody has put something else there.
            self.made.iter().for_each(|dir| drop(self.storage.remove_dir(dir)));
        }
        // A process that somebody is just starting has a copy of all that is open here, which would
        // hold the lock until it runs another program.
        if let Some(lock) = &self.lock {
            let _ = lock.unlock();
        }
    }
}

/// Makes directories, innermost first, whose names are on the disk then: a later process would
/// not know that it has to see to that.
fn make(storage: &Storage, dirs: &[PathBuf]) -> Result<(), IoError> {
    let Some(innermost) = dirs.first() else { return Ok(()) };
    storage.create_dir_all(innermost)?;
    dirs.iter().try_for_each(|dir| storage.sync_dir(parent(dir)))
}

/// Bytes that a file takes on the disk.
#[cfg(unix)]
fn held(file: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.len().min(file.blocks() * 512)
}

#[cfg(not(unix))]
fn held(_: &fs::Metadata) -> u64 {
    0
}

/// Syncs every file and directory of a tree, whoever wrote them.
fn sync_tree(storage: &Storage, dir: &Path) -> Result<(), IoError> {
    for entry in storage.list(dir)? {
        let kind = entry.file_type().map_err(IoError::system("list", dir))?;
        if kind.is_dir() {
            sync_tree(storage, &entry.path())?;
        } else if kind.is_file() && cfg!(unix) {
            // Elsewhere, syncing takes the right to write, which this file need not grant.
            storage.sync(&storage.open(&entry.path())?, &entry.path())?;
        }
    }
    storage.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::list_directory;

    fn old_output(dir: &Path) -> PathBuf {
        let output = dir.join("out");
        fs::create_dir(&output).unwrap();
        fs::write(output.join("config.json"), "old").unwrap();
        output
    }

    #[test]
    fn an_output_that_cannot_be_replaced_stays() {
        let dir = tempfile::tempdir().unwrap();
        let output = old_output(dir.path());
        let staged = StagedDir::create(&output, true).unwrap();
        fs::remove_dir_all(staged.path()).unwrap();
        assert!(staged.move_into_place().is_err());
        assert_eq!(fs::read_to_string(output.join("config.json")).unwrap(), "old");
        drop(staged);
        assert_eq!(list_directory(&Storage::new(), dir.path()).unwrap(), ["out"]);
    }

    #[test]
    fn an_output_that_a_stopped_process_moved_aside_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let output = old_output(dir.path());
        let home = home(&output).unwrap();
        fs::create_dir(&home).unwrap();
        fs::rename(&output, home.join(OLD)).unwrap();
        let error = StagedDir::create(&output, false).unwrap_err();
        assert!(matches!(error, IoError::OutputExists { .. }));
        assert_eq!(fs::read_to_string(output.join("config.json")).unwrap(), "old");
    }
}
