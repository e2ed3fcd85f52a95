//! BLAKE3 of a tensor's bytes, computed from pieces in any order.
//!
//! A piece is [`BLOCK`] elements: a power of two of bytes, so that each is a whole
//! subtree of the hash. What comes out is the ordinary BLAKE3 hash of the bytes.

use std::sync::Mutex;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use mergecore_kernel::BLOCK;

/// A tensor's hash in the making.
#[derive(Debug)]
pub(crate) struct PieceHasher {
    piece_bytes: u64,
    total_bytes: u64,
    /// Chaining values of the pieces; of a tensor of one piece, its hash.
    pieces: Mutex<Vec<[u8; 32]>>,
}

impl PieceHasher {
    /// For a tensor of so many elements of so many bytes.
    pub(crate) fn new(elements: u64, element_bytes: usize) -> Self {
        let pieces = elements.div_ceil(BLOCK).max(1) as usize;
        PieceHasher {
            piece_bytes: BLOCK * element_bytes as u64,
            total_bytes: elements * element_bytes as u64,
            pieces: Mutex::new(vec![[0; 32]; pieces]),
        }
    }

    /// Adds bytes that begin at a multiple of a piece and end at one, or with the
    /// tensor.
    pub(crate) fn add(&self, offset: u64, bytes: &[u8]) {
        let single = self.total_bytes <= self.piece_bytes;
        let hashed: Vec<[u8; 32]> = (offset..)
            .step_by(self.piece_bytes as usize)
            .zip(bytes.chunks(self.piece_bytes as usize))
            .map(|(offset, piece)| match single {
                true => *blake3::hash(piece).as_bytes(),
                false => Hasher::new().set_input_offset(offset).update(piece).finalize_non_root(),
            })
            .collect();
        let first = (offset / self.piece_bytes) as usize;
        let mut pieces = self.pieces.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (slot, value) in pieces[first..].iter_mut().zip(hashed) {
            *slot = value;
        }
    }

    /// The hash of the whole, once all pieces were added.
    pub(crate) fn finish(&self) -> blake3::Hash {
        let pieces = self.pieces.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if self.total_bytes == 0 {
            return blake3::hash(&[]);
        }
        if pieces.len() == 1 {
            return blake3::Hash::from_bytes(pieces[0]);
        }
        let (left, right) = self.split(0, self.total_bytes, &pieces);
        merge_subtrees_root(&left, &right, Mode::Hash)
    }

    /// The chaining values of the two subtrees of a run of bytes longer than a
    /// piece.
    fn split(&self, offset: u64, len: u64, pieces: &[[u8; 32]]) -> (ChainingValue, ChainingValue) {
        let left = left_subtree_len(len);
        (self.subtree(offset, left, pieces), self.subtree(offset + left, len - left, pieces))
    }

    fn subtree(&self, offset: u64, len: u64, pieces: &[[u8; 32]]) -> ChainingValue {
        if len <= self.piece_bytes {
            return pieces[(offset / self.piece_bytes) as usize];
        }
        let (left, right) = self.split(offset, len, pieces);
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_any_order_give_the_ordinary_hash() {
        let block = BLOCK as usize;
        for elements in
            [0, 1, 700, block - 1, block, block + 1, 2 * block, 5 * block + 3, 8 * block]
        {
            for size in [1, 2, 4, 8] {
                let bytes: Vec<u8> = (0..elements * size).map(|i| (i * 31 % 251) as u8).collect();
                let hasher = PieceHasher::new(elements as u64, size);
                let step = 2 * block * size;
                let chunks: Vec<_> = bytes.chunks(step).enumerate().collect();
                for (index, chunk) in chunks.into_iter().rev() {
                    hasher.add((index * step) as u64, chunk);
                }
                assert_eq!(
                    hasher.finish(),
                    blake3::hash(&bytes),
                    "{elements} elements of {size} bytes"
                );
            }
        }
    }
}
