//! Task vectors: base plus a combination of pruned, rescaled, sign-elected deltas.

use mergecore_tensor::{Element, Simd};

use crate::deltas::{Agreeing, Deltas, Sum};
use crate::rescale::NormScan;
use crate::{Combination, Election, KernelError, Prune, Rescale, Step, TypedApply};

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
    /// The step's [`Apply`](crate::Apply) panics on a number of models other than the number of
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
    pub(crate) fn apply(
        self,
        prune: impl Prune + 'static,
        divisors: Vec<f64>,
        floor: Floor,
    ) -> Step {
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
pub(crate) struct Floor {
    up_to: f64,
    counts_as: f64,
}

impl Floor {
    /// Zero counts as one.
    const ZERO: Floor = Floor { up_to: 0.0, counts_as: 1.0 };

    #[inline(always)]
    pub(crate) fn inverse(self, sum: f64) -> f64 {
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

impl<P: Prune> TypedApply for DeltaApply<P> {
    /// Of each model, pruned.
    fn room<T: Element>(&self, len: usize) -> Vec<T> {
        vec![T::default(); self.factors.len() * len]
    }

    fn whole_rows(&self) -> bool {
        self.prune.whole_rows()
    }

    fn compute<T: Element>(
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
        let agreeing = Agreeing { deltas, weights, election, floor, lambda, out };
        agreeing.run(simd, *normalize, self.divides());
    }
}

impl<P> DeltaApply<P> {
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
