//! Bodies of request, response and fault.

use uuid::Uuid;

use super::wire::{DecodeError, Wire};
use crate::fault::Fault;

/// Body of a request fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Stub bytes that are still to come, or 0.
    pub alloc_hint: u32,
    /// Which presentation context.
    pub context_id: u16,
    /// Which operation.
    pub opnum: u16,
    /// The object, if the flag says that there is one.
    pub object: Option<Uuid>,
    /// This fragment's part of the stub.
    pub stub: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the body behind the common header.
    pub fn decode(body: &'a [u8], has_object: bool) -> Result<Self, DecodeError> {
        let mut wire = Wire::new(body);
        let alloc_hint = wire.u32()?;
        let context_id = wire.u16()?;
        let opnum = wire.u16()?;
        let object = if has_object { Some(Uuid::from_bytes_le(wire.array()?)) } else { None };
        Ok(Self { alloc_hint, context_id, opnum, object, stub: wire.rest() })
    }

    /// Writes the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.stub.len());
        out.extend_from_slice(&self.alloc_hint.to_le_bytes());
        out.extend_from_slice(&self.context_id.to_le_bytes());
        out.extend_from_slice(&self.opnum.to_le_bytes());
        if let Some(object) = self.object {
            out.extend_from_slice(&object.to_bytes_le());
        }
        out.extend_from_slice(self.stub);
        out
    }
}

/// Body of a response fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// Stub bytes that are still to come, or 0.
    pub alloc_hint: u32,
    /// Which presentation context.
    pub context_id: u16,
    /// This fragment's part of the stub.
    pub stub: &'a [u8],
}

impl<'a> Response<'a> {
    /// Reads the body behind the common header.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut wire = Wire::new(body);
        let alloc_hint = wire.u32()?;
        let context_id = wire.u16()?;
        let _cancel_count = wire.u8()?;
        wire.u8()?;
        Ok(Self { alloc_hint, context_id, stub: wire.rest() })
    }

    /// Writes the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.stub.len());
        out.extend_from_slice(&self.alloc_hint.to_le_bytes());
        out.extend_from_slice(&self.context_id.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(self.stub);
        out
    }
}

/// What a fault says as its allocation hint: the length of its PDU.
const FAULT_BYTES: u32 = 32;

/// Body of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultBody {
    /// Which presentation context.
    pub context_id: u16,
    /// What went wrong.
    pub status: Fault,
}

impl FaultBody {
    /// Reads the body behind the common header.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut wire = Wire::new(body);
        let _alloc_hint = wire.u32()?;
        let context_id = wire.u16()?;
        wire.u16()?;
        Ok(Self { context_id, status: Fault(wire.u32()?) })
    }

    /// Writes the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.extend_from_slice(&FAULT_BYTES.to_le_bytes());
        out.extend_from_slice(&self.context_id.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.status.0.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out
    }
}
