//! The search itself: tries to put the operations of one record in an order, goes back when that fails, and never tries the same set of
//! operations with the same state twice.
//!
//! Operations that returned are tried first. Of unknown ones, only those are tried that change something, the youngest first, since most
//! take effect soon or never; of equal ones the oldest, since it can stand wherever a younger one can.

use std::collections::HashSet;
use std::fmt::Debug;

use super::{Model, Operation, Verdict, Violation};

/// The call or the return of an operation that returned, in a doubly linked list in order of time: what has been ordered is taken out,
/// and put back on the way back.
#[derive(Clone, Copy, Debug)]
struct Event {
    operation: usize,
    time: u64,
    /// Of a call: where its return is.
    returns: Option<usize>,
    before: usize,
    after: usize,
}

/// Both ends of the list.
const END: usize = 0;

struct Events(Vec<Event>);

impl Events {
    fn of<I, O>(operations: &[Operation<I, O>]) -> Self {
        let mut order = Vec::with_capacity(operations.len() * 2);
        for (at, operation) in operations.iter().enumerate() {
            if let Some((when, _)) = operation.returned {
                assert!(when > operation.called, "operation {at} returned before it was called");
                order.push((operation.called, at, true));
                order.push((when, at, false));
            }
        }
        order.sort_unstable();
        let end = Event { operation: 0, time: 0, returns: None, before: order.len(), after: usize::from(!order.is_empty()) };
        let mut events = vec![end];
        let mut calls = vec![END; operations.len()];
        for (place, &(time, operation, is_call)) in order.iter().enumerate() {
            let here = place + 1;
            let after = if here == order.len() { END } else { here + 1 };
            events.push(Event { operation, time, returns: None, before: place, after });
            if is_call {
                calls[operation] = here;
            } else {
                events[calls[operation]].returns = Some(here);
            }
        }
        Self(events)
    }

    fn first(&self) -> usize {
        self.0[END].after
    }

    fn take_one(&mut self, at: usize) {
        let Event { before, after, .. } = self.0[at];
        self.0[before].after = after;
        self.0[after].before = before;
    }

    fn put_one(&mut self, at: usize) {
        let Event { before, after, .. } = self.0[at];
        self.0[before].after = at;
        self.0[after].before = at;
    }

    /// Takes a call and its return out.
    fn take(&mut self, call: usize, returns: usize) {
        self.take_one(call);
        self.take_one(returns);
    }

    /// Undoes the last `take`.
    fn put(&mut self, call: usize, returns: usize) {
        self.put_one(returns);
        self.put_one(call);
    }

    /// The calls before the first return: one of them has to be the next, beside unknown operations.
    fn candidates(&self) -> Vec<usize> {
        let mut found = Vec::new();
        let mut at = self.first();
        while self.0[at].returns.is_some() {
            found.push(self.0[at].operation);
            at = self.0[at].after;
        }
        found
    }
}

/// A set of operations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Bits(Box<[u64]>);

impl Bits {
    fn none(operations: usize) -> Self {
        Self(vec![0; operations.div_ceil(64)].into())
    }

    fn flip(&mut self, operation: usize) {
        self.0[operation / 64] ^= 1 << (operation % 64);
    }

    fn has(&self, operation: usize) -> bool {
        self.0[operation / 64] & (1 << (operation % 64)) != 0
    }
}

/// An operation that never returned.
struct Unknown {
    operation: usize,
    called: u64,
    /// The one with the same input that was called before it.
    twin: Option<usize>,
}

fn unknown_of<I: PartialEq, O>(operations: &[Operation<I, O>]) -> Vec<Unknown> {
    let mut unknown: Vec<Unknown> = Vec::new();
    let mut never: Vec<_> = operations.iter().enumerate().filter(|(_, operation)| operation.returned.is_none()).collect();
    never.sort_by_key(|(_, operation)| operation.called);
    for (at, operation) in never {
        let equal = |other: &&Unknown| operations[other.operation].input == operation.input;
        let twin = unknown.iter().rev().find(equal).map(|other| other.operation);
        unknown.push(Unknown { operation: at, called: operation.called, twin });
    }
    unknown
}

/// What to try next.
#[derive(Clone, Copy)]
enum Cursor {
    /// The operation whose call is here; at a return, the unknown ones.
    Event(usize),
    /// The unknown operation before this number.
    Unknown(usize),
}

/// One operation that has got its place, and how to undo that.
struct Placed<S> {
    operation: usize,
    state_before: S,
    /// Where to go on after it has been undone.
    next: Cursor,
    /// Its events, if it returned.
    events: Option<(usize, usize)>,
}

struct Best<S> {
    order: Vec<usize>,
    state: S,
    stuck: Vec<usize>,
}

pub(super) fn search<M: Model>(model: &M, initial: M::State, operations: &[Operation<M::Input, M::Output>], steps_max: u64) -> Verdict {
    let mut events = Events::of(operations);
    let unknown = unknown_of(operations);
    // Only what returned must find a place; an unknown operation may have had no effect.
    let mut missing = operations.iter().filter(|operation| operation.returned.is_some()).count();
    let mut tried: HashSet<(Bits, M::State)> = HashSet::new();
    let mut ordered = Bits::none(operations.len());
    let mut order: Vec<Placed<M::State>> = Vec::new();
    let mut state = initial.clone();
    let mut best = Best { order: Vec::new(), state: initial, stuck: Vec::new() };
    let mut cursor = Cursor::Event(events.first());
    let mut steps = 0;
    while missing > 0 {
        steps += 1;
        if steps > steps_max {
            return Verdict::Undecided(steps_max);
        }
        let (operation, place, next) = match cursor {
            Cursor::Event(at) => {
                let event = events.0[at];
                let Some(returns) = event.returns else {
                    // A return whose call has no place yet: of those that returned, nothing else can be next.
                    cursor = Cursor::Unknown(unknown.partition_point(|unknown| unknown.called < event.time));
                    continue;
                };
                (event.operation, Some((at, returns)), Cursor::Event(event.after))
            }
            Cursor::Unknown(number) => match number.checked_sub(1) {
                Some(number) => {
                    let (candidate, next) = (&unknown[number], Cursor::Unknown(number));
                    if ordered.has(candidate.operation) || candidate.twin.is_some_and(|twin| !ordered.has(twin)) {
                        cursor = next;
                        continue;
                    }
                    (candidate.operation, None, next)
                }
                None => {
                    if order.len() > best.order.len() || best.stuck.is_empty() {
                        let order = order.iter().map(|placed| placed.operation).collect();
                        best = Best { order, state: state.clone(), stuck: events.candidates() };
                    }
                    let Some(placed) = order.pop() else {
                        return Verdict::Violation(report(operations, &best));
                    };
                    state = placed.state_before;
                    ordered.flip(placed.operation);
                    if let Some((call, returns)) = placed.events {
                        events.put(call, returns);
                        missing += 1;
                    }
                    cursor = placed.next;
                    continue;
                }
            },
        };
        cursor = next;
        let Operation { input, returned, .. } = &operations[operation];
        let output = returned.as_ref().map(|(_, output)| output);
        let Some(after) = model.step(&state, input, output) else { continue };
        if place.is_none() && (after == state || is_hopeless(model, &after, &events, operations)) {
            continue;
        }
        ordered.flip(operation);
        if !tried.insert((ordered.clone(), after.clone())) {
            ordered.flip(operation);
            continue;
        }
        order.push(Placed { operation, state_before: std::mem::replace(&mut state, after), next, events: place });
        if let Some((call, returns)) = place {
            events.take(call, returns);
            missing -= 1;
        }
        cursor = Cursor::Event(events.first());
    }
    Verdict::Linearizable
}

/// Whether an operation that has to be next, or almost next, can no longer give the output that it gave.
fn is_hopeless<M: Model>(model: &M, state: &M::State, events: &Events, operations: &[Operation<M::Input, M::Output>]) -> bool {
    let outputs = events.candidates().into_iter().filter_map(|at| operations[at].returned.as_ref());
    outputs.into_iter().any(|(_, output)| model.is_past(state, output))
}

fn report<I: Debug, O: Debug, S: Debug>(operations: &[Operation<I, O>], best: &Best<S>) -> Violation {
    let text = |&at: &usize| {
        let Operation { client, called, input, returned } = &operations[at];
        match returned {
            Some((when, output)) => format!("client {client}, {called}..{when}: {input:?} -> {output:?}"),
            None => format!("client {client}, {called}..: {input:?} -> unknown"),
        }
    };
    Violation {
        longest: best.order.iter().map(text).collect(),
        state: format!("{:?}", best.state),
        stuck: best.stuck.iter().map(text).collect(),
    }
}
