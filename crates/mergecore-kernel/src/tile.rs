//! The piece of all inputs that a kernel sees at a time.

use std::ops::Range;

use mergecore_tensor::{Elements, Simd};

/// Elements per [`Tile`], except for the last of a tensor: few enough that a
/// tile of several inputs stays in the first-level cache.
pub const TILE: usize = 512;

/// Elements per reduction block. A scan's partials are formed over blocks that
/// begin at multiples of this, whatever the chunk size, so that sums have one
/// fixed shape. 65,536.
pub const BLOCK: u64 = 65_536;

/// The shape of a tensor as methods see it: rows along the last axis.
///
/// A tensor of shape `[a, b, c]` has `a * b` rows of `c` columns; a vector is
/// one row, a scalar one row of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Number of rows.
    pub rows: u64,
    /// Elements per row.
    pub columns: u64,
    /// Length of the first axis; 1 for a scalar.
    pub first_axis: u64,
    /// Number of axes: 0 for a scalar, 2 for a matrix.
    pub dimensions: usize,
}

impl Extent {
    /// The extent of a tensor of this shape.
    ///
    /// ```
    /// let extent = mergecore_kernel::Extent::of(&[2, 3, 5]);
    /// assert_eq!((extent.rows, extent.columns, extent.len()), (6, 5, 30));
    /// assert_eq!((extent.first_axis, extent.dimensions), (2, 3));
    /// ```
    pub fn of(shape: &[usize]) -> Self {
        let first_axis = shape.first().map_or(1, |n| *n as u64);
        let (columns, rows) = shape.split_last().unwrap_or((&1, &[]));
        let rows = rows.iter().map(|n| *n as u64).product();
        Extent { rows, columns: *columns as u64, first_axis, dimensions: shape.len() }
    }

    /// Number of elements.
    ///
    /// ```
    /// assert_eq!(mergecore_kernel::Extent::of(&[4, 3]).len(), 12);
    /// ```
    pub fn len(&self) -> u64 {
        self.rows * self.columns
    }

    /// Whether there are no elements.
    ///
    /// ```
    /// assert!(mergecore_kernel::Extent::of(&[0, 5]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole rows that a run of elements, given by its flat indices, touches: what an
    /// [`Apply`](crate::Apply) that takes whole rows has to be given for that run.
    ///
    /// ```
    /// let extent = mergecore_kernel::Extent::of(&[4, 10]);
    /// assert_eq!(extent.rows_around(12..31), 10..40);
    /// ```
    pub fn rows_around(&self, run: Range<u64>) -> Range<u64> {
        let columns = self.columns.max(1);
        run.start / columns * columns..run.end.next_multiple_of(columns).min(self.len())
    }

    /// The whole rows that begin within a run of elements, given by its flat indices: the share
    /// of that run for a [`Scan`](crate::Scan) that takes whole rows. Runs that lie side by side
    /// have each row once.
    ///
    /// ```
    /// let extent = mergecore_kernel::Extent::of(&[4, 10]);
    /// assert_eq!(extent.rows_from(12..31), 20..40);
    /// assert!(extent.rows_from(31..40).is_empty());
    /// ```
    pub fn rows_from(&self, run: Range<u64>) -> Range<u64> {
        let columns = self.columns.max(1);
        let end = run.end.next_multiple_of(columns).min(self.len());
        run.start.next_multiple_of(columns).min(end)..end
    }
}

/// The same run of elements from every input, widened to `f64`.
///
/// It has [`TILE`] elements, the last of a tensor fewer; or it is exactly one row, for scans and
/// applies that take whole rows.
///
/// The values are scratch: a kernel may overwrite them (deltas in place of
/// models, say); the driver fills them anew for every tile.
///
/// ```
/// use mergecore_kernel::{Apply, Extent, Kernel, KernelError, Step, Tile, merge_slices};
///
/// /// Doubles the first row, keeps the others.
/// #[derive(Debug, Clone, Copy)]
/// struct DoubleFirstRow;
///
/// impl Apply for DoubleFirstRow {
///     fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
///         let columns = tile.extent().columns;
///         for ((out, value), index) in out.iter_mut().zip(tile.input(0)).zip(tile.start()..) {
///             *out = if index < columns { 2.0 * value } else { *value };
///         }
///     }
/// }
/// # impl Kernel for DoubleFirstRow {
/// #     fn first(&self, _: Extent) -> Result<Step, KernelError> {
/// #         Ok(Step::apply(*self))
/// #     }
/// # }
///
/// let mut out = [0.0f32; 4];
/// merge_slices(&DoubleFirstRow, &[&[1.0f32, 2.0, 3.0, 4.0]], &[2, 2], &mut out)?;
/// assert_eq!(out, [2.0, 4.0, 3.0, 4.0]);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug)]
pub struct Tile<'a> {
    start: u64,
    len: usize,
    /// From one input's values to the next one's.
    stride: usize,
    extent: Extent,
    simd: Simd,
    values: &'a mut [f64],
}

impl<'a> Tile<'a> {
    /// A tile of stored elements, widened into `values`, which are made to hold each input's
    /// in turn.
    pub(crate) fn widened(
        start: u64,
        extent: Extent,
        simd: Simd,
        inputs: &[Elements<'_>],
        values: &'a mut Vec<f64>,
    ) -> Self {
        let len = inputs.first().map_or(0, Elements::len);
        let stride = len.max(TILE);
        values.resize(inputs.len() * stride, 0.0);
        for (input, values) in inputs.iter().zip(values.chunks_exact_mut(stride)) {
            input.widen(simd, &mut values[..len]);
        }
        Tile { start, len, stride, extent, simd, values }
    }

    /// Flat, row-major index of the tile's first element within the tensor.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Elements in this tile: at most [`TILE`], or those of a row.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the tile holds no element; the driver hands out none such.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole tensor's extent.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The instruction set to compute with.
    pub fn simd(&self) -> Simd {
        self.simd
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.values.len() / self.stride
    }

    /// The elements of one input.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn input(&self, index: usize) -> &[f64] {
        &self.values[index * self.stride..][..self.len]
    }

    /// The elements of one input, to overwrite.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn input_mut(&mut self, index: usize) -> &mut [f64] {
        &mut self.values[index * self.stride..][..self.len]
    }

    /// The first input, which is the base for methods that have one, and the
    /// others in order.
    ///
    /// # Panics
    /// If there are no inputs.
    pub fn split_base(&mut self) -> (&[f64], impl ExactSizeIterator<Item = &mut [f64]>) {
        let (base, models) = self.values.split_at_mut(self.stride);
        let len = self.len;
        (&base[..len], models.chunks_exact_mut(self.stride).map(move |model| &mut model[..len]))
    }
}
