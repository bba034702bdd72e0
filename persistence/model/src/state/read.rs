//! What the server may ask its replica. Nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use smb_types::{ClientGuid, CreateGuid, Guid, Sid};

use super::State;
use super::index::{Place, digest_of_guid, digest_of_lease, parent_of};
use crate::arbiter;
use crate::command::IoKind;
use crate::id::{FileKey, LeaseId, LogTime, NodeId, OpenId, SessionId, ShareId, fold_path};
use crate::record::{
    AdminToken, ClientBlock, Cluster, ClusterSettings, FileState, Lease, Node, NodeState, Open, Owner, PendingDelete, Session, Share, User,
};

impl State {
    /// The cluster; None before ClusterInit.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The cluster's settings; those that a new cluster has, before ClusterInit.
    #[must_use]
    pub fn settings(&self) -> ClusterSettings {
        self.cluster.as_ref().map(|cluster| cluster.settings.clone()).unwrap_or_default()
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
        self.visit();
        self.sessions.get(&id)
    }

    /// All sessions, ascending by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().inspect(|_| self.visit())
    }

    /// An open or a reservation.
    #[must_use]
    pub fn open(&self, id: OpenId) -> Option<&Open> {
        self.visit();
        self.opens.get(&id).map(|o| &**o)
    }

    /// How many opens and reservations there are.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.opens.len()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many files are open somewhere.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The ids of all opens and reservations, in no order: for those who sort and look at them where nobody waits.
    #[must_use]
    pub fn open_ids(&self) -> Vec<OpenId> {
        self.opens.keys()
    }

    /// How many of them have no client at present.
    #[must_use]
    pub fn detached_count(&self) -> usize {
        self.index.detached.len()
    }

    /// All opens and reservations, ascending by id. Sorts them all.
    pub fn opens(&self) -> impl Iterator<Item = &Open> {
        self.opens.values().map(|o| &**o).inspect(|_| self.visit())
    }

    /// A file that is open somewhere.
    #[must_use]
    pub fn file(&self, key: &FileKey) -> Option<&FileState> {
        self.visit();
        self.files.get(key).map(|f| &**f)
    }

    /// The named streams of a file that are open somewhere.
    pub fn named_streams(&self, file: &FileKey) -> impl Iterator<Item = &FileState> {
        let (first, last) = (FileKey { stream: 1, ..*file }, FileKey { stream: u64::MAX, ..*file });
        self.index.streams.range(first..=last).filter_map(|key| self.file(key))
    }

    /// All files that are open somewhere, ascending by key. Sorts them all.
    pub fn files(&self) -> impl Iterator<Item = &FileState> {
        self.files.values().map(|f| &**f).inspect(|_| self.visit())
    }

    /// The sessions of a node, ascending by id.
    pub fn sessions_of_node(&self, node: NodeId) -> impl Iterator<Item = &Session> {
        let range = (node, SessionId(0))..=(node, SessionId(u64::MAX));
        self.index.sessions_of_node.range(range).filter_map(|(_, id)| self.session(*id))
    }

    /// The sessions of a user, ascending by id.
    pub fn sessions_of_user(&self, user: &Sid) -> impl Iterator<Item = &Session> {
        let user = Arc::new(user.clone());
        let range = (Arc::clone(&user), SessionId(0))..=(user, SessionId(u64::MAX));
        self.index.sessions_of_user.range(range).filter_map(|(_, id)| self.session(*id))
    }

    /// The opens of a user whose client is away, ascending by id.
    pub(crate) fn detached_opens_of_user(&self, user: &Sid) -> impl Iterator<Item = &Open> {
        let user = Arc::new(user.clone());
        let range = (Arc::clone(&user), OpenId(0))..=(user, OpenId(u64::MAX));
        self.index.detached_of_user.range(range).filter_map(|(_, id)| self.open(*id))
    }

    /// The opens attached to a session, ascending by id.
    pub fn opens_of_session(&self, session: SessionId) -> impl Iterator<Item = &Open> {
        self.index.by_session.range((session, OpenId(0))..=(session, OpenId(u64::MAX))).filter_map(|(_, id)| self.open(*id))
    }

    /// Whether a node is down and not everything of its last life has had its turn (`NodeEnd`).
    #[must_use]
    pub fn is_ending(&self, node: NodeId) -> bool {
        let range = (node, SessionId(0))..=(node, SessionId(u64::MAX));
        self.node(node).is_some_and(|n| !n.is_live()) && self.index.sessions_of_node.range(range).next().is_some()
    }

    /// Whether the life that has an open is over.
    #[must_use]
    pub fn is_over(&self, owner: &Owner) -> bool {
        !self.node(owner.node).is_some_and(|n| n.is_live() && n.incarnation == owner.incarnation)
    }

    /// How many opens are attached to a node.
    #[must_use]
    pub fn open_count_of_node(&self, node: NodeId) -> usize {
        let opens = |session: SessionId| self.index.by_session.range((session, OpenId(0))..=(session, OpenId(u64::MAX))).count();
        self.sessions_of_node(node).map(|s| opens(s.id)).sum()
    }

    /// The opens attached to a node, ascending by id.
    pub fn opens_of_node(&self, node: NodeId) -> impl Iterator<Item = &Open> {
        let mut opens: Vec<&Open> = self.sessions_of_node(node).flat_map(|s| self.opens_of_session(s.id)).collect();
        opens.sort_unstable_by_key(|o| o.id);
        opens.into_iter()
    }

    /// The opens with this CreateGuid, whoever's; ascending by id.
    pub fn opens_by_create_guid(&self, guid: CreateGuid) -> impl Iterator<Item = &Open> {
        let digest = digest_of_guid(guid);
        let known = self.index.by_create_guid.get(&digest).into_iter().flatten();
        known.filter_map(|id| self.open(*id)).filter(move |o| o.create_guid == Some(guid))
    }

    /// The open with this CreateGuid of this client.
    #[must_use]
    pub fn open_by_create_guid(&self, client_guid: ClientGuid, guid: CreateGuid) -> Option<&Open> {
        self.opens_by_create_guid(guid).find(|o| o.client_guid == client_guid)
    }

    /// The opens of an application instance, whoever's; ascending by id.
    pub(crate) fn opens_of_app_instance(&self, app: Guid) -> impl Iterator<Item = &Open> + use<'_> {
        self.index.by_app_instance.range((app, OpenId(0))..=(app, OpenId(u64::MAX))).filter_map(|(_, id)| self.open(*id))
    }

    /// The opens of a path (also of one that a rename is about to give), ascending by id.
    pub fn opens_of_path(&self, share: ShareId, path: &str) -> impl Iterator<Item = &Open> {
        let path = fold_path(path);
        let place = Place::of(share, &path);
        self.opens_within(share, place..=place).filter(move |o| folded_names(o).any(|name| name == path))
    }

    /// The opens of a file's streams, by the name of the file; ascending by path, then id.
    pub(crate) fn opens_of_streams(&self, share: ShareId, path: &str) -> Vec<OpenId> {
        let file = fold_path(path);
        let (place, prefix) = (Place::of(share, &file), file + ":");
        by_name(self.opens_within(share, place..=place), |name| name.starts_with(&prefix))
    }

    /// The opens that follow a file or directory to its new path, once the records have it: its own, its streams', and those beneath it.
    #[must_use]
    pub fn opens_moved_to(&self, share: ShareId, file: FileKey, path: &str) -> Vec<OpenId> {
        let own = self.file(&file).into_iter().flat_map(|f| f.opens.iter().copied());
        own.chain(self.opens_of_streams(share, path)).chain(self.opens_beneath(share, path)).collect()
    }

    /// The opens beneath a directory, not of the directory itself; ascending by path, then id. One that is about to be renamed within it counts twice.
    pub(crate) fn opens_beneath(&self, share: ShareId, directory: &str) -> Vec<OpenId> {
        let directory = fold_path(directory);
        let Some(directories) = self.index.directories_by_name.get(&share) else { return Vec::new() };
        let prefix = if directory.is_empty() { String::new() } else { directory.clone() + "\\" };
        let deeper = directories.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        let deeper = deeper.map(|d| &**d).take_while(|d| d.starts_with(&prefix));
        let own = directories.get(directory.as_str()).map(|d| &**d).filter(|d| !d.is_empty());
        let mut found: Vec<(String, OpenId)> = Vec::new();
        for d in own.into_iter().chain(deeper) {
            // A place may lead to two opens' names, an open to two places: each name is taken where it belongs.
            let mut opens: Vec<&Open> = self.opens_within(share, Place::within(share, d)).collect();
            opens.sort_unstable_by_key(|o| o.id);
            opens.dedup_by_key(|o| o.id);
            found.extend(opens.into_iter().flat_map(|o| folded_names(o).map(|n| (n, o.id))).filter(|(n, _)| parent_of(n) == Some(d)));
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// The opens of a share, ascending by id.
    pub(crate) fn opens_of_share(&self, share: ShareId) -> Vec<OpenId> {
        let mut opens = self.opens_beneath(share, "");
        opens.extend(self.opens_of_path(share, "").map(|o| o.id));
        opens.sort_unstable();
        opens.dedup();
        opens
    }

    fn opens_within(&self, share: ShareId, places: RangeInclusive<Place>) -> impl Iterator<Item = &Open> + use<'_> {
        let range = (*places.start(), OpenId(0))..=(*places.end(), OpenId(u64::MAX));
        self.index.by_place.range(range).filter_map(|(_, id)| self.open(*id)).filter(move |o| o.share == share)
    }

    /// A lease on a file.
    #[must_use]
    pub fn lease(&self, file: &FileKey, lease: LeaseId) -> Option<&Lease> {
        self.file(file)?.leases.get(&lease)
    }

    /// The files on which a client holds a lease of this key, ascending by key: one, or two when the first is being deleted.
    pub fn files_of_lease(&self, lease: LeaseId) -> impl Iterator<Item = &FileState> {
        let digest = digest_of_lease(lease);
        let opens = self.index.by_lease.get(&digest).into_iter().flatten();
        let file = |id: OpenId| self.file(&self.open(id)?.file?).filter(|f| f.leases.get(&lease).is_some());
        let mut files: Vec<&FileState> = opens.filter_map(|id| file(*id)).collect();
        files.sort_unstable_by_key(|f| f.key);
        files.into_iter()
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

    /// The node that takes a share over: one that serves and is not drained, with the fewest shares of its own, the lowest id first.
    /// `None` when no other serves.
    #[must_use]
    pub fn owner_for_share(&self, instead_of: Option<NodeId>) -> Option<NodeId> {
        let mut owned: BTreeMap<NodeId, usize> = BTreeMap::new();
        for owner in self.shares.values().filter_map(|share| share.owner) {
            *owned.entry(owner).or_default() += 1;
        }
        let able = self.nodes.values().filter(|node| node.state == NodeState::Up && Some(node.id) != instead_of);
        able.map(|node| (owned.get(&node.id).copied().unwrap_or_default(), node.id)).min().map(|(_, node)| node)
    }

    /// The shares whose owner does not serve, or asks its clients to move, though another node could take them over; with that owner.
    #[must_use]
    pub fn shares_without_owner(&self) -> Vec<(ShareId, NodeId)> {
        let up: BTreeSet<NodeId> = self.nodes.values().filter(|node| node.state == NodeState::Up).map(|node| node.id).collect();
        if up.is_empty() {
            return Vec::new();
        }
        let owned = self.shares.values().filter_map(|share| Some((share.id, share.owner?)));
        owned.filter(|(_, owner)| !up.contains(owner)).collect()
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

    /// An admin token, by the hash of its secret.
    #[must_use]
    pub fn admin_token(&self, hash: &[u8; 32]) -> Option<&AdminToken> {
        self.admin_tokens.get(hash)
    }

    /// An admin token, by name without regard to case.
    #[must_use]
    pub fn admin_token_by_name(&self, name: &str) -> Option<&AdminToken> {
        self.admin_tokens().find(|token| token.name.eq_ignore_ascii_case(name))
    }

    /// All admin tokens, ascending by hash.
    pub fn admin_tokens(&self) -> impl Iterator<Item = &AdminToken> {
        self.admin_tokens.values()
    }

    /// The block that a client meets, if any.
    #[must_use]
    pub fn client_block(&self, client: IpAddr) -> Option<&ClientBlock> {
        self.blocks.values().find(|block| block.network.contains(client))
    }

    /// All blocks, ascending by address.
    pub fn client_blocks(&self) -> impl Iterator<Item = &ClientBlock> {
        self.blocks.values()
    }

    /// Files that are to be removed from the backend, and cannot be opened any more, ascending by key.
    pub fn pending_deletes(&self) -> impl Iterator<Item = &PendingDelete> {
        self.pending_deletes.values().inspect(|_| self.visit())
    }

    /// Those of them that have to be removed now, ascending by key.
    pub fn due_deletes(&self) -> impl Iterator<Item = &PendingDelete> {
        self.pending_deletes().filter(|delete| self.is_due(delete))
    }

    /// Tells whether a file has to be removed now. One whose streams are open keeps its name until they are closed.
    // MS-FSA 2.1.5.4
    #[must_use]
    pub fn is_due(&self, delete: &PendingDelete) -> bool {
        delete.file != delete.file.unnamed() || self.named_streams(&delete.file).next().is_none()
    }

    /// Tells whether a file, or the file of a stream, is marked for deletion or being removed: it cannot be opened.
    #[must_use]
    pub fn is_delete_pending(&self, file: &FileKey) -> bool {
        [*file, file.unnamed()].iter().any(|key| self.pending_deletes.contains_key(key) || self.file(key).is_some_and(|f| f.delete_pending))
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
        let opens = self.index.detached.first().map(|(t, _)| *t);
        let oplocks = self.index.breaking_opens.first().map(|(t, _)| *t);
        let leases = self.index.breaking_files.first().map(|(t, _)| *t);
        let tokens = self.tokens.values().map(|t| t.expires);
        let lockouts = self.index.accounts.next_unlock();
        opens.into_iter().chain(oplocks).chain(leases).chain(tokens).chain(lockouts).min()
    }
}

/// The folded paths of an open: where it is, and where an announced rename wants to bring it.
fn folded_names(o: &Open) -> impl Iterator<Item = String> {
    std::iter::once(&o.path).chain(&o.pending_path).map(|path| fold_path(path))
}

/// The opens with a name that fits, once for each such name.
fn by_name<'a>(opens: impl Iterator<Item = &'a Open>, fits: impl Fn(&str) -> bool) -> Vec<OpenId> {
    let mut found: Vec<(String, OpenId)> = opens.flat_map(|o| folded_names(o).map(|n| (n, o.id))).filter(|(n, _)| fits(n)).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, id)| id).collect()
}
