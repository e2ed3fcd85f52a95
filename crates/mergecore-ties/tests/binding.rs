//! Methods bound from a recipe's arguments are the functions with those parameters.

use mergecore_kernel::{Argument, Kernel, Method};
use mergecore_ties::{Rescale, TaskArithmetic, TaskArithmeticMethod, Ties, TiesMethod};
use support::{Data, Random, bits, bound, merged, task_vectors};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

const WEIGHTS: [f64; 2] = [0.75, 0.5];
const DENSITIES: [f64; 2] = [0.3, 0.6];

fn same(method: &dyn Method, shared: &[(&'static str, Argument)], kernel: &dyn Kernel) {
    let inputs = task_vectors(&mut Random(1), Data::Spread, 2, 1_000);
    let per_model: [(_, &[f64]); 2] = [("weight", &WEIGHTS), ("density", &DENSITIES)];
    let bound = bound(method, shared, &per_model, 2, 0);
    let run = |kernel: &dyn Kernel| bits(&merged::<f64>(kernel, &inputs, &[1_000]));
    assert_eq!(run(&*bound), run(kernel), "{kernel:?}");
}

#[test]
fn ties() {
    let usual = Ties::new(WEIGHTS, DENSITIES);
    same(&TiesMethod, &[], &usual);
    let shared = [
        ("normalize", Argument::Flag(false)),
        ("lambda", Argument::Number(0.4)),
        ("rescale_norm", Argument::Text("l2".into())),
    ];
    let params =
        Ties { normalize: false, lambda: 0.4, rescale: Some(Rescale::L2), ..usual.clone() };
    same(&TiesMethod, &shared, &params);
    let params = Ties { rescale: Some(Rescale::L1), ..usual };
    same(&TiesMethod, &[("rescale", Argument::Flag(true))], &params);
}

#[test]
fn task_arithmetic() {
    let usual = TaskArithmetic::new(WEIGHTS);
    same(&TaskArithmeticMethod, &[], &usual);
    let shared = [("normalize", Argument::Flag(true)), ("lambda", Argument::Number(-0.4))];
    let params = TaskArithmetic { normalize: true, lambda: -0.4, ..usual };
    same(&TaskArithmeticMethod, &shared, &params);
}
