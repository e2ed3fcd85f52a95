//! Large tensors against the formula written down plainly: whole tensors, sorted.

use formula::*;
use mergecore_kernel::Kernel;
use mergecore_tensor::{Element, Elements, ElementsMut, Simd, bf16, f16};
use mergecore_ties::{
    Breadcrumbs, ConsensusTa, Elect, MagMax, Ram, RamPlus, Rescale, Sce, TaskArithmetic, Ties,
};
use proptest::prelude::*;
use support::{Data, Random, assert_rounded, bits, merged, run_by_blocks, task_vectors, typed};

mod formula;
mod kernels;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn agree<O: Element>(label: &str, kernel: &dyn Kernel, inputs: &[Vec<f64>], expected: &[f64]) {
    let out = merged::<O>(kernel, inputs, &[inputs[0].len()]);
    assert_rounded(&format!("{label}{kernel:?}"), &out, expected, inputs);
}

/// Compares a kernel with what the formula says in every output type; and with itself, where
/// the inputs' values are those of 16-bit types, on inputs of mixed types.
fn compare(kernel: &dyn Kernel, data: Data, inputs: &[Vec<f64>], expected: &[f64]) {
    let label = format!("{data:?}, {} models, ", inputs.len() - 1);
    agree::<bf16>(&label, kernel, inputs, expected);
    agree::<f16>(&label, kernel, inputs, expected);
    agree::<f32>(&label, kernel, inputs, expected);
    if !matches!(data, Data::Grid | Data::Same) {
        return;
    }
    let (single, half) =
        (inputs.iter().map(|x| typed::<f32>(x)), inputs.iter().map(|x| typed::<f16>(x)));
    let (single, half): (Vec<_>, Vec<_>) = (single.collect(), half.collect());
    let brain: Vec<Vec<bf16>> = inputs.iter().map(|x| typed(x)).collect();
    let mixed: Vec<Elements<'_>> = (0..inputs.len())
        .map(|i| match i % 4 {
            0 => Elements::from(&single[i][..]),
            1 => Elements::from(&brain[i][..]),
            2 => Elements::from(&half[i][..]),
            _ => Elements::from(&inputs[i][..]),
        })
        .collect();
    let brain: Vec<Elements<'_>> = brain.iter().map(|x| Elements::from(&x[..])).collect();
    let of_wide = bits(&merged::<f64>(kernel, inputs, &[inputs[0].len()]));
    for stored in [mixed, brain] {
        let mut out = vec![0.0f64; inputs[0].len()];
        run_by_blocks((Simd::detect(), 2), kernel, &stored, &mut ElementsMut::from(&mut out[..]));
        assert!(bits(&out) == of_wide, "{label}{kernel:?} of {:?}", stored[1].dtype());
    }
}

/// Draws parameters, then compares every method in every output type.
fn check(seed: u64, data: Data, models: usize, len: usize) {
    let mut random = Random(seed);
    let inputs = task_vectors(&mut random, data, models, len);
    let mut draw = |from: &[f64]| -> Vec<f64> { (0..models).map(|_| random.pick(from)).collect() };
    let weights = draw(&[-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
    let densities = draw(&[0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 1.0]);
    let gammas = draw(&[0.0, 0.0, 0.01, 0.2, 0.5, 0.95, 1.0]);
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
    let election = random.pick(&kernels::elections());

    let ties =
        Ties { normalize, lambda, rescale, election, ..Ties::new(weights.clone(), &densities[..]) };
    compare(&ties, data, &inputs, &naive_ties(&inputs, &ties));

    let arithmetic = TaskArithmetic { weights: weights.clone(), normalize, lambda };
    compare(&arithmetic, data, &inputs, &naive_task_arithmetic(&inputs, &arithmetic));

    let crumbs = Breadcrumbs::new(weights.clone(), densities, gammas);
    let crumbs = Breadcrumbs { normalize, lambda, rescale, election, ..crumbs };
    let expected = naive_breadcrumbs(&inputs, &crumbs, None);
    compare(&*kernels::breadcrumbs(&crumbs), data, &inputs, &expected);
    let expected = naive_breadcrumbs(&inputs, &crumbs, Some(election));
    compare(&*kernels::breadcrumbs_ties(&crumbs), data, &inputs, &expected);

    let select_topk = random.pick(&[1.0, 1.0, 0.9, 0.5, 0.1, 0.001, 0.0]);
    let mut sce = Sce { select_topk, election };
    if matches!(data, Data::LastBits) {
        sce.election.elect = Elect::Unweighted;
    }
    compare(&*kernels::sce(&sce, models), data, &inputs, &naive_sce(&inputs, &sce));

    let epsilon = random.pick(&[1e-5, 0.0, 0.02, 1.0 / 64.0, 2.0]);
    let ram = Ram { epsilon };
    compare(&ram, data, &inputs, &naive_ram(&inputs, &ram));
    let (r, alpha) = (random.pick(&[0.1, -1.0, 2.0]), random.pick(&[0.2, 0.0, 5.0]));
    let ramplus = RamPlus { epsilon, r, alpha };
    compare(&ramplus, data, &inputs, &naive_ramplus_tl(&inputs, &ramplus));

    let magmax = MagMax { lambda };
    let expected = naive_magmax(&inputs, &magmax);
    compare(&*kernels::magmax(&magmax, models), data, &inputs, &expected);

    let tall_lambda = random.pick(&[0.4, 0.4, 0.2, 0.6, 0.0, 1.0, 3.0]);
    let min_models = random.pick(&[2, 2, 0, 1, 3]);
    let consensus = ConsensusTa { weights, tall_lambda, min_models, normalize, lambda };
    compare(&consensus, data, &inputs, &naive_consensus_ta(&inputs, &consensus));
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
            let deltas: Vec<f64> = inputs[1].iter().zip(&inputs[0]).map(|(m, b)| m - b).collect();
            let same = |kernel: &dyn Kernel, kept: Vec<f64>| {
                let out = merged::<f64>(kernel, &inputs, &[200_000]);
                for (i, kept) in kept.into_iter().enumerate() {
                    assert_eq!(out[i], inputs[0][i] + kept, "{data:?} {density} {i} {kernel:?}");
                }
            };
            same(&Ties::new([1.0], [density]), trim(&deltas, density));
            for gamma in [0.0, 0.01, 0.3, 0.9] {
                let params = Breadcrumbs::new([1.0], [density], [gamma]);
                same(&*kernels::breadcrumbs(&params), crumbs(&deltas, density, gamma));
            }
        }
    }
}

/// Variances that are equal by their formula, or nearly so, are selected lowest index first and
/// in the order of the definition's own rounding errors.
#[test]
fn equal_variances_are_selected_lowest_index_first() {
    let mut random = Random(10);
    for models in [2, 3, 5, 9] {
        for data in [Data::Grid, Data::LastBits] {
            let inputs = task_vectors(&mut random, data, models, 70_000);
            for topk in [0.001, 0.1, 0.5, 0.999] {
                let params = Sce::new(topk);
                let out = merged::<f64>(&*kernels::sce(&params, models), &inputs, &[70_000]);
                let expected = naive_sce(&inputs, &params);
                let changed = |out: &[f64]| -> Vec<bool> {
                    out.iter().zip(&inputs[0]).map(|(out, base)| out != base).collect()
                };
                assert!(changed(&out) == changed(&expected), "{data:?}, {models} models, {topk}");
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
