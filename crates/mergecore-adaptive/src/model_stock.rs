//! Averaging as far as the models agree.

use mergecore_kernel::{
    Apply, Base, Binding, Combination, DefaultValue, Element, Extent, Gram, GramScan, Inputs,
    Kernel, KernelError, Method, Parameter, ParameterKind, Scope, Step, Tile, merge_models,
};

/// Model Stock ([arXiv:2403.19522]): between the base and the models' mean, the nearer to the
/// mean the more alike the models' changes are. Base and models, at least two of these, have one
/// shape, which is the output's.
///
/// [arXiv:2403.19522]: https://arxiv.org/abs/2403.19522
///
/// ```
/// use mergecore_adaptive::{ModelStock, model_stock_slices};
///
/// // Changes of 60 degrees: two thirds of the way to their mean.
/// let (base, a, b) = ([0.0f64, 0.0], [3f64.sqrt(), 1.0], [3f64.sqrt(), -1.0]);
/// let mut out = [0.0; 2];
/// model_stock_slices(&base, &[&a, &b], &[2], &ModelStock::default(), &mut out)?;
/// assert!((out[0] - 2.0 / 3f64.sqrt()).abs() < 1e-15 && out[1].abs() < 1e-15);
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelStock {
    /// Whether each row (along the last axis; a vector is one row) goes its own way, not each
    /// tensor. Off by default.
    pub filter_wise: bool,
}

/// Products of norms below this count as this.
const LEAST_PRODUCT: f64 = 1e-6;

/// Where the denominator is below this, the changes cancel and the base is kept.
const SINGULAR: f64 = 1e-6;

impl ModelStock {
    /// Model Stock by tensor, or by row.
    ///
    /// ```
    /// assert!(!mergecore_adaptive::ModelStock::default().filter_wise);
    /// assert!(mergecore_adaptive::ModelStock::new(true).filter_wise);
    /// ```
    pub fn new(filter_wise: bool) -> Self {
        ModelStock { filter_wise }
    }
}

/// The combination of a base and so many models, given their changes' dot products.
fn stock(models: usize, gram: &Gram) -> Combination {
    let cosine = |i, j| {
        let (ii, ij, jj) = (gram.dot(i, i), gram.dot(i, j), gram.dot(j, j));
        let product = ii.sqrt() * jj.sqrt();
        // Of equal changes it is one, whatever the roots round to.
        if ii == ij && ij == jj && product >= LEAST_PRODUCT {
            return 1.0;
        }
        (ij / product.max(LEAST_PRODUCT)).clamp(-1.0, 1.0)
    };
    let pairs = (0..models).flat_map(|i| (i + 1..models).map(move |j| (i, j)));
    let (n, sum) = (models as f64, pairs.clone().map(|(i, j)| cosine(i, j)).sum::<f64>());
    let mean = sum / pairs.count() as f64;
    let denominator = 1.0 + (n - 1.0) * mean;
    let t = if denominator.abs() < SINGULAR { 0.0 } else { n * mean / denominator };
    let mut coefficients = vec![t / n; 1 + models];
    coefficients[0] = 1.0 - t;
    Combination::average(coefficients)
}

/// Model Stock of a number of models besides the base.
#[derive(Debug, Clone, Copy)]
struct ModelStockKernel {
    models: usize,
    filter_wise: bool,
}

impl ModelStockKernel {
    fn check(&self) -> Result<(), KernelError> {
        if self.models >= 2 {
            return Ok(());
        }
        Err(KernelError::InputCount {
            method: "model_stock",
            expected: "at least two models besides the base",
            found: self.models,
        })
    }
}

impl Kernel for ModelStockKernel {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        self.check()?;
        let models = self.models;
        if self.filter_wise && extent.rows > 1 {
            return Ok(Step::apply(ByRow { models }));
        }
        Ok(Step::scan(GramScan::of_deltas(models, move |gram| {
            Ok(Step::apply(stock(models, gram)))
        })))
    }
}

struct ByRow {
    models: usize,
}

impl Apply for ByRow {
    fn whole_rows(&self) -> bool {
        true
    }

    fn apply(&self, row: &mut Tile<'_>, out: &mut [f64]) {
        let models = self.models;
        let inputs: Vec<&[f64]> = (0..1 + models).map(|index| row.input(index)).collect();
        let gram = Gram::of_deltas(row.simd(), inputs[0], &inputs[1..]);
        stock(models, &gram).apply(row, out);
    }
}

/// Merges slices of one tensor of this shape each, in row-major order, into `out`, one rounding
/// to its type.
///
/// # Errors
/// Lengths that disagree with the shape, fewer than two models.
///
/// ```
/// use mergecore_adaptive::{ModelStock, model_stock_slices};
///
/// let base = [0.0f32; 4];
/// let models: [&[f32]; 2] = [&[1.0, 0.0, 2.0, 2.0], &[0.0, 1.0, 2.0, 2.0]];
/// let mut out = [0.0; 4];
/// model_stock_slices(&base, &models, &[2, 2], &ModelStock::new(true), &mut out)?;
/// assert_eq!(out, [0.0, 0.0, 2.0, 2.0]); // the first rows have nothing in common
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
pub fn model_stock_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    shape: &[usize],
    params: &ModelStock,
    out: &mut [T],
) -> Result<(), KernelError> {
    let kernel = ModelStockKernel { models: models.len(), filter_wise: params.filter_wise };
    merge_models(&kernel, base, models, shape, out)
}

/// Merges arrays of one shape, which is also the result's; one rounding to their type.
///
/// # Errors
/// Shapes that differ, fewer than two models.
///
/// ```
/// use mergecore_adaptive::{ModelStock, model_stock};
/// use mergecore_kernel::ndarray::array;
///
/// let (base, model) = (array![[1.0f32, 1.0]], array![[2.0f32, 0.5]]);
/// let models = [model.view(), model.view()];
/// assert_eq!(model_stock(base.view(), &models, &ModelStock::default())?, model);
/// # Ok::<(), mergecore_adaptive::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn model_stock<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &ModelStock,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    let kernel = ModelStockKernel { models: models.len(), filter_wise: params.filter_wise };
    mergecore_kernel::merge_model_arrays(&kernel, base, models)
}

/// `model_stock` as recipes name it.
///
/// ```
/// use mergecore_adaptive::ModelStockMethod;
/// use mergecore_kernel::Method;
///
/// assert_eq!(ModelStockMethod.name(), "model_stock");
/// assert!(!ModelStockMethod.inputs().models.contains(&1));
/// assert_eq!(ModelStockMethod.parameters()[0].name, "filter_wise");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ModelStockMethod;

impl Method for ModelStockMethod {
    fn name(&self) -> &str {
        "model_stock"
    }

    fn title(&self) -> &str {
        "Model Stock"
    }

    fn summary(&self) -> &str {
        "Averages models as far as their changes to the base agree"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2403.19522")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 2..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &[Parameter {
            name: "filter_wise",
            scope: Scope::Shared,
            kind: ParameterKind::Flag,
            default: DefaultValue::Flag(false),
            help: "let each row of a tensor go its own way",
        }]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let filter_wise = binding.shared.flag("filter_wise").unwrap_or(false);
        let kernel = ModelStockKernel { models: binding.models.len(), filter_wise };
        kernel.check()?;
        Ok(Box::new(kernel))
    }
}
