//! A persistent handle that survives its node: reclaimed, never silently opened anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use smb_proto::context::dh2q::FLAG_PERSISTENT;
use smb_proto::context::{DurableReconnectV2, DurableRequestV2, LeaseContext, LeaseFlags, LeaseV2, RequestContext};
use smb_proto::info::FileStandardInformation;
use smb_proto::message::create::{CreateAction, CreateRequest, CreateResponse, OPLOCK_LEVEL_LEASE};
use smb_proto::message::lock::{LockElement, LockFlags};
use smb_types::{AccessMask, CreateDisposition, CreateOptions, FileAttributes, FileId, Guid, LeaseKey, LeaseState, NtStatus, ShareAccess};

use super::error::ClientError;
use super::mount::{Channel, HeldLease, Mount};
use super::random;
use super::retry::Attempts;
use super::timeline::Event;
use super::tree::{Try, durable_grant, lease_grant};

/// Timeout that is asked for.
pub const HANDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Indexes of lock sequences: 1 to 64.
// MS-SMB2 2.2.26
const LOCK_INDEX_MAX: u32 = 64;

/// How a file is opened, and opened again.
#[derive(Clone, Debug)]
pub struct OpenPlan {
    /// Path from the share's root.
    pub path: String,
    /// DesiredAccess.
    pub desired_access: AccessMask,
    /// ShareAccess.
    pub share_access: ShareAccess,
    /// CreateDisposition.
    pub disposition: CreateDisposition,
    /// CreateOptions.
    pub options: CreateOptions,
    /// A lease: its key and the state wished for.
    pub lease: Option<(LeaseKey, LeaseState)>,
    /// Names this CREATE over all its replays.
    pub create_guid: Guid,
}

impl OpenPlan {
    /// Opens or creates a file for reading and writing, sharing both.
    #[must_use]
    pub fn read_write(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            desired_access: AccessMask::READ_DATA
                | AccessMask::WRITE_DATA
                | AccessMask::APPEND_DATA
                | AccessMask::READ_ATTRIBUTES
                | AccessMask::WRITE_ATTRIBUTES
                | AccessMask::READ_CONTROL
                | AccessMask::SYNCHRONIZE,
            share_access: ShareAccess::READ | ShareAccess::WRITE,
            disposition: CreateDisposition::OpenIf,
            options: CreateOptions::NON_DIRECTORY_FILE,
            lease: None,
            create_guid: Guid(random()),
        }
    }

    /// The same, deleting the file when it is closed.
    #[must_use]
    pub fn deleting(path: &str) -> Self {
        let plan = Self::read_write(path);
        Self {
            desired_access: AccessMask::DELETE | AccessMask::READ_ATTRIBUTES | AccessMask::SYNCHRONIZE,
            share_access: ShareAccess::ALL,
            disposition: CreateDisposition::Open,
            options: plan.options | CreateOptions::DELETE_ON_CLOSE,
            ..plan
        }
    }

    /// The CREATE without any context of durability.
    #[must_use]
    pub fn request(&self) -> CreateRequest {
        CreateRequest {
            desired_access: self.desired_access,
            file_attributes: FileAttributes::NORMAL,
            share_access: self.share_access,
            create_disposition: self.disposition,
            create_options: self.options,
            name: self.path.clone(),
            requested_oplock_level: if self.lease.is_some() { OPLOCK_LEVEL_LEASE } else { 0 },
            contexts: self.lease.map(|(key, state)| lease_context(key, HeldLease { state, epoch: 0 })).into_iter().collect(),
            ..CreateRequest::default()
        }
    }

    /// The CREATE that asks for a durable (`persistent`: persistent) handle.
    #[must_use]
    pub fn durable_request(&self, persistent: bool) -> CreateRequest {
        let mut request = self.request();
        request.contexts.push(RequestContext::DurableRequestV2(DurableRequestV2 {
            timeout_ms: u32::try_from(HANDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
            flags: if persistent { FLAG_PERSISTENT } else { 0 },
            create_guid: self.create_guid,
        }));
        request
    }

    /// The CREATE that asks for the handle back.
    // MS-SMB2 3.2.4.4: the original parameters, the lease as it is now, and DH2C instead of DH2Q.
    fn reclaim_request(&self, file_id: FileId, lease: Option<HeldLease>) -> CreateRequest {
        let mut request = self.request();
        request.contexts = self.lease.map(|(key, _)| lease_context(key, lease.unwrap_or_default())).into_iter().collect();
        request.contexts.push(RequestContext::DurableReconnectV2(DurableReconnectV2 {
            file_id,
            create_guid: self.create_guid,
            flags: FLAG_PERSISTENT,
        }));
        request
    }
}

fn lease_context(key: LeaseKey, held: HeldLease) -> RequestContext {
    let v2 = Some(LeaseV2 { parent_key: LeaseKey::ZERO, epoch: held.epoch });
    RequestContext::Lease(LeaseContext { key, state: held.state, flags: LeaseFlags::NONE, v2 })
}

/// A byte-range lock that this handle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldLock {
    /// First byte.
    pub offset: u64,
    /// Length.
    pub length: u64,
    /// Exclusive, or shared.
    pub exclusive: bool,
}

/// Who carried out an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedBy {
    /// Generation of the channel.
    pub generation: u64,
    /// The node's id.
    pub node_id: u64,
}

#[derive(Clone, Copy, Debug)]
struct Attached {
    generation: u64,
    file_id: FileId,
}

/// Locks held, and the lock sequence numbers last used.
#[derive(Debug, Default)]
struct Locks {
    held: Vec<HeldLock>,
    numbers: BTreeMap<u32, u8>,
    next_index: u32,
}

/// A persistent handle.
#[derive(Debug)]
pub struct PersistentFile {
    mount: Arc<Mount>,
    plan: OpenPlan,
    persistent_id: u64,
    /// The first CREATE's answer.
    pub created: CreateResponse,
    attached: tokio::sync::Mutex<Attached>,
    locks: Mutex<Locks>,
}

impl PersistentFile {
    /// Opens the file with a persistent handle; fails if the server grants less. A CREATE whose answer is lost is replayed.
    pub async fn open(mount: &Arc<Mount>, plan: OpenPlan) -> Result<Self, ClientError> {
        let mut attempts = Attempts::new(mount.options.retry, mount.options.patience);
        let request = plan.durable_request(true);
        let (channel, created) = loop {
            let channel = mount.channel().await?;
            let again = Try { replay: attempts.is_repeated(), channel_sequence: channel.sequence };
            match channel.tree.create(&request, again).await {
                Ok(created) => break (channel, created),
                Err(error) => sever_if_needed(&channel, attempts.failed(error).await?),
            };
        };
        if !durable_grant(&created).is_some_and(|d| d.is_persistent()) {
            return Err(ClientError::Protocol("handle is not persistent"));
        }
        remember_lease(mount, &created);
        let attached = Attached { generation: channel.generation, file_id: created.file_id };
        Ok(Self {
            mount: Arc::clone(mount),
            plan,
            persistent_id: created.file_id.persistent,
            created,
            attached: tokio::sync::Mutex::new(attached),
            locks: Mutex::new(Locks { next_index: 1, ..Locks::default() }),
        })
    }

    /// The half of the FileId that must never change.
    #[must_use]
    pub const fn persistent_id(&self) -> u64 {
        self.persistent_id
    }

    /// The mount it lives on.
    #[must_use]
    pub const fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A live channel with this handle attached to it.
    async fn ready(&self) -> Result<(Arc<Channel>, FileId), ClientError> {
        let channel = self.mount.channel().await?;
        let mut attached = self.attached.lock().await;
        if attached.generation != channel.generation {
            let file_id = self.reclaim(&channel, attached.file_id).await?;
            *attached = Attached { generation: channel.generation, file_id };
            self.mount.timeline.note(Event::Reclaimed { node: channel.node_id });
        }
        Ok((channel, attached.file_id))
    }

    /// One try to get the handle back on a new channel, and a look at whether it is the same one.
    async fn reclaim(&self, channel: &Channel, old: FileId) -> Result<FileId, ClientError> {
        let lease = self.plan.lease.and_then(|(key, _)| self.mount.lease(key));
        let request = self.plan.reclaim_request(old, lease);
        let again = Try { replay: false, channel_sequence: channel.sequence };
        let answer = channel.tree.create(&request, again).await?;
        let not = |because: String| Err(ClientError::NotResumed(because));
        if answer.file_id.persistent != self.persistent_id {
            return not(format!("id {:#x} became {:#x}", self.persistent_id, answer.file_id.persistent));
        }
        if answer.create_action != CreateAction::Opened {
            return not(format!("the server says {:?}", answer.create_action));
        }
        if self.plan.lease.is_some() != lease_grant(&answer).is_some() {
            return not("its lease came or went".to_owned());
        }
        remember_lease(&self.mount, &answer);
        let held = self.locks().held.clone();
        for lock in held.iter().filter(|l| l.exclusive) {
            self.probe(channel, answer.file_id, *lock).await?;
        }
        Ok(answer.file_id)
    }

    /// Checks that an exclusive lock is in force: even its owner cannot lock the range again.
    // MS-FSA 2.1.4.10: an exclusive request conflicts with any lock of the range, the same open's included.
    async fn probe(&self, channel: &Channel, file_id: FileId, lock: HeldLock) -> Result<(), ClientError> {
        let flags = LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY;
        let element = LockElement { offset: lock.offset, length: lock.length, flags };
        let again = Try { replay: false, channel_sequence: channel.sequence };
        match channel.tree.lock(file_id, &[element], (0, 0), again).await {
            Err(ClientError::Status { status: NtStatus::LOCK_NOT_GRANTED, .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(ClientError::NotResumed(format!("the lock on {}+{} was free", lock.offset, lock.length))),
        }
    }

    /// WRITE, repeated over any number of channels until it is acknowledged.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<ServedBy, ClientError> {
        let mut attempts = self.attempts();
        loop {
            let Some((channel, file_id)) = self.ready_or_wait(&mut attempts).await? else { continue };
            match channel.tree.write(file_id, offset, data.clone(), again(&channel, &attempts)).await {
                Ok(()) => return Ok(served_by(&channel)),
                Err(error) => sever_if_needed(&channel, attempts.failed(error).await?),
            };
        }
    }

    /// READ; empty at the end of the file.
    pub async fn read(&self, offset: u64, length: u32) -> Result<Bytes, ClientError> {
        let mut attempts = self.attempts();
        loop {
            let Some((channel, file_id)) = self.ready_or_wait(&mut attempts).await? else { continue };
            match channel.tree.read(file_id, offset, length, again(&channel, &attempts)).await {
                Ok(data) => return Ok(data),
                Err(error) => sever_if_needed(&channel, attempts.failed(error).await?),
            };
        }
    }

    /// FLUSH.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let mut attempts = self.attempts();
        loop {
            let Some((channel, file_id)) = self.ready_or_wait(&mut attempts).await? else { continue };
            match channel.tree.flush(file_id, again(&channel, &attempts)).await {
                Ok(()) => return Ok(()),
                Err(error) => sever_if_needed(&channel, attempts.failed(error).await?),
            };
        }
    }

    /// The file's sizes.
    pub async fn standard_information(&self) -> Result<FileStandardInformation, ClientError> {
        let mut attempts = self.attempts();
        loop {
            let Some((channel, file_id)) = self.ready_or_wait(&mut attempts).await? else { continue };
            match channel.tree.query_standard(file_id, again(&channel, &attempts)).await {
                Ok(information) => return Ok(information),
                Err(error) => sever_if_needed(&channel, attempts.failed(error).await?),
            };
        }
    }

    /// Locks a range; fails at once if somebody else has it.
    pub async fn lock(&self, lock: HeldLock) -> Result<(), ClientError> {
        let kind = if lock.exclusive { LockFlags::EXCLUSIVE } else { LockFlags::SHARED };
        self.change_lock(lock, kind | LockFlags::FAIL_IMMEDIATELY).await?;
        self.locks().held.push(lock);
        Ok(())
    }

    /// Unlocks a range that was locked exactly so.
    pub async fn unlock(&self, lock: HeldLock) -> Result<(), ClientError> {
        // From the first try on nobody knows whether it is still held, so no reclaim may insist on it.
        self.locks().held.retain(|l| *l != lock);
        self.change_lock(lock, LockFlags::UNLOCK).await
    }

    // MS-SMB2 3.2.4.19: the same index and number on every try, so that a lock that was carried out is not carried out twice.
    async fn change_lock(&self, lock: HeldLock, flags: LockFlags) -> Result<(), ClientError> {
        let sequence = {
            let mut locks = self.locks();
            let index = locks.next_index;
            locks.next_index = index % LOCK_INDEX_MAX + 1;
            let number = locks.numbers.entry(index).or_default();
            *number = (*number + 1) & 0xF;
            (index, *number)
        };
        let element = LockElement { offset: lock.offset, length: lock.length, flags };
        let mut attempts = self.attempts();
        loop {
            let Some((channel, file_id)) = self.ready_or_wait(&mut attempts).await? else { continue };
            match channel.tree.lock(file_id, &[element], sequence, again(&channel, &attempts)).await {
                Ok(()) => return Ok(()),
                Err(error) => sever_if_needed(&channel, attempts.failed(error).await?),
            };
        }
    }

    /// CLOSE; a handle that is gone when the answer was lost counts as closed.
    pub async fn close(&self) -> Result<(), ClientError> {
        let mut attempts = self.attempts();
        loop {
            let ready = match self.ready_or_wait(&mut attempts).await {
                Ok(ready) => ready,
                Err(error) if attempts.is_repeated() && error.status() == Some(NtStatus::OBJECT_NAME_NOT_FOUND) => return Ok(()),
                Err(error) => return Err(error),
            };
            let Some((channel, file_id)) = ready else { continue };
            match channel.tree.close(file_id, again(&channel, &attempts)).await {
                Ok(_) => return Ok(()),
                Err(error) if attempts.is_repeated() && error.status() == Some(NtStatus::FILE_CLOSED) => return Ok(()),
                Err(error) => sever_if_needed(&channel, attempts.failed(error).await?),
            };
        }
    }

    fn attempts(&self) -> Attempts {
        Attempts::new(self.mount.options.retry, self.mount.options.patience)
    }

    /// `ready`, or None after a wait when that may help.
    async fn ready_or_wait(&self, attempts: &mut Attempts) -> Result<Option<(Arc<Channel>, FileId)>, ClientError> {
        match self.ready().await {
            Ok(ready) => Ok(Some(ready)),
            Err(error) => {
                attempts.failed(error).await?;
                Ok(None)
            }
        }
    }
}

fn again(channel: &Channel, attempts: &Attempts) -> Try {
    Try { replay: attempts.is_repeated(), channel_sequence: channel.sequence }
}

fn served_by(channel: &Channel) -> ServedBy {
    ServedBy { generation: channel.generation, node_id: channel.node_id }
}

fn sever_if_needed(channel: &Channel, remedy: super::error::Remedy) {
    if remedy == super::error::Remedy::Reconnect {
        channel.tree.session.connection.sever();
    }
}

fn remember_lease(mount: &Mount, response: &CreateResponse) {
    if let Some(lease) = lease_grant(response) {
        let held = HeldLease { state: lease.state, epoch: lease.v2.map_or(0, |v| v.epoch) };
        mount.leases.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.key, held);
    }
}
