//! The order of a row's elements by magnitude.

use mergecore_kernel::{Element, Simd, Vectorize, magnitude_key};

/// An element of a row: the upper half of its key above its index in the row.
pub(crate) type Ranked = u64;

/// The index in the row.
#[inline(always)]
pub(crate) fn index(element: Ranked) -> usize {
    (element & INDEX) as usize
}

const INDEX: u64 = u32::MAX as u64;

/// The longest row that can be ranked.
pub(crate) const LONGEST: u64 = u32::MAX as u64;

/// Up to so many elements are sorted by comparison: counting takes longer.
const SHORT: usize = 400;

/// A row's elements from the smallest difference from the base to the largest, by magnitude;
/// those of equal magnitude lowest index first.
///
/// Bit patterns of magnitudes sort like integers. Their upper halves do nearly always: the
/// lower ones are zero unless a difference has more than 21 significant bits, and then they
/// decide only where the upper halves are equal.
pub(crate) fn ascending<T: Element>(simd: Simd, base: &[T], values: &[T]) -> Vec<Ranked> {
    let mut elements = vec![0; values.len()];
    let Seen { lower, greatest } = simd.run(UpperKeys { base, values, elements: &mut elements });
    // All are different, because of their indices.
    if elements.len() <= SHORT {
        elements.sort_unstable();
    } else {
        elements = sorted_by_bins(&elements, greatest);
    }
    if lower != 0 {
        let key = |at: usize| magnitude_key(values[at].widen() - base[at].widen());
        for equal in elements.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
            if equal.len() > 1 {
                equal.sort_by_key(|element| key(index(*element)));
            }
        }
    }
    elements
}

/// Writes a row's elements in order.
struct UpperKeys<'a, T> {
    base: &'a [T],
    values: &'a [T],
    elements: &'a mut [Ranked],
}

/// What was seen of a row's keys.
struct Seen {
    /// Zero only where the lower halves of all are.
    lower: u64,
    /// The greatest upper half, above zeros.
    greatest: u64,
}

impl<T: Element> Vectorize for UpperKeys<'_, T> {
    type Output = Seen;

    #[inline(always)]
    fn vectorize(self) -> Seen {
        // Signed comparisons do for 63 bits, and more instruction sets have them.
        let (mut at, mut lower, mut greatest) = (0, 0, 0i64);
        for ((element, value), base) in self.elements.iter_mut().zip(self.values).zip(self.base) {
            let key = magnitude_key(value.widen() - base.widen());
            *element = key & !INDEX | at;
            lower |= key & INDEX;
            greatest = greatest.max((key & !INDEX) as i64);
            at += 1;
        }
        Seen { lower, greatest: greatest as u64 }
    }
}

/// Bins for each factor of two of magnitude, below the greatest, in so many of which keys are
/// told apart.
const BINADES: u32 = 16;

/// Elements of a bin, at most, that are put in order by insertion.
const FEW: usize = 16;

/// Elements, none of which is above the greatest, put into bins by magnitude, then in order
/// within each.
fn sorted_by_bins(elements: &[Ranked], greatest: Ranked) -> Vec<Ranked> {
    // About as many bins as elements, up to what the caches hold.
    let bins = elements.len().next_power_of_two().clamp(1 << 11, 1 << 16);
    let shift = f64::MANTISSA_DIGITS - 1 - (bins.ilog2() - BINADES.ilog2());
    let least = (greatest >> shift).saturating_sub(bins as u64 - 1);
    let bin = |element: Ranked| (element >> shift).saturating_sub(least) as usize;
    let mut ends = vec![0u32; bins];
    for element in elements {
        ends[bin(*element)] += 1;
    }
    let mut before = 0;
    for end in &mut ends {
        (*end, before) = (before, before + *end);
    }
    let mut sorted = vec![0; elements.len()];
    for element in elements {
        let end = &mut ends[bin(*element)];
        sorted[*end as usize] = *element;
        *end += 1;
    }
    let mut start = 0;
    for end in ends {
        let end = end as usize;
        if end - start > FEW {
            sorted[start..end].sort_unstable();
        }
        start = end;
    }
    for from in 1..sorted.len() {
        let element = sorted[from];
        let mut at = from;
        while at > 0 && sorted[at - 1] > element {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = element;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use mergecore_tensor::{bf16, f16};
    use proptest::prelude::*;

    use super::*;

    fn check<T: Element>(base: &[f64], values: &[f64]) {
        let narrow = |values: &[f64]| values.iter().map(|x| T::narrow(*x)).collect::<Vec<_>>();
        let (base, values) = (narrow(base), narrow(values));
        let key = |at: &usize| magnitude_key(values[*at].widen() - base[*at].widen());
        let mut expected: Vec<usize> = (0..values.len()).collect();
        expected.sort_by_key(key);
        for simd in Simd::available() {
            let order = ascending(simd, &base, &values).into_iter().map(index);
            assert_eq!(order.collect::<Vec<_>>(), expected, "{} {simd}", T::DTYPE);
        }
    }

    fn check_all(base: &[f64], values: &[f64]) {
        check::<bf16>(base, values);
        check::<f16>(base, values);
        check::<f32>(base, values);
        check::<f64>(base, values);
    }

    #[test]
    fn nan_is_above_all_and_zeros_are_equal() {
        let values = [f64::NAN, 1.0, -f64::INFINITY, -0.0, 0.0, -f64::NAN, 5e-324];
        let order = ascending(Simd::detect(), &[0.0; 7], &values);
        assert_eq!(order.into_iter().map(index).collect::<Vec<_>>(), [3, 4, 6, 1, 2, 0, 5]);
    }

    #[test]
    fn magnitudes_that_differ_in_their_last_bits_only() {
        let step = |i: usize| f64::from_bits(1.5f64.to_bits() + (i * 7 % 50) as u64);
        for len in [2, SHORT, SHORT + 1, 5_000] {
            let values: Vec<f64> =
                (0..len).map(|i| if i % 3 == 0 { -step(i) } else { step(i) }).collect();
            check_all(&vec![0.0; len], &values);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_row(
            row in prop::collection::vec((-1.0f64..1.0, -1.0f64..1.0), 0..3 * SHORT),
            grid in prop::sample::select(vec![0.0, 4.0, 128.0, 65_536.0]),
            scale in -300i32..100,
        ) {
            let on_grid = |x: f64| if grid == 0.0 { x } else { (x * grid).round() / grid };
            let (base, values): (Vec<f64>, Vec<f64>) =
                row.iter().map(|(a, b)| (on_grid(*a), on_grid(*b))).unzip();
            check_all(&base, &values);
            let scaled: Vec<f64> = values.iter().map(|x| x * 2f64.powi(scale)).collect();
            check_all(&base, &scaled);
        }
    }
}
