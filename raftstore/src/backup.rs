//! Backup files: the whole state of a machine at one log entry, checked on every way.
//!
//! ```text
//! file:   "HOLDFAST-BACKUP\n" | format version u16le | frame*
//! frame:  length u32le | envelope                          the envelope carries kind, version and CRC-32
//! frames: BackupHead , BackupPiece { number, (key, value)* } ... , BackupEnd { pieces, entries, SHA-256 of everything before it }
//! ```
//! docs/formats/backup.md draws the bytes. A file without its end is no backup. Knows nothing of what the entries mean, and of no store:
//! `store/backup.rs` makes and loads them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{self, DecodeError, Kind};
use crate::types::Blob;

/// Every backup begins with this.
const MAGIC: &[u8; 16] = b"HOLDFAST-BACKUP\n";
/// The format version written today, and the newest that is understood.
pub const FORMAT_NEWEST: u16 = 1;
/// A piece is closed when it holds this much; it is longer by one entry at most.
const PIECE_BYTES: usize = 256 << 10;
/// Longest frame that is read.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// One key and its value, as the machine gave them.
pub type BackupEntry = (Vec<u8>, Vec<u8>);

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHead {
    /// The cluster.
    #[serde(with = "uuid_number")]
    pub cluster: Uuid,
    /// The node that wrote it.
    pub node_id: u64,
    /// The last log entry that it holds.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Log time of that entry, ms.
    pub time_ms: u64,
    /// Seconds since 1970 when it was made, by the clock of the node.
    pub made_unix_s: u64,
    /// The members at that entry, and their addresses.
    pub members: BTreeMap<u64, String>,
    /// How many entries there are, roughly: for showing progress.
    pub entries_about: u64,
    /// Whatever the program wants to be kept beside the entries.
    pub notes: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Piece {
    number: u64,
    entries: Vec<(Blob, Blob)>,
}

#[derive(Serialize, Deserialize)]
struct End {
    pieces: u64,
    entries: u64,
    sha256: [u8; 32],
}

/// What a complete backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSize {
    /// Entries.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why a file cannot be used as a backup, or could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It begins otherwise.
    #[error("it is not a backup of a cluster: it does not begin like one; name a file that `holdfast backup --to` made")]
    Foreign,
    /// Written by a newer program.
    #[error("it has backup format {found}, this program reads up to {FORMAT_NEWEST}; use the program that made it, or a newer one")]
    TooNew {
        /// Its version.
        found: u16,
    },
    /// It ends before its end.
    #[error("it is cut off after {bytes} bytes: the backup or the copy was interrupted; copy it again, or take another backup")]
    CutOff {
        /// How much there is.
        bytes: u64,
    },
    /// Bytes were changed.
    #[error("it is damaged between byte {from} and {to}: {because}; copy it again, or take another backup")]
    Damaged {
        /// Where the damaged part begins.
        from: u64,
        /// Where it ends.
        to: u64,
        /// How it is damaged.
        because: String,
    },
    /// Something follows its end.
    #[error("something follows its end at byte {at}: it is not what was written; copy it again, or take another backup")]
    Longer {
        /// Where it should end.
        at: u64,
    },
    /// It cannot be read.
    #[error("reading it failed: {0}")]
    Read(#[source] io::Error),
    /// It cannot be written.
    #[error("writing it failed: {0}")]
    Write(#[source] io::Error),
    /// The store could not give its state.
    #[error("the state cannot be read: {0}")]
    Store(String),
    /// The store cannot begin with it.
    #[error("the node cannot begin with it: {0}")]
    Refused(String),
}

/// Writes a backup.
pub struct BackupWriter<W> {
    out: W,
    sum: digest::Context,
    bytes: u64,
    piece: Vec<(Blob, Blob)>,
    piece_bytes: usize,
    pieces: u64,
    entries: u64,
}

impl<W: Write> BackupWriter<W> {
    /// Begins with the head.
    ///
    /// # Errors
    /// `out` fails.
    pub fn new(out: W, head: &BackupHead) -> Result<Self, BackupError> {
        let sum = digest::Context::new(&digest::SHA256);
        let mut writer = Self { out, sum, bytes: 0, piece: Vec::new(), piece_bytes: 0, pieces: 0, entries: 0 };
        writer.write(MAGIC)?;
        writer.write(&FORMAT_NEWEST.to_le_bytes())?;
        writer.frame(Kind::BackupHead, head)?;
        Ok(writer)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// `out` fails.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        self.piece.push((Blob(key.into()), Blob(value.into())));
        self.piece_bytes += key.len() + value.len();
        self.entries += 1;
        if self.piece_bytes >= PIECE_BYTES { self.close_piece() } else { Ok(()) }
    }

    /// Ends the file. Without it, it is no backup.
    ///
    /// # Errors
    /// `out` fails.
    pub fn finish(mut self) -> Result<(W, BackupSize), BackupError> {
        if !self.piece.is_empty() {
            self.close_piece()?;
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.sum.clone().finish().as_ref());
        let (pieces, entries) = (self.pieces, self.entries);
        self.frame(Kind::BackupEnd, &End { pieces, entries, sha256 })?;
        self.out.flush().map_err(BackupError::Write)?;
        Ok((self.out, BackupSize { entries, bytes: self.bytes }))
    }

    fn close_piece(&mut self) -> Result<(), BackupError> {
        let piece = Piece { number: self.pieces, entries: std::mem::take(&mut self.piece) };
        (self.piece_bytes, self.pieces) = (0, self.pieces + 1);
        self.frame(Kind::BackupPiece, &piece)
    }

    fn frame<T: Serialize>(&mut self, kind: Kind, value: &T) -> Result<(), BackupError> {
        let envelope = codec::encode(kind, value).map_err(BackupError::Store)?;
        let length = u32::try_from(envelope.len()).map_err(|_| BackupError::Store("an entry is longer than 4 GiB".to_owned()))?;
        self.write(&length.to_le_bytes())?;
        self.write(&envelope)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(BackupError::Write)
    }
}

/// Reads a backup and checks all of it on the way: what it has given is good only when [`BackupReader::piece`] has returned `None`.
pub struct BackupReader<R> {
    input: R,
    sum: digest::Context,
    bytes: u64,
    head: BackupHead,
    pieces: u64,
    entries: u64,
    ended: bool,
}

impl<R: Read> BackupReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// It is no backup, a newer one, cut off or damaged.
    pub fn new(input: R) -> Result<Self, BackupError> {
        let nobody = BackupHead {
            cluster: Uuid::nil(),
            node_id: 0,
            index: 0,
            term: 0,
            time_ms: 0,
            made_unix_s: 0,
            members: BTreeMap::new(),
            entries_about: 0,
            notes: BTreeMap::new(),
        };
        let sum = digest::Context::new(&digest::SHA256);
        let mut reader = Self { input, sum, bytes: 0, head: nobody, pieces: 0, entries: 0, ended: false };
        let mut magic = [0; MAGIC.len()];
        let got = reader.fill(&mut magic)?;
        if magic[..got] != MAGIC[..got] || got == 0 {
            return Err(BackupError::Foreign);
        }
        if got < magic.len() {
            return Err(BackupError::CutOff { bytes: reader.bytes });
        }
        let mut version = [0; 2];
        reader.exact(&mut version)?;
        let found = u16::from_le_bytes(version);
        if found > FORMAT_NEWEST {
            return Err(BackupError::TooNew { found });
        }
        let (from, envelope) = reader.frame()?;
        reader.head = reader.decode(Kind::BackupHead, from, &envelope)?;
        Ok(reader)
    }

    /// What it says of itself.
    pub fn head(&self) -> &BackupHead {
        &self.head
    }

    /// How much was read.
    pub fn size(&self) -> BackupSize {
        BackupSize { entries: self.entries, bytes: self.bytes }
    }

    /// The next entries, or `None` after a complete and correct end.
    ///
    /// # Errors
    /// It is cut off or damaged.
    pub fn piece(&mut self) -> Result<Option<Vec<BackupEntry>>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let sum = self.sum.clone();
        let (from, envelope) = self.frame()?;
        if envelope.first() == Some(&(Kind::BackupPiece as u8)) {
            let piece: Piece = self.decode(Kind::BackupPiece, from, &envelope)?;
            if piece.number != self.pieces {
                return Err(self.damaged(from, format!("piece {} stands where piece {} belongs", piece.number, self.pieces)));
            }
            self.pieces += 1;
            self.entries += piece.entries.len() as u64;
            return Ok(Some(piece.entries.into_iter().map(|(key, value)| (key.0.to_vec(), value.0.to_vec())).collect()));
        }
        let end: End = self.decode(Kind::BackupEnd, from, &envelope)?;
        if (end.pieces, end.entries) != (self.pieces, self.entries) {
            return Err(self.damaged(from, format!("it holds {} of {} entries", self.entries, end.entries)));
        }
        if sum.finish().as_ref() != end.sha256 {
            return Err(self.damaged(0, "its checksum does not fit".to_owned()));
        }
        let at = self.bytes;
        if self.fill(&mut [0])? != 0 {
            return Err(BackupError::Longer { at });
        }
        self.ended = true;
        Ok(None)
    }

    fn frame(&mut self) -> Result<(u64, Vec<u8>), BackupError> {
        let from = self.bytes;
        let mut length = [0; 4];
        self.exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(self.damaged(from, format!("a frame of {length} bytes")));
        }
        // As much as there is, not as much as a damaged length says.
        let mut envelope = Vec::with_capacity(length.min(PIECE_BYTES * 2));
        let got = (&mut self.input).take(length as u64).read_to_end(&mut envelope).map_err(BackupError::Read)?;
        self.bytes += got as u64;
        if got < length {
            return Err(BackupError::CutOff { bytes: self.bytes });
        }
        self.sum.update(&envelope);
        Ok((from, envelope))
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        let wanted = bytes.len();
        if self.fill(bytes)? < wanted { Err(BackupError::CutOff { bytes: self.bytes }) } else { Ok(()) }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, BackupError> {
        let mut got = 0;
        while got < bytes.len() {
            match self.input.read(&mut bytes[got..]) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(BackupError::Read(err)),
            }
        }
        self.sum.update(&bytes[..got]);
        self.bytes += got as u64;
        Ok(got)
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, kind: Kind, from: u64, envelope: &[u8]) -> Result<T, BackupError> {
        codec::decode(kind, envelope).map_err(|err| match err {
            // Its checksum is right, so it was written like this.
            DecodeError::Version(version) => BackupError::TooNew { found: u16::from(version) },
            err => self.damaged(from, err.to_string()),
        })
    }

    fn damaged(&self, from: u64, because: String) -> BackupError {
        BackupError::Damaged { from, to: self.bytes, because }
    }
}

/// A cluster id as a number: fewer bytes than text.
mod uuid_number {
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u128(id.as_u128())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        u128::deserialize(deserializer).map(Uuid::from_u128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> BackupHead {
        BackupHead {
            cluster: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            node_id: 2,
            index: 300,
            term: 3,
            time_ms: 1_234_567,
            made_unix_s: 1_764_100_000,
            members: BTreeMap::from([(1, "127.0.0.11:7450".to_owned()), (2, "127.0.0.12:7450".to_owned())]),
            entries_about: 2,
            notes: BTreeMap::from([("program".to_owned(), "0.1.0".to_owned())]),
        }
    }

    fn write(entries: &[BackupEntry]) -> Vec<u8> {
        let mut writer = BackupWriter::new(Vec::new(), &head()).unwrap();
        for (key, value) in entries {
            writer.put(key, value).unwrap();
        }
        let (bytes, size) = writer.finish().unwrap();
        assert_eq!((size.bytes, size.entries), (bytes.len() as u64, entries.len() as u64));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(BackupHead, Vec<BackupEntry>), BackupError> {
        let mut reader = BackupReader::new(bytes)?;
        let mut entries = Vec::new();
        while let Some(piece) = reader.piece()? {
            entries.extend(piece);
        }
        assert!(reader.piece()?.is_none(), "the end stays the end");
        Ok((reader.head().clone(), entries))
    }

    fn small() -> Vec<BackupEntry> {
        vec![(b"a".to_vec(), b"one".to_vec()), (b"b".to_vec(), Vec::new())]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Version 1 of a backup. Files like this one are on shelves: a change here is a new version, and this one stays readable.
    #[test]
    fn golden_backup_v1() {
        let bytes = write(&small());
        assert_eq!(hex(&bytes), include_str!("backup-v1.hex").split_whitespace().collect::<String>());
        assert_eq!(read(&bytes).unwrap(), (head(), small()));
    }

    #[test]
    fn long_ones_have_several_pieces() {
        let entries: Vec<BackupEntry> = (0..2000u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; 700])).collect();
        let bytes = write(&entries);
        assert_eq!(read(&bytes).unwrap().1, entries);
        // A piece that was left out, or came twice, is noticed although each piece is whole.
        let mut starts = Vec::new();
        let mut at = MAGIC.len() + 2;
        while at < bytes.len() {
            starts.push(at);
            at += 4 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        }
        assert!(starts.len() > 5, "{}", starts.len());
        let without = [&bytes[..starts[2]], &bytes[starts[3]..]].concat();
        let twice = [&bytes[..starts[3]], &bytes[starts[2]..]].concat();
        for bad in [without, twice] {
            assert!(matches!(read(&bad), Err(BackupError::Damaged { .. })), "{:?}", read(&bad).err());
        }
        // The head of another backup in front of these pieces.
        let other = BackupHead { index: 1, ..head() };
        let (other, _) = BackupWriter::new(Vec::new(), &other).unwrap().finish().unwrap();
        let mixed_at = MAGIC.len() + 2 + 4 + u32::from_le_bytes(other[18..22].try_into().unwrap()) as usize;
        let mixed = [&other[..mixed_at], &bytes[starts[1]..]].concat();
        assert!(matches!(read(&mixed), Err(BackupError::Damaged { from: 0, .. })), "{:?}", read(&mixed).err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = write(&small());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let err = read(&bad).expect_err("a changed bit");
            match bit / 8 {
                0..16 => assert!(matches!(err, BackupError::Foreign), "bit {bit}: {err}"),
                // A smaller version number is an older version, of which there is none to be known yet.
                16..18 => {}
                _ => assert!(
                    matches!(err, BackupError::Damaged { .. } | BackupError::CutOff { .. } | BackupError::Longer { .. }),
                    "bit {bit}: {err}"
                ),
            }
        }
        for len in 1..good.len() {
            assert!(matches!(read(&good[..len]), Err(BackupError::CutOff { .. })), "{len}: {:?}", read(&good[..len]).err());
        }
        assert!(matches!(read(b""), Err(BackupError::Foreign)));
        assert!(matches!(read(b"PK\x03\x04 something else"), Err(BackupError::Foreign)));
        let longer = [&good[..], b"x"].concat();
        assert!(matches!(read(&longer), Err(BackupError::Longer { .. })));
        let mut newer = good;
        newer[16] = 2;
        assert!(matches!(read(&newer), Err(BackupError::TooNew { found: 2 })));
    }
}
