//! Authentication, roles and the audit of changes.
//!
//! Over the socket the kernel identifies the peer: root and the node's own user are operators. All
//! other callers present a token, which is a record of the cluster. Layers around the routes check
//! the token if there is one (else 401, delayed), the role that the route needs (else 401 or 403),
//! and the size and speed of the body of a change. The audit line of a change is written before its
//! answer is sent, and also when the client disconnects before that.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use persistence_model::{AdminRole, AdminToken};

use super::{Admin, Problem, listen::canonical, problem::ErrorText, token};
use crate::audit::{AuditResult, Entry, Origin, redacted};

/// Delay of the answer to an invalid token.
const INVALID_TOKEN_DELAY: Duration = Duration::from_millis(500);
/// Log lines about invalid tokens per minute.
pub(super) const INVALID_TOKEN_LINES_PER_MINUTE: u32 = 10;
/// Longest body of a request, bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Timeout for the body of a request.
const BODY_MAX: Duration = Duration::from_secs(10);

/// The peer of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Over the network.
    Network(SocketAddr),
    /// Over the Unix socket.
    Socket {
        /// Its user (SO_PEERCRED).
        uid: u32,
        /// Its process (SO_PEERCRED).
        pid: Option<i32>,
    },
}

impl Peer {
    fn origin(&self) -> Origin {
        match self {
            Self::Network(address) => Origin { address: Some(canonical(*address)), ..Origin::default() },
            Self::Socket { uid, pid } => Origin { uid: Some(*uid), pid: *pid, ..Origin::default() },
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    name: String,
    pub(super) role: AdminRole,
}

/// Peer and caller of a request.
#[derive(Debug, Clone)]
pub(super) struct Requester {
    peer: Peer,
    pub(super) caller: Option<Caller>,
}

/// Reason to reject a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InvalidToken {
    /// Malformed, or not a token of this cluster.
    Unknown,
    /// Past its date.
    Expired,
}

/// Authenticates a request: by its token if it has one, else by the credentials of the socket.
fn identify(
    peer: &Peer,
    headers: &HeaderMap,
    own_uid: u32,
    now_unix_s: u64,
    find: impl FnOnce(&[u8; 32]) -> Option<AdminToken>,
) -> Result<Option<Caller>, InvalidToken> {
    if let Some(shown) = headers.get(header::AUTHORIZATION) {
        let text = shown.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or(InvalidToken::Unknown)?;
        let hash = token::hash_of(text).ok_or(InvalidToken::Unknown)?;
        // The lookup is by hash: its timing reveals nothing about stored secrets.
        let known = find(&hash).ok_or(InvalidToken::Unknown)?;
        return if known.is_over(now_unix_s) {
            Err(InvalidToken::Expired)
        } else {
            Ok(Some(Caller { name: known.name, role: known.role }))
        };
    }
    match peer {
        Peer::Socket { uid, .. } if *uid == 0 || *uid == own_uid => {
            Ok(Some(Caller { name: crate::audit::user_name(*uid), role: AdminRole::Operator }))
        }
        Peer::Socket { .. } | Peer::Network(_) => Ok(None),
    }
}

pub(super) fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Layer around all routes: rejects invalid tokens.
pub(super) async fn check_token(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the connection is unknown").into_response();
    };
    let find = |hash: &[u8; 32]| admin.store.with_state(|state| state.admin_token(hash).cloned());
    let own_uid = rustix::process::geteuid().as_raw();
    match identify(&peer, request.headers(), own_uid, unix_s(SystemTime::now()), find) {
        Ok(caller) => {
            request.extensions_mut().insert(Requester { peer, caller });
            next.run(request).await
        }
        Err(invalid) => {
            let because = match invalid {
                InvalidToken::Unknown => {
                    "this token is not one of the cluster, or was removed: an operator makes one with `holdfast admin token add`"
                }
                InvalidToken::Expired => "this token is over: an operator removes it and makes another one with `holdfast admin token add`",
            };
            if let Some(left_out) = admin.invalid_tokens.lock().take(Instant::now()) {
                tracing::warn!(?peer, reason = ?invalid, left_out, "admin API: a request with an invalid token was refused");
            }
            metrics::counter!("holdfast_admin_refused_total", "because" => "token").increment(1);
            let requester = Requester { peer, caller: None };
            admin.audit.write(requester.entry(&request_line(&request), None, StatusCode::UNAUTHORIZED, Some(because.to_owned()))).await;
            tokio::time::sleep(INVALID_TOKEN_DELAY).await;
            unauthorized(because)
        }
    }
}

/// What a group of routes needs.
#[derive(Clone, Copy)]
pub(super) struct Guard {
    /// The least role.
    pub(super) role: AdminRole,
    /// Every request gets an audit line. Refused requests for operators get one in any case.
    pub(super) is_audited: bool,
}

/// Layer around a group of routes: rejects callers without its role.
pub(super) async fn check_role(
    State((admin, guard)): State<(Arc<Admin>, Guard)>,
    Extension(requester): Extension<Requester>,
    request: Request,
    next: Next,
) -> Response {
    let needed = guard.role;
    match &requester.caller {
        Some(caller) if caller.role >= needed => {
            if guard.is_audited {
                change(admin, requester, request, next).await
            } else {
                next.run(request).await
            }
        }
        refused => {
            let (status, because) = match (refused, &requester.peer) {
                (Some(caller), _) => (StatusCode::FORBIDDEN, format!("{} is a {}; this needs the role {needed}", caller.name, caller.role)),
                (None, Peer::Socket { uid, .. }) => {
                    let own = "root, and the user whom the node runs as, are operators here";
                    (StatusCode::UNAUTHORIZED, format!("user {uid} needs a token with the role {needed} (--token-file): {own}"))
                }
                (None, Peer::Network(_)) => (
                    StatusCode::UNAUTHORIZED,
                    format!("this needs a token with the role {needed} (--token-file, or Authorization: Bearer)"),
                ),
            };
            if needed == AdminRole::Operator {
                metrics::counter!("holdfast_admin_refused_total", "because" => "role").increment(1);
                let line = request_line(&request);
                // Bodies of unauthenticated requests are not read.
                let body = if refused.is_some() { read_body(request.into_body()).await.ok() } else { None };
                let body = body.as_deref().and_then(redacted);
                admin.audit.write(requester.entry(&line, body, status, Some(because.clone()))).await;
            }
            if status == StatusCode::UNAUTHORIZED { unauthorized(&because) } else { Problem::new(status, because).into_response() }
        }
    }
}

/// Carries a change out and writes its audit line.
async fn change(admin: Arc<Admin>, requester: Requester, request: Request, next: Next) -> Response {
    let line = request_line(&request);
    let (parts, body) = request.into_parts();
    let bytes = match read_body(body).await {
        Ok(bytes) => bytes,
        Err(problem) => {
            admin.audit.write(requester.entry(&line, None, problem.status(), Some(problem.error.clone()))).await;
            return problem.into_response();
        }
    };
    let body = redacted(&bytes);
    let tasks = admin.tasks.clone();
    // A separate task: a disconnecting client neither cancels the change nor loses its audit line.
    let carried_out = tasks.spawn(async move {
        let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
        let error = response.extensions().get::<ErrorText>().map(|said| said.0.clone());
        admin.audit.write(requester.entry(&line, body, response.status(), error)).await;
        response
    });
    carried_out.await.unwrap_or_else(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the request was not carried out: {error}")).into_response()
    })
}

/// Reads the body of a request within its limits.
async fn read_body(body: Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a request has at most {BODY_BYTES_MAX} bytes"))),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, format!("a request must arrive within {} s", BODY_MAX.as_secs()))),
    }
}

fn unauthorized(because: &str) -> Response {
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, because).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Method and path.
fn request_line(request: &Request) -> (Method, String) {
    (request.method().clone(), request.uri().path().to_owned())
}

impl Requester {
    /// The caller's name; of nobody that is known, none.
    pub(super) fn name(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| caller.name.as_str())
    }

    fn entry(
        &self,
        (method, route): &(Method, String),
        body: Option<serde_json::Value>,
        status: StatusCode,
        error: Option<String>,
    ) -> Entry {
        let result = match status.as_u16() {
            401 | 403 => AuditResult::Forbidden,
            _ if status.is_success() => AuditResult::Done,
            _ => AuditResult::Failed,
        };
        Entry {
            number: 0,
            time: String::new(),
            node: 0,
            who: self.caller.as_ref().map_or_else(|| "-".to_owned(), |caller| caller.name.clone()),
            role: self.caller.as_ref().map(|caller| caller.role.to_string()),
            from: self.peer.origin(),
            method: method.to_string(),
            route: route.chars().take(ROUTE_CHARS_MAX).collect(),
            body,
            result,
            status: status.as_u16(),
            error,
            left_out: 0,
        }
    }
}

/// Longest path in an audit line.
const ROUTE_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 500;

    fn record(role: AdminRole, expires_unix_s: Option<u64>) -> AdminToken {
        AdminToken { hash: [1; 32], name: "prometheus".to_owned(), role, made_unix_s: 0, expires_unix_s }
    }

    fn ask(peer: &Peer, shown: Option<&str>, known: Option<AdminToken>) -> Result<Option<Caller>, InvalidToken> {
        let mut headers = HeaderMap::new();
        shown.map(|shown| headers.insert(header::AUTHORIZATION, shown.parse().unwrap()));
        identify(peer, &headers, OWN, 1000, |_| known)
    }

    #[test]
    fn root_and_the_nodes_user_are_operators_at_the_socket() {
        let of = |uid| ask(&Peer::Socket { uid, pid: Some(1) }, None, None).unwrap().map(|caller| caller.role);
        assert_eq!([of(0), of(OWN), of(501)], [Some(AdminRole::Operator), Some(AdminRole::Operator), None]);
    }

    #[test]
    fn a_token_takes_precedence_over_socket_credentials() {
        let text = token::TokenText::create().unwrap();
        let shown = format!("Bearer {}", text.expose());
        for peer in [Peer::Socket { uid: 0, pid: None }, Peer::Network(([192, 0, 2, 1], 5).into())] {
            let good = ask(&peer, Some(&shown), Some(record(AdminRole::Viewer, None))).unwrap().unwrap();
            assert_eq!((good.name.as_str(), good.role), ("prometheus", AdminRole::Viewer));
            assert_eq!(ask(&peer, Some(&shown), None), Err(InvalidToken::Unknown));
            assert_eq!(ask(&peer, Some(&shown), Some(record(AdminRole::Operator, Some(1000)))), Err(InvalidToken::Expired));
            for nonsense in ["Bearer ", "Bearer x", "Basic YTpi", "", &shown.to_uppercase()] {
                assert_eq!(ask(&peer, Some(nonsense), Some(record(AdminRole::Operator, None))), Err(InvalidToken::Unknown), "{nonsense}");
            }
        }
        assert_eq!(ask(&Peer::Network(([192, 0, 2, 1], 5).into()), None, Some(record(AdminRole::Operator, None))), Ok(None));
    }
}
