//! The suite that every method runs.

use mergecore_dare::{DareLinearMethod, DareTiesMethod, DellaLinearMethod, DellaMethod};
use mergecore_kernel::conformance::check;
use mergecore_kernel::{Argument, Method, Rescale};
use support::bound;

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

fn check_all(method: &dyn Method) {
    let sets: [(&[f64], &[f64]); 5] = [
        (&[1.0], &[0.3]),
        (&[1.0], &[1.0]),
        (&[0.6, -0.4], &[0.5, 0.3]),
        (&[0.6, 0.4], &[1.0, 1.0]),
        (&[0.1, 0.2, 0.3, 0.4, 0.5], &[0.3, 0.5, 0.7, 0.9, 0.0]),
    ];
    for (weights, densities) in sets {
        let per_model = [("weight", weights), ("density", densities)];
        check(&*bound(method, &[], &per_model, weights.len(), 7), 1 + weights.len());
    }
    for name in Rescale::NAMES {
        let shared = [
            ("rescale_norm", Argument::Text((*name).to_owned())),
            ("normalize", Argument::Flag(true)),
            ("lambda", Argument::Number(0.8)),
        ];
        let per_model: [(_, &[f64]); 2] = [("weight", &[1.0, 0.5]), ("density", &[0.5, 0.3])];
        check(&*bound(method, &shared, &per_model, 2, 8), 3);
    }
    let per_model: [(_, &[f64]); 2] = [("weight", &[1.0]), ("density", &[0.5])];
    check(&*bound(method, &[("rescale", Argument::Flag(false))], &per_model, 1, 9), 2);
}

#[test]
fn dare_linear() {
    check_all(&DareLinearMethod);
}

#[test]
fn dare_ties() {
    check_all(&DareTiesMethod);
}

fn check_della(method: &dyn Method) {
    let sets: [(&[f64], &[f64], &[f64]); 3] = [
        (&[1.0], &[0.3], &[0.15]),
        (&[0.6, 0.4], &[1.0, 0.0], &[0.15, 0.15]),
        (&[0.5, -0.4, 0.3], &[0.5, 0.9, 1.0], &[0.4, 0.05, 0.15]),
    ];
    for (weights, densities, epsilons) in sets {
        let per_model = [("weight", weights), ("density", densities), ("epsilon", epsilons)];
        check(&*bound(method, &[], &per_model, weights.len(), 7), 1 + weights.len());
    }
    let shared = [("rescale", Argument::Flag(false)), ("lambda", Argument::Number(0.8))];
    let per_model: [(_, &[f64]); 3] =
        [("weight", &[1.0, 0.5]), ("density", &[0.5, 0.3]), ("epsilon", &[0.1, 0.2])];
    check(&*bound(method, &shared, &per_model, 2, 8), 3);
}

#[test]
fn della_linear() {
    check_della(&DellaLinearMethod);
}

#[test]
fn della() {
    check_della(&DellaMethod);
}
