//! Drop at random and rescale.

use mergecore_kernel::{
    Election, Element, Extent, Kernel, KernelError, Prune, RandomMask, Rescale, Simd, Step,
    StreamKey, TaskVectors, merge_slices_onto_base,
};

/// DARE ([arXiv:2311.03099]): drop at random, rescale, combine.
///
/// Each element of each task vector (model minus base) is kept with probability
/// `density` and scaled up by its inverse, then the task vectors are combined, with
/// sign election (`dare_ties`) or without (`dare_linear`). Base and models have one
/// shape, which is the output's.
///
/// [arXiv:2311.03099]: https://arxiv.org/abs/2311.03099
///
/// ```
/// use mergecore_dare::{Dare, dare_linear_slices};
///
/// // Drop without rescaling: each element is the base's or the model's.
/// let params = Dare { rescale: None, ..Dare::new([1.0], [0.5], 3) };
/// let (base, model) = ([1.0f32; 4], [2.0f32; 4]);
/// let mut out = [0.0; 4];
/// dare_linear_slices(&base, &[&model], &params, &mut out)?;
/// assert!(out.iter().all(|x| *x == 1.0 || *x == 2.0));
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dare {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// The probability of keeping an element, one a model, from 0 to 1.
    pub densities: Vec<f64>,
    /// Divide by the sum of the weights used, unless it is zero. Off by default.
    pub normalize: bool,
    /// Factor on the combined delta, any finite number. 1 by default.
    pub lambda: f64,
    /// How to make good for what was dropped; by default divide by the density.
    pub rescale: Option<Rescale>,
    /// How `dare_ties` elects signs: by default, by the sum of the weighted deltas.
    pub election: Election,
    /// Key of the random stream that the masks are drawn from; seed 0 by default.
    pub stream: StreamKey,
}

impl Default for Dare {
    fn default() -> Self {
        Dare {
            weights: Vec::new(),
            densities: Vec::new(),
            normalize: false,
            lambda: 1.0,
            rescale: Some(Rescale::Density),
            election: Election::default(),
            stream: StreamKey::from_seed(0),
        }
    }
}

impl Dare {
    /// DARE with these weights and densities, masks from this seed.
    ///
    /// ```
    /// use mergecore_dare::{Dare, StreamKey};
    ///
    /// let params = Dare::new([1.0], [0.1], 42);
    /// assert_eq!(params.stream, StreamKey::from_seed(42));
    /// assert!(!params.normalize && params.rescale.is_some());
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>, densities: impl Into<Vec<f64>>, seed: u64) -> Self {
        let stream = StreamKey::from_seed(seed);
        Dare { weights: weights.into(), densities: densities.into(), stream, ..Dare::default() }
    }

    /// Which of the elements from flat index `start` on are kept of model `model`
    /// (counted from zero, the base not included): the very masks of a merge.
    ///
    /// # Errors
    /// Densities outside 0 to 1.
    ///
    /// # Panics
    /// If there is no density for that model.
    ///
    /// ```
    /// let dare = mergecore_dare::Dare::new([1.0], [0.25], 42);
    /// let mask = dare.mask(0, 0, 100_000)?;
    /// let kept = mask.iter().filter(|kept| **kept).count();
    /// assert!((24_000..26_000).contains(&kept));
    /// # Ok::<(), mergecore_dare::KernelError>(())
    /// ```
    pub fn mask(&self, model: usize, start: u64, len: usize) -> Result<Vec<bool>, KernelError> {
        let (zeros, ones, mut kept) = (vec![0f32; len], vec![1f32; len], vec![0f32; len]);
        let mask = RandomMask::new(self.stream, &self.densities)?;
        mask.prune(Simd::detect(), model, start, &zeros, &ones, &mut kept);
        Ok(kept.into_iter().map(|kept| kept != 0.0).collect())
    }

    /// With or without sign election.
    pub(crate) fn kernel(&self, elects: bool) -> DareKernel {
        DareKernel { params: self.clone(), elects }
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

/// DARE with or without sign election.
#[derive(Debug, Clone)]
pub(crate) struct DareKernel {
    pub(crate) params: Dare,
    pub(crate) elects: bool,
}

impl DareKernel {
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        self.params.vectors(self.elects).check()
    }
}

impl Kernel for DareKernel {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        self.check()?;
        let mask = RandomMask::new(self.params.stream, &self.params.densities)?;
        Ok(self.params.vectors(self.elects).step(mask))
    }

    fn selects(&self) -> Option<usize> {
        self.params.vectors(self.elects).selects()
    }
}

/// Drops, rescales and adds: `base + lambda * sum(w_i * d_i)`, over slices of
/// equal length, one rounding to the output's type.
///
/// # Errors
/// Slices of different length, numbers of weights or densities that are not the
/// number of models, densities outside 0 to 1, values that are not finite.
///
/// ```
/// use mergecore_dare::{Dare, dare_linear_slices};
///
/// let (base, model) = ([1.0f32; 4], [2.0f32; 4]);
/// let mut out = [0.0; 4];
/// dare_linear_slices(&base, &[&model], &Dare::new([1.0], [0.5], 3), &mut out)?;
/// assert!(out.iter().all(|x| *x == 1.0 || *x == 3.0));
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
pub fn dare_linear_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &Dare,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices_onto_base(&params.kernel(false), &params.weights, base, models, out)
}

/// Drops, rescales, elects a sign for each element and adds the models that
/// agree, over slices of equal length, one rounding to the output's type.
///
/// # Errors
/// As [`dare_linear_slices`].
///
/// ```
/// use mergecore_dare::{Dare, dare_ties_slices};
///
/// let base = [0.0f32; 2];
/// let models: [&[f32]; 2] = [&[1.0, -3.0], &[2.0, 1.0]];
/// let mut out = [0.0; 2];
/// dare_ties_slices(&base, &models, &Dare::new([1.0, 1.0], [1.0, 1.0], 3), &mut out)?;
/// assert_eq!(out, [3.0, -3.0]);
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
pub fn dare_ties_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &Dare,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices_onto_base(&params.kernel(true), &params.weights, base, models, out)
}

/// [`dare_linear_slices`] over arrays of one shape.
///
/// # Errors
/// Shapes that differ, and as there.
///
/// ```
/// use mergecore_dare::{Dare, dare_linear};
/// use mergecore_kernel::ndarray::array;
///
/// let (base, model) = (array![1.0f32, 1.0], array![2.0f32, 2.0]);
/// let out = dare_linear(base.view(), &[model.view()], &Dare::new([1.0], [0.5], 3))?;
/// assert!(out.iter().all(|x| *x == 1.0 || *x == 3.0));
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn dare_linear<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Dare,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = params.kernel(false);
    mergecore_kernel::merge_arrays_onto_base(&kernel, &params.weights, base, models)
}

/// [`dare_ties_slices`] over arrays of one shape.
///
/// # Errors
/// Shapes that differ, and as there.
///
/// ```
/// use mergecore_dare::{Dare, dare_ties};
/// use mergecore_kernel::ndarray::array;
///
/// let (base, a, b) = (array![0.0f32], array![1.0f32], array![-2.0f32]);
/// let out = dare_ties(base.view(), &[a.view(), b.view()], &Dare::new([1.0, 1.0], [1.0, 1.0], 3))?;
/// assert_eq!(out, array![-2.0]);
/// # Ok::<(), mergecore_dare::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn dare_ties<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Dare,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = params.kernel(true);
    mergecore_kernel::merge_arrays_onto_base(&kernel, &params.weights, base, models)
}
