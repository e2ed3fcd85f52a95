//! Steps on whole vectors.

use super::{combine, dot, norm};

/// `None` where directions cancel, or so nearly that rounding shows.
pub(crate) fn naive(models: &[Vec<f64>], max_iter: u32, tol: f64) -> Option<Vec<f64>> {
    let norms: Vec<f64> = models.iter().map(|model| norm(model)).collect();
    let scaled = |v: &[f64], by: f64| v.iter().map(|x| x * by).collect::<Vec<f64>>();
    let units: Vec<Vec<f64>> = models
        .iter()
        .zip(&norms)
        .filter(|(_, n)| **n > tol)
        .map(|(model, n)| model.iter().map(|x| x / n).collect())
        .collect();
    let scale = norms.iter().sum::<f64>() / norms.len() as f64;
    if units.is_empty() {
        return Some(vec![0.0; models[0].len()]);
    }
    let share = 1.0 / units.len() as f64;
    let mut at = combine(&vec![share; units.len()], &units);
    let length = norm(&at);
    if length < 0.05 {
        return None;
    }
    at = scaled(&at, 1.0 / length);
    for _ in 0..max_iter {
        let mut step = vec![0.0; at.len()];
        for unit in &units {
            let cosine = dot(&at, unit).clamp(-1.0, 1.0);
            if cosine < -0.99 {
                return None;
            }
            let arc = cosine.acos();
            if arc < tol || arc == 0.0 {
                continue;
            }
            for ((step, unit), at) in step.iter_mut().zip(unit).zip(&at) {
                *step += share * arc / arc.sin() * (unit - cosine * at);
            }
        }
        let length = norm(&step);
        if length < tol || length == 0.0 {
            break;
        }
        at = combine(&[length.cos(), length.sin() / length], &[at, step]);
        at = scaled(&at, 1.0 / norm(&at));
    }
    Some(scaled(&at, scale))
}
