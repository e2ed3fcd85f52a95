//! Rows of stored tensors as a tensor of their own.

use std::ops::Range;

use mergecore_tensor::{DType, narrow_bytes, widen_bytes};

use crate::error::IoError;
use crate::source::{StoredTensor, TensorSource};

/// Elements that are converted at a time.
const PIECE: usize = 1024;

/// Runs of rows of stored tensors, one below the other: an embedding without the
/// rows that a smaller vocabulary has no use for, or with rows that only another
/// model has.
///
/// A row is everything under one index of the first dimension. A tensor like any
/// other ([`TensorSource`]), of shape `[rows, ...]`; nothing is read before it is.
/// See [`Rows::new`] for an example.
#[derive(Debug, Clone)]
pub struct Rows {
    runs: Vec<Run>,
    dtype: DType,
    shape: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Run {
    tensor: StoredTensor,
    /// Elements of that tensor.
    elements: Range<u64>,
    /// Element of the whole at which the run begins.
    start: u64,
}

impl Rows {
    /// Puts runs of rows one below the other.
    ///
    /// The dtype is that of the tensors or, where they differ, one that holds the
    /// elements of all of them exactly: `f32`, or `f64` if one of them has it.
    ///
    /// # Errors
    /// If a run leaves its tensor, the tensors differ in any other dimension than the
    /// first, or they differ in dtype and are not all floats.
    ///
    /// ```
    /// use mergecore_io::{Checkpoint, Rows, TensorSource};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    /// # let json = br#"{"embed":{"dtype":"F32","shape":[514,1],"data_offsets":[0,2056]}}"#;
    /// # let file = [&(json.len() as u64).to_le_bytes()[..], &json[..], &[0; 2056]].concat();
    /// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
    /// # let dir = dir.path();
    /// let checkpoint = Checkpoint::open(dir)?;
    /// let embedding = checkpoint.tensor("embed").unwrap();
    /// // 514 rows, of which the last two are left out.
    /// let first = Rows::new([(embedding.clone(), 0..512)])?;
    /// assert_eq!(first.shape()[0], 512);
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn new(
        runs: impl IntoIterator<Item = (StoredTensor, Range<usize>)>,
    ) -> Result<Self, IoError> {
        let mut result = Rows { runs: Vec::new(), dtype: DType::F32, shape: Vec::new() };
        for (tensor, rows) in runs {
            let (own, row) = tensor.shape().split_first().unwrap_or((&0, &[]));
            if rows.start > rows.end || rows.end > *own {
                let (tensor, own) = (tensor.name().to_owned(), *own);
                return Err(IoError::RowRange { tensor, range: rows, rows: own });
            }
            match result.shape.split_first_mut() {
                None => {
                    result.dtype = tensor.dtype();
                    result.shape = [&[rows.len()], row].concat();
                }
                Some((total, expected)) => {
                    let dtype = common(result.dtype, tensor.dtype());
                    let (Some(dtype), true) = (dtype, row == &*expected) else {
                        return Err(IoError::RowsDiffer {
                            tensor: tensor.name().to_owned(),
                            dtype: tensor.dtype(),
                            row: row.to_vec(),
                            expected_dtype: result.dtype,
                            expected_row: expected.to_vec(),
                        });
                    };
                    *total += rows.len();
                    result.dtype = dtype;
                }
            }
            let width: u64 = row.iter().map(|n| *n as u64).product();
            let elements = rows.start as u64 * width..rows.end as u64 * width;
            let start = result.runs.last().map_or(0, Run::end);
            if elements.start < elements.end {
                result.runs.push(Run { tensor, elements, start });
            }
        }
        if result.shape.is_empty() {
            result.shape = vec![0];
        }
        Ok(result)
    }
}

impl Run {
    /// Where a range of the whole tensor's elements lies in the run's own.
    fn own(&self, range: &Range<u64>) -> Range<u64> {
        let own = |element: u64| self.elements.start + (element - self.start);
        own(range.start)..own(range.end)
    }

    fn end(&self) -> u64 {
        self.start + (self.elements.end - self.elements.start)
    }

    /// Fills `out` with the elements of a range of the whole that lies in this run.
    fn read(&self, range: &Range<u64>, dtype: DType, out: &mut [u8]) -> Result<(), IoError> {
        let own = self.own(range);
        let stored = self.tensor.dtype();
        if stored == dtype {
            return self.tensor.read(own, out);
        }
        // Piece by piece, so that nothing as long as the range is held.
        let (mut bytes, mut values) = ([0; PIECE * 8], [0.0; PIECE]);
        for (start, out) in own.step_by(PIECE).zip(out.chunks_mut(PIECE * dtype.size())) {
            let count = out.len() / dtype.size();
            let (bytes, values) = (&mut bytes[..count * stored.size()], &mut values[..count]);
            self.tensor.read(start..start + count as u64, bytes)?;
            widen_bytes(stored, bytes, values);
            narrow_bytes(dtype, values, out);
        }
        Ok(())
    }
}

impl Rows {
    /// The runs that a range of this tensor's elements touches, each with its part of it.
    fn parts(&self, elements: &Range<u64>) -> impl Iterator<Item = (&Run, Range<u64>)> {
        let (start, end) = (elements.start, elements.end);
        let part = move |run: &Run| start.max(run.start)..end.min(run.end());
        self.runs.iter().map(move |run| (run, part(run))).filter(|(_, part)| !part.is_empty())
    }
}

impl TensorSource for Rows {
    fn prefetch(&self, elements: Range<u64>) {
        self.parts(&elements).for_each(|(run, part)| run.tensor.prefetch(run.own(&part)));
    }

    fn release(&self, elements: Range<u64>) {
        self.parts(&elements).for_each(|(run, part)| run.tensor.release(run.own(&part)));
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<(), IoError> {
        let name = || self.runs.first().map_or("", |run| run.tensor.name()).to_owned();
        if elements.start > elements.end || elements.end > self.len() {
            let (tensor, len) = (name(), self.len());
            return Err(IoError::ElementRange { tensor, range: elements, len });
        }
        let size = self.dtype.size();
        let expected = (elements.end - elements.start) * size as u64;
        if out.len() as u64 != expected {
            let (tensor, found) = (name(), out.len() as u64);
            return Err(IoError::BufferSize { tensor, expected, found });
        }
        let at = |element: u64| (element - elements.start) as usize * size;
        for (run, part) in self.parts(&elements) {
            run.read(&part, self.dtype, &mut out[at(part.start)..at(part.end)])?;
        }
        Ok(())
    }
}

/// A dtype that holds the elements of both exactly.
fn common(a: DType, b: DType) -> Option<DType> {
    match (a, b) {
        _ if a == b => Some(a),
        _ if !(a.is_float() && b.is_float()) => None,
        (DType::F64, _) | (_, DType::F64) => Some(DType::F64),
        _ => Some(DType::F32),
    }
}
