//! What must hold when a run is over.
//!
//! All replicas hold the same, their logs are equal where they overlap, every record's history is linearizable, and exactly those
//! acknowledged operations are gone that the class table excuses.

use super::world::World;
use crate::checker::classes;
use crate::checker::linear::record::{Input, Record, Records};
use crate::checker::linear::{Operation, Verdict as Linear, check};
use raftstore::Class;

/// What the comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Acknowledged operations that had to survive.
    pub(super) bound: u64,
    /// Acknowledged operations that were excused, and how many of them are gone.
    pub(super) excused: (u64, u64),
    /// Broken promises.
    pub(super) broken: Vec<String>,
}

/// Judges a healed cluster whose clients have ended.
pub(super) fn judge(world: &mut World) -> Verdict {
    let mut verdict = Verdict::default();
    replicas_are_equal(world, &mut verdict);
    histories_are_linearizable(world, &mut verdict);
    let compared = classes::compare(&world.issued, &world.happened, &world.survived());
    verdict.bound = compared.bound.values().sum::<usize>() as u64;
    verdict.excused = (compared.excused.values().sum::<usize>() as u64, compared.excused_and_gone as u64);
    verdict.broken.extend(compared.broken.iter().map(ToString::to_string));
    verdict
}

fn replicas_are_equal(world: &World, verdict: &mut Verdict) {
    let ledgers = world.hosts.iter().filter_map(|(node, host)| Some((node, host.ledger.as_ref()?)));
    let all: Vec<_> = ledgers.map(|(node, ledger)| (*node, ledger.dump(), ledger.applied_entries())).collect();
    let Some((first, dump, applied)) = all.first() else { return verdict.broken.push("nobody runs".to_owned()) };
    for (node, other_dump, other_applied) in &all[1..] {
        if other_dump != dump {
            verdict.broken.push(format!("nodes {first} and {node} hold different records:\n  {dump}\n  {other_dump}"));
        }
        for (index, digest) in other_applied {
            if applied.get(index).is_some_and(|own| own != digest) {
                verdict.broken.push(format!("nodes {first} and {node} have applied different entries at {index}"));
            }
        }
    }
}

fn histories_are_linearizable(world: &World, verdict: &mut Verdict) {
    let losses = world.happened.losses();
    for (&key, operations) in world.history.records() {
        let class = World::class_of(key);
        // A loss of power that takes a majority may take volatile and durable operations back: what was before is judged by itself.
        let ends: Vec<u64> = if class == Class::Persistent { vec![u64::MAX] } else { losses.iter().copied().chain([u64::MAX]).collect() };
        let mut begin = 0;
        for end in ends {
            let initial = (begin == 0).then(Record::default);
            match check(&Records, initial, &window(operations, begin, end)) {
                Linear::Linearizable => {}
                Linear::Violation(violation) => {
                    verdict.broken.push(format!("the history of record {key} ({class:?}) is not linearizable: {violation}"));
                }
                Linear::Undecided(steps) => verdict.broken.push(format!("the history of record {key} was not decided in {steps} steps")),
            }
            begin = end;
        }
    }
}

/// The operations between two moments. One that reaches over the first or the second is unknown on both sides: it may have been done
/// before, and be gone after.
fn window(operations: &[Operation<Input, Record>], begin: u64, end: u64) -> Vec<Operation<Input, Record>> {
    let inside = operations.iter().filter(|op| op.called <= end && op.returned.is_none_or(|(when, _)| when > begin));
    let clip = |op: &Operation<Input, Record>| Operation {
        called: op.called.max(begin),
        returned: op.returned.filter(|(when, _)| op.called > begin && *when <= end),
        ..op.clone()
    };
    inside.map(clip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_cuts_what_reaches_over_it() {
        let op = |called, returned: Option<u64>| Operation {
            client: 1,
            called,
            input: Input::Read,
            returned: returned.map(|when| (when, Record::default())),
        };
        let all = [op(1, Some(2)), op(3, Some(9)), op(4, None), op(11, Some(12)), op(13, Some(22)), op(23, Some(24))];
        let seen: Vec<_> = window(&all, 8, 20).iter().map(|op| (op.called, op.returned.map(|(when, _)| when))).collect();
        assert_eq!(seen, [(8, None), (8, None), (11, Some(12)), (13, None)]);
    }
}
