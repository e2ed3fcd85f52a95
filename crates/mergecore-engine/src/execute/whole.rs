//! Whole inputs for the methods that need them.

use std::sync::{Mutex, PoisonError};

use mergecore_kernel::{BLOCK, Elements, KernelError, ReadInputs};

use super::Job;
use super::chunk::Buffer;
use crate::EngineError;
use crate::plan::PlannedTensor;

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
}
