//! Which SID stands for a number on disk, and the reverse: from the accounts of the records, and by rule where there is none.

use std::sync::Arc;

use smb_types::Sid;

use crate::store::{Store, StoreExt as _};

/// SIDs and numbers on disk.
pub(super) trait Identities {
    /// The SID of a user on disk.
    fn of_uid(&self, uid: u32) -> Sid;
    /// The SID of a group on disk.
    fn of_gid(&self, gid: u32) -> Sid;
    /// The user on disk that a SID stands for.
    fn uid(&self, sid: &Sid) -> Option<u32>;
    /// The group on disk that a SID stands for.
    fn gid(&self, sid: &Sid) -> Option<u32>;
}

/// The accounts of the cluster's records.
#[derive(Clone)]
pub(crate) struct Accounts(Arc<dyn Store>);

impl Accounts {
    /// Over these records.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

/// The number in S-1-22-kind-number.
fn number(sid: &Sid, kind: u32) -> Option<u32> {
    match (sid.authority, sid.sub_authorities.as_slice()) {
        (22, [of, number]) if *of == kind => Some(*number),
        _ => None,
    }
}

impl Identities for Accounts {
    fn of_uid(&self, uid: u32) -> Sid {
        self.0.with_state(|state| state.user_by_uid(uid).map(|user| user.sid.clone())).unwrap_or_else(|| Sid::unix_user(uid))
    }

    fn of_gid(&self, gid: u32) -> Sid {
        self.0.with_state(|state| state.group_by_gid(gid).map(|group| group.sid.clone())).unwrap_or_else(|| Sid::unix_group(gid))
    }

    fn uid(&self, sid: &Sid) -> Option<u32> {
        number(sid, 1).or_else(|| self.0.with_state(|state| state.user_by_sid(sid)?.unix.map(|unix| unix.uid)))
    }

    fn gid(&self, sid: &Sid) -> Option<u32> {
        number(sid, 2).or_else(|| self.0.with_state(|state| state.group_by_sid(sid)?.gid))
    }
}
