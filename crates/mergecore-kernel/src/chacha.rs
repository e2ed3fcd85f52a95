//! ChaCha with eight rounds, many blocks of the stream at once.
//!
//! The generator of `rand_chacha::ChaCha8Rng`, word for word (the tests compare them),
//! in a form that computes a batch of blocks side by side: one block a lane.

/// Words of a block.
pub(crate) const WORDS: usize = 16;

/// Blocks computed at once.
pub(crate) const BATCH: usize = 16;

/// One stream under a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChaCha8 {
    pub(crate) key: [u8; 32],
    pub(crate) stream: u64,
}

type Lanes = [u32; BATCH];

impl ChaCha8 {
    /// The words of the blocks from number `block` on.
    #[inline(always)]
    pub(crate) fn batch(&self, block: u64) -> [[u32; WORDS]; BATCH] {
        let mut initial = [[0; BATCH]; WORDS];
        // "expand 32-byte k"
        let constants = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
        let key = self.key.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
        for (lanes, word) in initial.iter_mut().zip(constants.into_iter().chain(key)) {
            *lanes = [word; BATCH];
        }
        for lane in 0..BATCH {
            let counter = block.wrapping_add(lane as u64);
            initial[12][lane] = counter as u32;
            initial[13][lane] = (counter >> 32) as u32;
        }
        initial[14] = [self.stream as u32; BATCH];
        initial[15] = [(self.stream >> 32) as u32; BATCH];

        let mut state = initial;
        for _ in 0..4 {
            for column in 0..4 {
                quarter_round(&mut state, [column, 4 + column, 8 + column, 12 + column]);
            }
            for column in 0..4 {
                let diagonal = |row: usize| 4 * row + (column + row) % 4;
                quarter_round(&mut state, [diagonal(0), diagonal(1), diagonal(2), diagonal(3)]);
            }
        }
        let mut words = [[0; WORDS]; BATCH];
        for word in 0..WORDS {
            for lane in 0..BATCH {
                words[lane][word] = state[word][lane].wrapping_add(initial[word][lane]);
            }
        }
        words
    }
}

#[inline(always)]
fn quarter_round(state: &mut [Lanes; WORDS], [a, b, c, d]: [usize; 4]) {
    half_round(state, a, b, d, 16);
    half_round(state, c, d, b, 12);
    half_round(state, a, b, d, 8);
    half_round(state, c, d, b, 7);
}

/// `x += y`, then `z = (z ^ x)` rotated to the left.
#[inline(always)]
fn half_round(state: &mut [Lanes; WORDS], x: usize, y: usize, z: usize, by: u32) {
    for lane in 0..BATCH {
        state[x][lane] = state[x][lane].wrapping_add(state[y][lane]);
        state[z][lane] = (state[z][lane] ^ state[x][lane]).rotate_left(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mergecore_tensor::{Simd, Vectorize};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    struct Batch(ChaCha8, u64);

    impl Vectorize for Batch {
        type Output = [[u32; WORDS]; BATCH];

        #[inline(always)]
        fn vectorize(self) -> Self::Output {
            self.0.batch(self.1)
        }
    }

    #[test]
    fn words_are_those_of_rand_chacha() {
        for (seed, stream, block) in
            [(0, 0, 0), (7, 1, 5), (255, 11, u64::from(u32::MAX) - 3), (9, u64::MAX, 1 << 40)]
        {
            let key = std::array::from_fn(|i| (i as u8).wrapping_mul(31) ^ seed);
            let mut reference = ChaCha8Rng::from_seed(key);
            reference.set_stream(stream);
            reference.set_word_pos(u128::from(block) * WORDS as u128);
            let expected: [[u32; WORDS]; BATCH] =
                std::array::from_fn(|_| std::array::from_fn(|_| reference.next_u32()));
            for simd in Simd::available() {
                let words = simd.run(Batch(ChaCha8 { key, stream }, block));
                assert_eq!(words, expected, "{simd}, stream {stream}, block {block}");
            }
        }
    }
}
