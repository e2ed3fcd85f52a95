//! Consensus task arithmetic: what too few models want is left out of the sum.

use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Element, Extent, Inputs, Kernel, KernelError, Method,
    Parameter, ParameterKind, Scope, Step, merge_slices_onto_base,
};

use crate::elementwise::{Change, Deltas, Elementwise, LANES};

/// Consensus merging of a task-arithmetic sum, with TALL masks ([arXiv:2405.07813]).
///
/// `tau` is the weighted sum of the task vectors `d_i`, as in task arithmetic. The mask of a
/// model is on where its own change is not small beside what the others make of it:
/// `|d_i| >= tall_lambda * |tau - d_i|`. Where at least `min_models` masks are on, or all of
/// fewer models', the output is `base + lambda * tau`, elsewhere the base. Base and models have one shape, which is the
/// output's.
///
/// [arXiv:2405.07813]: https://arxiv.org/abs/2405.07813
///
/// ```
/// use mergecore_ties::{ConsensusTa, consensus_ta_slices};
///
/// // Where one mask is enough, what a single model wants is kept too.
/// let params = ConsensusTa { min_models: 1, ..ConsensusTa::new([1.0, 1.0]) };
/// let mut out = [0.0];
/// consensus_ta_slices(&[0.0f32], &[&[4.0], &[0.5]], &params, &mut out)?;
/// assert_eq!(out, [4.5]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ConsensusTa {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// How large a model's change has to be beside what the others add to it or take from it,
    /// for its mask to be on: 0 or more. 0.4 by default, the middle of the values from 0.2 to
    /// 0.6 among which the paper chooses by validation data.
    pub tall_lambda: f64,
    /// How many masks have to be on for an element to be changed, the paper's `k`; of
    /// fewer models all. 2 by default; 0 is task arithmetic.
    pub min_models: u32,
    /// Divide the sum by the sum of the weights, unless it is zero (|sum| < 1e-8), before it is
    /// compared with the models' changes. Off by default.
    pub normalize: bool,
    /// Factor on what is kept, any finite number; the masks do not depend on it. 1 by default.
    pub lambda: f64,
}

impl Default for ConsensusTa {
    fn default() -> Self {
        ConsensusTa {
            weights: Vec::new(),
            tall_lambda: TALL_LAMBDA,
            min_models: MIN_MODELS,
            normalize: false,
            lambda: 1.0,
        }
    }
}

const TALL_LAMBDA: f64 = 0.4;
const MIN_MODELS: u32 = 2;

impl ConsensusTa {
    /// Consensus task arithmetic with these weights, two masks needed, not normalised, lambda 1.
    ///
    /// ```
    /// let params = mergecore_ties::ConsensusTa::new([1.0, 1.0]);
    /// assert_eq!((params.tall_lambda, params.min_models), (0.4, 2));
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>) -> Self {
        ConsensusTa { weights: weights.into(), ..ConsensusTa::default() }
    }

    fn check(&self) -> Result<(), KernelError> {
        self.weights.iter().try_for_each(|w| KernelError::check_finite("weight", *w))?;
        if self.normalize {
            // Dividing by infinity would drop the models in silence.
            let sum = self.weights.iter().map(|w| w.abs()).sum();
            KernelError::check_finite("sum of weights", sum)?;
        }
        check_not_negative("tall_lambda", self.tall_lambda)?;
        KernelError::check_finite("lambda", self.lambda)
    }
}

/// Checks that a parameter's value is finite and not below zero.
pub(crate) fn check_not_negative(parameter: &'static str, value: f64) -> Result<(), KernelError> {
    KernelError::check_finite(parameter, value)?;
    if value < 0.0 {
        return Err(KernelError::ParameterRange { parameter, value, expected: "at least 0" });
    }
    Ok(())
}

/// A finite number, at least 0.
pub(crate) const NOT_NEGATIVE: ParameterKind = ParameterKind::Number { min: 0.0, max: f64::MAX };

impl Kernel for ConsensusTa {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        self.check()?;
        // Adding a change to the base would lose the sign of a model's zero.
        if let Some(input) = self.selects() {
            return Ok(Step::apply(Combination::select(input, 1 + self.weights.len())));
        }
        let total: f64 = if self.normalize { self.weights.iter().sum() } else { 1.0 };
        Ok(Step::apply(Elementwise(Agreed {
            weights: self.weights.clone(),
            total: if total.abs() < 1e-8 { 1.0 } else { total },
            tall_lambda: self.tall_lambda,
            min_models: f64::from(self.min_models).min(self.weights.len() as f64),
            lambda: self.lambda,
        })))
    }

    fn selects(&self) -> Option<usize> {
        if self.lambda == 0.0 || self.weights.iter().all(|w| *w == 0.0) {
            return Some(0);
        }
        (self.weights == [1.0] && self.lambda == 1.0).then_some(1)
    }
}

struct Agreed {
    weights: Vec<f64>,
    /// What the sum is divided by.
    total: f64,
    tall_lambda: f64,
    min_models: f64,
    lambda: f64,
}

impl Change for Agreed {
    #[inline(always)]
    fn change<T: Element>(&self, models: Deltas<'_, T>) -> [f64; LANES] {
        assert_eq!(models.len(), self.weights.len(), "a weight for each model");
        let (mut tau, mut masks) = ([0.0; LANES], [0.0; LANES]);
        for (model, weight) in self.weights.iter().enumerate() {
            let deltas = models.of(model);
            for i in 0..LANES {
                tau[i] += weight * deltas[i];
            }
        }
        // Divided, not multiplied by the inverse: changes of 16-bit weights are often at the
        // very bound of a mask.
        if self.total != 1.0 {
            for tau in &mut tau {
                *tau /= self.total;
            }
        }
        for model in 0..models.len() {
            let deltas = models.of(model);
            for i in 0..LANES {
                // A NaN counts, so that it is not hidden.
                let off = deltas[i].abs() < self.tall_lambda * (tau[i] - deltas[i]).abs();
                masks[i] += if off { 0.0 } else { 1.0 };
            }
        }
        for i in 0..LANES {
            let kept = if masks[i] >= self.min_models { tau[i] } else { 0.0 };
            tau[i] = self.lambda * kept;
        }
        tau
    }
}

/// Merges slices into `out`, one rounding to its type. Each slice is one tensor in
/// row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, a number of weights that is not the number of
/// models, a negative `tall_lambda`, values that are not finite.
///
/// ```
/// use mergecore_ties::{ConsensusTa, consensus_ta_slices};
///
/// let base = [1.0f32; 3];
/// let models: [&[f32]; 2] = [&[2.0, 2.0, 2.0], &[3.0, 1.0, 1.25]];
/// let mut out = [0.0; 3];
/// consensus_ta_slices(&base, &models, &ConsensusTa::new([1.0, 1.0]), &mut out)?;
/// // Both want the first element changed, only one the others.
/// assert_eq!(out, [4.0, 1.0, 1.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn consensus_ta_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &ConsensusTa,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices_onto_base(params, &params.weights, base, models, out)
}

/// Merges arrays of one shape, which is also the result's; one rounding to their
/// type.
///
/// # Errors
/// Shapes that differ, and as [`consensus_ta_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_ties::{ConsensusTa, consensus_ta};
///
/// let (base, a, b) = (array![0.0f32, 0.0], array![1.0f32, 1.0], array![1.0f32, 0.0]);
/// let params = ConsensusTa { lambda: 0.5, ..ConsensusTa::new([1.0, 1.0]) };
/// assert_eq!(consensus_ta(base.view(), &[a.view(), b.view()], &params)?, array![1.0, 0.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn consensus_ta<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &ConsensusTa,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays_onto_base(params, &params.weights, base, models)
}

/// `consensus_ta` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::ConsensusTaMethod;
///
/// assert_eq!(ConsensusTaMethod.name(), "consensus_ta");
/// let names: Vec<&str> = ConsensusTaMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["weight", "tall_lambda", "min_models", "normalize", "lambda"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ConsensusTaMethod;

impl Method for ConsensusTaMethod {
    fn name(&self) -> &str {
        "consensus_ta"
    }

    fn title(&self) -> &str {
        "Consensus Task Arithmetic"
    }

    fn summary(&self) -> &str {
        "Adds weighted changes where enough models' own stand out in their sum"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2405.07813")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 5] = [
            Parameter { default: DefaultValue::Number(1.0), ..Parameter::WEIGHT },
            Parameter {
                name: "tall_lambda",
                scope: Scope::Shared,
                kind: NOT_NEGATIVE,
                default: DefaultValue::Number(TALL_LAMBDA),
                help: "how large a model's change has to be beside the others' to count",
            },
            Parameter {
                name: "min_models",
                scope: Scope::Shared,
                kind: ParameterKind::Integer { min: 0, max: u32::MAX },
                default: DefaultValue::Number(MIN_MODELS as f64),
                help: "how many models' changes have to count for an element to be changed",
            },
            Parameter { default: DefaultValue::Flag(false), ..Parameter::NORMALIZE },
            Parameter::LAMBDA,
        ];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let shared = &binding.shared;
        let params = ConsensusTa {
            weights: binding.numbers("weight"),
            tall_lambda: shared.number("tall_lambda").unwrap_or(TALL_LAMBDA),
            min_models: shared.number("min_models").map_or(MIN_MODELS, |n| n as u32),
            normalize: shared.flag("normalize").unwrap_or(false),
            lambda: shared.number("lambda").unwrap_or(1.0),
        };
        params.check()?;
        Ok(Box::new(params))
    }
}
