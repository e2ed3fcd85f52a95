//! What a merge method is to the driver: scans, then one apply.

use std::any::Any;
use std::fmt;
use std::ops::Range;

use mergecore_tensor::{Elements, ElementsMut, Losses, Simd};

use crate::{Cutoff, Extent, KernelError, Survey, Tile};

/// A merge method bound to one output tensor: parameters resolved, number of
/// inputs known.
///
/// A kernel never sees files, names, threads or recipes. It says what to do
/// first; each scan's outcome says what to do next, until an [`Apply`] is
/// reached, which yields the output.
///
/// ```
/// use mergecore_kernel::{Apply, Extent, Kernel, KernelError, Step, Tile, merge_slices};
///
/// /// Keeps, element by element, the value of larger magnitude.
/// #[derive(Debug, Clone, Copy)]
/// struct Largest;
///
/// impl Kernel for Largest {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::apply(*self))
///     }
/// }
///
/// impl Apply for Largest {
///     fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
///         let (first, others) = tile.split_base();
///         out.copy_from_slice(first);
///         for other in others {
///             for (out, value) in out.iter_mut().zip(other) {
///                 if value.abs() > out.abs() { *out = *value }
///             }
///         }
///     }
/// }
///
/// let mut out = [0.0f32; 3];
/// merge_slices(&Largest, &[&[1.0, -2.0, 3.0], &[-4.0, 1.0, 2.0]], &[3], &mut out)?;
/// assert_eq!(out, [-4.0, -2.0, 3.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub trait Kernel: Send + Sync + fmt::Debug {
    /// The first step for a tensor of this extent.
    ///
    /// # Errors
    /// Where the parameters do not fit together; the text names them.
    fn first(&self, extent: Extent) -> Result<Step, KernelError>;

    /// `Some(i)` where the output is input `i` unchanged, so that no arithmetic
    /// need be done at all.
    fn selects(&self) -> Option<usize> {
        None
    }

    /// What has to be selected among all tensors of a merge together before any of them can be
    /// merged; nothing by default.
    ///
    /// A tensor merged alone is all there is: then [`first`](Self::first) selects.
    fn survey(&self) -> Option<Survey> {
        None
    }

    /// The first step where there is a [`survey`](Self::survey): `kept` says, a cutoff for each
    /// of its lanes, which elements of this tensor are among those selected.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    fn first_surveyed(&self, extent: Extent, kept: &[Cutoff]) -> Result<Step, KernelError> {
        let _ = kept;
        self.first(extent)
    }
}

/// The last step: computes the output's elements from the inputs'.
///
/// See [`Kernel`] for one written out. An apply may be run on the tiles in any order
/// and by many threads at once.
///
/// ```
/// use mergecore_kernel::{Apply, Extent, Kernel, KernelError, Step, Tile, merge_slices};
///
/// #[derive(Debug, Clone, Copy)]
/// struct Negate;
///
/// impl Apply for Negate {
///     fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
///         for (out, value) in out.iter_mut().zip(tile.input(0)) {
///             *out = -value;
///         }
///     }
/// }
/// # impl Kernel for Negate {
/// #     fn first(&self, _: Extent) -> Result<Step, KernelError> {
/// #         Ok(Step::apply(*self))
/// #     }
/// # }
/// # let mut out = [0.0f32];
/// # merge_slices(&Negate, &[&[2.0f32]], &[1], &mut out)?;
/// # assert_eq!(out, [-2.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub trait Apply: Send + Sync {
    /// Writes the tile's output elements; `out` is as long as the tile.
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]);

    /// Whether each tile has to be one whole row, along the last axis. Memory then grows with
    /// the length of a row, and rows at the ends of a chunk may be computed twice.
    fn whole_rows(&self) -> bool {
        false
    }

    /// Computes a run of stored elements, the first at flat index `start`, as
    /// [`apply`](Self::apply) would its tiles, to the same bits, but without widened copies;
    /// yields what was lost in rounding, with indices within the run, as
    /// [`ElementsMut::narrow`] does. A [`TypedApply`](crate::TypedApply) has it. `None`, and nothing done, where the apply has no such way,
    /// and the driver then takes the run through tiles. Not called for whole rows.
    fn apply_stored(
        &self,
        _simd: Simd,
        _start: u64,
        _inputs: &[Elements<'_>],
        _out: &mut ElementsMut<'_>,
    ) -> Option<Losses> {
        None
    }
}

/// How a scan's partials come together.
///
/// ```
/// use mergecore_kernel::{GramScan, Order, Scan};
///
/// let scan = GramScan::new(2, |_| unreachable!("not run"));
/// assert_eq!(scan.order(), Order::Blocks); // it sums
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One partial a block, combined in index order: for floating-point sums.
    Blocks,
    /// Partials of any extent in any order: for what is exact however it is
    /// grouped (counts, sets). Each worker keeps one partial.
    Any,
}

/// A pass over the inputs that folds them to a small value.
///
/// ```
/// use mergecore_kernel::{
///     Combination, Extent, Kernel, KernelError, Order, Scan, Step, Tile, merge_slices,
/// };
///
/// /// Divides its input by the largest magnitude.
/// #[derive(Debug, Clone, Copy)]
/// struct Scaled;
///
/// impl Kernel for Scaled {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::scan(*self))
///     }
/// }
///
/// impl Scan for Scaled {
///     type Partial = f64;
///
///     fn order(&self) -> Order {
///         Order::Any // a maximum is the same however the elements are grouped
///     }
///
///     fn empty(&self) -> f64 {
///         0.0
///     }
///
///     fn fold(&self, largest: &mut f64, tile: &mut Tile<'_>) {
///         *largest = tile.input(0).iter().fold(*largest, |largest, x| largest.max(x.abs()));
///     }
///
///     fn combine(&self, total: &mut f64, next: f64) {
///         *total = total.max(next);
///     }
///
///     fn finish(self: Box<Self>, largest: f64) -> Result<Step, KernelError> {
///         Ok(Step::apply(Combination::new(vec![1.0 / largest])))
///     }
/// }
///
/// let mut out = [0.0f32; 3];
/// merge_slices(&Scaled, &[&[1.0f32, -4.0, 2.0]], &[3], &mut out)?;
/// assert_eq!(out, [0.25, -1.0, 0.5]);
/// # Ok::<(), KernelError>(())
/// ```
pub trait Scan: Send + Sync + 'static {
    /// What a run of elements folds to.
    type Partial: Send + Sync + 'static;

    /// How partials are combined; floating-point sums need [`Order::Blocks`].
    fn order(&self) -> Order {
        Order::Blocks
    }

    /// Whether each tile has to be one whole row, along the last axis. A row belongs to the
    /// block in which it begins.
    fn whole_rows(&self) -> bool {
        false
    }

    /// The element ranges to scan, ascending, each beginning at a multiple of
    /// [`BLOCK`](crate::BLOCK), or for scans in any order of [`TILE`](crate::TILE); everything
    /// by default. Drivers cut them at further such multiples. Of whole rows, those that begin in
    /// the ranges are scanned.
    #[allow(clippy::single_range_in_vec_init)]
    fn ranges(&self, extent: Extent) -> Vec<Range<u64>> {
        vec![0..extent.len()]
    }

    /// The partial of no elements.
    fn empty(&self) -> Self::Partial;

    /// Adds a tile's elements to a partial.
    fn fold(&self, partial: &mut Self::Partial, tile: &mut Tile<'_>);

    /// Adds a run of stored elements, the first at flat index `start`, to a partial as
    /// [`fold`](Self::fold) would its tiles, to the same bits, but without widened copies;
    /// `false`, and nothing done, where the scan has no such way, which the driver then takes
    /// through tiles. Not called for whole rows.
    fn fold_stored(
        &self,
        _partial: &mut Self::Partial,
        _simd: Simd,
        _start: u64,
        _inputs: &[Elements<'_>],
    ) -> bool {
        false
    }

    /// Adds the next partial to those combined so far.
    fn combine(&self, total: &mut Self::Partial, next: Self::Partial);

    /// The next step, from the whole tensor's partial.
    ///
    /// # Errors
    /// Where the data allow no result; the text says why.
    fn finish(self: Box<Self>, total: Self::Partial) -> Result<Step, KernelError>;
}

/// A step that takes whole inputs, at the cost of memory for them: where neither folding nor
/// rows do, as for the decomposition of a matrix. It runs in one thread; other tensors are
/// worked on meanwhile.
///
/// ```
/// use mergecore_kernel::{
///     Combination, Extent, Kernel, KernelError, ReadInputs, Step, Whole, merge_slices,
/// };
///
/// /// Divides a square matrix by its trace.
/// #[derive(Debug, Clone, Copy)]
/// struct ByTrace;
///
/// impl Kernel for ByTrace {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::whole(*self))
///     }
/// }
///
/// impl Whole for ByTrace {
///     fn run(&self, extent: Extent, inputs: &dyn ReadInputs) -> Result<Step, KernelError> {
///         let mut values = vec![0.0; extent.len() as usize];
///         inputs.read(0, 0, &mut values)?;
///         let trace: f64 = values.iter().step_by(extent.columns as usize + 1).sum();
///         Ok(Step::apply(Combination::new(vec![1.0 / trace])))
///     }
/// }
///
/// let mut out = [0.0f32; 4];
/// merge_slices(&ByTrace, &[&[1.0f32, 2.0, 5.0, 3.0]], &[2, 2], &mut out)?;
/// assert_eq!(out, [0.25, 0.5, 1.25, 0.75]);
/// # Ok::<(), KernelError>(())
/// ```
pub trait Whole: Send + Sync {
    /// Reads what it needs of the inputs and yields the next step.
    ///
    /// # Errors
    /// Where the data allow no result, and what reading reports.
    fn run(&self, extent: Extent, inputs: &dyn ReadInputs) -> Result<Step, KernelError>;

    /// About how many bytes of memory that takes: a driver runs no more of them at once than
    /// there is memory for. None by default.
    fn memory(&self, _: Extent) -> u64 {
        0
    }
}

/// The inputs of one tensor, for a [`Whole`] to read.
pub trait ReadInputs {
    /// Fills `out` with the elements of one input from flat index `start` on, widened.
    ///
    /// # Errors
    /// [`KernelError::Interrupted`] where the driver cannot read, or is to stop, which it reports
    /// itself.
    ///
    /// # Panics
    /// Beyond the end of the input, and if there is no such input.
    fn read(&self, input: usize, start: u64, out: &mut [f64]) -> Result<(), KernelError>;

    /// Whether the result is no longer wanted: something that takes long may then return
    /// [`KernelError::Interrupted`].
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Whether [`is_cancelled`](Self::is_cancelled) may come to say so.
    fn can_be_cancelled(&self) -> bool {
        true
    }
}

/// What comes next for a tensor.
///
/// ```
/// use mergecore_kernel::{Combination, GramScan, Step};
///
/// let apply = || Step::apply(Combination::select(0, 1));
/// assert!(matches!(apply(), Step::Apply(_)));
/// assert!(matches!(Step::scan(GramScan::new(1, move |_| Ok(apply()))), Step::Scan(_)));
/// ```
pub enum Step {
    /// Read all inputs once and fold them.
    Scan(Box<dyn ErasedScan>),
    /// Look at whole inputs, of a matrix to be decomposed say.
    Whole(Box<dyn Whole>),
    /// Read all inputs once more and write the output.
    Apply(Box<dyn Apply>),
}

impl Step {
    /// A scan as the next step.
    pub fn scan(scan: impl Scan) -> Self {
        Step::Scan(Box::new(scan))
    }

    /// A look at whole inputs as the next step.
    pub fn whole(whole: impl Whole + 'static) -> Self {
        Step::Whole(Box::new(whole))
    }

    /// The apply as the next step.
    pub fn apply(apply: impl Apply + 'static) -> Self {
        Step::Apply(Box::new(apply))
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Scan(_) => "Step::Scan",
            Step::Whole(_) => "Step::Whole",
            Step::Apply(_) => "Step::Apply",
        })
    }
}

/// A partial whose type only its scan knows.
///
/// [`ErasedScan::empty`] makes one, [`Worker::fold`](crate::Worker::fold) fills it.
pub type ErasedPartial = Box<dyn Any + Send + Sync>;

/// A [`Scan`] with its partial's type erased, as drivers hold it. Implemented
/// for every [`Scan`]; its methods are those of the same name there. How a driver
/// calls them, [`Worker`](crate::Worker) shows.
///
/// ```
/// use mergecore_kernel::{Combination, Extent, GramScan, Step};
///
/// let then = |_: &_| Ok(Step::apply(Combination::select(0, 1)));
/// let Step::Scan(scan) = Step::scan(GramScan::new(1, then)) else { unreachable!() };
/// assert_eq!(scan.ranges(Extent::of(&[2, 5])), [0..10]);
/// let nothing_read = scan.empty();
/// assert!(matches!(scan.finish(nothing_read)?, Step::Apply(_)));
/// # Ok::<(), mergecore_kernel::KernelError>(())
/// ```
pub trait ErasedScan: Send + Sync + sealed::Sealed {
    /// As [`Scan::order`].
    fn order(&self) -> Order;

    /// As [`Scan::whole_rows`].
    fn whole_rows(&self) -> bool;

    /// As [`Scan::ranges`].
    fn ranges(&self, extent: Extent) -> Vec<Range<u64>>;

    /// As [`Scan::empty`].
    fn empty(&self) -> ErasedPartial;

    /// As [`Scan::fold`].
    ///
    /// # Panics
    /// On a partial that another type of scan made.
    fn fold(&self, partial: &mut ErasedPartial, tile: &mut Tile<'_>);

    /// As [`Scan::fold_stored`].
    ///
    /// # Panics
    /// On a partial that another type of scan made.
    fn fold_stored(
        &self,
        partial: &mut ErasedPartial,
        simd: Simd,
        start: u64,
        inputs: &[Elements<'_>],
    ) -> bool;

    /// As [`Scan::combine`].
    ///
    /// # Panics
    /// On a partial that another type of scan made.
    fn combine(&self, total: &mut ErasedPartial, next: ErasedPartial);

    /// As [`Scan::finish`].
    ///
    /// # Errors
    /// What the scan reports.
    ///
    /// # Panics
    /// On a partial that another type of scan made.
    fn finish(self: Box<Self>, total: ErasedPartial) -> Result<Step, KernelError>;
}

mod sealed {
    pub trait Sealed {}
    impl<S: super::Scan> Sealed for S {}
}

const FOREIGN: &str = "a partial made by another scan";

impl<S: Scan> ErasedScan for S {
    fn order(&self) -> Order {
        Scan::order(self)
    }

    fn whole_rows(&self) -> bool {
        Scan::whole_rows(self)
    }

    fn ranges(&self, extent: Extent) -> Vec<Range<u64>> {
        Scan::ranges(self, extent)
    }

    fn empty(&self) -> ErasedPartial {
        Box::new(Scan::empty(self))
    }

    fn fold(&self, partial: &mut ErasedPartial, tile: &mut Tile<'_>) {
        Scan::fold(self, partial.downcast_mut().expect(FOREIGN), tile);
    }

    fn fold_stored(
        &self,
        partial: &mut ErasedPartial,
        simd: Simd,
        start: u64,
        inputs: &[Elements<'_>],
    ) -> bool {
        Scan::fold_stored(self, partial.downcast_mut().expect(FOREIGN), simd, start, inputs)
    }

    fn combine(&self, total: &mut ErasedPartial, next: ErasedPartial) {
        let next = *next.downcast().expect(FOREIGN);
        Scan::combine(self, total.downcast_mut().expect(FOREIGN), next);
    }

    fn finish(self: Box<Self>, total: ErasedPartial) -> Result<Step, KernelError> {
        Scan::finish(self, *total.downcast().expect(FOREIGN))
    }
}
