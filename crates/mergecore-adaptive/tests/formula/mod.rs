//! The formulas written down plainly: whole tensors, sorted. What the tests compare with.

use mergecore_adaptive::NearSwap;

use crate::support::sum;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    sum(a.iter().zip(b).map(|(a, b)| a * b))
}

/// `None` where the changes so nearly cancel that their dot products' last bits decide.
pub(crate) fn naive_model_stock(inputs: &[Vec<f64>], row: usize) -> Option<Vec<f64>> {
    let mut out = Vec::new();
    for start in (0..inputs[0].len()).step_by(row.max(1)) {
        let rows: Vec<&[f64]> = inputs.iter().map(|input| &input[start..start + row]).collect();
        let delta = |model: &[f64]| model.iter().zip(rows[0]).map(|(m, b)| m - b).collect();
        let deltas: Vec<Vec<f64>> = rows[1..].iter().map(|model| delta(model)).collect();
        let (n, mut cosines) = (deltas.len() as f64, Vec::new());
        for (i, a) in deltas.iter().enumerate() {
            for b in &deltas[i + 1..] {
                let norms = dot(a, a).sqrt() * dot(b, b).sqrt();
                cosines.push((dot(a, b) / norms.max(1e-6)).clamp(-1.0, 1.0));
            }
        }
        let cosine = cosines.iter().sum::<f64>() / cosines.len() as f64;
        let denominator = 1.0 + (n - 1.0) * cosine;
        let t = match denominator.abs() {
            ..1e-12 => 0.0,
            ..1e-2 => return None,
            _ => n * cosine / denominator,
        };
        out.extend((0..row).map(|i| {
            let mean = rows[1..].iter().map(|model| model[i]).sum::<f64>() / n;
            t * mean + (1.0 - t) * rows[0][i]
        }));
    }
    Some(out)
}

pub(crate) fn naive_nearswap(inputs: &[Vec<f64>], NearSwap { t }: NearSwap) -> Vec<f64> {
    let element = |(base, other): (&f64, &f64)| {
        let weight = (t / (base - other).abs().max(1e-6)).min(1.0);
        weight * other + (1.0 - weight) * base
    };
    inputs[0].iter().zip(&inputs[1]).map(element).collect()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = row.iter().map(|x| (x - greatest).exp()).collect();
    let total = sum(powers.iter().copied());
    powers.iter().map(|power| power / total).collect()
}

/// NaN where an element's importance is the threshold's but for rounding.
pub(crate) fn naive_arcee_fusion(inputs: &[Vec<f64>], columns: usize) -> Vec<f64> {
    let (base, other) = (&inputs[0], &inputs[1]);
    let mut importances = Vec::new();
    for (base, other) in base.chunks(columns.max(1)).zip(other.chunks(columns.max(1))) {
        let terms = softmax(other).into_iter().zip(softmax(base)).map(|(p, q)| {
            let (p, q) = (p + 1e-8, q + 1e-8);
            p * (p / q).ln()
        });
        let divergence = sum(terms);
        importances.extend(base.iter().zip(other).map(|(b, o)| (o - b).abs() * divergence));
    }
    let mut sorted = importances.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[(share * (sorted.len() - 1) as f64) as usize];
    let threshold = match sorted.len() {
        0 => 0.0,
        _ => at(0.5) + 1.5 * (at(0.75) - at(0.25)),
    };
    let element = |((base, other), importance): ((&f64, &f64), &f64)| {
        let near = (importance - threshold).abs() <= 1e-9 * threshold.abs();
        match importance {
            _ if near && threshold != 0.0 => f64::NAN,
            importance if *importance >= threshold => *other,
            _ => *base,
        }
    };
    base.iter().zip(other).zip(&importances).map(element).collect()
}
