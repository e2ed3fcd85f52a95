//! Random masks that anyone can draw again: a counter-based generator,
//! positioned at the element.

use mergecore_tensor::{Simd, Vectorize};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

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
        let mut generator = ChaCha8Rng::from_seed(self.key.0);
        generator.set_stream(model as u64);
        generator.set_word_pos(u128::from(start));
        let mut words = [0; 4 * TILE];
        for deltas in deltas.chunks_mut(TILE) {
            let words = &mut words[..4 * deltas.len()];
            generator.fill_bytes(words);
            simd.run(KeepBelow { threshold, words, deltas });
        }
    }
}

/// Sets to zero the deltas whose word is not below the threshold.
struct KeepBelow<'a> {
    threshold: u32,
    words: &'a [u8],
    deltas: &'a mut [f64],
}

impl Vectorize for KeepBelow<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        for (delta, word) in self.deltas.iter_mut().zip(self.words.as_chunks().0) {
            *delta = if u32::from_le_bytes(*word) < self.threshold { *delta } else { 0.0 };
        }
    }
}
