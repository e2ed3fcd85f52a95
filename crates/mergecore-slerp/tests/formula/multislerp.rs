//! With the step in the tangent space, as the method's author describes it.

use super::{changes, combine, dot, norm, onto};

/// `None` where the mean direction counts as zero, or so nearly that rounding shows.
pub(crate) fn naive(
    base: Option<&[f64]>,
    models: &[Vec<f64>],
    weights: &[f64],
    eps: f64,
) -> Option<Vec<f64>> {
    if let [model] = models {
        return Some(model.clone());
    }
    let vectors = changes(base, models);
    let norms: Vec<f64> = vectors.iter().map(|v| norm(v)).collect();
    let unit = |(v, n): (&Vec<f64>, &f64)| v.iter().map(|x| x / (n + eps)).collect();
    let units: Vec<Vec<f64>> = vectors.iter().zip(&norms).map(unit).collect();
    let mut mean = combine(weights, &units);
    let length = norm(&mean);
    let largest = weights.iter().fold(0.0, |largest, w| w.abs().max(largest));
    if length <= f64::max(1e-3 * largest, 1.001 * eps) {
        return None;
    }
    mean.iter_mut().for_each(|x| *x /= length);
    let tangent = |unit: &Vec<f64>| {
        let along = dot(unit, &mean);
        unit.iter().zip(&mean).map(|(u, m)| u - along * m).collect()
    };
    let tangents: Vec<Vec<f64>> = units.iter().map(tangent).collect();
    let tangent = combine(weights, &tangents);
    let angle = norm(&tangent) + eps;
    let scale = dot(weights, &norms);
    let element = |(m, t): (&f64, f64)| (m * angle.cos() + t * angle.sin() / angle) * scale;
    Some(onto(base, mean.iter().zip(tangent).map(element).collect()))
}
