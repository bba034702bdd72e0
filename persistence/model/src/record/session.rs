//! A session: an authenticated user on one node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smb_types::{ClientGuid, Sid};

use crate::id::{Incarnation, LogTime, NodeId, SessionId};

/// Lives on one node and dies with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The node that serves it.
    pub node: NodeId,
    /// That node's life.
    pub incarnation: Incarnation,
    /// The client machine.
    pub client_guid: ClientGuid,
    /// The user; shared with its opens.
    pub user: Arc<Sid>,
    /// The user's name, for the operator; shared with opens whose client is away.
    pub user_name: Arc<str>,
    /// The client's address and port, for the operator; shared with opens whose client is away.
    pub client_address: Arc<str>,
    /// Since when.
    pub opened_at: LogTime,
}
