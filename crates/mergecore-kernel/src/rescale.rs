//! How what is kept is scaled up.

use crate::deltas::Subtract;
use crate::gram::sum_products;
use crate::task_vectors::Floor;
use crate::{Arguments, KernelError, Order, Prune, Scan, Step, TILE, TaskVectors, Tile};

/// How pruned deltas are scaled up to make good for what was dropped.
///
/// A norm is that of one model's deltas over the whole tensor. Where it is below
/// 1e-7, before or after pruning, and where the density is 0, nothing is rescaled.
///
/// ```
/// use mergecore_kernel::Rescale;
///
/// assert_eq!(Rescale::from_name("l2"), Some(Rescale::L2));
/// assert_eq!(Rescale::from_name("l3"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescale {
    /// Divide by the density: an unbiased estimate where elements are kept at
    /// random (DARE).
    Density,
    /// Match the sum of magnitudes.
    L1,
    /// Match the Euclidean norm.
    L2,
    /// Match the largest magnitude.
    Linf,
}

impl Rescale {
    /// The names recipes use, as `rescale_norm`.
    pub const NAMES: &'static [&'static str] = &["density", "l1", "l2", "linf"];

    /// The variant of a name in [`Self::NAMES`].
    ///
    /// ```
    /// use mergecore_kernel::Rescale;
    ///
    /// assert!(Rescale::NAMES.iter().all(|name| Rescale::from_name(name).is_some()));
    /// ```
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "density" => Some(Rescale::Density),
            "l1" => Some(Rescale::L1),
            "l2" => Some(Rescale::L2),
            "linf" => Some(Rescale::Linf),
            _ => None,
        }
    }

    /// What the parameters `rescale` and `rescale_norm` ask for: `rescale: false`
    /// switches it off, a norm alone switches it on.
    ///
    /// ```
    /// use mergecore_kernel::{Argument, Arguments, Rescale};
    ///
    /// let mut shared = Arguments::default();
    /// assert_eq!(Rescale::from_arguments(&shared, false, Rescale::L1), None);
    /// shared.insert("rescale_norm", Argument::Text("l2".to_owned()));
    /// assert_eq!(Rescale::from_arguments(&shared, false, Rescale::L1), Some(Rescale::L2));
    /// shared.insert("rescale", Argument::Flag(false));
    /// assert_eq!(Rescale::from_arguments(&shared, false, Rescale::L1), None);
    /// ```
    pub fn from_arguments(shared: &Arguments, on_by_default: bool, usual: Rescale) -> Option<Self> {
        let norm = shared.text("rescale_norm").and_then(Rescale::from_name);
        let on = shared.flag("rescale").unwrap_or(on_by_default || norm.is_some());
        on.then_some(norm.unwrap_or(usual))
    }
}

/// Measures each model's delta before and after pruning.
pub(crate) struct NormScan<P> {
    pub(crate) vectors: TaskVectors,
    pub(crate) norm: Rescale,
    pub(crate) prune: P,
    pub(crate) floor: Floor,
}

/// Where either norm is below this, nothing is rescaled.
const NEGLIGIBLE_NORM: f64 = 1e-7;

impl<P> NormScan<P> {
    /// A tile's share of the norm: sums that add up, or the largest magnitude.
    fn measure(&self, deltas: &[f64]) -> f64 {
        match self.norm {
            Rescale::L2 => sum_products(deltas, deltas, |x, y| x * y),
            Rescale::Linf => deltas.iter().fold(0.0, |largest, delta| delta.abs().max(largest)),
            _ => sum_products(deltas, deltas, |x, _| x.abs()),
        }
    }

    fn join(&self, a: f64, b: f64) -> f64 {
        if self.norm == Rescale::Linf { a.max(b) } else { a + b }
    }

    fn divisor(&self, (before, after): (f64, f64)) -> f64 {
        let root = |x: f64| if self.norm == Rescale::L2 { x.sqrt() } else { x };
        let (before, after) = (root(before), root(after));
        if before < NEGLIGIBLE_NORM || after < NEGLIGIBLE_NORM { 1.0 } else { after / before }
    }
}

impl<P: Prune + 'static> Scan for NormScan<P> {
    type Partial = Vec<(f64, f64)>;

    fn order(&self) -> Order {
        Order::Blocks
    }

    fn whole_rows(&self) -> bool {
        self.prune.whole_rows()
    }

    fn empty(&self) -> Self::Partial {
        vec![(0.0, 0.0); self.vectors.weights.len()]
    }

    fn fold(&self, partial: &mut Self::Partial, tile: &mut Tile<'_>) {
        let (start, simd) = (tile.start(), tile.simd());
        let (base, models) = tile.split_base();
        let (mut usual, mut long) = ([0.0; TILE], Vec::new());
        let pruned = match usual.get_mut(..base.len()) {
            Some(room) => room,
            None => {
                long.resize(base.len(), 0.0);
                &mut long[..]
            }
        };
        for ((index, model), (before, after)) in models.enumerate().zip(partial) {
            self.prune.prune(simd, index, start, base, model, pruned);
            for (values, norm) in [(model, before), (&mut *pruned, after)] {
                simd.run(Subtract { base, model: values });
                *norm = self.join(*norm, self.measure(values));
            }
        }
    }

    fn combine(&self, total: &mut Self::Partial, next: Self::Partial) {
        for (total, next) in total.iter_mut().zip(next) {
            *total = (self.join(total.0, next.0), self.join(total.1, next.1));
        }
    }

    fn finish(self: Box<Self>, total: Self::Partial) -> Result<Step, KernelError> {
        let divisors = total.into_iter().map(|norms| self.divisor(norms)).collect();
        Ok(self.vectors.apply(self.prune, divisors, self.floor))
    }
}
