//! One linear combination of vectors as a step, with or without a base.

use mergecore_kernel::{Combination, Gram, KeepAll, Step, TaskVectors};

/// The sum of the models times these coefficients; with a base, it and that sum of the
/// differences from it.
pub(crate) fn sum(coefficients: Vec<f64>, base: bool) -> Step {
    if !base {
        return Step::apply(Combination::new(coefficients));
    }
    // Not a combination with the base: large coefficients would multiply its rounding errors.
    let vectors = TaskVectors {
        densities: vec![1.0; coefficients.len()],
        weights: coefficients,
        election: None,
        normalize: false,
        lambda: 1.0,
        rescale: None,
    };
    vectors.step(KeepAll)
}

/// The average of the models, whose coefficients sum to one but for rounding: the base, if
/// there is one, cancels, and where the models agree their value stands.
pub(crate) fn average(mut coefficients: Vec<f64>, base: bool) -> Step {
    if base {
        coefficients.insert(0, 0.0);
    }
    Step::apply(Combination::average(coefficients))
}

/// Whether the coefficients sum to one but for rounding.
pub(crate) fn sums_to_one(coefficients: &[f64]) -> bool {
    (coefficients.iter().sum::<f64>() - 1.0).abs() < 1e-12
}

/// Whether the first so many vectors are one and the same, as far as their dot products tell.
pub(crate) fn all_equal(gram: &Gram, vectors: usize) -> bool {
    let dot = gram.dot(0, 0);
    (0..vectors).all(|i| (i..vectors).all(|j| gram.dot(i, j) == dot))
}

/// The cosine of the angle between two vectors, given their dot product and the product of
/// their norms.
///
/// Exactly 1 or -1 where they are parallel or antiparallel as far as rounded sums can tell.
/// Near -1 that matters: the arc between opposite vectors has no direction but that of the
/// rounding errors.
pub(crate) fn cosine(dot: f64, norms: f64) -> f64 {
    let cosine = (dot / norms).clamp(-1.0, 1.0);
    if 1.0 - cosine * cosine <= 1e-14 { cosine.signum() } else { cosine }
}

/// The norm of a sum of vectors times coefficients, as their dot products tell it; `None`
/// where they nearly cancel, of which rounded dot products tell little.
pub(crate) fn norm_of_sum(gram: &Gram, coefficients: &[f64]) -> Option<f64> {
    let (mut sum, mut size) = (0.0, 0.0);
    for (i, a) in coefficients.iter().enumerate() {
        for (j, b) in coefficients.iter().enumerate() {
            let term = a * b * gram.dot(i, j);
            sum += term;
            size += term.abs();
        }
    }
    (size == 0.0 || sum > 0.01 * size).then(|| sum.sqrt())
}
