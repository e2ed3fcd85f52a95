//! Large tensors against the formula written down plainly.

use formula::naive;
use mergecore_linear::Linear;
use mergecore_tensor::{Element, bf16, f16};
use proptest::prelude::*;
use support::{Data, Random, assert_rounded, merged, task_vectors};

mod formula;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn agree<O: Element>(models: &[Vec<f64>], params: &Linear) {
    let out = merged::<O>(params, models, &[models[0].len()]);
    assert_rounded(&format!("{params:?}"), &out, &naive(models, params), models);
}

fn check(seed: u64, data: Data, models: usize, len: usize, normalize: bool) {
    let mut random = Random(seed);
    let models = task_vectors(&mut random, data, models - 1, len);
    let weights: Vec<f64> =
        models.iter().map(|_| random.pick(&[0.0, -0.25, 0.5, 0.75, 1.0])).collect();
    if normalize && weights.iter().sum::<f64>() == 0.0 {
        return;
    }
    let params = Linear { weights, normalize };
    agree::<bf16>(&models, &params);
    agree::<f16>(&models, &params);
    agree::<f32>(&models, &params);
}

#[test]
fn large_tensors() {
    for (models, len) in [(1, 300_001), (2, 131_072), (12, 65_537)] {
        for normalize in [true, false] {
            check(models as u64, Data::Grid, models, len, normalize);
            check(models as u64 + 100, Data::Spread, models, len, normalize);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_average(
        seed in any::<u64>(),
        models in 1usize..=12,
        len in 0usize..3_000,
        normalize in any::<bool>(),
        spread in any::<bool>(),
    ) {
        check(seed, if spread { Data::Spread } else { Data::Grid }, models, len, normalize);
    }
}
