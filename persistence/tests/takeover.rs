//! A node dies with ten thousand handles: one command lets go of all of them, and their clients find them elsewhere.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::collections::BTreeMap;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handles_of_a_dead_node_are_found_again() {
    let mut cluster = Cluster::new(3, Wish { lease: Duration::from_secs(20), ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let victim = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    let at = cluster.session(1, victim).await;
    let store = cluster.store(victim).clone();
    let began = Instant::now();
    let open = |n: u64| {
        let durability = RequestedDurability::Persistent { timeout_ms: 60_000 };
        let path = format!("f{n}.vhdx");
        Command::OpenFile(Box::new(OpenRequest { create_guid: Some(guid(n)), file: Some(file(n)), path, durability, ..request(at) }))
    };
    let opened = all((0..HANDLES).map(|n| (n, store.clone(), open(n))), |n, outcome| match outcome {
        Outcome::Opened(grant) => (n, grant.open),
        other => panic!("{other:?}"),
    });
    let opened: BTreeMap<u64, OpenId> = opened.await.into_iter().collect();
    eprintln!("{HANDLES} persistent handles opened in {:?}", began.elapsed());
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
    let reclaim = |n: u64, at: &At| {
        Command::ReclaimOpen(Box::new(ReclaimRequest {
            node: at.node,
            incarnation: at.incarnation,
            session: at.session,
            share: ShareId(1),
            client_guid: Guid([1; 16]),
            user: user(1),
            open: opened[&n],
            kind: ReclaimKind::V2 { create_guid: guid(n), persistent: true, by_create_guid: true },
            lease: None,
            path: format!("f{n}.vhdx"),
        }))
    };
    let commands = (0..HANDLES).map(|n| {
        let heir = usize::from(n % 2 == 1);
        (n, cluster.store(heirs[heir]).clone(), reclaim(n, &sessions[heir]))
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
