//! Backups of a cluster at work, and the new cluster that begins with one.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::Cluster;
use common::*;
use persistence::{Backup, BackupError, ClusterCa, OpenError, StartError, Store, StoreConfig};
use persistence_model::*;

fn read(bytes: &[u8]) -> Backup {
    Backup::read(bytes, |_, _| {}).unwrap()
}

async fn take(store: &Store) -> Vec<u8> {
    let notes = BTreeMap::from([("program".to_owned(), "test".to_owned())]);
    let (bytes, head, size) = store.backup(notes, Vec::new()).await.unwrap();
    assert_eq!(size.bytes, bytes.len() as u64);
    assert_eq!(head.node_id, store.node().0);
    bytes
}

/// Users named by numbers, one after the other, until told to stop. Returns how many were acknowledged.
fn keep_adding(store: Store, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut n = 0;
        while !stop.load(Ordering::SeqCst) {
            let added = store.propose(Command::UserAdd { name: format!("u{n}"), nt_hash: [1; 16], sid: None, unix: None }).await.unwrap();
            assert!(matches!(added, Outcome::UserAdded { .. }));
            n += 1;
            acknowledged.store(n, Ordering::SeqCst);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_gives_one_that_holds_all_that_was_acknowledged() {
    let cluster = Cluster::new(3, Wish::default()).await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let adding = keep_adding(cluster.store(2).clone(), stop.clone(), acknowledged.clone());
    for id in cluster.ids() {
        while acknowledged.load(Ordering::SeqCst) < id * 20 {
            tokio::task::yield_now().await;
        }
        let before = acknowledged.load(Ordering::SeqCst);
        let backup = read(&take(cluster.store(id)).await);
        let users = backup.state.users().count() as u64;
        assert!(users >= before, "node {id}: {users} of {before}");
        // One moment: the users are an unbroken row from the first one on.
        assert!((0..users).all(|n| backup.state.user_by_name(&format!("u{n}")).is_some()), "node {id}: a gap among {users}");
        assert_eq!(backup.head.members.len(), 3);
        assert!(backup.size.entries > backup.state.all_records().len() as u64, "and the engine's own");
    }
    stop.store(true, Ordering::SeqCst);
    adding.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_begins_with_it_and_is_another_one() {
    let mut cluster = Cluster::new(3, Wish::default()).await;
    let a = cluster.session(1, 2).await;
    let kept = cluster.opened(persistent(a, 60_000)).await;
    assert_eq!(cluster.run(2, lock(a, kept.open, 0)).await, Outcome::LockGranted);
    cluster.run(1, Command::UserAdd { name: "Ann".into(), nt_hash: [3; 16], sid: None, unix: None }).await;
    let token = cluster.store(1).create_token(SOON).await.unwrap();
    let bytes = take(cluster.store(3)).await;
    let (users, shares) =
        cluster.store(1).with_state(|state| (state.users().cloned().collect::<Vec<_>>(), state.shares().cloned().collect::<Vec<_>>()));

    for keep_handles in [false, true] {
        let dir = tempfile::TempDir::new().unwrap();
        let ca = ClusterCa::create().unwrap();
        let config = StoreConfig::new(ca.issue(1).unwrap(), dir.path().join("records"), free_address());
        let rebirth = Rebirth { keep_handles, ..Rebirth::default() };
        let left = persistence::restore(&config, &config.data_dir, read(&bytes), &rebirth).await.unwrap();
        assert_eq!((left.nodes, left.opens_kept), (3, usize::from(keep_handles)));
        let again = loop {
            match persistence::restore(&config, &config.data_dir, read(&bytes), &rebirth).await {
                Err(OpenError::Start(StartError::DataDirInUse { .. })) => tokio::time::sleep(Duration::from_millis(5)).await,
                other => break other,
            }
        };
        assert!(matches!(&again, Err(OpenError::Config(because)) if because.contains("already")), "{again:?}");

        let store = open_patiently(StoreConfig { ca: Some(ca.clone()), ..config.clone() }).await;
        let any = "127.0.0.1:0".parse().unwrap();
        store.serve(NodeAddresses { smb: vec![any], witness: any, mapper: any, admin: any, raft: any });
        let life = store.wait_serving(SOON).await.unwrap();
        assert!(life > a.incarnation, "{life:?}");
        store.with_state(|state| {
            assert_eq!(state.users().cloned().collect::<Vec<_>>(), users);
            assert_eq!(state.shares().cloned().collect::<Vec<_>>(), shares);
            assert_eq!(state.nodes().map(|node| node.id).collect::<Vec<_>>(), [NodeId(1)]);
            assert_eq!(state.opens().count(), usize::from(keep_handles));
        });
        if keep_handles {
            // Its client comes back, to the only node there is.
            let session = SessionId::of(life, 1);
            let opened = Command::SessionOpen {
                session,
                node: NodeId(1),
                incarnation: life,
                client_guid: smb_types::Guid([1; 16]),
                user: user(1),
                user_name: "u".into(),
                client_address: "c".into(),
                previous_session: None,
            };
            assert!(matches!(store.propose(opened).await.unwrap(), Outcome::SessionOpened { .. }));
            let back = At { client: 1, node: NodeId(1), incarnation: life, session };
            let Outcome::Reclaimed(grant) = store.propose(reclaim(back, kept.open)).await.unwrap() else { panic!("not reclaimed") };
            assert_eq!(grant.open, kept.open);
            assert_eq!(store.with_state(|state| state.open(kept.open).unwrap().locks.len()), 1);
        }
        // A second backup, of the new cluster, is as good as the first.
        assert_eq!(read(&take(&store).await).head.cluster, ca.cluster);
        // Nobody of the old cluster gets in: neither with its token, nor with its certificate.
        let into_new = persistence::JoinToken { address: store.raft_addr().to_string(), ..token.clone() };
        let refused = persistence::join(&into_new, None, "127.0.0.1:9").await.unwrap_err();
        assert!(refused.to_string().contains("another cluster"), "{refused}");
        let fresh = store.create_token(SOON).await.unwrap();
        let old_secret = persistence::JoinToken { secret: token.secret, ..fresh };
        let refused = persistence::join(&old_secret, None, "127.0.0.1:9").await.unwrap_err();
        assert!(refused.to_string().contains("unknown, spent or expired"), "{refused}");
        store.shutdown().await;
    }

    // A node of the old cluster with a directory of the new one, or the reverse, does not start.
    let dir = cluster.dir.path().join("node3");
    cluster.nodes.remove(&3).unwrap().shutdown().await;
    let stranger = StoreConfig::new(ClusterCa::create().unwrap().issue(3).unwrap(), dir, free_address());
    let refused = loop {
        match Store::open(stranger.clone()).await {
            Err(OpenError::Start(StartError::DataDirInUse { .. })) => tokio::time::sleep(Duration::from_millis(5)).await,
            other => break other.err().unwrap(),
        }
    };
    assert!(matches!(refused, OpenError::Start(StartError::WrongCluster { .. })), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_it_can_change_unnoticed() {
    let cluster = Cluster::new(1, Wish::default()).await;
    let good = take(cluster.store(1)).await;
    let step = (good.len() / 400).max(1);
    for at in (16..good.len()).step_by(step) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let err = Backup::read(&bad[..], |_, _| {}).err().unwrap_or_else(|| panic!("byte {at}"));
        assert!(!matches!(err, BackupError::Read(_)), "byte {at}: {err}");
        assert!(matches!(Backup::read(&good[..at], |_, _| {}), Err(BackupError::CutOff { .. })), "cut at {at}");
    }
}
