//! Trim: of each task vector only the largest magnitudes are kept.

use mergecore_kernel::{
    Cutoff, Extent, KernelError, Keys, Prune, Step, TaskVectors, Tile, magnitude_key, select,
};

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
    select(DeltaMagnitudes, &counts, extent, |cutoffs| Ok(vectors.step(Trim { cutoffs })))
}

/// The magnitude of each model's difference from the base.
struct DeltaMagnitudes;

impl Keys for DeltaMagnitudes {
    fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
        let (base, model) = (tile.input(0), tile.input(lane + 1));
        for ((key, model), base) in out.iter_mut().zip(model).zip(base) {
            *key = magnitude_key(model - base);
        }
    }
}

struct Trim {
    /// One a model.
    cutoffs: Vec<Cutoff>,
}

impl Prune for Trim {
    fn prune(&self, model: usize, start: u64, deltas: &mut [f64]) {
        let cutoff = self.cutoffs[model];
        if cutoff == Cutoff::ALL {
            return;
        }
        for (delta, index) in deltas.iter_mut().zip(start..) {
            *delta = if cutoff.keeps(magnitude_key(*delta), index) { *delta } else { 0.0 };
        }
    }
}
