//! From a plan to a checkpoint, chunk by chunk.

mod chunk;
mod findings;
mod memory;
mod record;
mod schedule;
mod survey;
mod tensor;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mergecore_io::{CheckpointWriter, IoError, StagedDir};
use mergecore_kernel::BLOCK;
use rayon::prelude::*;
use serde_json::Value;

use crate::card;
use crate::hash::hash_source;
use crate::manifest::{self, Manifest};
use crate::place::{InputPlace, absolute, check_place};
use crate::plan::{MergePlan, PlannedTensor, Tally, TensorInput};
use crate::{CardError, EngineError, MergeOptions, ModelCardOptions, Problems, Progress};
use chunk::{MAX_WAITING, Writer};
use record::Record;
use schedule::Schedule;
use whole::WholeMemory;

pub(crate) use findings::Findings;
pub(crate) use tensor::Outcome;

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
    /// Of the tensors, those that an interrupted merge had written already.
    pub resumed: usize,
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
    /// A merge that is stopped, by whatever, or fails (unless it is for what the data are and
    /// would be again) leaves what it has done in `.<name>.mergecore-partial` beside the
    /// output. The same merge goes on with it: tensors that are there are looked through by
    /// their hashes and not computed again, and the output is what it would have been at once.
    ///
    /// # Errors
    /// If the output exists (and is not to be overwritten) or overlaps an input, cannot be
    /// written or does not fit on the disk, another merge writes to it or has left its work
    /// there (and is not to be discarded: [`MergeOptions::restart`]), the
    /// model card's template is not valid, threads cannot be started, reading or writing
    /// fails, an input or an output would hold NaN or infinity, integer tensors differ, a kernel refuses
    /// its data, a model's file changes meanwhile, or the merge is cancelled. There is no new
    /// output then, and an old one is as it was.
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
        options.check_cancelled()?;
        let files = self.check_output(output, options)?;
        let open = if options.restart { StagedDir::restart } else { StagedDir::resume };
        let staged = open(output, options.overwrite, &options.storage)?;
        let (record, done) = Record::open(self, &staged, options)?;
        let shards = self.layout.shards().iter().map(|shard| shard.file_name());
        staged.keep_only(shards.chain(files.iter().map(|(name, _)| *name)))?;
        let writer =
            CheckpointWriter::resume(staged.path(), Arc::clone(&self.layout), &options.storage)?;
        let (outcomes, resumed) = self
            .write_tensors(&writer, &record, done, options)
            .inspect_err(|error| discard_what_is_of_no_use(&staged, error))?;
        let finished = match options.cancel {
            None => writer.finish().map(|()| true),
            Some(_) => writer.finish_unless(|| options.is_cancelled(), record.eraser()),
        };
        let finished = finished.map_err(EngineError::from);
        if !finished.inspect_err(|error| discard_what_is_of_no_use(&staged, error))? {
            return Err(EngineError::Cancelled);
        }
        let manifest = Manifest::new(self, &outcomes, &files).to_string();
        for (name, content) in files
            .iter()
            .map(|(name, content)| (*name, &content[..]))
            .chain([(manifest::FILE, manifest.as_bytes())])
        {
            staged.write_file(name, content)?;
        }
        // Whatever was read was read by now.
        self.models.iter().try_for_each(|model| model.checkpoint.check_unchanged())?;
        options.check_cancelled()?;
        let output = staged.output().to_owned();
        staged.commit()?;
        let mut notes = self.notes.clone();
        if resumed > 0 {
            notes.push(format!(
                "{resumed} of {} tensors had been written by an interrupted merge; they were looked through and kept",
                self.tensors.len()
            ));
        }
        notes.extend(findings::flushed_note(self, &outcomes));
        notes.extend(outcomes.into_iter().flat_map(|outcome| outcome.notes));
        Ok(MergeReport {
            output,
            tensors: self.tensors.len(),
            bytes: self.layout.total_bytes(),
            files: self.layout.shards().len(),
            resumed,
            tally: self.tally,
            notes,
            elapsed: started.elapsed(),
        })
    }

    /// Everything that can be known to go wrong with an output before it is begun, together.
    /// Yields its small files.
    pub(crate) fn check_output(
        &self,
        output: &Path,
        options: &MergeOptions,
    ) -> Result<SmallFiles, EngineError> {
        let mut problems = Problems::new();
        let inputs = self.models.iter().map(|model| InputPlace::of(&model.checkpoint));
        let may_be = problems.add(check_place(output, inputs, options)).is_some();
        let card = options.model_card.then(|| self.model_card(output, options));
        let card = problems.add(card.transpose().map_err(EngineError::from));
        let files = card.and_then(|card| problems.add(self.small_files(card)));
        if let (true, Some(files)) = (may_be, &files) {
            problems.add(self.check_space(output, files, options));
        }
        problems.finish(files)
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

    /// Writes all tensors that are not done; yields what is known of all, and how many were.
    fn write_tensors(
        &self,
        writer: &CheckpointWriter,
        record: &Record<'_>,
        done: BTreeMap<usize, Outcome>,
        options: &MergeOptions,
    ) -> Result<(Vec<Outcome>, usize), EngineError> {
        let pool = Pool::new(options)?;
        let job = Job::new(self, Some((writer, record)), options, &pool);
        // Should this end by the panic of somebody's kernel.
        let _recorded = RecordAtLast(&job);
        let complete = pool.run(|| job.keep(done))?;
        let resumed = complete.iter().flatten().count();
        let outcomes = job.run(complete, &pool);
        if let Err(error) = &outcomes {
            job.record_now(matches!(error, EngineError::Cancelled));
        }
        Ok((outcomes?, resumed))
    }

    /// What would be known of all tensors once they were written, which they are not.
    pub(crate) fn outcomes(&self, options: &MergeOptions) -> Result<Vec<Outcome>, EngineError> {
        let pool = Pool::new(options)?;
        Job::new(self, None, options, &pool).run(vec![None; self.tensors.len()], &pool)
    }

    /// Bytes of every tensor's inputs, however often they are read for it, and its output.
    fn bytes_moved(&self) -> u64 {
        let bytes = |input: &TensorInput| input.source.len() * input.source.dtype().size() as u64;
        let read: u64 = self.tensors.iter().flat_map(|tensor| &tensor.inputs).map(bytes).sum();
        read + self.layout.total_bytes()
    }

    /// The files beside weights and manifest, with their names.
    pub(crate) fn small_files(&self, card: Option<String>) -> Result<SmallFiles, EngineError> {
        let config = format!("{:#}\n", Value::Object(self.config.clone()));
        let mut files = vec![("config.json", config.into_bytes())];
        for companion in &self.companions {
            files.push((companion.name, companion.read()?));
        }
        files.push(("mergecore_config.yml", self.recipe.clone().into_bytes()));
        files.extend(card.map(|card| (card::FILE, card.into_bytes())));
        Ok(files)
    }

    /// Bytes that the output takes: of all its files, to the last one unless there will be
    /// something to note in the manifest.
    ///
    /// # Errors
    /// If the model card cannot be made or a file that is copied cannot be read.
    ///
    /// ```
    /// # use mergecore_engine::MergeOptions;
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
    /// # let _folder = example::folder();
    /// # let plan = example::plan();
    /// let expected = plan.output_bytes("merged", &MergeOptions::default())?;
    /// plan.execute("merged", &MergeOptions::default())?;
    /// let files = std::fs::read_dir("merged").unwrap();
    /// let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    /// assert_eq!(bytes, expected);
    /// # Ok::<(), mergecore_engine::EngineError>(())
    /// ```
    pub fn output_bytes(
        &self,
        output: impl AsRef<Path>,
        options: &MergeOptions,
    ) -> Result<u64, EngineError> {
        let card = options.model_card.then(|| self.model_card(output.as_ref(), options));
        let files = self.small_files(card.transpose()?)?;
        // A hash is as long as any other.
        let inputs = self.tensors.iter().map(|tensor| tensor.inputs.len());
        let blank: Vec<Outcome> = inputs.map(|n| Outcome::blank(n, options.hash)).collect();
        let manifest = Manifest::new(self, &blank, &files).to_string().len() as u64;
        Ok(self.bytes_beside_manifest(&files) + manifest)
    }

    fn bytes_beside_manifest(&self, files: &SmallFiles) -> u64 {
        let index = self.layout.index_text().map_or(0, |index| index.len());
        let small: usize = files.iter().map(|(_, content)| content.len()).sum();
        let weights: u64 = self.layout.shards().iter().map(|shard| shard.file_len()).sum();
        weights + (index + small) as u64
    }

    /// Whether all files fit on the disk.
    fn check_space(
        &self,
        output: &Path,
        files: &SmallFiles,
        options: &MergeOptions,
    ) -> Result<(), EngineError> {
        let entries = self.tensors.iter().flat_map(|tensor| {
            let inputs = tensor.inputs.iter().map(|input| input.name.len());
            inputs.chain([tensor.name.len() + 40 * tensor.shape.len()])
        });
        let manifest: usize = entries.map(|bytes| bytes + 1000).sum();
        // By far most often there is plenty.
        let plenty = self.bytes_beside_manifest(files) + manifest as u64 + (1 << 20);
        if StagedDir::check_space(output, plenty, &options.storage).is_ok() {
            return Ok(());
        }
        let bytes = self.output_bytes(output, options)?;
        Ok(StagedDir::check_space(output, bytes, &options.storage)?)
    }
}

/// Has the work removed where it would fail again however often it is tried, or where a sync has
/// failed: the system may then take for written what it was not able to write.
fn discard_what_is_of_no_use(staged: &StagedDir, error: &EngineError) {
    use IoError::System;
    if let EngineError::IntegersDiffer { .. }
    | EngineError::Kernel { .. }
    | EngineError::Io(System { action: "sync", .. }) = error
    {
        staged.discard();
    }
}

/// Names and contents.
pub(crate) type SmallFiles = Vec<(&'static str, Vec<u8>)>;

/// The threads that work: of a pool of the merge's own, or of the caller's.
pub(crate) struct Pool(Option<rayon::ThreadPool>);

impl Pool {
    pub(crate) fn new(options: &MergeOptions) -> Result<Self, EngineError> {
        let Some(threads) = options.threads else { return Ok(Pool(None)) };
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(Pool(Some(built.map_err(|source| EngineError::Threads { threads, source })?)))
    }

    fn threads(&self) -> usize {
        self.0.as_ref().map_or_else(rayon::current_num_threads, |pool| pool.current_num_threads())
    }

    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

/// What all workers share.
struct Job<'a> {
    plan: &'a MergePlan,
    writer: Writer<'a>,
    record: Option<&'a Record<'a>>,
    options: &'a MergeOptions,
    budget: Budget,
    /// Whether inputs and output are more than the page cache is likely to hold, so that
    /// what is done is better dropped from it.
    exceeds_memory: bool,
    whole_memory: WholeMemory,
    done: Mutex<Counters>,
}

#[derive(Default)]
struct Counters {
    surveyed: u64,
    bytes: u64,
    tensors: usize,
}

impl<'a> Job<'a> {
    fn new(
        plan: &'a MergePlan,
        to: Option<(&'a CheckpointWriter, &'a Record<'a>)>,
        options: &'a MergeOptions,
        pool: &Pool,
    ) -> Self {
        let budget = Budget::new(&plan.tensors, pool.threads(), options);
        let available = memory::available();
        let exceeds_memory = available.is_some_and(|free| plan.bytes_moved() > free / 2);
        let whole_memory = options.max_memory.or(available.map(|free| free / 2));
        let whole_memory = WholeMemory::new(whole_memory.unwrap_or(u64::MAX));
        let (writer, record) = to.unzip();
        Job {
            plan,
            writer,
            record,
            options,
            budget,
            exceeds_memory,
            whole_memory,
            done: Mutex::default(),
        }
    }

    /// Does all tensors that are not complete.
    fn run(
        &'a self,
        complete: Vec<Option<Outcome>>,
        pool: &Pool,
    ) -> Result<Vec<Outcome>, EngineError> {
        // Nothing has to be known of what is done.
        let surveyed = match complete.iter().all(Option::is_some) {
            true => None,
            false => self.survey(pool)?,
        };
        let schedule = Schedule::new(self, complete, surveyed);
        pool.run(|| {
            rayon::scope(|scope| {
                for worker in 0..self.budget.workers {
                    let schedule = &schedule;
                    scope.spawn(move |_| schedule.work(worker));
                }
            });
        });
        schedule.finish()
    }

    /// Looks through the tensors that were done before; yields those that are as they were.
    fn keep(&self, done: BTreeMap<usize, Outcome>) -> Result<Vec<Option<Outcome>>, EngineError> {
        let mut complete = vec![None; self.plan.tensors.len()];
        let Some(writer) = self.writer else { return Ok(complete) };
        let look = |(index, outcome): (usize, Outcome)| {
            if index >= self.plan.tensors.len() {
                return Ok(None);
            }
            if !writer.was_there(index) {
                return Ok(None);
            }
            let stored = writer.read_back(index)?;
            if outcome.hashes.output.is_some() {
                match hash_source(&stored, || self.options.is_cancelled())? {
                    None => return Err(EngineError::Cancelled),
                    Some(hash) if !outcome.agrees_with(hash) => return Ok(None),
                    Some(_) => {}
                }
            }
            writer.keep_written(index);
            self.report(stored.byte_len(), 1);
            Ok(Some((index, outcome)))
        };
        let kept: Result<Vec<_>, EngineError> = done.into_par_iter().map(look).collect();
        for (index, outcome) in kept?.into_iter().flatten() {
            complete[index] = Some(outcome);
        }
        Ok(complete)
    }

    fn record_complete(&self, tensor: usize, outcome: &Outcome) {
        if let Some(record) = self.record {
            record.complete(tensor, outcome);
        }
    }

    /// Writes down which tensors are done.
    fn record_now(&self, in_a_hurry: bool) {
        if let (Some(record), Some(writer)) = (self.record, self.writer) {
            // A disk that is full, say: some tensors will be computed again.
            let _ = record.write_now(writer, in_a_hurry);
        }
    }

    /// Writes down which tensors are done, if it is time.
    fn record_some(&self) -> Result<(), EngineError> {
        match (self.record, self.writer) {
            (Some(record), Some(writer)) => record.write(writer),
            _ => Ok(()),
        }
    }

    /// Counts what was written.
    fn report(&self, bytes: u64, tensors: usize) {
        self.tell(|done| {
            done.bytes += bytes;
            done.tensors += tensors;
        });
    }

    /// Counts what was read for a survey.
    fn report_surveyed(&self, bytes: u64) {
        self.tell(|done| done.surveyed += bytes);
    }

    /// Counts and tells whoever wants to know, under the lock: so that nobody is told of less
    /// than before.
    fn tell(&self, count: impl FnOnce(&mut Counters)) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut done);
        if let Some(progress) = &self.options.progress {
            progress.call(Progress {
                bytes_surveyed: done.surveyed,
                bytes_done: done.bytes,
                bytes_total: self.plan.layout.total_bytes(),
                tensors_done: done.tensors,
                tensors_total: self.plan.tensors.len(),
            });
        }
    }
}

/// Writes down what is done when the work ends.
struct RecordAtLast<'a>(&'a Job<'a>);

impl Drop for RecordAtLast<'_> {
    fn drop(&mut self) {
        self.0.record_now(true);
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
