//! Weighted average.

use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Element, Extent, Inputs, Kernel, KernelError, Method,
    Parameter, ParameterKind, Scope, Step, merge_slices,
};

/// Weighted average of models ("model soup", [arXiv:2203.05482]):
/// `sum(w_i * m_i) / sum(w_i)`, or the plain weighted sum without `normalize`. All
/// models have one shape, which is the output's.
///
/// [arXiv:2203.05482]: https://arxiv.org/abs/2203.05482
///
/// ```
/// use mergecore_linear::{Linear, linear_slices};
///
/// let models: [&[f32]; 2] = [&[1.0, 2.0], &[3.0, 5.0]];
/// let mut out = [0.0; 2];
/// let difference = Linear { normalize: false, ..Linear::new([-1.0, 1.0]) };
/// linear_slices(&models, &difference, &mut out)?;
/// assert_eq!(out, [2.0, 3.0]);
/// # Ok::<(), mergecore_linear::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// Divide by the sum of the weights, which then must not be zero (|sum| < 1e-8).
    /// On by default.
    pub normalize: bool,
}

impl Default for Linear {
    fn default() -> Self {
        Linear { weights: Vec::new(), normalize: true }
    }
}

impl Linear {
    /// An average with these weights.
    ///
    /// ```
    /// let soup = mergecore_linear::Linear::new([0.5, 0.5]);
    /// assert!(soup.normalize);
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>) -> Self {
        Linear { weights: weights.into(), ..Linear::default() }
    }

    fn combination(&self) -> Result<Combination, KernelError> {
        self.weights.iter().try_for_each(|w| KernelError::check_finite("weight", *w))?;
        if !self.normalize {
            return Ok(Combination::new(self.weights.clone()));
        }
        let sum: f64 = self.weights.iter().sum();
        KernelError::check_finite("sum of weights", sum)?;
        if sum.abs() < 1e-8 {
            return Err(KernelError::WeightsCancel { sum });
        }
        Ok(Combination::average(self.weights.iter().map(|weight| weight / sum).collect()))
    }
}

impl Kernel for Linear {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::apply(self.combination()?))
    }

    fn selects(&self) -> Option<usize> {
        self.combination().ok()?.selects()
    }
}

/// Averages slices into `out`, one rounding to its type. Each slice is one model's
/// tensor in row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, a number of weights that is not the number of
/// models, weights that are not finite or that sum to zero (|sum| < 1e-8) while
/// `normalize` is on.
///
/// ```
/// use mergecore_linear::{Linear, linear_slices};
///
/// let mut out = [0.0f32; 2];
/// linear_slices(&[&[1.0f32, 2.0], &[3.0, 6.0]], &Linear::new([3.0, 1.0]), &mut out)?;
/// assert_eq!(out, [1.5, 3.0]);
/// # Ok::<(), mergecore_linear::KernelError>(())
/// ```
pub fn linear_slices<T: Element>(
    models: &[&[T]],
    params: &Linear,
    out: &mut [T],
) -> Result<(), KernelError> {
    KernelError::check_count("weight", &params.weights, models.len())?;
    merge_slices(params, models, &[out.len()], out)
}

/// Averages arrays of one shape, which is also the result's; one rounding to their
/// type.
///
/// # Errors
/// Shapes that differ, and as [`linear_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_linear::{Linear, linear};
///
/// let (a, b) = (array![[1.0f32, 2.0]], array![[3.0f32, 6.0]]);
/// let average = linear(&[a.view(), b.view()], &Linear::new([0.5, 0.5]))?;
/// assert_eq!(average, array![[2.0, 4.0]]);
/// # Ok::<(), mergecore_linear::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn linear<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Linear,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    KernelError::check_count("weight", &params.weights, models.len())?;
    mergecore_kernel::merge_arrays(params, models)
}

/// `linear` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_linear::LinearMethod;
///
/// assert_eq!(LinearMethod.name(), "linear");
/// let names: Vec<&str> = LinearMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["weight", "normalize"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct LinearMethod;

impl Method for LinearMethod {
    fn name(&self) -> &str {
        "linear"
    }

    fn title(&self) -> &str {
        "Linear"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2203.05482")
    }

    fn summary(&self) -> &str {
        "Averages models by weight"
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::None, models: 1..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &[
            Parameter {
                name: "weight",
                scope: Scope::PerModel,
                kind: ParameterKind::ANY_NUMBER,
                default: DefaultValue::Required,
                help: "share of this model in the average",
            },
            Parameter {
                name: "normalize",
                scope: Scope::Shared,
                kind: ParameterKind::Flag,
                default: DefaultValue::Flag(true),
                help: "divide by the sum of the weights",
            },
        ]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let normalize = binding.shared.flag("normalize").unwrap_or(true);
        let linear = Linear { weights: binding.numbers("weight"), normalize };
        linear.combination()?;
        Ok(Box::new(linear))
    }
}
