//! One worker's buffers: a chunk of every input, and outputs on their way to the file.

use std::collections::VecDeque;
use std::ops::Range;

use mergecore_io::{CheckpointWriter, IoError};
use mergecore_kernel::{Elements, ElementsMut, Simd, Worker};
use mergecore_tensor::DType;
use zerocopy::IntoBytes;

use crate::plan::TensorInput;

/// A worker's memory, reused for every chunk.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) worker: Worker,
    pub(super) inputs: Inputs,
    pub(super) output: Buffer,
    pub(super) outputs: Outputs,
}

impl Buffers {
    pub(super) fn new(simd: Simd) -> Self {
        Buffers { worker: Worker::with_simd(simd), ..Buffers::default() }
    }

    /// Makes the first input, as it is stored, the output.
    pub(super) fn pass_on(&mut self) {
        self.inputs.hold = None;
        std::mem::swap(&mut self.inputs.buffers[0], &mut self.output);
    }
}

/// A run of elements of every input of a tensor.
#[derive(Default)]
pub(super) struct Inputs {
    buffers: Vec<Buffer>,
    /// The tensor's index and the run.
    hold: Option<(usize, Range<u64>)>,
}

impl Inputs {
    /// Reads a run of a tensor's inputs, unless it is there from the pass before.
    pub(super) fn read(
        &mut self,
        tensor: usize,
        inputs: &[TensorInput],
        run: Range<u64>,
    ) -> Result<(), IoError> {
        if self.hold.as_ref().is_some_and(|hold| *hold == (tensor, run.clone())) {
            return Ok(());
        }
        self.hold = None;
        self.buffers.resize_with(inputs.len(), Buffer::default);
        for (buffer, input) in self.buffers.iter_mut().zip(inputs) {
            buffer.resize(input.source.dtype(), (run.end - run.start) as usize);
            input.source.read(run.clone(), buffer.bytes_mut())?;
        }
        self.hold = Some((tensor, run));
        Ok(())
    }

    /// The whole run of each input, as it is stored.
    pub(super) fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// The bytes of a part of the run, of each input.
    ///
    /// # Panics
    /// Where nothing or another run is held.
    pub(super) fn bytes(&self, elements: &Range<u64>) -> impl Iterator<Item = &[u8]> {
        let (at, len) = self.place(elements);
        self.buffers.iter().map(move |buffer| {
            let size = buffer.dtype.size();
            &buffer.bytes()[at * size..][..len * size]
        })
    }

    /// Where a part begins within the run, and its length.
    fn place(&self, elements: &Range<u64>) -> (usize, usize) {
        let (_, run) = self.hold.as_ref().expect("read before");
        ((elements.start - run.start) as usize, (elements.end - elements.start) as usize)
    }

    /// A part of the run, of each input.
    ///
    /// # Panics
    /// As [`Buffer::elements`], and where nothing or another run is held.
    pub(super) fn part(&self, elements: &Range<u64>) -> Vec<Elements<'_>> {
        let (at, len) = self.place(elements);
        self.buffers.iter().map(|buffer| buffer.elements().part(at, len)).collect()
    }
}

/// Computed chunks that have not been written: while another worker writes to the file, this
/// one computes the next chunk.
#[derive(Default)]
pub(super) struct Outputs {
    waiting: VecDeque<Output>,
    /// Buffers to use again.
    spare: Vec<Buffer>,
}

/// Chunks of output that a worker may hold, besides the one being computed.
pub(super) const MAX_WAITING: usize = 3;

struct Output {
    tensor: usize,
    byte_offset: u64,
    buffer: Buffer,
}

/// Where outputs go; nowhere, if only their hashes are wanted.
pub(super) type Writer<'a> = Option<&'a CheckpointWriter>;

/// A failure to write to a tensor, given by its index.
pub(super) type WriteError = (usize, IoError);

impl Outputs {
    /// Takes a chunk, leaving another buffer in its place.
    pub(super) fn push(&mut self, tensor: usize, byte_offset: u64, buffer: &mut Buffer) {
        let buffer = std::mem::replace(buffer, self.spare.pop().unwrap_or_default());
        self.waiting.push_back(Output { tensor, byte_offset, buffer });
    }

    /// Writes what can be written without waiting for another worker, and what is too much
    /// to hold; yields the bytes written.
    pub(super) fn write_some(&mut self, writer: Writer<'_>) -> Result<u64, WriteError> {
        self.write_until(writer, MAX_WAITING)
    }

    /// Writes all there is.
    pub(super) fn write_all(&mut self, writer: Writer<'_>) -> Result<u64, WriteError> {
        self.write_until(writer, 0)
    }

    fn write_until(&mut self, writer: Writer<'_>, held: usize) -> Result<u64, WriteError> {
        let mut written = 0;
        while let Some(Output { tensor, byte_offset, buffer }) = self.waiting.front() {
            let bytes = buffer.bytes();
            let failed = |error| (*tensor, error);
            let is_done = match writer {
                None => Ok(true),
                Some(writer) if self.waiting.len() > held => {
                    writer.write(*tensor, *byte_offset, bytes).map(|()| true)
                }
                Some(writer) => writer.try_write(*tensor, *byte_offset, bytes),
            };
            if !is_done.map_err(failed)? {
                break;
            }
            written += bytes.len() as u64;
            self.spare.extend(self.waiting.pop_front().map(|output| output.buffer));
        }
        Ok(written)
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
