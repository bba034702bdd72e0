//! The CREATE response and its contexts (MS-SMB2 2.2.14).

use persistence_model::{Durability, Grant, RequestedOplock};
use smb_backend::Metadata;
use smb_proto::{
    context::{
        DurableResponse, DurableResponseV2, LeaseContext, LeaseFlags, LeaseV2, MaximalAccessRequest, MaximalAccessResponse,
        OnDiskIdResponse, ResponseContext, dh2q,
    },
    message::create::{CreateAction, CreateResponse, OPLOCK_LEVEL_LEASE},
};
use smb_types::{AccessMask, FileId, NtStatus, OplockLevel};

use super::wishes::Wishes;
use crate::{send::Response, state::TreeConnect};

/// What the response tells.
pub(super) struct Reply<'a> {
    pub(super) grant: &'a Grant,
    pub(super) file_id: FileId,
    pub(super) metadata: &'a Metadata,
    pub(super) tree: &'a TreeConnect,
    /// What the user may do at most with the file; asked for by MxAc.
    pub(super) maximal_access: AccessMask,
}

/// Makes the response. A reconnect's has no contexts but the lease.
pub(super) fn created(wishes: &Wishes, reply: &Reply<'_>) -> Response {
    let Reply { grant, file_id, metadata, .. } = *reply;
    let response = CreateResponse {
        oplock_level: oplock_level(wishes, grant),
        flags: 0,
        create_action: CreateAction::from_wire(grant.create_action.to_wire()).unwrap_or_default(),
        creation_time: metadata.creation,
        last_access_time: metadata.last_access,
        last_write_time: metadata.last_write,
        change_time: metadata.change,
        allocation_size: metadata.allocation,
        end_of_file: metadata.size,
        file_attributes: metadata.attributes,
        file_id,
        contexts: contexts(wishes, reply),
    };
    Response::success(|out| response.encode(out))
}

/// windows: a replay that asks for less than its elder is told no more than it asks for.
fn oplock_level(wishes: &Wishes, grant: &Grant) -> u8 {
    match wishes.oplock {
        _ if grant.lease.is_some() => OPLOCK_LEVEL_LEASE,
        RequestedOplock::Level(asked) => grant.oplock.min(asked).to_wire(),
        RequestedOplock::None if wishes.reconnect.is_none() => OplockLevel::None.to_wire(),
        RequestedOplock::None | RequestedOplock::Lease(_) => grant.oplock.to_wire(),
    }
}

fn contexts(wishes: &Wishes, reply: &Reply<'_>) -> Vec<ResponseContext> {
    let mut contexts = Vec::new();
    if wishes.reconnect.is_none() {
        if let Some(request) = &wishes.maximal_access {
            contexts.push(ResponseContext::MaximalAccess(maximal_access(request, reply)));
        }
        contexts.extend(durable(reply.grant));
    }
    contexts.extend(lease(wishes, reply.grant));
    if wishes.on_disk_id {
        let id = OnDiskIdResponse { disk_file_id: reply.metadata.key.inode, volume_id: reply.tree.share.volume };
        contexts.push(ResponseContext::OnDiskId(id));
    }
    contexts
}

// MS-SMB2 3.3.5.9.5
// A client that has seen the file as it is now needs no answer.
fn maximal_access(request: &MaximalAccessRequest, reply: &Reply<'_>) -> MaximalAccessResponse {
    if request.timestamp.is_some_and(|seen| seen.0 != 0 && seen == reply.metadata.change) {
        return MaximalAccessResponse { query_status: NtStatus::NONE_MAPPED, maximal_access: AccessMask::NONE };
    }
    // windows: the right to audit is not among them, whoever asks.
    MaximalAccessResponse { query_status: NtStatus::SUCCESS, maximal_access: reply.maximal_access & AccessMask::FILE_ALL }
}

// MS-SMB2 3.3.5.9.6, 3.3.5.9.10
fn durable(grant: &Grant) -> Option<ResponseContext> {
    let durable = grant.durable?;
    match durable.kind {
        Durability::V1 => Some(ResponseContext::Durable(DurableResponse)),
        Durability::V2 => Some(ResponseContext::DurableV2(DurableResponseV2 { timeout_ms: durable.timeout_ms, flags: 0 })),
        Durability::Persistent => {
            Some(ResponseContext::DurableV2(DurableResponseV2 { timeout_ms: durable.timeout_ms, flags: dh2q::FLAG_PERSISTENT }))
        }
        Durability::None | Durability::Resilient => None,
    }
}

// MS-SMB2 3.3.5.9.8, 3.3.5.9.11
fn lease(wishes: &Wishes, grant: &Grant) -> Option<ResponseContext> {
    let lease = grant.lease?;
    let parent = wishes.lease.as_ref().and_then(LeaseContext::parent_key);
    let mut flags = LeaseFlags::NONE;
    if lease.break_in_progress {
        flags |= LeaseFlags::BREAK_IN_PROGRESS;
    }
    let v2 = (lease.version == 2).then(|| {
        if parent.is_some() {
            flags |= LeaseFlags::PARENT_LEASE_KEY_SET;
        }
        LeaseV2 { parent_key: parent.unwrap_or_default(), epoch: lease.epoch }
    });
    Some(ResponseContext::Lease(LeaseContext { key: lease.id.key, state: lease.state, flags, v2 }))
}
