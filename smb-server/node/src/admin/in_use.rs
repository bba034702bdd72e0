//! Who uses the cluster: sessions, handles, locks, and how an operator ends them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use clap::Args;
use persistence_model::{
    ByteRangeLock, Command, LogTime, Network, NodeId, Open, OpenId, OpenState, Outcome, Rejection, Session, SessionId, State as Records,
    client_ip, fold_path,
};
use serde::{Deserialize, Serialize};

use super::{
    Admin, Problem,
    change::{Answer, Done, carry_out},
};
use crate::audit::time_text;

/// Which sessions, handles or locks. What is not given is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only of this user: a name or a SID
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only of the client at this address, or of the clients of this network
    #[arg(long, value_name = "ADDRESS[/BITS]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Only at this node
    #[arg(id = "at-node", long = "at", value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// Only on this share
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Only this file, or what is in this directory
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only those whose client is away
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub away: bool,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub id: String,
    /// The node that serves it.
    pub node: u64,
    /// The user's name.
    pub user: String,
    /// The user's SID.
    pub sid: String,
    /// The client's address and port.
    pub client: String,
    /// ClientGuid: the client machine's name for itself.
    pub client_guid: String,
    /// Handles.
    pub handles: usize,
    /// Time of the logon: UTC, RFC 3339.
    pub since: String,
    /// Since the logon, s, without the time in which the cluster had no leader.
    pub age_s: u64,
}

/// One open handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleView {
    /// Persistent file id.
    pub id: String,
    /// Share.
    pub share: String,
    /// Path in it.
    pub path: String,
    /// The node that serves it; none while its client is away.
    pub node: Option<u64>,
    /// Its session; none while its client is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// volatile, durable or persistent.
    pub class: String,
    /// The user's name.
    pub user: String,
    /// The user's SID.
    pub sid: String,
    /// The client's address and port, also of one that is away.
    pub client: String,
    /// ClientGuid: the client machine's name for itself.
    pub client_guid: String,
    /// Granted access mask.
    pub access: String,
    /// Share access mask.
    pub share_access: String,
    /// Byte-range locks held.
    pub locks: usize,
    /// Time of the CREATE: UTC, RFC 3339.
    pub since: String,
    /// Since the CREATE, s, without the time in which the cluster had no leader.
    pub age_s: u64,
    /// Since when its client is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since: Option<String>,
    /// When it is closed if its client does not come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_until: Option<String>,
}

/// One byte-range lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// Its handle.
    pub handle: String,
    /// Share.
    pub share: String,
    /// Path in it.
    pub path: String,
    /// The node that serves it; none while its client is away.
    pub node: Option<u64>,
    /// The user's name.
    pub user: String,
    /// The client's address and port.
    pub client: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Nobody else may read either.
    pub exclusive: bool,
    /// Since when its client is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since: Option<String>,
}

/// What is to be ended: these, or all that fit the filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ending {
    /// Ids as the lists show them.
    pub ids: Vec<String>,
    /// If there are no ids.
    pub filter: Filter,
}

/// What was ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Sessions.
    pub sessions: usize,
    /// Handles, those of the sessions among them.
    pub handles: usize,
}

/// A block that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRequest {
    /// ADDRESS or ADDRESS/BITS.
    pub client: String,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockView {
    /// The addresses.
    pub client: String,
    /// Why.
    pub reason: String,
    /// Since when: UTC, RFC 3339.
    pub since: String,
}

/// Log time in the words of a clock on the wall, as good as this node's clock and no interruption of the leadership allow.
#[derive(Clone, Copy)]
struct Wall {
    now: LogTime,
    clock: SystemTime,
}

impl Wall {
    fn of(admin: &Admin) -> Self {
        Self { now: LogTime(admin.store.status().raft.time_ms), clock: SystemTime::now() }
    }

    fn text(&self, at: LogTime) -> String {
        let time = if at <= self.now {
            self.clock.checked_sub(Duration::from_millis(self.now.0 - at.0))
        } else {
            self.clock.checked_add(Duration::from_millis(at.0 - self.now.0))
        };
        time.map_or_else(String::new, time_text)
    }

    fn age_s(&self, at: LogTime) -> u64 {
        self.now.0.saturating_sub(at.0) / 1000
    }
}

/// A filter whose words have been understood.
struct Wanted {
    user: Option<String>,
    client: Option<Network>,
    node: Option<NodeId>,
    share: Option<String>,
    path: Option<String>,
    away: bool,
}

impl Wanted {
    fn of(filter: &Filter) -> Result<Self, Problem> {
        Ok(Self {
            user: filter.user.as_ref().map(|user| user.to_uppercase()),
            client: filter.client.as_deref().map(network).transpose()?,
            node: filter.node.map(NodeId),
            share: filter.share.as_ref().map(|share| share.to_uppercase()),
            path: filter.path.as_deref().map(fold_path),
            away: filter.away,
        })
    }

    fn fits_user(&self, name: &str, sid: &smb_types::Sid) -> bool {
        self.user.as_ref().is_none_or(|user| *user == name.to_uppercase() || *user == sid.to_string())
    }

    fn fits_client(&self, address: &str) -> bool {
        self.client.is_none_or(|network| client_ip(address).is_some_and(|ip| network.contains(ip)))
    }

    fn fits_session(&self, records: &Records, session: &Session) -> bool {
        let on_share = || records.opens_of_session(session.id).any(|open| self.fits_place(records, open));
        !self.away
            && self.node.is_none_or(|node| node == session.node)
            && self.fits_user(&session.user_name, &session.user)
            && self.fits_client(&session.client_address)
            && ((self.share.is_none() && self.path.is_none()) || on_share())
    }

    fn fits_place(&self, records: &Records, open: &Open) -> bool {
        let on_share = |share: &String| records.share(open.share).is_some_and(|s| s.name.to_uppercase() == *share);
        let beneath = |path: &String| {
            let own = fold_path(&open.path);
            let rest = own.strip_prefix(path.as_str());
            path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['\\', ':']))
        };
        self.share.as_ref().is_none_or(on_share) && self.path.as_ref().is_none_or(beneath)
    }

    fn fits(&self, records: &Records, open: &Open) -> bool {
        let client = client_of(records, open);
        (!self.away || open.is_detached())
            && self.node.is_none_or(|node| open.owner.is_some_and(|owner| owner.node == node))
            && self.fits_user(client.user, &open.user)
            && self.fits_client(client.address)
            && self.fits_place(records, open)
    }
}

fn network(text: &str) -> Result<Network, Problem> {
    text.parse().map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, wrong))
}

/// Whose an open is.
struct Client<'a> {
    user: &'a str,
    address: &'a str,
}

fn client_of<'a>(records: &'a Records, open: &'a Open) -> Client<'a> {
    let session = open.owner.and_then(|owner| records.session(owner.session));
    match (session, &open.away) {
        (Some(session), _) => Client { user: &session.user_name, address: &session.client_address },
        (None, Some(away)) => Client { user: &away.user_name, address: &away.client_address },
        (None, None) => Client { user: "", address: "" },
    }
}

fn session_view(records: &Records, session: &Session, wall: Wall) -> SessionView {
    SessionView {
        id: format!("{:#x}", session.id.0),
        node: session.node.0,
        user: session.user_name.to_string(),
        sid: session.user.to_string(),
        client: session.client_address.to_string(),
        client_guid: session.client_guid.to_string(),
        handles: records.opens_of_session(session.id).count(),
        since: wall.text(session.opened_at),
        age_s: wall.age_s(session.opened_at),
    }
}

fn handle_view(records: &Records, open: &Open, wall: Wall) -> HandleView {
    let client = client_of(records, open);
    HandleView {
        id: format!("{:#x}", open.id.0),
        share: records.share(open.share).map(|share| share.name.clone()).unwrap_or_default(),
        path: open.path.to_string(),
        node: open.owner.map(|owner| owner.node.0),
        session: open.owner.map(|owner| format!("{:#x}", owner.session.0)),
        class: format!("{:?}", open.class).to_lowercase(),
        user: client.user.to_owned(),
        sid: open.user.to_string(),
        client: client.address.to_owned(),
        client_guid: open.client_guid.to_string(),
        access: format!("{:#010x}", open.granted_access.0),
        share_access: format!("{:#x}", open.share_access.0),
        locks: open.locks.len(),
        since: wall.text(open.opened_at),
        age_s: wall.age_s(open.opened_at),
        away_since: open.away.as_ref().map(|away| wall.text(away.since)),
        away_until: open.expires_at().map(|until| wall.text(until)),
    }
}

fn lock_view(records: &Records, open: &Open, lock: &ByteRangeLock, wall: Wall) -> LockView {
    let client = client_of(records, open);
    LockView {
        handle: format!("{:#x}", open.id.0),
        share: records.share(open.share).map(|share| share.name.clone()).unwrap_or_default(),
        path: open.path.to_string(),
        node: open.owner.map(|owner| owner.node.0),
        user: client.user.to_owned(),
        client: client.address.to_owned(),
        offset: lock.offset,
        length: lock.length,
        exclusive: lock.exclusive,
        away_since: open.away.as_ref().map(|away| wall.text(away.since)),
    }
}

pub(super) async fn sessions(State(admin): State<Arc<Admin>>, Query(filter): Query<Filter>) -> Answer<Vec<SessionView>> {
    let (wanted, wall) = (Wanted::of(&filter)?, Wall::of(&admin));
    Ok(Json(admin.store.with_state(|records| {
        let fitting = records.sessions().filter(|session| wanted.fits_session(records, session));
        fitting.map(|session| session_view(records, session, wall)).collect()
    })))
}

pub(super) async fn handles(State(admin): State<Arc<Admin>>, Query(filter): Query<Filter>) -> Answer<Vec<HandleView>> {
    let (wanted, wall) = (Wanted::of(&filter)?, Wall::of(&admin));
    let look = |records: &Records, open: &Open| wanted.fits(records, open).then(|| handle_view(records, open, wall));
    Ok(Json(admin.store.look_at_opens(look).await.into_iter().flatten().collect()))
}

pub(super) async fn locks(State(admin): State<Arc<Admin>>, Query(filter): Query<Filter>) -> Answer<Vec<LockView>> {
    let (wanted, wall) = (Wanted::of(&filter)?, Wall::of(&admin));
    let look = |records: &Records, open: &Open| -> Vec<LockView> {
        if open.locks.is_empty() || !wanted.fits(records, open) {
            return Vec::new();
        }
        open.locks.iter().map(|lock| lock_view(records, open, lock, wall)).collect()
    };
    Ok(Json(admin.store.look_at_opens(look).await.into_iter().flatten().collect()))
}

/// An id as the lists show it.
fn number(text: &str) -> Result<u64, Problem> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let parsed = digits.map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    parsed.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, format!("{text:?} is no id: write it as the list shows it")))
}

/// The ids that are asked for by name; `None`: by filter.
fn ids(ending: &Ending) -> Result<Option<Vec<u64>>, Problem> {
    if !ending.ids.is_empty() {
        return ending.ids.iter().map(|id| number(id)).collect::<Result<_, _>>().map(Some);
    }
    if ending.filter == Filter::default() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "say which: by id, or by a filter"));
    }
    Ok(None)
}

/// Tells whether it was there to be ended.
async fn end(admin: &Admin, command: Command) -> Result<Option<Outcome>, Problem> {
    match admin.store.propose(command).await? {
        Outcome::Rejected(Rejection::NoSuchSession | Rejection::NoSuchRecord) => Ok(None),
        Outcome::Rejected(rejection) => Err(Problem::new(StatusCode::CONFLICT, rejection.to_string())),
        outcome => Ok(Some(outcome)),
    }
}

async fn end_sessions(admin: &Admin, sessions: impl IntoIterator<Item = SessionId>) -> Result<Ended, Problem> {
    let mut ended = Ended::default();
    for session in sessions {
        if let Some(outcome) = end(admin, Command::SessionClose { session }).await? {
            ended.sessions += 1;
            if let Outcome::Disconnected { closed, .. } = outcome {
                ended.handles += closed.len();
            }
        }
    }
    Ok(ended)
}

async fn end_handles(admin: &Admin, opens: impl IntoIterator<Item = OpenId>) -> Result<usize, Problem> {
    let mut ended = 0;
    for open in opens {
        ended += usize::from(end(admin, Command::OpenClose { open }).await?.is_some());
    }
    Ok(ended)
}

/// Handles that fit; reservations stay: a CREATE under way is answered.
async fn fitting(admin: &Admin, wanted: &Wanted) -> Vec<OpenId> {
    let look = |records: &Records, open: &Open| (open.state == OpenState::Open && wanted.fits(records, open)).then_some(open.id);
    admin.store.look_at_opens(look).await.into_iter().flatten().collect()
}

pub(super) async fn close_sessions(State(admin): State<Arc<Admin>>, Json(ending): Json<Ending>) -> Answer<Ended> {
    let sessions: Vec<SessionId> = match ids(&ending)? {
        Some(ids) => ids.into_iter().map(SessionId).collect(),
        None => {
            let wanted = Wanted::of(&ending.filter)?;
            admin.store.with_state(|records| {
                records.sessions().filter(|session| wanted.fits_session(records, session)).map(|session| session.id).collect()
            })
        }
    };
    let ended = end_sessions(&admin, sessions).await?;
    if ended.sessions == 0 && !ending.ids.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such session; `holdfast sessions` lists them"));
    }
    Ok(Json(ended))
}

pub(super) async fn close_handles(State(admin): State<Arc<Admin>>, Json(ending): Json<Ending>) -> Answer<Ended> {
    let opens: Vec<OpenId> = match ids(&ending)? {
        Some(ids) => ids.into_iter().map(OpenId).collect(),
        None => fitting(&admin, &Wanted::of(&ending.filter)?).await,
    };
    let handles = end_handles(&admin, opens).await?;
    if handles == 0 && !ending.ids.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such handle; `holdfast handles` lists them"));
    }
    Ok(Json(Ended { sessions: 0, handles }))
}

/// First nobody comes in from there any more, then what is there ends, also the handles of those who are away.
pub(super) async fn block(State(admin): State<Arc<Admin>>, Json(request): Json<BlockRequest>) -> Answer<Ended> {
    let network = network(&request.client)?;
    let _: Json<Done> = carry_out(&admin, Command::ClientBlock { network, reason: request.reason }).await?;
    let wanted = Wanted::of(&Filter { client: Some(request.client), ..Filter::default() })?;
    let sessions: Vec<SessionId> = admin.store.with_state(|records| {
        records.sessions().filter(|session| wanted.fits_session(records, session)).map(|session| session.id).collect()
    });
    let mut ended = end_sessions(&admin, sessions).await?;
    ended.handles += end_handles(&admin, fitting(&admin, &wanted).await).await?;
    Ok(Json(ended))
}

pub(super) async fn unblock(State(admin): State<Arc<Admin>>, Json(request): Json<BlockRequest>) -> Answer<Done> {
    match admin.store.propose(Command::ClientUnblock { network: network(&request.client)? }).await? {
        Outcome::Rejected(_) => {
            Err(Problem::new(StatusCode::NOT_FOUND, format!("{} is not blocked; `holdfast client list` shows what is", request.client)))
        }
        _ => Ok(Json(Done { done: true })),
    }
}

pub(super) async fn blocks(State(admin): State<Arc<Admin>>) -> Json<Vec<BlockView>> {
    let wall = Wall::of(&admin);
    Json(admin.store.with_state(|records| {
        let view = |block: &persistence_model::ClientBlock| BlockView {
            client: block.network.to_string(),
            reason: block.reason.clone(),
            since: wall.text(block.since),
        };
        records.client_blocks().map(view).collect()
    }))
}
