//! Element-wise functions of a base and one other model.

use mergecore_kernel::{Apply, Element, Elements, ElementsMut, Losses, Simd, TILE, Tile};
use mergecore_tensor::{bf16, f16};

/// A function of the base's element and the other model's.
pub(crate) trait Pairwise: Send + Sync {
    /// Computes at most a tile of elements, the first at flat index `start`.
    fn compute<T: Element>(&self, simd: Simd, start: u64, base: &[T], other: &[T], out: &mut [f64]);
}

/// Applies a function to the first input, the base, and the second.
pub(crate) struct Pair<P>(pub(crate) P);

impl<P: Pairwise> Apply for Pair<P> {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        self.0.compute(tile.simd(), tile.start(), tile.input(0), tile.input(1), out);
    }

    fn apply_stored(
        &self,
        simd: Simd,
        start: u64,
        inputs: &[Elements<'_>],
        out: &mut ElementsMut<'_>,
    ) -> Option<Losses> {
        match inputs.first() {
            Some(Elements::Bf16(_)) => self.stored::<bf16>(simd, start, inputs, out),
            Some(Elements::F16(_)) => self.stored::<f16>(simd, start, inputs, out),
            Some(Elements::F32(_)) => self.stored::<f32>(simd, start, inputs, out),
            Some(Elements::F64(_)) => self.stored::<f64>(simd, start, inputs, out),
            _ => None,
        }
    }
}

impl<P: Pairwise> Pair<P> {
    /// `None`, and nothing done, where the inputs are not both of this type.
    fn stored<T: Element>(
        &self,
        simd: Simd,
        start: u64,
        inputs: &[Elements<'_>],
        out: &mut ElementsMut<'_>,
    ) -> Option<Losses> {
        let (base, other) = (T::from_elements(inputs[0])?, T::from_elements(inputs[1])?);
        let (mut losses, mut values) = (Losses::default(), [0.0; TILE]);
        let tiles = base.chunks(TILE).zip(other.chunks(TILE));
        for (at, (base, other)) in (0..).step_by(TILE).zip(tiles) {
            let values = &mut values[..base.len()];
            self.0.compute(simd, start + at as u64, base, other, values);
            losses.add(at as u64, out.part(at, values.len()).narrow(simd, values));
        }
        Some(losses)
    }
}
