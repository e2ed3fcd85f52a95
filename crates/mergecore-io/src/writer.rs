//! Writing a checkpoint's tensors to the places that a layout gave them.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SendError};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use crate::error::IoError;
use crate::index::INDEX_FILE;
use crate::layout::Layout;
use crate::page_cache;
use crate::source::{OpenFile, StoredTensor, TensorSource};
use crate::storage::Storage;
use crate::{SourceFile, TensorSpec};

/// Writes the weights files (and index) of a [`Layout`], in any order of tensors
/// and parts of tensors, from any number of threads.
///
/// Each byte of each tensor is to be written exactly once;
/// [`finish`](CheckpointWriter::finish) refuses an output that lacks some.
///
/// ```
/// use mergecore_io::{CheckpointWriter, Layout, TensorSpec};
/// use mergecore_tensor::DType;
///
/// let dir = tempfile::tempdir().unwrap();
/// let tensor = TensorSpec { name: "w".into(), dtype: DType::U8, shape: vec![4] };
/// let layout = Layout::new(vec![tensor], u64::MAX, Default::default())?;
/// let writer = CheckpointWriter::create(dir.path(), layout.into())?;
/// writer.write(0, 2, &[3, 4])?;
/// writer.write(0, 0, &[1, 2])?;
/// writer.finish()?;
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug)]
pub struct CheckpointWriter {
    layout: Arc<Layout>,
    dir: PathBuf,
    storage: Storage,
    files: Arc<[OutputFile]>,
    /// Bytes written so far, by tensor.
    written: Vec<AtomicU64>,
    /// Set once the kernel would not copy from file to file.
    cannot_copy: AtomicBool,
}

#[derive(Debug)]
struct OutputFile {
    path: PathBuf,
    file: File,
    /// Whether it was there, at its full length, before.
    was_there: bool,
    /// Held by a thread that writes. Systems let one at a time write to a file and may have
    /// the others wait for it in a loop: [`try_write`](CheckpointWriter::try_write) looks
    /// first. Who has nothing else to do waits there, which ends sooner than sleep.
    turn: Mutex<()>,
}

/// Bytes of a file that are handed to storage at once.
const WRITE_BEHIND: u64 = 8 << 20;

impl CheckpointWriter {
    /// Creates the files in `dir`, which exists, at their full length and with
    /// their headers, and the index where there are several.
    ///
    /// # Errors
    ///
    /// [`IoError::System`], also if a file of that name is there already.
    ///
    /// ```
    /// use mergecore_io::{CheckpointWriter, INDEX_FILE, Layout, TensorSpec};
    /// use mergecore_tensor::DType;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let tensor = |name: &str| TensorSpec { name: name.into(), dtype: DType::U8, shape: vec![4] };
    /// let layout = Layout::new(vec![tensor("a"), tensor("b")], 4, Default::default())?;
    /// let writer = CheckpointWriter::create(dir.path(), layout.into())?;
    /// assert!(dir.path().join("model-00002-of-00002.safetensors").exists());
    /// assert!(dir.path().join(INDEX_FILE).exists());
    /// assert_eq!(writer.layout().shards().len(), 2);
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn create(dir: &Path, layout: Arc<Layout>) -> Result<CheckpointWriter, IoError> {
        let storage = Storage::default();
        CheckpointWriter::open(dir, layout, &storage, |path| storage.create_new(path))
    }

    /// As [`create`](Self::create), except that files which are there are gone on with:
    /// whatever tensor bytes they hold stay until they are written anew. Which of these are
    /// right is for the caller to know, who says so by
    /// [`keep_written`](Self::keep_written).
    ///
    /// # Errors
    ///
    /// [`IoError::System`], also from a hook of the storage.
    ///
    /// ```
    /// use mergecore_io::{CheckpointWriter, Layout, Storage, TensorSource, TensorSpec};
    /// use mergecore_tensor::DType;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let tensor = |name: &str| TensorSpec { name: name.into(), dtype: DType::U8, shape: vec![2] };
    /// let layout = Layout::new(vec![tensor("a"), tensor("b")], u64::MAX, Default::default())?;
    /// let layout = std::sync::Arc::new(layout);
    /// let writer = CheckpointWriter::create(dir.path(), layout.clone())?;
    /// writer.write(0, 0, &[1, 2])?;
    /// assert!(writer.is_written(0) && !writer.is_written(1));
    /// drop(writer);
    ///
    /// let writer = CheckpointWriter::resume(dir.path(), layout, &Storage::new())?;
    /// let mut found = [0; 2];
    /// writer.read_back(0)?.read(0..2, &mut found)?;
    /// assert_eq!(found, [1, 2]);
    /// writer.keep_written(0);
    /// writer.write(1, 0, &[3, 4])?;
    /// writer.finish()?;
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn resume(
        dir: &Path,
        layout: Arc<Layout>,
        storage: &Storage,
    ) -> Result<CheckpointWriter, IoError> {
        CheckpointWriter::open(dir, layout, storage, |path| {
            storage.open_or_create(path).map_err(IoError::system("create", path))
        })
    }

    fn open(
        dir: &Path,
        layout: Arc<Layout>,
        storage: &Storage,
        open: impl Fn(&Path) -> Result<File, IoError>,
    ) -> Result<CheckpointWriter, IoError> {
        let mut files = Vec::with_capacity(layout.shards().len());
        for shard in layout.shards() {
            let path = dir.join(shard.file_name());
            let file = open(&path)?;
            let len = file.metadata().map_err(IoError::system("open", &path))?.len();
            let was_there = len == shard.file_len();
            storage.set_len(&file, &path, shard.file_len())?;
            storage.write_at(&file, &path, shard.header(), 0)?;
            files.push(OutputFile { path, file, was_there, turn: Mutex::default() });
        }
        if let Some(text) = layout.index_text() {
            let path = dir.join(INDEX_FILE);
            let file = open(&path)?;
            storage.set_len(&file, &path, text.len() as u64)?;
            storage.write_at(&file, &path, text.as_bytes(), 0)?;
            files.push(OutputFile { path, file, was_there: false, turn: Mutex::default() });
        }
        let written = layout.tensors().iter().map(|_| AtomicU64::new(0)).collect();
        let (dir, storage, cannot_copy) = (dir.to_owned(), storage.clone(), AtomicBool::new(false));
        let files = files.into();
        Ok(CheckpointWriter { layout, dir, storage, files, written, cannot_copy })
    }

    /// A tensor as it is in the files now, to be looked at.
    ///
    /// # Errors
    ///
    /// [`IoError::TensorIndex`] and [`IoError::System`].
    pub fn read_back(&self, tensor: usize) -> Result<StoredTensor, IoError> {
        let Some(place) = self.layout.placement(tensor) else {
            return Err(self.no_tensor(tensor));
        };
        let OutputFile { path, file, .. } = &self.files[place.shard];
        let open = || Ok((file.try_clone()?, file.metadata()?));
        let (file, metadata) = open().map_err(IoError::system("open", path))?;
        let name = self.layout.shards()[place.shard].file_name().to_owned();
        let about = SourceFile::new(name, path.clone(), &metadata);
        let file = Arc::new(OpenFile { about, file, storage: self.storage.clone() });
        let TensorSpec { name, dtype, shape } = self.layout.tensors()[tensor].clone();
        Ok(StoredTensor::new(name, dtype, shape, file, place.bytes.clone()))
    }

    /// Whether the file of a tensor was there, at its full length, when it was
    /// [resumed](Self::resume); not, if there is no such tensor.
    pub fn was_there(&self, tensor: usize) -> bool {
        self.layout.placement(tensor).is_some_and(|place| self.files[place.shard].was_there)
    }

    /// Counts a tensor as written, whose bytes the files hold already.
    ///
    /// # Panics
    /// If there is no tensor of that index.
    pub fn keep_written(&self, tensor: usize) {
        self.written[tensor].store(self.size(tensor), Ordering::Relaxed);
    }

    /// Whether all bytes of a tensor were written; not, if there is no such tensor.
    pub fn is_written(&self, tensor: usize) -> bool {
        let written = self.written.get(tensor).map(|written| written.load(Ordering::Relaxed));
        written.is_some_and(|written| written >= self.size(tensor))
    }

    /// A tensor's bytes.
    fn size(&self, tensor: usize) -> u64 {
        self.layout.placement(tensor).map_or(0, |place| place.bytes.end - place.bytes.start)
    }

    fn no_tensor(&self, index: usize) -> IoError {
        IoError::TensorIndex { index, count: self.layout.tensors().len() }
    }

    /// Waits until what was written so far is on the disk.
    ///
    /// # Errors
    ///
    /// [`IoError::System`].
    pub fn sync(&self) -> Result<(), IoError> {
        sync_files(&self.storage, &self.files, &self.dir)
    }

    /// As [`sync`](Self::sync), unless it is told to stop meanwhile, which it asks `stop` for
    /// twenty times a second: `false` then, and what was written may not be on the disk.
    ///
    /// The disk may take long, and waiting for it cannot be broken off: a thread of its own
    /// waits, and goes on to when the caller does not. Should the sync fail then, which a later
    /// one would not tell of, that thread calls `failed_late`.
    ///
    /// # Errors
    ///
    /// [`IoError::System`].
    ///
    /// ```
    /// # use mergecore_io::{CheckpointWriter, IoError, Layout, TensorSpec};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let dtype = mergecore_tensor::DType::U8;
    /// # let tensor = TensorSpec { name: "w".into(), dtype, shape: vec![2] };
    /// # let layout = Layout::new(vec![tensor], u64::MAX, Default::default())?;
    /// # let writer = CheckpointWriter::create(dir.path(), layout.into())?;
    /// writer.write(0, 0, &[1, 2])?;
    /// assert!(writer.sync_unless(|| false, || ())?);
    /// # Ok::<(), IoError>(())
    /// ```
    pub fn sync_unless(
        &self,
        stop: impl Fn() -> bool,
        failed_late: impl FnOnce() + Send + 'static,
    ) -> Result<bool, IoError> {
        // Without room: what is sent is taken, or told to be left.
        let (sender, receiver) = mpsc::sync_channel(0);
        let (storage, files, dir) = (self.storage.clone(), self.files.clone(), self.dir.clone());
        let wait = std::thread::Builder::new().name("mergecore-sync".to_owned());
        let started = wait.spawn(move || {
            // Nobody may be there any more.
            if let Err(SendError(Err(_))) = sender.send(sync_files(&storage, &files, &dir)) {
                failed_late();
            }
        });
        started.map_err(IoError::system("start a thread to sync", &self.dir))?;
        loop {
            match receiver.recv_timeout(Duration::from_millis(50)) {
                Ok(synced) => return synced.map(|()| true),
                Err(RecvTimeoutError::Timeout) if stop() => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let panicked = std::io::Error::other("the thread that waited panicked");
                    return Err(IoError::system("sync", &self.dir)(panicked));
                }
            }
        }
    }

    /// The layout that is being filled.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes `bytes` (little-endian elements) at `byte_offset` of the tensor
    /// with index `tensor` in the order given to [`Layout::new`].
    ///
    /// # Errors
    ///
    /// [`IoError::TensorIndex`], [`IoError::WriteRange`] and [`IoError::System`].
    ///
    /// ```
    /// use mergecore_io::{CheckpointWriter, IoError, Layout, TensorSpec};
    /// use mergecore_tensor::DType;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let tensor = TensorSpec { name: "w".into(), dtype: DType::F32, shape: vec![2] };
    /// let layout = Layout::new(vec![tensor], u64::MAX, Default::default())?;
    /// let writer = CheckpointWriter::create(dir.path(), layout.into())?;
    /// writer.write(0, 4, &1.5f32.to_le_bytes())?; // the second element
    /// let past_the_end = writer.write(0, 8, &[0; 4]);
    /// assert!(matches!(past_the_end, Err(IoError::WriteRange { offset: 8, size: 8, .. })));
    /// # Ok::<(), IoError>(())
    /// ```
    pub fn write(&self, tensor: usize, byte_offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let (shard, at) = self.place(tensor, byte_offset, bytes.len() as u64)?;
        let file = &self.files[shard];
        let _turn = file.turn.try_lock();
        self.write_in_turn(tensor, shard, at, bytes)
    }

    /// As [`write`](Self::write), unless another thread is writing to that file: `false`
    /// then, and nothing was written.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    ///
    /// ```
    /// # use mergecore_io::{CheckpointWriter, IoError, Layout, TensorSpec};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let dtype = mergecore_tensor::DType::U8;
    /// # let tensor = TensorSpec { name: "w".into(), dtype, shape: vec![2] };
    /// # let layout = Layout::new(vec![tensor], u64::MAX, Default::default())?;
    /// # let writer = CheckpointWriter::create(dir.path(), layout.into())?;
    /// assert!(writer.try_write(0, 0, &[1, 2])?); // there is no other thread
    /// # Ok::<(), IoError>(())
    /// ```
    pub fn try_write(
        &self,
        tensor: usize,
        byte_offset: u64,
        bytes: &[u8],
    ) -> Result<bool, IoError> {
        let (shard, at) = self.place(tensor, byte_offset, bytes.len() as u64)?;
        let _turn = match self.files[shard].turn.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(turn) => turn,
        };
        self.write_in_turn(tensor, shard, at, bytes)?;
        Ok(true)
    }

    fn write_in_turn(
        &self,
        tensor: usize,
        shard: usize,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), IoError> {
        let OutputFile { path, file, .. } = &self.files[shard];
        self.storage.write_at(file, path, bytes, at)?;
        self.count(tensor, shard, at, bytes.len() as u64);
        Ok(())
    }

    /// Copies elements of a stored tensor to their place, from `byte_offset` of the tensor
    /// with index `tensor` on, without taking them through this process: the kernel copies,
    /// or shares what the file system can share. `false`, and nothing counts as written,
    /// where it cannot: they have to be read and written then.
    ///
    /// # Errors
    ///
    /// [`IoError::TensorIndex`] and [`IoError::WriteRange`].
    ///
    /// ```
    /// use mergecore_io::{Checkpoint, CheckpointWriter, IoError, Layout, TensorSource, TensorSpec};
    /// use mergecore_tensor::DType;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    /// # for dir in [&a, &b] {
    /// #     std::fs::create_dir(dir).unwrap();
    /// #     std::fs::write(dir.join("config.json"), "{}").unwrap();
    /// # }
    /// let spec = || TensorSpec { name: "w".into(), dtype: DType::U8, shape: vec![3] };
    /// let writer = |dir| {
    ///     CheckpointWriter::create(dir, Layout::new(vec![spec()], 9, Default::default())?.into())
    /// };
    /// let first = writer(&a)?;
    /// first.write(0, 0, b"abc")?;
    /// first.finish()?;
    ///
    /// let (checkpoint, second) = (Checkpoint::open(&a)?, writer(&b)?);
    /// let stored = checkpoint.tensor("w").unwrap();
    /// if !second.copy(0, 0, &stored, 0..3)? {
    ///     let mut bytes = [0; 3];
    ///     stored.read(0..3, &mut bytes)?;
    ///     second.write(0, 0, &bytes)?;
    /// }
    /// second.finish()?;
    /// # Ok::<(), IoError>(())
    /// ```
    pub fn copy(
        &self,
        tensor: usize,
        byte_offset: u64,
        source: &StoredTensor,
        elements: Range<u64>,
    ) -> Result<bool, IoError> {
        let bytes = source.file_range(&elements);
        let len = bytes.end - bytes.start;
        let (shard, at) = self.place(tensor, byte_offset, len)?;
        if self.cannot_copy.load(Ordering::Relaxed) || elements.end > source.len() {
            return Ok(false);
        }
        let OutputFile { path, file, .. } = &self.files[shard];
        let copied = self.storage.copy(source.file(), bytes, file, path, at)? == len;
        if copied {
            self.count(tensor, shard, at, len);
        } else {
            self.cannot_copy.store(true, Ordering::Relaxed);
        }
        Ok(copied)
    }

    /// The file, by number, and the position in it of a range of a tensor's bytes.
    fn place(&self, tensor: usize, offset: u64, len: u64) -> Result<(usize, u64), IoError> {
        let Some(place) = self.layout.placement(tensor) else {
            return Err(self.no_tensor(tensor));
        };
        let size = place.bytes.end - place.bytes.start;
        if offset.checked_add(len).is_none_or(|end| end > size) {
            let name = self.layout.tensors()[tensor].name.clone();
            return Err(IoError::WriteRange { tensor: name, offset, len, size });
        }
        Ok((place.shard, place.bytes.start + offset))
    }

    /// Counts what was written, and lets a stretch of the file that may be complete go to
    /// storage now rather than all of it at the end.
    fn count(&self, tensor: usize, shard: usize, at: u64, len: u64) {
        self.written[tensor].fetch_add(len, Ordering::Relaxed);
        let (first, last) = (at / WRITE_BEHIND, (at + len) / WRITE_BEHIND);
        if first < last {
            page_cache::done_with(
                &self.files[shard].file,
                first * WRITE_BEHIND..last * WRITE_BEHIND,
            );
        }
    }

    /// Waits until everything is on the disk.
    ///
    /// Bytes are counted, not remembered: that none was written twice is the
    /// caller's part.
    ///
    /// # Errors
    ///
    /// [`IoError::Unwritten`] if fewer bytes were written of a tensor than it
    /// has; [`IoError::System`].
    ///
    /// ```
    /// use mergecore_io::{CheckpointWriter, IoError, Layout, TensorSpec};
    /// use mergecore_tensor::DType;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let tensor = TensorSpec { name: "w".into(), dtype: DType::U8, shape: vec![4] };
    /// let layout = Layout::new(vec![tensor], u64::MAX, Default::default())?;
    /// let writer = CheckpointWriter::create(dir.path(), layout.into())?;
    /// writer.write(0, 0, &[1, 2, 3])?;
    /// assert!(matches!(writer.finish(), Err(IoError::Unwritten { written: 3, expected: 4, .. })));
    /// # Ok::<(), IoError>(())
    /// ```
    pub fn finish(self) -> Result<(), IoError> {
        self.check_written()?;
        self.sync()
    }

    /// As [`finish`](Self::finish), unless it is told to stop meanwhile, as by
    /// [`sync_unless`](Self::sync_unless).
    ///
    /// # Errors
    ///
    /// As for [`finish`](Self::finish).
    ///
    /// ```
    /// # use mergecore_io::{CheckpointWriter, IoError, Layout, TensorSpec};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let dtype = mergecore_tensor::DType::U8;
    /// # let tensor = TensorSpec { name: "w".into(), dtype, shape: vec![2] };
    /// # let layout = Layout::new(vec![tensor], u64::MAX, Default::default())?;
    /// # let writer = CheckpointWriter::create(dir.path(), layout.into())?;
    /// writer.write(0, 0, &[1, 2])?;
    /// assert!(writer.finish_unless(|| false, || ())?);
    /// # Ok::<(), IoError>(())
    /// ```
    pub fn finish_unless(
        self,
        stop: impl Fn() -> bool,
        failed_late: impl FnOnce() + Send + 'static,
    ) -> Result<bool, IoError> {
        self.check_written()?;
        self.sync_unless(stop, failed_late)
    }

    fn check_written(&self) -> Result<(), IoError> {
        let mut tensors = self.layout.tensors().iter().zip(&self.written).enumerate();
        let unwritten = tensors.find_map(|(index, (tensor, written))| {
            let (written, expected) = (written.load(Ordering::Relaxed), self.size(index));
            (written < expected).then(|| (tensor.name.clone(), written, expected))
        });
        match unwritten {
            Some((tensor, written, expected)) => {
                Err(IoError::Unwritten { tensor, written, expected })
            }
            None => Ok(()),
        }
    }
}

fn sync_files(storage: &Storage, files: &[OutputFile], dir: &Path) -> Result<(), IoError> {
    files.iter().try_for_each(|file| storage.sync(&file.file, &file.path))?;
    storage.sync_dir(dir)
}

/// Waits until a directory's entries (names made, renamed or removed in it) are
/// on the disk. Does nothing where systems have no such notion.
///
/// # Errors
///
/// [`IoError::System`].
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// std::fs::write(dir.path().join("a"), "").unwrap();
/// mergecore_io::sync_dir(dir.path())?;
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
pub fn sync_dir(path: &Path) -> Result<(), IoError> {
    Storage::default().sync_dir(path)
}
