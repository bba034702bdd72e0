//! FileFullEaInformation (class 15) and the list of names that a query may carry (MS-FSCC 2.4.16).

use super::list::{EntryWriter, Pushed};
use crate::error::DecodeError;
use crate::wire::{Put, Reader, align, len_u16, len_u32, patch_u32};

/// FILE_NEED_EA.
pub const FLAG_NEED_EA: u8 = 0x80;
/// Most attributes in one list.
pub const EAS_MAX: usize = 4096;

/// One extended attribute.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FullEa {
    /// Flags.
    pub flags: u8,
    /// Name: ASCII, case-insensitive.
    pub name: Vec<u8>,
    /// Value; empty in a SET_INFO deletes the attribute.
    pub value: Vec<u8>,
}

impl FullEa {
    /// Adds the entry to a list of alignment 4, for replies of limited size.
    pub fn write(&self, list: &mut EntryWriter) -> Pushed {
        let mut b = Vec::new();
        entry_bytes(self, &mut b);
        list.push(&b, b.len())
    }
}

/// Decodes a list; whatever is wrong with it is EA_LIST_INCONSISTENT.
pub fn decode_list(buf: &[u8]) -> Result<Vec<FullEa>, DecodeError> {
    list(buf, |r| {
        let (flags, name_length, value_length) = (r.u8()?, usize::from(r.u8()?), r.len16()?);
        let name = r.bytes(name_length)?.to_vec();
        if r.u8()? != 0 {
            return Err(DecodeError::EaList);
        }
        Ok(FullEa { flags, name, value: r.bytes(value_length)?.to_vec() })
    })
}

/// Decodes the names of a query (FileGetEaInformation).
pub fn decode_names(buf: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
    list(buf, |r| {
        let name_length = usize::from(r.u8()?);
        Ok(r.bytes(name_length)?.to_vec())
    })
}

fn list<T>(buf: &[u8], entry: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
    let mut all = Vec::new();
    let mut rest = buf;
    while !rest.is_empty() {
        if all.len() >= EAS_MAX {
            return Err(DecodeError::EaList);
        }
        let mut r = Reader::new(rest);
        let next = r.len32().map_err(|_| DecodeError::EaList)?;
        all.push(entry(&mut r).map_err(|_| DecodeError::EaList)?);
        if next == 0 {
            break;
        }
        if next % 4 != 0 || next < r.position() || next >= rest.len() {
            return Err(DecodeError::EaList);
        }
        rest = rest.get(next..).unwrap_or_default();
    }
    Ok(all)
}

/// The bytes of one entry, without its link.
fn entry_bytes(ea: &FullEa, out: &mut Vec<u8>) {
    out.put_u32(0);
    out.put_u8(ea.flags);
    out.put_u8(u8::try_from(ea.name.len()).unwrap_or(u8::MAX));
    out.put_u16(len_u16(ea.value.len()));
    out.put_bytes(&ea.name);
    out.put_u8(0);
    out.put_bytes(&ea.value);
}

/// The bytes of a whole list.
#[must_use]
pub fn encode_list(list: &[FullEa]) -> Vec<u8> {
    encode_chain(list, entry_bytes)
}

/// The bytes of a list of names.
#[must_use]
pub fn encode_names(names: &[Vec<u8>]) -> Vec<u8> {
    encode_chain(names, |n, out| {
        out.put_u32(0);
        out.put_u8(u8::try_from(n.len()).unwrap_or(u8::MAX));
        out.put_bytes(n);
        out.put_u8(0);
    })
}

fn encode_chain<T>(items: &[T], entry: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut previous: Option<usize> = None;
    for item in items {
        if let Some(p) = previous {
            align(&mut out, p, 4);
            let next = len_u32(out.len().saturating_sub(p));
            patch_u32(&mut out, p, next);
        }
        previous = Some(out.len());
        entry(item, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_there_and_back_and_broken_ones_are_inconsistent() {
        let all = vec![
            FullEa { flags: 0, name: b"USER.A".to_vec(), value: b"hello".to_vec() },
            FullEa { flags: FLAG_NEED_EA, name: b"B".to_vec(), value: vec![] },
        ];
        let b = encode_list(&all);
        assert_eq!(decode_list(&b), Ok(all));
        for cut in 1..b.len() {
            assert_eq!(decode_list(&b[..cut]), Err(DecodeError::EaList), "cut at {cut}");
        }
        let names = vec![b"USER.A".to_vec(), b"B".to_vec()];
        assert_eq!(decode_names(&encode_names(&names)), Ok(names));
    }
}
