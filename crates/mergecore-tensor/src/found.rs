//! What is wrong with some elements of a run: how many, and where the first stands.

/// Elements of a run that have something in common: how many there are, and where the first
/// stands.
///
/// ```
/// use mergecore_tensor::{Elements, Simd};
///
/// let row = [1.0, f64::INFINITY, f64::NAN];
/// if let Some(found) = Elements::from(&row[..]).find_nonfinite(Simd::detect()) {
///     assert_eq!((found.count, found.first), (2, 1));
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Their number; at least one.
    pub count: u64,
    /// Index of the first.
    pub first: u64,
}

impl Found {
    /// Those of which this says `true`.
    pub(crate) fn among(all: impl Iterator<Item = bool> + Clone) -> Option<Found> {
        // Counting, unlike the search, vectorises.
        let count = all.clone().filter(|found| *found).count() as u64;
        let first =
            if count > 0 { all.clone().position(|found| found)? as u64 } else { return None };
        Some(Found { count, first })
    }

    /// The same elements, counted in a run that began so many elements earlier.
    ///
    /// ```
    /// use mergecore_tensor::Found;
    ///
    /// assert_eq!(Found { count: 2, first: 1 }.after(100), Found { count: 2, first: 101 });
    /// ```
    pub fn after(self, elements: u64) -> Found {
        Found { first: self.first + elements, ..self }
    }

    /// The elements of two parts of one run together, in any order.
    ///
    /// ```
    /// use mergecore_tensor::Found;
    ///
    /// let (late, early) = (Found { count: 1, first: 700 }, Found { count: 2, first: 3 });
    /// assert_eq!(Found::join(Some(late), Some(early)), Some(Found { count: 3, first: 3 }));
    /// assert_eq!(Found::join(None, Some(late)), Some(late));
    /// ```
    pub fn join(a: Option<Found>, b: Option<Found>) -> Option<Found> {
        match (a, b) {
            (Some(a), Some(b)) => {
                Some(Found { count: a.count + b.count, first: a.first.min(b.first) })
            }
            (found, None) | (None, found) => found,
        }
    }
}

/// What was lost when results were rounded to a stored dtype, beyond what rounding is for.
///
/// ```
/// use mergecore_tensor::{Found, Simd, f16};
///
/// let mut stored = [f16::ZERO; 4];
/// let losses = Simd::detect().narrow(&[1.0, 1e-9, 1e5, f64::NAN], &mut stored);
/// assert_eq!(losses.flushed, Some(Found { count: 1, first: 1 }));
/// assert_eq!(losses.nonfinite, Some(Found { count: 2, first: 2 }));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Elements stored as NaN or infinity: results that were so, and finite ones beyond the
    /// dtype's range.
    pub nonfinite: Option<Found>,
    /// Elements stored as zero whose results were not zero, but smaller than half of the
    /// dtype's smallest number.
    pub flushed: Option<Found>,
}

impl Losses {
    /// Whether nothing was lost.
    ///
    /// ```
    /// assert!(mergecore_tensor::Losses::default().is_none());
    /// ```
    #[inline]
    pub fn is_none(&self) -> bool {
        self.nonfinite.is_none() && self.flushed.is_none()
    }

    /// Adds those of a part that begins at index `start`.
    ///
    /// ```
    /// use mergecore_tensor::{Found, Losses, Simd, f16};
    ///
    /// let mut stored = [f16::ZERO; 2];
    /// let mut losses = Losses::default();
    /// for (start, results) in [(0, [1.0, 2.0]), (2, [3.0, 1e6])] {
    ///     losses.add(start, Simd::detect().narrow(&results, &mut stored));
    /// }
    /// assert_eq!(losses.nonfinite, Some(Found { count: 1, first: 3 }));
    /// ```
    #[inline]
    pub fn add(&mut self, start: u64, part: Losses) {
        if !part.is_none() {
            let after = |found: Option<Found>| found.map(|found| found.after(start));
            self.nonfinite = Found::join(self.nonfinite, after(part.nonfinite));
            self.flushed = Found::join(self.flushed, after(part.flushed));
        }
    }
}
