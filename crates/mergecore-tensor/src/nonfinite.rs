//! NaN and infinity, found before they spread.

use crate::{Element, Found, Simd, Vectorize};

/// Counting without an early exit vectorises; the search runs only on a hit.
pub(crate) fn find<T: Element>(simd: Simd, values: &[T]) -> Option<Found> {
    if simd.run(AllFinite(values)) {
        return None;
    }
    Found::among(values.iter().map(|value| !value.is_finite()))
}

struct AllFinite<'a, T>(&'a [T]);

impl<T: Element> Vectorize for AllFinite<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn vectorize(self) -> bool {
        self.0.iter().fold(true, |all, value| all & value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bf16, f16};

    #[test]
    fn every_half_is_judged_rightly() {
        for bits in 0..=u16::MAX {
            let (b, h) = (bf16::from_bits(bits), f16::from_bits(bits));
            assert_eq!(Element::is_finite(b), b.to_f64().is_finite());
            assert_eq!(Element::is_finite(h), h.to_f64().is_finite());
        }
    }

    #[test]
    fn counted_and_placed_with_every_instruction_set() {
        let mut values = vec![1.5f32; 1000];
        for simd in Simd::available() {
            assert_eq!(find(simd, &values), None);
        }
        values[313] = f32::NAN;
        values[999] = f32::NEG_INFINITY;
        for simd in Simd::available() {
            assert_eq!(find(simd, &values), Some(Found { count: 2, first: 313 }));
        }
    }
}
