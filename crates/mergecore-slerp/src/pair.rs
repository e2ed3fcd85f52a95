//! The coefficients of two vectors in NuSLERP.

use mergecore_kernel::{Gram, Step};

use crate::share;

/// How two vectors are combined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair {
    pub(crate) s0: f64,
    pub(crate) s1: f64,
    /// Whether they are averaged, so that the base cancels and equal elements stay.
    pub(crate) linear: bool,
}

/// A vector shorter than this has no direction of its own: its norm counts as this much.
const SHORTEST: f64 = 1e-7;

impl Pair {
    /// The coefficients at `t` of vectors with these dot products.
    pub(crate) fn of(t: f64, aa: f64, ab: f64, bb: f64) -> Self {
        let norms = aa.sqrt().max(SHORTEST) * bb.sqrt().max(SHORTEST);
        let cosine = share::cosine(ab, norms);
        // Equal vectors without a direction have to come out as they are.
        let equal = aa == ab && ab == bb;
        if equal || cosine.abs() == 1.0 {
            return Pair { s0: 1.0 - t, s1: t, linear: true };
        }
        let theta = libm::acos(cosine);
        let sine = libm::sin(theta);
        let (s0, s1) = (libm::sin((1.0 - t) * theta) / sine, libm::sin(t * theta) / sine);
        Pair { s0, s1, linear: false }
    }

    pub(crate) fn of_gram(t: f64, gram: &Gram) -> Self {
        Pair::of(t, gram.dot(0, 0), gram.dot(0, 1), gram.dot(1, 1))
    }

    pub(crate) fn step(self, base: bool) -> Step {
        let coefficients = vec![self.s0, self.s1];
        match self.linear {
            true => share::average(coefficients, base),
            false => share::sum(coefficients, base),
        }
    }

    /// One element of the combination.
    #[inline(always)]
    pub(crate) fn element(self, a: f64, b: f64) -> f64 {
        let sum = self.s0 * a + self.s1 * b;
        if self.linear && a.to_bits() == b.to_bits() { a } else { sum }
    }

    /// One element of the combination of differences from a base.
    #[inline(always)]
    pub(crate) fn element_onto(self, base: f64, a: f64, b: f64) -> f64 {
        let change = self.s0 * (a - base) + self.s1 * (b - base);
        let changed = if change == 0.0 { base } else { base + change };
        if self.linear { self.element(a, b) } else { changed }
    }
}
