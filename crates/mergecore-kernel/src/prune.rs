//! Which elements of task vectors are dropped.

use mergecore_tensor::{Element, Simd};

/// Drops elements of models: puts the base's value in their place, so that they add
/// nothing (unless that is infinite or NaN).
///
/// ```
/// use mergecore_kernel::{Element, Prune, Simd};
///
/// /// Keeps the elements of even index.
/// struct EvenOnly;
///
/// impl Prune for EvenOnly {
///     fn prune<T: Element>(
///         &self,
///         _: Simd,
///         _model: usize,
///         start: u64,
///         base: &[T],
///         values: &[T],
///         out: &mut [T],
///     ) {
///         for (i, out) in out.iter_mut().enumerate() {
///             *out = if (start + i as u64) % 2 == 0 { values[i] } else { base[i] };
///         }
///     }
/// }
///
/// let mut out = [0.0; 3];
/// EvenOnly.prune(Simd::detect(), 0, 1_025, &[0.0; 3], &[1.0, 2.0, 3.0], &mut out);
/// assert_eq!(out, [0.0, 2.0, 0.0]);
/// ```
pub trait Prune: Send + Sync {
    /// Writes to `out` the elements of one model that are kept and the base's in place of
    /// the others, computing with the given instruction set. All three runs are of one length
    /// and begin at flat index `start`.
    ///
    /// # Panics
    /// May panic where the lengths differ, and for a model that it does not know of.
    fn prune<T: Element>(
        &self,
        simd: Simd,
        model: usize,
        start: u64,
        base: &[T],
        values: &[T],
        out: &mut [T],
    );

    /// Whether each run has to be one whole row, along the last axis.
    fn whole_rows(&self) -> bool {
        false
    }
}

/// Drops nothing.
///
/// ```
/// use mergecore_kernel::{KeepAll, Prune, Simd};
///
/// let mut out = [0.0; 2];
/// KeepAll.prune(Simd::detect(), 0, 0, &[0.0; 2], &[1.0, -2.0], &mut out);
/// assert_eq!(out, [1.0, -2.0]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAll;

impl Prune for KeepAll {
    fn prune<T: Element>(&self, _: Simd, _: usize, _: u64, _: &[T], values: &[T], out: &mut [T]) {
        out.copy_from_slice(values);
    }
}
