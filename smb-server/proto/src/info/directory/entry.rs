//! One file in a directory, in any of the layouts.

use smb_types::{FileAttributes, FileTime};

use super::DirectoryClass;
use crate::error::DecodeError;
use crate::info::list::{EntryWriter, Pushed};
use crate::utf16;
use crate::wire::{Put, Reader};

/// Most entries that a client reads from one reply.
const ENTRIES_MAX: usize = 65_536;
/// Room for a short name in bytes.
const SHORT_NAME_BYTES: usize = 24;

/// What a listing says of one file; a class leaves out what its layout has no room for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DirectoryEntry {
    /// FileIndex: 0 is fine.
    pub file_index: u32,
    /// CreationTime.
    pub creation_time: FileTime,
    /// LastAccessTime.
    pub last_access_time: FileTime,
    /// LastWriteTime.
    pub last_write_time: FileTime,
    /// ChangeTime.
    pub change_time: FileTime,
    /// EndOfFile.
    pub end_of_file: u64,
    /// AllocationSize.
    pub allocation_size: u64,
    /// FileAttributes.
    pub file_attributes: FileAttributes,
    /// EaSize.
    pub ea_size: u32,
    /// ReparseTag; 0 without reparse point. Stands in for EaSize where a layout has no field of its own.
    pub reparse_tag: u32,
    /// ShortName; at most twelve UTF-16 units.
    pub short_name: String,
    /// FileId.
    pub file_id: u64,
    /// FileId of 128 bits.
    pub file_id_128: [u8; 16],
    /// FileName.
    pub file_name: String,
}

impl DirectoryEntry {
    /// Adds the entry to a list of alignment 8.
    pub fn write(&self, class: DirectoryClass, list: &mut EntryWriter) -> Pushed {
        list.push(&self.to_bytes(class), class.name_offset())
    }

    /// The entry's bytes with NextEntryOffset 0.
    #[must_use]
    pub fn to_bytes(&self, class: DirectoryClass) -> Vec<u8> {
        use DirectoryClass as C;
        let name = utf16::to_bytes(&self.file_name);
        let mut b = Vec::with_capacity(class.name_offset().saturating_add(name.len()));
        b.put_u32(0);
        b.put_u32(self.file_index);
        if class != C::Names {
            for t in [self.creation_time, self.last_access_time, self.last_write_time, self.change_time] {
                b.put(&t);
            }
            b.put_u64(self.end_of_file);
            b.put_u64(self.allocation_size);
            b.put(&self.file_attributes);
        }
        b.put_u32(crate::wire::len_u32(name.len()));
        // MS-FSCC 2.4.17: for a reparse point the older layouts carry its tag in EaSize.
        let ea_or_tag = if self.reparse_tag == 0 { self.ea_size } else { self.reparse_tag };
        match class {
            C::Names | C::Directory => {}
            C::FullDirectory => b.put_u32(ea_or_tag),
            C::IdFullDirectory => {
                b.put_u32(ea_or_tag);
                b.put_u32(0);
                b.put_u64(self.file_id);
            }
            C::BothDirectory => {
                b.put_u32(ea_or_tag);
                self.put_short_name(&mut b);
            }
            C::IdBothDirectory => {
                b.put_u32(ea_or_tag);
                self.put_short_name(&mut b);
                b.put_u16(0);
                b.put_u64(self.file_id);
            }
            C::IdExtdDirectory => {
                b.put_u32(self.ea_size);
                b.put_u32(self.reparse_tag);
                b.put(&self.file_id_128);
            }
            C::Id64ExtdDirectory | C::Id64ExtdBothDirectory | C::IdAllExtdDirectory | C::IdAllExtdBothDirectory => {
                b.put_u32(self.ea_size);
                b.put_u32(self.reparse_tag);
                b.put_u64(self.file_id);
                if matches!(class, C::IdAllExtdDirectory | C::IdAllExtdBothDirectory) {
                    b.put(&self.file_id_128);
                }
                if matches!(class, C::Id64ExtdBothDirectory | C::IdAllExtdBothDirectory) {
                    self.put_short_name(&mut b);
                }
            }
        }
        debug_assert_eq!(b.len(), class.name_offset());
        b.put_bytes(&name);
        b
    }

    fn put_short_name(&self, b: &mut Vec<u8>) {
        let mut short = utf16::to_bytes(&self.short_name);
        short.truncate(SHORT_NAME_BYTES);
        b.put_u8(u8::try_from(short.len()).unwrap_or(0));
        b.put_u8(0);
        short.resize(SHORT_NAME_BYTES, 0);
        b.put_bytes(&short);
    }

    /// Decodes a list.
    pub fn decode_list(class: DirectoryClass, buf: &[u8]) -> Result<Vec<Self>, DecodeError> {
        crate::info::decode_chain(buf, ENTRIES_MAX, "directory entry", |entry| Self::decode(class, entry))
    }

    fn decode(class: DirectoryClass, entry: &[u8]) -> Result<Self, DecodeError> {
        use DirectoryClass as C;
        let mut r = Reader::new(entry);
        r.skip(4)?;
        let mut e = Self { file_index: r.u32()?, ..Self::default() };
        if class != C::Names {
            (e.creation_time, e.last_access_time, e.last_write_time, e.change_time) = (r.get()?, r.get()?, r.get()?, r.get()?);
            (e.end_of_file, e.allocation_size, e.file_attributes) = (r.u64()?, r.u64()?, r.get()?);
        }
        let length = r.len32()?;
        match class {
            C::Names | C::Directory => {}
            C::FullDirectory => e.ea_size = r.u32()?,
            C::IdFullDirectory => {
                e.ea_size = r.u32()?;
                r.skip(4)?;
                e.file_id = r.u64()?;
            }
            C::BothDirectory => {
                e.ea_size = r.u32()?;
                e.short_name = short_name(&mut r)?;
            }
            C::IdBothDirectory => {
                e.ea_size = r.u32()?;
                e.short_name = short_name(&mut r)?;
                r.skip(2)?;
                e.file_id = r.u64()?;
            }
            C::IdExtdDirectory => (e.ea_size, e.reparse_tag, e.file_id_128) = (r.u32()?, r.u32()?, r.array()?),
            C::Id64ExtdDirectory | C::Id64ExtdBothDirectory | C::IdAllExtdDirectory | C::IdAllExtdBothDirectory => {
                (e.ea_size, e.reparse_tag, e.file_id) = (r.u32()?, r.u32()?, r.u64()?);
                if matches!(class, C::IdAllExtdDirectory | C::IdAllExtdBothDirectory) {
                    e.file_id_128 = r.array()?;
                }
                if matches!(class, C::Id64ExtdBothDirectory | C::IdAllExtdBothDirectory) {
                    e.short_name = short_name(&mut r)?;
                }
            }
        }
        e.file_name = utf16::decode(r.bytes(length)?, "FileName")?;
        Ok(e)
    }
}

fn short_name(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let length = usize::from(r.u8()?);
    r.skip(1)?;
    let room = r.bytes(SHORT_NAME_BYTES)?;
    utf16::decode(room.get(..length).ok_or(DecodeError::malformed("ShortNameLength"))?, "ShortName")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_there_and_back() {
        for class in DirectoryClass::ALL {
            assert_eq!(DirectoryClass::from_wire(class.to_wire()), Some(class));
            let names = ["a", "Straße.txt", "😀"];
            let mut list = EntryWriter::new(4096, 8);
            for n in names {
                let e = DirectoryEntry {
                    end_of_file: 5,
                    creation_time: FileTime(1),
                    file_attributes: FileAttributes::ARCHIVE,
                    ea_size: 3,
                    short_name: "SHORT~1.TXT".into(),
                    file_id: 7,
                    file_id_128: [9; 16],
                    file_name: n.into(),
                    ..DirectoryEntry::default()
                };
                assert_eq!(e.to_bytes(class).len(), class.name_offset() + utf16::byte_len(n));
                assert_eq!(e.write(class, &mut list), Pushed::Fits);
            }
            let got = DirectoryEntry::decode_list(class, &list.finish()).unwrap();
            assert_eq!(got.iter().map(|e| e.file_name.as_str()).collect::<Vec<_>>(), names, "{class:?}");
            if class != DirectoryClass::Names {
                assert_eq!((got[1].end_of_file, got[1].creation_time), (5, FileTime(1)));
            }
        }
    }
}
