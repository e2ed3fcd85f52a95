//! What Iso-C and TSV-Merge share: when a tensor is a matrix, how its change is read, and how
//! the merged change is added to the base.

use faer::Mat;
use mergecore_kernel::{
    Apply, BLOCK, Combination, DefaultValue, Element, Elements, Extent, KeepAll, Kernel,
    KernelError, Order, Parameter, ParameterKind, ReadInputs, Scan, Scope, Simd, Step, TaskVectors,
    Tile, Whole, merge_models,
};

/// `weight`, which both methods' papers do without.
pub(crate) const WEIGHT: Parameter =
    Parameter { default: DefaultValue::Number(1.0), ..Parameter::WEIGHT };

/// `decompose`.
pub(crate) const DECOMPOSE: Parameter = Parameter {
    name: "decompose",
    scope: Scope::Shared,
    kind: ParameterKind::Flag,
    default: DefaultValue::Flag(true),
    help: "decompose matrices; false takes the mean of the changes, as for vectors",
};

/// The parameters both methods have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common<'a> {
    pub(crate) weights: &'a [f64],
    pub(crate) lambda: f64,
    pub(crate) decompose: bool,
}

impl Common<'_> {
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        self.weights.iter().try_for_each(|w| KernelError::check_finite("weight", *w))?;
        KernelError::check_finite("lambda", self.lambda)
    }

    /// Whether the output is the base, whatever the data.
    pub(crate) fn adds_nothing(&self) -> bool {
        self.lambda == 0.0 || self.weights.iter().all(|weight| *weight == 0.0)
    }

    /// Whether there is one model, neither whose change nor the merged one is scaled.
    pub(crate) fn is_lone_model(&self) -> bool {
        self.weights == [1.0] && self.lambda == 1.0
    }

    /// Whether a tensor of this extent is decomposed.
    fn takes_apart(&self, extent: Extent) -> bool {
        self.decompose && extent.dimensions == 2 && !extent.is_empty()
    }

    /// The steps for a tensor: `whole` where it is a matrix of which something changes, the mean
    /// of the changes where it is none.
    pub(crate) fn first(
        &self,
        extent: Extent,
        whole: impl Whole + 'static,
    ) -> Result<Step, KernelError> {
        self.check()?;
        if self.adds_nothing() {
            return Ok(unchanged(self.weights.len()));
        }
        if !self.takes_apart(extent) {
            return Ok(self.mean());
        }
        Ok(Step::scan(AnyChange { models: self.weights.len(), whole }))
    }

    /// `base + lambda / T * sum(w_i * (m_i - base))`.
    fn mean(&self) -> Step {
        let vectors = TaskVectors {
            weights: self.weights.to_vec(),
            densities: vec![1.0; self.weights.len()],
            election: None,
            normalize: false,
            lambda: self.lambda / self.weights.len() as f64,
            rescale: None,
        };
        vectors.step(KeepAll)
    }
}

/// Looks whether any model differs from the base, which it need not decompose otherwise. Whoever
/// looks the data through for NaN on the first pass does so before they are decomposed.
struct AnyChange<W> {
    models: usize,
    whole: W,
}

impl<W: Whole + 'static> Scan for AnyChange<W> {
    type Partial = bool;

    fn order(&self) -> Order {
        Order::Any
    }

    fn empty(&self) -> bool {
        false
    }

    fn fold(&self, any: &mut bool, tile: &mut Tile<'_>) {
        if *any {
            return;
        }
        let (base, mut models) = tile.split_base();
        *any = models.any(|model| model.iter().zip(base).any(|(value, base)| value != base));
    }

    fn fold_stored(&self, any: &mut bool, _: Simd, _: u64, _: &[Elements<'_>]) -> bool {
        *any
    }

    fn combine(&self, total: &mut bool, next: bool) {
        *total |= next;
    }

    fn finish(self: Box<Self>, any: bool) -> Result<Step, KernelError> {
        match any {
            true => Ok(Step::whole(self.whole)),
            false => Ok(unchanged(self.models)),
        }
    }
}

/// The base as the output, of a base and so many models.
pub(crate) fn unchanged(models: usize) -> Step {
    Step::apply(Combination::select(0, 1 + models))
}

/// A change as a matrix, none of whose elements is far from 1 if not far less.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) matrix: Mat<f64>,
    /// What the elements are to be multiplied by: a power of two.
    pub(crate) scale: f64,
}

/// Whether the matrices of a tensor of this extent are transposed, so as to have at least as
/// many rows as columns.
fn is_transposed(extent: Extent) -> bool {
    extent.rows < extent.columns
}

/// A matrix of zeros: where it is large, to have that memory takes a good part of a second.
///
/// # Errors
/// [`KernelError::Interrupted`] where the driver of the inputs no longer wants it.
pub(crate) fn zeros(
    rows: usize,
    columns: usize,
    inputs: &dyn ReadInputs,
) -> Result<Mat<f64>, KernelError> {
    let mut matrix = Mat::with_capacity(rows, columns);
    let at_once = ((1 << 18) / rows.max(1)).max(1);
    loop {
        if inputs.is_cancelled() {
            return Err(KernelError::Interrupted);
        }
        matrix.resize_with(rows, columns.min(matrix.ncols() + at_once), |_, _| 0.0);
        if matrix.ncols() == columns {
            return Ok(matrix);
        }
    }
}

/// `sum(weight * (model - base))` over models, given as pairs of number and weight, in their
/// order. Transposed where the tensor has fewer rows than columns.
///
/// # Errors
/// Where reading fails.
pub(crate) fn read_change(
    extent: Extent,
    inputs: &dyn ReadInputs,
    models: &[(usize, f64)],
) -> Result<Mat<f64>, KernelError> {
    let (rows, columns) = (extent.rows as usize, extent.columns as usize);
    let transposed = is_transposed(extent);
    let (tall, wide) = (rows.max(columns), rows.min(columns));
    let mut matrix = zeros(tall, wide, inputs)?;
    let at_once = (BLOCK as usize / columns).max(1);
    let room = || vec![0.0; at_once.min(rows) * columns];
    let (mut base, mut model, mut sum) = (room(), room(), room());
    for first in (0..rows).step_by(at_once) {
        let len = at_once.min(rows - first) * columns;
        let start = (first * columns) as u64;
        inputs.read(0, start, &mut base[..len])?;
        sum.fill(0.0);
        for (index, weight) in models {
            inputs.read(1 + index, start, &mut model[..len])?;
            for ((sum, value), base) in sum.iter_mut().zip(&model).zip(&base).take(len) {
                *sum += weight * (value - base);
            }
        }
        let lines = sum[..len].chunks_exact(columns).enumerate();
        if transposed {
            lines.for_each(|(row, values)| {
                matrix.col_as_slice_mut(first + row).copy_from_slice(values);
            });
        } else {
            for column in 0..columns {
                let to = &mut matrix.col_as_slice_mut(column)[first..];
                let from = sum[column..len].iter().step_by(columns);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }
    Ok(matrix)
}

/// Brings the largest element near 1, so that no sum of squares is too large or too small; `None`
/// where all are zero.
///
/// # Errors
/// [`KernelError::Undefined`] where an element is not finite.
pub(crate) fn scaled(mut matrix: Mat<f64>) -> Result<Option<Change>, KernelError> {
    let mut largest = 0.0;
    for column in 0..matrix.ncols() {
        for value in matrix.col_as_slice(column) {
            // A NaN stays.
            largest = if value.abs() <= largest { largest } else { value.abs() };
            if !largest.is_finite() {
                return Err(KernelError::Undefined {
                    what: "the change of a matrix has an element that is NaN or infinite, and so no singular values".to_owned(),
                    instead: "repair the model, or set `decompose: false` for this tensor, so that the mean of the changes is taken",
                });
            }
        }
    }
    if largest == 0.0 {
        return Ok(None);
    }
    // The largest power of two up to it, or the least of the normal ones.
    let scale = f64::from_bits(largest.to_bits() & (0x7ff << 52)).max(f64::MIN_POSITIVE);
    for column in 0..matrix.ncols() {
        matrix.col_as_slice_mut(column).iter_mut().for_each(|value| *value /= scale);
    }
    Ok(Some(Change { matrix, scale }))
}

/// Bytes for so many matrices of this extent and so many square ones of its shorter side, and
/// for the rotations gathered.
pub(crate) fn memory(extent: Extent, matrices: u64, squares: u64) -> u64 {
    let side = extent.rows.min(extent.columns);
    let doubles = matrices.saturating_mul(extent.len()).saturating_add(squares * side * side);
    doubles.saturating_mul(8).saturating_add(8 << 20)
}

/// A merged change, given as [`read_change`] has it, times a factor, in the order of the tensor's
/// elements.
pub(crate) fn merged(extent: Extent, matrix: &Mat<f64>, factor: f64) -> Vec<f64> {
    let columns = extent.columns as usize;
    let mut change = vec![0.0; extent.len() as usize];
    for (line, values) in (0..matrix.ncols()).map(|line| (line, matrix.col_as_slice(line))) {
        let (first, step) = match is_transposed(extent) {
            true => (line * columns, 1),
            false => (line, columns),
        };
        let to = change[first..].iter_mut().step_by(step);
        to.zip(values).for_each(|(to, value)| *to = factor * value);
    }
    change
}

/// The apply that adds a change.
pub(crate) fn add(change: Vec<f64>) -> Step {
    Step::apply(Added { change })
}

/// Adds a change to the base; where it is zero the base is left as it is, bit for bit.
struct Added {
    change: Vec<f64>,
}

impl Apply for Added {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        let change = &self.change[tile.start() as usize..];
        for ((out, base), change) in out.iter_mut().zip(tile.input(0)).zip(change) {
            *out = if *change == 0.0 { *base } else { base + change };
        }
    }
}

/// Merges slices of one shape: checks that there is a weight for each model, and puts the base
/// first.
pub(crate) fn merge_onto_base<T: Element>(
    kernel: &dyn Kernel,
    weights: &[f64],
    base: &[T],
    models: &[&[T]],
    shape: &[usize],
    out: &mut [T],
) -> Result<(), KernelError> {
    KernelError::check_count("weight", weights, models.len())?;
    merge_models(kernel, base, models, shape, out)
}
