//! Indexes: derived from the records, never stored, rebuilt at load.

use std::collections::BTreeSet;

use smb_types::{CreateGuid, Guid};

use super::State;
use crate::id::{FileKey, LeaseId, NodeId, OpenId, SessionId, ShareId, fold_path};
use crate::record::{FileState, Open};

/// Ways to find opens and leases other than by their id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Indexes {
    pub(crate) by_create_guid: BTreeSet<(CreateGuid, OpenId)>,
    pub(crate) by_session: BTreeSet<(SessionId, OpenId)>,
    pub(crate) by_node: BTreeSet<(NodeId, OpenId)>,
    pub(crate) by_app_instance: BTreeSet<(Guid, OpenId)>,
    /// Folded path, and folded pending path.
    pub(crate) by_path: BTreeSet<(ShareId, String, OpenId)>,
    pub(crate) by_lease: BTreeSet<(LeaseId, FileKey)>,
    /// Opens whose client is away.
    pub(crate) detached: BTreeSet<OpenId>,
    /// Opens with a break that has a deadline.
    pub(crate) breaking_opens: BTreeSet<OpenId>,
    /// Files with a lease break that has a deadline.
    pub(crate) breaking_files: BTreeSet<FileKey>,
}

impl Indexes {
    pub(crate) fn add_open(&mut self, o: &Open) {
        self.each_open(o, true);
    }

    pub(crate) fn remove_open(&mut self, o: &Open) {
        self.each_open(o, false);
    }

    fn each_open(&mut self, o: &Open, on: bool) {
        fn set<T: Ord>(s: &mut BTreeSet<T>, v: T, on: bool) {
            if on {
                s.insert(v);
            } else {
                s.remove(&v);
            }
        }
        if let Some(guid) = o.create_guid {
            set(&mut self.by_create_guid, (guid, o.id), on);
        }
        if let Some(owner) = o.owner {
            set(&mut self.by_session, (owner.session, o.id), on);
            set(&mut self.by_node, (owner.node, o.id), on);
        } else {
            set(&mut self.detached, o.id, on);
        }
        if let Some(app) = o.app_instance {
            set(&mut self.by_app_instance, (app.id, o.id), on);
        }
        set(&mut self.by_path, (o.share, fold_path(&o.path), o.id), on);
        if let Some(p) = &o.pending_path {
            set(&mut self.by_path, (o.share, fold_path(p), o.id), on);
        }
        if o.oplock.break_deadline.is_some() {
            set(&mut self.breaking_opens, o.id, on);
        }
    }

    pub(crate) fn add_file(&mut self, f: &FileState) {
        for (id, lease) in &f.leases {
            self.by_lease.insert((*id, f.key));
            if lease.break_deadline.is_some() {
                self.breaking_files.insert(f.key);
            }
        }
    }

    pub(crate) fn remove_file(&mut self, f: &FileState) {
        for id in f.leases.keys() {
            self.by_lease.remove(&(*id, f.key));
        }
        self.breaking_files.remove(&f.key);
    }
}

impl State {
    pub(crate) fn rebuild_indexes(&mut self) {
        let mut index = Indexes::default();
        self.opens.values().for_each(|o| index.add_open(o));
        self.files.values().for_each(|f| index.add_file(f));
        self.index = index;
    }
}
