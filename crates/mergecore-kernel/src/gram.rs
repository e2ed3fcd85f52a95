//! The Gram matrix of the inputs: every dot product and squared norm, in one scan.

use mergecore_tensor::Vectorize;

use crate::{KernelError, Order, Scan, Step, Tile};

/// Dot products of all pairs of inputs, taken as flat vectors.
///
/// Only a [`GramScan`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    inputs: usize,
    /// Upper triangle, row by row.
    dots: Vec<f64>,
}

impl Gram {
    fn new(inputs: usize) -> Self {
        Gram { inputs, dots: vec![0.0; inputs * (inputs + 1) / 2] }
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
        GramScan { inputs, then }
    }
}

impl<F> Scan for GramScan<F>
where
    F: FnOnce(&Gram) -> Result<Step, KernelError> + Send + Sync + 'static,
{
    type Partial = Gram;

    fn order(&self) -> Order {
        Order::Blocks
    }

    fn empty(&self) -> Gram {
        Gram::new(self.inputs)
    }

    fn fold(&self, partial: &mut Gram, tile: &mut Tile<'_>) {
        let (tile, inputs) = (&*tile, self.inputs);
        tile.simd().run(AddDots { tile, inputs, dots: &mut partial.dots });
    }

    fn combine(&self, total: &mut Gram, next: Gram) {
        for (total, next) in total.dots.iter_mut().zip(next.dots) {
            *total += next;
        }
    }

    fn finish(self: Box<Self>, total: Gram) -> Result<Step, KernelError> {
        (self.then)(&total)
    }
}

const LANES: usize = 32;

/// Dot product in a fixed shape: 32 lanes, then a fixed tree.
///
/// # Panics
/// If the slices differ in length.
///
/// ```
/// assert_eq!(mergecore_kernel::dot(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
/// ```
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "slices of different length");
    sum_products(a, b, |x, y| x * y)
}

/// Sum of `term(x, y)` over both slices, in a fixed shape: element `i` goes to
/// lane `i % 32`, the lanes are added in halves.
#[inline(always)]
pub(crate) fn sum_products(a: &[f64], b: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += term(*a, *b);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Adds a tile's dot products to those of a block.
struct AddDots<'a, 't> {
    tile: &'a Tile<'t>,
    inputs: usize,
    dots: &'a mut [f64],
}

impl Vectorize for AddDots<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let mut dots = self.dots.iter_mut();
        for i in 0..self.inputs {
            let (a, rest) = (self.tile.input(i), &mut dots);
            for (j, total) in (i..self.inputs).zip(rest) {
                *total += sum_products(a, self.tile.input(j), |x, y| x * y);
            }
        }
    }
}
