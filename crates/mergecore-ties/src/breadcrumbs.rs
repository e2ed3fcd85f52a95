//! Model Breadcrumbs: of each task vector neither outliers nor small changes are kept.

use mergecore_kernel::{
    Election, Element, Extent, Kernel, KernelError, Rescale, Step, TaskVectors,
    merge_slices_onto_base, select,
};

use crate::band::{Band, Bands};
use crate::magnitudes::DeltaMagnitudes;

/// Model Breadcrumbs ([arXiv:2312.06795]), tensor by tensor: mask, then add.
///
/// Of each task vector (model minus base) the largest magnitudes are dropped, a fraction
/// `gamma`, and of the others the largest kept, a fraction `density` of all. What is kept is
/// combined, with sign election (`breadcrumbs_ties`) or without (`breadcrumbs`). Base and models
/// have one shape, which is the output's.
///
/// [arXiv:2312.06795]: https://arxiv.org/abs/2312.06795
///
/// ```
/// use mergecore_ties::{Breadcrumbs, breadcrumbs_slices};
///
/// let params = Breadcrumbs { lambda: 0.5, ..Breadcrumbs::new([1.0], [0.5], [0.25]) };
/// let (base, model) = ([0.0f32; 4], [4.0f32, -1.0, 3.0, 60.0]);
/// let mut out = [0.0; 4];
/// breadcrumbs_slices(&base, &[&model], &params, &mut out)?;
/// assert_eq!(out, [2.0, 0.0, 1.5, 0.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Breadcrumbs {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// The fraction of elements to keep, one a model, from 0 to 1: of `n` elements the whole
    /// part of `density * n`. 1 keeps all, outliers too.
    pub densities: Vec<f64>,
    /// The fraction of elements to drop as outliers, one a model, from 0 to 1: of `n` elements
    /// the whole part of `gamma * n`, or fewer where the density leaves fewer. 0 drops none.
    pub gammas: Vec<f64>,
    /// Divide by the sum of the weights used, unless it is zero. Off by default.
    pub normalize: bool,
    /// Factor on the combined delta, any finite number. 1 by default.
    pub lambda: f64,
    /// Whether and how to scale up what is kept. Off by default.
    pub rescale: Option<Rescale>,
    /// How `breadcrumbs_ties` elects signs: by default, by the sum of the weighted deltas.
    pub election: Election,
}

impl Default for Breadcrumbs {
    fn default() -> Self {
        Breadcrumbs {
            weights: Vec::new(),
            densities: Vec::new(),
            gammas: Vec::new(),
            normalize: false,
            lambda: 1.0,
            rescale: None,
            election: Election::default(),
        }
    }
}

impl Breadcrumbs {
    /// Breadcrumbs with these weights, densities and gammas, not normalised, lambda 1, not
    /// rescaled.
    ///
    /// ```
    /// let params = mergecore_ties::Breadcrumbs::new([1.0, 0.5], [0.2, 0.2], [0.01, 0.01]);
    /// assert!(!params.normalize && params.lambda == 1.0 && params.rescale.is_none());
    /// ```
    pub fn new(
        weights: impl Into<Vec<f64>>,
        densities: impl Into<Vec<f64>>,
        gammas: impl Into<Vec<f64>>,
    ) -> Self {
        let (weights, densities) = (weights.into(), densities.into());
        Breadcrumbs { weights, densities, gammas: gammas.into(), ..Breadcrumbs::default() }
    }

    /// With or without sign election.
    pub(crate) fn kernel(&self, elects: bool) -> BreadcrumbsKernel {
        BreadcrumbsKernel { params: self.clone(), elects }
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

/// Of `n` elements, how many are dropped as outliers, and how many these and those kept are
/// together.
fn counts(density: f64, gamma: f64, n: u64) -> [u64; 2] {
    if density >= 1.0 {
        return [0, n];
    }
    let part = |fraction: f64| ((fraction * n as f64) as u64).min(n);
    match part(density) {
        0 => [0, 0],
        // Where both cannot be had, fewer are outliers.
        kept => {
            let outliers = part(gamma).min(n - kept);
            [outliers, outliers + kept]
        }
    }
}

/// Breadcrumbs with or without sign election.
#[derive(Debug, Clone)]
pub(crate) struct BreadcrumbsKernel {
    pub(crate) params: Breadcrumbs,
    pub(crate) elects: bool,
}

impl BreadcrumbsKernel {
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        let Breadcrumbs { weights, gammas, .. } = &self.params;
        self.params.vectors(self.elects).check()?;
        KernelError::check_count("gamma", gammas, weights.len())?;
        gammas.iter().try_for_each(|gamma| KernelError::check_fraction("gamma", *gamma))
    }
}

impl Kernel for BreadcrumbsKernel {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        self.check()?;
        let Breadcrumbs { densities, gammas, .. } = &self.params;
        let models = densities.iter().zip(gammas);
        let counts: Vec<u64> =
            models.flat_map(|(density, gamma)| counts(*density, *gamma, extent.len())).collect();
        let vectors = self.params.vectors(self.elects);
        select(DeltaMagnitudes { lanes_a_model: 2 }, &counts, extent, |cutoffs| {
            let band = |pair: &[_; 2]| Band { outliers: pair[0], kept: pair[1] };
            Ok(vectors.step(Bands(cutoffs.as_chunks().0.iter().map(band).collect())))
        })
    }

    fn selects(&self) -> Option<usize> {
        self.params.vectors(self.elects).selects()
    }
}

/// Masks and adds: `base + lambda * sum(w_i * d_i)`, over slices of equal length, one rounding
/// to the output's type.
///
/// # Errors
/// Slices of different length, numbers of weights, densities or gammas that are not the
/// number of models, densities or gammas outside 0 to 1, values that are not finite.
///
/// ```
/// use mergecore_ties::{Breadcrumbs, breadcrumbs_slices};
///
/// let (base, model) = ([0.0f32; 4], [4.0f32, -1.0, 3.0, 60.0]);
/// let mut out = [0.0; 4];
/// breadcrumbs_slices(&base, &[&model], &Breadcrumbs::new([1.0], [0.5], [0.25]), &mut out)?;
/// assert_eq!(out, [4.0, 0.0, 3.0, 0.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn breadcrumbs_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &Breadcrumbs,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices_onto_base(&params.kernel(false), &params.weights, base, models, out)
}

/// Masks, elects a sign for each element and adds the models that agree, over slices of equal
/// length, one rounding to the output's type.
///
/// # Errors
/// As [`breadcrumbs_slices`].
///
/// ```
/// use mergecore_ties::{Breadcrumbs, breadcrumbs_ties_slices};
///
/// let base = [0.0f32; 4];
/// let models: [&[f32]; 2] = [&[4.0, -1.0, 3.0, 60.0], &[-9.0, 2.0, 1.0, 0.0]];
/// let params = Breadcrumbs::new([1.0, 1.0], [0.5, 0.5], [0.25, 0.0]);
/// let mut out = [0.0; 4];
/// breadcrumbs_ties_slices(&base, &models, &params, &mut out)?;
/// // Kept: 4 and 3 of the one, -9 and 2 of the other.
/// assert_eq!(out, [-9.0, 2.0, 3.0, 0.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn breadcrumbs_ties_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &Breadcrumbs,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices_onto_base(&params.kernel(true), &params.weights, base, models, out)
}

/// [`breadcrumbs_slices`] over arrays of one shape.
///
/// # Errors
/// Shapes that differ, and as there.
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_ties::{Breadcrumbs, breadcrumbs};
///
/// let (base, model) = (array![[0.0f32, 0.0, 0.0]], array![[1.0f32, 9.0, 2.0]]);
/// let params = Breadcrumbs::new([1.0], [0.34], [0.34]);
/// assert_eq!(breadcrumbs(base.view(), &[model.view()], &params)?, array![[0.0, 0.0, 2.0]]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn breadcrumbs<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Breadcrumbs,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = params.kernel(false);
    mergecore_kernel::merge_arrays_onto_base(&kernel, &params.weights, base, models)
}

/// [`breadcrumbs_ties_slices`] over arrays of one shape.
///
/// # Errors
/// Shapes that differ, and as there.
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_ties::{Breadcrumbs, breadcrumbs_ties};
///
/// let (base, a, b) = (array![0.0f32], array![1.0f32], array![-2.0f32]);
/// let params = Breadcrumbs::new([1.0, 1.0], [1.0, 1.0], [0.0, 0.0]);
/// let merged = breadcrumbs_ties(base.view(), &[a.view(), b.view()], &params)?;
/// assert_eq!(merged, array![-2.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn breadcrumbs_ties<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Breadcrumbs,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = params.kernel(true);
    mergecore_kernel::merge_arrays_onto_base(&kernel, &params.weights, base, models)
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn counts_are_the_whole_parts_and_gamma_gives_way() {
        assert_eq!(counts(0.5, 0.25, 8), [2, 6]);
        assert_eq!(counts(0.9, 0.5, 10), [1, 10]);
        assert_eq!(counts(0.5, 0.0, 7), [0, 3]);
        assert_eq!(counts(1.0, 0.5, 7), [0, 7]);
        assert_eq!(counts(0.1, 1.0, 9), [0, 0]); // none is kept, where a trim would keep one
        assert_eq!(counts(0.0, 0.5, 100), [0, 0]);
        assert_eq!(counts(0.3, 0.01, 0), [0, 0]);
        assert_eq!(counts(0.29, 0.58, 100), [57, 85]); // 0.29 * 100 is less than 29
        assert_eq!(counts(1.0f64.next_down(), 1.0, 1 << 60), [128, 1 << 60]);
    }
}
