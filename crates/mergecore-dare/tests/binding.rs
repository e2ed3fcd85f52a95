//! Methods bound from a recipe's arguments are the functions with those parameters.

use mergecore_dare::{
    Consensus, Dare, DareLinearMethod, DareTiesMethod, Della, DellaLinearMethod, DellaMethod,
    Elect, Election, KernelError, Rescale, StreamKey, dare_linear_slices, dare_ties_slices,
    della_linear_slices, della_slices,
};
use mergecore_kernel::{Argument, Arguments, Binding, DefaultValue, Method};
use support::{Data, Random, bits, bound, merged, task_vectors};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

const WEIGHTS: [f64; 2] = [0.75, 0.5];
const DENSITIES: [f64; 2] = [0.3, 0.6];
const SEED: u64 = 17;

fn same(shared: &[(&'static str, Argument)], params: &Dare) {
    let inputs = task_vectors(&mut Random(1), Data::Spread, 2, 1_000);
    let per_model: [(_, &[f64]); 2] = [("weight", &WEIGHTS), ("density", &DENSITIES)];
    let models: [&[f64]; 2] = [&inputs[1], &inputs[2]];
    let mut expected = vec![0.0; 1_000];

    dare_linear_slices(&inputs[0], &models, params, &mut expected).expect("sound");
    let kernel = bound(&DareLinearMethod, shared, &per_model, 2, SEED);
    assert_eq!(bits(&merged::<f64>(&*kernel, &inputs, &[1_000])), bits(&expected));

    dare_ties_slices(&inputs[0], &models, params, &mut expected).expect("sound");
    let kernel = bound(&DareTiesMethod, shared, &per_model, 2, SEED);
    assert_eq!(bits(&merged::<f64>(&*kernel, &inputs, &[1_000])), bits(&expected));
}

#[test]
fn nothing_said_is_the_default() {
    same(&[], &Dare::new(WEIGHTS, DENSITIES, SEED));
}

#[test]
fn every_argument_reaches_its_parameter() {
    let usual = Dare::new(WEIGHTS, DENSITIES, SEED);
    same(
        &[("normalize", Argument::Flag(true)), ("lambda", Argument::Number(0.4))],
        &Dare { normalize: true, lambda: 0.4, ..usual.clone() },
    );
    same(&[("rescale", Argument::Flag(false))], &Dare { rescale: None, ..usual.clone() });
    let l2 = Argument::Text("l2".to_owned());
    same(&[("rescale_norm", l2)], &Dare { rescale: Some(Rescale::L2), ..usual.clone() });
    same(&count_unweighted(), &Dare { election: COUNT_UNWEIGHTED, ..usual });
}

const COUNT_UNWEIGHTED: Election =
    Election { consensus: Consensus::Count, elect: Elect::Unweighted };

fn count_unweighted() -> [(&'static str, Argument); 2] {
    [("consensus", "count"), ("elect", "unweighted")]
        .map(|(name, text)| (name, Argument::Text(text.to_owned())))
}

/// `params` without what `della` and `della_linear` have different defaults for.
fn same_della(shared: &[(&'static str, Argument)], normalize: Option<bool>, params: &Della) {
    const SHAPE: [usize; 2] = [10, 100];
    let inputs = task_vectors(&mut Random(1), Data::Spread, 2, 1_000);
    let per_model: [(_, &[f64]); 3] =
        [("weight", &WEIGHTS), ("density", &DENSITIES), ("epsilon", &params.epsilons)];
    let models: [&[f64]; 2] = [&inputs[1], &inputs[2]];
    let mut expected = vec![0.0; 1_000];

    let linear = Della { normalize: normalize.unwrap_or(false), ..params.clone() };
    della_linear_slices(&inputs[0], &models, &SHAPE, &linear, &mut expected).expect("sound");
    let kernel = bound(&DellaLinearMethod, shared, &per_model, 2, SEED);
    assert_eq!(bits(&merged::<f64>(&*kernel, &inputs, &SHAPE)), bits(&expected));

    let electing = Della { normalize: normalize.unwrap_or(true), ..params.clone() };
    della_slices(&inputs[0], &models, &SHAPE, &electing, &mut expected).expect("sound");
    let kernel = bound(&DellaMethod, shared, &per_model, 2, SEED);
    assert_eq!(bits(&merged::<f64>(&*kernel, &inputs, &SHAPE)), bits(&expected));
}

#[test]
fn every_argument_of_della_reaches_its_parameter() {
    let usual = Della::new(WEIGHTS, DENSITIES, SEED);
    same_della(&[], None, &usual);
    assert_eq!(
        Della::linear(WEIGHTS, DENSITIES, SEED),
        Della { normalize: false, ..usual.clone() }
    );
    same_della(&[], None, &Della { epsilons: vec![0.01, 0.3], ..usual.clone() });
    for normalize in [true, false] {
        let shared = [("normalize", Argument::Flag(normalize)), ("lambda", Argument::Number(0.4))];
        same_della(&shared, Some(normalize), &Della { lambda: 0.4, ..usual.clone() });
    }
    let off = [("rescale", Argument::Flag(false))];
    same_della(&off, None, &Della { rescale: None, ..usual.clone() });
    let density = [("rescale_norm", Argument::Text("density".to_owned()))];
    same_della(&density, None, &Della { rescale: Some(Rescale::Density), ..usual.clone() });
    same_della(&count_unweighted(), None, &Della { election: COUNT_UNWEIGHTED, ..usual });
}

#[test]
fn defaults_are_those_that_recipes_are_written_for() {
    let default = |method: &dyn Method, name: &str| {
        method.parameters().iter().find(|p| p.name == name).expect("a parameter").default
    };
    for method in [&DellaMethod as &dyn Method, &DellaLinearMethod] {
        assert_eq!(default(method, "density"), DefaultValue::Number(1.0));
        assert_eq!(default(method, "epsilon"), DefaultValue::Number(0.15));
        assert_eq!(default(method, "lambda"), DefaultValue::Number(1.0));
    }
    assert_eq!(default(&DellaMethod, "normalize"), DefaultValue::Flag(true));
    assert_eq!(default(&DellaLinearMethod, "normalize"), DefaultValue::Flag(false));
}

#[test]
fn densities_and_epsilons_that_do_not_fit_together_are_no_binding() {
    for method in [&DellaMethod as &dyn Method, &DellaLinearMethod] {
        let mut model = Arguments::default();
        for (name, value) in [("weight", 1.0), ("density", 0.9), ("epsilon", 0.15)] {
            model.insert(name, Argument::Number(value));
        }
        let (shared, stream) = (Arguments::default(), StreamKey::from_seed(0));
        let binding = Binding { base: true, shared, models: vec![model], stream };
        let error = method.bind(&binding).unwrap_err();
        assert!(matches!(error, KernelError::ParameterPair { .. }), "{error}");
    }
}
