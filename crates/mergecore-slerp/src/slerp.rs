//! Spherical linear interpolation of whole tensors.

use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Element, Extent, Gram, GramScan, Inputs, Kernel,
    KernelError, Method, Parameter, ParameterKind, Scope, Step, merge_slices,
};

use crate::coefficients::{PARALLEL, slerp_coefficients};

/// Spherical linear interpolation from the first input (`t` = 0) to the second
/// (`t` = 1), each tensor taken as one vector. Both have one shape, which is the
/// output's.
///
/// The coefficients are those of [`slerp_coefficients`]; a vector of norm up to
/// 1e-8 has no direction and counts as having norm 1. Source: K. Shoemake,
/// [*Animating rotation with quaternion curves*](https://doi.org/10.1145/325334.325242),
/// SIGGRAPH 1985.
///
/// ```
/// use mergecore_slerp::{Slerp, slerp_slices};
///
/// let (north, east) = ([0.0, 1.0], [1.0, 0.0]);
/// let mut out = [0.0f64; 2];
/// slerp_slices(&north, &east, &Slerp { t: 1.0 / 3.0 }, &mut out)?; // 30 of 90 degrees
/// assert!((out[0] - 0.5).abs() < 1e-15);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slerp {
    /// Where between the two: usually from 0 to 1, but any finite number. 0.5 by
    /// default.
    pub t: f64,
}

impl Default for Slerp {
    fn default() -> Self {
        Slerp { t: 0.5 }
    }
}

/// A vector this short has no direction; its norm counts as one.
const NO_DIRECTION: f64 = 1e-8;

impl Slerp {
    fn combination(&self, gram: &Gram) -> Combination {
        let norm = |i| Some(gram.norm(i)).filter(|n| *n > NO_DIRECTION).unwrap_or(1.0);
        let cosine = gram.dot(0, 1) / (norm(0) * norm(1));
        let (s0, s1) = slerp_coefficients(self.t, cosine);
        // Equal vectors too short to have a direction count as orthogonal, but must
        // come out as they are.
        let equal = gram.dot(0, 0) == gram.dot(0, 1) && gram.dot(0, 1) == gram.dot(1, 1);
        if cosine.abs() > PARALLEL || equal {
            Combination::average(vec![s0, s1])
        } else {
            Combination::new(vec![s0, s1])
        }
    }
}

impl Kernel for Slerp {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        KernelError::check_finite("t", self.t)?;
        if let Some(end) = self.selects() {
            return Ok(Step::apply(Combination::select(end, 2)));
        }
        let slerp = *self;
        Ok(Step::scan(GramScan::new(2, move |gram| Ok(Step::apply(slerp.combination(gram))))))
    }

    fn selects(&self) -> Option<usize> {
        match self.t {
            0.0 => Some(0),
            1.0 => Some(1),
            _ => None,
        }
    }
}

/// Interpolates two slices, taken as vectors, into `out`, one rounding to its
/// type. All three have one length.
///
/// # Errors
/// Slices of different length; a `t` that is not finite.
///
/// ```
/// use mergecore_slerp::{Slerp, slerp_slices};
///
/// let mut out = [0.0f32; 2];
/// slerp_slices(&[1.0f32, 0.0], &[0.0, 1.0], &Slerp { t: 0.5 }, &mut out)?;
/// assert_eq!(out, [0.5f32.sqrt(), 0.5f32.sqrt()]);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
pub fn slerp_slices<T: Element>(
    v0: &[T],
    v1: &[T],
    params: &Slerp,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices(params, &[v0, v1], &[out.len()], out)
}

/// Interpolates two arrays of one shape, which is also the result's, each taken as
/// one flat vector.
///
/// # Errors
/// Shapes that differ; a `t` that is not finite.
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_slerp::{Slerp, slerp};
///
/// let (a, b) = (array![1.0, 0.0], array![0.0, 1.0]);
/// let half = slerp(a.view(), b.view(), &Slerp { t: 0.5 })?;
/// assert!((half[0] - 0.5f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), mergecore_slerp::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn slerp<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    v0: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    v1: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    params: &Slerp,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays(params, &[v0, v1])
}

/// `slerp` as recipes name it: from the base to the other model.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_slerp::SlerpMethod;
///
/// assert_eq!(SlerpMethod.name(), "slerp");
/// assert_eq!(SlerpMethod.inputs().base, mergecore_kernel::Base::Required);
/// assert_eq!(SlerpMethod.parameters()[0].name, "t");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SlerpMethod;

impl Method for SlerpMethod {
    fn name(&self) -> &str {
        "slerp"
    }

    fn title(&self) -> &str {
        "SLERP"
    }

    fn source(&self) -> Option<&str> {
        Some("https://doi.org/10.1145/325334.325242")
    }

    fn summary(&self) -> &str {
        "Interpolates between two models along the arc of a sphere"
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 1..=1 }
    }

    fn parameters(&self) -> &[Parameter] {
        &[Parameter {
            name: "t",
            scope: Scope::Shared,
            kind: ParameterKind::ANY_NUMBER,
            default: DefaultValue::Required,
            help: "0 is the base model, 1 the other",
        }]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        Ok(Box::new(Slerp { t: binding.shared.number("t").unwrap_or(Slerp::default().t) }))
    }
}
