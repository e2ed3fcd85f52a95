//! Input of which little is left: the definition's answer, and never NaN.

use formula::*;
use mergecore_kernel::Kernel;
use mergecore_tensor::{Element, f16};
use mergecore_ties::{Breadcrumbs, ConsensusTa, MagMax, Ram, RamPlus, Rescale, Sce, Ties};
use support::{Data, Random, assert_rounded, merged, task_vectors};

mod formula;
mod kernels;
#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn check(what: &str, inputs: &[Vec<f64>], shape: &[usize]) {
    check_rescaled(what, inputs, shape, &[None, Some(Rescale::L1), Some(Rescale::Linf)]);
}

/// Runs every method, with densities of 0.4; checks that all results are as the formulas say,
/// and finite.
fn check_rescaled(what: &str, inputs: &[Vec<f64>], shape: &[usize], rescales: &[Option<Rescale>]) {
    let n = inputs.len() - 1;
    let agree = |kernel: &dyn Kernel, expected: Vec<f64>| {
        let label = format!("{what}: {kernel:?}");
        let out = merged::<f32>(kernel, inputs, shape);
        assert!(out.iter().all(|x| x.is_finite()), "{label}: {out:?}");
        assert_rounded(&label, &out, &expected, inputs);
        assert_rounded(&label, &merged::<f16>(kernel, inputs, shape), &expected, inputs);
    };
    for election in kernels::elections() {
        let ties = Ties { election, ..Ties::new(vec![0.7; n], vec![0.4; n]) };
        agree(&ties, naive_ties(inputs, &ties));
        let crumbs = Breadcrumbs::new(vec![0.7; n], vec![0.4; n], vec![0.1; n]);
        for rescale in rescales {
            let rescale = *rescale;
            let crumbs = Breadcrumbs { election, rescale, normalize: true, ..crumbs.clone() };
            agree(&*kernels::breadcrumbs(&crumbs), naive_breadcrumbs(inputs, &crumbs, None));
            let expected = naive_breadcrumbs(inputs, &crumbs, Some(election));
            agree(&*kernels::breadcrumbs_ties(&crumbs), expected);
        }
        for select_topk in [1.0, 0.4] {
            let sce = Sce { select_topk, election };
            agree(&*kernels::sce(&sce, n), naive_sce(inputs, &sce));
        }
    }
    for epsilon in [1e-5, 0.0] {
        agree(&Ram { epsilon }, naive_ram(inputs, &Ram { epsilon }));
        let plus = RamPlus { epsilon, ..RamPlus::default() };
        agree(&plus, naive_ramplus_tl(inputs, &plus));
    }
    agree(&*kernels::magmax(&MagMax::default(), n), naive_magmax(inputs, &MagMax::default()));
    for normalize in [false, true] {
        let params = ConsensusTa { normalize, ..ConsensusTa::new(vec![0.7; n]) };
        agree(&params, naive_consensus_ta(inputs, &params));
    }
}

fn random(models: usize, len: usize) -> Vec<Vec<f64>> {
    task_vectors(&mut Random(3), Data::Spread, models, len)
}

#[test]
fn zero_tensors() {
    check("all zero", &vec![vec![0.0; 30]; 4], &[5, 6]);
    let mut inputs = random(3, 30);
    inputs[0].fill(0.0);
    check("base zero", &inputs, &[30]);
    inputs[2].fill(0.0);
    check("base and a model zero", &inputs, &[30]);
}

#[test]
fn identical_models() {
    let mut inputs = random(2, 600);
    inputs[2] = inputs[1].clone();
    check("two alike", &inputs, &[600]);
    check("all alike", &vec![inputs[0].clone(); 5], &[600]);
    check("twelve alike", &[&inputs[..1], &vec![inputs[1].clone(); 12]].concat(), &[600]);
}

#[test]
fn antiparallel_changes() {
    let mut inputs = task_vectors(&mut Random(8), Data::Grid, 2, 600);
    inputs[2] = inputs[1].iter().zip(&inputs[0]).map(|(m, b)| 2.0 * b - m).collect();
    // Rescaled, each vote would hang on a last bit.
    check_rescaled("two that cancel", &inputs, &[600], &[None]);
}

#[test]
fn tensors_of_one_element_and_of_none() {
    check("one element", &random(3, 1), &[1]);
    check("one element, no axis", &random(2, 1), &[]);
    check("no element", &random(3, 0), &[0]);
    check("no row", &random(3, 0), &[0, 7]);
}

#[test]
fn rows_of_width_one() {
    check("rows of width one", &random(2, 40), &[40, 1]);
    check("one row", &random(2, 40), &[1, 1, 40]);
}

#[test]
fn equal_magnitudes() {
    let base = vec![0.25; 700];
    let model =
        |by: usize| -> Vec<f64> { (0..700).map(|i| if i % by == 0 { 0.5 } else { 0.0 }).collect() };
    check("equal magnitudes", &[base.clone(), model(2), model(3), model(5)], &[700]);
    check("one magnitude and sign", &[base, vec![0.5; 700], vec![0.5; 700]], &[700]);
}

#[test]
fn subnormal_changes() {
    let tiny = |k: u64| -> Vec<f64> {
        (0..700u64).map(|i| f64::from(f32::from_bits(((i * k) % 9) as u32))).collect()
    };
    check("subnormal singles", &[vec![0.0; 700], tiny(1), tiny(5), tiny(7)], &[700]);
    let tiny = |k: u64| -> Vec<f64> { (0..700u64).map(|i| f64::from_bits((i * k) % 9)).collect() };
    check("subnormal doubles", &[vec![0.0; 700], tiny(1), tiny(5), tiny(7)], &[700]);
}

#[test]
fn a_single_model_and_twelve() {
    check("a single model", &random(1, 900), &[900]);
    check("twelve models", &random(12, 900), &[900]);
}

#[test]
fn weights_that_sum_to_zero() {
    let inputs = random(2, 300);
    let run = |kernel: &dyn Kernel| merged::<f64>(kernel, &inputs, &[300]);
    let params = ConsensusTa { normalize: true, ..ConsensusTa::new([0.5, -0.5]) };
    let plain = ConsensusTa { normalize: false, ..params.clone() };
    assert_eq!(run(&params), run(&plain));
    let params = Breadcrumbs::new([0.5, -0.5], [0.4; 2], [0.1; 2]);
    let normalized = Breadcrumbs { normalize: true, ..params.clone() };
    assert_eq!(run(&*kernels::breadcrumbs(&normalized)), run(&*kernels::breadcrumbs(&params)));
}

/// Where the definition keeps none; a trim would keep one.
#[test]
fn a_density_below_one_element_keeps_none_of_the_breadcrumbs() {
    let inputs = random(1, 99);
    let params = Breadcrumbs::new([1.0], [0.01], [0.0]);
    assert_eq!(merged::<f64>(&*kernels::breadcrumbs(&params), &inputs, &[99]), inputs[0]);
    let trimmed = merged::<f64>(&Ties::new([1.0], [0.01]), &inputs, &[99]);
    assert_eq!(trimmed.iter().zip(&inputs[0]).filter(|(out, base)| out != base).count(), 1);
}

/// Gamma gives way to the density: the smallest changes are kept then.
#[test]
fn gamma_gives_way_to_density() {
    let inputs = [vec![0.0; 10], (1..=10).map(f64::from).collect()];
    let kept = |density: f64, gamma: f64| {
        let params = Breadcrumbs::new([1.0], [density], [gamma]);
        let out = merged::<f64>(&*kernels::breadcrumbs(&params), &inputs, &[10]);
        out.into_iter().filter(|x| *x != 0.0).collect::<Vec<f64>>()
    };
    assert_eq!(kept(0.3, 0.2), [6.0, 7.0, 8.0]);
    assert_eq!(kept(0.3, 0.9), [1.0, 2.0, 3.0]);
    assert_eq!(kept(0.8, 1.0), (1..=8).map(f64::from).collect::<Vec<f64>>());
    assert_eq!(kept(0.3, 0.0), [8.0, 9.0, 10.0]);
    assert_eq!(kept(1.0, 1.0).len(), 10);
}

/// Selected are fewer elements than one, or none differ.
#[test]
fn sce_that_selects_nothing_leaves_the_base() {
    let inputs = random(2, 99);
    let run = |topk: f64, inputs: &[Vec<f64>]| {
        merged::<f64>(&*kernels::sce(&Sce::new(topk), inputs.len() - 1), inputs, &[99])
    };
    assert_eq!(run(0.01, &inputs), inputs[0]);
    let alike = [inputs[0].clone(), inputs[1].clone(), inputs[1].clone()];
    assert_eq!(run(0.99, &alike), inputs[0]);
    assert_eq!(run(1.0, &alike), inputs[1]);
    assert_eq!(run(0.99, &inputs[..2]), inputs[0], "a lone model differs from no other");
}

/// Variances so small that they are zero select by index among elements that do not vary, as
/// the definition does.
#[test]
fn sce_of_variances_that_vanish() {
    let mut inputs = vec![vec![0.0; 50], vec![1.0; 50], vec![1.0; 50]];
    inputs[1][20..40].fill(1e-200);
    inputs[2][20..40].fill(3e-200);
    let sce = Sce::new(0.5);
    let out = merged::<f64>(&*kernels::sce(&sce, 2), &inputs, &[50]);
    assert_eq!(out, naive_sce(&inputs, &sce));
    let changed: Vec<usize> = (0..50).filter(|i| out[*i] != 0.0).collect();
    assert_eq!(changed, (0..10).collect::<Vec<usize>>());
}

/// Of equal changes the mean may be off by a rounding; they are not selected before changes that
/// differ, by however little.
#[test]
fn sce_of_equal_changes_whose_mean_is_rounded() {
    assert_ne!([0.1; 10].iter().sum::<f64>() / 10.0, 0.1);
    let mut inputs = vec![vec![0.0; 40]];
    for model in 1..=10 {
        let mut values = vec![0.1; 40];
        values[20..].fill(1e-20 * f64::from(model));
        inputs.push(values);
    }
    let sce = Sce::new(0.5);
    let out = merged::<f64>(&*kernels::sce(&sce, 10), &inputs, &[40]);
    assert_eq!(out, naive_sce(&inputs, &sce));
    let changed: Vec<usize> = (0..40).filter(|i| out[*i] != 0.0).collect();
    assert_eq!(changed, (20..30).collect::<Vec<usize>>());
}

/// A model without a change to itself has a ratio of infinity, or none where epsilon is zero.
#[test]
fn ramplus_tl_without_unique_changes() {
    let inputs = [vec![0.0; 8], vec![1.0; 8], vec![3.0; 8], vec![0.0; 8]];
    for epsilon in [0.0, 1e-5] {
        let params = RamPlus { epsilon, ..RamPlus::default() };
        assert_eq!(merged::<f64>(&params, &inputs, &[8]), [2.0; 8]);
    }
}

/// An epsilon above 1 counts as that many unique changes at least.
#[test]
fn ramplus_tl_of_a_large_epsilon() {
    let inputs = [vec![0.0; 3], vec![8.0, 8.0, 0.0], vec![0.0, 16.0, 0.0]];
    let params = RamPlus { epsilon: 4.0, r: 1.0, alpha: 9.0 };
    // One change shared, over 4.
    assert_eq!(merged::<f64>(&params, &inputs, &[3]), [10.0, 12.0, 0.0]);
    let params = RamPlus { epsilon: 0.5, ..params };
    assert_eq!(merged::<f64>(&params, &inputs, &[3]), [16.0, 12.0, 0.0]);
}

/// Fewer models than masks have to be on: all of them decide.
#[test]
fn consensus_ta_of_few_models() {
    let inputs = random(2, 50);
    let three = ConsensusTa { min_models: 3, ..ConsensusTa::new([1.0, 1.0]) };
    let two = ConsensusTa { min_models: 2, ..three.clone() };
    let of_two = merged::<f64>(&two, &inputs, &[50]);
    assert_eq!(merged::<f64>(&three, &inputs, &[50]), of_two);
    assert!(of_two != inputs[0]);
    let lone = ConsensusTa::new([1.0]);
    assert_eq!(merged::<f64>(&lone, &inputs[..2], &[50]), inputs[1]);
}

/// Where a mask's two sides are equal, it is on.
#[test]
fn consensus_ta_at_the_bound_of_a_mask() {
    let inputs = [vec![0.0], vec![2.0], vec![5.0]];
    // 2 >= 0.4 * 5, in floating point too.
    let params = ConsensusTa::new([1.0, 1.0]);
    assert_eq!(merged::<f64>(&params, &inputs, &[1]), [7.0]);
    let params = ConsensusTa { tall_lambda: 0.4f64.next_up(), ..params };
    assert_eq!(merged::<f64>(&params, &inputs, &[1]), [0.0]);
}

#[test]
fn negligible_changes_weigh_the_same_in_sce() {
    // Mean squares of 4e-8 and 1e-8: less than what counts, so that the weights are halves.
    let inputs = [vec![0.0; 16], vec![2e-4; 16], vec![1e-4; 16]];
    let out = merged::<f64>(&*kernels::sce(&Sce::default(), 2), &inputs, &[16]);
    assert!(out.iter().all(|x| (x - 1.5e-4).abs() < 1e-18), "{out:?}");
    let inputs = [vec![0.0; 16], vec![2e-1; 16], vec![1e-1; 16]];
    let out = merged::<f64>(&*kernels::sce(&Sce::default(), 2), &inputs, &[16]);
    assert!(out.iter().all(|x| (x - 1.8e-1).abs() < 1e-15), "{out:?}");
}

/// A model of next to no weight that stands alone moves an element by next to nothing.
#[test]
fn sce_divides_by_no_less_than_a_millionth() {
    let inputs = [vec![0.0; 2], vec![1e4, 0.0], vec![0.0, 1e-4]];
    let out = merged::<f64>(&*kernels::sce(&Sce::default(), 2), &inputs, &[2]);
    // Weights 1 and 1e-16.
    assert!((out[0] - 1e4).abs() < 1e-8 && (out[1] - 1e-14).abs() < 1e-20, "{out:?}");
}

#[test]
fn the_tests_see_what_is_wrong() {
    // That the helper compares at all.
    let inputs = random(2, 40);
    let ram = Ram::default();
    let expected = naive_ram(&inputs, &ram);
    let out: Vec<f32> = merged(&ram, &inputs, &[40]);
    let wrong: Vec<f32> = out.iter().map(|x| Element::narrow(x.widen() + 1e-3)).collect();
    let outcome = std::panic::catch_unwind(|| assert_rounded("", &wrong, &expected, &inputs));
    assert!(outcome.is_err());
}
