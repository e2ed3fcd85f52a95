//! Dropping at random, the small more often than the large.

use mergecore_kernel::{Element, KernelError, Prune, Simd, StreamKey, TILE, Vectorize};

use crate::rank::{Ranked, ascending, index};

/// Keeps each element of each model with a probability that grows with the rank of its
/// magnitude in its row: the masks of DELLA ([arXiv:2406.11617]).
///
/// Element `e` of model `m` is kept if word `e` of stream `m` lies below its own probability,
/// to the nearest 2^-32.
///
/// [arXiv:2406.11617]: https://arxiv.org/abs/2406.11617
#[derive(Debug, Clone)]
pub(crate) struct MagPrune {
    key: StreamKey,
    chances: Vec<Chance>,
}

/// A model's density and half the spread of its probabilities.
#[derive(Debug, Clone, Copy)]
struct Chance {
    density: f64,
    epsilon: f64,
}

impl Chance {
    fn depends_on_rank(self) -> bool {
        0.0 < self.density && self.density < 1.0
    }

    /// Below which words keep the element of this rank, of so many.
    #[inline(always)]
    fn threshold(self, rank: f64, width: usize) -> f64 {
        let Chance { density, epsilon } = self;
        let probability = match width {
            1 => density,
            _ => density - epsilon + 2.0 * epsilon * rank / (width - 1) as f64,
        };
        (probability * 4_294_967_296.0).round()
    }
}

impl MagPrune {
    /// A mask with one density and one epsilon a model.
    ///
    /// # Errors
    /// Values that are not fractions, and where density less or plus epsilon is none, but for
    /// densities 0 and 1.
    pub(crate) fn new(
        key: StreamKey,
        densities: &[f64],
        epsilons: &[f64],
    ) -> Result<Self, KernelError> {
        KernelError::check_count("epsilon", epsilons, densities.len())?;
        let chance = |(density, epsilon): (&f64, &f64)| {
            let (density, epsilon) = (*density, *epsilon);
            KernelError::check_fraction("density", density)?;
            KernelError::check_fraction("epsilon", epsilon)?;
            let chance = Chance { density, epsilon };
            let fits = 0.0 < density - epsilon && density + epsilon < 1.0;
            if chance.depends_on_rank() && !fits {
                return Err(KernelError::ParameterPair {
                    parameters: ("density", "epsilon"),
                    values: (density, epsilon),
                    expected: "density - epsilon must be above 0 and density + epsilon below 1: set a smaller epsilon, or density 0 or 1",
                });
            }
            Ok(chance)
        };
        let chances = densities.iter().zip(epsilons).map(chance).collect::<Result<_, _>>()?;
        Ok(MagPrune { key, chances })
    }

    /// Writes to `out`, for each element of a row that begins at flat index `start`, what stands
    /// for it: of `kept` where it is kept, else of `dropped`.
    pub(crate) fn choose<T: Element, V: Copy>(
        &self,
        (simd, model, start): (Simd, usize, u64),
        (base, values): (&[T], &[T]),
        (dropped, kept): (&[V], &[V]),
        out: &mut [V],
    ) {
        let chance = self.chances[model];
        if !chance.depends_on_rank() {
            return out.copy_from_slice(if chance.density > 0.0 { kept } else { dropped });
        }
        let order = ascending(simd, base, values);
        let mut thresholds = vec![0.0; order.len()];
        simd.run(Thresholds { chance, order: &order, thresholds: &mut thresholds });
        let mut words = [0; TILE];
        let tiles = out.chunks_mut(TILE).zip(thresholds.chunks(TILE));
        let tiles = tiles.zip(dropped.chunks(TILE).zip(kept.chunks(TILE)));
        for (((out, thresholds), (dropped, kept)), start) in tiles.zip((start..).step_by(TILE)) {
            let words = &mut words[..out.len()];
            self.key.words(simd, model as u64, start, words);
            simd.run(KeepBelow { words, thresholds, dropped, kept, out });
        }
    }
}

impl Prune for MagPrune {
    fn prune<T: Element>(
        &self,
        simd: Simd,
        model: usize,
        start: u64,
        base: &[T],
        values: &[T],
        out: &mut [T],
    ) {
        self.choose((simd, model, start), (base, values), (base, values), out);
    }

    fn whole_rows(&self) -> bool {
        self.chances.iter().any(|chance| chance.depends_on_rank())
    }
}

/// Writes each element's threshold, elements being given by rank.
struct Thresholds<'a> {
    chance: Chance,
    order: &'a [Ranked],
    thresholds: &'a mut [f64],
}

impl Vectorize for Thresholds<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        /// Computed side by side before each goes to its place.
        const LANES: usize = 64;
        let width = self.order.len();
        for (first, order) in (0..width).step_by(LANES).zip(self.order.chunks(LANES)) {
            let mut thresholds = [0.0; LANES];
            for (lane, threshold) in thresholds.iter_mut().enumerate() {
                *threshold = self.chance.threshold((first + lane) as f64, width);
            }
            for (element, threshold) in order.iter().zip(thresholds) {
                self.thresholds[index(*element)] = threshold;
            }
        }
    }
}

/// Chooses between two runs, at most a tile long, element by element.
struct KeepBelow<'a, V> {
    words: &'a [u32],
    thresholds: &'a [f64],
    dropped: &'a [V],
    kept: &'a [V],
    out: &'a mut [V],
}

impl<V: Copy> Vectorize for KeepBelow<'_, V> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        /// Chosen at once, without a branch for each.
        const LANES: usize = 16;
        let KeepBelow { words, thresholds, dropped, kept, out } = self;
        let (groups, rest) = out.as_chunks_mut::<LANES>();
        let whole = LANES * groups.len();
        for (at, out) in (0..).step_by(LANES).zip(groups) {
            let (mut chosen, mut of_kept) = (*out, *out);
            chosen.copy_from_slice(&dropped[at..at + LANES]);
            of_kept.copy_from_slice(&kept[at..at + LANES]);
            let (words, thresholds) = (&words[at..at + LANES], &thresholds[at..at + LANES]);
            for i in 0..LANES {
                let below = f64::from(words[i]) < thresholds[i];
                chosen[i] = if below { of_kept[i] } else { chosen[i] };
            }
            *out = chosen;
        }
        for (i, out) in (whole..).zip(rest) {
            *out = if f64::from(words[i]) < thresholds[i] { kept[i] } else { dropped[i] };
        }
    }
}
