//! Exact order statistics without sorting: the k-th largest key of a tensor.
//!
//! Bit patterns of non-negative doubles sort like integers, so magnitudes are
//! selected among integers. A sample says between which two keys the k-th will be; one
//! pass counts the keys above, those equal to either of the two (of 16-bit weights many
//! are), and writes down the few between. Where those are too many to be written down, a
//! histogram of them narrows the range for another pass. The sample decides how fast this
//! goes, never the outcome. Equal keys are kept lowest index first.

use std::ops::Range;

use mergecore_tensor::{Elements, Simd};

use crate::key_range::{Bounds, Equal, Split, flagged};
use crate::{Extent, KernelError, Order, Scan, Step, TILE, Tile};

/// Keys to select among: one or more lanes (one a model, say), each with one key
/// an element.
///
/// ```
/// use mergecore_kernel::{Keys, Tile, magnitude_key};
///
/// /// Each input is a lane of its own.
/// struct Magnitudes;
///
/// impl Keys for Magnitudes {
///     fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
///         for (key, value) in out.iter_mut().zip(tile.input(lane)) {
///             *key = magnitude_key(*value);
///         }
///     }
/// }
/// # use mergecore_kernel::{Combination, Extent, Step, select};
/// # let first = |_| Ok(Step::apply(Combination::select(0, 2)));
/// # assert!(matches!(select(Magnitudes, &[1, 2], Extent::of(&[4]), first), Ok(Step::Scan(_))));
/// ```
pub trait Keys: Send + Sync + 'static {
    /// Writes the keys of a tile's elements in one lane; see [`magnitude_key`].
    fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]);

    /// The first of the lanes that have the keys of this one, where several order statistics
    /// of one set of keys are sought: lanes side by side, whose keys are asked for once, as the
    /// first one's. By default, each lane has keys of its own.
    fn source(&self, lane: usize) -> usize {
        lane
    }

    /// Writes the keys of at most a tile's stored elements, where all are finite magnitudes
    /// that `f32` holds exactly, as bits of an `f32`, which is faster. `false` where one is not,
    /// or there is no such way: then [`keys`](Self::keys) counts and `out` does not.
    fn single_keys(
        &self,
        _lane: usize,
        _simd: Simd,
        _inputs: &[Elements<'_>],
        _out: &mut [i32],
    ) -> bool {
        false
    }
}

/// The key of a magnitude: its bit pattern without the sign, which orders like
/// the magnitude itself.
///
/// ```
/// use mergecore_kernel::magnitude_key;
///
/// assert!(magnitude_key(-2.0) > magnitude_key(1.5));
/// assert_eq!(magnitude_key(-0.0), magnitude_key(0.0));
/// ```
#[inline(always)]
pub fn magnitude_key(value: f64) -> u64 {
    value.to_bits() & (u64::MAX >> 1)
}

/// Which elements are among the largest: those whose key exceeds [`key`](Self::key),
/// and of those whose key equals it the ones below an index.
///
/// ```
/// use mergecore_kernel::{Cutoff, magnitude_key};
///
/// let cutoff = Cutoff { key: magnitude_key(2.0), equal_below: 5 };
/// assert!(cutoff.keeps(magnitude_key(-3.0), 100));
/// assert!(cutoff.keeps(magnitude_key(2.0), 4));
/// assert!(!cutoff.keeps(magnitude_key(2.0), 5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoff {
    /// The smallest kept key.
    pub key: u64,
    /// Elements with exactly that key are kept below this flat index.
    pub equal_below: u64,
}

impl Cutoff {
    /// Keeps every element.
    pub const ALL: Cutoff = Cutoff { key: 0, equal_below: u64::MAX };
    /// Keeps none.
    pub const NONE: Cutoff = Cutoff { key: u64::MAX, equal_below: 0 };

    /// Whether the element at flat index `index` with this key is kept.
    ///
    /// ```
    /// use mergecore_kernel::{Cutoff, magnitude_key};
    ///
    /// assert!(Cutoff::ALL.keeps(magnitude_key(0.0), 0));
    /// assert!(!Cutoff::NONE.keeps(magnitude_key(f64::MAX), 0));
    /// ```
    #[inline]
    pub fn keeps(&self, key: u64, index: u64) -> bool {
        key > self.key || (key == self.key && index < self.equal_below)
    }
}

/// A step that finds, in each lane, the cutoff above which `counts[lane]`
/// elements lie, and continues with `then`.
///
/// Exactly that many elements are kept, except that a cutoff of key zero keeps
/// every element whose key is zero: pruning what is zero changes nothing.
///
/// # Errors
/// What `then` returns.
///
/// # Panics
/// Where [`Keys::keys`] does, on tensors that lack the inputs it reads.
///
/// ```
/// # use mergecore_kernel::{Extent, Kernel, KernelError, Keys, Step};
/// use mergecore_kernel::{Apply, Cutoff, Tile, magnitude_key, merge_slices, select};
///
/// # #[derive(Debug)]
/// struct LargestTwo;
///
/// impl Kernel for LargestTwo {
///     fn first(&self, extent: Extent) -> Result<Step, KernelError> {
///         select(Magnitudes, &[2], extent, |cutoffs| Ok(Step::apply(Kept(cutoffs[0]))))
///     }
/// }
///
/// struct Kept(Cutoff);
///
/// impl Apply for Kept {
///     fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
///         for ((out, value), index) in out.iter_mut().zip(tile.input(0)).zip(tile.start()..) {
///             *out = if self.0.keeps(magnitude_key(*value), index) { *value } else { 0.0 };
///         }
///     }
/// }
/// # struct Magnitudes;
/// # impl Keys for Magnitudes {
/// #     fn keys(&self, lane: usize, tile: &Tile<'_>, out: &mut [u64]) {
/// #         for (key, value) in out.iter_mut().zip(tile.input(lane)) {
/// #             *key = magnitude_key(*value);
/// #         }
/// #     }
/// # }
///
/// let mut out = [0.0f32; 4];
/// merge_slices(&LargestTwo, &[&[1.0f32, -3.0, 3.0, -3.0]], &[4], &mut out)?;
/// assert_eq!(out, [0.0, -3.0, 3.0, 0.0]); // of equals, those of lowest index
/// # Ok::<(), KernelError>(())
/// ```
pub fn select<K: Keys>(
    keys: K,
    counts: &[u64],
    extent: Extent,
    then: impl FnOnce(Vec<Cutoff>) -> Result<Step, KernelError> + Send + Sync + 'static,
) -> Result<Step, KernelError> {
    let lane = |count: &u64| match *count {
        0 => Lane::Done(Cutoff::NONE),
        count if count >= extent.len() => Lane::Done(Cutoff::ALL),
        needed if extent.len() <= SMALL => Lane::Search { low: 1, high: MAX_KEY, needed },
        needed => Lane::Sample { needed },
    };
    let lanes = counts.iter().map(lane).collect();
    SelectScan { keys, lanes, extent, then: Box::new(then) }.next()
}

/// Keys have 63 bits.
const MAX_KEY: u64 = i64::MAX as u64;

/// Of a tensor of at most so many elements no sample is taken.
const SMALL: u64 = 8 * TILE as u64;

/// Runs that a sample consists of, at most.
const RUNS: u64 = 256;

/// Standard deviations of the sampled rank by which the range is wider on either side. Of
/// elements drawn at random, the cutoff would lie beyond in one tensor of 400, which then takes
/// another pass or a few: cheaper than to write down more keys of all.
const MARGIN: f64 = 3.0;

/// Parts of a tensor, at most, in which equal keys are counted apart.
const PARTS: u64 = 1 << 12;

/// Keys that a partial writes down, all lanes together: 4 MiB.
const LOG: usize = 1 << 18;

/// Bins of the histogram of a range.
const BINS: u32 = 1 << 12;

type Then = Box<dyn FnOnce(Vec<Cutoff>) -> Result<Step, KernelError> + Send + Sync>;

struct SelectScan<K> {
    keys: K,
    lanes: Vec<Lane>,
    extent: Extent,
    then: Then,
}

/// How far a lane's selection has come.
enum Lane {
    /// Draw a sample, to guess a range that holds the cutoff. `needed` elements are to be
    /// kept in all.
    Sample {
        needed: u64,
    },
    /// The cutoff is guessed to lie within `low..=high`, which is above zero.
    Search {
        low: u64,
        high: u64,
        needed: u64,
    },
    /// The cutoff's key is known, and the part in which the last kept one of the equal
    /// elements lies: it is the `needed`-th there.
    Part {
        key: u64,
        start: u64,
        needed: u64,
    },
    Done(Cutoff),
}

/// What one lane found in a run of elements.
enum Found {
    Nothing,
    Sample(Vec<u64>),
    Range(InRange),
    /// Indices of equal keys.
    Indices(Vec<u64>),
}

/// What there is of the keys above, at the ends of and within a range.
struct InRange {
    above: u64,
    /// Those equal to the greatest of the range.
    top: ByPart,
    /// Those equal to the least, where it is another.
    bottom: ByPart,
    between: Between,
    binning: Binning,
}

/// Keys strictly between the ends of a range.
enum Between {
    /// Each with its element's index.
    Log(Vec<(u64, u64)>),
    /// A histogram, once there are more than fit.
    Bins(Vec<Bin>),
}

/// Numbers of elements by [`part`], each with the part's first element.
#[derive(Default)]
struct ByPart(Vec<(u64, u64)>);

impl ByPart {
    fn add(&mut self, part: u64, count: u64) {
        match self.0.last_mut() {
            _ if count == 0 => {}
            Some((last, total)) if *last == part => *total += count,
            _ => self.0.push((part, count)),
        }
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Where the `needed`-th of elements of this key lies, in index order.
    fn place(mut self, key: u64, mut needed: u64) -> Lane {
        self.0.sort_unstable();
        // Of a part there is one number from each worker that saw some of it.
        for counts in self.0.chunk_by(|a, b| a.0 == b.0) {
            let count = counts.iter().map(|(_, count)| count).sum();
            if needed <= count {
                return Lane::Part { key, start: counts[0].0, needed };
            }
            needed -= count;
        }
        unreachable!("the caller has counted that there are as many")
    }
}

/// How many keys a bin has, and the least and the greatest of them.
#[derive(Clone, Copy)]
struct Bin {
    count: u64,
    least: u64,
    greatest: u64,
}

impl Bin {
    const EMPTY: Bin = Bin { count: 0, least: u64::MAX, greatest: 0 };

    fn of(key: u64) -> Bin {
        Bin { count: 1, least: key, greatest: key }
    }

    fn add(&mut self, other: Bin) {
        self.count += other.count;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }
}

impl<K: Keys> SelectScan<K> {
    fn next(self) -> Result<Step, KernelError> {
        let done = self.lanes.iter().map(|lane| match lane {
            Lane::Done(cutoff) => Some(*cutoff),
            _ => None,
        });
        match done.collect() {
            Some(cutoffs) => (self.then)(cutoffs),
            None => Ok(Step::scan(self)),
        }
    }

    fn count_wide(&self, lane: (&Lane, &mut Found), simd: Simd, start: u64, keys: &[u64; TILE]) {
        let keys = keys.map(|key| key as i64);
        self.count(lane, simd, start, &keys, Bounds::new, |key| key as u64);
    }

    /// Counts a tile's keys, which are zero beyond its end, against what a lane looks for;
    /// `bounds` makes those of a range of keys, `key` turns one into that of an `f64`.
    fn count<T: Copy + PartialOrd>(
        &self,
        (lane, found): (&Lane, &mut Found),
        simd: Simd,
        start: u64,
        keys: &[T; TILE],
        bounds: impl Fn(u64, u64) -> Bounds<T>,
        key: impl Fn(T) -> u64,
    ) {
        let mut between = [0; TILE];
        match (lane, found) {
            (Lane::Search { low, high, .. }, Found::Range(found)) => {
                let bounds = bounds(*low, *high);
                let counts = simd.run(Split { keys, bounds: &bounds, between: &mut between });
                found.above += u64::from(counts.above);
                let first = start - start % part(self.extent);
                found.top.add(first, u64::from(counts.top));
                found.bottom.add(first, u64::from(counts.bottom));
                for at in flagged(&between) {
                    found.between.note(key(keys[at]), start + at as u64, found.binning);
                }
                // All lanes together write down no more than fits.
                if found.between.logged() > LOG / self.lanes.len() {
                    found.between.bin(found.binning);
                }
            }
            (Lane::Part { key, start: first, .. }, Found::Indices(indices))
                if (*first..first + part(self.extent)).contains(&start) =>
            {
                let Bounds { low, from, .. } = bounds(*key, *key);
                // Else none of these keys can be that one.
                if low == from {
                    simd.run(Equal { keys, key: from, equal: &mut between });
                    indices.extend(flagged(&between).map(|at| start + at as u64));
                }
            }
            _ => {}
        }
    }
}

/// Evenly spread runs of whole tiles, in all about as many elements as make the least work:
/// the more there are, the fewer keys lie in the range that they tell, but each is work too.
/// All lanes together sample no more than is written down later.
fn sampled(extent: Extent, lanes: usize) -> Vec<Range<u64>> {
    let (len, tile) = (extent.len(), TILE as u64);
    let enough = (1.5 * len as f64).powf(2.0 / 3.0) as u64;
    let enough = enough.min((LOG / lanes) as u64).max(tile);
    let runs = enough.div_ceil(tile).min(RUNS);
    let run = enough.div_ceil(runs).next_multiple_of(tile);
    let step = len.div_ceil(runs).next_multiple_of(tile);
    (0..len).step_by(step as usize).map(|start| start..len.min(start + run)).collect()
}

/// Elements of the parts in which equal keys are counted apart: of one of them the keys are
/// looked at again.
fn part(extent: Extent) -> u64 {
    extent.len().div_ceil(PARTS).next_multiple_of(TILE as u64)
}

impl<K: Keys> Scan for SelectScan<K> {
    type Partial = Vec<Found>;

    fn order(&self) -> Order {
        Order::Any
    }

    fn ranges(&self, extent: Extent) -> Vec<Range<u64>> {
        let mut starts = Vec::new();
        let mut samples = false;
        for lane in &self.lanes {
            match lane {
                Lane::Done(_) => {}
                Lane::Part { start, .. } => starts.push(*start),
                Lane::Sample { .. } => samples = true,
                _ => return vec![Range { start: 0, end: extent.len() }],
            }
        }
        if samples {
            // All lanes begin with a sample, so that none is at a part yet.
            return sampled(extent, self.lanes.len());
        }
        starts.sort_unstable();
        starts.dedup();
        starts.into_iter().map(|start| start..extent.len().min(start + part(extent))).collect()
    }

    fn empty(&self) -> Vec<Found> {
        let empty = |lane: &Lane| match lane {
            Lane::Done(_) => Found::Nothing,
            Lane::Sample { .. } => Found::Sample(Vec::new()),
            Lane::Search { low, high, .. } => Found::Range(InRange {
                above: 0,
                top: ByPart::default(),
                bottom: ByPart::default(),
                between: Between::Log(Vec::new()),
                binning: Binning::new(*low, *high),
            }),
            Lane::Part { .. } => Found::Indices(Vec::new()),
        };
        self.lanes.iter().map(empty).collect()
    }

    fn fold(&self, partial: &mut Vec<Found>, tile: &mut Tile<'_>) {
        // What lies beyond a shorter tile stays zero, which is in no range.
        let mut keys = [0; TILE];
        let len = tile.len();
        let mut held = None;
        for (index, (lane, found)) in self.lanes.iter().zip(partial).enumerate() {
            if let Lane::Done(_) = lane {
                continue;
            }
            let source = self.keys.source(index);
            if held != Some(source) {
                self.keys.keys(source, tile, &mut keys[..len]);
                held = Some(source);
            }
            match found {
                Found::Sample(sample) => sample.extend(&keys[..len]),
                found => self.count_wide((lane, found), tile.simd(), tile.start(), &keys),
            }
        }
    }

    fn fold_stored(
        &self,
        partial: &mut Vec<Found>,
        simd: Simd,
        start: u64,
        inputs: &[Elements<'_>],
    ) -> bool {
        if self.lanes.iter().any(|lane| matches!(lane, Lane::Sample { .. })) {
            return false;
        }
        let len = inputs.first().map_or(0, Elements::len);
        let (mut parts, mut values) = (Vec::with_capacity(inputs.len()), Vec::new());
        let (mut keys, mut wide_keys) = ([0; TILE], [0; TILE]);
        for at in (0..len).step_by(TILE) {
            let len = (len - at).min(TILE);
            // What lies beyond a shorter tile is zero, which is in no range.
            keys[len..].fill(0);
            wide_keys[len..].fill(0);
            parts.clear();
            parts.extend(inputs.iter().map(|input| input.part(at, len)));
            let at = start + at as u64;
            // Whose keys there are, and whether as those of `f32`.
            let (mut held, mut single) = (None, false);
            for (index, (lane, found)) in self.lanes.iter().zip(&mut *partial).enumerate() {
                if let Lane::Done(_) = lane {
                    continue;
                }
                let source = self.keys.source(index);
                if held != Some(source) {
                    single = self.keys.single_keys(source, simd, &parts, &mut keys[..len]);
                    if !single {
                        let tile = Tile::widened(at, self.extent, simd, &parts, &mut values);
                        self.keys.keys(source, &tile, &mut wide_keys[..len]);
                    }
                    held = Some(source);
                }
                if single {
                    let key = |key: i32| f64::from(f32::from_bits(key as u32)).to_bits();
                    self.count((lane, found), simd, at, &keys, Bounds::single, key);
                } else {
                    self.count_wide((lane, found), simd, at, &wide_keys);
                }
            }
        }
        true
    }

    fn combine(&self, total: &mut Vec<Found>, next: Vec<Found>) {
        for (total, next) in total.iter_mut().zip(next) {
            total.add(next);
        }
    }

    fn finish(mut self: Box<Self>, total: Vec<Found>) -> Result<Step, KernelError> {
        let lanes = std::mem::take(&mut self.lanes);
        let len = self.extent.len();
        self.lanes =
            lanes.into_iter().zip(total).map(|(lane, found)| lane.advance(found, len)).collect();
        self.next()
    }
}

/// Which bin of a range's histogram a key belongs to.
#[derive(Clone, Copy)]
struct Binning {
    /// The range's least key.
    least: u64,
    /// By how much a key less that is shifted to the right.
    shift: u32,
}

impl Binning {
    fn new(low: u64, high: u64) -> Self {
        let bits = u64::BITS - (high - low).leading_zeros();
        Binning { least: low, shift: bits.saturating_sub(BINS.ilog2()) }
    }

    fn bin(self, key: u64) -> usize {
        ((key - self.least) >> self.shift) as usize
    }
}

impl Between {
    #[inline]
    fn note(&mut self, key: u64, index: u64, binning: Binning) {
        match self {
            Between::Log(log) => log.push((key, index)),
            Between::Bins(bins) => bins[binning.bin(key)].add(Bin::of(key)),
        }
    }

    fn logged(&self) -> usize {
        match self {
            Between::Log(log) => log.len(),
            Between::Bins(_) => 0,
        }
    }

    /// Makes a histogram of what is there, which is yielded.
    fn bin(&mut self, binning: Binning) -> &mut Vec<Bin> {
        if let Between::Log(log) = self {
            let mut bins = vec![Bin::EMPTY; BINS as usize];
            for (key, _) in log {
                bins[binning.bin(*key)].add(Bin::of(*key));
            }
            *self = Between::Bins(bins);
        }
        match self {
            Between::Bins(bins) => bins,
            Between::Log(_) => unreachable!("made a histogram just now"),
        }
    }

    fn add(&mut self, mut next: Between, binning: Binning) {
        match (&mut *self, &mut next) {
            (Between::Log(log), Between::Log(more)) => log.append(more),
            _ => {
                for (bin, more) in self.bin(binning).iter_mut().zip(next.bin(binning)) {
                    bin.add(*more);
                }
            }
        }
    }

    fn count(&self) -> u64 {
        match self {
            Between::Log(log) => log.len() as u64,
            Between::Bins(bins) => bins.iter().map(|bin| bin.count).sum(),
        }
    }

    /// The next state of a lane whose cutoff is the `rest`-th of these.
    fn advance(self, rest: u64, needed: u64) -> Lane {
        match self {
            Between::Log(mut log) => {
                let by = |(key, index): &(u64, u64)| (std::cmp::Reverse(*key), *index);
                let (_, (key, index), _) = log.select_nth_unstable_by_key(rest as usize - 1, by);
                Lane::Done(Cutoff { key: *key, equal_below: *index + 1 })
            }
            Between::Bins(bins) => {
                let (Bin { count, least, greatest }, rest) = bin_of(&bins, rest);
                if count == rest {
                    return Lane::Done(Cutoff { key: least, equal_below: u64::MAX });
                }
                Lane::Search { low: least, high: greatest, needed }
            }
        }
    }
}

impl InRange {
    /// The next state of a lane that needs so many elements, its range being this.
    fn advance(self, low: u64, high: u64, needed: u64) -> Lane {
        let (top, bottom) = (self.top.total(), self.bottom.total());
        let between = self.between.count();
        // How many of what follows are still to be kept.
        let Some(rest) = needed.checked_sub(self.above).filter(|rest| *rest > 0) else {
            return Lane::Search { low: high + 1, high: MAX_KEY, needed };
        };
        if rest <= top {
            return self.top.place(high, rest);
        }
        let rest = rest - top;
        if rest > between {
            let rest = rest - between;
            if rest <= bottom {
                return self.bottom.place(low, rest);
            }
            return match low {
                // Some zeros are to be kept, hence all may be.
                0 | 1 => Lane::Done(Cutoff { key: 0, equal_below: u64::MAX }),
                _ => Lane::Search { low: 1, high: low - 1, needed },
            };
        }
        self.between.advance(rest, needed)
    }
}

/// The bin, counted from the top, that holds the `needed`-th element, and how many
/// are still needed within it.
fn bin_of(bins: &[Bin], mut needed: u64) -> (Bin, u64) {
    for bin in bins.iter().rev() {
        if needed <= bin.count {
            return (*bin, needed);
        }
        needed -= bin.count;
    }
    unreachable!("the caller has counted that there are as many")
}

/// The range of keys in which, by a sample, the `needed`-th largest of `len` will lie.
fn guess(mut sample: Vec<u64>, needed: u64, len: u64) -> Lane {
    let drawn = sample.len() as f64;
    let share = needed as f64 / len as f64;
    let margin = MARGIN * (drawn * share * (1.0 - share)).sqrt() + 8.0;
    // Counted from the greatest; first the lower end, so that the other is among fewer.
    let (first, last) = (drawn * share - margin, drawn * share + margin);
    let mut above = &mut sample[..];
    let mut at = |rank: f64| {
        let (greater, key, _) =
            std::mem::take(&mut above).select_nth_unstable_by(rank as usize, |a, b| b.cmp(a));
        above = greater;
        (*key).max(1)
    };
    let low = if last >= drawn { 1 } else { at(last) };
    let high = if first < 0.0 { MAX_KEY } else { at(first) };
    Lane::Search { low, high, needed }
}

impl Lane {
    fn advance(self, found: Found, len: u64) -> Lane {
        match (self, found) {
            (Lane::Sample { needed }, Found::Sample(sample)) => guess(sample, needed, len),
            (Lane::Search { low, high, needed }, Found::Range(found)) => {
                found.advance(low, high, needed)
            }
            (Lane::Part { key, needed, .. }, Found::Indices(mut indices)) => {
                indices.sort_unstable();
                // As many were counted in tiles of this part.
                let last = indices[needed as usize - 1];
                Lane::Done(Cutoff { key, equal_below: last + 1 })
            }
            (lane, _) => lane,
        }
    }
}

impl Found {
    fn add(&mut self, next: Found) {
        match (self, next) {
            (Found::Sample(keys), Found::Sample(more)) => keys.extend(more),
            (Found::Range(total), Found::Range(next)) => {
                total.above += next.above;
                total.top.0.extend(next.top.0);
                total.bottom.0.extend(next.bottom.0);
                total.between.add(next.between, total.binning);
            }
            (Found::Indices(indices), Found::Indices(more)) => indices.extend(more),
            _ => {}
        }
    }
}
