//! Large tensors against the formula written down plainly: whole tensors, sorted.

use formula::{naive_arcee_fusion, naive_model_stock, naive_nearswap};
use mergecore_adaptive::{ArceeFusion, ModelStockMethod, NearSwap};
use mergecore_kernel::{Argument, Elements, ElementsMut, Extent, Kernel, Simd, Step, Worker};
use mergecore_tensor::{Element, bf16, f16};
use proptest::prelude::*;
use support::{Data, Random, assert_rounded, bits, bound, merged, task_vectors, typed};

mod formula;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn agree(kernel: &dyn Kernel, inputs: &[Vec<f64>], shape: &[usize], expected: &[f64]) {
    fn of<O: Element>(kernel: &dyn Kernel, inputs: &[Vec<f64>], shape: &[usize], expected: &[f64]) {
        let out = merged::<O>(kernel, inputs, shape);
        assert_rounded(&format!("{kernel:?}, {shape:?}"), &out, expected, inputs);
    }
    of::<bf16>(kernel, inputs, shape, expected);
    of::<f16>(kernel, inputs, shape, expected);
    of::<f32>(kernel, inputs, shape, expected);
}

fn check(seed: u64, data: Data, models: usize, shape: &[usize]) {
    let mut random = Random(seed);
    let (len, columns) = (shape.iter().product(), *shape.last().expect("an axis"));
    let inputs = task_vectors(&mut random, data, models, len);
    for (filter_wise, row) in [(false, len), (true, columns)] {
        let shared = [("filter_wise", Argument::Flag(filter_wise))];
        let kernel = bound(&ModelStockMethod, &shared, &[], models, 0);
        if let Some(expected) = naive_model_stock(&inputs, row) {
            agree(&*kernel, &inputs, shape, &expected);
        }
    }
    let pair = &inputs[..2];
    let t = random.pick(&[0.0, 1e-7, 1e-3, 0.02, 0.05, 2.0]);
    agree(&NearSwap::new(t), pair, shape, &naive_nearswap(pair, NearSwap::new(t)));
    // Of changes that differ in their last bits only, the divergence's decide which matter.
    if !matches!(data, Data::LastBits) {
        agree(&ArceeFusion, pair, shape, &naive_arcee_fusion(pair, columns));
    }
}

#[test]
fn large_tensors() {
    let shapes: [(_, _, &[usize]); 4] = [
        (1, 2, &[300_001]),
        (2, 3, &[32, 4_096]),
        (3, 12, &[9_000, 7]),
        (4, 2, &[3, 11, 5, 1_000]),
    ];
    for data in [Data::Grid, Data::Spread, Data::Same, Data::LastBits] {
        for (seed, models, shape) in shapes {
            check(seed, data, models, shape);
        }
    }
}

/// The way by stored elements, and the way by tiles where the inputs' dtypes differ, give what
/// the same values in `f64` do.
#[test]
fn inputs_of_any_dtypes() {
    fn output(kernel: &dyn Kernel, shape: &[usize], inputs: &[Elements<'_>]) -> Vec<u64> {
        let (extent, mut worker) = (Extent::of(shape), Worker::with_simd(Simd::BASELINE));
        let mut step = kernel.first(extent).expect("sound");
        let mut out = vec![0.0; extent.len() as usize];
        loop {
            step = match step {
                Step::Whole(_) => unreachable!("none looks at whole inputs"),
                Step::Scan(scan) => {
                    let mut total = scan.empty();
                    for range in scan.ranges(extent) {
                        let len = (range.end - range.start) as usize;
                        let part = inputs.iter().map(|input| input.part(range.start as usize, len));
                        let part: Vec<_> = part.collect();
                        worker.fold(&*scan, &mut total, range.start, extent, &part);
                    }
                    scan.finish(total).expect("sound")
                }
                Step::Apply(apply) => {
                    let out = &mut ElementsMut::from(&mut out[..]);
                    match apply.whole_rows() {
                        true => worker.apply_rows(&*apply, 0, extent, inputs, out),
                        false => worker.apply(&*apply, 0, extent, inputs, out),
                    };
                    break;
                }
            }
        }
        bits(&out)
    }
    let shape = [41, 53];
    let values = task_vectors(&mut Random(6), Data::Spread, 2, 41 * 53);
    let narrow: Vec<Vec<bf16>> = values.iter().map(|values| typed(values)).collect();
    let wide: Vec<Vec<f64>> =
        narrow.iter().map(|values| values.iter().map(|x| x.widen()).collect()).collect();
    let (half, single): (Vec<f16>, Vec<f32>) = (typed(&wide[1]), typed(&wide[1]));
    let half_is_exact = half.iter().zip(&wide[1]).all(|(h, x)| h.widen() == *x);
    assert!(half_is_exact);
    let filter_wise = [("filter_wise", Argument::Flag(true))];
    let kernels: [(Box<dyn Kernel>, usize); 4] = [
        (bound(&ModelStockMethod, &[], &[], 2, 0), 3),
        (bound(&ModelStockMethod, &filter_wise, &[], 2, 0), 3),
        (Box::new(NearSwap::new(0.02)), 2),
        (Box::new(ArceeFusion), 2),
    ];
    for (kernel, count) in kernels {
        let run = |inputs: &[Elements<'_>]| output(&*kernel, &shape, &inputs[..count]);
        let of = |inputs: [Elements<'_>; 3]| run(&inputs);
        let [a, b, c] = [&wide[0], &wide[1], &wide[2]].map(|wide| Elements::from(&wide[..]));
        let expected = of([a, b, c]);
        let [a, _, c] = [&narrow[0], &narrow[1], &narrow[2]].map(|n| Elements::from(&n[..]));
        for b in [
            Elements::from(&narrow[1][..]),
            Elements::from(&half[..]),
            Elements::from(&single[..]),
            Elements::from(&wide[1][..]),
        ] {
            assert_eq!(of([a, b, c]), expected, "{kernel:?} {}", b.dtype());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_merge(
        seed in any::<u64>(),
        data in prop::sample::select(vec![Data::Grid, Data::Spread, Data::Same, Data::LastBits]),
        models in 2usize..=12,
        shape in prop::collection::vec(0usize..12, 0..3),
        columns in 0usize..250,
    ) {
        let shape: Vec<usize> = shape.into_iter().chain([columns]).collect();
        check(seed, data, models, &shape);
    }
}
