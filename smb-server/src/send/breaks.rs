//! Delivers lease and oplock breaks to the client that holds the rights (MS-SMB2 3.3.4.6, 3.3.4.7).
//!
//! Whether and to what something is broken is in the records, and so is the time the client has. If a notification is lost nothing is granted
//! to anybody until that time is over.

use std::{sync::Arc, time::Duration};

use persistence_model::{BreakTarget, Command, FileKey, LeaseId, OpenId, SessionId};
use smb_proto::message::oplock_break::{LEASE_BREAK_ACK_REQUIRED, LeaseBreakNotification, OplockBreak};
use smb_types::{LeaseState, OplockLevel};

use super::{notification::notify, telling::Teller};
use crate::{
    state::{Connection, Open, Server, Session},
    store::StoreExt as _,
};

/// How long one channel may take to accept a notification before the next is tried.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a break waits for the answer to the CREATE that got what is to be broken.
const GRANT_WAIT: Duration = Duration::from_millis(500);
/// How often it looks.
const GRANT_POLL: Duration = Duration::from_millis(2);

/// A lease break to deliver.
#[derive(Debug, Clone)]
pub struct LeaseBreak {
    /// Which lease.
    pub lease: LeaseId,
    /// Which file.
    pub file: FileKey,
    /// Before.
    pub current: LeaseState,
    /// After.
    pub new: LeaseState,
    /// NewEpoch.
    pub epoch: u16,
    /// The client must acknowledge.
    pub ack_required: bool,
    /// No other node has opens of this lease: if it cannot be delivered here, it cannot be delivered.
    pub only_here: bool,
}

/// Delivers a lease break on any channel of the client.
// MS-SMB2 3.3.4.7
// Any connection of the client will do, the next one if sending fails. The notification has no session.
pub(crate) async fn lease_break(server: Arc<Server>, notice: LeaseBreak, _teller: Teller) {
    let holders = |server: &Server| -> Vec<Arc<Open>> {
        // The records know them: this node may have very many opens.
        let of_lease: Vec<OpenId> = server.store.with_state(|state| {
            state.lease(&notice.file, notice.lease).map_or_else(Vec::new, |lease| lease.opens.iter().copied().collect())
        });
        of_lease.into_iter().filter_map(|open| server.open(open)).collect()
    };
    let opens = until_known(|| Some(holders(&server)).filter(|opens| !opens.is_empty())).await.unwrap_or_default();
    let version_2 = server.store.with_state(|state| state.lease(&notice.file, notice.lease).is_some_and(|lease| lease.version == 2));
    let body = LeaseBreakNotification {
        new_epoch: if version_2 { notice.epoch } else { 0 },
        flags: if notice.ack_required { LEASE_BREAK_ACK_REQUIRED } else { 0 },
        lease_key: notice.lease.key,
        current_state: notice.current,
        new_state: notice.new,
    };
    // Oldest first: that is the one most clients listen to.
    let connections = server.clients.connections(&notice.lease.client_guid);
    for connection in connections {
        let seal = opens.iter().find_map(|open| connection.session(open.session_id).filter(|session| seals(session, open)));
        if send(&connection, seal.as_deref(), 0, |out| body.encode(out)).await {
            return;
        }
    }
    if notice.only_here {
        undeliverable(&server, BreakTarget::Lease(notice.lease)).await;
    }
}

/// Delivers an oplock break on any channel of the open's session.
// MS-SMB2 3.3.4.6
pub(crate) async fn oplock_break(server: Arc<Server>, open_id: OpenId, session_id: SessionId, level: OplockLevel, _teller: Option<Teller>) {
    let Some(open) = until_known(|| server.open(open_id).filter(|open| open.session_id == session_id)).await else {
        return undeliverable(&server, BreakTarget::Open(open_id)).await;
    };
    let body = OplockBreak { oplock_level: level.to_wire(), file_id: open.file_id };
    let session = server.session(session_id);
    let mut connections: Vec<Arc<Connection>> = open.connection.upgrade().into_iter().collect();
    for id in session.iter().flat_map(|session| session.channel_connections()) {
        if let Some(connection) = server.connection(id)
            && !connections.iter().any(|known| known.connection_id == id)
        {
            connections.push(connection);
        }
    }
    let seal = session.as_deref().filter(|session| seals(session, &open));
    for connection in connections {
        if send(&connection, seal, session_id.0, |out| body.encode(out)).await {
            return;
        }
    }
    undeliverable(&server, BreakTarget::Open(open_id)).await;
}

/// Tells whether what is said about an open is encrypted: its session or its share demands that.
fn seals(session: &Session, open: &Open) -> bool {
    open.tree.encrypt_data || session.security().is_some_and(|security| security.encrypt_data)
}

/// Waits until the answer to a CREATE is on its way: a break that overtook it would speak of something the client does not know.
async fn until_known<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    let until = tokio::time::Instant::now() + GRANT_WAIT;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if tokio::time::Instant::now() >= until {
            return None;
        }
        tokio::time::sleep(GRANT_POLL).await;
    }
}

async fn send(connection: &Connection, seal: Option<&Session>, session_id: u64, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
    let sent = tokio::time::timeout(SEND_TIMEOUT, notify(connection, seal, session_id, encode)).await;
    let Ok(Ok(receipt)) = sent else { return false };
    // Whoever waits until it is told does not wait longer than that.
    receipt.written().await;
    true
}

// MS-SMB2 3.3.4.6, 3.3.4.7
// The records know what the holder was promised, and so what becomes of it.
async fn undeliverable(server: &Server, target: BreakTarget) {
    if let Err(refusal) = server.propose(Command::BreakUndeliverable { target }).await {
        tracing::debug!(because = refusal.because, "a break stays until its time is over");
    }
}
