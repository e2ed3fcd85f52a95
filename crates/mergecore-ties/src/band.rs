//! Pruning by magnitude: of each task vector, what lies between two cutoffs is kept.

use mergecore_kernel::{Cutoff, DType, Element, Prune, Simd, Vectorize, magnitude_key};

use crate::magnitudes::single_delta;

/// Which magnitudes of a model's changes are kept: those that `kept` keeps and `outliers` does
/// not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Band {
    pub(crate) kept: Cutoff,
    pub(crate) outliers: Cutoff,
}

impl Band {
    /// The largest magnitudes, down to a cutoff.
    pub(crate) fn largest(kept: Cutoff) -> Self {
        Band { kept, outliers: Cutoff::NONE }
    }
}

/// Keeps a band of each model's changes.
pub(crate) struct Bands(pub(crate) Vec<Band>);

impl Prune for Bands {
    fn prune<T: Element>(
        &self,
        simd: Simd,
        model: usize,
        start: u64,
        base: &[T],
        values: &[T],
        out: &mut [T],
    ) {
        let Band { kept, outliers } = self.0[model];
        if kept == Cutoff::ALL && outliers == Cutoff::NONE {
            return out.copy_from_slice(values);
        }
        // Where elements of exactly a cutoff's key cease to belong to it.
        let len = out.len();
        let place = |cutoff: Cutoff| cutoff.equal_below.saturating_sub(start).min(len as u64);
        let (a, b) = (place(kept) as usize, place(outliers) as usize);
        let mut from = 0;
        for to in [a.min(b), a.max(b), len] {
            let (base, values, out) = (&base[from..to], &values[from..to], &mut out[from..to]);
            let (least, beyond) = (least_key(kept, from < a), least_key(outliers, from < b));
            keep_between(simd, least, beyond, base, values, out);
            from = to;
        }
    }
}

/// Keys have 63 bits: signed comparisons do, which more instruction sets have.
const MAX_KEY: u64 = i64::MAX as u64;

/// The least key that a cutoff keeps, whether it keeps the equal ones or not; at most one more
/// than any key.
fn least_key(cutoff: Cutoff, equal: bool) -> u64 {
    cutoff.key.min(MAX_KEY) + u64::from(!equal)
}

/// Keeps the values whose difference from the base has at least the one key and less than the
/// other.
fn keep_between<T: Element>(
    simd: Simd,
    least: u64,
    beyond: u64,
    base: &[T],
    values: &[T],
    out: &mut [T],
) {
    if least >= beyond {
        return out.copy_from_slice(base);
    }
    match beyond - 1 {
        MAX_KEY => keep::<T, false>(simd, least, MAX_KEY, base, values, out),
        greatest => keep::<T, true>(simd, least, greatest, base, values, out),
    }
}

/// [`keep_between`] of keys of which the greatest is a limit or not.
fn keep<T: Element, const LIMIT: bool>(
    simd: Simd,
    least: u64,
    greatest: u64,
    base: &[T],
    values: &[T],
    out: &mut [T],
) {
    if matches!(T::DTYPE, DType::Bf16 | DType::F16) {
        let (least, greatest) = (single_from(least), single_to(greatest));
        if simd.run(KeepSingle::<_, LIMIT> { least, greatest, base, values, out }) {
            return;
        }
    }
    simd.run(Keep::<_, LIMIT> { least, greatest, base, values, out });
}

/// The least `f32` that is no less than the magnitude of a key.
fn single_from(key: u64) -> f32 {
    let magnitude = f64::from_bits(key);
    let nearest = magnitude as f32;
    if f64::from(nearest) < magnitude { nearest.next_up() } else { nearest }
}

/// The greatest `f32` that is no greater than the magnitude of a key; beyond the finite ones,
/// infinity.
fn single_to(key: u64) -> f32 {
    let magnitude = f64::from_bits(key);
    if !magnitude.is_finite() {
        return f32::INFINITY;
    }
    let nearest = magnitude as f32;
    if f64::from(nearest) > magnitude { nearest.next_down() } else { nearest }
}

struct Keep<'a, T, const LIMIT: bool> {
    least: u64,
    greatest: u64,
    base: &'a [T],
    values: &'a [T],
    out: &'a mut [T],
}

impl<T: Element, const LIMIT: bool> Vectorize for Keep<'_, T, LIMIT> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let (least, greatest) = (self.least as i64, self.greatest as i64);
        for ((out, value), base) in self.out.iter_mut().zip(self.values).zip(self.base) {
            let key = magnitude_key(value.widen() - base.widen()) as i64;
            let keep = (key >= least) & (!LIMIT | (key <= greatest));
            *out = if keep { *value } else { *base };
        }
    }
}

/// [`Keep`] by way of differences in `f32`; whether all of them are exact, without
/// which the outcome does not count.
struct KeepSingle<'a, T, const LIMIT: bool> {
    least: f32,
    greatest: f32,
    base: &'a [T],
    values: &'a [T],
    out: &'a mut [T],
}

impl<T: Element, const LIMIT: bool> Vectorize for KeepSingle<'_, T, LIMIT> {
    type Output = bool;

    #[inline(always)]
    fn vectorize(self) -> bool {
        let mut errors = 0;
        for ((out, value), base) in self.out.iter_mut().zip(self.values).zip(self.base) {
            let (delta, error) = single_delta(*value, *base);
            errors |= error;
            let magnitude = delta.abs();
            let keep = (magnitude >= self.least) & (!LIMIT | (magnitude <= self.greatest));
            *out = if keep { *value } else { *base };
        }
        errors == 0
    }
}

#[cfg(test)]
mod tests {
    use mergecore_kernel::{Cutoff, Element, Prune, Simd, magnitude_key};
    use mergecore_tensor::{bf16, f16};

    use super::{Band, Bands};

    /// Of 16-bit elements the same are kept as of the same values in `f64`.
    fn kept_alike<T: Element>(base: &[T], model: &[T]) {
        let wide = |values: &[T]| values.iter().map(|x| x.widen()).collect::<Vec<f64>>();
        let deltas = model.iter().zip(base).map(|(m, b)| magnitude_key(m.widen() - b.widen()));
        let mut keys: Vec<u64> = deltas.collect();
        keys.sort_unstable();
        let middle = keys[keys.len() / 2].max(1);
        let cutoffs = [
            (middle, 700),
            (middle - 1, 0),
            (middle + 1, 5),
            (magnitude_key(1e-60), 9),
            (magnitude_key(1e60), 9),
            (magnitude_key(f64::INFINITY), u64::MAX),
            (magnitude_key(f64::NAN), 50),
            (u64::MAX, 0),
            (0, 9),
        ];
        let cutoffs = cutoffs.map(|(key, equal_below)| Cutoff { key, equal_below });
        let outliers = [
            Cutoff::NONE,
            Cutoff { key: keys[keys.len() * 3 / 4].max(1), equal_below: 1_500 },
            Cutoff { key: middle, equal_below: 350 },
            Cutoff { key: magnitude_key(1e60), equal_below: 0 },
        ];
        let bands = cutoffs.iter().flat_map(|kept| {
            outliers.iter().map(|outliers| Band { kept: *kept, outliers: *outliers })
        });
        for (band, simd) in
            bands.flat_map(|b| Simd::available().into_iter().map(move |simd| (b, simd)))
        {
            let bands = Bands(vec![band]);
            let mut narrow = vec![T::default(); base.len()];
            bands.prune(simd, 0, 100, base, model, &mut narrow);
            let mut expected = vec![0.0; base.len()];
            bands.prune(simd, 0, 100, &wide(base), &wide(model), &mut expected);
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&wide(&narrow)), bits(&expected), "{}, {simd}, {band:?}", T::DTYPE);
            let kept = |i: usize| {
                let (key, index) =
                    (magnitude_key(model[i].widen() - base[i].widen()), 100 + i as u64);
                band.kept.keeps(key, index) && !band.outliers.keeps(key, index)
            };
            let each = (0..base.len()).map(|i| if kept(i) { model[i] } else { base[i] }.widen());
            assert_eq!(bits(&expected), bits(&each.collect::<Vec<_>>()), "{}, {band:?}", T::DTYPE);
        }
    }

    #[test]
    fn elements_are_kept_alike_by_way_of_singles() {
        fn check<T: Element>(from_bits: impl Fn(u16) -> T) {
            let bits = (0..4000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16);
            let all: Vec<u16> = bits.chain([0, 0x8000, 1, 0x8001]).collect();
            let finite = all.iter().copied().filter(|bits| from_bits(*bits).is_finite()).collect();
            for base in [finite, all] {
                // A few steps away, of the other sign, or any other: exact in `f32` and not.
                let changes: [fn(u16, usize) -> u16; 3] = [
                    |bits, i| bits ^ (i % 4) as u16,
                    |bits, _| bits ^ 0x8000,
                    |bits, i| {
                        if i % 50 == 7 { bits ^ 0x3f00 } else { bits }
                    },
                ];
                for change in changes {
                    let changed = base.iter().enumerate().map(|(i, bits)| change(*bits, i));
                    let model: Vec<T> = changed.map(&from_bits).collect();
                    let base: Vec<T> = base.iter().map(|bits| from_bits(*bits)).collect();
                    kept_alike(&base, &model);
                    kept_alike(&model, &base);
                }
            }
        }
        check(bf16::from_bits);
        check(f16::from_bits);
    }
}
