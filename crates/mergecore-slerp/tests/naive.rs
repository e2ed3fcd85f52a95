//! Large tensors against the formula written down plainly.

use formula::naive;
use mergecore_slerp::Slerp;
use mergecore_tensor::{Element, bf16, f16};
use proptest::prelude::*;
use support::{Data, Random, assert_rounded, merged, task_vectors};

mod formula;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn agree<O: Element>(inputs: &[Vec<f64>], t: f64) {
    let out = merged::<O>(&Slerp { t }, inputs, &[inputs[0].len()]);
    assert_rounded(&format!("t = {t}"), &out, &naive(&inputs[0], &inputs[1], t), inputs);
}

/// The second vector is the first, changed, turned about in part and made longer.
fn check(seed: u64, data: Data, len: usize, turned: f64, t: f64) {
    let mut random = Random(seed);
    let mut inputs = task_vectors(&mut random, data, 1, len);
    for value in &mut inputs[1] {
        *value *= if random.number() < turned { -1.5 } else { 1.5 };
    }
    agree::<bf16>(&inputs, t);
    agree::<f16>(&inputs, t);
    agree::<f32>(&inputs, t);
}

#[test]
fn large_tensors() {
    for len in [300_001, 131_072, 65_535] {
        // Parallel to antiparallel.
        for turned in [-1.0, -0.9, 0.0, 0.9, 1.0] {
            for t in [0.3, 1.7] {
                check(len as u64, Data::Spread, len, turned, t);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interpolation(
        seed in any::<u64>(),
        len in 0usize..3_000,
        turned in -1.0f64..=1.0,
        t in -1.0f64..2.0,
        spread in any::<bool>(),
    ) {
        check(seed, if spread { Data::Spread } else { Data::Grid }, len, turned, t);
    }
}
