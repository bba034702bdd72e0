//! Who belongs to the cluster: it grows and shrinks under load, drained nodes do not lead, removed ones stay out, versions mix.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::Cluster;
use common::*;
use persistence::{StoreError, Versions};
use persistence_model::*;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The level of clusters whose nodes all run this version.
const NEWEST: u16 = 5;

async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let waited = timeout(SOON, async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "in vain: {what}");
}

/// What a worker did: how many users it added, one after the other, and the longest time one took.
struct Worked {
    added: u64,
    longest: Duration,
}

/// Adds users as fast as it can, through one node. Each is acknowledged before the next; none may be lost, none may come twice.
fn work(cluster: &Cluster, via: u64, name: &'static str, stop: &Arc<AtomicBool>) -> JoinHandle<Worked> {
    let (store, stop) = (cluster.store(via).clone(), stop.clone());
    tokio::spawn(async move {
        let mut worked = Worked { added: 0, longest: Duration::ZERO };
        while !stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            let command = Command::UserAdd { name: format!("{name}{}", worked.added), nt_hash: [1; 16], sid: None, unix: None };
            // Applied twice, the second would be answered with Exists.
            let outcome = store.propose(command).await.unwrap();
            assert!(matches!(outcome, Outcome::UserAdded { .. }), "{name}{}: {outcome:?}", worked.added);
            worked.longest = worked.longest.max(began.elapsed());
            worked.added += 1;
        }
        worked
    })
}

fn members(cluster: &Cluster, via: u64) -> BTreeMap<u64, bool> {
    cluster.store(via).status().raft.members.iter().map(|(id, member)| (*id, member.voter)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_three_five_three_nodes_under_load() {
    let mut cluster = Cluster::new(1, Wish::default()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = vec![("a", work(&cluster, 1, "a", &stop))];
    for size in [3u64, 5] {
        while (cluster.nodes.len() as u64) < size {
            let newest = *cluster.ids().last().unwrap();
            // Through the newest one: it holds no authority.
            cluster.join_through(newest).await;
        }
        cluster.wait_voters(size).await;
        eprintln!("{size} nodes");
    }
    workers.push(("b", work(&cluster, 2, "b", &stop)));
    // The first of the two that go is whoever leads: the lead is handed over, nobody waits for an election.
    for _ in 0..2 {
        let leader = cluster.authority().await;
        let going = if leader > 2 { leader } else { *cluster.ids().last().unwrap() };
        if leader != going {
            cluster.store(1).transfer_leader(NodeId(going)).await.unwrap();
            until("the new leader", || cluster.store(1).leader() == Some(NodeId(going))).await;
        }
        let began = Instant::now();
        cluster.store(1).remove(NodeId(going)).await.unwrap();
        eprintln!("node {going}, the leader, was removed in {:?}", began.elapsed());
        assert!(!members(&cluster, 1).contains_key(&going));
        assert!(*cluster.store(going).watch_leaving().borrow());
        cluster.kill(going).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::SeqCst);
    assert_eq!(members(&cluster, 1).len(), 3);
    for (name, worker) in workers {
        let worked = worker.await.unwrap();
        eprintln!("{name}: {} commands, the longest took {:?}", worked.added, worked.longest);
        assert!(worked.added > 20, "{name}: {}", worked.added);
        assert!(worked.longest < Duration::from_secs(5), "{name}: {:?}", worked.longest);
        for id in cluster.ids() {
            cluster.store(id).read_barrier().await.unwrap();
            let found = |n| cluster.store(id).with_state(|state| state.user_by_name(&format!("{name}{n}")).is_some());
            assert!((0..worked.added).all(found), "an acknowledged command is gone on node {id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_does_not_lead() {
    let cluster = Cluster::new(3, Wish::default()).await;
    let leader = cluster.authority().await;
    let other = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let began = Instant::now();
    let now = cluster.store(other).drain(NodeId(leader), true).await.unwrap().unwrap();
    eprintln!("handed over in {:?}", began.elapsed());
    assert_ne!(now.0, leader);
    let draining = |id: u64| cluster.store(other).with_state(|state| state.node(NodeId(id)).unwrap().state == NodeState::Draining);
    assert!(draining(leader));
    // Made leader by hand, it gives the lead away again.
    cluster.store(other).transfer_leader(NodeId(leader)).await.unwrap();
    until("somebody else", || cluster.store(other).leader().is_some_and(|now| now.0 != leader)).await;
    cluster.store(other).drain(NodeId(leader), false).await.unwrap();
    assert!(!draining(leader));
    cluster.store(other).transfer_leader(NodeId(leader)).await.unwrap();
    assert_eq!(cluster.authority().await, leader);
    let unknown = cluster.store(other).drain(NodeId(9), true).await;
    assert!(matches!(&unknown, Err(StoreError::Refused(because)) if because.contains("no such node")), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_node_drains_and_goes_on_leading() {
    let cluster = Cluster::new(1, Wish::default()).await;
    assert_eq!(cluster.store(1).drain(NodeId(1), true).await.unwrap(), Some(NodeId(1)));
    let refused = cluster.store(1).remove(NodeId(1)).await;
    assert!(matches!(&refused, Err(StoreError::Refused(because)) if because.contains("only one that votes")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_replaced_and_stays_out() {
    let mut cluster = Cluster::new(3, Wish { lease: Duration::from_secs(20), ..Wish::default() }).await;
    until("the newest level", || cluster.store(1).status().level == NEWEST).await;
    let alive = cluster.store(1).replace(NodeId(3), SOON).await;
    assert!(matches!(&alive, Err(StoreError::Refused(because)) if because.contains("alive")), "{alive:?}");
    let itself = cluster.store(2).remove(NodeId(2)).await;
    assert!(matches!(&itself, Err(StoreError::Refused(because)) if because.contains("ask another one")), "{itself:?}");
    let nobody = cluster.store(2).remove(NodeId(8)).await;
    assert!(matches!(&nobody, Err(StoreError::Refused(because)) if because.contains("there is no node 8")), "{nobody:?}");

    let mut events = cluster.store(2).subscribe();
    cluster.kill(3).await;
    death(&mut events, NodeId(3)).await;
    let token = cluster.store(2).replace(NodeId(3), SOON).await.unwrap();
    assert_eq!(members(&cluster, 1).len(), 2);
    let address = free_address();
    let wish = persistence::join(&token, Some(3), &address.to_string()).await;
    assert!(wish.is_err_and(|error| error.to_string().contains("given before")), "the id is not used twice");
    let grant = persistence::join(&token, None, &address.to_string()).await.unwrap();
    assert_eq!(grant.identity.node_id, 4);

    // The lost one was found in a cupboard: its certificate is good, it is not.
    cluster.start(3).await;
    let back = cluster.store(3).wait_serving(Duration::from_secs(2)).await;
    assert!(back.is_err());
    assert!(cluster.store(1).with_state(|state| state.node(NodeId(3)).is_none()));
    cluster.store(1).propose(Command::UserAdd { name: "still".into(), nt_hash: [1; 16], sid: None, unix: None }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_versions_agree_on_the_lower_one_until_all_know_more() {
    let mut cluster = Cluster::new(1, Wish::default()).await;
    until("the newest level of one node", || cluster.store(1).status().level == NEWEST).await;

    // A program that does not know the agreed level is turned away, and says why.
    cluster.versions.insert(2, Versions { oldest: 1, newest: 1 });
    let token = cluster.store(1).create_token(SOON).await.unwrap();
    let address = free_address();
    let grant = persistence::join(&token, None, &address.to_string()).await.unwrap();
    cluster.identities.insert(2, grant.identity);
    cluster.addresses.insert(2, address);
    cluster.start(2).await;
    assert!(cluster.store(2).wait_serving(Duration::from_secs(2)).await.is_err());
    cluster.kill(2).await;
    // Upgraded, it comes in.
    cluster.versions.remove(&2);
    cluster.start(2).await;
    cluster.store(2).wait_serving(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_older_programs_is_upgraded_one_by_one() {
    let old = Versions { oldest: 1, newest: 1 };
    let mut cluster = Cluster::with_versions(3, Wish::default(), old).await;
    let refused = cluster.store(1).renew_authority().await;
    assert!(refused.is_err(), "what level 1 does not know is not written");
    for id in 1..=3 {
        for store in cluster.nodes.values() {
            assert_eq!(store.status().level, 1, "node {id} is not upgraded yet");
        }
        cluster.run(1 + id % 3, Command::UserAdd { name: format!("during{id}"), nt_hash: [1; 16], sid: None, unix: None }).await;
        cluster.kill(id).await;
        cluster.versions.remove(&id);
        cluster.start(id).await;
        cluster.store(id).wait_serving(SOON).await.unwrap();
        cluster.authority().await;
    }
    until("the newest level", || cluster.nodes.values().all(|store| store.status().level == NEWEST)).await;
    // A newer program among them speaks what they do.
    cluster.kill(2).await;
    cluster.versions.insert(2, Versions { oldest: 2, newest: NEWEST + 1 });
    cluster.start(2).await;
    cluster.store(2).wait_serving(SOON).await.unwrap();
    // One that has forgotten what they speak is turned away.
    cluster.kill(2).await;
    cluster.versions.insert(2, Versions { oldest: NEWEST + 1, newest: NEWEST + 2 });
    cluster.start(2).await;
    assert!(cluster.store(2).wait_serving(Duration::from_secs(2)).await.is_err());
    assert_eq!(cluster.store(1).status().level, NEWEST);
}
