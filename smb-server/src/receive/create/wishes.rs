//! A CREATE request taken apart: every field checked by itself, the contexts checked against each other.
//!
//! Knows nothing of files and records.

use persistence_model::{AppInstance, ReclaimKind, RequestedDurability, RequestedLease, RequestedOplock};
use smb_backend::Ea;
use smb_proto::{
    context::{CreateContexts, LeaseContext, MaximalAccessRequest},
    message::{create::CreateRequest, negotiate::Capabilities},
};
use smb_types::{AccessMask, CreateDisposition, CreateGuid, CreateOptions, FileAttributes, NtStatus, OplockLevel, ShareAccess};

use super::target::Target;
use crate::{
    access::resolve,
    error::Refusal,
    state::{Negotiated, TreeConnect},
};

/// Attributes that a CREATE may carry.
const ATTRIBUTES_KNOWN: u32 = 0x7FB7;
/// CreateOptions that are nobody's.
const OPTIONS_UNKNOWN: u32 = 0xFF00_0000;
/// CreateOptions that are not served: opening by id, opportunistic filters, tree connections.
const OPTIONS_NOT_SUPPORTED: u32 = 0x0010_2080;
/// Highest impersonation level ("delegate").
const IMPERSONATION_MAX: u32 = 3;

/// DHnC or DH2C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reconnect {
    /// FileId.Persistent of the lost handle.
    pub(super) persistent: u64,
    /// Which context, and what it says.
    pub(super) kind: ReclaimKind,
}

/// What a CREATE wants.
#[derive(Debug, Clone)]
pub(super) struct Wishes {
    pub(super) target: Target,
    /// DesiredAccess as sent.
    pub(super) desired_access: AccessMask,
    /// With generic rights replaced; may have MAXIMUM_ALLOWED.
    pub(super) access: AccessMask,
    pub(super) share_access: ShareAccess,
    pub(super) disposition: CreateDisposition,
    pub(super) options: CreateOptions,
    pub(super) attributes: FileAttributes,
    pub(super) oplock: RequestedOplock,
    /// RqLs as sent, if it counts.
    pub(super) lease: Option<LeaseContext>,
    pub(super) durability: RequestedDurability,
    pub(super) create_guid: Option<CreateGuid>,
    pub(super) app_instance: Option<AppInstance>,
    pub(super) reconnect: Option<Reconnect>,
    pub(super) allocation: u64,
    pub(super) eas: Vec<Ea>,
    pub(super) security_descriptor: Option<Vec<u8>>,
    pub(super) maximal_access: Option<MaximalAccessRequest>,
    pub(super) on_disk_id: bool,
    /// A directory lease may be granted on this connection.
    directory_leases: bool,
}

impl Wishes {
    /// Reads a request.
    ///
    /// # Errors
    /// Whatever status the first thing that is wrong deserves.
    // MS-SMB2 3.3.5.9
    pub(super) fn read(request: &CreateRequest, negotiated: &Negotiated, tree: &TreeConnect) -> Result<Self, Refusal> {
        let contexts = request.sorted_contexts();
        check_combinations(&contexts)?;
        let reconnect = reconnect(&contexts, negotiated, tree);
        let target = Target::parse(&request.name)?;
        if reconnect.is_none() {
            check_fields(request)?;
        }
        // A reconnect carries any remains of the old request; they are not looked at.
        let access = if reconnect.is_some() { AccessMask::NONE } else { resolve(request.desired_access)? };
        if reconnect.is_none() {
            check_options(request.create_options, access, request.create_disposition, &target, request.file_attributes)?;
        }
        if contexts.time_warp.is_some_and(|warp| warp.timestamp.0 != 0) {
            return Err(Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "no previous versions are kept"));
        }
        let lease = lease(request, &contexts, negotiated);
        let mut options = request.create_options;
        if tree.share.is_ca && negotiated.dialect.is_3x() {
            // MS-SMB2 3.3.5.9
            // What a continuously available share has answered must survive.
            options |= CreateOptions::WRITE_THROUGH;
        }
        Ok(Self {
            target,
            desired_access: request.desired_access,
            access,
            share_access: request.share_access,
            disposition: request.create_disposition,
            options,
            attributes: request.file_attributes,
            oplock: oplock(request, lease.as_ref()),
            lease,
            durability: durability(&contexts, negotiated, tree),
            create_guid: contexts.durable_request_v2.filter(|_| negotiated.dialect.is_3x()).map(|context| context.create_guid),
            app_instance: app_instance(&contexts, negotiated),
            reconnect,
            allocation: contexts.allocation_size.map_or(0, |context| context.bytes),
            eas: eas(&contexts)?,
            security_descriptor: contexts.security_descriptor.map(|context| context.to_bytes()),
            maximal_access: contexts.maximal_access.copied(),
            on_disk_id: contexts.on_disk_id.is_some(),
            directory_leases: negotiated.has(Capabilities::DIRECTORY_LEASING),
        })
    }

    /// What may be cached of a file, or of a directory.
    // MS-SMB2 3.3.5.9.8, 3.3.5.9.11
    // Directories get leases of version 2 only, and no plain oplock.
    pub(super) fn oplock_for(&self, is_directory: bool) -> RequestedOplock {
        match self.oplock {
            RequestedOplock::Lease(lease) if is_directory && !(self.directory_leases && lease.version == 2) => RequestedOplock::None,
            RequestedOplock::Level(_) if is_directory => RequestedOplock::None,
            other => other,
        }
    }

    /// Tells whether the file may be changed by opening it.
    pub(super) fn overwrites(&self) -> bool {
        self.disposition.overwrites()
    }
}

/// Which contexts may stand beside each other.
// MS-SMB2 3.3.5.9.7, 3.3.5.9.10, 3.3.5.9.12
fn check_combinations(contexts: &CreateContexts<'_>) -> Result<(), Refusal> {
    let (v1_new, v1_old) = (contexts.durable_request.is_some(), contexts.durable_reconnect.is_some());
    let (v2_new, v2_old) = (contexts.durable_request_v2.is_some(), contexts.durable_reconnect_v2.is_some());
    if v2_new && (v1_new || v1_old || v2_old) {
        return Err(Refusal::invalid("DH2Q beside another durable context"));
    }
    if v2_old && (v1_new || v1_old) {
        return Err(Refusal::invalid("DH2C beside another durable context"));
    }
    if !v1_old && !v2_old {
        return Ok(());
    }
    // Beside a reconnect only the lease counts, and DHnQ beside DHnC; anything else has no old handle to belong to.
    let stray = contexts.ea_buffer.is_some()
        || contexts.security_descriptor.is_some()
        || contexts.allocation_size.is_some()
        || contexts.time_warp.is_some();
    if stray {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "a reconnect with contexts of a new file"));
    }
    Ok(())
}

fn reconnect(contexts: &CreateContexts<'_>, negotiated: &Negotiated, tree: &TreeConnect) -> Option<Reconnect> {
    if let Some(context) = contexts.durable_reconnect_v2.filter(|_| negotiated.dialect.is_3x()) {
        let persistent = context.is_persistent();
        let by_create_guid = persistent && tree.share.is_ca && negotiated.has(Capabilities::PERSISTENT_HANDLES);
        let kind = ReclaimKind::V2 { create_guid: context.create_guid, persistent, by_create_guid };
        return Some(Reconnect { persistent: context.file_id.persistent, kind });
    }
    contexts.durable_reconnect.map(|context| Reconnect { persistent: context.file_id.persistent, kind: ReclaimKind::V1 })
}

fn check_fields(request: &CreateRequest) -> Result<(), Refusal> {
    if request.impersonation_level > IMPERSONATION_MAX {
        return Err(Refusal::new(NtStatus::BAD_IMPERSONATION_LEVEL, "ImpersonationLevel"));
    }
    if request.share_access.0 & !ShareAccess::ALL.0 != 0 {
        return Err(Refusal::invalid("ShareAccess has unknown bits"));
    }
    if request.file_attributes.0 & !ATTRIBUTES_KNOWN != 0 {
        return Err(Refusal::invalid("FileAttributes has unknown bits"));
    }
    Ok(())
}

// MS-FSA 2.1.5.1
fn check_options(
    options: CreateOptions,
    access: AccessMask,
    disposition: CreateDisposition,
    target: &Target,
    attributes: FileAttributes,
) -> Result<(), Refusal> {
    if options.0 & OPTIONS_UNKNOWN != 0 {
        return Err(Refusal::invalid("CreateOptions has unknown bits"));
    }
    if options.0 & OPTIONS_NOT_SUPPORTED != 0 {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "CreateOptions asks for what is not served"));
    }
    if options.contains(CreateOptions::DIRECTORY_FILE) {
        if options.contains(CreateOptions::NON_DIRECTORY_FILE) {
            return Err(Refusal::invalid("a directory and no directory at once"));
        }
        if disposition.overwrites() {
            return Err(Refusal::invalid("directories cannot be overwritten"));
        }
        if attributes.contains(FileAttributes::TEMPORARY) && disposition == CreateDisposition::Create {
            return Err(Refusal::invalid("directories cannot be temporary"));
        }
        if target.stream.is_some() || target.data_type {
            return Err(Refusal::new(NtStatus::NOT_A_DIRECTORY, "a stream is no directory"));
        }
    }
    if target.trailing_separator && options.contains(CreateOptions::NON_DIRECTORY_FILE) {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_INVALID, "a file's name does not end with a separator"));
    }
    if options.contains(CreateOptions::DELETE_ON_CLOSE) && !access.intersects(AccessMask::DELETE | AccessMask::MAXIMUM_ALLOWED) {
        return Err(Refusal::invalid("DELETE_ON_CLOSE without DELETE"));
    }
    Ok(())
}

/// The lease context, if it counts.
// MS-SMB2 3.3.5.9
// Only with level 0xFF; on 2.1 version 1 only; earlier dialects have no leases.
fn lease(request: &CreateRequest, contexts: &CreateContexts<'_>, negotiated: &Negotiated) -> Option<LeaseContext> {
    // A reconnect speaks of the lease it has, whatever level it asks for.
    let reconnects = contexts.durable_reconnect.is_some() || contexts.durable_reconnect_v2.is_some();
    let context = contexts.lease.filter(|_| (reconnects || request.requests_lease()) && negotiated.has(Capabilities::LEASING))?;
    (negotiated.dialect.is_3x() || context.v2.is_none()).then_some(*context)
}

fn oplock(request: &CreateRequest, lease: Option<&LeaseContext>) -> RequestedOplock {
    match (request.oplock_level(), lease) {
        (Some(OplockLevel::None), _) | (None, None) => RequestedOplock::None,
        (Some(level), _) => RequestedOplock::Level(level),
        (None, Some(lease)) => RequestedOplock::Lease(RequestedLease {
            key: lease.key,
            state: lease.state,
            parent_key: lease.parent_key(),
            epoch: lease.v2.map_or(0, |v2| v2.epoch),
            version: lease.version(),
        }),
    }
}

// MS-SMB2 3.3.5.9.6, 3.3.5.9.10
fn durability(contexts: &CreateContexts<'_>, negotiated: &Negotiated, tree: &TreeConnect) -> RequestedDurability {
    if let Some(context) = contexts.durable_request_v2.filter(|_| negotiated.dialect.is_3x()) {
        let timeout_ms = context.timeout_ms;
        let persistent = context.is_persistent() && tree.share.is_ca && negotiated.has(Capabilities::PERSISTENT_HANDLES);
        return if persistent { RequestedDurability::Persistent { timeout_ms } } else { RequestedDurability::V2 { timeout_ms } };
    }
    if contexts.durable_request.is_some() { RequestedDurability::V1 } else { RequestedDurability::None }
}

// MS-SMB2 3.3.5.9.13, 3.3.5.9.15
fn app_instance(contexts: &CreateContexts<'_>, negotiated: &Negotiated) -> Option<AppInstance> {
    let id = contexts.app_instance_id.filter(|_| negotiated.dialect.is_3x())?.id;
    let version = contexts.app_instance_version.filter(|_| negotiated.dialect == smb_types::Dialect::Smb311);
    Some(AppInstance { id, version: version.map(|version| (version.high, version.low)) })
}

fn eas(contexts: &CreateContexts<'_>) -> Result<Vec<Ea>, Refusal> {
    let Some(buffer) = contexts.ea_buffer else { return Ok(Vec::new()) };
    let ea = |full: &smb_proto::info::full_ea::FullEa| {
        let name =
            String::from_utf8(full.name.clone()).map_err(|_| Refusal::new(NtStatus::EA_LIST_INCONSISTENT, "the name of an attribute"))?;
        Ok(Ea { name, value: full.value.clone() })
    };
    buffer.attributes.iter().map(ea).collect()
}
