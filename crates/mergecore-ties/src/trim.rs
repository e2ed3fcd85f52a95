//! Trim: of each task vector only the largest magnitudes are kept.

use mergecore_kernel::{
    Cutoff, DType, Element, Elements, Extent, KernelError, Keys, Prune, Simd, Step, TaskVectors,
    Tile, Vectorize, magnitude_key, select,
};

/// How many of `n` elements a density keeps: the whole part of `density * n`, taken
/// in `f64`, at least one for a positive density. Densities below 0 and above 1
/// count as 0 and 1.
///
/// ```
/// assert_eq!(mergecore_ties::keep_count(0.5, 5), 2);
/// assert_eq!(mergecore_ties::keep_count(1e-9, 5), 1);
/// assert_eq!(mergecore_ties::keep_count(0.0, 5), 0);
/// ```
pub fn keep_count(density: f64, n: u64) -> u64 {
    if density >= 1.0 {
        n
    } else if density <= 0.0 || n == 0 {
        0
    } else {
        ((density * n as f64) as u64).clamp(1, n)
    }
}

/// The steps of a merge of task vectors of which each keeps its largest
/// magnitudes.
pub(crate) fn trimmed(vectors: TaskVectors, extent: Extent) -> Result<Step, KernelError> {
    let count = |density: &f64| keep_count(*density, extent.len());
    let counts: Vec<u64> = vectors.densities.iter().map(count).collect();
    select(DeltaMagnitudes, &counts, extent, |cutoffs| Ok(vectors.step(Trim { cutoffs })))
}

/// The magnitude of each model's difference from the base.
struct DeltaMagnitudes;

impl Keys for DeltaMagnitudes {
    fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
        let (base, model) = (tile.input(0), tile.input(lane + 1));
        tile.simd().run(DeltaKeys { base, model, out });
    }

    fn single_keys(
        &self,
        lane: usize,
        simd: Simd,
        inputs: &[Elements<'_>],
        out: &mut [i32],
    ) -> bool {
        // Of wider types few tiles have no difference that is inexact in `f32`.
        match (inputs[0], inputs[lane + 1]) {
            (Elements::Bf16(base), Elements::Bf16(model)) => {
                simd.run(SingleDeltaKeys { base, model, out })
            }
            (Elements::F16(base), Elements::F16(model)) => {
                simd.run(SingleDeltaKeys { base, model, out })
            }
            _ => false,
        }
    }
}

struct DeltaKeys<'a> {
    base: &'a [f64],
    model: &'a [f64],
    out: &'a mut [u64],
}

impl Vectorize for DeltaKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for ((key, model), base) in self.out.iter_mut().zip(self.model).zip(self.base) {
            *key = magnitude_key(model - base);
        }
    }
}

/// Keys of differences computed in `f32`; whether all of them are exact.
struct SingleDeltaKeys<'a, T> {
    base: &'a [T],
    model: &'a [T],
    out: &'a mut [i32],
}

impl<T: Element> Vectorize for SingleDeltaKeys<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn vectorize(self) -> bool {
        let mut errors = 0;
        for ((key, model), base) in self.out.iter_mut().zip(self.model).zip(self.base) {
            let (delta, error) = single_delta(*model, *base);
            errors |= error;
            *key = (delta.to_bits() & (u32::MAX >> 1)) as i32;
        }
        errors == 0
    }
}

/// The difference of two elements in `f32`, and bits that are zero only where it is exact.
#[inline(always)]
fn single_delta<T: Element>(model: T, base: T) -> (f32, u32) {
    let (model, base) = (model.widen_to_single(), base.widen_to_single());
    let delta = model - base;
    // Two terms whose roundings both come to nothing leave none (Knuth's TwoSum). What is
    // equal has a difference of plus zero, whose bits are all zero; of NaN they are not.
    let base_again = model - delta;
    let model_again = delta + base_again;
    (delta, (base_again - base).to_bits() | (model_again - model).to_bits())
}

struct Trim {
    /// One a model.
    cutoffs: Vec<Cutoff>,
}

impl Prune for Trim {
    fn prune<T: Element>(
        &self,
        simd: Simd,
        model: usize,
        start: u64,
        base: &[T],
        values: &[T],
        out: &mut [T],
    ) {
        let cutoff = self.cutoffs[model];
        if cutoff == Cutoff::ALL {
            return out.copy_from_slice(values);
        }
        // Up to here elements of exactly the cutoff's key are kept, from here on not.
        let middle = cutoff.equal_below.saturating_sub(start).min(out.len() as u64) as usize;
        let ((base_below, base), (below, values)) =
            (base.split_at(middle), values.split_at(middle));
        let (out_below, out) = out.split_at_mut(middle);
        let least = cutoff.key.min(MAX_KEY);
        keep_from(simd, least, base_below, below, out_below);
        keep_from(simd, least.min(MAX_KEY - 1) + 1, base, values, out);
    }
}

/// Keys have 63 bits: signed comparisons do, which more instruction sets have.
const MAX_KEY: u64 = i64::MAX as u64;

/// Keeps the values whose difference from the base has at least this key.
fn keep_from<T: Element>(simd: Simd, least: u64, base: &[T], values: &[T], out: &mut [T]) {
    let narrow = matches!(T::DTYPE, DType::Bf16 | DType::F16);
    if !narrow || !simd.run(KeepFromSingle { least: single_from(least), base, values, out }) {
        simd.run(KeepFrom { least, base, values, out });
    }
}

/// The least `f32` that is no less than the magnitude of a key.
fn single_from(key: u64) -> f32 {
    let magnitude = f64::from_bits(key);
    let nearest = magnitude as f32;
    if f64::from(nearest) < magnitude { nearest.next_up() } else { nearest }
}

struct KeepFrom<'a, T> {
    least: u64,
    base: &'a [T],
    values: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> Vectorize for KeepFrom<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let least = self.least as i64;
        for ((out, value), base) in self.out.iter_mut().zip(self.values).zip(self.base) {
            let key = magnitude_key(value.widen() - base.widen()) as i64;
            *out = if key >= least { *value } else { *base };
        }
    }
}

/// [`KeepFrom`] by way of differences in `f32`; whether all of them are exact, without
/// which the outcome does not count.
struct KeepFromSingle<'a, T> {
    least: f32,
    base: &'a [T],
    values: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> Vectorize for KeepFromSingle<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn vectorize(self) -> bool {
        let mut errors = 0;
        for ((out, value), base) in self.out.iter_mut().zip(self.values).zip(self.base) {
            let (delta, error) = single_delta(*value, *base);
            errors |= error;
            *out = if delta.abs() >= self.least { *value } else { *base };
        }
        errors == 0
    }
}

#[cfg(test)]
mod tests {
    use mergecore_kernel::{Cutoff, Element, Elements, Keys, Prune, Simd, magnitude_key};
    use mergecore_tensor::{bf16, f16};

    use super::{DeltaMagnitudes, Trim};

    fn single(simd: Simd, base: &[bf16], model: &[bf16]) -> Option<Vec<u64>> {
        let mut keys = vec![0; base.len()];
        let inputs = [Elements::from(base), Elements::from(model)];
        let exact = DeltaMagnitudes.single_keys(0, simd, &inputs, &mut keys);
        let wide = |key: &i32| magnitude_key(f64::from(f32::from_bits(*key as u32)));
        exact.then(|| keys.iter().map(wide).collect())
    }

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
        for (cutoff, simd) in
            cutoffs.iter().flat_map(|c| Simd::available().into_iter().map(move |simd| (c, simd)))
        {
            let trim = Trim { cutoffs: vec![*cutoff] };
            let mut narrow = vec![T::default(); base.len()];
            trim.prune(simd, 0, 100, base, model, &mut narrow);
            let mut expected = vec![0.0; base.len()];
            trim.prune(simd, 0, 100, &wide(base), &wide(model), &mut expected);
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&wide(&narrow)), bits(&expected), "{}, {simd}, {cutoff:?}", T::DTYPE);
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

    #[test]
    fn single_keys_are_those_of_doubles_or_none() {
        let base: Vec<_> = (0..100).map(|i| bf16::narrow(0.01 * f64::from(i) - 0.5)).collect();
        let model: Vec<_> = (0..100).map(|i| bf16::narrow(0.3 - 0.007 * f64::from(i))).collect();
        let key = |(b, m): (&bf16, &bf16)| magnitude_key(m.widen() - b.widen());
        let expected: Vec<u64> = base.iter().zip(&model).map(key).collect();
        for simd in Simd::available() {
            assert_eq!(single(simd, &base, &model), Some(expected.clone()), "{simd}");
            // The difference has more bits than `f32`, or is no number.
            for odd in [2f64.powi(-40), 2f64.powi(40), f64::NAN, f64::INFINITY] {
                let mut model = model.clone();
                model[77] = bf16::narrow(odd);
                assert_eq!(single(simd, &base, &model), None, "{simd} {odd}");
            }
        }
    }
}
