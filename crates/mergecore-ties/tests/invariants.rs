//! What merges of task vectors must keep, bit for bit.

use mergecore_kernel::Kernel;
use mergecore_tensor::{Element, bf16, f16};
use mergecore_ties::{Rescale, TaskArithmetic, Ties, task_arithmetic_slices, ties_slices};
use support::{Data, Random, bits, merged, task_vectors, typed};

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

#[test]
fn parameters_out_of_range_are_refused() {
    let run =
        |ties: &Ties| ties_slices(&[0.0f32], &[&[1.0]], ties, &mut [0.0]).unwrap_err().to_string();
    assert_eq!(run(&Ties::new([1.0], [1.5])), "`density` is 1.5, but must be between 0 and 1");
    assert_eq!(run(&Ties::new([1.0], [])), "0 values of `density` for 1 models; give one for each");
    assert_eq!(run(&Ties::new([], [])), "0 values of `weight` for 1 models; give one for each");
    assert_eq!(
        run(&Ties { lambda: f64::INFINITY, ..Ties::new([1.0], [1.0]) }),
        "`lambda` is inf, but must be a finite number"
    );
}
