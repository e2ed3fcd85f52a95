//! Trim: of each task vector only the largest magnitudes are kept.

use mergecore_kernel::{Cutoff, Extent, KernelError, Step, TaskVectors, select};

use crate::band::{Band, Bands};
use crate::magnitudes::DeltaMagnitudes;

/// How many of `n` elements a density keeps: the whole part of `density * n`, taken
/// in `f64`, at least one for a positive density. Densities below 0 and above 1
/// count as 0 and 1.
///
/// ```
/// assert_eq!(mergecore_ties::keep_count(0.5, 5), 2);
/// assert_eq!(mergecore_ties::keep_count(1e-9, 5), 1);
/// assert_eq!(mergecore_ties::keep_count(0.0, 5), 0);
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

/// The steps of a merge of task vectors of which each keeps its largest
/// magnitudes.
pub(crate) fn trimmed(vectors: TaskVectors, extent: Extent) -> Result<Step, KernelError> {
    let count = |density: &f64| keep_count(*density, extent.len());
    let counts: Vec<u64> = vectors.densities.iter().map(count).collect();
    let magnitudes = DeltaMagnitudes { lanes_a_model: 1 };
    select(magnitudes, &counts, extent, |cutoffs| Ok(trimmed_at(vectors, cutoffs)))
}

/// The steps that remain once it is known, of each model, down to which magnitude it keeps its
/// changes.
pub(crate) fn trimmed_at(vectors: TaskVectors, cutoffs: Vec<Cutoff>) -> Step {
    vectors.step(Bands(cutoffs.into_iter().map(Band::largest).collect()))
}
