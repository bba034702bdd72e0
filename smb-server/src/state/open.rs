//! Open: the local side of an open file, directory or pipe (MS-SMB2 3.3.1.10). Its durable half is the record with the same `OpenId`.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use persistence_model::{FileKey, LeaseId, OpenId, SessionId};
use smb_backend::{BackendFile, RelPath, Stability};
use smb_types::{AccessMask, ClientGuid, CreateGuid, CreateOptions, FileId, LeaseKey, NtStatus, OplockLevel, ShareAccess, Sid};
use tokio_util::sync::CancellationToken;

use super::{
    channel_sequence::{ChannelSequence, Counted},
    connection::Connection,
    enumeration::Enumeration,
    notify::NotifyState,
    pipe::Pipe,
    tree_connect::TreeConnect,
};
use crate::{error::Refusal, places::Place};

/// The create options that FileModeInformation tells.
// MS-FSCC 2.4.31
pub const MODE_OPTIONS: CreateOptions = CreateOptions(0x103E);

/// What is open.
#[derive(Debug, Clone)]
pub enum OpenKind {
    /// A file, directory or stream.
    File(Arc<dyn BackendFile>),
    /// A pipe of IPC$.
    Pipe(Arc<Pipe>),
}

/// An open as this node serves it.
pub struct Open {
    /// Open.FileId: the persistent half is the record's id, the volatile half is unique in the session.
    pub file_id: FileId,
    /// The record's id (of pipes: from [`super::Server::next_pipe_id`], never proposed).
    pub open_id: OpenId,
    /// Whose table it is in.
    pub session_id: SessionId,
    /// Open.TreeConnect.
    pub tree: Arc<TreeConnect>,
    /// Open.Connection: where breaks go first.
    pub connection: Weak<Connection>,
    /// The client machine.
    pub client_guid: ClientGuid,
    /// File or pipe.
    kind: OpenKind,
    /// The file's identity in the records; all zero for pipes.
    pub file: FileKey,
    /// Path below the share root, without stream; changes when the file or a directory above it is renamed.
    pub path: RwLock<RelPath>,
    /// Name of the stream, without `$DATA`; None for the unnamed one.
    pub stream: Option<String>,
    /// Open.GrantedAccess.
    pub granted_access: AccessMask,
    /// DesiredAccess of the CREATE.
    pub desired_access: AccessMask,
    /// ShareAccess of the CREATE.
    pub share_access: ShareAccess,
    /// Open.CreateOptions.
    pub create_options: CreateOptions,
    /// Tells whether it is a directory.
    pub is_directory: bool,
    /// Open.CreateGuid.
    pub create_guid: Option<CreateGuid>,
    /// Open.Lease, by key.
    pub lease_key: Option<LeaseKey>,
    /// ParentLeaseKey of the CREATE: changes through this open do not break that directory lease.
    pub parent_lease_key: Option<LeaseKey>,
    /// The oplock granted at CREATE; the record holds the current one.
    pub oplock_level: OplockLevel,
    /// Open.IsPersistent.
    pub is_persistent: bool,
    /// Open.IsDurable at CREATE.
    pub is_durable: bool,
    /// Open.IsResilient: set by the FSCTL.
    pub is_resilient: AtomicBool,
    /// Open.IsReplayEligible, until the first use; the record learns of that a little later.
    pub replay_eligible: AtomicBool,
    /// Writes must be on disk before they are answered.
    pub write_through: bool,
    /// Open.ChannelSequence and its counters.
    pub channel_sequence: Mutex<ChannelSequence>,
    /// Wakes who waits for the open's requests to end.
    idle: tokio::sync::Notify,
    /// Fires when the open is closed or taken away: whatever waits on it ends.
    pub ended: CancellationToken,
    /// Taken over by another node, or force-closed: every request gets FILE_CLOSED.
    revoked: AtomicBool,
    /// CLOSE has begun.
    closing: AtomicBool,
    /// Directory listing under way. One QUERY_DIRECTORY at a time holds it while it lists.
    pub enumeration: Mutex<Option<Enumeration>>,
    /// CHANGE_NOTIFY state.
    pub notify: Mutex<NotifyState>,
    /// Wakes waiting CHANGE_NOTIFY requests.
    pub notify_wake: tokio::sync::Notify,
    /// CurrentByteOffset (FilePositionInformation).
    pub position: AtomicU64,
    /// FileModeInformation: options that can be changed after the CREATE.
    pub mode: AtomicU32,
    /// Its place among its user's opens, until it is in no table any more.
    place: Mutex<Option<Place<Sid>>>,
    /// Its data was changed through this open; who caches the directory learns of that at the close.
    pub modified: AtomicBool,
    /// Under which ParentLeaseKey the file was marked for deletion, as far as that happened on this node.
    pub deleted_under: Mutex<Option<Option<LeaseKey>>>,
    /// Times frozen by this open (−1 in FileBasicInformation), as bits 1 creation, 2 access, 4 write, 8 change.
    pub frozen_times: AtomicU64,
}

/// What an [`Open`] is made from; the caller fills it in from the granted record.
pub struct OpenParts {
    /// The record's id.
    pub open_id: OpenId,
    /// Unique in the session.
    pub volatile_id: u64,
    /// Whose table it goes to.
    pub session_id: SessionId,
    /// The tree it was opened on.
    pub tree: Arc<TreeConnect>,
    /// The connection it was opened on.
    pub connection: Weak<Connection>,
    /// The client machine.
    pub client_guid: ClientGuid,
    /// File or pipe.
    pub kind: OpenKind,
    /// Identity in the records.
    pub file: FileKey,
    /// Path below the share root.
    pub path: RelPath,
    /// Stream name.
    pub stream: Option<String>,
    /// GrantedAccess.
    pub granted_access: AccessMask,
    /// DesiredAccess.
    pub desired_access: AccessMask,
    /// ShareAccess.
    pub share_access: ShareAccess,
    /// CreateOptions.
    pub create_options: CreateOptions,
    /// Directory?
    pub is_directory: bool,
    /// CreateGuid.
    pub create_guid: Option<CreateGuid>,
    /// Lease key.
    pub lease_key: Option<LeaseKey>,
    /// Parent lease key.
    pub parent_lease_key: Option<LeaseKey>,
    /// Oplock granted.
    pub oplock_level: OplockLevel,
    /// Persistent?
    pub is_persistent: bool,
    /// Durable?
    pub is_durable: bool,
    /// Stable writes?
    pub write_through: bool,
    /// ChannelSequence of the CREATE.
    pub channel_sequence: u16,
}

impl Open {
    /// Makes the local open.
    #[must_use]
    pub fn new(parts: OpenParts) -> Self {
        Self {
            file_id: FileId { persistent: parts.open_id.0, volatile: parts.volatile_id },
            open_id: parts.open_id,
            session_id: parts.session_id,
            tree: parts.tree,
            connection: parts.connection,
            client_guid: parts.client_guid,
            kind: parts.kind,
            file: parts.file,
            path: RwLock::new(parts.path),
            stream: parts.stream,
            granted_access: parts.granted_access,
            desired_access: parts.desired_access,
            share_access: parts.share_access,
            create_options: parts.create_options,
            is_directory: parts.is_directory,
            create_guid: parts.create_guid,
            lease_key: parts.lease_key,
            parent_lease_key: parts.parent_lease_key,
            oplock_level: parts.oplock_level,
            is_persistent: parts.is_persistent,
            is_durable: parts.is_durable,
            is_resilient: AtomicBool::new(false),
            replay_eligible: AtomicBool::new(false),
            write_through: parts.write_through,
            channel_sequence: Mutex::new(ChannelSequence::new(parts.channel_sequence)),
            idle: tokio::sync::Notify::new(),
            ended: CancellationToken::new(),
            revoked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            enumeration: Mutex::new(None),
            notify: Mutex::new(NotifyState::default()),
            notify_wake: tokio::sync::Notify::new(),
            position: AtomicU64::new(0),
            mode: AtomicU32::new((parts.create_options & MODE_OPTIONS).0),
            place: Mutex::new(None),
            modified: AtomicBool::new(false),
            deleted_under: Mutex::new(None),
            frozen_times: AtomicU64::new(0),
        }
    }

    /// Keeps its place among its user's opens. A replay finds that it has one.
    pub(crate) fn keep_place(&self, place: Place<Sid>) {
        self.place.lock().get_or_insert(place);
    }

    /// Gives its place to the user's next open.
    pub(crate) fn give_place_back(&self) {
        *self.place.lock() = None;
    }

    /// The file below, for what needs at least one right of `any_of`. The only ways to it are this and [`Self::file_for_any`]: a handler
    /// says what its operation needs before it can do anything.
    ///
    /// # Errors
    /// ACCESS_DENIED without the right; INVALID_DEVICE_REQUEST for pipes.
    pub fn file_with(&self, any_of: AccessMask) -> Result<&Arc<dyn BackendFile>, Refusal> {
        self.require_any(any_of)?;
        self.file_for_any()
    }

    /// The file below, for what every open may do whatever its rights.
    ///
    /// # Errors
    /// INVALID_DEVICE_REQUEST for pipes.
    // MS-SMB2 3.3.5.20.1
    pub fn file_for_any(&self) -> Result<&Arc<dyn BackendFile>, Refusal> {
        match &self.kind {
            OpenKind::File(file) => Ok(file),
            OpenKind::Pipe(_) => Err(Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "a pipe has no file below")),
        }
    }

    /// The pipe, if it is one.
    #[must_use]
    pub fn pipe(&self) -> Option<&Arc<Pipe>> {
        match &self.kind {
            OpenKind::File(_) => None,
            OpenKind::Pipe(pipe) => Some(pipe),
        }
    }

    /// Refuses unless at least one right of `any_of` was granted.
    ///
    /// # Errors
    /// ACCESS_DENIED.
    pub fn require_any(&self, any_of: AccessMask) -> Result<(), Refusal> {
        if self.granted_access.intersects(any_of) {
            return Ok(());
        }
        Err(Refusal::new(NtStatus::ACCESS_DENIED, "the open lacks the right"))
    }

    /// The directory lease under which changes are made through this open.
    #[must_use]
    pub fn parent_lease(&self) -> Option<LeaseId> {
        self.parent_lease_key.map(|key| LeaseId { client_guid: self.client_guid, key })
    }

    /// Its CREATE asked for deletion at the close.
    #[must_use]
    pub fn deletes_on_close(&self) -> bool {
        self.create_options.contains(CreateOptions::DELETE_ON_CLOSE)
    }

    /// How safe changes through this open must be.
    #[must_use]
    pub fn stability(&self) -> Stability {
        if self.write_through { Stability::Stable } else { Stability::Cached }
    }

    /// The record moved to another node or was closed by force: from now on nothing goes through here.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.end();
    }

    /// Tells whether the open was taken away.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Waits until no request that was counted in is under way. Revoke first, or new ones keep coming.
    pub async fn idle(&self) {
        loop {
            let woken = self.idle.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if self.channel_sequence.lock().is_idle() {
                return;
            }
            woken.await;
        }
    }

    /// Begins a CLOSE; true for the first caller only.
    pub fn begin_close(&self) -> bool {
        !self.closing.swap(true, Ordering::AcqRel)
    }

    /// Ends whatever waits on this open.
    pub fn end(&self) {
        self.notify.lock().closed = true;
        self.notify_wake.notify_waiters();
        self.ended.cancel();
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("file_id", &self.file_id)
            .field("file", &self.file)
            .field("path", &*self.path.read())
            .finish_non_exhaustive()
    }
}

/// Keeps a request counted in its open's channel sequence until it has really ended.
#[derive(Debug)]
pub struct CountedRequest {
    open: Arc<Open>,
    counted: Counted,
}

impl CountedRequest {
    /// Counts a request in.
    ///
    /// # Errors
    /// FILE_NOT_AVAILABLE for what the rules of 3.3.5.2.10 refuse.
    // MS-SMB2 3.3.5.2.10
    pub fn begin(open: &Arc<Open>, sequence: u16, replay: bool, modifies: bool) -> Result<Self, Refusal> {
        let counted = open
            .channel_sequence
            .lock()
            .begin(sequence, replay, modifies)
            .map_err(|_| Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "channel sequence: an older twin may be running"))?;
        Ok(Self { open: Arc::clone(open), counted })
    }
}

impl Drop for CountedRequest {
    fn drop(&mut self) {
        self.open.channel_sequence.lock().finish(self.counted);
        self.open.idle.notify_waiters();
    }
}
