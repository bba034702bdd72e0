//! Little-endian reading with checks, writing, and the macros for fixed layouts.
//!
//! Knows nothing of any message: the other modules are built on it.

use bytes::Bytes;
use smb_types::{AccessMask, CreateOptions, FileAttributes, FileId, FileTime, Guid, LeaseState, NtStatus, ShareAccess};

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;

/// Reads a buffer front to back; every step is checked.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the buffer's first byte.
    #[must_use]
    pub const fn new(buf: &'a [u8]) -> Self {
        Self { buf, pos: 0 }
    }

    /// Starts at a message's body, behind the header, and checks its StructureSize.
    pub fn body(msg: &'a [u8], structure_size: u16) -> Result<Self, DecodeError> {
        let mut r = Self { buf: msg, pos: HEADER_SIZE };
        if r.u16()? != structure_size {
            return Err(DecodeError::malformed("StructureSize"));
        }
        Ok(r)
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.pos.checked_add(n).ok_or(DecodeError::malformed("length"))?;
        let s = self.buf.get(self.pos..end).ok_or(DecodeError::malformed("short buffer"))?;
        self.pos = end;
        Ok(s)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut a = [0; N];
        a.copy_from_slice(self.bytes(N)?);
        Ok(a)
    }

    /// Passes over `n` bytes that must be there.
    pub fn skip(&mut self, n: usize) -> Result<(), DecodeError> {
        self.bytes(n).map(|_| ())
    }

    /// Everything that is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.buf.get(self.pos..).unwrap_or_default()
    }

    /// How many bytes were read so far (with a message's body: counted from the header).
    #[must_use]
    pub const fn position(&self) -> usize {
        self.pos
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Four bytes that count something in memory.
    pub fn len32(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.u32()?).map_err(|_| DecodeError::malformed("length"))
    }

    /// Two bytes that count something in memory.
    pub fn len16(&mut self) -> Result<usize, DecodeError> {
        self.u16().map(usize::from)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Any fixed-size value.
    pub fn get<T: Wire>(&mut self) -> Result<T, DecodeError> {
        T::get(self)
    }
}

/// The `len` bytes at `offset` of a message (offsets count from the header); an empty range is fine whatever its offset.
pub fn part<'a>(msg: &'a [u8], offset: usize, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
    if len == 0 {
        return Ok(&[]);
    }
    let end = offset.checked_add(len).ok_or(DecodeError::malformed(what))?;
    msg.get(offset..end).ok_or(DecodeError::malformed(what))
}

/// As `part`, but the range must lie behind the header, as it does in every SMB2 body.
pub fn body_part<'a>(msg: &'a [u8], offset: usize, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
    if len != 0 && offset < HEADER_SIZE {
        return Err(DecodeError::malformed(what));
    }
    part(msg, offset, len, what)
}

/// As `body_part`, sharing the message's memory instead of copying.
pub fn body_part_shared(msg: &Bytes, offset: usize, len: usize, what: &'static str) -> Result<Bytes, DecodeError> {
    body_part(msg, offset, len, what).map(|s| if s.is_empty() { Bytes::new() } else { msg.slice_ref(s) })
}

/// A length as the wire's u16; what does not fit was refused earlier, so this saturates.
#[must_use]
pub fn len_u16(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// A length as the wire's u32; saturates likewise.
#[must_use]
pub fn len_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Appends zeros until the length since `start` is a multiple of `to`.
pub fn align(out: &mut Vec<u8>, start: usize, to: usize) {
    let used = out.len().saturating_sub(start);
    out.resize(start.saturating_add(used.next_multiple_of(to)), 0);
}

/// Overwrites two bytes at `at`; does nothing if they do not exist.
pub fn patch_u16(out: &mut [u8], at: usize, v: u16) {
    if let Some(s) = at.checked_add(2).and_then(|end| out.get_mut(at..end)) {
        s.copy_from_slice(&v.to_le_bytes());
    }
}

/// Overwrites four bytes at `at`; does nothing if they do not exist.
pub fn patch_u32(out: &mut [u8], at: usize, v: u32) {
    if let Some(s) = at.checked_add(4).and_then(|end| out.get_mut(at..end)) {
        s.copy_from_slice(&v.to_le_bytes());
    }
}

/// Appends little-endian values.
pub trait Put {
    /// Appends one byte.
    fn put_u8(&mut self, v: u8);
    /// Appends two bytes.
    fn put_u16(&mut self, v: u16);
    /// Appends four bytes.
    fn put_u32(&mut self, v: u32);
    /// Appends eight bytes.
    fn put_u64(&mut self, v: u64);
    /// Appends bytes as they are.
    fn put_bytes(&mut self, v: &[u8]);
    /// Appends `n` zeros.
    fn put_zeros(&mut self, n: usize);
    /// Appends any fixed-size value.
    fn put<T: Wire>(&mut self, v: &T);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }
    fn put_u16(&mut self, v: u16) {
        self.extend_from_slice(&v.to_le_bytes());
    }
    fn put_u32(&mut self, v: u32) {
        self.extend_from_slice(&v.to_le_bytes());
    }
    fn put_u64(&mut self, v: u64) {
        self.extend_from_slice(&v.to_le_bytes());
    }
    fn put_bytes(&mut self, v: &[u8]) {
        self.extend_from_slice(v);
    }
    fn put_zeros(&mut self, n: usize) {
        self.resize(self.len().saturating_add(n), 0);
    }
    fn put<T: Wire>(&mut self, v: &T) {
        v.put(self);
    }
}

/// A value with one fixed layout.
pub trait Wire: Sized {
    /// Its length in bytes.
    const SIZE: usize;
    /// Reads it.
    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! wire_int {
    ($($t:ty),*) => {$(
        impl Wire for $t {
            const SIZE: usize = size_of::<$t>();
            fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> { r.array().map(<$t>::from_le_bytes) }
            fn put(&self, out: &mut Vec<u8>) { out.extend_from_slice(&self.to_le_bytes()); }
        }
    )*};
}
wire_int!(u8, u16, u32, u64, i64);

macro_rules! wire_newtype {
    ($($t:ident),*) => {$(
        impl Wire for $t {
            const SIZE: usize = size_of::<$t>();
            fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> { Wire::get(r).map($t) }
            fn put(&self, out: &mut Vec<u8>) { self.0.put(out); }
        }
    )*};
}
wire_newtype!(AccessMask, ShareAccess, CreateOptions, FileAttributes, LeaseState, FileTime, NtStatus, Guid);

impl Wire for bool {
    const SIZE: usize = 1;
    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u8().map(|b| b != 0)
    }
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl<const N: usize> Wire for [u8; N] {
    const SIZE: usize = N;
    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.array()
    }
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Wire for FileId {
    const SIZE: usize = 16;
    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { persistent: r.u64()?, volatile: r.u64()? })
    }
    fn put(&self, out: &mut Vec<u8>) {
        self.persistent.put(out);
        self.volatile.put(out);
    }
}

/// Declares a structure of fixed layout with its codec; `pad n` are reserved bytes behind a field, ignored and sent as zero.
/// With `info` in front, a short buffer is INFO_LENGTH_MISMATCH, else INVALID_PARAMETER.
macro_rules! record {
    ($(#[$m:meta])* info $name:ident [$size:literal] { $($body:tt)* }) => {
        $crate::wire::record! { @struct ($crate::error::DecodeError::Length { what: stringify!($name) }) $(#[$m])* $name [$size] { $($body)* } }
    };
    ($(#[$m:meta])* $name:ident [$size:literal] { $($body:tt)* }) => {
        $crate::wire::record! { @struct ($crate::error::DecodeError::Malformed { what: stringify!($name) }) $(#[$m])* $name [$size] { $($body)* } }
    };
    (@struct ($short:expr) $(#[$m:meta])* $name:ident [$size:literal] { $($(#[$fm:meta])* $f:ident : $t:ty $(, pad $n:literal)? ;)* }) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name { $($(#[$fm])* pub $f: $t,)* }

        impl $name {
            /// Length of the fixed layout in bytes.
            pub const SIZE: usize = $size;

            /// Reads the structure from the start of `buf`; what follows is left alone.
            pub fn decode(buf: &[u8]) -> Result<Self, $crate::error::DecodeError> {
                if buf.len() < Self::SIZE {
                    return Err($short);
                }
                $crate::wire::Wire::get(&mut $crate::wire::Reader::new(buf))
            }

            /// Appends the structure.
            pub fn encode(&self, out: &mut Vec<u8>) {
                $crate::wire::Wire::put(self, out);
            }

            /// The structure's bytes.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                let mut out = Vec::with_capacity(Self::SIZE);
                self.encode(&mut out);
                out
            }
        }

        impl $crate::wire::Wire for $name {
            const SIZE: usize = $size;
            fn get(r: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::error::DecodeError> {
                $(
                    let $f = <$t as $crate::wire::Wire>::get(r)?;
                    $(r.skip($n)?;)?
                )*
                Ok(Self { $($f,)* })
            }
            fn put(&self, out: &mut Vec<u8>) {
                $(
                    $crate::wire::Wire::put(&self.$f, out);
                    $($crate::wire::Put::put_zeros(out, $n);)?
                )*
            }
        }

        const _: () = assert!(0usize $(+ <$t as $crate::wire::Wire>::SIZE $(+ $n)?)* == $size, "layout and size differ");
    };
}
pub(crate) use record;

/// Declares a set of named bits.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident($int:ty) { $($(#[$cdoc:meta])* $c:ident = $v:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $int);
        impl $name {
            $($(#[$cdoc])* pub const $c: Self = Self($v);)*
            /// No bit set.
            pub const NONE: Self = Self(0);
            /// Tells whether every bit of `other` is set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool { self.0 & other.0 == other.0 }
            /// Tells whether at least one bit of `other` is set.
            #[must_use]
            pub const fn intersects(self, other: Self) -> bool { self.0 & other.0 != 0 }
            /// Tells whether no bit is set.
            #[must_use]
            pub const fn is_empty(self) -> bool { self.0 == 0 }
            /// The bits of both.
            #[must_use]
            pub const fn union(self, other: Self) -> Self { Self(self.0 | other.0) }
            /// The bits of `self` that are not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self { Self(self.0 & !other.0) }
        }
        impl std::ops::BitOr for $name { type Output = Self; fn bitor(self, o: Self) -> Self { Self(self.0 | o.0) } }
        impl std::ops::BitAnd for $name { type Output = Self; fn bitand(self, o: Self) -> Self { Self(self.0 & o.0) } }
        impl std::ops::BitOrAssign for $name { fn bitor_assign(&mut self, o: Self) { self.0 |= o.0; } }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, concat!(stringify!($name), "({:#x})"), self.0) }
        }
        impl $crate::wire::Wire for $name {
            const SIZE: usize = size_of::<$int>();
            fn get(r: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::error::DecodeError> { $crate::wire::Wire::get(r).map($name) }
            fn put(&self, out: &mut Vec<u8>) { $crate::wire::Wire::put(&self.0, out); }
        }
    };
}
pub(crate) use flags;
