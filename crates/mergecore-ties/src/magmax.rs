//! MagMax: of all changes of an element, the largest.

use mergecore_kernel::{
    Base, Binding, Combination, Element, Extent, Inputs, Kernel, KernelError, Method, Parameter,
    Step, magnitude_key, merge_models,
};

use crate::elementwise::{Change, Deltas, Elementwise, LANES};

/// MagMax ([arXiv:2407.06322]): each element takes the change, of all models', that is largest
/// in magnitude, of equal magnitudes the first model's: `base + lambda * d_i`. Base and models
/// have one shape, which is the output's.
///
/// [arXiv:2407.06322]: https://arxiv.org/abs/2407.06322
///
/// ```
/// use mergecore_ties::{MagMax, magmax_slices};
///
/// let (base, model) = ([1.0f32, 1.0], [3.0f32, 0.0]);
/// let mut out = [0.0; 2];
/// magmax_slices(&base, &[&model], &MagMax { lambda: 0.5 }, &mut out)?;
/// assert_eq!(out, [2.0, 0.5]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MagMax {
    /// Factor on the change, any finite number. 1 by default.
    pub lambda: f64,
}

impl Default for MagMax {
    fn default() -> Self {
        MagMax { lambda: 1.0 }
    }
}

impl MagMax {
    /// MagMax with this lambda.
    ///
    /// ```
    /// use mergecore_ties::MagMax;
    ///
    /// assert_eq!(MagMax::new(1.0), MagMax::default());
    /// ```
    pub fn new(lambda: f64) -> Self {
        MagMax { lambda }
    }
}

/// MagMax of so many models besides the base.
#[derive(Debug, Clone)]
struct MagMaxKernel {
    params: MagMax,
    models: usize,
}

impl Kernel for MagMaxKernel {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        KernelError::check_finite("lambda", self.params.lambda)?;
        Ok(match self.selects() {
            // Adding a change to the base would lose the sign of a model's zero.
            Some(input) => Step::apply(Combination::select(input, 1 + self.models)),
            None => Step::apply(Elementwise(Largest { lambda: self.params.lambda })),
        })
    }

    fn selects(&self) -> Option<usize> {
        match (self.models, self.params.lambda) {
            (0, _) | (_, 0.0) => Some(0),
            (1, 1.0) => Some(1),
            _ => None,
        }
    }
}

struct Largest {
    lambda: f64,
}

impl Change for Largest {
    #[inline(always)]
    fn change<T: Element>(&self, models: Deltas<'_, T>) -> [f64; LANES] {
        let (mut largest, mut change) = ([0i64; LANES], [0.0; LANES]);
        for model in 0..models.len() {
            let deltas = models.of(model);
            for i in 0..LANES {
                // Of NaN the key is greater than any number's, so that it is not hidden.
                let key = magnitude_key(deltas[i]) as i64;
                let larger = key > largest[i];
                largest[i] = if larger { key } else { largest[i] };
                change[i] = if larger { deltas[i] } else { change[i] };
            }
        }
        for change in &mut change {
            *change *= self.lambda;
        }
        change
    }
}

/// Merges slices into `out`, one rounding to its type. Each slice is one tensor in
/// row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, a lambda that is not finite.
///
/// ```
/// use mergecore_ties::{MagMax, magmax_slices};
///
/// let base = [1.0f32, 1.0, 1.0];
/// let models: [&[f32]; 2] = [&[2.0, 0.5, 1.0], &[1.5, 3.0, 1.0]];
/// let mut out = [0.0; 3];
/// magmax_slices(&base, &models, &MagMax::default(), &mut out)?;
/// assert_eq!(out, [2.0, 3.0, 1.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn magmax_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &MagMax,
    out: &mut [T],
) -> Result<(), KernelError> {
    let kernel = MagMaxKernel { params: params.clone(), models: models.len() };
    merge_models(&kernel, base, models, &[out.len()], out)
}

/// Merges arrays of one shape, which is also the result's; one rounding to their
/// type.
///
/// # Errors
/// Shapes that differ, and as [`magmax_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_ties::{MagMax, magmax};
///
/// let (base, a, b) = (array![1.0f32, 1.0], array![0.0f32, 1.0], array![1.5f32, 3.0]);
/// let merged = magmax(base.view(), &[a.view(), b.view()], &MagMax::default())?;
/// assert_eq!(merged, array![0.0, 3.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn magmax<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &MagMax,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = MagMaxKernel { params: params.clone(), models: models.len() };
    mergecore_kernel::merge_model_arrays(&kernel, base, models)
}

/// `magmax` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::MagMaxMethod;
///
/// assert_eq!(MagMaxMethod.name(), "magmax");
/// let names: Vec<&str> = MagMaxMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["lambda"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MagMaxMethod;

impl Method for MagMaxMethod {
    fn name(&self) -> &str {
        "magmax"
    }

    fn title(&self) -> &str {
        "MagMax"
    }

    fn summary(&self) -> &str {
        "Takes, element by element, the change of largest magnitude"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2407.06322")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &[Parameter::LAMBDA]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let params = MagMax { lambda: binding.shared.number("lambda").unwrap_or(1.0) };
        KernelError::check_finite("lambda", params.lambda)?;
        Ok(Box::new(MagMaxKernel { params, models: binding.models.len() }))
    }
}
