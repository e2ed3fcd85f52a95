//! What a spherical interpolation must keep, bit for bit.

use mergecore_slerp::{Slerp, slerp_slices};
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

#[test]
fn t_that_is_not_finite_is_refused() {
    let error = slerp_slices(&[1.0f32], &[1.0], &Slerp { t: f64::NAN }, &mut [0.0]).unwrap_err();
    assert_eq!(error.to_string(), "`t` is NaN, but must be a finite number");
}
