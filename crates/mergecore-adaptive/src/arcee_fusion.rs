//! Taking over the changes that matter most.

use mergecore_kernel::{
    Base, Binding, Combination, Element, Extent, Inputs, Kernel, KernelError, Method, Parameter,
    Step, merge_slices,
};

use crate::importance::RowScan;

/// Arcee Fusion: takes those elements of another model that matter most, and of the base the
/// rest. Both have one shape, which is the output's.
///
/// An element's importance is its change's magnitude times the Kullback-Leibler divergence of
/// its rows' softmax (along the last axis; a vector is one row). Taken is what reaches the
/// median importance plus one and a half times the range between the quartiles, all three being
/// exact. There are no parameters.
///
/// Source: the method of this name in [mergekit].
///
/// [mergekit]: https://github.com/arcee-ai/mergekit
///
/// ```
/// use mergecore_adaptive::{ArceeFusion, arcee_fusion_slices};
///
/// let (base, other) = ([0.0f32; 8], [0.1, -0.1, 0.2, 0.1, 9.0, 0.1, 0.2, -0.1]);
/// let mut out = [0.0; 8];
/// arcee_fusion_slices(&base, &other, &[8], &ArceeFusion, &mut out)?;
/// assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArceeFusion;

impl Kernel for ArceeFusion {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        // Where rows have one element at most, nothing matters more than the rest.
        if extent.is_empty() || extent.columns == 1 {
            return Ok(Step::apply(Combination::select(1, 2)));
        }
        Ok(Step::scan(RowScan::new(extent)))
    }
}

/// Fuses slices of one tensor of this shape each, in row-major order, into `out`, one rounding
/// to its type.
///
/// # Errors
/// Lengths that disagree with the shape.
///
/// ```
/// use mergecore_adaptive::{ArceeFusion, arcee_fusion_slices};
///
/// // The second row is another distribution, the first hardly so.
/// let (base, other) = ([0.0f32; 8], [0.1, 0.1, 0.1, 0.1, 3.0, 0.0, 0.0, 0.0]);
/// let mut out = [0.0; 8];
/// arcee_fusion_slices(&base, &other, &[2, 4], &ArceeFusion, &mut out)?;
/// assert_eq!(out[4..], other[4..]);
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
pub fn arcee_fusion_slices<T: Element>(
    base: &[T],
    other: &[T],
    shape: &[usize],
    params: &ArceeFusion,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices(params, &[base, other], shape, out)
}

/// Fuses arrays of one shape, which is also the result's; one rounding to their type.
///
/// # Errors
/// Shapes that differ.
///
/// ```
/// use mergecore_adaptive::{ArceeFusion, arcee_fusion};
/// use mergecore_kernel::ndarray::array;
///
/// let base = array![0.0f32, 0.0, 0.0, 0.0, 0.0, 0.0];
/// let other = array![0.1f32, -0.1, 0.2, 9.0, 0.1, 0.2];
/// let fused = arcee_fusion(base.view(), other.view(), &ArceeFusion)?;
/// assert_eq!(fused, array![0.0, 0.0, 0.0, 9.0, 0.0, 0.0]);
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn arcee_fusion<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    other: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    params: &ArceeFusion,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays(params, &[base, other])
}

/// `arcee_fusion` as recipes name it: what matters of the other model goes into the base.
///
/// ```
/// use mergecore_adaptive::ArceeFusionMethod;
/// use mergecore_kernel::Method;
///
/// assert_eq!(ArceeFusionMethod.name(), "arcee_fusion");
/// assert_eq!(ArceeFusionMethod.inputs().models, 1..=1);
/// assert!(ArceeFusionMethod.parameters().is_empty());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ArceeFusionMethod;

impl Method for ArceeFusionMethod {
    fn name(&self) -> &str {
        "arcee_fusion"
    }

    fn title(&self) -> &str {
        "Arcee Fusion"
    }

    fn summary(&self) -> &str {
        "Takes over into the base the changes of another model that matter most"
    }

    fn source(&self) -> Option<&str> {
        Some("https://github.com/arcee-ai/mergekit")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 1..=1 }
    }

    fn parameters(&self) -> &[Parameter] {
        &[]
    }

    fn bind(&self, _: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        Ok(Box::new(ArceeFusion))
    }
}
