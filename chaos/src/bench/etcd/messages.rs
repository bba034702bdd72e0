//! The few messages of etcd's API that the bench speaks, as protocol buffers on the wire.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Method names.
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Wire types.
const VARINT: u64 = 0;
const LENGTH: u64 = 2;

/// Puts a key: PutRequest.
pub(super) fn put(key: &[u8], value: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(key.len() + value.len() + 8);
    field(&mut out, 1, key);
    field(&mut out, 2, value);
    out.freeze()
}

/// Asks one member for all keys from `from` on, without their values: RangeRequest, serializable.
pub(super) fn keys_from(from: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    field(&mut out, 1, from);
    field(&mut out, 2, &[0]);
    flag(&mut out, 7);
    flag(&mut out, 8);
    out.freeze()
}

/// Keys with how often each was put, of a RangeResponse.
pub(super) fn keys(response: &[u8]) -> Option<Vec<(Bytes, u64)>> {
    let of_pair = |bytes: &[u8]| {
        let mut pair = (Bytes::new(), 0);
        for part in Fields(bytes) {
            match part? {
                (1, Value::Bytes(key)) => pair.0 = Bytes::copy_from_slice(key),
                (4, Value::Number(version)) => pair.1 = version,
                _ => {}
            }
        }
        Some(pair)
    };
    let mut found = Vec::new();
    for part in Fields(response) {
        if let (2, Value::Bytes(pair)) = part? {
            found.push(of_pair(pair)?);
        }
    }
    Some(found)
}

/// Tells whether the member that answers leads: its own id in the header is that of the leader. StatusResponse.
pub(super) fn leads(response: &[u8]) -> Option<bool> {
    let (mut own, mut leader) = (0, 0);
    for part in Fields(response) {
        match part? {
            (1, Value::Bytes(header)) => {
                for part in Fields(header) {
                    if let (2, Value::Number(member)) = part? {
                        own = member;
                    }
                }
            }
            (4, Value::Number(id)) => leader = id,
            _ => {}
        }
    }
    Some(leader != 0 && own == leader)
}

fn field(out: &mut BytesMut, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | LENGTH);
    varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn flag(out: &mut BytesMut, number: u64) {
    varint(out, number << 3 | VARINT);
    varint(out, 1);
}

fn varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7F) as u8);
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order; `None` where it makes no sense.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            VARINT => Value::Number(self.number()?),
            LENGTH => {
                let length = usize::try_from(self.number()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_the_format_says() {
        assert_eq!(put(b"k", b"vv")[..], [0x0A, 1, b'k', 0x12, 2, b'v', b'v']);
        assert_eq!(keys_from(b"k")[..], [0x0A, 1, b'k', 0x12, 1, 0, 0x38, 1, 0x40, 1]);
        // A pair with key "k", a version of 300, and an unknown field before it.
        let response = [0x18, 1, 0x12, 6, 0x0A, 1, b'k', 0x20, 0xAC, 0x02];
        assert_eq!(keys(&response), Some(vec![(Bytes::from_static(b"k"), 300)]));
        assert_eq!(keys(&response[..7]), None);
    }

    #[test]
    fn who_leads() {
        assert_eq!(leads(&[0x0A, 2, 0x10, 7, 0x20, 7]), Some(true));
        assert_eq!(leads(&[0x0A, 2, 0x10, 7, 0x20, 8]), Some(false));
        assert_eq!(leads(&[]), Some(false));
    }
}
