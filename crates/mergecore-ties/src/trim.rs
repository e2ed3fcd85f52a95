//! Trim: of each task vector only the largest magnitudes are kept.

use mergecore_kernel::{Cutoff, Extent, KernelError, Step, TaskVectors, keep_count, select};

use crate::band::{Band, Bands};
use crate::magnitudes::DeltaMagnitudes;

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
