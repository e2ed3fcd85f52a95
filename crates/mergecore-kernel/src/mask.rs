//! Random masks that anyone can draw again: a counter-based generator,
//! positioned at the element.

use mergecore_tensor::{Simd, Vectorize};

use crate::chacha::{BATCH, ChaCha8, WORDS};
use crate::{KernelError, Prune, StreamKey};

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
        let threshold = self.thresholds[model];
        let Ok(threshold) = u32::try_from(threshold) else { return };
        let stream = ChaCha8 { key: self.key.0, stream: model as u64 };
        // Tiles begin with a block of the stream; what begins within one skips its
        // first words.
        let mut skip = (start % WORDS as u64) as usize;
        let mut block = start / WORDS as u64;
        let mut rest = deltas;
        while !rest.is_empty() {
            let (part, after) = rest.split_at_mut(rest.len().min(BATCH * WORDS - skip));
            simd.run(Drop { stream, block, skip, threshold, deltas: part });
            (skip, block, rest) = (0, block + BATCH as u64, after);
        }
    }
}

/// Sets to zero the deltas whose word is not below the threshold; at most a batch.
struct Drop<'a> {
    stream: ChaCha8,
    block: u64,
    skip: usize,
    threshold: u32,
    deltas: &'a mut [f64],
}

impl Vectorize for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let words = self.stream.batch(self.block);
        for (delta, word) in self.deltas.iter_mut().zip(&words.as_flattened()[self.skip..]) {
            *delta = if *word < self.threshold { *delta } else { 0.0 };
        }
    }
}
