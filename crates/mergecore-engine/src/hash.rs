//! A hash of a tensor's bytes, computed from pieces in any order.
//!
//! XXH3, which keeps up with memory where a cryptographic hash would take longer than the
//! merge: it finds what went wrong by accident, and is not made to withstand a forger.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use mergecore_io::{IoError, TensorSource};
use mergecore_kernel::BLOCK;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_128;

/// Bytes of a piece. Chunks begin where pieces do, being whole blocks of elements.
const PIECE: u64 = 1 << 16;
const _: () =
    assert!(BLOCK.is_multiple_of(PIECE), "blocks of the smallest elements are whole pieces");

/// XXH3 of 128 bits: of at most one piece, that of the bytes; of more, that of their
/// pieces' hashes one after the other, 16 bytes each, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TensorHash(u128);

/// What is not a hash of 32 hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParseHashError;

impl fmt::Display for ParseHashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a hash of 32 hexadecimal digits")
    }
}

impl FromStr for TensorHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let hash = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok());
        hash.flatten().map(TensorHash).ok_or(ParseHashError)
    }
}

/// In a text its 32 hexadecimal digits, else its bits.
impl Serialize for TensorHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TensorHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u128::deserialize(deserializer).map(TensorHash);
        }
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for TensorHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Halves: what formats 64 bits takes a fraction of the time of what formats 128.
        write!(f, "{:016x}{:016x}", (self.0 >> 64) as u64, self.0 as u64)
    }
}

/// A tensor's hash in the making.
#[derive(Debug)]
pub(crate) struct PieceHasher {
    pieces: Mutex<Vec<u128>>,
}

impl PieceHasher {
    /// For a tensor of so many elements of so many bytes.
    pub(crate) fn new(elements: u64, element_bytes: usize) -> Self {
        let pieces = (elements * element_bytes as u64).div_ceil(PIECE).max(1);
        PieceHasher { pieces: Mutex::new(vec![XxHash3_128::oneshot(&[]); pieces as usize]) }
    }

    /// Adds bytes that begin at a multiple of a piece and end at one, or with the
    /// tensor.
    pub(crate) fn add(&self, offset: u64, bytes: &[u8]) {
        let hashed: Vec<u128> = bytes.chunks(PIECE as usize).map(XxHash3_128::oneshot).collect();
        let first = (offset / PIECE) as usize;
        let mut pieces = self.pieces.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pieces[first..][..hashed.len()].copy_from_slice(&hashed);
    }

    /// The hash of the whole, once all pieces were added.
    pub(crate) fn finish(&self) -> TensorHash {
        let pieces = self.pieces.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let [whole] = pieces[..] {
            return TensorHash(whole);
        }
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_be_bytes()).collect();
        TensorHash(XxHash3_128::oneshot(&bytes))
    }
}

/// The hash of a tensor's elements as they are stored; `None` where it is told to stop.
pub(crate) fn hash_source(
    source: &dyn TensorSource,
    stop: impl Fn() -> bool,
) -> Result<Option<TensorHash>, IoError> {
    let size = source.dtype().size();
    let hasher = PieceHasher::new(source.len(), size);
    let mut buffer = Vec::new();
    for start in (0..source.len()).step_by(BLOCK as usize) {
        if stop() {
            return Ok(None);
        }
        let end = source.len().min(start + BLOCK);
        buffer.resize((end - start) as usize * size, 0);
        source.read(start..end, &mut buffer)?;
        hasher.add(start * size as u64, &buffer);
    }
    Ok(Some(hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(bytes: &[u8], size: usize, step: usize) -> String {
        let hasher = PieceHasher::new((bytes.len() / size) as u64, size);
        let chunks: Vec<_> = bytes.chunks(step).enumerate().collect();
        for (index, chunk) in chunks.into_iter().rev() {
            hasher.add((index * step) as u64, chunk);
        }
        hasher.finish().to_string()
    }

    /// As Python's xxhash 4.1 has them, for bytes `i * 31 % 251`: of three pieces,
    /// `xxh3_128_hexdigest(b"".join(xxh3_128_digest(piece) for piece in pieces))`.
    #[test]
    fn hashes_are_those_of_the_xxhash_library() {
        let bytes: Vec<u8> = (0..2 * PIECE + 5).map(|i| (i * 31 % 251) as u8).collect();
        let expected = [
            (0, "99aa06d3014798d86001c324468d497f"),
            (700, "20862974c404e297f75ca07ba633ba23"),
            (PIECE, "32c77f66c107104d1fbf280810208f17"),
            (2 * PIECE + 5, "d3c2e88d2b5867ba4e5617f8d57bf1c1"),
        ];
        for (len, expected) in expected {
            assert_eq!(hash(&bytes[..len as usize], 1, PIECE as usize), expected, "{len} bytes");
        }
    }

    #[test]
    fn chunks_of_any_size_in_any_order_give_one_hash() {
        let block = BLOCK as usize;
        for elements in
            [0, 1, 700, block - 1, block, block + 1, 2 * block, 5 * block + 3, 8 * block]
        {
            for size in [1, 2, 4, 8] {
                let bytes: Vec<u8> = (0..elements * size).map(|i| (i * 31 % 251) as u8).collect();
                let whole = hash(&bytes, size, 16 * block * size);
                for blocks in [1, 2, 3] {
                    let chunked = hash(&bytes, size, blocks * block * size);
                    assert_eq!(chunked, whole, "{elements} elements of {size} bytes");
                }
                if let Some(last) = bytes.len().checked_sub(1) {
                    let mut flipped = bytes.clone();
                    flipped[last] ^= 1;
                    assert_ne!(hash(&flipped, size, block * size), whole);
                }
            }
        }
    }
}
