//! Input that leaves little or nothing to decompose.

use mergecore_kernel::Kernel;
use mergecore_spectral::{IsoC, Tsv};
use support::{Data, Random, bits, merged, task_vectors};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn kernels(weights: &[f64]) -> [Box<dyn Kernel>; 3] {
    let all = Tsv { rank_fraction: Some(1.0), ..Tsv::new(weights) };
    [Box::new(IsoC::new(weights)), Box::new(Tsv::new(weights)), Box::new(all)]
}

/// Values with zeros of both signs.
fn base() -> Vec<f64> {
    let mut base = task_vectors(&mut Random(3), Data::Spread, 0, 48).remove(0);
    base[3] = -0.0;
    base[4] = 0.0;
    base
}

fn assert_base(kernel: &dyn Kernel, inputs: &[Vec<f64>], shape: &[usize]) {
    assert_eq!(
        bits(&merged::<f64>(kernel, inputs, shape)),
        bits(&inputs[0]),
        "{kernel:?} {shape:?}"
    );
}

#[test]
fn identical_models_are_the_base_bit_for_bit() {
    for shape in [&[6, 8][..], &[48], &[4, 3, 4], &[1, 48], &[48, 1]] {
        for kernel in kernels(&[1.0, 0.5, -2.0]) {
            assert_base(&*kernel, &vec![base(); 4], shape);
        }
    }
}

#[test]
fn nothing_added_is_the_base_bit_for_bit() {
    let inputs = task_vectors(&mut Random(4), Data::Spread, 2, 48);
    let no_lambda = (
        IsoC { lambda: 0.0, ..IsoC::new([1.0, 1.0]) },
        Tsv { lambda: 0.0, ..Tsv::new([1.0, 1.0]) },
    );
    for shape in [&[6, 8][..], &[48]] {
        for kernel in kernels(&[0.0, 0.0]) {
            assert_base(&*kernel, &inputs, shape);
            assert_eq!(kernel.selects(), Some(0));
        }
        assert_base(&no_lambda.0, &inputs, shape);
        assert_base(&no_lambda.1, &inputs, shape);
        for kernel in kernels(&[]) {
            assert_base(&*kernel, &inputs[..1], shape);
        }
    }
    let none_kept = Tsv { rank_fraction: Some(0.0), ..Tsv::new([1.0, 1.0]) };
    assert_base(&none_kept, &inputs, &[6, 8]);
}

#[test]
fn changes_that_cancel_are_the_base_bit_for_bit() {
    let mut inputs = task_vectors(&mut Random(4), Data::Grid, 2, 48);
    inputs[2] = inputs[1].clone();
    assert_base(&IsoC::new([1.0, -1.0]), &inputs, &[6, 8]);
}

#[test]
fn elements_without_change_are_the_bases() {
    // Rows and columns in which nothing changes.
    let mut model = base();
    for (i, value) in model.iter_mut().enumerate() {
        *value += f64::from(u8::from(i / 8 % 2 == 1 && i % 3 == 0)) * (i * i) as f64;
    }
    for kernel in kernels(&[1.0, 1.0]) {
        let inputs = [base(), model.clone(), base()];
        let out = merged::<f64>(&*kernel, &inputs, &[6, 8]);
        for i in (0..48).filter(|i| model[*i].to_bits() == inputs[0][*i].to_bits()) {
            assert!((out[i] - inputs[0][i]).abs() < 1e-10, "{kernel:?} {i}");
        }
    }
}

#[test]
fn zeros_without_change_keep_their_sign() {
    let inputs =
        [vec![1.0, -0.0, -0.0, 1.0], vec![3.0, -0.0, -0.0, 5.0], vec![3.0, -0.0, -0.0, 1.0]];
    for kernel in &kernels(&[1.0, 1.0])[..2] {
        let out = merged::<f64>(&**kernel, &inputs, &[2, 2]);
        assert_eq!(bits(&out[1..3]), bits(&[-0.0, -0.0]), "{kernel:?} {out:?}");
    }
}

#[test]
fn a_model_without_change_or_weight_keeps_its_share() {
    let inputs = task_vectors(&mut Random(4), Data::Spread, 2, 48);
    let without_change = [inputs[0].clone(), inputs[1].clone(), inputs[0].clone()];
    for weights in [[1.0, 0.0], [1.0, 1.0]] {
        let inputs = if weights[1] == 0.0 { &inputs[..] } else { &without_change[..] };
        let half = Tsv { rank_fraction: Some(0.5), ..Tsv::new([1.0]) };
        let (of_two, of_one) = (
            merged::<f64>(&Tsv::new(weights), inputs, &[6, 8]),
            merged::<f64>(&half, &inputs[..2], &[6, 8]),
        );
        assert_eq!(bits(&of_two), bits(&of_one));
    }
}

#[test]
fn a_single_row_or_column_has_one_singular_value() {
    let inputs = task_vectors(&mut Random(4), Data::Spread, 2, 48);
    for shape in [[1, 48], [48, 1]] {
        let out = merged::<f64>(&IsoC::new([1.0, 0.5]), &inputs, &shape);
        for (i, out) in out.iter().enumerate() {
            let sum = inputs[1][i] - inputs[0][i] + 0.5 * (inputs[2][i] - inputs[0][i]);
            assert!((out - inputs[0][i] - sum).abs() < 1e-14, "{out}");
        }
        // Orthogonal changes of one row keep their length, but not their direction: they share
        // the one vector there is on the other side.
        let apart = [vec![0.0; 4], vec![3.0, 0.0, 0.0, 0.0], vec![0.0, 4.0, 0.0, 0.0]];
        let shape = shape.map(|n: usize| n.min(4));
        let out = merged::<f64>(&Tsv::new([1.0, 1.0]), &apart, &shape);
        let root = 2f64.sqrt();
        let expected = [3.0 / root, 4.0 / root, 0.0, 0.0];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14), "{out:?}");
    }
}

#[test]
fn a_single_element() {
    let inputs = [vec![1.0], vec![3.0], vec![0.0]];
    let near = |kernel: &dyn Kernel, shape: &[usize], expected: f64| {
        let out = merged::<f64>(kernel, &inputs, shape);
        assert!((out[0] - expected).abs() < 1e-14, "{kernel:?} {shape:?}: {out:?}");
    };
    // As a matrix the sum, as a vector or a scalar the mean.
    near(&IsoC::new([1.0, 1.0]), &[1, 1], 2.0);
    near(&IsoC::new([1.0, 1.0]), &[1], 1.5);
    near(&IsoC::new([1.0, 1.0]), &[], 1.5);
    for shape in [&[1, 1][..], &[1], &[]] {
        near(&Tsv::new([1.0, 1.0]), shape, 1.5);
    }
}

#[test]
fn no_elements() {
    for shape in [&[0][..], &[0, 5], &[5, 0], &[2, 0, 3]] {
        for kernel in kernels(&[1.0, 0.5]) {
            assert!(merged::<f32>(&*kernel, &vec![Vec::new(); 3], shape).is_empty());
        }
    }
}

#[test]
fn equal_singular_values() {
    // Rotations and reflections, whose singular vectors are any.
    let (cos, sin) = (0.6, 0.8);
    let inputs = [vec![0.0; 4], vec![cos, -sin, sin, cos], vec![2.0, 0.0, 0.0, -2.0]];
    let out = merged::<f64>(&IsoC::new([1.0]), &inputs[..2], &[2, 2]);
    assert!(out.iter().zip(&inputs[1]).all(|(a, b)| (a - b).abs() < 1e-15), "{out:?}");
    let all = Tsv { rank_fraction: Some(1.0), ..Tsv::new([1.0, 1.0]) };
    let out = merged::<f64>(&all, &inputs, &[2, 2]);
    assert!(out.iter().all(|x| x.is_finite()), "{out:?}");
    let norm = out.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!(norm > 1.0 && norm < 6.0, "{out:?}");
}

#[test]
fn changes_of_any_size() {
    // Sums of their squares would be zero or infinite.
    let inputs = task_vectors(&mut Random(4), Data::Spread, 2, 48);
    for kernel in kernels(&[1.0, 0.5]) {
        let change = |power: i32| {
            let scale = 2f64.powi(power / 2) * 2f64.powi(power - power / 2);
            let mut scaled = vec![vec![0.0; 48]];
            for model in &inputs[1..] {
                scaled.push(model.iter().zip(&inputs[0]).map(|(m, b)| (m - b) * scale).collect());
            }
            let out = merged::<f64>(&*kernel, &scaled, &[6, 8]);
            out.iter().map(|x| x / scale).collect::<Vec<f64>>()
        };
        let usual = change(0);
        assert_eq!(change(900), usual);
        assert_eq!(change(-900), usual);
    }
    let subnormal = [vec![0.0; 4], vec![5e-324, 0.0, 0.0, 1e-323]];
    let out = merged::<f64>(&IsoC::new([1.0]), &subnormal, &[2, 2]);
    assert_eq!(out, [1e-323, 0.0, 0.0, 1e-323]); // the mean of one and two steps, rounded to even
}

#[test]
fn more_models_than_rows() {
    let inputs = task_vectors(&mut Random(4), Data::Spread, 12, 48);
    for shape in [[6, 8], [2, 24], [24, 2]] {
        for kernel in kernels(&[1.0; 12]) {
            let out = merged::<f64>(&*kernel, &inputs, &shape);
            assert!(out.iter().zip(&inputs[0]).all(|(x, b)| (x - b).abs() < 2.0), "{kernel:?}");
        }
    }
}
