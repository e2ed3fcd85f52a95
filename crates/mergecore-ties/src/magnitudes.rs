//! Magnitudes of the models' changes, to select among.

use mergecore_kernel::{Element, Elements, Keys, Simd, Tile, Vectorize, magnitude_key};

/// The magnitude of each model's difference from the base.
pub(crate) struct DeltaMagnitudes {
    /// How many order statistics are sought in each model's, one a lane.
    pub(crate) lanes_a_model: usize,
}

impl DeltaMagnitudes {
    /// The input of a lane: the base is the first.
    fn input(&self, lane: usize) -> usize {
        1 + lane / self.lanes_a_model
    }
}

impl Keys for DeltaMagnitudes {
    fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
        let (base, model) = (tile.input(0), tile.input(self.input(lane)));
        tile.simd().run(DeltaKeys { base, model, out });
    }

    fn source(&self, lane: usize) -> usize {
        lane - lane % self.lanes_a_model
    }

    fn single_keys(
        &self,
        lane: usize,
        simd: Simd,
        inputs: &[Elements<'_>],
        out: &mut [i32],
    ) -> bool {
        // Of wider types few tiles have no difference that is inexact in `f32`.
        match (inputs[0], inputs[self.input(lane)]) {
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
pub(crate) fn single_delta<T: Element>(model: T, base: T) -> (f32, u32) {
    let (model, base) = (model.widen_to_single(), base.widen_to_single());
    let delta = model - base;
    // Two terms whose roundings both come to nothing leave none (Knuth's TwoSum). What is
    // equal has a difference of plus zero, whose bits are all zero; of NaN they are not.
    let base_again = model - delta;
    let model_again = delta + base_again;
    (delta, (base_again - base).to_bits() | (model_again - model).to_bits())
}

#[cfg(test)]
mod tests {
    use mergecore_kernel::{Element, Elements, Keys, Simd, magnitude_key};
    use mergecore_tensor::bf16;

    use super::DeltaMagnitudes;

    fn single(simd: Simd, base: &[bf16], model: &[bf16]) -> Option<Vec<u64>> {
        let mut keys = vec![0; base.len()];
        let inputs = [Elements::from(base), Elements::from(model)];
        let exact = DeltaMagnitudes { lanes_a_model: 1 }.single_keys(0, simd, &inputs, &mut keys);
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
