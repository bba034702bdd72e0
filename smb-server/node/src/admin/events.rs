//! GET /api/v1/events: what happens in the cluster, one line of JSON each, from any place in the recent past.
//!
//! `from=INDEX.NUMBER` is the position of the last line that was seen, on whichever node; without it the answer begins with the oldest event
//! that this node remembers, and with `now` at the present. `kinds=a,b` and `node=N` choose; `seconds=N` ends the answer after that time, 0
//! when everything known is told. Viewers see all of it.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;
use persistence::{EventPosition, EventStream, PlacedEvent, Scope, Store, WatchError};
use persistence_model::{Event, FileKey};
use serde::{Deserialize, Serialize};
use smb_server::places::{NoPlace, Place, Places};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Admin, Problem, caller::Requester};
use crate::rate_limit::PerMinute;

/// Watchers of one node at once.
const WATCHERS_MAX: usize = 64;
/// Watchers of one caller: a token, or a user at the socket.
const WATCHERS_OF_CALLER_MAX: usize = 16;
/// Log lines about refused watchers per minute.
const LINES_PER_MINUTE: u32 = 6;
/// A watcher that hears nothing else hears after this time that the node is there, and how far it is.
const IDLE: Duration = Duration::from_secs(2);
/// Lines that are sent at once have about so many bytes at most.
const PIECE_BYTES: usize = 64 << 10;

/// Counter of refused watchers.
const REFUSED: &str = "holdfast_event_watchers_refused_total";

/// Everything that may happen.
const KINDS: [&str; 18] = [
    "node_up",
    "node_down",
    "node_draining",
    "node_addresses",
    "share_changed",
    "share_moved",
    "user_changed",
    "settings_changed",
    "group_changed",
    "clients_blocked",
    "session_ended",
    "open_taken",
    "open_reclaimed",
    "opens_expired",
    "lease_break",
    "oplock_break",
    "delete_due",
    FILE_CHANGED,
];
/// There are as many as commands: told only when asked for.
const FILE_CHANGED: &str = "file_changed";
/// Kind of the line that says that events are missing before it.
pub const GAP: &str = "gap";
/// Kind of the line that says that nothing has happened.
pub const IDLE_LINE: &str = "idle";

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventLine {
    /// Ask again from here for what follows, on whichever node.
    pub position: String,
    /// What happened; also `gap` (events before this place are not known any more: look at the status) and `idle`.
    pub kind: String,
    /// The node that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// That node's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// The handle, as `holdfast handles` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The file: volume, inode, generation and stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The share's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u64>,
    /// In an idle line: the answering node is part of the cluster at present. If not, another node knows more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// For people.
    pub text: String,
}

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
struct Wish {
    from: Option<String>,
    kinds: Option<String>,
    node: Option<u64>,
    seconds: Option<u64>,
}

struct Watching {
    admin: Arc<Admin>,
    places: Arc<Places<String>>,
    lines: Mutex<PerMinute>,
    stop: CancellationToken,
}

/// The route. Answers end when `stop` fires.
pub(super) fn router(admin: Arc<Admin>, stop: CancellationToken) -> Router<Arc<Admin>> {
    metrics::counter!(REFUSED).increment(0);
    let watching = Watching { admin, places: Arc::default(), lines: Mutex::new(PerMinute::new(LINES_PER_MINUTE)), stop };
    Router::new().route("/api/v1/events", get(events)).with_state(Arc::new(watching))
}

async fn events(
    State(watching): State<Arc<Watching>>,
    Extension(requester): Extension<Requester>,
    Query(wish): Query<Wish>,
) -> Result<Response, Problem> {
    let kinds = kinds(wish.kinds.as_deref())?;
    let scope = if kinds.contains(FILE_CHANGED) { Scope::All } else { Scope::News };
    let store = watching.admin.store.clone();
    let from = match wish.from.as_deref() {
        None => store.oldest_event(scope),
        Some("now") => store.events_end(),
        Some(text) => text.parse().map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("from={text}: {e}")))?,
    };
    let place = place(&watching.places, &watching.lines, requester.name())?;
    let end = wish.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let stream = store.watch(from, scope);
    let (greet, stop) = (wish.from.as_deref() == Some("now"), watching.stop.clone());
    let lines = Lines { stream, store, kinds, node: wish.node, end, stop, greet, over: false, _place: place };
    let body = Body::from_stream(futures::stream::unfold(lines, |mut lines| async move {
        let piece = lines.piece().await?;
        Some((Ok::<_, Infallible>(piece), lines))
    }));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// A place for one more watcher of a caller.
fn place(places: &Arc<Places<String>>, lines: &Mutex<PerMinute>, caller: &str) -> Result<Place<String>, Problem> {
    let refused = match places.take(caller.to_owned(), WATCHERS_OF_CALLER_MAX, WATCHERS_MAX) {
        Ok(place) => return Ok(place),
        Err(refused) => refused,
    };
    metrics::counter!(REFUSED).increment(1);
    let because = match refused {
        NoPlace::OfKey => {
            format!("{caller} has {WATCHERS_OF_CALLER_MAX} watchers at this node already; end one of them, or use a token of your own")
        }
        NoPlace::OfAll => format!("{WATCHERS_MAX} watchers are here already; watch at another node"),
    };
    if let Some(left_out) = lines.lock().take(std::time::Instant::now()) {
        tracing::warn!(limit = "event_watchers", caller, left_out, "admin API: a watcher of events was refused: {because}");
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, because))
}

/// The kinds asked for; without a list everything but the changes of files.
fn kinds(list: Option<&str>) -> Result<BTreeSet<&'static str>, Problem> {
    let Some(list) = list else {
        return Ok(KINDS.into_iter().filter(|kind| *kind != FILE_CHANGED).collect());
    };
    let find = |word: &str| {
        let unknown = || Problem::new(StatusCode::BAD_REQUEST, format!("there is no kind {word:?}; there are {}", KINDS.join(", ")));
        KINDS.into_iter().find(|kind| *kind == word).ok_or_else(unknown)
    };
    list.split(',').map(find).collect()
}

/// An answer under way.
struct Lines {
    stream: EventStream,
    store: Store,
    kinds: BTreeSet<&'static str>,
    node: Option<u64>,
    end: Option<Instant>,
    stop: CancellationToken,
    /// Who begins at the present has to know where that is before anything happens.
    greet: bool,
    over: bool,
    _place: Place<String>,
}

impl Lines {
    /// The next lines; `None` when the answer is over.
    async fn piece(&mut self) -> Option<String> {
        let mut text = String::new();
        if std::mem::take(&mut self.greet) {
            self.say_position(&mut text);
        }
        while !self.over && text.len() < PIECE_BYTES {
            match self.stream.next_ready() {
                Ok(Some(placed)) => self.add(&mut text, &placed),
                Ok(None) if text.is_empty() => self.wait(&mut text).await,
                Ok(None) => break,
                Err(WatchError::Gap { oldest }) => {
                    let words = "events before this place are not known any more; look at the state".to_owned();
                    push(&mut text, &EventLine { position: oldest.to_string(), kind: GAP.to_owned(), text: words, ..EventLine::default() });
                }
                Err(WatchError::Stopped) => self.over = true,
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Waits for something to tell; says how far the node is when there is nothing.
    async fn wait(&mut self, text: &mut String) {
        let end = self.end.unwrap_or_else(|| Instant::now() + 2 * IDLE);
        let idle = Instant::now() + IDLE;
        tokio::select! {
            changed = self.stream.changed() => self.over = changed.is_err(),
            () = self.stop.cancelled() => self.over = true,
            () = sleep_until(end.min(idle)) => {
                self.over = self.end.is_some_and(|end| end <= Instant::now());
                self.say_position(text);
            }
        }
    }

    fn say_position(&self, text: &mut String) {
        let line = EventLine {
            position: self.stream.position().to_string(),
            kind: IDLE_LINE.to_owned(),
            serving: Some(self.store.lease_valid()),
            text: "nothing has happened".to_owned(),
            ..EventLine::default()
        };
        push(text, &line);
    }

    fn add(&self, text: &mut String, placed: &PlacedEvent) {
        let line = line_of(placed.position, &placed.event);
        if self.kinds.contains(line.kind.as_str()) && self.node.is_none_or(|node| line.node == Some(node)) {
            push(text, &line);
        }
    }
}

fn push(text: &mut String, line: &EventLine) {
    // It cannot fail: a line is made of texts and numbers.
    text.push_str(&serde_json::to_string(line).unwrap_or_default());
    text.push('\n');
}

/// An event as a line.
fn line_of(position: EventPosition, event: &Event) -> EventLine {
    let line = EventLine { position: position.to_string(), ..EventLine::default() };
    let of = |kind: &str, text: String| EventLine { kind: kind.to_owned(), text, ..line.clone() };
    match event {
        Event::NodeUp { node, incarnation } => {
            let text = format!("node {node} begins life {incarnation}");
            EventLine { node: Some(node.0), incarnation: Some(incarnation.0), ..of("node_up", text) }
        }
        Event::NodeDown { node, incarnation } => {
            let text = format!("life {incarnation} of node {node} is over");
            EventLine { node: Some(node.0), incarnation: Some(incarnation.0), ..of("node_down", text) }
        }
        Event::NodeDraining { node, on } => {
            let text = format!("node {node} {}", if *on { "asks its clients to move" } else { "serves as before" });
            EventLine { node: Some(node.0), ..of("node_draining", text) }
        }
        Event::ShareChanged { share } => EventLine { share: Some(share.0), ..of("share_changed", format!("share {share} was changed")) },
        Event::ShareMoved { share, owner } => {
            let text = format!("node {owner} owns share {share} now");
            EventLine { share: Some(share.0), node: Some(owner.0), ..of("share_moved", text) }
        }
        Event::NodeAddresses { node } => {
            EventLine { node: Some(node.0), ..of("node_addresses", format!("clients reach node {node} at other addresses")) }
        }
        Event::ClientsBlocked { network } => of("clients_blocked", format!("clients at {network} are not served any more")),
        Event::UserChanged { name } => of("user_changed", format!("user {name} was changed")),
        Event::SettingsChanged => of("settings_changed", "the cluster's settings were changed".to_owned()),
        Event::GroupChanged { name } => of("group_changed", format!("group {name} was changed")),
        Event::SessionEnded { session, node } => {
            let text = format!("session {session} at node {node} was ended");
            EventLine { session: Some(session.to_string()), node: Some(node.0), ..of("session_ended", text) }
        }
        Event::OpenTaken { open, node, incarnation } => {
            let text = format!("handle {open} was taken from node {node}");
            EventLine { open: Some(open.to_string()), node: Some(node.0), incarnation: Some(incarnation.0), ..of("open_taken", text) }
        }
        Event::OpenReclaimed { open, node } => {
            let text = format!("the client of handle {open} is back, at node {node}");
            EventLine { open: Some(open.to_string()), node: Some(node.0), ..of("open_reclaimed", text) }
        }
        Event::OpensExpired { opens } => of("opens_expired", format!("the clients of {} handles did not come back in time", opens.len())),
        Event::LeaseBreak { file, nodes, current, new, .. } => {
            let text = format!("a lease on file {} goes from {:#x} to {:#x}", words(file), current.0, new.0);
            EventLine { file: Some(words(file)), node: nodes.first().map(|node| node.0), ..of("lease_break", text) }
        }
        Event::OplockBreak { open, node, session, level, .. } => {
            let text = format!("the oplock of handle {open} at node {node} goes to {level:?}");
            EventLine { open: Some(open.to_string()), node: Some(node.0), session: Some(session.to_string()), ..of("oplock_break", text) }
        }
        Event::DeleteDue { delete } => {
            let text = format!("node {} has to remove {}", delete.node, delete.path);
            let (file, node, share) = (Some(words(&delete.file)), Some(delete.node.0), Some(delete.share.0));
            EventLine { file, node, share, ..of("delete_due", text) }
        }
        Event::FileChanged { file } => EventLine { file: Some(words(file)), ..of(FILE_CHANGED, format!("file {} changed", words(file))) },
    }
}

fn words(file: &FileKey) -> String {
    format!("{:x}:{:x}:{:x}:{:x}", file.volume, file.inode, file.generation, file.stream)
}

#[cfg(test)]
mod tests {
    use persistence_model::{Incarnation, NodeId};

    use super::*;

    #[test]
    fn one_caller_leaves_places_to_others() {
        let (places, lines) = (Arc::default(), Mutex::new(PerMinute::new(LINES_PER_MINUTE)));
        let mut held = Vec::new();
        for caller in ["ann", "bob", "eve", "joe"] {
            for _ in 0..WATCHERS_OF_CALLER_MAX {
                held.push(place(&places, &lines, caller).unwrap());
            }
            let status = place(&places, &lines, caller).map(drop).unwrap_err().status();
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(held.len(), WATCHERS_MAX);
        assert!(place(&places, &lines, "zoe").is_err(), "all places are taken");
        held.pop();
        assert!(place(&places, &lines, "zoe").is_ok());
    }

    #[test]
    fn changes_of_files_are_told_only_when_asked_for() {
        let all = kinds(None).unwrap();
        assert!(all.contains("open_taken") && !all.contains(FILE_CHANGED));
        assert_eq!(kinds(Some("node_up")).unwrap(), BTreeSet::from(["node_up"]));
        assert!(kinds(Some("file_changed,node_up")).unwrap().contains(FILE_CHANGED));
        assert_eq!(kinds(Some("node_up,")).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_line_says_where_to_go_on_and_holds_only_what_there_is() {
        let event = Event::NodeDown { node: NodeId(2), incarnation: Incarnation(5) };
        let mut text = String::new();
        push(&mut text, &line_of("31.4".parse().unwrap(), &event));
        let expected =
            "{\"position\":\"31.4\",\"kind\":\"node_down\",\"node\":2,\"incarnation\":5,\"text\":\"life 5 of node 2 is over\"}\n";
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<EventLine>(&text).unwrap().position, "31.4");
    }
}
