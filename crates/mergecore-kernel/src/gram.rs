//! The Gram matrix of the inputs: every dot product and squared norm, in one scan.

use mergecore_tensor::{Element, Elements, Simd, Vectorize};

use crate::deltas::Subtract;
use crate::{KernelError, Order, Scan, Step, StoredWork, TILE, Tile, over_stored};

/// Dot products of all pairs of inputs, or of their differences from a base, taken as flat
/// vectors.
///
/// A [`GramScan`] makes one of whole tensors, [`Gram::of`] and [`Gram::of_deltas`] of vectors at
/// hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    inputs: usize,
    /// Upper triangle, row by row.
    dots: Vec<f64>,
}

impl Gram {
    /// The Gram matrix of vectors of one length, of rows say, computed with this instruction
    /// set, on which it does not depend.
    ///
    /// # Panics
    /// May panic where the lengths differ.
    ///
    /// ```
    /// use mergecore_kernel::{Gram, Simd};
    ///
    /// let gram = Gram::of(Simd::detect(), &[&[3.0, 4.0], &[1.0, 0.0]]);
    /// assert_eq!((gram.norm(0), gram.dot(0, 1)), (5.0, 3.0));
    /// ```
    pub fn of(simd: Simd, vectors: &[&[f64]]) -> Self {
        let inputs = vectors.len();
        let mut lanes = Lanes::zero(inputs);
        simd.run(AddProducts { inputs: vectors, lanes: &mut lanes.0 });
        Gram { inputs, dots: lanes.sums() }
    }

    /// As [`of`](Self::of), of models' differences from their base.
    ///
    /// # Panics
    /// May panic where the lengths differ.
    ///
    /// ```
    /// use mergecore_kernel::{Gram, Simd};
    ///
    /// let gram = Gram::of_deltas(Simd::detect(), &[1.0, 1.0], &[&[4.0, 5.0], &[2.0, 1.0]]);
    /// assert_eq!((gram.norm(0), gram.dot(0, 1)), (5.0, 3.0));
    /// ```
    pub fn of_deltas(simd: Simd, base: &[f64], models: &[&[f64]]) -> Self {
        let inputs = models.len();
        let mut lanes = Lanes::zero(inputs);
        simd.run(AddDeltaProducts { base, models, lanes: &mut lanes.0 });
        Gram { inputs, dots: lanes.sums() }
    }

    /// The dot product of inputs `i` and `j`; a squared norm where they are one.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn dot(&self, i: usize, j: usize) -> f64 {
        let (i, j) = (i.min(j), i.max(j));
        assert!(j < self.inputs, "input {j} of {}", self.inputs);
        self.dots[i * (2 * self.inputs - i + 1) / 2 + (j - i)]
    }

    /// The Euclidean norm of input `i`.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn norm(&self, i: usize) -> f64 {
        self.dot(i, i).sqrt()
    }
}

/// A scan that yields the [`Gram`] matrix and continues from it.
///
/// ```
/// use mergecore_kernel::{Combination, Extent, GramScan, Kernel, KernelError, Step, merge_slices};
///
/// /// The projection of the second input on the first.
/// #[derive(Debug)]
/// struct Projection;
///
/// impl Kernel for Projection {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::scan(GramScan::new(2, |gram| {
///             let share = gram.dot(0, 1) / gram.dot(0, 0);
///             Ok(Step::apply(Combination::new(vec![share, 0.0])))
///         })))
///     }
/// }
///
/// let mut out = [0.0f32; 2];
/// merge_slices(&Projection, &[&[2.0f32, 0.0], &[3.0, 7.0]], &[2], &mut out)?;
/// assert_eq!(out, [3.0, 0.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub struct GramScan<F> {
    inputs: usize,
    /// Whether the vectors are the inputs' differences from a base before them.
    from_base: bool,
    /// Coefficients of one more vector, if there is one.
    combination: Option<Vec<f64>>,
    then: F,
}

impl<F> std::fmt::Debug for GramScan<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GramScan").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl<F> GramScan<F>
where
    F: FnOnce(&Gram) -> Result<Step, KernelError> + Send + Sync + 'static,
{
    /// Scans this many inputs, then calls `then` for the next step.
    pub fn new(inputs: usize, then: F) -> Self {
        GramScan { inputs, from_base: false, combination: None, then }
    }

    /// Scans the task vectors of this many models, which come after their base: the vectors
    /// are the differences, taken before they are multiplied, so that nothing cancels.
    ///
    /// ```
    /// use mergecore_kernel::{
    ///     Combination, Extent, GramScan, Kernel, KernelError, Step, merge_slices,
    /// };
    ///
    /// /// Divides a model's change by its norm.
    /// #[derive(Debug)]
    /// struct UnitChange;
    ///
    /// impl Kernel for UnitChange {
    ///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
    ///         Ok(Step::scan(GramScan::of_deltas(1, |gram| {
    ///             let share = 1.0 / gram.norm(0);
    ///             Ok(Step::apply(Combination::new(vec![1.0 - share, share])))
    ///         })))
    ///     }
    /// }
    ///
    /// let mut out = [0.0f32; 2];
    /// merge_slices(&UnitChange, &[&[1.0f32, 1.0], &[1.0, 5.0]], &[2], &mut out)?;
    /// assert_eq!(out, [1.0, 2.0]);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn of_deltas(models: usize, then: F) -> Self {
        GramScan { inputs: models, from_base: true, combination: None, then }
    }

    /// Adds one more vector, the last: the sum of the others times these coefficients. Of a
    /// sum in which they nearly cancel, the other dot products do not tell the norm.
    ///
    /// # Panics
    /// Unless there is a coefficient for each vector.
    ///
    /// ```
    /// use mergecore_kernel::{
    ///     Combination, Extent, GramScan, Kernel, KernelError, Step, merge_slices,
    /// };
    ///
    /// /// The difference of two vectors, divided by its norm.
    /// #[derive(Debug)]
    /// struct Direction;
    ///
    /// impl Kernel for Direction {
    ///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
    ///         let scan = GramScan::new(2, |gram| {
    ///             let share = 1.0 / gram.norm(2);
    ///             Ok(Step::apply(Combination::new(vec![share, -share])))
    ///         });
    ///         Ok(Step::scan(scan.and_combination(vec![1.0, -1.0])))
    ///     }
    /// }
    ///
    /// let mut out = [0.0f32; 2];
    /// let tiny = 2f32.powi(-23);
    /// merge_slices(&Direction, &[&[1.0 + tiny, 1.0], &[1.0, 1.0]], &[2], &mut out)?;
    /// assert_eq!(out, [1.0, 0.0]);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn and_combination(self, coefficients: Vec<f64>) -> Self {
        assert_eq!(coefficients.len(), self.inputs, "a coefficient for each vector");
        GramScan { combination: Some(coefficients), ..self }
    }
}

impl<F> Scan for GramScan<F>
where
    F: FnOnce(&Gram) -> Result<Step, KernelError> + Send + Sync + 'static,
{
    type Partial = Lanes;

    fn order(&self) -> Order {
        Order::Blocks
    }

    fn empty(&self) -> Lanes {
        Lanes::zero(self.vectors())
    }

    fn fold(&self, partial: &mut Lanes, tile: &mut Tile<'_>) {
        let simd = tile.simd();
        if self.from_base {
            let (base, models) = tile.split_base();
            models.for_each(|model| simd.run(Subtract { base, model }));
        }
        let first = usize::from(self.from_base);
        let mut inputs: Vec<&[f64]> = (first..first + self.inputs).map(|i| tile.input(i)).collect();
        let mut sum = [0.0; TILE];
        if let Some(coefficients) = &self.combination {
            let sum = &mut sum[..tile.len()];
            simd.run(AddUp { coefficients, inputs: &inputs, sum });
            inputs.push(sum);
        }
        simd.run(AddProducts { inputs: &inputs, lanes: &mut partial.0 });
    }

    fn fold_stored(
        &self,
        partial: &mut Lanes,
        simd: Simd,
        _: u64,
        inputs: &[Elements<'_>],
    ) -> bool {
        let count = self.inputs + usize::from(self.from_base);
        let work = AddStored { from_base: self.from_base, simd, partial };
        self.combination.is_none() && over_stored(&inputs[..count], work).is_some()
    }

    fn combine(&self, total: &mut Lanes, next: Lanes) {
        for (total, next) in total.0.iter_mut().flatten().zip(next.0.into_iter().flatten()) {
            *total += next;
        }
    }

    fn finish(self: Box<Self>, total: Lanes) -> Result<Step, KernelError> {
        let gram = Gram { inputs: self.vectors(), dots: total.sums() };
        (self.then)(&gram)
    }
}

impl<F> GramScan<F> {
    fn vectors(&self) -> usize {
        self.inputs + usize::from(self.combination.is_some())
    }
}

/// Products of stored elements, or of their differences from a base, added up.
struct AddStored<'a> {
    from_base: bool,
    simd: Simd,
    partial: &'a mut Lanes,
}

impl StoredWork for AddStored<'_> {
    type Output = ();

    fn run<T: Element>(self, inputs: &[&[T]]) {
        let lanes = &mut self.partial.0[..];
        match inputs.split_first().filter(|_| self.from_base) {
            Some((base, models)) => self.simd.run(AddDeltaProducts { base, models, lanes }),
            None => self.simd.run(AddProducts { inputs, lanes }),
        }
    }
}

const LANES: usize = 32;

/// Sums of products in the making, one for each pair of inputs in the order of [`Gram`]:
/// element `i` of a block goes to lane `i % 32`.
#[derive(Debug)]
pub struct Lanes(Vec<[f64; LANES]>);

impl Lanes {
    fn zero(inputs: usize) -> Self {
        Lanes(vec![[0.0; LANES]; inputs * (inputs + 1) / 2])
    }

    fn sums(self) -> Vec<f64> {
        self.0.into_iter().map(sum_lanes).collect()
    }
}

/// Adds up slices times their coefficients.
struct AddUp<'a> {
    coefficients: &'a [f64],
    inputs: &'a [&'a [f64]],
    sum: &'a mut [f64],
}

impl Vectorize for AddUp<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for (coefficient, input) in self.coefficients.iter().zip(self.inputs) {
            for (sum, value) in self.sum.iter_mut().zip(*input) {
                *sum += coefficient * value;
            }
        }
    }
}

/// Adds the products of all pairs of slices of one length, which begin at a multiple of
/// the number of lanes.
struct AddProducts<'a, T> {
    inputs: &'a [&'a [T]],
    lanes: &'a mut [[f64; LANES]],
}

impl<T: Element> Vectorize for AddProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        if let ([a, b], [aa, ab, bb]) = (self.inputs, &mut *self.lanes) {
            return add_two(a, b, aa, ab, bb);
        }
        let mut lanes = self.lanes.iter_mut();
        for (i, a) in self.inputs.iter().enumerate() {
            for (b, lanes) in self.inputs[i..].iter().zip(&mut lanes) {
                add_terms(a, b, lanes, |x, y| x * y);
            }
        }
    }
}

/// As [`AddProducts`], of the slices' differences from a base.
struct AddDeltaProducts<'a, T> {
    base: &'a [T],
    models: &'a [&'a [T]],
    lanes: &'a mut [[f64; LANES]],
}

impl<T: Element> Vectorize for AddDeltaProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let AddDeltaProducts { base, models, lanes } = self;
        let mut deltas = vec![[0.0; LANES]; models.len()];
        let (chunks, rest) = base.as_chunks::<LANES>();
        for (at, base) in (0..).step_by(LANES).zip(chunks) {
            for (deltas, model) in deltas.iter_mut().zip(models) {
                let model = &model[at..at + LANES];
                for lane in 0..LANES {
                    deltas[lane] = model[lane].widen() - base[lane].widen();
                }
            }
            add_pairs(&deltas, lanes);
        }
        let at = base.len() - rest.len();
        for (deltas, model) in deltas.iter_mut().zip(models) {
            *deltas = [0.0; LANES];
            for ((delta, model), base) in deltas.iter_mut().zip(&model[at..]).zip(rest) {
                *delta = model.widen() - base.widen();
            }
        }
        add_pairs(&deltas, lanes);
    }
}

/// Adds the products of all pairs, lane by lane.
#[inline(always)]
fn add_pairs(values: &[[f64; LANES]], lanes: &mut [[f64; LANES]]) {
    let mut lanes = lanes.iter_mut();
    for (i, a) in values.iter().enumerate() {
        for (b, lanes) in values[i..].iter().zip(&mut lanes) {
            for lane in 0..LANES {
                lanes[lane] += a[lane] * b[lane];
            }
        }
    }
}

/// All three sums in one go.
#[inline(always)]
fn add_two<T: Element>(
    a: &[T],
    b: &[T],
    aa: &mut [f64; LANES],
    ab: &mut [f64; LANES],
    bb: &mut [f64; LANES],
) {
    let (mut sum_aa, mut sum_ab, mut sum_bb) = (*aa, *ab, *bb);
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            let (x, y) = (a[lane].widen(), b[lane].widen());
            sum_aa[lane] += x * x;
            sum_ab[lane] += x * y;
            sum_bb[lane] += y * y;
        }
    }
    (*aa, *ab, *bb) = (sum_aa, sum_ab, sum_bb);
    for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        let (x, y) = (x.widen(), y.widen());
        aa[lane] += x * x;
        ab[lane] += x * y;
        bb[lane] += y * y;
    }
}

/// Adds `term(x, y)` for each element of both slices to its lane.
#[inline(always)]
fn add_terms<T: Element>(
    a: &[T],
    b: &[T],
    lanes: &mut [f64; LANES],
    term: impl Fn(f64, f64) -> f64,
) {
    let mut sums = *lanes;
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane].widen(), b[lane].widen());
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += term(a.widen(), b.widen());
    }
    *lanes = sums;
}

/// The sum of lanes in a fixed shape: half is added to half.
fn sum_lanes(mut lanes: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Dot product in a fixed shape: 32 lanes, then a fixed tree.
///
/// # Panics
/// If the slices differ in length.
///
/// ```
/// assert_eq!(mergecore_kernel::dot(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
/// ```
#[inline(always)]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "slices of different length");
    sum_products(a, b, |x, y| x * y)
}

/// Sum of `term(x, y)` over both slices, in a fixed shape: element `i` goes to
/// lane `i % 32`, the lanes are added in halves.
#[inline(always)]
pub(crate) fn sum_products(a: &[f64], b: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    add_terms(a, b, &mut lanes, term);
    sum_lanes(lanes)
}
