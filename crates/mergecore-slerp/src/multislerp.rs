//! Spherical interpolation of any number of models.

use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Element, Extent, Gram, GramScan, Inputs, Kernel,
    KernelError, Method, Parameter, ParameterKind, Scope, Step, merge_slices,
};

use crate::share;

/// Multi-SLERP: the direction of the models' weighted mean direction, or of that of what they
/// changed of a base, at the weighted mean of their norms. Models and base have one shape,
/// which is the output's.
///
/// With norms `n_i`, directions `u_i = v_i / (n_i + eps)` and their mean `m = sum(w_i * u_i)`
/// it is `cos(eps) * sum(w_i * n_i) * m / |m|`. Its [author][post] describes a step in the
/// tangent space at `m / |m|`; at the mean itself the weighted tangents sum to zero, and
/// `cos(eps)`, 1 for an `eps` that is not large, is all that remains of it.
///
/// Where the directions cancel (|m| < `eps`), two models are interpolated linearly, and more
/// are an error. One model is itself, whatever its weight.
///
/// [post]: https://goddard.blog/posts/multislerp-wow-what-a-cool-idea
///
/// ```
/// use mergecore_slerp::{MultiSlerp, multislerp_slices};
///
/// let models: [&[f64]; 3] = [&[3.0, 0.0, 0.0], &[0.0, 3.0, 0.0], &[0.0, 0.0, 3.0]];
/// let mut out = [0.0; 3];
/// multislerp_slices(None, &models, &MultiSlerp::new([1.0, 1.0, 1.0]), &mut out)?;
/// assert!((out[0] - 3f64.sqrt()).abs() < 1e-15); // the norm is kept
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MultiSlerp {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// Divide the weights by their sum, which then must not be zero. On by default.
    pub normalize_weights: bool,
    /// What is added to norms, and below which the mean direction counts as zero: not
    /// negative. 1e-8 by default.
    pub eps: f64,
}

impl Default for MultiSlerp {
    fn default() -> Self {
        MultiSlerp { weights: Vec::new(), normalize_weights: true, eps: 1e-8 }
    }
}

impl MultiSlerp {
    /// Interpolation with these weights, normalised.
    ///
    /// ```
    /// let params = mergecore_slerp::MultiSlerp::new([1.0, 1.0, 2.0]);
    /// assert!(params.normalize_weights && params.eps == 1e-8);
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>) -> Self {
        MultiSlerp { weights: weights.into(), ..MultiSlerp::default() }
    }

    /// The weights that are used.
    fn shares(&self) -> Result<Vec<f64>, KernelError> {
        if self.weights.is_empty() {
            let (method, expected) = ("multislerp", "at least one model");
            return Err(KernelError::InputCount { method, expected, found: 0 });
        }
        self.weights.iter().try_for_each(|w| KernelError::check_finite("weight", *w))?;
        KernelError::check_finite("eps", self.eps)?;
        if self.eps < 0.0 {
            let (value, expected) = (self.eps, "at least 0");
            return Err(KernelError::ParameterRange { parameter: "eps", value, expected });
        }
        if !self.normalize_weights || self.weights.len() == 1 {
            return Ok(self.weights.clone());
        }
        let size = self.weights.iter().map(|w| w.abs()).sum::<f64>();
        KernelError::check_finite("sum of weights", size)?;
        let sum: f64 = self.weights.iter().sum();
        // Weights like 0.1, 0.2 and -0.3 sum to rounding errors.
        if sum.abs() <= 1e-12 * size {
            let what = "the weights, which were to be divided by their sum, sum to zero but for rounding errors".to_owned();
            let instead = "choose other weights, or set `normalize_weights: false`";
            return Err(KernelError::Undefined { what, instead });
        }
        Ok(self.weights.iter().map(|weight| weight / sum).collect())
    }
}

#[derive(Debug, Clone)]
struct MultiSlerpKernel {
    params: MultiSlerp,
    base: bool,
}

impl Kernel for MultiSlerpKernel {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        let weights = self.params.shares()?;
        if let Some(input) = self.selects() {
            let inputs = weights.len() + usize::from(self.base);
            return Ok(Step::apply(Combination::select(input, inputs)));
        }
        let (eps, base) = (self.params.eps, self.base);
        Ok(Step::scan(scan(weights.len(), base, move |gram: &Gram| {
            let unit = |(i, weight): (usize, &f64)| {
                let norm = gram.norm(i) + eps;
                if norm == 0.0 { 0.0 } else { weight / norm }
            };
            let mean: Vec<f64> = weights.iter().enumerate().map(unit).collect();
            if let Some(norm) = share::norm_of_sum(gram, &mean) {
                return scaled(gram, &weights, &mean, norm, eps, base);
            }
            let (models, mean_again) = (weights.len(), mean.clone());
            let then = move |gram: &Gram| {
                scaled(gram, &weights, &mean_again, gram.norm(models), eps, base)
            };
            Ok(Step::scan(scan(models, base, then).and_combination(mean)))
        })))
    }

    fn selects(&self) -> Option<usize> {
        let first = usize::from(self.base);
        if self.params.weights.len() == 1 {
            return Some(first);
        }
        let weights = self.params.shares().ok()?;
        let mut used = weights.iter().enumerate().filter(|(_, w)| **w != 0.0);
        match (used.next(), used.next()) {
            (None, _) if self.base => Some(0),
            (Some((model, 1.0)), None) if libm::cos(self.params.eps) == 1.0 => Some(first + model),
            _ => None,
        }
    }
}

fn scan<F>(models: usize, base: bool, then: F) -> GramScan<F>
where
    F: FnOnce(&Gram) -> Result<Step, KernelError> + Send + Sync + 'static,
{
    if base { GramScan::of_deltas(models, then) } else { GramScan::new(models, then) }
}

/// The mean direction, the sum of the models times `mean` and of this norm, made as long as
/// the models are on average.
fn scaled(
    gram: &Gram,
    weights: &[f64],
    mean: &[f64],
    norm: f64,
    eps: f64,
    base: bool,
) -> Result<Step, KernelError> {
    let equal = share::all_equal(gram, weights.len());
    if norm < eps || norm == 0.0 {
        if weights.len() > 2 && !equal {
            let what = "the weighted directions of the models cancel".to_owned();
            let instead = "choose other weights, or leave out a model";
            return Err(KernelError::Undefined { what, instead });
        }
        return Ok(match share::sums_to_one(weights) {
            true => share::average(weights.to_vec(), base),
            false => share::sum(weights.to_vec(), base),
        });
    }
    let length: f64 = weights.iter().enumerate().map(|(i, w)| w * gram.norm(i)).sum();
    let scale = libm::cos(eps) * length / norm;
    let coefficients: Vec<f64> = mean.iter().map(|share| scale * share).collect();
    // Equal models come out as they are, bit for bit.
    Ok(match equal && share::sums_to_one(&coefficients) {
        true => share::average(coefficients, base),
        false => share::sum(coefficients, base),
    })
}

/// Interpolates slices into `out`, one rounding to its type. Each slice is one tensor in
/// row-major order; all are as long as `out`. With a base, what the models changed of it is
/// interpolated and added to it.
///
/// # Errors
/// Slices of different length, no models, a number of weights that is not that of the models,
/// values that are not finite, a negative `eps`, weights that sum to zero and are to be
/// normalised, and more than two models whose weighted directions cancel.
///
/// ```
/// use mergecore_slerp::{MultiSlerp, multislerp_slices};
///
/// let (base, a, b) = ([1.0f32, 1.0], [2.0f32, 1.0], [1.0f32, 2.0]);
/// let mut out = [0.0; 2];
/// multislerp_slices(Some(&base), &[&a, &b], &MultiSlerp::new([0.5, 0.5]), &mut out)?;
/// assert_eq!(out, [1.0 + 0.5f32.sqrt(), 1.0 + 0.5f32.sqrt()]);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
pub fn multislerp_slices<T: Element>(
    base: Option<&[T]>,
    models: &[&[T]],
    params: &MultiSlerp,
    out: &mut [T],
) -> Result<(), KernelError> {
    KernelError::check_count("weight", &params.weights, models.len())?;
    let kernel = MultiSlerpKernel { params: params.clone(), base: base.is_some() };
    let inputs: Vec<&[T]> = base.into_iter().chain(models.iter().copied()).collect();
    merge_slices(&kernel, &inputs, &[out.len()], out)
}

/// Interpolates arrays of one shape, which is also the result's and the base's, if there is
/// one.
///
/// # Errors
/// Shapes that differ, and as [`multislerp_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_slerp::{MultiSlerp, multislerp};
///
/// let (a, b) = (array![2.0, 0.0], array![0.0, 4.0]);
/// let out = multislerp(None, &[a.view(), b.view()], &MultiSlerp::new([0.5, 0.5]))?;
/// assert!((out[0] - 3.0 * 0.5f64.sqrt()).abs() < 1e-7);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn multislerp<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: Option<mergecore_kernel::ndarray::ArrayView<'_, T, D>>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &MultiSlerp,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    KernelError::check_count("weight", &params.weights, models.len())?;
    let kernel = MultiSlerpKernel { params: params.clone(), base: base.is_some() };
    let inputs: Vec<_> = base.into_iter().chain(models.iter().cloned()).collect();
    mergecore_kernel::merge_arrays(&kernel, &inputs)
}

/// `multislerp` as recipes name it.
///
/// ```
/// use mergecore_kernel::{Base, Method};
/// use mergecore_slerp::MultiSlerpMethod;
///
/// assert_eq!(MultiSlerpMethod.name(), "multislerp");
/// assert_eq!(MultiSlerpMethod.inputs().base, Base::Optional);
/// let names: Vec<&str> = MultiSlerpMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["weight", "normalize_weights", "eps"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MultiSlerpMethod;

impl Method for MultiSlerpMethod {
    fn name(&self) -> &str {
        "multislerp"
    }

    fn title(&self) -> &str {
        "Multi-SLERP"
    }

    fn summary(&self) -> &str {
        "Interpolates between any number of models, or their changes, on a sphere"
    }

    fn source(&self) -> Option<&str> {
        Some("https://goddard.blog/posts/multislerp-wow-what-a-cool-idea")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Optional, models: 1..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 3] = [
            Parameter { help: "share of this model in the interpolation", ..Parameter::WEIGHT },
            Parameter {
                name: "normalize_weights",
                scope: Scope::Shared,
                kind: ParameterKind::Flag,
                default: DefaultValue::Flag(true),
                help: "divide the weights by their sum",
            },
            Parameter {
                name: "eps",
                scope: Scope::Shared,
                kind: ParameterKind::Number { min: 0.0, max: f64::MAX },
                default: DefaultValue::Number(1e-8),
                help: "what is added to norms, and below which directions cancel",
            },
        ];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let usual = MultiSlerp::new(binding.numbers("weight"));
        let params = MultiSlerp {
            normalize_weights: binding
                .shared
                .flag("normalize_weights")
                .unwrap_or(usual.normalize_weights),
            eps: binding.shared.number("eps").unwrap_or(usual.eps),
            ..usual
        };
        params.shares()?;
        Ok(Box::new(MultiSlerpKernel { params, base: binding.base }))
    }
}
