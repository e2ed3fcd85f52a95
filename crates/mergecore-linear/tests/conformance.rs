//! The suite that every method runs.

use mergecore_kernel::conformance::check;
use mergecore_linear::{Linear, Passthrough};

#[test]
fn linear() {
    let weights: [&[f64]; 4] = [&[1.0], &[0.3, 0.7], &[2.0, -0.5], &[0.1, 0.2, 0.0, -0.4, 0.5]];
    for weights in weights {
        for normalize in [true, false] {
            check(&Linear { weights: weights.to_vec(), normalize }, weights.len());
        }
    }
}

#[test]
fn passthrough() {
    for scale in [None, Some(1.0), Some(-0.3), Some(0.0)] {
        check(&Passthrough { scale }, 1);
    }
}
