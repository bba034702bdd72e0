//! The recent past: events with their places in the log, kept in memory for watchers that come back.
//!
//! An event's position is the index of its entry and its number among that entry's events. Applying an entry gives the same events on every
//! node, so a position means the same everywhere, and a watcher whose node died goes on at another. What is older than the limits allow, or
//! lies before this process began or before a snapshot that it was sent, is not known here: the watcher is told so and where to go on.
//!
//! Changes of single files are kept apart: there are as many as commands, and they would push out everything else. Knows nothing of who
//! watches.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use persistence_model::Event;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Events of each of the two kinds that are kept at most.
const EVENTS_MAX: usize = 65_536;
/// Memory of the events of each of the two kinds at most.
const EVENT_BYTES_MAX: usize = 24 << 20;

/// The place of an event: the index of its entry and, from 1, its number among the events of that entry.
///
/// A watch from a position gets everything behind it; `INDEX.0` is the place before the first event of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct EventPosition {
    /// Index of the entry in the log.
    pub index: u64,
    /// Number within the entry.
    pub number: u32,
}

impl EventPosition {
    /// Before the first event of a cluster.
    pub const START: Self = Self { index: 0, number: 0 };

    /// Behind everything that the entries up to `index` told.
    pub(crate) const fn behind(index: u64) -> Self {
        if index == 0 { Self::START } else { Self { index: index.saturating_add(1), number: 0 } }
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.number)
    }
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is written INDEX.NUMBER, as 4711.2")]
pub struct NoPosition;

impl FromStr for EventPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (index, number) = text.split_once('.').ok_or(NoPosition)?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(index) || !digits(number) {
            return Err(NoPosition);
        }
        Ok(Self { index: index.parse().map_err(|_| NoPosition)?, number: number.parse().map_err(|_| NoPosition)? })
    }
}

/// Which events somebody wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All.
    All,
    /// All but changes of single files. They are remembered for much longer.
    News,
}

/// An event with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedEvent {
    /// Where it is; the same on every node.
    pub position: EventPosition,
    /// What happened.
    pub event: Arc<Event>,
}

/// The events asked for are not known any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gap {
    /// From here on everything is known.
    pub(crate) oldest: EventPosition,
}

/// A part of the history.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) events: Vec<PlacedEvent>,
    /// Everything up to here is in `events` or was asked not to be.
    pub(crate) until: EventPosition,
}

/// What this node remembers.
pub(crate) struct History {
    inner: Mutex<Inner>,
    /// Told after each entry with events of any kind.
    any: watch::Sender<()>,
    /// The same, without those whose events are all changes of single files.
    news: watch::Sender<()>,
}

struct Inner {
    news: Ring,
    files: Ring,
    /// Behind everything that was applied here.
    until: EventPosition,
    /// The state was replaced, and it is not known yet by that of which index.
    replaced: bool,
}

struct Ring {
    events: VecDeque<(PlacedEvent, usize)>,
    bytes: usize,
    /// The position of the newest event that is gone.
    floor: EventPosition,
    events_max: usize,
    bytes_max: usize,
}

impl History {
    pub(crate) fn new() -> Self {
        Self::with_limits(EVENTS_MAX, EVENT_BYTES_MAX)
    }

    fn with_limits(events_max: usize, bytes_max: usize) -> Self {
        let ring = || Ring { events: VecDeque::new(), bytes: 0, floor: EventPosition::START, events_max, bytes_max };
        let inner = Inner { news: ring(), files: ring(), until: EventPosition::START, replaced: false };
        Self { inner: Mutex::new(inner), any: watch::Sender::new(()), news: watch::Sender::new(()) }
    }

    /// Adds the events of an entry. Called in the order of the log.
    pub(crate) fn add(&self, index: u64, events: &[Arc<Event>]) {
        let mut inner = self.inner.lock();
        let replaced = std::mem::take(&mut inner.replaced);
        if replaced {
            inner.begin_at(EventPosition { index, number: 0 });
        }
        assert!(inner.until <= EventPosition { index, number: 0 }, "entries are applied once and in order");
        let mut news = replaced;
        for (event, number) in events.iter().zip(1..) {
            let placed = PlacedEvent { position: EventPosition { index, number }, event: Arc::clone(event) };
            if matches!(**event, Event::FileChanged { .. }) {
                inner.files.push(placed);
            } else {
                news = true;
                inner.news.push(placed);
            }
        }
        inner.until = EventPosition::behind(index);
        drop(inner);
        if news {
            self.news.send_replace(());
        }
        if news || !events.is_empty() {
            self.any.send_replace(());
        }
    }

    /// Takes note that the state was replaced by one whose events are not known here.
    pub(crate) fn forget(&self) {
        self.inner.lock().replaced = true;
    }

    /// Takes note that everything up to `index` is applied, by its entries or by a snapshot.
    pub(crate) fn reached(&self, index: u64) {
        let mut inner = self.inner.lock();
        let until = EventPosition::behind(index);
        if std::mem::take(&mut inner.replaced) {
            inner.begin_at(until);
            drop(inner);
            // Whoever waits has to hear of the gap.
            self.news.send_replace(());
            self.any.send_replace(());
        } else {
            inner.until = inner.until.max(until);
        }
    }

    /// The events behind a position, at most `max` of them. A position that this node has not reached yet has nothing behind it.
    pub(crate) fn read(&self, from: EventPosition, scope: Scope, max: usize) -> Result<Piece, Gap> {
        let inner = self.inner.lock();
        let oldest = inner.oldest(scope);
        if inner.replaced {
            // What there is to say is known in a moment.
            return Ok(Piece { events: Vec::new(), until: from });
        }
        if from < oldest {
            return Err(Gap { oldest });
        }
        let mut news = inner.news.behind(from).peekable();
        let mut files = inner.files.behind(from).take(if scope == Scope::All { usize::MAX } else { 0 }).peekable();
        let mut events = Vec::new();
        while events.len() < max {
            let news_first = match (news.peek(), files.peek()) {
                (None, None) => return Ok(Piece { events, until: from.max(inner.until) }),
                (Some(a), Some(b)) => a.position < b.position,
                (found, None) => found.is_some(),
                (None, Some(_)) => false,
            };
            events.extend(if news_first { news.next() } else { files.next() }.cloned());
        }
        let until = events.last().map_or(from, |last| last.position);
        Ok(Piece { events, until })
    }

    /// Behind everything that was applied here.
    pub(crate) fn until(&self) -> EventPosition {
        self.inner.lock().until
    }

    /// From here on everything is known.
    pub(crate) fn oldest(&self, scope: Scope) -> EventPosition {
        self.inner.lock().oldest(scope)
    }

    /// Follows what is added.
    pub(crate) fn follow(&self, scope: Scope) -> watch::Receiver<()> {
        match scope {
            Scope::All => self.any.subscribe(),
            Scope::News => self.news.subscribe(),
        }
    }
}

impl Inner {
    fn oldest(&self, scope: Scope) -> EventPosition {
        match scope {
            Scope::All => self.news.floor.max(self.files.floor),
            Scope::News => self.news.floor,
        }
    }

    fn begin_at(&mut self, position: EventPosition) {
        for ring in [&mut self.news, &mut self.files] {
            ring.events.clear();
            (ring.bytes, ring.floor) = (0, position);
        }
        self.until = position;
    }
}

impl Ring {
    fn push(&mut self, placed: PlacedEvent) {
        let bytes = bytes_of(&placed.event);
        self.bytes += bytes;
        self.events.push_back((placed, bytes));
        while self.events.len() > self.events_max || self.bytes > self.bytes_max {
            let Some((oldest, bytes)) = self.events.pop_front() else { break };
            self.bytes -= bytes;
            self.floor = oldest.position;
        }
    }

    fn behind(&self, from: EventPosition) -> impl Iterator<Item = &PlacedEvent> {
        let first = self.events.partition_point(|(placed, _)| placed.position <= from);
        self.events.range(first..).map(|(placed, _)| placed)
    }
}

/// What keeping an event costs.
fn bytes_of(event: &Event) -> usize {
    const FIXED: usize = size_of::<Event>() + size_of::<(PlacedEvent, usize)>() + 2 * size_of::<usize>();
    let more = match event {
        Event::LeaseBreak { nodes, .. } => size_of_val(nodes.as_slice()),
        Event::OpensExpired { opens } => size_of_val(opens.as_slice()),
        Event::DeleteDue { delete } => delete.path.len(),
        Event::UserChanged { name } | Event::GroupChanged { name } => name.len(),
        Event::NodeUp { .. }
        | Event::NodeDown { .. }
        | Event::NodeDraining { .. }
        | Event::OplockBreak { .. }
        | Event::FileChanged { .. }
        | Event::OpenTaken { .. }
        | Event::SessionEnded { .. }
        | Event::ShareChanged { .. }
        | Event::OpenReclaimed { .. }
        | Event::ShareMoved { .. }
        | Event::ClientsBlocked { .. }
        | Event::NodeAddresses { .. }
        | Event::SettingsChanged => 0,
    };
    FIXED + more
}

#[cfg(test)]
mod tests {
    use persistence_model::{FileKey, OpenId, ShareId};

    use super::*;

    fn news(id: u64) -> Arc<Event> {
        Arc::new(Event::ShareChanged { share: ShareId(id) })
    }

    fn file(inode: u64) -> Arc<Event> {
        Arc::new(Event::FileChanged { file: FileKey { inode, ..FileKey::default() } })
    }

    fn at(index: u64, number: u32) -> EventPosition {
        EventPosition { index, number }
    }

    fn positions(history: &History, from: EventPosition, scope: Scope) -> Vec<EventPosition> {
        history.read(from, scope, usize::MAX).unwrap().events.into_iter().map(|placed| placed.position).collect()
    }

    #[test]
    fn positions_are_text_and_back() {
        for position in [EventPosition::START, at(4711, 2), at(u64::MAX, u32::MAX)] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for bad in ["", "1", ".", "1.", ".1", "1.2.3", "-1.0", "+1.0", "1. 2", "18446744073709551616.0", "1.4294967296"] {
            assert_eq!(bad.parse::<EventPosition>(), Err(NoPosition), "{bad:?}");
        }
    }

    #[test]
    fn a_reader_that_comes_back_gets_what_follows_in_order() {
        let history = History::new();
        history.add(5, &[news(1), news(2), file(1)]);
        history.add(6, &[file(2)]);
        history.add(9, &[news(3), file(1)]);
        let all = [at(5, 1), at(5, 2), at(5, 3), at(6, 1), at(9, 1), at(9, 2)];
        assert_eq!(positions(&history, EventPosition::START, Scope::All), all);
        assert_eq!(positions(&history, EventPosition::START, Scope::News), [at(5, 1), at(5, 2), at(9, 1)]);
        for seen in 0..all.len() {
            assert_eq!(positions(&history, all[seen], Scope::All), all[seen + 1..], "after {}", all[seen]);
        }
        // Piece by piece it is the same, and the last piece says that nothing is left.
        let (mut from, mut found) = (EventPosition::START, Vec::new());
        loop {
            let piece = history.read(from, Scope::All, 2).unwrap();
            from = piece.until;
            if piece.events.is_empty() {
                break;
            }
            found.extend(piece.events.into_iter().map(|placed| placed.position));
        }
        assert_eq!((found.as_slice(), from), (&all[..], at(10, 0)));
        // Another node may be behind: what it has not reached is still to come.
        assert_eq!(positions(&history, at(70, 1), Scope::All), []);
        assert_eq!(history.read(at(70, 1), Scope::All, 1).unwrap().until, at(70, 1));
    }

    #[test]
    fn entries_without_events_count_as_seen() {
        let history = History::new();
        history.add(5, &[news(1)]);
        history.reached(8);
        assert_eq!(history.until(), at(9, 0));
        assert_eq!(history.read(at(5, 1), Scope::News, 10).unwrap().until, at(9, 0));
    }

    #[test]
    fn a_replaced_state_is_a_gap() {
        let history = History::new();
        history.add(5, &[news(1)]);
        history.forget();
        let mut told = history.follow(Scope::News);
        let piece = history.read(at(4, 0), Scope::News, 1).unwrap();
        assert_eq!((piece.events, piece.until), (Vec::new(), at(4, 0)), "nothing is said before the index is known");
        history.reached(20);
        assert!(told.has_changed().unwrap(), "whoever waits is told");
        told.mark_unchanged();
        assert_eq!(history.read(at(20, 7), Scope::News, 1).unwrap_err(), Gap { oldest: at(21, 0) });
        assert_eq!(positions(&history, at(21, 0), Scope::All), []);
        history.add(21, &[news(2)]);
        assert_eq!(positions(&history, at(21, 0), Scope::All), [at(21, 1)]);
        // The index may also become known by the next entry.
        history.forget();
        history.add(30, &[file(3)]);
        assert!(told.has_changed().unwrap(), "whoever waits is told");
        assert_eq!(history.read(at(29, 1), Scope::News, 1).unwrap_err(), Gap { oldest: at(30, 0) });
        assert_eq!(positions(&history, at(30, 0), Scope::All), [at(30, 1)]);
    }

    #[test]
    fn a_new_cluster_has_no_gap() {
        let history = History::new();
        history.forget();
        history.reached(0);
        history.add(1, &[news(1)]);
        assert_eq!(positions(&history, EventPosition::START, Scope::All), [at(1, 1)]);
    }

    #[test]
    fn no_more_events_are_kept_than_the_limit() {
        let history = History::new();
        let count = EVENTS_MAX as u64 + 100;
        history.add(1, &[news(1)]);
        for index in 2..2 + count {
            history.add(index, &[file(index)]);
        }
        let inner = history.inner.lock();
        assert_eq!(inner.files.events.len(), EVENTS_MAX);
        assert!(inner.files.bytes <= EVENT_BYTES_MAX);
        assert_eq!(inner.news.events.len(), 1, "files push out files only");
        drop(inner);
        assert_eq!(positions(&history, EventPosition::START, Scope::News), [at(1, 1)]);
        let Gap { oldest } = history.read(at(1, 1), Scope::All, 1).unwrap_err();
        assert_eq!(oldest, at(101, 1));
        assert_eq!(history.read(oldest, Scope::All, 1).unwrap().events[0].position, at(102, 1));
    }

    #[test]
    fn no_more_bytes_are_kept_than_the_limit() {
        let history = History::new();
        let large = |count| Arc::new(Event::OpensExpired { opens: vec![OpenId(1); count] });
        for index in 1..=40 {
            history.add(index, &[large(1 << 17)]);
        }
        let kept = history.inner.lock().news.events.len();
        assert!((20..=24).contains(&kept), "{kept} events of 1 MiB each");
        assert!(history.inner.lock().news.bytes <= EVENT_BYTES_MAX);
        // One that is larger than everything allowed is not kept at all.
        history.add(41, &[large(EVENT_BYTES_MAX / 8)]);
        assert_eq!(history.inner.lock().news.bytes, 0);
        assert_eq!(history.read(at(40, 1), Scope::News, 1).unwrap_err(), Gap { oldest: at(41, 1) });
    }
}
