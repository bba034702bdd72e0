//! What the server says unasked: lease and oplock breaks (MS-SMB2 3.3.4.6, 3.3.4.7).

use smb_proto::{Header, Routing};
use smb_types::NtStatus;

use super::{
    frame::Receipt,
    response::Response,
    seal::{Outgoing, frame},
};
use crate::state::{Connection, Session, connection::Gone};

/// Sends a notification whose body `encode` appends. Never signed; encrypted with the keys of `seal`, if there are any. `session_id` is 0 for
/// lease breaks. Gives what tells when it is written.
///
/// # Errors
/// [`Gone`] when the connection has ended: try another channel.
pub async fn notify(
    connection: &Connection,
    seal: Option<&Session>,
    session_id: u64,
    encode: impl FnOnce(&mut Vec<u8>),
) -> Result<Receipt, Gone> {
    // MS-SMB2 3.3.4.6
    // No tree, no session for leases, all bits of the message id set.
    let mut header = Header::notification(session_id);
    header.routing = Routing::Sync { process_id: 0, tree_id: 0 };
    let seal = seal.filter(|session| session.security().is_some_and(|security| security.sealing.is_some()));
    let outgoing = Outgoing { header, response: Response::encode(NtStatus::SUCCESS, encode), key: None, is_proof: false };
    match frame(vec![outgoing], seal) {
        Ok(mut frame) => {
            let receipt = frame.receipt();
            connection.send(frame).await.map(|()| receipt)
        }
        Err(because) => {
            connection.disconnect(because);
            Err(Gone)
        }
    }
}
