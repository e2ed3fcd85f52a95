//! Against the reference definition; see mergecore-kernel/tests/golden/make_golden.py.

use mergecore_linear::{Linear, Passthrough};

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

#[test]
fn every_element_is_correctly_rounded() {
    let mut seen = [0; 2];
    for case in support::cases(include_str!("golden/linear.json")) {
        match case.method() {
            "linear" => {
                let normalize = case.flag("normalize");
                case.check(&Linear { normalize, ..Linear::new(case.numbers("weights")) });
                seen[0] += 1;
            }
            "passthrough" => {
                case.check(&Passthrough { scale: case.number("scale") });
                seen[1] += 1;
            }
            other => panic!("no such method: {other}"),
        }
    }
    assert_eq!(seen, [12, 4]);
}
