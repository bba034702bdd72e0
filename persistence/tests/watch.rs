//! Watching events from any place: nothing missed, nothing twice, whatever happens to the node that is watched.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::time::Duration;

use common::Cluster;
use common::*;
use persistence::{EventPosition, EventStream, Limits, PlacedEvent, Scope, Store, WatchError};
use persistence_model::*;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Everything that a node remembers.
fn remembered(store: &Store, scope: Scope) -> Vec<PlacedEvent> {
    let mut stream = store.watch(store.oldest_event(scope), scope);
    std::iter::from_fn(|| stream.next_ready().unwrap()).collect()
}

async fn next_event(stream: &mut EventStream) -> Result<PlacedEvent, WatchError> {
    timeout(SOON, stream.next()).await.unwrap()
}

/// Reads until something that fits.
async fn until(stream: &mut EventStream, seen: &mut Vec<PlacedEvent>, fits: impl Fn(&Event) -> bool) {
    loop {
        let placed = next_event(stream).await.unwrap();
        seen.push(placed.clone());
        if fits(&placed.event) {
            return;
        }
    }
}

fn up(node: u64) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::NodeUp { node: found, .. } if found.0 == node)
}

fn named(name: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::UserChanged { name: found } if found.eq_ignore_ascii_case(name))
}

async fn mark(cluster: &Cluster, via: u64, name: &str) {
    let added = cluster.run(via, Command::UserAdd { name: name.into(), nt_hash: [1; 16], sid: None, unix: None }).await;
    assert!(matches!(added, Outcome::UserAdded { .. }), "{added:?}");
}

/// Locks and unlocks until told to stop; whatever goes wrong meanwhile. Says how often a lock was granted.
fn churn(store: Store, at: At, open: OpenId, stop: CancellationToken) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let mut granted = 0;
        while !stop.is_cancelled() {
            if let Ok(Outcome::LockGranted) = store.propose(lock(at, open, 0)).await {
                granted += 1;
            }
            drop(store.propose(Command::Unlock { open, ranges: vec![(0, 10)], sequence: None, by: at.incarnation }).await);
        }
        granted
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_goes_on_at_another_node_when_its_own_dies() {
    let mut cluster = Cluster::new(3, Wish::default()).await;
    let at = cluster.session(1, 3).await;
    let open = cluster.opened(request(at)).await.open;
    let stop = CancellationToken::new();
    let churning = churn(cluster.store(3).clone(), at, open, stop.clone());
    // Node 3 stays, and tells in the end what there was to see.
    let mut here = 1;
    let mut seen = Vec::new();
    let mut stream = cluster.store(here).watch(EventPosition::START, Scope::All);
    for round in 0..4 {
        let name: &'static str = ["a", "b", "c", "d"][round];
        mark(&cluster, 3, name).await;
        until(&mut stream, &mut seen, named(name)).await;
        // The leader dies in every other round, when it is not node 3.
        cluster.kill(here).await;
        let last = loop {
            match next_event(&mut stream).await {
                Ok(placed) => seen.push(placed),
                Err(WatchError::Stopped) => break stream.position(),
                Err(gap) => panic!("{gap}"),
            }
        };
        let other = 3 - here;
        stream = cluster.store(other).watch(last, Scope::All);
        let before = cluster.store(other).events_end();
        cluster.start(here).await;
        cluster.store(here).wait_serving(SOON).await.unwrap();
        let back = up(here);
        until(&mut stream, &mut seen, |event| back(event)).await;
        assert!(stream.position() > last && cluster.store(other).events_end() > before);
        here = other;
    }
    stop.cancel();
    let granted = churning.await.unwrap();
    mark(&cluster, 3, "end").await;
    until(&mut stream, &mut seen, named("end")).await;
    let all = remembered(cluster.store(3), Scope::All);
    let end = all.iter().position(|placed| named("end")(&placed.event)).unwrap();
    assert!(seen.len() as u64 > granted && granted > 0, "{granted} locks, {} events", seen.len());
    assert!(seen.is_sorted_by(|a, b| a.position < b.position), "in order and nothing twice");
    assert_eq!(seen, all[..=end], "the same as on the node that never died");
    eprintln!("{} events over 4 deaths of the watched node, {granted} locks meanwhile", seen.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_tells_the_same_at_the_same_places() {
    let cluster = Cluster::new(3, Wish::default()).await;
    for client in 1..=3 {
        let at = cluster.session(client, u64::from(client)).await;
        let open = cluster.opened(request(at)).await.open;
        assert_eq!(cluster.run(u64::from(client), lock(at, open, u64::from(client) * 100)).await, Outcome::LockGranted);
    }
    for id in cluster.ids() {
        cluster.store(id).read_barrier().await.unwrap();
    }
    let first = remembered(cluster.store(1), Scope::All);
    assert!(first.len() > 6, "{first:?}");
    for id in [2, 3] {
        assert_eq!(remembered(cluster.store(id), Scope::All), first, "node {id}");
    }
    let news: Vec<_> = first.into_iter().filter(|placed| !matches!(*placed.event, Event::FileChanged { .. })).collect();
    assert_eq!(remembered(cluster.store(1), Scope::News), news);
    // The state and where its events go on belong together.
    let (opens, position) = cluster.store(2).with_state_at(|state, position| (state.opens().count(), position));
    assert_eq!(opens, 3);
    let mut stream = cluster.store(2).watch(position, Scope::All);
    assert_eq!(stream.next_ready(), Ok(None));
    mark(&cluster, 1, "next").await;
    assert!(named("next")(&next_event(&mut stream).await.unwrap().event));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_says_where_its_history_begins() {
    let mut cluster = Cluster::new(3, Wish::default()).await;
    let mut stream = cluster.store(1).watch(EventPosition::START, Scope::News);
    let mut seen = Vec::new();
    mark(&cluster, 1, "before").await;
    until(&mut stream, &mut seen, named("before")).await;
    let old = seen[0].position;
    cluster.kill(2).await;
    cluster.start(2).await;
    let life = cluster.store(2).wait_serving(SOON).await.unwrap();
    let again = |event: &Event| *event == Event::NodeUp { node: NodeId(2), incarnation: life };
    let mut behind = cluster.store(2).watch(old, Scope::News);
    let Err(WatchError::Gap { oldest }) = next_event(&mut behind).await else { panic!("no gap") };
    assert!(oldest > seen.last().unwrap().position);
    // From there on it goes on as if nothing had been.
    let mut rest = Vec::new();
    until(&mut behind, &mut rest, again).await;
    until(&mut stream, &mut seen, again).await;
    assert!(seen.ends_with(&rest), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_a_gap_for_watchers_and_bridged_for_streams() {
    let limits = Limits { snapshot_entries: 40, log_entries_kept: 5, ..Limits::default() };
    let mut cluster = Cluster::new(3, Wish { limits, ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let apart = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    mark(&cluster, leader, "before").await;
    cluster.kill(apart).await;
    let old = cluster.store(leader).status().raft.applied + 100;
    for n in 0.. {
        mark(&cluster, leader, &format!("u{n}")).await;
        // Both have forgotten the log that the third one lacks.
        if n > 100 && cluster.nodes.values().all(|store| store.status().raft.purged > old) {
            break;
        }
    }
    // It starts with what it had, and hears nothing at first.
    cluster.faults.isolate(apart, &cluster.ids());
    cluster.start(apart).await;
    let here = cluster.store(apart);
    assert!(here.with_state(|state| state.user_by_name("before").is_some() && state.user_by_name("u100").is_none()));
    let mut stream = here.watch(here.events_end(), Scope::News);
    let mut events = here.subscribe_news();
    cluster.faults.heal();
    // The log between is gone: the state comes as a snapshot.
    let gap = loop {
        match next_event(&mut stream).await {
            Ok(placed) => assert!(!named("u100")(&placed.event), "it came by the log"),
            Err(gap) => break gap,
        }
    };
    let WatchError::Gap { oldest } = gap else { panic!("{gap}") };
    let (known, position) = here.with_state_at(|state, position| (state.user_by_name("u100").is_some(), position));
    assert!(known && position >= oldest);
    // Whoever listens all the time hears of everything that has changed.
    next(&mut events, |event| named("u100")(event).then_some(())).await;
    mark(&cluster, leader, "after").await;
    until(&mut stream, &mut Vec::new(), named("after")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_behind_is_waited_for() {
    let cluster = Cluster::new(3, Wish { lease: Duration::from_secs(20), ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let behind = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    let mut before = cluster.store(leader).watch(cluster.store(leader).events_end(), Scope::News);
    cluster.faults.isolate(behind, &cluster.ids());
    // Their answers wait for the node that is cut off; the events do not.
    let first = mark(&cluster, leader, "seen");
    // From the history itself: other streams may be told a moment before it remembers.
    let mut told = Vec::new();
    tokio::select! {
        () = first => panic!("answered while a node does not know"),
        () = until(&mut before, &mut told, named("seen")) => {}
    }
    let ahead = remembered(cluster.store(leader), Scope::News).pop().unwrap();
    assert!(named("seen")(&ahead.event));
    let mut stream = cluster.store(behind).watch(ahead.position, Scope::News);
    assert!(cluster.store(behind).events_end() < ahead.position);
    assert_eq!(stream.next_ready(), Ok(None));
    cluster.faults.heal();
    mark(&cluster, leader, "unseen").await;
    assert!(named("unseen")(&next_event(&mut stream).await.unwrap().event), "and not once more what was seen elsewhere");
}
