//! The methods written down plainly: whole tensors, singular values by Jacobi's rotations.

use mergecore_spectral::{IsoC, Tsv};

/// A matrix by columns.
type Columns = Vec<Vec<f64>>;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The singular values that are not zero, the largest first, with their left and right vectors:
/// pairs of columns are made orthogonal until all are. A singular value less than 1e-12 of the
/// largest counts as zero.
pub(crate) fn svd(mut a: Columns) -> Vec<(f64, Vec<f64>, Vec<f64>)> {
    let n = a.len();
    if n > a[0].len() {
        let transposed = svd((0..a[0].len()).map(|i| a.iter().map(|c| c[i]).collect()).collect());
        return transposed.into_iter().map(|(value, left, right)| (value, right, left)).collect();
    }
    let unit = |i: usize| (0..n).map(|j| f64::from(u8::from(i == j))).collect();
    let mut v: Columns = (0..n).map(unit).collect();
    // Columns this short are what rounding left of ones that depend on others.
    let noise = 1e-28 * a.iter().map(|column| dot(column, column)).sum::<f64>();
    loop {
        let mut rotated = false;
        for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
            let (pp, pq, qq) = (dot(&a[p], &a[p]), dot(&a[p], &a[q]), dot(&a[q], &a[q]));
            if pq.abs() <= 1e-14 * (pp * qq).sqrt() || pp.min(qq) <= noise {
                continue;
            }
            rotated = true;
            let zeta = (qq - pp) / (2.0 * pq);
            let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
            let cos = 1.0 / (1.0 + tangent * tangent).sqrt();
            let sin = cos * tangent;
            for columns in [&mut a, &mut v] {
                for i in 0..columns[p].len() {
                    let (x, y) = (columns[p][i], columns[q][i]);
                    columns[p][i] = cos * x - sin * y;
                    columns[q][i] = sin * x + cos * y;
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let scaled = |column: &[f64], by: f64| column.iter().map(|x| x / by).collect::<Vec<f64>>();
    let norms = a.iter().map(|column| dot(column, column).sqrt());
    let mut all: Vec<_> = norms.zip(a.iter().zip(&v)).collect();
    all.sort_by(|x, y| y.0.total_cmp(&x.0));
    let zero = 1e-12 * all.first().map_or(0.0, |x| x.0);
    let found = all.into_iter().take_while(|x| x.0 > zero);
    found.map(|(norm, (column, v))| (norm, scaled(column, norm), v.clone())).collect()
}

/// Sum of value times left times right vector, row by row.
fn compose(parts: impl Iterator<Item = (f64, Vec<f64>, Vec<f64>)>, size: usize) -> Vec<f64> {
    let mut out = vec![0.0; size];
    for (value, left, right) in parts {
        for (row, x) in left.iter().enumerate() {
            for (column, y) in right.iter().enumerate() {
                out[row * right.len() + column] += value * x * y;
            }
        }
    }
    out
}

fn columns(rows: &[f64], columns: usize) -> Columns {
    (0..columns).map(|j| rows[j..].iter().step_by(columns).copied().collect()).collect()
}

fn polar(a: Columns) -> Columns {
    let (n, m) = (a.len(), a[0].len());
    let flat = compose(svd(a).into_iter().map(|(_, left, right)| (1.0, left, right)), n * m);
    columns(&flat, n)
}

fn delta(inputs: &[Vec<f64>], model: usize, weight: f64) -> Vec<f64> {
    inputs[1 + model].iter().zip(&inputs[0]).map(|(m, b)| weight * (m - b)).collect()
}

fn sum(inputs: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; inputs[0].len()];
    for (model, weight) in weights.iter().enumerate() {
        let terms = delta(inputs, model, *weight);
        sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }
    sum
}

fn onto_base(inputs: &[Vec<f64>], change: &[f64], factor: f64) -> Vec<f64> {
    inputs[0].iter().zip(change).map(|(base, change)| base + factor * change).collect()
}

pub(crate) fn naive_iso_c(inputs: &[Vec<f64>], shape: &[usize], params: &IsoC) -> Vec<f64> {
    let IsoC { weights, lambda, decompose } = params;
    let total = sum(inputs, weights);
    let &[rows, width] = shape else {
        return onto_base(inputs, &total, lambda / weights.len() as f64);
    };
    if !decompose {
        return onto_base(inputs, &total, lambda / weights.len() as f64);
    }
    let parts = svd(columns(&total, width));
    let mean = parts.iter().map(|part| part.0).sum::<f64>() / rows.min(width) as f64;
    let size = total.len();
    let flat = compose(parts.into_iter().map(|(_, left, right)| (mean, left, right)), size);
    onto_base(inputs, &flat, *lambda)
}

pub(crate) fn naive_tsv(inputs: &[Vec<f64>], shape: &[usize], params: &Tsv) -> Vec<f64> {
    let Tsv { weights, lambda, rank_fraction, decompose } = params;
    let (&[rows, width], true) = (shape, *decompose) else {
        return onto_base(inputs, &sum(inputs, weights), lambda / weights.len() as f64);
    };
    let values = rows.min(width);
    let keep = match rank_fraction {
        None => (values / weights.len()).max(1),
        Some(0.0) => 0,
        Some(fraction) => ((fraction * values as f64) as usize).max(1),
    };
    let of_model = |(model, weight): (usize, &f64)| {
        svd(columns(&delta(inputs, model, *weight), width)).into_iter().take(keep)
    };
    let parts: Vec<_> = weights.iter().enumerate().flat_map(of_model).collect();
    if parts.is_empty() {
        return inputs[0].clone();
    }
    let left = polar(parts.iter().map(|part| part.1.clone()).collect());
    let right = polar(parts.iter().map(|part| part.2.clone()).collect());
    let parts =
        parts.iter().zip(left).zip(right).map(|((part, left), right)| (part.0, left, right));
    onto_base(inputs, &compose(parts, rows * width), *lambda)
}
