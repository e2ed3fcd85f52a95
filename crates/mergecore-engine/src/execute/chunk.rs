//! One worker's buffers: a chunk of every input, decoded tile by tile.

use std::ops::Range;

use mergecore_io::IoError;
use mergecore_kernel::{TileReader, Worker};
use mergecore_tensor::{DType, NonFinite, find_nonfinite, widen_bytes};

use crate::plan::TensorInput;

/// A worker's memory, reused for every chunk.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) worker: Worker,
    pub(super) inputs: Vec<Vec<u8>>,
    pub(super) output: Vec<u8>,
}

impl Buffers {
    /// Reads a run of elements of every input.
    pub(super) fn read(
        &mut self,
        inputs: &[TensorInput],
        elements: &Range<u64>,
    ) -> Result<(), IoError> {
        self.inputs.resize_with(inputs.len().max(self.inputs.len()), Vec::new);
        for (buffer, input) in self.inputs.iter_mut().zip(inputs) {
            let bytes = (elements.end - elements.start) as usize * input.source.dtype().size();
            buffer.resize(bytes, 0);
            input.source.read(elements.clone(), buffer)?;
        }
        Ok(())
    }
}

/// Decodes tiles from a chunk of every input, and looks for NaN and infinity on
/// the way where that is asked for.
pub(super) struct ChunkReader<'a> {
    inputs: Vec<(DType, &'a [u8])>,
    start: u64,
    /// One an input, or empty where nothing is looked for.
    pub(super) nonfinite: Vec<Option<NonFinite>>,
}

impl<'a> ChunkReader<'a> {
    pub(super) fn new(
        inputs: &[TensorInput],
        buffers: &'a [Vec<u8>],
        start: u64,
        inspect: bool,
    ) -> Self {
        let sources = inputs.iter().zip(buffers);
        let sources = sources.map(|(input, buffer)| (input.source.dtype(), buffer.as_slice()));
        let nonfinite = if inspect { vec![None; inputs.len()] } else { Vec::new() };
        ChunkReader { inputs: sources.collect(), start, nonfinite }
    }
}

impl TileReader for ChunkReader<'_> {
    fn inputs(&self) -> usize {
        self.inputs.len()
    }

    fn read(&mut self, input: usize, start: u64, out: &mut [f64]) {
        let (dtype, bytes) = self.inputs[input];
        let offset = (start - self.start) as usize * dtype.size();
        widen_bytes(dtype, &bytes[offset..][..out.len() * dtype.size()], out);
        if let Some(found) = self.nonfinite.get_mut(input)
            && let Some(new) = find_nonfinite(out)
        {
            *found = join(*found, NonFinite { first: start + new.first, ..new });
        }
    }
}

/// The findings of two runs of one tensor together.
pub(super) fn join(known: Option<NonFinite>, new: NonFinite) -> Option<NonFinite> {
    Some(known.map_or(new, |known| NonFinite {
        count: known.count + new.count,
        first: known.first.min(new.first),
    }))
}
