//! ChaCha with 8 rounds: a stream of words of which any part can be drawn alone.
//!
//! Source: D. J. Bernstein, "ChaCha, a variant of Salsa20", 2008. Counter and stream number
//! have 64 bits each, as in the original and in the `rand_chacha` crate, with whose streams
//! the tests compare. Here blocks are computed side by side, one in each lane of a vector.

/// Words of a block.
pub(crate) const BLOCK_WORDS: usize = 16;

const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// One of the 2^64 streams of a key.
#[derive(Clone, Copy)]
pub(crate) struct ChaCha8 {
    key: [u32; 8],
    stream: [u32; 2],
}

/// `[low, high]`
fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

macro_rules! quarter_round {
    ($a:ident $b:ident $c:ident $d:ident) => {
        $a = $a.wrapping_add($b);
        $d = ($d ^ $a).rotate_left(16);
        $c = $c.wrapping_add($d);
        $b = ($b ^ $c).rotate_left(12);
        $a = $a.wrapping_add($b);
        $d = ($d ^ $a).rotate_left(8);
        $c = $c.wrapping_add($d);
        $b = ($b ^ $c).rotate_left(7);
    };
}

impl ChaCha8 {
    pub(crate) fn new(key: &[u8; 32], stream: u64) -> Self {
        let (words, _) = key.as_chunks();
        let key = std::array::from_fn(|word| u32::from_le_bytes(words[word]));
        ChaCha8 { key, stream: halves(stream) }
    }

    /// For each block from number `first` on, the 16 bits that say which of its words are
    /// below the threshold, the first word's lowest.
    #[inline(always)]
    pub(crate) fn below(&self, threshold: u32, first: u64, out: &mut [u16]) {
        self.blocks(first, out, |words| {
            let mut bits = 0;
            for (i, word) in words.into_iter().enumerate() {
                bits |= if word < threshold { 1 << i } else { 0 };
            }
            bits
        });
    }

    /// The words of each block from number `first` on.
    #[inline(always)]
    pub(crate) fn words(&self, first: u64, out: &mut [[u32; BLOCK_WORDS]]) {
        self.blocks(first, out, |words| words);
    }

    /// For each block from number `first` on, what becomes of its words.
    #[inline(always)]
    fn blocks<T>(&self, first: u64, out: &mut [T], take: impl Fn([u32; BLOCK_WORDS]) -> T) {
        let [first, first_high] = halves(first);
        let [k0, k1, k2, k3, k4, k5, k6, k7] = self.key;
        let [s0, s1] = self.stream;
        // The state is sixteen variables, not an array: only so does the compiler put a
        // block in each lane of its vectors.
        for (lane, out) in (0u32..).zip(out) {
            let low = first.wrapping_add(lane);
            let high = first_high.wrapping_add(u32::from(low < lane));
            let [mut a0, mut a1, mut a2, mut a3] = CONSTANTS;
            let (mut b0, mut b1, mut b2, mut b3) = (k0, k1, k2, k3);
            let (mut c0, mut c1, mut c2, mut c3) = (k4, k5, k6, k7);
            let (mut d0, mut d1, mut d2, mut d3) = (low, high, s0, s1);
            macro_rules! two_rounds {
                () => {
                    quarter_round!(a0 b0 c0 d0);
                    quarter_round!(a1 b1 c1 d1);
                    quarter_round!(a2 b2 c2 d2);
                    quarter_round!(a3 b3 c3 d3);
                    quarter_round!(a0 b1 c2 d3);
                    quarter_round!(a1 b2 c3 d0);
                    quarter_round!(a2 b3 c0 d1);
                    quarter_round!(a3 b0 c1 d2);
                };
            }
            two_rounds!();
            two_rounds!();
            two_rounds!();
            two_rounds!();
            *out = take([
                a0.wrapping_add(CONSTANTS[0]),
                a1.wrapping_add(CONSTANTS[1]),
                a2.wrapping_add(CONSTANTS[2]),
                a3.wrapping_add(CONSTANTS[3]),
                b0.wrapping_add(k0),
                b1.wrapping_add(k1),
                b2.wrapping_add(k2),
                b3.wrapping_add(k3),
                c0.wrapping_add(k4),
                c1.wrapping_add(k5),
                c2.wrapping_add(k6),
                c3.wrapping_add(k7),
                d0.wrapping_add(low),
                d1.wrapping_add(high),
                d2.wrapping_add(s0),
                d3.wrapping_add(s1),
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use mergecore_tensor::{Simd, Vectorize};
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    struct Draw<'a>(ChaCha8, u32, u64, &'a mut [u16], &'a mut [[u32; BLOCK_WORDS]]);

    impl Vectorize for Draw<'_> {
        type Output = ();

        #[inline(always)]
        fn vectorize(self) {
            let Draw(stream, threshold, first, below, words) = self;
            stream.below(threshold, first, below);
            stream.words(first, words);
        }
    }

    /// Every word is `rand_chacha`'s, by instruction set and whatever the position.
    fn check(key: [u8; 32], stream: u64, threshold: u32, first: u64, blocks: usize) {
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(stream);
        generator.set_word_pos(u128::from(first) * BLOCK_WORDS as u128);
        let mut expected = vec![[0; BLOCK_WORDS]; blocks];
        expected.as_flattened_mut().fill_with(|| generator.next_u32());
        let below = |words: &[u32; BLOCK_WORDS]| {
            let bits = words.iter().enumerate().map(|(i, word)| u16::from(*word < threshold) << i);
            bits.sum::<u16>()
        };
        let expected_below: Vec<u16> = expected.iter().map(below).collect();
        for simd in Simd::available() {
            let (mut bits, mut words) = (vec![0; blocks], vec![[0; BLOCK_WORDS]; blocks]);
            let stream_of_key = ChaCha8::new(&key, stream);
            simd.run(Draw(stream_of_key, threshold, first, &mut bits, &mut words));
            assert_eq!(bits, expected_below, "{simd}, stream {stream}, block {first}");
            assert_eq!(words, expected, "{simd}, stream {stream}, block {first}");
        }
    }

    #[test]
    fn the_counter_carries_into_its_upper_half() {
        check([7; 32], 1 << 40 | 3, 1 << 31, (1 << 32) - 20, 40);
    }

    proptest! {
        #[test]
        fn blocks_are_those_of_rand_chacha(
            key: [u8; 32],
            stream: u64,
            threshold: u32,
            first in 0..u64::MAX >> 5,
            blocks in 0..70usize,
        ) {
            check(key, stream, threshold, first, blocks);
        }
    }
}
