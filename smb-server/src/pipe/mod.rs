//! The pipes of IPC$: `srvsvc`, `wkssvc` and `epmapper` over the RPC runtime, fed by WRITE, READ and FSCTL_PIPE_TRANSCEIVE.
//!
//! Knows nothing of NDR; the services are the runtime's, the shares come from the records.

mod in_use;
mod provider;

use std::{sync::Arc, time::Duration};

use dcerpc_rs::{
    EndpointMap, Identity, InterfaceSet, PipeAssociation, PipeRead, SyntaxId,
    epm::{Endpoint, EndpointMapper, Place},
    interface::{
        mgmt::managed,
        srvsvc::{SRVSVC, Srvsvc},
        wkssvc::{WKSSVC, Wkssvc},
    },
    pipe::PipeConfig,
};
use smb_types::NtStatus;

use crate::{
    error::Refusal,
    receive::RequestContext,
    state::{Pipe, Server},
};
use in_use::InUse;
use provider::Provider;

/// A read that finds nothing for this long becomes asynchronous.
// MS-SMB2 3.3.4.2
const PATIENCE: Duration = Duration::from_millis(20);

/// The services behind pipes: pipe, interface, and what the endpoint mapper says about it.
const SERVICES: [(&str, SyntaxId, &str); 2] = [("srvsvc", SRVSVC, "server service"), ("wkssvc", WKSSVC, "workstation service")];
/// The pipe of the endpoint mapper.
const MAPPER: &str = "epmapper";

/// Tells whether a pipe of this name can be opened.
pub(crate) fn is_served(server: &Server, name: &str) -> bool {
    let is = |served: &str| served.eq_ignore_ascii_case(name);
    SERVICES.iter().any(|(pipe, ..)| is(pipe)) || (is(MAPPER) && server.endpoints.get().is_some())
}

/// Tells the endpoint mapper of the services behind this server's pipes.
pub(crate) fn announce(server: &Server, map: &EndpointMap) {
    let host = format!(r"\\{}", server.config.server_name);
    for (pipe, interface, annotation) in SERVICES {
        let place = Place::Pipe { pipe: format!(r"\pipe\{pipe}"), host: host.clone() };
        map.insert(Endpoint { interface, place, annotation: annotation.to_owned() });
    }
}

/// What is behind the pipe; made at its first use.
pub(crate) fn association<'a>(ctx: &RequestContext, pipe: &'a Pipe) -> &'a PipeAssociation {
    pipe.association.get_or_init(|| {
        let provider = Arc::new(Provider::new(&ctx.server));
        let services = match (pipe.name.as_str(), ctx.server.endpoints.get()) {
            (MAPPER, Some(map)) => managed(EndpointMapper::new(Arc::clone(map)).into()),
            ("wkssvc", _) => InterfaceSet::new().with(Arc::new(Wkssvc::new(provider))),
            _ => InterfaceSet::new().with(Arc::new(Srvsvc::with_uses(provider, Arc::new(InUse::new(&ctx.server))))),
        };
        let user = ctx.session.as_ref().and_then(|session| session.user());
        let identity = user.map(|user| {
            Arc::new(Identity {
                user: user.name.clone(),
                domain: ctx.server.config.domain_name.clone(),
                is_anonymous: user.is_anonymous,
                is_administrator: is_administrator(ctx),
            })
        });
        PipeAssociation::new(PipeConfig {
            identity,
            peer: Some(ctx.connection.peer),
            local: Some(ctx.connection.local),
            security: ctx.server.pipe_security.get().cloned(),
            groups: Arc::clone(&ctx.server.pipe_groups),
            ..PipeConfig::new(&pipe.name, services)
        })
    })
}

/// Tells whether the client may administer the server.
fn is_administrator(ctx: &RequestContext) -> bool {
    let Some(session) = &ctx.session else { return false };
    ctx.server.token(session).is_ok_and(|token| token.is_administrator())
}

/// Gives the service what a client has written.
///
/// # Errors
/// PIPE_DISCONNECTED after a violation of the RPC protocol, or when the client reads nothing.
pub(crate) fn write(ctx: &RequestContext, pipe: &Pipe, bytes: &[u8]) -> Result<(), Refusal> {
    association(ctx, pipe).write(bytes).map_err(|_| closed())
}

/// Takes what the service has answered; waits for it if need be.
///
/// # Errors
/// PIPE_DISCONNECTED, CANCELLED, FILE_CLOSED.
pub(crate) async fn read(ctx: &mut RequestContext, open: &crate::state::Open, pipe: &Pipe, count_max: usize) -> Result<PipeRead, Refusal> {
    let association = association(ctx, pipe);
    if tokio::time::timeout(PATIENCE, association.readable()).await.is_err() {
        ctx.go_async().await?;
    }
    let cancelled = ctx.cancelled();
    tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(Refusal::new(NtStatus::CANCELLED, "cancelled while it waited")),
        () = open.ended.cancelled() => Err(Refusal::new(NtStatus::FILE_CLOSED, "the pipe was closed")),
        read = association.read_when_ready(count_max) => read.map_err(|_| closed()),
    }
}

fn closed() -> Refusal {
    Refusal::new(NtStatus::PIPE_DISCONNECTED, "the service has ended the conversation")
}
