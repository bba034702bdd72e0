//! PDUs of the connection-oriented protocol: bytes to structs and back. It knows nothing of states or of security
//! packages; protected PDUs are handed over as a [`Frame`] whose body is decoded after it was verified.

mod bind;
mod body;
mod frame;
mod wire;

pub use bind::{Bind, BindAck, BindNak, ContextElement, ContextResult, NakReason, Reason, ResultCode};
pub use body::{FaultBody, Request, Response};
pub use frame::{AuthTrailer, Frame, FrameError, HEADER_BYTES, Header, TRAILER_BYTES, encode, encode_unsigned, frame_length};
pub use wire::DecodeError;

/// The kinds of PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the protocol")]
#[repr(u8)]
pub enum PacketType {
    Request = 0,
    Response = 2,
    Fault = 3,
    Bind = 11,
    BindAck = 12,
    BindNak = 13,
    AlterContext = 14,
    AlterContextResponse = 15,
    Auth3 = 16,
    Shutdown = 17,
    CoCancel = 18,
    Orphaned = 19,
}

impl PacketType {
    /// The kind with this number; the datagram kinds are not ours.
    pub fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Request,
            2 => Self::Response,
            3 => Self::Fault,
            11 => Self::Bind,
            12 => Self::BindAck,
            13 => Self::BindNak,
            14 => Self::AlterContext,
            15 => Self::AlterContextResponse,
            16 => Self::Auth3,
            17 => Self::Shutdown,
            18 => Self::CoCancel,
            19 => Self::Orphaned,
            _ => return None,
        })
    }
}

/// Bits of `pfc_flags`.
pub mod flags {
    /// First fragment.
    pub const FIRST: u8 = 0x01;
    /// Last fragment.
    pub const LAST: u8 = 0x02;
    /// First and last: a whole PDU.
    pub const WHOLE: u8 = FIRST | LAST;
    /// In bind, alter_context and their answers: header signing is supported. Elsewhere: a cancel is pending.
    pub const SUPPORT_HEADER_SIGN: u8 = 0x04;
    /// Several calls may be under way on the connection.
    pub const CONC_MPX: u8 = 0x10;
    /// On a fault: the call was not executed.
    pub const DID_NOT_EXECUTE: u8 = 0x20;
    /// The request carries an object UUID.
    pub const OBJECT_UUID: u8 = 0x80;
}
