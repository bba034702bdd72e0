//! Which fault comes next: drawn from the seed.

use std::collections::BTreeSet;
use std::time::Duration;

use raftstore::Point;
use raftstore::environment::Random;
use raftstore::environment::simulated_disk::Operation;

use super::watch::{Deed, Trap};

/// A fault that the simulation makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The links between these nodes and the others are cut, both ways; as connections that hang, or as messages that vanish.
    Partition { side: BTreeSet<u64>, vanish: bool },
    /// The link from one node to another is cut, one way.
    OneWay { from: u64, to: u64 },
    /// Every message of a node may take this long.
    Slow { node: u64, longest: Duration },
    /// Processes end.
    Kill(BTreeSet<u64>),
    /// Machines lose power at once.
    PowerLoss(BTreeSet<u64>),
    /// A clock runs at another speed.
    ClockRate { node: u64, ppm: i64 },
    /// A clock jumps ahead.
    ClockJump { node: u64, ahead: Duration },
    /// The lead is handed over.
    Transfer(u64),
    /// A node makes a snapshot.
    Snapshot(u64),
    /// A node is taken out and let in again.
    Leave(u64),
    /// The disk of a node is full.
    DiskFull(u64),
    /// An operation of a disk fails.
    DiskError { node: u64, operation: Operation, nth: u64 },
    /// Syncs of a disk take up to this long.
    SlowDisk { node: u64, longest: Duration },
    /// Something at a named point.
    Trap(Trap),
}

impl Fault {
    /// The kind, for tables.
    #[must_use]
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Partition { vanish: false, .. } => "partition",
            Self::Partition { vanish: true, .. } => "partition (messages vanish)",
            Self::OneWay { .. } => "one-way partition",
            Self::Slow { .. } => "slow links",
            Self::Kill(_) => "kill",
            Self::PowerLoss(_) => "loss of power",
            Self::ClockRate { .. } => "clock rate",
            Self::ClockJump { .. } => "clock jump",
            Self::Transfer(_) => "leader transfer",
            Self::Snapshot(_) => "snapshot",
            Self::Leave(_) => "membership change",
            Self::DiskFull(_) => "full disk",
            Self::DiskError { .. } => "disk error",
            Self::SlowDisk { .. } => "slow disk",
            Self::Trap(_) => "at a point",
        }
    }
}

/// Draws faults.
#[derive(Debug)]
pub(super) struct Plan {
    random: Random,
    nodes: Vec<u64>,
    /// Traps go around all points from here, so that a series of seeds visits each of them.
    next_point: usize,
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn new(random: Random, nodes: u64, seed: u64) -> Self {
        let next_point = usize::try_from(seed % Point::ALL.len() as u64).unwrap_or(0) * 7;
        Self { random, nodes: (1..=nodes).collect(), next_point }
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.random.below(to - from + 1))
    }

    /// How long a fault lasts.
    pub(super) fn duration(&mut self) -> Duration {
        self.millis(200, 2500)
    }

    /// How long a node that ended stays away.
    pub(super) fn absence(&mut self) -> Duration {
        self.millis(20, 2000)
    }

    /// How long until the next fault.
    pub(super) fn pause(&mut self) -> Duration {
        self.millis(50, 700)
    }

    fn node(&mut self) -> u64 {
        self.nodes[usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0)]
    }

    /// Some nodes, between one and `most`.
    fn some(&mut self, most: usize) -> BTreeSet<u64> {
        let wanted = 1 + usize::try_from(self.random.below(most as u64)).unwrap_or(0);
        let mut chosen = BTreeSet::new();
        while chosen.len() < wanted {
            chosen.insert(self.node());
        }
        chosen
    }

    /// One node, some, or all of them.
    fn one_some_or_all(&mut self) -> BTreeSet<u64> {
        match self.random.below(6) {
            0..3 => self.some(1),
            3 => self.some(self.nodes.len() / 2),
            4 => self.some(self.nodes.len() - 1),
            _ => self.nodes.iter().copied().collect(),
        }
    }

    /// The next fault. `leader` is the present one, if somebody knows it.
    pub(super) fn draw(&mut self, leader: Option<u64>) -> Fault {
        let of_interest = |plan: &mut Self| match leader {
            Some(leader) if plan.random.one_in(2) => leader,
            _ => plan.node(),
        };
        match self.random.below(100) {
            0..8 => {
                let side = if self.random.one_in(2) { [of_interest(self)].into() } else { self.some(self.nodes.len() / 2) };
                Fault::Partition { side, vanish: self.random.one_in(2) }
            }
            8..12 => {
                let from = of_interest(self);
                let to = self.nodes[usize::try_from(from % self.nodes.len() as u64).unwrap_or(0)];
                if self.random.one_in(2) { Fault::OneWay { from, to } } else { Fault::OneWay { from: to, to: from } }
            }
            12..16 => Fault::Slow { node: of_interest(self), longest: self.millis(20, 400) },
            16..24 => {
                let kill = if self.random.one_in(2) { [of_interest(self)].into() } else { self.one_some_or_all() };
                Fault::Kill(kill)
            }
            24..34 => {
                let dark = if self.random.one_in(3) { [of_interest(self)].into() } else { self.one_some_or_all() };
                Fault::PowerLoss(dark)
            }
            34..38 => {
                let ppm = i64::try_from(self.random.below(400_001)).unwrap_or(0) - 200_000;
                Fault::ClockRate { node: of_interest(self), ppm }
            }
            38..41 => Fault::ClockJump { node: of_interest(self), ahead: self.millis(100, 3_600_000) },
            41..45 => Fault::Transfer(self.node()),
            45..49 => Fault::Snapshot(of_interest(self)),
            49..53 => Fault::Leave(self.node()),
            53..55 => Fault::DiskFull(of_interest(self)),
            55..58 => {
                let operation = match self.random.below(8) {
                    0 => Operation::Read,
                    1..4 => Operation::Write,
                    _ => Operation::Sync,
                };
                Fault::DiskError { node: of_interest(self), operation, nth: 1 + self.random.below(20) }
            }
            58..62 => Fault::SlowDisk { node: of_interest(self), longest: self.millis(1, 60) },
            _ => Fault::Trap(self.trap(leader)),
        }
    }

    fn trap(&mut self, leader: Option<u64>) -> Trap {
        let point = Point::ALL[self.next_point % Point::ALL.len()];
        self.next_point += 1;
        let node = match self.random.below(3) {
            0 => leader,
            _ => None,
        };
        // Rare points are not passed often.
        let passes = if self.random.one_in(2) { 0 } else { self.random.below(12) };
        let deed = match self.random.below(13) {
            0..3 => Deed::Kill,
            3..5 => Deed::PowerLoss,
            5 => Deed::PowerLossOfMajority,
            6 => Deed::PowerLossOfAll,
            7 => Deed::Fail,
            8 => Deed::Lose,
            9 => Deed::Twice,
            10 => Deed::Delay(self.millis(1, 1500)),
            11 => Deed::ClockJump(self.millis(10, 60_000)),
            _ => Deed::Delay(self.millis(1, 50)),
        };
        Trap { point, node, passes, deed }
    }
}
