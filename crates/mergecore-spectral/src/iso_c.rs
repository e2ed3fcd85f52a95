//! Iso-C: the summed change with all its singular values made equal.

use mergecore_kernel::{
    Base, Binding, Element, Extent, Inputs, Kernel, KernelError, Method, Parameter, ReadInputs,
    Step, Whole,
};

use crate::interruptible::interruptible;
use crate::svd::Svd;
use crate::task_matrix::{
    Change, Common, DECOMPOSE, WEIGHT, add, memory, merge_onto_base, merged, read_change, scaled,
    unchanged,
};

/// Isotropic merging in the common subspace, Iso-C ([arXiv:2502.04959]): the models' changes of
/// a matrix are summed, and of the sum each singular value is replaced by the mean of all.
///
/// Tensors that are no matrices get the mean of the changes. Base and models have one shape,
/// which is the output's.
///
/// [arXiv:2502.04959]: https://arxiv.org/abs/2502.04959
///
/// ```
/// use mergecore_spectral::{IsoC, iso_c_slices};
///
/// // One model doubles the first row, the other one the second, by more.
/// let (base, a, b) = ([1.0f32, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 4.0]);
/// let mut out = [0.0; 4];
/// iso_c_slices(&base, &[&a, &b], &[2, 2], &IsoC::new([1.0, 1.0]), &mut out)?;
/// assert_eq!(out, [3.0, 0.0, 0.0, 3.0]); // changes of 1 and 3 became 2 each
/// # Ok::<(), mergecore_spectral::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct IsoC {
    /// One weight a model, any finite number: its change counts that many times.
    pub weights: Vec<f64>,
    /// Factor on the merged change, any finite number: the paper's alpha. 1 by default.
    pub lambda: f64,
    /// Decompose matrices; `false` takes the mean of the changes, as for vectors. On by default.
    pub decompose: bool,
}

impl Default for IsoC {
    fn default() -> Self {
        IsoC { weights: Vec::new(), lambda: 1.0, decompose: true }
    }
}

impl IsoC {
    /// Iso-C with these weights and lambda 1.
    ///
    /// ```
    /// use mergecore_spectral::IsoC;
    ///
    /// let params = IsoC { lambda: 1.3, ..IsoC::new([1.0, 1.0]) };
    /// assert!(params.decompose);
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>) -> Self {
        IsoC { weights: weights.into(), ..IsoC::default() }
    }

    fn common(&self) -> Common<'_> {
        Common { weights: &self.weights, lambda: self.lambda, decompose: self.decompose }
    }
}

impl Kernel for IsoC {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        self.common().first(extent, Flatten(self.clone()))
    }

    fn selects(&self) -> Option<usize> {
        let common = self.common();
        match common.adds_nothing() {
            true => Some(0),
            false => (!self.decompose && common.is_lone_model()).then_some(1),
        }
    }
}

/// Decomposes the summed change.
struct Flatten(IsoC);

impl Whole for Flatten {
    fn run(&self, extent: Extent, inputs: &dyn ReadInputs) -> Result<Step, KernelError> {
        let IsoC { weights, lambda, .. } = &self.0;
        let lambda = *lambda;
        let models: Vec<_> =
            weights.iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
        let sum = read_change(extent, inputs, &models)?;
        let change = interruptible(sum.shape(), inputs, move |stop| {
            let Some(Change { matrix, scale }) = scaled(sum)? else { return Ok(None) };
            let svd = Svd::new(matrix, stop)?;
            let mean = svd.values().iter().sum::<f64>() / svd.values().len() as f64;
            Ok(Some(merged(extent, &svd.polar(), lambda * mean * scale)))
        })?;
        Ok(change.map_or_else(|| unchanged(weights.len()), add))
    }

    fn memory(&self, extent: Extent) -> u64 {
        memory(extent, 2, 5)
    }
}

/// Merges slices of one tensor of this shape each, in row-major order, into `out`, one rounding
/// to its type.
///
/// # Errors
/// Slices whose length is not the shape's, a number of weights that is not the number of models,
/// values that are not finite, a matrix with NaN or infinite elements.
///
/// ```
/// use mergecore_spectral::{IsoC, iso_c_slices};
///
/// let mut out = [0.0f32; 2];
/// iso_c_slices(&[1.0, 1.0], &[&[2.0, 1.0], &[1.0, 3.0]], &[2], &IsoC::new([1.0, 1.0]), &mut out)?;
/// assert_eq!(out, [1.5, 2.0]); // a vector: the mean of the changes
/// # Ok::<(), mergecore_spectral::KernelError>(())
/// ```
pub fn iso_c_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    shape: &[usize],
    params: &IsoC,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_onto_base(params, &params.weights, base, models, shape, out)
}

/// Merges arrays of one shape, which is also the result's; one rounding to their type.
///
/// # Errors
/// Shapes that differ, and as [`iso_c_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_spectral::{IsoC, iso_c};
///
/// let (base, model) = (array![[0.0, 0.0], [0.0, 0.0]], array![[1.0, 0.0], [0.0, 3.0]]);
/// let flat = iso_c(base.view(), &[model.view()], &IsoC::new([1.0]))?;
/// assert_eq!(flat, array![[2.0, 0.0], [0.0, 2.0]]);
/// # Ok::<(), mergecore_spectral::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn iso_c<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &IsoC,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays_onto_base(params, &params.weights, base, models)
}

/// `iso_c` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_spectral::IsoCMethod;
///
/// assert_eq!(IsoCMethod.name(), "iso_c");
/// let names: Vec<&str> = IsoCMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["weight", "lambda", "decompose"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct IsoCMethod;

impl Method for IsoCMethod {
    fn name(&self) -> &str {
        "iso_c"
    }

    fn title(&self) -> &str {
        "Iso-C"
    }

    fn summary(&self) -> &str {
        "Sums the changes of each matrix and makes the singular values of the sum equal"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2502.04959")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 3] = [WEIGHT, Parameter::LAMBDA, DECOMPOSE];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let params = IsoC {
            weights: binding.numbers("weight"),
            lambda: binding.shared.number("lambda").unwrap_or(1.0),
            decompose: binding.shared.flag("decompose").unwrap_or(true),
        };
        params.common().check()?;
        Ok(Box::new(params))
    }
}
