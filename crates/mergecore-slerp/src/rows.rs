//! NuSLERP of each row by itself.

use mergecore_kernel::{Apply, Gram, Tile, Vectorize};

use crate::pair::Pair;

/// Interpolates row by row.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) t: f64,
    pub(crate) base: bool,
}

impl Apply for Rows {
    fn whole_rows(&self) -> bool {
        true
    }

    fn apply(&self, row: &mut Tile<'_>, out: &mut [f64]) {
        let simd = row.simd();
        let first = usize::from(self.base);
        let (a, b) = (row.input(first), row.input(first + 1));
        let base = self.base.then(|| row.input(0));
        let gram = match base {
            None => Gram::of(simd, &[a, b]),
            Some(base) => {
                let mut deltas = vec![0.0; 2 * base.len()];
                let (to_a, to_b) = deltas.split_at_mut(base.len());
                simd.run(Subtract { base, value: a, out: to_a });
                simd.run(Subtract { base, value: b, out: to_b });
                Gram::of(simd, &[to_a, to_b])
            }
        };
        simd.run(Blend { pair: Pair::of_gram(self.t, &gram), base, a, b, out });
    }
}

struct Subtract<'a> {
    base: &'a [f64],
    value: &'a [f64],
    out: &'a mut [f64],
}

impl Vectorize for Subtract<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for ((out, base), value) in self.out.iter_mut().zip(self.base).zip(self.value) {
            *out = value - base;
        }
    }
}

/// A row combined with one pair of coefficients.
struct Blend<'a> {
    pair: Pair,
    base: Option<&'a [f64]>,
    a: &'a [f64],
    b: &'a [f64],
    out: &'a mut [f64],
}

impl Vectorize for Blend<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let elements = self.out.iter_mut().zip(self.a).zip(self.b);
        match self.base {
            None => elements.for_each(|((out, a), b)| *out = self.pair.element(*a, *b)),
            Some(base) => {
                for (((out, a), b), base) in elements.zip(base) {
                    *out = self.pair.element_onto(*base, *a, *b);
                }
            }
        }
    }
}
