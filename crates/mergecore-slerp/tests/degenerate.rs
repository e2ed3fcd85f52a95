//! Vectors and weights of which the formulas alone make nothing.

use mergecore_slerp::{
    Karcher, MultiSlerp, NuSlerp, karcher_slices, multislerp_slices, nuslerp_slices,
};
use mergecore_tensor::{Element, bf16, f16};
use support::{Random, bits, typed};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// Shapes of 24 elements, in which 12 and 2 make a row and a column.
const SHAPE: [usize; 2] = [2, 12];

fn vector(seed: u64) -> Vec<f64> {
    let mut random = Random(seed);
    let value = |_| f64::from((0.5 + random.number().abs()) as f32);
    (0..24).map(value).collect()
}

fn times(vector: &[f64], factor: f64) -> Vec<f64> {
    vector.iter().map(|value| factor * value).collect()
}

fn nuslerps(base: Option<&[f64]>, models: [&[f64]; 2], weights: [f64; 2]) -> [Vec<f64>; 3] {
    [(true, false), (false, false), (false, true)].map(|(flatten, row_wise)| {
        let params = NuSlerp { weights, flatten, row_wise };
        let mut out = vec![f64::NAN; 24];
        nuslerp_slices(base, &models, &SHAPE, &params, &mut out).expect("sound");
        out
    })
}

fn multislerp(base: Option<&[f64]>, models: &[&[f64]], params: &MultiSlerp) -> Vec<f64> {
    let mut out = vec![f64::NAN; models[0].len()];
    multislerp_slices(base, models, params, &mut out).expect("sound");
    out
}

fn karcher(models: &[&[f64]], params: &Karcher) -> Vec<f64> {
    let mut out = vec![f64::NAN; models[0].len()];
    karcher_slices(models, params, &mut out).expect("sound");
    out
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let close = (found - expected).abs() <= 1e-12 * expected.abs().max(1e-300);
        assert!(close, "{found:e}, expected {expected:e}");
    }
}

#[test]
fn parallel_vectors_are_interpolated_linearly_by_nuslerp() {
    let a = vector(1);
    // The dot products of the last two are rounded: their cosine need not be 1.
    for factor in [2.0, 3.0, 0.1] {
        for out in nuslerps(None, [&a, &times(&a, factor)], [0.75, 0.25]) {
            assert_near(&out, &times(&a, 0.75 + 0.25 * factor));
        }
    }
}

#[test]
fn antiparallel_vectors_are_interpolated_linearly_by_nuslerp() {
    let (a, base) = (vector(1), vector(2));
    for factor in [-1.0, -2.0, -3.0, -0.1] {
        let b = times(&a, factor);
        for out in nuslerps(None, [&a, &b], [0.75, 0.25]) {
            assert_near(&out, &times(&a, 0.75 + 0.25 * factor));
        }
        let onto = |change: &[f64]| -> Vec<f64> {
            base.iter().zip(change).map(|(base, change)| base + change).collect()
        };
        for out in nuslerps(Some(&base), [&onto(&a), &onto(&b)], [0.75, 0.25]) {
            assert_near(&out, &onto(&times(&a, 0.75 + 0.25 * factor)));
        }
    }
}

#[test]
fn a_zero_vector_is_a_right_angle_from_any_other_in_nuslerp() {
    let (a, zero) = (vector(1), vec![0.0; 24]);
    let (s0, s1) =
        ((0.75 * 0.5 * std::f64::consts::PI).sin(), (0.125 * std::f64::consts::PI).sin());
    for out in nuslerps(None, [&a, &zero], [0.75, 0.25]) {
        assert_near(&out, &times(&a, s0));
    }
    for out in nuslerps(None, [&zero, &a], [0.75, 0.25]) {
        assert_near(&out, &times(&a, s1));
    }
    for out in nuslerps(Some(&a), [&a, &zero], [0.75, 0.25]) {
        assert_near(&out, &times(&a, 1.0 - s1)); // the first model has not changed
    }
}

#[test]
fn zero_vectors_give_zeros() {
    let zero = vec![0.0; 24];
    for out in nuslerps(None, [&zero, &zero], [0.75, 0.25]) {
        assert_eq!(out, zero);
    }
    let models: [&[f64]; 3] = [&zero, &zero, &zero];
    assert_eq!(multislerp(None, &models, &MultiSlerp::new([1.0, 2.0, 3.0])), zero);
    assert_eq!(karcher(&models, &Karcher::default()), zero);
    let none = MultiSlerp { eps: 0.0, ..MultiSlerp::new([1.0, 2.0, 3.0]) };
    assert_eq!(multislerp(None, &models, &none), zero, "nothing is divided by zero");
}

#[test]
fn weights_that_sum_to_zero_are_halfway_for_nuslerp() {
    let (a, b) = (vector(1), vector(2));
    let half = nuslerps(None, [&a, &b], [0.5, 0.5]);
    for weights in [[0.0, 0.0], [0.7, -0.7], [1e-7, 1e-7]] {
        assert_eq!(nuslerps(None, [&a, &b], weights), half, "{weights:?}");
    }
    assert_ne!(nuslerps(None, [&a, &b], [1e-6, 2e-6]), half);
}

#[test]
fn rows_of_one_element_are_interpolated_linearly() {
    let (a, b) = ([1.0, -2.0, 3.0, 0.5], [3.0, 4.0, -3.0, 0.5]);
    let params = NuSlerp { flatten: false, ..NuSlerp::new([0.75, 0.25]) };
    let columns = NuSlerp { row_wise: true, ..params };
    for (shape, params) in [([4, 1], params), ([1, 4], columns)] {
        let mut out = [f64::NAN; 4];
        nuslerp_slices(None, &[&a, &b], &shape, &params, &mut out).expect("sound");
        assert_eq!(out, [1.5, -0.5, 1.5, 0.5], "{shape:?}");
    }
}

#[test]
fn scalars_and_empty_tensors_are_tensors() {
    for (flatten, row_wise) in [(true, false), (false, false), (false, true)] {
        let params = NuSlerp { flatten, row_wise, ..NuSlerp::new([0.75, 0.25]) };
        let mut out = [f64::NAN];
        nuslerp_slices(None, &[&[1.0], &[5.0]], &[], &params, &mut out).expect("sound");
        assert_eq!(out, [2.0]);
        for shape in [&[0][..], &[0, 3], &[3, 0], &[2, 0, 3]] {
            let result = nuslerp_slices::<f64>(None, &[&[], &[]], shape, &params, &mut []);
            assert_eq!(result, Ok(()), "{shape:?}");
        }
    }
    let none: [&[f64]; 3] = [&[]; 3];
    assert!(multislerp(Some(&[]), &none, &MultiSlerp::new([1.0; 3])).is_empty());
    assert!(karcher(&none, &Karcher::default()).is_empty());
    assert_near(&multislerp(None, &[&[1.0], &[5.0]], &MultiSlerp::new([3.0, 1.0])), &[2.0]);
    assert_near(&karcher(&[&[1.0], &[5.0]], &Karcher::default()), &[3.0]);
}

#[test]
fn opposite_directions_of_two_are_averaged_by_multislerp() {
    let (a, base) = (vector(1), vector(2));
    // The norms and dot products of -3 and -0.1 times a vector are rounded.
    for factor in [-1.0, -2.0, -3.0, -0.1] {
        let b = times(&a, factor);
        let params = MultiSlerp::new([1.0, 1.0]);
        assert_near(&multislerp(None, &[&a, &b], &params), &times(&a, 0.5 + 0.5 * factor));
        let changed = |change: &[f64]| -> Vec<f64> {
            base.iter().zip(change).map(|(base, change)| base + change).collect()
        };
        let out = multislerp(Some(&base), &[&changed(&a), &changed(&b)], &params);
        assert_near(&out, &changed(&times(&a, 0.5 + 0.5 * factor)));
    }
    // With other weights they do not cancel: the heavier one's direction, at the mean norm.
    let out = multislerp(None, &[&a, &times(&a, -1.0)], &MultiSlerp::new([0.7, 0.3]));
    assert_near(&out, &a);
}

#[test]
fn a_model_that_has_not_changed_counts_in_the_norm_alone_by_multislerp() {
    let (base, a) = (vector(1), vector(2));
    let models: [&[f64]; 3] = [&base, &a, &base];
    let out = multislerp(Some(&base), &models, &MultiSlerp::new([1.0, 2.0, 1.0]));
    let expected: Vec<f64> = base.iter().zip(&a).map(|(b, a)| b + 0.5 * (a - b)).collect();
    assert_near(&out, &expected);
}

#[test]
fn vectors_too_short_for_a_direction_count_in_the_norm_alone_by_karcher() {
    let (a, short) = (vector(1), times(&vector(2), 1e-7));
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let out = karcher(&[&short, &a], &Karcher::default());
    assert_near(&out, &times(&a, 0.5 + 0.5 * length(&short) / length(&a)));
    // All of them: there is no direction. Equal ones are themselves, though.
    let shorter = times(&short, 0.5);
    assert_eq!(karcher(&[&short, &shorter], &Karcher::default()), [0.0; 24]);
    assert_eq!(karcher(&[&short, &short], &Karcher::default()), short);
    // Without a tolerance every direction counts but that of zero.
    let params = Karcher { tol: 0.0, ..Karcher::default() };
    let out = karcher(&[&short, &shorter, &[0.0; 24]], &params);
    assert_near(&out, &times(&short, 0.5));
}

#[test]
fn opposite_directions_start_from_the_first_by_karcher() {
    let a = vector(1);
    for factor in [-1.0, -2.0, -3.0, -0.1] {
        let out = karcher(&[&a, &times(&a, factor)], &Karcher::default());
        assert_near(&out, &times(&a, 0.5 - 0.5 * factor));
    }
    // Two opposite pairs pull to both sides alike.
    let (x, y) = ([1.0, 0.0], [0.0, 1.0]);
    let out = karcher(&[&x, &y, &[-1.0, 0.0], &[0.0, -1.0]], &Karcher::default());
    assert_near(&out, &x);
}

#[test]
fn an_opposite_model_pulls_nowhere_by_karcher() {
    let at = |degrees: f64| [degrees.to_radians().cos(), degrees.to_radians().sin()];
    let (a, b) = (at(20.0), at(80.0));
    let (not_a, not_b) = (times(&a, -1.0), times(&b, -1.0));
    // From the first, a quarter each of 60 degrees one way and of 120 the other.
    let one_step = Karcher { max_iter: 1, ..Karcher::default() };
    let out = karcher(&[&a, &b, &not_a, &not_b], &one_step);
    assert_near(&out, &at(20.0 + 60.0 / 4.0 - 120.0 / 4.0));
}

#[test]
fn steps_without_end_end() {
    let models = [vector(1), vector(2), vector(3)];
    let slices: Vec<&[f64]> = models.iter().map(Vec::as_slice).collect();
    let usual = karcher(&slices, &Karcher { tol: 1e-12, max_iter: 100 });
    assert_near(&karcher(&slices, &Karcher { tol: 0.0, max_iter: 10_000 }), &usual);
}

#[test]
fn subnormals_are_numbers() {
    fn check<T: Element>(smallest: f64) {
        let model: Vec<T> = typed(&[smallest, -3.0 * smallest, 0.0, 5.0 * smallest]);
        let other: Vec<T> = typed(&[3.0 * smallest, -smallest, 0.0, 5.0 * smallest]);
        for (flatten, row_wise) in [(true, false), (false, false), (false, true)] {
            let params = NuSlerp { flatten, row_wise, ..NuSlerp::new([1.0, 1.0]) };
            let mut out = [T::narrow(f64::NAN); 4];
            nuslerp_slices(None, &[&model, &other], &[2, 2], &params, &mut out).expect("sound");
            assert!(out.iter().all(|value| value.widen().abs() <= 8.0 * smallest));
            nuslerp_slices(None, &[&model, &model], &[2, 2], &params, &mut out).expect("sound");
            assert_eq!(bits(&out), bits(&model));
        }
        let mut out = [T::narrow(f64::NAN); 4];
        let params = MultiSlerp::new([1.0, 1.0]);
        multislerp_slices(None, &[&model, &other], &params, &mut out).expect("sound");
        assert!(out.iter().all(|value| value.widen().abs() <= 5.0 * smallest));
        karcher_slices(&[&model, &other], &Karcher::default(), &mut out).expect("sound");
        assert!(out.iter().all(|value| value.widen().abs() <= 5.0 * smallest));
    }
    check::<bf16>(2f64.powi(-133));
    check::<f16>(2f64.powi(-24));
    check::<f32>(2f64.powi(-149));
}

#[test]
fn twelve_models_keep_the_mean_norm() {
    let models: Vec<Vec<f64>> = (0..12).map(vector).collect();
    let slices: Vec<&[f64]> = models.iter().map(Vec::as_slice).collect();
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mean = models.iter().map(|model| length(model)).sum::<f64>() / 12.0;
    let out = multislerp(None, &slices, &MultiSlerp::new([0.5; 12]));
    assert!((length(&out) - mean).abs() < 1e-12);
    let out = karcher(&slices, &Karcher::default());
    assert!((length(&out) - mean).abs() < 1e-12);
}
