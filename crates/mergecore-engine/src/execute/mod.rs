//! From a plan to a checkpoint, chunk by chunk.

mod chunk;
mod memory;
mod schedule;
mod tensor;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mergecore_io::{CheckpointWriter, IoError, StagedDir};
use mergecore_kernel::BLOCK;
use serde_json::{Map, Value};

use crate::plan::{MergePlan, PlannedTensor, Tally, TensorInput};
use crate::{
    CardError, EngineError, MergeOptions, ModelCardOptions, Progress, manifest, save_model_card,
};
use chunk::MAX_WAITING;
use schedule::Schedule;

pub(crate) use tensor::TensorHashes;

/// What a merge did.
///
/// ```
/// # use mergecore_engine::MergeOptions;
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
/// let report = plan.execute("merged", &MergeOptions::default())?;
/// assert_eq!((report.tensors, report.bytes, report.files), (3, 14 * 4, 1));
/// assert!(report.output.ends_with("merged"));
/// for note in &report.notes {
///     println!("{note}");
/// }
/// # Ok::<(), mergecore_engine::EngineError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MergeReport {
    /// The output directory.
    pub output: PathBuf,
    /// Number of tensors written.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Number of safetensors files.
    pub files: usize,
    /// What became of the tensors.
    pub tally: Tally,
    /// What was accepted without having an effect, and what else the user should
    /// know.
    pub notes: Vec<String>,
    /// How long it took, planning not counted.
    pub elapsed: Duration,
}

impl MergePlan {
    /// Carries the plan out: writes the merged checkpoint to `output`, which
    /// appears under that name only when complete and synced.
    ///
    /// What [`MergePlan::new`] was told of seed, shard size, architectures, locator and
    /// tokenizer stays as planned; the other options are taken from `options`.
    ///
    /// # Errors
    /// If the output exists (and is not to be overwritten) or overlaps an input, the
    /// model card's template is not valid, threads cannot be started, reading or writing
    /// fails, an input holds NaN or infinity, integer tensors differ, a kernel refuses
    /// its data, or the merge is cancelled. There is no new output then.
    ///
    /// # Panics
    /// If the method's kernel or the progress callback does.
    ///
    /// ```
    /// use mergecore_engine::MergeOptions;
    /// use mergecore_io::{Checkpoint, TensorSource};
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
    /// # let _folder = example::folder();
    /// # let plan = example::plan(); // the mean of 1 and 3
    ///
    /// plan.execute("merged", &MergeOptions { threads: Some(2), ..MergeOptions::default() })?;
    /// let merged = Checkpoint::open("merged".as_ref())?;
    /// let mut norm = [0; 8]; // two f32
    /// merged.tensor("model.norm.weight").unwrap().read(0..2, &mut norm)?;
    /// assert_eq!(norm, [2.0f32.to_le_bytes(); 2].as_flattened());
    /// # Ok::<(), mergecore_engine::EngineError>(())
    /// ```
    pub fn execute(
        &self,
        output: impl AsRef<Path>,
        options: &MergeOptions,
    ) -> Result<MergeReport, EngineError> {
        let started = Instant::now();
        let output = output.as_ref();
        self.check_apart(output)?;
        // Before anything is read: a template may be wrong.
        let card = options.model_card.then(|| self.model_card(output, options)).transpose()?;
        let staged = StagedDir::create(output, options.overwrite)?;
        let writer = CheckpointWriter::create(staged.path(), Arc::clone(&self.layout))?;
        let (hashes, mut notes) = self.write_tensors(&writer, options)?;
        writer.finish()?;
        notes.splice(0..0, self.notes.iter().cloned());
        self.write_files(staged.path(), card.as_deref(), &hashes)?;
        let output = staged.output().to_owned();
        staged.commit()?;
        Ok(MergeReport {
            output,
            tensors: self.tensors.len(),
            bytes: self.layout.total_bytes(),
            files: self.layout.shards().len(),
            tally: self.tally,
            notes,
            elapsed: started.elapsed(),
        })
    }

    fn model_card(&self, output: &Path, options: &MergeOptions) -> Result<String, CardError> {
        let name = absolute(output).file_name().map(|name| name.to_string_lossy().into_owned());
        self.card.render(&ModelCardOptions {
            model_name: name.unwrap_or_else(|| "merged".to_owned()),
            username: options.username.clone(),
            license: self.license.clone(),
            pipeline_tag: self.pipeline_tag().map(str::to_owned),
            template: options.model_card_template.clone(),
        })
    }

    /// What the merged model is for, where its class says so.
    fn pipeline_tag(&self) -> Option<&'static str> {
        let class = self.config.get("architectures")?.get(0)?.as_str()?;
        let generates = class.ends_with("ForCausalLM") || class.ends_with("LMHeadModel");
        generates.then_some("text-generation")
    }

    /// Neither may the output lie in an input's directory nor the reverse.
    fn check_apart(&self, output: &Path) -> Result<(), EngineError> {
        let output = absolute(output);
        for model in &self.models {
            let input = absolute(model.checkpoint.dir());
            if output.starts_with(&input) || input.starts_with(&output) {
                return Err(EngineError::OutputOverlapsInput { output, input });
            }
        }
        Ok(())
    }

    fn write_tensors(
        &self,
        writer: &CheckpointWriter,
        options: &MergeOptions,
    ) -> Result<(Vec<TensorHashes>, Vec<String>), EngineError> {
        let pool = match options.threads {
            None => None,
            Some(threads) => {
                let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                Some(built.map_err(|source| EngineError::Threads { threads, source })?)
            }
        };
        let threads = pool
            .as_ref()
            .map_or_else(rayon::current_num_threads, |pool| pool.current_num_threads());
        let budget = Budget::new(&self.tensors, threads, options);
        let exceeds_memory = memory::available().is_some_and(|free| self.bytes_moved() > free / 2);
        let job =
            Job { plan: self, writer, options, budget, exceeds_memory, done: Mutex::default() };
        let schedule = Schedule::new(&job);
        let work = || {
            rayon::scope(|scope| {
                for worker in 0..job.budget.workers {
                    let schedule = &schedule;
                    scope.spawn(move |_| schedule.work(worker));
                }
            });
        };
        match &pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
        schedule.finish()
    }

    /// Bytes of every tensor's inputs, however often they are read for it, and its output.
    fn bytes_moved(&self) -> u64 {
        let bytes = |input: &TensorInput| input.source.len() * input.source.dtype().size() as u64;
        let read: u64 = self.tensors.iter().flat_map(|tensor| &tensor.inputs).map(bytes).sum();
        read + self.layout.total_bytes()
    }

    fn write_files(
        &self,
        dir: &Path,
        card: Option<&str>,
        hashes: &[TensorHashes],
    ) -> Result<(), EngineError> {
        let json = |value: &Map<String, Value>| format!("{:#}\n", Value::Object(value.clone()));
        write_file(&dir.join("config.json"), json(&self.config).as_bytes())?;
        for companion in &self.companions {
            let content = std::fs::read(&companion.path)
                .map_err(|source| system("read", &companion.path, source))?;
            write_file(&dir.join(companion.name), &content)?;
        }
        write_file(&dir.join("mergecore_config.yml"), self.recipe.as_bytes())?;
        if let Some(card) = card {
            save_model_card(card, dir)?;
        }
        let manifest = manifest::build(self, hashes);
        write_file(&dir.join("merge_manifest.json"), format!("{manifest:#}\n").as_bytes())
    }
}

/// Writes a small file; [`StagedDir::commit`] syncs it with the others.
fn write_file(path: &Path, content: &[u8]) -> Result<(), EngineError> {
    std::fs::write(path, content).map_err(|source| system("write", path, source))
}

fn system(action: &'static str, path: &Path, source: std::io::Error) -> EngineError {
    IoError::System { action, path: path.to_owned(), source }.into()
}

/// The path without links and dots as far as it exists.
fn absolute(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent != Path::new("") => absolute(parent).join(name),
        (Some(_), Some(name)) => absolute(Path::new(".")).join(name),
        _ => path.to_owned(),
    }
}

/// What all workers share.
struct Job<'a> {
    plan: &'a MergePlan,
    writer: &'a CheckpointWriter,
    options: &'a MergeOptions,
    budget: Budget,
    /// Whether inputs and output are more than the page cache is likely to hold, so that
    /// what is done is better dropped from it.
    exceeds_memory: bool,
    done: Mutex<Counters>,
}

#[derive(Default)]
struct Counters {
    bytes: u64,
    tensors: usize,
}

impl Job<'_> {
    fn cancelled(&self) -> bool {
        self.options.cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled())
    }

    /// Counts what was written and tells whoever wants to know, under the lock: so
    /// that nobody is told of less than before.
    fn report(&self, bytes: u64, tensors: usize) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.bytes += bytes;
        done.tensors += tensors;
        if let Some(progress) = &self.options.progress {
            progress.call(Progress {
                bytes_done: done.bytes,
                bytes_total: self.plan.layout.total_bytes(),
                tensors_done: done.tensors,
                tensors_total: self.plan.tensors.len(),
            });
        }
    }
}

/// How memory is shared out. It decides how long chunks are, and nothing else.
struct Budget {
    workers: usize,
    /// Bytes that one worker's buffers may take.
    per_worker: u64,
    /// Blocks of a chunk, where they fit.
    blocks: u64,
}

impl Budget {
    fn new(tensors: &[PlannedTensor], threads: usize, options: &MergeOptions) -> Self {
        let threads = threads.max(1);
        let blocks = options.chunk.div_ceil(BLOCK).max(1);
        let Some(max_memory) = options.max_memory else {
            return Budget { workers: threads, per_worker: u64::MAX, blocks };
        };
        let least =
            tensors.iter().map(|tensor| BLOCK * bytes_per_element(tensor)).max().unwrap_or(1);
        let workers = (max_memory / least.max(1)).clamp(1, threads as u64);
        Budget { workers: workers as usize, per_worker: max_memory / workers, blocks }
    }

    /// Elements of a chunk of this tensor: as many whole blocks as fit, at least
    /// one.
    fn chunk(&self, tensor: &PlannedTensor) -> u64 {
        let fitting = self.per_worker / bytes_per_element(tensor) / BLOCK;
        fitting.clamp(1, self.blocks) * BLOCK
    }
}

/// Bytes that one element takes in a worker's buffers, inputs and outputs.
fn bytes_per_element(tensor: &PlannedTensor) -> u64 {
    let inputs: usize = tensor.inputs.iter().map(|input| input.source.dtype().size()).sum();
    let outputs = (1 + MAX_WAITING) * tensor.dtype.size();
    (inputs + outputs) as u64
}
