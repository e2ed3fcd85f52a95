//! Which changes matter most: a row's divergence times an element's change, and the threshold
//! from their quartiles.

use std::sync::Arc;

use mergecore_kernel::{
    Cutoff, Element, Extent, KernelError, Keys, Order, Scan, Simd, Step, Tile, TypedApply,
    Vectorize, magnitude_key, select,
};

use crate::divergence::divergence;

/// Measures each row, then finds the threshold and takes what reaches it.
pub(crate) struct RowScan {
    extent: Extent,
}

impl RowScan {
    /// For a tensor of this extent, which is not empty.
    pub(crate) fn new(extent: Extent) -> Self {
        RowScan { extent }
    }
}

/// What there is of rows.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// Each one's divergence.
    divergences: Vec<f64>,
    /// How many importances are below zero: of rows whose divergence is, by rounding.
    negative: u64,
    /// The least importance.
    least: f64,
}

impl Scan for RowScan {
    type Partial = Rows;

    fn order(&self) -> Order {
        Order::Blocks
    }

    fn whole_rows(&self) -> bool {
        true
    }

    fn empty(&self) -> Rows {
        Rows { divergences: Vec::new(), negative: 0, least: f64::INFINITY }
    }

    fn fold(&self, rows: &mut Rows, row: &mut Tile<'_>) {
        let (base, other) = (row.input(0), row.input(1));
        let divergence = divergence(other, base);
        for (base, other) in base.iter().zip(other) {
            let importance = importance(*base, *other, divergence);
            rows.negative += u64::from(importance < 0.0);
            rows.least = rows.least.min(importance);
        }
        rows.divergences.push(divergence);
    }

    fn combine(&self, total: &mut Rows, next: Rows) {
        total.divergences.extend(next.divergences);
        total.negative += next.negative;
        total.least = total.least.min(next.least);
    }

    fn finish(self: Box<Self>, total: Rows) -> Result<Step, KernelError> {
        let Rows { divergences, negative, least } = total;
        let (extent, last) = (self.extent, self.extent.len() - 1);
        let rows = ByRow { columns: extent.columns as usize, divergences: divergences.into() };
        let quartiles = [0.25, 0.5, 0.75].map(|share| (share * last as f64) as u64);
        let below_zero = quartiles.map(|at| at < negative);
        // Sought are the at-th in ascending order: those below zero have the order of their
        // magnitudes reversed, the rest as many others up to the greatest as there are.
        let counts = quartiles.map(|at| match at {
            0 => 0,
            at if at < negative => at + 1,
            at => last + 1 - at,
        });
        let value = move |lane: usize, cutoff: &Cutoff| match f64::from_bits(cutoff.key) {
            _ if counts[lane] == 0 => least,
            value if below_zero[lane] => -value,
            value => value,
        };
        let keys = Importances { rows: rows.clone(), below_zero };
        select(keys, &counts, extent, move |cutoffs| {
            let [q1, median, q3] = std::array::from_fn(|lane| value(lane, &cutoffs[lane]));
            let threshold = median + 1.5 * (q3 - q1);
            Ok(Step::apply(Fusion { rows, threshold }))
        })
    }
}

#[inline(always)]
fn importance(base: f64, other: f64, divergence: f64) -> f64 {
    (other - base).abs() * divergence
}

/// A number for each row.
#[derive(Clone)]
struct ByRow {
    columns: usize,
    divergences: Arc<[f64]>,
}

impl ByRow {
    /// The parts of rows that a run of elements, from flat index `start` on, consists of: their
    /// divergences, and where they end in the run.
    #[inline(always)]
    fn parts(&self, start: u64, len: usize) -> impl Iterator<Item = (f64, usize)> {
        let columns = self.columns as u64;
        let first = (columns - start % columns) as usize;
        let ends = std::iter::successors(Some(first), move |end| Some(end + self.columns));
        let rows = self.divergences[(start / columns) as usize..].iter().copied();
        let mut done = 0;
        rows.zip(ends).map_while(move |(divergence, end)| {
            let end = end.min(len);
            (std::mem::replace(&mut done, end) < len).then_some((divergence, end))
        })
    }
}

/// The magnitudes of importances of one sign, in each lane, zero for those of the other.
struct Importances {
    rows: ByRow,
    below_zero: [bool; 3],
}

impl Keys for Importances {
    fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
        let (base, other) = (tile.input(0), tile.input(1));
        let (rows, start, below_zero) = (&self.rows, tile.start(), self.below_zero[lane]);
        tile.simd().run(ImportanceKeys { rows, start, below_zero, base, other, out });
    }
}

struct ImportanceKeys<'a> {
    rows: &'a ByRow,
    start: u64,
    below_zero: bool,
    base: &'a [f64],
    other: &'a [f64],
    out: &'a mut [u64],
}

impl Vectorize for ImportanceKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let sign = if self.below_zero { -1.0 } else { 1.0 };
        let mut from = 0;
        for (divergence, end) in self.rows.parts(self.start, self.out.len()) {
            let values = self.base[from..end].iter().zip(&self.other[from..end]);
            for (key, (base, other)) in self.out[from..end].iter_mut().zip(values) {
                let importance = sign * importance(*base, *other, divergence);
                *key = if importance < 0.0 { 0 } else { magnitude_key(importance) };
            }
            from = end;
        }
    }
}

/// Takes the other model's elements of importance from a threshold on.
struct Fusion {
    rows: ByRow,
    threshold: f64,
}

impl TypedApply for Fusion {
    fn compute<T: Element>(
        &self,
        simd: Simd,
        start: u64,
        inputs: &[&[T]],
        _: &mut [T],
        out: &mut [f64],
    ) {
        simd.run(Take { fusion: self, start, base: inputs[0], other: inputs[1], out });
    }
}

struct Take<'a, T> {
    fusion: &'a Fusion,
    start: u64,
    base: &'a [T],
    other: &'a [T],
    out: &'a mut [f64],
}

impl<T: Element> Vectorize for Take<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let Fusion { rows, threshold } = self.fusion;
        let mut from = 0;
        for (divergence, end) in rows.parts(self.start, self.out.len()) {
            let values = self.base[from..end].iter().zip(&self.other[from..end]);
            for (out, (base, other)) in self.out[from..end].iter_mut().zip(values) {
                let (base, other) = (base.widen(), other.widen());
                let taken = importance(base, other, divergence) >= *threshold;
                let value = if taken { other } else { base };
                // A NaN in either is not hidden by the other.
                let delta = other - base;
                *out = if delta.is_nan() { delta } else { value };
            }
            from = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use mergecore_kernel::{Kernel, merge_slices};
    use proptest::prelude::*;

    use super::*;

    /// Fusion with given divergences.
    #[derive(Debug)]
    struct Given(Rows);

    impl Kernel for Given {
        fn first(&self, extent: Extent) -> Result<Step, KernelError> {
            Box::new(RowScan { extent }).finish(self.0.clone())
        }
    }

    fn check(divergences: &[f64], changes: &[f64]) {
        let columns = changes.len() / divergences.len();
        let rows = changes.chunks(columns).zip(divergences);
        let of_row = |(row, divergence): (&[f64], &f64)| -> Vec<f64> {
            row.iter().map(|change| change.abs() * divergence).collect()
        };
        let importances: Vec<f64> = rows.flat_map(of_row).collect();
        let mut sorted = importances.clone();
        sorted.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
        let quartile = |share: f64| sorted[(share * (sorted.len() - 1) as f64) as usize];
        let threshold = quartile(0.5) + 1.5 * (quartile(0.75) - quartile(0.25));
        let taken = |(change, importance): (&f64, &f64)| {
            if *importance >= threshold { *change } else { 0.0 }
        };
        let expected: Vec<f64> = changes.iter().zip(&importances).map(taken).collect();
        let negative = importances.iter().filter(|importance| **importance < 0.0).count() as u64;
        let rows = Rows { divergences: divergences.to_vec(), negative, least: sorted[0] };
        let mut out = vec![f64::NAN; changes.len()];
        let (base, shape) = (vec![0.0; changes.len()], [divergences.len(), columns]);
        merge_slices(&Given(rows), &[&base, changes], &shape, &mut out).expect("sound");
        assert_eq!(out, expected, "{divergences:?} {changes:?}");
    }

    #[test]
    fn quartiles_below_zero_at_zero_and_above() {
        let changes: Vec<f64> = (0..40).map(|i| f64::from(i % 11) / 8.0).collect();
        for negative in 0..=10 {
            for zero in 0..=10 - negative {
                let sign = |row| if row < negative { -1.0 } else { 1.0 };
                let size =
                    |row| if (negative..negative + zero).contains(&row) { 0.0 } else { 0.25 };
                let divergences: Vec<f64> = (0..10).map(|row| sign(row) * size(row)).collect();
                check(&divergences, &changes);
            }
        }
    }

    #[test]
    fn importances_that_underflow_are_zero() {
        check(&[-1e-300, 1e-300], &[1e-300, 1.0, 1e-300, 1e-10, 2.0, 1e-299]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_divergences(
            rows in prop::collection::vec(prop_oneof![Just(0.0), -1.0f64..1.0, 0.0f64..1e-9], 1..40),
            columns in 1usize..60,
            changes in prop::collection::vec(prop_oneof![Just(0.0), Just(0.5), -1.0f64..1.0], 2_400),
        ) {
            check(&rows, &changes[..rows.len() * columns]);
        }
    }
}
