//! Task arithmetic: base plus weighted task vectors.

use mergecore_kernel::{
    Base, Binding, DefaultValue, Element, Extent, Inputs, KeepAll, Kernel, KernelError, Method,
    Parameter, Step, TaskVectors, merge_slices_onto_base,
};

/// Task arithmetic ([arXiv:2212.04089]):
/// `base + lambda * sum(w_i * (m_i - base))`. Base and models have one shape, which
/// is the output's.
///
/// [arXiv:2212.04089]: https://arxiv.org/abs/2212.04089
///
/// ```
/// use mergecore_ties::{TaskArithmetic, task_arithmetic_slices};
///
/// // A negative weight takes a task away.
/// let (base, model) = ([1.0f32, 1.0], [1.5f32, 0.0]);
/// let mut out = [0.0; 2];
/// task_arithmetic_slices(&base, &[&model], &TaskArithmetic::new([-1.0]), &mut out)?;
/// assert_eq!(out, [0.5, 2.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TaskArithmetic {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// Divide by the sum of the weights, unless it is zero (|sum| < 1e-8). Off by
    /// default.
    pub normalize: bool,
    /// Factor on the combined delta, any finite number. 1 by default.
    pub lambda: f64,
}

impl Default for TaskArithmetic {
    fn default() -> Self {
        TaskArithmetic { weights: Vec::new(), normalize: false, lambda: 1.0 }
    }
}

impl TaskArithmetic {
    /// Task arithmetic with these weights, not normalised, lambda 1.
    ///
    /// ```
    /// use mergecore_ties::TaskArithmetic;
    ///
    /// let params = TaskArithmetic { lambda: 0.8, ..TaskArithmetic::new([0.5, 0.5]) };
    /// assert!(!params.normalize);
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>) -> Self {
        TaskArithmetic { weights: weights.into(), ..TaskArithmetic::default() }
    }

    fn vectors(&self) -> TaskVectors {
        TaskVectors {
            weights: self.weights.clone(),
            densities: vec![1.0; self.weights.len()],
            election: None,
            normalize: self.normalize,
            lambda: self.lambda,
            rescale: None,
        }
    }
}

impl Kernel for TaskArithmetic {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        let vectors = self.vectors();
        vectors.check()?;
        Ok(vectors.step(KeepAll))
    }

    fn selects(&self) -> Option<usize> {
        self.vectors().selects()
    }
}

/// Merges slices into `out`, one rounding to its type. Each slice is one tensor in
/// row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, a number of weights that is not the number of
/// models, values that are not finite.
///
/// ```
/// use mergecore_ties::{TaskArithmetic, task_arithmetic_slices};
///
/// let base = [1.0f32, 1.0];
/// let models: [&[f32]; 2] = [&[2.0, 1.0], &[1.0, 3.0]];
/// let mut out = [0.0; 2];
/// task_arithmetic_slices(&base, &models, &TaskArithmetic::new([0.5, 0.25]), &mut out)?;
/// assert_eq!(out, [1.5, 1.5]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn task_arithmetic_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &TaskArithmetic,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices_onto_base(params, &params.weights, base, models, out)
}

/// Merges arrays of one shape, which is also the result's; one rounding to their
/// type.
///
/// # Errors
/// Shapes that differ, and as [`task_arithmetic_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_ties::{TaskArithmetic, task_arithmetic};
///
/// let (base, model) = (array![1.0f32, 1.0], array![3.0f32, 0.0]);
/// let half = task_arithmetic(base.view(), &[model.view()], &TaskArithmetic::new([0.5]))?;
/// assert_eq!(half, array![2.0, 0.5]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn task_arithmetic<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &TaskArithmetic,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays_onto_base(params, &params.weights, base, models)
}

/// `task_arithmetic` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::TaskArithmeticMethod;
///
/// assert_eq!(TaskArithmeticMethod.name(), "task_arithmetic");
/// let names: Vec<&str> = TaskArithmeticMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["weight", "normalize", "lambda"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskArithmeticMethod;

impl Method for TaskArithmeticMethod {
    fn name(&self) -> &str {
        "task_arithmetic"
    }

    fn title(&self) -> &str {
        "Task Arithmetic"
    }

    fn summary(&self) -> &str {
        "Adds the weighted changes that models have made to their base"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2212.04089")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 3] = [
            Parameter::WEIGHT,
            Parameter { default: DefaultValue::Flag(false), ..Parameter::NORMALIZE },
            Parameter::LAMBDA,
        ];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let arithmetic = TaskArithmetic {
            weights: binding.numbers("weight"),
            normalize: binding.shared.flag("normalize").unwrap_or(false),
            lambda: binding.shared.number("lambda").unwrap_or(1.0),
        };
        arithmetic.vectors().check()?;
        Ok(Box::new(arithmetic))
    }
}
