//! Property: what a class promises. After faults, exactly the acknowledged operations are there that must be.
//!
//! | class | an acknowledged operation survives |
//! |---|---|
//! | persistent | always |
//! | volatile, durable | unless, after it was asked for, a majority of the voters was in doubt at once |
//!
//! A node is *in doubt* from a loss of its power until it is known again to hold everything that the cluster had committed when it came
//! back. What counts is when an operation was asked for, because it may be done some time before its client hears of it. The end of a
//! process alone puts nobody in doubt: what it wrote is in the page cache. An operation that was refused is never there, and nothing is
//! there that nobody asked for. Knows nothing of how operations were made or faults injected.

use std::collections::{BTreeMap, BTreeSet};

use raftstore::Class;

/// What happened to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// These nodes vote from now on; during a change of the membership, and while its outcome is unknown, the one group or the other.
    Voters(Vec<BTreeSet<u64>>),
    /// The process of a node ended; its machine did not.
    Killed(u64),
    /// The machines of these nodes lost power at the same time.
    LostPower(BTreeSet<u64>),
    /// A node holds again everything that was committed when it came back.
    Recovered(u64),
}

/// What happened, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    events: Vec<(u64, Happened)>,
}

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done, at this time.
    Acknowledged(u64),
    /// It was certainly not done, nor will be.
    Refused,
    /// Nothing certain.
    Unknown,
}

/// An operation that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// What it must survive.
    pub class: Class,
    /// When it was asked for.
    pub called: u64,
    /// What became of it, for its client.
    pub fate: Fate,
}

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An acknowledged operation is missing.
    #[error("operation {operation} ({class:?}, acknowledged at {at}) is gone, and nothing that happened excuses that")]
    Gone {
        /// The operation.
        operation: u64,
        /// Its class.
        class: Class,
        /// When it was acknowledged.
        at: u64,
    },
    /// A refused operation was done.
    #[error("operation {operation} was refused for certain, and yet it was done")]
    Refused {
        /// The operation.
        operation: u64,
    },
    /// An operation that nobody asked for.
    #[error("operation {operation} was done, and nobody had asked for it")]
    Invented {
        /// The operation.
        operation: u64,
    },
}

/// What the comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Acknowledged operations that had to survive, by class.
    pub bound: BTreeMap<Class, usize>,
    /// Acknowledged operations that a loss of power excused, by class.
    pub excused: BTreeMap<Class, usize>,
    /// Excused operations that are gone indeed.
    pub excused_and_gone: usize,
    /// Broken promises.
    pub broken: Vec<Broken>,
}

impl Faults {
    /// Writes down what happened. `at` must not go back.
    pub fn note(&mut self, at: u64, happened: Happened) {
        assert!(self.events.last().is_none_or(|(last, _)| *last <= at), "faults are written down in order of time");
        self.events.push((at, happened));
    }

    /// What happened, in order.
    #[must_use]
    pub fn events(&self) -> &[(u64, Happened)] {
        &self.events
    }

    /// The moments at which a loss of power left a majority of the voters in doubt.
    #[must_use]
    pub fn losses(&self) -> Vec<u64> {
        let (mut groups, mut doubtful) = (Vec::new(), BTreeSet::new());
        let mut losses = Vec::new();
        for (at, happened) in &self.events {
            match happened {
                Happened::Voters(now) => groups.clone_from(now),
                Happened::Killed(_) => {}
                Happened::Recovered(node) => {
                    doubtful.remove(node);
                }
                Happened::LostPower(nodes) => {
                    doubtful.extend(nodes.iter().copied());
                    if groups.iter().any(|voters| voters.intersection(&doubtful).count() * 2 > voters.len()) {
                        losses.push(*at);
                    }
                }
            }
        }
        losses
    }
}

/// Compares what is there with what must be.
#[must_use]
pub fn compare(issued: &BTreeMap<u64, Issued>, faults: &Faults, survived: &BTreeSet<u64>) -> Comparison {
    let last_loss = faults.losses().last().copied();
    let mut found = Comparison::default();
    for (&operation, &Issued { class, called, fate }) in issued {
        let there = survived.contains(&operation);
        match fate {
            Fate::Acknowledged(_) if class != Class::Persistent && last_loss.is_some_and(|loss| called <= loss) => {
                *found.excused.entry(class).or_default() += 1;
                found.excused_and_gone += usize::from(!there);
            }
            Fate::Acknowledged(at) => {
                *found.bound.entry(class).or_default() += 1;
                if !there {
                    found.broken.push(Broken::Gone { operation, class, at });
                }
            }
            Fate::Refused if there => found.broken.push(Broken::Refused { operation }),
            Fate::Refused | Fate::Unknown => {}
        }
    }
    found
        .broken
        .extend(survived.iter().filter(|operation| !issued.contains_key(operation)).map(|&operation| Broken::Invented { operation }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [Class; 3] = [Class::Volatile, Class::Durable, Class::Persistent];

    fn faults(events: &[(u64, Happened)]) -> Faults {
        let mut faults = Faults::default();
        faults.note(0, Happened::Voters(vec![BTreeSet::from([1, 2, 3])]));
        events.iter().for_each(|(at, happened)| faults.note(*at, happened.clone()));
        faults
    }

    fn power(nodes: &[u64]) -> Happened {
        Happened::LostPower(nodes.iter().copied().collect())
    }

    /// One operation of each class acknowledged at 10, and who of them is missed when all are gone.
    fn missed(events: &[(u64, Happened)]) -> Vec<Class> {
        let issued = CLASSES.iter().zip(1..).map(|(&class, id)| (id, Issued { class, called: 9, fate: Fate::Acknowledged(10) })).collect();
        let found = compare(&issued, &faults(events), &BTreeSet::new());
        assert_eq!(compare(&issued, &faults(events), &BTreeSet::from([1, 2, 3])).broken, []);
        let gone = found.broken.into_iter().map(|broken| match broken {
            Broken::Gone { class, at: 10, .. } => class,
            other => panic!("{other}"),
        });
        gone.collect()
    }

    #[test]
    fn without_a_loss_of_power_nothing_may_go() {
        assert_eq!(missed(&[]), CLASSES);
        let all = [1, 2, 3].map(|node| (20, Happened::Killed(node)));
        assert_eq!(missed(&all), CLASSES);
    }

    #[test]
    fn a_minority_that_loses_power_takes_nothing_along() {
        assert_eq!(missed(&[(20, power(&[1]))]), CLASSES);
        assert_eq!(missed(&[(20, power(&[1])), (25, Happened::Recovered(1)), (30, power(&[2]))]), CLASSES);
    }

    #[test]
    fn a_majority_that_loses_power_leaves_the_persistent_ones() {
        assert_eq!(missed(&[(20, power(&[1, 2]))]), [Class::Persistent]);
        assert_eq!(missed(&[(20, power(&[1, 2, 3]))]), [Class::Persistent]);
        // One after the other, before the first had caught up.
        assert_eq!(missed(&[(20, power(&[1])), (30, power(&[2]))]), [Class::Persistent]);
        assert_eq!(missed(&[(20, power(&[1])), (30, power(&[2])), (40, Happened::Recovered(1))]), [Class::Persistent]);
    }

    #[test]
    fn what_is_acknowledged_after_the_loss_is_not_excused() {
        assert_eq!(missed(&[(5, power(&[1, 2]))]), CLASSES);
        assert_eq!(missed(&[(5, power(&[1, 2])), (6, Happened::Recovered(1)), (7, Happened::Recovered(2)), (20, power(&[3]))]), CLASSES);
    }

    #[test]
    fn only_voters_count() {
        assert_eq!(missed(&[(20, power(&[1, 4, 5]))]), CLASSES);
        let five = Happened::Voters(vec![BTreeSet::from([1, 2, 3, 4, 5])]);
        assert_eq!(missed(&[(15, five.clone()), (20, power(&[1, 2]))]), CLASSES);
        assert_eq!(missed(&[(15, five), (20, power(&[1, 2, 5]))]), [Class::Persistent]);
        let between = Happened::Voters(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 3, 4, 5])]);
        assert_eq!(missed(&[(15, between), (20, power(&[1, 2]))]), [Class::Persistent]);
    }

    #[test]
    fn refused_and_invented_operations_are_found() {
        let issue = |fate| Issued { class: Class::Durable, called: 1, fate };
        let issued = BTreeMap::from([(1, issue(Fate::Refused)), (2, issue(Fate::Unknown)), (3, issue(Fate::Refused))]);
        let found = compare(&issued, &faults(&[]), &BTreeSet::from([1, 2, 9]));
        assert_eq!(found.broken, [Broken::Refused { operation: 1 }, Broken::Invented { operation: 9 }]);
        assert_eq!(compare(&issued, &faults(&[]), &BTreeSet::new()).broken, []);
    }

    #[test]
    fn excuses_are_counted() {
        let issued = CLASSES.iter().zip(1..).map(|(&class, id)| (id, Issued { class, called: 9, fate: Fate::Acknowledged(10) })).collect();
        let found = compare(&issued, &faults(&[(20, power(&[1, 2]))]), &BTreeSet::from([1, 3]));
        assert_eq!(found.excused, BTreeMap::from([(Class::Volatile, 1), (Class::Durable, 1)]));
        assert_eq!(found.bound, BTreeMap::from([(Class::Persistent, 1)]));
        assert_eq!(found.excused_and_gone, 1);
    }
}
