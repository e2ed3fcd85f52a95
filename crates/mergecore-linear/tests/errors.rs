//! What the average refuses, and how it says so.

use mergecore_linear::{KernelError, Linear, linear_slices};

fn error(weights: &[f64]) -> String {
    let models: [&[f32]; 2] = [&[1.0, 2.0], &[3.0, 4.0]];
    let result = linear_slices(&models, &Linear::new(weights), &mut [0.0; 2]);
    result.unwrap_err().to_string()
}

mod kernel_error {
    use super::*;

    #[test]
    fn weights_cancel() {
        assert_eq!(
            error(&[1.0, -1.0]),
            "the weights sum to 0, and an average divides by their sum; choose other weights, or set `normalize: false`"
        );
        let models: [&[f32]; 2] = [&[1.0, 2.0], &[3.0, 5.0]];
        let mut out = [0.0; 2];
        let difference = Linear { normalize: false, ..Linear::new([-1.0, 1.0]) };
        assert_eq!(linear_slices(&models, &difference, &mut out), Ok(()));
        assert_eq!(out, [2.0, 3.0]);
        let error = linear_slices(&models, &Linear::new([1e-9, 0.0]), &mut out).unwrap_err();
        assert_eq!(error, KernelError::WeightsCancel { sum: 1e-9 });
    }
}

#[test]
fn another_number_of_weights() {
    assert_eq!(error(&[1.0]), "1 values of `weight` for 2 models; give one for each");
}

#[test]
fn weights_that_are_not_finite() {
    assert_eq!(error(&[1.0, f64::NAN]), "`weight` is NaN, but must be a finite number");
    // Finite each, but not together: dividing by infinity would give zeros.
    assert_eq!(error(&[1e308, 1e308]), "`sum of weights` is inf, but must be a finite number");
}
