//! What every kernel must keep, whatever it computes.

use mergecore_tensor::{Element, Elements, ElementsMut, Simd, bf16, f16};

use crate::driver::{InMemory, blocks, part_of};
use crate::kernel::ErasedPartial;
use crate::{BLOCK, Extent, Kernel, KernelError, Order, Step, TILE, Worker, merge_slices};

/// Runs the suite on a kernel that takes `inputs` inputs.
///
/// Checked are: tensors of no element, of one, and with odd tails around tile
/// and block boundaries; every element type; that NaN and infinite inputs do not
/// panic and that NaN comes out in its canonical form; that equal runs give equal
/// bits, and that the result does not depend on how the tensor is cut up, in which
/// order the pieces are done and with which instruction set; that an input which the kernel says it
/// selects is what comes out.
///
/// # Panics
/// Where the kernel breaks one of these.
///
/// ```
/// use mergecore_kernel::{Combination, Extent, Kernel, KernelError, Step, conformance};
///
/// #[derive(Debug)]
/// struct Mean;
///
/// impl Kernel for Mean {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::apply(Combination::average(vec![0.5, 0.5])))
///     }
/// }
///
/// conformance::check(&Mean, 2);
/// ```
pub fn check(kernel: &dyn Kernel, inputs: usize) {
    let lengths = [
        0,
        1,
        7,
        TILE - 1,
        TILE,
        TILE + 1,
        BLOCK as usize - 1,
        BLOCK as usize + 1,
        3 * BLOCK as usize + 77,
    ];
    let shape = |len: usize| if len.is_multiple_of(7) { vec![len / 7, 7] } else { vec![len] };
    // The last one has rows that lie across the ends of blocks.
    for shape in lengths.into_iter().map(shape).chain([vec![5, 283, 139]]) {
        every_type(kernel, inputs, &shape);
        cut_up_equals_whole(kernel, inputs, &shape);
    }
    nonfinite_is_borne(kernel, inputs);
    selected_input_comes_out(kernel, inputs);
}

/// Reproducible values of a few binades and both signs, a good part of them
/// equal across inputs and some equal in magnitude within one.
///
/// ```
/// let inputs = mergecore_kernel::conformance::sample(2, 100);
/// assert_eq!((inputs.len(), inputs[0].len()), (2, 100));
/// assert_eq!(inputs, mergecore_kernel::conformance::sample(2, 100));
/// ```
pub fn sample(inputs: usize, len: usize) -> Vec<Vec<f64>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let base: Vec<f64> = (0..len).map(|_| (next() % 4001) as f64 / 2000.0 - 1.0).collect();
    let input = |_| {
        let change = |value: &f64| match next() % 4 {
            0 => *value,
            1 => value + 0.125,
            _ => value + ((next() % 20_001) as f64 / 10_000.0 - 1.0) * 0.25,
        };
        base.iter().map(change).collect()
    };
    (0..inputs).map(input).collect()
}

fn typed<T: Element>(inputs: &[Vec<f64>]) -> Vec<Vec<T>> {
    inputs.iter().map(|input| input.iter().map(|value| T::narrow(*value)).collect()).collect()
}

fn whole<T: Element>(kernel: &dyn Kernel, inputs: &[Vec<T>], shape: &[usize]) -> Vec<f64> {
    let slices: Vec<&[T]> = inputs.iter().map(Vec::as_slice).collect();
    let mut out = vec![f64::NAN; shape.iter().product()];
    merge_slices(kernel, &slices, shape, &mut out).expect("the kernel accepts the sample");
    out
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn every_type(kernel: &dyn Kernel, inputs: usize, shape: &[usize]) {
    fn run<T: Element>(kernel: &dyn Kernel, values: &[Vec<f64>], shape: &[usize]) {
        let inputs = typed::<T>(values);
        let first = whole(kernel, &inputs, shape);
        assert_eq!(bits(&first), bits(&whole(kernel, &inputs, shape)), "{kernel:?} is repeatable");
        let widen = |input: &Vec<T>| input.iter().map(|value| value.widen()).collect();
        let wide: Vec<Vec<f64>> = inputs.iter().map(widen).collect();
        let of_wide = whole(kernel, &wide, shape);
        assert_eq!(bits(&first), bits(&of_wide), "{kernel:?} of {} as of f64", T::DTYPE);
        assert!(
            first.iter().all(|value| value.is_finite()),
            "{kernel:?} of {} {shape:?}",
            T::DTYPE
        );
    }
    let values = sample(inputs, shape.iter().product());
    run::<bf16>(kernel, &values, shape);
    run::<f16>(kernel, &values, shape);
    run::<f32>(kernel, &values, shape);
    run::<f64>(kernel, &values, shape);
}

fn cut_up_equals_whole(kernel: &dyn Kernel, inputs: usize, shape: &[usize]) {
    let values = sample(inputs, shape.iter().product());
    let elements: Vec<_> = values.iter().map(|input| Elements::from(&input[..])).collect();
    check_cut_up(kernel, &elements, shape, &whole(kernel, &values, shape), "cut up");
    // Values that every one of these types has, the inputs of different types.
    let narrow = typed::<bf16>(&values);
    let widen = |input: &Vec<bf16>| input.iter().map(|value| value.widen()).collect();
    let wide: Vec<Vec<f64>> = narrow.iter().map(widen).collect();
    let single = typed::<f32>(&wide);
    let elements: Vec<_> = (0..inputs)
        .map(|input| match input % 3 {
            0 => Elements::from(&single[input][..]),
            1 => Elements::from(&narrow[input][..]),
            _ => Elements::from(&wide[input][..]),
        })
        .collect();
    check_cut_up(kernel, &elements, shape, &whole(kernel, &wide, shape), "of mixed types");
}

fn check_cut_up(
    kernel: &dyn Kernel,
    inputs: &[Elements<'_>],
    shape: &[usize],
    expected: &[f64],
    what: &str,
) {
    for simd in Simd::available() {
        let out = merge_in_pieces(kernel, inputs, shape, simd);
        let out = out.expect("the kernel accepts the sample");
        assert_eq!(bits(&out), bits(expected), "{kernel:?} {what}, {shape:?}, {simd}");
    }
}

/// Merges tensors of one shape in pieces, as unlike one go as a driver may: three workers with
/// one instruction set take the blocks of [`BLOCK`] elements in turn, the last block first.
///
/// # Errors
/// Those of the kernel.
///
/// ```
/// use mergecore_kernel::{Combination, Elements, Extent, Kernel, KernelError, Simd, Step, conformance};
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
/// let (a, b) = ([1.0f32, 2.0], [0.5f64, 0.25]);
/// let inputs = [Elements::from(&a[..]), Elements::from(&b[..])];
/// let sum = conformance::merge_in_pieces(&Sum, &inputs, &[2], Simd::BASELINE)?;
/// assert_eq!(sum, [1.5, 2.25]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn merge_in_pieces(
    kernel: &dyn Kernel,
    inputs: &[Elements<'_>],
    shape: &[usize],
    simd: Simd,
) -> Result<Vec<f64>, KernelError> {
    let mut workers = [(); 3].map(|()| Worker::with_simd(simd));
    let extent = Extent::of(shape);
    let mut out = vec![f64::NAN; extent.len() as usize];
    let mut step = kernel.first(extent)?;
    let apply = loop {
        match step {
            Step::Apply(apply) => break apply,
            Step::Whole(whole) => {
                step = whole.run(extent, &InMemory(inputs))?;
            }
            Step::Scan(scan) => {
                let pieces: Vec<_> = scan.ranges(extent).into_iter().flat_map(blocks).collect();
                let mut partials: Vec<ErasedPartial> = match scan.order() {
                    Order::Any => workers.iter().map(|_| scan.empty()).collect(),
                    Order::Blocks => pieces.iter().map(|_| scan.empty()).collect(),
                };
                for (index, piece) in pieces.iter().enumerate().rev() {
                    let slot = if scan.order() == Order::Any { index % 3 } else { index };
                    let rows = || extent.rows_from(piece.clone());
                    let run = if scan.whole_rows() { rows() } else { piece.clone() };
                    let (partial, part) = (&mut partials[slot], part_of(inputs, &run));
                    workers[index % 3].fold(&*scan, partial, run.start, extent, &part);
                }
                let mut total = scan.empty();
                partials.into_iter().for_each(|partial| scan.combine(&mut total, partial));
                step = scan.finish(total)?;
            }
        }
    };
    for (index, piece) in blocks(0..extent.len()).collect::<Vec<_>>().into_iter().enumerate().rev()
    {
        let mut out = ElementsMut::from(&mut out[piece.start as usize..piece.end as usize]);
        let (worker, start) = (&mut workers[index % 3], piece.start);
        match apply.whole_rows() {
            true => {
                let part = part_of(inputs, &extent.rows_around(piece));
                worker.apply_rows(&*apply, start, extent, &part, &mut out)
            }
            false => worker.apply(&*apply, start, extent, &part_of(inputs, &piece), &mut out),
        };
    }
    Ok(out)
}

fn nonfinite_is_borne(kernel: &dyn Kernel, inputs: usize) {
    let len = 2 * TILE + 5;
    let odd_nan = -f64::from_bits(f64::NAN.to_bits() | 0xbeef);
    for bad in [f64::NAN, odd_nan, f64::INFINITY, f64::NEG_INFINITY] {
        for at in [0, TILE, len - 1] {
            let mut values = sample(inputs, len);
            for input in &mut values {
                input[at] = bad;
            }
            let out = whole(kernel, &values, &[len]);
            assert!(
                out.iter().all(|v| !v.is_nan() || v.to_bits() == f64::narrow(f64::NAN).to_bits()),
                "{kernel:?} with {bad} at {at}: every NaN is the canonical one"
            );
        }
    }
}

fn selected_input_comes_out(kernel: &dyn Kernel, inputs: usize) {
    let Some(input) = kernel.selects() else { return };
    let len = 2 * TILE + 5;
    let mut values = sample(inputs, len);
    for (k, input) in values.iter_mut().enumerate() {
        for (i, value) in input.iter_mut().enumerate().take(len / 4) {
            *value = if (i >> k) % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    let out = whole(kernel, &values, &[len]);
    assert_eq!(bits(&out), bits(&values[input]), "{kernel:?} selects input {input}");
}
