//! The interim response: "your request waits, this is its AsyncId" (MS-SMB2 3.3.4.2).

use smb_proto::{Header, Routing};
use smb_types::NtStatus;

use super::{response::Response, seal::Outgoing};
use crate::error::Refusal;

/// The interim response to `request`; it grants the credits, the final one grants none. It is not signed.
pub(crate) fn interim(request: &Header, session_id: u64, async_id: u64, credits: u16) -> Outgoing {
    let mut header = request.response(NtStatus::PENDING, credits);
    header.session_id = session_id;
    header.routing = Routing::Async { async_id };
    let response = Response::refused(&Refusal::new(NtStatus::PENDING, "interim"), None);
    Outgoing { header, response, key: None, is_proof: false }
}
