//! Records of the log's files: what stands in them, byte by byte. Pure.
//!
//! ```text
//! segment:  head (64 bytes) | record* | whatever an earlier use of the file left
//! head:     magic "HFLOG" 0 0 0 | version u32 | number u32 | bytes u64 | cluster u128 | node u64 | zero | crc u32 (last 4 bytes)
//! record:   length u32 | crc u32 | kind u8 | zero u8 * 7 | stable u64 | payload | zero to a multiple of 8
//! entry:    index u64 | term u64 | node u64 | log time u64 | envelope of the entry (codec)
//! ```
//! All integers are little-endian. The checksum of a record covers the number of its segment and its place in it, so that neither what an
//! earlier use of the file left nor a misplaced record is taken for one of this log. `stable` says how far the log had been synced when the
//! record was written: a hole before that place is damage, a hole after it may be the end that a loss of power left.

use crate::types::{LeaderId, LogId};

/// Bytes of a segment's head.
pub(crate) const HEAD_BYTES: u32 = 64;
/// Bytes of a record before its payload.
pub(crate) const RECORD_BYTES: usize = 24;
/// Bytes of an entry before its envelope.
pub(crate) const ENTRY_BYTES: usize = 32;
/// Every record begins at a multiple of this.
pub(crate) const ALIGN: usize = 8;
/// The newest version of the files, and the only one that is understood.
pub(crate) const VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"HFLOG\0\0\0";

/// A place in the log: segment number and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Place(pub(crate) u64);

impl Place {
    pub(crate) const fn new(segment: u32, offset: u32) -> Self {
        Self((segment as u64) << 32 | offset as u64)
    }

    pub(crate) const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn offset(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

/// What a record says. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A log entry follows the last one.
    Entry = 1,
    /// This node's vote from here on.
    Vote = 2,
    /// Entries after this index (u64, plus one; 0: all) are void.
    Truncate = 3,
    /// Entries up to this log id are no longer needed.
    Purge = 4,
    /// Entries up to this log id are known to be committed.
    Committed = 5,
    /// The segment ends here; the log goes on in the next one.
    End = 6,
    /// The segment follows this log id: at its beginning.
    Follows = 7,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entry,
            2 => Self::Vote,
            3 => Self::Truncate,
            4 => Self::Purge,
            5 => Self::Committed,
            6 => Self::End,
            7 => Self::Follows,
            _ => return None,
        })
    }
}

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u32,
    pub(crate) bytes: u64,
    pub(crate) cluster: u128,
    pub(crate) node: u64,
}

/// Why a head is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// It is no head, or its bytes were changed.
    Damaged,
    /// It is of a version that this program does not know.
    Version(u32),
}

impl Head {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES as usize] {
        let mut out = [0; HEAD_BYTES as usize];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        out[24..40].copy_from_slice(&self.cluster.to_le_bytes());
        out[40..48].copy_from_slice(&self.node.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8; HEAD_BYTES as usize]) -> Result<Self, BadHead> {
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(BadHead::Damaged);
        }
        match u32_at(bytes, 8) {
            VERSION => {}
            version => return Err(BadHead::Version(version)),
        }
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&bytes[24..40]);
        Ok(Self { number: u32_at(bytes, 12), bytes: u64_at(bytes, 16), cluster: u128::from_le_bytes(cluster), node: u64_at(bytes, 40) })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Bytes of a record with a payload of this length.
pub(crate) const fn padded(payload: usize) -> usize {
    (RECORD_BYTES + payload).next_multiple_of(ALIGN)
}

/// Appends a record that will stand at `place`.
pub(crate) fn put(out: &mut Vec<u8>, place: Place, kind: Kind, stable: Place, payload: &[&[u8]]) {
    let start = out.len();
    let length: usize = payload.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind as u8, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&stable.0.to_le_bytes());
    for part in payload {
        out.extend_from_slice(part);
    }
    let crc = checksum(place, &out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + padded(length), 0);
}

/// The checksum of a record without its padding; its own four bytes are left out.
fn checksum(place: Place, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.0.to_le_bytes());
    hasher.update(&record[..4]);
    hasher.update(&record[8..]);
    hasher.finalize()
}

/// A record as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) stable: Place,
    pub(crate) payload: &'a [u8],
    /// With head and padding.
    pub(crate) bytes: usize,
}

/// Reads the record that stands at `place`, at the beginning of `bytes`. `None`: there is none.
pub(crate) fn read(bytes: &[u8], place: Place) -> Option<Record<'_>> {
    let length = u32_at(bytes.get(..RECORD_BYTES)?, 0) as usize;
    let record = bytes.get(..RECORD_BYTES.checked_add(length)?)?;
    let kind = Kind::of(record[8])?;
    if checksum(place, record) != u32_at(record, 4) {
        return None;
    }
    let bytes = padded(length);
    Some(Record { kind, stable: Place(u64_at(record, 16)), payload: &record[RECORD_BYTES..], bytes })
}

/// Looks whether a record stands anywhere at or after `from` in this segment.
pub(crate) fn any_after(bytes: &[u8], segment: u32, from: u32) -> Option<Place> {
    let mut at = (from as usize).next_multiple_of(ALIGN);
    while at + RECORD_BYTES <= bytes.len() {
        let place = Place::new(segment, u32::try_from(at).ok()?);
        if let Some(record) = read(&bytes[at..], place) {
            return Some(record.stable.max(Place(0)));
        }
        at += ALIGN;
    }
    None
}

/// The fixed part of an entry.
pub(crate) fn entry_head(log_id: LogId, time_ms: u64) -> [u8; ENTRY_BYTES] {
    let mut out = [0; ENTRY_BYTES];
    out[..8].copy_from_slice(&log_id.index.to_le_bytes());
    out[8..16].copy_from_slice(&log_id.leader_id.term.to_le_bytes());
    out[16..24].copy_from_slice(&log_id.leader_id.node_id.to_le_bytes());
    out[24..].copy_from_slice(&time_ms.to_le_bytes());
    out
}

/// Splits an entry's payload: its log id, its log time, its envelope.
pub(crate) fn split_entry(payload: &[u8]) -> Option<(LogId, u64, &[u8])> {
    let (head, envelope) = payload.split_at_checked(ENTRY_BYTES)?;
    let leader_id = LeaderId { term: u64_at(head, 8), node_id: u64_at(head, 16) };
    Some((LogId { leader_id, index: u64_at(head, 0) }, u64_at(head, 24), envelope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Version 2 of the files. These bytes are on disks: a change here is a new version.
    #[test]
    fn golden_bytes_v2() {
        let head = Head { number: 7, bytes: 8 << 20, cluster: 0x0102_0304, node: 3 };
        assert_eq!(hex(&head.encode()), GOLDEN_HEAD);
        assert_eq!(Head::decode(&head.encode()), Ok(head));
        let (place, log_id) = (Place::new(7, 64), LogId { leader_id: LeaderId { term: 5, node_id: 2 }, index: 300 });
        let mut out = Vec::new();
        put(&mut out, place, Kind::Entry, Place::new(7, 64), &[&entry_head(log_id, 99), b"envelope!"]);
        assert_eq!(hex(&out), GOLDEN_RECORD);
        let record = read(&out, place).unwrap();
        assert_eq!((record.kind, record.stable, record.bytes), (Kind::Entry, Place::new(7, 64), out.len()));
        assert_eq!(split_entry(record.payload), Some((log_id, 99, &b"envelope!"[..])));
    }
    const GOLDEN_HEAD: &str =
        "48464c4f470000000200000007000000000080000000000004030201000000000000000000000000030000000000000000000000000000000000000038d2dfb3";
    const GOLDEN_RECORD: &str = "290000008d2be6aa010000000000000040000000070000002c0100000000000005000000000000000200000000000000\
        6300000000000000656e76656c6f70652100000000000000";

    #[test]
    fn a_record_counts_only_unchanged_and_in_its_place() {
        let place = Place::new(3, 1024);
        let mut good = Vec::new();
        put(&mut good, place, Kind::Vote, Place(5), &[b"twelve bytes"]);
        assert!(read(&good, place).is_some());
        assert!(read(&good, Place::new(3, 1032)).is_none());
        assert!(read(&good, Place::new(4, 1024)).is_none());
        // The padding is not part of the record.
        for bit in 0..(RECORD_BYTES + 12) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad, place).is_none(), "bit {bit}");
        }
        for cut in 0..RECORD_BYTES + 12 {
            assert!(read(&good[..cut], place).is_none());
        }
    }

    #[test]
    fn a_changed_head_is_noticed() {
        let good = Head { number: 7, bytes: 1, cluster: 2, node: 3 }.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::decode(&bad).is_err(), "bit {bit}");
        }
    }
}
