//! Which worker does which chunk.
//!
//! Workers take chunks of the first tensor that has any left, and begin the next
//! tensor only when there are none: a tensor and all its passes end before much of
//! the next is read, one large tensor occupies all workers, and a tail of small
//! ones does too. With a tensor of one chunk, which it holds in memory, a worker
//! goes on from pass to pass.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::Job;
use super::chunk::{Buffers, WriteError};
use super::survey::Surveyed;
use super::tensor::{Active, Chunk, Outcome};
use crate::EngineError;

pub(super) struct Schedule<'a> {
    job: &'a Job<'a>,
    surveyed: Option<Surveyed>,
    queue: Mutex<Queue<'a>>,
    changed: Condvar,
}

struct Queue<'a> {
    next: usize,
    active: Vec<Entry<'a>>,
    /// What is known of complete tensors, by index.
    complete: Vec<Option<Outcome>>,
    /// With the index of its tensor; of several the first tensor's is kept.
    error: Option<(usize, EngineError)>,
    /// A worker panicked, in a user's kernel or callback: the others stop, and the
    /// pool passes the panic on.
    panicked: bool,
}

impl Queue<'_> {
    fn failed(&self) -> bool {
        self.error.is_some() || self.panicked
    }
}

/// Keeps the other workers from waiting for one that panicked.
struct WakeOnPanic<'s, 'a>(&'s Schedule<'a>);

impl Drop for WakeOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue().panicked = true;
            self.0.changed.notify_all();
        }
    }
}

enum Begun<'a> {
    Active(Entry<'a>),
    Complete(Outcome),
}

struct Entry<'a> {
    tensor: Arc<Active<'a>>,
    /// Chunks of the current pass that nobody has taken yet.
    chunks: VecDeque<Chunk>,
    /// Chunks being worked on.
    running: usize,
}

impl<'a> Schedule<'a> {
    /// Some tensors may be complete already.
    pub(super) fn new(
        job: &'a Job<'a>,
        complete: Vec<Option<Outcome>>,
        surveyed: Option<Surveyed>,
    ) -> Self {
        let queue = Queue { next: 0, active: Vec::new(), complete, error: None, panicked: false };
        Schedule { job, surveyed, queue: Mutex::new(queue), changed: Condvar::new() }
    }

    /// What one worker does until everything is done or something fails.
    pub(super) fn work(&self, worker: usize) {
        let mut buffers = Buffers::new(self.job.options.simd);
        let _wake = WakeOnPanic(self);
        let mut last = None;
        while let Some((tensor, chunk)) = self.claim(last) {
            last = Some(tensor.index);
            let done = tensor.run(self.job, worker, &chunk, &mut buffers);
            self.report_written(buffers.outputs.write_some(self.job.writer));
            match done {
                Ok(()) => self.complete_chunk(&tensor),
                Err(error) => self.fail(tensor.index, error),
            }
            if let Err(error) = self.job.record_some() {
                self.fail(tensor.index, error);
            }
        }
        if !self.queue().failed() {
            self.report_written(buffers.outputs.write_all(self.job.writer));
        }
    }

    fn is_complete(&self, queue: &mut Queue<'a>, index: usize, outcome: Outcome) {
        self.job.record_complete(index, &outcome);
        queue.complete[index] = Some(outcome);
    }

    fn report_written(&self, written: Result<u64, WriteError>) {
        match written {
            Ok(0) => {}
            Ok(bytes) => self.job.report(bytes, 0),
            Err((index, error)) => self.fail(index, error.into()),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<'a>> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn fail(&self, index: usize, error: EngineError) {
        let mut queue = self.queue();
        if queue.error.as_ref().is_none_or(|(known, _)| index < *known) {
            queue.error = Some((index, error));
        }
        self.changed.notify_all();
    }

    /// The next chunk to do; that of the last tensor where this worker has read all of it.
    /// Waits where other workers must finish first.
    fn claim(&self, last: Option<usize>) -> Option<(Arc<Active<'a>>, Chunk)> {
        let mut queue = self.queue();
        loop {
            if queue.failed() {
                return None;
            }
            if self.job.options.is_cancelled() {
                drop(queue);
                self.fail(0, EngineError::Cancelled);
                return None;
            }
            let ready = |entry: &&mut Entry<'_>| !entry.chunks.is_empty();
            let mut entries = queue.active.iter_mut().filter(ready);
            let first = entries.next();
            let own = entries
                .find(|Entry { tensor, .. }| tensor.is_one_chunk && Some(tensor.index) == last);
            if let Some(entry) = own.or(first)
                && let Some(chunk) = entry.chunks.pop_front()
            {
                entry.running += 1;
                return Some((Arc::clone(&entry.tensor), chunk));
            }
            if queue.next < self.job.plan.tensors.len() {
                let index = queue.next;
                queue.next += 1;
                if queue.complete[index].is_some() {
                    continue;
                }
                match self.begin(index) {
                    Ok(Begun::Active(entry)) => queue.active.push(entry),
                    Ok(Begun::Complete(outcome)) => self.is_complete(&mut queue, index, outcome),
                    Err(error) => {
                        drop(queue);
                        self.fail(index, error);
                        return None;
                    }
                }
                continue;
            }
            if queue.active.is_empty() {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Begins with a tensor, which is complete at once where it has no elements.
    fn begin(&self, index: usize) -> Result<Begun<'a>, EngineError> {
        let kept = self.surveyed.as_ref().and_then(|surveyed| surveyed.kept(index));
        let (tensor, chunks) = Active::start(self.job, index, kept)?;
        Ok(match self.settle(&tensor, chunks)? {
            Some(chunks) => {
                Begun::Active(Entry { tensor: Arc::new(tensor), chunks: chunks.into(), running: 0 })
            }
            None => Begun::Complete(tensor.outcome(self.job)),
        })
    }

    /// Goes on to the first pass that has chunks; `None` when there is none.
    fn settle(
        &self,
        tensor: &Active<'a>,
        mut chunks: Vec<Chunk>,
    ) -> Result<Option<Vec<Chunk>>, EngineError> {
        while chunks.is_empty() {
            match tensor.advance(self.job)? {
                Some(next) => chunks = next,
                None => return Ok(None),
            }
        }
        Ok(Some(chunks))
    }

    /// After a chunk: the worker that completes a pass prepares the next one.
    fn complete_chunk(&self, tensor: &Arc<Active<'a>>) {
        let mut queue = self.queue();
        let Some(entry) = queue.active.iter_mut().find(|entry| entry.tensor.index == tensor.index)
        else {
            return;
        };
        entry.running -= 1;
        if entry.running > 0 || !entry.chunks.is_empty() {
            return;
        }
        // Nobody else can touch the entry now: it has no chunks to take.
        drop(queue);
        match self.settle(tensor, Vec::new()) {
            Ok(Some(chunks)) => {
                let mut queue = self.queue();
                let entry =
                    queue.active.iter_mut().find(|entry| entry.tensor.index == tensor.index);
                if let Some(entry) = entry {
                    entry.chunks = chunks.into();
                }
            }
            Ok(None) => {
                let outcome = tensor.outcome(self.job);
                let mut queue = self.queue();
                queue.active.retain(|entry| entry.tensor.index != tensor.index);
                self.is_complete(&mut queue, tensor.index, outcome);
            }
            Err(error) => self.fail(tensor.index, error),
        }
        self.changed.notify_all();
    }

    /// What is known of all tensors, in order; or what went wrong.
    pub(super) fn finish(self) -> Result<Vec<Outcome>, EngineError> {
        let queue = self.queue.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, error)) = queue.error {
            return Err(error);
        }
        Ok(queue.complete.into_iter().map(Option::unwrap_or_default).collect())
    }
}
