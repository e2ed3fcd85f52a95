//! Moving toward a model where it is already near.

use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Element, Extent, Inputs, Kernel, KernelError, Method,
    Parameter, ParameterKind, Scope, Simd, Step, TypedApply, Vectorize, merge_slices,
};

/// NearSwap: moves the base toward another model by at most `t` in each element:
/// `w * other + (1 - w) * base` with `w = t / |other - base|`, at most 1. Both have one shape,
/// which is the output's.
///
/// Source: alchemonaut, [QuartetAnemoi-70B-t0.0001].
///
/// [QuartetAnemoi-70B-t0.0001]: https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001
///
/// ```
/// use mergecore_adaptive::{NearSwap, nearswap_slices};
///
/// let mut out = [0.0f32; 3];
/// nearswap_slices(&[1.0, 1.0, 1.0], &[1.25, 1.5, -3.0], &NearSwap::new(0.5), &mut out)?;
/// assert_eq!(out, [1.25, 1.5, 0.5]);
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearSwap {
    /// By how much an element may move: a finite number, at least 0. 0.0001 by default, that
    /// of the model which the method was made for.
    pub t: f64,
}

impl Default for NearSwap {
    fn default() -> Self {
        NearSwap { t: 1e-4 }
    }
}

/// Differences below this count as this.
const LEAST_DISTANCE: f64 = 1e-6;

impl NearSwap {
    /// NearSwap with this `t`.
    ///
    /// ```
    /// assert_eq!(mergecore_adaptive::NearSwap::new(0.0001), Default::default());
    /// ```
    pub fn new(t: f64) -> Self {
        NearSwap { t }
    }

    fn check(&self) -> Result<(), KernelError> {
        if self.t.is_finite() && self.t >= 0.0 {
            return Ok(());
        }
        let expected = "a finite number, at least 0";
        Err(KernelError::ParameterRange { parameter: "t", value: self.t, expected })
    }
}

impl Kernel for NearSwap {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        self.check()?;
        Ok(match self.selects() {
            Some(input) => Step::apply(Combination::select(input, 2)),
            None => Step::apply(*self),
        })
    }

    fn selects(&self) -> Option<usize> {
        (self.t == 0.0).then_some(0)
    }
}

impl TypedApply for NearSwap {
    fn compute<T: Element>(
        &self,
        simd: Simd,
        _: u64,
        inputs: &[&[T]],
        _: &mut [T],
        out: &mut [f64],
    ) {
        simd.run(Move { t: self.t, base: inputs[0], other: inputs[1], out });
    }
}

struct Move<'a, T> {
    t: f64,
    base: &'a [T],
    other: &'a [T],
    out: &'a mut [f64],
}

impl<T: Element> Vectorize for Move<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for (out, (base, other)) in self.out.iter_mut().zip(self.base.iter().zip(self.other)) {
            let (base, other) = (base.widen(), other.widen());
            let distance = (base - other).abs();
            // Compared so that NaN stays.
            let distance = if distance < LEAST_DISTANCE { LEAST_DISTANCE } else { distance };
            let weight = self.t / distance;
            let between = weight * other + (1.0 - weight) * base;
            // Neither rounded nor with another sign of zero where it is one of the two.
            let between = if base == other { base } else { between };
            *out = if weight >= 1.0 { other } else { between };
        }
    }
}

/// Moves a base slice toward another into `out`, one rounding to its type. All three have one
/// length.
///
/// # Errors
/// Slices of different length; a `t` that is negative or not finite.
///
/// ```
/// use mergecore_adaptive::{NearSwap, nearswap_slices};
///
/// let mut out = [0.0f32; 2];
/// nearswap_slices(&[0.0, 0.0], &[0.25, 4.0], &NearSwap::new(1.0), &mut out)?;
/// assert_eq!(out, [0.25, 1.0]);
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
pub fn nearswap_slices<T: Element>(
    base: &[T],
    other: &[T],
    params: &NearSwap,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices(params, &[base, other], &[out.len()], out)
}

/// Moves a base array toward another of its shape, which is also the result's; one rounding to
/// their type.
///
/// # Errors
/// Shapes that differ; a `t` that is negative or not finite.
///
/// ```
/// use mergecore_adaptive::{NearSwap, nearswap};
/// use mergecore_kernel::ndarray::array;
///
/// let (base, other) = (array![[0.0f32, 0.0]], array![[0.25f32, 4.0]]);
/// assert_eq!(nearswap(base.view(), other.view(), &NearSwap::new(1.0))?, array![[0.25, 1.0]]);
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn nearswap<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    other: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    params: &NearSwap,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays(params, &[base, other])
}

/// `nearswap` as recipes name it: from the base toward the other model.
///
/// ```
/// use mergecore_adaptive::NearSwapMethod;
/// use mergecore_kernel::Method;
///
/// assert_eq!(NearSwapMethod.name(), "nearswap");
/// assert_eq!(NearSwapMethod.inputs().models, 1..=1);
/// assert_eq!(NearSwapMethod.parameters()[0].name, "t");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NearSwapMethod;

impl Method for NearSwapMethod {
    fn name(&self) -> &str {
        "nearswap"
    }

    fn title(&self) -> &str {
        "NearSwap"
    }

    fn summary(&self) -> &str {
        "Moves the base toward another model where that is already near"
    }

    fn source(&self) -> Option<&str> {
        Some("https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 1..=1 }
    }

    fn parameters(&self) -> &[Parameter] {
        &[Parameter {
            name: "t",
            scope: Scope::Shared,
            kind: ParameterKind::Number { min: 0.0, max: f64::MAX },
            default: DefaultValue::Required,
            help: "by how much an element may move toward the other model",
        }]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let nearswap = NearSwap { t: binding.shared.number("t").unwrap_or(NearSwap::default().t) };
        nearswap.check()?;
        Ok(Box::new(nearswap))
    }
}
