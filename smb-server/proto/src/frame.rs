//! Messages on the stream: the direct-TCP length, the kind of a message, and compounds (MS-SMB2 2.1, 3.3.5.2.7).
//!
//! Knows nothing of what the elements ask for.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::header::{HEADER_SIZE, Header, PROTOCOL_ID};
use crate::smb1;
use crate::transform;
use crate::wire::{align, len_u32, patch_u32};

/// Most elements of one compound that we serve.
pub const COMPOUND_ELEMENTS_MAX: usize = 128;

/// Length of the direct-TCP prefix.
pub const PREFIX_SIZE: usize = 4;

/// Largest message the prefix can announce.
pub const MESSAGE_BYTES_MAX: usize = 0x00FF_FFFF;

/// What the first four bytes say a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// FE 'SMB'.
    Plain,
    /// FD 'SMB': encrypted.
    Encrypted,
    /// FC 'SMB'.
    Compressed,
    /// FF 'SMB': SMB1, legal as the very first message only.
    Smb1,
}

impl MessageKind {
    /// Looks at a message's first bytes.
    pub fn of(msg: &[u8]) -> Result<Self, DecodeError> {
        match msg.get(..4) {
            Some(p) if p == PROTOCOL_ID => Ok(Self::Plain),
            Some(p) if p == transform::PROTOCOL_ID => Ok(Self::Encrypted),
            Some(p) if p == transform::COMPRESSED_PROTOCOL_ID => Ok(Self::Compressed),
            Some(p) if p == smb1::PROTOCOL_ID => Ok(Self::Smb1),
            _ => Err(DecodeError::Disconnect { what: "unknown ProtocolId" }),
        }
    }
}

/// The prefix before a message of `len` bytes; None when it is too long for the transport.
#[must_use]
pub fn prefix(len: usize) -> Option<[u8; PREFIX_SIZE]> {
    if len > MESSAGE_BYTES_MAX {
        return None;
    }
    u32::try_from(len).ok().map(u32::to_be_bytes)
}

/// The length that a prefix announces.
pub fn prefix_length(prefix: [u8; PREFIX_SIZE]) -> Result<usize, DecodeError> {
    let [zero, a, b, c] = prefix;
    if zero != 0 {
        return Err(DecodeError::Disconnect { what: "direct-TCP prefix" });
    }
    usize::try_from(u32::from_be_bytes([0, a, b, c])).map_err(|_| DecodeError::Disconnect { what: "direct-TCP length" })
}

/// One message of a compound.
#[derive(Clone, Debug)]
pub struct Element {
    /// Its header.
    pub header: Header,
    /// Its bytes from the header on, padding included: what decoders take, and what the signature covers.
    pub bytes: Bytes,
}

/// Splits a plain message into its elements (one, unless it is a compound).
pub fn split(message: &Bytes) -> Result<Vec<Element>, DecodeError> {
    let drop = |what| DecodeError::Disconnect { what };
    let mut elements = Vec::with_capacity(1);
    let mut rest = message.clone();
    loop {
        let header = Header::decode(&rest)?;
        if elements.len() >= COMPOUND_ELEMENTS_MAX {
            return Err(drop("too many elements in a compound"));
        }
        // MS-SMB2 3.3.5.2.7: NextCommand is 8-aligned and leads to a header inside the message.
        let next = usize::try_from(header.next_command).map_err(|_| drop("NextCommand"))?;
        if next == 0 {
            elements.push(Element { header, bytes: rest });
            return Ok(elements);
        }
        if next % 8 != 0 || next < HEADER_SIZE || next >= rest.len() {
            return Err(drop("NextCommand"));
        }
        let bytes = rest.split_to(next);
        elements.push(Element { header, bytes });
    }
}

/// Builds a message of one or more elements; afterwards each element can be signed in its range.
#[derive(Debug, Default)]
pub struct CompoundWriter {
    out: Vec<u8>,
    starts: Vec<usize>,
}

impl CompoundWriter {
    /// An empty message, with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity), starts: Vec::new() }
    }

    /// Adds an element: pads the one before, links it, writes the header, and lets `body` append the rest.
    pub fn push(&mut self, header: &Header, body: impl FnOnce(&mut Vec<u8>)) {
        if let Some(&last) = self.starts.last() {
            align(&mut self.out, last, 8);
            let next = len_u32(self.out.len().saturating_sub(last));
            patch_u32(&mut self.out, last.saturating_add(20), next);
        }
        self.starts.push(self.out.len());
        header.encode(&mut self.out);
        body(&mut self.out);
    }

    /// Adds an element that is already encoded from its header on.
    pub fn push_encoded(&mut self, element: &[u8]) {
        if let Some(&last) = self.starts.last() {
            align(&mut self.out, last, 8);
            let next = len_u32(self.out.len().saturating_sub(last));
            patch_u32(&mut self.out, last.saturating_add(20), next);
        }
        self.starts.push(self.out.len());
        self.out.extend_from_slice(element);
    }

    /// The message and the range of each element, padding included.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
        let ends = self.starts.iter().skip(1).copied().chain([self.out.len()]);
        let ranges = self.starts.iter().copied().zip(ends).map(|(a, b)| a..b).collect();
        (self.out, ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Command;

    fn compound() -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
        let mut w = CompoundWriter::default();
        w.push(&Header::request(Command::Create, 1), |b| b.extend_from_slice(&[1; 57]));
        w.push(&Header::request(Command::Close, 2), |b| b.extend_from_slice(&[2; 24]));
        w.finish()
    }

    #[test]
    fn compound_there_and_back() {
        let (msg, ranges) = compound();
        assert_eq!(ranges[0], 0..128);
        let el = split(&Bytes::from(msg.clone())).unwrap();
        assert_eq!(el.len(), 2);
        assert_eq!(el[0].header.command, Command::Create);
        assert_eq!(el[1].header.message_id, 2);
        for (e, r) in el.iter().zip(ranges) {
            assert_eq!(e.bytes, msg[r]);
        }
    }

    #[test]
    fn bad_next_command_disconnects() {
        let (msg, _) = compound();
        for bad in [4u32, 60, 124, 0x1000, u32::MAX] {
            let mut m = msg.clone();
            patch_u32(&mut m, 20, bad);
            assert!(split(&Bytes::from(m)).unwrap_err().is_disconnect(), "NextCommand {bad}");
        }
        let mut w = CompoundWriter::default();
        for i in 0..=COMPOUND_ELEMENTS_MAX as u64 {
            w.push(&Header::request(Command::Echo, i), |b| b.extend_from_slice(&[4, 0, 0, 0]));
        }
        assert!(split(&Bytes::from(w.finish().0)).unwrap_err().is_disconnect(), "limit of elements");
    }

    #[test]
    fn prefix_is_big_endian_and_bounded() {
        assert_eq!(prefix(0x01_02_03), Some([0, 1, 2, 3]));
        assert_eq!(prefix_length([0, 1, 2, 3]), Ok(0x01_02_03));
        assert_eq!(prefix(0x0100_0000), None);
        assert!(prefix_length([0x85, 0, 0, 0]).is_err());
    }
}
