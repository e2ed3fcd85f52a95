//! The formulas written down plainly: whole tensors, sorted. What the tests and the fuzz target compare with.

use mergecore_ties::{TaskArithmetic, Ties, keep_count};

use crate::support::rescaled;

/// Keeps the largest magnitudes, lowest index first where they are equal.
pub(crate) fn trim(deltas: &[f64], density: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..deltas.len()).collect();
    order.sort_by(|a, b| deltas[*b].abs().total_cmp(&deltas[*a].abs()));
    let mut kept = vec![0.0; deltas.len()];
    for index in order.into_iter().take(keep_count(density, deltas.len() as u64) as usize) {
        kept[index] = deltas[index];
    }
    kept
}

pub(crate) fn naive_ties(inputs: &[Vec<f64>], params: &Ties) -> Vec<f64> {
    let base = &inputs[0];
    let deltas = inputs[1..].iter().zip(&params.densities).map(|(model, density)| {
        let deltas: Vec<f64> = model.iter().zip(base).map(|(m, b)| m - b).collect();
        rescaled(&deltas, trim(&deltas, *density), *density, params.rescale)
    });
    let deltas: Vec<_> = deltas.collect();
    let element = |i: usize| {
        let weighted = || deltas.iter().zip(&params.weights).map(|(delta, w)| (w * delta[i], *w));
        let vote: f64 = weighted().map(|(d, _)| d).sum();
        let magnitude: f64 = weighted().map(|(d, _)| d.abs()).sum();
        if params.rescale.is_some() && magnitude != 0.0 && vote.abs() < 1e-12 * magnitude {
            return f64::NAN;
        }
        let elected = if vote >= 0.0 { 1.0 } else { -1.0 };
        let agreeing = || weighted().filter(|(d, _)| *d != 0.0 && d.signum() == elected);
        let divisor: f64 = agreeing().map(|(_, weight)| weight).sum();
        let divisor = if params.normalize && divisor != 0.0 { divisor } else { 1.0 };
        base[i] + params.lambda * (agreeing().map(|(d, _)| d).sum::<f64>() / divisor)
    };
    (0..base.len()).map(element).collect()
}

pub(crate) fn naive_task_arithmetic(inputs: &[Vec<f64>], params: &TaskArithmetic) -> Vec<f64> {
    let total: f64 = params.weights.iter().sum();
    let divisor = if params.normalize && total.abs() >= 1e-8 { total } else { 1.0 };
    let element = |i: usize| {
        let weighted = inputs[1..].iter().zip(&params.weights);
        let mixed: f64 = weighted.map(|(model, w)| w * (model[i] - inputs[0][i])).sum();
        inputs[0][i] + params.lambda * (mixed / divisor)
    };
    (0..inputs[0].len()).map(element).collect()
}
