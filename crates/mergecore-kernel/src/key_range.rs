//! Keys counted against a range, a tile at a time.

use mergecore_tensor::Vectorize;

use crate::TILE;

/// Where the lowest bit is set, of bytes of which few have it set: eight are looked at at
/// once.
pub(crate) fn flagged(bytes: &[u8; TILE]) -> impl Iterator<Item = usize> {
    let groups = bytes.as_chunks::<8>().0.iter().map(|group| u64::from_le_bytes(*group));
    groups.enumerate().filter(|(_, flags)| *flags != 0).flat_map(|(group, mut flags)| {
        std::iter::from_fn(move || {
            let at = (flags != 0).then(|| 8 * group + flags.trailing_zeros() as usize / 8);
            flags &= flags.wrapping_sub(1);
            at
        })
    })
}

/// A range of keys, `low..=high`, for comparison with keys that may be those of an `f32`.
pub(crate) struct Bounds<T> {
    /// The greatest key up to `low`.
    pub(crate) low: T,
    /// `low`, or what no key equals: where it is no key, or `high` is the same.
    pub(crate) bottom: T,
    /// The least key from `high` on.
    pub(crate) from: T,
    /// The greatest key up to `high`.
    pub(crate) high: T,
}

impl Bounds<i64> {
    /// For keys of `f64`. Signed comparisons do for 63 bits, and more instruction sets
    /// have them.
    pub(crate) fn new(low: u64, high: u64) -> Self {
        let (low, high) = (low as i64, high as i64);
        let bottom = if low == high { -1 } else { low };
        Bounds { low, bottom, from: high, high }
    }
}

impl Bounds<i32> {
    /// For keys of `f32`, none of them infinite.
    pub(crate) fn single(low: u64, high: u64) -> Self {
        let bits = |value: f32| value.to_bits() as i32;
        // The keys up to and from a key of an `f64` on.
        let around = |key: u64| match f64::from_bits(key) {
            value if !value.is_finite() => (bits(f32::INFINITY), bits(f32::INFINITY)),
            value => {
                let nearest = value as f32;
                let below = if f64::from(nearest) > value { nearest.next_down() } else { nearest };
                let above = if f64::from(nearest) < value { nearest.next_up() } else { nearest };
                (bits(below), bits(above))
            }
        };
        let one = low == high;
        let ((low, above_low), (high, from)) = (around(low), around(high));
        let bottom = if one || low != above_low { -1 } else { low };
        Bounds { low, bottom, from, high }
    }
}

/// Counts the keys above a range and at its ends, and marks those strictly between.
pub(crate) struct Split<'a, T> {
    pub(crate) keys: &'a [T; TILE],
    pub(crate) bounds: &'a Bounds<T>,
    pub(crate) between: &'a mut [u8; TILE],
}

pub(crate) struct Counts {
    pub(crate) above: u32,
    pub(crate) top: u32,
    pub(crate) bottom: u32,
}

impl<T: Copy + PartialOrd> Vectorize for Split<'_, T> {
    type Output = Counts;

    #[inline(always)]
    fn vectorize(self) -> Counts {
        let Bounds { low, bottom: equal, from, high, .. } = *self.bounds;
        let (mut above, mut from_top, mut bottom) = (0, 0, 0);
        for (key, between) in self.keys.iter().zip(self.between) {
            above += u32::from(*key > high);
            from_top += u32::from(*key >= from);
            bottom += u32::from(*key == equal);
            *between = u8::from((*key > low) & (*key < from));
        }
        Counts { above, top: from_top - above, bottom }
    }
}

/// Marks the keys that are this one.
pub(crate) struct Equal<'a, T> {
    pub(crate) keys: &'a [T; TILE],
    pub(crate) key: T,
    pub(crate) equal: &'a mut [u8; TILE],
}

impl<T: Copy + PartialEq> Vectorize for Equal<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for (equal, key) in self.equal.iter_mut().zip(self.keys) {
            *equal = u8::from(*key == self.key);
        }
    }
}
