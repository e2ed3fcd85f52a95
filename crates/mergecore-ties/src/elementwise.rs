//! Applies that compute an element from the base's and the models' there and nothing else.

use mergecore_kernel::{Element, Simd, TypedApply, Vectorize};

/// Elements computed at once, whatever the number of models.
pub(crate) const LANES: usize = 16;

/// What a method adds to the base. Mark the implementation `#[inline(always)]`.
pub(crate) trait Change: Send + Sync + 'static {
    /// The change of some elements, from those of the models.
    fn change<T: Element>(&self, models: Deltas<'_, T>) -> [f64; LANES];
}

/// Some elements of each model's changes.
#[derive(Clone, Copy)]
pub(crate) struct Deltas<'a, T> {
    runs: Runs<'a, T>,
    at: usize,
    len: usize,
}

impl<T: Element> Deltas<'_, T> {
    /// How many models there are.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.runs.models()
    }

    /// One model's.
    #[inline(always)]
    pub(crate) fn of(&self, model: usize) -> [f64; LANES] {
        self.runs.deltas(model, self.at, self.len)
    }
}

/// The base and its models, runs of one length.
#[derive(Clone, Copy)]
pub(crate) struct Runs<'a, T> {
    base: &'a [T],
    models: &'a [&'a [T]],
}

impl<'a, T: Element> Runs<'a, T> {
    /// The base is the first of the inputs.
    pub(crate) fn new(inputs: &'a [&'a [T]]) -> Self {
        let (base, models) = inputs.split_first().expect("a base");
        Runs { base, models }
    }

    #[inline(always)]
    pub(crate) fn models(&self) -> usize {
        self.models.len()
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.base.len()
    }

    /// A model's changes from index `at` on; zeros beyond `len` of them.
    #[inline(always)]
    pub(crate) fn deltas(&self, model: usize, at: usize, len: usize) -> [f64; LANES] {
        let (mut base, mut values) = ([T::default(); LANES], [T::default(); LANES]);
        base[..len].copy_from_slice(&self.base[at..][..len]);
        values[..len].copy_from_slice(&self.models[model][at..][..len]);
        let mut deltas = [0.0; LANES];
        for i in 0..LANES {
            deltas[i] = values[i].widen() - base[i].widen();
        }
        deltas
    }
}

/// Work done so many lanes at a time. Mark the implementation `#[inline(always)]`.
pub(crate) trait Lanewise {
    /// Does the work on the elements from index `at` on, of which there are `len`.
    fn lanes(&mut self, at: usize, len: usize);

    /// Does the work on all of `len` elements.
    #[inline(always)]
    fn all_lanes(&mut self, len: usize) {
        let whole = len - len % LANES;
        for at in (0..whole).step_by(LANES) {
            self.lanes(at, LANES);
        }
        if whole < len {
            self.lanes(whole, len - whole);
        }
    }
}

/// The apply that adds a change to the base; bit for bit the base where the change is zero.
pub(crate) struct Elementwise<C>(pub(crate) C);

impl<C: Change> TypedApply for Elementwise<C> {
    fn compute<T: Element>(
        &self,
        simd: Simd,
        _: u64,
        inputs: &[&[T]],
        _: &mut [T],
        out: &mut [f64],
    ) {
        simd.run(Add { change: &self.0, runs: Runs::new(inputs), out });
    }
}

struct Add<'a, C, T> {
    change: &'a C,
    runs: Runs<'a, T>,
    out: &'a mut [f64],
}

impl<C: Change, T: Element> Lanewise for Add<'_, C, T> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let runs = self.runs;
        let change = self.change.change(Deltas { runs, at, len });
        let out = self.out[at..][..len].iter_mut();
        for ((out, base), change) in out.zip(&runs.base[at..]).zip(change) {
            let base = base.widen();
            *out = if change == 0.0 { base } else { base + change };
        }
    }
}

impl<C: Change, T: Element> Vectorize for Add<'_, C, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        self.all_lanes(self.out.len());
    }
}
