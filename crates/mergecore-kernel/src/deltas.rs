//! Task vectors: base plus a combination of pruned, rescaled, sign-elected deltas.

use mergecore_tensor::{Element, Elements, ElementsMut, Losses, Simd, Vectorize, bf16, f16};

use crate::gram::sum_products;
use crate::{Apply, Arguments, Combination, KernelError, Order, Scan, Step, TILE, Tile};

/// Drops elements of models: puts the base's value in their place, so that they add
/// nothing (unless that is infinite or NaN).
///
/// ```
/// use mergecore_kernel::{Element, Prune, Simd};
///
/// /// Keeps the elements of even index.
/// struct EvenOnly;
///
/// impl Prune for EvenOnly {
///     fn prune<T: Element>(
///         &self,
///         _: Simd,
///         _model: usize,
///         start: u64,
///         base: &[T],
///         values: &[T],
///         out: &mut [T],
///     ) {
///         for (i, out) in out.iter_mut().enumerate() {
///             *out = if (start + i as u64) % 2 == 0 { values[i] } else { base[i] };
///         }
///     }
/// }
///
/// let mut out = [0.0; 3];
/// EvenOnly.prune(Simd::detect(), 0, 1_025, &[0.0; 3], &[1.0, 2.0, 3.0], &mut out);
/// assert_eq!(out, [0.0, 2.0, 0.0]);
/// ```
pub trait Prune: Send + Sync {
    /// Writes to `out` the elements of one model that are kept and the base's in place of
    /// the others, computing with the given instruction set. All three runs are of one length
    /// and begin at flat index `start`.
    ///
    /// # Panics
    /// May panic where the lengths differ, and for a model that it does not know of.
    fn prune<T: Element>(
        &self,
        simd: Simd,
        model: usize,
        start: u64,
        base: &[T],
        values: &[T],
        out: &mut [T],
    );

    /// Whether each run has to be one whole row, along the last axis.
    fn whole_rows(&self) -> bool {
        false
    }
}

/// Drops nothing.
///
/// ```
/// use mergecore_kernel::{KeepAll, Prune, Simd};
///
/// let mut out = [0.0; 2];
/// KeepAll.prune(Simd::detect(), 0, 0, &[0.0; 2], &[1.0, -2.0], &mut out);
/// assert_eq!(out, [1.0, -2.0]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAll;

impl Prune for KeepAll {
    fn prune<T: Element>(&self, _: Simd, _: usize, _: u64, _: &[T], values: &[T], out: &mut [T]) {
        out.copy_from_slice(values);
    }
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

/// How the sign of each element is elected, of which only the models that agree are combined.
///
/// By default a model's vote is its weighted delta (TIES). The sign of the votes' sum is
/// elected, plus where that is zero. A model agrees where its own vote has that sign; a zero
/// delta never does.
///
/// ```
/// use mergecore_kernel::{Argument, Arguments, Consensus, Elect, Election};
///
/// let mut shared = Arguments::default();
/// assert_eq!(Election::from_arguments(&shared), Election::default());
/// shared.insert("consensus", Argument::Text("count".to_owned()));
/// let election = Election::from_arguments(&shared);
/// assert_eq!(election, Election { consensus: Consensus::Count, elect: Elect::Weighted });
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Election {
    /// What is added up.
    pub consensus: Consensus,
    /// What a model votes with.
    pub elect: Elect,
}

/// What is added up in an [`Election`]: the recipe's `consensus`.
///
/// ```
/// assert_eq!(mergecore_kernel::Consensus::default(), mergecore_kernel::Consensus::Sum);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consensus {
    /// The votes: a large change outweighs several small ones.
    #[default]
    Sum,
    /// Their signs: each model has one vote, and none where it changes nothing.
    Count,
}

/// What a model votes with in an [`Election`]: the recipe's `elect`.
///
/// ```
/// assert_eq!(mergecore_kernel::Elect::default(), mergecore_kernel::Elect::Weighted);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Elect {
    /// Its delta times its weight.
    #[default]
    Weighted,
    /// Its delta, whatever its weight.
    Unweighted,
}

impl Election {
    /// What the parameters `consensus` and `elect` ask for.
    pub fn from_arguments(shared: &Arguments) -> Self {
        Election {
            consensus: match shared.text("consensus") {
                Some("count") => Consensus::Count,
                _ => Consensus::Sum,
            },
            elect: match shared.text("elect") {
                Some("unweighted") => Elect::Unweighted,
                _ => Elect::Weighted,
            },
        }
    }
}

/// `base + lambda * sum(weight_i * delta_i)`, over the models that agree with
/// the elected sign only where there is an election, divided by the sum of the
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
/// use mergecore_kernel::{
///     Election, Extent, KeepAll, Kernel, KernelError, Step, TaskVectors, merge_slices,
/// };
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
///     election: Some(Election::default()),
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
    /// Elect a sign for each element and combine only the models that agree.
    pub election: Option<Election>,
    /// Divide by the sum of the weights used, unless it is zero (below 1e-8 in
    /// magnitude where there is no election).
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
    /// #     election: None,
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
    /// #     election: None,
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
    /// #     election: None,
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
        self.step_dividing(prune, Floor::ZERO)
    }

    /// As [`step`](Self::step), but where there is an election and a sum of weights is divided
    /// by, one below `least` counts as `least`.
    ///
    /// # Panics
    /// As [`step`](Self::step).
    ///
    /// ```
    /// use mergecore_kernel::{
    ///     Election, Extent, KeepAll, Kernel, KernelError, Step, TaskVectors, merge_slices,
    /// };
    ///
    /// #[derive(Debug)]
    /// struct Careful(TaskVectors);
    ///
    /// impl Kernel for Careful {
    ///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
    ///         Ok(self.0.clone().step_with_least_divisor(KeepAll, 1e-6))
    ///     }
    /// }
    ///
    /// # let vectors = TaskVectors {
    /// #     weights: vec![1e-7],
    /// #     densities: vec![1.0],
    /// #     election: Some(Election::default()),
    /// #     normalize: true,
    /// #     lambda: 1.0,
    /// #     rescale: None,
    /// # };
    /// assert_eq!((vectors.normalize, &vectors.weights[..]), (true, &[1e-7][..]));
    /// let mut out = [0.0f32];
    /// merge_slices(&Careful(vectors), &[&[1.0f32], &[2.0]], &[1], &mut out)?;
    /// assert_eq!(out, [1.1]); // not 2
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn step_with_least_divisor(self, prune: impl Prune + 'static, least: f64) -> Step {
        self.step_dividing(prune, Floor { up_to: least, counts_as: least })
    }

    fn step_dividing(self, prune: impl Prune + 'static, floor: Floor) -> Step {
        // Adding a delta to the base would lose the sign of a model's zero.
        if let Some(input) = self.selects() {
            return Step::apply(Combination::select(input, 1 + self.weights.len()));
        }
        let prunes = self.densities.iter().any(|density| *density < 1.0);
        match self.rescale.filter(|_| prunes) {
            None => self.apply(prune, Vec::new(), floor),
            // Dividing by a density of zero would make zeros NaN.
            Some(Rescale::Density) => {
                let divisors = self.densities.iter().map(|d| if *d == 0.0 { 1.0 } else { *d });
                let divisors = divisors.collect();
                self.apply(prune, divisors, floor)
            }
            Some(norm) => Step::scan(NormScan { vectors: self, norm, prune, floor }),
        }
    }

    /// `divisors`: one a model, or none where nothing is rescaled.
    fn apply(self, prune: impl Prune + 'static, divisors: Vec<f64>, floor: Floor) -> Step {
        let divisor = |model| divisors.get(model).copied().unwrap_or(1.0);
        let factors = self.weights.iter().enumerate().map(|(model, w)| w / divisor(model));
        let factors = factors.collect();
        let mut total = if self.normalize { self.weights.iter().sum() } else { 1.0 };
        if f64::abs(total) < 1e-8 {
            total = 1.0;
        }
        let inverse = 1.0 / total;
        Step::apply(DeltaApply { vectors: self, prune, divisors, factors, inverse, floor })
    }
}

/// What a sum of agreeing weights counts as, where it is divided by: a sum up to `up_to`, as
/// `counts_as`.
#[derive(Clone, Copy)]
struct Floor {
    up_to: f64,
    counts_as: f64,
}

impl Floor {
    /// Zero counts as one.
    const ZERO: Floor = Floor { up_to: 0.0, counts_as: 1.0 };

    #[inline(always)]
    fn inverse(self, sum: f64) -> f64 {
        1.0 / if sum.abs() <= self.up_to { self.counts_as } else { sum }
    }
}

struct DeltaApply<P> {
    vectors: TaskVectors,
    prune: P,
    /// As many as there are models, or none where nothing is rescaled.
    divisors: Vec<f64>,
    /// Weight over divisor, one a model.
    factors: Vec<f64>,
    /// What a sum without sign election is multiplied by, to divide it by the weights' sum.
    inverse: f64,
    floor: Floor,
}

impl<P: Prune> Apply for DeltaApply<P> {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        let mut pruned = self.room(tile.len());
        let inputs: Vec<&[f64]> = (0..tile.inputs()).map(|index| tile.input(index)).collect();
        self.mix(tile.simd(), tile.start(), &inputs, &mut pruned, out);
    }

    fn whole_rows(&self) -> bool {
        self.prune.whole_rows()
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

impl<P: Prune> DeltaApply<P> {
    /// Room for a tile of so many elements of each model, pruned.
    fn room<T: Element>(&self, len: usize) -> Vec<T> {
        vec![T::default(); self.factors.len() * len]
    }

    /// `None`, and nothing done, where not all inputs are of this type.
    fn stored<T: Element>(
        &self,
        simd: Simd,
        start: u64,
        inputs: &[Elements<'_>],
        out: &mut ElementsMut<'_>,
    ) -> Option<Losses> {
        let inputs: Option<Vec<&[T]>> =
            inputs.iter().map(|input| T::from_elements(*input)).collect();
        let inputs = inputs?;
        let mut losses = Losses::default();
        let (mut pruned, mut values) = (self.room(TILE), [0.0; TILE]);
        let mut parts = Vec::with_capacity(inputs.len());
        for at in (0..out.len()).step_by(TILE) {
            let values = &mut values[..TILE.min(out.len() - at)];
            parts.clear();
            parts.extend(inputs.iter().map(|input| &input[at..][..values.len()]));
            self.mix(simd, start + at as u64, &parts, &mut pruned, values);
            losses.add(at as u64, out.part(at, values.len()).narrow(simd, values));
        }
        Some(losses)
    }

    /// Computes a tile; `pruned` is [`room`](Self::room) to use, for at least as much.
    fn mix<T: Element>(
        &self,
        simd: Simd,
        start: u64,
        inputs: &[&[T]],
        pruned: &mut [T],
        out: &mut [f64],
    ) {
        let (base, models) = inputs.split_first().expect("a base");
        assert_eq!(models.len(), self.factors.len(), "a weight for each model");
        let stride = pruned.len() / models.len().max(1);
        let rooms = pruned.chunks_exact_mut(stride.max(1));
        for (index, (values, out)) in models.iter().zip(rooms).enumerate() {
            self.prune.prune(simd, index, start, base, values, &mut out[..values.len()]);
        }
        let TaskVectors { weights, election, normalize, lambda, .. } = &self.vectors;
        let (inverse, lambda) = (self.inverse, *lambda);
        let (factors, divisors) = (&self.factors[..], &self.divisors[..]);
        let (deltas, floor) = (Deltas { base, pruned, stride, factors, divisors }, self.floor);
        let Some(election) = *election else {
            return simd.run(Sum { deltas, inverse, lambda, out });
        };
        match (*normalize, self.divides()) {
            (false, false) => simd.run(Agreeing::<_, false, false> {
                deltas,
                weights,
                election,
                floor,
                lambda,
                out,
            }),
            (true, false) => simd.run(Agreeing::<_, true, false> {
                deltas,
                weights,
                election,
                floor,
                lambda,
                out,
            }),
            (false, true) => simd.run(Agreeing::<_, false, true> {
                deltas,
                weights,
                election,
                floor,
                lambda,
                out,
            }),
            (true, true) => simd.run(Agreeing::<_, true, true> {
                deltas,
                weights,
                election,
                floor,
                lambda,
                out,
            }),
        }
    }

    /// Whether deltas are divided by the divisor and then multiplied by the weight, not
    /// multiplied by the quotient of both: deltas of 16-bit weights are few steps, of which
    /// often as many weighted ones of one sign as of the other make a sum of zero, and then
    /// the last bit of each decides the election. Not so between two models of one weight and
    /// divisor, of which equal deltas cancel either way.
    fn divides(&self) -> bool {
        let alike = |values: &[f64]| values.len() <= 2 && values.iter().all(|v| *v == values[0]);
        let cancels = alike(&self.vectors.weights) && alike(&self.divisors);
        !self.divisors.is_empty() && !cancels
    }
}

/// Elements computed at once, whatever the number of models.
const LANES: usize = 16;

/// A tile of pruned models, `stride` apart, and of the base.
#[derive(Clone, Copy)]
struct Deltas<'a, T> {
    base: &'a [T],
    pruned: &'a [T],
    stride: usize,
    factors: &'a [f64],
    divisors: &'a [f64],
}

impl<'a, T: Element> Deltas<'a, T> {
    /// Whether models have divisors.
    #[inline(always)]
    fn is_rescaled(&self) -> bool {
        !self.divisors.is_empty()
    }

    /// The elements of one model.
    #[inline(always)]
    fn model(&self, index: usize) -> &'a [T] {
        &self.pruned[index * self.stride..][..self.base.len()]
    }

    /// A model's deltas times its factor, or over its divisor and times its weight; zeros
    /// beyond `len`.
    #[inline(always)]
    fn weighted(
        &self,
        model: usize,
        at: usize,
        len: usize,
        divided: Option<&[f64]>,
    ) -> [f64; LANES] {
        let (mut base, mut values) = ([T::default(); LANES], [T::default(); LANES]);
        base[..len].copy_from_slice(&self.base[at..][..len]);
        values[..len].copy_from_slice(&self.model(model)[at..][..len]);
        let mut deltas = [0.0; LANES];
        for i in 0..LANES {
            let delta = values[i].widen() - base[i].widen();
            deltas[i] = match divided {
                Some(weights) => delta / self.divisors[model] * weights[model],
                None => delta * self.factors[model],
            };
        }
        deltas
    }

    /// A model's votes, as [`weighted`](Self::weighted) yields its deltas.
    #[inline(always)]
    fn votes(
        &self,
        election: Election,
        weighted: &[f64; LANES],
        model: usize,
        at: usize,
        len: usize,
    ) -> [f64; LANES] {
        let mut votes = *weighted;
        if election.elect == Elect::Unweighted {
            let divisor = self.divisors.get(model).copied().unwrap_or(1.0);
            let (base, values) = (&self.base[at..][..len], &self.model(model)[at..][..len]);
            for ((vote, base), value) in votes.iter_mut().zip(base).zip(values) {
                *vote = (value.widen() - base.widen()) / divisor;
            }
        }
        if election.consensus == Consensus::Count {
            for vote in &mut votes {
                // A NaN stays one.
                *vote = if *vote == 0.0 { 0.0 } else { vote.signum() };
            }
        }
        votes
    }

    /// Adds lambda times the combined deltas to the base.
    #[inline(always)]
    fn add_to_base(&self, at: usize, mixed: &[f64; LANES], lambda: f64, out: &mut [f64]) {
        for ((out, base), mixed) in out.iter_mut().zip(&self.base[at..]).zip(mixed) {
            *out = added(base.widen(), lambda * mixed);
        }
    }
}

/// The base changed; bit for bit itself where the change is zero.
#[inline(always)]
fn added(base: f64, change: f64) -> f64 {
    if change == 0.0 { base } else { base + change }
}

/// Base plus the weighted deltas.
struct Sum<'a, T> {
    deltas: Deltas<'a, T>,
    inverse: f64,
    lambda: f64,
    out: &'a mut [f64],
}

impl<T: Element> Sum<'_, T> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let mut mixed = [0.0; LANES];
        for model in 0..self.deltas.factors.len() {
            let deltas = self.deltas.weighted(model, at, len, None);
            for i in 0..LANES {
                mixed[i] += deltas[i];
            }
        }
        if self.inverse != 1.0 {
            mixed.iter_mut().for_each(|mixed| *mixed *= self.inverse);
        }
        self.deltas.add_to_base(at, &mixed, self.lambda, &mut self.out[at..][..len]);
    }
}

impl<T: Element> Vectorize for Sum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        let whole = self.out.len() - self.out.len() % LANES;
        for at in (0..whole).step_by(LANES) {
            self.lanes(at, LANES);
        }
        if whole < self.out.len() {
            self.lanes(whole, self.out.len() - whole);
        }
    }
}

/// Base plus the weighted deltas that have the elected sign.
struct Agreeing<'a, T, const NORMALIZE: bool, const DIVIDE: bool> {
    deltas: Deltas<'a, T>,
    weights: &'a [f64],
    election: Election,
    floor: Floor,
    lambda: f64,
    out: &'a mut [f64],
}

impl<T: Element, const NORMALIZE: bool, const DIVIDE: bool> Agreeing<'_, T, NORMALIZE, DIVIDE> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let (deltas, election) = (self.deltas, self.election);
        let models = self.weights.len();
        let divided = DIVIDE.then_some(self.weights);
        let mut total = [0.0; LANES];
        for model in 0..models {
            let weighted = deltas.weighted(model, at, len, divided);
            let votes = deltas.votes(election, &weighted, model, at, len);
            for i in 0..LANES {
                total[i] += votes[i];
            }
        }
        let (mut mixed, mut divisors) = ([0.0; LANES], [0.0; LANES]);
        for model in 0..models {
            let weighted = deltas.weighted(model, at, len, divided);
            let votes = deltas.votes(election, &weighted, model, at, len);
            let weight = self.weights[model];
            for i in 0..LANES {
                let agrees = agrees(sign_if_minus(total[i]), votes[i]);
                mixed[i] += if agrees { weighted[i] } else { 0.0 };
                if NORMALIZE {
                    divisors[i] += if agrees { weight } else { 0.0 };
                }
            }
        }
        if NORMALIZE {
            for i in 0..LANES {
                mixed[i] *= self.floor.inverse(divisors[i]);
            }
        }
        deltas.add_to_base(at, &mixed, self.lambda, &mut self.out[at..][..len]);
    }
}

impl<T: Element, const NORMALIZE: bool, const DIVIDE: bool> Vectorize
    for Agreeing<'_, T, NORMALIZE, DIVIDE>
{
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        let Election { consensus, elect } = self.election;
        let unweighted = elect == Elect::Unweighted;
        let plain = consensus == Consensus::Sum && !(unweighted && self.deltas.is_rescaled());
        match (self.weights.len(), plain, unweighted) {
            (2, true, false) => return self.few::<2, false>(),
            (3, true, false) => return self.few::<3, false>(),
            (2, true, true) => return self.few::<2, true>(),
            (3, true, true) => return self.few::<3, true>(),
            _ => {}
        }
        let whole = self.out.len() - self.out.len() % LANES;
        for at in (0..whole).step_by(LANES) {
            self.lanes(at, LANES);
        }
        if whole < self.out.len() {
            self.lanes(whole, self.out.len() - whole);
        }
    }
}

impl<T: Element, const NORMALIZE: bool, const DIVIDE: bool> Agreeing<'_, T, NORMALIZE, DIVIDE> {
    /// As [`lanes`](Self::lanes) for the whole tile, with the number of models known, signs
    /// elected by a sum, unweighted only of what is not rescaled: so that nothing between
    /// reading and writing leaves the registers.
    #[inline(always)]
    fn few<const N: usize, const UNWEIGHTED: bool>(self) {
        let base = &self.deltas.base[..self.out.len()];
        let mut models = [base; N];
        let (mut factors, mut divisors, mut weights) = ([0.0; N], [1.0; N], [0.0; N]);
        for m in 0..N {
            models[m] = &self.deltas.model(m)[..self.out.len()];
            (factors[m], weights[m]) = (self.deltas.factors[m], self.weights[m]);
            if DIVIDE {
                divisors[m] = self.deltas.divisors[m];
            }
        }
        let floor = self.floor;
        let lambda = self.lambda;
        for (i, out) in self.out.iter_mut().enumerate() {
            let base = base[i].widen();
            let (mut deltas, mut votes, mut vote) = ([0.0; N], [0.0; N], 0.0);
            for m in 0..N {
                let delta = models[m][i].widen() - base;
                deltas[m] =
                    if DIVIDE { delta / divisors[m] * weights[m] } else { delta * factors[m] };
                votes[m] = if UNWEIGHTED { delta } else { deltas[m] };
                vote = if m == 0 { votes[0] } else { vote + votes[m] };
            }
            let minus = sign_if_minus(vote);
            let (mut mixed, mut divisor) = (0.0, 0.0);
            for m in 0..N {
                let agrees = agrees(minus, votes[m]);
                let agreeing = if agrees { deltas[m] } else { 0.0 };
                mixed = if m == 0 { agreeing } else { mixed + agreeing };
                divisor += if agrees { weights[m] } else { 0.0 };
            }
            if NORMALIZE {
                mixed *= floor.inverse(divisor);
            }
            *out = added(base, lambda * mixed);
        }
    }
}

/// The sign bit where the sum of all deltas has elected minus; a tie (zero) elects plus.
#[inline(always)]
fn sign_if_minus(vote: f64) -> u64 {
    if vote >= 0.0 { 0 } else { 1 << 63 }
}

/// Whether a weighted delta has the elected sign. A NaN agrees, so that it is not hidden.
#[inline(always)]
fn agrees(minus: u64, delta: f64) -> bool {
    let opposes = f64::from_bits(delta.to_bits() ^ minus) <= 0.0;
    !opposes
}

/// Turns a tile's model into its delta, in place.
pub(crate) struct Subtract<'a> {
    pub(crate) base: &'a [f64],
    pub(crate) model: &'a mut [f64],
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

/// Measures each model's delta before and after pruning.
struct NormScan<P> {
    vectors: TaskVectors,
    norm: Rescale,
    prune: P,
    floor: Floor,
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
