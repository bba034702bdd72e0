//! The machine that the log drives: the model's state, who has authority, and what has to be told after each entry.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use persistence_model::codec::DecodeError;
use persistence_model::{Applied, Class, Command, Event, FileKey, LogTime, NodeId, Outcome, Rejection, State};
use raftstore::environment::Clock;
use raftstore::{Change, Machine};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::accord::{ACCORD_KEY, Accord};
use crate::catch_up;
use crate::debts::Debts;
use crate::entry::{Entry, EntryOutcome};
use crate::fanout::Fanout;
use crate::flights::{Flights, takes_rights};
use crate::history::{EventPosition, History};
use crate::lease::holder::Holder;
use crate::loading;

/// Key of the authority; the model's keys begin with lower bytes.
const AUTHORITY_KEY: &[u8] = &[0xF1];
const AUTHORITY_VERSION: u8 = 1;

/// Tells whether a key is the engine's own rather than a record's.
pub(crate) fn is_engine_key(key: &[u8]) -> bool {
    key == AUTHORITY_KEY || key == ACCORD_KEY
}

/// Who may declare nodes dead, and the index of the entry that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) index: u64,
    pub(crate) node: NodeId,
}

/// The replica of this node.
pub(crate) struct Engine {
    node: NodeId,
    clock: Clock,
    replica: RwLock<Replica>,
    side: Mutex<Side>,
    pub(crate) holder: Arc<Holder>,
    pub(crate) fanout: Fanout,
    pub(crate) history: History,
    debts: Mutex<Debts>,
    pub(crate) flights: Arc<Flights>,
    authority: watch::Sender<Option<Authority>>,
    accord: watch::Sender<Accord>,
    /// Counts changes of which lives there are.
    lives: watch::Sender<u64>,
    applied: watch::Sender<u64>,
}

/// The records, and how far in the log they are.
#[derive(Default)]
struct Replica {
    state: State,
    /// Everything told up to here is in the state, and nothing after it.
    position: EventPosition,
}

#[derive(Default)]
struct Side {
    authority_changed: bool,
    accord_changed: bool,
    loaded: bool,
    /// The state was replaced, and it is not known yet by that of which index.
    replaced: bool,
    /// Log time of the newest entry, and when it was applied here.
    newest: Option<(u64, Instant)>,
}

impl Engine {
    pub(crate) fn new(node: NodeId, clock: Clock, holder: Arc<Holder>) -> Self {
        Self {
            node,
            clock,
            replica: RwLock::default(),
            side: Mutex::default(),
            holder,
            fanout: Fanout::new(),
            history: History::new(),
            debts: Mutex::default(),
            flights: Arc::default(),
            authority: watch::Sender::new(None),
            accord: watch::Sender::new(Accord::default()),
            lives: watch::Sender::new(0),
            applied: watch::Sender::new(0),
        }
    }

    pub(crate) fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.replica.read().state)
    }

    /// As [`Engine::with_state`], with the position of the events that the state holds.
    pub(crate) fn with_state_at<R>(&self, look: impl FnOnce(&State, EventPosition) -> R) -> R {
        let replica = self.replica.read();
        look(&replica.state, replica.position)
    }

    pub(crate) fn authority(&self) -> Option<Authority> {
        *self.authority.borrow()
    }

    pub(crate) fn watch_authority(&self) -> watch::Receiver<Option<Authority>> {
        self.authority.subscribe()
    }

    pub(crate) fn accord(&self) -> Accord {
        self.accord.borrow().clone()
    }

    pub(crate) fn watch_accord(&self) -> watch::Receiver<Accord> {
        self.accord.subscribe()
    }

    pub(crate) fn watch_lives(&self) -> watch::Receiver<u64> {
        self.lives.subscribe()
    }

    pub(crate) fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Log time now, as far as this node can tell; never later than what the leader would stamp.
    pub(crate) fn log_time(&self) -> LogTime {
        let newest = self.side.lock().newest;
        newest
            .map_or(LogTime(0), |(time_ms, at)| LogTime(time_ms).plus(u64::try_from(self.clock.since(at).as_millis()).unwrap_or(u64::MAX)))
    }

    fn run(&self, index: u64, time_ms: u64, command: &Command) -> EntryOutcome {
        let (class, Applied { outcome, events, mut interested }) = {
            let mut replica = self.replica.write();
            replica.position = EventPosition::behind(index);
            (command.class(&replica.state), replica.state.apply(LogTime(time_ms), command))
        };
        if concerns_all(command) {
            interested = self.with_state(|state| state.nodes().filter(|node| node.is_live()).map(|node| node.id).collect());
        }
        // Something of a dead node may still be in the records: nobody waits for it, and it owes nothing.
        interested.retain(|node| self.with_state(|state| state.node(*node).is_some_and(|node| node.is_live())));
        let events: Vec<Arc<Event>> = events.into_iter().map(Arc::new).collect();
        self.settle_debts(index, command, &events, &mut interested);
        self.hold_for_flights(index, command, &events);
        self.tell(&events);
        self.history.add(index, &events);
        let news = events.iter().any(|event| !matches!(**event, Event::FileChanged { .. }));
        let applied = Box::new(Applied { outcome, events: Vec::new(), interested });
        EntryOutcome::Applied { applied, class, news }
    }

    /// Remembers who has lost something by this entry, and adds to those whom it waits for who may not know of such a loss yet.
    fn settle_debts(&self, index: u64, command: &Command, events: &[Arc<Event>], interested: &mut Vec<NodeId>) {
        let mut debts = self.debts.lock();
        if interested.is_empty() && debts.is_empty() {
            return;
        }
        let changed = |event: &Arc<Event>| if let Event::FileChanged { file } = &**event { Some(*file) } else { None };
        let files: Vec<FileKey> = events.iter().filter_map(changed).collect();
        let lost = self.with_state(|state| {
            let has = |node: NodeId, file: &FileKey| {
                let opens = state.file(file).into_iter().flat_map(|file| &file.opens);
                opens.filter_map(|open| state.open(*open)?.owner).any(|owner| owner.node == node)
            };
            let lost = |node: &NodeId| *node != self.node && files.iter().any(|file| !has(*node, file));
            interested.iter().copied().filter(lost).collect::<Vec<_>>()
        });
        if takes_rights(command) {
            debts.call_in(&files, interested);
        }
        if !lost.is_empty() {
            debts.owe(index, &files, &lost);
        }
    }

    /// What clients do here to the entry's files at this moment has to land before anybody hears of the entry.
    fn hold_for_flights(&self, index: u64, command: &Command, events: &[Arc<Event>]) {
        let files = events.iter().filter_map(|event| if let Event::FileChanged { file } = &**event { Some(*file) } else { None });
        let is_open =
            |open| self.with_state(|state| state.open(open).is_some_and(|open| open.owner.is_some_and(|owner| owner.node == self.node)));
        self.flights.applied(index, command, files, is_open);
    }

    /// Another node has applied everything up to `index`.
    pub(crate) fn confirmed(&self, node: NodeId, index: u64) {
        let mut debts = self.debts.lock();
        if !debts.is_empty() {
            debts.paid(node, index);
        }
    }

    /// Own consequences first, then observers, then streams.
    fn tell(&self, events: &[Arc<Event>]) {
        if events.is_empty() {
            return;
        }
        let mut lives_changed = false;
        for event in events {
            match &**event {
                Event::NodeDown { node, incarnation } => {
                    lives_changed = true;
                    self.debts.lock().forgive(*node);
                    if *node == self.node {
                        self.holder.revoke(*incarnation);
                    }
                }
                Event::NodeUp { .. } => lives_changed = true,
                _ => {}
            }
        }
        self.fanout.tell(events);
        if lives_changed {
            self.lives.send_modify(|count| *count += 1);
        }
    }

    fn change_accord(&self, change: &crate::accord::Change) -> EntryOutcome {
        let mut accord = self.accord();
        let outcome = match accord.apply(change) {
            Ok(()) => {
                self.side.lock().accord_changed = true;
                self.accord.send_replace(accord);
                Outcome::Done
            }
            Err(because) => {
                tracing::debug!(?change, because, "a change of the accord is passed over, as it is on every node");
                Outcome::Rejected(Rejection::NoSuchRecord)
            }
        };
        EntryOutcome::Applied {
            applied: Box::new(Applied { outcome, events: Vec::new(), interested: Vec::new() }),
            class: Class::Persistent,
            news: true,
        }
    }

    fn take_authority(&self, authority: Option<Authority>) {
        self.side.lock().authority_changed = true;
        self.authority.send_replace(authority);
    }
}

impl Machine for Engine {
    fn apply(&self, index: u64, time_ms: u64, command: &[u8]) -> Vec<u8> {
        self.side.lock().newest = Some((time_ms, self.clock.now()));
        let outcome = match Entry::decode(command) {
            Ok(Entry::Plain(command)) => self.run(index, time_ms, &command),
            Ok(Entry::Guarded { authority, command }) => match self.authority() {
                Some(present) if present.index == authority => self.run(index, time_ms, &command),
                _ => EntryOutcome::Void,
            },
            Ok(Entry::TakeAuthority { node }) => {
                self.take_authority(Some(Authority { index, node }));
                EntryOutcome::Taken
            }
            Ok(Entry::Accord(change)) => self.change_accord(&change),
            // Going on without it would make this replica differ from those that understand it.
            Err(DecodeError::Version(version)) => panic!("the log entry {index} has format version {version}: this program is too old"),
            Err(error) => {
                tracing::error!(index, %error, "a log entry makes no sense and is passed over, as it is on every node");
                EntryOutcome::Nonsense
            }
        };
        outcome.encode()
    }

    fn take_changes(&self) -> Vec<Change> {
        let mut changes = self.replica.write().state.take_changes();
        if std::mem::take(&mut self.side.lock().authority_changed) {
            changes.push((AUTHORITY_KEY.to_vec(), self.authority().map(encode_authority)));
        }
        if std::mem::take(&mut self.side.lock().accord_changed) {
            changes.push((ACCORD_KEY.to_vec(), Some(self.accord().encode())));
        }
        changes
    }

    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        let mut authority = None;
        let mut accord = Accord::default();
        let mut damaged = None;
        let records = entries.filter(|(key, value)| {
            if !is_engine_key(key) {
                return true;
            }
            if key == AUTHORITY_KEY {
                authority = decode_authority(value);
                if authority.is_none() {
                    damaged = Some("the record of the authority makes no sense".to_owned());
                }
            } else {
                match Accord::decode(value, raftstore::Versions::default().newest) {
                    Ok(read) => accord = read,
                    Err(because) => damaged = Some(because),
                }
            }
            false
        });
        let new = loading::load(records)?;
        if let Some(because) = damaged {
            return Err(because);
        }
        let first = {
            let mut side = self.side.lock();
            side.replaced = true;
            !std::mem::replace(&mut side.loaded, true)
        };
        self.history.forget();
        let old = std::mem::replace(&mut self.replica.write().state, new);
        self.authority.send_replace(authority);
        self.accord.send_replace(accord);
        {
            let mut side = self.side.lock();
            (side.authority_changed, side.accord_changed) = (false, false);
        }
        if !first {
            let events: Vec<_> = self.with_state(|new| catch_up::events_between(&old, new)).into_iter().map(Arc::new).collect();
            tracing::info!(events = events.len(), "a snapshot replaced the records");
            self.tell(&events);
        }
        self.lives.send_modify(|count| *count += 1);
        Ok(())
    }

    fn applied(&self, index: u64) {
        self.replica.write().position = EventPosition::behind(index);
        self.history.reached(index);
        if std::mem::take(&mut self.side.lock().replaced) {
            let live = self.with_state(|state| state.nodes().filter(|node| node.is_live()).map(|node| node.id).collect::<Vec<_>>());
            self.debts.lock().owe_all(index, live.into_iter().filter(|node| *node != self.node));
            self.flights.replaced(index);
        }
        self.applied.send_replace(index);
    }

    fn settled(&self, index: u64) -> Option<BoxFuture<'static, ()>> {
        let flights = self.flights.clone();
        flights.hold_up(index).then(|| async move { flights.settled(index).await }.boxed())
    }
}

/// Whether it must hold on every node when its answer comes: whoever was shut out is let in by none.
fn concerns_all(command: &Command) -> bool {
    matches!(
        command,
        Command::ShareAdd { .. }
            | Command::ShareChange { .. }
            | Command::ShareRemove { .. }
            | Command::UserAdd { .. }
            | Command::UserSetPassword { .. }
            | Command::UserEnable { .. }
            | Command::UserRemove { .. }
            | Command::UserMap { .. }
            | Command::UserUnlock { .. }
            | Command::ClusterSet { .. }
            | Command::GroupAdd { .. }
            | Command::GroupChange { .. }
            | Command::GroupRemove { .. }
            | Command::GroupMember { .. }
            | Command::NodeDrain { .. }
            | Command::AsymmetricShareAdd { .. }
            | Command::ShareMove { .. }
            | Command::NodeListen { .. }
            // A removed token must be refused at every node.
            | Command::AdminTokenAdd(_)
            | Command::AdminTokenRemove { .. }
            | Command::ClientBlock { .. }
            | Command::ClientUnblock { .. }
    )
}

fn encode_authority(authority: Authority) -> Vec<u8> {
    [&[AUTHORITY_VERSION][..], &authority.index.to_le_bytes(), &authority.node.0.to_le_bytes()].concat()
}

fn decode_authority(bytes: &[u8]) -> Option<Authority> {
    let (version, rest) = bytes.split_first()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let node = <[u8; 8]>::try_from(rest).ok()?;
    (*version == AUTHORITY_VERSION).then(|| Authority { index: u64::from_le_bytes(*index), node: NodeId(u64::from_le_bytes(node)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> Engine {
        Engine::new(NodeId(1), Clock::default(), Arc::new(Holder::new(Clock::default())))
    }

    #[test]
    fn a_declaration_under_a_former_authority_is_void() {
        let engine = engine();
        let take = |node| Entry::TakeAuthority { node: NodeId(node) }.encode();
        let guarded = |authority| Entry::Guarded { authority, command: Command::Expire }.encode();
        let run = |index, bytes: &[u8]| EntryOutcome::decode(&engine.apply(index, 5, bytes)).unwrap();
        assert_eq!(run(1, &guarded(0)), EntryOutcome::Void);
        assert_eq!(run(2, &take(1)), EntryOutcome::Taken);
        assert!(matches!(run(3, &guarded(2)), EntryOutcome::Applied { .. }));
        assert_eq!(run(4, &take(2)), EntryOutcome::Taken);
        assert_eq!(run(5, &guarded(2)), EntryOutcome::Void);
        assert_eq!(run(6, &[1, 2, 3]), EntryOutcome::Nonsense);
    }

    #[test]
    fn authority_survives_and_is_no_record_of_the_model() {
        let engine = engine();
        engine.apply(9, 5, &Entry::TakeAuthority { node: NodeId(3) }.encode());
        let changes = engine.take_changes();
        assert_eq!(changes.len(), 1);
        assert!(engine.take_changes().is_empty());
        let again = self::engine();
        let mut entries = changes.into_iter().map(|(key, value)| (key, value.unwrap()));
        again.load(&mut entries).unwrap();
        assert_eq!(again.authority(), Some(Authority { index: 9, node: NodeId(3) }));
        assert!(again.load(&mut [(AUTHORITY_KEY.to_vec(), vec![9])].into_iter()).is_err());
    }
}
