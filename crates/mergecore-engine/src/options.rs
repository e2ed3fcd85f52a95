//! What a merge can be told besides its recipe.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mergecore_config::ModelLocation;
use mergecore_io::Storage;
use mergecore_kernel::{BLOCK, Simd};

use crate::{EngineError, ModelCardTemplate};

/// How to merge, besides what.
///
/// ```
/// use mergecore_engine::MergeOptions;
///
/// let options = MergeOptions { seed: 7, threads: Some(2), ..MergeOptions::default() };
/// assert!(options.hash && options.copy_tokenizer);
/// ```
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// Threads of a pool of the merge's own, as many as rayon thinks best for 0, which
    /// end with it. `None` uses the rayon pool that the call is made in; outside of any that is
    /// rayon's global one, which rayon starts when it is first used. Planning uses the caller's
    /// thread alone. Never changes the output.
    ///
    /// No other threads are started, but for one where there is a [`cancel`](Self::cancel) flag.
    pub threads: Option<usize>,
    /// Bytes that buffers may take together; `None` sets no limit besides
    /// [`chunk`](Self::chunk) and [`threads`](Self::threads). At the least one block of
    /// 65,536 elements of every input and four of the output are held. Besides these buffers
    /// there are the plan, of some kilobytes a tensor, and what a method counts: for ties lists
    /// of at most 8 MiB a thread, and as much again while the threads' lists are joined. Methods
    /// that decompose a matrix do no more of them at once than this limit allows, or half of the
    /// memory available without one, but one however large it is. Never changes the output.
    pub max_memory: Option<u64>,
    /// Elements of a tensor that a thread reads, merges and writes at once, rounded up to
    /// whole blocks of 65,536; one block by default, so that the buffers stay in the
    /// second-level cache. More may suit a network file system. Never changes the output.
    pub chunk: u64,
    /// The instruction set to compute with; the widest of the CPU by default. Never
    /// changes the output.
    pub simd: Simd,
    /// Tensor bytes a shard may hold; 5 * 10^9 by default. A tensor that is larger gets
    /// a shard of its own.
    pub max_shard_bytes: u64,
    /// Seed of the random masks; 0 by default.
    pub seed: u64,
    /// Replace an output that exists. Off by default: such an output is an error.
    pub overwrite: bool,
    /// Discard what an interrupted merge to the same output has left, or whatever else is in its
    /// place (but nothing that a link there leads to), and begin anew. Off by default: the same
    /// merge goes on with it, and another one is refused.
    pub restart: bool,
    /// Hash what is read and written into the manifest. On by default.
    pub hash: bool,
    /// Go on where a merged input holds NaN or infinity, or the output would: because a
    /// result overflows its dtype, or a kernel made it. Off by default.
    pub allow_nonfinite: bool,
    /// Go on where the models' architectures differ. Off by default.
    pub allow_mixed_architectures: bool,
    /// Copy the tokenizer's files. On by default.
    pub copy_tokenizer: bool,
    /// Write a model card (README.md). On by default.
    pub model_card: bool,
    /// The template of the model card; `None` is the built-in one.
    pub model_card_template: Option<ModelCardTemplate>,
    /// The owner of the merged model, for its card.
    pub username: Option<String>,
    /// Told of the progress, from any of the threads, by one at a time and in order.
    pub progress: Option<ProgressCallback>,
    /// Set from elsewhere, stops planning, merging, verifying or reproducing within a tenth of
    /// a second, with [`EngineError::Cancelled`]: it is looked at between files that are opened,
    /// tensors that are planned and chunks that are computed, and while the disk is waited for.
    /// A call of the system that hangs, on a network file system say, is not broken off.
    ///
    /// With a flag, a merge starts one thread besides [`threads`](Self::threads), named
    /// `mergecore-sync`: the wait at the end until the output is on the disk cannot be
    /// broken off, so that this thread does it. Where the merge is cancelled meanwhile, it goes
    /// on until the system answers, and then ends by itself.
    pub cancel: Option<CancelFlag>,
    /// Finds models that are not directories, by name; without one, the engine
    /// knows directories only.
    pub locator: Option<ModelLocator>,
    /// By which files are read and written; the system as it is by default.
    pub storage: Storage,
}

impl MergeOptions {
    /// Whether it was told to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelFlag::is_cancelled)
    }

    /// An error once it was told to stop.
    pub(crate) fn check_cancelled(&self) -> Result<(), EngineError> {
        match self.is_cancelled() {
            true => Err(EngineError::Cancelled),
            false => Ok(()),
        }
    }
}

impl Default for MergeOptions {
    fn default() -> Self {
        MergeOptions {
            threads: None,
            max_memory: None,
            chunk: BLOCK,
            simd: Simd::detect(),
            max_shard_bytes: 5_000_000_000,
            seed: 0,
            overwrite: false,
            restart: false,
            hash: true,
            allow_nonfinite: false,
            allow_mixed_architectures: false,
            copy_tokenizer: true,
            model_card: true,
            model_card_template: None,
            username: None,
            progress: None,
            cancel: None,
            locator: None,
            storage: Storage::default(),
        }
    }
}

/// How far a merge has come.
///
/// ```
/// use mergecore_engine::Progress;
///
/// // Tensors may be empty, so that there are no bytes to write.
/// let percent = |progress: Progress| 100 * progress.bytes_done / progress.bytes_total.max(1);
/// let half = Progress { bytes_done: 28, bytes_total: 56, tensors_total: 3, ..Progress::default() };
/// assert_eq!(percent(half), 50);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of inputs read so far for what a method must know of all tensors before any is
    /// merged (`scope: model`). How many there will be depends on the data.
    pub bytes_surveyed: u64,
    /// Bytes of tensors written so far.
    pub bytes_done: u64,
    /// Bytes of tensors to write.
    pub bytes_total: u64,
    /// Tensors completed so far.
    pub tensors_done: usize,
    /// Tensors to write.
    pub tensors_total: usize,
}

/// A function that is told of the progress: after every chunk written and every tensor
/// completed, and where all tensors are looked at before, after every chunk read for that.
///
/// ```
/// use mergecore_engine::{MergeOptions, ProgressCallback};
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
///
/// let (sender, receiver) = std::sync::mpsc::channel();
/// let callback = ProgressCallback::new(move |progress| sender.send(progress).unwrap_or(()));
/// let options = MergeOptions { progress: Some(callback), ..MergeOptions::default() };
/// plan.execute("merged", &options)?;
/// let last = receiver.try_iter().last().unwrap();
/// assert_eq!((last.bytes_done, last.tensors_done), (56, 3));
/// # Ok::<(), mergecore_engine::EngineError>(())
/// ```
#[derive(Clone)]
pub struct ProgressCallback(Arc<dyn Fn(Progress) + Send + Sync>);

impl ProgressCallback {
    /// Wraps a function, which must be quick: the merge waits for it.
    pub fn new(callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        ProgressCallback(Arc::new(callback))
    }

    pub(crate) fn call(&self, progress: Progress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for ProgressCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressCallback")
    }
}

/// Finds the directory of a model by its name and revision, or says where it looked
/// in vain: a clause such as `the cache /c has no org/name`.
///
/// ```
/// use mergecore_config::ModelLocation;
/// use mergecore_engine::{ModelLocator, locate_model};
///
/// let models = tempfile::tempdir().unwrap();
/// let shelf = models.path().to_owned();
/// let locator = ModelLocator::new(move |model| {
///     let dir = shelf.join(&model.path);
///     if dir.is_dir() { Ok(dir) } else { Err(format!("there is no {}", dir.display())) }
/// });
/// std::fs::create_dir_all(models.path().join("org/name")).unwrap();
/// let found = locate_model(&ModelLocation::new("org/name"), Some(&locator))?;
/// assert_eq!(found, models.path().join("org/name"));
/// # Ok::<(), mergecore_engine::ModelNotFound>(())
/// ```
#[derive(Clone)]
pub struct ModelLocator(Arc<Locate>);

type Locate = dyn Fn(&ModelLocation) -> Result<PathBuf, String> + Send + Sync;

impl ModelLocator {
    /// Wraps a function.
    pub fn new(
        locate: impl Fn(&ModelLocation) -> Result<PathBuf, String> + Send + Sync + 'static,
    ) -> Self {
        ModelLocator(Arc::new(locate))
    }

    pub(crate) fn call(&self, model: &ModelLocation) -> Result<PathBuf, String> {
        (self.0)(model)
    }
}

impl fmt::Debug for ModelLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelLocator")
    }
}

/// Stops a merge, or its planning, from elsewhere: clones share one flag.
///
/// ```
/// use mergecore_engine::{CancelFlag, EngineError, MergeOptions};
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
///
/// let cancel = CancelFlag::new();
/// let options = MergeOptions { cancel: Some(cancel.clone()), ..MergeOptions::default() };
/// assert!(!cancel.is_cancelled());
/// std::thread::spawn(move || cancel.cancel()).join().unwrap();
/// assert!(matches!(plan.execute("merged", &options), Err(EngineError::Cancelled)));
/// assert!(!std::fs::exists("merged").unwrap());
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        CancelFlag::default()
    }

    /// Asks whatever was given the flag to stop, which it does within a tenth of a second. A merge
    /// leaves no output, but what was done, for the same merge to go on with.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is set.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
