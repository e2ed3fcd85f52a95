//! One worker's buffers: a chunk of every input, and of the output.

use std::ops::Range;

use mergecore_io::IoError;
use mergecore_kernel::{Elements, ElementsMut, Simd, Worker};
use mergecore_tensor::{DType, NonFinite};
use zerocopy::IntoBytes;

use crate::plan::TensorInput;

/// A worker's memory, reused for every chunk.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) worker: Worker,
    pub(super) inputs: Vec<Buffer>,
    pub(super) output: Buffer,
}

impl Buffers {
    pub(super) fn new(simd: Simd) -> Self {
        Buffers { worker: Worker::with_simd(simd), ..Buffers::default() }
    }

    /// Reads a run of elements of every input.
    pub(super) fn read(
        &mut self,
        inputs: &[TensorInput],
        elements: &Range<u64>,
    ) -> Result<(), IoError> {
        self.inputs.resize_with(inputs.len(), Buffer::default);
        for (buffer, input) in self.inputs.iter_mut().zip(inputs) {
            buffer.resize(input.source.dtype(), (elements.end - elements.start) as usize);
            input.source.read(elements.clone(), buffer.bytes_mut())?;
        }
        Ok(())
    }
}

/// Elements as they are stored, aligned for every dtype.
pub(super) struct Buffer {
    words: Vec<u64>,
    dtype: DType,
    bytes: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer { words: Vec::new(), dtype: DType::U8, bytes: 0 }
    }
}

impl Buffer {
    pub(super) fn resize(&mut self, dtype: DType, len: usize) {
        self.dtype = dtype;
        self.bytes = len * dtype.size();
        // Never shorter: what lies beyond is not used.
        self.words.resize(self.bytes.div_ceil(8).max(self.words.len()), 0);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.bytes]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.bytes]
    }

    /// # Panics
    /// On elements that are not floats; the planner lets none come to a kernel.
    pub(super) fn elements(&self) -> Elements<'_> {
        Elements::from_bytes(self.dtype, self.bytes()).expect("whole, aligned floats")
    }

    /// # Panics
    /// As [`Self::elements`].
    pub(super) fn elements_mut(&mut self) -> ElementsMut<'_> {
        ElementsMut::from_bytes(self.dtype, self.bytes_mut()).expect("whole, aligned floats")
    }
}

/// The findings of two runs of one tensor together.
pub(super) fn join(known: Option<NonFinite>, new: NonFinite) -> Option<NonFinite> {
    Some(known.map_or(new, |known| NonFinite {
        count: known.count + new.count,
        first: known.first.min(new.first),
    }))
}
