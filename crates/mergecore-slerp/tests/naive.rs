//! Large tensors against the formulas written down plainly.

use formula::{karcher, multislerp, naive, nuslerp};
use mergecore_kernel::{Argument, Kernel};
use mergecore_slerp::{KarcherMethod, MultiSlerpMethod, NuSlerpMethod, Slerp};
use mergecore_tensor::{Element, bf16, f16};
use proptest::prelude::*;
use support::{Data, Random, assert_rounded, bound, bound_to, merged, task_vectors};

mod formula;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn agree(label: &str, kernel: &dyn Kernel, inputs: &[Vec<f64>], shape: &[usize], out: &[f64]) {
    fn to<O: Element>(
        label: &str,
        kernel: &dyn Kernel,
        inputs: &[Vec<f64>],
        shape: &[usize],
        out: &[f64],
    ) {
        assert_rounded(label, &merged::<O>(kernel, inputs, shape), out, inputs);
    }
    to::<bf16>(label, kernel, inputs, shape, out);
    to::<f16>(label, kernel, inputs, shape, out);
    to::<f32>(label, kernel, inputs, shape, out);
}

/// Turns vectors about in part and makes them longer.
fn turn(random: &mut Random, vectors: &mut [Vec<f64>], turned: f64) {
    for value in vectors.iter_mut().flatten() {
        *value *= if random.number() < turned { -1.5 } else { 1.5 };
    }
}

/// The second vector is the first, changed, turned about in part and made longer.
fn slerp(seed: u64, data: Data, len: usize, turned: f64, t: f64) {
    let mut random = Random(seed);
    let mut inputs = task_vectors(&mut random, data, 1, len);
    turn(&mut random, &mut inputs[1..], turned);
    let expected = naive(&inputs[0], &inputs[1], t);
    agree(&format!("t = {t}"), &Slerp { t }, &inputs, &[len], &expected);
}

/// The vectors are whole tensors, rows and columns in turn, with a base and without.
fn nuslerp(seed: u64, data: Data, shape: &[usize], turned: f64, weights: [f64; 2]) {
    let mut random = Random(seed);
    let mut inputs = task_vectors(&mut random, data, 2, shape.iter().product());
    turn(&mut random, &mut inputs[2..], turned);
    let last = shape.len() - 1;
    for (along, flatten, row_wise) in
        [(None, true, false), (Some(last), false, false), (Some(0), false, true)]
    {
        let flags = [("nuslerp_flatten", flatten), ("nuslerp_row_wise", row_wise)];
        let shared = flags.map(|(name, flag)| (name, Argument::Flag(flag)));
        for based in [false, true] {
            let weight: [(_, &[f64]); 1] = [("weight", &weights)];
            let kernel = bound_to(&NuSlerpMethod, based, &shared, &weight, 2, 0);
            let base = based.then_some(&inputs[0][..]);
            let expected = nuslerp::naive(base, &inputs[1..], weights, shape, along);
            let used = &inputs[usize::from(!based)..];
            let label = format!("{weights:?}, {shape:?} along {along:?}, base: {based}");
            agree(&label, &*kernel, used, shape, &expected);
        }
    }
}

fn multislerp(seed: u64, data: Data, models: usize, len: usize, turned: f64, eps: f64) {
    let mut random = Random(seed);
    let mut inputs = task_vectors(&mut random, data, models, len);
    turn(&mut random, &mut inputs[2..], turned);
    let weights: Vec<f64> =
        (0..models).map(|_| random.pick(&[0.0, -0.25, 0.5, 0.75, 1.0])).collect();
    let sum: f64 = weights.iter().sum();
    for (based, normalize) in [(false, false), (false, true), (true, false), (true, true)] {
        let shares = weights.iter().map(|w| if normalize { w / sum } else { *w });
        let shares: Vec<f64> = shares.collect();
        let base = based.then_some(&inputs[0][..]);
        if normalize && sum == 0.0 {
            continue;
        }
        let Some(expected) = multislerp::naive(base, &inputs[1..], &shares, eps) else { continue };
        let normalize = ("normalize_weights", Argument::Flag(normalize));
        let shared = [normalize, ("eps", Argument::Number(eps))];
        let weight: [(_, &[f64]); 1] = [("weight", &weights)];
        let kernel = bound_to(&MultiSlerpMethod, based, &shared, &weight, models, 0);
        let used = &inputs[usize::from(!based)..];
        agree(&format!("{kernel:?}"), &*kernel, used, &[len], &expected);
    }
}

fn karcher(seed: u64, data: Data, models: usize, len: usize, turned: f64, max_iter: u32) {
    let mut random = Random(seed);
    let mut inputs = task_vectors(&mut random, data, models - 1, len);
    turn(&mut random, &mut inputs[1..], turned);
    for tol in [1e-5, 1e-9] {
        let Some(expected) = karcher::naive(&inputs, max_iter, tol) else { continue };
        let max_iter = ("max_iter", Argument::Number(max_iter.into()));
        let shared = [max_iter, ("tol", Argument::Number(tol))];
        let kernel = bound(&KarcherMethod, &shared, &[], models, 0);
        agree(&format!("{kernel:?}"), &*kernel, &inputs, &[len], &expected);
    }
}

#[test]
fn large_tensors_by_slerp() {
    for len in [300_001, 131_072, 65_535] {
        // Parallel to antiparallel.
        for turned in [-1.0, -0.9, 0.0, 0.9, 1.0] {
            for t in [0.3, 1.7] {
                slerp(len as u64, Data::Spread, len, turned, t);
            }
        }
    }
}

#[test]
fn large_tensors_by_nuslerp() {
    // Rows that lie across the ends of blocks, columns of which a block has one element each
    // or not even that, and columns that share slots.
    let shapes: [&[usize]; 6] =
        [&[300_001], &[5, 283, 139], &[3, 70_001], &[2, 2, 33_000], &[70_001, 3], &[9_000, 1]];
    for (seed, shape) in (0..).zip(shapes) {
        for turned in [-0.9, 0.0] {
            nuslerp(seed, Data::Spread, shape, turned, [0.6, 0.3]);
        }
    }
}

#[test]
fn large_tensors_by_multislerp() {
    for (models, len) in [(1, 300_001), (2, 131_072), (3, 65_535), (12, 70_001)] {
        for (seed, turned) in [(1, -1.0), (2, -0.9), (3, 0.0), (4, 0.5)] {
            multislerp(seed, Data::Spread, models, len, turned, 1e-8);
        }
    }
}

#[test]
fn large_tensors_by_karcher() {
    for (models, len) in [(1, 300_001), (2, 131_072), (3, 65_535), (12, 70_001)] {
        for (seed, turned) in [(1, -1.0), (2, -0.9), (3, 0.0), (4, 0.5)] {
            karcher(seed, Data::Spread, models, len, turned, 10);
        }
    }
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![Just(Data::Grid), Just(Data::Spread), Just(Data::LastBits), Just(Data::Same)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_slerp(
        seed in any::<u64>(),
        len in 0usize..3_000,
        turned in -1.0f64..=1.0,
        t in -1.0f64..2.0,
        spread in any::<bool>(),
    ) {
        slerp(seed, if spread { Data::Spread } else { Data::Grid }, len, turned, t);
    }

    #[test]
    fn any_nuslerp(
        seed in any::<u64>(),
        shape in prop::collection::vec(0usize..9, 1..=4),
        turned in -1.0f64..=1.0,
        t in -1.0f64..2.0,
        data in data(),
    ) {
        nuslerp(seed, data, &shape, turned, [1.0 - t, t]);
    }

    #[test]
    fn any_multislerp(
        seed in any::<u64>(),
        models in 1usize..=12,
        len in 1usize..1_000,
        turned in -1.0f64..=1.0,
        large in any::<bool>(),
        data in data(),
    ) {
        multislerp(seed, data, models, len, turned, if large { 0.05 } else { 1e-8 });
    }

    #[test]
    fn any_karcher(
        seed in any::<u64>(),
        models in 1usize..=12,
        len in 16usize..1_000,
        turned in -1.0f64..0.7,
        max_iter in 0u32..12,
        data in data(),
    ) {
        karcher(seed, data, models, len, turned, max_iter);
    }
}
