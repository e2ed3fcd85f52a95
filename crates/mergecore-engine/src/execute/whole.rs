//! Whole inputs for the methods that need them.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use mergecore_kernel::{BLOCK, Elements, KernelError, ReadInputs};

use super::Job;
use super::chunk::Buffer;
use crate::plan::PlannedTensor;
use crate::{EngineError, MergeOptions};

/// How much memory those have that run at once.
pub(super) struct WholeMemory {
    limit: u64,
    taken: Mutex<u64>,
    freed: Condvar,
}

/// Memory that one of them has until this is dropped.
pub(super) struct Share<'a>(&'a WholeMemory, u64);

impl WholeMemory {
    /// Bytes that they may take together.
    pub(super) fn new(limit: u64) -> Self {
        WholeMemory { limit, taken: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until there is room for one more; whatever its size there is where none runs.
    pub(super) fn take(
        &self,
        bytes: u64,
        options: &MergeOptions,
    ) -> Result<Share<'_>, EngineError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken > 0 && taken.saturating_add(bytes) > self.limit {
            options.check_cancelled()?;
            let waited = self.freed.wait_timeout(taken, Duration::from_millis(20));
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken = taken.saturating_add(bytes);
        Ok(Share(self, bytes))
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(self.1);
        self.0.freed.notify_all();
    }
}

/// Reads a tensor's inputs in parts, until something fails or the merge is cancelled.
pub(super) struct WholeInputs<'a> {
    tensor: &'a PlannedTensor,
    job: &'a Job<'a>,
    buffer: Mutex<Buffer>,
    failure: Mutex<Option<EngineError>>,
}

impl<'a> WholeInputs<'a> {
    pub(super) fn new(tensor: &'a PlannedTensor, job: &'a Job<'a>) -> Self {
        WholeInputs { tensor, job, buffer: Mutex::default(), failure: Mutex::default() }
    }

    /// Why an input could not be read.
    pub(super) fn into_failure(self) -> Option<EngineError> {
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_part(&self, input: usize, start: u64, out: &mut [f64]) -> Result<(), EngineError> {
        self.job.options.check_cancelled()?;
        let source = &self.tensor.inputs[input].source;
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.resize(source.dtype(), out.len());
        source.read(start..start + out.len() as u64, buffer.bytes_mut())?;
        Elements::widen(&buffer.elements(), self.job.options.simd, out);
        Ok(())
    }
}

impl ReadInputs for WholeInputs<'_> {
    fn read(&self, input: usize, start: u64, out: &mut [f64]) -> Result<(), KernelError> {
        for (index, out) in out.chunks_mut(BLOCK as usize).enumerate() {
            let start = start + index as u64 * BLOCK;
            if let Err(error) = self.read_part(input, start, out) {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return Err(KernelError::Interrupted);
            }
        }
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.job.options.is_cancelled()
    }

    fn can_be_cancelled(&self) -> bool {
        self.job.options.cancel.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::CancelFlag;

    #[test]
    fn no_more_run_at_once_than_there_is_memory_for() {
        let (memory, options) = (WholeMemory::new(10), MergeOptions::default());
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for bytes in [3, 4, 12, 1, 0] {
                        let share = memory.take(bytes, &options).expect("nobody cancels");
                        let taken = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(taken, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(1));
                        now.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!((4..=12).contains(&most), "{most}");
    }

    #[test]
    fn waiting_for_memory_can_be_cancelled() {
        let flag = CancelFlag::default();
        let options = MergeOptions { cancel: Some(flag.clone()), ..MergeOptions::default() };
        let memory = WholeMemory::new(1);
        let _all = memory.take(1, &options).expect("there is room");
        flag.cancel();
        assert!(matches!(memory.take(1, &options), Err(EngineError::Cancelled)));
    }
}
