//! Against the reference definition; see mergecore-kernel/tests/golden/make_golden.py.

use mergecore_adaptive::{ArceeFusion, ModelStockMethod, NearSwap};
use mergecore_kernel::Argument;
use support::bound;

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

#[test]
fn every_element_is_correctly_rounded() {
    let mut seen = [0; 3];
    for case in support::cases(include_str!("golden/adaptive.json")) {
        match case.method() {
            "model_stock" => {
                let shared = [("filter_wise", Argument::Flag(case.flag("filter_wise")))];
                case.check(&*bound(&ModelStockMethod, &shared, &[], case.inputs() - 1, 0));
                seen[0] += 1;
            }
            "nearswap" => {
                case.check(&NearSwap::new(case.number("t").expect("a number")));
                seen[1] += 1;
            }
            "arcee_fusion" => {
                case.check(&ArceeFusion);
                seen[2] += 1;
            }
            other => panic!("no such method: {other}"),
        }
    }
    assert_eq!(seen, [24, 18, 47]);
}
