//! Directions on a sphere, each a combination of some vectors, which their angles tell apart.

use mergecore_kernel::Gram;

use crate::share;

/// The cosines of the angles between vectors. A direction is given by its coefficients, those
/// of the vectors made unit ones.
pub(crate) struct Sphere {
    cosines: Vec<Vec<f64>>,
}

impl Sphere {
    /// Of these vectors of a Gram matrix, none of them zero.
    pub(crate) fn of(gram: &Gram, vectors: &[usize]) -> Self {
        let cosine = |i: usize, j: usize| match i == j {
            true => 1.0,
            false => share::cosine(gram.dot(i, j), gram.norm(i) * gram.norm(j)),
        };
        let row = |i: &usize| vectors.iter().map(|j| cosine(*i, *j)).collect();
        Sphere { cosines: vectors.iter().map(row).collect() }
    }

    /// Walks from the direction `at` to the mean of the first so many vectors: in each step
    /// along the mean of the arcs to them, until a step is shorter than `tol` or `most` are
    /// done. An arc shorter than `tol` is none; one to the opposite point has no direction.
    pub(crate) fn karcher_mean(
        &self,
        points: usize,
        mut at: Vec<f64>,
        most: u32,
        tol: f64,
    ) -> Vec<f64> {
        for _ in 0..most {
            let mut step = vec![0.0; at.len()];
            let mut along = 0.0;
            for (point, step) in step.iter_mut().enumerate().take(points) {
                let cosine = self.dot(&at, point).clamp(-1.0, 1.0);
                let arc = libm::acos(cosine);
                let sine = libm::sin(arc);
                if arc < tol || sine == 0.0 || (cosine < 0.0 && sine < 1e-7) {
                    continue;
                }
                *step = arc / sine / points as f64;
                along += *step * cosine;
            }
            step.iter_mut().zip(&at).for_each(|(step, at)| *step -= along * at);
            let length = self.norm(&step);
            if length < tol || length == 0.0 {
                break;
            }
            let (stay, go) = (libm::cos(length), libm::sin(length) / length);
            at.iter_mut().zip(step).for_each(|(at, step)| *at = stay * *at + go * step);
            let norm = self.norm(&at);
            at.iter_mut().for_each(|at| *at /= norm);
        }
        at
    }

    fn dot(&self, direction: &[f64], vector: usize) -> f64 {
        direction.iter().zip(&self.cosines[vector]).map(|(share, cosine)| share * cosine).sum()
    }

    fn norm(&self, direction: &[f64]) -> f64 {
        let dots = direction.iter().enumerate().map(|(i, share)| share * self.dot(direction, i));
        dots.sum::<f64>().max(0.0).sqrt()
    }
}
