//! The formula written down plainly. What the tests and the fuzz target compare with.

use crate::support::sum;

pub(crate) fn naive(v0: &[f64], v1: &[f64], t: f64) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| sum(a.iter().zip(b).map(|(a, b)| a * b));
    let norm = |v| Some(dot(v, v).sqrt()).filter(|norm| *norm > 1e-8).unwrap_or(1.0);
    let cosine = dot(v0, v1) / (norm(v0) * norm(v1));
    let (s0, s1) = if cosine.abs() > 0.9995 {
        (1.0 - t, t)
    } else {
        let theta = cosine.acos();
        (((1.0 - t) * theta).sin() / theta.sin(), (t * theta).sin() / theta.sin())
    };
    v0.iter().zip(v1).map(|(a, b)| s0 * a + s1 * b).collect()
}
