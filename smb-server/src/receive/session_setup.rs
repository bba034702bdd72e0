//! SESSION_SETUP: a user logs on, binds a further connection, or proves itself anew (MS-SMB2 3.3.5.5).

use std::sync::Arc;

use parking_lot::Mutex;
use persistence_model::{Command, Outcome, Rejection, SessionId, User as UserRecord};
use smb_auth::{
    Acceptor, Account, LogonKind, NonceSequence, NtHash, PreauthHash, Role, SessionKeys, SigningKey, Step, keys::channel_signing_key,
    spnego::Accepted,
};
use smb_proto::message::{
    negotiate::{Capabilities, SecurityMode},
    session_setup::{SessionFlags, SessionSetupRequest, SessionSetupResponse},
};
use smb_types::{Dialect, NtStatus, Sid};
use tokio::time::Instant;

use super::RequestContext;
use crate::{
    clock::random,
    error::Refusal,
    failed_logons::{Answer, Claimant, Logged},
    limits::Limit,
    loss, metrics as names,
    send::{Response, response::SignWith},
    state::{
        Channel, Security, Server, Session, SessionState, User,
        session::{Authentication, Sealing},
    },
    store::StoreExt as _,
};

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = SessionSetupRequest::decode(&ctx.message)?;
    let session_id = SessionId(ctx.header.session_id);
    if request.is_binding() {
        return bind(ctx, &request, session_id).await;
    }
    if session_id.0 == 0 {
        let session = begin(ctx, &request)?;
        return first(ctx, &request, session).await;
    }
    let session =
        ctx.connection.session(session_id).ok_or(Refusal::new(NtStatus::USER_SESSION_DELETED, "no such session on this connection"))?;
    match session.state() {
        SessionState::InProgress => first(ctx, &request, session).await,
        SessionState::Valid | SessionState::Expired => renew(ctx, &request, session).await,
    }
}

/// Makes a session whose first authentication begins.
// MS-SMB2 3.3.5.5.1
fn begin(ctx: &RequestContext, request: &SessionSetupRequest) -> Result<Arc<Session>, Refusal> {
    let negotiated = ctx.negotiated();
    if ctx.server.settings().encryption_required && negotiated.cipher.is_none() {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "this server demands encryption and the client has none"));
    }
    if ctx.connection.session_count() >= ctx.server.config.limits.sessions_per_connection {
        ctx.server.refused(Limit::SessionsPerConnection, ctx.connection.peer.ip());
        return Err(Refusal::new(NtStatus::INSUFFICIENT_RESOURCES, "too many sessions on this connection"));
    }
    let place = ctx.server.begin_logon(&ctx.connection)?;
    let session = Arc::new(Session::new(ctx.server.next_session_id(), negotiated.client_guid, Arc::clone(negotiated)));
    let authentication = Authentication {
        acceptor: Acceptor::new(Arc::clone(&ctx.server.acceptor)),
        preauth: *ctx.connection.preauth.lock(),
        is_binding: false,
        previous_session_id: request.previous_session_id,
        claimed: None,
        place,
    };
    session.authentications.lock().insert(ctx.connection.connection_id, authentication);
    ctx.connection.add_session(Arc::clone(&session));
    Ok(session)
}

/// One leg of a session's first authentication. Any failure removes the session.
async fn first(ctx: &mut RequestContext, request: &SessionSetupRequest, session: Arc<Session>) -> Result<Response, Refusal> {
    let result = first_leg(ctx, request, &session).await;
    if result.is_err() {
        ctx.connection.remove_session(session.session_id);
        metrics::counter!(names::LOGONS, "result" => "refused").increment(1);
    }
    result.map(|mut response| {
        response.session_id = Some(session.session_id.0);
        response
    })
}

async fn first_leg(ctx: &mut RequestContext, request: &SessionSetupRequest, session: &Arc<Session>) -> Result<Response, Refusal> {
    let mut authentication = take(ctx, session)?;
    if session.dialect == Dialect::Smb311 {
        authentication.preauth.update(&ctx.message);
    }
    match step(ctx, &mut authentication, &request.security_buffer).await? {
        Step::Continue(token) => {
            let mut response = more(&token);
            response.sign = SignWith::Nothing;
            response.hash_into = (session.dialect == Dialect::Smb311).then(|| (Arc::clone(session), ctx.connection.connection_id));
            session.authentications.lock().insert(ctx.connection.connection_id, authentication);
            Ok(response)
        }
        Step::Done(accepted) => establish(ctx, request, session, &accepted, &authentication).await,
    }
}

/// The logon has succeeded: keys, record, tables.
// MS-SMB2 3.3.5.5.3
async fn establish(
    ctx: &mut RequestContext,
    request: &SessionSetupRequest,
    session: &Arc<Session>,
    accepted: &Accepted,
    authentication: &Authentication,
) -> Result<Response, Refusal> {
    let user = user_of(authentication, accepted)?;
    let negotiated = Arc::clone(&session.negotiated);
    // Nobody's keys are known to everybody: nothing is demanded of them, but a client may use them.
    let anonymous = user.is_anonymous;
    let keys = SessionKeys::derive(session.dialect, &accepted.session_key, &authentication.preauth, negotiated.cipher);
    let signing_key = Arc::new(keys.signing_key(negotiated.signing));
    let wants_signing = (request.security_mode | negotiated.client_security_mode).contains(SecurityMode::SIGNING_REQUIRED);
    let sealing = keys.cipher.as_ref().map(|cipher| Sealing {
        encryption: cipher.encryption(Role::Server),
        decryption: cipher.decryption(Role::Server),
        nonces: NonceSequence::new(random()),
    });
    open_record(ctx, session, &user, authentication.previous_session_id).await?;
    let settings = ctx.server.settings();
    let encrypt_data = !anonymous && settings.encryption_required && sealing.is_some();
    tracing::debug!(user = user.name, session = session.session_id.0, peer = %ctx.connection.peer, "logged on");
    session.establish(
        user,
        Security {
            keys,
            signing_required: !anonymous && (wants_signing || settings.signing_required),
            encrypt_data,
            signing_key: Arc::clone(&signing_key),
            sealing,
        },
    );
    session.add_channel(Channel { connection_id: ctx.connection.connection_id, signing_key: Arc::clone(&signing_key) });
    if !anonymous {
        ctx.connection.set_proved();
    }
    ctx.server.add_session(Arc::clone(session));
    metrics::gauge!(names::SESSIONS).increment(1.0);
    // What ended the user, or this very session, before it was in the tables found none to end.
    let is_known = ctx.server.store.with_state(|state| state.session(session.session_id).is_some());
    if !is_known || !session.user().is_some_and(|user| ctx.server.stands(&user)) {
        if ctx.server.remove_session(session.session_id).is_some() {
            loss::end_session(&ctx.server, session, persistence_model::DisconnectReason::Logoff).await;
        }
        return Err(Refusal::new(NtStatus::LOGON_FAILURE, "the user was shut out, or has another password, meanwhile"));
    }
    ctx.session = Some(Arc::clone(session));
    metrics::counter!(names::LOGONS, "result" => "accepted").increment(1);
    let mut response = done(session, &accepted.token);
    // MS-SMB2 3.3.5.5.3
    // The final response is signed whether or not signing is required: it proves the key.
    response.sign = if anonymous { SignWith::Nothing } else { SignWith::Proof(signing_key) };
    Ok(response)
}

/// Tells the records of the session; the previous one of the same user ends by that.
// MS-SMB2 3.3.5.5.3
// Another user's previous session, or an unknown one, is ignored silently.
async fn open_record(ctx: &RequestContext, session: &Session, user: &User, previous: u64) -> Result<(), Refusal> {
    let command = Command::SessionOpen {
        session: session.session_id,
        node: ctx.server.store.node(),
        incarnation: ctx.server.store.incarnation(),
        client_guid: session.client_guid,
        user: user.sid.clone(),
        user_name: user.name.clone(),
        client_address: ctx.connection.peer.to_string(),
        previous_session: (previous != 0 && previous != session.session_id.0).then_some(SessionId(previous)),
    };
    let earlier = ctx.server.session(SessionId(previous)).filter(|earlier| earlier.user().is_some_and(|owner| owner.sid == user.sid));
    if let Some(earlier) = &earlier {
        loss::quiesce(&ctx.server, earlier).await;
    }
    let outcome = ctx.server.propose(command).await;
    if let Some(earlier) = earlier {
        loss::end_session(&ctx.server, &earlier, persistence_model::DisconnectReason::Logoff).await;
    }
    match outcome {
        Ok(Outcome::SessionOpened { .. }) => Ok(()),
        Ok(Outcome::Rejected(Rejection::ClientBlocked)) => Err(Refusal::new(NtStatus::ACCESS_DENIED, "the client's address is blocked")),
        Ok(_) => Err(Refusal::new(NtStatus::SERVER_UNAVAILABLE, "the records do not take the session")),
        Err(_) => Err(Refusal::new(NtStatus::SERVER_UNAVAILABLE, "the records cannot be reached")),
    }
}

/// One leg of a renewal: keys stay, the proof is new and may be another user's. Failure removes the whole session.
// MS-SMB2 3.3.5.5.2
async fn renew(ctx: &mut RequestContext, request: &SessionSetupRequest, session: Arc<Session>) -> Result<Response, Refusal> {
    let security = session.security().ok_or(Refusal::new(NtStatus::USER_SESSION_DELETED, "the session is not set up"))?;
    let connection_id = ctx.connection.connection_id;
    let key = session.signing_key(connection_id);
    if ctx.bad_signature || (security.signing_required && !ctx.signed && !ctx.is_encrypted()) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "a renewal with a bad or missing signature"));
    }
    ctx.session = Some(Arc::clone(&session));
    let under_way = session.authentications.lock().remove(&connection_id);
    let mut authentication = match under_way {
        Some(authentication) => authentication,
        None => Authentication {
            acceptor: Acceptor::new(Arc::clone(&ctx.server.acceptor)),
            preauth: PreauthHash::START,
            is_binding: false,
            previous_session_id: 0,
            claimed: None,
            place: ctx.server.begin_logon(&ctx.connection)?,
        },
    };
    let sign = |response: &mut Response| response.sign = key.clone().map_or(SignWith::Nothing, SignWith::Key);
    match step(ctx, &mut authentication, &request.security_buffer).await {
        Ok(Step::Continue(token)) => {
            session.authentications.lock().insert(connection_id, authentication);
            let mut response = more(&token);
            sign(&mut response);
            Ok(response)
        }
        outcome => {
            let refusal = match outcome.and_then(|step| renewed(ctx, step, &authentication, &session)) {
                Ok(mut response) => {
                    // MS-SMB2 3.3.5.5.3
                    response.sign = key.clone().map_or(SignWith::Nothing, SignWith::Proof);
                    return Ok(response);
                }
                Err(refusal) => refusal,
            };
            ctx.connection.remove_session(session.session_id);
            if ctx.server.remove_session(session.session_id).is_some() {
                loss::end_session(&ctx.server, &session, persistence_model::DisconnectReason::Logoff).await;
            }
            let mut response = Response::refused(&refusal, Some(session.dialect));
            sign(&mut response);
            Ok(response)
        }
    }
}

/// The renewal has succeeded. Opens stay whoever has proved himself: they belong to the session.
fn renewed(ctx: &RequestContext, step: Step, authentication: &Authentication, session: &Session) -> Result<Response, Refusal> {
    let Step::Done(accepted) = step else { return Err(Refusal::new(NtStatus::LOGON_FAILURE, "the renewal is not finished")) };
    let user = user_of(authentication, &accepted)?;
    session.set_user(user.clone());
    // Looked at after it is the session's user: from then on an event of the user finds it.
    if !ctx.server.stands(&user) {
        return Err(Refusal::new(NtStatus::LOGON_FAILURE, "the user was shut out, or has another password, meanwhile"));
    }
    session.set_state(SessionState::Valid);
    Ok(done(session, &accepted.token))
}

/// One leg of a binding: the session gets a further channel.
// MS-SMB2 3.3.5.5
async fn bind(ctx: &mut RequestContext, request: &SessionSetupRequest, session_id: SessionId) -> Result<Response, Refusal> {
    let session = find_bindable(ctx, session_id)?;
    // Only who has the session's key gets a refusal signed with it.
    let key = session
        .signing_key(ctx.connection.connection_id)
        .or_else(|| session.security().map(|security| Arc::clone(&security.signing_key)))
        .filter(|key| ctx.header.is_signed() && !ctx.is_encrypted() && key.verify_shared(&ctx.message, Role::Client));
    let proved = key.is_some() || ctx.is_encrypted();
    let result = match check_bindable(ctx, &session, proved) {
        Ok(()) => {
            let result = bind_leg(ctx, request, &session).await;
            if result.is_err() {
                session.authentications.lock().remove(&ctx.connection.connection_id);
            }
            result
        }
        Err(refusal) => Err(refusal),
    };
    let mut response = match result {
        Ok(response) => response,
        Err(refusal) => {
            tracing::debug!(status = %refusal.status, because = refusal.because, "binding refused");
            let mut response = Response::refused(&refusal, ctx.connection.dialect());
            response.sign = key.map_or(SignWith::Nothing, SignWith::Key);
            response
        }
    };
    response.session_id = Some(session_id.0);
    Ok(response)
}

fn find_bindable(ctx: &RequestContext, session_id: SessionId) -> Result<Arc<Session>, Refusal> {
    let refuse = |status, because| Err(Refusal::new(status, because));
    let Some(session) = ctx.server.session(session_id).or_else(|| ctx.connection.session(session_id)) else {
        // A session of another node cannot be joined here; USER_SESSION_DELETED would make the client give it up.
        let elsewhere = ctx.server.store.with_state(|state| state.session(session_id).is_some());
        let status = if elsewhere { NtStatus::REQUEST_NOT_ACCEPTED } else { NtStatus::USER_SESSION_DELETED };
        return refuse(status, "no such session on this node");
    };
    Ok(session)
}

/// The checks before a binding, in the order in which clients' tests expect their statuses.
fn check_bindable(ctx: &RequestContext, session: &Session, proved: bool) -> Result<(), Refusal> {
    let refuse = |status, because| Err(Refusal::new(status, because));
    let negotiated = ctx.negotiated();
    let gmac = |negotiated: &crate::state::Negotiated| negotiated.signing == smb_auth::SigningAlgorithm::AesGmac;
    match (gmac(&session.negotiated), gmac(negotiated)) {
        (true, false) => return refuse(NtStatus::REQUEST_OUT_OF_SEQUENCE, "the session signs with GMAC, the connection does not"),
        (false, true) => return refuse(NtStatus::NOT_SUPPORTED, "the connection signs with GMAC, the session does not"),
        _ => {}
    }
    if !negotiated.dialect.is_3x() || !negotiated.has(Capabilities::MULTI_CHANNEL) {
        return refuse(NtStatus::REQUEST_NOT_ACCEPTED, "multichannel was not negotiated");
    }
    if !ctx.header.is_signed() && !ctx.is_encrypted() {
        return refuse(NtStatus::INVALID_PARAMETER, "a binding must be signed");
    }
    if session.dialect != negotiated.dialect || session.negotiated.cipher != negotiated.cipher {
        return refuse(NtStatus::INVALID_PARAMETER, "dialect or cipher differ from the session's");
    }
    if session.client_guid != negotiated.client_guid {
        return refuse(NtStatus::USER_SESSION_DELETED, "another client's session");
    }
    match session.state() {
        SessionState::InProgress => return refuse(NtStatus::REQUEST_NOT_ACCEPTED, "the session is not set up yet"),
        SessionState::Expired => return refuse(NtStatus::NETWORK_SESSION_EXPIRED, "the session has expired"),
        SessionState::Valid => {}
    }
    if session.is_anonymous() {
        return refuse(NtStatus::NOT_SUPPORTED, "an anonymous session has one channel only");
    }
    if session.channel(ctx.connection.connection_id).is_some() {
        return refuse(NtStatus::REQUEST_NOT_ACCEPTED, "this connection is a channel already");
    }
    if !proved {
        return refuse(NtStatus::ACCESS_DENIED, "a binding with a bad signature");
    }
    if session.channel_count() >= ctx.server.config.limits.channels_per_session {
        ctx.server.refused(Limit::ChannelsPerSession, ctx.connection.peer.ip());
        return refuse(NtStatus::INSUFFICIENT_RESOURCES, "too many channels");
    }
    Ok(())
}

async fn bind_leg(ctx: &mut RequestContext, request: &SessionSetupRequest, session: &Arc<Session>) -> Result<Response, Refusal> {
    let connection_id = ctx.connection.connection_id;
    let security = session.security().ok_or(Refusal::new(NtStatus::REQUEST_NOT_ACCEPTED, "the session is not set up yet"))?;
    let under_way = session.authentications.lock().remove(&connection_id);
    let mut authentication = match under_way {
        Some(authentication) => authentication,
        None => Authentication {
            acceptor: Acceptor::new(Arc::clone(&ctx.server.acceptor)),
            // The hash starts from the new connection's, not from the session's.
            preauth: *ctx.connection.preauth.lock(),
            is_binding: true,
            previous_session_id: 0,
            claimed: None,
            place: ctx.server.begin_logon(&ctx.connection)?,
        },
    };
    if session.dialect == Dialect::Smb311 {
        authentication.preauth.update(&ctx.message);
    }
    match step(ctx, &mut authentication, &request.security_buffer).await? {
        Step::Continue(token) => {
            let mut response = more(&token);
            // Until the channel has its own key, the session's signs.
            response.sign = SignWith::Key(Arc::clone(&security.signing_key));
            response.hash_into = (session.dialect == Dialect::Smb311).then(|| (Arc::clone(session), connection_id));
            session.authentications.lock().insert(connection_id, authentication);
            Ok(response)
        }
        Step::Done(accepted) => {
            let user = user_of(&authentication, &accepted)?;
            if session.user().is_none_or(|owner| owner.sid != user.sid) {
                return Err(Refusal::new(NtStatus::ACCESS_DENIED, "a binding by another user"));
            }
            if session.is_ended() {
                return Err(Refusal::new(NtStatus::USER_SESSION_DELETED, "the session ended meanwhile"));
            }
            let secret = channel_signing_key(session.dialect, &accepted.session_key, &authentication.preauth);
            let key = Arc::new(SigningKey::new(ctx.negotiated().signing, &secret));
            session.add_channel(Channel { connection_id, signing_key: Arc::clone(&key) });
            ctx.connection.set_proved();
            ctx.connection.add_session(Arc::clone(session));
            ctx.session = Some(Arc::clone(session));
            let mut response = done(session, &accepted.token);
            response.sign = SignWith::Proof(key);
            Ok(response)
        }
    }
}

/// Takes the conversation out of the table; a second request meanwhile finds none.
fn take(ctx: &RequestContext, session: &Session) -> Result<Authentication, Refusal> {
    let taken = session.authentications.lock().remove(&ctx.connection.connection_id);
    taken.ok_or(Refusal::new(NtStatus::REQUEST_NOT_ACCEPTED, "another leg of this logon is under way"))
}

/// One leg of a conversation. Whoever names an account waits for his answer, whatever it is, if he has failed before.
async fn step(ctx: &mut RequestContext, authentication: &mut Authentication, token: &[u8]) -> Result<Step, Refusal> {
    let named = Mutex::new(None);
    let lookup = |user: &str, _domain: &str| {
        let record = ctx.server.store.with_state(|state| state.user_by_name(user).cloned());
        let account = record.as_ref().map(|record| Account { nt_hash: NtHash::from_bytes(record.nt_hash), disabled: record.disabled });
        *named.lock() = Some((Claimant::new(user, ctx.connection.peer.ip()), record));
        account
    };
    let result = authentication.acceptor.step(token, random(), ctx.server.clock.now(), &lookup);
    let Some((claimant, record)) = named.into_inner() else {
        return result.map_err(|error| {
            tracing::debug!(%error, peer = %ctx.connection.peer, "logon failed");
            Refusal::new(error.status(), "the logon failed")
        });
    };
    authentication.claimed = record.as_ref().map(|record| User {
        sid: record.sid.clone(),
        name: record.name.clone(),
        is_anonymous: false,
        generation: record.generation,
    });
    let result = match (result, record.as_ref().is_some_and(|record| record.is_locked_out())) {
        // windows: who is locked out hears that whatever his password is; so the right one cannot be found meanwhile.
        (_, true) => Err((NtStatus::ACCOUNT_LOCKED_OUT, "account is locked out".to_owned())),
        (result, false) => result.map_err(|error| (error.status(), error.to_string())),
    };
    let answer = ctx.server.failed_logons.answer(&claimant, Instant::now());
    match &result {
        Ok(_) if matches!(answer, Answer::Never) => {}
        Ok(_) => succeeded(ctx, &claimant, record.as_ref()),
        Err((_, because)) => failed(ctx, &claimant, record.as_ref(), because),
    }
    match answer {
        Answer::AtOnce => {}
        Answer::At(at, _permit) => {
            metrics::counter!(names::LOGONS_DELAYED).increment(1);
            let cancelled = ctx.cancelled();
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = cancelled.cancelled() => return Err(Refusal::new(NtStatus::CANCELLED, "cancelled while the answer to a logon waited")),
            }
        }
        Answer::Never => return Err(Refusal::new(NtStatus::LOGON_FAILURE, "too many logons wait for their answers")),
    }
    result.map_err(|(status, _)| Refusal::new(status, "the logon failed"))
}

/// Says and counts that a logon failed. Nobody waits for the records: an account that is there must not take longer than one that is not.
fn failed(ctx: &RequestContext, who: &Claimant, record: Option<&UserRecord>, because: &str) {
    let server = &ctx.server;
    if let Logged::Yes(left_out) = server.failed_logons.failed(who, Instant::now()) {
        let (user, address) = (&who.user, who.address);
        tracing::warn!(?user, %address, because, left_out, "logon refused: if this goes on, somebody may be guessing passwords");
    }
    metrics::counter!(names::LOGON_FAILURES, "reason" => reason(record)).increment(1);
    let counts = server.settings().lockout_threshold > 0;
    let Some(record) = record.filter(|record| counts && !record.is_locked_out()) else { return };
    to_records(server, Command::LogonFailed { name: record.name.clone() });
}

fn reason(record: Option<&UserRecord>) -> &'static str {
    match record {
        None => "unknown-user",
        Some(record) if record.is_locked_out() => "locked-out",
        Some(record) if record.disabled => "disabled",
        Some(_) => "wrong-password",
    }
}

fn succeeded(ctx: &RequestContext, who: &Claimant, record: Option<&UserRecord>) {
    ctx.server.failed_logons.succeeded(who, Instant::now());
    if let Some(record) = record.filter(|record| record.failures.count > 0) {
        to_records(&ctx.server, Command::LogonSucceeded { name: record.name.clone() });
    }
}

fn to_records(server: &Arc<Server>, command: Command) {
    let Ok(permit) = Arc::clone(&server.failures_to_count).try_acquire_owned() else { return };
    let server = Arc::clone(server);
    tokio::spawn(async move {
        if let Err(refusal) = server.propose(command).await {
            tracing::debug!(because = refusal.because, "a logon is not counted for lockouts");
        }
        drop(permit);
    });
}

/// Whose logon it was.
fn user_of(authentication: &Authentication, accepted: &Accepted) -> Result<User, Refusal> {
    match accepted.identity.kind {
        LogonKind::Anonymous => Ok(User { sid: Sid::anonymous(), name: String::new(), is_anonymous: true, generation: 0 }),
        LogonKind::Guest => Err(Refusal::new(NtStatus::LOGON_FAILURE, "guests are not served")),
        LogonKind::User => authentication.claimed.clone().ok_or(Refusal::new(NtStatus::LOGON_FAILURE, "no account was named")),
    }
}

fn more(token: &[u8]) -> Response {
    let body = SessionSetupResponse { session_flags: SessionFlags::NONE, security_buffer: token.to_vec() };
    Response::encode(NtStatus::MORE_PROCESSING_REQUIRED, |out| body.encode(out))
}

fn done(session: &Session, token: &[u8]) -> Response {
    let mut flags = SessionFlags::NONE;
    if let Some(security) = session.security() {
        if session.is_anonymous() {
            flags |= SessionFlags::IS_NULL;
        }
        if security.encrypt_data {
            flags |= SessionFlags::ENCRYPT_DATA;
        }
    }
    let body = SessionSetupResponse { session_flags: flags, security_buffer: token.to_vec() };
    Response::success(|out| body.encode(out))
}
