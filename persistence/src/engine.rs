//! The machine that the log drives: the model's state, who has authority, and what has to be told after each entry.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use persistence_model::codec::DecodeError;
use persistence_model::{Applied, Command, Event, LogTime, NodeId, State};
use raftstore::environment::Clock;
use raftstore::{Change, Machine};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catch_up;
use crate::entry::{Entry, EntryOutcome};
use crate::fanout::Fanout;
use crate::lease::holder::Holder;

/// Key of the authority; the model's keys begin with lower bytes.
const AUTHORITY_KEY: &[u8] = &[0xF1];
const AUTHORITY_VERSION: u8 = 1;

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
    state: RwLock<State>,
    side: Mutex<Side>,
    pub(crate) holder: Arc<Holder>,
    pub(crate) fanout: Fanout,
    authority: watch::Sender<Option<Authority>>,
    /// Counts changes of which lives there are.
    lives: watch::Sender<u64>,
    applied: watch::Sender<u64>,
}

#[derive(Default)]
struct Side {
    authority_changed: bool,
    loaded: bool,
    /// Log time of the newest entry, and when it was applied here.
    newest: Option<(u64, Instant)>,
}

impl Engine {
    pub(crate) fn new(node: NodeId, clock: Clock, holder: Arc<Holder>) -> Self {
        Self {
            node,
            clock,
            state: RwLock::default(),
            side: Mutex::default(),
            holder,
            fanout: Fanout::new(),
            authority: watch::Sender::new(None),
            lives: watch::Sender::new(0),
            applied: watch::Sender::new(0),
        }
    }

    pub(crate) fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.read())
    }

    pub(crate) fn authority(&self) -> Option<Authority> {
        *self.authority.borrow()
    }

    pub(crate) fn watch_authority(&self) -> watch::Receiver<Option<Authority>> {
        self.authority.subscribe()
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

    fn run(&self, time_ms: u64, command: &Command) -> EntryOutcome {
        let Applied { outcome, events, interested } = self.state.write().apply(LogTime(time_ms), command);
        self.tell(events);
        EntryOutcome::Applied(Applied { outcome, events: Vec::new(), interested })
    }

    /// Own consequences first, then observers, then streams.
    fn tell(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut lives_changed = false;
        for event in &events {
            match event {
                Event::NodeDown { node, incarnation } => {
                    lives_changed = true;
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

    fn take_authority(&self, authority: Option<Authority>) {
        self.side.lock().authority_changed = true;
        self.authority.send_replace(authority);
    }
}

impl Machine for Engine {
    fn apply(&self, index: u64, time_ms: u64, command: &[u8]) -> Vec<u8> {
        self.side.lock().newest = Some((time_ms, self.clock.now()));
        let outcome = match Entry::decode(command) {
            Ok(Entry::Plain(command)) => self.run(time_ms, &command),
            Ok(Entry::Guarded { authority, command }) => match self.authority() {
                Some(present) if present.index == authority => self.run(time_ms, &command),
                _ => EntryOutcome::Void,
            },
            Ok(Entry::TakeAuthority { node }) => {
                self.take_authority(Some(Authority { index, node }));
                EntryOutcome::Taken
            }
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
        let mut changes = self.state.write().take_changes();
        if std::mem::take(&mut self.side.lock().authority_changed) {
            changes.push((AUTHORITY_KEY.to_vec(), self.authority().map(encode_authority)));
        }
        changes
    }

    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        let mut authority = None;
        let mut damaged = None;
        let records = entries.filter(|(key, value)| {
            if key != AUTHORITY_KEY {
                return true;
            }
            authority = decode_authority(value);
            damaged = authority.is_none().then_some("the record of the authority makes no sense");
            false
        });
        let new = State::load(records).map_err(|error| error.to_string())?;
        if let Some(because) = damaged {
            return Err(because.to_owned());
        }
        let first = !std::mem::replace(&mut self.side.lock().loaded, true);
        let old = std::mem::replace(&mut *self.state.write(), new);
        self.authority.send_replace(authority);
        self.side.lock().authority_changed = false;
        if !first {
            let events = self.with_state(|new| catch_up::events_between(&old, new));
            tracing::info!(events = events.len(), "a snapshot replaced the records");
            self.tell(events);
        }
        self.lives.send_modify(|count| *count += 1);
        Ok(())
    }

    fn applied(&self, index: u64) {
        self.applied.send_replace(index);
    }
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
        assert!(matches!(run(3, &guarded(2)), EntryOutcome::Applied(_)));
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
