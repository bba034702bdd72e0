//! OPLOCK_BREAK for oplocks and leases: notification, acknowledgment, response (MS-SMB2 2.2.23 to 2.2.25).

use smb_types::{FileId, LeaseKey, LeaseState};

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::wire::{Put, Reader};

/// StructureSize of all oplock forms.
const OPLOCK_SIZE: u16 = 24;
/// StructureSize of a lease break notification.
const LEASE_NOTIFICATION_SIZE: u16 = 44;
/// StructureSize of a lease acknowledgment and its response.
const LEASE_ACK_SIZE: u16 = 36;

/// Flag of a lease break notification: an acknowledgment is expected.
pub const LEASE_BREAK_ACK_REQUIRED: u32 = 1;

/// An oplock break: the notification, its acknowledgment and the response look alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OplockBreak {
    /// OplockLevel as on the wire.
    pub oplock_level: u8,
    /// FileId.
    pub file_id: FileId,
}

impl OplockBreak {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, OPLOCK_SIZE)?;
        let oplock_level = r.u8()?;
        r.skip(5)?;
        Ok(Self { oplock_level, file_id: r.get()? })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(OPLOCK_SIZE);
        out.put_u8(self.oplock_level);
        out.put_zeros(5);
        out.put(&self.file_id);
    }
}

/// The server takes a lease back, in whole or in part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaseBreakNotification {
    /// NewEpoch; 0 for leases of version 1.
    pub new_epoch: u16,
    /// Flags.
    pub flags: u32,
    /// LeaseKey.
    pub lease_key: LeaseKey,
    /// CurrentLeaseState.
    pub current_state: LeaseState,
    /// NewLeaseState.
    pub new_state: LeaseState,
}

impl LeaseBreakNotification {
    /// Tells whether an acknowledgment is expected.
    #[must_use]
    pub const fn ack_required(&self) -> bool {
        self.flags & LEASE_BREAK_ACK_REQUIRED != 0
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, LEASE_NOTIFICATION_SIZE)?;
        let n = Self { new_epoch: r.u16()?, flags: r.u32()?, lease_key: r.get()?, current_state: r.get()?, new_state: r.get()? };
        r.skip(12)?;
        Ok(n)
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(LEASE_NOTIFICATION_SIZE);
        out.put_u16(self.new_epoch);
        out.put_u32(self.flags);
        out.put(&self.lease_key);
        out.put(&self.current_state);
        out.put(&self.new_state);
        out.put_zeros(12);
    }
}

/// The acknowledgment of a lease break, and its response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaseBreakAck {
    /// Flags: reserved.
    pub flags: u32,
    /// LeaseKey.
    pub lease_key: LeaseKey,
    /// LeaseState.
    pub state: LeaseState,
}

impl LeaseBreakAck {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, LEASE_ACK_SIZE)?;
        r.skip(2)?;
        let a = Self { flags: r.u32()?, lease_key: r.get()?, state: r.get()? };
        r.skip(8)?;
        Ok(a)
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(LEASE_ACK_SIZE);
        out.put_u16(0);
        out.put_u32(self.flags);
        out.put(&self.lease_key);
        out.put(&self.state);
        out.put_u64(0);
    }
}

fn structure_size(msg: &[u8]) -> Result<u16, DecodeError> {
    let mut r = Reader::new(msg);
    r.skip(HEADER_SIZE)?;
    r.u16()
}

/// What a client sends with this command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OplockBreakRequest {
    /// Acknowledges an oplock break.
    Oplock(OplockBreak),
    /// Acknowledges a lease break.
    Lease(LeaseBreakAck),
}

impl OplockBreakRequest {
    /// Decodes the element `msg`; the structure size tells the form.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        match structure_size(msg)? {
            LEASE_ACK_SIZE => LeaseBreakAck::decode(msg).map(Self::Lease),
            _ => OplockBreak::decode(msg).map(Self::Oplock),
        }
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Oplock(x) => x.encode(out),
            Self::Lease(x) => x.encode(out),
        }
    }
}

/// What a server sends with this command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OplockBreakResponse {
    /// An oplock break notification (MessageId all ones), or the response to an acknowledgment.
    Oplock(OplockBreak),
    /// A lease break notification.
    LeaseNotification(LeaseBreakNotification),
    /// The response to the acknowledgment of a lease break.
    Lease(LeaseBreakAck),
}

impl OplockBreakResponse {
    /// Decodes the element `msg`; the structure size tells the form.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        match structure_size(msg)? {
            LEASE_ACK_SIZE => LeaseBreakAck::decode(msg).map(Self::Lease),
            LEASE_NOTIFICATION_SIZE => LeaseBreakNotification::decode(msg).map(Self::LeaseNotification),
            _ => OplockBreak::decode(msg).map(Self::Oplock),
        }
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Oplock(x) => x.encode(out),
            Self::LeaseNotification(x) => x.encode(out),
            Self::Lease(x) => x.encode(out),
        }
    }
}
