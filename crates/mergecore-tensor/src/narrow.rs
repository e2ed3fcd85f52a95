//! Rounding of many values at once, and what is lost thereby.
//!
//! Values far from a dtype's limits, nearly all there are, take a loop that tests none of
//! them: it keeps the least and the greatest magnitude of each lane. Only where these are
//! unusual is a run looked at again.

use std::ops::Range;

use crate::{Element, Found, Losses, Simd, Vectorize};

/// Values that [`Element::narrow_usual`] rounds at once.
pub(crate) const LANES: usize = 64;

/// Magnitudes at which rounding to a dtype changes its nature.
#[doc(hidden)]
#[derive(Debug)]
pub struct Limits {
    /// The greatest that becomes zero.
    pub(crate) zero_up_to: f64,
    /// The least but zero that [`Element::narrow_usual`] rounds rightly.
    pub(crate) usual_from: f64,
    /// The least that becomes infinite.
    pub(crate) infinite_from: f64,
    /// The [`Magnitudes`] of values of which none is any of that, as bits.
    pub(crate) magnitudes: Range<u32>,
}

/// The least and the greatest magnitude of rounded values, as bits.
#[doc(hidden)]
#[derive(Debug)]
pub struct Magnitudes {
    least: [u32; LANES],
    greatest: [u32; LANES],
}

impl Magnitudes {
    #[inline(always)]
    fn none() -> Self {
        Magnitudes { least: [u32::MAX; LANES], greatest: [0; LANES] }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, bits: &[u32; LANES]) {
        for ((least, greatest), bits) in self.least.iter_mut().zip(&mut self.greatest).zip(bits) {
            let magnitude = bits & 0x7fff_ffff;
            *least = (*least).min(magnitude);
            *greatest = (*greatest).max(magnitude);
        }
    }

    #[inline(always)]
    fn within(&self, usual: Range<u32>) -> bool {
        let least = self.least.iter().fold(u32::MAX, |least, x| least.min(*x));
        let greatest = self.greatest.iter().fold(0, |greatest, x| greatest.max(*x));
        (least >= usual.start) & (greatest < usual.end)
    }
}

/// Rounds a run of values: all of them quickly and, where some are unusual, all again; yields
/// what was lost. Meant for runs of some hundreds, so that this costs little.
#[doc(hidden)]
#[inline(always)]
pub fn narrow_run<T: Element>(values: &[f64], out: &mut [T]) -> Losses {
    let mut seen = Magnitudes::none();
    let (groups, rest) = out.as_chunks_mut();
    let (wide, wide_rest) = values.as_chunks();
    for (values, out) in wide.iter().zip(groups) {
        T::narrow_usual(values, &mut seen, out);
    }
    for (narrow, value) in rest.iter_mut().zip(wide_rest) {
        *narrow = T::narrow(*value);
    }
    let within = seen.within(T::LIMITS.magnitudes);
    // Zeros are not unusual, but nothing else tells them from what became zero.
    if (!within && are_unusual::<T>(values)) || are_unusual::<T>(wide_rest) {
        return narrow_unusual(values, out);
    }
    Losses::default()
}

/// Whether there is a value that is not rounded rightly by [`Element::narrow_usual`], or with
/// a loss.
#[inline(always)]
fn are_unusual<T: Element>(values: &[f64]) -> bool {
    let Limits { zero_up_to, usual_from, infinite_from, .. } = T::LIMITS;
    values.iter().fold(false, |unusual, value| {
        let magnitude = value.abs();
        let small = (magnitude <= zero_up_to) | (magnitude < usual_from);
        let large = (magnitude >= infinite_from) | magnitude.is_nan();
        unusual | (small & (magnitude != 0.0)) | large
    })
}

#[cold]
#[inline(never)]
fn narrow_unusual<T: Element>(values: &[f64], out: &mut [T]) -> Losses {
    let usual = |value: &f64| *value == 0.0 || value.abs() >= T::LIMITS.usual_from;
    if !values.iter().fold(true, |all, value| all & usual(value)) {
        for (narrow, value) in out.iter_mut().zip(values) {
            *narrow = T::narrow(*value);
        }
    }
    let flushed = |value: &f64| *value != 0.0 && value.abs() <= T::LIMITS.zero_up_to;
    Losses {
        nonfinite: Found::among(out.iter().map(|narrow| !narrow.is_finite())),
        flushed: Found::among(values.iter().map(flushed)),
    }
}

impl Simd {
    /// Rounds a slice once, to nearest, ties to even; yields what was lost beyond rounding.
    ///
    /// # Panics
    /// If the slices differ in length.
    ///
    /// ```
    /// use mergecore_tensor::{Simd, bf16};
    ///
    /// let mut narrow = [bf16::ZERO; 2];
    /// let losses = Simd::detect().narrow(&[0.5, 1.0 / 3.0], &mut narrow);
    /// assert_eq!(narrow.map(f32::from), [0.5, 0.333984375]);
    /// assert!(losses.is_none());
    /// ```
    pub fn narrow<T: Element>(self, values: &[f64], out: &mut [T]) -> Losses {
        assert_eq!(values.len(), out.len(), "slices of different length");
        self.run(Narrow { values, out })
    }
}

/// Values of a run: not many, lest one unusual value make many slow.
const RUN: usize = 512;

struct Narrow<'a, T> {
    values: &'a [f64],
    out: &'a mut [T],
}

impl<T: Element> Vectorize for Narrow<'_, T> {
    type Output = Losses;

    #[inline(always)]
    fn vectorize(self) -> Losses {
        let mut losses = Losses::default();
        let runs = self.out.chunks_mut(RUN).zip(self.values.chunks(RUN));
        for (index, (out, values)) in runs.enumerate() {
            losses.add((index * RUN) as u64, narrow_run(values, out));
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bf16, f16};
    use proptest::prelude::*;

    /// What is lost is what a look at each element finds, with every instruction set.
    fn check<T: Element>(values: &[f64]) {
        let each: Vec<T> = values.iter().map(|value| T::narrow(*value)).collect();
        let expected = Losses {
            nonfinite: Found::among(each.iter().map(|narrow| !narrow.is_finite())),
            flushed: Found::among(
                values.iter().zip(&each).map(|(v, n)| *v != 0.0 && n.widen() == 0.0),
            ),
        };
        for simd in Simd::available() {
            let mut run = vec![T::default(); values.len()];
            let losses = simd.narrow(values, &mut run);
            assert_eq!(losses, expected, "{} {simd} {values:?}", T::DTYPE);
            let equal = each.iter().zip(&run).all(|(a, b)| a.is_identical(*b));
            assert!(equal, "{} {simd} {values:?}", T::DTYPE);
        }
    }

    fn check_all(values: &[f64]) {
        check::<bf16>(values);
        check::<f16>(values);
        check::<f32>(values);
        check::<f64>(values);
    }

    /// Each value alone among usual ones: in a group of lanes, in what is left over at the end
    /// of a run, and in a later run; and on both sides of it.
    fn check_among_usual(value: f64) {
        for usual in [0.02, 0.0, -0.0] {
            for at in [0, 63, RUN - 1, RUN + 70, 2 * RUN + 1] {
                let mut values = [usual; 2 * RUN + 2];
                values[at] = value;
                check_all(&values);
                check_all(&values[..at + 1]);
            }
        }
    }

    #[test]
    fn losses_begin_at_the_limits() {
        fn limits<T: Element>() {
            let Limits { zero_up_to, usual_from, infinite_from, .. } = T::LIMITS;
            for limit in [zero_up_to, usual_from, infinite_from] {
                for value in [limit.next_down(), limit, limit.next_up()] {
                    check_among_usual(value);
                    check_among_usual(-value);
                }
            }
            if zero_up_to > 0.0 {
                assert_eq!(T::narrow(zero_up_to).widen(), 0.0);
                assert_ne!(T::narrow(zero_up_to.next_up()).widen(), 0.0);
            }
            assert!(!Element::is_finite(T::narrow(infinite_from)));
            assert!(Element::is_finite(T::narrow(infinite_from.next_down())));
        }
        limits::<bf16>();
        limits::<f16>();
        limits::<f32>();
        limits::<f64>();
    }

    #[test]
    fn losses_of_extremes() {
        for value in [f64::NAN, -f64::NAN, f64::INFINITY, f64::MAX, 5e-324, 1e-320, 1e-46, 1e-39] {
            check_among_usual(value);
            check_among_usual(-value);
        }
        // A signalling NaN, whose payload is only in what f32 has no room for.
        check_among_usual(f64::from_bits(0x7ff0_0000_0000_0001));
    }

    #[test]
    fn counts_and_first_indices_over_runs() {
        let mut values = vec![0.25; 3 * RUN + 17];
        (values[RUN + 3], values[2 * RUN], values[3 * RUN + 16]) = (1e-9, 70_000.0, f64::NAN);
        values[3 * RUN + 15] = -1e-9;
        for simd in Simd::available() {
            let losses = simd.narrow(&values, &mut vec![f16::ZERO; values.len()]);
            let (flushed, overflowed) = ((RUN + 3) as u64, (2 * RUN) as u64);
            assert_eq!(losses.flushed, Some(Found { count: 2, first: flushed }));
            assert_eq!(losses.nonfinite, Some(Found { count: 2, first: overflowed }));
        }
    }

    proptest! {
        #[test]
        fn losses_are_those_of_each_element(
            values in prop::collection::vec((-4.0f64..4.0, -160i32..140), 0..200),
            odd in prop::collection::vec((any::<f64>(), 0usize..200), 0..4),
        ) {
            let mut values: Vec<f64> = values.iter().map(|(m, e)| m * 2f64.powi(*e)).collect();
            for (value, at) in odd {
                if let Some(place) = values.get_mut(at) {
                    *place = value;
                }
            }
            check_all(&values);
        }
    }
}
