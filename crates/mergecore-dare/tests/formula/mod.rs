//! The formulas written down plainly, with the masks that [`Dare::mask`] and [`Della::mask`]
//! draw. What the tests and the fuzz target compare with.
#![allow(dead_code)] // each test binary uses a part of it

use mergecore_dare::{Consensus, Dare, Della, Elect, Election, Rescale};

use crate::support::rescaled;

pub(crate) fn naive(inputs: &[Vec<f64>], params: &Dare, consensus: bool) -> Vec<f64> {
    let mask = |index: usize, deltas: &[f64]| {
        params.mask(index, 0, deltas.len()).expect("densities are in range")
    };
    let deltas = pruned(inputs, &params.densities, params.rescale, mask);
    let weighted = Weighted {
        deltas,
        weights: &params.weights,
        election: consensus.then_some(params.election),
        normalize: params.normalize,
        lambda: params.lambda,
        rescale: params.rescale,
    };
    weighted.combined(&inputs[0])
}

/// Rows are of so many elements.
pub(crate) fn naive_della(
    inputs: &[Vec<f64>],
    columns: usize,
    params: &Della,
    consensus: bool,
) -> Vec<f64> {
    let mask = |index: usize, deltas: &[f64]| {
        let rows = deltas.chunks(columns.max(1)).zip((0..).step_by(columns.max(1)));
        let row = |(row, start): (&[f64], u64)| {
            params.mask(index, start, row).expect("densities and epsilons fit together")
        };
        rows.flat_map(row).collect()
    };
    let deltas = pruned(inputs, &params.densities, params.rescale, mask);
    let weighted = Weighted {
        deltas,
        weights: &params.weights,
        election: consensus.then_some(params.election),
        normalize: params.normalize,
        lambda: params.lambda,
        rescale: params.rescale,
    };
    weighted.combined(&inputs[0])
}

/// Each model's deltas, zero where the mask drops them, scaled up.
fn pruned(
    inputs: &[Vec<f64>],
    densities: &[f64],
    rescale: Option<Rescale>,
    mask: impl Fn(usize, &[f64]) -> Vec<bool>,
) -> Vec<Vec<f64>> {
    let deltas = inputs[1..].iter().enumerate().map(|(index, model)| {
        let deltas: Vec<f64> = model.iter().zip(&inputs[0]).map(|(m, b)| m - b).collect();
        let mask = mask(index, &deltas);
        let kept = deltas.iter().zip(&mask).map(|(delta, kept)| if *kept { *delta } else { 0.0 });
        rescaled(&deltas, kept.collect(), densities[index], rescale)
    });
    deltas.collect()
}

struct Weighted<'a> {
    deltas: Vec<Vec<f64>>,
    weights: &'a [f64],
    election: Option<Election>,
    normalize: bool,
    lambda: f64,
    rescale: Option<Rescale>,
}

impl Weighted<'_> {
    fn combined(&self, base: &[f64]) -> Vec<f64> {
        let total: f64 = self.weights.iter().sum();
        let element = |i: usize| {
            let weighted =
                || self.deltas.iter().zip(self.weights).map(|(delta, w)| (w * delta[i], *w));
            let mixed: f64 = weighted().map(|(d, _)| d).sum();
            let Some(election) = self.election else {
                let divisor = if self.normalize && total.abs() >= 1e-8 { total } else { 1.0 };
                return base[i] + self.lambda * (mixed / divisor);
            };
            let votes =
                || self.deltas.iter().zip(self.weights).map(|(d, w)| vote(election, d[i], *w));
            let elected: f64 = votes().sum();
            let magnitude: f64 = votes().map(f64::abs).sum();
            // A norm is a sum with errors of its own, which decide where votes cancel.
            let by_norm = !matches!(self.rescale, None | Some(Rescale::Density))
                && election.consensus == Consensus::Sum;
            if by_norm && magnitude != 0.0 && elected.abs() < 1e-12 * magnitude {
                return f64::NAN;
            }
            let elected = if elected >= 0.0 { 1.0 } else { -1.0 };
            let agrees = |vote: f64| vote != 0.0 && vote.signum() == elected;
            let agreeing = || weighted().zip(votes()).filter(|(_, v)| agrees(*v)).map(|(d, _)| d);
            let divisor: f64 = agreeing().map(|(_, weight)| weight).sum();
            let divisor = if self.normalize && divisor != 0.0 { divisor } else { 1.0 };
            base[i] + self.lambda * (agreeing().map(|(d, _)| d).sum::<f64>() / divisor)
        };
        (0..base.len()).map(element).collect()
    }
}

fn vote(Election { consensus, elect }: Election, delta: f64, weight: f64) -> f64 {
    let vote = if elect == Elect::Weighted { weight * delta } else { delta };
    match consensus {
        Consensus::Sum => vote,
        Consensus::Count if vote == 0.0 => 0.0,
        Consensus::Count => vote.signum(),
    }
}
