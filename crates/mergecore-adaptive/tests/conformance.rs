//! The suite that every method runs.

use mergecore_adaptive::{ArceeFusion, ModelStockMethod, NearSwap};
use mergecore_kernel::Argument;
use mergecore_kernel::conformance::check;
use support::bound;

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

#[test]
fn model_stock() {
    for models in [2, 5] {
        for filter_wise in [false, true] {
            let shared = [("filter_wise", Argument::Flag(filter_wise))];
            check(&*bound(&ModelStockMethod, &shared, &[], models, 0), 1 + models);
        }
    }
}

#[test]
fn nearswap() {
    for t in [0.0, 1e-4, 0.1, 10.0] {
        check(&NearSwap::new(t), 2);
    }
}

#[test]
fn arcee_fusion() {
    check(&ArceeFusion, 2);
}
