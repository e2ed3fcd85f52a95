//! RAM+: as RAM, and what one model alone changed is scaled up.

use mergecore_kernel::{
    Base, Binding, DefaultValue, Element, Elements, Extent, Inputs, Kernel, KernelError, Method,
    Order, Parameter, ParameterKind, Scan, Scope, Simd, Step, StoredWork, Tile, Vectorize,
    merge_models, over_stored,
};

use crate::consensus_ta::{NOT_NEGATIVE, check_not_negative};
use crate::elementwise::{Change, Deltas, Elementwise, LANES, Lanewise, Runs};
use crate::ram::{EPSILON, EPSILON_PARAMETER, is_active};

/// RAM+, tensor-local ([arXiv:2601.13572]): as [`Ram`](crate::Ram), but what one model alone changed is
/// scaled by `1 + r * min(rho, alpha)`, `rho` being the number of elements that this model
/// changed with others, over the number that it changed alone. Base and models have one shape,
/// which is the output's.
///
/// [arXiv:2601.13572]: https://arxiv.org/abs/2601.13572
///
/// ```
/// use mergecore_ties::{RamPlus, ramplus_tl_slices};
///
/// let base = [0.0f32; 3];
/// let models: [&[f32]; 2] = [&[2.0, 2.0, 0.0], &[0.0, 1.0, 0.0]];
/// let mut out = [0.0; 3];
/// ramplus_tl_slices(&base, &models, &RamPlus { r: 0.5, alpha: 4.0, ..RamPlus::default() }, &mut out)?;
/// // The first model shares one change and has one to itself.
/// assert_eq!(out, [3.0, 1.5, 0.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RamPlus {
    /// A change of at most this magnitude counts as none and is dropped: a finite number, at
    /// least 0. 1e-5 by default.
    pub epsilon: f64,
    /// How strongly changes of one model alone are scaled up, any finite number. 0.1 by default.
    pub r: f64,
    /// The greatest ratio that counts, a finite number, at least 0. 0.2 by default.
    pub alpha: f64,
}

const R: f64 = 0.1;
const ALPHA: f64 = 0.2;

impl Default for RamPlus {
    fn default() -> Self {
        RamPlus { epsilon: EPSILON, r: R, alpha: ALPHA }
    }
}

impl RamPlus {
    /// RAM+ with these, and the usual epsilon.
    ///
    /// ```
    /// assert_eq!(mergecore_ties::RamPlus::new(0.1, 0.2), mergecore_ties::RamPlus::default());
    /// ```
    pub fn new(r: f64, alpha: f64) -> Self {
        RamPlus { r, alpha, ..RamPlus::default() }
    }

    fn check(&self) -> Result<(), KernelError> {
        check_not_negative("epsilon", self.epsilon)?;
        KernelError::check_finite("r", self.r)?;
        check_not_negative("alpha", self.alpha)
    }
}

impl Kernel for RamPlus {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        self.check()?;
        Ok(Step::scan(CountChanges { params: self.clone() }))
    }
}

/// The average of the changes that count, with a factor for what one model alone changed.
struct ScaledAverage {
    epsilon: f64,
    /// One a model.
    factors: Vec<f64>,
}

impl Change for ScaledAverage {
    #[inline(always)]
    fn change<T: Element>(&self, models: Deltas<'_, T>) -> [f64; LANES] {
        let (mut sum, mut count) = ([0.0; LANES], [0.0f64; LANES]);
        // Of the last model that changed the element.
        let mut factor = [1.0; LANES];
        for model in 0..models.len() {
            let deltas = models.of(model);
            let own = self.factors[model];
            for i in 0..LANES {
                let active = is_active(deltas[i], self.epsilon);
                sum[i] += if active { deltas[i] } else { 0.0 };
                count[i] += if active { 1.0 } else { 0.0 };
                factor[i] = if active { own } else { factor[i] };
            }
        }
        for i in 0..LANES {
            let average = sum[i] / count[i].max(1.0);
            sum[i] = if count[i] == 1.0 { sum[i] * factor[i] } else { average };
        }
        sum
    }
}

/// Counts, of each model, the elements that it alone changed and those that it and others did.
struct CountChanges {
    params: RamPlus,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Changes {
    unique: u64,
    shared: u64,
}

impl CountChanges {
    fn factor(&self, changes: &Changes) -> f64 {
        let RamPlus { epsilon, r, alpha } = self.params;
        if changes.unique == 0 {
            // Nothing to scale; the ratio would be infinite, or none.
            return 1.0;
        }
        let ratio = changes.shared as f64 / (changes.unique as f64).max(epsilon);
        1.0 + r * ratio.min(alpha)
    }
}

impl Scan for CountChanges {
    /// One a model, once there are elements.
    type Partial = Vec<Changes>;

    fn order(&self) -> Order {
        Order::Any
    }

    fn empty(&self) -> Vec<Changes> {
        Vec::new()
    }

    fn fold(&self, partial: &mut Vec<Changes>, tile: &mut Tile<'_>) {
        let inputs: Vec<&[f64]> = (0..tile.inputs()).map(|index| tile.input(index)).collect();
        let simd = tile.simd();
        CountStored { epsilon: self.params.epsilon, simd, partial }.run(&inputs);
    }

    fn fold_stored(
        &self,
        partial: &mut Vec<Changes>,
        simd: Simd,
        _: u64,
        inputs: &[Elements<'_>],
    ) -> bool {
        let epsilon = self.params.epsilon;
        over_stored(inputs, CountStored { epsilon, simd, partial }).is_some()
    }

    fn combine(&self, total: &mut Vec<Changes>, next: Vec<Changes>) {
        total.resize(total.len().max(next.len()), Changes::default());
        for (total, next) in total.iter_mut().zip(next) {
            total.unique += next.unique;
            total.shared += next.shared;
        }
    }

    fn finish(self: Box<Self>, total: Vec<Changes>) -> Result<Step, KernelError> {
        let factors = total.iter().map(|changes| self.factor(changes)).collect();
        Ok(Step::apply(Elementwise(ScaledAverage { epsilon: self.params.epsilon, factors })))
    }
}

struct CountStored<'a> {
    epsilon: f64,
    simd: Simd,
    partial: &'a mut Vec<Changes>,
}

impl StoredWork for CountStored<'_> {
    type Output = ();

    fn run<T: Element>(self, inputs: &[&[T]]) {
        let runs = Runs::new(inputs);
        let mut found = vec![[[0.0; LANES]; 2]; runs.models()];
        self.simd.run(Count { epsilon: self.epsilon, runs, found: &mut found });
        self.partial.resize(runs.models(), Changes::default());
        for (changes, found) in self.partial.iter_mut().zip(found) {
            let [all, unique] = found.map(|lanes| lanes.iter().sum::<f64>() as u64);
            changes.unique += unique;
            changes.shared += all - unique;
        }
    }
}

/// Counts in `f64`, in which the changes are compared.
struct Count<'a, T> {
    epsilon: f64,
    runs: Runs<'a, T>,
    /// Of each model, the changes that count, and those of them that no other model made.
    found: &'a mut [[[f64; LANES]; 2]],
}

impl<T: Element> Lanewise for Count<'_, T> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let (runs, epsilon) = (self.runs, self.epsilon);
        let mut count = [0.0; LANES];
        for model in 0..runs.models() {
            let deltas = runs.deltas(model, at, len);
            for i in 0..LANES {
                count[i] += if is_active(deltas[i], epsilon) { 1.0 } else { 0.0 };
            }
        }
        for (model, [all, unique]) in self.found.iter_mut().enumerate() {
            let deltas = runs.deltas(model, at, len);
            for i in 0..LANES {
                let active = if is_active(deltas[i], epsilon) { 1.0 } else { 0.0 };
                all[i] += active;
                unique[i] += if count[i] == 1.0 { active } else { 0.0 };
            }
        }
    }
}

impl<T: Element> Vectorize for Count<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        self.all_lanes(self.runs.len());
    }
}

/// Merges slices into `out`, one rounding to its type. Each slice is one tensor in
/// row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, a negative epsilon or alpha, values that are not finite.
///
/// ```
/// use mergecore_ties::{RamPlus, ramplus_tl_slices};
///
/// let base = [0.0f32; 2];
/// let models: [&[f32]; 2] = [&[2.0, 2.0], &[0.0, 1.0]];
/// let mut out = [0.0; 2];
/// ramplus_tl_slices(&base, &models, &RamPlus::default(), &mut out)?;
/// assert_eq!(out, [2.04, 1.5]); // the first model's ratio is 1, of which 0.2 counts
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn ramplus_tl_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &RamPlus,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_models(params, base, models, &[out.len()], out)
}

/// [`ramplus_tl_slices`] over arrays of one shape, which is also
/// the result's.
///
/// # Errors
/// Shapes that differ, and as there.
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_ties::{RamPlus, ramplus_tl};
///
/// let (base, a, b) = (array![0.0f32, 0.0], array![1.0f32, 2.0], array![0.0f32, 4.0]);
/// let merged = ramplus_tl(base.view(), &[a.view(), b.view()], &RamPlus::new(1.0, 0.5))?;
/// assert_eq!(merged, array![1.5, 3.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn ramplus_tl<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &RamPlus,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_model_arrays(params, base, models)
}

/// `ramplus_tl` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::RamPlusMethod;
///
/// assert_eq!(RamPlusMethod.name(), "ramplus_tl");
/// let names: Vec<&str> = RamPlusMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["epsilon", "r", "alpha"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RamPlusMethod;

impl Method for RamPlusMethod {
    fn name(&self) -> &str {
        "ramplus_tl"
    }

    fn title(&self) -> &str {
        "Reinforced Agent Merging Plus (tensor-local)"
    }

    fn summary(&self) -> &str {
        "Keeps and scales up what one model changed, averages what several did"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2601.13572")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 3] = [
            EPSILON_PARAMETER,
            Parameter {
                name: "r",
                scope: Scope::Shared,
                kind: ParameterKind::ANY_NUMBER,
                default: DefaultValue::Number(R),
                help: "how strongly changes of one model alone are scaled up",
            },
            Parameter {
                name: "alpha",
                scope: Scope::Shared,
                kind: NOT_NEGATIVE,
                default: DefaultValue::Number(ALPHA),
                help: "the greatest ratio of shared to own changes that counts in scaling",
            },
        ];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let shared = &binding.shared;
        let params = RamPlus {
            epsilon: shared.number("epsilon").unwrap_or(EPSILON),
            r: shared.number("r").unwrap_or(R),
            alpha: shared.number("alpha").unwrap_or(ALPHA),
        };
        params.check()?;
        Ok(Box::new(params))
    }
}
