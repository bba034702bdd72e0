//! The class of a command is what it needs at its place in the log, not what its proposer knew.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;

use common::Cluster;
use common::*;
use persistence_model::*;
use smb_types::{Guid, LeaseState, ShareAccess};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_proposed_too_weak_is_synced_before_its_answer() {
    let cluster = Cluster::new(3, Wish::default()).await;
    let leader = cluster.authority().await;
    let behind = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let (a, b) = (cluster.session(1, leader).await, cluster.session(2, behind).await);
    let all = ShareAccess::READ | ShareAccess::WRITE | ShareAccess::DELETE;
    let plain = cluster.opened(OpenRequest { share_access: all, ..request(b) }).await;
    let write = Command::BreakForIo { file: plain.file, by_open: Some(plain.open), kind: IoKind::Write };
    assert_eq!(cluster.run(behind, write.clone()).await, Outcome::Done);
    assert_eq!(cluster.store(behind).synced_afterwards(), 0, "it takes nothing from anybody");

    // The node of B hears nothing; a client gets something persistent elsewhere.
    cluster.faults.cut(leader, behind);
    let lease = RequestedLease { key: Guid([7; 16]), state: LeaseState::READ, parent_key: None, epoch: 0, version: 2 };
    let kept = OpenRequest { share_access: all, oplock: RequestedOplock::Lease(lease), ..persistent(a, 60_000) };
    let before = cluster.store(leader).events_end();
    let mut told = cluster.store(leader).watch(before, persistence::Scope::All);
    let opening = tokio::spawn({
        let store = cluster.store(leader).clone();
        async move { store.propose(Command::OpenFile(Box::new(kept))).await }
    });
    timeout(SOON, told.next()).await.unwrap().unwrap();
    let writing = tokio::spawn({
        let store = cluster.store(behind).clone();
        async move { store.propose(write).await }
    });
    // Its proposal goes through, and only then it hears again.
    timeout(SOON, told.next()).await.unwrap().unwrap();
    cluster.faults.heal();
    assert!(matches!(timeout(SOON, opening).await.unwrap().unwrap(), Ok(Outcome::Opened(_))));
    assert_eq!(timeout(SOON, writing).await.unwrap().unwrap(), Ok(Outcome::Done));
    assert_eq!(cluster.store(behind).synced_afterwards(), 1, "the lease that it ends was promised to survive everything");
}
