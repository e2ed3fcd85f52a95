//! Elements as they lie in a file: little-endian bytes.

use half::{bf16, f16};

use crate::{DType, Element};

/// Widens little-endian elements of a float dtype exactly to `f64`.
///
/// # Panics
/// If `dtype` is not a float ([`DType::is_float`]) or the lengths disagree.
///
/// ```
/// use mergecore_tensor::{DType, widen_bytes};
///
/// let mut wide = [0.0];
/// widen_bytes(DType::Bf16, &[0x80, 0x3f], &mut wide);
/// assert_eq!(wide, [1.0]);
/// ```
pub fn widen_bytes(dtype: DType, bytes: &[u8], out: &mut [f64]) {
    assert_eq!(bytes.len(), out.len() * dtype.size(), "bytes do not match the elements");
    match dtype {
        DType::Bf16 => widen_each(bytes, out, |b| bf16::from_le_bytes(b).widen()),
        DType::F16 => widen_each(bytes, out, |b| f16::from_le_bytes(b).widen()),
        DType::F32 => widen_each(bytes, out, |b| f32::from_le_bytes(b).widen()),
        DType::F64 => widen_each(bytes, out, f64::from_le_bytes),
        other => panic!("{other} elements cannot be widened"),
    }
}

/// Rounds `f64` values once to a float dtype and stores them little-endian.
///
/// Rounding is as [`Element::narrow`] says.
///
/// # Panics
/// If `dtype` is not a float ([`DType::is_float`]) or the lengths disagree.
///
/// ```
/// use mergecore_tensor::{DType, narrow_bytes};
///
/// let mut stored = [0; 4];
/// narrow_bytes(DType::Bf16, &[1.0, -2.0], &mut stored);
/// assert_eq!(stored, [0x80, 0x3f, 0x00, 0xc0]);
/// ```
pub fn narrow_bytes(dtype: DType, values: &[f64], out: &mut [u8]) {
    assert_eq!(out.len(), values.len() * dtype.size(), "bytes do not match the elements");
    match dtype {
        DType::Bf16 => narrow_each(values, out, |v| bf16::narrow(v).to_le_bytes()),
        DType::F16 => narrow_each(values, out, |v| f16::narrow(v).to_le_bytes()),
        DType::F32 => narrow_each(values, out, |v| f32::narrow(v).to_le_bytes()),
        DType::F64 => narrow_each(values, out, |v| f64::narrow(v).to_le_bytes()),
        other => panic!("values cannot be stored as {other}"),
    }
}

#[inline]
fn widen_each<const N: usize>(bytes: &[u8], out: &mut [f64], widen: impl Fn([u8; N]) -> f64) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (wide, element) in out.iter_mut().zip(elements) {
        *wide = widen(*element);
    }
}

#[inline]
fn narrow_each<const N: usize>(values: &[f64], out: &mut [u8], narrow: impl Fn(f64) -> [u8; N]) {
    let (elements, _) = out.as_chunks_mut::<N>();
    for (element, value) in elements.iter_mut().zip(values) {
        *element = narrow(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_dtype_round_trips() {
        let values = [0.0, -0.0, 1.5, -0.25, 1e-5, f64::INFINITY, 60000.0];
        for dtype in [DType::Bf16, DType::F16, DType::F32, DType::F64] {
            let mut bytes = vec![0; values.len() * dtype.size()];
            narrow_bytes(dtype, &values, &mut bytes);
            let mut wide = [0.0; 7];
            widen_bytes(dtype, &bytes, &mut wide);
            let mut again = vec![0; bytes.len()];
            narrow_bytes(dtype, &wide, &mut again);
            assert_eq!(bytes, again, "{dtype}");
            assert_eq!(wide[2], 1.5);
            assert!(wide[1].is_sign_negative());
        }
    }

    #[test]
    #[should_panic(expected = "I32 elements cannot be widened")]
    fn integers_are_not_widened() {
        widen_bytes(DType::I32, &[0; 4], &mut [0.0]);
    }
}
