//! What the server may ask its replica. Nothing here changes anything.

use std::ops::Bound;

use smb_types::{ClientGuid, CreateGuid};

use super::State;
use crate::arbiter;
use crate::command::IoKind;
use crate::id::{FileKey, LeaseId, LogTime, NodeId, OpenId, SessionId, ShareId, fold_path};
use crate::record::{Cluster, FileState, Lease, Node, Open, PendingDelete, Session, Share, User};

impl State {
    /// The cluster; None before ClusterInit.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// All nodes, ascending by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A session.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All sessions, ascending by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// An open or a reservation.
    #[must_use]
    pub fn open(&self, id: OpenId) -> Option<&Open> {
        self.opens.get(&id)
    }

    /// All opens and reservations, ascending by id.
    pub fn opens(&self) -> impl Iterator<Item = &Open> {
        self.opens.values()
    }

    /// A file that is open somewhere.
    #[must_use]
    pub fn file(&self, key: &FileKey) -> Option<&FileState> {
        self.files.get(key)
    }

    /// The named streams of a file that are open somewhere.
    pub fn named_streams(&self, file: &FileKey) -> impl Iterator<Item = &FileState> {
        let (first, last) = (FileKey { stream: 1, ..*file }, FileKey { stream: u64::MAX, ..*file });
        self.files.range(first..=last).map(|(_, stream)| stream)
    }

    /// All files that are open somewhere, ascending by key.
    pub fn files(&self) -> impl Iterator<Item = &FileState> {
        self.files.values()
    }

    /// The opens attached to a session, ascending by id.
    pub fn opens_of_session(&self, session: SessionId) -> impl Iterator<Item = &Open> {
        self.index.by_session.range((session, OpenId(0))..=(session, OpenId(u64::MAX))).filter_map(|(_, id)| self.opens.get(id))
    }

    /// The opens attached to a node, ascending by id.
    pub fn opens_of_node(&self, node: NodeId) -> impl Iterator<Item = &Open> {
        self.index.by_node.range((node, OpenId(0))..=(node, OpenId(u64::MAX))).filter_map(|(_, id)| self.opens.get(id))
    }

    /// The opens with this CreateGuid, whoever's; ascending by id.
    pub fn opens_by_create_guid(&self, guid: CreateGuid) -> impl Iterator<Item = &Open> {
        self.index.by_create_guid.range((guid, OpenId(0))..=(guid, OpenId(u64::MAX))).filter_map(|(_, id)| self.opens.get(id))
    }

    /// The open with this CreateGuid of this client.
    #[must_use]
    pub fn open_by_create_guid(&self, client_guid: ClientGuid, guid: CreateGuid) -> Option<&Open> {
        self.opens_by_create_guid(guid).find(|o| o.client_guid == client_guid)
    }

    /// The opens of a path (also of one that a rename is about to give), ascending by id.
    pub fn opens_of_path(&self, share: ShareId, path: &str) -> impl Iterator<Item = &Open> {
        let p = fold_path(path);
        let (low, high) = ((share, p.clone(), OpenId(0)), (share, p, OpenId(u64::MAX)));
        self.index.by_path.range(low..=high).filter_map(|(_, _, id)| self.opens.get(id))
    }

    /// The opens beneath a directory, not of the directory itself.
    pub fn opens_beneath(&self, share: ShareId, directory: &str) -> impl Iterator<Item = &Open> {
        let prefix = match fold_path(directory) {
            p if p.is_empty() => p,
            p => p + "\\",
        };
        self.opens_with_prefix(share, prefix)
    }

    /// The opens whose folded path begins so, and is not empty.
    pub(crate) fn opens_with_prefix(&self, share: ShareId, prefix: String) -> impl Iterator<Item = &Open> {
        self.index
            .by_path
            .range((Bound::Included((share, prefix.clone(), OpenId(0))), Bound::Unbounded))
            .take_while(move |(s, p, _)| *s == share && p.starts_with(&prefix))
            .filter(|(_, p, _)| !p.is_empty())
            .filter_map(|(_, _, id)| self.opens.get(id))
    }

    /// A lease on a file.
    #[must_use]
    pub fn lease(&self, file: &FileKey, lease: LeaseId) -> Option<&Lease> {
        self.files.get(file)?.leases.get(&lease)
    }

    /// The files on which a client holds a lease of this key: one, or two when the first is being deleted.
    pub fn files_of_lease(&self, lease: LeaseId) -> impl Iterator<Item = &FileState> {
        let (low, high) =
            ((lease, FileKey::default()), (lease, FileKey { volume: u64::MAX, inode: u64::MAX, generation: u64::MAX, stream: u64::MAX }));
        self.index.by_lease.range(low..=high).filter_map(|(_, key)| self.files.get(key))
    }

    /// A share.
    #[must_use]
    pub fn share(&self, id: ShareId) -> Option<&Share> {
        self.shares.get(&id)
    }

    /// All shares, ascending by id.
    pub fn shares(&self) -> impl Iterator<Item = &Share> {
        self.shares.values()
    }

    /// A share, by name without regard to case.
    #[must_use]
    pub fn share_by_name(&self, name: &str) -> Option<&Share> {
        let name = name.to_uppercase();
        self.shares.values().find(|s| s.name.to_uppercase() == name)
    }

    /// A user, by name without regard to case.
    #[must_use]
    pub fn user_by_name(&self, name: &str) -> Option<&User> {
        self.users.get(&name.to_uppercase())
    }

    /// All users, ascending by folded name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Files that wait for their removal from the backend, ascending by key.
    pub fn pending_deletes(&self) -> impl Iterator<Item = &PendingDelete> {
        self.pending_deletes.values()
    }

    /// Tells whether I/O of an open on these bytes meets a byte-range lock (FILE_LOCK_CONFLICT). Empty I/O never does.
    #[must_use]
    pub fn lock_conflict(&self, file: &FileKey, open: OpenId, offset: u64, length: u64, write: bool) -> bool {
        arbiter::lock::io_conflict(self, file, open, offset, length, write)
    }

    /// Tells whether an operation of an open has to propose BreakForIo (or wait) first: somebody else caches what it would make untrue.
    #[must_use]
    pub fn must_break_for(&self, file: &FileKey, by_open: OpenId, kind: IoKind) -> bool {
        arbiter::breaks::must_break_for(self, file, Some(by_open), kind)
    }

    /// Tells whether Expire would find work at this time.
    #[must_use]
    pub fn expiry_due(&self, now: LogTime) -> bool {
        self.next_expiry().is_some_and(|t| t <= now)
    }

    /// When Expire will next find work.
    #[must_use]
    pub fn next_expiry(&self) -> Option<LogTime> {
        let opens = self.index.detached.iter().filter_map(|id| self.opens.get(id)?.expires_at());
        let oplocks = self.index.breaking_opens.iter().filter_map(|id| self.opens.get(id)?.oplock.break_deadline);
        let leases =
            self.index.breaking_files.iter().filter_map(|k| self.files.get(k)?.leases.values().filter_map(|l| l.break_deadline).min());
        let tokens = self.tokens.values().map(|t| t.expires);
        opens.chain(oplocks).chain(leases).chain(tokens).min()
    }
}
