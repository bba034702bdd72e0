//! TREE_CONNECT: a session begins to use a share (MS-SMB2 3.3.5.7).

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use persistence_model::NodeState;
use smb_proto::message::{
    error_response::{ERROR_ID_SHARE_REDIRECT, REDIRECT_ADDRESSES_MAX, ShareRedirect},
    negotiate::Capabilities,
    tree_connect::{ShareCapabilities, ShareFlags, ShareType, TreeConnectFlags, TreeConnectRequest, TreeConnectResponse},
};
use smb_types::{AccessMask, Dialect, NtStatus};

use super::RequestContext;
use crate::{
    error::Refusal,
    limits::Limit,
    send::Response,
    state::{Negotiated, Server, Share, TreeConnect},
    store::StoreExt as _,
};

/// What IPC$ offers at most: reading, writing and waiting on pipes.
const PIPE_ACCESS: AccessMask = AccessMask(0x0012_019F);

/// Answers the request.
// MS-SMB2 3.3.5.7
// The server part of the path is any name of the cluster and is not compared.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = TreeConnectRequest::decode(&ctx.message)?;
    let session = Arc::clone(ctx.session()?);
    let security = session.security().ok_or(Refusal::new(NtStatus::USER_SESSION_DELETED, "the session is not set up"))?;
    if !request.path.starts_with("\\\\") || request.share_name().is_empty() {
        return Err(Refusal::new(NtStatus::BAD_NETWORK_NAME, "the path is not \\\\server\\share"));
    }
    if session.tree_count() >= ctx.server.config.limits.trees_per_session {
        ctx.server.refused(Limit::TreesPerSession, ctx.connection.peer.ip());
        return Err(Refusal::new(NtStatus::INSUFFICIENT_RESOURCES, "too many tree connects"));
    }
    let is_ipc = request.share_name().eq_ignore_ascii_case("IPC$");
    if session.is_anonymous() && !is_ipc {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "anonymous reaches IPC$ only"));
    }
    // Without a leader this node's share list may be old, and nothing could be opened; the client shall come again.
    if !is_ipc && !ctx.server.store.has_leader() {
        return Err(Refusal::new(NtStatus::SHARE_UNAVAILABLE, "no leader is known"));
    }
    let share = ctx.server.share(request.share_name())?;
    // MS-SMB2 3.3.5.7
    // An encrypted share is closed to those who cannot encrypt.
    if share.encrypt_data && security.sealing.is_none() {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the share demands encryption and the client has none"));
    }
    // Before 3.1.1 the field is reserved.
    let may_redirect = ctx.negotiated().dialect == Dialect::Smb311 && request.flags.contains(TreeConnectFlags::REDIRECT_TO_OWNER);
    if may_redirect && let Some(refusal) = redirect(&ctx.server, &share) {
        return Err(refusal);
    }
    let maximal_access = match share.rules() {
        None => PIPE_ACCESS,
        Some(rules) => rules.maximal(ctx.server.token(&session)?.as_ref(), ctx.connection.peer.ip()) & AccessMask::FILE_ALL,
    };
    if maximal_access.is_empty() {
        tracing::info!(share = share.name, peer = %ctx.connection.peer, "a client is refused by the share's own rules");
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the share does not let this user, or this address, in"));
    }
    let response = TreeConnectResponse {
        share_type: if share.is_ipc() { ShareType::Pipe } else { ShareType::Disk },
        share_flags: flags(&share),
        capabilities: capabilities(ctx.negotiated(), &share, ctx.server.config.announce_cluster, may_redirect),
        maximal_access,
    };
    let encrypt_data = share.encrypt_data;
    let now = ctx.server.clock.instant();
    let tree = Arc::new(TreeConnect::new(session.next_tree_id(), share, maximal_access, encrypt_data, now));
    session.add_tree(Arc::clone(&tree));
    let mut reply = Response::success(|out| response.encode(out));
    reply.tree_id = Some(tree.tree_id);
    // Related requests go on with the tree; this response itself need not be encrypted for it.
    ctx.chain.tree = Some(tree);
    Ok(reply)
}

/// What the share demands, and how it lists.
// MS-SMB2 3.3.5.7
fn flags(share: &Share) -> ShareFlags {
    let mut flags = ShareFlags::NONE;
    if share.encrypt_data {
        flags |= ShareFlags::ENCRYPT_DATA;
    }
    if share.rules().is_some_and(|rules| rules.access_based_enumeration) {
        flags |= ShareFlags::ACCESS_BASED_DIRECTORY_ENUM;
    }
    flags
}

/// Sends a client to the node that owns the share, if that is another one and it serves: whoever is sent away must find a server there.
// MS-SMB2 3.3.5.7, 2.2.2.2.2
fn redirect(server: &Server, share: &Share) -> Option<Refusal> {
    if !share.is_asymmetric {
        return None;
    }
    let own = server.store.node();
    let addresses: BTreeSet<IpAddr> = server.store.with_state(|state| {
        let owner = state.share(share.share_id).and_then(|record| state.node(record.owner?));
        let owner = owner.filter(|node| node.id != own && node.state == NodeState::Up);
        owner.into_iter().flat_map(|node| &node.addresses.smb).map(|address| address.ip().to_canonical()).collect()
    });
    if addresses.is_empty() {
        return None;
    }
    let to = ShareRedirect { resource_name: share.name.clone(), addresses: addresses.into_iter().take(REDIRECT_ADDRESSES_MAX).collect() };
    let refusal = Refusal::with_data(NtStatus::BAD_NETWORK_NAME, "another node owns the share", to.to_bytes());
    Some(Refusal { error_id: ERROR_ID_SHARE_REDIRECT, ..refusal })
}

/// Capabilities of the share on this connection.
// MS-SMB2 3.3.5.7
// The share's promise and the connection's capability are told consistently: CA only where persistent handles were negotiated.
fn capabilities(negotiated: &Negotiated, share: &Share, announce_cluster: bool, may_redirect: bool) -> ShareCapabilities {
    let mut capabilities = ShareCapabilities::NONE;
    if !negotiated.dialect.is_3x() || share.is_ipc() {
        return capabilities;
    }
    if share.is_ca && negotiated.has(Capabilities::PERSISTENT_HANDLES) {
        capabilities |= ShareCapabilities::CONTINUOUS_AVAILABILITY;
    }
    if announce_cluster && (share.is_ca || share.is_scaleout) {
        capabilities |= ShareCapabilities::CLUSTER;
    }
    if share.is_scaleout {
        capabilities |= ShareCapabilities::SCALEOUT;
    }
    if share.is_asymmetric && negotiated.dialect >= Dialect::Smb302 {
        capabilities |= ShareCapabilities::ASYMMETRIC;
    }
    if share.is_asymmetric && may_redirect {
        capabilities |= ShareCapabilities::REDIRECT_TO_OWNER;
    }
    capabilities
}
