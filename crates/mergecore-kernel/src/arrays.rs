//! Kernels over `ndarray` views.

use mergecore_tensor::Element;
use ndarray::{Array, ArrayView, Dimension};

use crate::{Kernel, KernelError, merge_slices};

/// Merges arrays of one shape, the base first for methods that have one.
///
/// Views of any layout are taken; the result is in standard (row-major) layout.
///
/// # Errors
/// [`KernelError::Shape`] where shapes differ, [`KernelError::InputCount`]
/// without any input, and what the kernel reports.
///
/// # Panics
/// Where the kernel asks for an input that is not there.
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_kernel::{Combination, Extent, Kernel, KernelError, Step, merge_arrays};
///
/// #[derive(Debug)]
/// struct Mean;
///
/// impl Kernel for Mean {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::apply(Combination::average(vec![0.5, 0.5])))
///     }
/// }
///
/// let (a, b) = (array![[1.0f32, 2.0]], array![[3.0f32, 5.0]]);
/// assert_eq!(merge_arrays(&Mean, &[a.view(), b.view()])?, array![[2.0, 3.5]]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn merge_arrays<T: Element, D: Dimension>(
    kernel: &dyn Kernel,
    inputs: &[ArrayView<'_, T, D>],
) -> Result<Array<T, D>, KernelError> {
    let Some(first) = inputs.first() else {
        return Err(KernelError::InputCount {
            method: "merge",
            expected: "at least one input",
            found: 0,
        });
    };
    for (index, input) in inputs.iter().enumerate() {
        if input.shape() != first.shape() {
            let (expected, found) = (first.shape().to_vec(), input.shape().to_vec());
            return Err(KernelError::Shape { input: index, expected, found });
        }
    }
    let rows: Vec<_> = inputs.iter().map(|input| input.as_standard_layout()).collect();
    let slices: Vec<&[T]> = rows.iter().filter_map(|input| input.as_slice()).collect();
    let mut out = Array::default(first.raw_dim());
    if let Some(out) = out.as_slice_mut() {
        merge_slices(kernel, &slices, first.shape(), out)?;
    }
    Ok(out)
}

/// [`merge_arrays`] of arrays onto a base: checks that there is a weight for each
/// model, and puts the base first.
///
/// # Errors
/// [`KernelError::ParameterCount`], and as [`merge_arrays`].
///
/// # Panics
/// As [`merge_arrays`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// # use mergecore_kernel::{Combination, Extent, Kernel};
/// use mergecore_kernel::{KernelError, Step, merge_arrays_onto_base};
///
/// # #[derive(Debug)]
/// # struct Mean;
/// # impl Kernel for Mean {
/// #     fn first(&self, _: Extent) -> Result<Step, KernelError> {
/// #         Ok(Step::apply(Combination::average(vec![0.5, 0.5])))
/// #     }
/// # }
/// let (base, model) = (array![1.0f32], array![3.0f32]);
/// let mean = merge_arrays_onto_base(&Mean, &[1.0], base.view(), &[model.view()])?;
/// assert_eq!(mean, array![2.0]);
///
/// let error = merge_arrays_onto_base(&Mean, &[1.0], base.view(), &[]).unwrap_err();
/// assert!(matches!(error, KernelError::ParameterCount { parameter: "weight", .. }));
/// # Ok::<(), KernelError>(())
/// ```
pub fn merge_arrays_onto_base<T: Element, D: Dimension>(
    kernel: &dyn Kernel,
    weights: &[f64],
    base: ArrayView<'_, T, D>,
    models: &[ArrayView<'_, T, D>],
) -> Result<Array<T, D>, KernelError> {
    KernelError::check_count("weight", weights, models.len())?;
    merge_model_arrays(kernel, base, models)
}

/// [`merge_arrays`] with the base given apart, which is the first input.
///
/// # Errors
/// As [`merge_arrays`].
///
/// # Panics
/// As [`merge_arrays`].
///
/// ```
/// use mergecore_kernel::merge_model_arrays;
/// use mergecore_kernel::ndarray::array;
/// # use mergecore_kernel::{Combination, Extent, Kernel, KernelError, Step};
///
/// # #[derive(Debug)]
/// # struct Mean;
/// # impl Kernel for Mean {
/// #     fn first(&self, _: Extent) -> Result<Step, KernelError> {
/// #         Ok(Step::apply(Combination::average(vec![0.5, 0.5])))
/// #     }
/// # }
/// let (base, model) = (array![1.0f32], array![3.0f32]);
/// assert_eq!(merge_model_arrays(&Mean, base.view(), &[model.view()])?, array![2.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn merge_model_arrays<T: Element, D: Dimension>(
    kernel: &dyn Kernel,
    base: ArrayView<'_, T, D>,
    models: &[ArrayView<'_, T, D>],
) -> Result<Array<T, D>, KernelError> {
    let inputs: Vec<_> = std::iter::once(base).chain(models.iter().cloned()).collect();
    merge_arrays(kernel, &inputs)
}
