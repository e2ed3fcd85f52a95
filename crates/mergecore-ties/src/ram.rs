//! Reinforced Agent Merging: what one model changed is kept whole, what several did is averaged.

use mergecore_kernel::{
    Base, Binding, DefaultValue, Element, Extent, Inputs, Kernel, KernelError, Method, Parameter,
    Scope, Step, merge_models,
};

use crate::consensus_ta::{NOT_NEGATIVE, check_not_negative};
use crate::elementwise::{Change, Deltas, Elementwise, LANES};

/// Reinforced Agent Merging, RAM ([arXiv:2601.13572]): an element that one model changed takes
/// its change whole, one that several changed the average of their changes. Base and models
/// have one shape, which is the output's.
///
/// [arXiv:2601.13572]: https://arxiv.org/abs/2601.13572
///
/// ```
/// use mergecore_ties::{Ram, ram_slices};
///
/// // Changes up to epsilon count as none.
/// let (base, model) = ([1.0f32, 1.0], [1.25f32, 1.5]);
/// let mut out = [0.0; 2];
/// ram_slices(&base, &[&model], &Ram { epsilon: 0.25 }, &mut out)?;
/// assert_eq!(out, [1.0, 1.5]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Ram {
    /// A change of at most this magnitude counts as none and is dropped: a finite number, at
    /// least 0. 1e-5 by default.
    pub epsilon: f64,
}

impl Default for Ram {
    fn default() -> Self {
        Ram { epsilon: EPSILON }
    }
}

impl Ram {
    /// RAM with this epsilon.
    ///
    /// ```
    /// assert_eq!(mergecore_ties::Ram::new(1e-5), mergecore_ties::Ram::default());
    /// ```
    pub fn new(epsilon: f64) -> Self {
        Ram { epsilon }
    }

    fn check(&self) -> Result<(), KernelError> {
        check_not_negative("epsilon", self.epsilon)
    }
}

/// The usual epsilon.
pub(crate) const EPSILON: f64 = 1e-5;

/// `epsilon` in recipes.
pub(crate) const EPSILON_PARAMETER: Parameter = Parameter {
    name: "epsilon",
    scope: Scope::Shared,
    kind: NOT_NEGATIVE,
    default: DefaultValue::Number(EPSILON),
    help: "a change of at most this magnitude counts as none",
};

impl Kernel for Ram {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        self.check()?;
        Ok(Step::apply(Elementwise(Average { epsilon: self.epsilon })))
    }
}

/// Whether a change counts. A NaN does, so that it is not hidden.
#[inline(always)]
pub(crate) fn is_active(delta: f64, epsilon: f64) -> bool {
    let negligible = delta.abs() <= epsilon;
    !negligible
}

struct Average {
    epsilon: f64,
}

impl Change for Average {
    #[inline(always)]
    fn change<T: Element>(&self, models: Deltas<'_, T>) -> [f64; LANES] {
        let (mut sum, mut count) = ([0.0; LANES], [0.0f64; LANES]);
        for model in 0..models.len() {
            let deltas = models.of(model);
            for i in 0..LANES {
                let active = is_active(deltas[i], self.epsilon);
                sum[i] += if active { deltas[i] } else { 0.0 };
                count[i] += if active { 1.0 } else { 0.0 };
            }
        }
        for i in 0..LANES {
            sum[i] /= count[i].max(1.0);
        }
        sum
    }
}

/// Merges slices into `out`, one rounding to its type. Each slice is one tensor in
/// row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, a negative epsilon, values that are not finite.
///
/// ```
/// use mergecore_ties::{Ram, ram_slices};
///
/// let base = [1.0f32, 1.0, 1.0];
/// let models: [&[f32]; 2] = [&[3.0, 2.0, 1.0], &[1.0, 5.0, 1.0]];
/// let mut out = [0.0; 3];
/// ram_slices(&base, &models, &Ram::default(), &mut out)?;
/// assert_eq!(out, [3.0, 3.5, 1.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn ram_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &Ram,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_models(params, base, models, &[out.len()], out)
}

/// [`ram_slices`] over arrays of one shape, which is also the result's.
///
/// # Errors
/// Shapes that differ, and as there.
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_ties::{Ram, ram};
///
/// let (base, a, b) = (array![0.0f32, 0.0], array![1.0f32, 2.0], array![0.0f32, 4.0]);
/// assert_eq!(ram(base.view(), &[a.view(), b.view()], &Ram::default())?, array![1.0, 3.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn ram<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Ram,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_model_arrays(params, base, models)
}

/// `ram` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::RamMethod;
///
/// assert_eq!(RamMethod.name(), "ram");
/// let names: Vec<&str> = RamMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["epsilon"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RamMethod;

impl Method for RamMethod {
    fn name(&self) -> &str {
        "ram"
    }

    fn title(&self) -> &str {
        "Reinforced Agent Merging"
    }

    fn summary(&self) -> &str {
        "Keeps whole what one model changed, averages what several did"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2601.13572")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &[EPSILON_PARAMETER]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let params = Ram { epsilon: binding.shared.number("epsilon").unwrap_or(EPSILON) };
        params.check()?;
        Ok(Box::new(params))
    }
}
