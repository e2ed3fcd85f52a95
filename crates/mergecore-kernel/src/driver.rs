//! Runs kernels: over any reader of tiles, and over slices in memory.

use std::ops::Range;

use mergecore_tensor::{Element, Elements, ElementsMut, Losses, Simd};

use crate::kernel::{Apply, ErasedPartial, ErasedScan, ReadInputs};
use crate::{
    BLOCK, Concatenation, Extent, Kernel, KernelError, Order, Step, SurveyRun, TILE, Tile,
};

/// One thread's scratch memory for running scans and applies tile by tile.
///
/// ```
/// use mergecore_kernel::{Extent, Kernel, KernelError, Step, Worker, blocks};
/// use mergecore_tensor::{Elements, ElementsMut};
///
/// /// The output of a kernel of one input, computed in one thread.
/// fn run(kernel: &dyn Kernel, extent: Extent, input: &[f32]) -> Result<Vec<f32>, KernelError> {
///     let mut worker = Worker::new();
///     let mut step = kernel.first(extent)?;
///     let apply = loop {
///         match step {
///             Step::Apply(apply) => break apply,
///             Step::Whole(_) => unreachable!("the kernels here look at no whole inputs"),
///             Step::Scan(scan) => {
///                 let mut total = scan.empty();
///                 for block in scan.ranges(extent).into_iter().flat_map(blocks) {
///                     let mut partial = scan.empty();
///                     let run = if scan.whole_rows() { extent.rows_from(block) } else { block };
///                     let read = Elements::from(&input[run.start as usize..run.end as usize]);
///                     worker.fold(&*scan, &mut partial, run.start, extent, &[read]);
///                     scan.combine(&mut total, partial);
///                 }
///                 step = scan.finish(total)?;
///             }
///         }
///     };
///     let mut out = vec![0.0; input.len()];
///     worker.apply(&*apply, 0, extent, &[Elements::from(input)], &mut ElementsMut::from(&mut out[..]));
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
/// # assert_eq!(run(&Normed, Extent::of(&[2]), &[0.0, 5.0])?, [0.0, 1.0]);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Default)]
pub struct Worker {
    simd: Simd,
    values: Vec<f64>,
    /// A row of output.
    row: Vec<f64>,
}

impl Worker {
    /// A worker without memory yet, that computes with the widest instruction set of
    /// the CPU.
    pub fn new() -> Self {
        Worker::default()
    }

    /// A worker that computes with this instruction set; no result depends on it.
    ///
    /// ```
    /// use mergecore_kernel::{Simd, Worker};
    ///
    /// let slow_everywhere = Worker::with_simd(Simd::BASELINE);
    /// ```
    pub fn with_simd(simd: Simd) -> Self {
        Worker { simd, ..Worker::default() }
    }

    /// Folds a run of elements of all inputs, which begins at flat index `start` and
    /// lies within one block or more, into a partial. For scans that take whole rows
    /// ([`ErasedScan::whole_rows`]) it consists of such: those that begin in the block or blocks
    /// ([`Extent::rows_from`]).
    ///
    /// # Panics
    /// On a partial that another type of scan made, on inputs of different lengths, and
    /// where the scan asks for an input that is not there.
    pub fn fold(
        &mut self,
        scan: &dyn ErasedScan,
        partial: &mut ErasedPartial,
        start: u64,
        extent: Extent,
        inputs: &[Elements<'_>],
    ) {
        if scan.whole_rows() {
            let columns = extent.columns as usize;
            self.tiles(columns, start, extent, inputs, |tile| scan.fold(partial, tile));
        } else if !scan.fold_stored(partial, self.simd, start, inputs) {
            self.tiles(TILE, start, extent, inputs, |tile| scan.fold(partial, tile));
        }
    }

    /// Computes the run of the output that belongs to a run of elements of all inputs,
    /// which begins at flat index `start`; yields what was lost in rounding it, with flat
    /// indices. Applies that take whole rows ([`Apply::whole_rows`]) are run by
    /// [`apply_rows`](Self::apply_rows).
    ///
    /// # Panics
    /// On inputs and an output of different lengths, and where the apply asks for an
    /// input that is not there.
    ///
    /// ```
    /// use mergecore_kernel::{Combination, Elements, ElementsMut, Extent, Worker};
    ///
    /// let (sum, input, mut out) = (Combination::new(vec![2.0]), [1.0, 3e38], [0f32; 2]);
    /// let mut out = ElementsMut::from(&mut out[..]);
    /// let input = Elements::from(&input[..]);
    /// let losses = Worker::new().apply(&sum, 512, Extent::of(&[1000]), &[input], &mut out);
    /// assert_eq!(losses.nonfinite.map(|found| found.first), Some(513)); // 6e38 is too much
    /// ```
    pub fn apply(
        &mut self,
        apply: &dyn Apply,
        start: u64,
        extent: Extent,
        inputs: &[Elements<'_>],
        out: &mut ElementsMut<'_>,
    ) -> Losses {
        assert!(inputs.iter().all(|input| input.len() == out.len()), "runs of one length");
        let mut losses = Losses::default();
        if let Some(found) = apply.apply_stored(self.simd, start, inputs, out) {
            losses.add(start, found);
            return losses;
        }
        let simd = self.simd;
        let mut values = [0.0; TILE];
        self.tiles(TILE, start, extent, inputs, |tile| {
            let values = &mut values[..tile.len()];
            apply.apply(tile, values);
            let mut out = out.part((tile.start() - start) as usize, values.len());
            losses.add(tile.start(), out.narrow(simd, values));
        });
        losses
    }

    /// As [`apply`](Self::apply), with an apply that takes whole rows: `inputs` are the rows
    /// around the output's run ([`Extent::rows_around`]), which begins at flat index `start`.
    ///
    /// # Panics
    /// As [`apply`](Self::apply), and where the inputs are not those rows.
    ///
    /// ```
    /// use mergecore_kernel::{Apply, Elements, ElementsMut, Extent, Tile, Worker};
    ///
    /// /// Each row less its mean.
    /// struct Centred;
    ///
    /// impl Apply for Centred {
    ///     fn whole_rows(&self) -> bool {
    ///         true
    ///     }
    ///
    ///     fn apply(&self, row: &mut Tile<'_>, out: &mut [f64]) {
    ///         let mean = row.input(0).iter().sum::<f64>() / row.len() as f64;
    ///         for (out, value) in out.iter_mut().zip(row.input(0)) {
    ///             *out = value - mean;
    ///         }
    ///     }
    /// }
    ///
    /// let (extent, input) = (Extent::of(&[2, 2]), [1.0f32, 3.0, 5.0, 9.0]);
    /// let mut out = [0f32; 2]; // the second half of the first row, the first half of the other
    /// let around = extent.rows_around(1..3);
    /// assert_eq!(around, 0..4);
    /// let inputs = [Elements::from(&input[..])];
    /// Worker::new().apply_rows(&Centred, 1, extent, &inputs, &mut ElementsMut::from(&mut out[..]));
    /// assert_eq!(out, [1.0, -2.0]);
    /// ```
    pub fn apply_rows(
        &mut self,
        apply: &dyn Apply,
        start: u64,
        extent: Extent,
        inputs: &[Elements<'_>],
        out: &mut ElementsMut<'_>,
    ) -> Losses {
        let run = start..start + out.len() as u64;
        let around = extent.rows_around(run.clone());
        let len = (around.end - around.start) as usize;
        assert!(inputs.iter().all(|input| input.len() == len), "the rows around the output");
        let (simd, columns) = (self.simd, extent.columns as usize);
        let mut row = std::mem::take(&mut self.row);
        row.resize(columns, 0.0);
        let mut losses = Losses::default();
        self.tiles(columns, around.start, extent, inputs, |tile| {
            apply.apply(tile, &mut row);
            let from = tile.start().max(run.start);
            let to = (tile.start() + columns as u64).min(run.end);
            let values = &row[(from - tile.start()) as usize..(to - tile.start()) as usize];
            let mut out = out.part((from - run.start) as usize, values.len());
            losses.add(from, out.narrow(simd, values));
        });
        self.row = row;
        losses
    }

    /// Calls `each` with tiles of `len` elements, the last one perhaps shorter.
    fn tiles(
        &mut self,
        len: usize,
        start: u64,
        extent: Extent,
        inputs: &[Elements<'_>],
        mut each: impl FnMut(&mut Tile<'_>),
    ) {
        let total = inputs.first().map_or(0, Elements::len);
        assert!(inputs.iter().all(|input| input.len() == total), "inputs of one length");
        let mut parts = Vec::with_capacity(inputs.len());
        for done in (0..total).step_by(len.max(1)) {
            let len = (total - done).min(len);
            parts.clear();
            parts.extend(inputs.iter().map(|input| input.part(done, len)));
            let start = start + done as u64;
            each(&mut Tile::widened(start, extent, self.simd, &parts, &mut self.values));
        }
    }
}

/// Splits a range that begins at a multiple of [`BLOCK`] into blocks, and another one into
/// pieces of that length.
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
    check_lengths(inputs, shape, out)?;
    let (extent, inputs) = (Extent::of(shape), elements(inputs));
    let first = kernel.first(extent)?;
    run_steps(first, extent, &mut Worker::new(), &inputs, &mut ElementsMut::from(out))
}

fn check_lengths<T, O>(inputs: &[&[T]], shape: &[usize], out: &[O]) -> Result<(), KernelError> {
    let expected = shape.iter().product();
    let lengths = inputs.iter().map(|input| input.len()).enumerate();
    let lengths = lengths.map(|(i, len)| (format!("input {i}"), len));
    for (what, found) in lengths.chain([("the output".to_owned(), out.len())]) {
        if found != expected {
            return Err(KernelError::Length { what, shape: shape.to_vec(), expected, found });
        }
    }
    Ok(())
}

fn run_steps(
    mut step: Step,
    extent: Extent,
    worker: &mut Worker,
    inputs: &[Elements<'_>],
    out: &mut ElementsMut<'_>,
) -> Result<(), KernelError> {
    loop {
        match step {
            Step::Scan(scan) => {
                let total = scan_all(&*scan, extent, worker, inputs);
                step = scan.finish(total)?;
            }
            Step::Whole(whole) => step = whole.run(extent, &InMemory(inputs))?,
            Step::Apply(apply) => {
                match apply.whole_rows() {
                    true => worker.apply_rows(&*apply, 0, extent, inputs, out),
                    false => worker.apply(&*apply, 0, extent, inputs, out),
                };
                return Ok(());
            }
        }
    }
}

/// Merges several tensors in memory that make up one model, for kernels that look at all of them
/// together first ([`Kernel::survey`]); others merge each by itself.
///
/// # Errors
/// As [`merge_slices`], of whichever tensor.
///
/// # Panics
/// As [`merge_slices`].
///
/// ```
/// use mergecore_kernel::{
///     Apply, Cutoff, Extent, Kernel, KernelError, Keys, Step, Survey, TensorSlices, Tile,
///     magnitude_key, merge_tensors, select,
/// };
///
/// /// Keeps the larger half of all elements.
/// #[derive(Debug)]
/// struct LargerHalf;
///
/// impl Kernel for LargerHalf {
///     fn first(&self, extent: Extent) -> Result<Step, KernelError> {
///         let kept = |cutoffs: Vec<Cutoff>| Ok(Step::apply(Kept(cutoffs[0])));
///         select(Magnitudes, &[extent.len() / 2], extent, kept)
///     }
///
///     fn survey(&self) -> Option<Survey> {
///         Some(Survey::new(Magnitudes, vec![0.5]))
///     }
///
///     fn first_surveyed(&self, _: Extent, kept: &[Cutoff]) -> Result<Step, KernelError> {
///         Ok(Step::apply(Kept(kept[0])))
///     }
/// }
/// # struct Kept(Cutoff);
/// # impl Apply for Kept {
/// #     fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
/// #         for ((out, value), index) in out.iter_mut().zip(tile.input(0)).zip(tile.start()..) {
/// #             *out = if self.0.keeps(magnitude_key(*value), index) { *value } else { 0.0 };
/// #         }
/// #     }
/// # }
/// # struct Magnitudes;
/// # impl Keys for Magnitudes {
/// #     fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
/// #         for (key, value) in out.iter_mut().zip(tile.input(lane)) {
/// #             *key = magnitude_key(*value);
/// #         }
/// #     }
/// # }
///
/// let (mut a, mut b) = ([0f32; 2], [0f32; 2]);
/// let mut tensors = [
///     TensorSlices { inputs: vec![&[1.0f32, 2.0]], shape: &[2], out: &mut a },
///     TensorSlices { inputs: vec![&[3.0, 4.0]], shape: &[2], out: &mut b },
/// ];
/// merge_tensors(&LargerHalf, &mut tensors)?;
/// assert_eq!((a, b), ([0.0, 0.0], [3.0, 4.0]));
/// # Ok::<(), KernelError>(())
/// ```
pub fn merge_tensors<T: Element, O: Element>(
    kernel: &dyn Kernel,
    tensors: &mut [TensorSlices<'_, T, O>],
) -> Result<(), KernelError> {
    tensors
        .iter()
        .try_for_each(|tensor| check_lengths(&tensor.inputs, tensor.shape, tensor.out))?;
    let mut worker = Worker::new();
    let run = match kernel.survey() {
        None => None,
        Some(survey) => {
            let lengths = tensors.iter().map(|tensor| tensor.out.len() as u64).collect();
            let (run, mut step) = SurveyRun::begin(&survey, Concatenation::new(lengths))?;
            while let Step::Scan(scan) = step {
                let mut total = scan.empty();
                let (all, extent) = (run.tensors(), run.tensors().extent());
                for (tensor, piece) in scan.ranges(extent).into_iter().flat_map(|r| all.pieces(r)) {
                    let inputs = elements(&tensors[tensor].inputs);
                    let start = all.start(tensor) + piece.start;
                    worker.fold(&*scan, &mut total, start, extent, &part_of(&inputs, &piece));
                }
                step = scan.finish(total)?;
            }
            Some(run)
        }
    };
    for (index, tensor) in tensors.iter_mut().enumerate() {
        let extent = Extent::of(tensor.shape);
        let first = match &run {
            None => kernel.first(extent)?,
            Some(run) => kernel.first_surveyed(extent, &run.kept(index))?,
        };
        let inputs = elements(&tensor.inputs);
        run_steps(first, extent, &mut worker, &inputs, &mut ElementsMut::from(&mut *tensor.out))?;
    }
    Ok(())
}

/// One of several tensors to merge in memory: see [`merge_tensors`].
#[derive(Debug)]
pub struct TensorSlices<'a, T, O> {
    /// The tensor of every input, the base first for methods that have one.
    pub inputs: Vec<&'a [T]>,
    /// Its shape.
    pub shape: &'a [usize],
    /// Where the result goes.
    pub out: &'a mut [O],
}

fn elements<'a, T: Element>(inputs: &[&'a [T]]) -> Vec<Elements<'a>> {
    inputs.iter().map(|input| Elements::from(*input)).collect()
}

/// Whole inputs in memory.
pub(crate) struct InMemory<'a>(pub(crate) &'a [Elements<'a>]);

impl ReadInputs for InMemory<'_> {
    fn read(&self, input: usize, start: u64, out: &mut [f64]) -> Result<(), KernelError> {
        self.0[input].part(start as usize, out.len()).widen(Simd::detect(), out);
        Ok(())
    }

    fn can_be_cancelled(&self) -> bool {
        false
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
    merge_models(kernel, base, models, &[out.len()], out)
}

/// [`merge_slices`] with the base given apart, which is the first input.
///
/// # Errors
/// As [`merge_slices`].
///
/// # Panics
/// As [`merge_slices`].
///
/// ```
/// # use mergecore_kernel::{Combination, Extent, Kernel, KernelError, Step};
/// use mergecore_kernel::merge_models;
///
/// # #[derive(Debug)]
/// # struct Mean;
/// # impl Kernel for Mean {
/// #     fn first(&self, _: Extent) -> Result<Step, KernelError> {
/// #         Ok(Step::apply(Combination::average(vec![0.5, 0.5])))
/// #     }
/// # }
/// let (base, model, mut out) = ([1.0f32, 2.0], [3.0f32, 6.0], [0.0; 2]);
/// merge_models(&Mean, &base, &[&model], &[1, 2], &mut out)?;
/// assert_eq!(out, [2.0, 4.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn merge_models<T: Element, O: Element>(
    kernel: &dyn Kernel,
    base: &[T],
    models: &[&[T]],
    shape: &[usize],
    out: &mut [O],
) -> Result<(), KernelError> {
    let inputs: Vec<&[T]> = std::iter::once(base).chain(models.iter().copied()).collect();
    merge_slices(kernel, &inputs, shape, out)
}

fn scan_all(
    scan: &dyn ErasedScan,
    extent: Extent,
    worker: &mut Worker,
    inputs: &[Elements<'_>],
) -> ErasedPartial {
    let mut fold = |partial: &mut ErasedPartial, run: Range<u64>| {
        let run = if scan.whole_rows() { extent.rows_from(run) } else { run };
        worker.fold(scan, partial, run.start, extent, &part_of(inputs, &run));
    };
    let mut total = scan.empty();
    for range in scan.ranges(extent) {
        match scan.order() {
            Order::Any => fold(&mut total, range),
            Order::Blocks => {
                for block in blocks(range) {
                    let mut partial = scan.empty();
                    fold(&mut partial, block);
                    scan.combine(&mut total, partial);
                }
            }
        }
    }
    total
}

/// The same run of elements of each input.
pub(crate) fn part_of<'a>(inputs: &[Elements<'a>], range: &Range<u64>) -> Vec<Elements<'a>> {
    let len = (range.end - range.start) as usize;
    inputs.iter().map(|input| input.part(range.start as usize, len)).collect()
}
