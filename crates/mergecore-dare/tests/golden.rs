//! Against the reference definition, masks drawn by a ChaCha8 of its own; see
//! mergecore-kernel/tests/golden/make_golden.py.

use mergecore_dare::{DareLinearMethod, DareTiesMethod, DellaLinearMethod, DellaMethod, Rescale};
use mergecore_kernel::{Argument, Kernel, Method};
use support::{Case, bound, cases};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// The method as a recipe with the case's parameters has it.
fn kernel(case: &Case, method: &dyn Method, epsilons: &[f64]) -> Box<dyn Kernel> {
    let text = |name: &str| case.text(name).map(|text| Argument::Text(text.to_owned()));
    let rescale = case.text("rescale").and_then(Rescale::from_name);
    let mut shared = vec![
        ("normalize", Argument::Flag(case.flag("normalize"))),
        ("lambda", Argument::Number(case.number("lam").expect("a number"))),
        ("rescale", Argument::Flag(rescale.is_some())),
    ];
    shared.extend(text("rescale").map(|norm| ("rescale_norm", norm)));
    shared.extend(text("consensus").map(|consensus| ("consensus", consensus)));
    shared.extend(text("elect").map(|elect| ("elect", elect)));
    let (weights, densities) = (case.numbers("weights"), case.numbers("densities"));
    let per_model = [("weight", &weights[..]), ("density", &densities[..]), ("epsilon", epsilons)];
    let taken = if epsilons.is_empty() { 2 } else { 3 };
    bound(method, &shared, &per_model[..taken], weights.len(), case.whole("seed"))
}

#[test]
fn dare_in_all_four_elections() {
    let mut seen = [0; 2];
    for case in cases(include_str!("golden/dare.json")) {
        let (method, count): (&dyn Method, _) = match case.method() {
            "dare_linear" => (&DareLinearMethod, 0),
            "dare_ties" => (&DareTiesMethod, 1),
            other => panic!("no such method: {other}"),
        };
        case.check(&*kernel(&case, method, &[]));
        seen[count] += 1;
    }
    assert_eq!(seen, [10, 40]);
}

#[test]
fn della_in_all_four_elections() {
    let mut seen = [0; 2];
    for case in cases(include_str!("golden/della.json")) {
        let (method, count): (&dyn Method, _) = match case.method() {
            "della_linear" => (&DellaLinearMethod, 0),
            "della" => (&DellaMethod, 1),
            other => panic!("no such method: {other}"),
        };
        case.check(&*kernel(&case, method, &case.numbers("epsilons")));
        seen[count] += 1;
    }
    assert_eq!(seen, [24, 60]);
}
