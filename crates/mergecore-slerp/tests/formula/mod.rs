//! The formulas written down plainly. What the tests and the fuzz target compare with.
#![allow(dead_code)] // each of them uses a part of it

use crate::support::sum;

pub(crate) mod karcher;
pub(crate) mod multislerp;
pub(crate) mod nuslerp;

pub(crate) fn naive(v0: &[f64], v1: &[f64], t: f64) -> Vec<f64> {
    let norm = |v| Some(norm(v)).filter(|norm| *norm > 1e-8).unwrap_or(1.0);
    let cosine = dot(v0, v1) / (norm(v0) * norm(v1));
    let (s0, s1) = if cosine.abs() > 0.9995 {
        (1.0 - t, t)
    } else {
        let theta = cosine.acos();
        (((1.0 - t) * theta).sin() / theta.sin(), (t * theta).sin() / theta.sin())
    };
    v0.iter().zip(v1).map(|(a, b)| s0 * a + s1 * b).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    sum(a.iter().zip(b).map(|(a, b)| a * b))
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

/// The sum of vectors times coefficients.
fn combine(coefficients: &[f64], vectors: &[Vec<f64>]) -> Vec<f64> {
    let element = |i: usize| sum(coefficients.iter().zip(vectors).map(|(c, v)| c * v[i]));
    (0..vectors[0].len()).map(element).collect()
}

/// Differences from the base, where there is one.
fn changes(base: Option<&[f64]>, models: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let Some(base) = base else { return models.to_vec() };
    let change = |model: &Vec<f64>| model.iter().zip(base).map(|(m, b)| m - b).collect();
    models.iter().map(change).collect()
}

/// The base, where there is one, and what is added to it.
fn onto(base: Option<&[f64]>, change: Vec<f64>) -> Vec<f64> {
    let Some(base) = base else { return change };
    base.iter().zip(change).map(|(base, change)| base + change).collect()
}
