//! A share.

use serde::{Deserialize, Serialize};

use crate::id::ShareId;

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

/// A share; found by name without regard to case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Its id, also the volume id clients see.
    pub id: ShareId,
    /// Its name as the operator wrote it.
    pub name: String,
    /// The rest.
    pub settings: ShareSettings,
}
