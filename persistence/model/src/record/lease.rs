//! A lease (MS-SMB2 3.3.1.12): the right of one client to cache one file.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use smb_types::{LeaseKey, LeaseState};

use crate::id::{LeaseId, LogTime, OpenId};

/// Part of its file's record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// Client and key.
    pub id: LeaseId,
    /// What the client may cache now. While `breaking` this is the state before the break.
    pub state: LeaseState,
    /// A break was announced (or waits for the client) and is not acknowledged.
    pub breaking: bool,
    /// The state announced by that break.
    pub break_to: LeaseState,
    /// The state that has become necessary since; a second break follows the acknowledgement when it is lower than `break_to`.
    pub break_wanted: LeaseState,
    /// When the break is given up and the lease falls to none.
    pub break_deadline: Option<LogTime>,
    /// The announcement could not be delivered; it is sent when the client is back.
    pub notification_pending: bool,
    /// Counts state changes.
    pub epoch: u16,
    /// 1 or 2: the context the client used.
    pub version: u8,
    /// The lease of the parent directory, if the client named it.
    pub parent_key: Option<LeaseKey>,
    /// The name of the file as the client knows it.
    pub path: String,
    /// The opens that share it.
    pub opens: BTreeSet<OpenId>,
}
