//! Each vector is gathered, interpolated and put back.

use super::{changes, dot, norm, onto};

/// `along`: the axis of the vectors, or none where the whole tensor is one.
pub(crate) fn naive(
    base: Option<&[f64]>,
    models: &[Vec<f64>],
    weights: [f64; 2],
    shape: &[usize],
    along: Option<usize>,
) -> Vec<f64> {
    let total = weights[0] + weights[1];
    let t = if total.abs() < 1e-6 { 0.5 } else { weights[1] / total };
    let vectors = changes(base, models);
    let mut out = vec![0.0; vectors[0].len()];
    for indices in vectors_of(shape, along) {
        let [a, b] = [0, 1].map(|m| indices.iter().map(|i| vectors[m][*i]).collect::<Vec<_>>());
        let (s0, s1) = shares(&a, &b, t);
        for (index, (a, b)) in indices.into_iter().zip(a.into_iter().zip(b)) {
            out[index] = s0 * a + s1 * b;
        }
    }
    onto(base, out)
}

fn shares(a: &[f64], b: &[f64], t: f64) -> (f64, f64) {
    let cosine = dot(a, b) / (norm(a).max(1e-7) * norm(b).max(1e-7));
    if a == b || 1.0 - cosine * cosine < 1e-14 {
        return (1.0 - t, t);
    }
    let theta = cosine.acos();
    (((1.0 - t) * theta).sin() / theta.sin(), (t * theta).sin() / theta.sin())
}

/// The flat indices of each vector.
fn vectors_of(shape: &[usize], along: Option<usize>) -> Vec<Vec<usize>> {
    let len = shape.iter().product::<usize>();
    let Some(axis) = along else { return vec![(0..len).collect()] };
    let stride: usize = shape[axis + 1..].iter().product();
    let starts = (0..len).filter(|i| (i / stride).is_multiple_of(shape[axis]));
    starts.map(|start| (0..shape[axis]).map(|k| start + k * stride).collect()).collect()
}
