//! TSV-Merge: the leading singular vectors of each model's change, made orthogonal to those of
//! the others.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use mergecore_kernel::{
    Base, Binding, DefaultValue, Element, Extent, Inputs, Kernel, KernelError, Method, Parameter,
    ParameterKind, ReadInputs, Scope, Step, Whole,
};

use crate::interruptible::interruptible;
use crate::svd::{Svd, polar};
use crate::task_matrix::{
    Change, Common, DECOMPOSE, WEIGHT, add, memory, merge_onto_base, merged, read_change, scaled,
    unchanged, zeros,
};

/// TSV-Merge ([arXiv:2412.00081]): of each of T models' change of a matrix the first 1/T of the
/// singular values and vectors are kept; the kept vectors of all models are made orthogonal to
/// each other, and what they then make up is the merged change.
///
/// Tensors that are no matrices get the mean of the changes. Base and models have one shape,
/// which is the output's.
///
/// [arXiv:2412.00081]: https://arxiv.org/abs/2412.00081
///
/// ```
/// use mergecore_spectral::{Tsv, tsv_slices};
///
/// // What each model changes most does not disturb the other; the lesser changes are dropped.
/// let (base, a, b) = ([0.0f32; 4], [2.0, 0.0, 0.0, 0.5], [0.25, 0.0, 0.0, 3.0]);
/// let mut out = [0.0; 4];
/// tsv_slices(&base, &[&a, &b], &[2, 2], &Tsv::new([1.0, 1.0]), &mut out)?;
/// assert_eq!(out, [2.0, 0.0, 0.0, 3.0]);
/// # Ok::<(), mergecore_spectral::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tsv {
    /// One weight a model, any finite number: its change counts that many times.
    pub weights: Vec<f64>,
    /// Factor on the merged change, any finite number: the paper's alpha. 1 by default.
    pub lambda: f64,
    /// The fraction of singular values kept of each model, from 0 to 1. `None`, the default, is
    /// one over the number of models.
    pub rank_fraction: Option<f64>,
    /// Decompose matrices; `false` takes the mean of the changes, as for vectors. On by default.
    pub decompose: bool,
}

impl Default for Tsv {
    fn default() -> Self {
        Tsv { weights: Vec::new(), lambda: 1.0, rank_fraction: None, decompose: true }
    }
}

impl Tsv {
    /// TSV-Merge with these weights, lambda 1, and as many singular values of each model that
    /// those of all models fill the matrix.
    ///
    /// ```
    /// use mergecore_spectral::Tsv;
    ///
    /// let params = Tsv { rank_fraction: Some(0.1), ..Tsv::new([1.0, 1.0]) };
    /// assert_eq!(params.lambda, 1.0);
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>) -> Self {
        Tsv { weights: weights.into(), ..Tsv::default() }
    }

    fn common(&self) -> Common<'_> {
        Common { weights: &self.weights, lambda: self.lambda, decompose: self.decompose }
    }

    fn check(&self) -> Result<(), KernelError> {
        let fraction = self.rank_fraction.unwrap_or(1.0);
        KernelError::check_fraction("rank_fraction", fraction)?;
        self.common().check()
    }

    /// Whether the change comes out as it is: with one model all of whose singular values are
    /// kept.
    fn keeps_all_of_one(&self) -> bool {
        self.weights.len() == 1 && self.rank_fraction.is_none_or(|fraction| fraction == 1.0)
    }

    /// How many singular values are kept of each model, out of so many.
    fn keeps(&self, values: usize) -> usize {
        match self.rank_fraction {
            Some(0.0) => 0,
            Some(fraction) => ((fraction * values as f64) as usize).clamp(1, values),
            None => (values / self.weights.len()).max(1),
        }
    }
}

impl Kernel for Tsv {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        self.check()?;
        let common = self.common();
        let decompose = self.decompose && !self.keeps_all_of_one();
        Common { decompose, ..common }.first(extent, Orthogonalize(self.clone()))
    }

    fn selects(&self) -> Option<usize> {
        let common = self.common();
        match common.adds_nothing() {
            true => Some(0),
            false => {
                let as_it_is = !self.decompose || self.keeps_all_of_one();
                (as_it_is && common.is_lone_model()).then_some(1)
            }
        }
    }
}

/// Decomposes each model's change, one after the other, and merges what is kept.
struct Orthogonalize(Tsv);

impl Whole for Orthogonalize {
    fn run(&self, extent: Extent, inputs: &dyn ReadInputs) -> Result<Step, KernelError> {
        let Tsv { weights, lambda, .. } = &self.0;
        let keep = self.0.keeps(extent.rows.min(extent.columns) as usize);
        let count = keep * weights.iter().filter(|w| **w != 0.0).count();
        let mut kept = Kept::new(extent, count, inputs)?;
        for (model, weight) in weights.iter().copied().enumerate().filter(|(_, w)| *w != 0.0) {
            let change = read_change(extent, inputs, &[(model, weight)])?;
            kept = interruptible(change.shape(), inputs, move |stop| {
                if let Some(Change { matrix, scale }) = scaled(change)? {
                    let svd = Svd::new(matrix, stop)?;
                    kept.add(&svd, keep.min(svd.rank()), scale);
                }
                Ok(kept)
            })?;
        }
        if kept.values.is_empty() {
            return Ok(unchanged(weights.len()));
        }
        let lambda = *lambda;
        let change = interruptible(kept.shape(), inputs, move |stop| {
            Ok(merged(extent, &kept.merged(stop)?, lambda))
        })?;
        Ok(add(change))
    }

    fn memory(&self, extent: Extent) -> u64 {
        let side = extent.rows.min(extent.columns);
        let models = self.0.weights.len() as u64;
        let kept = (self.0.keeps(side as usize) as u64).saturating_mul(models).max(side);
        let more = (kept - side).saturating_mul(extent.rows + extent.columns).saturating_mul(8);
        memory(extent, 3, 7).saturating_add(more)
    }
}

/// The singular values and vectors kept of the models so far.
struct Kept {
    left: Mat<f64>,
    values: Vec<f64>,
    right: Mat<f64>,
}

impl Kept {
    /// With room for so many.
    fn new(extent: Extent, count: usize, inputs: &dyn ReadInputs) -> Result<Self, KernelError> {
        let (rows, columns) = (extent.rows as usize, extent.columns as usize);
        Ok(Kept {
            left: zeros(rows.max(columns), count, inputs)?,
            values: Vec::with_capacity(count),
            right: zeros(rows.min(columns), count, inputs)?,
        })
    }

    /// That of the largest matrix to be decomposed or made.
    fn shape(&self) -> (usize, usize) {
        (self.left.nrows(), self.values.len().max(self.right.nrows()))
    }

    /// Adds the first of a model's.
    fn add(&mut self, svd: &Svd, count: usize, scale: f64) {
        let (left, right) = svd.vectors(count);
        self.left.subcols_mut(self.values.len(), count).copy_from(left);
        self.right.subcols_mut(self.values.len(), count).copy_from(right);
        self.values.extend(svd.values()[..count].iter().map(|value| value * scale));
    }

    /// What they make up once they are orthogonal.
    fn merged(mut self, stop: &dyn Fn() -> bool) -> Result<Mat<f64>, KernelError> {
        let count = self.values.len();
        self.left.truncate(self.left.nrows(), count);
        self.right.truncate(self.right.nrows(), count);
        let mut left = polar(self.left, stop)?;
        for (column, value) in self.values.iter().enumerate() {
            left.col_as_slice_mut(column).iter_mut().for_each(|element| *element *= value);
        }
        let right = polar(self.right, stop)?;
        if stop() {
            return Err(KernelError::Interrupted);
        }
        Ok(product(left.as_ref(), right.transpose()))
    }
}

fn product(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(left.nrows(), right.ncols());
    matmul(product.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
    product
}

/// Merges slices of one tensor of this shape each, in row-major order, into `out`, one rounding
/// to its type.
///
/// # Errors
/// Slices whose length is not the shape's, a number of weights that is not the number of models,
/// values that are not finite, a rank fraction outside 0 to 1, a matrix with NaN or infinite
/// elements.
///
/// ```
/// use mergecore_spectral::{Tsv, tsv_slices};
///
/// // Models that agree: what is kept of the change comes out once.
/// let (base, model) = ([0.0f64; 4], [4.0, 0.0, 0.0, 1.0]);
/// let mut out = [0.0; 4];
/// tsv_slices(&base, &[&model, &model], &[2, 2], &Tsv::new([1.0, 1.0]), &mut out)?;
/// assert!((out[0] - 4.0).abs() < 1e-14 && out[1..].iter().all(|x| x.abs() < 1e-14));
/// # Ok::<(), mergecore_spectral::KernelError>(())
/// ```
pub fn tsv_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    shape: &[usize],
    params: &Tsv,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_onto_base(params, &params.weights, base, models, shape, out)
}

/// Merges arrays of one shape, which is also the result's; one rounding to their type.
///
/// # Errors
/// Shapes that differ, and as [`tsv_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_spectral::{Tsv, tsv};
///
/// let (base, model) = (array![[0.0f32, 0.0], [0.0, 0.0]], array![[1.0, 0.0], [0.0, 3.0]]);
/// let half = Tsv { rank_fraction: Some(0.5), ..Tsv::new([1.0]) };
/// assert_eq!(tsv(base.view(), &[model.view()], &half)?, array![[0.0, 0.0], [0.0, 3.0]]);
/// # Ok::<(), mergecore_spectral::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn tsv<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Tsv,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays_onto_base(params, &params.weights, base, models)
}

/// `tsv` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_spectral::TsvMethod;
///
/// assert_eq!(TsvMethod.name(), "tsv");
/// let names: Vec<&str> = TsvMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["weight", "lambda", "rank_fraction", "decompose"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TsvMethod;

impl Method for TsvMethod {
    fn name(&self) -> &str {
        "tsv"
    }

    fn title(&self) -> &str {
        "TSV-Merge"
    }

    fn summary(&self) -> &str {
        "Keeps the leading singular vectors of each model's change and makes them orthogonal"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2412.00081")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 4] = [
            WEIGHT,
            Parameter::LAMBDA,
            Parameter {
                name: "rank_fraction",
                scope: Scope::Shared,
                kind: ParameterKind::FRACTION,
                default: DefaultValue::Unset,
                help: "fraction of singular values kept of each change; one over the number of models where unset",
            },
            DECOMPOSE,
        ];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let params = Tsv {
            weights: binding.numbers("weight"),
            lambda: binding.shared.number("lambda").unwrap_or(1.0),
            rank_fraction: binding.shared.number("rank_fraction"),
            decompose: binding.shared.flag("decompose").unwrap_or(true),
        };
        params.check()?;
        Ok(Box::new(params))
    }
}
