//! The suite that every method runs.

use mergecore_kernel::conformance::check;
use mergecore_ties::{Rescale, TaskArithmetic, Ties};

#[test]
fn task_arithmetic() {
    let weights: [&[f64]; 4] = [&[], &[1.0], &[0.3, -0.7], &[0.1, 0.2, 0.3, 0.4, 0.5]];
    for weights in weights {
        for normalize in [true, false] {
            let method = TaskArithmetic { normalize, lambda: 0.9, ..TaskArithmetic::new(weights) };
            check(&method, 1 + weights.len());
        }
    }
}

#[test]
fn ties_of_one_density() {
    for density in [0.3, 0.5, 1.0] {
        for models in [1, 2, 5] {
            check(&Ties::new(vec![0.7; models], vec![density; models]), 1 + models);
        }
    }
}

#[test]
fn ties_rescaled() {
    for rescale in [Rescale::Density, Rescale::L1, Rescale::L2, Rescale::Linf] {
        for density in [0.3, 1.0] {
            let method = Ties {
                rescale: Some(rescale),
                normalize: rescale != Rescale::L2,
                lambda: 1.2,
                ..Ties::new([1.0, -0.5], [density, 0.5])
            };
            check(&method, 3);
        }
    }
}
