//! Single elements: exact widening to `f64`, one rounding back.

use half::{bf16, f16};

use crate::narrow::{LANES, Limits, Magnitudes};
use crate::{DType, Elements, ElementsMut, Simd, Vectorize};

mod sealed {
    pub trait Sealed {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point element type that can be merged: [`bf16`], [`struct@f16`], `f32`
/// or `f64`.
///
/// Widening is exact. Narrowing rounds once, to nearest, ties to even, with
/// gradual underflow and overflow to infinity; every NaN becomes the type's one
/// canonical quiet NaN. Both give the same bits on every CPU.
///
/// ```
/// use mergecore_tensor::{Element, bf16};
///
/// assert_eq!(bf16::narrow(1.0 / 3.0).widen(), 0.333984375);
/// ```
pub trait Element:
    Copy + Default + Send + Sync + std::fmt::Debug + 'static + sealed::Sealed
{
    /// The dtype stored under this type.
    ///
    /// ```
    /// use mergecore_tensor::{DType, Element, f16};
    ///
    /// assert_eq!(f16::DTYPE, DType::F16);
    /// ```
    const DTYPE: DType;

    /// The exact value as `f64`.
    ///
    /// ```
    /// use mergecore_tensor::{Element, bf16};
    ///
    /// assert_eq!(bf16::from_bits(0x3fc0).widen(), 1.5);
    /// ```
    fn widen(self) -> f64;

    /// The nearest value of this type, ties to even.
    ///
    /// ```
    /// use mergecore_tensor::{Element, bf16, f16};
    ///
    /// assert_eq!(bf16::narrow(1.5).to_bits(), 0x3fc0);
    /// assert_eq!(f16::narrow(1e6), f16::INFINITY);
    /// assert_eq!(f16::narrow(f64::NAN).to_bits(), 0x7e00);
    /// ```
    fn narrow(value: f64) -> Self;

    /// Whether the value is neither NaN nor infinite.
    ///
    /// ```
    /// use mergecore_tensor::{Element, bf16};
    ///
    /// assert!(Element::is_finite(bf16::MAX) && !Element::is_finite(bf16::INFINITY));
    /// ```
    fn is_finite(self) -> bool;

    /// Whether two values have the same bits.
    ///
    /// ```
    /// use mergecore_tensor::Element;
    ///
    /// assert!(!0f32.is_identical(-0.0));
    /// ```
    fn is_identical(self, other: Self) -> bool;

    #[doc(hidden)]
    const LIMITS: Limits;

    /// [`narrow`](Self::narrow) of all but unusual values, in a form that vectorises;
    /// `seen` tells afterwards whether there may have been such.
    #[doc(hidden)]
    fn narrow_usual(values: &[f64; LANES], seen: &mut Magnitudes, out: &mut [Self; LANES]);

    /// The value as `f32`, exact but for `f64`.
    #[doc(hidden)]
    #[inline(always)]
    fn widen_to_single(self) -> f32 {
        self.widen() as f32
    }

    #[doc(hidden)]
    fn elements(slice: &[Self]) -> Elements<'_>;

    #[doc(hidden)]
    fn from_elements(elements: Elements<'_>) -> Option<&[Self]>;

    #[doc(hidden)]
    fn elements_mut(slice: &mut [Self]) -> ElementsMut<'_>;
}

macro_rules! views {
    ($variant:ident) => {
        #[inline]
        fn elements(slice: &[Self]) -> Elements<'_> {
            Elements::$variant(slice)
        }

        #[inline]
        fn from_elements(elements: Elements<'_>) -> Option<&[Self]> {
            match elements {
                Elements::$variant(slice) => Some(slice),
                _ => None,
            }
        }

        #[inline]
        fn elements_mut(slice: &mut [Self]) -> ElementsMut<'_> {
            ElementsMut::$variant(slice)
        }

        #[inline(always)]
        fn is_identical(self, other: Self) -> bool {
            self.to_bits() == other.to_bits()
        }
    };
}

impl Element for f64 {
    const DTYPE: DType = DType::F64;

    const LIMITS: Limits = Limits {
        zero_up_to: 0.0,
        usual_from: 0.0,
        infinite_from: f64::INFINITY,
        // Of the upper half of its bits.
        magnitudes: 0..0x7ff0_0000,
    };

    views!(F64);

    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0000) } else { value }
    }

    #[inline(always)]
    fn narrow_usual(values: &[f64; LANES], seen: &mut Magnitudes, out: &mut [Self; LANES]) {
        *out = *values;
        seen.add(&values.map(|value| (value.to_bits() >> 32) as u32));
    }
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    const LIMITS: Limits = Limits {
        zero_up_to: f64::from_bits(0x3690_0000_0000_0000), // 2^-150
        usual_from: 0.0,
        infinite_from: f64::from_bits(0x47ef_ffff_f000_0000), // 2^128 - 2^103
        magnitudes: 1..0x7f80_0000,
    };

    views!(F32);

    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        if value.is_nan() { f32::from_bits(0x7fc0_0000) } else { value as f32 }
    }

    #[inline(always)]
    fn narrow_usual(values: &[f64; LANES], seen: &mut Magnitudes, out: &mut [Self; LANES]) {
        for (narrow, value) in out.iter_mut().zip(values) {
            *narrow = *value as f32;
        }
        seen.add(&out.map(f32::to_bits));
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;

    const LIMITS: Limits = Limits {
        zero_up_to: f64::from_bits(0x3790_0000_0000_0000), // 2^-134
        usual_from: f32::MIN_POSITIVE as f64,
        infinite_from: f64::from_bits(0x47ef_f000_0000_0000), // 2^128 - 2^119
        magnitudes: 0x0080_0000..0x7f7f_8000,
    };

    views!(Bf16);

    #[inline(always)]
    fn is_finite(self) -> bool {
        self.to_bits() & 0x7f80 != 0x7f80
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self.widen_to_single())
    }

    #[inline(always)]
    fn widen_to_single(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        let rounded = bf16_from_odd(f32_rounded_to_odd(value).to_bits());
        let bits = if value.is_nan() { 0x7fc0 } else { rounded };
        bf16::from_bits(bits as u16)
    }

    #[inline(always)]
    fn narrow_usual(values: &[f64; LANES], seen: &mut Magnitudes, out: &mut [Self; LANES]) {
        let odd = usual_rounded_to_odd(values);
        seen.add(&odd);
        for (narrow, odd) in out.iter_mut().zip(odd) {
            *narrow = bf16::from_bits(bf16_from_odd(odd) as u16);
        }
    }
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;

    const LIMITS: Limits = Limits {
        zero_up_to: f64::from_bits(0x3e60_0000_0000_0000), // 2^-25
        usual_from: f32::MIN_POSITIVE as f64,
        infinite_from: 65520.0,
        magnitudes: 0x3300_0001..0x477f_f000,
    };

    views!(F16);

    #[inline(always)]
    fn is_finite(self) -> bool {
        self.to_bits() & 0x7c00 != 0x7c00
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self.widen_to_single())
    }

    #[inline(always)]
    fn widen_to_single(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let sign = (bits & 0x8000) << 16;
        let magnitude = (bits & 0x7fff) << 13;
        // Moves the exponent's bias from 15 to 127; exact, also for subnormals.
        let rebias = f32::from_bits((254 - 15) << 23);
        let scaled = (f32::from_bits(magnitude) * rebias).to_bits();
        let exponent = if magnitude >= 0x7c00 << 13 { 0x7f80_0000 } else { 0 };
        f32::from_bits(scaled | exponent | sign)
    }

    #[inline(always)]
    fn narrow(value: f64) -> Self {
        let rounded = f16_from_odd(f32_rounded_to_odd(value).to_bits());
        let bits = if value.is_nan() { 0x7e00 } else { rounded };
        f16::from_bits(bits as u16)
    }

    #[inline(always)]
    fn narrow_usual(values: &[f64; LANES], seen: &mut Magnitudes, out: &mut [Self; LANES]) {
        let odd = usual_rounded_to_odd(values);
        seen.add(&odd);
        for (narrow, odd) in out.iter_mut().zip(odd) {
            *narrow = f16::from_bits(f16_from_odd(odd) as u16);
        }
    }
}

/// The bits of the bf16 nearest to a number, given as the bits of an `f32` that was
/// rounded to odd.
#[inline(always)]
fn bf16_from_odd(bits: u32) -> u32 {
    let even = (bits >> 16) & 1;
    bits.wrapping_add(0x7fff + even) >> 16
}

/// The bits of the f16 nearest to a number, given as the bits of an `f32` that was
/// rounded to odd.
#[inline(always)]
fn f16_from_odd(bits: u32) -> u32 {
    const SMALLEST_NORMAL: u32 = 113 << 23;
    const OVERFLOW: u32 = 143 << 23;
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let even = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + even) >> 13;
    // Adding one half leaves f16's subnormal grid as the sum's last bits, so
    // the addition itself rounds to it.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let finite = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
    sign | if magnitude >= OVERFLOW { 0x7c00 } else { finite }
}

/// Rounds to odd: a value that `f32` cannot hold becomes the neighbour whose
/// last bit is set. A second rounding, to a type of fewer bits, then gives what
/// one rounding of `value` would.
#[inline(always)]
fn f32_rounded_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    let away = u32::from(back.abs() > value.abs());
    let inexact = u32::from(back != value);
    f32::from_bits(nearest.to_bits().wrapping_sub(away) | inexact)
}

/// As [`f32_rounded_to_odd`], by integer operations, which are faster: the bits of the
/// `f32`s. Wrong where a value is NaN or lies between zero and the smallest normal `f32`,
/// where this way rounds twice.
#[inline(always)]
fn usual_rounded_to_odd(values: &[f64; LANES]) -> [u32; LANES] {
    // What f32 has no room for, all in the last bits of an f64's significand.
    const REST: u64 = (1 << 29) - 1;
    values.map(|value| {
        let bits = value.to_bits();
        let sticky = bits | ((bits & REST) + REST);
        (f64::from_bits(sticky & !REST) as f32).to_bits()
    })
}

impl Simd {
    /// Widens a slice exactly.
    ///
    /// # Panics
    /// If the slices differ in length.
    ///
    /// ```
    /// let mut wide = [0.0; 2];
    /// mergecore_tensor::Simd::detect().widen(&[0.5f32, -2.0], &mut wide);
    /// assert_eq!(wide, [0.5, -2.0]);
    /// ```
    pub fn widen<T: Element>(self, values: &[T], out: &mut [f64]) {
        assert_eq!(values.len(), out.len(), "slices of different length");
        self.run(Widen { values, out });
    }
}

struct Widen<'a, T> {
    values: &'a [T],
    out: &'a mut [f64],
}

impl<T: Element> Vectorize for Widen<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for (wide, value) in self.out.iter_mut().zip(self.values) {
            *wide = value.widen();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rounds by comparing with the midpoint of the two neighbours, which `f64`
    /// holds exactly; `bits` counts the type's non-negative values upward.
    fn naive_narrow(value: f64, infinity: u16, widen: impl Fn(u16) -> f64) -> u16 {
        let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
        let target = value.abs();
        let (mut low, mut high) = (0u16, infinity);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if widen(middle) <= target { low = middle } else { high = middle }
        }
        // Past the largest finite value the next step would be where infinity stands.
        let above = if high == infinity { 2.0 * widen(low) - widen(low - 1) } else { widen(high) };
        let midpoint = (widen(low) + above) / 2.0;
        let up = target > midpoint || (target == midpoint && low & 1 == 1);
        sign | if up { high } else { low }
    }

    fn check(value: f64) {
        let expected = naive_narrow(value, 0x7f80, |b| bf16::from_bits(b).to_f64());
        assert_eq!(bf16::narrow(value).to_bits(), expected, "bf16 {value:e}");
        let expected = naive_narrow(value, 0x7c00, |b| f16::from_bits(b).to_f64());
        assert_eq!(f16::narrow(value).to_bits(), expected, "f16 {value:e}");
        check_run(&[value; LANES + 8]);
        let mut mixed = [1.0 / 3.0; 2 * LANES + 8];
        for at in [5, LANES + 5, 2 * LANES + 5] {
            mixed[at] = value;
        }
        check_run(&mixed);
    }

    /// Rounding many at once gives what rounding each does, with every instruction set.
    fn check_run(values: &[f64]) {
        fn of<T: Element + PartialEq>(values: &[f64]) {
            let each: Vec<T> = values.iter().map(|value| T::narrow(*value)).collect();
            for simd in Simd::available() {
                let mut run = vec![T::default(); values.len()];
                simd.narrow(values, &mut run);
                let equal = each.iter().zip(&run).all(|(a, b)| a.is_identical(*b));
                assert!(equal, "{} {simd} {values:?}", T::DTYPE);
            }
        }
        of::<bf16>(values);
        of::<f16>(values);
        of::<f32>(values);
        of::<f64>(values);
    }

    #[test]
    fn every_half_widens_exactly_and_returns() {
        for bits in 0..=u16::MAX {
            let (b, h) = (bf16::from_bits(bits), f16::from_bits(bits));
            if b.is_nan() {
                assert_eq!(bf16::narrow(b.widen()).to_bits(), 0x7fc0);
            } else {
                assert_eq!(b.widen(), b.to_f64());
                assert_eq!(bf16::narrow(b.widen()).to_bits(), bits);
            }
            if h.is_nan() {
                assert_eq!(f16::narrow(h.widen()).to_bits(), 0x7e00);
            } else {
                assert_eq!(h.widen(), h.to_f64());
                assert_eq!(f16::narrow(h.widen()).to_bits(), bits);
            }
        }
    }

    /// Runs without anything unusual, so that none is rounded again.
    #[test]
    fn runs_of_different_usual_values() {
        fn check_dtype<T: Element>(from_bits: impl Fn(u16) -> T) {
            let all: Vec<f64> = (0..=u16::MAX).map(|bits| from_bits(bits).widen()).collect();
            let usual = |value: &f64| value.abs() >= f64::from(f32::MIN_POSITIVE) || *value == 0.0;
            let steps = all.windows(2).filter(|pair| pair.iter().all(|x| x.is_finite()));
            let between = steps.flat_map(|pair| {
                let middle = (pair[0] + pair[1]) / 2.0;
                [pair[0], pair[0].next_up(), middle.next_down(), middle, middle.next_up()]
            });
            let values: Vec<f64> = between.filter(usual).collect();
            assert!(values.len() > 200_000);
            check_run(&values);
        }
        check_dtype(bf16::from_bits);
        check_dtype(f16::from_bits);
    }

    #[test]
    fn midpoints_and_their_neighbours_round_once() {
        for bits in (0..0x7f80u16).step_by(7) {
            for (a, b) in [
                (bf16::from_bits(bits).to_f64(), bf16::from_bits(bits + 1).to_f64()),
                (
                    f16::from_bits(bits.min(0x7bfe)).to_f64(),
                    f16::from_bits(bits.min(0x7bfe) + 1).to_f64(),
                ),
            ] {
                if !b.is_finite() {
                    continue;
                }
                let middle = (a + b) / 2.0;
                for value in
                    [middle, middle.next_up(), middle.next_down(), a.next_up(), b.next_down()]
                {
                    check(value);
                    check(-value);
                }
            }
        }
    }

    #[test]
    fn extremes() {
        for value in [
            0.0,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::INFINITY,
            65519.99999,
            65520.0,
            65536.0,
            1e-45,
            3.4e38,
        ] {
            check(value);
            check(-value);
        }
        assert_eq!(f32::narrow(-f64::NAN).to_bits(), 0x7fc0_0000);
        assert_eq!(f64::narrow(-f64::NAN).to_bits(), 0x7ff8_0000_0000_0000);
        // One run without anything unusual, runs with something, and the end of one.
        let mut odd = [0.5; 2_503];
        odd[3] = f64::from_bits(f64::NAN.to_bits() | 0xbeef);
        odd[1_030] = -f64::NAN;
        odd[1_540] = 1e-39;
        odd[2_060] = f64::INFINITY;
        odd[2_501] = -1e-320;
        check_run(&odd);
    }

    #[test]
    fn every_half_widens_alike_with_every_instruction_set() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        fn check<T: Element>(values: &[T]) {
            for simd in Simd::available() {
                let mut wide = vec![0.0; values.len()];
                simd.widen(values, &mut wide);
                for (value, wide) in values.iter().zip(wide) {
                    assert_eq!(value.widen().to_bits(), wide.to_bits(), "{simd}");
                }
            }
        }
        check(&all.iter().map(|bits| bf16::from_bits(*bits)).collect::<Vec<_>>());
        check(&all.iter().map(|bits| f16::from_bits(*bits)).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_double_rounds_as_the_naive_search(value in any::<f64>()) {
            check(value);
        }

        #[test]
        fn doubles_of_half_range_round_as_the_naive_search(m in -4.0f64..4.0, e in -30i32..17) {
            check(m * 2f64.powi(e));
        }
    }
}
