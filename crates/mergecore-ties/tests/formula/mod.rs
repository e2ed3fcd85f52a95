//! The formulas written down plainly: whole tensors, sorted. What the tests and the fuzz target compare with.
#![allow(dead_code)] // either uses a part of it

use mergecore_ties::{
    Breadcrumbs, Consensus, ConsensusTa, Elect, Election, MagMax, Ram, RamPlus, Sce,
    TaskArithmetic, Ties, keep_count,
};

use crate::support::{rescaled, sum};

/// Each model's differences from the base.
fn deltas(inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let delta = |model: &Vec<f64>| model.iter().zip(&inputs[0]).map(|(m, b)| m - b).collect();
    inputs[1..].iter().map(delta).collect()
}

/// Indices by falling magnitude, lowest index first where they are equal.
fn largest_first(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    order
}

/// Keeps the elements of these indices.
fn only(values: &[f64], indices: &[usize]) -> Vec<f64> {
    let mut kept = vec![0.0; values.len()];
    indices.iter().for_each(|index| kept[*index] = values[*index]);
    kept
}

/// Keeps the largest magnitudes, lowest index first where they are equal.
pub(crate) fn trim(deltas: &[f64], density: f64) -> Vec<f64> {
    let count = keep_count(density, deltas.len() as u64) as usize;
    only(deltas, &largest_first(deltas)[..count])
}

/// Keeps so many as the density says below the largest.
pub(crate) fn crumbs(deltas: &[f64], density: f64, gamma: f64) -> Vec<f64> {
    let n = deltas.len();
    if density >= 1.0 {
        return deltas.to_vec();
    }
    let keep = (density * n as f64) as usize;
    let top = ((gamma * n as f64) as usize).min(n - keep);
    only(deltas, &largest_first(deltas)[top..top + keep])
}

/// Which models agree with the elected sign, from an element's deltas.
fn agreement(deltas: &[f64], weights: &[f64], election: Election) -> Vec<bool> {
    let vote = |(delta, weight): (&f64, &f64)| match election.elect {
        Elect::Weighted => weight * delta,
        Elect::Unweighted => *delta,
    };
    let votes: Vec<f64> = deltas.iter().zip(weights).map(vote).collect();
    let sign = |vote: &f64| if *vote == 0.0 { 0.0 } else { vote.signum() };
    let total: f64 = match election.consensus {
        Consensus::Sum => votes.iter().sum(),
        Consensus::Count => votes.iter().map(sign).sum(),
    };
    let elected = if total >= 0.0 { 1.0 } else { -1.0 };
    votes.iter().map(|vote| sign(vote) == elected).collect()
}

/// Whether votes nearly cancel, so that another rounding of theirs elects another sign.
fn is_close(deltas: &[f64], weights: &[f64], election: Election) -> bool {
    let votes = deltas.iter().zip(weights).map(|(delta, weight)| match election.elect {
        Elect::Weighted => weight * delta,
        Elect::Unweighted => *delta,
    });
    let magnitude: f64 = votes.clone().map(f64::abs).sum();
    let total: f64 = votes.sum();
    election.consensus == Consensus::Sum && magnitude != 0.0 && total.abs() < 1e-12 * magnitude
}

/// The sum of the weighted deltas that agree, and of their weights.
fn elected_sum(deltas: &[f64], weights: &[f64], election: Election) -> (f64, f64) {
    let agree = agreement(deltas, weights, election);
    let agreeing = || (0..deltas.len()).filter(|model| agree[*model]);
    (agreeing().map(|m| weights[m] * deltas[m]).sum(), agreeing().map(|m| weights[m]).sum())
}

/// Base and models of one element at a time.
fn each(inputs: &[Vec<f64>], deltas: &[Vec<f64>], change: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let element = |i: usize| {
        let deltas: Vec<f64> = deltas.iter().map(|deltas| deltas[i]).collect();
        inputs[0][i] + change(&deltas)
    };
    (0..inputs[0].len()).map(element).collect()
}

pub(crate) fn naive_ties(inputs: &[Vec<f64>], params: &Ties) -> Vec<f64> {
    let Ties { weights, election, .. } = params;
    let pruned = deltas(inputs).into_iter().zip(&params.densities).map(|(deltas, density)| {
        rescaled(&deltas, trim(&deltas, *density), *density, params.rescale)
    });
    each(inputs, &pruned.collect::<Vec<_>>(), |deltas| {
        if params.rescale.is_some() && is_close(deltas, weights, *election) {
            return f64::NAN;
        }
        let (mixed, divisor) = elected_sum(deltas, weights, *election);
        let divisor = if params.normalize && divisor != 0.0 { divisor } else { 1.0 };
        params.lambda * (mixed / divisor)
    })
}

/// With the election that there is, or none.
pub(crate) fn naive_breadcrumbs(
    inputs: &[Vec<f64>],
    params: &Breadcrumbs,
    election: Option<Election>,
) -> Vec<f64> {
    let Breadcrumbs { weights, densities, gammas, .. } = params;
    let models = deltas(inputs).into_iter().zip(densities.iter().zip(gammas));
    let pruned = models.map(|(deltas, (density, gamma))| {
        rescaled(&deltas, crumbs(&deltas, *density, *gamma), *density, params.rescale)
    });
    each(inputs, &pruned.collect::<Vec<_>>(), |deltas| {
        let (mixed, divisor, least) = match election {
            Some(election) => {
                if params.rescale.is_some() && is_close(deltas, weights, election) {
                    return f64::NAN;
                }
                let (mixed, divisor) = elected_sum(deltas, weights, election);
                (mixed, divisor, f64::MIN_POSITIVE)
            }
            None => {
                let mixed = deltas.iter().zip(weights).map(|(d, w)| d * w).sum::<f64>();
                (mixed, weights.iter().sum(), 1e-8)
            }
        };
        let divides = params.normalize && divisor.abs() >= least;
        params.lambda * (mixed / if divides { divisor } else { 1.0 })
    })
}

pub(crate) fn naive_task_arithmetic(inputs: &[Vec<f64>], params: &TaskArithmetic) -> Vec<f64> {
    let total: f64 = params.weights.iter().sum();
    let divisor = if params.normalize && total.abs() >= 1e-8 { total } else { 1.0 };
    each(inputs, &deltas(inputs), |deltas| {
        let mixed: f64 = deltas.iter().zip(&params.weights).map(|(d, w)| w * d).sum();
        params.lambda * (mixed / divisor)
    })
}

/// The variance of an element's deltas, zero where all are equal.
fn variance(deltas: &[f64]) -> f64 {
    let n = deltas.len() as f64;
    let mean = deltas.iter().sum::<f64>() / n;
    let squares: f64 = deltas.iter().map(|delta| (delta - mean) * (delta - mean)).sum();
    if deltas.iter().all(|delta| *delta == deltas[0]) { 0.0 } else { squares / n }
}

pub(crate) fn naive_sce(inputs: &[Vec<f64>], params: &Sce) -> Vec<f64> {
    let mut deltas = deltas(inputs);
    let (models, n) = (deltas.len(), inputs[0].len());
    let column = |deltas: &[Vec<f64>], i: usize| -> Vec<f64> {
        deltas.iter().map(|deltas| deltas[i]).collect()
    };
    if params.select_topk < 1.0 {
        let columns: Vec<Vec<f64>> = (0..n).map(|i| column(&deltas, i)).collect();
        let varies = columns.iter().filter(|column| column.iter().any(|d| *d != column[0]));
        let count = (varies.count() as f64 * params.select_topk) as usize;
        let variances: Vec<f64> = columns.iter().map(|column| variance(column)).collect();
        let selected = &largest_first(&variances)[..count];
        deltas = deltas.iter().map(|deltas| only(deltas, selected)).collect();
    }
    let mean = |deltas: &Vec<f64>| sum(deltas.iter().map(|d| d * d)) / n as f64;
    let means: Vec<f64> = deltas.iter().map(mean).collect();
    let total: f64 = means.iter().sum();
    let weights: Vec<f64> = match total < 1e-6 {
        true => vec![1.0 / models as f64; models],
        false => means.iter().map(|mean| mean / total).collect(),
    };
    // Votes of equal weights cancel whatever the last bits of these.
    let alike = models <= 2 && weights.iter().all(|weight| *weight == weights[0]);
    let undecided = params.election.elect == Elect::Weighted && !alike;
    each(inputs, &deltas, |deltas| {
        if undecided && is_close(deltas, &weights, params.election) {
            return f64::NAN;
        }
        let (mixed, divisor) = elected_sum(deltas, &weights, params.election);
        mixed / divisor.max(1e-6)
    })
}

pub(crate) fn naive_ram(inputs: &[Vec<f64>], params: &Ram) -> Vec<f64> {
    ram(inputs, params.epsilon, |_| 1.0)
}

pub(crate) fn naive_ramplus_tl(inputs: &[Vec<f64>], params: &RamPlus) -> Vec<f64> {
    ram(inputs, params.epsilon, |ratio| 1.0 + params.r * ratio.min(params.alpha))
}

fn ram(inputs: &[Vec<f64>], epsilon: f64, factor: impl Fn(f64) -> f64) -> Vec<f64> {
    let deltas = deltas(inputs);
    let count = |i: usize| deltas.iter().filter(|deltas| deltas[i].abs() > epsilon).count() as f64;
    let factors: Vec<f64> = deltas
        .iter()
        .map(|model| {
            let changed = || (0..model.len()).filter(|i| model[*i].abs() > epsilon);
            let unique = changed().filter(|i| count(*i) == 1.0).count() as f64;
            let shared = changed().count() as f64 - unique;
            // Of none that is unique, none is scaled.
            if unique == 0.0 { f64::NAN } else { factor(shared / unique.max(epsilon)) }
        })
        .collect();
    each(inputs, &deltas, |deltas| {
        let active = deltas.iter().zip(&factors).filter(|(delta, _)| delta.abs() > epsilon);
        let active: Vec<(&f64, &f64)> = active.collect();
        match active[..] {
            [] => 0.0,
            [(delta, factor)] => delta * factor,
            _ => active.iter().map(|(delta, _)| *delta / active.len() as f64).sum(),
        }
    })
}

pub(crate) fn naive_magmax(inputs: &[Vec<f64>], params: &MagMax) -> Vec<f64> {
    each(inputs, &deltas(inputs), |deltas| {
        let largest = largest_first(deltas).first().map_or(0.0, |model| deltas[*model]);
        params.lambda * largest
    })
}

pub(crate) fn naive_consensus_ta(inputs: &[Vec<f64>], params: &ConsensusTa) -> Vec<f64> {
    let total: f64 = params.weights.iter().sum();
    let divisor = if params.normalize && total.abs() >= 1e-8 { total } else { 1.0 };
    each(inputs, &deltas(inputs), |deltas| {
        let mixed: f64 = deltas.iter().zip(&params.weights).map(|(d, w)| w * d).sum();
        let tau = mixed / divisor;
        let on = deltas.iter().filter(|d| d.abs() >= params.tall_lambda * (tau - **d).abs());
        if on.count() >= deltas.len().min(params.min_models as usize) {
            params.lambda * tau
        } else {
            0.0
        }
    })
}
