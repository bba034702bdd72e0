//! The cluster: what all nodes have in common, and the counters that never run backwards.

use serde::{Deserialize, Serialize};
use smb_types::Guid;

/// The one cluster record. Nothing else is accepted before ClusterInit wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// The name under which clients see all nodes as one server.
    pub net_name: String,
    /// ServerGuid of NEGOTIATE, equal on all nodes.
    pub server_guid: Guid,
    /// Next OpenId. Every NodeJoin (synced) lifts it above `incarnation << 32`, so that even an unsynced tail lost with the power never brings an id back.
    pub next_open: u64,
    /// Next Incarnation.
    pub next_incarnation: u64,
    /// Next ShareId.
    pub next_share: u64,
    /// Next relative id of a user's SID.
    pub next_rid: u32,
}
