//! Watches the named points of all nodes: counts them, makes something happen at some of them, and adds a little noise to the network.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use raftstore::environment::Random;
use raftstore::{Point, Reaction, Watcher};

use super::world::{End, Shared};

/// What a trap does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// The process ends there.
    Kill,
    /// The machine loses power there.
    PowerLoss,
    /// A majority of the machines loses power there.
    PowerLossOfMajority,
    /// All machines lose power there.
    PowerLossOfAll,
    /// An error of input or output.
    Fail,
    /// The message is lost.
    Lose,
    /// The request is sent twice.
    Twice,
    /// What came there goes on later.
    Delay(Duration),
    /// The node's clock jumps ahead.
    ClockJump(Duration),
}

/// Something that happens once, at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trap {
    /// The point.
    pub(super) point: Point,
    /// Only on this node; anywhere when `None`.
    pub(super) node: Option<u64>,
    /// How often the point is passed before.
    pub(super) passes: u64,
    /// What happens.
    pub(super) deed: Deed,
}

/// What happened at the points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PointCounts {
    /// How often each point was passed while faults were allowed.
    pub passed: BTreeMap<Point, u64>,
    /// How often a trap went off there.
    pub sprung: BTreeMap<Point, u64>,
}

/// The watcher of a simulation.
pub(super) struct Watch {
    shared: Shared,
    inner: Mutex<Inner>,
}

struct Inner {
    counts: PointCounts,
    traps: Vec<Trap>,
    /// Faults are allowed.
    active: bool,
    random: Random,
}

impl Watch {
    /// Watches, and does nothing yet.
    pub(super) fn new(shared: Shared, random: Random) -> Self {
        Self { shared, inner: Mutex::new(Inner { counts: PointCounts::default(), traps: Vec::new(), active: false, random }) }
    }

    /// Allows faults, or forbids them and takes all traps away.
    pub(super) fn set_active(&self, active: bool) {
        let mut inner = self.inner.lock();
        inner.active = active;
        inner.traps.clear();
    }

    /// Sets a trap.
    pub(super) fn set(&self, trap: Trap) {
        self.inner.lock().traps.push(trap);
    }

    /// What happened so far.
    pub(super) fn counts(&self) -> PointCounts {
        self.inner.lock().counts.clone()
    }

    fn spring(&self, node: u64, point: Point, deed: Deed) -> Reaction {
        self.shared.with(|world| world.say(format!("node {node} at {point}: {deed:?}")));
        let all: BTreeSet<u64> = self.shared.with(|world| world.hosts.keys().copied().collect());
        let end = |nodes: BTreeSet<u64>, end| {
            self.shared.with(|world| world.end(&nodes, end));
            Reaction::End
        };
        match deed {
            Deed::Kill => end([node].into(), End::Killed),
            Deed::PowerLoss => end([node].into(), End::PowerLost),
            Deed::PowerLossOfMajority => {
                let others = all.iter().copied().filter(|other| *other != node).take(all.len() / 2);
                end(others.chain([node]).collect(), End::PowerLost)
            }
            Deed::PowerLossOfAll => end(all, End::PowerLost),
            Deed::Fail => Reaction::Fail,
            Deed::Lose => Reaction::Lose,
            Deed::Twice => Reaction::Twice,
            Deed::Delay(time) => Reaction::Wait(time),
            Deed::ClockJump(ahead) => {
                let clock = self.shared.with(|world| world.host(node).clock.clone());
                if let Some(clock) = clock {
                    clock.jump(ahead);
                }
                Reaction::Go
            }
        }
    }
}

impl Inner {
    /// Messages are late, lost and sent twice now and then.
    fn noise(&mut self, point: Point) -> Reaction {
        if !matches!(point, Point::RequestBeforeSend | Point::ReplyBeforeSend) {
            return Reaction::Go;
        }
        // Losses are rare: below there is TCP, which loses a message only together with its connection.
        match self.random.below(10_000) {
            0..3 => Reaction::Lose,
            3..150 => Reaction::Twice,
            150..300 => Reaction::Wait(Duration::from_millis(1 + self.random.below(80))),
            _ => Reaction::Go,
        }
    }
}

impl Watcher for Watch {
    fn at(&self, node: u64, point: Point) -> Reaction {
        // What a process does after its end is not there.
        if self.shared.with(|world| world.host(node).life.is_none()) {
            return Reaction::End;
        }
        let deed = {
            let mut inner = self.inner.lock();
            if !inner.active {
                return Reaction::Go;
            }
            *inner.counts.passed.entry(point).or_default() += 1;
            let meant = |trap: &Trap| trap.point == point && trap.node.is_none_or(|only| only == node);
            let Some(at) = inner.traps.iter().position(meant) else { return inner.noise(point) };
            if inner.traps[at].passes > 0 {
                inner.traps[at].passes -= 1;
                return inner.noise(point);
            }
            *inner.counts.sprung.entry(point).or_default() += 1;
            inner.traps.remove(at).deed
        };
        self.spring(node, point, deed)
    }
}
