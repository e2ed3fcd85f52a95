//! What DARE must keep: its masks, and models and base bit for bit.

use mergecore_dare::{Dare, Rescale, dare_linear_slices, dare_ties_slices};
use mergecore_tensor::{Element, bf16, f16};
use support::{Data, Random, bits, task_vectors, typed};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

type Run<T> = fn(&[T], &[&[T]], &Dare, &mut [T]) -> Result<(), mergecore_dare::KernelError>;

fn both<T: Element>() -> [Run<T>; 2] {
    [dare_linear_slices::<T>, dare_ties_slices::<T>]
}

fn run<T: Element>(merge: Run<T>, inputs: &[Vec<T>], dare: &Dare) -> Vec<T> {
    let models: Vec<&[T]> = inputs[1..].iter().map(Vec::as_slice).collect();
    let mut out = vec![T::default(); inputs[0].len()];
    merge(&inputs[0], &models, dare, &mut out).expect("sound");
    out
}

fn inputs<T: Element>(models: usize) -> Vec<Vec<T>> {
    let mut inputs = task_vectors(&mut Random(5), Data::Spread, models, 2_345);
    for (k, input) in inputs.iter_mut().enumerate() {
        for (i, value) in input.iter_mut().enumerate().take(200) {
            *value = if (i >> k) % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    inputs.iter().map(|input| typed(input)).collect()
}

#[test]
fn the_fraction_kept_is_the_density() {
    let n = 400_000;
    for (density, seed) in [0.001, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999].into_iter().zip(0..) {
        let kept = Dare::new([1.0], [density], seed).mask(0, 0, n).expect("a fraction");
        let kept = kept.iter().filter(|kept| **kept).count() as f64 / n as f64;
        let standard_error = (density * (1.0 - density) / n as f64).sqrt();
        assert!((kept - density).abs() < 6.0 * standard_error, "{density}: {kept}");
    }
}

#[test]
fn densities_zero_and_one_keep_nothing_and_all() {
    let dare = Dare::new([1.0, 1.0], [0.0, 1.0], 3);
    assert_eq!(dare.mask(0, 5, 10_000), Ok(vec![false; 10_000]));
    assert_eq!(dare.mask(1, 5, 10_000), Ok(vec![true; 10_000]));
}

#[test]
fn what_a_larger_density_keeps_includes_what_a_smaller_keeps() {
    let mask = |density| Dare::new([1.0], [density], 3).mask(0, 0, 50_000).expect("a fraction");
    assert!(mask(0.3).iter().zip(mask(0.4)).all(|(small, large)| large || !small));
}

#[test]
fn kept_deltas_are_divided_by_the_density() {
    let mut random = Random(8);
    let model: Vec<f64> = (0..100_000).map(|_| 1.0 + random.number().abs()).collect();
    for density in [0.1, 0.3, 0.5, 0.9] {
        let dare = Dare::new([1.0], [density], 11);
        let mask = dare.mask(0, 0, model.len()).expect("a fraction");
        for merge in both() {
            let out = run(merge, &[vec![0.0; model.len()], model.clone()], &dare);
            for ((out, value), kept) in out.iter().zip(&model).zip(&mask) {
                let expected = if *kept { value / density } else { 0.0 };
                assert!((out - expected).abs() <= f64::EPSILON * expected, "{out} {expected}");
            }
        }
    }
}

#[test]
fn any_part_of_a_mask_is_that_part_of_the_whole() {
    let dare = Dare::new([1.0; 3], [0.2, 0.5, 0.8], 99);
    let mut random = Random(4);
    for model in 0..3 {
        let whole = dare.mask(model, 0, 150_000).expect("a fraction");
        for _ in 0..100 {
            let start = random.below(140_000);
            let len = random.below(5_000);
            let part = dare.mask(model, start as u64, len).expect("a fraction");
            assert_eq!(part, whole[start..start + len], "{start} {len}");
        }
    }
}

#[test]
fn masks_far_into_a_tensor_can_be_drawn() {
    let dare = Dare::new([1.0], [0.5], 1);
    for start in [(1 << 32) - 100, 1 << 36, 1 << 40] {
        let mask = dare.mask(0, start, 200).expect("a fraction");
        assert_eq!(mask[100..], dare.mask(0, start + 100, 100).expect("a fraction"));
        assert!((60..140).contains(&mask.iter().filter(|kept| **kept).count()));
    }
}

/// Half of the elements agree by chance, within six standard errors.
fn independent(a: &[bool], b: &[bool]) {
    let agree = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64;
    let n = a.len() as f64;
    assert!((agree - n / 2.0).abs() < 3.0 * n.sqrt(), "{agree} of {n} agree");
}

#[test]
fn seeds_models_and_places_draw_independent_masks() {
    let dare = |seed| Dare::new([1.0; 2], [0.5; 2], seed);
    let mask = |seed, model, start| dare(seed).mask(model, start, 100_000).expect("a fraction");
    let first = mask(1, 0, 0);
    independent(&first, &mask(2, 0, 0));
    independent(&first, &mask(1, 1, 0));
    independent(&first, &mask(1, 0, 1));
    independent(&first, &mask(1, 0, 1 << 32));
    independent(&mask(1, 1, 0), &mask(2, 0, 0));
    assert_eq!(first, mask(1, 0, 0));
}

/// The stream is a contract: merges made with one version can be made again with
/// the next. The expected word comes from an independent ChaCha8.
#[test]
fn the_mask_of_a_seed_does_not_change() {
    let mask = Dare::new([1.0; 2], [0.5; 2], 42).mask(1, 1_000, 64).expect("a fraction");
    let word = mask.iter().fold(0u64, |word, kept| word << 1 | u64::from(*kept));
    assert_eq!(word, 0xec49_5dcd_50ba_0cab);
}

/// A word is kept where it lies below `density * 2^32`, and not where it equals that.
#[test]
fn words_are_compared_exactly() {
    let word = 0x5374_6438u32; // of element 1,000 of model 1 under seed 42, as above
    for (threshold, kept) in [(word, false), (word + 1, true)] {
        let density = f64::from(threshold) / 2f64.powi(32);
        let mask = Dare::new([1.0; 2], [0.5, density], 42).mask(1, 1_000, 1);
        assert_eq!(mask, Ok(vec![kept]));
    }
}

fn lone_model<T: Element>() {
    let inputs = inputs::<T>(1);
    for merge in both() {
        for rescale in [None, Some(Rescale::Density), Some(Rescale::L2)] {
            let dare = Dare { rescale, ..Dare::new([1.0], [1.0], 2) };
            let out = run(merge, &inputs, &dare);
            assert_eq!(bits(&out), bits(&inputs[1]), "{dare:?} {}", T::DTYPE);
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
    let inputs = inputs::<T>(2);
    let sets = [
        Dare::new([0.0; 2], [0.5, 1.0], 2),
        Dare::new([1.0; 2], [0.0; 2], 2),
        Dare { lambda: 0.0, ..Dare::new([1.0; 2], [0.5; 2], 2) },
    ];
    for merge in both() {
        for dare in &sets {
            for normalize in [true, false] {
                let out = run(merge, &inputs, &Dare { normalize, ..dare.clone() });
                assert_eq!(bits(&out), bits(&inputs[0]), "{dare:?} {}", T::DTYPE);
            }
        }
    }
}

#[test]
fn nothing_added_leaves_the_base() {
    nothing_added::<bf16>();
    nothing_added::<f16>();
    nothing_added::<f32>();
    nothing_added::<f64>();
}

#[test]
fn dropped_elements_are_the_bases() {
    let inputs = inputs::<f32>(1);
    let dare = Dare::new([0.7], [0.4], 6);
    let mask = dare.mask(0, 0, inputs[0].len()).expect("a fraction");
    for merge in both() {
        let out = run(merge, &inputs, &dare);
        for ((out, base), kept) in bits(&out).iter().zip(bits(&inputs[0])).zip(&mask) {
            assert!(*kept || *out == base);
        }
    }
}

#[test]
fn nan_is_canonical() {
    let odd = -f32::from_bits(0x7fc0_beef);
    let inputs = [vec![1.0f32, 1.0], vec![odd, 2.0], vec![0.5, 2.5]];
    for merge in both() {
        let out = run(merge, &inputs, &Dare::new([0.5, 1.0], [1.0; 2], 0));
        assert_eq!(out[0].to_bits(), 0x7fc0_0000);
    }
}

#[test]
fn densities_out_of_range_are_refused() {
    let dare = Dare::new([1.0], [-0.5], 0);
    let expected = "`density` is -0.5, but must be between 0 and 1";
    assert_eq!(dare.mask(0, 0, 1).unwrap_err().to_string(), expected);
    for merge in both() {
        let error = merge(&[0.0f32], &[&[1.0]], &dare, &mut [0.0]).unwrap_err();
        assert_eq!(error.to_string(), expected);
        let dare = Dare::new([1.0, 2.0], [0.5, 0.5], 0);
        let error = merge(&[0.0], &[&[1.0]], &dare, &mut [0.0]).unwrap_err();
        assert_eq!(error.to_string(), "2 values of `weight` for 1 models; give one for each");
    }
}
