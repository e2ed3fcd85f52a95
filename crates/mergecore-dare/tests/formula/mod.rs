//! The formulas written down plainly, with the masks that [`Dare::mask`] draws. What the tests and the fuzz target compare with.

use mergecore_dare::{Dare, Rescale};

use crate::support::rescaled;

pub(crate) fn naive(inputs: &[Vec<f64>], params: &Dare, consensus: bool) -> Vec<f64> {
    let base = &inputs[0];
    let deltas = inputs[1..].iter().enumerate().map(|(index, model)| {
        let mask = params.mask(index, 0, base.len()).expect("densities are in range");
        let deltas: Vec<f64> = model.iter().zip(base).map(|(m, b)| m - b).collect();
        let kept = deltas.iter().zip(&mask).map(|(delta, kept)| if *kept { *delta } else { 0.0 });
        rescaled(&deltas, kept.collect(), params.densities[index], params.rescale)
    });
    let deltas: Vec<_> = deltas.collect();
    let total: f64 = params.weights.iter().sum();
    let element = |i: usize| {
        let weighted = || deltas.iter().zip(&params.weights).map(|(delta, w)| (w * delta[i], *w));
        let mixed: f64 = weighted().map(|(d, _)| d).sum();
        if !consensus {
            let divisor = if params.normalize && total.abs() >= 1e-8 { total } else { 1.0 };
            return base[i] + params.lambda * (mixed / divisor);
        }
        let magnitude: f64 = weighted().map(|(d, _)| d.abs()).sum();
        // A norm is a sum with errors of its own, which decide where weighted deltas cancel.
        let by_norm = !matches!(params.rescale, None | Some(Rescale::Density));
        if by_norm && magnitude != 0.0 && mixed.abs() < 1e-12 * magnitude {
            return f64::NAN;
        }
        let elected = if mixed >= 0.0 { 1.0 } else { -1.0 };
        let agreeing = || weighted().filter(|(d, _)| *d != 0.0 && d.signum() == elected);
        let divisor: f64 = agreeing().map(|(_, weight)| weight).sum();
        let divisor = if params.normalize && divisor != 0.0 { divisor } else { 1.0 };
        base[i] + params.lambda * (agreeing().map(|(d, _)| d).sum::<f64>() / divisor)
    };
    (0..base.len()).map(element).collect()
}
