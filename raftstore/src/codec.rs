//! Values as bytes: bincode 2 inside an envelope with a kind, a format version and a checksum.
//!
//! The only module that knows bincode. Every value on disk and every frame between nodes goes through here; the bytes of each released
//! version are kept in the tests.
//!
//! ```text
//! envelope:  kind u8 | version u8 | crc32 u32le of kind, version, payload | payload (bincode, standard configuration)
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format version written today, and the newest that is understood.
pub(crate) const VERSION: u8 = 1;
/// Bytes of an envelope before its payload.
pub(crate) const HEADER_BYTES: usize = 6;
/// Most values are smaller when they are encoded.
const USUAL_BYTES: usize = 512;
/// Longest value that is decoded; frames have their own, lower limits.
const DECODE_BYTES_MAX: usize = 128 << 20;

/// What an envelope holds. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A log entry.
    Entry = 1,
    /// A vote.
    Vote = 2,
    /// A log id: purged, committed.
    LogId = 3,
    /// Applied index, membership and time.
    Applied = 4,
    /// Cluster and node of a data directory.
    Identity = 5,
    /// A value of the machine, as raw bytes.
    Value = 6,
    /// The head of a snapshot.
    SnapshotHead = 7,
    /// A piece of a snapshot.
    SnapshotPiece = 8,
    /// The name of a snapshot that is being installed.
    Installing = 9,
    /// A frame between nodes.
    Frame = 10,
    /// The end of a snapshot.
    SnapshotEnd = 11,
    /// The mark of the last run.
    Life = 12,
    /// A batch of a simulated database.
    Batch = 13,
    /// The head of a backup.
    BackupHead = 40,
    /// A piece of a backup.
    BackupPiece = 41,
    /// The end of a backup.
    BackupEnd = 42,
}

/// Why bytes are not the value that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("cut off after {0} bytes")]
    Short(usize),
    #[error("of kind {found} where kind {expected} belongs")]
    Kind { expected: u8, found: u8 },
    #[error("of format version {0}, which this program does not know")]
    Version(u8),
    #[error("its checksum does not fit: bytes were changed")]
    Checksum,
    #[error("its content makes no sense: {0}")]
    Content(String),
}

/// Encodes a value in an envelope.
pub(crate) fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, String> {
    encode_behind(0, kind, value)
}

/// Encodes a value in an envelope that begins after `room` zero bytes, for whoever has to put something before it.
pub(crate) fn encode_behind<T: Serialize>(room: usize, kind: Kind, value: &T) -> Result<Vec<u8>, String> {
    // Grown by single fields it would be moved half a dozen times.
    let mut out = Vec::with_capacity(USUAL_BYTES);
    out.resize(room + HEADER_BYTES, 0);
    bincode::serde::encode_into_std_write(value, &mut out, bincode::config::standard()).map_err(|err| err.to_string())?;
    seal(kind, &mut out[room..]);
    Ok(out)
}

/// Puts raw bytes in an envelope.
pub(crate) fn wrap(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    out.extend_from_slice(bytes);
    seal(kind, &mut out);
    out
}

/// As [`wrap`], in a version that programs of the first one do not know: they say so and leave everything as it is.
pub(crate) fn wrap_for_newer(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    out.extend_from_slice(bytes);
    seal_as(kind, VERSION + 1, &mut out);
    out
}

fn seal(kind: Kind, out: &mut [u8]) {
    seal_as(kind, VERSION, out);
}

fn seal_as(kind: Kind, version: u8, out: &mut [u8]) {
    let crc = checksum(kind as u8, version, &out[HEADER_BYTES..]);
    out[0] = kind as u8;
    out[1] = version;
    out[2..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(kind: u8, version: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind, version]);
    hasher.update(payload);
    hasher.finalize()
}

/// Opens an envelope: checks it and returns its payload.
pub(crate) fn unwrap(kind: Kind, bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let Some((head, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(DecodeError::Short(bytes.len()));
    };
    let [found, version, c0, c1, c2, c3] = *head;
    if checksum(found, version, payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(DecodeError::Checksum);
    }
    if found != kind as u8 {
        return Err(DecodeError::Kind { expected: kind as u8, found });
    }
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    Ok(payload)
}

/// Decodes a value from an envelope. Nothing may be left over.
pub(crate) fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    let payload = unwrap(kind, bytes)?;
    let config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();
    let (value, used) = bincode::serde::decode_from_slice(payload, config).map_err(|err| DecodeError::Content(err.to_string()))?;
    if used != payload.len() {
        return Err(DecodeError::Content(format!("{} bytes are left over", payload.len() - used)));
    }
    Ok(value)
}

/// How many elements the list in an envelope has; the checksum says that they are there, nothing is decoded.
pub(crate) fn elements(kind: Kind, bytes: &[u8]) -> Result<u64, DecodeError> {
    let payload = unwrap(kind, bytes)?;
    let (count, _) =
        bincode::decode_from_slice(payload, bincode::config::standard()).map_err(|err| DecodeError::Content(err.to_string()))?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry;
    use openraft::entry::RaftPayload;
    use proptest::prelude::*;

    use super::*;
    use crate::machine::Class;
    use crate::types::{Command, Entry, LeaderId, LogId};

    fn entry() -> Entry {
        let command = Command { time_ms: 1_234_567, class: Class::Persistent, operation: 0x0102_0304, data: b"hello".to_vec().into() };
        let log_id = LogId { leader_id: LeaderId { term: 3, node_id: 2 }, index: 300 };
        Entry::new(log_id, openraft::EntryPayload::blank().with_normal(command))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Version 1 of a log entry. These bytes are on disks: a change here is a new version.
    #[test]
    fn golden_entry_v1() {
        let bytes = encode(Kind::Entry, &entry()).unwrap();
        assert_eq!(hex(&bytes), GOLDEN_ENTRY_V1);
        assert_eq!(decode::<Entry>(Kind::Entry, &bytes).unwrap(), entry());
    }
    const GOLDEN_ENTRY_V1: &str = "01012a4709b40302fb2c0101fc87d6120002fc040302010568656c6c6f";

    #[test]
    fn a_list_is_counted_without_its_elements() {
        for count in [0, 1, 250, 251, 70_000] {
            let list = vec![(vec![7_u8; 3], 5_u32); count];
            assert_eq!(elements(Kind::SnapshotPiece, &encode(Kind::SnapshotPiece, &list).unwrap()), Ok(count as u64));
        }
        assert_eq!(
            elements(Kind::Vote, &encode(Kind::SnapshotPiece, &vec![1_u8]).unwrap()),
            Err(DecodeError::Kind { expected: 2, found: 8 })
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode(Kind::Entry, &entry()).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Entry>(Kind::Entry, &bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(decode::<Entry>(Kind::Entry, &good[..len]).is_err());
        }
        assert!(matches!(decode::<Entry>(Kind::Vote, &good), Err(DecodeError::Kind { .. })));
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Entry>(Kind::Entry, &payload);
            let _ = decode::<Entry>(Kind::Entry, &wrap(Kind::Entry, &payload));
            let _ = decode::<crate::wire::Request>(Kind::Frame, &wrap(Kind::Frame, &payload));
            let _ = decode::<crate::wire::Response>(Kind::Frame, &wrap(Kind::Frame, &payload));
        }
    }
}
