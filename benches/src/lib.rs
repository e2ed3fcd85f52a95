//! Inputs for the benchmarks in `benches/benches` and for `make-checkpoint`.

mod checkpoint;

use mergecore::{Element, bf16};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use checkpoint::ModelSize;

/// A reproducible source of numbers like a model's weights: nearly normal (a sum
/// of uniform numbers), mean 0.
#[derive(Debug, Clone)]
pub struct Normal(ChaCha8Rng);

impl Normal {
    /// A source with its own seed.
    pub fn new(seed: u64) -> Self {
        Normal(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The next number, with this standard deviation.
    pub fn next(&mut self, deviation: f64) -> f64 {
        let bits: u64 = self.0.random();
        // Four uniform 16-bit numbers have a variance of 4 / 12.
        let sum: f64 = (0..4).map(|i| (bits >> (16 * i) & 0xffff) as f64 / 65536.0 - 0.5).sum();
        sum * deviation * 3f64.sqrt()
    }
}

/// A reproducible bf16 tensor, standard deviation 0.02.
pub fn weights(len: usize, seed: u64) -> Vec<bf16> {
    let mut normal = Normal::new(seed);
    (0..len).map(|_| bf16::narrow(normal.next(0.02))).collect()
}

/// A model trained on from `base`: each weight moved a little.
pub fn finetuned(base: &[bf16], seed: u64) -> Vec<bf16> {
    let mut normal = Normal::new(seed);
    base.iter().map(|base| bf16::narrow(base.widen() + normal.next(0.001))).collect()
}
