//! What merges of task vectors must keep, bit for bit.

use mergecore_kernel::Kernel;
use mergecore_tensor::{Element, bf16, f16};
use mergecore_ties::{
    Breadcrumbs, ConsensusTa, KernelError, MagMax, Ram, RamPlus, Rescale, Sce, TaskArithmetic,
    Ties, breadcrumbs_slices, breadcrumbs_ties_slices, consensus_ta_slices, magmax_slices,
    sce_slices, task_arithmetic_slices, ties_slices,
};
use support::{Data, Random, bits, merged, task_vectors, typed};

mod kernels;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// A base and models near it, in one type, with zeros of both signs.
fn inputs<T: Element>(models: usize) -> Vec<Vec<T>> {
    let mut inputs = task_vectors(&mut Random(5), Data::Spread, models, 2_345);
    for (k, input) in inputs.iter_mut().enumerate() {
        for (i, value) in input.iter_mut().enumerate().take(200) {
            *value = if (i >> k) % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    inputs.iter().map(|input| typed(input)).collect()
}

fn both<T: Element>(inputs: &[Vec<T>], ties: &Ties) -> [Vec<u64>; 2] {
    let models: Vec<&[T]> = inputs[1..].iter().map(Vec::as_slice).collect();
    let mut out = [vec![T::default(); inputs[0].len()], vec![T::default(); inputs[0].len()]];
    ties_slices(&inputs[0], &models, ties, &mut out[0]).expect("sound");
    let arithmetic = TaskArithmetic {
        weights: ties.weights.clone(),
        normalize: ties.normalize,
        lambda: ties.lambda,
    };
    task_arithmetic_slices(&inputs[0], &models, &arithmetic, &mut out[1]).expect("sound");
    out.map(|out| bits(&out))
}

fn lone_model<T: Element>() {
    let inputs = inputs::<T>(1);
    for rescale in [None, Some(Rescale::L1), Some(Rescale::Density)] {
        for normalize in [true, false] {
            let ties = Ties { rescale, normalize, ..Ties::new([1.0], [1.0]) };
            for out in both(&inputs, &ties) {
                assert_eq!(out, bits(&inputs[1]), "{ties:?} {}", T::DTYPE);
            }
        }
    }
}

#[test]
fn one_model_at_weight_and_density_one_is_that_model() {
    lone_model::<bf16>();
    lone_model::<f16>();
    lone_model::<f32>();
}

fn nothing_added<T: Element>() {
    let inputs = inputs::<T>(3);
    let weights = Ties::new([0.0; 3], [0.5, 1.0, 0.0]);
    let lambda = Ties { lambda: 0.0, ..Ties::new([1.0, 0.5, -1.0], [0.5, 1.0, 0.2]) };
    for ties in [weights, lambda] {
        for normalize in [true, false] {
            for out in both(&inputs, &Ties { normalize, ..ties.clone() }) {
                assert_eq!(out, bits(&inputs[0]), "{ties:?} {}", T::DTYPE);
            }
        }
    }
    let mut out = vec![T::default(); inputs[0].len()];
    ties_slices(&inputs[0], &[&inputs[1]], &Ties::new([1.0], [0.0]), &mut out).expect("sound");
    assert_eq!(bits(&out), bits(&inputs[0]), "density zero");
    ties_slices(&inputs[0], &[], &Ties::default(), &mut out).expect("sound");
    assert_eq!(bits(&out), bits(&inputs[0]), "no models");
}

#[test]
fn nothing_added_leaves_the_base() {
    nothing_added::<bf16>();
    nothing_added::<f16>();
    nothing_added::<f32>();
    nothing_added::<f64>();
}

#[test]
fn unchanged_elements_are_the_bases() {
    let mut inputs = inputs::<f32>(2);
    inputs[1] = inputs[0].clone();
    inputs[2] = inputs[0].clone();
    for out in both(&inputs, &Ties::new([0.7, 0.2], [0.5, 1.0])) {
        assert_eq!(out, bits(&inputs[0]));
    }
}

#[test]
fn density_one_prunes_nothing() {
    // Models that never disagree, so that the election drops nothing either.
    let mut inputs = inputs::<f64>(2);
    let grown = inputs[1].iter().zip(&inputs[0]).map(|(m, b)| b + 2.0 * (m - b)).collect();
    inputs[2] = grown;
    let ties = Ties { normalize: false, ..Ties::new([0.25, 0.5], [1.0, 1.0]) };
    let [ties, arithmetic] = both(&inputs, &ties);
    assert_eq!(ties, arithmetic);
}

#[test]
fn kernels_that_select_an_input_yield_it() {
    let inputs = inputs::<f64>(1);
    for ties in [Ties::new([1.0], [1.0]), Ties::new([0.0], [0.5]), Ties::new([1.0], [0.0])] {
        let chosen = ties.selects().expect("one input comes out unchanged");
        let out = merged::<f64>(&ties, &inputs, &[inputs[0].len()]);
        assert_eq!(bits(&out), bits(&inputs[chosen]), "{ties:?}");
    }
    assert_eq!(Ties::new([1.0], [0.9]).selects(), None);
    assert_eq!(Ties::new([0.9], [1.0]).selects(), None);
    assert_eq!(Ties::new([1.0, 0.0], [1.0, 1.0]).selects(), None);
}

#[test]
fn nan_is_canonical() {
    let odd = -f64::from_bits(0x7ff8_dead_beef_0001);
    let inputs = [vec![1.0, 1.0], vec![odd, 2.0], vec![0.5, 2.5]];
    for density in [0.5, 1.0] {
        let ties = Ties::new([0.5, 1.0], [density; 2]);
        assert_eq!(merged::<f32>(&ties, &inputs, &[2])[0].to_bits(), 0x7fc0_0000);
        assert_eq!(merged::<bf16>(&ties, &inputs, &[2])[0].to_bits(), 0x7fc0);
    }
}

/// What the other methods make of a base and models, with their usual parameters.
fn others<T: Element>(
    inputs: &[Vec<T>],
    weight: f64,
    density: f64,
) -> Vec<(&'static str, Vec<u64>)> {
    let (base, models) = (&inputs[0][..], inputs[1..].iter().map(Vec::as_slice));
    let (models, n): (Vec<&[T]>, _) = (models.collect(), inputs.len() - 1);
    let crumbs = Breadcrumbs::new(vec![weight; n], vec![density; n], vec![0.01; n]);
    let consensus = ConsensusTa { min_models: 1, ..ConsensusTa::new(vec![weight; n]) };
    let run = |merge: &dyn Fn(&mut [T]) -> Result<(), KernelError>| {
        let mut out = vec![T::default(); base.len()];
        merge(&mut out).expect("sound");
        bits(&out)
    };
    vec![
        ("breadcrumbs", run(&|out| breadcrumbs_slices(base, &models, &crumbs, out))),
        ("breadcrumbs_ties", run(&|out| breadcrumbs_ties_slices(base, &models, &crumbs, out))),
        ("consensus_ta", run(&|out| consensus_ta_slices(base, &models, &consensus, out))),
        ("sce", run(&|out| sce_slices(base, &models, &Sce::new(density), out))),
        ("magmax", run(&|out| magmax_slices(base, &models, &MagMax { lambda: weight }, out))),
    ]
}

#[test]
fn one_model_is_that_model_by_the_other_methods_too() {
    fn check<T: Element>() {
        let inputs = inputs::<T>(1);
        for (method, out) in others(&inputs, 1.0, 1.0) {
            assert_eq!(out, bits(&inputs[1]), "{method} {}", T::DTYPE);
        }
    }
    check::<bf16>();
    check::<f16>();
    check::<f32>();
}

#[test]
fn nothing_added_leaves_the_base_by_the_other_methods_too() {
    fn check<T: Element>() {
        for models in [0, 1, 3] {
            let inputs = inputs::<T>(models);
            for (method, out) in others(&inputs, 0.0, 0.0) {
                assert_eq!(out, bits(&inputs[0]), "{method} {models} {}", T::DTYPE);
            }
        }
    }
    check::<bf16>();
    check::<f16>();
    check::<f32>();
    check::<f64>();
}

/// Of the zeros of either sign, too.
#[test]
fn models_equal_to_the_base_leave_it() {
    for models in [2, 12] {
        let inputs = vec![inputs::<f32>(0).remove(0); 1 + models];
        for (method, out) in others(&inputs, 0.7, 0.5) {
            assert_eq!(out, bits(&inputs[0]), "{method}");
        }
        for kernel in [&Ram::default() as &dyn Kernel, &RamPlus::default()] {
            let wide: Vec<Vec<f64>> =
                inputs.iter().map(|x| x.iter().map(|x| x.widen()).collect()).collect();
            let out = merged::<f64>(kernel, &wide, &[wide[0].len()]);
            assert_eq!(bits(&out), bits(&wide[0]), "{kernel:?}");
        }
    }
}

/// Equal magnitudes: the first model's change wins, not the last's, whatever its sign.
#[test]
fn magmax_takes_the_first_of_equal_magnitudes() {
    let base = [1.0f32; 20];
    let models: Vec<Vec<f32>> = [0.5, 1.5, 0.5, 1.25].map(|x| vec![x; 20]).into();
    for from in 0..3 {
        let models: Vec<&[f32]> = models[from..].iter().map(Vec::as_slice).collect();
        let mut out = [0.0; 20];
        magmax_slices(&base, &models, &MagMax::default(), &mut out).expect("sound");
        assert_eq!(out[..], *models[0], "from {from}");
    }
}

#[test]
fn consensus_ta_without_masks_is_task_arithmetic() {
    let inputs = inputs::<f64>(3);
    for normalize in [false, true] {
        let weights = [0.5, -0.25, 1.0];
        let params =
            ConsensusTa { min_models: 0, normalize, lambda: 0.7, ..ConsensusTa::new(weights) };
        let arithmetic = TaskArithmetic { normalize, lambda: 0.7, ..TaskArithmetic::new(weights) };
        let len = [inputs[0].len()];
        let single = |kernel: &dyn Kernel| bits(&merged::<f32>(kernel, &inputs, &len));
        assert_eq!(single(&params), single(&arithmetic));
        // Every mask is on where a change needs not be large at all.
        let params = ConsensusTa { min_models: 3, tall_lambda: 0.0, ..params };
        assert_eq!(single(&params), single(&arithmetic));
    }
}

/// The masks do not depend on lambda, which scales what is kept.
#[test]
fn lambda_scales_consensus_ta_and_changes_no_mask() {
    let inputs = task_vectors(&mut Random(6), Data::Grid, 3, 3_000);
    let run = |lambda: f64| {
        let params = ConsensusTa { lambda, ..ConsensusTa::new([1.0; 3]) };
        merged::<f64>(&params, &inputs, &[3_000])
    };
    let (whole, half) = (run(1.0), run(0.5));
    let kept = (0..3_000).filter(|i| whole[*i] != inputs[0][*i]).count();
    assert!((500..2_900).contains(&kept), "{kept}");
    for i in 0..3_000 {
        // Sums on the grid are exact.
        assert_eq!(half[i] - inputs[0][i], (whole[i] - inputs[0][i]) / 2.0, "{i}");
    }
}

#[test]
fn breadcrumbs_without_outliers_are_trimmed() {
    let inputs = task_vectors(&mut Random(7), Data::Grid, 3, 5_000);
    let (weights, densities) = ([0.5, 1.0, -0.3], [0.1, 0.5, 0.9]);
    let params = Breadcrumbs::new(weights, densities, [0.0; 3]);
    let ties = Ties { normalize: false, ..Ties::new(weights, densities) };
    let out = merged::<f64>(&*kernels::breadcrumbs_ties(&params), &inputs, &[5_000]);
    assert_eq!(bits(&out), bits(&merged::<f64>(&ties, &inputs, &[5_000])));
}

/// And a clear majority elects its sign, by what each election counts.
#[test]
fn tied_votes_elect_plus_in_all_four_elections() {
    // Deltas of 1 and -1, of weights that make the votes a tie by sum or by count.
    let inputs = [vec![0.0; 40], vec![1.0; 40], vec![-1.0; 40], vec![2.0; 40]];
    let run = |weights: [f64; 3], election| {
        let params = Ties { normalize: false, election, ..Ties::new(weights, [1.0; 3]) };
        merged::<f64>(&params, &inputs, &[40])[0]
    };
    let [weighted_sum, sum, weighted_count, count] = kernels::elections();
    // Weighted 0.5, -0.5 and 0 cancel; so do their signs.
    assert_eq!(run([0.5, 0.5, 0.0], weighted_sum), 0.5);
    assert_eq!(run([0.5, 0.5, 0.0], weighted_count), 0.5);
    // Weighted 1, -3 and 2 cancel; there are more of plus.
    assert_eq!(run([1.0, 3.0, 1.0], weighted_sum), 3.0);
    assert_eq!(run([1.0, 3.0, 1.0], weighted_count), 3.0);
    // Weighted by 0.25, -2 and 0.5, minus wins, but there are more of plus; unweighted it loses.
    assert_eq!(run([0.25, 2.0, 0.25], weighted_sum), -2.0);
    assert_eq!(run([0.25, 2.0, 0.25], weighted_count), 0.75);
    assert_eq!(run([0.25, 2.0, 0.25], sum), 0.75);
    // A negative weight turns the vote, unless votes are unweighted.
    assert_eq!(run([-1.0, 1.0, 0.0], weighted_sum), -2.0);
    assert_eq!(run([-1.0, 1.0, 0.0], sum), -1.0);
    assert_eq!(run([-1.0, 1.0, 0.0], count), -1.0);
}

#[test]
fn the_others_nan_is_canonical() {
    let odd = -f64::from_bits(0x7ff8_dead_beef_0001);
    let inputs = [vec![1.0, 1.0], vec![odd, 2.0], vec![0.5, 2.5]];
    let kernels: [Box<dyn Kernel>; 6] = [
        Box::new(Ram::default()),
        Box::new(RamPlus::default()),
        Box::new(ConsensusTa::new([1.0, 1.0])),
        kernels::magmax(&MagMax::default(), 2),
        kernels::sce(&Sce::default(), 2),
        kernels::breadcrumbs(&Breadcrumbs::new([1.0, 1.0], [1.0, 1.0], [0.0, 0.0])),
    ];
    for kernel in kernels {
        assert_eq!(merged::<f32>(&*kernel, &inputs, &[2])[0].to_bits(), 0x7fc0_0000, "{kernel:?}");
    }
}
