//! What a spherical interpolation must keep, bit for bit.

use mergecore_slerp::{
    Karcher, KernelError, MultiSlerp, NuSlerp, Slerp, karcher_slices, multislerp_slices,
    nuslerp_slices, slerp_slices,
};
use mergecore_tensor::{Element, bf16, f16};
use support::{Random, bits, merged, typed};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn vector(seed: u64, scale: f64) -> Vec<f64> {
    let mut random = Random(seed);
    let value = |i: usize| match i % 10 {
        0 => -0.0,
        1 => 0.0,
        _ => scale * random.number(),
    };
    (0..2_345).map(value).collect()
}

fn interpolated<T: Element>(v0: &[T], v1: &[T], t: f64) -> Vec<u64> {
    let mut out = vec![T::default(); v0.len()];
    slerp_slices(v0, v1, &Slerp { t }, &mut out).expect("t is finite");
    bits(&out)
}

fn identical<T: Element>(scale: f64) {
    let vector: Vec<T> = typed(&vector(1, scale));
    for t in [0.0, 0.1, 0.3, 0.5, 0.77, 1.0, 1.7, -0.4] {
        assert_eq!(interpolated(&vector, &vector, t), bits(&vector), "t = {t}, scale {scale:e}");
    }
}

#[test]
fn identical_vectors_give_that_vector() {
    for scale in [1.0, 1e-4, 0.02] {
        identical::<bf16>(scale);
        identical::<f16>(scale);
        identical::<f32>(scale);
        identical::<f64>(scale);
    }
}

#[test]
fn identical_vectors_without_a_direction_give_that_vector() {
    for scale in [0.0, 1e-12, 1e-30] {
        identical::<bf16>(scale);
        identical::<f32>(scale);
        identical::<f64>(scale);
    }
}

fn ends<T: Element>() {
    let (v0, v1): (Vec<T>, Vec<T>) = (typed(&vector(1, 1.0)), typed(&vector(2, 0.3)));
    assert_eq!(interpolated(&v0, &v1, 0.0), bits(&v0));
    assert_eq!(interpolated(&v0, &v1, 1.0), bits(&v1));
    assert_ne!(interpolated(&v0, &v1, 0.5), bits(&v0));
}

#[test]
fn the_ends_are_the_inputs() {
    ends::<bf16>();
    ends::<f16>();
    ends::<f32>();
    ends::<f64>();
}

#[test]
fn nan_is_canonical() {
    let odd = -f64::from_bits(0x7ff8_dead_beef_0001);
    let inputs = [vec![odd, 1.0], vec![1.0, 2.0]];
    for t in [0.0, 0.5] {
        assert_eq!(merged::<f32>(&Slerp { t }, &inputs, &[2])[0].to_bits(), 0x7fc0_0000);
        assert_eq!(merged::<bf16>(&Slerp { t }, &inputs, &[2])[0].to_bits(), 0x7fc0);
    }
}

/// What each of the other methods makes of some models, with a base and without.
fn merges<T: Element>(base: &[T], models: &[Vec<T>], shape: &[usize]) -> Vec<(String, Vec<u64>)> {
    let slices: Vec<&[T]> = models.iter().map(Vec::as_slice).collect();
    let mut out = vec![T::default(); base.len()];
    let mut all = Vec::new();
    let mut done = |label: String, out: &[T], result: Result<(), KernelError>| {
        result.expect("the parameters are sound");
        all.push((format!("{label}, {} {shape:?}", T::DTYPE), bits(out)));
    };
    for base in [None, Some(base)] {
        let based = base.is_some();
        if let [a, b] = slices[..] {
            for (flatten, row_wise) in [(true, false), (false, false), (false, true)] {
                for weights in [[0.5, 0.5], [0.1, 0.3], [1.7, -0.7]] {
                    let params = NuSlerp { weights, flatten, row_wise };
                    let result = nuslerp_slices(base, &[a, b], shape, &params, &mut out);
                    done(format!("{params:?}, base: {based}"), &out, result);
                }
            }
        }
        let weights: Vec<f64> = (0..models.len()).map(|i| 0.3 + i as f64).collect();
        let params = MultiSlerp::new(weights);
        let result = multislerp_slices(base, &slices, &params, &mut out);
        done(format!("{params:?}, base: {based}"), &out, result);
    }
    let result = karcher_slices(&slices, &Karcher::default(), &mut out);
    done("Karcher".to_owned(), &out, result);
    all
}

fn identical_models<T: Element>(scale: f64) {
    let base: Vec<T> = typed(&vector(2, scale));
    let model: Vec<T> = typed(&vector(1, scale));
    let shapes: [&[usize]; 4] = [&[2_345], &[67, 35], &[5, 7, 67], &[2_345, 1]];
    for (shape, count) in shapes.into_iter().zip([2, 3, 12, 2]) {
        for base in [&base, &model] {
            for (label, out) in merges(base, &vec![model.clone(); count], shape) {
                assert_eq!(out, bits(&model), "{count} models, {label}, scale {scale:e}");
            }
        }
    }
}

#[test]
fn identical_models_give_that_model() {
    for scale in [1.0, 1e-4, 1e-30, 0.0] {
        identical_models::<bf16>(scale);
        identical_models::<f16>(scale);
        identical_models::<f32>(scale);
        identical_models::<f64>(scale);
    }
}

#[test]
fn one_model_is_that_model_whatever_its_weight() {
    let (base, model) = (vector(2, 1.0), vector(1, 1.0));
    for weight in [1.0, 0.3, -2.0, 0.0] {
        for base in [None, Some(&base[..])] {
            let mut out = vec![0.0; model.len()];
            let params = MultiSlerp::new([weight]);
            assert_eq!(multislerp_slices(base, &[&model], &params, &mut out), Ok(()));
            assert_eq!(bits(&out), bits(&model), "weight {weight}, base: {}", base.is_some());
        }
    }
    let mut out = vec![0.0; model.len()];
    assert_eq!(karcher_slices(&[&model], &Karcher::default(), &mut out), Ok(()));
    assert_eq!(bits(&out), bits(&model));
}

#[test]
fn the_only_model_with_a_weight_is_the_result() {
    let (base, mut models) = (vector(9, 1.0), vec![vector(1, 1.0), vector(2, 0.3), vector(3, 2.0)]);
    let other = models[0].clone();
    models[0][17] = f64::NAN; // takes no part
    let slices: Vec<&[f64]> = models.iter().map(Vec::as_slice).collect();
    let mut out = vec![0.0; base.len()];
    for base in [None, Some(&base[..])] {
        for (weights, normalize_weights) in [([0.0, 0.0, 1.0], false), ([0.0, 0.0, -0.3], true)] {
            let params = MultiSlerp { normalize_weights, ..MultiSlerp::new(weights) };
            assert_eq!(multislerp_slices(base, &slices, &params, &mut out), Ok(()));
            assert_eq!(bits(&out), bits(&models[2]));
        }
        for (flatten, row_wise) in [(true, false), (false, false), (false, true)] {
            let shape = [67, 35];
            let params = NuSlerp { weights: [0.0, 0.3], flatten, row_wise };
            let models = [&models[0][..], &models[1]];
            assert_eq!(nuslerp_slices(base, &models, &shape, &params, &mut out), Ok(()));
            assert_eq!(bits(&out), bits(models[1]));
            let params = NuSlerp { weights: [-2.0, 0.0], flatten, row_wise };
            let models = [&other[..], models[0]];
            assert_eq!(nuslerp_slices(base, &models, &shape, &params, &mut out), Ok(()));
            assert_eq!(bits(&out), bits(&other));
        }
    }
}

#[test]
fn where_no_model_changes_the_base_it_stays() {
    let mut base = vector(1, 1.0);
    let mut models = vec![vector(2, 1.0), vector(3, 1.0)];
    for model in &mut models {
        model[..1_000].copy_from_slice(&base[..1_000]);
    }
    base[0] = -0.0;
    (models[0][0], models[1][0]) = (-0.0, -0.0);
    let mut out = vec![0.0; base.len()];
    let slices = [&models[0][..], &models[1]];
    for (flatten, row_wise) in [(true, false), (false, false), (false, true)] {
        let params = NuSlerp { flatten, row_wise, ..NuSlerp::new([0.6, 0.3]) };
        nuslerp_slices(Some(&base), &slices, &[67, 35], &params, &mut out).expect("sound");
        assert_eq!(bits(&out[..1_000]), bits(&base[..1_000]), "{params:?}");
        assert_ne!(bits(&out[1_000..]), bits(&base[1_000..]));
    }
    let params = MultiSlerp::new([0.6, 0.3]);
    multislerp_slices(Some(&base), &slices, &params, &mut out).expect("sound");
    assert_eq!(bits(&out[..1_000]), bits(&base[..1_000]));
    let nothing = MultiSlerp { normalize_weights: false, ..MultiSlerp::new([0.0, 0.0]) };
    multislerp_slices(Some(&base), &slices, &nothing, &mut out).expect("sound");
    assert_eq!(bits(&out), bits(&base), "weights of zero");
}

#[test]
fn a_vector_is_one_row_and_a_tensor_of_one_column_one_column() {
    let (a, b) = (vector(1, 1.0), vector(2, 1.0));
    let run = |shape: &[usize], flatten, row_wise| {
        let params = NuSlerp { flatten, row_wise, ..NuSlerp::new([0.6, 0.3]) };
        let mut out = vec![0.0; a.len()];
        nuslerp_slices(None, &[&a, &b], shape, &params, &mut out).expect("sound");
        bits(&out)
    };
    let flat = run(&[2_345], true, false);
    assert_eq!(run(&[2_345], false, false), flat);
    assert_eq!(run(&[2_345], false, true), flat);
    assert_eq!(run(&[2_345, 1], false, true), flat);
    assert_eq!(run(&[1, 2_345], false, false), flat);
    assert_ne!(run(&[67, 35], false, false), flat);
    assert_ne!(run(&[67, 35], false, true), flat);
}
