//! NaN and infinity, found before they spread.

/// How many values of a slice are NaN or infinite, and where the first stands.
///
/// ```
/// let row = [1.0, f64::INFINITY, f64::NAN];
/// if let Some(found) = mergecore_tensor::find_nonfinite(&row) {
///     assert_eq!((found.count, found.first), (2, 1));
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonFinite {
    /// Number of NaN and infinite values; at least one.
    pub count: u64,
    /// Index of the first.
    pub first: u64,
}

/// Looks for NaN and infinite values; `None` where all are finite.
///
/// ```
/// use mergecore_tensor::{NonFinite, find_nonfinite};
///
/// assert_eq!(find_nonfinite(&[1.0, 2.0]), None);
/// let found = find_nonfinite(&[1.0, f64::NAN, f64::INFINITY]);
/// assert_eq!(found, Some(NonFinite { count: 2, first: 1 }));
/// ```
pub fn find_nonfinite(values: &[f64]) -> Option<NonFinite> {
    // Counting without an early exit vectorises; the search runs only on a hit.
    let count: u64 = values.iter().map(|value| u64::from(!value.is_finite())).sum();
    if count == 0 {
        return None;
    }
    let first = values.iter().position(|value| !value.is_finite())? as u64;
    Some(NonFinite { count, first })
}
