//! CANCEL: ends a request that waits (MS-SMB2 3.3.5.16). It has no response, uses no message id and grants no credit.

use smb_proto::Header;

use crate::state::Connection;

/// Cancels the request that `header` names; what is not found has ended already.
// MS-SMB2 3.3.5.16
// By AsyncId if the header carries one, else by MessageId.
pub(crate) fn handle(connection: &Connection, header: &Header) {
    if let Some(request) = connection.find_request(header.async_id(), header.message_id) {
        request.cancel.cancel();
    }
}
