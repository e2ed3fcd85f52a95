//! Large tensors against the formula written down plainly: whole tensors, sorted.

use formula::{naive_task_arithmetic, naive_ties, trim};
use mergecore_tensor::{Element, bf16, f16};
use mergecore_ties::{Rescale, TaskArithmetic, Ties};
use proptest::prelude::*;
use support::{Data, Random, assert_rounded, merged, task_vectors};

mod formula;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn agree<O: Element>(kernel: &dyn mergecore_kernel::Kernel, inputs: &[Vec<f64>], expected: &[f64]) {
    let out = merged::<O>(kernel, inputs, &[inputs[0].len()]);
    assert_rounded(&format!("{kernel:?}"), &out, expected, inputs);
}

/// Draws parameters, then compares both methods in every output type.
fn check(seed: u64, data: Data, models: usize, len: usize) {
    let mut random = Random(seed);
    let inputs = task_vectors(&mut random, data, models, len);
    let weights: Vec<f64> =
        (0..models).map(|_| random.pick(&[-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0])).collect();
    let densities = (0..models).map(|_| random.pick(&[0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 1.0]));
    let densities: Vec<f64> = densities.collect();
    let normalize = random.below(2) == 0;
    let lambda = random.pick(&[1.0, 1.0, 0.0, 0.7, -1.5]);
    let mut rescale = random.pick(&[
        None,
        None,
        Some(Rescale::L1),
        Some(Rescale::L2),
        Some(Rescale::Linf),
        Some(Rescale::Density),
    ]);
    if matches!(data, Data::LastBits) {
        rescale = None;
    }

    let ties = Ties { weights: weights.clone(), densities, normalize, lambda, rescale };
    let expected = naive_ties(&inputs, &ties);
    agree::<bf16>(&ties, &inputs, &expected);
    agree::<f16>(&ties, &inputs, &expected);
    agree::<f32>(&ties, &inputs, &expected);

    let arithmetic = TaskArithmetic { weights, normalize, lambda };
    let expected = naive_task_arithmetic(&inputs, &arithmetic);
    agree::<bf16>(&arithmetic, &inputs, &expected);
    agree::<f16>(&arithmetic, &inputs, &expected);
    agree::<f32>(&arithmetic, &inputs, &expected);
}

#[test]
fn large_tensors() {
    for data in [Data::Grid, Data::Spread, Data::Same, Data::LastBits] {
        for (seed, models, len) in [(1, 1, 300_001), (2, 3, 131_072), (3, 12, 65_537)] {
            check(seed, data, models, len);
        }
    }
}

/// Bit for bit, so that which of many equal changes are kept shows.
#[test]
fn equal_magnitudes_are_kept_lowest_index_first() {
    let mut random = Random(9);
    for density in [0.000_02, 0.1, 0.5, 0.99] {
        for data in [Data::Grid, Data::LastBits] {
            let inputs = task_vectors(&mut random, data, 1, 200_000);
            let out = merged::<f64>(&Ties::new([1.0], [density]), &inputs, &[200_000]);
            let deltas: Vec<f64> = inputs[1].iter().zip(&inputs[0]).map(|(m, b)| m - b).collect();
            for (i, kept) in trim(&deltas, density).into_iter().enumerate() {
                assert_eq!(out[i], inputs[0][i] + kept, "{data:?} {density} {i}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_merge(
        seed in any::<u64>(),
        data in prop::sample::select(vec![Data::Grid, Data::Spread, Data::Same, Data::LastBits]),
        models in 1usize..=12,
        len in 0usize..2_500,
    ) {
        check(seed, data, models, len);
    }
}
