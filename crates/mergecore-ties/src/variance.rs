//! The variance of an element across models, to select by.

use mergecore_kernel::{
    Element, Elements, KernelError, Keys, Order, Scan, Simd, Step, StoredWork, Tile, Vectorize,
    magnitude_key, over_stored,
};

use crate::elementwise::{LANES, Lanewise, Runs};

/// Each element's variance across the models, exactly as the definition computes it: variances
/// that are equal or nearly so order alike.
pub(crate) struct Variances;

impl Keys for Variances {
    fn keys(&self, _: usize, tile: &Tile<'_>, out: &mut [u64]) {
        variance_keys(tile, out);
    }
}

/// Keys that order as the variances do and are above zero: of keys that are zero, a selection
/// keeps all where it keeps any.
pub(crate) fn variance_keys(tile: &Tile<'_>, out: &mut [u64]) {
    let inputs: Vec<&[f64]> = (0..tile.inputs()).map(|index| tile.input(index)).collect();
    tile.simd().run(VarianceKeys { runs: Runs::new(&inputs), out });
}

struct VarianceKeys<'a> {
    runs: Runs<'a, f64>,
    out: &'a mut [u64],
}

impl Lanewise for VarianceKeys<'_> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let runs = self.runs;
        let count = runs.models() as f64;
        let first = runs.deltas(0, at, len);
        let (mut means, mut varies) = (first, [0u64; LANES]);
        for model in 1..runs.models() {
            let deltas = runs.deltas(model, at, len);
            for i in 0..LANES {
                means[i] += deltas[i];
                varies[i] |= u64::from(deltas[i] != first[i]);
            }
        }
        for mean in &mut means {
            *mean /= count;
        }
        let mut squares = [0.0; LANES];
        for model in 0..runs.models() {
            let deltas = runs.deltas(model, at, len);
            for i in 0..LANES {
                let deviation = deltas[i] - means[i];
                squares[i] += deviation * deviation;
            }
        }
        let mut keys = [0; LANES];
        for i in 0..LANES {
            // Of equal changes the mean may be off by a rounding, and the variance not zero.
            let variance = if varies[i] == 0 { 0.0 } else { squares[i] / count };
            keys[i] = (magnitude_key(variance) + 1).min(i64::MAX as u64);
        }
        self.out[at..][..len].copy_from_slice(&keys[..len]);
    }
}

impl Vectorize for VarianceKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        self.all_lanes(self.out.len());
    }
}

/// Counts the elements on which not all models' changes are equal.
pub(crate) struct CountVarying<F> {
    then: F,
}

impl<F> CountVarying<F>
where
    F: FnOnce(u64) -> Result<Step, KernelError> + Send + Sync + 'static,
{
    /// Calls `then` with their number for the next step.
    pub(crate) fn new(then: F) -> Self {
        CountVarying { then }
    }
}

impl<F> Scan for CountVarying<F>
where
    F: FnOnce(u64) -> Result<Step, KernelError> + Send + Sync + 'static,
{
    type Partial = u64;

    fn order(&self) -> Order {
        Order::Any
    }

    fn empty(&self) -> u64 {
        0
    }

    fn fold(&self, partial: &mut u64, tile: &mut Tile<'_>) {
        let inputs: Vec<&[f64]> = (0..tile.inputs()).map(|index| tile.input(index)).collect();
        *partial += tile.simd().run(Count::new(&inputs));
    }

    fn fold_stored(&self, partial: &mut u64, simd: Simd, _: u64, inputs: &[Elements<'_>]) -> bool {
        let count = over_stored(inputs, CountStored { simd });
        *partial += count.unwrap_or(0);
        count.is_some()
    }

    fn combine(&self, total: &mut u64, next: u64) {
        *total += next;
    }

    fn finish(self: Box<Self>, total: u64) -> Result<Step, KernelError> {
        (self.then)(total)
    }
}

struct CountStored {
    simd: Simd,
}

impl StoredWork for CountStored {
    type Output = u64;

    fn run<T: Element>(self, inputs: &[&[T]]) -> u64 {
        self.simd.run(Count::new(inputs))
    }
}

struct Count<'a, T> {
    runs: Runs<'a, T>,
    total: [u64; LANES],
}

impl<'a, T: Element> Count<'a, T> {
    fn new(inputs: &'a [&'a [T]]) -> Self {
        Count { runs: Runs::new(inputs), total: [0; LANES] }
    }
}

impl<T: Element> Lanewise for Count<'_, T> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let first = self.runs.deltas(0, at, len);
        let mut varies = [0u64; LANES];
        for model in 1..self.runs.models() {
            let deltas = self.runs.deltas(model, at, len);
            for i in 0..LANES {
                varies[i] |= u64::from(deltas[i] != first[i]);
            }
        }
        for (total, varies) in self.total.iter_mut().zip(varies) {
            *total += varies;
        }
    }
}

impl<T: Element> Vectorize for Count<'_, T> {
    type Output = u64;

    #[inline(always)]
    fn vectorize(mut self) -> u64 {
        self.all_lanes(self.runs.len());
        self.total.iter().sum()
    }
}
