//! One message from the socket to its response: signatures, then element after element through the checks of MS-SMB2 3.3.5.2.
//!
//! Knows nothing of the commands' meaning.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use persistence_model::SessionId;
use smb_auth::{Role, SigningKey};
use smb_proto::{Command, HEADER_SIZE, Header, HeaderFlags, Routing};
use smb_types::{Dialect, NtStatus};
use tokio::sync::OwnedSemaphorePermit;

use super::{RequestContext, context::Chain, dispatch};
use crate::{
    error::{Disconnect, Refusal},
    metrics as names,
    send::{
        Response,
        response::SignWith,
        seal::{self, Outgoing},
    },
    state::{Connection, Request, Server, Session, SessionState},
};

/// How often a held request looks whether the node may answer again.
const HOLD_POLL: Duration = Duration::from_millis(10);
/// "The session is not set up yet" as Windows says it (SEC_E_INVALID_TOKEN's neighbour in NTSTATUS form).
const SESSION_IN_PROGRESS: NtStatus = NtStatus(0x8009_0302);

/// One element of a message, with its entry in the request table.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) header: Header,
    pub(crate) range: Range<usize>,
    pub(crate) request: Arc<Request>,
}

/// A message as the reader hands it over: decrypted, its ids taken from the window.
#[derive(Debug)]
pub(crate) struct Received {
    /// From the first SMB2 header on.
    pub(crate) bytes: BytesMut,
    pub(crate) elements: Vec<Element>,
    /// The session whose keys decrypted it.
    pub(crate) decrypted_by: Option<Arc<Session>>,
}

/// What became of an element's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    Absent,
    Good,
    Bad,
}

/// Answers one message. The connection ends if it deserves that.
pub(crate) async fn serve(server: Arc<Server>, connection: Arc<Connection>, received: Received, permit: Option<OwnedSemaphorePermit>) {
    let requests: Vec<Arc<Request>> = received.elements.iter().map(|element| Arc::clone(&element.request)).collect();
    if let Err(because) = answer(&server, &connection, received, permit).await {
        connection.disconnect(because);
    }
    for request in requests {
        connection.remove_request(&request);
    }
}

async fn answer(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    received: Received,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<(), Disconnect> {
    let Received { mut bytes, elements, decrypted_by } = received;
    let signatures = verify(connection, &mut bytes, &elements, decrypted_by.as_ref());
    let bytes = bytes.freeze();
    let last = elements.len().saturating_sub(1);
    let mut ctx: Option<RequestContext> = None;
    let mut permit = permit;
    for (index, (element, signature)) in elements.into_iter().zip(signatures).enumerate() {
        let message = bytes.slice(element.range);
        // MS-SMB2 3.3.5.2.7.1
        // An unrelated request takes nothing over from those before it, and neither do those related to it.
        let unrelated = !element.header.is_related();
        let mut current = match ctx.take() {
            None => {
                let sealed_by = decrypted_by.clone();
                new_context(server, connection, element.header, element.request, message, sealed_by, permit.take())
            }
            Some(earlier) => RequestContext {
                header: element.header,
                request: element.request,
                message,
                session: None,
                tree: None,
                counted: None,
                ..earlier
            },
        };
        if unrelated {
            current.chain = Chain::default();
        }
        current.is_first = index == 0;
        current.is_last = index == last;
        current.signed = signature == Signature::Good;
        current.bad_signature = signature == Signature::Bad;
        one(&mut current, signature).await?;
        ctx = Some(current);
    }
    let Some(mut ctx) = ctx else { return Ok(()) };
    let finished = std::mem::take(&mut ctx.finished);
    if finished.is_empty() {
        return Ok(());
    }
    // MS-SMB2 3.3.4.1.4
    // The message decides, not its elements. Where encryption is demanded, plain requests get no further than a plain refusal.
    let frame = seal::frame(finished, decrypted_by.as_deref())?;
    // A connection that has gone needs no answer.
    let _ = connection.send(frame).await;
    Ok(())
}

fn new_context(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    header: Header,
    request: Arc<Request>,
    message: Bytes,
    sealed_by: Option<Arc<Session>>,
    permit: Option<OwnedSemaphorePermit>,
) -> RequestContext {
    RequestContext {
        server: Arc::clone(server),
        connection: Arc::clone(connection),
        session: None,
        tree: None,
        header,
        message,
        request,
        sealed_by,
        signed: false,
        bad_signature: false,
        is_first: true,
        is_last: true,
        chain: Chain::default(),
        finished: Vec::new(),
        counted: None,
        permit,
        doom: None,
    }
}

/// Answers one element and queues its response behind those before it.
async fn one(ctx: &mut RequestContext, signature: Signature) -> Result<(), Disconnect> {
    let started = ctx.server.clock.instant();
    let command = ctx.header.command;
    hold(ctx).await?;
    let admitted = admit(ctx, signature)?;
    // The key is kept from before the handler: LOGOFF takes the session away and is signed all the same.
    let key = response_key(ctx);
    let result = match admitted {
        Ok(()) => dispatch(ctx).await,
        Err(refusal) => Err(refusal),
    };
    if let Some(because) = ctx.doom.take() {
        return Err(because);
    }
    let response = match result {
        Ok(response) => response,
        Err(refusal) if refusal.status == NtStatus::CONNECTION_DISCONNECTED => return Err(Disconnect::because(refusal.because)),
        Err(refusal) => {
            tracing::debug!(command = command.name(), status = %refusal.status, because = refusal.because, "refused");
            Response::refused(&refusal, ctx.connection.dialect())
        }
    };
    if command == Command::Create && response.status.is_error() {
        ctx.chain.failed = Some(response.status);
        ctx.chain.file_id = None;
    }
    if response.status.is_error() {
        metrics::counter!(names::REFUSALS, "status" => response.status.name().unwrap_or("other")).increment(1);
    }
    ctx.chain.session = ctx.session.clone().or(ctx.chain.session.take());
    ctx.chain.tree = ctx.tree.clone().or(ctx.chain.tree.take());
    // Nothing is said while another node may already speak for this one.
    hold(ctx).await?;
    ctx.counted = None;
    queue(ctx, response, key);
    metrics::counter!(names::REQUESTS, "command" => command.name()).increment(1);
    metrics::histogram!(names::REQUEST_SECONDS, "command" => command.name())
        .record(ctx.server.clock.instant().duration_since(started).as_secs_f64());
    Ok(())
}

/// Makes the response header and puts the response behind those of earlier elements.
fn queue(ctx: &mut RequestContext, response: Response, key: Option<Arc<SigningKey>>) {
    let async_id = ctx.request.async_id();
    // MS-SMB2 3.3.1.2
    // The interim response has granted the credits already.
    let credits = if async_id.is_some() { 0 } else { ctx.connection.window.lock().grant(ctx.header.credits) };
    let mut header = ctx.header.response(response.status, credits);
    header.session_id =
        response.session_id.or_else(|| ctx.session.as_ref().map(|session| session.session_id.0)).unwrap_or(ctx.header.session_id);
    match async_id {
        Some(async_id) => header.routing = Routing::Async { async_id },
        None => {
            let tree_id = response.tree_id.or_else(|| ctx.tree.as_ref().map(|tree| tree.tree_id)).unwrap_or_else(|| ctx.header.tree_id());
            header.set_tree_id(tree_id);
        }
    }
    let is_proof = matches!(response.sign, SignWith::Proof(_));
    let key = match &response.sign {
        SignWith::Session => key,
        SignWith::Key(key) | SignWith::Proof(key) => Some(Arc::clone(key)),
        SignWith::Nothing => None,
    };
    // windows: a signed request that is refused before its key is known gets its own signature back; clients look for the flag.
    if key.is_none() && response.status.is_error() && ctx.header.is_signed() {
        header.flags |= HeaderFlags::SIGNED;
        header.signature = ctx.header.signature;
    }
    ctx.finished.push(Outgoing { header, response, key, is_proof });
}

/// The key that signs the response by the session's rules.
// MS-SMB2 3.3.4.1.1
// Signed when the request was, or when the session demands it; error responses without a session cannot be.
fn response_key(ctx: &RequestContext) -> Option<Arc<SigningKey>> {
    let session = ctx.session.as_ref()?;
    let security = session.security()?;
    if !ctx.signed && !security.signing_required {
        return None;
    }
    session.signing_key(ctx.connection.connection_id)
}

/// Waits while this node has no right to answer; ends the connection if that lasts too long.
async fn hold(ctx: &RequestContext) -> Result<(), Disconnect> {
    let store = &ctx.server.store;
    if store.lease_valid() {
        return Ok(());
    }
    metrics::counter!(names::HELD).increment(1);
    let until = tokio::time::Instant::now() + ctx.server.config.lease_hold;
    while !store.lease_valid() {
        if tokio::time::Instant::now() >= until {
            return Err(Disconnect::because("this node may not answer clients now"));
        }
        tokio::select! {
            () = tokio::time::sleep(HOLD_POLL) => {}
            () = ctx.connection.ended.cancelled() => return Err(Disconnect::because("the connection ended")),
        }
    }
    Ok(())
}

/// The session an element is about: its own, or that of the element before.
fn session_id_of(header: &Header, before: u64, is_first: bool) -> u64 {
    if header.is_related() && !is_first { before } else { header.session_id }
}

/// Checks the signatures of all elements in place, while the message is not shared yet.
// MS-SMB2 3.3.5.2.4
// An encrypted message is authentic by its tag. A signature is checked even where none is needed.
fn verify(connection: &Connection, bytes: &mut BytesMut, elements: &[Element], decrypted_by: Option<&Arc<Session>>) -> Vec<Signature> {
    let mut session_id = 0;
    let mut signatures = Vec::with_capacity(elements.len());
    for (index, element) in elements.iter().enumerate() {
        session_id = session_id_of(&element.header, session_id, index == 0);
        let signature = if decrypted_by.is_some() || !element.header.is_signed() {
            Signature::Absent
        } else {
            let key = connection.session(SessionId(session_id)).and_then(|session| session.signing_key(connection.connection_id));
            match key {
                Some(key) if key.verify(&mut bytes[element.range.clone()], Role::Client) => Signature::Good,
                _ => Signature::Bad,
            }
        };
        signatures.push(signature);
    }
    signatures
}

/// The checks every request passes before its handler, in the order of the specification.
// MS-SMB2 3.3.5.2.4, 3.3.5.2.7, 3.3.5.2.9, 3.3.5.2.11
fn admit(ctx: &mut RequestContext, signature: Signature) -> Result<Result<(), Refusal>, Disconnect> {
    let command = ctx.header.command;
    let related = ctx.header.is_related();
    if related && ctx.is_first {
        return Ok(Err(Refusal::invalid("the first request of a compound cannot be related")));
    }
    if ctx.message.len() < HEADER_SIZE + 2 {
        return Ok(Err(Refusal::invalid("no body")));
    }
    if command == Command::Unknown {
        return Ok(Err(Refusal::invalid("no such command")));
    }
    if let (Some(opener), false) = (&ctx.sealed_by, related) {
        // MS-SMB2 3.3.5.2.1.1
        if ctx.header.session_id != opener.session_id.0 && ctx.header.session_id != 0 {
            return Err(Disconnect::because("an encrypted request names another session than its envelope"));
        }
    }
    // SESSION_SETUP finds and checks its session itself.
    if command == Command::SessionSetup {
        return Ok(Ok(()));
    }
    let session = if related { ctx.chain.session.clone() } else { ctx.connection.session(SessionId(ctx.header.session_id)) };
    // An operator, or the user's end, may have ended it while a request of its message was under way.
    let is_ended = session.as_ref().is_some_and(|session| session.is_ended());
    let session = session.filter(|_| !is_ended);
    let Some(session) = session else {
        if command == Command::Echo {
            return Ok(Ok(()));
        }
        let status = if related && !is_ended { NtStatus::INVALID_PARAMETER } else { NtStatus::USER_SESSION_DELETED };
        return Ok(Err(Refusal::new(status, "no such session on this connection")));
    };
    ctx.session = Some(Arc::clone(&session));
    if let Err(refusal) = check_signature(ctx, &session, signature)? {
        return Ok(Err(refusal));
    }
    Ok(check_session(ctx, &session).and_then(|()| find_tree(ctx, &session)))
}

fn check_signature(ctx: &RequestContext, session: &Session, signature: Signature) -> Result<Result<(), Refusal>, Disconnect> {
    let denied = |because| Ok(Err(Refusal::new(NtStatus::ACCESS_DENIED, because)));
    let Some(security) = session.security() else { return Ok(Ok(())) };
    match signature {
        Signature::Good => Ok(Ok(())),
        Signature::Bad => denied("bad signature"),
        Signature::Absent if ctx.is_encrypted() => Ok(Ok(())),
        Signature::Absent => {
            // MS-SMB2 3.3.5.7
            // On 3.1.1 a real user's TREE_CONNECT proves the negotiation; without a proof somebody may have meddled with it.
            if ctx.header.command == Command::TreeConnect && session.dialect == Dialect::Smb311 && !session.is_anonymous() {
                return Err(Disconnect::because("TREE_CONNECT neither signed nor encrypted"));
            }
            if security.signing_required { denied("not signed") } else { Ok(Ok(())) }
        }
    }
}

fn check_session(ctx: &RequestContext, session: &Session) -> Result<(), Refusal> {
    let command = ctx.header.command;
    let spared = matches!(command, Command::Logoff | Command::Close | Command::Lock);
    match session.state() {
        SessionState::Valid => {}
        SessionState::InProgress if spared => {}
        SessionState::InProgress => return Err(Refusal::new(SESSION_IN_PROGRESS, "the session is not set up yet")),
        // MS-SMB2 3.3.5.2.9
        SessionState::Expired if spared => {}
        SessionState::Expired => return Err(Refusal::new(NtStatus::NETWORK_SESSION_EXPIRED, "authenticate again first")),
    }
    let encrypt = session.security().is_some_and(|security| security.encrypt_data);
    if encrypt && !ctx.is_encrypted() {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the session demands encryption"));
    }
    Ok(())
}

fn find_tree(ctx: &mut RequestContext, session: &Session) -> Result<(), Refusal> {
    if matches!(ctx.header.command, Command::Logoff | Command::TreeConnect | Command::Echo) {
        return Ok(());
    }
    // Acknowledgements of lease breaks may come without a tree.
    let optional = ctx.header.command == Command::OplockBreak;
    let related = ctx.header.is_related();
    let tree = if related { ctx.chain.tree.clone() } else { session.tree(ctx.header.tree_id()) };
    let Some(tree) = tree else {
        if optional {
            return Ok(());
        }
        let status = if related { NtStatus::INVALID_PARAMETER } else { NtStatus::NETWORK_NAME_DELETED };
        return Err(Refusal::new(status, "no such tree in this session"));
    };
    let encrypt = tree.encrypt_data;
    // A renewal may have made somebody a nobody: the trees stay, and what is open; nothing new is opened.
    let barred = ctx.header.command == Command::Create && session.is_anonymous() && !tree.share.is_ipc();
    ctx.tree = Some(tree);
    if barred {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "anonymous reaches IPC$ only"));
    }
    // MS-SMB2 3.3.5.2.11
    if encrypt && !ctx.is_encrypted() {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the share demands encryption"));
    }
    Ok(())
}
