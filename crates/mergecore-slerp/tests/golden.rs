//! Against the reference definition; see mergecore-kernel/tests/golden/make_golden.py.

use mergecore_kernel::{Argument, Kernel};
use mergecore_slerp::{KarcherMethod, MultiSlerpMethod, NuSlerpMethod, Slerp};
use support::{Case, bound, bound_to, cases};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

#[test]
fn every_element_of_slerp_is_correctly_rounded() {
    let cases = cases(include_str!("golden/slerp.json"));
    assert_eq!(cases.len(), 42);
    for case in cases {
        case.check(&Slerp { t: case.number("t").expect("every case has t") });
    }
}

/// Checks the cases of a file, of which there are so many.
fn check(json: &str, count: usize, kernel: impl Fn(&Case) -> Box<dyn Kernel>) {
    let cases = cases(json);
    assert_eq!(cases.len(), count);
    for case in cases {
        case.check(&*kernel(&case));
    }
}

#[test]
fn every_element_of_nuslerp_is_correctly_rounded() {
    check(include_str!("golden/nuslerp.json"), 102, |case| {
        let flags = [("nuslerp_flatten", "flatten"), ("nuslerp_row_wise", "row_wise")];
        let shared = flags.map(|(name, flag)| (name, Argument::Flag(case.flag(flag))));
        let weights = case.numbers("weights");
        bound_to(&NuSlerpMethod, case.flag("based"), &shared, &[("weight", &weights)], 2, 0)
    });
}

#[test]
fn every_element_of_multislerp_is_correctly_rounded() {
    check(include_str!("golden/multislerp.json"), 68, |case| {
        let eps = case.number("eps").expect("every case has it");
        let normalize = Argument::Flag(case.flag("normalize_weights"));
        let shared = [("normalize_weights", normalize), ("eps", Argument::Number(eps))];
        let (weights, base) = (case.numbers("weights"), case.flag("based"));
        let count = weights.len();
        bound_to(&MultiSlerpMethod, base, &shared, &[("weight", &weights)], count, 0)
    });
}

#[test]
fn every_element_of_karcher_is_correctly_rounded() {
    check(include_str!("golden/karcher.json"), 50, |case| {
        let argument = |name| {
            let value = case.number(name).expect("every case has it");
            (name, Argument::Number(value))
        };
        let shared = [argument("max_iter"), argument("tol")];
        bound(&KarcherMethod, &shared, &[], case.inputs(), 0)
    });
}
