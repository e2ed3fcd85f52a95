//! Large tensors against the formula written down plainly: whole tensors, sorted.

use mergecore_tensor::{Element, bf16, f16};
use mergecore_ties::{Rescale, TaskArithmetic, Ties, keep_count};
use proptest::prelude::*;
use support::{Data, Random, assert_rounded, merged, rescaled, task_vectors};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// Keeps the largest magnitudes, lowest index first where they are equal.
fn trim(deltas: &[f64], density: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..deltas.len()).collect();
    order.sort_by(|a, b| deltas[*b].abs().total_cmp(&deltas[*a].abs()));
    let mut kept = vec![0.0; deltas.len()];
    for index in order.into_iter().take(keep_count(density, deltas.len() as u64) as usize) {
        kept[index] = deltas[index];
    }
    kept
}

fn naive_ties(inputs: &[Vec<f64>], params: &Ties) -> Vec<f64> {
    let base = &inputs[0];
    let deltas = inputs[1..].iter().zip(&params.densities).map(|(model, density)| {
        let deltas: Vec<f64> = model.iter().zip(base).map(|(m, b)| m - b).collect();
        rescaled(&deltas, trim(&deltas, *density), *density, params.rescale)
    });
    let deltas: Vec<_> = deltas.collect();
    let element = |i: usize| {
        let weighted = || deltas.iter().zip(&params.weights).map(|(delta, w)| (w * delta[i], *w));
        let vote: f64 = weighted().map(|(d, _)| d).sum();
        let magnitude: f64 = weighted().map(|(d, _)| d.abs()).sum();
        if params.rescale.is_some() && magnitude != 0.0 && vote.abs() < 1e-12 * magnitude {
            return f64::NAN;
        }
        let elected = if vote >= 0.0 { 1.0 } else { -1.0 };
        let agreeing = || weighted().filter(|(d, _)| *d != 0.0 && d.signum() == elected);
        let divisor: f64 = agreeing().map(|(_, weight)| weight).sum();
        let divisor = if params.normalize && divisor != 0.0 { divisor } else { 1.0 };
        base[i] + params.lambda * (agreeing().map(|(d, _)| d).sum::<f64>() / divisor)
    };
    (0..base.len()).map(element).collect()
}

fn naive_task_arithmetic(inputs: &[Vec<f64>], params: &TaskArithmetic) -> Vec<f64> {
    let total: f64 = params.weights.iter().sum();
    let divisor = if params.normalize && total.abs() >= 1e-8 { total } else { 1.0 };
    let element = |i: usize| {
        let weighted = inputs[1..].iter().zip(&params.weights);
        let mixed: f64 = weighted.map(|(model, w)| w * (model[i] - inputs[0][i])).sum();
        inputs[0][i] + params.lambda * (mixed / divisor)
    };
    (0..inputs[0].len()).map(element).collect()
}

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
