//! The node-wide tables (MS-SMB2 3.3.1.5): connections, sessions, local opens, shares, and the doors to store, clock and backends.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use dcerpc_rs::{AssociationGroups, EndpointMap, SecurityProvider};
use parking_lot::{Mutex, RwLock};
use persistence_model::{ClusterSettings, Command, OpenId, Outcome, SessionId, Share as ShareRecord, ShareId};
use smb_auth::{AcceptorConfig, ServerNames};
use smb_backend::DescriptorStore;
use smb_types::{ClientGuid, CreateGuid, Guid, NtStatus, Sid};
use tokio::sync::Semaphore;

use super::{
    client_table::ClientTable,
    connection::{Connection, ConnectionId},
    connection_table::{ConnectionTable, Entered, LogonPlace, LogonTable},
    open::Open,
    session::{Session, User},
    share::{Share, ShareKind},
};
use crate::{
    access::{Accounts, Asker, Names, ShareRules, Token},
    blocking::blocking,
    clock::Clock,
    config::{BackendFactory, ServerConfig},
    error::{Disconnect, Refusal},
    failed_logons::FailedLogons,
    file_watch::FileWatches,
    limits::{Limit, Refusals},
    notify::NotifyRegistry,
    places::{NoPlace, Place, Places},
    send::telling::Telling,
    store::{Store, StoreError, StoreExt},
};

/// Pipe opens are numbered from here on, far above every record's id.
const PIPE_ID_FIRST: u64 = 1 << 63;

/// The file system under a share.
#[derive(Clone)]
struct Volume {
    directory: String,
    id: u64,
    names: Arc<Names>,
}

/// Most file positions that are kept for clients that lost their connection.
const POSITIONS_MAX: usize = 4096;
/// Failed logons that may be on their way to the records; further ones count for the delays of this node only.
const FAILURES_TO_COUNT_MAX: usize = 64;

/// Sockets beyond the limit of connections: those that are being closed.
const LEAVING_SOCKETS_MAX: usize = 256;
/// Most pipes that nobody in particular has open, on all connections together.
const ANONYMOUS_OPENS_MAX: usize = 1024;

/// One node's SMB service.
pub struct Server {
    /// Options and limits.
    pub config: ServerConfig,
    /// ServerGuid: the same on every node of the cluster.
    pub server_guid: Guid,
    /// The replicated records.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// GlobalClientTable.
    pub clients: ClientTable,
    /// Who watches directories.
    pub notify: NotifyRegistry,
    /// Who waits for a file to be let go.
    pub file_watches: Arc<FileWatches>,
    /// Breaks on their way to clients of this node.
    pub telling: Arc<Telling>,
    /// Who has failed to log on lately.
    pub failed_logons: Arc<FailedLogons>,
    backends: Arc<dyn BackendFactory>,
    connections: ConnectionTable,
    /// Logons begun and not ended.
    pub(crate) logons: Arc<LogonTable>,
    /// Who hears of limits that refuse.
    refusals: Refusals,
    /// KiB of messages beyond [`crate::transport::SMALL_BYTES`] that may come before a user has proved himself.
    pub(crate) room_before_logon: Arc<Semaphore>,
    /// Sockets of all listeners: the connections in the table, and those that are on their way out.
    pub(crate) sockets: Arc<Semaphore>,
    /// Opens, and CREATEs under way, of each user.
    pub(crate) open_places: Arc<Places<Sid>>,
    /// CHANGE_NOTIFY requests of each user.
    pub(crate) notify_places: Arc<Places<Sid>>,
    /// Watched directories of each user.
    pub(crate) watch_places: Arc<Places<Sid>>,
    sessions: RwLock<BTreeMap<SessionId, Arc<Session>>>,
    opens: RwLock<BTreeMap<OpenId, Arc<Open>>>,
    /// CurrentByteOffset of durable opens whose client may come back to this node; the oldest are forgotten.
    positions: Mutex<BTreeMap<OpenId, u64>>,
    shares: Mutex<BTreeMap<ShareId, Arc<Share>>>,
    /// The file systems of shares that are in use, by share: a share whose record changes keeps its own.
    volumes: Mutex<BTreeMap<ShareId, Volume>>,
    /// Counts changes of users and groups: a session's token is made anew when it is older.
    accounts_changed: AtomicU64,
    ipc: Arc<Share>,
    /// What logons are told and allowed.
    pub(crate) acceptor: Arc<AcceptorConfig>,
    /// Failed logons on their way to the records.
    pub(crate) failures_to_count: Arc<Semaphore>,
    /// CREATEs with a CreateGuid that are not answered yet: a replay must not overtake its elder.
    pub(crate) creates_under_way: Mutex<BTreeSet<(ClientGuid, CreateGuid)>>,
    /// Who checks RPC binds that bring their own security; set by whoever knows the accounts.
    pub(crate) pipe_security: OnceLock<Arc<dyn SecurityProvider>>,
    /// What the pipe of the endpoint mapper answers from; without it there is no such pipe.
    pub(crate) endpoints: OnceLock<Arc<EndpointMap>>,
    /// The association groups of all pipes of this node.
    pub(crate) pipe_groups: Arc<AssociationGroups>,
    next_connection: AtomicU64,
    next_session: AtomicU64,
    next_pipe: AtomicU64,
}

impl Server {
    /// Makes the service; nothing listens yet.
    #[must_use]
    pub fn new(
        config: ServerConfig,
        server_guid: Guid,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        backends: Arc<dyn BackendFactory>,
    ) -> Arc<Self> {
        let ipc = Share {
            share_id: ShareId(0),
            volume: 0,
            name: "IPC$".to_owned(),
            kind: ShareKind::Pipe,
            is_ca: false,
            is_scaleout: false,
            is_asymmetric: false,
            encrypt_data: false,
        };
        let acceptor = Arc::new(acceptor_config(&config));
        let refusals = Refusals::new(&config.limits);
        let room_before_logon = Arc::new(Semaphore::new(config.limits.bytes_before_logon >> 10));
        let sockets = Arc::new(Semaphore::new(config.limits.connections + LEAVING_SOCKETS_MAX));
        Arc::new(Self {
            acceptor,
            server_guid,
            store,
            clock,
            clients: ClientTable::default(),
            notify: NotifyRegistry::default(),
            file_watches: Arc::default(),
            telling: Arc::default(),
            failed_logons: Arc::clone(&config.failed_logons),
            config,
            failures_to_count: Arc::new(Semaphore::new(FAILURES_TO_COUNT_MAX)),
            backends,
            connections: ConnectionTable::default(),
            logons: Arc::default(),
            refusals,
            room_before_logon,
            sockets,
            open_places: Arc::default(),
            notify_places: Arc::default(),
            watch_places: Arc::default(),
            sessions: RwLock::new(BTreeMap::new()),
            opens: RwLock::new(BTreeMap::new()),
            positions: Mutex::new(BTreeMap::new()),
            shares: Mutex::new(BTreeMap::new()),
            volumes: Mutex::new(BTreeMap::new()),
            accounts_changed: AtomicU64::new(0),
            ipc: Arc::new(ipc),
            creates_under_way: Mutex::new(BTreeSet::new()),
            pipe_security: OnceLock::new(),
            endpoints: OnceLock::new(),
            pipe_groups: AssociationGroups::new(),
            next_connection: AtomicU64::new(1),
            next_session: AtomicU64::new(1),
            next_pipe: AtomicU64::new(PIPE_ID_FIRST),
        })
    }

    /// Serves an endpoint mapper over a pipe, and tells it of the services behind the other pipes. Counts once.
    pub fn map_endpoints(&self, map: Arc<EndpointMap>) {
        crate::pipe::announce(self, &map);
        // Set before: the first one stays.
        let _ = self.endpoints.set(map);
    }

    /// Lets RPC binds on pipes authenticate by themselves, beside the session that opened the pipe. Counts once; without it they are refused.
    // MS-RPCE 3.3.1.5.2
    pub fn secure_pipes(&self, security: Arc<dyn SecurityProvider>) {
        // Set before: the first one stays.
        let _ = self.pipe_security.set(security);
    }

    /// Proposes a command, giving up after the configured time: the client is told to try again.
    ///
    /// # Errors
    /// FILE_NOT_AVAILABLE while the store cannot answer.
    pub async fn propose(&self, command: Command) -> Result<Outcome, Refusal> {
        match tokio::time::timeout(self.config.propose_timeout, self.store.propose(command)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(StoreError::Unknown.into()),
        }
    }

    /// A new SessionId: unique over all nodes and all their lives.
    #[must_use]
    pub fn next_session_id(&self) -> SessionId {
        let counter = self.next_session.fetch_add(1, Ordering::Relaxed);
        assert!(counter <= u64::from(u32::MAX), "session ids of this life are used up");
        SessionId::of(self.store.incarnation(), u32::try_from(counter).expect("checked above"))
    }

    /// An id for a pipe open, which has no record.
    #[must_use]
    pub fn next_pipe_id(&self) -> OpenId {
        OpenId(self.next_pipe.fetch_add(1, Ordering::Relaxed))
    }

    /// A name for a new connection.
    pub(crate) fn next_connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// ConnectionList: enters a connection; false when there are too many. One without a proved user may be closed for it.
    pub(crate) fn add_connection(&self, connection: &Arc<Connection>) -> bool {
        match self.connections.enter(connection, &self.config.limits) {
            Entered::In => true,
            Entered::For(closed) => {
                for (limit, oldest) in closed {
                    self.refused(limit, oldest.peer.ip());
                    oldest.disconnect(Disconnect::because("a new connection takes the place of this one without a proved user"));
                }
                true
            }
            Entered::Refused(limit) => {
                self.refused(limit, connection.peer.ip());
                false
            }
        }
    }

    /// Removes a connection.
    pub(crate) fn remove_connection(&self, connection_id: ConnectionId) {
        self.connections.remove(connection_id);
    }

    /// The process has no file descriptors left: the oldest connection without a proved user goes.
    pub(crate) fn make_room(&self) {
        if let Some(oldest) = self.connections.take_oldest_unproved() {
            oldest.disconnect(Disconnect::because("file descriptors are short, and no user has proved himself here"));
        }
    }

    /// A limit has refused this client: says so in log and metrics.
    pub(crate) fn refused(&self, limit: Limit, address: IpAddr) {
        self.refusals.tell(&self.config.limits, limit, address.to_canonical());
    }

    /// Logons begun and not ended.
    #[must_use]
    pub fn logons_under_way(&self) -> usize {
        self.logons.count()
    }

    /// Begins a logon on a connection.
    ///
    /// # Errors
    /// INSUFFICIENT_RESOURCES when the connection, REQUEST_NOT_ACCEPTED when the node has too many under way.
    pub(crate) fn begin_logon(&self, connection: &Arc<Connection>) -> Result<LogonPlace, Refusal> {
        match self.logons.begin(connection, &self.config.limits) {
            Ok((place, closed)) => {
                if let Some(oldest) = closed {
                    self.refused(Limit::LogonsUnderWay, oldest.peer.ip());
                    oldest.disconnect(Disconnect::because("too many logons are under way, and this one is the oldest"));
                }
                Ok(place)
            }
            Err(limit) => {
                self.refused(limit, connection.peer.ip());
                let status = match limit {
                    Limit::LogonsUnderWay => NtStatus::REQUEST_NOT_ACCEPTED,
                    _ => NtStatus::INSUFFICIENT_RESOURCES,
                };
                Err(Refusal::new(status, "too many logons under way"))
            }
        }
    }

    /// Takes a place for an open that a user is about to get.
    ///
    /// # Errors
    /// INSUFFICIENT_RESOURCES; TOO_MANY_OPENED_FILES when the node has as many as it may.
    pub(crate) fn open_place(&self, session: &Session, address: IpAddr) -> Result<Place<Sid>, Refusal> {
        let limits = &self.config.limits;
        let user = session.user().ok_or(Refusal::new(NtStatus::USER_SESSION_DELETED, "the session is not set up"))?;
        let of_user = if user.is_anonymous { limits.opens_per_user.min(ANONYMOUS_OPENS_MAX) } else { limits.opens_per_user };
        let refuse = |limit, status| {
            self.refused(limit, address);
            Err(Refusal::new(status, "too many opens"))
        };
        if session.open_count() >= limits.opens_per_session {
            return refuse(Limit::OpensPerSession, NtStatus::INSUFFICIENT_RESOURCES);
        }
        match self.open_places.take(user.sid.clone(), of_user, limits.opens) {
            Ok(place) => Ok(place),
            Err(NoPlace::OfKey) => refuse(Limit::OpensPerUser, NtStatus::INSUFFICIENT_RESOURCES),
            Err(NoPlace::OfAll) => refuse(Limit::Opens, NtStatus::TOO_MANY_OPENED_FILES),
        }
    }

    /// Takes a place for a waiting CHANGE_NOTIFY request, or for a directory that is watched from now on.
    ///
    /// # Errors
    /// INSUFFICIENT_RESOURCES.
    pub(crate) fn watch_place(&self, limit: Limit, session: &Session, address: IpAddr) -> Result<Place<Sid>, Refusal> {
        let user = session.user().ok_or(Refusal::new(NtStatus::USER_SESSION_DELETED, "the session is not set up"))?;
        let places = if limit == Limit::NotifyRequestsPerUser { &self.notify_places } else { &self.watch_places };
        places.take(user.sid.clone(), self.config.limits.get(limit), usize::MAX).map_err(|_| {
            self.refused(limit, address);
            Refusal::new(NtStatus::INSUFFICIENT_RESOURCES, "too many directories are watched")
        })
    }

    /// A live connection.
    #[must_use]
    pub fn connection(&self, connection_id: ConnectionId) -> Option<Arc<Connection>> {
        self.connections.get(connection_id)
    }

    /// ConnectionList.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.connections.all()
    }

    /// GlobalSessionTable lookup (this node's part).
    #[must_use]
    pub fn session(&self, session_id: SessionId) -> Option<Arc<Session>> {
        self.sessions.read().get(&session_id).cloned()
    }

    /// GlobalSessionTable (this node's part).
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.read().values().cloned().collect()
    }

    /// Enters a session.
    pub(crate) fn add_session(&self, session: Arc<Session>) {
        self.sessions.write().insert(session.session_id, session);
    }

    /// The records have ended a session: no further request of it is taken, whatever becomes of what is under way.
    pub fn session_ended(&self, session_id: SessionId) {
        if let Some(session) = self.session(session_id) {
            session.end();
        }
    }

    /// Removes a session.
    pub(crate) fn remove_session(&self, session_id: SessionId) -> Option<Arc<Session>> {
        self.sessions.write().remove(&session_id)
    }

    /// GlobalOpenTable lookup (opens attached to this node).
    #[must_use]
    pub fn open(&self, open_id: OpenId) -> Option<Arc<Open>> {
        self.opens.read().get(&open_id).cloned()
    }

    /// GlobalOpenTable (opens attached to this node).
    #[must_use]
    pub fn opens(&self) -> Vec<Arc<Open>> {
        self.opens.read().values().cloned().collect()
    }

    /// Enters an open in the session's table and in the node's.
    pub fn add_open(&self, session: &Session, open: &Arc<Open>) {
        assert_eq!(session.session_id, open.session_id, "an open is in its own session's table");
        self.opens.write().insert(open.open_id, Arc::clone(open));
        session.add_open(Arc::clone(open));
    }

    /// Removes an open of a session from both tables.
    pub(crate) fn forget_open(&self, session: &Session, open: &Open) {
        let position = open.position.load(Ordering::Relaxed);
        if open.is_durable && position != 0 {
            let mut positions = self.positions.lock();
            positions.insert(open.open_id, position);
            if positions.len() > POSITIONS_MAX {
                positions.pop_first();
            }
        }
        self.opens.write().remove(&open.open_id);
        open.give_place_back();
        self.notify.remove(open.open_id);
        session.remove_open(open.file_id);
    }

    /// Where the client of a lost open was in the file, as far as this node knows.
    pub(crate) fn take_position(&self, open: OpenId) -> u64 {
        self.positions.lock().remove(&open).unwrap_or_default()
    }

    /// Removes an open from both tables.
    pub fn remove_open(&self, open: &Open) {
        self.opens.write().remove(&open.open_id);
        open.give_place_back();
        self.notify.remove(open.open_id);
        if let Some(session) = self.session(open.session_id) {
            session.remove_open(open.file_id);
        }
    }

    /// Finds a share by name, without regard to case; makes its backend when it is used for the first time.
    ///
    /// # Errors
    /// BAD_NETWORK_NAME when there is none; SHARE_UNAVAILABLE when its file system cannot be opened now.
    pub fn share(&self, name: &str) -> Result<Arc<Share>, Refusal> {
        if name.eq_ignore_ascii_case("IPC$") {
            return Ok(Arc::clone(&self.ipc));
        }
        let record = self.store.with_state(|state| state.share_by_name(name).cloned());
        let Some(record) = record else {
            return Err(Refusal::new(NtStatus::BAD_NETWORK_NAME, "no such share"));
        };
        if let Some(share) = self.shares.lock().get(&record.id) {
            return Ok(Arc::clone(share));
        }
        let volume = self.volume(&record)?;
        let share = Arc::new(Share {
            share_id: record.id,
            volume: volume.id,
            name: record.name.clone(),
            kind: ShareKind::Disk(volume.names, Arc::new(ShareRules::of(&record.settings))),
            is_ca: record.settings.ca,
            is_scaleout: record.settings.scaleout,
            is_asymmetric: record.owner.is_some(),
            encrypt_data: record.settings.encrypt,
        });
        self.shares.lock().insert(record.id, Arc::clone(&share));
        Ok(share)
    }

    /// The file system of a share: the one that is in use, unless the share has another directory now.
    fn volume(&self, record: &ShareRecord) -> Result<Volume, Refusal> {
        let directory = &record.settings.path;
        if let Some(volume) = self.volumes.lock().get(&record.id).filter(|volume| volume.directory == *directory) {
            return Ok(volume.clone());
        }
        let opened = blocking(|| {
            let backend = self.backends.backend(record)?;
            let id = backend.volume()?.id;
            Ok::<_, smb_backend::BackendError>(Volume { directory: directory.clone(), id, names: Arc::new(Names::new(backend)) })
        });
        let volume = opened.map_err(|error| {
            tracing::error!(share = record.name, %error, "the file system of a share cannot be opened");
            Refusal::new(NtStatus::SHARE_UNAVAILABLE, "the share's file system cannot be opened")
        })?;
        let share = &record.name;
        match volume.names.descriptor_store() {
            DescriptorStore::Protected => {}
            DescriptorStore::Unprotected => {
                tracing::warn!(
                    share,
                    "local users who may write a file can change its ACL: run the daemon with CAP_SYS_ADMIN to keep ACLs in security.NTACL"
                );
            }
            DescriptorStore::Unsupported => {
                tracing::warn!(
                    share,
                    "the file system keeps no extended attributes: ACLs cannot be set, rights follow owner and permission bits"
                );
            }
        }
        self.volumes.lock().insert(record.id, volume.clone());
        Ok(volume)
    }

    /// A share by its id, as it is in use here.
    #[must_use]
    pub fn share_by_id(&self, share_id: ShareId) -> Option<Arc<Share>> {
        if let Some(share) = self.shares.lock().get(&share_id) {
            return Some(Arc::clone(share));
        }
        let name = self.store.with_state(|state| state.share(share_id).map(|record| record.name.clone()))?;
        self.share(&name).ok()
    }

    /// A share's record changed or went: what is asked next reads it afresh. Handles and tree connects stay.
    pub fn share_changed(&self, share_id: ShareId) {
        self.shares.lock().remove(&share_id);
    }

    /// Any share's record may have changed.
    pub(crate) fn shares_changed(&self) {
        self.shares.lock().clear();
    }

    /// A share's record went: its file system is let go.
    pub(crate) fn share_removed(&self, share_id: ShareId) {
        self.share_changed(share_id);
        self.volumes.lock().remove(&share_id);
    }

    /// Users or groups changed: the rights of every session are those of now from its next request on.
    pub fn accounts_changed(&self) {
        self.accounts_changed.fetch_add(1, Ordering::AcqRel);
    }

    /// What the operator has decided for all nodes, as it is now.
    #[must_use]
    pub fn settings(&self) -> ClusterSettings {
        self.store.with_state(|state| state.settings())
    }

    /// Tells whether a user that has proved himself may go on: he is still there, not disabled, and has the same password.
    #[must_use]
    pub fn stands(&self, user: &User) -> bool {
        user.is_anonymous
            || self.store.with_state(|state| {
                state.user_by_sid(&user.sid).is_some_and(|record| !record.disabled && record.generation == user.generation)
            })
    }

    /// The token of a session's user, as users and groups are now.
    ///
    /// # Errors
    /// USER_SESSION_DELETED when the session is not set up, or its user is gone.
    pub(crate) fn token(&self, session: &Session) -> Result<Arc<Token>, Refusal> {
        let gone = Refusal::new(NtStatus::USER_SESSION_DELETED, "the session is not set up, or its user is gone");
        let changes = self.accounts_changed.load(Ordering::Acquire);
        if let Some(token) = session.token(changes) {
            return Ok(token);
        }
        let user = session.user().ok_or(gone.clone())?;
        let token =
            if user.is_anonymous { Some(Token::anonymous()) } else { self.store.with_state(|state| Token::of_user(state, &user.sid)) };
        let token = Arc::new(token.ok_or(gone)?);
        session.set_token(changes, Arc::clone(&token));
        Ok(token)
    }

    /// Whoever asks through a share, with the rights that session, share and address give now.
    ///
    /// # Errors
    /// USER_SESSION_DELETED as [`Self::token`]; NETWORK_NAME_DELETED when the share is gone.
    pub(crate) fn asker(&self, session: &Session, share: &Share, from: IpAddr) -> Result<Asker, Refusal> {
        let gone = Refusal::new(NtStatus::NETWORK_NAME_DELETED, "the share is gone, or has no files");
        let names = Arc::clone(share.names().ok_or(gone.clone())?);
        let now = self.share_by_id(share.share_id).ok_or(gone.clone())?;
        let rules = Arc::clone(now.rules().ok_or(gone)?);
        let token = self.token(session)?;
        let through_share = rules.maximal(&token, from);
        Ok(Asker::new(names, token, rules, through_share, Accounts::new(Arc::clone(&self.store))))
    }
}

/// The cluster's one name, for every node alike.
fn acceptor_config(config: &ServerConfig) -> AcceptorConfig {
    let names = ServerNames {
        nb_computer: config.server_name.to_uppercase(),
        nb_domain: config.domain_name.to_uppercase(),
        dns_computer: config.server_name.to_lowercase(),
        dns_domain: config.domain_name.to_lowercase(),
    };
    AcceptorConfig { names, anonymous_allowed: true, guest_allowed: false }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("server_guid", &self.server_guid).finish_non_exhaustive()
    }
}
