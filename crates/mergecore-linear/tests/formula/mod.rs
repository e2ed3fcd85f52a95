//! The formula written down plainly. What the tests and the fuzz target compare with.

use mergecore_linear::Linear;

pub(crate) fn naive(models: &[Vec<f64>], params: &Linear) -> Vec<f64> {
    let total: f64 = if params.normalize { params.weights.iter().sum() } else { 1.0 };
    let element = |i| {
        let weighted = models.iter().zip(&params.weights).map(|(model, weight)| weight * model[i]);
        weighted.sum::<f64>() / total
    };
    (0..models[0].len()).map(element).collect()
}
