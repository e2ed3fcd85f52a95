//! What an average must keep, bit for bit.

use mergecore_linear::{Linear, Passthrough, linear_slices};
use mergecore_tensor::{Element, bf16, f16};
use support::{Random, bits, merged, typed};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// An odd number of values of every size, with zeros of both signs.
fn model<T: Element>(seed: u64) -> Vec<T> {
    let mut random = Random(seed);
    let value = |i: usize| match i % 10 {
        0 => -0.0,
        1 => 0.0,
        _ => random.number() * 2f64.powi(random.below(30) as i32 - 20),
    };
    typed(&(0..2_345).map(value).collect::<Vec<_>>())
}

fn average<T: Element>(models: &[&[T]], weights: &[f64]) -> Vec<u64> {
    let mut out = vec![T::default(); models[0].len()];
    linear_slices(models, &Linear::new(weights), &mut out).expect("the weights are sound");
    bits(&out)
}

fn in_every_type(
    check: impl Fn(&dyn Fn(u64) -> Vec<f64>, &dyn Fn(&[Vec<f64>], &[f64]) -> Vec<u64>),
) {
    fn run<T: Element>(models: &[Vec<f64>], weights: &[f64]) -> Vec<u64> {
        let models: Vec<Vec<T>> = models.iter().map(|model| typed(model)).collect();
        average::<T>(&models.iter().map(Vec::as_slice).collect::<Vec<_>>(), weights)
    }
    fn wide<T: Element>(seed: u64) -> Vec<f64> {
        model::<T>(seed).into_iter().map(Element::widen).collect()
    }
    check(&wide::<bf16>, &run::<bf16>);
    check(&wide::<f16>, &run::<f16>);
    check(&wide::<f32>, &run::<f32>);
    check(&wide::<f64>, &run::<f64>);
}

#[test]
fn identical_models_give_that_model() {
    in_every_type(|model, average| {
        let mut random = Random(1);
        for count in 1..=12 {
            let models = vec![model(count); count as usize];
            let weights: Vec<f64> = models.iter().map(|_| random.number().abs() + 1e-3).collect();
            assert_eq!(average(&models, &weights), bits(&models[0]), "{weights:?}");
        }
    });
}

#[test]
fn weight_one_and_others_zero_gives_that_model() {
    in_every_type(|model, average| {
        let models: Vec<_> = (0..5).map(model).collect();
        for (chosen, expected) in models.iter().enumerate() {
            let mut weights = vec![0.0; 5];
            weights[chosen] = 1.0;
            assert_eq!(average(&models, &weights), bits(expected));
            weights[chosen] = 0.3;
            assert_eq!(average(&models, &weights), bits(expected), "normalised to one");
        }
    });
}

#[test]
fn a_model_at_weight_zero_takes_no_part() {
    let bad = vec![f64::NAN; 100];
    let good = model::<f64>(3)[..100].to_vec();
    assert_eq!(average(&[&bad, &good], &[0.0, 2.0]), bits(&good));
}

#[test]
fn passthrough_is_the_model() {
    for scale in [None, Some(1.0)] {
        let model = model::<f64>(4);
        let out: Vec<f64> =
            merged(&Passthrough { scale }, std::slice::from_ref(&model), &[model.len()]);
        assert_eq!(bits(&out), bits(&model));
    }
}

#[test]
fn nan_is_canonical() {
    let odd = -f64::from_bits(0x7ff8_dead_beef_0001);
    for weights in [vec![1.0, 0.0], vec![0.5, 0.5], vec![0.0, 1.0]] {
        let inputs = [vec![odd, 1.0], vec![odd, odd]];
        let linear = Linear::new(weights);
        let out = merged::<f32>(&linear, &inputs, &[2]);
        assert_eq!(out[0].to_bits(), 0x7fc0_0000);
        assert_eq!(merged::<bf16>(&linear, &inputs, &[2])[0].to_bits(), 0x7fc0);
        assert_eq!(merged::<f16>(&linear, &inputs, &[2])[0].to_bits(), 0x7e00);
        assert_eq!(merged::<f64>(&linear, &inputs, &[2])[0].to_bits(), 0x7ff8_0000_0000_0000);
    }
}
