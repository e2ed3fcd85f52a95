//! What must be kept, bit for bit, and what is made of degenerate input.

use mergecore_adaptive::{
    ArceeFusion, ModelStock, NearSwap, arcee_fusion_slices, model_stock_slices, nearswap_slices,
};
use mergecore_kernel::Kernel;
use mergecore_tensor::{Element, bf16, f16};
use support::{Data, Random, bits, merged, task_vectors, typed};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

const SHAPE: [usize; 2] = [35, 67];

/// A base and models near it, in one type, with zeros of both signs.
fn inputs<T: Element>(models: usize) -> Vec<Vec<T>> {
    let mut inputs = task_vectors(&mut Random(5), Data::Spread, models, SHAPE[0] * SHAPE[1]);
    for (k, input) in inputs.iter_mut().enumerate() {
        for (i, value) in input.iter_mut().enumerate().take(50) {
            *value = if (i >> k) % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    inputs.iter().map(|input| typed(input)).collect()
}

fn stock<T: Element>(base: &[T], models: &[&[T]], shape: &[usize], filter_wise: bool) -> Vec<T> {
    let mut out = vec![T::narrow(f64::NAN); base.len()];
    let params = ModelStock { filter_wise };
    model_stock_slices(base, models, shape, &params, &mut out).expect("sound");
    out
}

fn near<T: Element>(base: &[T], other: &[T], t: f64) -> Vec<T> {
    let mut out = vec![T::narrow(f64::NAN); base.len()];
    nearswap_slices(base, other, &NearSwap { t }, &mut out).expect("sound");
    out
}

fn fusion<T: Element>(base: &[T], other: &[T], shape: &[usize]) -> Vec<T> {
    let mut out = vec![T::narrow(f64::NAN); base.len()];
    arcee_fusion_slices(base, other, shape, &ArceeFusion, &mut out).expect("sound");
    out
}

fn identical<T: Element>() {
    let inputs = inputs::<T>(1);
    let [base, model] = [&inputs[0][..], &inputs[1]];
    for count in [2, 3, 7, 12] {
        for filter_wise in [false, true] {
            let label = format!("{count} {filter_wise} {}", T::DTYPE);
            let out = stock(base, &vec![model; count], &SHAPE, filter_wise);
            assert_eq!(bits(&out), bits(model), "{label}");
            let out = stock(base, &vec![base; count], &SHAPE, filter_wise);
            assert_eq!(bits(&out), bits(base), "{label}, equal to the base");
        }
    }
    // As many bits as the type has, so that a sum of parts would be rounded.
    let mut random = Random(7);
    let any: Vec<T> = (0..1_000).map(|_| T::narrow(random.number())).collect();
    for t in [1e-9, 3e-7, 1e-4, 0.3, 1e300] {
        assert_eq!(bits(&near(base, base, t)), bits(base), "{t} {}", T::DTYPE);
        assert_eq!(bits(&near(&any, &any, t)), bits(&any), "{t} {}", T::DTYPE);
    }
    assert_eq!(bits(&fusion(base, base, &SHAPE)), bits(base), "{}", T::DTYPE);
}

#[test]
fn identical_models_give_that_model() {
    identical::<bf16>();
    identical::<f16>();
    identical::<f32>();
    identical::<f64>();
}

fn ends<T: Element>() {
    let inputs = inputs::<T>(1);
    let [base, other] = [&inputs[0][..], &inputs[1]];
    assert_eq!(bits(&near(base, other, 0.0)), bits(base), "{}", T::DTYPE);
    assert_eq!(bits(&near(base, other, 1e300)), bits(other), "{}", T::DTYPE);
    // Changes of which some are much larger than most.
    let mut random = Random(8);
    let far = |base: &T| T::narrow(base.widen() + random.number().powi(5));
    let other: Vec<T> = base.iter().map(far).collect();
    let out = fusion(base, &other, &SHAPE);
    let chosen = out.iter().zip(base.iter().zip(&other));
    let taken = chosen.filter(|(out, (base, other))| {
        let (out, base, other) = (out.widen(), base.widen(), other.widen());
        assert!(out.to_bits() == base.to_bits() || out.to_bits() == other.to_bits());
        out != base
    });
    let taken = taken.count();
    assert!((1..out.len() / 3).contains(&taken), "{taken} of {} {}", out.len(), T::DTYPE);
}

#[test]
fn elements_that_do_not_move_or_move_all_the_way_are_unchanged() {
    ends::<bf16>();
    ends::<f16>();
    ends::<f32>();
    ends::<f64>();
}

#[test]
fn nearswap_moves_by_t_at_most() {
    let inputs = inputs::<f64>(1);
    let [base, other] = [&inputs[0][..], &inputs[1]];
    for t in [1e-5, 0.01, 0.05] {
        for (out, (base, other)) in near(base, other, t).iter().zip(base.iter().zip(other)) {
            let expected = (other - base).clamp(-t, t);
            assert!((out - base - expected).abs() < 1e-15, "{t}: {base} to {other}: {out}");
        }
    }
    assert_eq!(NearSwap::new(0.0).selects(), Some(0));
    assert_eq!(NearSwap::new(1.0).selects(), None);
}

/// A difference of less than 1e-6 counts as that, so that a smaller `t` moves part of the way.
#[test]
fn nearswap_of_tiny_differences() {
    let out = near(&[0.0f64, 0.0, 0.0], &[1e-7, 5e-324, 1e-6], 5e-7);
    assert!((out[0] - 5e-8).abs() < 1e-20 && out[1] < 1e-323, "{out:?}");
    assert!((out[2] - 5e-7).abs() < 1e-20);
    assert_eq!(near(&[1.0f64, 0.0], &[1.0 + 1e-7, -1e-7], 1e-6), [1.0 + 1e-7, -1e-7]);
}

#[test]
fn changes_that_cancel_leave_the_base() {
    let base: Vec<f32> = vec![0.5; 60];
    let mut random = Random(3);
    let change: Vec<f32> = (0..60).map(|_| random.below(64) as f32 / 64.0).collect();
    let [up, down] = [1.0f32, -1.0].map(|sign| -> Vec<f32> {
        base.iter().zip(&change).map(|(base, change)| base + sign * change).collect()
    });
    for filter_wise in [false, true] {
        assert_eq!(stock(&base, &[&up, &down], &[6, 10], filter_wise), base);
    }
}

#[test]
fn changes_at_right_angles_leave_the_base() {
    let (base, a, b) = ([0.0f32; 4], [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, -4.0]);
    assert_eq!(stock(&base, &[&a, &b], &[4], false), base);
    assert_eq!(stock(&base, &[&a, &b], &[1, 4], true), base);
}

#[test]
fn one_model_that_did_not_change() {
    let inputs = inputs::<f32>(1);
    let [base, model] = [&inputs[0][..], &inputs[1]];
    for filter_wise in [false, true] {
        assert_eq!(bits(&stock(base, &[model, base], &SHAPE, filter_wise)), bits(base));
    }
}

/// Changes whose norms' product is below 1e-6 count as less alike than they are.
#[test]
fn tiny_changes_are_taken_in_part() {
    let base = [0.0f64; 2];
    let model = [3e-4, 4e-4]; // of norm 5e-4
    for filter_wise in [false, true] {
        let out = stock(&base, &[&model, &model], &[1, 2], filter_wise);
        let share = 2.0 * 0.25 / 1.25;
        for (out, model) in out.iter().zip(model) {
            assert!((out - share * model).abs() < 1e-18, "{out}");
        }
    }
}

#[test]
fn rows_go_their_own_way_and_a_vector_is_one() {
    let inputs = inputs::<f64>(3);
    let models: Vec<&[f64]> = inputs[1..].iter().map(Vec::as_slice).collect();
    let out = stock(&inputs[0], &models, &SHAPE, true);
    for (row, out) in out.chunks(SHAPE[1]).enumerate() {
        let range = row * SHAPE[1]..(row + 1) * SHAPE[1];
        let models: Vec<&[f64]> = models.iter().map(|model| &model[range.clone()]).collect();
        for filter_wise in [false, true] {
            let alone = stock(&inputs[0][range.clone()], &models, &[SHAPE[1]], filter_wise);
            assert!(out.iter().zip(alone).all(|(a, b)| (a - b).abs() < 1e-14), "row {row}");
        }
    }
}

#[test]
fn subnormals_and_extremes_stay_finite() {
    let base = [f32::MAX, -f32::MAX, 1e-45, -1e-45, 0.0, 1.0];
    let other = [-f32::MAX, f32::MAX, -1e-45, 0.0, 1e-40, f32::MIN_POSITIVE];
    for shape in [&[6][..], &[3, 2], &[6, 1]] {
        for filter_wise in [false, true] {
            let out = stock(&base, &[&other, &[0.0; 6]], shape, filter_wise);
            assert!(out.iter().all(|x| x.is_finite()), "{out:?}");
        }
        assert!(fusion(&base, &other, shape).iter().all(|x| x.is_finite()));
    }
    for t in [1e-300, 1e-4, 1e38, f64::MAX] {
        assert!(near(&base, &other, t).iter().all(|x| x.is_finite()), "{t}");
    }
}

#[test]
fn tensors_of_one_element() {
    assert_eq!(fusion(&[1.0f32], &[2.0], &[1]), [2.0]);
    assert_eq!(stock(&[1.0f32], &[&[2.0], &[3.0]], &[1], false), [2.5]);
    assert_eq!(stock(&[1.0f32], &[&[2.0], &[0.0]], &[1], true), [1.0]);
    assert_eq!(near(&[1.0f32], &[2.0], 0.5), [1.5]);
}

#[test]
fn rows_of_one_element_are_taken_whole() {
    let inputs = inputs::<f32>(1);
    let len = inputs[0].len();
    assert_eq!(bits(&fusion(&inputs[0], &inputs[1], &[len, 1])), bits(&inputs[1]));
    let models = [&inputs[1][..], &inputs[1]];
    let out = stock(&[0.0f32; 3], &[&[1.0, 2.0, 0.0], &[3.0, -2.0, 5.0]], &[3, 1], true);
    assert_eq!(out, [2.0, 0.0, 0.0]);
    assert_eq!(stock(&inputs[0], &models, &[len, 1], false).len(), len);
}

#[test]
fn empty_tensors() {
    let none: [f32; 0] = [];
    for shape in [&[0][..], &[0, 3], &[3, 0]] {
        for filter_wise in [false, true] {
            assert!(stock(&none, &[&none, &none], shape, filter_wise).is_empty());
        }
        assert!(fusion(&none, &none, shape).is_empty());
    }
    assert!(near(&none, &none, 1.0).is_empty());
}

/// Shifted rows have the same softmax: every importance is zero, and so is the threshold.
#[test]
fn rows_whose_softmax_stays_are_taken_whole() {
    let base: Vec<f64> = (0..64).map(|i| f64::from(i % 8)).collect();
    let other: Vec<f64> = base.iter().map(|x| x + 16.0).collect();
    assert_eq!(fusion(&base, &other, &[8, 8]), other);
}

/// More than three quarters of the importances are zero, and zero is then the threshold.
#[test]
fn a_few_changed_rows_are_taken_whole() {
    let base = vec![0.0f32; 100];
    let mut other = base.clone();
    other[30..40].copy_from_slice(&[0.5, 0.1, -0.1, 0.9, 0.3, 2.0, 0.0, -4.0, 0.2, 0.1]);
    assert_eq!(fusion(&base, &other, &[10, 10]), other);
}

#[test]
fn equal_importances_are_taken_all() {
    // Each row's change is one element by 1: ten elements of equal importance, the rest of zero.
    let base = vec![0.0f32; 20];
    let other: Vec<f32> = (0..20).map(|i| (i % 2) as f32).collect();
    assert_eq!(fusion(&base, &other, &[10, 2]), base);
    let other = vec![0.5, -0.5, 0.5, -0.5];
    assert_eq!(fusion(&[0.0f32; 4], &other, &[4]), other);
}

#[test]
fn nan_is_canonical_and_not_hidden() {
    let odd = -f64::from_bits(0x7ff8_dead_beef_0001);
    for inputs in [[vec![1.0, 1.0], vec![odd, 2.0]], [vec![odd, 2.0], vec![0.5, 2.5]]] {
        let kernels: [&dyn Kernel; 2] = [&NearSwap { t: 0.1 }, &ArceeFusion];
        for kernel in kernels {
            assert_eq!(merged::<f32>(kernel, &inputs, &[2])[0].to_bits(), 0x7fc0_0000);
            assert_eq!(merged::<bf16>(kernel, &inputs, &[2])[0].to_bits(), 0x7fc0);
        }
        let [base, model] = inputs;
        for filter_wise in [false, true] {
            assert!(stock(&base, &[&model, &model], &[1, 2], filter_wise)[0].is_nan());
        }
    }
}
