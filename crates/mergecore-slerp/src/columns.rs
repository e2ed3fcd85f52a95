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
            linear: vec![0; count],
        };
        for index in 0..columns {
            let [aa, ab, bb] = [&total.aa, &total.ab, &total.bb].map(|sums| column(sums, index));
            let pair = Pair::of(self.t, aa, ab, bb);
            for slot in (index..count).step_by(columns) {
                (apply.s0[slot], apply.s1[slot]) = (pair.s0, pair.s1);
                apply.linear[slot] = pair.linear.into();
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

/// Elements computed at once: what is read and written of them lies in registers, so that no
/// loop has to fear that slices overlap.
const LANES: usize = 16;

/// So many elements from an index on, and zeros.
#[inline(always)]
fn load<T: Copy + Default>(from: &[T], at: usize, len: usize) -> [T; LANES] {
    let mut lanes = [T::default(); LANES];
    lanes[..len].copy_from_slice(&from[at..][..len]);
    lanes
}

impl AddProducts<'_> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let (mut a, mut b) = (load(self.a, at, len), load(self.b, at, len));
        if let Some(base) = self.base {
            let base: [f64; LANES] = load(base, at, len);
            for i in 0..LANES {
                a[i] -= base[i];
                b[i] -= base[i];
            }
        }
        let (mut aa, mut ab) = (load(self.aa, at, len), load(self.ab, at, len));
        let mut bb: [f64; LANES] = load(self.bb, at, len);
        for i in 0..LANES {
            aa[i] += a[i] * a[i];
            ab[i] += a[i] * b[i];
            bb[i] += b[i] * b[i];
        }
        self.aa[at..][..len].copy_from_slice(&aa[..len]);
        self.ab[at..][..len].copy_from_slice(&ab[..len]);
        self.bb[at..][..len].copy_from_slice(&bb[..len]);
    }
}

impl Vectorize for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        let whole = self.a.len() - self.a.len() % LANES;
        for at in (0..whole).step_by(LANES) {
            self.lanes(at, LANES);
        }
        if whole < self.a.len() {
            self.lanes(whole, self.a.len() - whole);
        }
    }
}

/// Combines each column with its own coefficients, slot by slot.
struct ColumnApply {
    base: bool,
    slots: Slots,
    s0: Vec<f64>,
    s1: Vec<f64>,
    /// 1 where the column's are averaged, as wide as the elements.
    linear: Vec<u64>,
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
    linear: &'a [u64],
    base: Option<&'a [f64]>,
    a: &'a [f64],
    b: &'a [f64],
    out: &'a mut [f64],
}

impl Blend<'_> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let (s0, s1) = (load(self.s0, at, len), load(self.s1, at, len));
        let linear: [u64; LANES] = load(self.linear, at, len);
        let (a, b) = (load(self.a, at, len), load(self.b, at, len));
        let mut out = [0.0; LANES];
        match self.base {
            None => {
                for i in 0..LANES {
                    let pair = Pair { s0: s0[i], s1: s1[i], linear: linear[i] != 0 };
                    out[i] = pair.element(a[i], b[i]);
                }
            }
            Some(base) => {
                let base = load(base, at, len);
                for i in 0..LANES {
                    let pair = Pair { s0: s0[i], s1: s1[i], linear: linear[i] != 0 };
                    out[i] = pair.element_onto(base[i], a[i], b[i]);
                }
            }
        }
        self.out[at..][..len].copy_from_slice(&out[..len]);
    }
}

impl Vectorize for Blend<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        let whole = self.out.len() - self.out.len() % LANES;
        for at in (0..whole).step_by(LANES) {
            self.lanes(at, LANES);
        }
        if whole < self.out.len() {
            self.lanes(whole, self.out.len() - whole);
        }
    }
}
