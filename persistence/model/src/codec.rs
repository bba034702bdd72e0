//! Bytes of records, commands and outcomes: bincode 2 in an envelope with kind, version, length and checksum.
//!
//! Envelope, little-endian: magic `HFR1`, kind u8, reserved u8 (0), format version u16, payload length u32, payload, CRC-32 of everything before it.
//! A change of any type below needs a new format version of its kind, the old type kept for reading, and golden bytes in `tests/golden`.

use serde::{Serialize, de::DeserializeOwned};

use crate::command::Command;
use crate::outcome::Applied;
use crate::record::Share;
use crate::record::share::ShareV1;

const MAGIC: [u8; 4] = *b"HFR1";
const HEADER_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
/// Format version of every kind, but for what is said below.
pub const FORMAT_VERSION: u16 = 1;
/// Format of shares that a node owns, and of the commands that programs of format 1 do not know.
pub const FORMAT_OWNERS: u16 = 2;
/// Format of the commands that do in parts what would hold up others: ending a node's life, and the scavenger's round.
pub const FORMAT_PARTS: u16 = 3;
/// No payload is longer; decoding claims no more memory than this for one value.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// What an envelope holds. The number is also the first byte of a record's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    /// `Cluster`.
    Cluster = 1,
    /// `Node`.
    Node = 2,
    /// `Session`.
    Session = 3,
    /// `Open`.
    Open = 4,
    /// `FileState`.
    File = 5,
    /// `Share`.
    Share = 6,
    /// `User`.
    User = 7,
    /// `JoinToken`.
    Token = 8,
    /// `PendingDelete`.
    PendingDelete = 9,
    /// `Group`.
    Group = 10,
    /// `AdminToken`.
    AdminToken = 16,
    /// `ClientBlock`.
    Block = 17,
    /// `Command`.
    Command = 64,
    /// `Applied`.
    Applied = 65,
}

/// Bytes that are not what they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the envelope says.
    #[error("the value is cut off")]
    Truncated,
    /// Not one of ours.
    #[error("the magic is wrong")]
    Magic,
    /// A different kind of value.
    #[error("kind {found} instead of {expected:?}")]
    Kind {
        /// What was asked for.
        expected: Kind,
        /// What is there.
        found: u8,
    },
    /// Written by a newer program.
    #[error("format version {0} is not known")]
    Version(u16),
    /// Damaged.
    #[error("the checksum is wrong")]
    Checksum,
    /// The payload does not decode.
    #[error("the payload makes no sense: {0}")]
    Payload(String),
    /// The key is not a record's key, or does not fit its record.
    #[error("the key makes no sense")]
    Key,
}

/// Wraps a value into its envelope.
pub(crate) fn encode<T: Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    encode_as(kind, FORMAT_VERSION, value)
}

fn encode_as<T: Serialize>(kind: Kind, version: u16, value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind as u8, 0]);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    bincode::serde::encode_into_std_write(value, &mut out, bincode::config::standard())
        .expect("writing to memory, and our types have no unsupported shape");
    let length = u32::try_from(out.len() - HEADER_BYTES).expect("a record is far below 4 GiB");
    out[8..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Opens an envelope of the expected kind.
pub(crate) fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    let (version, payload) = open(kind, bytes)?;
    if version == FORMAT_VERSION { decode_payload(payload) } else { Err(DecodeError::Version(version)) }
}

/// Checks an envelope; gives the format version and the payload.
fn open(kind: Kind, bytes: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    let header = bytes.get(..HEADER_BYTES).ok_or(DecodeError::Truncated)?;
    if header[..4] != MAGIC {
        return Err(DecodeError::Magic);
    }
    if header[4] != kind as u8 {
        return Err(DecodeError::Kind { expected: kind, found: header[4] });
    }
    let version = u16::from_le_bytes([header[6], header[7]]);
    if !(FORMAT_VERSION..=FORMAT_PARTS).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    if length > PAYLOAD_BYTES_MAX || bytes.len() != HEADER_BYTES + length + CHECKSUM_BYTES {
        return Err(DecodeError::Truncated);
    }
    let (body, checksum) = bytes.split_at(HEADER_BYTES + length);
    if crc32fast::hash(body).to_le_bytes() != checksum {
        return Err(DecodeError::Checksum);
    }
    Ok((version, &body[HEADER_BYTES..]))
}

fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    let config = bincode::config::standard().with_limit::<{ PAYLOAD_BYTES_MAX }>();
    let (value, used) = bincode::serde::decode_from_slice::<T, _>(payload, config).map_err(|e| DecodeError::Payload(e.to_string()))?;
    if used != payload.len() {
        return Err(DecodeError::Payload("bytes are left over".into()));
    }
    Ok(value)
}

/// Encodes a share: as every program knows it, unless a node owns it.
pub(crate) fn encode_share(share: &Share) -> Vec<u8> {
    match ShareV1::of(share) {
        Some(v1) => encode(Kind::Share, &v1),
        None => encode_as(Kind::Share, FORMAT_OWNERS, share),
    }
}

/// Decodes a share of either format.
pub(crate) fn decode_share(bytes: &[u8]) -> Result<Share, DecodeError> {
    match open(Kind::Share, bytes)? {
        (FORMAT_VERSION, payload) => decode_payload::<ShareV1>(payload).map(Share::from),
        (FORMAT_OWNERS, payload) => decode_payload(payload),
        (version, _) => Err(DecodeError::Version(version)),
    }
}

/// Encodes a command for the log. One that older programs do not know has a version that they do not know either: they stop, and do not
/// pass it over.
#[must_use]
pub fn encode_command(command: &Command) -> Vec<u8> {
    encode_as(Kind::Command, command.format(), command)
}

/// Decodes a command from the log.
pub fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    let (version, payload) = open(Kind::Command, bytes)?;
    let command: Command = decode_payload(payload)?;
    if command.format() == version { Ok(command) } else { Err(DecodeError::Payload(format!("it is no command of format {version}"))) }
}

/// Encodes what a command came to, for a proposer on another node.
#[must_use]
pub fn encode_applied(applied: &Applied) -> Vec<u8> {
    encode(Kind::Applied, applied)
}

/// Decodes what a command came to.
pub fn decode_applied(bytes: &[u8]) -> Result<Applied, DecodeError> {
    decode(Kind::Applied, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_without_owner_is_written_as_ever() {
        let settings = crate::ShareSettings {
            path: "/s".into(),
            comment: String::new(),
            ca: true,
            scaleout: false,
            encrypt: false,
            ca_timeout_ms: 0,
            ..crate::ShareSettings::default()
        };
        let symmetric = Share { id: crate::ShareId(1), name: "s".into(), settings, owner: None };
        let owned = Share { owner: Some(crate::NodeId(2)), ..symmetric.clone() };
        for (share, version) in [(symmetric, 1), (owned, 2)] {
            let bytes = encode_share(&share);
            assert_eq!(bytes[6], version);
            assert_eq!(decode_share(&bytes), Ok(share.clone()));
            assert_eq!(decode_share(&encode_as(Kind::Share, 3, &share)), Err(DecodeError::Version(3)), "no share is of format 3");
        }
    }

    #[test]
    fn a_command_has_the_version_of_its_format() {
        let new = Command::ShareMove { share: crate::ShareId(1), to: None, instead_of: None };
        let bytes = encode_command(&new);
        assert_eq!((bytes[6], decode_command(&bytes)), (2, Ok(new.clone())));
        // What a program of format 1 would pass over is not understood as format 1 here either.
        assert!(matches!(decode_command(&encode_as(Kind::Command, 1, &new)), Err(DecodeError::Payload(_))));
        assert!(matches!(decode_command(&encode_as(Kind::Command, 2, &Command::Expire)), Err(DecodeError::Payload(_))));
        assert!(matches!(decode_command(&encode_as(Kind::Command, 3, &new)), Err(DecodeError::Payload(_))));
        assert_eq!(decode_command(&encode_as(Kind::Command, 4, &new)), Err(DecodeError::Version(4)));
        let newest = Command::NodeEnd { node: crate::NodeId(1), incarnation: crate::Incarnation(1), at_most: 1 };
        let bytes = encode_command(&newest);
        assert_eq!((bytes[6], decode_command(&bytes)), (3, Ok(newest)));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good = encode_command(&Command::Expire);
        assert_eq!(decode_command(&good), Ok(Command::Expire));
        assert_eq!(decode_applied(&good), Err(DecodeError::Kind { expected: Kind::Applied, found: 64 }));
        for i in 0..good.len() {
            assert!(decode_command(&good[..i]).is_err(), "cut at {i}");
            let mut bad = good.clone();
            bad[i] ^= 0x10;
            // The reserved byte is covered by the checksum as well.
            assert!(decode_command(&bad).is_err(), "flipped at {i}");
        }
    }
}
