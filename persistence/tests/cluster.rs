//! Three stores that are one: what is open on one is known on all, and survives the death of any.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::Cluster;
use common::*;
use persistence::Role;
use persistence_model::*;
use smb_types::NtStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

fn long_lease() -> Wish {
    Wish { lease: Duration::from_secs(20), ..Wish::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_on_one_is_known_on_all_when_it_is_granted() {
    let cluster = Cluster::new(3, Wish::default()).await;
    let (a, b) = (cluster.session(1, 2).await, cluster.session(2, 3).await);
    let one = cluster.opened(persistent(a, 0)).await;
    let two = cluster.opened(request(b)).await;
    assert_ne!(one.open, two.open);
    cluster.store(3).read_barrier().await.unwrap();
    assert!(cluster.store(3).with_state(|state| state.open(one.open).is_some_and(|open| open.is_persistent())));
    // A lock takes rights from the other node's open: that node knows before the lock is answered.
    let seen = Arc::new(AtomicBool::new(false));
    let saw = seen.clone();
    cluster
        .store(2)
        .observe(move |event| saw.store(saw.load(Ordering::SeqCst) || matches!(event, Event::FileChanged { .. }), Ordering::SeqCst));
    for offset in 0..20 {
        seen.store(false, Ordering::SeqCst);
        assert_eq!(cluster.run(3, lock(b, two.open, offset * 10)).await, Outcome::LockGranted);
        assert!(seen.load(Ordering::SeqCst), "observed on the other node before the answer");
        assert!(cluster.store(2).with_state(|state| state.lock_conflict(&one.file, one.open, offset * 10, 1, true)));
    }
    assert_eq!(cluster.run(2, lock(a, one.open, 0)).await, Outcome::Refused(NtStatus::LOCK_NOT_GRANTED));
    for id in cluster.ids() {
        assert!(cluster.store(id).lease_valid(), "node {id}");
        assert_ne!(cluster.store(id).status().raft.role, Role::Learner);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_dead_at_once_and_its_handle_goes_on_elsewhere() {
    let mut cluster = Cluster::new(3, long_lease()).await;
    // First a follower, then whoever leads.
    for leader_too in [false, true] {
        let leader = cluster.authority().await;
        let victim = if leader_too { leader } else { *cluster.ids().iter().find(|id| **id != leader).unwrap() };
        let other = *cluster.ids().iter().find(|id| **id != victim && **id != leader).unwrap();
        let (a, b) = (cluster.session(1, victim).await, cluster.session(1, other).await);
        let one = cluster.opened(persistent(a, 60_000)).await;
        assert_eq!(cluster.run(victim, lock(a, one.open, 0)).await, Outcome::LockGranted);
        let still = cluster.run(other, reclaim(b, one.open)).await;
        assert!(matches!(still, Outcome::OwnerAlive { node, .. } if node == NodeId(victim)), "{still:?}");
        cluster.store(other).suspect(NodeId(victim));
        let mut events = cluster.store(other).subscribe();
        let killed = Instant::now();
        cluster.kill(victim).await;
        assert_eq!(death(&mut events, NodeId(victim)).await, a.incarnation);
        let took = killed.elapsed();
        eprintln!("declared dead after {took:?} (leader: {leader_too})");
        assert!(took < cluster.wish.lease / 4, "{took:?}");
        let Outcome::Reclaimed(grant) = cluster.run(other, reclaim(b, one.open)).await else { panic!("not reclaimed") };
        assert_eq!((grant.open, grant.file), (one.open, one.file));
        let locked = cluster.store(other).with_state(|state| state.open(one.open).unwrap().locks.len());
        assert_eq!(locked, 1, "with its lock");
        cluster.start(victim).await;
        let again = cluster.store(victim).wait_serving(SOON).await.unwrap();
        assert!(again > a.incarnation);
        assert!(matches!(cluster.run(other, Command::CloseOpen { open: one.open, by: b.incarnation }).await, Outcome::Closed { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_stops_serving_before_it_is_declared_dead() {
    let cluster = Cluster::new(3, Wish::default()).await;
    let leader = cluster.authority().await;
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let too_late = Arc::new(AtomicBool::new(false));
    for other in &others {
        let (late, store) = (too_late.clone(), cluster.store(leader).clone());
        cluster.store(*other).observe(move |event| {
            if matches!(event, Event::NodeDown { node, .. } if node.0 == leader) && store.lease_valid() {
                late.store(true, Ordering::SeqCst);
            }
        });
    }
    let before = cluster.store(leader).incarnation().unwrap();
    let mut events = cluster.store(others[0]).subscribe();
    let cut = Instant::now();
    cluster.faults.isolate(leader, &cluster.ids());
    assert_eq!(death(&mut events, NodeId(leader)).await, before);
    assert!(cut.elapsed() > cluster.wish.lease, "silence alone is no death: {:?}", cut.elapsed());
    assert!(!too_late.load(Ordering::SeqCst), "it still served when others learned of its death");
    assert!(others.iter().all(|other| cluster.store(*other).lease_valid()));
    // It did not know; when it does, it begins a new life.
    let mut life = cluster.store(leader).watch_life();
    cluster.faults.heal();
    let new = |life: &persistence::Life| life.serving && life.incarnation.is_some_and(|incarnation| incarnation > before);
    timeout(SOON, life.wait_for(new)).await.unwrap().unwrap();
    assert!(cluster.store(leader).lease_valid());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_set_to_a_longer_lease_gets_what_the_others_give() {
    let mut cluster = Cluster::new(3, Wish::default()).await;
    cluster.kill(3).await;
    let given = std::mem::replace(&mut cluster.wish.lease, Duration::from_secs(60));
    cluster.start(3).await;
    let life = cluster.store(3).wait_serving(SOON).await.unwrap();
    let leader = cluster.authority().await;
    assert_ne!(leader, 3);
    let (own, too_late) = (cluster.store(3).clone(), Arc::new(AtomicBool::new(false)));
    let late = too_late.clone();
    cluster.store(leader).observe(move |event| {
        if matches!(event, Event::NodeDown { node: NodeId(3), .. }) && own.lease_valid() {
            late.store(true, Ordering::SeqCst);
        }
    });
    let mut events = cluster.store(leader).subscribe();
    let cut = Instant::now();
    cluster.faults.isolate(3, &cluster.ids());
    assert_eq!(death(&mut events, NodeId(3)).await, life);
    assert!(cut.elapsed() > given && !too_late.load(Ordering::SeqCst), "it still served when its death was declared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_waits_for_a_silent_node_until_it_is_dead() {
    let cluster = Cluster::new(3, Wish::default()).await;
    let leader = cluster.authority().await;
    let silent = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    let other = *cluster.ids().iter().find(|id| **id != leader && **id != silent).unwrap();
    let (a, b) = (cluster.session(1, silent).await, cluster.session(2, other).await);
    cluster.opened(persistent(a, 60_000)).await;
    let two = cluster.opened(request(b)).await;
    cluster.faults.isolate(silent, &cluster.ids());
    let mut events = cluster.store(other).subscribe();
    assert_eq!(cluster.run(other, lock(b, two.open, 0)).await, Outcome::LockGranted);
    assert!(!cluster.store(silent).lease_valid(), "whoever does not know of the lock must not serve");
    assert_eq!(death(&mut events, NodeId(silent)).await, a.incarnation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_may_die_and_persistent_handles_stay() {
    let mut cluster = Cluster::new(3, Wish::default()).await;
    let (a, b) = (cluster.session(1, 2).await, cluster.session(2, 3).await);
    let one = cluster.opened(persistent(a, 60_000)).await;
    let two = cluster.opened(OpenRequest { path: "b.txt".into(), file: Some(FileKey { inode: 11, ..one.file }), ..request(b) }).await;
    assert_eq!(cluster.run(2, lock(a, one.open, 0)).await, Outcome::LockGranted);
    for id in cluster.ids() {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    for id in 1..=3 {
        cluster.store(id).wait_serving(SOON).await.unwrap();
    }
    let c = cluster.session(1, 1).await;
    cluster.store(1).read_barrier().await.unwrap();
    assert!(cluster.store(1).with_state(|state| state.open(two.open).is_none()), "a plain open ends with its node");
    let Outcome::Reclaimed(grant) = cluster.run(1, reclaim(c, one.open)).await else { panic!("not reclaimed") };
    assert_eq!(grant.open, one.open);
    assert_eq!(cluster.store(1).with_state(|state| state.open(one.open).unwrap().locks.len()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_nobody_comes_back_for_expires() {
    let cluster = Cluster::new(1, Wish::default()).await;
    let a = cluster.session(1, 1).await;
    let one = cluster.opened(persistent(a, 300)).await;
    let mut events = cluster.store(1).subscribe();
    let lost = cluster.run(1, Command::DisconnectOpens { session: a.session, why: DisconnectReason::ConnectionLost }).await;
    assert!(matches!(lost, Outcome::Disconnected { detached, .. } if detached == [one.open]));
    let expired = next(&mut events, |event| match event {
        Event::OpensExpired { opens } => Some(opens.clone()),
        _ => None,
    });
    assert_eq!(expired.await, [one.open]);
    assert!(cluster.store(1).with_state(|state| state.open(one.open).is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_cleanly_says_so() {
    let mut cluster = Cluster::new(3, long_lease()).await;
    let incarnation = cluster.store(3).incarnation().unwrap();
    let mut events = cluster.store(1).subscribe();
    cluster.nodes.remove(&3).unwrap().shutdown().await;
    assert_eq!(death(&mut events, NodeId(3)).await, incarnation);
    let removed = cluster.store(1).remove(NodeId(3)).await;
    assert!(removed.is_ok(), "{removed:?}");
    assert!(cluster.store(1).with_state(|state| state.node(NodeId(3)).is_none()));
    assert!(!cluster.store(1).status().raft.members.contains_key(&3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_for_one_node() {
    let cluster = Cluster::new(1, Wish::default()).await;
    let token = cluster.store(1).create_token(SOON).await.unwrap();
    let taken = persistence::join(&token, Some(1), "127.0.0.1:9").await;
    assert!(taken.is_err_and(|error| error.to_string().contains("exists already")));
    let grant = persistence::join(&token, Some(7), "127.0.0.1:9").await.unwrap();
    assert_eq!(grant.identity.node_id, 7);
    assert!(persistence::join(&token, None, "127.0.0.1:9").await.is_err());
}
