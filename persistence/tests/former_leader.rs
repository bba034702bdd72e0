//! A leader behind a partition, with one node that still hears it: it gives no leases, declares nobody dead, fences nobody, and
//! acknowledges nothing that the others do not know.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::Cluster;
use common::*;
use futures::future::join_all;
use persistence::{EventPosition, Fence, Scope, StoreError};
use persistence_model::*;

const LEASE: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_leader_has_no_say() {
    let dir = tempfile::TempDir::new().unwrap();
    let fenced = dir.path().join("fenced");
    let script = format!("echo $HOLDFAST_NODE_ID >> {}", fenced.display());
    let fence = Fence::Command { program: "/bin/sh".into(), args: vec!["-c".into(), script], timeout: SOON };
    let cluster = Cluster::new(5, Wish { lease: LEASE, fence, ..Wish::default() }).await;
    let former = cluster.authority().await;
    let rest: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != former).collect();
    let (hearer, others) = (rest[0], &rest[1..]);
    let minority = [former, hearer];
    let at = cluster.session(1, former).await;
    let before = cluster.store(others[0]).events_end();

    // Whoever learns of a death looks whether the dead one still serves.
    let too_late = Arc::new(AtomicU64::new(0));
    for id in others {
        let (late, stores) = (too_late.clone(), minority.map(|id| cluster.store(id).clone()));
        cluster.store(*id).observe(move |event| {
            if let Event::NodeDown { node, .. } = event {
                late.fetch_add(stores.iter().filter(|store| store.node() == *node && store.lease_valid()).count() as u64, Ordering::SeqCst);
            }
        });
    }
    let mut events = cluster.store(others[0]).subscribe();
    for one in minority {
        for other in others {
            cluster.faults.cut(one, *other);
            cluster.faults.cut(*other, one);
        }
    }
    // Its clients go on asking, at it and at the node that hears it.
    let opens = (0..20u64).map(|n| {
        let store = cluster.store(minority[usize::from(n % 2 == 1)]).clone();
        let mut request = request(at);
        request.file = Some(FileKey { volume: 1, inode: 1000 + n, generation: 1, stream: 0 });
        async move { (n, store.propose_within(Command::OpenFile(Box::new(request)), Duration::from_millis(500)).await) }
    });
    let answers: BTreeMap<u64, _> = join_all(opens).await.into_iter().collect();
    assert!(answers.values().all(Result::is_err), "acknowledged by a minority: {answers:?}");

    let mut dead = Vec::new();
    while dead.len() < 2 {
        let node = next(&mut events, |event| if let Event::NodeDown { node, .. } = event { Some(node.0) } else { None }).await;
        dead.push(node);
    }
    dead.sort_unstable();
    let mut expected = minority;
    expected.sort_unstable();
    assert_eq!(dead, expected, "the majority declares the minority dead, and nobody else");
    assert_eq!(too_late.load(Ordering::SeqCst), 0, "no lease was given behind the partition");
    assert!(minority.iter().all(|id| !cluster.store(*id).lease_valid()));

    let mut lives: Vec<_> = minority.iter().map(|id| cluster.store(*id).watch_life()).collect();
    let old = at.incarnation;
    cluster.faults.heal();
    for life in &mut lives {
        let new = |life: &persistence::Life| life.serving && life.incarnation.is_some_and(|incarnation| incarnation > old);
        tokio::time::timeout(SOON, life.wait_for(new)).await.unwrap().unwrap();
    }
    // What it was asked meanwhile happened at most once, and not at all if it said so.
    cluster.store(others[0]).read_barrier().await.unwrap();
    let mut stream = cluster.store(others[0]).watch(before, Scope::All);
    let told: Vec<_> = std::iter::from_fn(|| stream.next_ready().unwrap()).collect();
    for (n, answer) in answers {
        let file = FileKey { volume: 1, inode: 1000 + n, generation: 1, stream: 0 };
        let times = told.iter().filter(|placed| *placed.event == Event::FileChanged { file }).count();
        // Opened, and closed when its session ended with its node.
        match answer {
            Err(StoreError::Unknown) => assert!([0, 2].contains(&times), "open {n} was told {times} times"),
            Err(_) => assert_eq!(times, 0, "open {n} happened although it was refused"),
            Ok(outcome) => panic!("{outcome:?}"),
        }
    }
    let declared = told.iter().filter_map(|placed| if let Event::NodeDown { node, .. } = &*placed.event { Some(node.0) } else { None });
    assert!(declared.into_iter().all(|node| minority.contains(&node)), "the former leader declared somebody dead");
    let fenced = std::fs::read_to_string(fenced).unwrap();
    let fenced: Vec<u64> = fenced.lines().map(|line| line.parse().unwrap()).collect();
    assert!(!fenced.is_empty() && fenced.iter().all(|node| minority.contains(node)), "fenced: {fenced:?}");
    assert_ne!(EventPosition::START, before);
}
