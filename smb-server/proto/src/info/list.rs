//! Lists of linked entries in a buffer of limited size: the rules of Next, alignment and truncation.
//!
//! Knows nothing of what an entry says, only that it begins with NextEntryOffset.

use smb_types::NtStatus;

use crate::wire::{align, len_u32, patch_u32};

/// Cuts a reply to the client's buffer: a fixed part that does not fit is INFO_LENGTH_MISMATCH, a variable part that does not is cut
/// and BUFFER_OVERFLOW goes with it.
pub fn fit(mut reply: Vec<u8>, fixed: usize, buffer_length: u32) -> Result<(Vec<u8>, NtStatus), NtStatus> {
    let room = usize::try_from(buffer_length).unwrap_or(usize::MAX);
    if room < fixed.min(reply.len()) {
        return Err(NtStatus::INFO_LENGTH_MISMATCH);
    }
    if reply.len() <= room {
        return Ok((reply, NtStatus::SUCCESS));
    }
    reply.truncate(room);
    Ok((reply, NtStatus::BUFFER_OVERFLOW))
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It is in the buffer.
    Fits,
    /// It does not fit; the buffer is unchanged, and this entry is the first of the next reply.
    Full,
    /// It does not fit although the buffer is empty, but its fixed part does: it was cut, and the status is BUFFER_OVERFLOW.
    Cut,
    /// Not even its fixed part fits an empty buffer: INFO_LENGTH_MISMATCH.
    TooSmall,
}

/// Writes linked entries.
#[derive(Debug)]
pub struct EntryWriter {
    out: Vec<u8>,
    room: usize,
    alignment: usize,
    last: Option<usize>,
    count: usize,
}

impl EntryWriter {
    /// A list in at most `buffer_length` bytes, entries aligned to `alignment` (4 or 8).
    #[must_use]
    pub fn new(buffer_length: u32, alignment: usize) -> Self {
        let room = usize::try_from(buffer_length).unwrap_or(usize::MAX);
        Self { out: Vec::with_capacity(room.min(0x1_0000)), room, alignment: alignment.max(1), last: None, count: 0 }
    }

    /// How many entries are in the buffer.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Tells whether there is no entry yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an entry that begins with a zero NextEntryOffset; `fixed` is the length of its fixed part.
    pub fn push(&mut self, entry: &[u8], fixed: usize) -> Pushed {
        let start = self.out.len().next_multiple_of(self.alignment);
        if start.saturating_add(entry.len()) > self.room {
            if !self.is_empty() {
                return Pushed::Full;
            }
            if fixed > self.room {
                return Pushed::TooSmall;
            }
            self.out.extend_from_slice(entry.get(..self.room).unwrap_or(entry));
            self.count = 1;
            return Pushed::Cut;
        }
        if let Some(last) = self.last {
            align(&mut self.out, 0, self.alignment);
            patch_u32(&mut self.out, last, len_u32(start.saturating_sub(last)));
        }
        self.out.extend_from_slice(entry);
        self.last = Some(start);
        self.count = self.count.saturating_add(1);
        Pushed::Fits
    }

    /// The buffer.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_linked_aligned_and_limited() {
        let mut w = EntryWriter::new(40, 8);
        assert_eq!(w.push(&[0; 13], 12), Pushed::Fits);
        assert_eq!(w.push(&[0; 13], 12), Pushed::Fits);
        assert_eq!(w.push(&[0; 13], 12), Pushed::Full);
        let b = w.finish();
        assert_eq!((b.len(), b[0], b[16]), (29, 16, 0));
        let mut w = EntryWriter::new(12, 8);
        assert_eq!(w.push(&[0; 13], 12), Pushed::Cut);
        assert_eq!(w.finish().len(), 12);
        assert_eq!(EntryWriter::new(11, 8).push(&[0; 13], 12), Pushed::TooSmall);
    }

    #[test]
    fn replies_are_cut_behind_their_fixed_part_only() {
        assert_eq!(fit(vec![1; 10], 4, 3), Err(NtStatus::INFO_LENGTH_MISMATCH));
        assert_eq!(fit(vec![1; 10], 4, 4), Ok((vec![1; 4], NtStatus::BUFFER_OVERFLOW)));
        assert_eq!(fit(vec![1; 10], 4, 10), Ok((vec![1; 10], NtStatus::SUCCESS)));
    }
}
