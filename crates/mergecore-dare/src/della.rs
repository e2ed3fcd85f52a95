//! Drop at random, the small more often than the large, and rescale.

use mergecore_kernel::{
    Election, Element, Extent, Kernel, KernelError, RandomMask, Rescale, Simd, Step, StreamKey,
    TaskVectors, merge_models,
};

use crate::magprune::MagPrune;
use crate::rank::LONGEST;

/// DELLA ([arXiv:2406.11617]): drop at random, the small more often than the large, rescale,
/// combine.
///
/// Within each row (along the last axis; a vector is one row) the elements of a task vector
/// (model minus base) are ranked by magnitude. The smallest is kept with probability
/// `density - epsilon`, the largest with `density + epsilon`, those between in proportion to
/// their rank. Then the task vectors are rescaled and combined, with sign election (`della`) or
/// without (`della_linear`). Base and models have one shape, which is the output's.
///
/// [arXiv:2406.11617]: https://arxiv.org/abs/2406.11617
///
/// ```
/// use mergecore_dare::{Della, della_linear_slices};
///
/// // Drop without rescaling: each element is the base's or the model's.
/// let params = Della { rescale: None, ..Della::linear([1.0], [0.5], 3) };
/// let (base, model) = ([1.0f32; 4], [2.0f32, 3.0, 4.0, 5.0]);
/// let mut out = [0.0; 4];
/// della_linear_slices(&base, &[&model], &[2, 2], &params, &mut out)?;
/// assert!(out.iter().zip(model).all(|(x, model)| *x == 1.0 || *x == model));
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Della {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// The mean probability of keeping an element, one a model, from 0 to 1. At 1 all
    /// elements are kept, at 0 none.
    pub densities: Vec<f64>,
    /// Half the spread of the probabilities, one a model, from 0 to 1: density less epsilon
    /// must be above 0 and density plus epsilon below 1, but for densities 0 and 1. The
    /// constructors set [`Della::EPSILON`].
    pub epsilons: Vec<f64>,
    /// Divide by the sum of the weights used, unless it is zero. On by default for `della`
    /// ([`Della::new`]), off for `della_linear` ([`Della::linear`]).
    pub normalize: bool,
    /// Factor on the combined delta, any finite number. 1 by default.
    pub lambda: f64,
    /// How to make good for what was dropped; by default match the sum of magnitudes.
    pub rescale: Option<Rescale>,
    /// How `della` elects signs: by default, by the sum of the weighted deltas.
    pub election: Election,
    /// Key of the random stream that the masks are drawn from; seed 0 by default.
    pub stream: StreamKey,
}

impl Default for Della {
    fn default() -> Self {
        Della {
            weights: Vec::new(),
            densities: Vec::new(),
            epsilons: Vec::new(),
            normalize: true,
            lambda: 1.0,
            rescale: Some(Rescale::L1),
            election: Election::default(),
            stream: StreamKey::from_seed(0),
        }
    }
}

impl Della {
    /// The epsilon of models that are given none.
    pub const EPSILON: f64 = 0.15;

    /// DELLA with these weights and densities, normalised, masks from this seed.
    ///
    /// ```
    /// use mergecore_dare::Della;
    ///
    /// let params = Della { epsilons: vec![0.1], ..Della::new([1.0], [0.3], 42) };
    /// assert!(params.normalize && params.rescale.is_some());
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>, densities: impl Into<Vec<f64>>, seed: u64) -> Self {
        let (densities, stream) = (densities.into(), StreamKey::from_seed(seed));
        let epsilons = vec![Della::EPSILON; densities.len()];
        Della { weights: weights.into(), densities, epsilons, stream, ..Della::default() }
    }

    /// DELLA without sign election as recipes have it by default: not normalised.
    ///
    /// ```
    /// let params = mergecore_dare::Della::linear([1.0], [0.3], 42);
    /// assert!(!params.normalize && params.rescale.is_some());
    /// ```
    pub fn linear(weights: impl Into<Vec<f64>>, densities: impl Into<Vec<f64>>, seed: u64) -> Self {
        Della { normalize: false, ..Della::new(weights, densities, seed) }
    }

    /// Which elements of a row are kept of model `model` (counted from zero, the base not
    /// included): the very masks of a merge. `deltas` are the row's differences from the base,
    /// `start` is the flat index of the first of them in the tensor.
    ///
    /// # Errors
    /// Densities and epsilons out of their range, rows too long to be ranked.
    ///
    /// # Panics
    /// If there is no density for that model.
    ///
    /// ```
    /// let della = mergecore_dare::Della::new([1.0], [0.3], 42);
    /// let growing: Vec<f64> = (0..100_000).map(f64::from).collect();
    /// let mask = della.mask(0, 0, &growing)?;
    /// let kept = |part: &[bool]| part.iter().filter(|kept| **kept).count();
    /// assert!((29_000..31_000).contains(&kept(&mask)));
    /// assert!((1_500..1_800).contains(&kept(&mask[..10_000]))); // of the smallest
    /// assert!((4_200..4_500).contains(&kept(&mask[90_000..]))); // of the largest
    /// # Ok::<(), mergecore_dare::KernelError>(())
    /// ```
    pub fn mask(&self, model: usize, start: u64, deltas: &[f64]) -> Result<Vec<bool>, KernelError> {
        let prune = self.prune()?;
        check_width(deltas.len() as u64)?;
        let zeros = vec![0.0; deltas.len()];
        let (dropped, kept) = (vec![false; deltas.len()], vec![true; deltas.len()]);
        let mut mask = dropped.clone();
        let place = (Simd::detect(), model, start);
        prune.choose(place, (&zeros, deltas), (&dropped, &kept), &mut mask);
        Ok(mask)
    }

    fn prune(&self) -> Result<MagPrune, KernelError> {
        MagPrune::new(self.stream, &self.densities, &self.epsilons)
    }

    /// With or without sign election.
    pub(crate) fn kernel(&self, elects: bool) -> DellaKernel {
        DellaKernel { params: self.clone(), elects }
    }

    fn vectors(&self, elects: bool) -> TaskVectors {
        TaskVectors {
            weights: self.weights.clone(),
            densities: self.densities.clone(),
            election: elects.then_some(self.election),
            normalize: self.normalize,
            lambda: self.lambda,
            rescale: self.rescale,
        }
    }
}

fn check_width(columns: u64) -> Result<(), KernelError> {
    if columns <= LONGEST {
        return Ok(());
    }
    Err(KernelError::Undefined {
        what: format!("a row has {columns} elements"),
        instead: "rows of at most 4294967295 elements can be ranked; give the tensor another shape",
    })
}

/// DELLA with or without sign election.
#[derive(Debug, Clone)]
pub(crate) struct DellaKernel {
    pub(crate) params: Della,
    pub(crate) elects: bool,
}

impl DellaKernel {
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        self.params.vectors(self.elects).check()?;
        self.params.prune().map(|_| ())
    }
}

impl Kernel for DellaKernel {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        self.check()?;
        let (params, vectors) = (&self.params, self.params.vectors(self.elects));
        if extent.columns == 1 {
            // Every element is kept with the model's density: no need to go row by row.
            return Ok(vectors.step(RandomMask::new(params.stream, &params.densities)?));
        }
        check_width(extent.columns)?;
        Ok(vectors.step(params.prune()?))
    }

    fn selects(&self) -> Option<usize> {
        self.params.vectors(self.elects).selects()
    }
}

/// Drops, rescales and adds: `base + lambda * sum(w_i * d_i)`, over slices of one tensor of
/// this shape each in row-major order, one rounding to the output's type.
///
/// # Errors
/// Lengths that disagree with the shape, numbers of weights, densities or epsilons that are not
/// the number of models, densities and epsilons out of their range, values that are not finite.
///
/// ```
/// use mergecore_dare::{Della, della_linear_slices};
///
/// let (base, model) = ([0.0f64; 1000], [2.0f64; 1000]);
/// let mut out = [0.0; 1000];
/// della_linear_slices(&base, &[&model], &[10, 100], &Della::linear([1.0], [0.5], 3), &mut out)?;
/// let sum: f64 = out.iter().sum(); // rescaled to match the model's
/// assert!((sum - 2000.0).abs() < 1e-9 && out.contains(&0.0));
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
pub fn della_linear_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    shape: &[usize],
    params: &Della,
    out: &mut [T],
) -> Result<(), KernelError> {
    KernelError::check_count("weight", &params.weights, models.len())?;
    merge_models(&params.kernel(false), base, models, shape, out)
}

/// Drops, rescales, elects a sign for each element and adds the models that agree, over slices
/// of one tensor of this shape each in row-major order, one rounding to the output's type.
///
/// # Errors
/// As [`della_linear_slices`].
///
/// ```
/// use mergecore_dare::{Della, della_slices};
///
/// let base = [0.0f32; 2];
/// let models: [&[f32]; 2] = [&[1.0, -3.0], &[2.0, 1.0]];
/// let mut out = [0.0; 2];
/// della_slices(&base, &models, &[1, 2], &Della::new([1.0, 1.0], [1.0, 1.0], 3), &mut out)?;
/// assert_eq!(out, [1.5, -3.0]);
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
pub fn della_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    shape: &[usize],
    params: &Della,
    out: &mut [T],
) -> Result<(), KernelError> {
    KernelError::check_count("weight", &params.weights, models.len())?;
    merge_models(&params.kernel(true), base, models, shape, out)
}

/// [`della_linear_slices`] over arrays of one shape.
///
/// # Errors
/// Shapes that differ, and as there.
///
/// ```
/// use mergecore_dare::{Della, della_linear};
/// use mergecore_kernel::ndarray::array;
///
/// let (base, model) = (array![[1.0f32, 1.0]], array![[2.0f32, 3.0]]);
/// let params = Della { rescale: None, ..Della::linear([1.0], [0.5], 3) };
/// let out = della_linear(base.view(), &[model.view()], &params)?;
/// assert!(out.iter().all(|x| [1.0, 2.0, 3.0].contains(x)));
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn della_linear<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Della,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = params.kernel(false);
    mergecore_kernel::merge_arrays_onto_base(&kernel, &params.weights, base, models)
}

/// [`della_slices`] over arrays of one shape.
///
/// # Errors
/// Shapes that differ, and as there.
///
/// ```
/// use mergecore_dare::{Della, della};
/// use mergecore_kernel::ndarray::array;
///
/// let (base, a, b) = (array![0.0f32], array![1.0f32], array![-2.0f32]);
/// let params = Della::new([1.0, 1.0], [1.0, 1.0], 3);
/// assert_eq!(della(base.view(), &[a.view(), b.view()], &params)?, array![-2.0]);
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn della<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Della,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = params.kernel(true);
    mergecore_kernel::merge_arrays_onto_base(&kernel, &params.weights, base, models)
}
