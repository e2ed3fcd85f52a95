//! The system's calls on a checkpoint's files, all in one place.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::discover::{list_directory, open_at_most, open_regular, read_small_file};
use crate::error::IoError;
use crate::page_cache;
use crate::positioned::{read_exact_at, write_all_at};

/// How the files of checkpoints and outputs are reached: by the system's calls, each of
/// them announced to a hook first, if there is one.
///
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use mergecore_io::{Checkpoint, IoError, Storage, StorageCall, StorageHook, TensorSource};
///
/// /// A disk that cannot be read.
/// struct Broken;
///
/// impl StorageHook for Broken {
///     fn before(&self, call: &StorageCall<'_>) -> io::Result<()> {
///         match call {
///             StorageCall::Read { path, .. } if path.ends_with("model.safetensors") => {
///                 Err(io::Error::other("medium error"))
///             }
///             _ => Ok(()),
///         }
///     }
/// }
///
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
/// # std::fs::write(dir.path().join("model.safetensors"), [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap();
/// # let dir = dir.path();
/// let storage = Storage::with_hook(Arc::new(Broken));
/// let error = Checkpoint::open_in(dir, &storage).unwrap_err();
/// assert!(matches!(&error, IoError::System { action: "read", .. }));
/// assert!(error.to_string().contains("model.safetensors: medium error"));
/// ```
#[derive(Clone, Default)]
pub struct Storage {
    hook: Option<Arc<dyn StorageHook>>,
}

/// Sees every call on a file before it is made: to count, slow down or refuse it.
///
/// [`Storage`] shows how.
pub trait StorageHook: Send + Sync {
    /// Called before the system is, from any thread. What it refuses is not done and fails
    /// as if the system had refused it.
    ///
    /// # Errors
    /// Whatever the call is to fail with.
    fn before(&self, call: &StorageCall<'_>) -> io::Result<()>;
}

/// A call on a file or directory that is about to be made.
///
/// ```
/// use std::path::Path;
/// use mergecore_io::StorageCall;
///
/// let call = StorageCall::Write { path: Path::new("model.safetensors"), bytes: 8..16 };
/// assert!(call.changes_something());
/// assert_eq!(call.path(), Path::new("model.safetensors"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // `path` is the file or directory, `bytes` the bytes' place in it.
pub enum StorageCall<'a> {
    /// Look at what bears a name: its kind, length and age.
    Inspect { path: &'a Path },
    /// Open a file to read it.
    Open { path: &'a Path },
    /// List a directory.
    List { path: &'a Path },
    /// Read bytes of a file.
    Read { path: &'a Path, bytes: Range<u64> },
    /// Ask how many bytes the file system of a directory can take.
    SpaceLeft { path: &'a Path },
    /// Make a directory.
    CreateDirectory { path: &'a Path },
    /// Make a file, or open one to write it.
    Create { path: &'a Path },
    /// Set a file's length.
    SetLength { path: &'a Path, bytes: Range<u64> },
    /// Write bytes of a file.
    Write { path: &'a Path, bytes: Range<u64> },
    /// Have the system copy bytes from another file to one.
    Copy { path: &'a Path, bytes: Range<u64> },
    /// Wait until a file or directory is on the disk.
    Sync { path: &'a Path },
    /// Give a file or directory another name.
    Rename { path: &'a Path, to: &'a Path },
    /// Let two directories change names.
    Exchange { path: &'a Path, with: &'a Path },
    /// Remove a file or an empty directory.
    Remove { path: &'a Path },
    /// Remove a directory with all that is in it.
    RemoveAll { path: &'a Path },
}

impl StorageCall<'_> {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            StorageCall::Inspect { path }
            | StorageCall::Open { path }
            | StorageCall::List { path }
            | StorageCall::Read { path, .. }
            | StorageCall::SpaceLeft { path }
            | StorageCall::CreateDirectory { path }
            | StorageCall::Create { path }
            | StorageCall::SetLength { path, .. }
            | StorageCall::Write { path, .. }
            | StorageCall::Copy { path, .. }
            | StorageCall::Sync { path }
            | StorageCall::Rename { path, .. }
            | StorageCall::Exchange { path, .. }
            | StorageCall::Remove { path }
            | StorageCall::RemoveAll { path } => path,
        }
    }

    /// Whether the call can change what is stored.
    pub fn changes_something(&self) -> bool {
        !matches!(
            self,
            StorageCall::Inspect { .. }
                | StorageCall::Open { .. }
                | StorageCall::List { .. }
                | StorageCall::Read { .. }
                | StorageCall::SpaceLeft { .. }
                | StorageCall::Sync { .. }
        )
    }
}

impl Storage {
    /// The system as it is; so is [`Storage::default`].
    pub fn new() -> Self {
        Storage::default()
    }

    /// With a hook that sees every call first.
    pub fn with_hook(hook: Arc<dyn StorageHook>) -> Self {
        Storage { hook: Some(hook) }
    }

    /// The content of a small file: of at most [`MAX_FILE_BYTES`](crate::MAX_FILE_BYTES), and a
    /// regular one.
    ///
    /// # Errors
    /// [`IoError::NotAFile`], [`IoError::BrokenLink`], [`IoError::FileTooLarge`] and
    /// [`IoError::System`].
    pub fn read_file(&self, path: &Path) -> Result<Vec<u8>, IoError> {
        read_small_file(self, path)
    }

    /// The content of a regular file that has no more bytes than that.
    ///
    /// # Errors
    /// As for [`read_file`](Storage::read_file).
    pub fn read_at_most(&self, path: &Path, limit: u64) -> Result<Vec<u8>, IoError> {
        self.read_all(open_at_most(self, path, limit)?, path, limit)
    }

    /// The first bytes of a regular file, or all where there are fewer.
    ///
    /// # Errors
    /// [`IoError::NotAFile`], [`IoError::BrokenLink`] and [`IoError::System`].
    pub fn read_beginning(&self, path: &Path, bytes: u64) -> Result<Vec<u8>, IoError> {
        let (file, _) = open_regular(self, path)?;
        self.read_all(file, path, bytes)
    }

    /// The names in a directory, in [natural order](crate::natural_order).
    ///
    /// # Errors
    /// [`IoError::NoDirectory`], [`IoError::NotADirectory`] and [`IoError::System`].
    pub fn list_names(&self, dir: &Path) -> Result<Vec<String>, IoError> {
        list_directory(self, dir)
    }

    fn announce(&self, call: StorageCall<'_>) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook.before(&call))
    }

    /// What bears the name, links followed.
    pub(crate) fn inspect(&self, path: &Path) -> io::Result<fs::Metadata> {
        self.announce(StorageCall::Inspect { path })?;
        fs::metadata(path)
    }

    pub(crate) fn open(&self, path: &Path) -> Result<File, IoError> {
        let opened = self.announce(StorageCall::Open { path }).and_then(|()| File::open(path));
        opened.map_err(IoError::system("open", path))
    }

    /// The names in a directory, in no order.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<fs::DirEntry>, IoError> {
        let list = || {
            self.announce(StorageCall::List { path })?;
            fs::read_dir(path)?.collect::<io::Result<_>>()
        };
        list().map_err(IoError::system("list", path))
    }

    pub(crate) fn read_at(
        &self,
        file: &File,
        path: &Path,
        out: &mut [u8],
        offset: u64,
    ) -> io::Result<()> {
        self.announce(StorageCall::Read { path, bytes: offset..offset + out.len() as u64 })?;
        read_exact_at(file, out, offset)
    }

    /// Reads from the beginning on, at most `limit` bytes.
    pub(crate) fn read_all(&self, file: File, path: &Path, limit: u64) -> Result<Vec<u8>, IoError> {
        let mut content = Vec::new();
        let read = self
            .announce(StorageCall::Read { path, bytes: 0..limit })
            .and_then(|()| file.take(limit).read_to_end(&mut content));
        read.map_err(IoError::system("read", path))?;
        Ok(content)
    }

    /// Bytes that the file system of an existing path can take from this user; `None` where
    /// the system does not say.
    pub(crate) fn space_left(&self, path: &Path) -> Result<Option<u64>, IoError> {
        let space = self.announce(StorageCall::SpaceLeft { path }).and_then(|()| available(path));
        space.map_err(IoError::system("ask for the free space of", path))
    }

    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.announce(StorageCall::CreateDirectory { path })?;
        fs::create_dir(path)
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        let made = self
            .announce(StorageCall::CreateDirectory { path })
            .and_then(|()| fs::create_dir_all(path));
        made.map_err(IoError::system("create", path))
    }

    /// Creates a file, which must not be there.
    pub(crate) fn create_new(&self, path: &Path) -> Result<File, IoError> {
        self.create(path, OpenOptions::new().read(true).write(true).create_new(true))
            .map_err(IoError::system("create", path))
    }

    /// Opens a file to write it, as it is where it is there.
    pub(crate) fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.create(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
    }

    fn create(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        self.announce(StorageCall::Create { path })?;
        options.open(path)
    }

    pub(crate) fn set_len(&self, file: &File, path: &Path, len: u64) -> Result<(), IoError> {
        let set = self
            .announce(StorageCall::SetLength { path, bytes: 0..len })
            .and_then(|()| file.set_len(len));
        set.map_err(IoError::system("set the length of", path))
    }

    pub(crate) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), IoError> {
        let range = offset..offset + bytes.len() as u64;
        let written = self
            .announce(StorageCall::Write { path, bytes: range })
            .and_then(|()| write_all_at(file, bytes, offset));
        written.map_err(IoError::system("write", path))
    }

    /// Has the system copy bytes of a file to `at` in another one; yields how many were
    /// copied.
    pub(crate) fn copy(
        &self,
        from: &File,
        bytes: Range<u64>,
        to: &File,
        path: &Path,
        at: u64,
    ) -> Result<u64, IoError> {
        let range = at..at + (bytes.end - bytes.start);
        self.announce(StorageCall::Copy { path, bytes: range })
            .map_err(IoError::system("write", path))?;
        Ok(page_cache::copy(from, bytes, to, at))
    }

    pub(crate) fn sync(&self, file: &File, path: &Path) -> Result<(), IoError> {
        let synced = self.announce(StorageCall::Sync { path }).and_then(|()| file.sync_all());
        synced.map_err(IoError::system("sync", path))
    }

    /// Waits until a directory's entries (names made, renamed or removed in it) are on the
    /// disk. Does nothing where systems have no such notion.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        if !cfg!(unix) {
            return Ok(());
        }
        let synced =
            self.announce(StorageCall::Sync { path }).and_then(|()| File::open(path)?.sync_all());
        match synced {
            // Some network file systems cannot sync a directory.
            Err(error) if is_unsupported(&error) => Ok(()),
            other => other.map_err(IoError::system("sync", path)),
        }
    }

    pub(crate) fn rename(&self, path: &Path, to: &Path) -> io::Result<()> {
        self.announce(StorageCall::Rename { path, to })?;
        fs::rename(path, to)
    }

    /// Lets two directories change names in one step; `false` where the system cannot.
    pub(crate) fn exchange(&self, path: &Path, with: &Path) -> io::Result<bool> {
        let exchanged =
            self.announce(StorageCall::Exchange { path, with }).and_then(|()| exchange(path, with));
        match exchanged {
            Ok(()) => Ok(true),
            Err(error) if is_unsupported(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.announce(StorageCall::Remove { path })?;
        fs::remove_file(path)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.announce(StorageCall::Remove { path })?;
        fs::remove_dir(path)
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.announce(StorageCall::RemoveAll { path })?;
        fs::remove_dir_all(path)
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("hook", &self.hook.is_some()).finish()
    }
}

/// Equal are those with the same hook.
impl PartialEq for Storage {
    fn eq(&self, other: &Self) -> bool {
        match (&self.hook, &other.hook) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Eq for Storage {}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn available(path: &Path) -> io::Result<Option<u64>> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn available(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn exchange(path: &Path, with: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, path, CWD, with, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a file system, or a system, has no such call.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
