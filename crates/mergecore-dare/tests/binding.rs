//! Methods bound from a recipe's arguments are the functions with those parameters.

use mergecore_dare::{
    Dare, DareLinearMethod, DareTiesMethod, Rescale, dare_linear_slices, dare_ties_slices,
};
use mergecore_kernel::Argument;
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
    same(&[("rescale_norm", l2)], &Dare { rescale: Some(Rescale::L2), ..usual });
}
