//! Methods bound from a recipe's arguments are the functions with those parameters, and what
//! does not fit is refused.

use mergecore_adaptive::{
    ArceeFusion, ArceeFusionMethod, ModelStock, ModelStockMethod, NearSwap, NearSwapMethod,
    arcee_fusion_slices, model_stock_slices, nearswap_slices,
};
use mergecore_kernel::{
    Argument, Arguments, Binding, DefaultValue, KernelError, Method, ParameterKind, StreamKey,
};
use support::{Data, Random, bits, bound, merged, task_vectors};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

const SHAPE: [usize; 2] = [20, 50];

#[test]
fn model_stock() {
    let inputs = task_vectors(&mut Random(1), Data::Spread, 3, 1_000);
    let models: Vec<&[f64]> = inputs[1..].iter().map(Vec::as_slice).collect();
    let run = |shared: &[(&'static str, Argument)]| {
        let kernel = bound(&ModelStockMethod, shared, &[], 3, 0);
        bits(&merged::<f64>(&*kernel, &inputs, &SHAPE))
    };
    let function = |params: ModelStock| {
        let mut out = vec![0.0; 1_000];
        model_stock_slices(&inputs[0], &models, &SHAPE, &params, &mut out).expect("sound");
        bits(&out)
    };
    assert_eq!(run(&[]), function(ModelStock::default()));
    for filter_wise in [true, false] {
        let shared = [("filter_wise", Argument::Flag(filter_wise))];
        assert_eq!(run(&shared), function(ModelStock { filter_wise }));
    }
    assert_ne!(function(ModelStock::new(true)), function(ModelStock::new(false)));
}

#[test]
fn nearswap() {
    let inputs = task_vectors(&mut Random(2), Data::Spread, 1, 1_000);
    for t in [0.0, 0.01, 5.0] {
        let kernel = bound(&NearSwapMethod, &[("t", Argument::Number(t))], &[], 1, 0);
        let mut out = vec![0.0; 1_000];
        nearswap_slices(&inputs[0], &inputs[1], &NearSwap { t }, &mut out).expect("sound");
        assert_eq!(bits(&merged::<f64>(&*kernel, &inputs, &SHAPE)), bits(&out));
    }
}

#[test]
fn arcee_fusion() {
    let inputs = task_vectors(&mut Random(3), Data::Spread, 1, 1_000);
    let kernel = bound(&ArceeFusionMethod, &[], &[], 1, 0);
    let mut out = vec![0.0; 1_000];
    arcee_fusion_slices(&inputs[0], &inputs[1], &SHAPE, &ArceeFusion, &mut out).expect("sound");
    assert_eq!(bits(&merged::<f64>(&*kernel, &inputs, &SHAPE)), bits(&out));
    assert_ne!(bits(&out), bits(&inputs[0]));
    assert_ne!(bits(&out), bits(&inputs[1]));
}

#[test]
fn defaults_and_ranges() {
    assert_eq!(ModelStockMethod.parameters()[0].default, DefaultValue::Flag(false));
    let t = NearSwapMethod.parameters()[0];
    assert_eq!(t.default, DefaultValue::Required);
    assert_eq!(t.kind, ParameterKind::Number { min: 0.0, max: f64::MAX });
}

fn binding(models: usize, t: Option<f64>) -> Binding {
    let mut shared = Arguments::default();
    t.into_iter().for_each(|t| shared.insert("t", Argument::Number(t)));
    let models = vec![Arguments::default(); models];
    Binding { base: true, shared, models, stream: StreamKey::from_seed(0) }
}

#[test]
fn model_stock_of_one_model_is_refused() {
    let text = "model_stock takes at least two models besides the base, not 1";
    let error = ModelStockMethod.bind(&binding(1, None)).unwrap_err();
    assert_eq!(error.to_string(), text);
    let run = |models: &[&[f32]]| {
        model_stock_slices(&[1.0], models, &[1], &ModelStock::default(), &mut [0.0])
    };
    assert_eq!(run(&[&[2.0]]).unwrap_err().to_string(), text);
    assert!(matches!(run(&[]), Err(KernelError::InputCount { found: 0, .. })));
    assert_eq!(run(&[&[2.0], &[2.0]]), Ok(()));
}

#[test]
fn a_t_out_of_its_range_is_refused() {
    for (t, shown) in [(-1e-9, "-0.000000001"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let text = format!("`t` is {shown}, but must be a finite number, at least 0");
        let error = NearSwapMethod.bind(&binding(1, Some(t))).unwrap_err();
        assert_eq!(error.to_string(), text);
        let error = nearswap_slices(&[0.0f32], &[1.0], &NearSwap { t }, &mut [0.0]).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn slices_that_are_not_of_the_shape_are_refused() {
    let (two, mut out) = ([0.0f32; 2], [0.0f32; 2]);
    let length = |result| matches!(result, Err(KernelError::Length { expected: 3, found: 2, .. }));
    let stock = ModelStock::default();
    assert!(length(model_stock_slices(&two, &[&two, &two], &[3], &stock, &mut out)));
    assert!(length(arcee_fusion_slices(&two, &two, &[3], &ArceeFusion, &mut out)));
    let error = nearswap_slices(&two, &[0.0; 3], &NearSwap::default(), &mut out).unwrap_err();
    assert!(matches!(error, KernelError::Length { expected: 2, found: 3, .. }));
}
