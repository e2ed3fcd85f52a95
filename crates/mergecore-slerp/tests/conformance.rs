//! The suite that every method runs.

use mergecore_kernel::conformance::check;
use mergecore_kernel::{Argument, Method};
use mergecore_slerp::{KarcherMethod, MultiSlerpMethod, NuSlerpMethod, Slerp};
use support::bound_to;

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

/// Checks a method with these weights, with a base and without.
fn check_weighted(method: &dyn Method, shared: &[(&'static str, Argument)], weights: &[f64]) {
    for base in [false, true] {
        let count = weights.len();
        let kernel = bound_to(method, base, shared, &[("weight", weights)], count, 0);
        check(&*kernel, count + usize::from(base));
    }
}

#[test]
fn slerp() {
    for t in [0.0, 0.3, 1.0, 1.7] {
        check(&Slerp { t }, 2);
    }
}

#[test]
fn nuslerp() {
    for (flatten, row_wise) in [(true, false), (false, false), (false, true)] {
        let flags = [("nuslerp_flatten", flatten), ("nuslerp_row_wise", row_wise)];
        let shared = flags.map(|(name, flag)| (name, Argument::Flag(flag)));
        for weights in [[0.0, 2.0], [0.7, 0.3]] {
            check_weighted(&NuSlerpMethod, &shared, &weights);
        }
    }
}

#[test]
fn multislerp() {
    let weights: [&[f64]; 5] =
        [&[0.7], &[0.0, 1.0], &[0.5, -0.49], &[2.0, -0.5, 0.5], &[0.1, 0.2, 0.0, -0.4, 0.5]];
    for weights in weights {
        for normalize in [true, false] {
            let shared = [("normalize_weights", Argument::Flag(normalize))];
            check_weighted(&MultiSlerpMethod, &shared, weights);
        }
    }
}

#[test]
fn karcher() {
    for models in [1, 2, 3, 12] {
        check(&*bound_to(&KarcherMethod, false, &[], &[], models, 0), models);
    }
}
