//! Random masks that anyone can draw again: a counter-based generator,
//! positioned at the element.

use mergecore_tensor::{Element, Simd, Vectorize};

use crate::chacha::{BLOCK_WORDS, ChaCha8};
use crate::{KernelError, Prune, StreamKey, TILE};

/// Keeps each element of each model independently with the model's density: the
/// masks of DARE ([arXiv:2311.03099](https://arxiv.org/abs/2311.03099)).
///
/// Element `e` of model `m` is kept if word `e` of stream `m` of ChaCha8 under
/// the given key, taken as a 32-bit fraction, lies below the density (to the
/// nearest 2^-32): a function of key, model and element alone, whoever draws it in
/// whatever order. Pruning a model without a density panics.
///
/// ```
/// use mergecore_kernel::{Prune, RandomMask, Simd, StreamKey};
///
/// let mask = RandomMask::new(StreamKey::from_seed(7), &[0.5])?;
/// let (zeros, ones) = (vec![0.0; 10_000], vec![1.0; 10_000]);
/// let mut all = zeros.clone();
/// mask.prune(Simd::detect(), 0, 0, &zeros, &ones, &mut all);
/// let mut part = vec![0.0; 100];
/// mask.prune(Simd::detect(), 0, 5_000, &zeros[..100], &ones[..100], &mut part);
/// assert_eq!(part, all[5_000..5_100]);
/// # Ok::<(), mergecore_kernel::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RandomMask {
    key: StreamKey,
    /// Words below it keep their element; 2^32 keeps all.
    thresholds: Vec<u64>,
}

impl RandomMask {
    /// A mask with one density, the probability of being kept, a model.
    ///
    /// # Errors
    /// [`KernelError::ParameterRange`] for a density outside 0 to 1.
    ///
    /// ```
    /// use mergecore_kernel::{KernelError, RandomMask, StreamKey};
    ///
    /// let error = RandomMask::new(StreamKey::from_seed(7), &[0.5, 1.5]).unwrap_err();
    /// assert!(matches!(error, KernelError::ParameterRange { value: 1.5, .. }));
    /// ```
    pub fn new(key: StreamKey, densities: &[f64]) -> Result<Self, KernelError> {
        let threshold = |density: &f64| {
            KernelError::check_fraction("density", *density)?;
            Ok((density * 4_294_967_296.0).round() as u64)
        };
        Ok(RandomMask {
            key,
            thresholds: densities.iter().map(threshold).collect::<Result<_, _>>()?,
        })
    }
}

impl StreamKey {
    /// Fills `out` with words of one of the 2^64 streams of ChaCha8 under this key, from word
    /// `start` on: for masks of which each element has a probability of its own.
    ///
    /// ```
    /// use mergecore_kernel::{Simd, StreamKey};
    ///
    /// let (mut all, mut part) = ([0; 100], [0; 10]);
    /// StreamKey::from_seed(7).words(Simd::detect(), 0, 0, &mut all);
    /// StreamKey::from_seed(7).words(Simd::BASELINE, 0, 55, &mut part);
    /// assert_eq!(part, all[55..65]);
    /// ```
    pub fn words(&self, simd: Simd, stream: u64, start: u64, out: &mut [u32]) {
        let stream = ChaCha8::new(&self.0, stream);
        for (out, start) in out.chunks_mut(TILE).zip((start..).step_by(TILE)) {
            simd.run(Words { stream, start, out });
        }
    }
}

/// Draws the words of at most a tile.
struct Words<'a> {
    stream: ChaCha8,
    start: u64,
    out: &'a mut [u32],
}

impl Vectorize for Words<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let (first, skipped) = position(self.start);
        let mut blocks = [[0; BLOCK_WORDS]; BLOCKS];
        let drawn = (skipped + self.out.len()).div_ceil(BLOCK_WORDS);
        self.stream.words(first, &mut blocks[..drawn]);
        let words = blocks.as_flattened();
        self.out.copy_from_slice(&words[skipped..][..self.out.len()]);
    }
}

/// Blocks of a tile that begins within one.
const BLOCKS: usize = TILE / BLOCK_WORDS + 1;

/// The block in which an element's word lies, and how many words of it come before.
#[inline(always)]
fn position(element: u64) -> (u64, usize) {
    let words = BLOCK_WORDS as u64;
    (element / words, (element % words) as usize)
}

impl Prune for RandomMask {
    fn prune<T: Element>(
        &self,
        simd: Simd,
        model: usize,
        start: u64,
        base: &[T],
        values: &[T],
        out: &mut [T],
    ) {
        let Ok(threshold) = u32::try_from(self.thresholds[model]) else {
            return out.copy_from_slice(values);
        };
        let stream = ChaCha8::new(&self.key.0, model as u64);
        let tiles = out.chunks_mut(TILE).zip(base.chunks(TILE)).zip(values.chunks(TILE));
        for (((out, base), values), start) in tiles.zip((start..).step_by(TILE)) {
            simd.run(KeepBelow { stream, threshold, start, base, values, out });
        }
    }
}

/// Keeps the values, at most a tile's, whose word is below the threshold.
struct KeepBelow<'a, T> {
    stream: ChaCha8,
    threshold: u32,
    start: u64,
    base: &'a [T],
    values: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> Vectorize for KeepBelow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let bit: [u16; BLOCK_WORDS] = std::array::from_fn(|i| 1 << i);
        let KeepBelow { stream, threshold, start, base, values, out } = self;
        let (first, skipped) = position(start);
        let mut below = [0; BLOCKS + 1];
        let drawn = (skipped + out.len()).div_ceil(BLOCK_WORDS);
        stream.below(threshold, first, &mut below[..drawn]);
        // The bits of as many elements as a block has words, from there on.
        let bits = |group: usize| {
            let two = u32::from(below[group]) | u32::from(below[group + 1]) << BLOCK_WORDS;
            (two >> skipped) as u16
        };
        let (groups, rest) = out.as_chunks_mut::<BLOCK_WORDS>();
        let (base, base_rest) = base.as_chunks::<BLOCK_WORDS>();
        let (values, values_rest) = values.as_chunks::<BLOCK_WORDS>();
        for (group, ((out, base), values)) in groups.iter_mut().zip(base).zip(values).enumerate() {
            let (bits, values) = (bits(group), *values);
            // Of one width all along: the compiler compares as many lanes as there are.
            let kept = bit.map(|bit| bits & bit);
            let mut chosen = *base;
            for i in 0..BLOCK_WORDS {
                chosen[i] = if kept[i] == bit[i] { values[i] } else { chosen[i] };
            }
            *out = chosen;
        }
        let bits = bits(groups.len());
        for (i, out) in rest.iter_mut().enumerate() {
            *out = if bits & bit[i] != 0 { values_rest[i] } else { base_rest[i] };
        }
    }
}

#[cfg(test)]
mod tests {
    use mergecore_tensor::{bf16, f16};

    use super::*;

    /// Which of `len` elements from `start` on are kept, as elements of this type.
    fn kept<T: Element>(mask: &RandomMask, simd: Simd, start: u64, len: usize) -> Vec<bool> {
        let (zeros, ones) = (vec![T::narrow(0.0); len], vec![T::narrow(1.0); len]);
        let mut out = vec![T::narrow(2.0); len];
        mask.prune(simd, 1, start, &zeros, &ones, &mut out);
        out.into_iter().map(|value| value.widen() == 1.0).collect()
    }

    #[test]
    fn every_type_start_and_length_has_the_same_mask() {
        let mask = RandomMask::new(StreamKey::from_seed(3), &[1.0, 0.4]).unwrap();
        let whole = kept::<f64>(&mask, Simd::BASELINE, 0, 3 * TILE);
        let share = whole.iter().filter(|kept| **kept).count();
        assert!((500..730).contains(&share), "{share} of {}", whole.len());
        let lengths = (0..34).chain([TILE - 1, TILE, TILE + 1, 2 * TILE]);
        for (start, len) in (0..17).flat_map(|start| lengths.clone().map(move |len| (start, len))) {
            let expected = &whole[start..][..len];
            for simd in Simd::available() {
                let start = start as u64;
                assert_eq!(kept::<bf16>(&mask, simd, start, len), expected, "{simd} {start} {len}");
                assert_eq!(kept::<f16>(&mask, simd, start, len), expected, "{simd} {start} {len}");
                assert_eq!(kept::<f32>(&mask, simd, start, len), expected, "{simd} {start} {len}");
                assert_eq!(kept::<f64>(&mask, simd, start, len), expected, "{simd} {start} {len}");
            }
        }
    }

    #[test]
    fn words_are_the_same_from_wherever_they_are_drawn() {
        let key = StreamKey::from_seed(3);
        for simd in Simd::available() {
            let mut whole = vec![0; 3 * TILE];
            key.words(simd, 1, 0, &mut whole);
            for start in [0, 1, 15, 16, 17, TILE - 1, TILE, TILE + 3] {
                for len in [0, 1, 15, 16, 17, TILE - 1, TILE, TILE + 1, 2 * TILE - 3] {
                    let mut part = vec![0; len];
                    key.words(simd, 1, start as u64, &mut part);
                    assert_eq!(part, whole[start..start + len], "{simd} {start} {len}");
                }
            }
            // They are what a mask compares with its threshold.
            let mask = RandomMask::new(key, &[1.0, 0.4]).unwrap();
            let below: Vec<bool> = whole.iter().map(|word| *word < 1_717_986_918).collect();
            assert_eq!(kept::<f32>(&mask, simd, 0, 3 * TILE), below);
        }
    }
}
