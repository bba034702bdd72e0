//! FILE_NOTIFY_INFORMATION, the entries of CHANGE_NOTIFY (MS-FSCC 2.7.1).

use super::list::{EntryWriter, Pushed};
use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, len_u32};

/// Most entries in one reply that a client reads.
pub const NOTIFY_ENTRIES_MAX: usize = 65_536;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NotifyAction {
    /// FILE_ACTION_ADDED.
    Added,
    /// FILE_ACTION_REMOVED.
    Removed,
    /// FILE_ACTION_MODIFIED.
    Modified,
    /// FILE_ACTION_RENAMED_OLD_NAME.
    RenamedOldName,
    /// FILE_ACTION_RENAMED_NEW_NAME.
    RenamedNewName,
    /// FILE_ACTION_ADDED_STREAM.
    AddedStream,
    /// FILE_ACTION_REMOVED_STREAM.
    RemovedStream,
    /// FILE_ACTION_MODIFIED_STREAM.
    ModifiedStream,
}

impl NotifyAction {
    /// All actions, in wire order from 1.
    const ALL: [Self; 8] = [
        Self::Added,
        Self::Removed,
        Self::Modified,
        Self::RenamedOldName,
        Self::RenamedNewName,
        Self::AddedStream,
        Self::RemovedStream,
        Self::ModifiedStream,
    ];

    /// The wire value.
    #[must_use]
    pub fn to_wire(self) -> u32 {
        Self::ALL.iter().zip(1u32..).find(|(a, _)| **a == self).map_or(0, |(_, i)| i)
    }

    /// Decodes the wire value.
    #[must_use]
    pub fn from_wire(v: u32) -> Option<Self> {
        Self::ALL.iter().zip(1u32..).find(|(_, i)| *i == v).map(|(a, _)| *a)
    }
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileNotifyInformation {
    /// Action.
    pub action: NotifyAction,
    /// FileName, relative to the watched directory.
    pub file_name: String,
}

impl FileNotifyInformation {
    /// Adds the entry to a list of alignment 4. An entry is never cut: what does not fit makes the reply NOTIFY_ENUM_DIR.
    pub fn write(&self, list: &mut EntryWriter) -> Pushed {
        let mut b = Vec::new();
        b.put_u32(0);
        b.put_u32(self.action.to_wire());
        b.put_u32(len_u32(utf16::byte_len(&self.file_name)));
        utf16::encode(&self.file_name, &mut b);
        let fixed = b.len();
        match list.push(&b, fixed) {
            Pushed::Fits => Pushed::Fits,
            Pushed::Full | Pushed::Cut | Pushed::TooSmall => Pushed::Full,
        }
    }

    /// All changes in a buffer of `output_length` bytes; None when they do not fit (NOTIFY_ENUM_DIR).
    #[must_use]
    pub fn encode_list(changes: &[Self], output_length: u32) -> Option<Vec<u8>> {
        let mut list = EntryWriter::new(output_length, 4);
        for c in changes {
            if c.write(&mut list) != Pushed::Fits {
                return None;
            }
        }
        Some(list.finish())
    }

    /// Decodes a list.
    pub fn decode_list(buf: &[u8]) -> Result<Vec<Self>, DecodeError> {
        super::decode_chain(buf, NOTIFY_ENTRIES_MAX, "FileNotifyInformation", |entry| {
            let mut r = Reader::new(entry);
            r.skip(4)?;
            let action = NotifyAction::from_wire(r.u32()?).ok_or(DecodeError::malformed("Action"))?;
            let length = r.len32()?;
            Ok(Self { action, file_name: utf16::decode(r.bytes(length)?, "FileName")? })
        })
    }
}
