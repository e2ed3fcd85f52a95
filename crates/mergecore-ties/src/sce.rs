//! SCE: select by variance, calculate weights, erase by sign.

use mergecore_kernel::{
    Apply, Base, Binding, Combination, Consensus, Cutoff, DefaultValue, Elect, Election, Element,
    Extent, Inputs, KeepAll, Kernel, KernelError, Method, Order, Parameter, ParameterKind, Scan,
    Scope, Step, TILE, TaskVectors, Tile, Vectorize, dot, merge_models, select,
};

use crate::variance::{CountVarying, Variances, variance_keys};

/// SCE ([arXiv:2408.07990]), tensor by tensor: select, calculate, erase.
///
/// Of the elements on which the models differ, a fraction `select_topk` is selected, those of
/// largest variance across the models. Each model's weight is the mean square of its selected
/// changes, over the sum of these. Each element elects a sign, and is changed by the weighted
/// mean of the changes that have it. Base and models have one shape, which is the output's.
///
/// [arXiv:2408.07990]: https://arxiv.org/abs/2408.07990
///
/// ```
/// use mergecore_ties::{Sce, sce_slices};
///
/// let base = [0.0f32; 4];
/// let models: [&[f32]; 2] = [&[1.0, 3.0, 1.0, 0.5], &[1.0, -1.0, 2.0, 0.5]];
/// let mut out = [0.0; 4];
/// sce_slices(&base, &models, &Sce::new(0.5), &mut out)?;
/// // The models differ on two elements, of which the one with the larger variance is selected.
/// assert_eq!(out, [0.0, 3.0, 0.0, 0.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sce {
    /// The fraction of the elements on which models differ that is selected, from 0 to 1. 1, the
    /// default, selects all elements, also those on which they do not.
    pub select_topk: f64,
    /// How signs are elected: by default, by the sum of the deltas, whatever their weights.
    pub election: Election,
}

/// The reference definition's.
const ELECTION: Election = Election { consensus: Consensus::Sum, elect: Elect::Unweighted };

impl Default for Sce {
    fn default() -> Self {
        Sce { select_topk: 1.0, election: ELECTION }
    }
}

impl Sce {
    /// SCE that selects this fraction, signs elected by the sum of the deltas.
    ///
    /// ```
    /// use mergecore_ties::{Elect, Sce};
    ///
    /// assert_eq!(Sce::new(1.0), Sce::default());
    /// assert_eq!(Sce::new(0.2).election.elect, Elect::Unweighted);
    /// ```
    pub fn new(select_topk: f64) -> Self {
        Sce { select_topk, ..Sce::default() }
    }
}

/// SCE of so many models besides the base.
#[derive(Debug, Clone)]
struct SceKernel {
    params: Sce,
    models: usize,
}

impl SceKernel {
    fn check(&self) -> Result<(), KernelError> {
        KernelError::check_fraction("select_topk", self.params.select_topk)
    }

    fn copy(&self, input: usize) -> Step {
        Step::apply(Combination::select(input, 1 + self.models))
    }

    /// The steps from the mean squares on, of what is selected.
    fn weigh(self, selected: Option<Cutoff>, len: u64) -> Step {
        Step::scan(SquareScan { sce: self, selected, len })
    }
}

impl Kernel for SceKernel {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        self.check()?;
        // Adding a change to the base would lose the sign of a model's zero.
        if let Some(input) = self.selects() {
            return Ok(self.copy(input));
        }
        let (sce, len) = (self.clone(), extent.len());
        if sce.params.select_topk >= 1.0 {
            return Ok(sce.weigh(None, len));
        }
        let fraction = sce.params.select_topk;
        Ok(Step::scan(CountVarying::new(move |varying| match (varying as f64 * fraction) as u64 {
            0 => Ok(sce.copy(0)),
            count => select(Variances, &[count], extent, move |cutoffs| {
                Ok(sce.weigh(cutoffs.first().copied(), len))
            }),
        })))
    }

    fn selects(&self) -> Option<usize> {
        let Sce { select_topk, .. } = self.params;
        match self.models {
            0 => Some(0),
            _ if select_topk == 0.0 => Some(0),
            // A lone model differs from no other.
            1 => Some(usize::from(select_topk == 1.0)),
            _ => None,
        }
    }
}

/// Sums the squares of each model's selected changes.
struct SquareScan {
    sce: SceKernel,
    /// Down to which variance elements are selected, where not all are.
    selected: Option<Cutoff>,
    /// Number of elements.
    len: u64,
}

/// Where the mean squares sum to less, all models weigh the same.
const NEGLIGIBLE: f64 = 1e-6;

/// What the sum of the weights of agreeing models is at least, where it is divided by.
const LEAST_WEIGHT: f64 = 1e-6;

impl SquareScan {
    /// One weight a model, of sum 1.
    fn weights(&self, squares: &[f64]) -> Vec<f64> {
        let means = squares.iter().map(|sum| sum / self.len as f64);
        let total: f64 = means.clone().sum();
        match total < NEGLIGIBLE {
            true => vec![1.0 / squares.len() as f64; squares.len()],
            false => means.map(|mean| mean / total).collect(),
        }
    }
}

impl Scan for SquareScan {
    /// One sum a model.
    type Partial = Vec<f64>;

    fn order(&self) -> Order {
        Order::Blocks
    }

    fn empty(&self) -> Vec<f64> {
        vec![0.0; self.sce.models]
    }

    fn fold(&self, partial: &mut Vec<f64>, tile: &mut Tile<'_>) {
        if let Some(cutoff) = self.selected {
            drop_others(cutoff, tile);
        }
        let simd = tile.simd();
        let (base, models) = tile.split_base();
        for (sum, model) in partial.iter_mut().zip(models) {
            *sum += simd.run(Square { base, model });
        }
    }

    fn combine(&self, total: &mut Vec<f64>, next: Vec<f64>) {
        for (total, next) in total.iter_mut().zip(next) {
            *total += next;
        }
    }

    fn finish(self: Box<Self>, total: Vec<f64>) -> Result<Step, KernelError> {
        let weights = self.weights(&total);
        let vectors = TaskVectors {
            densities: vec![1.0; weights.len()],
            weights,
            election: Some(self.sce.params.election),
            normalize: true,
            lambda: 1.0,
            rescale: None,
        };
        let step = vectors.step_with_least_divisor(KeepAll, LEAST_WEIGHT);
        Ok(match (self.selected, step) {
            (Some(cutoff), Step::Apply(apply)) => Step::apply(Selected { cutoff, apply }),
            (_, step) => step,
        })
    }
}

/// The sum of the squares of a model's changes, which take its place.
struct Square<'a> {
    base: &'a [f64],
    model: &'a mut [f64],
}

impl Vectorize for Square<'_> {
    type Output = f64;

    #[inline(always)]
    fn vectorize(self) -> f64 {
        for (value, base) in self.model.iter_mut().zip(self.base) {
            *value -= base;
        }
        dot(self.model, self.model)
    }
}

/// An apply to the selected elements; the others stay the base's.
struct Selected {
    cutoff: Cutoff,
    apply: Box<dyn Apply>,
}

impl Apply for Selected {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        drop_others(self.cutoff, tile);
        self.apply.apply(tile, out);
    }
}

/// Puts the base's value in place of the models' where an element is not selected.
fn drop_others(cutoff: Cutoff, tile: &mut Tile<'_>) {
    let mut keys = [0; TILE];
    let keys = &mut keys[..tile.len()];
    variance_keys(tile, keys);
    // Up to here elements of exactly the cutoff's key are kept, from here on not.
    let len = tile.len() as u64;
    let middle = cutoff.equal_below.saturating_sub(tile.start()).min(len) as usize;
    let simd = tile.simd();
    let (base, models) = tile.split_base();
    for model in models {
        simd.run(Drop { keys, middle, key: cutoff.key, base, model });
    }
}

struct Drop<'a> {
    keys: &'a [u64],
    middle: usize,
    key: u64,
    base: &'a [f64],
    model: &'a mut [f64],
}

impl Vectorize for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let Drop { keys, middle, key, base, model } = self;
        // Keys have 63 bits: signed comparisons do, which more instruction sets have.
        let key = key.min(i64::MAX as u64) as i64;
        let (below, above) = model.split_at_mut(middle);
        for ((value, base), found) in below.iter_mut().zip(base).zip(keys) {
            *value = if *found as i64 >= key { *value } else { *base };
        }
        for ((value, base), found) in above.iter_mut().zip(&base[middle..]).zip(&keys[middle..]) {
            *value = if *found as i64 > key { *value } else { *base };
        }
    }
}

/// Merges slices into `out`, one rounding to its type. Each slice is one tensor in
/// row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, a `select_topk` outside 0 to 1.
///
/// ```
/// use mergecore_ties::{Sce, sce_slices};
///
/// let base = [0.0f32; 2];
/// let models: [&[f32]; 2] = [&[3.0, -1.0], &[1.0, 2.0]];
/// let mut out = [0.0; 2];
/// sce_slices(&base, &models, &Sce::default(), &mut out)?;
/// // Squares of sums 10 and 5 make weights of 2/3 and 1/3; the first model is outvoted on the
/// // second element.
/// assert_eq!(out, [7.0 / 3.0, 2.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn sce_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &Sce,
    out: &mut [T],
) -> Result<(), KernelError> {
    let kernel = SceKernel { params: params.clone(), models: models.len() };
    merge_models(&kernel, base, models, &[out.len()], out)
}

/// Merges arrays of one shape, which is also the result's; one rounding to their
/// type.
///
/// # Errors
/// Shapes that differ, and as [`sce_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::array;
/// use mergecore_ties::{Sce, sce};
///
/// let (base, a, b) = (array![[0.0f32, 0.0]], array![[3.0f32, -1.0]], array![[3.0f32, -1.0]]);
/// let merged = sce(base.view(), &[a.view(), b.view()], &Sce::default())?;
/// assert_eq!(merged, array![[3.0, -1.0]]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn sce<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Sce,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = SceKernel { params: params.clone(), models: models.len() };
    mergecore_kernel::merge_model_arrays(&kernel, base, models)
}

/// `sce` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::SceMethod;
///
/// assert_eq!(SceMethod.name(), "sce");
/// let names: Vec<&str> = SceMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["select_topk", "consensus", "elect"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SceMethod;

impl Method for SceMethod {
    fn name(&self) -> &str {
        "sce"
    }

    fn title(&self) -> &str {
        "SCE"
    }

    fn summary(&self) -> &str {
        "Selects elements by variance, weighs models by their changes, erases minority signs"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2408.07990")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 3] = [
            Parameter {
                name: "select_topk",
                scope: Scope::Shared,
                kind: ParameterKind::FRACTION,
                default: DefaultValue::Number(1.0),
                help: "fraction of the elements on which models differ that is merged",
            },
            Parameter::CONSENSUS,
            Parameter { default: DefaultValue::Text("unweighted"), ..Parameter::ELECT },
        ];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let shared = &binding.shared;
        let mut election = Election::from_arguments(shared);
        if shared.text("elect").is_none() {
            election.elect = ELECTION.elect;
        }
        let select_topk = shared.number("select_topk").unwrap_or(1.0);
        let params = Sce { select_topk, election };
        let kernel = SceKernel { params, models: binding.models.len() };
        kernel.check()?;
        Ok(Box::new(kernel))
    }
}
