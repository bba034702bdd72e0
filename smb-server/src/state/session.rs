//! Session and Channel: who the client is, and the keys that prove it (MS-SMB2 3.3.1.8, 3.3.1.14).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use persistence_model::{OpenId, SessionId};
use smb_auth::{Acceptor, NonceSequence, PreauthHash, SealingKey, SessionKeys, SigningKey};
use smb_types::{ClientGuid, Dialect, FileId, Sid};

use crate::access::Token;

use super::{
    connection::{ConnectionId, Negotiated},
    connection_table::LogonPlace,
    open::Open,
    tree_connect::TreeConnect,
};

/// Who logged on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's SID: what opens are owned by.
    pub sid: Sid,
    /// The name as configured.
    pub name: String,
    /// An anonymous logon: IPC$ only, no keys.
    pub is_anonymous: bool,
    /// The record's generation when the user proved himself: with another one the session ends.
    pub generation: u32,
}

/// Session.State.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// The first authentication is not finished.
    InProgress,
    /// In use.
    Valid,
    /// Must authenticate again.
    Expired,
}

/// What the first successful authentication fixes for the session's life. The user is not among it: a renewal may change that.
pub struct Security {
    /// Session.SessionKey and what comes of it.
    pub keys: SessionKeys,
    /// Session.SigningRequired.
    pub signing_required: bool,
    /// Session.EncryptData.
    pub encrypt_data: bool,
    /// Session.SigningKey.
    pub signing_key: Arc<SigningKey>,
    /// Keys to seal and open messages; None when no cipher was negotiated.
    pub sealing: Option<Sealing>,
}

/// The prepared cipher keys of a session, shared by all its channels.
pub struct Sealing {
    /// We encrypt with this.
    pub encryption: SealingKey,
    /// We decrypt with this.
    pub decryption: SealingKey,
    /// Nonces of `encryption`: one sequence for all channels.
    pub nonces: NonceSequence,
}

/// A connection that carries a session.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Which connection.
    pub connection_id: ConnectionId,
    /// Channel.SigningKey.
    pub signing_key: Arc<SigningKey>,
}

/// An authentication under way on one connection: the first one, a binding, or a renewal.
pub struct Authentication {
    /// SPNEGO and NTLM steps.
    pub acceptor: Acceptor,
    /// The hash of this exchange (3.1.1; not for renewals).
    pub preauth: PreauthHash,
    /// A binding.
    pub is_binding: bool,
    /// PreviousSessionId of the first request.
    pub previous_session_id: u64,
    /// Whose account the last leg named, as it was then.
    pub claimed: Option<User>,
    /// Its place among the logons under way.
    pub place: LogonPlace,
}

/// One session of this node.
pub struct Session {
    /// Session.SessionId: incarnation in the upper half.
    pub session_id: SessionId,
    /// The client machine that made it.
    pub client_guid: ClientGuid,
    /// Connection.Dialect of its first connection.
    pub dialect: Dialect,
    /// What its first connection negotiated.
    pub negotiated: Arc<Negotiated>,
    /// Set once.
    security: OnceLock<Security>,
    /// Session.SecurityContext; set with the keys, and again by each renewal.
    user: RwLock<Option<Arc<User>>>,
    /// The user's token, and how many changes of accounts it knows.
    token: Mutex<Option<(u64, Arc<Token>)>>,
    state: Mutex<SessionState>,
    /// It is being taken out of the tables: nothing more is done in it.
    ended: AtomicBool,
    /// PreauthSessionTable and the logon conversations, by connection.
    pub(crate) authentications: Mutex<BTreeMap<ConnectionId, Authentication>>,
    channels: RwLock<BTreeMap<ConnectionId, Arc<Channel>>>,
    trees: RwLock<BTreeMap<u32, Arc<TreeConnect>>>,
    opens: RwLock<BTreeMap<u64, Arc<Open>>>,
    next_tree_id: AtomicU32,
    next_volatile_id: AtomicU64,
}

impl Session {
    /// A session whose first authentication begins.
    #[must_use]
    pub fn new(session_id: SessionId, client_guid: ClientGuid, negotiated: Arc<Negotiated>) -> Self {
        Self {
            session_id,
            client_guid,
            dialect: negotiated.dialect,
            negotiated,
            security: OnceLock::new(),
            user: RwLock::new(None),
            token: Mutex::new(None),
            state: Mutex::new(SessionState::InProgress),
            ended: AtomicBool::new(false),
            authentications: Mutex::new(BTreeMap::new()),
            channels: RwLock::new(BTreeMap::new()),
            trees: RwLock::new(BTreeMap::new()),
            opens: RwLock::new(BTreeMap::new()),
            next_tree_id: AtomicU32::new(1),
            next_volatile_id: AtomicU64::new(1),
        }
    }

    /// Session.State.
    #[must_use]
    pub fn state(&self) -> SessionState {
        *self.state.lock()
    }

    /// Changes Session.State.
    pub fn set_state(&self, state: SessionState) {
        *self.state.lock() = state;
    }

    /// The keys; None until the first authentication has succeeded.
    #[must_use]
    pub fn security(&self) -> Option<&Security> {
        self.security.get()
    }

    /// The first authentication has succeeded.
    pub fn establish(&self, user: User, security: Security) {
        self.set_user(user);
        assert!(self.security.set(security).is_ok(), "keys of a session are set once");
        self.set_state(SessionState::Valid);
    }

    /// Ends the session for every request that is still to come, on whatever channel. What it has is dealt with by who calls this.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Tells whether the session has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Who is logged on.
    #[must_use]
    pub fn user(&self) -> Option<Arc<User>> {
        self.user.read().clone()
    }

    /// A renewal has proved this user.
    pub fn set_user(&self, user: User) {
        *self.user.write() = Some(Arc::new(user));
        *self.token.lock() = None;
    }

    /// The user's token, if it knows so many changes of accounts.
    pub(crate) fn token(&self, changes: u64) -> Option<Arc<Token>> {
        self.token.lock().as_ref().filter(|(known, _)| *known == changes).map(|(_, token)| Arc::clone(token))
    }

    /// Keeps a token that knows so many changes of accounts.
    pub(crate) fn set_token(&self, changes: u64, token: Arc<Token>) {
        *self.token.lock() = Some((changes, token));
    }

    /// Nobody in particular is logged on.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user.read().as_ref().is_some_and(|user| user.is_anonymous)
    }

    /// The channel of a connection.
    #[must_use]
    pub fn channel(&self, connection: ConnectionId) -> Option<Arc<Channel>> {
        self.channels.read().get(&connection).cloned()
    }

    /// Adds a channel.
    pub fn add_channel(&self, channel: Channel) {
        self.channels.write().insert(channel.connection_id, Arc::new(channel));
    }

    /// Removes a channel; tells whether it was the last.
    pub fn remove_channel(&self, connection: ConnectionId) -> bool {
        let mut channels = self.channels.write();
        channels.remove(&connection);
        channels.is_empty()
    }

    /// Number of channels.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels.read().len()
    }

    /// Connections that carry this session, oldest first.
    #[must_use]
    pub fn channel_connections(&self) -> Vec<ConnectionId> {
        self.channels.read().keys().copied().collect()
    }

    /// The prepared key that signs on a connection.
    #[must_use]
    pub fn signing_key(&self, connection: ConnectionId) -> Option<Arc<SigningKey>> {
        self.channel(connection).map(|channel| Arc::clone(&channel.signing_key))
    }

    /// A tree connect.
    #[must_use]
    pub fn tree(&self, tree_id: u32) -> Option<Arc<TreeConnect>> {
        self.trees.read().get(&tree_id).cloned()
    }

    /// An unused TreeId, never 0 and never all ones.
    #[must_use]
    pub fn next_tree_id(&self) -> u32 {
        loop {
            let id = self.next_tree_id.fetch_add(1, Ordering::Relaxed);
            if id != 0 && id != u32::MAX && !self.trees.read().contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a tree connect.
    pub fn add_tree(&self, tree: Arc<TreeConnect>) {
        self.trees.write().insert(tree.tree_id, tree);
    }

    /// Removes a tree connect.
    pub fn remove_tree(&self, tree_id: u32) -> Option<Arc<TreeConnect>> {
        self.trees.write().remove(&tree_id)
    }

    /// All tree connects.
    #[must_use]
    pub fn trees(&self) -> Vec<Arc<TreeConnect>> {
        self.trees.read().values().cloned().collect()
    }

    /// Number of tree connects.
    #[must_use]
    pub fn tree_count(&self) -> usize {
        self.trees.read().len()
    }

    /// Takes all tree connects away.
    #[must_use]
    pub fn take_trees(&self) -> Vec<Arc<TreeConnect>> {
        std::mem::take(&mut *self.trees.write()).into_values().collect()
    }

    /// A volatile id for a new open.
    #[must_use]
    pub fn next_volatile_id(&self) -> u64 {
        self.next_volatile_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Finds an open; both halves of the id must match.
    #[must_use]
    pub fn open(&self, file_id: FileId) -> Option<Arc<Open>> {
        self.opens.read().get(&file_id.volatile).filter(|open| open.file_id == file_id).cloned()
    }

    /// Finds an open by its record.
    #[must_use]
    pub fn open_by_id(&self, open_id: OpenId) -> Option<Arc<Open>> {
        self.opens.read().values().find(|open| open.open_id == open_id).cloned()
    }

    /// Adds an open. Use [`super::Server::add_open`], which also enters it in the node's table.
    pub(crate) fn add_open(&self, open: Arc<Open>) {
        self.opens.write().insert(open.file_id.volatile, open);
    }

    /// Removes an open. Use [`super::Server::remove_open`].
    pub(crate) fn remove_open(&self, file_id: FileId) -> Option<Arc<Open>> {
        self.opens.write().remove(&file_id.volatile)
    }

    /// Number of opens.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.opens.read().len()
    }

    /// All opens, by volatile id.
    #[must_use]
    pub fn opens(&self) -> Vec<Arc<Open>> {
        self.opens.read().values().cloned().collect()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("session_id", &self.session_id).field("state", &self.state()).finish_non_exhaustive()
    }
}
