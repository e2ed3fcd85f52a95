//! What the methods must keep, whatever the data.

use mergecore_kernel::Kernel;
use mergecore_spectral::{IsoC, Tsv, iso_c_slices, tsv_slices};
use mergecore_tensor::{Element, bf16, f16};
use support::{Data, Random, bits, merged, task_vectors, typed};

#[path = "formula/mod.rs"]
#[allow(dead_code)] // only its decomposition is used here
mod formula;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

const SHAPE: [usize; 2] = [30, 21];

fn inputs(models: usize) -> Vec<Vec<f64>> {
    task_vectors(&mut Random(5), Data::Spread, models, 30 * 21)
}

/// The merged change, from a base of zeros, so that no rounding of the base is in it.
fn change(kernel: &dyn Kernel, inputs: &[Vec<f64>], shape: &[usize]) -> Vec<f64> {
    let mut moved = vec![vec![0.0; inputs[0].len()]];
    for model in &inputs[1..] {
        moved.push(model.iter().zip(&inputs[0]).map(|(m, b)| m - b).collect());
    }
    merged(kernel, &moved, shape)
}

fn singular_values(matrix: &[f64], width: usize) -> Vec<f64> {
    let columns = (0..width).map(|j| matrix[j..].iter().step_by(width).copied().collect());
    formula::svd(columns.collect()).into_iter().map(|part| part.0).collect()
}

fn assert_near(a: &[f64], b: &[f64]) {
    let largest = b.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * largest), "{a:?} and {b:?}");
}

#[test]
fn iso_c_makes_all_singular_values_their_mean() {
    let inputs = inputs(2);
    for shape in [[30, 21], [21, 30]] {
        let lambda = 1.3;
        let merged = change(&IsoC { lambda, ..IsoC::new([1.0, 0.5]) }, &inputs, &shape);
        let sum: Vec<f64> = (0..630)
            .map(|i| (inputs[1][i] - inputs[0][i]) + 0.5 * (inputs[2][i] - inputs[0][i]))
            .collect();
        let mean = singular_values(&sum, shape[1]).iter().sum::<f64>() / 21.0;
        assert_near(&singular_values(&merged, shape[1]), &[lambda * mean; 21]);
    }
}

#[test]
fn iso_c_keeps_directions_of_low_rank() {
    // Changes of rank 1: of 21 singular values one is not zero, and comes down to 1/21.
    let model: Vec<f64> =
        (0..630).map(|i| ((i / 21) as f64 - 3.0) * ((i % 21) as f64 + 1.0)).collect();
    let merged = change(&IsoC::new([1.0]), &[vec![0.0; 630], model.clone()], &SHAPE);
    let expected: Vec<f64> = model.iter().map(|x| x / 21.0).collect();
    assert_near(&merged, &expected);
}

#[test]
fn tsv_keeps_the_singular_values_of_each_model_where_they_do_not_meet() {
    // Blocks that share neither rows nor columns.
    let mut random = Random(8);
    let mut models = vec![vec![0.0; 12 * 12]; 3];
    for (m, model) in models.iter_mut().enumerate().skip(1) {
        for (i, j) in (0..6).flat_map(|i| (0..6).map(move |j| (i, j))) {
            model[(i + 6 * (m - 1)) * 12 + j + 6 * (m - 1)] = random.number();
        }
    }
    let merged = change(&Tsv::new([1.0, 1.0]), &models, &[12, 12]);
    let sum: Vec<f64> = models[1].iter().zip(&models[2]).map(|(a, b)| a + b).collect();
    assert_near(&merged, &sum);
}

#[test]
fn tsv_is_orthogonal_whatever_the_models_share() {
    // Orthogonal vectors on both sides: the singular values are those that were kept.
    let inputs = inputs(3);
    for shape in [[30, 21], [21, 30]] {
        let mut kept = Vec::new();
        for model in &inputs[1..] {
            let delta: Vec<f64> = model.iter().zip(&inputs[0]).map(|(m, b)| m - b).collect();
            kept.extend_from_slice(&singular_values(&delta, shape[1])[..7]);
        }
        kept.sort_by(|a, b| b.total_cmp(a));
        let merged = change(&Tsv::new([1.0; 3]), &inputs, &shape);
        assert_near(&singular_values(&merged, shape[1]), &kept);
    }
}

#[test]
fn tsv_of_models_that_agree_is_what_is_kept_of_one() {
    let mut inputs = inputs(2);
    inputs[2] = inputs[1].clone();
    let two = change(&Tsv::new([1.0, 1.0]), &inputs, &SHAPE);
    let one = Tsv { rank_fraction: Some(10.0 / 21.0), ..Tsv::new([1.0]) };
    assert_near(&two, &change(&one, &inputs[..2], &SHAPE));
}

#[test]
fn tsv_decomposing_one_model_of_full_rank_gives_that_model() {
    let inputs = inputs(1);
    // A second model without change, all of whose singular values are kept.
    let twice = [inputs[0].clone(), inputs[1].clone(), inputs[0].clone()];
    let merged =
        merged::<f64>(&Tsv { rank_fraction: Some(1.0), ..Tsv::new([1.0, 1.0]) }, &twice, &SHAPE);
    assert_near(&merged, &inputs[1]);
}

#[test]
fn scaling() {
    let inputs = inputs(2);
    let doubled = |change: Vec<f64>| -> Vec<f64> { change.iter().map(|x| 2.0 * x).collect() };
    let (iso, tsv) = (IsoC::new([1.0, 0.5]), Tsv::new([1.0, 0.5]));
    let twice: [&dyn Kernel; 4] = [
        &IsoC { lambda: 2.0, ..iso.clone() },
        &IsoC::new([2.0, 1.0]),
        &Tsv { lambda: 2.0, ..tsv.clone() },
        &Tsv::new([2.0, 1.0]),
    ];
    for (kernel, once) in twice.into_iter().zip([&iso as &dyn Kernel, &iso, &tsv, &tsv]) {
        // Powers of two, which change no bit but of the exponent.
        assert_eq!(
            change(kernel, &inputs, &SHAPE),
            doubled(change(once, &inputs, &SHAPE)),
            "{kernel:?}"
        );
    }
}

#[test]
fn transposed_models_give_the_transposed_merge() {
    let inputs = inputs(2);
    let transposed = |rows: &[f64]| -> Vec<f64> {
        (0..21).flat_map(|j| rows[j..].iter().step_by(21).copied()).collect()
    };
    let other: Vec<Vec<f64>> = inputs.iter().map(|input| transposed(input)).collect();
    for kernel in [&IsoC::new([1.0, 0.5]) as &dyn Kernel, &Tsv::new([1.0, 0.5])] {
        let merged = transposed(&change(kernel, &inputs, &SHAPE));
        assert_eq!(bits(&merged), bits(&change(kernel, &other, &[21, 30])), "{kernel:?}");
    }
}

fn lone_model<T: Element>() {
    let mut inputs = inputs(1);
    for (k, input) in inputs.iter_mut().enumerate() {
        for (i, value) in input.iter_mut().enumerate().take(200) {
            *value = if (i >> k) % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    let inputs: Vec<Vec<T>> = inputs.iter().map(|input| typed(input)).collect();
    let mut out = vec![T::default(); 630];
    for shape in [&[30, 21][..], &[630], &[5, 6, 21]] {
        for rank_fraction in [None, Some(1.0)] {
            let params = Tsv { rank_fraction, ..Tsv::new([1.0]) };
            tsv_slices(&inputs[0], &[&inputs[1]], shape, &params, &mut out).expect("sound");
            assert_eq!(bits(&out), bits(&inputs[1]), "{params:?} {}", T::DTYPE);
            assert_eq!(params.selects(), Some(1));
        }
        let params = IsoC { decompose: false, ..IsoC::new([1.0]) };
        iso_c_slices(&inputs[0], &[&inputs[1]], shape, &params, &mut out).expect("sound");
        assert_eq!(bits(&out), bits(&inputs[1]), "{params:?} {}", T::DTYPE);
        assert_eq!(params.selects(), Some(1));
    }
    assert_eq!(IsoC::new([1.0]).selects(), None);
    assert_eq!(Tsv { rank_fraction: Some(0.5), ..Tsv::new([1.0]) }.selects(), None);
    assert_eq!(Tsv::new([0.5]).selects(), None);
    assert_eq!(Tsv::new([1.0, 0.0]).selects(), None);
}

#[test]
fn a_lone_model_comes_out_bit_for_bit() {
    lone_model::<bf16>();
    lone_model::<f16>();
    lone_model::<f32>();
}
