//! Which fault comes next: drawn from the seed.

use std::collections::BTreeSet;
use std::time::Duration;

use raftstore::Point;
use raftstore::environment::Random;
use raftstore::environment::simulated_disk::Operation;

use super::watch::{Deed, Trap};

/// What becomes of messages on a link that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// They wait and arrive when it is mended, as TCP repeats them.
    Held,
    /// They are dropped below the connection, which hangs from then on.
    Dropped,
    /// They vanish whole; the connection goes on.
    Vanished,
}

/// A fault that the simulation makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The links between these nodes and the others are cut, both ways.
    Partition { side: BTreeSet<u64>, how: Cut },
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
            Self::Partition { how: Cut::Held, .. } => "partition (messages wait)",
            Self::Partition { how: Cut::Dropped, .. } => "partition (connections break)",
            Self::Partition { how: Cut::Vanished, .. } => "partition (messages vanish)",
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

/// Faults in an order of their own instead of drawn ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// All machines lose power at once.
    AllLosePower,
    /// A majority of the machines, the leader's among them, loses power at once.
    MajorityLosesPower,
    /// Machines lose power one after the other, each when those before have caught up.
    OneAfterTheOther,
    /// All processes are killed at once.
    AllKilled,
    /// The leader is cut off for longer than any lease, and comes back.
    LeaderCutOff,
    /// The leader hears the others, and they do not hear it; then the other way round.
    LeaderHalfCutOff,
    /// Clocks are wrong by hours, and run at different speeds.
    WrongClocks,
    /// A flush of the leader's disk fails, and later the machine loses power.
    FalseFlush,
}

impl Scenario {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::AllLosePower,
        Self::MajorityLosesPower,
        Self::OneAfterTheOther,
        Self::AllKilled,
        Self::LeaderCutOff,
        Self::LeaderHalfCutOff,
        Self::WrongClocks,
        Self::FalseFlush,
    ];

    /// The fault of this number, with how long it lasts; `None` at the end.
    pub(super) fn fault(self, number: u64, leader: u64, nodes: u64) -> Option<(Fault, Duration)> {
        let all: BTreeSet<u64> = (1..=nodes).collect();
        let others = all.iter().copied().filter(|node| *node != leader);
        let majority: BTreeSet<u64> = others.take(all.len() / 2).chain([leader]).collect();
        let next = leader % nodes + 1;
        let long = Duration::from_secs(4);
        let fault = match (self, number) {
            (Self::AllLosePower, 0..2) => Fault::PowerLoss(all),
            (Self::MajorityLosesPower, 0..2) => Fault::PowerLoss(majority),
            (Self::OneAfterTheOther, 0..4) => Fault::PowerLoss([if number.is_multiple_of(2) { leader } else { next }].into()),
            (Self::AllKilled, 0..2) => Fault::Kill(all),
            (Self::LeaderCutOff, 0) => Fault::Partition { side: [leader].into(), how: Cut::Held },
            (Self::LeaderCutOff, 1) => Fault::Partition { side: [leader].into(), how: Cut::Dropped },
            (Self::LeaderHalfCutOff, 0) => Fault::OneWay { from: leader, to: next },
            (Self::LeaderHalfCutOff, 1) => Fault::OneWay { from: next, to: leader },
            (Self::WrongClocks, 0) => Fault::ClockJump { node: leader, ahead: Duration::from_secs(5 * 3600) },
            (Self::WrongClocks, 1) => Fault::ClockRate { node: next, ppm: 200_000 },
            (Self::WrongClocks, 2) => Fault::Transfer(next),
            (Self::WrongClocks, 3) => Fault::ClockRate { node: leader, ppm: -200_000 },
            (Self::FalseFlush, 0) => Fault::DiskError { node: leader, operation: Operation::Sync, nth: 3 },
            (Self::FalseFlush, 1) => Fault::PowerLoss(all),
            _ => return None,
        };
        Some((fault, long))
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
        // A few traps are set in each run.
        let next_point = usize::try_from(seed % Point::ALL.len() as u64).unwrap_or(0) * 4;
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
                let how = match self.random.below(4) {
                    0..2 => Cut::Held,
                    2 => Cut::Dropped,
                    _ => Cut::Vanished,
                };
                Fault::Partition { side, how }
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
        let deed = match self.random.below(10) {
            0..3 => Deed::Kill,
            3 => Deed::PowerLoss,
            4 => Deed::PowerLossOfMajority,
            5 => Deed::PowerLossOfAll,
            6 => Deed::Fail,
            _ => self.deed_of_its_own(point),
        };
        Trap { point, node, passes, deed }
    }

    /// What only makes sense at some points.
    fn deed_of_its_own(&mut self, point: Point) -> Deed {
        match (point, self.random.below(4)) {
            (Point::ClockStamp | Point::RenewBeforeSend | Point::RenewAfterAnswer, 0..3) => Deed::ClockJump(self.millis(10, 60_000)),
            (Point::RequestBeforeSend, 0) => Deed::Twice,
            (_, 0..2) => Deed::Lose,
            (_, 2) => Deed::Delay(self.millis(1, 1500)),
            _ => Deed::Delay(self.millis(1, 50)),
        }
    }
}
