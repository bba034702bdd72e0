//! A node dies with ten thousand handles: one command lets go of all of them, and their clients find them elsewhere. With more of them the
//! others do not wait for the last.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Cluster;
use common::*;
use futures::StreamExt;
use persistence::{Scope, Store};
use persistence_model::*;
use smb_types::Guid;
use tokio::time::timeout;

const HANDLES: u64 = 10_000;
/// More than one command lets go of.
const CROWD: u64 = 12_500;
/// Requests of all clients under way at once.
const AT_ONCE: usize = 128;
/// Far beyond what it takes; the time itself is printed.
const PATIENCE: Duration = Duration::from_secs(60);

fn guid(n: u64) -> Guid {
    let mut bytes = [0x11; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Guid(bytes)
}

fn file(n: u64) -> FileKey {
    FileKey { volume: 1, inode: 100_000 + n, generation: 1, stream: 0 }
}

async fn all<T: Send + 'static>(commands: impl Iterator<Item = (u64, Store, Command)>, take: impl Fn(u64, Outcome) -> T) -> Vec<T> {
    let answers = commands.map(|(n, store, command)| async move { (n, store.propose(command).await.unwrap()) });
    let mut answers = futures::stream::iter(answers).buffer_unordered(AT_ONCE);
    let mut taken = Vec::new();
    while let Some((n, outcome)) = answers.next().await {
        taken.push(take(n, outcome));
    }
    taken
}

/// Persistent handles of one client, by their numbers.
async fn open_many(store: &Store, at: At, handles: u64) -> BTreeMap<u64, OpenId> {
    let open = |n: u64| {
        let durability = RequestedDurability::Persistent { timeout_ms: 60_000 };
        let path = format!("f{n}.vhdx");
        Command::OpenFile(Box::new(OpenRequest { create_guid: Some(guid(n)), file: Some(file(n)), path, durability, ..request(at) }))
    };
    let began = Instant::now();
    let opened = all((0..handles).map(|n| (n, store.clone(), open(n))), |n, outcome| match outcome {
        Outcome::Opened(grant) => (n, grant.open),
        other => panic!("{other:?}"),
    });
    let opened = opened.await.into_iter().collect();
    eprintln!("{handles} persistent handles opened in {:?}", began.elapsed());
    opened
}

fn reclaim_of(at: &At, n: u64, open: OpenId) -> Command {
    Command::ReclaimOpen(Box::new(ReclaimRequest {
        node: at.node,
        incarnation: at.incarnation,
        session: at.session,
        share: ShareId(1),
        client_guid: Guid([1; 16]),
        user: user(1),
        open,
        kind: ReclaimKind::V2 { create_guid: guid(n), persistent: true, by_create_guid: true },
        lease: None,
        path: format!("f{n}.vhdx"),
    }))
}

/// Waits until every handle of a node is without its client.
async fn wait_for_the_rest(store: &Store, node: u64, handles: u64) {
    let mut events = store.watch(store.events_end(), Scope::News);
    let free = || store.with_state(|state| !state.is_ending(NodeId(node)) && state.detached_count() as u64 == handles);
    timeout(PATIENCE, async {
        while !free() {
            events.next().await.unwrap();
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_of_a_crowd_is_found_again_before_its_turn() {
    let mut cluster = Cluster::new(3, Wish { lease: Duration::from_secs(20), ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let victim = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    let at = cluster.session(1, victim).await;
    let opened = open_many(cluster.store(victim), at, CROWD).await;
    let again = cluster.session(1, leader).await;
    let mut events = cluster.store(leader).subscribe();
    cluster.kill(victim).await;
    assert_eq!(death(&mut events, NodeId(victim)).await, at.incarnation);
    // The newest comes last of all.
    let newest = CROWD - 1;
    let found = cluster.run(leader, reclaim_of(&again, newest, opened[&newest])).await;
    assert!(matches!(found, Outcome::Reclaimed(_)), "{found:?}");
    wait_for_the_rest(cluster.store(leader), victim, CROWD - 1).await;
    let heir = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    cluster.store(heir).read_barrier().await.unwrap();
    assert_eq!(cluster.store(heir).with_state(State::detached_count) as u64, CROWD - 1, "on every node");
    assert_eq!(cluster.run(leader, Command::NodeRemove { node: NodeId(victim) }).await, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_returns_to_a_crowd_of_its_own() {
    let mut cluster = Cluster::new(1, Wish { lease: Duration::from_secs(20), ..Wish::default() }).await;
    let at = cluster.session(1, 1).await;
    let opened = open_many(cluster.store(1), at, CROWD).await;
    cluster.kill(1).await;
    cluster.start(1).await;
    let store = cluster.store(1);
    store.wait_serving(PATIENCE).await.unwrap();
    assert!(store.incarnation().unwrap() > at.incarnation);
    assert_eq!(store.with_state(State::detached_count) as u64, CROWD, "nothing is left of the former life when the new one begins");
    let all: Vec<OpenId> = opened.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(store.look_at_opens(|_, open| open.id).await, all);
    let again = cluster.session(1, 1).await;
    for n in [0, CROWD - 1] {
        let found = cluster.run(1, reclaim_of(&again, n, opened[&n])).await;
        assert!(matches!(found, Outcome::Reclaimed(_)), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handles_of_a_dead_node_are_found_again() {
    let mut cluster = Cluster::new(3, Wish { lease: Duration::from_secs(20), ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let victim = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    let at = cluster.session(1, victim).await;
    let store = cluster.store(victim).clone();
    let opened = open_many(&store, at, HANDLES).await;
    drop(store);
    let heirs: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != victim).collect();
    let mut sessions = Vec::new();
    for heir in &heirs {
        sessions.push(cluster.session(1, *heir).await);
        cluster.store(*heir).read_barrier().await.unwrap();
        assert_eq!(cluster.store(*heir).with_state(|state| state.opens_of_node(NodeId(victim)).count() as u64), HANDLES);
    }

    // One node is watched, one listens to the stream: neither may miss anything.
    let mut watched = cluster.store(heirs[0]).watch(cluster.store(heirs[0]).events_end(), Scope::All);
    let mut events = cluster.store(heirs[1]).subscribe();
    let barriers: u64 = heirs.iter().map(|heir| cluster.store(*heir).barriers_asked()).sum();
    let killed = Instant::now();
    cluster.kill(victim).await;
    let stopped = killed.elapsed();
    assert_eq!(death(&mut events, NodeId(victim)).await, at.incarnation);
    let died = killed.elapsed();
    let let_go = cluster.store(heirs[1]).with_state(|state| state.opens().filter(|open| open.is_detached()).count() as u64);
    assert_eq!(let_go, HANDLES, "one command lets go of all");
    let listener = tokio::spawn(async move {
        let mut heard = 0;
        while heard < HANDLES {
            let event: Arc<Event> = events.recv().await.expect("who reads all the time misses nothing");
            heard += u64::from(matches!(*event, Event::OpenReclaimed { .. }));
        }
    });
    let commands = (0..HANDLES).map(|n| {
        let heir = usize::from(n % 2 == 1);
        (n, cluster.store(heirs[heir]).clone(), reclaim_of(&sessions[heir], n, opened[&n]))
    });
    let found = timeout(
        PATIENCE,
        all(commands, |n, outcome| match outcome {
            Outcome::Reclaimed(grant) => assert_eq!((grant.open, grant.file), (opened[&n], file(n))),
            other => panic!("handle {n}: {other:?}"),
        }),
    );
    assert_eq!(found.await.unwrap().len() as u64, HANDLES);
    let took = killed.elapsed();
    eprintln!(
        "stopped after {stopped:?}, declared dead after {died:?}, {HANDLES} handles back after {took:?}, {:?} since the death",
        took - died
    );
    assert_eq!(heirs.iter().map(|heir| cluster.store(*heir).barriers_asked()).sum::<u64>(), barriers, "nobody else had these files open");
    for (heir, at) in heirs.iter().zip(&sessions) {
        let mine = cluster.store(*heir).with_state(|state| state.opens_of_session(at.session).count() as u64);
        assert_eq!(mine, HANDLES / 2);
    }

    let (mut down, mut let_go, mut back) = (None, 0, 0);
    while back < HANDLES {
        let placed = timeout(PATIENCE, watched.next()).await.unwrap().unwrap();
        match &*placed.event {
            Event::NodeDown { .. } => down = Some(placed.position.index),
            Event::FileChanged { .. } if Some(placed.position.index) == down => let_go += 1,
            Event::OpenReclaimed { .. } => back += 1,
            _ => {}
        }
    }
    assert_eq!(let_go, HANDLES, "all by one entry");
    timeout(PATIENCE, listener).await.unwrap().unwrap();
}
