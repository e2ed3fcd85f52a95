//! One output tensor on its way through scans and apply.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use mergecore_kernel::{
    Apply, BLOCK, Cutoff, ErasedPartial, ErasedScan, Extent, Found, KernelError, Losses, Order,
    Step, Whole, blocks,
};
use serde::{Deserialize, Serialize};

use super::Job;
use super::chunk::Buffers;
use super::findings::Findings;
use super::whole::WholeInputs;
use crate::EngineError;
use crate::hash::{PieceHasher, TensorHash};
use crate::plan::{Operation, PlannedTensor, TensorInput};

/// The hashes of what was read for an output tensor and of what was written;
/// `None` where they were not asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TensorHashes {
    pub(crate) inputs: Option<Vec<TensorHash>>,
    pub(crate) output: Option<TensorHash>,
}

/// What is known of a tensor once it is done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) hashes: TensorHashes,
    #[serde(default, skip_serializing_if = "Findings::is_none")]
    pub(crate) findings: Findings,
    /// What the user should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    /// As long as any other in a manifest, but for what is found in the data.
    pub(super) fn blank(inputs: usize, hashed: bool) -> Self {
        let hash = hashed.then(TensorHash::default);
        let hashes = TensorHashes { inputs: hash.map(|hash| vec![hash; inputs]), output: hash };
        Outcome { hashes, ..Outcome::default() }
    }
}

/// What one worker does at once: a run of elements, or where a tensor is read all at once every
/// run of a pass.
pub(super) type Chunk = Vec<Range<u64>>;

/// What is being done to a tensor now, to all of its chunks.
enum Pass {
    Scan(Box<dyn ErasedScan>),
    /// One worker reads what it wants.
    Whole(Box<dyn Whole>),
    Apply(Box<dyn Apply>),
    /// Copy the first input; all must be equal.
    Copy,
    /// Nothing more.
    Done,
}

impl From<Step> for Pass {
    fn from(step: Step) -> Self {
        match step {
            Step::Scan(scan) => Pass::Scan(scan),
            Step::Whole(whole) => Pass::Whole(whole),
            Step::Apply(apply) => Pass::Apply(apply),
        }
    }
}

impl Pass {
    /// The element ranges that are read, ascending.
    fn ranges(&self, extent: Extent) -> Vec<Range<u64>> {
        match self {
            Pass::Scan(scan) => scan.ranges(extent),
            Pass::Apply(_) | Pass::Whole(_) | Pass::Copy => {
                vec![Range { start: 0, end: extent.len() }]
            }
            Pass::Done => Vec::new(),
        }
    }

    fn whole_rows(&self) -> bool {
        match self {
            Pass::Scan(scan) => scan.whole_rows(),
            Pass::Apply(apply) => apply.whole_rows(),
            Pass::Whole(_) | Pass::Copy | Pass::Done => false,
        }
    }

    /// Elements of a chunk, where `usual` are those that fit: more of long rows, so that few
    /// have to be read twice.
    fn chunk(&self, extent: Extent, usual: u64) -> u64 {
        const ROWS: u64 = 8;
        match self {
            Pass::Whole(_) => extent.len().max(1),
            _ if !self.whole_rows() || BLOCK.is_multiple_of(extent.columns.max(1)) => usual,
            _ if extent.columns > BLOCK => extent.columns.next_multiple_of(BLOCK),
            _ => usual.max((ROWS * extent.columns).next_multiple_of(BLOCK)),
        }
    }
}

/// A tensor being worked on.
pub(super) struct Active<'a> {
    pub(super) index: usize,
    pub(super) tensor: &'a PlannedTensor,
    extent: Extent,
    /// Whether it is read all at once, so that later passes find it in memory.
    pub(super) is_one_chunk: bool,
    /// Read by the workers on its chunks, replaced between passes.
    pass: RwLock<Pass>,
    state: Mutex<State>,
    input_hashes: Vec<PieceHasher>,
    output_hash: Option<PieceHasher>,
    /// Whether storage is asked ahead for what is read: until a pass has read everything, which
    /// later ones find in the page cache.
    prefetches: AtomicBool,
}

/// Elements asked for ahead at once: enough for a long read of every input.
const PREFETCH: u64 = 1 << 22;

/// Asks storage for the window after the one that these elements begin, if they do.
pub(super) fn prefetch_after(inputs: &[TensorInput], elements: &Range<u64>) {
    if elements.start % PREFETCH < elements.end - elements.start {
        let start = (elements.start / PREFETCH + 1) * PREFETCH;
        for input in inputs {
            let window = start..(start + PREFETCH).min(input.source.len());
            if !window.is_empty() {
                input.source.prefetch(window);
            }
        }
    }
}

/// What chunks leave behind.
struct State {
    /// Whether this pass looks the inputs through for NaN and infinity: the first
    /// that reads every element does.
    inspect: bool,
    inspected: bool,
    nonfinite: Vec<Option<Found>>,
    /// What the output lost in rounding.
    losses: Losses,
    /// First element at which an input differs from the first one, and which.
    differs: Option<(u64, usize)>,
    /// Partials of a scan in any order: one a worker.
    by_worker: BTreeMap<usize, ErasedPartial>,
    /// Partials of a scan in block order, by first element, not yet combined.
    waiting: BTreeMap<u64, Vec<ErasedPartial>>,
    /// What a look at whole inputs yielded.
    next: Option<Result<Step, KernelError>>,
    /// Those combined, and the chunks' starts still to come, in order.
    total: Option<ErasedPartial>,
    expected: Vec<u64>,
}

impl<'a> Active<'a> {
    /// Begins with a tensor, of which a survey may have found what is kept; yields the chunks of
    /// its first pass.
    pub(super) fn start(
        job: &Job<'a>,
        index: usize,
        kept: Option<Vec<Cutoff>>,
    ) -> Result<(Self, Vec<Chunk>), EngineError> {
        let tensor = &job.plan.tensors[index];
        let extent = Extent::of(&tensor.shape);
        let hasher = |size| PieceHasher::new(extent.len(), size);
        let hash = job.options.hash;
        let sizes = tensor.inputs.iter().map(|input| input.source.dtype().size());
        let active = Active {
            index,
            tensor,
            extent,
            is_one_chunk: extent.len() <= job.budget.chunk(tensor),
            pass: RwLock::new(Pass::Done),
            state: Mutex::new(State {
                inspect: false,
                inspected: false,
                nonfinite: vec![None; tensor.inputs.len()],
                losses: Losses::default(),
                differs: None,
                by_worker: BTreeMap::new(),
                waiting: BTreeMap::new(),
                next: None,
                total: None,
                expected: Vec::new(),
            }),
            input_hashes: if hash { sizes.map(hasher).collect() } else { Vec::new() },
            output_hash: hash.then(|| hasher(tensor.dtype.size())),
            prefetches: AtomicBool::new(true),
        };
        let first = 0..extent.len().min(PREFETCH);
        tensor.inputs.iter().for_each(|input| input.source.prefetch(first.clone()));
        let pass = match &tensor.operation {
            Operation::Copy => Pass::Copy,
            Operation::Merge(kernel) => {
                let step = match &kept {
                    None => kernel.first(extent),
                    Some(kept) => kernel.first_surveyed(extent, kept),
                };
                step.map_err(|source| active.kernel_error(source))?.into()
            }
        };
        let chunks = active.enter(job, pass);
        Ok((active, chunks))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kernel_error(&self, source: KernelError) -> EngineError {
        EngineError::Kernel { tensor: self.tensor.name.clone(), source }
    }

    /// Makes a pass the current one; yields its chunks, ascending.
    fn enter(&self, job: &Job<'_>, pass: Pass) -> Vec<Chunk> {
        let chunk = pass.chunk(self.extent, job.budget.chunk(self.tensor));
        let cut = |range: Range<u64>| {
            range
                .clone()
                .step_by(chunk as usize)
                .map(move |start| start..range.end.min(start + chunk))
        };
        let runs: Vec<Range<u64>> = pass.ranges(self.extent).into_iter().flat_map(cut).collect();
        let covered: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let state = &mut *self.state();
        let reads_all = covered == self.extent.len() && !matches!(pass, Pass::Whole(_));
        state.inspect = !state.inspected && reads_all;
        state.inspected |= state.inspect;
        state.expected = runs.iter().rev().map(|run| run.start).collect();
        *self.pass.write().unwrap_or_else(PoisonError::into_inner) = pass;
        match self.is_one_chunk && !runs.is_empty() {
            true => vec![runs],
            false => runs.into_iter().map(|run| vec![run]).collect(),
        }
    }

    /// Does one chunk of the current pass.
    pub(super) fn run(
        &self,
        job: &Job<'_>,
        worker: usize,
        chunk: &Chunk,
        buffers: &mut Buffers,
    ) -> Result<(), EngineError> {
        chunk.iter().try_for_each(|elements| self.run_elements(job, worker, elements, buffers))
    }

    fn run_elements(
        &self,
        job: &Job<'_>,
        worker: usize,
        elements: &Range<u64>,
        buffers: &mut Buffers,
    ) -> Result<(), EngineError> {
        if self.prefetches.load(Ordering::Relaxed) {
            prefetch_after(&self.tensor.inputs, elements);
        }
        if self.copied_by_kernel(job, elements)? {
            return Ok(());
        }
        let pass = &*self.pass.read().unwrap_or_else(PoisonError::into_inner);
        if let Pass::Whole(whole) = pass {
            return self.look_at_whole(job, &**whole);
        }
        let run = match () {
            () if self.is_one_chunk => 0..self.extent.len(),
            () if pass.whole_rows() => self.extent.rows_around(elements.clone()),
            () => elements.clone(),
        };
        buffers.inputs.read(self.index, &self.tensor.inputs, run)?;
        match pass {
            Pass::Copy => self.copy(elements, buffers),
            Pass::Scan(scan) => self.scan(job, worker, &**scan, elements, buffers),
            Pass::Apply(apply) => self.apply(job, &**apply, elements, buffers),
            Pass::Whole(_) | Pass::Done => {}
        }
        Ok(())
    }

    fn look_at_whole(&self, job: &Job<'_>, whole: &dyn Whole) -> Result<(), EngineError> {
        let _memory = job.whole_memory.take(whole.memory(self.extent), job.options)?;
        let reader = WholeInputs::new(self.tensor, job);
        let next = whole.run(self.extent, &reader);
        match reader.into_failure() {
            Some(error) => Err(error),
            None => {
                job.options.check_cancelled()?;
                self.state().next = Some(next);
                Ok(())
            }
        }
    }

    /// Whether a chunk could be copied from file to file: only where nobody has to see it.
    fn copied_by_kernel(&self, job: &Job<'_>, elements: &Range<u64>) -> Result<bool, EngineError> {
        let [input] = &self.tensor.inputs[..] else { return Ok(false) };
        let (Operation::Copy, None) = (&self.tensor.operation, &self.output_hash) else {
            return Ok(false);
        };
        let Some(stored) = input.source.as_stored() else { return Ok(false) };
        let size = self.tensor.dtype.size() as u64;
        let (offset, len) = (elements.start * size, (elements.end - elements.start) * size);
        let Some(writer) = job.writer else { return Ok(false) };
        let copied = writer.copy(self.index, offset, stored, elements.clone())?;
        if copied {
            job.report(len, 0);
        }
        Ok(copied)
    }

    fn copy(&self, elements: &Range<u64>, buffers: &mut Buffers) {
        let size = self.tensor.dtype.size();
        let Some((first, others)) = buffers.inputs.buffers().split_first() else { return };
        for (index, other) in
            others.iter().enumerate().filter(|(_, other)| other.bytes() != first.bytes())
        {
            let differs = first.bytes().iter().zip(other.bytes()).position(|(a, b)| a != b);
            let at = differs.unwrap_or(0) / size;
            let found = (elements.start + at as u64, index + 1);
            let mut state = self.state();
            state.differs = Some(state.differs.map_or(found, |known| known.min(found)));
        }
        self.hash_inputs(elements, buffers);
        buffers.pass_on();
        self.write(elements, buffers);
    }

    fn scan(
        &self,
        job: &Job<'_>,
        worker: usize,
        scan: &dyn ErasedScan,
        elements: &Range<u64>,
        buffers: &mut Buffers,
    ) {
        self.note_nonfinite(job, elements, buffers);
        let Buffers { worker: tiles, inputs, .. } = buffers;
        let mut fold = |partial: &mut ErasedPartial, run: Range<u64>| {
            let run = if scan.whole_rows() { self.extent.rows_from(run) } else { run };
            tiles.fold(scan, partial, run.start, self.extent, &inputs.part(&run));
        };
        match scan.order() {
            Order::Any => {
                let mine = self.state().by_worker.remove(&worker);
                let mut partial = mine.unwrap_or_else(|| scan.empty());
                fold(&mut partial, elements.clone());
                self.state().by_worker.insert(worker, partial);
            }
            Order::Blocks => {
                let partials = blocks(elements.clone()).map(|block| {
                    let mut partial = scan.empty();
                    fold(&mut partial, block);
                    partial
                });
                let partials = partials.collect();
                self.combine_in_order(scan, elements.start, partials);
            }
        }
    }

    /// Adds a chunk's partials to the total as soon as all before it are there.
    fn combine_in_order(&self, scan: &dyn ErasedScan, start: u64, partials: Vec<ErasedPartial>) {
        let state = &mut *self.state();
        state.waiting.insert(start, partials);
        while let Some(partials) = state.expected.last().and_then(|next| state.waiting.remove(next))
        {
            state.expected.pop();
            let total = state.total.get_or_insert_with(|| scan.empty());
            partials.into_iter().for_each(|partial| scan.combine(total, partial));
        }
    }

    fn apply(
        &self,
        job: &Job<'_>,
        apply: &dyn Apply,
        elements: &Range<u64>,
        buffers: &mut Buffers,
    ) {
        self.note_nonfinite(job, elements, buffers);
        let Buffers { worker, inputs, output, .. } = buffers;
        output.resize(self.tensor.dtype, (elements.end - elements.start) as usize);
        let (out, start, extent) = (&mut output.elements_mut(), elements.start, self.extent);
        let losses = match apply.whole_rows() {
            true => {
                let rows = inputs.part(&extent.rows_around(elements.clone()));
                worker.apply_rows(apply, start, extent, &rows, out)
            }
            false => worker.apply(apply, start, extent, &inputs.part(elements), out),
        };
        if !losses.is_none() {
            self.state().losses.add(0, losses);
        }
        self.hash_inputs(elements, buffers);
        self.write(elements, buffers);
    }

    /// Looks a chunk's inputs through for NaN and infinity, in the pass that does.
    fn note_nonfinite(&self, job: &Job<'_>, elements: &Range<u64>, buffers: &Buffers) {
        if !self.state().inspect {
            return;
        }
        for (index, input) in buffers.inputs.part(elements).into_iter().enumerate() {
            if let Some(found) = input.find_nonfinite(job.options.simd) {
                let known = &mut self.state().nonfinite[index];
                *known = Found::join(*known, Some(found.after(elements.start)));
            }
        }
    }

    fn hash_inputs(&self, elements: &Range<u64>, buffers: &Buffers) {
        let bytes = buffers.inputs.bytes(elements);
        for ((hasher, bytes), input) in self.input_hashes.iter().zip(bytes).zip(&self.tensor.inputs)
        {
            hasher.add(elements.start * input.source.dtype().size() as u64, bytes);
        }
    }

    /// Hands the output over, to be written now or after other chunks.
    fn write(&self, elements: &Range<u64>, buffers: &mut Buffers) {
        let offset = elements.start * self.tensor.dtype.size() as u64;
        if let Some(hasher) = &self.output_hash {
            hasher.add(offset, buffers.output.bytes());
        }
        buffers.outputs.push(self.index, offset, &mut buffers.output);
    }

    /// Called when all chunks of a pass are done: the chunks of the next pass, or
    /// `None` when the tensor is complete.
    pub(super) fn advance(&self, job: &Job<'a>) -> Result<Option<Vec<Chunk>>, EngineError> {
        self.check_findings(job)?;
        let pass = std::mem::replace(
            &mut *self.pass.write().unwrap_or_else(PoisonError::into_inner),
            Pass::Done,
        );
        let inspected = self.state().inspected;
        self.prefetches.store(!inspected, Ordering::Relaxed);
        let after_look = self.state().next.take();
        if let Some(next) = after_look {
            let step = next.map_err(|source| self.kernel_error(source))?;
            return Ok(Some(self.enter(job, step.into())));
        }
        let Pass::Scan(scan) = pass else {
            if job.exceeds_memory {
                let all = 0..self.extent.len();
                self.tensor.inputs.iter().for_each(|input| input.source.release(all.clone()));
            }
            job.report(0, 1);
            return Ok(None);
        };
        let (total, by_worker) = {
            let state = &mut *self.state();
            (state.total.take(), std::mem::take(&mut state.by_worker))
        };
        let mut total = total.unwrap_or_else(|| scan.empty());
        by_worker.into_values().for_each(|partial| scan.combine(&mut total, partial));
        let step = scan.finish(total).map_err(|source| self.kernel_error(source))?;
        Ok(Some(self.enter(job, step.into())))
    }

    fn check_findings(&self, job: &Job<'_>) -> Result<(), EngineError> {
        let state = self.state();
        let name = |input: usize| job.plan.models[self.tensor.inputs[input].model].name();
        if let Some((index, input)) = state.differs {
            return Err(EngineError::IntegersDiffer {
                tensor: self.tensor.name.clone(),
                dtype: self.tensor.dtype,
                model: name(input),
                first: name(0),
                index,
            });
        }
        let findings = Findings::new(&state.nonfinite, state.losses);
        drop(state);
        findings.check(job, self.tensor)
    }

    pub(super) fn outcome(&self, job: &Job<'_>) -> Outcome {
        let state = self.state();
        let findings = Findings::new(&state.nonfinite, state.losses);
        drop(state);
        let notes = findings.notes(job.plan, self.tensor);
        Outcome { hashes: self.hashes(), findings, notes }
    }

    fn hashes(&self) -> TensorHashes {
        let inputs = self.input_hashes.iter().map(PieceHasher::finish);
        TensorHashes {
            inputs: self.output_hash.is_some().then(|| inputs.collect()),
            output: self.output_hash.as_ref().map(PieceHasher::finish),
        }
    }
}
