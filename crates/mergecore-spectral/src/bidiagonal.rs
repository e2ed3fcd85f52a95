//! The singular value decomposition of a bidiagonal matrix, by implicit QR steps.

use mergecore_kernel::Simd;

use crate::rotations::{Panels, Rotation, Runs};

/// An upper bidiagonal matrix `b`, and matrices `left` and `right`: what is kept of a matrix
/// `left * b * transposed(right)`.
#[derive(Debug)]
pub(crate) struct Bidiagonal {
    pub(crate) diagonal: Vec<f64>,
    /// One element fewer.
    pub(crate) above: Vec<f64>,
    pub(crate) left: Panels,
    pub(crate) right: Panels,
}

/// Why it came to no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    Stopped,
    NoConvergence,
}

/// Rotations gathered of each side before they are applied: 4 MiB of them.
const GATHERED: usize = 1 << 18;

impl Bidiagonal {
    /// Makes the diagonal the singular values and `left` and `right` the singular vectors, in no
    /// order, by QR steps with the shifts of LAPACK's `dbdsqr` (Demmel and Kahan,
    /// [*Accurate singular values of bidiagonal matrices*][paper], 1990). What is less than the
    /// rounding errors of the largest element counts as zero.
    ///
    /// [paper]: https://doi.org/10.1137/0911052
    ///
    /// # Errors
    /// Where `stop` says so, and where it takes far more steps than the two or three a singular
    /// value that are usual.
    pub(crate) fn diagonalise(
        &mut self,
        simd: Simd,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Unfinished> {
        self.check_finite()?;
        let largest = self.diagonal.iter().chain(&self.above).fold(0.0, |m: f64, x| m.max(x.abs()));
        let negligible = largest * f64::EPSILON;
        for value in self.diagonal.iter_mut().chain(&mut self.above) {
            *value = if value.abs() <= negligible { 0.0 } else { *value };
        }
        let (mut lefts, mut rights) = (Runs::default(), Runs::default());
        let mut steps_left = 100 + 40 * self.diagonal.len();
        let mut last = self.diagonal.len().saturating_sub(1);
        while last > 0 {
            if self.above[last - 1].abs() <= negligible {
                self.above[last - 1] = 0.0;
                last -= 1;
                continue;
            }
            let apart = self.above[..last].iter().rposition(|value| value.abs() <= negligible);
            let first = apart.map_or(0, |at| at + 1);
            steps_left = steps_left.checked_sub(1).ok_or(Unfinished::NoConvergence)?;
            match self.shift(first, last, negligible) {
                0.0 => self.step_without_shift(first, last, &mut lefts, &mut rights),
                shift => self.step(first, last, shift, &mut lefts, &mut rights),
            }
            if lefts.len() >= GATHERED {
                self.rotate(simd, stop, &mut lefts, &mut rights)?;
            }
        }
        self.rotate(simd, stop, &mut lefts, &mut rights)?;
        for (column, value) in self.diagonal.iter_mut().enumerate().filter(|(_, v)| **v < 0.0) {
            *value = -*value;
            self.right.negate(column);
        }
        self.check_finite()
    }

    fn check_finite(&self) -> Result<(), Unfinished> {
        match self.diagonal.iter().chain(&self.above).all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(Unfinished::NoConvergence),
        }
    }

    fn rotate(
        &mut self,
        simd: Simd,
        stop: &dyn Fn() -> bool,
        lefts: &mut Runs,
        rights: &mut Runs,
    ) -> Result<(), Unfinished> {
        for (matrix, runs) in [(&mut self.left, lefts), (&mut self.right, rights)] {
            if stop() {
                return Err(Unfinished::Stopped);
            }
            matrix.rotate(simd, runs);
            runs.clear();
        }
        Ok(())
    }

    /// The shift for a step on the rows `first..=last`: an estimate of the singular value that
    /// will come out last, or zero. A row without diagonal element, after a step without shift,
    /// is a singular value of zero at the end.
    fn shift(&mut self, first: usize, last: usize, negligible: f64) -> f64 {
        let rows = &mut self.diagonal[first..=last];
        if let Some(zero) = rows.iter_mut().find(|value| value.abs() <= negligible) {
            *zero = 0.0;
            return 0.0;
        }
        let shift = smaller_singular_value(
            self.diagonal[last - 1],
            self.above[last - 1],
            self.diagonal[last],
        );
        let ratio = shift / self.diagonal[first];
        if ratio * ratio < f64::EPSILON { 0.0 } else { shift }
    }

    fn step(&mut self, first: usize, last: usize, shift: f64, lefts: &mut Runs, rights: &mut Runs) {
        let (d, e) = (&mut self.diagonal, &mut self.above);
        let mut f = (d[first].abs() - shift) * (f64::signum(d[first]) + shift / d[first]);
        let mut g = e[first];
        for i in first..last {
            let (right, r) = Rotation::onto_first(f, g);
            if i > first {
                e[i - 1] = r;
            }
            f = right.cos * d[i] + right.sin * e[i];
            e[i] = right.cos * e[i] - right.sin * d[i];
            g = right.sin * d[i + 1];
            d[i + 1] *= right.cos;
            let (left, r) = Rotation::onto_first(f, g);
            d[i] = r;
            f = left.cos * e[i] + left.sin * d[i + 1];
            d[i + 1] = left.cos * d[i + 1] - left.sin * e[i];
            if i + 1 < last {
                g = left.sin * e[i + 1];
                e[i + 1] *= left.cos;
            }
            lefts.push(left);
            rights.push(right);
        }
        e[last - 1] = f;
        lefts.end_run(first);
        rights.end_run(first);
    }

    fn step_without_shift(
        &mut self,
        first: usize,
        last: usize,
        lefts: &mut Runs,
        rights: &mut Runs,
    ) {
        let (d, e) = (&mut self.diagonal, &mut self.above);
        let mut right = Rotation { cos: 1.0, sin: 0.0 };
        let mut left = right;
        for i in first..last {
            let r;
            (right, r) = Rotation::onto_first(d[i] * right.cos, e[i]);
            if i > first {
                e[i - 1] = left.sin * r;
            }
            (left, d[i]) = Rotation::onto_first(left.cos * r, d[i + 1] * right.sin);
            lefts.push(left);
            rights.push(right);
        }
        let h = d[last] * right.cos;
        d[last] = h * left.cos;
        e[last - 1] = h * left.sin;
        lefts.end_run(first);
        rights.end_run(first);
    }
}

/// The smaller singular value of `[[f, g], [0, h]]`, as LAPACK's `dlas2`.
fn smaller_singular_value(f: f64, g: f64, h: f64) -> f64 {
    let (small, large) = (f.abs().min(h.abs()), f.abs().max(h.abs()));
    let g = g.abs();
    if small == 0.0 {
        return 0.0;
    }
    let (sum, difference) = (1.0 + small / large, (large - small) / large);
    if g < large {
        let ratio = (g / large) * (g / large);
        return small * 2.0
            / ((sum * sum + ratio).sqrt() + (difference * difference + ratio).sqrt());
    }
    let ratio = large / g;
    let (sum, difference) = (sum * ratio, difference * ratio);
    2.0 * small * ratio / ((1.0 + sum * sum).sqrt() + (1.0 + difference * difference).sqrt())
}

#[cfg(test)]
mod tests {
    use faer::Mat;

    use super::*;

    fn bidiagonal(diagonal: &[f64], above: &[f64]) -> Bidiagonal {
        let unit = Mat::identity(diagonal.len(), diagonal.len());
        Bidiagonal {
            diagonal: diagonal.to_vec(),
            above: above.to_vec(),
            left: Panels::from_matrix(&unit),
            right: Panels::from_matrix(&unit),
        }
    }

    #[test]
    fn two_rows() {
        // [[3, 4], [0, 5]]: the squares of its singular values are 5 and 45.
        assert!((smaller_singular_value(3.0, 4.0, 5.0) - 5f64.sqrt()).abs() < 1e-15);
        assert!((smaller_singular_value(3.0, 40.0, 5.0) - 0.3710936598703536).abs() < 1e-15);
        let mut b = bidiagonal(&[3.0, 5.0], &[4.0]);
        b.diagonalise(Simd::detect(), &|| false).expect("it converges");
        b.diagonal.sort_by(f64::total_cmp);
        assert!((b.diagonal[0] - 5f64.sqrt()).abs() < 1e-14);
        assert!((b.diagonal[1] - 45f64.sqrt()).abs() < 1e-14);
    }

    #[test]
    fn stops_where_it_is_told_to() {
        let mut b = bidiagonal(&[3.0, 5.0], &[4.0]);
        assert_eq!(b.diagonalise(Simd::detect(), &|| true), Err(Unfinished::Stopped));
    }

    #[test]
    fn nan_comes_to_an_end() {
        let mut b = bidiagonal(&[1.0, f64::NAN, 2.0], &[1.0, 1.0]);
        assert_eq!(b.diagonalise(Simd::detect(), &|| false), Err(Unfinished::NoConvergence));
    }
}
