//! What a client writes down of each proposal, and the files in which nodes hand such records to their parent.

use std::path::Path;

/// One proposal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// When it began: nanoseconds of the machine's clock, the same for all processes.
    pub(crate) began_ns: u64,
    /// How long it took.
    pub(crate) took_ns: u64,
    /// Which key it put.
    pub(crate) key: u64,
    /// It was acknowledged.
    pub(crate) acknowledged: bool,
}

/// Writes records.
pub(crate) fn write(path: &Path, records: &[Record]) {
    let words = records.iter().flat_map(|r| [r.began_ns, r.took_ns, r.key, u64::from(r.acknowledged)]);
    write_words(path, words);
}

/// Reads records.
pub(crate) fn read(path: &Path) -> Vec<Record> {
    let record = |w: &[u64]| Record { began_ns: w[0], took_ns: w[1], key: w[2], acknowledged: w[3] == 1 };
    read_words(path).chunks_exact(4).map(record).collect()
}

/// Writes numbers.
pub(crate) fn write_words(path: &Path, words: impl Iterator<Item = u64>) {
    std::fs::write(path, words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>()).unwrap();
}

/// Reads numbers.
pub(crate) fn read_words(path: &Path) -> Vec<u64> {
    std::fs::read(path).unwrap().as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}
