//! A share.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, ShareId};

/// What the operator can choose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShareSettings {
    /// Directory under the share, on every node.
    pub path: String,
    /// For people.
    pub comment: String,
    /// Continuously available: persistent handles are granted.
    pub ca: bool,
    /// Announced as SCALEOUT: leases are limited to R, newcomers never disturb a disconnected persistent open.
    pub scaleout: bool,
    /// Sessions must encrypt.
    pub encrypt: bool,
    /// Timeout of persistent opens that ask for none; 0 means 60 s.
    pub ca_timeout_ms: u32,
}

/// A share; found by name without regard to case. Kept in format 1 while no node owns it, in format 2 otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Its id, also the volume id clients see.
    pub id: ShareId,
    /// Its name as the operator wrote it.
    pub name: String,
    /// The rest.
    pub settings: ShareSettings,
    /// The node where its clients should be, if it is asymmetric. Every node serves it all the same.
    pub owner: Option<NodeId>,
}

/// Format 1 of [`Share`]. Frozen.
#[derive(Serialize, Deserialize)]
pub(crate) struct ShareV1 {
    id: ShareId,
    name: String,
    settings: ShareSettings,
}

impl From<ShareV1> for Share {
    fn from(v1: ShareV1) -> Self {
        Self { id: v1.id, name: v1.name, settings: v1.settings, owner: None }
    }
}

impl ShareV1 {
    /// The share as format 1 says it, if it can.
    pub(crate) fn of(share: &Share) -> Option<Self> {
        let Share { id, name, settings, owner } = share;
        owner.is_none().then(|| Self { id: *id, name: name.clone(), settings: settings.clone() })
    }
}
