//! Inputs for the benchmarks in `benches/benches`.

use mergecore::{Element, bf16};

/// A reproducible bf16 tensor like a model's weights: normally distributed (a sum
/// of uniform numbers), standard deviation 0.02.
pub fn weights(len: usize, seed: u64) -> Vec<bf16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..len).map(|_| bf16::narrow(0.02 * (0..12).map(|_| uniform()).sum::<f64>())).collect()
}

/// A model trained on from `base`: each weight moved a little.
pub fn finetuned(base: &[bf16], seed: u64) -> Vec<bf16> {
    let change = weights(base.len(), seed);
    base.iter()
        .zip(change)
        .map(|(base, change)| bf16::narrow(base.widen() + change.widen() / 16.0))
        .collect()
}
