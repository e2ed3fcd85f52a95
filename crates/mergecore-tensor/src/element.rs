//! Single elements: exact widening to `f64`, one rounding back.

use half::{bf16, f16};

use crate::DType;

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
}

impl Element for f64 {
    const DTYPE: DType = DType::F64;

    #[inline]
    fn widen(self) -> f64 {
        self
    }

    #[inline]
    fn narrow(value: f64) -> Self {
        if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0000) } else { value }
    }
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    #[inline]
    fn widen(self) -> f64 {
        f64::from(self)
    }

    #[inline]
    fn narrow(value: f64) -> Self {
        if value.is_nan() { f32::from_bits(0x7fc0_0000) } else { value as f32 }
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;

    #[inline]
    fn widen(self) -> f64 {
        f64::from(f32::from_bits(u32::from(self.to_bits()) << 16))
    }

    #[inline]
    fn narrow(value: f64) -> Self {
        let bits = f32_rounded_to_odd(value).to_bits();
        let even = (bits >> 16) & 1;
        let rounded = bits.wrapping_add(0x7fff + even) >> 16;
        let bits = if value.is_nan() { 0x7fc0 } else { rounded };
        bf16::from_bits(bits as u16)
    }
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;

    #[inline]
    fn widen(self) -> f64 {
        let bits = u32::from(self.to_bits());
        let sign = (bits & 0x8000) << 16;
        let magnitude = (bits & 0x7fff) << 13;
        // Moves the exponent's bias from 15 to 127; exact, also for subnormals.
        let rebias = f32::from_bits((254 - 15) << 23);
        let scaled = (f32::from_bits(magnitude) * rebias).to_bits();
        let exponent = if magnitude >= 0x7c00 << 13 { 0x7f80_0000 } else { 0 };
        f64::from(f32::from_bits(scaled | exponent | sign))
    }

    #[inline]
    fn narrow(value: f64) -> Self {
        const SMALLEST_NORMAL: u32 = 113 << 23;
        const OVERFLOW: u32 = 143 << 23;
        let bits = f32_rounded_to_odd(value).to_bits();
        let sign = (bits >> 16) & 0x8000;
        let magnitude = bits & 0x7fff_ffff;
        let even = (magnitude >> 13) & 1;
        let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + even) >> 13;
        // Adding one half leaves f16's subnormal grid as the sum's last bits, so
        // the addition itself rounds to it.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        let finite = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
        let rounded = sign | if magnitude >= OVERFLOW { 0x7c00 } else { finite };
        let bits = if value.is_nan() { 0x7e00 } else { rounded };
        f16::from_bits(bits as u16)
    }
}

/// Rounds to odd: a value that `f32` cannot hold becomes the neighbour whose
/// last bit is set. A second rounding, to a type of fewer bits, then gives what
/// one rounding of `value` would.
#[inline]
fn f32_rounded_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    let away = u32::from(back.abs() > value.abs());
    let inexact = u32::from(back != value);
    f32::from_bits(nearest.to_bits().wrapping_sub(away) | inexact)
}

/// Widens a slice exactly.
///
/// # Panics
/// If the slices differ in length.
///
/// ```
/// let mut wide = [0.0; 2];
/// mergecore_tensor::widen_slice(&[0.5f32, -2.0], &mut wide);
/// assert_eq!(wide, [0.5, -2.0]);
/// ```
pub fn widen_slice<T: Element>(values: &[T], out: &mut [f64]) {
    assert_eq!(values.len(), out.len(), "slices of different length");
    for (wide, value) in out.iter_mut().zip(values) {
        *wide = value.widen();
    }
}

/// Rounds a slice once, to nearest, ties to even.
///
/// # Panics
/// If the slices differ in length.
///
/// ```
/// use mergecore_tensor::{bf16, narrow_slice};
///
/// let mut narrow = [bf16::ZERO; 2];
/// narrow_slice(&[0.5, 1.0 / 3.0], &mut narrow);
/// assert_eq!(narrow.map(f32::from), [0.5, 0.333984375]);
/// ```
pub fn narrow_slice<T: Element>(values: &[f64], out: &mut [T]) {
    assert_eq!(values.len(), out.len(), "slices of different length");
    for (narrow, value) in out.iter_mut().zip(values) {
        *narrow = T::narrow(*value);
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
