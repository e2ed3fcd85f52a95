//! Trim: of each task vector only the largest magnitudes are kept.

use mergecore_kernel::{
    Cutoff, Element, Elements, Extent, KernelError, Keys, Prune, Simd, Step, TaskVectors, Tile,
    Vectorize, magnitude_key, select,
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
        let mut exact = true;
        for ((key, model), base) in self.out.iter_mut().zip(self.model).zip(self.base) {
            let (model, base) = (model.widen_to_single(), base.widen_to_single());
            let delta = model - base;
            // Two terms whose roundings both come to nothing leave none (Knuth's TwoSum).
            let base_again = model - delta;
            let model_again = delta + base_again;
            exact &= (base_again == base) & (model_again == model);
            *key = (delta.to_bits() & (u32::MAX >> 1)) as i32;
        }
        exact
    }
}

struct Trim {
    /// One a model.
    cutoffs: Vec<Cutoff>,
}

impl Prune for Trim {
    fn prune(&self, simd: Simd, model: usize, start: u64, deltas: &mut [f64]) {
        let cutoff = self.cutoffs[model];
        if cutoff == Cutoff::ALL {
            return;
        }
        // Up to here elements of exactly the cutoff's key are kept, from here on not.
        let middle = cutoff.equal_below.saturating_sub(start).min(deltas.len() as u64);
        let (below, above) = deltas.split_at_mut(middle as usize);
        simd.run(KeepFrom { least: cutoff.key.min(i64::MAX as u64), deltas: below });
        simd.run(KeepFrom { least: cutoff.key.min(i64::MAX as u64 - 1) + 1, deltas: above });
    }
}

/// Sets to zero the deltas whose key is less than `least`.
struct KeepFrom<'a> {
    least: u64,
    deltas: &'a mut [f64],
}

impl Vectorize for KeepFrom<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        // Keys have 63 bits: signed comparisons do, which more instruction sets have.
        let least = self.least as i64;
        for delta in self.deltas {
            *delta = if magnitude_key(*delta) as i64 >= least { *delta } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use mergecore_kernel::{Element, Elements, Keys, Simd, magnitude_key};
    use mergecore_tensor::bf16;

    use super::DeltaMagnitudes;

    fn single(simd: Simd, base: &[bf16], model: &[bf16]) -> Option<Vec<u64>> {
        let mut keys = vec![0; base.len()];
        let inputs = [Elements::from(base), Elements::from(model)];
        let exact = DeltaMagnitudes.single_keys(0, simd, &inputs, &mut keys);
        let wide = |key: &i32| magnitude_key(f64::from(f32::from_bits(*key as u32)));
        exact.then(|| keys.iter().map(wide).collect())
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
