//! The variance of an element across models, to select by.

use mergecore_kernel::{
    KernelError, Keys, Order, Scan, Step, TILE, Tile, Vectorize, magnitude_key,
};

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
    tile.simd().run(VarianceKeys { tile, out });
}

struct VarianceKeys<'a, 'b> {
    tile: &'a Tile<'b>,
    out: &'a mut [u64],
}

impl Vectorize for VarianceKeys<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let VarianceKeys { tile, out } = self;
        let (base, models) = (tile.input(0), 1..tile.inputs());
        let count = models.len() as f64;
        let (mut means, mut variances) = ([0.0; TILE], [0.0; TILE]);
        for model in models.clone() {
            for ((mean, value), base) in means.iter_mut().zip(tile.input(model)).zip(base) {
                *mean += value - base;
            }
        }
        means.iter_mut().for_each(|mean| *mean /= count);
        for model in models {
            let deltas = tile.input(model).iter().zip(base);
            for ((variance, mean), (value, base)) in variances.iter_mut().zip(&means).zip(deltas) {
                let deviation = (value - base) - mean;
                *variance += deviation * deviation;
            }
        }
        let mut varies = [false; TILE];
        mark_varying(tile, &mut varies[..out.len()]);
        for ((key, variance), varies) in out.iter_mut().zip(variances).zip(varies) {
            // Of equal changes the mean may be off by a rounding, and the variance not zero.
            let variance = if varies { variance / count } else { 0.0 };
            *key = (magnitude_key(variance) + 1).min(i64::MAX as u64);
        }
    }
}

/// Marks the elements on which not all models' changes are equal.
#[inline(always)]
fn mark_varying(tile: &Tile<'_>, varies: &mut [bool]) {
    let base = tile.input(0);
    for model in 2..tile.inputs() {
        let deltas = tile.input(1).iter().zip(tile.input(model)).zip(base);
        for (varies, ((first, value), base)) in varies.iter_mut().zip(deltas) {
            *varies |= first - base != value - base;
        }
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
        *partial += u64::from(tile.simd().run(Count { tile }));
    }

    fn combine(&self, total: &mut u64, next: u64) {
        *total += next;
    }

    fn finish(self: Box<Self>, total: u64) -> Result<Step, KernelError> {
        (self.then)(total)
    }
}

struct Count<'a, 'b> {
    tile: &'a Tile<'b>,
}

impl Vectorize for Count<'_, '_> {
    type Output = u32;

    #[inline(always)]
    fn vectorize(self) -> u32 {
        let mut varies = [false; TILE];
        mark_varying(self.tile, &mut varies[..self.tile.len()]);
        varies.iter().map(|varies| u32::from(*varies)).sum()
    }
}
