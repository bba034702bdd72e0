//! Histories known to be good, histories known to be bad, and random ones compared with a search that tries every order.

use super::record::{Input, Record, Records};
use super::*;
use crate::rng::Rng;

type Op = Operation<Input, Record>;

const NEW: Option<Record> = Some(Record { version: 0, value: 0 });

fn record(version: u64, value: u64) -> Record {
    Record { version, value }
}

fn op(client: u64, called: u64, returned: u64, input: Input, output: Record) -> Op {
    Operation { client, called, input, returned: Some((returned, output)) }
}

fn unknown(client: u64, called: u64, input: Input) -> Op {
    Operation { client, called, input, returned: None }
}

fn good(operations: &[Op]) {
    assert_eq!(check(&Records, NEW, operations), Verdict::Linearizable);
    assert!(every_order(NEW, operations));
}

#[track_caller]
fn bad(operations: &[Op]) -> Violation {
    assert!(!every_order(NEW, operations));
    match check(&Records, NEW, operations) {
        Verdict::Violation(violation) => violation,
        other => panic!("{other:?}"),
    }
}

/// Tries every order, without any cleverness.
fn every_order(state: Option<Record>, left: &[Op]) -> bool {
    if left.iter().all(|op| op.returned.is_none()) {
        return true;
    }
    let first_return = left.iter().filter_map(|op| op.returned.map(|(when, _)| when)).min().unwrap();
    left.iter().enumerate().filter(|(_, op)| op.called < first_return).any(|(at, op)| {
        let output = op.returned.map(|(_, output)| output);
        let Some(next) = Records.step(&state, &op.input, output.as_ref()) else { return false };
        let rest = [&left[..at], &left[at + 1..]].concat();
        every_order(next, &rest)
    })
}

#[test]
fn one_after_the_other() {
    good(&[]);
    good(&[
        op(1, 1, 2, Input::Write(5), record(1, 5)),
        op(2, 3, 4, Input::Read, record(1, 5)),
        op(1, 5, 6, Input::CompareAndSet(5, 7), record(2, 7)),
        op(1, 7, 8, Input::CompareAndSet(5, 9), record(2, 7)),
        op(2, 9, 10, Input::Add(3), record(3, 10)),
    ]);
}

#[test]
fn what_overlaps_may_be_ordered_freely() {
    // The write that was called last took effect first.
    good(&[
        op(1, 1, 10, Input::Write(1), record(2, 1)),
        op(2, 2, 9, Input::Write(2), record(1, 2)),
        op(3, 3, 4, Input::Read, record(0, 0)),
        op(3, 5, 6, Input::Read, record(1, 2)),
        op(3, 7, 8, Input::Read, record(2, 1)),
    ]);
}

#[test]
fn a_lost_update() {
    let violation = bad(&[op(1, 1, 2, Input::Write(5), record(1, 5)), op(2, 3, 4, Input::Write(6), record(1, 6))]);
    assert_eq!(violation.longest.len(), 1);
    assert!(violation.stuck[0].contains("Write(6)"), "{violation}");
}

#[test]
fn a_stale_read() {
    bad(&[op(1, 1, 2, Input::Write(5), record(1, 5)), op(2, 3, 4, Input::Read, record(0, 0))]);
    // Also when another client has already seen the new value while the write is still open.
    bad(&[op(1, 1, 9, Input::Write(5), record(1, 5)), op(2, 2, 3, Input::Read, record(1, 5)), op(3, 4, 5, Input::Read, record(0, 0))]);
}

#[test]
fn applied_twice() {
    bad(&[op(1, 1, 2, Input::Add(1), record(1, 1)), op(1, 3, 4, Input::Read, record(2, 2))]);
    // An unknown one may count once, not twice.
    good(&[unknown(1, 1, Input::Add(1)), op(2, 2, 3, Input::Read, record(1, 1))]);
    bad(&[unknown(1, 1, Input::Add(1)), op(2, 2, 3, Input::Read, record(2, 2))]);
}

#[test]
fn a_value_that_nobody_wrote() {
    bad(&[op(1, 1, 4, Input::Write(5), record(1, 5)), op(2, 2, 3, Input::Read, record(1, 6))]);
    bad(&[op(1, 1, 2, Input::Read, record(0, 1))]);
}

#[test]
fn an_unknown_operation_may_take_effect_late_or_never() {
    let late = [
        unknown(1, 1, Input::Write(5)),
        op(2, 2, 3, Input::Read, record(0, 0)),
        op(2, 4, 5, Input::Write(6), record(1, 6)),
        op(2, 6, 7, Input::Read, record(1, 6)),
        op(2, 8, 9, Input::Read, record(2, 5)),
    ];
    good(&late);
    good(&late[..4]);
    // But not before its call, and not taken back.
    bad(&[op(2, 1, 2, Input::Read, record(1, 5)), unknown(1, 3, Input::Write(5))]);
    bad(&[late.as_slice(), &[op(2, 10, 11, Input::Read, record(1, 6))]].concat());
}

#[test]
fn two_clients_see_two_orders() {
    bad(&[
        op(1, 1, 10, Input::Write(1), record(1, 1)),
        op(2, 2, 9, Input::Write(2), record(2, 2)),
        op(3, 3, 4, Input::Read, record(2, 2)),
        op(4, 5, 6, Input::Read, record(1, 1)),
    ]);
}

#[test]
fn an_acknowledged_operation_that_vanished() {
    bad(&[op(1, 1, 2, Input::Write(1), record(1, 1)), op(1, 3, 4, Input::Write(2), record(2, 2)), op(2, 5, 6, Input::Read, record(1, 1))]);
}

#[test]
fn a_record_of_which_nothing_is_known_begins_anywhere() {
    let operations = [op(1, 1, 2, Input::Add(1), record(8, 3)), op(1, 3, 4, Input::Read, record(8, 3))];
    assert_eq!(check(&Records, None, &operations), Verdict::Linearizable);
    let operations = [op(1, 1, 2, Input::Add(1), record(8, 3)), op(1, 3, 4, Input::Read, record(7, 3))];
    assert!(matches!(check(&Records, None, &operations), Verdict::Violation(_)));
}

#[test]
fn a_history_keeps_records_apart() {
    let mut history = History::default();
    let first = history.call(1, "a", Input::Write(1));
    let second = history.call(2, "b", Input::Write(2));
    let third = history.call(3, "a", Input::Add(1));
    history.returned(&second, record(1, 2));
    history.returned(&first, record(1, 1));
    history.failed(&third);
    let read = history.call(2, "a", Input::Read);
    history.returned(&read, record(1, 1));
    assert_eq!(history.now(), 7);
    let records: Vec<_> = history.records().collect();
    assert_eq!(records.len(), 2);
    for (_, operations) in records {
        assert_eq!(check(&Records, NEW, operations), Verdict::Linearizable);
    }
}

/// A history of some clients on one record that applies each operation at a moment between call and return, and sometimes tells a lie.
fn random_history(rng: &mut Rng, operations: u64, unknown_in: u64, values: u64, lie: bool) -> Vec<Op> {
    let clients = rng.between(2, 4);
    let (mut now, mut state, mut done) = (0, record(0, 0), Vec::new());
    // Per client: the operation under way, and its answer once it took effect.
    let mut running: Vec<Option<(u64, Input, Option<Record>)>> = vec![None; clients as usize];
    let mut called = 0;
    while called < operations || running.iter().any(Option::is_some) {
        let client = rng.between(0, clients - 1);
        let slot = &mut running[client as usize];
        now += 1;
        match slot {
            None if called < operations => {
                called += 1;
                let input = match rng.between(0, 3) {
                    0 => Input::Read,
                    1 => Input::Write(rng.between(0, values)),
                    2 if rng.between(0, 1) == 0 => Input::CompareAndSet(state.value, rng.between(0, values)),
                    2 => Input::CompareAndSet(rng.between(0, values), rng.between(0, values)),
                    _ => Input::Add(rng.between(1, values)),
                };
                *slot = Some((now, input, None));
            }
            None => {}
            Some((since, input, None)) if rng.between(1, unknown_in) == 1 => {
                done.push(unknown(client, *since, *input));
                *slot = None;
            }
            Some((_, input, effect @ None)) => {
                state = state.after(*input);
                *effect = Some(state);
            }
            // It took effect, and nobody heard of it.
            Some((since, input, Some(_))) if rng.between(1, unknown_in) == 1 => {
                done.push(unknown(client, *since, *input));
                *slot = None;
            }
            Some((since, input, Some(output))) => {
                done.push(op(client, *since, now, *input, *output));
                *slot = None;
            }
        }
    }
    if lie && !done.is_empty() {
        let at = rng.between(0, done.len() as u64 - 1) as usize;
        if let Some((_, output)) = &mut done[at].returned {
            match rng.between(0, 1) {
                0 => output.version = rng.between(0, operations),
                _ => output.value = rng.between(0, 4),
            }
        }
    }
    done.sort_by_key(|op| op.called);
    done
}

#[test]
fn agrees_with_a_search_through_every_order() {
    let (mut linearizable, mut violations) = (0, 0);
    for seed in 0..3000 {
        let history = random_history(&mut Rng::new(seed), 7, 10, 3, seed % 2 == 0);
        let expected = every_order(NEW, &history);
        match check(&Records, NEW, &history) {
            Verdict::Linearizable => {
                linearizable += 1;
                assert!(expected, "seed {seed}: {history:#?}");
            }
            Verdict::Violation(violation) => {
                violations += 1;
                assert!(!expected, "seed {seed}: {violation} {history:#?}");
            }
            Verdict::Undecided(_) => panic!("seed {seed}"),
        }
    }
    assert!(linearizable > 1000 && violations > 500, "{linearizable} {violations}");
}

/// As long as values tell which unknown operation wrote them: with a few values and many unknown operations the question is hard in itself.
#[test]
fn long_histories_are_decided() {
    for seed in 0..20 {
        let history = random_history(&mut Rng::new(seed), 2000, 20, 1 << 40, false);
        assert_eq!(check(&Records, NEW, &history), Verdict::Linearizable, "seed {seed}");
    }
}

#[test]
fn a_search_has_a_limit() {
    let history = random_history(&mut Rng::new(1), 200, 10, 3, false);
    assert_eq!(search::search(&Records, NEW, &history, 10), Verdict::Undecided(10));
}
