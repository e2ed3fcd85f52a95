//! The arithmetic of task vectors, many elements at once.

use mergecore_tensor::{Element, Simd, Vectorize};

use crate::task_vectors::Floor;
use crate::{Consensus, Elect, Election};

/// Elements computed at once, whatever the number of models.
const LANES: usize = 16;

/// A tile of pruned models, `stride` apart, and of the base.
#[derive(Clone, Copy)]
pub(crate) struct Deltas<'a, T> {
    pub(crate) base: &'a [T],
    pub(crate) pruned: &'a [T],
    pub(crate) stride: usize,
    pub(crate) factors: &'a [f64],
    /// None where nothing is rescaled.
    pub(crate) divisors: &'a [f64],
}

impl<'a, T: Element> Deltas<'a, T> {
    /// The elements of one model.
    #[inline(always)]
    fn model(&self, index: usize) -> &'a [T] {
        &self.pruned[index * self.stride..][..self.base.len()]
    }

    /// A model's deltas times its factor, or over its divisor and times its weight; zeros
    /// beyond `len`.
    #[inline(always)]
    fn weighted(
        &self,
        model: usize,
        at: usize,
        len: usize,
        divided: Option<&[f64]>,
    ) -> [f64; LANES] {
        let (mut base, mut values) = ([T::default(); LANES], [T::default(); LANES]);
        base[..len].copy_from_slice(&self.base[at..][..len]);
        values[..len].copy_from_slice(&self.model(model)[at..][..len]);
        let mut deltas = [0.0; LANES];
        for i in 0..LANES {
            let delta = values[i].widen() - base[i].widen();
            deltas[i] = match divided {
                Some(weights) => delta / self.divisors[model] * weights[model],
                None => delta * self.factors[model],
            };
        }
        deltas
    }

    /// A model's votes, as [`weighted`](Self::weighted) yields its deltas.
    #[inline(always)]
    fn votes(
        &self,
        election: Election,
        weighted: &[f64; LANES],
        model: usize,
        at: usize,
        len: usize,
    ) -> [f64; LANES] {
        let mut votes = *weighted;
        if election.elect == Elect::Unweighted {
            let divisor = self.divisors.get(model).copied().unwrap_or(1.0);
            let (base, values) = (&self.base[at..][..len], &self.model(model)[at..][..len]);
            for ((vote, base), value) in votes.iter_mut().zip(base).zip(values) {
                *vote = (value.widen() - base.widen()) / divisor;
            }
        }
        if election.consensus == Consensus::Count {
            for vote in &mut votes {
                // A NaN stays one.
                *vote = if *vote == 0.0 { 0.0 } else { vote.signum() };
            }
        }
        votes
    }

    /// Adds lambda times the combined deltas to the base.
    #[inline(always)]
    fn add_to_base(&self, at: usize, mixed: &[f64; LANES], lambda: f64, out: &mut [f64]) {
        for ((out, base), mixed) in out.iter_mut().zip(&self.base[at..]).zip(mixed) {
            *out = added(base.widen(), lambda * mixed);
        }
    }
}

/// The base changed; bit for bit itself where the change is zero.
#[inline(always)]
fn added(base: f64, change: f64) -> f64 {
    if change == 0.0 { base } else { base + change }
}

/// Base plus the weighted deltas.
pub(crate) struct Sum<'a, T> {
    pub(crate) deltas: Deltas<'a, T>,
    pub(crate) inverse: f64,
    pub(crate) lambda: f64,
    pub(crate) out: &'a mut [f64],
}

impl<T: Element> Sum<'_, T> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let mut mixed = [0.0; LANES];
        for model in 0..self.deltas.factors.len() {
            let deltas = self.deltas.weighted(model, at, len, None);
            for i in 0..LANES {
                mixed[i] += deltas[i];
            }
        }
        if self.inverse != 1.0 {
            mixed.iter_mut().for_each(|mixed| *mixed *= self.inverse);
        }
        self.deltas.add_to_base(at, &mixed, self.lambda, &mut self.out[at..][..len]);
    }
}

impl<T: Element> Vectorize for Sum<'_, T> {
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

/// Base plus the weighted deltas that have the elected sign.
pub(crate) struct Agreeing<'a, T> {
    pub(crate) deltas: Deltas<'a, T>,
    pub(crate) weights: &'a [f64],
    pub(crate) election: Election,
    pub(crate) floor: Floor,
    pub(crate) lambda: f64,
    pub(crate) out: &'a mut [f64],
}

impl<T: Element> Agreeing<'_, T> {
    /// Computes it: divided by the sum of the weights used or not, the deltas over their divisors
    /// and then times their weights, or times the quotients.
    pub(crate) fn run(self, simd: Simd, normalize: bool, divide: bool) {
        match (normalize, divide) {
            (false, false) => simd.run(Elected::<_, false, false>(self)),
            (true, false) => simd.run(Elected::<_, true, false>(self)),
            (false, true) => simd.run(Elected::<_, false, true>(self)),
            (true, true) => simd.run(Elected::<_, true, true>(self)),
        }
    }
}

struct Elected<'a, T, const NORMALIZE: bool, const DIVIDE: bool>(Agreeing<'a, T>);

impl<T: Element, const NORMALIZE: bool, const DIVIDE: bool> Elected<'_, T, NORMALIZE, DIVIDE> {
    #[inline(always)]
    fn lanes(&mut self, at: usize, len: usize) {
        let (deltas, election) = (self.0.deltas, self.0.election);
        let models = self.0.weights.len();
        let divided = DIVIDE.then_some(self.0.weights);
        let mut total = [0.0; LANES];
        for model in 0..models {
            let weighted = deltas.weighted(model, at, len, divided);
            let votes = deltas.votes(election, &weighted, model, at, len);
            for i in 0..LANES {
                total[i] += votes[i];
            }
        }
        let (mut mixed, mut divisors) = ([0.0; LANES], [0.0; LANES]);
        for model in 0..models {
            let weighted = deltas.weighted(model, at, len, divided);
            let votes = deltas.votes(election, &weighted, model, at, len);
            let weight = self.0.weights[model];
            for i in 0..LANES {
                let agrees = agrees(sign_if_minus(total[i]), votes[i]);
                mixed[i] += if agrees { weighted[i] } else { 0.0 };
                if NORMALIZE {
                    divisors[i] += if agrees { weight } else { 0.0 };
                }
            }
        }
        if NORMALIZE {
            for i in 0..LANES {
                mixed[i] *= self.0.floor.inverse(divisors[i]);
            }
        }
        deltas.add_to_base(at, &mixed, self.0.lambda, &mut self.0.out[at..][..len]);
    }
}

impl<T: Element, const NORMALIZE: bool, const DIVIDE: bool> Vectorize
    for Elected<'_, T, NORMALIZE, DIVIDE>
{
    type Output = ();

    #[inline(always)]
    fn vectorize(mut self) {
        let Election { consensus, elect } = self.0.election;
        let unweighted = elect == Elect::Unweighted;
        let plain =
            consensus == Consensus::Sum && (!unweighted || self.0.deltas.divisors.is_empty());
        match (self.0.weights.len(), plain, unweighted) {
            (2, true, false) => return self.few::<2, false>(),
            (3, true, false) => return self.few::<3, false>(),
            (2, true, true) => return self.few::<2, true>(),
            (3, true, true) => return self.few::<3, true>(),
            _ => {}
        }
        let whole = self.0.out.len() - self.0.out.len() % LANES;
        for at in (0..whole).step_by(LANES) {
            self.lanes(at, LANES);
        }
        if whole < self.0.out.len() {
            self.lanes(whole, self.0.out.len() - whole);
        }
    }
}

impl<T: Element, const NORMALIZE: bool, const DIVIDE: bool> Elected<'_, T, NORMALIZE, DIVIDE> {
    /// As [`lanes`](Self::lanes) for the whole tile, with the number of models known, signs
    /// elected by a sum, unweighted only of what is not rescaled: so that nothing between
    /// reading and writing leaves the registers.
    #[inline(always)]
    fn few<const N: usize, const UNWEIGHTED: bool>(self) {
        let base = &self.0.deltas.base[..self.0.out.len()];
        let mut models = [base; N];
        let (mut factors, mut divisors, mut weights) = ([0.0; N], [1.0; N], [0.0; N]);
        for m in 0..N {
            models[m] = &self.0.deltas.model(m)[..self.0.out.len()];
            (factors[m], weights[m]) = (self.0.deltas.factors[m], self.0.weights[m]);
            if DIVIDE {
                divisors[m] = self.0.deltas.divisors[m];
            }
        }
        let inverses =
            if NORMALIZE { inverses(&self.0.weights[..N], self.0.floor) } else { [1.0; 8] };
        let lambda = self.0.lambda;
        for (i, out) in self.0.out.iter_mut().enumerate() {
            let base = base[i].widen();
            let (mut deltas, mut votes, mut vote) = ([0.0; N], [0.0; N], 0.0);
            for m in 0..N {
                let delta = models[m][i].widen() - base;
                deltas[m] =
                    if DIVIDE { delta / divisors[m] * weights[m] } else { delta * factors[m] };
                votes[m] = if UNWEIGHTED { delta } else { deltas[m] };
                vote = if m == 0 { votes[0] } else { vote + votes[m] };
            }
            let minus = sign_if_minus(vote);
            let (mut mixed, mut agree) = (0.0, [false; N]);
            for m in 0..N {
                agree[m] = agrees(minus, votes[m]);
                let agreeing = if agree[m] { deltas[m] } else { 0.0 };
                mixed = if m == 0 { agreeing } else { mixed + agreeing };
            }
            if NORMALIZE {
                // One of them, chosen without a branch.
                let mut left = inverses;
                for m in (0..N).rev() {
                    for low in 0..1 << m {
                        left[low] = if agree[m] { left[low + (1 << m)] } else { left[low] };
                    }
                }
                mixed *= left[0];
            }
            *out = added(base, lambda * mixed);
        }
    }
}

/// What the sum of the deltas that agree is multiplied by, for each subset of at most three
/// models, the first model's bit lowest. Not inlined: the compiler would choose among the sums
/// and divide in the loop after all.
#[inline(never)]
fn inverses(weights: &[f64], floor: Floor) -> [f64; 8] {
    std::array::from_fn(|subset| {
        let agree = weights.iter().enumerate().filter(|(m, _)| subset >> m & 1 == 1);
        floor.inverse(agree.fold(0.0, |sum, (_, weight)| sum + weight))
    })
}

/// The sign bit where the sum of all deltas has elected minus; a tie (zero) elects plus.
#[inline(always)]
fn sign_if_minus(vote: f64) -> u64 {
    if vote >= 0.0 { 0 } else { 1 << 63 }
}

/// Whether a weighted delta has the elected sign. A NaN agrees, so that it is not hidden.
#[inline(always)]
fn agrees(minus: u64, delta: f64) -> bool {
    let opposes = f64::from_bits(delta.to_bits() ^ minus) <= 0.0;
    !opposes
}

/// Turns a tile's model into its delta, in place.
pub(crate) struct Subtract<'a> {
    pub(crate) base: &'a [f64],
    pub(crate) model: &'a mut [f64],
}

impl Vectorize for Subtract<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for (value, base) in self.model.iter_mut().zip(self.base) {
            *value -= base;
        }
    }
}
