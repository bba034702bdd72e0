//! `RqLs`: a lease, versions 1 and 2 (MS-SMB2 2.2.13.2.8, 2.2.13.2.10); the response has the same form.

use smb_types::{LeaseKey, LeaseState};

use crate::error::DecodeError;
use crate::wire::{Put, Reader, flags};

/// The context's name.
pub const NAME: &[u8] = b"RqLs";

flags! {
    /// LeaseFlags.
    LeaseFlags(u32) {
        /// SMB2_LEASE_FLAG_BREAK_IN_PROGRESS (responses).
        BREAK_IN_PROGRESS = 0x2;
        /// SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET (version 2).
        PARENT_LEASE_KEY_SET = 0x4;
    }
}

/// What version 2 adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaseV2 {
    /// ParentLeaseKey; counts only with `PARENT_LEASE_KEY_SET`.
    pub parent_key: LeaseKey,
    /// Epoch.
    pub epoch: u16,
}

/// A lease asked for or granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaseContext {
    /// LeaseKey.
    pub key: LeaseKey,
    /// LeaseState.
    pub state: LeaseState,
    /// LeaseFlags.
    pub flags: LeaseFlags,
    /// Version 2's fields; None in version 1.
    pub v2: Option<LeaseV2>,
}

impl LeaseContext {
    /// 1 or 2.
    #[must_use]
    pub const fn version(&self) -> u8 {
        if self.v2.is_some() { 2 } else { 1 }
    }

    /// The parent directory's lease key, if one was given.
    #[must_use]
    pub fn parent_key(&self) -> Option<LeaseKey> {
        self.v2.filter(|_| self.flags.contains(LeaseFlags::PARENT_LEASE_KEY_SET)).map(|v| v.parent_key)
    }

    /// Decodes the data; its length tells the version.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 32 && data.len() != 52 {
            return Err(DecodeError::malformed("RqLs"));
        }
        let mut r = Reader::new(data);
        let (key, state, flags) = (r.get()?, r.get()?, r.get()?);
        r.skip(8)?;
        let v2 = if data.len() == 52 { Some(LeaseV2 { parent_key: r.get()?, epoch: r.u16()? }) } else { None };
        Ok(Self { key, state, flags, v2 })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(52);
        out.put(&self.key);
        out.put(&self.state);
        out.put(&self.flags);
        out.put_u64(0);
        if let Some(v) = self.v2 {
            out.put(&v.parent_key);
            out.put_u16(v.epoch);
            out.put_u16(0);
        }
        out
    }
}
