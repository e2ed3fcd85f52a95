//! Against the reference definition; see mergecore-kernel/tests/golden/make_golden.py.

use mergecore_ties::{Rescale, TaskArithmetic, Ties};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

#[test]
fn every_element_is_correctly_rounded() {
    let mut seen = [0; 2];
    for case in support::cases(include_str!("golden/ties.json")) {
        let weights = case.numbers("weights");
        let (normalize, lambda) = (case.flag("normalize"), case.number("lam").expect("a number"));
        match case.method() {
            "task_arithmetic" => {
                case.check(&TaskArithmetic { weights, normalize, lambda });
                seen[0] += 1;
            }
            "ties" => {
                let rescale = case.text("rescale").and_then(Rescale::from_name);
                let densities = case.numbers("densities");
                case.check(&Ties { weights, densities, normalize, lambda, rescale });
                seen[1] += 1;
            }
            other => panic!("no such method: {other}"),
        }
    }
    assert_eq!(seen, [24, 28]);
}
