//! The Karcher mean: a mean on the sphere.

use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Element, Extent, Gram, GramScan, Inputs, Kernel,
    KernelError, Method, Parameter, ParameterKind, Scope, Step, merge_slices,
};

use crate::share;
use crate::sphere::Sphere;

/// The Karcher mean of models: the direction that the least sum of squared angles separates
/// from theirs, at the mean of their norms; all have equal weight. Models have one shape,
/// which is the output's.
///
/// From the direction of the mean of all directions on, steps along the mean of the arcs to
/// the models. Directions that cancel (their mean is shorter than `tol`) start from the first
/// model's; a model of norm up to `tol` takes no part in the direction, but counts in the norm.
/// Equal models are themselves. Sources: H. Karcher, [*Riemannian center of mass and mollifier
/// smoothing*](https://doi.org/10.1002/cpa.3160300502), 1977; [arXiv:2603.04972].
///
/// [arXiv:2603.04972]: https://arxiv.org/abs/2603.04972
///
/// ```
/// use mergecore_slerp::{Karcher, karcher_slices};
///
/// let models: [&[f64]; 3] = [&[1.0, 0.0], &[0.8, 0.6], &[0.0, 1.0]];
/// let mut out = [0.0; 2];
/// karcher_slices(&models, &Karcher::default(), &mut out)?;
/// // The mean of the three angles.
/// let mean = (0.0 + 0.6f64.asin() + 1f64.asin()) / 3.0;
/// assert!((out[1] - mean.sin()).abs() < 1e-6);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Karcher {
    /// How many steps at most, up to 10,000. 10 by default.
    pub max_iter: u32,
    /// A step shorter than this, in radians, is the last; not negative. 1e-5 by default.
    pub tol: f64,
}

impl Default for Karcher {
    fn default() -> Self {
        Karcher { max_iter: 10, tol: 1e-5 }
    }
}

const MOST_STEPS: u32 = 10_000;

impl Karcher {
    fn check(&self) -> Result<(), KernelError> {
        KernelError::check_finite("tol", self.tol)?;
        if self.tol < 0.0 {
            let (value, expected) = (self.tol, "at least 0");
            return Err(KernelError::ParameterRange { parameter: "tol", value, expected });
        }
        if self.max_iter > MOST_STEPS {
            let (value, expected) = (self.max_iter.into(), "at most 10000");
            return Err(KernelError::ParameterRange { parameter: "max_iter", value, expected });
        }
        Ok(())
    }

    fn of(self, models: usize) -> KarcherKernel {
        KarcherKernel { params: self, models }
    }
}

#[derive(Debug, Clone, Copy)]
struct KarcherKernel {
    params: Karcher,
    models: usize,
}

impl Kernel for KarcherKernel {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        self.params.check()?;
        let kernel = *self;
        match self.models {
            0 => Err(KernelError::InputCount {
                method: "karcher",
                expected: "at least one model",
                found: 0,
            }),
            1 => Ok(Step::apply(Combination::select(0, 1))),
            models => Ok(Step::scan(GramScan::new(models, move |gram| Ok(kernel.mean(gram))))),
        }
    }

    fn selects(&self) -> Option<usize> {
        (self.models == 1).then_some(0)
    }
}

impl KarcherKernel {
    fn mean(self, gram: &Gram) -> Step {
        let models = self.models;
        if share::all_equal(gram, models) {
            return share::average(vec![1.0 / models as f64; models], false);
        }
        let points: Vec<usize> = (0..models).filter(|i| gram.norm(*i) > self.params.tol).collect();
        let mut mean = vec![0.0; models];
        points.iter().for_each(|i| mean[*i] = 1.0 / (points.len() as f64 * gram.norm(*i)));
        match share::norm_of_sum(gram, &mean) {
            Some(norm) => self.from(gram, &points, &mean, norm, false),
            None => {
                let then = {
                    let mean = mean.clone();
                    move |gram: &Gram| Ok(self.from(gram, &points, &mean, gram.norm(models), true))
                };
                Step::scan(GramScan::new(models, then).and_combination(mean))
            }
        }
    }

    /// Walks from the direction of the sum of the models times `mean`, which has this norm
    /// and may be the Gram matrix's last vector: the models alone do not tell its angles to
    /// them where they nearly cancel.
    fn from(self, gram: &Gram, points: &[usize], mean: &[f64], norm: f64, has_mean: bool) -> Step {
        let models = self.models;
        let length = (0..models).map(|i| gram.norm(i)).sum::<f64>() / models as f64;
        let Some(first) = points.first() else {
            // Zeros, or NaN where there is one.
            return share::sum(vec![0.0 * length; models], false);
        };
        let mut vectors = points.to_vec();
        let at = if norm < self.params.tol || norm == 0.0 {
            let at = |point| if point == first { 1.0 } else { 0.0 };
            points.iter().map(at).collect()
        } else if has_mean {
            vectors.push(models);
            [vec![0.0; points.len()], vec![1.0]].concat()
        } else {
            points.iter().map(|point| mean[*point] * gram.norm(*point) / norm).collect()
        };
        let sphere = Sphere::of(gram, &vectors);
        let at = sphere.karcher_mean(points.len(), at, self.params.max_iter, self.params.tol);
        let of_mean = at.get(points.len()).map_or(0.0, |share| share / norm);
        let mut coefficients: Vec<f64> = mean.iter().map(|share| share * of_mean).collect();
        for (point, share) in points.iter().zip(at) {
            coefficients[*point] += share / gram.norm(*point);
        }
        coefficients.iter_mut().for_each(|coefficient| *coefficient *= length);
        share::sum(coefficients, false)
    }
}

/// The mean of slices into `out`, one rounding to its type. Each slice is one model's tensor
/// in row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, no models, a `tol` that is negative or not finite, too large a
/// `max_iter`.
///
/// ```
/// use mergecore_slerp::{Karcher, karcher_slices};
///
/// let (a, b) = ([2.0f32, 0.0], [0.0f32, 4.0]);
/// let mut out = [0.0; 2];
/// karcher_slices(&[&a, &b], &Karcher::default(), &mut out)?;
/// assert_eq!(out, [3.0 * 0.5f32.sqrt(), 3.0 * 0.5f32.sqrt()]);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
pub fn karcher_slices<T: Element>(
    models: &[&[T]],
    params: &Karcher,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices(&params.of(models.len()), models, &[out.len()], out)
}

/// The mean of arrays of one shape, which is also the result's.
///
/// # Errors
/// Shapes that differ, and as [`karcher_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_slerp::{Karcher, karcher};
///
/// let (a, b) = (array![1.0, 0.0], array![0.0, 1.0]);
/// let mean = karcher(&[a.view(), b.view()], &Karcher::default())?;
/// assert!((mean[0] - 0.5f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn karcher<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Karcher,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays(&params.of(models.len()), models)
}

/// `karcher` as recipes name it.
///
/// ```
/// use mergecore_kernel::{Base, Method};
/// use mergecore_slerp::KarcherMethod;
///
/// assert_eq!(KarcherMethod.name(), "karcher");
/// assert_eq!(KarcherMethod.inputs().base, Base::None);
/// let names: Vec<&str> = KarcherMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["max_iter", "tol"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KarcherMethod;

impl Method for KarcherMethod {
    fn name(&self) -> &str {
        "karcher"
    }

    fn title(&self) -> &str {
        "Karcher Mean"
    }

    fn summary(&self) -> &str {
        "Takes the mean of models' directions on a sphere"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2603.04972")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::None, models: 1..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &[
            Parameter {
                name: "max_iter",
                scope: Scope::Shared,
                kind: ParameterKind::Integer { min: 0, max: MOST_STEPS },
                default: DefaultValue::Number(10.0),
                help: "how many steps at most",
            },
            Parameter {
                name: "tol",
                scope: Scope::Shared,
                kind: ParameterKind::Number { min: 0.0, max: f64::MAX },
                default: DefaultValue::Number(1e-5),
                help: "length of a step, in radians, below which it is the last",
            },
        ]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let usual = Karcher::default();
        let params = Karcher {
            max_iter: binding.shared.number("max_iter").map_or(usual.max_iter, |n| n as u32),
            tol: binding.shared.number("tol").unwrap_or(usual.tol),
        };
        params.check()?;
        Ok(Box::new(params.of(binding.models.len())))
    }
}
