//! What operators can change. Every change is a command in the log; it holds on every node when the answer comes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use persistence_model::{Command, NodeId, OpenId, Outcome, Rejection};
use serde::{Deserialize, Serialize};
use smb_auth::NtHash;
use tokio::time::Instant;

use super::{Admin, Problem, groups::unix_user};

/// Longest wait for a node's clients to move, s.
pub const DRAIN_SECONDS_MAX: u64 = 180;
/// Pause between two looks at the handles of a node that is being drained.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Handles that are looked at while nothing is applied.
const OPENS_AT_ONCE: usize = 1000;
/// Longest life of a join token, s.
const TOKEN_SECONDS_MAX: u64 = 7 * 24 * 3600;

/// A user with a password.
#[derive(Serialize, Deserialize)]
pub struct UserChange {
    /// Name.
    pub name: String,
    /// NT hash as hex: the password itself does not travel.
    pub nt_hash: String,
    /// A new user: the user on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// That user's group there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A user is allowed to log on, or not.
#[derive(Debug, Serialize, Deserialize)]
pub struct UserEnable {
    /// Name.
    pub name: String,
    /// Allowed.
    pub enabled: bool,
}

/// Something by its name.
#[derive(Debug, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// A node by its id.
#[derive(Debug, Serialize, Deserialize)]
pub struct NodeWord {
    /// The id.
    pub id: u64,
}

/// Start or end of draining.
#[derive(Debug, Serialize, Deserialize)]
pub struct Drain {
    /// The node.
    pub id: u64,
    /// Drain, or serve again.
    pub on: bool,
    /// The longest wait for the node's handles to be elsewhere, s; 0: do not wait.
    #[serde(default)]
    pub wait_s: u64,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Drained {
    /// The node.
    pub node: u64,
    /// It is being drained.
    pub draining: bool,
    /// Who leads now.
    pub leader: Option<u64>,
    /// Handles that were at the node and are neither closed nor reclaimed at another one.
    #[serde(default)]
    pub handles: usize,
    /// From the order until there were none, or until the wait was over, ms.
    #[serde(default)]
    pub waited_ms: u64,
    /// Nothing is at the node any more, and it does not lead: stopping it interrupts nobody.
    #[serde(default)]
    pub safe_to_stop: bool,
}

/// A lost node and the token for its successor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replace {
    /// The lost node.
    pub id: u64,
    /// The token is good for this long, s.
    pub seconds: u64,
}

/// A node and where it is reached.
#[derive(Debug, Serialize, Deserialize)]
pub struct Moved {
    /// The node.
    pub id: u64,
    /// Where other nodes reach it.
    pub raft: std::net::SocketAddr,
}

/// A wish for a join token.
#[derive(Debug, Serialize, Deserialize)]
pub struct TokenWish {
    /// Good for this long, s.
    pub seconds: u64,
}

/// A join token.
#[derive(Serialize, Deserialize)]
pub struct Token {
    /// Its text.
    pub token: String,
}

/// The answer when there is nothing more to say.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// Always true: failures are errors.
    pub done: bool,
}

pub(super) type Answer<T> = Result<Json<T>, Problem>;

fn check_seconds(seconds: u64) -> Result<(), Problem> {
    if seconds == 0 || seconds > TOKEN_SECONDS_MAX {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("seconds must be 1 to {TOKEN_SECONDS_MAX}")));
    }
    Ok(())
}

pub(super) async fn carry_out(admin: &Admin, command: Command) -> Answer<Done> {
    match admin.store.propose(command).await? {
        Outcome::Rejected(Rejection::NoSuchUser) => Err(Problem::new(StatusCode::NOT_FOUND, "there is no user of that name")),
        Outcome::Rejected(Rejection::NoSuchShare) => Err(Problem::new(StatusCode::NOT_FOUND, "there is no share of that name")),
        Outcome::Rejected(Rejection::NoSuchGroup) => Err(Problem::new(StatusCode::NOT_FOUND, "there is no group of that name")),
        Outcome::Rejected(rejection) => Err(Problem::new(StatusCode::CONFLICT, rejection.to_string())),
        _ => Ok(Json(Done { done: true })),
    }
}

fn hash(text: &str) -> Result<[u8; 16], Problem> {
    let bad = || Problem::new(StatusCode::BAD_REQUEST, "nt_hash must be 32 hexadecimal digits");
    NtHash::from_hex(text).map(|hash| *hash.expose()).ok_or_else(bad)
}

pub(super) async fn user_add(State(admin): State<Arc<Admin>>, Json(user): Json<UserChange>) -> Answer<Done> {
    let unix = unix_user(user.uid, user.gid)?;
    carry_out(&admin, Command::UserAdd { nt_hash: hash(&user.nt_hash)?, name: user.name, sid: None, unix }).await
}

pub(super) async fn user_password(State(admin): State<Arc<Admin>>, Json(user): Json<UserChange>) -> Answer<Done> {
    carry_out(&admin, Command::UserSetPassword { nt_hash: hash(&user.nt_hash)?, name: user.name }).await
}

pub(super) async fn user_enable(State(admin): State<Arc<Admin>>, Json(user): Json<UserEnable>) -> Answer<Done> {
    carry_out(&admin, Command::UserEnable { name: user.name, enabled: user.enabled }).await
}

pub(super) async fn user_unlock(State(admin): State<Arc<Admin>>, Json(user): Json<Named>) -> Answer<Done> {
    carry_out(&admin, Command::UserUnlock { name: user.name }).await
}

pub(super) async fn user_remove(State(admin): State<Arc<Admin>>, Json(user): Json<Named>) -> Answer<Done> {
    carry_out(&admin, Command::UserRemove { name: user.name }).await
}

pub(super) async fn token_create(State(admin): State<Arc<Admin>>, Json(wish): Json<TokenWish>) -> Answer<Token> {
    check_seconds(wish.seconds)?;
    let token = admin.store.create_token(Duration::from_secs(wish.seconds)).await?;
    Ok(Json(Token { token: token.to_string() }))
}

pub(super) async fn node_drain(State(admin): State<Arc<Admin>>, Json(drain): Json<Drain>) -> Answer<Drained> {
    if drain.wait_s > DRAIN_SECONDS_MAX {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("wait_s must be 0 to {DRAIN_SECONDS_MAX}")));
    }
    let node = NodeId(drain.id);
    let mut leaving = Leaving::new(node);
    leaving.look(&admin);
    let from = Instant::now();
    admin.store.drain(node, drain.on).await?;
    let deadline = Instant::now() + Duration::from_secs(if drain.on { drain.wait_s } else { 0 });
    while leaving.look(&admin) > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let leader = admin.store.leader();
    Ok(Json(Drained {
        node: drain.id,
        draining: drain.on,
        leader: leader.map(|leader| leader.0),
        handles: leaving.opens.len(),
        waited_ms: u64::try_from(from.elapsed().as_millis()).unwrap_or(u64::MAX),
        safe_to_stop: drain.on && leaving.opens.is_empty() && leader != Some(node),
    }))
}

/// The handles of a node whose clients were asked to move.
struct Leaving {
    node: NodeId,
    opens: BTreeSet<OpenId>,
}

impl Leaving {
    fn new(node: NodeId) -> Self {
        Self { node, opens: BTreeSet::new() }
    }

    /// Looks which are there; those that are closed, or served by another node, are gone. A handle between two nodes is not: its client
    /// may still be on its way.
    fn look(&mut self, admin: &Admin) -> usize {
        // One session after the other: nothing is applied while somebody looks.
        let sessions: Vec<_> = admin.store.with_state(|state| state.sessions_of_node(self.node).map(|session| session.id).collect());
        for session in sessions {
            admin.store.with_state(|state| self.opens.extend(state.opens_of_session(session).map(|open| open.id)));
        }
        let all: Vec<OpenId> = self.opens.iter().copied().collect();
        for some in all.chunks(OPENS_AT_ONCE) {
            admin.store.with_state(|state| {
                let stays = |id: &OpenId| state.open(*id).is_some_and(|open| open.owner.is_none_or(|owner| owner.node == self.node));
                some.iter().filter(|id| !stays(id)).for_each(|id| _ = self.opens.remove(id));
            });
        }
        self.opens.len()
    }
}

pub(super) async fn node_promote(State(admin): State<Arc<Admin>>, Json(node): Json<NodeWord>) -> Answer<Done> {
    admin.store.promote(NodeId(node.id)).await?;
    Ok(Json(Done { done: true }))
}

pub(super) async fn node_replace(State(admin): State<Arc<Admin>>, Json(wish): Json<Replace>) -> Answer<Token> {
    check_seconds(wish.seconds)?;
    let token = admin.store.replace(NodeId(wish.id), Duration::from_secs(wish.seconds)).await?;
    Ok(Json(Token { token: token.to_string() }))
}

pub(super) async fn node_address(State(admin): State<Arc<Admin>>, Json(moved): Json<Moved>) -> Answer<Done> {
    admin.store.change_address(NodeId(moved.id), &moved.raft.to_string()).await?;
    Ok(Json(Done { done: true }))
}

pub(super) async fn node_remove(State(admin): State<Arc<Admin>>, Json(node): Json<NodeWord>) -> Answer<Done> {
    admin.store.remove(NodeId(node.id)).await?;
    Ok(Json(Done { done: true }))
}

pub(super) async fn snapshot(State(admin): State<Arc<Admin>>) -> Answer<Done> {
    admin.store.snapshot().await?;
    Ok(Json(Done { done: true }))
}

pub(super) async fn node_lead(State(admin): State<Arc<Admin>>, Json(node): Json<NodeWord>) -> Answer<Done> {
    admin.store.transfer_leader(NodeId(node.id)).await?;
    Ok(Json(Done { done: true }))
}
