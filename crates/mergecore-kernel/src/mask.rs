//! Random masks that anyone can draw again: a counter-based generator,
//! positioned at the element.

use mergecore_tensor::{Simd, Vectorize};

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
/// let mut all = vec![1.0; 10_000];
/// mask.prune(Simd::detect(), 0, 0, &mut all);
/// let mut part = vec![1.0; 100];
/// mask.prune(Simd::detect(), 0, 5_000, &mut part);
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

impl Prune for RandomMask {
    fn prune(&self, simd: Simd, model: usize, start: u64, deltas: &mut [f64]) {
        let Ok(threshold) = u32::try_from(self.thresholds[model]) else { return };
        let stream = ChaCha8::new(&self.key.0, model as u64);
        for (deltas, start) in deltas.chunks_mut(TILE).zip((start..).step_by(TILE)) {
            simd.run(KeepBelow { stream, threshold, start, deltas });
        }
    }
}

/// Sets to zero the deltas, at most a tile's, whose word is not below the threshold.
struct KeepBelow<'a> {
    stream: ChaCha8,
    threshold: u32,
    start: u64,
    deltas: &'a mut [f64],
}

impl Vectorize for KeepBelow<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        /// Blocks of a tile that begins within one.
        const BLOCKS: usize = TILE / BLOCK_WORDS + 1;
        let KeepBelow { stream, threshold, start, deltas } = self;
        let words = BLOCK_WORDS as u64;
        let (first, skipped) = (start / words, (start % words) as usize);
        let mut below = [0; BLOCKS + 4];
        let drawn = (skipped + deltas.len()).div_ceil(BLOCK_WORDS);
        stream.below(threshold, first, &mut below[..drawn]);
        // The bits of 64 elements from `at` on.
        let bits = |at: usize| {
            let part = |i: usize| u64::from(below[at / BLOCK_WORDS + i]) << (BLOCK_WORDS * i);
            let whole = part(0) | part(1) | part(2) | part(3);
            let next = u64::from(below[at / BLOCK_WORDS + 4]);
            whole >> skipped | (next << 1 << (63 - skipped))
        };
        let (groups, rest) = deltas.as_chunks_mut::<64>();
        let done = 64 * groups.len();
        for (group, at) in groups.iter_mut().zip((0..).step_by(64)) {
            let bits = bits(at);
            for (i, delta) in group.iter_mut().enumerate() {
                *delta = if bits >> i & 1 == 1 { *delta } else { 0.0 };
            }
        }
        let bits = bits(done);
        for (i, delta) in rest.iter_mut().enumerate() {
            *delta = if bits >> i & 1 == 1 { *delta } else { 0.0 };
        }
    }
}
