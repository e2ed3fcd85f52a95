//! Task vectors: base plus a combination of pruned, rescaled, sign-elected deltas.

use mergecore_tensor::{Simd, Vectorize};

use crate::gram::sum_products;
use crate::{Apply, Arguments, Combination, KernelError, Order, Scan, Step, Tile};

/// Sets to zero the deltas that a method drops.
///
/// ```
/// use mergecore_kernel::{Prune, Simd};
///
/// /// Keeps the elements of even index.
/// struct EvenOnly;
///
/// impl Prune for EvenOnly {
///     fn prune(&self, _: Simd, _model: usize, start: u64, deltas: &mut [f64]) {
///         for (delta, index) in deltas.iter_mut().zip(start..) {
///             if index % 2 == 1 { *delta = 0.0 }
///         }
///     }
/// }
///
/// let mut deltas = [1.0, 2.0, 3.0];
/// EvenOnly.prune(Simd::detect(), 0, 1_025, &mut deltas);
/// assert_eq!(deltas, [0.0, 2.0, 0.0]);
/// ```
pub trait Prune: Send + Sync {
    /// Prunes the deltas of one model, whose first has flat index `start`, computing
    /// with the given instruction set.
    fn prune(&self, simd: Simd, model: usize, start: u64, deltas: &mut [f64]);
}

/// Drops nothing.
///
/// ```
/// use mergecore_kernel::{KeepAll, Prune, Simd};
///
/// let mut deltas = [1.0, -2.0];
/// KeepAll.prune(Simd::detect(), 0, 0, &mut deltas);
/// assert_eq!(deltas, [1.0, -2.0]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAll;

impl Prune for KeepAll {
    fn prune(&self, _: Simd, _: usize, _: u64, _: &mut [f64]) {}
}

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

/// `base + lambda * sum(weight_i * delta_i)`, over the models that agree with
/// the elected sign only where there is a consensus, divided by the sum of the
/// weights used where it is normalised.
///
/// The first input is the base, the others are the models; all have one shape. A
/// sum of exactly zero leaves the base bit for bit.
///
/// Sources: task arithmetic, [arXiv:2212.04089]; sign election, [arXiv:2306.01708].
///
/// [arXiv:2212.04089]: https://arxiv.org/abs/2212.04089
/// [arXiv:2306.01708]: https://arxiv.org/abs/2306.01708
///
/// ```
/// use mergecore_kernel::{Extent, KeepAll, Kernel, KernelError, Step, TaskVectors, merge_slices};
///
/// #[derive(Debug)]
/// struct Agreeing(TaskVectors);
///
/// impl Kernel for Agreeing {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         self.0.check()?;
///         Ok(self.0.clone().step(KeepAll))
///     }
/// }
///
/// let kernel = Agreeing(TaskVectors {
///     weights: vec![1.0, 1.0],
///     densities: vec![1.0, 1.0],
///     consensus: true,
///     normalize: false,
///     lambda: 1.0,
///     rescale: None,
/// });
/// let (base, a, b) = ([1.0f32, 1.0], [2.0f32, 4.0], [3.0f32, 0.0]);
/// let mut out = [0.0f32; 2];
/// merge_slices(&kernel, &[&base, &a, &b], &[2], &mut out)?;
/// assert_eq!(out, [4.0, 4.0]); // the second element of `b` is outvoted
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TaskVectors {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// The fraction of elements kept, from 0 to 1, one a model.
    pub densities: Vec<f64>,
    /// Elect a sign for each element by the sum of the weighted deltas (zero
    /// elects plus) and combine only the models that agree; a zero delta never
    /// does.
    pub consensus: bool,
    /// Divide by the sum of the weights used, unless it is zero (below 1e-8 in
    /// magnitude where there is no consensus).
    pub normalize: bool,
    /// Factor on the combined delta, any finite number.
    pub lambda: f64,
    /// What makes good for the dropped elements.
    pub rescale: Option<Rescale>,
}

impl TaskVectors {
    /// Checks weights, densities and lambda.
    ///
    /// # Errors
    /// A wrong number of values, values that are not finite, densities outside
    /// 0 to 1.
    ///
    /// ```
    /// use mergecore_kernel::{KernelError, TaskVectors};
    ///
    /// # let vectors = TaskVectors {
    /// #     weights: vec![1.0],
    /// #     densities: vec![1.0],
    /// #     consensus: false,
    /// #     normalize: false,
    /// #     lambda: 1.0,
    /// #     rescale: None,
    /// # };
    /// assert_eq!(vectors.check(), Ok(()));
    /// let wrong = TaskVectors { densities: vec![1.5], ..vectors };
    /// assert!(matches!(wrong.check(), Err(KernelError::ParameterRange { value: 1.5, .. })));
    /// ```
    pub fn check(&self) -> Result<(), KernelError> {
        KernelError::check_count("density", &self.densities, self.weights.len())?;
        self.densities.iter().try_for_each(|d| KernelError::check_fraction("density", *d))?;
        self.weights.iter().try_for_each(|w| KernelError::check_finite("weight", *w))?;
        if self.normalize {
            // Dividing by infinity would drop the models in silence.
            let sum = self.weights.iter().map(|w| w.abs()).sum();
            KernelError::check_finite("sum of weights", sum)?;
        }
        KernelError::check_finite("lambda", self.lambda)
    }

    /// The input that comes out unchanged, where one does: a lone model at
    /// weight 1, density 1 and lambda 1, or the base where nothing is added.
    ///
    /// ```
    /// # use mergecore_kernel::TaskVectors;
    /// # let vectors = TaskVectors {
    /// #     weights: vec![1.0],
    /// #     densities: vec![1.0],
    /// #     consensus: false,
    /// #     normalize: false,
    /// #     lambda: 1.0,
    /// #     rescale: None,
    /// # };
    /// assert_eq!(vectors.selects(), Some(1)); // weight, density and lambda are 1
    /// let nothing = TaskVectors { lambda: 0.0, ..vectors };
    /// assert_eq!(nothing.selects(), Some(0)); // the base
    /// ```
    pub fn selects(&self) -> Option<usize> {
        let nothing = |(weight, density): (&f64, &f64)| *weight == 0.0 || *density == 0.0;
        if self.lambda == 0.0 || self.weights.iter().zip(&self.densities).all(nothing) {
            return Some(0);
        }
        let lone = self.weights == [1.0] && self.densities == [1.0] && self.lambda == 1.0;
        lone.then_some(1)
    }

    /// The steps that remain once it is known what to prune.
    ///
    /// # Panics
    /// The step's [`Apply`] panics on a number of models other than the number of
    /// weights; [`merge_slices_onto_base`](crate::merge_slices_onto_base) checks it.
    ///
    /// ```
    /// use mergecore_kernel::{KeepAll, Rescale, Step, TaskVectors};
    ///
    /// # let vectors = TaskVectors {
    /// #     weights: vec![0.5],
    /// #     densities: vec![0.5],
    /// #     consensus: false,
    /// #     normalize: false,
    /// #     lambda: 1.0,
    /// #     rescale: None,
    /// # };
    /// assert!(matches!(vectors.clone().step(KeepAll), Step::Apply(_)));
    /// // To match a norm, the norm has to be measured first.
    /// let matching = TaskVectors { rescale: Some(Rescale::L2), ..vectors };
    /// assert!(matches!(matching.step(KeepAll), Step::Scan(_)));
    /// ```
    pub fn step(self, prune: impl Prune + 'static) -> Step {
        // Adding a delta to the base would lose the sign of a model's zero.
        if let Some(input) = self.selects() {
            return Step::apply(Combination::select(input, 1 + self.weights.len()));
        }
        let prunes = self.densities.iter().any(|density| *density < 1.0);
        match self.rescale.filter(|_| prunes) {
            None => self.apply(prune, Vec::new()),
            // Dividing by a density of zero would make zeros NaN.
            Some(Rescale::Density) => {
                let divisors = self.densities.iter().map(|d| if *d == 0.0 { 1.0 } else { *d });
                let divisors = divisors.collect();
                self.apply(prune, divisors)
            }
            Some(norm) => Step::scan(NormScan { vectors: self, norm, prune }),
        }
    }

    /// `divisors`: one a model, or none where nothing is rescaled.
    fn apply(self, prune: impl Prune + 'static, divisors: Vec<f64>) -> Step {
        let divisor = |model| divisors.get(model).copied().unwrap_or(1.0);
        let factors = self.weights.iter().enumerate().map(|(model, w)| w / divisor(model));
        let factors = factors.collect();
        let mut total = if self.normalize { self.weights.iter().sum() } else { 1.0 };
        if f64::abs(total) < 1e-8 {
            total = 1.0;
        }
        Step::apply(DeltaApply { vectors: self, prune, factors, inverse: 1.0 / total })
    }
}

/// Turns a tile's model into its delta, in place.
struct Subtract<'a> {
    base: &'a [f64],
    model: &'a mut [f64],
}

impl Vectorize for Subtract<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for (value, base) in self.model.iter_mut().zip(self.base) {
            *value -= base;
        }
    }
}

struct DeltaApply<P> {
    vectors: TaskVectors,
    prune: P,
    /// Weight over divisor, one a model.
    factors: Vec<f64>,
    /// What a sum without sign election is multiplied by, to divide it by the weights' sum.
    inverse: f64,
}

impl<P: Prune> Apply for DeltaApply<P> {
    fn takes_deltas(&self) -> bool {
        true
    }

    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        let (start, simd) = (tile.start(), tile.simd());
        let (_, models) = tile.split_base();
        assert_eq!(models.len(), self.factors.len(), "a weight for each model");
        for (index, deltas) in models.enumerate() {
            self.prune.prune(simd, index, start, deltas);
        }
        let TaskVectors { weights, consensus, normalize, lambda, .. } = &self.vectors;
        let (factors, inverse, lambda) = (&self.factors[..], self.inverse, *lambda);
        let tile = &*tile;
        match (*consensus, *normalize) {
            (false, _) => simd.run(Sum { tile, factors, inverse, lambda, out }),
            (true, false) => simd.run(Elect::<false> { tile, factors, weights, lambda, out }),
            (true, true) => simd.run(Elect::<true> { tile, factors, weights, lambda, out }),
        }
    }
}

/// Elements computed at once, few enough to stay in registers.
const LANES: usize = 64;

/// Base plus the weighted deltas.
struct Sum<'a, 't> {
    tile: &'a Tile<'t>,
    factors: &'a [f64],
    inverse: f64,
    lambda: f64,
    out: &'a mut [f64],
}

impl Sum<'_, '_> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let mut mixed = [0.0; LANES];
        for model in 0..self.factors.len() {
            let deltas = weighted(self.tile, model, at, len, self.factors[model]);
            for i in 0..LANES {
                mixed[i] += deltas[i];
            }
        }
        if self.inverse != 1.0 {
            mixed.iter_mut().for_each(|mixed| *mixed *= self.inverse);
        }
        let base = &self.tile.input(0)[at..][..len];
        add_to_base(base, &mixed, self.lambda, &mut self.out[at..][..len]);
    }
}

/// A model's deltas times its factor; zeros beyond `len`.
#[inline(always)]
fn weighted(tile: &Tile<'_>, model: usize, at: usize, len: usize, factor: f64) -> [f64; LANES] {
    let mut deltas = [0.0; LANES];
    deltas[..len].copy_from_slice(&tile.input(model + 1)[at..][..len]);
    deltas.iter_mut().for_each(|delta| *delta *= factor);
    deltas
}

impl Vectorize for Sum<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        let whole = self.tile.len() - self.tile.len() % LANES;
        for at in (0..whole).step_by(LANES) {
            self.lanes(at, LANES);
        }
        self.lanes(whole, self.tile.len() - whole);
    }
}

/// Base plus the weighted deltas that have the elected sign.
struct Elect<'a, 't, const NORMALIZE: bool> {
    tile: &'a Tile<'t>,
    factors: &'a [f64],
    weights: &'a [f64],
    lambda: f64,
    out: &'a mut [f64],
}

impl<const NORMALIZE: bool> Elect<'_, '_, NORMALIZE> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let mut votes = [0.0; LANES];
        for model in 0..self.factors.len() {
            let deltas = weighted(self.tile, model, at, len, self.factors[model]);
            for i in 0..LANES {
                votes[i] += deltas[i];
            }
        }
        let (mut mixed, mut divisors) = ([0.0; LANES], [0.0; LANES]);
        for model in 0..self.factors.len() {
            let deltas = weighted(self.tile, model, at, len, self.factors[model]);
            let weight = self.weights[model];
            for i in 0..LANES {
                let agrees = agrees(votes[i], deltas[i]);
                mixed[i] += if agrees { deltas[i] } else { 0.0 };
                if NORMALIZE {
                    divisors[i] += if agrees { weight } else { 0.0 };
                }
            }
        }
        if NORMALIZE {
            for i in 0..LANES {
                mixed[i] *= if divisors[i] == 0.0 { 1.0 } else { 1.0 / divisors[i] };
            }
        }
        let base = &self.tile.input(0)[at..][..len];
        add_to_base(base, &mixed, self.lambda, &mut self.out[at..][..len]);
    }
}

impl<const NORMALIZE: bool> Vectorize for Elect<'_, '_, NORMALIZE> {
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        match self.factors.len() {
            2 => return self.few::<2>(),
            3 => return self.few::<3>(),
            _ => {}
        }
        let whole = self.tile.len() - self.tile.len() % LANES;
        for at in (0..whole).step_by(LANES) {
            self.lanes(at, LANES);
        }
        self.lanes(whole, self.tile.len() - whole);
    }
}

impl<const NORMALIZE: bool> Elect<'_, '_, NORMALIZE> {
    /// As [`lanes`](Self::lanes) for the whole tile, with the number of models known: so
    /// that nothing between reading and writing leaves the registers.
    #[inline(always)]
    fn few<const N: usize>(self) {
        let len = self.out.len();
        let base = &self.tile.input(0)[..len];
        let mut models = [base; N];
        let (mut factors, mut weights) = ([0.0; N], [0.0; N]);
        for m in 0..N {
            models[m] = &self.tile.input(m + 1)[..len];
            (factors[m], weights[m]) = (self.factors[m], self.weights[m]);
        }
        let (lambda, inverses) = (self.lambda, inverses(&weights));
        for (i, out) in self.out.iter_mut().enumerate() {
            let mut vote = 0.0;
            for m in 0..N {
                vote += models[m][i] * factors[m];
            }
            let (mut mixed, mut agree) = (0.0, [false; N]);
            for m in 0..N {
                let delta = models[m][i] * factors[m];
                agree[m] = agrees(vote, delta);
                mixed += if agree[m] { delta } else { 0.0 };
            }
            if NORMALIZE {
                // Looked up by selection: half of the table remains after each model.
                let mut inverses = inverses;
                for m in (0..N).rev() {
                    for subset in 0..1 << m {
                        let with = inverses[subset | 1 << m];
                        inverses[subset] = if agree[m] { with } else { inverses[subset] };
                    }
                }
                mixed *= inverses[0];
            }
            let change = lambda * mixed;
            *out = if change == 0.0 { base[i] } else { base[i] + change };
        }
    }
}

/// What the sum of some models' deltas is multiplied by, instead of a division by the sum
/// of their weights, unless that is zero: by subset of at most three models, the first
/// model's bit lowest.
fn inverses(weights: &[f64]) -> [f64; 8] {
    std::array::from_fn(|subset| {
        let chosen = weights.iter().enumerate().filter(|(m, _)| subset >> m & 1 == 1);
        let sum: f64 = chosen.map(|(_, weight)| weight).sum();
        if sum == 0.0 { 1.0 } else { 1.0 / sum }
    })
}

/// Whether a weighted delta has the sign that the sum of all has elected. A tie (zero)
/// elects plus. A NaN agrees with the NaN it makes of the vote, so that it is not hidden.
#[inline(always)]
fn agrees(vote: f64, delta: f64) -> bool {
    let not_below = delta >= 0.0;
    if vote >= 0.0 { delta > 0.0 } else { !not_below }
}

#[inline(always)]
fn add_to_base(base: &[f64], mixed: &[f64; LANES], lambda: f64, out: &mut [f64]) {
    for ((out, base), mixed) in out.iter_mut().zip(base).zip(mixed) {
        let change = lambda * mixed;
        *out = if change == 0.0 { *base } else { base + change };
    }
}

/// Measures each model's delta before and after pruning.
struct NormScan<P> {
    vectors: TaskVectors,
    norm: Rescale,
    prune: P,
}

/// Where either norm is below this, nothing is rescaled.
const NEGLIGIBLE_NORM: f64 = 1e-7;

impl<P> NormScan<P> {
    /// A slice's share of the norm: sums that add up, or the largest magnitude.
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

    fn empty(&self) -> Self::Partial {
        vec![(0.0, 0.0); self.vectors.weights.len()]
    }

    fn fold(&self, partial: &mut Self::Partial, tile: &mut Tile<'_>) {
        let (start, simd) = (tile.start(), tile.simd());
        let (base, models) = tile.split_base();
        for ((index, deltas), (before, after)) in models.enumerate().zip(partial) {
            simd.run(Subtract { base, model: deltas });
            *before = self.join(*before, self.measure(deltas));
            self.prune.prune(simd, index, start, deltas);
            *after = self.join(*after, self.measure(deltas));
        }
    }

    fn combine(&self, total: &mut Self::Partial, next: Self::Partial) {
        for (total, next) in total.iter_mut().zip(next) {
            *total = (self.join(total.0, next.0), self.join(total.1, next.1));
        }
    }

    fn finish(self: Box<Self>, total: Self::Partial) -> Result<Step, KernelError> {
        let divisors = total.into_iter().map(|norms| self.divisor(norms)).collect();
        Ok(self.vectors.apply(self.prune, divisors))
    }
}
