//! NuSLERP of each column, along the first axis, by itself.

use std::ops::Range;

use mergecore_kernel::{Apply, KernelError, Order, Scan, Step, TILE, Tile, Vectorize};

use crate::pair::Pair;

/// Where the elements of a tensor go: those of one column, one a row, to its slots in turn.
///
/// Narrow tensors have several slots a column, so that runs of elements go to runs of slots
/// and no sum has too many terms.
#[derive(Debug, Clone, Copy)]
struct Slots {
    columns: usize,
    count: usize,
}

impl Slots {
    fn of(columns: u64) -> Self {
        let columns = columns as usize;
        Slots { columns, count: columns * (TILE / columns.max(1)).max(1) }
    }

    /// The slots of a run of elements, by flat index, as runs of slots in order.
    fn runs(self, start: u64, len: usize) -> impl Iterator<Item = Range<usize>> {
        let (mut at, mut left) = ((start % self.count.max(1) as u64) as usize, len);
        std::iter::from_fn(move || {
            let run = at..self.count.min(at + left);
            (at, left) = (0, left - run.len());
            (!run.is_empty()).then_some(run)
        })
    }
}

/// Sums each column's dot products, then interpolates.
#[derive(Debug)]
pub(crate) struct ColumnScan {
    t: f64,
    base: bool,
    slots: Slots,
}

impl ColumnScan {
    /// For a tensor of so many columns, of one row or more.
    pub(crate) fn new(t: f64, base: bool, columns: u64) -> Self {
        ColumnScan { t, base, slots: Slots::of(columns) }
    }
}

/// Sums of products, slot by slot from that of the element at flat index `start` on: no more
/// slots than elements.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    start: Option<u64>,
    aa: Vec<f64>,
    ab: Vec<f64>,
    bb: Vec<f64>,
}

impl Sums {
    /// Slots of all three, made to be there.
    fn slots(&mut self, run: Range<usize>) -> [&mut [f64]; 3] {
        [&mut self.aa, &mut self.ab, &mut self.bb].map(|sums| {
            sums.resize(sums.len().max(run.end), 0.0);
            &mut sums[run.clone()]
        })
    }
}

impl Scan for ColumnScan {
    type Partial = Sums;

    fn order(&self) -> Order {
        Order::Blocks
    }

    fn empty(&self) -> Sums {
        Sums::default()
    }

    fn fold(&self, sums: &mut Sums, tile: &mut Tile<'_>) {
        let (simd, len) = (tile.simd(), tile.len());
        let from_start = tile.start() - *sums.start.get_or_insert(tile.start());
        let first = usize::from(self.base);
        let base = self.base.then(|| tile.input(0));
        let (a, b) = (tile.input(first), tile.input(first + 1));
        let mut done = 0;
        for slots in self.slots.runs(from_start, len) {
            let part = done..done + slots.len();
            done = part.end;
            let [aa, ab, bb] = sums.slots(slots);
            let base = base.map(|base| &base[part.clone()]);
            simd.run(AddProducts { base, a: &a[part.clone()], b: &b[part], aa, ab, bb });
        }
    }

    fn combine(&self, total: &mut Sums, next: Sums) {
        let Some(start) = next.start else { return };
        total.start = Some(0);
        let mut done = 0;
        for slots in self.slots.runs(start, next.aa.len()) {
            let part = done..done + slots.len();
            done = part.end;
            for (total, next) in total.slots(slots).into_iter().zip([&next.aa, &next.ab, &next.bb])
            {
                for (total, next) in total.iter_mut().zip(&next[part.clone()]) {
                    *total += next;
                }
            }
        }
    }

    fn finish(self: Box<Self>, total: Sums) -> Result<Step, KernelError> {
        let Slots { columns, count } = self.slots;
        let column = |sums: &[f64], column: usize| -> f64 {
            sums.iter().skip(column).step_by(columns).sum()
        };
        let mut apply = ColumnApply {
            base: self.base,
            slots: self.slots,
            s0: vec![0.0; count],
            s1: vec![0.0; count],
            linear: vec![false; count],
        };
        for index in 0..columns {
            let [aa, ab, bb] = [&total.aa, &total.ab, &total.bb].map(|sums| column(sums, index));
            let pair = Pair::of(self.t, aa, ab, bb);
            for slot in (index..count).step_by(columns) {
                (apply.s0[slot], apply.s1[slot]) = (pair.s0, pair.s1);
                apply.linear[slot] = pair.linear;
            }
        }
        Ok(Step::apply(apply))
    }
}

struct AddProducts<'a> {
    base: Option<&'a [f64]>,
    a: &'a [f64],
    b: &'a [f64],
    aa: &'a mut [f64],
    ab: &'a mut [f64],
    bb: &'a mut [f64],
}

impl AddProducts<'_> {
    #[inline(always)]
    fn with(self, base: impl Fn(usize) -> f64) {
        let len = self.a.len();
        let (a, b) = (&self.a[..len], &self.b[..len]);
        let (aa, ab, bb) = (&mut self.aa[..len], &mut self.ab[..len], &mut self.bb[..len]);
        for i in 0..len {
            let (x, y) = (a[i] - base(i), b[i] - base(i));
            aa[i] += x * x;
            ab[i] += x * y;
            bb[i] += y * y;
        }
    }
}

impl Vectorize for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        match self.base {
            None => self.with(|_| 0.0),
            Some(base) => {
                let base = &base[..self.a.len()];
                self.with(|i| base[i]);
            }
        }
    }
}

/// Combines each column with its own coefficients, slot by slot.
struct ColumnApply {
    base: bool,
    slots: Slots,
    s0: Vec<f64>,
    s1: Vec<f64>,
    linear: Vec<bool>,
}

impl Apply for ColumnApply {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        let simd = tile.simd();
        let first = usize::from(self.base);
        let base = self.base.then(|| tile.input(0));
        let (a, b) = (tile.input(first), tile.input(first + 1));
        let mut done = 0;
        for slots in self.slots.runs(tile.start(), tile.len()) {
            let part = done..done + slots.len();
            done = part.end;
            simd.run(Blend {
                s0: &self.s0[slots.clone()],
                s1: &self.s1[slots.clone()],
                linear: &self.linear[slots],
                base: base.map(|base| &base[part.clone()]),
                a: &a[part.clone()],
                b: &b[part.clone()],
                out: &mut out[part],
            });
        }
    }
}

/// A run of elements, each combined with coefficients of its own.
struct Blend<'a> {
    s0: &'a [f64],
    s1: &'a [f64],
    linear: &'a [bool],
    base: Option<&'a [f64]>,
    a: &'a [f64],
    b: &'a [f64],
    out: &'a mut [f64],
}

impl Vectorize for Blend<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let len = self.out.len();
        let (s0, s1, linear) = (&self.s0[..len], &self.s1[..len], &self.linear[..len]);
        let (a, b, out) = (&self.a[..len], &self.b[..len], &mut self.out[..len]);
        let pair = |i: usize| Pair { s0: s0[i], s1: s1[i], linear: linear[i] };
        match self.base.map(|base| &base[..len]) {
            None => (0..len).for_each(|i| out[i] = pair(i).element(a[i], b[i])),
            Some(base) => {
                (0..len).for_each(|i| out[i] = pair(i).element_onto(base[i], a[i], b[i]));
            }
        }
    }
}
