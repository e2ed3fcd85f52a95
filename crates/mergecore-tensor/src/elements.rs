//! A run of elements of one of the float dtypes.

use half::{bf16, f16};
use zerocopy::{FromBytes, IntoBytes};

use crate::{DType, Element, Found, Losses, Simd};

/// A run of elements of one float dtype, as they are stored.
///
/// ```
/// use mergecore_tensor::{Elements, Simd, bf16};
///
/// let stored = [bf16::ONE, bf16::NEG_ONE];
/// let mut wide = [0.0; 2];
/// Elements::from(&stored[..]).widen(Simd::detect(), &mut wide);
/// assert_eq!(wide, [1.0, -1.0]);
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Elements<'a> {
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// IEEE single precision.
    F32(&'a [f32]),
    /// IEEE double precision.
    F64(&'a [f64]),
}

/// Runs the same expression on whichever slice there is.
macro_rules! each {
    ($kind:ident, $elements:expr, $slice:ident => $result:expr) => {
        match $elements {
            $kind::Bf16($slice) => $result,
            $kind::F16($slice) => $result,
            $kind::F32($slice) => $result,
            $kind::F64($slice) => $result,
        }
    };
}

impl<'a> Elements<'a> {
    /// The elements that lie in these bytes, little-endian; `None` if the dtype is not
    /// a float, the length is not a multiple of its size, or the bytes are not aligned
    /// to it.
    ///
    /// ```
    /// use mergecore_tensor::{DType, Elements};
    ///
    /// assert!(Elements::from_bytes(DType::I32, &[0; 4]).is_none());
    /// assert!(Elements::from_bytes(DType::Bf16, &[0; 3]).is_none());
    /// ```
    pub fn from_bytes(dtype: DType, bytes: &'a [u8]) -> Option<Self> {
        Some(match dtype {
            DType::Bf16 => Elements::Bf16(FromBytes::ref_from_bytes(bytes).ok()?),
            DType::F16 => Elements::F16(FromBytes::ref_from_bytes(bytes).ok()?),
            DType::F32 => Elements::F32(FromBytes::ref_from_bytes(bytes).ok()?),
            DType::F64 => Elements::F64(FromBytes::ref_from_bytes(bytes).ok()?),
            _ => return None,
        })
    }

    /// Their dtype.
    ///
    /// ```
    /// use mergecore_tensor::{DType, Elements};
    ///
    /// assert_eq!(Elements::from(&[1.0f32][..]).dtype(), DType::F32);
    /// ```
    pub fn dtype(&self) -> DType {
        fn of<T: Element>(_: &[T]) -> DType {
            T::DTYPE
        }
        each!(Elements, self, slice => of(slice))
    }

    /// Their number.
    ///
    /// ```
    /// assert_eq!(mergecore_tensor::Elements::from(&[1.0f32, 2.0][..]).len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        each!(Elements, self, slice => slice.len())
    }

    /// Whether there are none.
    ///
    /// ```
    /// assert!(mergecore_tensor::Elements::from(&[0f32; 0][..]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` elements from index `start` on.
    ///
    /// # Panics
    /// If there are not so many.
    ///
    /// ```
    /// use mergecore_tensor::Elements;
    ///
    /// assert_eq!(Elements::from(&[1.0f32, 2.0, 3.0][..]).part(1, 2).len(), 2);
    /// ```
    pub fn part(&self, start: usize, len: usize) -> Elements<'a> {
        match self {
            Elements::Bf16(slice) => Elements::Bf16(&slice[start..][..len]),
            Elements::F16(slice) => Elements::F16(&slice[start..][..len]),
            Elements::F32(slice) => Elements::F32(&slice[start..][..len]),
            Elements::F64(slice) => Elements::F64(&slice[start..][..len]),
        }
    }

    /// Widens exactly.
    ///
    /// # Panics
    /// If `out` is of another length.
    pub fn widen(&self, simd: Simd, out: &mut [f64]) {
        each!(Elements, self, slice => simd.widen(slice, out));
    }

    /// Looks for NaN and infinite values; `None` where all are finite.
    ///
    /// ```
    /// use mergecore_tensor::{Elements, Found, Simd};
    ///
    /// let row = [1.0f32, f32::INFINITY, f32::NAN];
    /// let found = Elements::from(&row[..]).find_nonfinite(Simd::detect());
    /// assert_eq!(found, Some(Found { count: 2, first: 1 }));
    /// ```
    pub fn find_nonfinite(&self, simd: Simd) -> Option<Found> {
        each!(Elements, self, slice => crate::nonfinite::find(simd, slice))
    }
}

/// Room for a run of elements of one float dtype.
///
/// ```
/// use mergecore_tensor::{ElementsMut, Simd, f16};
///
/// let mut stored = [f16::ZERO; 2];
/// ElementsMut::from(&mut stored[..]).narrow(Simd::detect(), &[0.5, 2.0]);
/// assert_eq!(stored.map(f32::from), [0.5, 2.0]);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ElementsMut<'a> {
    /// bfloat16.
    Bf16(&'a mut [bf16]),
    /// IEEE half precision.
    F16(&'a mut [f16]),
    /// IEEE single precision.
    F32(&'a mut [f32]),
    /// IEEE double precision.
    F64(&'a mut [f64]),
}

impl<'a> ElementsMut<'a> {
    /// Room in these bytes, little-endian; `None` as for [`Elements::from_bytes`].
    ///
    /// ```
    /// use mergecore_tensor::{DType, ElementsMut};
    ///
    /// assert!(ElementsMut::from_bytes(DType::Bool, &mut [0; 4]).is_none());
    /// ```
    pub fn from_bytes(dtype: DType, bytes: &'a mut [u8]) -> Option<Self> {
        Some(match dtype {
            DType::Bf16 => ElementsMut::Bf16(FromBytes::mut_from_bytes(bytes).ok()?),
            DType::F16 => ElementsMut::F16(FromBytes::mut_from_bytes(bytes).ok()?),
            DType::F32 => ElementsMut::F32(FromBytes::mut_from_bytes(bytes).ok()?),
            DType::F64 => ElementsMut::F64(FromBytes::mut_from_bytes(bytes).ok()?),
            _ => return None,
        })
    }

    /// The number of elements.
    ///
    /// ```
    /// assert_eq!(mergecore_tensor::ElementsMut::from(&mut [0f64; 3][..]).len(), 3);
    /// ```
    pub fn len(&self) -> usize {
        each!(ElementsMut, self, slice => slice.len())
    }

    /// Whether there is room for none.
    ///
    /// ```
    /// assert!(mergecore_tensor::ElementsMut::from(&mut [0f64; 0][..]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` elements from index `start` on.
    ///
    /// # Panics
    /// If there are not so many.
    ///
    /// ```
    /// use mergecore_tensor::{ElementsMut, Simd};
    ///
    /// let mut all = [0f32; 3];
    /// ElementsMut::from(&mut all[..]).part(1, 1).narrow(Simd::detect(), &[7.0]);
    /// assert_eq!(all, [0.0, 7.0, 0.0]);
    /// ```
    pub fn part(&mut self, start: usize, len: usize) -> ElementsMut<'_> {
        match self {
            ElementsMut::Bf16(slice) => ElementsMut::Bf16(&mut slice[start..][..len]),
            ElementsMut::F16(slice) => ElementsMut::F16(&mut slice[start..][..len]),
            ElementsMut::F32(slice) => ElementsMut::F32(&mut slice[start..][..len]),
            ElementsMut::F64(slice) => ElementsMut::F64(&mut slice[start..][..len]),
        }
    }

    /// Rounds values once, to nearest, ties to even, as [`Element::narrow`] does; yields what
    /// was lost beyond rounding.
    ///
    /// # Panics
    /// If `values` is of another length.
    ///
    /// ```
    /// use mergecore_tensor::{ElementsMut, Simd, f16};
    ///
    /// let mut stored = [f16::ZERO; 2];
    /// let losses = ElementsMut::from(&mut stored[..]).narrow(Simd::detect(), &[1.0, 1e5]);
    /// assert_eq!(losses.nonfinite.map(|found| found.first), Some(1));
    /// ```
    pub fn narrow(&mut self, simd: Simd, values: &[f64]) -> Losses {
        each!(ElementsMut, self, slice => simd.narrow(values, slice))
    }

    /// The bytes, little-endian.
    ///
    /// ```
    /// let mut one = [1.0f32];
    /// assert_eq!(mergecore_tensor::ElementsMut::from(&mut one[..]).as_bytes(), [0, 0, 0x80, 0x3f]);
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        each!(ElementsMut, self, slice => slice.as_bytes())
    }
}

impl<'a, T: Element> From<&'a [T]> for Elements<'a> {
    fn from(slice: &'a [T]) -> Self {
        T::elements(slice)
    }
}

impl<'a, T: Element> From<&'a mut [T]> for ElementsMut<'a> {
    fn from(slice: &'a mut [T]) -> Self {
        T::elements_mut(slice)
    }
}
