//! Exact order statistics without sorting: the k-th largest key of a tensor.
//!
//! Bit patterns of non-negative doubles sort like integers, so magnitudes are
//! selected by radix: a histogram of the leading bits, then of the next bits
//! within the one bin that holds the k-th key, until the bin is small enough to
//! be collected or is a single key. Equal keys are kept lowest index first.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{BLOCK, Extent, KernelError, Order, Scan, Step, TILE, Tile};

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
        needed => Lane::Digit { prefix: 0, digit: 0, needed },
    };
    let lanes = counts.iter().map(lane).collect();
    SelectScan { keys, lanes, then: Box::new(then) }.next()
}

/// The digits of a 63-bit key: (bits below the digit, bits of the digit).
const DIGITS: [(u32, u32); 4] = [(47, 16), (31, 16), (15, 16), (0, 15)];

/// A bin of at most so many elements is collected rather than refined.
const COLLECT: u64 = 1 << 15;

type Then = Box<dyn FnOnce(Vec<Cutoff>) -> Result<Step, KernelError> + Send + Sync>;

struct SelectScan<K> {
    keys: K,
    lanes: Vec<Lane>,
    then: Then,
}

/// How far a lane's selection has come. `needed` counts the elements still to be
/// kept among those that match.
enum Lane {
    /// The keys' leading digits are known to be `prefix`; count the next one.
    Digit {
        prefix: u64,
        digit: usize,
        needed: u64,
    },
    /// Few keys share `prefix`: collect them.
    Collect {
        prefix: u64,
        below: u32,
        needed: u64,
    },
    /// The cutoff key is known; find the block in which the last kept one lies.
    Equal {
        key: u64,
        needed: u64,
    },
    /// The block is known; find the index within it.
    Block {
        key: u64,
        start: u64,
        needed: u64,
    },
    Done(Cutoff),
}

/// What one lane found in a run of elements.
enum Found {
    Nothing,
    /// Count of each digit, and the union of the bits below the digit.
    Digit {
        counts: Vec<u64>,
        rest: u64,
    },
    /// Keys with their index.
    Keys(Vec<(u64, u64)>),
    /// Number of equal keys by block.
    Blocks(BTreeMap<u64, u64>),
    /// Indices of equal keys.
    Indices(Vec<u64>),
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
}

impl<K: Keys> Scan for SelectScan<K> {
    type Partial = Vec<Found>;

    fn order(&self) -> Order {
        Order::Any
    }

    fn ranges(&self, extent: Extent) -> Vec<Range<u64>> {
        let mut starts = Vec::new();
        for lane in &self.lanes {
            match lane {
                Lane::Done(_) => {}
                Lane::Block { start, .. } => starts.push(*start),
                _ => return vec![Range { start: 0, end: extent.len() }],
            }
        }
        starts.sort_unstable();
        starts.dedup();
        starts.into_iter().map(|start| start..extent.len().min(start + BLOCK)).collect()
    }

    fn empty(&self) -> Vec<Found> {
        let empty = |lane: &Lane| match lane {
            Lane::Done(_) => Found::Nothing,
            Lane::Digit { digit, .. } => {
                Found::Digit { counts: vec![0; 1 << DIGITS[*digit].1], rest: 0 }
            }
            Lane::Collect { .. } => Found::Keys(Vec::new()),
            Lane::Equal { .. } => Found::Blocks(BTreeMap::new()),
            Lane::Block { .. } => Found::Indices(Vec::new()),
        };
        self.lanes.iter().map(empty).collect()
    }

    fn fold(&self, partial: &mut Vec<Found>, tile: &mut Tile<'_>) {
        let mut buffer = [0; TILE];
        let keys = &mut buffer[..tile.len()];
        for (index, (lane, found)) in self.lanes.iter().zip(partial).enumerate() {
            if let Lane::Done(_) = lane {
                continue;
            }
            self.keys.keys(index, tile, keys);
            lane.fold(found, keys, tile.start());
        }
    }

    fn combine(&self, total: &mut Vec<Found>, next: Vec<Found>) {
        for (total, next) in total.iter_mut().zip(next) {
            total.add(next);
        }
    }

    fn finish(mut self: Box<Self>, total: Vec<Found>) -> Result<Step, KernelError> {
        let lanes = std::mem::take(&mut self.lanes);
        self.lanes =
            lanes.into_iter().zip(total).map(|(lane, found)| lane.advance(found)).collect();
        self.next()
    }
}

impl Lane {
    fn fold(&self, found: &mut Found, keys: &[u64], start: u64) {
        match (self, found) {
            (Lane::Digit { prefix, digit, .. }, Found::Digit { counts, rest }) => {
                let (below, bits) = DIGITS[*digit];
                let (mask, rest_mask) = ((1 << bits) - 1, (1 << below) - 1);
                for key in keys {
                    if key >> below >> bits == *prefix {
                        counts[(key >> below & mask) as usize] += 1;
                        *rest |= key & rest_mask;
                    }
                }
            }
            (Lane::Collect { prefix, below, .. }, Found::Keys(found)) => {
                let matching =
                    keys.iter().zip(start..).filter(|(key, _)| **key >> below == *prefix);
                found.extend(matching.map(|(key, index)| (*key, index)));
            }
            (Lane::Equal { key, .. }, Found::Blocks(blocks)) => {
                let count = keys.iter().filter(|k| *k == key).count() as u64;
                if count > 0 {
                    *blocks.entry(start - start % BLOCK).or_default() += count;
                }
            }
            (Lane::Block { key, start: block, .. }, Found::Indices(indices))
                if (*block..block + BLOCK).contains(&start) =>
            {
                let equal = keys.iter().zip(start..).filter(|(k, _)| *k == key);
                indices.extend(equal.map(|(_, index)| index));
            }
            _ => {}
        }
    }

    fn advance(self, found: Found) -> Lane {
        match (self, found) {
            (Lane::Digit { prefix, digit, needed }, Found::Digit { counts, rest }) => {
                let (below, bits) = DIGITS[digit];
                let (bin, needed, candidates) = bin_of(&counts, needed);
                let prefix = prefix << bits | bin;
                let key = prefix << below;
                if candidates == needed || (rest == 0 && key == 0) {
                    Lane::Done(Cutoff { key, equal_below: u64::MAX })
                } else if rest == 0 {
                    Lane::Equal { key, needed }
                } else if candidates <= COLLECT {
                    Lane::Collect { prefix, below, needed }
                } else {
                    Lane::Digit { prefix, digit: digit + 1, needed }
                }
            }
            (Lane::Collect { needed, .. }, Found::Keys(mut keys)) => {
                keys.sort_unstable_by_key(|(key, index)| (std::cmp::Reverse(*key), *index));
                let last = keys.get(needed as usize - 1);
                Lane::Done(last.map_or(Cutoff::ALL, |(key, index)| Cutoff {
                    key: *key,
                    equal_below: index + 1,
                }))
            }
            (Lane::Equal { key, mut needed }, Found::Blocks(blocks)) => {
                for (start, count) in blocks {
                    if needed <= count {
                        return Lane::Block { key, start, needed };
                    }
                    needed -= count;
                }
                // Only if the data changed since the last scan.
                Lane::Done(Cutoff { key, equal_below: u64::MAX })
            }
            (Lane::Block { key, needed, .. }, Found::Indices(mut indices)) => {
                indices.sort_unstable();
                let equal_below =
                    indices.get(needed as usize - 1).map_or(u64::MAX, |last| last + 1);
                Lane::Done(Cutoff { key, equal_below })
            }
            (lane, _) => lane,
        }
    }
}

/// The bin, counted from the top, that holds the `needed`-th element; how many
/// are still needed within it, and how many it holds.
fn bin_of(counts: &[u64], mut needed: u64) -> (u64, u64, u64) {
    for (bin, count) in counts.iter().enumerate().rev() {
        if needed <= *count {
            return (bin as u64, needed, *count);
        }
        needed -= count;
    }
    (0, needed, needed)
}

impl Found {
    fn add(&mut self, next: Found) {
        match (self, next) {
            (Found::Digit { counts, rest }, Found::Digit { counts: more, rest: more_rest }) => {
                for (count, more) in counts.iter_mut().zip(more) {
                    *count += more;
                }
                *rest |= more_rest;
            }
            (Found::Keys(keys), Found::Keys(more)) => keys.extend(more),
            (Found::Indices(indices), Found::Indices(more)) => indices.extend(more),
            (Found::Blocks(blocks), Found::Blocks(more)) => {
                for (block, count) in more {
                    *blocks.entry(block).or_default() += count;
                }
            }
            _ => {}
        }
    }
}
