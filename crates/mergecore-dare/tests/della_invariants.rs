//! What DELLA must keep, bit for bit, and what it makes of degenerate input.

use mergecore_dare::{Della, KernelError, Rescale, della_linear_slices, della_slices};
use mergecore_kernel::{Argument, Extent, Method};
use mergecore_tensor::{Element, bf16, f16};
use support::{Data, Random, bits, bound, task_vectors, typed};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

type Run<T> = fn(&[T], &[&[T]], &[usize], &Della, &mut [T]) -> Result<(), KernelError>;

fn both<T: Element>() -> [Run<T>; 2] {
    [della_linear_slices::<T>, della_slices::<T>]
}

fn run<T: Element>(merge: Run<T>, inputs: &[Vec<T>], shape: &[usize], della: &Della) -> Vec<T> {
    let models: Vec<&[T]> = inputs[1..].iter().map(Vec::as_slice).collect();
    let mut out = vec![T::default(); inputs[0].len()];
    merge(&inputs[0], &models, shape, della, &mut out).expect("sound");
    out
}

const SHAPE: [usize; 2] = [7, 335];

fn inputs<T: Element>(models: usize) -> Vec<Vec<T>> {
    let mut inputs = task_vectors(&mut Random(5), Data::Spread, models, SHAPE[0] * SHAPE[1]);
    for (k, input) in inputs.iter_mut().enumerate() {
        for (i, value) in input.iter_mut().enumerate().take(200) {
            *value = if (i >> k) % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    inputs.iter().map(|input| typed(input)).collect()
}

/// The mask of a whole tensor's differences from the base.
fn mask<T: Element>(della: &Della, model: usize, inputs: &[Vec<T>], columns: usize) -> Vec<bool> {
    let deltas = inputs[model + 1].iter().zip(&inputs[0]).map(|(m, b)| m.widen() - b.widen());
    let deltas: Vec<f64> = deltas.collect();
    let rows = deltas.chunks(columns).zip((0..).step_by(columns));
    rows.flat_map(|(row, start)| della.mask(model, start, row).expect("sound")).collect()
}

fn kept_and_dropped<T: Element>() {
    let inputs = inputs::<T>(1);
    for merge in both() {
        let della = Della { rescale: None, ..Della::linear([1.0], [0.4], 6) };
        let out = run(merge, &inputs, &SHAPE, &della);
        for (i, kept) in mask(&della, 0, &inputs, SHAPE[1]).into_iter().enumerate() {
            let (base, model) = (inputs[0][i].widen(), inputs[1][i].widen());
            let expected = if kept && model != base { model } else { base };
            assert_eq!(out[i].widen().to_bits(), expected.to_bits(), "{i} {}", T::DTYPE);
        }
    }
}

#[test]
fn kept_elements_are_the_models_and_dropped_ones_the_bases() {
    kept_and_dropped::<bf16>();
    kept_and_dropped::<f16>();
    kept_and_dropped::<f32>();
}

#[test]
fn what_is_kept_is_scaled_up_to_the_norm() {
    let shape = [50, 400];
    let mut random = Random(8);
    let model: Vec<f64> = (0..20_000).map(|_| random.number()).collect();
    let inputs = [vec![0.0; model.len()], model];
    let norm = |how: Rescale, values: &[f64]| match how {
        Rescale::L2 => values.iter().map(|x| x * x).sum::<f64>().sqrt(),
        Rescale::Linf => values.iter().fold(0.0, |max, x| x.abs().max(max)),
        _ => values.iter().map(|x| x.abs()).sum(),
    };
    for density in [0.2, 0.5, 0.8] {
        for how in [Rescale::L1, Rescale::L2, Rescale::Linf, Rescale::Density] {
            let della = Della { rescale: Some(how), ..Della::linear([1.0], [density], 11) };
            let mask = mask(&della, 0, &inputs, shape[1]);
            let kept = inputs[1].iter().zip(&mask).map(|(x, kept)| if *kept { *x } else { 0.0 });
            let kept: Vec<f64> = kept.collect();
            let factor = match how {
                Rescale::Density => 1.0 / density,
                how => norm(how, &inputs[1]) / norm(how, &kept),
            };
            for merge in both() {
                let out = run(merge, &inputs, &shape, &della);
                let wrong = out.iter().zip(&kept).filter(|(x, k)| (*x - *k * factor).abs() > 1e-12);
                assert_eq!(wrong.count(), 0, "{how:?} {density}");
            }
        }
    }
}

fn lone_model<T: Element>() {
    let inputs = inputs::<T>(1);
    for merge in both() {
        for rescale in [None, Some(Rescale::Density), Some(Rescale::L1)] {
            let della = Della { rescale, ..Della::new([1.0], [1.0], 2) };
            let out = run(merge, &inputs, &SHAPE, &della);
            assert_eq!(bits(&out), bits(&inputs[1]), "{della:?} {}", T::DTYPE);
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
        Della::new([0.0; 2], [0.5, 1.0], 2),
        Della::new([1.0; 2], [0.0; 2], 2),
        Della { lambda: 0.0, ..Della::new([1.0; 2], [0.5; 2], 2) },
    ];
    for merge in both() {
        for della in &sets {
            for normalize in [true, false] {
                let out = run(merge, &inputs, &SHAPE, &Della { normalize, ..della.clone() });
                assert_eq!(bits(&out), bits(&inputs[0]), "{della:?} {}", T::DTYPE);
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
fn models_equal_to_the_base_leave_it() {
    let mut inputs = inputs::<f32>(3);
    for k in 1..4 {
        inputs[k] = inputs[0].clone();
    }
    for merge in both() {
        let out = run(merge, &inputs, &SHAPE, &Della::new([1.0, 0.3, -2.0], [0.5; 3], 1));
        assert_eq!(bits(&out), bits(&inputs[0]));
    }
}

#[test]
fn weights_that_sum_to_zero_are_not_divided_by() {
    let inputs = [vec![1.0, 1.0], vec![2.0, 3.0], vec![2.0, 3.0]];
    let della = |normalize| Della { normalize, ..Della::new([1.0, -1.0], [1.0; 2], 1) };
    for normalize in [true, false] {
        assert_eq!(run(both()[0], &inputs, &[2], &della(normalize)), [1.0, 1.0]);
    }
}

/// All of a vector or of one element may be dropped, and then nothing can be scaled up.
#[test]
fn tensors_of_one_element_are_kept_or_dropped_whole() {
    let (mut kept, della) = (0, |seed| Della::new([1.0], [0.5], seed));
    for seed in 0..200 {
        for (merge, shape) in both().into_iter().zip([&[1][..], &[1, 1, 1]]) {
            let out = run(merge, &[vec![1.0], vec![3.0]], shape, &della(seed))[0];
            assert!(out == 1.0 || out == 3.0, "{out}");
            kept += usize::from(out == 3.0);
        }
    }
    assert!((140..260).contains(&kept), "{kept} of 400");
}

#[test]
fn rows_of_one_element_are_those_of_any_other_shape_without_spread() {
    let inputs = inputs::<f32>(2);
    let len = inputs[0].len();
    let della = Della::new([0.7, 0.4], [0.5, 0.3], 3);
    let flat = Della { epsilons: vec![0.0; 2], ..della.clone() };
    for merge in both() {
        let out = run(merge, &inputs, &[len, 1], &della);
        assert_eq!(bits(&out), bits(&run(merge, &inputs, &[5, len / 5], &flat)));
    }
}

#[test]
fn empty_tensors_are_merged() {
    for shape in [&[0][..], &[0, 4], &[4, 0]] {
        for merge in both() {
            let della = Della::new([1.0], [0.5], 1);
            assert!(run(merge, &[Vec::<f32>::new(), Vec::new()], shape, &della).is_empty());
        }
    }
}

#[test]
fn a_density_too_small_to_keep_anything_leaves_the_base() {
    let inputs = inputs::<f32>(1);
    let tiny = 2f64.powi(-40);
    let della = Della { epsilons: vec![tiny / 2.0], ..Della::new([1.0], [tiny], 1) };
    for merge in both() {
        assert_eq!(bits(&run(merge, &inputs, &SHAPE, &della)), bits(&inputs[0]));
    }
}

#[test]
fn subnormal_changes_are_ranked_and_added() {
    let len = 1_000;
    let model: Vec<f32> = (0..len).map(|i| f32::from_bits(1 + i as u32 % 50)).collect();
    let inputs = [vec![0.0f32; len], model];
    let della = Della { rescale: None, ..Della::linear([1.0], [0.5], 1) };
    let mask = mask(&della, 0, &inputs, len);
    for merge in both() {
        for ((out, model), kept) in
            run(merge, &inputs, &[len], &della).iter().zip(&inputs[1]).zip(&mask)
        {
            assert_eq!(*out, if *kept { *model } else { 0.0 });
        }
    }
}

#[test]
fn twelve_models_and_none() {
    let inputs = inputs::<f32>(12);
    for merge in both() {
        let out = run(merge, &inputs, &SHAPE, &Della::new([0.1; 12], [0.5; 12], 1));
        assert!(out.iter().all(|x| x.is_finite()));
        assert_ne!(bits(&out), bits(&inputs[0]));
        let none = run(merge, &inputs[..1], &SHAPE, &Della::default());
        assert_eq!(bits(&none), bits(&inputs[0]));
    }
}

#[test]
fn nan_is_canonical() {
    let odd = -f32::from_bits(0x7fc0_beef);
    let inputs = [vec![1.0f32, 1.0], vec![odd, 2.0], vec![0.5, 2.5]];
    for merge in both() {
        let out = run(merge, &inputs, &[2], &Della::new([0.5, 1.0], [1.0; 2], 0));
        assert_eq!(out[0].to_bits(), 0x7fc0_0000);
    }
}

#[test]
fn parameters_out_of_range_are_refused() {
    for merge in both::<f32>() {
        let error = |della: &Della| {
            merge(&[0.0], &[&[1.0]], &[1], della, &mut [0.0]).unwrap_err().to_string()
        };
        let della = Della::new([1.0], [0.5], 0);
        assert_eq!(
            error(&Della { densities: vec![-0.5], ..della.clone() }),
            "`density` is -0.5, but must be between 0 and 1"
        );
        assert_eq!(
            error(&Della { epsilons: vec![-0.1], ..della.clone() }),
            "`epsilon` is -0.1, but must be between 0 and 1"
        );
        assert_eq!(
            error(&Della { epsilons: vec![], ..della.clone() }),
            "0 values of `epsilon` for 1 models; give one for each"
        );
        assert_eq!(
            error(&Della::new([1.0, 2.0], [0.5, 0.5], 0)),
            "2 values of `weight` for 1 models; give one for each"
        );
        assert_eq!(
            error(&Della { lambda: f64::NAN, ..della }),
            "`lambda` is NaN, but must be a finite number"
        );
    }
}

#[test]
fn rows_too_long_to_be_ranked_are_refused() {
    let per_model: [(_, &[f64]); 3] =
        [("weight", &[1.0]), ("density", &[0.5]), ("epsilon", &[0.1])];
    for method in [&mergecore_dare::DellaMethod as &dyn Method, &mergecore_dare::DellaLinearMethod]
    {
        let kernel = bound(method, &[("lambda", Argument::Number(1.0))], &per_model, 1, 0);
        let error = kernel.first(Extent::of(&[2, 1 << 32])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a row has 4294967296 elements; rows of at most 4294967295 elements can be ranked; \
             give the tensor another shape"
        );
        assert!(kernel.first(Extent::of(&[2, (1 << 32) - 1])).is_ok());
    }
}
