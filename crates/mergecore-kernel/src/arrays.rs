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
