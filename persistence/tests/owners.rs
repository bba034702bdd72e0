//! Shares that one node owns: they wait for their format level, and leave a node that dies or is drained. Addresses of a living node.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::net::SocketAddr;

use common::Cluster;
use common::*;
use persistence::{Store, StoreError, Versions};
use persistence_model::*;
use tokio::time::timeout;

fn add(name: &str, owner: Option<u64>) -> Command {
    let settings = ShareSettings {
        path: "/srv".into(),
        comment: String::new(),
        ca: true,
        scaleout: true,
        encrypt: false,
        ca_timeout_ms: 0,
        ..ShareSettings::default()
    };
    Command::AsymmetricShareAdd { name: name.into(), settings, owner: owner.map(NodeId) }
}

fn owner(store: &Store, name: &str) -> Option<u64> {
    store.with_state(|state| state.share_by_name(name).unwrap().owner).map(|owner| owner.0)
}

/// The next change of an owner.
async fn moved(events: &mut Events) -> (ShareId, u64) {
    next(events, |event| match event {
        Event::ShareMoved { share, owner } => Some((*share, owner.0)),
        _ => None,
    })
    .await
}

/// Waits for a level at every node.
async fn level(cluster: &Cluster, level: u16) {
    let reached = timeout(SOON, async {
        while !cluster.nodes.values().all(|store| store.status().level == level) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    assert!(reached.await.is_ok(), "level {level} was not reached");
}

fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Refused(because)) => because,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_an_older_member_has_no_owners() {
    let old = Versions { oldest: 1, newest: 2 };
    let mut cluster = Cluster::with_versions(2, Wish::default(), old).await;
    level(&cluster, 2).await;
    let because = refusal(cluster.store(1).propose(add("vm", Some(1))).await);
    assert!(because.contains("level 3") && because.contains("is at format level 2") && because.contains("holdfast status"), "{because}");
    let listen = Command::NodeListen { node: NodeId(1), by: cluster.store(1).incarnation().unwrap(), add: vec![], remove: vec![] };
    assert!(refusal(cluster.store(1).propose(listen).await).contains("level 3"));
    assert!(cluster.store(2).with_state(|state| state.share_by_name("vm").is_none()));
    for id in [1, 2] {
        cluster.kill(id).await;
        cluster.versions.remove(&id);
        cluster.start(id).await;
        cluster.store(id).wait_serving(SOON).await.unwrap();
        cluster.authority().await;
    }
    level(&cluster, Versions::default().newest).await;
    assert!(matches!(cluster.run(2, add("vm", Some(1))).await, Outcome::ShareAdded { .. }));
    assert_eq!(owner(cluster.store(1), "vm"), Some(1), "every node knows it when the answer comes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_leave_a_node_that_dies_or_is_drained() {
    let mut cluster = Cluster::new(3, Wish::default()).await;
    level(&cluster, Versions::default().newest).await;
    let authority = cluster.authority().await;
    let [second, third] = [1, 2].map(|step| (authority + step - 1) % 3 + 1);
    for name in ["vm", "db"] {
        cluster.run(1, add(name, Some(second))).await;
    }
    let mut events = cluster.store(third).subscribe();
    cluster.kill(second).await;
    let mut first = [moved(&mut events).await, moved(&mut events).await];
    first.sort_unstable();
    // One each: who has fewer gets the next.
    assert_eq!(first.map(|(share, _)| share), [ShareId(2), ShareId(3)]);
    let mut owners = first.map(|(_, owner)| owner);
    owners.sort_unstable();
    let mut expected = [authority, third];
    expected.sort_unstable();
    assert_eq!(owners, expected);
    // The operator's word, and its errors.
    let store = cluster.store(authority).clone();
    store.move_share(ShareId(2), NodeId(third)).await.unwrap();
    store.move_share(ShareId(3), NodeId(third)).await.unwrap();
    assert_eq!((owner(&store, "vm"), owner(cluster.store(third), "db")), (Some(third), Some(third)));
    let because = refusal(store.move_share(ShareId(2), NodeId(second)).await);
    assert!(because.contains(&format!("node {second} is down")), "{because}");
    assert!(refusal(store.move_share(ShareId(2), NodeId(9)).await).contains("no node 9"));
    assert!(refusal(store.move_share(ShareId(1), NodeId(third)).await).contains("not asymmetric"));
    // Its owner is drained.
    let mut events = store.subscribe();
    store.drain(NodeId(third), true).await.unwrap();
    let mut second_time = [moved(&mut events).await, moved(&mut events).await];
    second_time.sort_unstable();
    assert_eq!(second_time, [(ShareId(2), authority), (ShareId(3), authority)]);
}

/// The owner and whoever has authority are one: the next authority gives its shares away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_leave_a_leader_that_dies() {
    let mut cluster = Cluster::new(3, Wish::default()).await;
    level(&cluster, Versions::default().newest).await;
    let authority = cluster.authority().await;
    let other = authority % 3 + 1;
    cluster.run(other, add("vm", Some(authority))).await;
    let mut events = cluster.store(other).subscribe();
    cluster.kill(authority).await;
    let (share, owner) = moved(&mut events).await;
    assert_eq!(share, ShareId(2));
    assert_ne!(owner, authority);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_declared_dead_keeps_the_addresses_that_it_has_gained() {
    let cluster = Cluster::new(2, Wish::default()).await;
    level(&cluster, Versions::default().newest).await;
    let store = cluster.store(2).clone();
    let (by, gained) = (store.incarnation().unwrap(), SocketAddr::from(([192, 0, 2, 2], 445)));
    let smb = |of: &Store| of.with_state(|state| state.node(NodeId(2)).unwrap().addresses.smb.clone());
    let first = smb(&store);
    let listen = Command::NodeListen { node: NodeId(2), by, add: vec![gained], remove: first.clone() };
    assert_eq!(cluster.run(2, listen).await, Outcome::Done);
    assert_eq!(smb(cluster.store(1)), [gained], "every node knows it when the answer comes");
    let mut life = store.watch_life();
    assert_eq!(cluster.run(1, Command::NodeDown { node: NodeId(2), incarnation: by }).await, Outcome::Done);
    timeout(SOON, life.wait_for(|life| life.serving && life.incarnation.is_some_and(|is| is > by))).await.unwrap().unwrap();
    assert_eq!(smb(&store), [gained]);
}
