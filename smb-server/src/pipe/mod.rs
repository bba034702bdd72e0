//! The pipes of IPC$: `srvsvc` and `wkssvc` over the RPC runtime, fed by WRITE, READ and FSCTL_PIPE_TRANSCEIVE.
//!
//! Knows nothing of NDR; the services are the runtime's, the shares come from the records.

mod provider;

use std::{sync::Arc, time::Duration};

use dcerpc_rs::{
    Identity, Interface, InterfaceSet, PipeAssociation, PipeRead,
    interface::{srvsvc::Srvsvc, wkssvc::Wkssvc},
    pipe::PipeConfig,
};
use smb_types::NtStatus;

use crate::{error::Refusal, receive::RequestContext, state::Pipe};
use provider::Provider;

/// A read that finds nothing for this long becomes asynchronous.
// MS-SMB2 3.3.4.2
const PATIENCE: Duration = Duration::from_millis(20);

/// Pipes that have a service behind them.
pub const SERVED: [&str; 2] = ["srvsvc", "wkssvc"];

/// Tells whether a pipe of this name can be opened.
#[must_use]
pub fn is_served(name: &str) -> bool {
    SERVED.iter().any(|served| served.eq_ignore_ascii_case(name))
}

/// What is behind the pipe; made at its first use.
pub(crate) fn association<'a>(ctx: &RequestContext, pipe: &'a Pipe) -> &'a PipeAssociation {
    pipe.association.get_or_init(|| {
        let provider = Arc::new(Provider::new(&ctx.server));
        let service: Arc<dyn Interface> = match pipe.name.as_str() {
            "wkssvc" => Arc::new(Wkssvc::new(provider)),
            _ => Arc::new(Srvsvc::new(provider)),
        };
        let user = ctx.session.as_ref().and_then(|session| session.user());
        let identity = user.map(|user| {
            Arc::new(Identity {
                user: user.name.clone(),
                domain: ctx.server.config.domain_name.clone(),
                is_anonymous: user.is_anonymous,
                is_administrator: false,
            })
        });
        PipeAssociation::new(PipeConfig {
            identity,
            peer: Some(ctx.connection.peer),
            local: Some(ctx.connection.local),
            security: ctx.server.pipe_security.get().cloned(),
            groups: Arc::clone(&ctx.server.pipe_groups),
            ..PipeConfig::new(&pipe.name, InterfaceSet::new().with(service))
        })
    })
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
