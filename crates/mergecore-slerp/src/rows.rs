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
            Some(base) => Gram::of_deltas(simd, base, &[a, b]),
        };
        simd.run(Blend { pair: Pair::of_gram(self.t, &gram), base, a, b, out });
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
