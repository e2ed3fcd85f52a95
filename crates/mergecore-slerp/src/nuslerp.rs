//! Spherical interpolation by weights, of whole tensors, rows or columns.

use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Element, Extent, GramScan, Inputs, Kernel,
    KernelError, Method, Parameter, ParameterKind, Scope, Step, merge_slices,
};

use crate::columns::ColumnScan;
use crate::pair::Pair;
use crate::rows::Rows;

/// NuSLERP: spherical interpolation of two models, or of what they changed of a base, at
/// `t = w_1 / (w_0 + w_1)`. Models and base have one shape, which is the output's.
///
/// The vectors that are interpolated are whole tensors, rows or columns. Parallel and
/// antiparallel ones (as far as rounded sums tell: up to 1e-14 of their angle's squared sine)
/// are interpolated linearly, without the threshold that [`Slerp`](crate::Slerp) has; a norm
/// below 1e-7 counts as 1e-7. Source: K. Shoemake, [*Animating rotation with quaternion
/// curves*](https://doi.org/10.1145/325334.325242), SIGGRAPH 1985.
///
/// ```
/// use mergecore_slerp::{NuSlerp, nuslerp_slices};
///
/// // Each row turns by itself: the first by 30 of 90 degrees, the second not at all.
/// let (a, b) = ([0.0, 1.0, 2.0, 0.0], [1.0, 0.0, 5.0, 0.0]);
/// let by_rows = NuSlerp { flatten: false, ..NuSlerp::new([2.0, 1.0]) };
/// let mut out = [0.0f64; 4];
/// nuslerp_slices(None, &[&a, &b], &[2, 2], &by_rows, &mut out)?;
/// assert!((out[0] - 0.5).abs() < 1e-15 && (out[2] - 3.0).abs() < 1e-15);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NuSlerp {
    /// The models' weights, any finite numbers; `t` is 0.5 where they sum to zero
    /// (|sum| < 1e-6).
    pub weights: [f64; 2],
    /// Whether the whole tensor is one vector. On by default.
    pub flatten: bool,
    /// Where not, whether the vectors lie along the first axis (a matrix's columns) instead of
    /// the last (its rows). Off by default.
    pub row_wise: bool,
}

impl Default for NuSlerp {
    fn default() -> Self {
        NuSlerp { weights: [0.5, 0.5], flatten: true, row_wise: false }
    }
}

impl NuSlerp {
    /// Interpolation of whole tensors with these weights.
    ///
    /// ```
    /// let params = mergecore_slerp::NuSlerp::new([0.7, 0.3]);
    /// assert!(params.flatten && !params.row_wise);
    /// ```
    pub fn new(weights: [f64; 2]) -> Self {
        NuSlerp { weights, ..NuSlerp::default() }
    }

    fn t(&self) -> f64 {
        let total = self.weights[0] + self.weights[1];
        if total.abs() < 1e-6 { 0.5 } else { self.weights[1] / total }
    }

    fn check(&self) -> Result<(), KernelError> {
        self.weights.iter().try_for_each(|w| KernelError::check_finite("weight", *w))?;
        // Dividing by infinity would drop a model in silence.
        KernelError::check_finite("sum of weights", self.weights[0] + self.weights[1])
    }
}

#[derive(Debug)]
struct NuSlerpKernel {
    params: NuSlerp,
    base: bool,
}

impl Kernel for NuSlerpKernel {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        self.params.check()?;
        let NuSlerpKernel { params, base } = *self;
        if let Some(end) = self.selects() {
            return Ok(Step::apply(Combination::select(end, 2 + usize::from(base))));
        }
        let t = params.t();
        let columns = extent.len() / extent.first_axis.max(1);
        match params {
            NuSlerp { flatten: false, row_wise: false, .. } if extent.rows > 1 => {
                Ok(Step::apply(Rows { t, base }))
            }
            NuSlerp { flatten: false, row_wise: true, .. } if columns > 1 => {
                Ok(Step::scan(ColumnScan::new(t, base, columns)))
            }
            _ => {
                let then = move |gram: &_| Ok(Pair::of_gram(t, gram).step(base));
                let scan = if base { GramScan::of_deltas } else { GramScan::new };
                Ok(Step::scan(scan(2, then)))
            }
        }
    }

    fn selects(&self) -> Option<usize> {
        match self.params.t() {
            0.0 => Some(usize::from(self.base)),
            1.0 => Some(1 + usize::from(self.base)),
            _ => None,
        }
    }
}

/// Interpolates two slices into `out`, one rounding to its type: tensors of this shape in
/// row-major order. With a base, what they changed of it is interpolated and added to it.
///
/// # Errors
/// Slices whose length is not that of the shape; weights that are not finite.
///
/// ```
/// use mergecore_slerp::{NuSlerp, nuslerp_slices};
///
/// let (base, a, b) = ([1.0f32, 1.0], [2.0, 1.0], [1.0, 2.0]);
/// let mut out = [0.0; 2];
/// nuslerp_slices(Some(&base), &[&a, &b], &[2], &NuSlerp::new([0.5, 0.5]), &mut out)?;
/// assert_eq!(out, [1.0 + 0.5f32.sqrt(), 1.0 + 0.5f32.sqrt()]);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
pub fn nuslerp_slices<T: Element>(
    base: Option<&[T]>,
    models: &[&[T]; 2],
    shape: &[usize],
    params: &NuSlerp,
    out: &mut [T],
) -> Result<(), KernelError> {
    let kernel = NuSlerpKernel { params: *params, base: base.is_some() };
    let inputs: Vec<&[T]> = base.into_iter().chain(models.iter().copied()).collect();
    merge_slices(&kernel, &inputs, shape, out)
}

/// Interpolates two arrays of one shape, which is also the result's and the base's, if there
/// is one.
///
/// # Errors
/// Shapes that differ, and as [`nuslerp_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_slerp::{NuSlerp, nuslerp};
///
/// let (a, b) = (array![[1.0, 3.0], [0.0, 3.0]], array![[0.0, 5.0], [1.0, 5.0]]);
/// let by_columns = NuSlerp { flatten: false, row_wise: true, ..NuSlerp::new([1.0, 1.0]) };
/// let half = nuslerp(None, &[a.view(), b.view()], &by_columns)?;
/// assert!((half[[0, 0]] - 0.5f64.sqrt()).abs() < 1e-15);
/// assert_eq!(half[[0, 1]], 4.0);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn nuslerp<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: Option<mergecore_kernel::ndarray::ArrayView<'_, T, D>>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>; 2],
    params: &NuSlerp,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = NuSlerpKernel { params: *params, base: base.is_some() };
    let inputs: Vec<_> = base.into_iter().chain(models.iter().cloned()).collect();
    mergecore_kernel::merge_arrays(&kernel, &inputs)
}

/// `nuslerp` as recipes name it.
///
/// ```
/// use mergecore_kernel::{Base, Method};
/// use mergecore_slerp::NuSlerpMethod;
///
/// assert_eq!(NuSlerpMethod.name(), "nuslerp");
/// assert_eq!(NuSlerpMethod.inputs().base, Base::Optional);
/// let names: Vec<&str> = NuSlerpMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["weight", "nuslerp_flatten", "nuslerp_row_wise"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NuSlerpMethod;

impl Method for NuSlerpMethod {
    fn name(&self) -> &str {
        "nuslerp"
    }

    fn title(&self) -> &str {
        "NuSLERP"
    }

    fn summary(&self) -> &str {
        "Interpolates between two models, or their changes, along the arc of a sphere"
    }

    fn source(&self) -> Option<&str> {
        Some("https://doi.org/10.1145/325334.325242")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Optional, models: 2..=2 }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 3] = [
            Parameter { help: "share of this model in the interpolation", ..Parameter::WEIGHT },
            Parameter {
                name: "nuslerp_flatten",
                scope: Scope::Shared,
                kind: ParameterKind::Flag,
                default: DefaultValue::Flag(true),
                help: "take each tensor as one vector, not as many",
            },
            Parameter {
                name: "nuslerp_row_wise",
                scope: Scope::Shared,
                kind: ParameterKind::Flag,
                default: DefaultValue::Flag(false),
                help: "where tensors are not flattened, vectors lie along the first axis",
            },
        ];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let weights = <[f64; 2]>::try_from(binding.numbers("weight")).map_err(|weights| {
            let (method, expected) = ("nuslerp", "two models");
            KernelError::InputCount { method, expected, found: weights.len() }
        })?;
        let usual = NuSlerp::new(weights);
        let params = NuSlerp {
            flatten: binding.shared.flag("nuslerp_flatten").unwrap_or(usual.flatten),
            row_wise: binding.shared.flag("nuslerp_row_wise").unwrap_or(usual.row_wise),
            ..usual
        };
        params.check()?;
        Ok(Box::new(NuSlerpKernel { params, base: binding.base }))
    }
}
