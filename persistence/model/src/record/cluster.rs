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
    /// What the operator has decided for all nodes.
    pub settings: ClusterSettings,
}

/// What holds on every node alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// Every session signs; if not, those whose client wants to.
    pub signing_required: bool,
    /// Every session encrypts; if not, those whose client or share wants to.
    pub encryption_required: bool,
    /// After so many failed logons in a row an account is locked out; 0: never.
    pub lockout_threshold: u32,
    /// An account is locked out for so long, and failures are forgotten after as long without a further one. Minutes, at least 1.
    pub lockout_minutes: u32,
    /// Who has not logged on may list shares.
    pub list_anonymously: bool,
}

impl Default for ClusterSettings {
    /// Signatures are demanded: without them a logon can be relayed.
    fn default() -> Self {
        Self { signing_required: true, encryption_required: false, lockout_threshold: 0, lockout_minutes: 15, list_anonymously: false }
    }
}
