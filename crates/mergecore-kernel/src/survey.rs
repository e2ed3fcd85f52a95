//! Selection among all tensors of a merge together.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{BLOCK, Combination, Cutoff, Extent, KernelError, Keys, Step, select};

/// What a kernel wants selected among all tensors together: of each lane of keys the largest
/// share. All tensors of a merge must want the same.
///
/// ```
/// use mergecore_kernel::{Keys, Survey, Tile, magnitude_key};
///
/// struct Magnitudes;
///
/// impl Keys for Magnitudes {
///     fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
///         for (key, value) in out.iter_mut().zip(tile.input(lane)) {
///             *key = magnitude_key(*value);
///         }
///     }
/// }
///
/// let survey = Survey::new(Magnitudes, vec![0.2]); // of the first input, the largest fifth
/// assert_eq!(survey.densities(), [0.2]);
/// ```
#[derive(Clone)]
pub struct Survey {
    keys: Arc<dyn Keys>,
    densities: Vec<f64>,
}

impl Survey {
    /// A survey of these keys, with the fraction of all elements to select in each lane, from 0
    /// to 1; [`keep_count`](crate::keep_count) says how many that are.
    pub fn new(keys: impl Keys, densities: Vec<f64>) -> Self {
        Survey { keys: Arc::new(keys), densities }
    }

    /// One density a lane.
    pub fn densities(&self) -> &[f64] {
        &self.densities
    }
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("densities", &self.densities).finish_non_exhaustive()
    }
}

impl Keys for Arc<dyn Keys> {
    fn keys(&self, lane: usize, tile: &crate::Tile<'_>, out: &mut [u64]) {
        (**self).keys(lane, tile, out);
    }

    fn single_keys(
        &self,
        lane: usize,
        simd: crate::Simd,
        inputs: &[crate::Elements<'_>],
        out: &mut [i32],
    ) -> bool {
        (**self).single_keys(lane, simd, inputs, out)
    }
}

/// Tensors laid end to end, each from a multiple of [`BLOCK`] on: scans of a [`Survey`] see them
/// as one, with gaps in which there is nothing.
///
/// A driver runs the steps that [`SurveyRun::begin`] yields over it, tensor by tensor, in any
/// order; see [`merge_tensors`](crate::merge_tensors), which does.
#[derive(Debug, Clone)]
pub struct Concatenation {
    /// First index of each tensor, and of what would come after the last.
    starts: Vec<u64>,
    lengths: Vec<u64>,
}

impl Concatenation {
    /// Of tensors of these lengths.
    ///
    /// ```
    /// use mergecore_kernel::{BLOCK, Concatenation};
    ///
    /// let tensors = Concatenation::new(vec![10, 3]);
    /// let pieces: Vec<_> = tensors.pieces(5..BLOCK + 2).collect();
    /// assert_eq!(pieces, [(0, 5..10), (1, 0..2)]);
    /// ```
    pub fn new(lengths: Vec<u64>) -> Self {
        let mut starts = vec![0];
        for length in &lengths {
            let start = starts.last().copied().unwrap_or(0);
            starts.push(start + length.next_multiple_of(BLOCK));
        }
        Concatenation { starts, lengths }
    }

    /// The extent that scans are told.
    pub fn extent(&self) -> Extent {
        let len = self.starts.last().copied().unwrap_or(0);
        Extent { rows: 1, columns: len, first_axis: len, dimensions: 1 }
    }

    /// Index of a tensor's first element.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn start(&self, tensor: usize) -> u64 {
        self.starts[tensor]
    }

    /// What of each tensor lies within a range: the tensor's number and its own indices.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> {
        let first = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        let tensors = self.lengths.iter().zip(&self.starts).enumerate().skip(first);
        let end = range.end;
        let within = move |(tensor, (length, start)): (usize, (&u64, &u64))| {
            let from = range.start.max(*start) - start;
            let to = range.end.min(start + length).saturating_sub(*start);
            (tensor, from..to)
        };
        let tensors = tensors.take_while(move |(_, (_, start))| **start < end);
        tensors.map(within).filter(|(_, piece)| !piece.is_empty())
    }

    fn elements(&self) -> u64 {
        self.lengths.iter().sum()
    }
}

/// A survey under way.
#[derive(Debug)]
pub struct SurveyRun {
    tensors: Concatenation,
    found: Arc<Mutex<Vec<Cutoff>>>,
}

impl SurveyRun {
    /// Yields the survey's first step. When its scans have led to an apply, which is not to be
    /// run, the survey is done.
    ///
    /// # Errors
    /// None that the built-in selection has; what [`select`] returns.
    pub fn begin(survey: &Survey, tensors: Concatenation) -> Result<(Self, Step), KernelError> {
        let elements = tensors.elements();
        let count = |density: &f64| match keep_count(*density, elements) {
            // Gaps count as elements there.
            all if all == elements => u64::MAX,
            count => count,
        };
        let counts: Vec<u64> = survey.densities.iter().map(count).collect();
        let found = Arc::new(Mutex::default());
        let slot = Arc::clone(&found);
        let step = select(Arc::clone(&survey.keys), &counts, tensors.extent(), move |cutoffs| {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = cutoffs;
            Ok(Step::apply(Combination::new(Vec::new())))
        })?;
        Ok((SurveyRun { tensors, found }, step))
    }

    /// The tensors.
    pub fn tensors(&self) -> &Concatenation {
        &self.tensors
    }

    /// Once the survey is done: which elements of a tensor are among those selected, a cutoff a
    /// lane.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn kept(&self, tensor: usize) -> Vec<Cutoff> {
        let start = self.tensors.start(tensor);
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let here = |cutoff: &Cutoff| match cutoff.equal_below {
            u64::MAX => *cutoff,
            equal_below => {
                Cutoff { key: cutoff.key, equal_below: equal_below.saturating_sub(start) }
            }
        };
        found.iter().map(here).collect()
    }
}

/// How many of `n` elements a density keeps: the whole part of `density * n`, taken
/// in `f64`, at least one for a positive density. Densities below 0 and above 1
/// count as 0 and 1.
///
/// ```
/// use mergecore_kernel::keep_count;
///
/// assert_eq!(keep_count(0.5, 5), 2);
/// assert_eq!(keep_count(1e-9, 5), 1);
/// assert_eq!(keep_count(0.0, 5), 0);
/// ```
pub fn keep_count(density: f64, n: u64) -> u64 {
    if density >= 1.0 {
        n
    } else if density <= 0.0 || n == 0 {
        0
    } else {
        ((density * n as f64) as u64).clamp(1, n)
    }
}
