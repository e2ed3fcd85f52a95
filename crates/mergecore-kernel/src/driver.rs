//! Runs kernels: over any reader of tiles, and over slices in memory.

use std::ops::Range;

use mergecore_tensor::{Element, narrow_slice, widen_slice};

use crate::kernel::{Apply, ErasedPartial, ErasedScan};
use crate::{BLOCK, Extent, Kernel, KernelError, Order, Step, TILE, Tile};

/// Where a worker gets the inputs' elements from.
///
/// ```
/// use mergecore_kernel::TileReader;
///
/// struct InMemory(Vec<Vec<f64>>);
///
/// impl TileReader for InMemory {
///     fn inputs(&self) -> usize {
///         self.0.len()
///     }
///
///     fn read(&mut self, input: usize, start: u64, out: &mut [f64]) {
///         out.copy_from_slice(&self.0[input][start as usize..][..out.len()]);
///     }
/// }
///
/// let mut two = [0.0; 2];
/// InMemory(vec![vec![1.0, 2.0, 3.0]]).read(0, 1, &mut two);
/// assert_eq!(two, [2.0, 3.0]);
/// ```
pub trait TileReader {
    /// Number of inputs.
    fn inputs(&self) -> usize;

    /// Fills `out` with the elements of one input from flat index `start` on,
    /// widened exactly.
    fn read(&mut self, input: usize, start: u64, out: &mut [f64]);
}

/// One thread's scratch memory for running scans and applies tile by tile.
///
/// ```
/// use mergecore_kernel::{Extent, Kernel, KernelError, Step, TileReader, Worker, blocks};
///
/// /// The output of a kernel, computed in one thread.
/// fn run(
///     kernel: &dyn Kernel,
///     extent: Extent,
///     reader: &mut dyn TileReader,
/// ) -> Result<Vec<f64>, KernelError> {
///     let mut worker = Worker::new();
///     let mut step = kernel.first(extent)?;
///     let apply = loop {
///         match step {
///             Step::Apply(apply) => break apply,
///             Step::Scan(scan) => {
///                 let mut total = scan.empty();
///                 for block in scan.ranges(extent).into_iter().flat_map(blocks) {
///                     let mut partial = scan.empty();
///                     worker.fold(&*scan, &mut partial, block, extent, reader);
///                     scan.combine(&mut total, partial);
///                 }
///                 step = scan.finish(total)?;
///             }
///         }
///     };
///     let mut out = Vec::new();
///     let all = 0..extent.len();
///     worker.apply(&*apply, all, extent, reader, |_, tile| out.extend_from_slice(tile));
///     Ok(out)
/// }
/// #
/// # use mergecore_kernel::{Combination, GramScan};
/// # #[derive(Debug)]
/// # struct Normed;
/// # impl Kernel for Normed {
/// #     fn first(&self, _: Extent) -> Result<Step, KernelError> {
/// #         let then = |gram: &mergecore_kernel::Gram| {
/// #             Ok(Step::apply(Combination::new(vec![1.0 / gram.norm(0)])))
/// #         };
/// #         Ok(Step::scan(GramScan::new(1, then)))
/// #     }
/// # }
/// # struct InMemory(Vec<f64>);
/// # impl TileReader for InMemory {
/// #     fn inputs(&self) -> usize { 1 }
/// #     fn read(&mut self, _: usize, start: u64, out: &mut [f64]) {
/// #         out.copy_from_slice(&self.0[start as usize..][..out.len()]);
/// #     }
/// # }
/// # let out = run(&Normed, Extent::of(&[2]), &mut InMemory(vec![0.0, 5.0]))?;
/// # assert_eq!(out, [0.0, 1.0]);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Default)]
pub struct Worker {
    values: Vec<f64>,
}

impl Worker {
    /// A worker without memory yet.
    pub fn new() -> Self {
        Worker::default()
    }

    /// Folds a range of elements, which lies within one block or more, into a
    /// partial.
    ///
    /// # Panics
    /// On a partial that another type of scan made, and where the scan asks for
    /// an input that the reader has not.
    pub fn fold(
        &mut self,
        scan: &dyn ErasedScan,
        partial: &mut ErasedPartial,
        range: Range<u64>,
        extent: Extent,
        reader: &mut dyn TileReader,
    ) {
        self.tiles(range, extent, reader, |tile| scan.fold(partial, tile));
    }

    /// Computes a range of the output and hands it on tile by tile, with the
    /// flat index of each tile's first element.
    ///
    /// # Panics
    /// Where the apply asks for an input that the reader has not.
    pub fn apply(
        &mut self,
        apply: &dyn Apply,
        range: Range<u64>,
        extent: Extent,
        reader: &mut dyn TileReader,
        mut write: impl FnMut(u64, &[f64]),
    ) {
        let mut out = [0.0; TILE];
        self.tiles(range, extent, reader, |tile| {
            let out = &mut out[..tile.len()];
            apply.apply(tile, out);
            write(tile.start(), out);
        });
    }

    fn tiles(
        &mut self,
        range: Range<u64>,
        extent: Extent,
        reader: &mut dyn TileReader,
        mut each: impl FnMut(&mut Tile<'_>),
    ) {
        let inputs = reader.inputs();
        self.values.resize(inputs * TILE, 0.0);
        let mut start = range.start;
        while start < range.end {
            let len = (range.end - start).min(TILE as u64) as usize;
            for input in 0..inputs {
                reader.read(input, start, &mut self.values[input * TILE..][..len]);
            }
            each(&mut Tile::new(start, len, extent, &mut self.values));
            start += len as u64;
        }
    }
}

/// Splits a range that begins at a multiple of [`BLOCK`] into blocks.
///
/// ```
/// use mergecore_kernel::{BLOCK, blocks};
///
/// let pieces: Vec<_> = blocks(0..BLOCK + 10).collect();
/// assert_eq!(pieces, [0..BLOCK, BLOCK..BLOCK + 10]);
/// ```
pub fn blocks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(BLOCK as usize).map(move |start| start..end.min(start + BLOCK))
}

/// Merges tensors in memory.
///
/// `inputs` are slices of one tensor of this shape each in row-major order, the base
/// first for methods that have one; `out` is as long. The arithmetic is `f64`; the
/// result is rounded once to the output's type.
///
/// # Errors
/// Where lengths disagree with the shape, and what the kernel reports.
///
/// # Panics
/// Where the kernel asks for an input that is not there.
///
/// ```
/// use mergecore_kernel::{Combination, Extent, Kernel, KernelError, Step, merge_slices};
/// use mergecore_tensor::bf16;
///
/// #[derive(Debug)]
/// struct Sum;
///
/// impl Kernel for Sum {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::apply(Combination::new(vec![1.0, 1.0])))
///     }
/// }
///
/// let (a, b) = ([bf16::ONE; 2], [bf16::NEG_ONE, bf16::ONE]);
/// let mut out = [0.0f32; 2]; // need not be of the inputs' type
/// merge_slices(&Sum, &[&a, &b], &[1, 2], &mut out)?;
/// assert_eq!(out, [0.0, 2.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn merge_slices<T: Element, O: Element>(
    kernel: &dyn Kernel,
    inputs: &[&[T]],
    shape: &[usize],
    out: &mut [O],
) -> Result<(), KernelError> {
    let expected = shape.iter().product();
    let lengths = inputs.iter().map(|input| input.len()).enumerate();
    let lengths = lengths.map(|(i, len)| (format!("input {i}"), len));
    for (what, found) in lengths.chain([("the output".to_owned(), out.len())]) {
        if found != expected {
            return Err(KernelError::Length { what, shape: shape.to_vec(), expected, found });
        }
    }
    let extent = Extent::of(shape);
    let mut worker = Worker::new();
    let mut reader = SliceReader { inputs };
    let mut step = kernel.first(extent)?;
    loop {
        match step {
            Step::Scan(scan) => {
                let total = scan_all(&*scan, extent, &mut worker, &mut reader);
                step = scan.finish(total)?;
            }
            Step::Apply(apply) => {
                worker.apply(&*apply, 0..extent.len(), extent, &mut reader, |start, values| {
                    narrow_slice(values, &mut out[start as usize..][..values.len()]);
                });
                return Ok(());
            }
        }
    }
}

/// [`merge_slices`] of vectors onto a base: checks that there is a weight for each
/// model, and puts the base first.
///
/// # Errors
/// [`KernelError::ParameterCount`], and as [`merge_slices`].
///
/// # Panics
/// As [`merge_slices`].
///
/// ```
/// # use mergecore_kernel::{Combination, Extent, Kernel, Step};
/// use mergecore_kernel::{KernelError, merge_slices_onto_base};
///
/// # #[derive(Debug)]
/// # struct Mean;
/// # impl Kernel for Mean {
/// #     fn first(&self, _: Extent) -> Result<Step, KernelError> {
/// #         Ok(Step::apply(Combination::average(vec![0.5, 0.5])))
/// #     }
/// # }
/// let (base, model) = ([1.0f32], [3.0f32]);
/// let mut out = [0.0];
/// merge_slices_onto_base(&Mean, &[1.0], &base, &[&model], &mut out)?;
/// assert_eq!(out, [2.0]);
///
/// let error = merge_slices_onto_base(&Mean, &[1.0, 1.0], &base, &[&model], &mut out).unwrap_err();
/// assert_eq!(error.to_string(), "2 values of `weight` for 1 models; give one for each");
/// # Ok::<(), KernelError>(())
/// ```
pub fn merge_slices_onto_base<T: Element>(
    kernel: &dyn Kernel,
    weights: &[f64],
    base: &[T],
    models: &[&[T]],
    out: &mut [T],
) -> Result<(), KernelError> {
    KernelError::check_count("weight", weights, models.len())?;
    let inputs: Vec<&[T]> = std::iter::once(base).chain(models.iter().copied()).collect();
    merge_slices(kernel, &inputs, &[out.len()], out)
}

fn scan_all(
    scan: &dyn ErasedScan,
    extent: Extent,
    worker: &mut Worker,
    reader: &mut dyn TileReader,
) -> ErasedPartial {
    let mut total = scan.empty();
    for range in scan.ranges(extent) {
        match scan.order() {
            Order::Any => worker.fold(scan, &mut total, range, extent, reader),
            Order::Blocks => {
                for block in blocks(range) {
                    let mut partial = scan.empty();
                    worker.fold(scan, &mut partial, block, extent, reader);
                    scan.combine(&mut total, partial);
                }
            }
        }
    }
    total
}

struct SliceReader<'a, T> {
    inputs: &'a [&'a [T]],
}

impl<T: Element> TileReader for SliceReader<'_, T> {
    fn inputs(&self) -> usize {
        self.inputs.len()
    }

    fn read(&mut self, input: usize, start: u64, out: &mut [f64]) {
        widen_slice(&self.inputs[input][start as usize..][..out.len()], out);
    }
}
