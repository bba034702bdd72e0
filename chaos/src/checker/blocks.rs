//! Property: every acknowledged block is in the file, whole and in its place.
//!
//! Knows how a block looks; knows nothing of how it was written or read.

use crate::rng::Rng;

/// Length of a block.
pub const BLOCK_BYTES: usize = 65_536;
/// First bytes of a block.
const MAGIC: [u8; 8] = *b"HFBLOCK1";
/// Magic, seed, writer, number.
const HEAD_BYTES: usize = 28;

/// Which block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockId {
    /// Seed of the run, so that an older run's block is not taken for this one's.
    pub seed: u64,
    /// The writer.
    pub writer: u32,
    /// Its number, from 0.
    pub number: u64,
}

/// Why a block is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// Shorter than a block: the file ends.
    #[error("missing")]
    Missing,
    /// No block was ever written there.
    #[error("empty")]
    Empty,
    /// The checksum does not fit: torn.
    #[error("torn")]
    Torn,
    /// A whole block, but another one.
    #[error("another block")]
    Other,
}

/// Builds a block: head, reproducible filling, checksum.
#[must_use]
pub fn build(id: BlockId) -> Vec<u8> {
    let mut out = vec![0; BLOCK_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..16].copy_from_slice(&id.seed.to_le_bytes());
    out[16..20].copy_from_slice(&id.writer.to_le_bytes());
    out[20..HEAD_BYTES].copy_from_slice(&id.number.to_le_bytes());
    Rng::new(id.seed ^ (u64::from(id.writer) << 48) ^ id.number).fill(&mut out[HEAD_BYTES..BLOCK_BYTES - 4]);
    let sum = crc32fast::hash(&out[..BLOCK_BYTES - 4]);
    out[BLOCK_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Checks that `bytes` are the block `id`.
pub fn check(id: BlockId, bytes: &[u8]) -> Result<(), BlockFault> {
    let Some(block) = bytes.get(..BLOCK_BYTES) else { return Err(BlockFault::Missing) };
    let (body, sum) = block.split_at(BLOCK_BYTES - 4);
    if body.iter().all(|b| *b == 0) {
        return Err(BlockFault::Empty);
    }
    if crc32fast::hash(body).to_le_bytes() != sum {
        return Err(BlockFault::Torn);
    }
    if block == build(id).as_slice() { Ok(()) } else { Err(BlockFault::Other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BlockId = BlockId { seed: 42, writer: 1, number: 7 };

    #[test]
    fn a_good_block_passes() {
        assert_eq!(check(ID, &build(ID)), Ok(()));
    }

    #[test]
    fn bad_blocks_are_told_apart() {
        let good = build(ID);
        assert_eq!(check(ID, &good[..100]), Err(BlockFault::Missing));
        assert_eq!(check(ID, &[]), Err(BlockFault::Missing));
        assert_eq!(check(ID, &vec![0; BLOCK_BYTES]), Err(BlockFault::Empty));
        let mut torn = good.clone();
        torn[40_000..].fill(0);
        assert_eq!(check(ID, &torn), Err(BlockFault::Torn));
        for other in [BlockId { number: 8, ..ID }, BlockId { seed: 41, ..ID }, BlockId { writer: 0, ..ID }] {
            assert_eq!(check(ID, &build(other)), Err(BlockFault::Other));
        }
    }
}
