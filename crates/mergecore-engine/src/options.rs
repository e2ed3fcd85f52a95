//! What a merge can be told besides its recipe.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mergecore_config::ModelLocation;

use crate::ModelCardTemplate;

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
    /// Threads of a pool of the merge's own; `None` uses the rayon pool that the
    /// call is made in. Never changes the output.
    pub threads: Option<usize>,
    /// Bytes that buffers may take together; `None` is 4 MiB a thread. At the
    /// least one block of 65,536 elements of every input is held. Never changes
    /// the output.
    pub max_memory: Option<u64>,
    /// Tensor bytes a shard may hold; 5 * 10^9 by default.
    pub max_shard_bytes: u64,
    /// Seed of the random masks; 0 by default.
    pub seed: u64,
    /// Replace an output that exists.
    pub overwrite: bool,
    /// Hash what is read and written into the manifest. On by default.
    pub hash: bool,
    /// Go on where a merged input holds NaN or infinity.
    pub allow_nonfinite: bool,
    /// Go on where the models' architectures differ.
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
    /// Set from elsewhere, stops the merge.
    pub cancel: Option<CancelFlag>,
    /// Finds models that are not directories, by name; without one, the engine
    /// knows directories only.
    pub locator: Option<ModelLocator>,
}

impl Default for MergeOptions {
    fn default() -> Self {
        MergeOptions {
            threads: None,
            max_memory: None,
            max_shard_bytes: 5_000_000_000,
            seed: 0,
            overwrite: false,
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
        }
    }
}

/// How far a merge has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of tensors written so far.
    pub bytes_done: u64,
    /// Bytes of tensors to write.
    pub bytes_total: u64,
    /// Tensors completed so far.
    pub tensors_done: usize,
    /// Tensors to write.
    pub tensors_total: usize,
}

/// A function that is told of the progress after every chunk.
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
/// use mergecore_engine::ModelLocator;
///
/// let shelf = ModelLocator::new(|model| {
///     let dir = std::path::Path::new("/models").join(&model.path);
///     if dir.is_dir() { Ok(dir) } else { Err(format!("there is no {}", dir.display())) }
/// });
/// # let _ = shelf;
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

/// Stops a merge from elsewhere: clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        CancelFlag::default()
    }

    /// Asks the merge to stop; it ends within a chunk's time and leaves no output.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is set.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
